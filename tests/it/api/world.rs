//! A service without a listener: the router on a fresh database, and callers of it.
//!
//! Invariant: an answer is read whole, so that a body that never ends fails the test.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode, header};
use keywheel::api::{Api, Readiness, Settings, router};
use keywheel::clock::{ManualClock, SharedClock};
use keywheel::engine::{Connectors, Engine, Limits};
use keywheel::generate::SeededDice;
use keywheel::metrics::Metrics;
use keywheel::model::Timestamp;
use keywheel::model::id::{NodeId, UserId};
use keywheel::model::key::{Addresses, KeyHash, KeyKind, NewKey, Reach};
use keywheel::model::platform::Platforms;
use keywheel::model::principal::{NewUser, Permission};
use keywheel::notify::{Notifier, NotifyOptions};
use keywheel::queue::{Discoverer, Orders, Worker, WorkerOptions};
use keywheel::scheduler::{Scheduler, SchedulerOptions, Tick};
use keywheel::store::{Backend, Store};
use keywheel::vault::{Kek, Passwords, Vault};
use keywheel::workflow::{Parts, Workflows};
use keywheel_connectors::TargetKind;
use keywheel_connectors::dialogue::{Dialogues, Library};
use keywheel_connectors::fake::{Fake, FakeWorld};
use keywheel_connectors::ldap::Ldap;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::support::audit::audit_keys;
use crate::support::database::Database;

/// The dialect's base.
pub(crate) const PS: &str = "/BeyondTrust/api/public/v3";
/// Where people reach the service, as notices say it.
pub(crate) const PUBLIC_URL: &str = "https://keywheel.example.com";
/// How the worker works.
const OPTIONS: WorkerOptions = WorkerOptions {
    sessions: 4,
    batch_max: 1_000,
    poll: Duration::from_secs(1),
};
/// When every test begins.
pub(crate) const NOON: Timestamp = Timestamp(1_780_000_000_000);

/// A service on a database of its own.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) api: Api,
    pub(crate) targets: FakeWorld,
    worker: Worker,
    pub(crate) discoverer: Discoverer,
    drain: CancellationToken,
    node: NodeId,
    database: Database,
}

impl Drop for World {
    fn drop(&mut self) {
        self.drain.cancel();
    }
}

/// The ids of a managed system with two accounts, made through the dialect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) system: i64,
    pub(crate) root: i64,
    pub(crate) ann: i64,
}

/// Where that system's target in memory answers.
pub(crate) const HOST: &str = "10.0.0.1";

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: header::HeaderName) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }
}

/// Somebody who calls: with a cookie, or with a native key.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) router: Option<Router>,
    pub(crate) api: Api,
    pub(crate) header: Option<(header::HeaderName, String)>,
    pub(crate) base: &'static str,
    /// Where they call from; `None`: nobody knows.
    pub(crate) address: Option<IpAddr>,
}

/// The target in memory, and what the shipped definitions speak with.
fn connectors(targets: &FakeWorld) -> Connectors {
    Connectors {
        fake: Some(Arc::new(Fake::new(targets))),
        dialogue: Some(Arc::new(Dialogues::new())),
        ldap: Some(Arc::new(Ldap::new())),
        platforms: Arc::new(Platforms::with(&Library::shipped().unwrap())),
        fixed: Some(TargetKind::Fake),
        ..Connectors::default()
    }
}

/// Notices reach this machine alone; mail has no server.
fn notifier(clock: &SharedClock) -> Notifier {
    let options = NotifyOptions {
        mail: None,
        allow: Addresses::parse("127.0.0.0/8").unwrap(),
    };
    Notifier::new(options, clock.clone()).unwrap()
}

fn workflows(
    (store, vault): (&Store, &Arc<Vault>),
    clock: &SharedClock,
    dice: &Arc<SeededDice>,
    metrics: &Arc<Metrics>,
) -> Workflows {
    let parts = Parts {
        store: store.clone(),
        vault: vault.clone(),
        notifier: notifier(clock),
        clock: clock.clone(),
        dice: dice.clone(),
        metrics: metrics.clone(),
    };
    Workflows::new(parts, PUBLIC_URL)
}

fn vault(dice: &SeededDice) -> Vault {
    let kek = Kek::from_bytes([7; Kek::LEN]);
    let key = Vault::new_data_key(&kek, dice).unwrap();
    Vault::new(kek, vec![key]).unwrap()
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        Self::on(Backend::Sqlite, settings).await
    }

    pub(crate) async fn on(backend: Backend, settings: Settings) -> Self {
        let database = Database::new(backend).await;
        let metrics = Arc::new(Metrics::new().unwrap());
        let store = database.store().await.counting(metrics.clone());
        let clock = ManualClock::at(NOON);
        let dice = Arc::new(SeededDice::new(7));
        let vault = Arc::new(vault(&dice));
        let targets = FakeWorld::new();
        let connectors = connectors(&targets);
        let platforms = connectors.platforms.clone();
        let shared: SharedClock = clock.clone();
        let engine = Engine::new(
            store.clone(),
            vault.clone(),
            shared.clone(),
            dice.clone(),
            connectors,
            Limits::default(),
        );
        let orders = Orders::new(
            store.clone(),
            vault.clone(),
            shared.clone(),
            dice.clone(),
            engine.clone(),
            metrics.clone(),
        );
        let mut tx = store.begin().await.unwrap();
        let node = tx.register_node("test", NOON).await.unwrap();
        tx.commit().await.unwrap();
        let discoverer = Discoverer::new(
            store.clone(),
            engine.clone(),
            shared.clone(),
            dice.clone(),
            node,
            Duration::from_secs(1),
        );
        let worker = Worker::new(
            store.clone(),
            engine,
            shared.clone(),
            dice.clone(),
            metrics.clone(),
            node,
            OPTIONS,
        );
        let workflows = workflows((&store, &vault), &shared, &dice, &metrics);
        let api = Api {
            store: store.clone(),
            orders,
            workflows,
            vault,
            audit: Arc::new(audit_keys()),
            clock: shared,
            dice,
            metrics,
            limits: Arc::default(),
            passwords: Passwords::default(),
            readiness: Readiness::expecting(&["queue"]),
            platforms,
            settings,
        };
        let drain = CancellationToken::new();
        Self {
            store,
            clock,
            api,
            targets,
            worker,
            discoverer,
            drain,
            node,
            database,
        }
    }

    /// Runs one tick of the node's.
    pub(crate) async fn tick(&self, tick: Tick) {
        let scheduler = Scheduler::new(
            self.store.clone(),
            self.clock.clone(),
            self.api.metrics.clone(),
            self.node,
            SchedulerOptions::default(),
        );
        scheduler.tick(tick).await.unwrap();
    }

    /// What notices are sent with.
    pub(crate) fn parts(&self) -> Parts {
        Parts {
            store: self.store.clone(),
            vault: self.api.vault.clone(),
            notifier: notifier(&self.api.clock),
            clock: self.api.clock.clone(),
            dice: self.api.dice.clone(),
            metrics: self.api.metrics.clone(),
        }
    }

    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    async fn raw(&self) -> sqlx::AnyPool {
        let url = &self.database.url;
        sqlx::AnyPool::connect(url).await.expect("the database")
    }

    /// Changes the tables past the store.
    pub(crate) async fn write(&self, sql: &'static str) {
        let pool = self.raw().await;
        sqlx::query(sql).execute(&pool).await.unwrap();
        pool.close().await;
    }

    /// One number out of the tables.
    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        let pool = self.raw().await;
        let (number,): (i64,) = sqlx::query_as(sql).fetch_one(&pool).await.unwrap();
        pool.close().await;
        number
    }

    /// What a delivery says, as it waits in the outbox.
    pub(crate) async fn body_of_delivery(&self, id: i64) -> String {
        let pool = self.raw().await;
        let text = "SELECT body FROM deliveries WHERE id = $1";
        let (body,): (String,) = sqlx::query_as(text)
            .bind(id)
            .fetch_one(&pool)
            .await
            .unwrap();
        pool.close().await;
        body
    }

    /// Lets jobs run from now on.
    #[expect(clippy::disallowed_methods, reason = "the worker ends with its world")]
    pub(crate) fn work(&self) {
        let (worker, drain) = (self.worker.clone(), self.drain.clone());
        tokio::task::spawn(async move { worker.run(drain).await });
    }

    /// A system on the target in memory with accounts `root` and `ann`, passwords `old-root` and
    /// `old-ann`, which the target accepts.
    pub(crate) async fn target(&self, admin: &Client) -> Target {
        let target = self.targets.system(HOST);
        target
            .add("changer", "functional")
            .add("root", "old-root")
            .add("ann", "old-ann");
        admin
            .post("/Workgroups", &json!({"Name": "Default"}))
            .await
            .expect(201);
        let asset = json!({"IPAddress": HOST, "AssetName": "web1"});
        let asset = admin
            .post("/Workgroups/Default/Assets", &asset)
            .await
            .expect(201);
        let asset = asset.json()["AssetID"].as_i64().unwrap();
        let functional = json!({
            "PlatformID": 1001, "AccountName": "changer", "DisplayName": "changer",
            "Password": "functional",
        });
        let functional = admin
            .post("/FunctionalAccounts", &functional)
            .await
            .expect(201);
        let system = json!({
            "PlatformID": 1001,
            "FunctionalAccountID": functional.json()["FunctionalAccountID"],
        });
        let system = admin
            .post(&format!("/Assets/{asset}/ManagedSystems"), &system)
            .await
            .expect(201);
        let system = system.json()["ManagedSystemID"].as_i64().unwrap();
        let mut ids = [0; 2];
        for (id, name) in ids.iter_mut().zip(["root", "ann"]) {
            let account = json!({"AccountName": name, "Password": format!("old-{name}")});
            let path = format!("/ManagedSystems/{system}/ManagedAccounts");
            let made = admin.post(&path, &account).await.expect(201);
            *id = made.json()["ManagedAccountID"].as_i64().unwrap();
        }
        Target {
            system,
            root: ids[0],
            ann: ids[1],
        }
    }

    /// A user with a key of each kind: `<name>-native`, `<name>-ps` are their seeds.
    pub(crate) async fn user(&self, name: &str, granted: &[Permission]) -> (UserId, Keys) {
        self.add(name, false, granted).await
    }

    pub(crate) async fn administrator(&self) -> (UserId, Keys) {
        self.add("admin", true, &[]).await
    }

    async fn add(&self, name: &str, administrator: bool, granted: &[Permission]) -> (UserId, Keys) {
        let new = NewUser {
            name: name.into(),
            display_name: format!("The {name}"),
            email: format!("{name}@example.org"),
            administrator,
            granted: granted.iter().copied().collect::<BTreeSet<_>>(),
        };
        let keys = Keys {
            native: keywheel::generate::native_key(&*self.api.dice),
            password_safe: keywheel::generate::password_safe_key(&*self.api.dice),
            itglue: keywheel::generate::itglue_key(&*self.api.dice),
        };
        let mut tx = self.store.begin().await.unwrap();
        let user_id = tx.insert_user(&new, NOON).await.unwrap();
        for (kind, key) in [
            (KeyKind::Native, &keys.native),
            (KeyKind::PasswordSafe, &keys.password_safe),
            (KeyKind::ItGlue, &keys.itglue),
        ] {
            let new = NewKey {
                kind,
                user_id,
                name: "test".into(),
                hash: KeyHash::of(key),
                prefix: KeyHash::prefix(key),
                addresses: Addresses::default(),
                expires_at: None,
                password_required: false,
                reach: Reach::whole(),
            };
            tx.insert_key(&new, NOON).await.unwrap();
        }
        tx.commit().await.unwrap();
        (user_id, keys)
    }

    /// A caller that is nobody.
    pub(crate) fn nobody(&self) -> Client {
        Client {
            router: None,
            api: self.api.clone(),
            header: None,
            base: "",
            address: None,
        }
    }

    /// A caller with a live session of the dialect; paths are below its base.
    pub(crate) async fn session(&self, keys: &Keys) -> Client {
        let answer = sign_in(&self.nobody(), &keys.ps_auth()).await.expect(200);
        let cookie = answer
            .header(header::SET_COOKIE)
            .split(';')
            .next()
            .unwrap()
            .to_owned();
        Client {
            router: None,
            api: self.api.clone(),
            header: Some((header::COOKIE, cookie)),
            base: PS,
            address: None,
        }
    }

    /// A caller with a key of the IT Glue dialect; paths are below its base.
    pub(crate) fn itglue(&self, keys: &Keys) -> Client {
        let key = text(&keys.itglue).to_owned();
        let name = header::HeaderName::from_static("x-api-key");
        Client {
            header: Some((name, key)),
            base: "/itglue",
            ..self.nobody()
        }
    }

    /// A caller with a native key.
    pub(crate) fn native(&self, keys: &Keys) -> Client {
        let bearer = format!("Bearer {}", text(&keys.native));
        Client {
            router: None,
            api: self.api.clone(),
            header: Some((header::AUTHORIZATION, bearer)),
            base: "/api/v1",
            address: None,
        }
    }
}

/// A user's keys.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) native: SecretString,
    pub(crate) password_safe: SecretString,
    pub(crate) itglue: SecretString,
}

impl Keys {
    pub(crate) fn ps_auth(&self) -> String {
        format!("PS-Auth key={};", text(&self.password_safe))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "test keys are sent as a client sends them"
)]
pub(crate) fn text(secret: &SecretString) -> &str {
    use secrecy::ExposeSecret;
    secret.expose_secret()
}

pub(crate) async fn sign_in(client: &Client, header: &str) -> Answer {
    let request = Request::post(format!("{PS}/Auth/SignAppin"))
        .header(header::AUTHORIZATION, header)
        .body(Body::empty())
        .unwrap();
    client.send(request).await
}

impl Client {
    /// The same caller, asking the service as it now is: to build it takes longer than to answer.
    pub(crate) fn kept(self) -> Self {
        Self {
            router: Some(self.service()),
            ..self
        }
    }

    fn service(&self) -> Router {
        let kept = self.router.clone();
        kept.unwrap_or_else(|| router(self.api.clone()))
    }

    /// The same caller from this address.
    pub(crate) fn from(&self, address: &str) -> Self {
        Self {
            address: Some(address.parse().unwrap()),
            ..self.clone()
        }
    }

    /// The same caller, but asking below another base.
    pub(crate) fn below(&self, base: &'static str) -> Self {
        Self {
            base,
            ..self.clone()
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (answer, body) = self.whole(request).await;
        Answer {
            body: String::from_utf8(body).unwrap(),
            ..answer
        }
    }

    /// The bytes of an answer that need be no text.
    pub(crate) async fn fetch(&self, path: &str) -> (Answer, Vec<u8>) {
        let request = Request::get(format!("{}{path}", self.base));
        self.whole(request.body(Body::empty()).unwrap()).await
    }

    async fn whole(&self, mut request: Request<Body>) -> (Answer, Vec<u8>) {
        if let Some((name, value)) = &self.header {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        if let Some(address) = self.address {
            let peer = ConnectInfo(SocketAddr::from((address, 40_000)));
            request.extensions_mut().insert(peer);
        }
        let response = self.service().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 8_000_000).await.unwrap();
        let answer = Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::new(),
        };
        (answer, body.to_vec())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None, &[]).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, Some(body), &[]).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.call("PUT", path, Some(body), &[]).await
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).unwrap()).await
    }
}
