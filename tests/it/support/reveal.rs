//! A service whose values are revealed at speed, callers who do so, and who is told of it.
//!
//! Invariant: what was answered, what was told and what stands in the trail are counted apart.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keywheel::clock::{SharedClock, SystemClock};
use keywheel::model::id::PasswordRecordId;
use keywheel::store::Backend;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::client::Client;
use super::daemon::{Daemon, Home};
use super::database::Database;
use super::receiver::Receiver;
use super::wait::until;

/// Connections that reveal at once, and the records of each.
pub(crate) const CALLERS: usize = 8;
const RECORDS_EACH: usize = 5;

/// A record and its value.
pub(crate) type Record = (i64, String);

/// A service's files and the receiver that it tells.
pub(crate) struct Scene {
    pub(crate) clock: SharedClock,
    home: Home,
    pub(crate) database: Database,
    pub(crate) receiver: Receiver,
}

impl Scene {
    pub(crate) async fn on(database: Database) -> Self {
        Self {
            clock: SystemClock::shared(),
            home: Home::new(),
            database,
            receiver: Receiver::start().await,
        }
    }

    pub(crate) fn serve(&self) -> Daemon {
        let mut variables = vec![
            ("KEYWHEEL_NOTIFY__ALLOW_ADDRESSES", "127.0.0.1"),
            ("KEYWHEEL_ITGLUE__REQUESTS_PER_5_MINUTES", "1000000"),
            // PostgreSQL's nodes learn by a silence that one of them is dead.
            ("KEYWHEEL_QUEUE__BEAT_EVERY_S", "1"),
            ("KEYWHEEL_QUEUE__DEAD_AFTER_S", "5"),
        ];
        if self.database.backend == Backend::Postgres {
            variables.push(("KEYWHEEL_DATABASE__URL", &self.database.url));
            variables.push(("KEYWHEEL_DATABASE__AUTO_MIGRATE", "true"));
        }
        self.home.serve_with(&variables)
    }

    /// The tables, past the service.
    async fn rows(&self, sql: &'static str) -> Vec<(String, i64)> {
        sqlx::any::install_default_drivers();
        let file = format!("sqlite://{}", self.home.data("keywheel.db").display());
        let url = match self.database.backend {
            Backend::Sqlite => &file,
            Backend::Postgres => &self.database.url,
        };
        let pool = sqlx::AnyPool::connect(url).await.unwrap();
        let rows = sqlx::query_as(sql).fetch_all(&pool).await.unwrap();
        pool.close().await;
        rows
    }

    /// Waits until the service has nothing left to send.
    pub(crate) async fn sent(&self) {
        until("every notice is sent", async || {
            let left =
                "SELECT state, COUNT(*) FROM deliveries WHERE state <> 'sent' GROUP BY state";
            self.rows(left).await.is_empty().then_some(())
        })
        .await;
    }
}

/// What is asked of a service: its records, and with which key.
pub(crate) struct Asked {
    pub(crate) glue: Glue,
    pub(crate) records: Vec<Record>,
    /// What the webhooks are signed with.
    pub(crate) signing_key: Vec<u8>,
}

/// A client of the IT Glue dialect.
#[derive(Clone)]
pub(crate) struct Glue {
    http: reqwest::Client,
    key: String,
}

impl Glue {
    fn new(home: &Home) -> Self {
        let text = std::fs::read_to_string(home.data("admin-credentials.toml")).unwrap();
        let table: toml::Table = toml::from_str(&text).unwrap();
        Self {
            http: reqwest::Client::new(),
            key: table["itglue_key"].as_str().unwrap().to_owned(),
        }
    }

    /// The id of what was made.
    async fn make(&self, url: &str, kind: &str, attributes: &Value) -> i64 {
        let document = json!({"data": {"type": kind, "attributes": attributes}});
        let call = self.http.post(format!("{url}/itglue/{kind}"));
        let call = call.header("x-api-key", &self.key).json(&document);
        let made: Value = call.send().await.unwrap().json().await.unwrap();
        let id = made["data"]["id"].as_str();
        id.unwrap_or_else(|| panic!("{made}")).parse().unwrap()
    }

    /// True if the value was answered; false if the connection broke.
    pub(crate) async fn reveals(&self, url: &str, (record, value): &Record) -> bool {
        let path = format!("{url}/itglue/passwords/{record}?show_password=true");
        let call = self.http.get(path).header("x-api-key", &self.key);
        let Ok(answer) = call.send().await else {
            return false;
        };
        let status = answer.status().as_u16();
        let Ok(body) = answer.text().await else {
            return false;
        };
        assert_eq!(status, 200, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["data"]["attributes"]["password"], **value);
        true
    }
}

/// Records, and a workflow that tells each reveal to this path of the receiver.
pub(crate) async fn furnish(scene: &Scene, daemon: &Daemon, path: &str) -> Asked {
    let (glue, url) = (Glue::new(&scene.home), &daemon.url);
    let acme = json!({"name": "Acme"});
    let of = glue.make(url, "organizations", &acme).await;
    let mut records = Vec::new();
    for nth in 0..CALLERS * RECORDS_EACH {
        let value = format!("s3cret-{nth}");
        let attributes = json!({
            "name": format!("Login {nth}"), "organization-id": of, "password": value,
        });
        let id = glue.make(url, "passwords", &attributes).await;
        records.push((id, value));
    }
    let workflow = json!({
        "trigger": "password_access", "name": "Every reveal", "status": "on",
        "failure_email": "secops@example.org",
        "actions": [{
            "type": "webhook", "name": "SIEM", "url": scene.receiver.url(path),
            "payload": {"event": "[event_id]", "record": "[resource_id]"},
        }],
    });
    let native = Client::new(url, &scene.home.keys().0);
    let made = native.order("/api/v1/workflows", &workflow).await;
    let made = made.expect(201).json();
    let secret = made["actions"][0]["signing_secret"].as_str().unwrap();
    let signing_key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap());
    Asked {
        glue,
        records,
        signing_key: signing_key.unwrap(),
    }
}

/// Callers that reveal as fast as they can, wherever the service is.
pub(crate) struct Crowd {
    /// Where the service is; `None` while it is down. Dropped: it is enough.
    pub(crate) place: watch::Sender<Option<String>>,
    answered: Arc<AtomicUsize>,
    callers: JoinSet<BTreeMap<i64, usize>>,
}

impl Crowd {
    pub(crate) fn start(asked: &Asked, daemon: &Daemon) -> Self {
        let (place, _) = watch::channel(Some(daemon.url.clone()));
        let answered = Arc::new(AtomicUsize::new(0));
        let mut callers = JoinSet::new();
        for records in asked.records.chunks(RECORDS_EACH) {
            let (glue, records) = (asked.glue.clone(), records.to_vec());
            let (mut place, answered) = (place.subscribe(), answered.clone());
            callers.spawn(async move {
                let mut of = BTreeMap::new();
                for record in records.iter().cycle() {
                    if place.has_changed().is_err() {
                        break;
                    }
                    let found = place.wait_for(Option::is_some).await.unwrap().clone();
                    if glue.reveals(&found.unwrap(), record).await {
                        *of.entry(record.0).or_default() += 1;
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                }
                of
            });
        }
        Self {
            place,
            answered,
            callers,
        }
    }

    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    /// How many reveals of each record were answered.
    pub(crate) async fn end(self) -> BTreeMap<i64, usize> {
        drop(self.place);
        let all = self.callers.join_all().await;
        all.into_iter().flatten().collect()
    }
}

/// What the receiver has got.
pub(crate) struct Told {
    /// With what came twice or more.
    pub(crate) came: usize,
    /// The reveals of each record whose notice was answered.
    of: BTreeMap<i64, BTreeSet<String>>,
}

impl Told {
    /// Every notice is signed, and one that came again is the same.
    pub(crate) fn read(receiver: &Receiver, signing_key: &[u8]) -> Self {
        let came = receiver.received();
        let mut of: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
        let (mut bodies, mut ids) = (HashMap::new(), HashMap::new());
        for one in &came {
            assert_eq!(
                one.header("webhook-signature"),
                one.signature(signing_key),
                "{one:?}"
            );
            let id = one.header("webhook-id").to_owned();
            let notice = one.json();
            let event = notice["event"].as_str().unwrap().to_owned();
            let body = bodies.entry(id.clone()).or_insert(&one.body);
            assert_eq!(*body, &one.body, "delivery {id} has changed");
            let known = ids.entry(event.clone()).or_insert(id.clone());
            assert_eq!(*known, id, "reveal {event} has two deliveries");
            let record = notice["record"].as_str().unwrap().parse().unwrap();
            // A service that died may not count on what it was not answered.
            if one.answered {
                of.entry(record).or_default().insert(event);
            }
        }
        let came = came.len();
        Self { came, of }
    }

    pub(crate) fn reveals(&self) -> usize {
        self.of.values().map(BTreeSet::len).sum()
    }
}

/// Nobody saw a value without its notice, and nothing is told that is not on record.
pub(crate) async fn agree(scene: &Scene, answered: &BTreeMap<i64, usize>, told: &Told) {
    for (record, answered) in answered {
        let told = told.of.get(record).map_or(0, BTreeSet::len);
        assert!(
            told >= *answered,
            "record {record}: {answered} reveals were answered, {told} told"
        );
    }
    let viewed = "SELECT subject, COUNT(*) FROM audit WHERE event = 'password.viewed'
                  GROUP BY subject";
    let viewed: BTreeMap<_, _> = scene.rows(viewed).await.into_iter().collect();
    let of = told.of.iter().map(|(record, events)| {
        let record = PasswordRecordId(*record).to_string();
        (record, i64::try_from(events.len()).unwrap())
    });
    assert_eq!(viewed, of.collect(), "the trail, and what was told");
}

pub(crate) fn rate(count: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / took.as_secs_f64()
}
