//! A caller of a running service: the administrator, by both interfaces.
//!
//! Invariant: every answer is read whole and kept, so that a test can sweep what was said.

use std::sync::Mutex;

use reqwest::header::{ETAG, IF_MATCH, LOCATION};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::wait::until;

/// The dialect's base.
const DIALECT: &str = "/BeyondTrust/api/public/v3/";

/// Somebody who calls.
pub(crate) struct Client {
    http: reqwest::Client,
    pub(crate) url: String,
    native: String,
    /// Every body that came with an error.
    pub(crate) errors: Mutex<Vec<String>>,
    /// Every `Location` that was given.
    pub(crate) locations: Mutex<Vec<String>>,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn id(&self, field: &str) -> i64 {
        let body = self.json();
        body[field]
            .as_i64()
            .unwrap_or_else(|| panic!("no {field}: {self:?}"))
    }
}

impl Client {
    /// A client that knows a native key, without a session.
    pub(crate) fn new(url: &str, native: &str) -> Self {
        Self {
            http: reqwest::Client::builder()
                .cookie_store(true)
                .build()
                .unwrap(),
            url: url.to_owned(),
            native: native.to_owned(),
            errors: Mutex::default(),
            locations: Mutex::default(),
        }
    }

    /// A client of the same service with another native key.
    pub(crate) fn with_key(&self, native: &str) -> Self {
        Self::new(&self.url, native)
    }

    /// A client with a session of the dialect.
    pub(crate) async fn signed_in(url: &str, (native, password_safe): &(String, String)) -> Self {
        let client = Self::new(url, native);
        client.sign_in(password_safe).await.expect(200);
        client
    }

    /// An access token of an OAuth registration.
    pub(crate) async fn token(&self, id: &str, secret: &str) -> Answer {
        let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
        let call = self
            .http
            .post(format!("{}{DIALECT}Auth/connect/token", self.url))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form);
        self.send(call).await
    }

    /// Signs in with an access token.
    pub(crate) async fn sign_in_by_token(&self, token: &str) -> Answer {
        self.dialect(Method::POST, "Auth/SignAppin")
            .bearer_auth(token)
            .answer(self)
            .await
    }

    /// The same caller from another address of this machine, without a session.
    pub(crate) fn from(&self, address: &str) -> Self {
        let http = reqwest::Client::builder()
            .local_address(Some(address.parse().unwrap()))
            .build()
            .unwrap();
        Self {
            http,
            ..Self::new(&self.url, &self.native)
        }
    }

    pub(crate) async fn sign_in(&self, key: &str) -> Answer {
        let call = self
            .http
            .post(format!("{}{DIALECT}Auth/SignAppin", self.url))
            .header("Authorization", format!("PS-Auth key={key}; runas=admin;"));
        self.send(call).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.dialect(Method::POST, path)
            .json(body)
            .answer(self)
            .await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.dialect(Method::PUT, path)
            .json(body)
            .answer(self)
            .await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.dialect(Method::GET, path).answer(self).await
    }

    /// A call of the dialect with these very bytes.
    pub(crate) async fn raw(&self, method: Method, path: &str, body: String) -> Answer {
        self.dialect(method, path)
            .header("Content-Type", "application/json")
            .body(body)
            .answer(self)
            .await
    }

    pub(crate) async fn native(&self, path: &str) -> Answer {
        self.http
            .get(format!("{}{path}", self.url))
            .bearer_auth(&self.native)
            .answer(self)
            .await
    }

    pub(crate) async fn order(&self, path: &str, body: &Value) -> Answer {
        self.http
            .post(format!("{}{path}", self.url))
            .bearer_auth(&self.native)
            .json(body)
            .answer(self)
            .await
    }

    pub(crate) async fn put_native(&self, path: &str, body: &Value) -> Answer {
        self.http
            .put(format!("{}{path}", self.url))
            .bearer_auth(&self.native)
            .json(body)
            .answer(self)
            .await
    }

    /// Imports a CSV file by the native API.
    pub(crate) async fn import(&self, file: &str, dry_run: bool) -> Answer {
        let call = self
            .http
            .post(format!("{}/api/v1/imports?dry_run={dry_run}", self.url))
            .header("Content-Type", "text/csv")
            .body(file.to_owned())
            .bearer_auth(&self.native);
        self.send(call).await
    }

    /// A call without any key.
    pub(crate) async fn nobody(&self, path: &str) -> Answer {
        self.http
            .get(format!("{}{path}", self.url))
            .answer(self)
            .await
    }

    /// Edits a native resource at the revision that was just read.
    pub(crate) async fn edit(&self, path: &str, body: &Value) {
        let tag = self.native(path).await.expect(200).tag.expect("an ETag");
        self.http
            .patch(format!("{}{path}", self.url))
            .bearer_auth(&self.native)
            .header(IF_MATCH, tag)
            .json(body)
            .answer(self)
            .await
            .expect(200);
    }

    /// Links a system's functional account to a managed account.
    pub(crate) async fn link(&self, system: i64, account: i64) -> i64 {
        let system = self.native(&format!("/api/v1/systems/{system}")).await;
        let functional = system.expect(200).id("functional_account_id");
        let path = format!("/api/v1/functional-accounts/{functional}/account");
        let tag = self.native(&path).await.expect(200).tag.expect("an ETag");
        let answer = self
            .http
            .put(format!("{}{path}", self.url))
            .bearer_auth(&self.native)
            .header(IF_MATCH, tag)
            .json(&json!({"account_id": account}))
            .answer(self)
            .await
            .expect(200);
        assert_eq!(answer.id("account_id"), account);
        functional
    }

    /// Puts a system in quarantine and waits until all of it has ended well.
    pub(crate) async fn quarantine(&self, system: i64, accounts: i64) {
        let order = json!({"system_id": system, "reason": "a test"});
        let ordered = self.order("/api/v1/quarantines", &order).await.expect(202);
        let location = ordered.location.expect("a Location");
        let ended = until("the quarantine has ended", async || {
            let found = self.native(&location).await.expect(200).json();
            (!found["finished_at"].is_null()).then_some(found)
        })
        .await;
        assert_eq!(ended["counts"]["succeeded"], accounts, "{ended}");
    }

    /// When an account's credential was changed last.
    pub(crate) async fn changed_at(&self, account: i64) -> String {
        let found = self.native(&format!("/api/v1/accounts/{account}")).await;
        let found = found.expect(200).json();
        found["last_change"].as_str().expect("a time").to_owned()
    }

    /// The current password of an account.
    pub(crate) async fn reveal(&self, account: i64) -> String {
        self.reveal_kind(account, "password").await
    }

    /// The current `password`, `key` or `passphrase` of an account.
    pub(crate) async fn reveal_kind(&self, account: i64, kind: &str) -> String {
        let path = format!("/api/v1/accounts/{account}/reveal");
        let order = json!({"kind": kind, "reason": "a test logs in"});
        let answer = self.order(&path, &order).await.expect(200);
        answer.json()["value"].as_str().expect("a value").to_owned()
    }

    /// The state of the job that a `Location` names.
    pub(crate) async fn job_state(&self, location: &str) -> String {
        let answer = self.native(location).await.expect(200);
        answer.json()["state"].as_str().expect("a state").to_owned()
    }

    /// Waits until a job is in one of these states.
    pub(crate) async fn await_job(&self, location: &str, states: &[&str]) -> String {
        until(&format!("{location} is {states:?}"), async || {
            let state = self.job_state(location).await;
            states.contains(&state.as_str()).then_some(state)
        })
        .await
    }

    /// Waits until every account of a quarantine is settled: it.
    pub(crate) async fn await_quarantine(&self, location: &str) -> Value {
        until(&format!("{location} is finished"), async || {
            let view = self.native(location).await.expect(200).json();
            (!view["finished_at"].is_null()).then_some(view)
        })
        .await
    }

    fn dialect(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{DIALECT}{path}", self.url))
    }

    async fn send(&self, call: RequestBuilder) -> Answer {
        let response = call.send().await.expect("the service answers");
        let header = |name| {
            let value = response.headers().get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        let (status, location, tag) = (response.status().as_u16(), header(LOCATION), header(ETAG));
        let body = response.text().await.expect("the answer is whole");
        self.locations.lock().unwrap().extend(location.clone());
        if status >= 400 {
            self.errors.lock().unwrap().push(body.clone());
        }
        Answer {
            status,
            location,
            tag,
            body,
        }
    }
}

/// Sends a call as a client.
trait Sent {
    async fn answer(self, client: &Client) -> Answer;
}

impl Sent for RequestBuilder {
    async fn answer(self, client: &Client) -> Answer {
        client.send(self).await
    }
}
