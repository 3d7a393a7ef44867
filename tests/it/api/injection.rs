//! Texts that would be commands to somebody: to the database, a shell, a directory, a browser, a
//! log or whoever reads headers. Every field of every route that writes takes them as text, or
//! refuses them in words; every parameter of a path or query too.
//!
//! Invariant: a route that writes and is not in the table fails the test that walks it.

mod parameter;
mod table;

use std::collections::BTreeSet;

use axum::http::header;
use keywheel::api::{Dialect, Settings, declared};
use keywheel::store::Backend;
use serde_json::{Value, json};

use self::table::Row;
use super::world::{Answer, Client, NOON, Target, World};

/// Stands in every hostile text: no refusal repeats it.
const MARK: &str = "Kw7Mark";

/// What stands behind the mark.
const HOSTILE: [&str; 9] = [
    "'; DROP TABLE users; --%_\\",
    "\0",
    "\r\nSet-Cookie: ASP.NET_SessionId=x",
    "/../../etc/passwd..%2f..%2fshadow",
    " $(id)`id`;id|id&-R",
    "*)(uid=*))(|(cn=*,dc=x\\2c",
    "\u{202e}\u{200b}\u{feff}e\u{301}\u{130}",
    "\u{1b}[2J\u{7}",
    "\"'<script>{{7*7}}${x}</script>",
];

/// Headers that an answer may have, each once.
const HEADERS: [&str; 16] = [
    "allow",
    "cache-control",
    "content-disposition",
    "content-length",
    "content-security-policy",
    "content-type",
    "etag",
    "link",
    "location",
    "pragma",
    "referrer-policy",
    "retry-after",
    "vary",
    "x-content-type-options",
    "x-frame-options",
    "www-authenticate",
];

/// A service with a system and two accounts, its administrator's session and native client, and
/// what nobody writes to.
struct Stage {
    /// Dropped last: its database ends with it.
    _world: World,
    session: Client,
    native: Client,
    itglue: Client,
    count: u32,
}

impl Stage {
    async fn on(backend: Backend) -> Self {
        // What may be asked for in a minute is tested elsewhere; here no minute passes.
        let settings = Settings {
            requests_per_minute: 1_000_000,
            reveals_per_minute: 1_000_000,
            quarantines_per_minute: 1_000_000,
            itglue_per_5_minutes: 1_000_000,
            failures_by_address: keywheel::api::Rate::per_minute(1_000_000),
            failures_by_name: keywheel::api::Rate::per_minute(1_000_000),
            ..Settings::default()
        };
        let world = World::on(backend, settings).await;
        let (_, keys) = world.administrator().await;
        let session = world.session(&keys).await.kept();
        let native = world.native(&keys).below("").kept();
        let itglue = world.itglue(&keys).kept();
        let Target { system, root, ann } = world.target(&session).await;
        assert_eq!((system, root, ann), (1, 1, 2), "the table names them so");
        let requestable = json!({"ApiEnabled": true, "MaxConcurrentRequests": 0});
        let path = "/ManagedAccounts/1";
        session.put(path, &requestable).await.expect(200);
        let acme = keywheel::model::organization::OrganizationFields::named("Acme");
        let mut tx = world.store.begin().await.unwrap();
        tx.insert_organization(&acme, NOON).await.unwrap();
        tx.commit().await.unwrap();
        let policy = json!({"name": "first", "max_age": "90d"});
        native.post("/api/v1/policies", &policy).await.expect(201);
        for name in ["bystander", "other"] {
            let user = json!({"name": name, "display_name": "Stands by", "email": "by@x.test"});
            native.post("/api/v1/users", &user).await.expect(201);
            native
                .post("/api/v1/groups", &json!({"name": name}))
                .await
                .expect(201);
            session
                .post("/Workgroups", &json!({"Name": name}))
                .await
                .expect(201);
        }
        Self {
            _world: world,
            session,
            native,
            itglue,
            count: 0,
        }
    }

    /// The rows that no call of the table means.
    async fn bystanders(&self) -> Vec<Value> {
        let mut seen = Vec::new();
        for path in [
            "/api/v1/users/2",
            "/api/v1/users/3",
            "/api/v1/groups/1",
            "/api/v1/groups/2",
        ] {
            seen.push(self.native.get(path).await.expect(200).json());
        }
        for path in [
            "/Workgroups/1",
            "/Workgroups/2",
            "/Workgroups/3",
            "/FunctionalAccounts/1",
            "/Assets/1",
        ] {
            let mut shown = self.session.get(path).await.expect(200).json();
            if path.starts_with("/F") || path.starts_with("/A") {
                shown = shown["PlatformID"].take(); // the table edits the rest
            }
            seen.push(shown);
        }
        seen
    }

    /// A body whose texts are its own, with this text in one of its places.
    fn body(&mut self, row: &Row, put: Option<(&str, &str)>) -> Value {
        self.count += 1;
        let mut body = row.body.clone();
        for pointer in texts(&body) {
            let place = body.pointer_mut(&pointer).unwrap();
            let own = place
                .as_str()
                .unwrap()
                .replace('#', &self.count.to_string());
            *place = match put {
                Some((here, text)) if here == pointer => json!(text),
                _ => json!(own),
            };
        }
        body
    }

    async fn send(&self, row: &Row, dialect: Dialect, body: &Value) -> Answer {
        let path = if row.path.is_empty() {
            row.template
        } else {
            row.path
        };
        if dialect != Dialect::Native {
            let client = self.client(dialect);
            return client.call(row.method, path, Some(body), &[]).await;
        }
        let headers: &[(&str, &str)] = if matches!(row.method, "PATCH" | "PUT") {
            &[("If-Match", "*")]
        } else {
            &[]
        };
        self.native
            .call(row.method, path, Some(body), headers)
            .await
    }

    fn client(&self, dialect: Dialect) -> &Client {
        match dialect {
            Dialect::PasswordSafe => &self.session,
            Dialect::ItGlue => &self.itglue,
            Dialect::Native => &self.native,
        }
    }

    /// Whether this text stands somewhere, byte for byte: in the answer, in the audit trail, or
    /// where the row says.
    async fn is_kept(&self, (row, dialect): (&Row, Dialect), answer: &Answer, text: &str) -> bool {
        let found = |answer: &Answer| {
            let all = serde_json::from_str::<Value>(&answer.body).unwrap_or_default();
            holds(&all, text)
        };
        let audit = self.native.get("/api/v1/audit?limit=5").await.expect(200);
        if found(answer) || found(&audit) {
            return true;
        }
        let location = answer.header(header::LOCATION).to_owned();
        for path in [location.as_str(), row.back] {
            if !path.is_empty() {
                let client = if path.starts_with("/Bey") {
                    self.session.below("")
                } else {
                    self.native.clone()
                };
                if found(&client.get(path).await.expect(200)) {
                    return true;
                }
            }
        }
        let path = row.path.split('?').next().unwrap_or_default();
        !path.is_empty() && found(&self.client(dialect).get(path).await)
    }

    /// Walks a table; returns how many texts were kept and how many refused.
    async fn walk(&mut self, rows: &[Row], dialect: Dialect, hostile: &[&str]) -> (usize, usize) {
        let (mut kept, mut refused, mut faults) = (0, 0, Vec::new());
        for row in rows.iter().filter(|row| !row.body.is_null()) {
            let honest = self.body(row, None);
            let answer = self.send(row, dialect, &honest).await;
            let name = format!("{} {}", row.method, row.template);
            // An honest body is taken, or the table is wrong; what a state forbids apart.
            let needs_more = ["/requests/", "token", "/sessions", "/totp/", "/test-action"];
            if !answer.status.is_success() && !needs_more.iter().any(|one| name.contains(one)) {
                faults.push(format!("{name} refuses its honest body: {answer:?}"));
            }
            let before = self.bystanders().await;
            for pointer in texts(&row.body) {
                for hostile in hostile {
                    self.count += 1;
                    let text = format!("{MARK}{}{hostile}", self.count);
                    let body = self.body(row, Some((&pointer, &text)));
                    let answer = self.send(row, dialect, &body).await;
                    let case = format!("{name} {pointer} {text:?}");
                    faults
                        .extend(fault(&answer).map(|fault| format!("{case}: {fault}: {answer:?}")));
                    // An import answers for each row.
                    let bad_row = answer.body.contains("\"status\":\"invalid\"");
                    if answer.status.is_client_error() || bad_row {
                        refused += 1;
                    } else if row.unshown.contains(&pointer.as_str())
                        || self.is_kept((row, dialect), &answer, &text).await
                    {
                        kept += 1;
                    } else {
                        faults.push(format!("{case}: taken, and found nowhere: {answer:?}"));
                    }
                }
            }
            assert_eq!(self.bystanders().await, before, "{name}");
        }
        assert!(
            faults.is_empty(),
            "{} faults:\n{}",
            faults.len(),
            faults.join("\n")
        );
        (kept, refused)
    }
}

/// Pointers to every text of a body.
fn texts(body: &Value) -> Vec<String> {
    let below = |name: &str, value: &Value| -> Vec<String> {
        let name = name.replace('~', "~0").replace('/', "~1");
        texts(value)
            .iter()
            .map(|rest| format!("/{name}{rest}"))
            .collect()
    };
    match body {
        Value::String(_) => vec![String::new()],
        Value::Array(all) => all
            .iter()
            .enumerate()
            .flat_map(|(nth, one)| below(&nth.to_string(), one))
            .collect(),
        Value::Object(all) => all
            .iter()
            .flat_map(|(name, one)| below(name, one))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

fn holds(all: &Value, text: &str) -> bool {
    match all {
        // The audit trail shows some texts within JSON of their own.
        Value::String(own) => {
            own == text
                || serde_json::from_str(own)
                    .is_ok_and(|inner: Value| !inner.is_string() && holds(&inner, text))
        }
        Value::Array(all) => all.iter().any(|one| holds(one, text)),
        Value::Object(all) => all.values().any(|one| holds(one, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What no answer to a hostile text may be.
fn fault(answer: &Answer) -> Option<String> {
    let allowed = [
        200, 201, 202, 204, 303, 400, 401, 403, 404, 405, 409, 410, 412, 422,
    ];
    if !allowed.contains(&answer.status.as_u16()) {
        return Some("no such answer".to_owned());
    }
    for name in answer.headers.keys() {
        let once = answer.headers.get_all(name).iter().count() == 1;
        if !HEADERS.contains(&name.as_str()) || !once {
            return Some(format!("the header {name}"));
        }
    }
    if answer.status.is_client_error() && (answer.body.len() < 4 || answer.body.contains(MARK)) {
        return Some("a refusal says why, and repeats nothing".to_owned());
    }
    None
}

fn declared_writes(dialect: Dialect) -> BTreeSet<(&'static str, &'static str)> {
    let routes = declared()
        .into_iter()
        .filter(|route| route.dialect == dialect && route.method != "GET");
    routes.map(|route| (route.method, route.path)).collect()
}

fn listed(rows: &[Row]) -> BTreeSet<(&'static str, &'static str)> {
    rows.iter().map(|row| (row.method, row.template)).collect()
}

#[test]
fn every_route_that_writes_is_in_the_table() {
    for (dialect, rows) in [
        (Dialect::Native, table::native()),
        (Dialect::PasswordSafe, table::dialect()),
        (Dialect::ItGlue, table::itglue()),
    ] {
        let (declared, listed) = (declared_writes(dialect), listed(&rows));
        let missing: Vec<_> = declared.difference(&listed).collect();
        let gone: Vec<_> = listed.difference(&declared).collect();
        assert!(
            missing.is_empty() && gone.is_empty(),
            "missing: {missing:?}; gone: {gone:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_text_of_the_native_api_is_a_text_or_refused() {
    let mut stage = Stage::on(Backend::Sqlite).await;
    let (kept, refused) = stage
        .walk(&table::native(), Dialect::Native, &HOSTILE)
        .await;
    assert!(kept > 50 && refused > 50, "{kept} kept, {refused} refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_text_of_the_dialect_is_a_text_or_refused() {
    let mut stage = Stage::on(Backend::Sqlite).await;
    let (kept, refused) = stage
        .walk(&table::dialect(), Dialect::PasswordSafe, &HOSTILE)
        .await;
    assert!(kept > 50 && refused > 50, "{kept} kept, {refused} refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_text_of_the_it_glue_dialect_is_a_text_or_refused() {
    let mut stage = Stage::on(Backend::Sqlite).await;
    let (kept, refused) = stage
        .walk(&table::itglue(), Dialect::ItGlue, &HOSTILE)
        .await;
    assert!(kept > 50 && refused > 50, "{kept} kept, {refused} refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_takes_the_same_texts() {
    let mut stage = Stage::on(Backend::Postgres).await;
    let hostile = &HOSTILE[..2];
    let native = stage.walk(&table::native(), Dialect::Native, hostile).await;
    let dialect = stage
        .walk(&table::dialect(), Dialect::PasswordSafe, hostile)
        .await;
    // The native rows have edited the key of the other dialect.
    let mut stage = Stage::on(Backend::Postgres).await;
    let itglue = stage.walk(&table::itglue(), Dialect::ItGlue, hostile).await;
    assert!(
        native.0 > 5 && dialect.0 > 5 && itglue.0 > 5,
        "{native:?} {dialect:?} {itglue:?}"
    );
}
