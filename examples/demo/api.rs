//! The demo as a client: the Password Safe dialect, and the native API where that has no field.
//!
//! Invariant: answers are taken as the documents promise them; anything else ends the demo.

use std::time::Duration;

use keywheel::clock::SharedClock;
use keywheel::model::Timestamp;
use reqwest::header::{AUTHORIZATION, ETAG, IF_MATCH, LOCATION, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;

use crate::program::Trouble;

const DIALECT: &str = "/BeyondTrust/api/public/v3/";
/// An immediate change may take as long as its target.
const CALL_MAX: Duration = Duration::from_mins(5);
const TRIES_MAX: usize = 20;

/// A signed-in client.
pub(crate) struct Api {
    http: reqwest::Client,
    url: String,
    native_key: String,
    clock: SharedClock,
}

/// An answer of the service.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) location: Option<String>,
    etag: Option<String>,
    pub(crate) body: Value,
}

impl Api {
    /// Signs in; from then on the session's cookie speaks for the caller.
    ///
    /// # Errors
    /// The key is refused.
    pub(crate) async fn sign_in(
        url: &str,
        key: &str,
        user: &str,
        native_key: &str,
        clock: SharedClock,
    ) -> Result<Self, Trouble> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .cookie_store(true)
            .timeout(CALL_MAX)
            .build()?;
        let api = Self {
            http,
            url: url.to_owned(),
            native_key: native_key.to_owned(),
            clock,
        };
        let call = api
            .http
            .post(format!("{url}{DIALECT}Auth/SignAppin"))
            .header(AUTHORIZATION, format!("PS-Auth key={key}; runas={user};"));
        api.send("POST Auth/SignAppin", call).await?;
        Ok(api)
    }

    /// A call of the dialect with a body.
    ///
    /// # Errors
    /// Any status but 2xx.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Reply, Trouble> {
        let said = format!("{method} {path}");
        let call = self
            .http
            .request(method, format!("{}{DIALECT}{path}", self.url))
            .json(body);
        self.send(&said, call).await
    }

    /// Makes something by the dialect and gives its id back.
    ///
    /// # Errors
    /// Any status but 2xx, or an answer without the field.
    pub(crate) async fn make(&self, path: &str, id: &str, body: &Value) -> Result<i64, Trouble> {
        let made = self.call(Method::POST, path, body).await?.body;
        let found = made.get(id).and_then(Value::as_i64);
        found.ok_or_else(|| Trouble(format!("POST {path}: the answer has no {id}")))
    }

    /// A native call without a body; `path` begins with a slash.
    ///
    /// # Errors
    /// Any status but 2xx.
    pub(crate) async fn native(&self, path: &str) -> Result<Reply, Trouble> {
        let call = self
            .http
            .get(format!("{}{path}", self.url))
            .bearer_auth(&self.native_key);
        self.send(&format!("GET {path}"), call).await
    }

    /// A native POST.
    ///
    /// # Errors
    /// Any status but 2xx.
    pub(crate) async fn order(&self, path: &str, body: &Value) -> Result<Reply, Trouble> {
        let call = self.http.post(format!("{}{path}", self.url));
        self.send(
            &format!("POST {path}"),
            call.bearer_auth(&self.native_key).json(body),
        )
        .await
    }

    /// Reads a native resource, then edits the revision that was read.
    ///
    /// # Errors
    /// Any status but 2xx.
    pub(crate) async fn edit(&self, path: &str, body: &Value) -> Result<(), Trouble> {
        let tag = self
            .native(path)
            .await?
            .etag
            .unwrap_or_else(|| "*".to_owned());
        let call = self
            .http
            .patch(format!("{}{path}", self.url))
            .header(IF_MATCH, tag);
        self.send(
            &format!("PATCH {path}"),
            call.bearer_auth(&self.native_key).json(body),
        )
        .await?;
        Ok(())
    }

    /// [`Self::edit`] for streams.
    pub(crate) async fn edit_at(&self, path: String, body: &Value) -> Result<(), Trouble> {
        self.edit(&path, body).await
    }

    /// Wall time.
    pub(crate) fn time(&self) -> Timestamp {
        self.clock.now()
    }

    /// The metrics page.
    ///
    /// # Errors
    /// The service does not answer.
    pub(crate) async fn metrics(&self) -> Result<String, Trouble> {
        let answer = self
            .http
            .get(format!("{}/metrics", self.url))
            .send()
            .await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    /// Waits.
    pub(crate) async fn pause(&self, span: Duration) {
        self.clock.sleep(span).await;
    }

    /// Time since some instant.
    pub(crate) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Sends; on 429 waits as long as the service asks for.
    async fn send(&self, said: &str, call: RequestBuilder) -> Result<Reply, Trouble> {
        for _ in 0..TRIES_MAX {
            let Some(call) = call.try_clone() else {
                break;
            };
            let answer = call.send().await?;
            let status = answer.status();
            let header = |name| {
                let value = answer.headers().get(name)?;
                value.to_str().ok().map(str::to_owned)
            };
            if status == StatusCode::TOO_MANY_REQUESTS {
                let seconds = header(RETRY_AFTER)
                    .and_then(|text| text.parse().ok())
                    .unwrap_or(1);
                self.pause(Duration::from_secs(seconds)).await;
                continue;
            }
            let (location, etag) = (header(LOCATION), header(ETAG));
            let text = answer.text().await?;
            if !status.is_success() {
                return Err(Trouble(format!("{said}: {status} {}", text.trim())));
            }
            let body = serde_json::from_str(&text).unwrap_or(Value::Null);
            return Ok(Reply {
                status,
                location,
                etag,
                body,
            });
        }
        Err(Trouble(format!("{said}: the service stays busy")))
    }
}
