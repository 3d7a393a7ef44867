//! Reveals at speed while the service is killed: who was told is compared with what left.
//!
//! Invariant: every value that was answered has its notice at the receiver in the end.

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

use crate::support::client::Client;
use crate::support::daemon::{Daemon, Home};
use crate::support::database::{Database, on_both};
use crate::support::receiver::Receiver;
use crate::support::wait::{LIMIT, until};

/// Connections that reveal at once, and the records of each.
const CALLERS: usize = 8;
const RECORDS_EACH: usize = 5;
const KILLS: usize = 2;
/// How long the service is asked before each kill, and after the last one.
const LIFE: Duration = Duration::from_millis(1_500);
/// How long the service is asked at full speed where nobody kills it.
const LASTS: Duration = Duration::from_secs(3);
/// Reveals one after another.
const ALONE: usize = 20;
/// A notice takes milliseconds; whoever waits for the next look at the outbox takes a second.
const SOON: Duration = Duration::from_secs(2);

/// A record and its value.
type Record = (i64, String);

/// A service's files and the receiver that it tells.
struct Scene {
    clock: SharedClock,
    home: Home,
    database: Database,
    receiver: Receiver,
}

impl Scene {
    async fn on(database: Database) -> Self {
        Self {
            clock: SystemClock::shared(),
            home: Home::new(),
            database,
            receiver: Receiver::start().await,
        }
    }

    fn serve(&self) -> Daemon {
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
    async fn sent(&self) {
        until("every notice is sent", async || {
            let left =
                "SELECT state, COUNT(*) FROM deliveries WHERE state <> 'sent' GROUP BY state";
            self.rows(left).await.is_empty().then_some(())
        })
        .await;
    }
}

/// What is asked of a service: its records, and with which key.
struct Asked {
    glue: Glue,
    records: Vec<Record>,
    /// What the webhooks are signed with.
    signing_key: Vec<u8>,
}

/// A client of the IT Glue dialect.
#[derive(Clone)]
struct Glue {
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
    async fn reveals(&self, url: &str, (record, value): &Record) -> bool {
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
async fn furnish(scene: &Scene, daemon: &Daemon, path: &str) -> Asked {
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
struct Crowd {
    /// Where the service is; `None` while it is down. Dropped: it is enough.
    place: watch::Sender<Option<String>>,
    answered: Arc<AtomicUsize>,
    callers: JoinSet<BTreeMap<i64, usize>>,
}

impl Crowd {
    fn start(asked: &Asked, daemon: &Daemon) -> Self {
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

    fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    /// How many reveals of each record were answered.
    async fn end(self) -> BTreeMap<i64, usize> {
        drop(self.place);
        let all = self.callers.join_all().await;
        all.into_iter().flatten().collect()
    }
}

/// What the receiver has got.
struct Told {
    /// With what came twice or more.
    came: usize,
    /// The reveals of each record whose notice was answered.
    of: BTreeMap<i64, BTreeSet<String>>,
}

impl Told {
    /// Every notice is signed, and one that came again is the same.
    fn read(receiver: &Receiver, signing_key: &[u8]) -> Self {
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

    fn reveals(&self) -> usize {
        self.of.values().map(BTreeSet::len).sum()
    }
}

/// Nobody saw a value without its notice, and nothing is told that is not on record.
async fn agree(scene: &Scene, answered: &BTreeMap<i64, usize>, told: &Told) {
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

fn rate(count: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / took.as_secs_f64()
}

on_both!(
    no_notice_of_an_answered_reveal_is_lost_when_the_service_is_killed,
    |db| {
        let scene = Scene::on(db).await;
        let mut daemon = scene.serve();
        let asked = furnish(&scene, &daemon, "/slowly").await;
        let crowd = Crowd::start(&asked, &daemon);
        let (mut up, mut waiting) = (Duration::ZERO, 0);
        for life in 0..=KILLS {
            let (began, before) = (scene.clock.monotonic(), crowd.answered());
            scene.clock.sleep(LIFE).await;
            assert!(crowd.answered() > before, "nobody was answered");
            up += scene.clock.monotonic().saturating_sub(began);
            if life < KILLS {
                daemon.kill();
                crowd.place.send_replace(None);
                let told = Told::read(&scene.receiver, &asked.signing_key);
                waiting += crowd.answered().saturating_sub(told.reveals());
                daemon = scene.serve();
                crowd.place.send_replace(Some(daemon.url.clone()));
            }
        }
        let answered = crowd.end().await;
        scene.sent().await;
        assert_eq!(daemon.stop(), 0);
        let told = Told::read(&scene.receiver, &asked.signing_key);
        agree(&scene, &answered, &told).await;
        let (count, reveals) = (answered.values().sum::<usize>(), told.reveals());
        let again = told.came - reveals;
        println!(
            "reveals, {:?}: {:.0} a second, {KILLS} kills, {count} answered, {reveals} told, \
             {again} told again, {waiting} not yet told when the service was killed",
            scene.database.backend,
            rate(count, up)
        );
        assert!(waiting + again > 0, "no kill met a notice on its way");
    }
);

on_both!(a_notice_comes_soon_after_its_reveal, |db| {
    let scene = Scene::on(db).await;
    let daemon = scene.serve();
    let asked = furnish(&scene, &daemon, "/quick").await;
    let (glue, record) = (&asked.glue, &asked.records[0]);
    let mut took = Vec::new();
    for nth in 0..ALONE {
        assert!(glue.reveals(&daemon.url, record).await);
        let began = scene.clock.monotonic();
        let since = || scene.clock.monotonic().saturating_sub(began);
        while scene.receiver.received().len() == nth {
            assert!(since() < LIMIT, "a notice does not come");
            scene.clock.sleep(Duration::from_millis(1)).await;
        }
        took.push(since());
        scene.sent().await;
    }
    took.sort();
    let (median, longest) = (took[ALONE / 2], took[ALONE - 1]);
    assert!(median < SOON, "{took:?}");

    let (began, crowd) = (scene.clock.monotonic(), Crowd::start(&asked, &daemon));
    scene.clock.sleep(LASTS).await;
    let mut answered = crowd.end().await;
    let ended = scene.clock.monotonic();
    *answered.entry(record.0).or_default() += ALONE;
    scene.sent().await;
    let drained = scene.clock.monotonic().saturating_sub(ended);
    assert_eq!(daemon.stop(), 0);
    let told = Told::read(&scene.receiver, &asked.signing_key);
    agree(&scene, &answered, &told).await;
    let (count, reveals) = (answered.values().sum::<usize>(), told.reveals());
    assert_eq!((count, told.came), (reveals, reveals), "each is told once");
    println!(
        "reveals, {:?}: told {median:?} after the answer, at most {longest:?}; {:.0} reveals a \
         second by {CALLERS} callers, all told {drained:?} later",
        scene.database.backend,
        rate(count - ALONE, ended.saturating_sub(began))
    );
});
