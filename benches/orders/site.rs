//! The service as it is shipped, in a process of its own, over many accounts.
//!
//! No ordered job begins: every session that a system allows counts as taken, as though long work
//! were under way on each.
//!
//! Invariant: the settings are the service's own, but for the budgets of one key, which would be
//! spent within seconds.

use std::net::SocketAddr;

use keywheel::model::id::NodeId;
use keywheel::store::{Backend, Store};
use sqlx::AnyPool;

use super::daemon::{Daemon, Home};
use super::database::Database;
use super::load::{Line, header, request};
use super::queue::{Queue, account_id};

const SYSTEMS: usize = 100;
const ACCOUNTS_EACH: usize = 2_000;
/// Jobs and accounts are told apart by these ids.
const FIRST_SYSTEM: usize = 1;

/// A running service.
pub(crate) struct Site {
    daemon: Daemon,
    key: String,
    pub(crate) address: SocketAddr,
    pool: AnyPool,
    /// Used by the service, and gone after it.
    _home: Home,
    _database: Database,
}

impl Site {
    pub(crate) async fn open(backend: Backend) -> Self {
        let database = Database::durable(backend).await;
        let url = match backend {
            Backend::Sqlite => {
                let path = database.url.strip_prefix("sqlite://").unwrap();
                format!("sqlite:{}", path.strip_suffix("?mode=rwc").unwrap())
            }
            Backend::Postgres => database.url.clone(),
        };
        let home = Home::new();
        let settings = [
            ("KEYWHEEL_DATABASE__URL", url.as_str()),
            ("KEYWHEEL_DATABASE__AUTO_MIGRATE", "true"),
            ("KEYWHEEL_AUTH__REQUESTS_PER_MINUTE", "1000000"),
        ];
        // The first start makes the schema and the administrator; what follows needs both.
        assert_eq!(home.serve_with(&settings).stop(), 0);
        let pool = fill(&database).await;
        let daemon = home.serve_with(&settings);
        let address = daemon.url.strip_prefix("http://").unwrap().parse().unwrap();
        Self {
            key: home.keys().1,
            daemon,
            address,
            pool,
            _home: home,
            _database: database,
        }
    }

    /// A new session's cookie.
    pub(crate) fn sign_in(&self, line: &mut Line) -> String {
        let head = format!(
            "POST {}/Auth/SignAppin HTTP/1.1\r\nHost: bench\r\n\
             Authorization: PS-Auth key={}; runas=admin;\r\nContent-Length: 0\r\n\r\n",
            super::load::BASE,
            self.key
        );
        let answer = line.ask(head.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.head);
        let cookie = header(answer.head, "set-cookie").unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }

    /// Resident memory of the service's process, in KiB.
    pub(crate) fn memory_kib(&self) -> i64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.daemon.pid()));
        let status = status.unwrap();
        let line = header(&status, "VmRSS").unwrap();
        line.trim_end_matches(" kB").parse().unwrap()
    }

    /// Processor time of the service so far, in seconds.
    pub(crate) fn processor_s(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.daemon.pid())).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u32 = ticks.map(|field| field.parse::<u32>().unwrap()).sum();
        f64::from(ticks) / 100.0 // a tick is 10 ms on every Linux that Debian builds
    }

    /// What is on record: (open jobs, orders in the audit trail).
    pub(crate) async fn recorded(&self) -> (i64, i64) {
        sqlx::query_as(
            "SELECT (SELECT COUNT(*) FROM jobs WHERE state = 'queued'),
                    (SELECT COUNT(*) FROM audit WHERE event = 'change.ordered')",
        )
        .fetch_one(&self.pool)
        .await
        .unwrap()
    }

    pub(crate) fn stop(self) {
        assert_eq!(self.daemon.stop(), 0);
    }
}

/// Systems and accounts, each of which can be ordered a change.
async fn fill(database: &Database) -> AnyPool {
    let store = Store::connect(&database.options()).await.unwrap();
    let queue = Queue {
        store,
        pool: AnyPool::connect(&database.url).await.unwrap(),
        node: NodeId(0),
    };
    for system in (FIRST_SYSTEM..).take(SYSTEMS) {
        let accounts = i64::try_from(ACCOUNTS_EACH).unwrap();
        let system = i64::try_from(system).unwrap();
        queue.system(system, 1, 100, accounts).await;
    }
    queue
        .write("UPDATE accounts SET use_own_credentials = 1, api_enabled = 1")
        .await;
    queue
        .write("UPDATE systems SET running = max_sessions")
        .await;
    queue.store.analyze().await.unwrap();
    queue.store.close().await;
    queue.pool
}

fn nth_account(nth: usize) -> (i64, i64) {
    assert!(nth < SYSTEMS * ACCOUNTS_EACH, "more orders than accounts");
    // The systems take turns.
    let system = i64::try_from(FIRST_SYSTEM + nth % SYSTEMS).unwrap();
    (system, i64::try_from(nth / SYSTEMS + 1).unwrap())
}

/// Orders a change of the nth account.
pub(crate) fn order(nth: usize, cookie: &str) -> Vec<u8> {
    let (system, account) = nth_account(nth);
    let path = format!(
        "ManagedAccounts/{}/Credentials/Change",
        account_id(system, account).0
    );
    request("POST", &path, cookie, r#"{"Queue":true}"#)
}

/// The nth request of a kind, with a session's cookie.
pub(crate) type Nth = fn(usize, &str) -> Vec<u8>;

/// Reads of three kinds: their names, and the nth of each.
pub(crate) const READS: [(&str, Nth); 3] = [
    ("GET ManagedAccounts/{id}", |nth, cookie| {
        let (system, account) = nth_account(nth % 10_000);
        let path = format!("ManagedAccounts/{}", account_id(system, account).0);
        request("GET", &path, cookie, "")
    }),
    ("GET ManagedSystems/{id}", |nth, cookie| {
        let path = format!("ManagedSystems/{}", nth_account(nth % 10_000).0);
        request("GET", &path, cookie, "")
    }),
    (
        "GET ManagedAccounts?systemName&accountName",
        |nth, cookie| {
            let (system, account) = nth_account(nth % 10_000);
            let path = format!("ManagedAccounts?systemName=host{system}&accountName=user{account}");
            request("GET", &path, cookie, "")
        },
    ),
];
