//! Settings: what an operator may choose, their defaults and their limits.
//!
//! Layers, later wins: defaults, file, `conf.d/*.toml` beside it, `KEYWHEEL_SECTION__KEY`, flags.
//!
//! Invariant: nothing else reads the environment; every fault is reported at once, with the
//! setting's path and its layer; no setting prints a secret.

mod database;
mod escrow;
mod itglue;
mod layer;
mod load;
mod log;
mod notify;
mod rules;
mod secret_file;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::key::Addresses;

pub use database::{DatabaseTarget, DatabaseUrl};
pub use escrow::Escrow;
pub use itglue::ItGlue;
pub use load::{Fault, Faults, Inputs, Loaded, Shown, load};
pub use log::{Log, LogFormat, LogLevel};
pub use notify::{Notify, Smtp, SmtpSecurity};
pub use secret_file::{SecretFileError, read_secret_file};

/// Everything that can be set. Its `Debug` and its serialised form hide secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub server: Server,
    pub data: Data,
    pub database: Database,
    pub keyring: Keyring,
    pub escrow: Escrow,
    pub queue: Queue,
    pub scheduler: Scheduler,
    pub audit: Audit,
    pub connectors: Connectors,
    pub auth: Auth,
    pub itglue: ItGlue,
    pub smtp: Smtp,
    pub notify: Notify,
    pub reports: Reports,
    pub metrics: Metrics,
    pub log: Log,
}

/// The sections, as variables of the environment name them.
pub(crate) const SECTIONS: [&str; 16] = [
    "server",
    "data",
    "database",
    "keyring",
    "escrow",
    "queue",
    "scheduler",
    "audit",
    "connectors",
    "auth",
    "itglue",
    "smtp",
    "notify",
    "reports",
    "metrics",
    "log",
];

/// `[server]`: the HTTP listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port.
    pub listen: SocketAddr,
    /// The listener's certificate, then its chain: PEM. With `tls_key_file`, HTTPS alone is spoken.
    pub tls_certificate_file: Option<PathBuf>,
    /// The certificate's private key, PEM. A service credential `server.tls_key` has taken its
    /// place here already.
    pub tls_key_file: Option<PathBuf>,
    /// Authorities, PEM: a client without a certificate of one of them is refused.
    pub tls_client_ca_file: Option<PathBuf>,
    /// True: passwords may cross the network in the clear; a proxy in front does TLS.
    pub allow_plain_http: bool,
    /// Longest request body.
    pub body_max_bytes: u32,
    /// Longest that one request may take, waiting for a job included.
    pub request_timeout_s: u32,
    /// Longest wait for open requests and running changes when the service stops.
    pub drain_timeout_s: u32,
    /// Proxies whose `X-Forwarded-For` is believed: networks, with commas between them.
    pub trusted_proxies: Addresses,
    /// Where people reach the service, for links. Without it: the listener's URL, or as it was called.
    pub public_url: Option<String>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7420)),
            tls_certificate_file: None,
            tls_key_file: None,
            tls_client_ca_file: None,
            allow_plain_http: false,
            body_max_bytes: 1_048_576,
            request_timeout_s: 300,
            drain_timeout_s: 120,
            trusted_proxies: Addresses::default(),
            public_url: None,
        }
    }
}

impl Server {
    /// Where people reach a service that answers at `listening`, without a slash at the end.
    pub fn public_url<'a>(&'a self, listening: &'a str) -> &'a str {
        let set = self.public_url.as_deref();
        set.unwrap_or(listening).trim_end_matches('/')
    }

    /// The same where the operator has said it.
    pub fn public_base(&self) -> Option<String> {
        let set = self.public_url.as_deref()?;
        Some(set.trim_end_matches('/').to_owned())
    }

    /// True if the listener speaks HTTPS, and nothing else.
    pub fn speaks_tls(&self) -> bool {
        self.tls_certificate_file.is_some() && self.tls_key_file.is_some()
    }

    /// Where a service of these settings answers that listens on `address`.
    pub fn url(&self, address: SocketAddr) -> String {
        let scheme = if self.speaks_tls() { "https" } else { "http" };
        format!("{scheme}://{address}")
    }
}

/// `[data]`: files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// Folder of the service's files; made with mode 0700.
    pub dir: PathBuf,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("./keywheel-data"),
        }
    }
}

/// `[database]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `sqlite`, `sqlite:FILE` or `postgres://…`.
    pub url: DatabaseUrl,
    /// A file that holds the URL instead.
    pub url_file: Option<PathBuf>,
    /// True: PostgreSQL's schema is brought up at start. SQLite's always is.
    pub auto_migrate: bool,
    /// Connections to PostgreSQL; reading connections to SQLite, which has one more to write.
    pub connections: u32,
    /// Longest wait for a free connection; what waited longer is tried again later.
    pub acquire_timeout_s: u32,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: DatabaseUrl::default(),
            url_file: None,
            auto_migrate: false,
            connections: 10,
            acquire_timeout_s: 30,
        }
    }
}

/// `[keyring]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keyring {
    /// The file of the key-encryption key, 32 bytes. Without it: `kek.key` in `data.dir`.
    pub kek_file: Option<PathBuf>,
}

/// `[queue]`: how jobs are claimed, run and retried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    /// Target sessions that this node holds at once.
    pub sessions: u32,
    /// Most accounts of one claim; a managed system may allow fewer.
    pub batch_max: u32,
    /// How often to look for work that no notice announced.
    pub poll_ms: u32,
    /// Attempts before a job ends as failed.
    pub attempts_max: u32,
    /// Wait before the second attempt; doubles with each further one.
    pub retry_first_s: u32,
    /// Longest wait between attempts, before half to one and a half times of it are drawn.
    pub retry_max_s: u32,
    /// How often a node shows that it lives.
    pub beat_every_s: u32,
    /// Silence after which its peers take over its work.
    pub dead_after_s: u32,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            sessions: 16,
            batch_max: 1_000,
            poll_ms: 1_000,
            attempts_max: 5,
            retry_first_s: 60,
            retry_max_s: 3_600,
            beat_every_s: 5,
            dead_after_s: 30,
        }
    }
}

/// `[scheduler]`: the ticks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scheduler {
    /// How often stale credentials are looked for.
    pub scan_every_s: u32,
    /// Most accounts that one scan enqueues.
    pub scan_max_accounts: u32,
    /// How often dead nodes' work is looked for.
    pub reap_every_s: u32,
    /// How often queue heads are checked and idle sessions removed.
    pub housekeeping_every_s: u32,
    /// How often the database's generation is raised and echoed outside of it.
    pub generation_every_s: u32,
    /// Accounts that are tested or reset in a minute after the database has come back older.
    pub recoveries_per_minute: u32,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self {
            scan_every_s: 60,
            scan_max_accounts: 10_000,
            reap_every_s: 5,
            housekeeping_every_s: 60,
            generation_every_s: 60,
            recoveries_per_minute: 60,
        }
    }
}

/// `[audit]`: how the trail is anchored outside of the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// How often where the chain stands is signed and written down.
    pub anchor_interval_s: u32,
    /// The file to which anchors are appended. Without it: `audit-anchors.jsonl` in `data.dir`.
    pub anchor_file: Option<PathBuf>,
    /// True: anchors go to the system's log too.
    pub anchor_syslog: bool,
    /// The datagram socket on which that log listens.
    pub anchor_syslog_socket: PathBuf,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            anchor_interval_s: 60,
            anchor_file: None,
            anchor_syslog: false,
            anchor_syslog_socket: "/dev/log".into(),
        }
    }
}

/// `[connectors]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Connectors {
    /// Longest exchange with a target: what a new managed system starts with.
    pub timeout_s: u32,
    /// Exchanges in flight on one SSH session.
    pub ssh_in_flight: u32,
    /// Exchanges in flight on one LDAP session.
    pub ldap_in_flight: u32,
    /// Most processes of each connector; 0: as many as the machine has processors, 2 to 8.
    pub processes: u32,
    /// Whom those processes become if the service is started as root.
    pub user: String,
    /// Folder of definitions of platforms. Without it: `/etc/keywheel/platforms`.
    pub platforms_dir: Option<PathBuf>,
}

impl Default for Connectors {
    fn default() -> Self {
        Self {
            timeout_s: 30,
            ssh_in_flight: 4,
            ldap_in_flight: 8,
            processes: 0,
            user: "nobody".to_owned(),
            platforms_dir: None,
        }
    }
}

/// `[auth]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Idle time after which a session ends; a minute's grain.
    pub session_idle_minutes: u32,
    /// Time after which a session that was opened with a password ends in any case.
    pub session_max_hours: u32,
    /// Failed authentications from one address in a window, after which no more are tried.
    pub failures_by_address: u32,
    /// The same by one client id, key or user's name.
    pub failures_by_name: u32,
    /// Length of that window.
    pub failures_window_s: u32,
    /// Calls in a minute with one key.
    pub requests_per_minute: u32,
    /// Reveals in a minute with one key.
    pub reveals_per_minute: u32,
    /// Quarantines in a minute with one key.
    pub quarantines_per_minute: u32,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            session_idle_minutes: 20,
            session_max_hours: 12,
            failures_by_address: 60,
            failures_by_name: 20,
            failures_window_s: 60,
            requests_per_minute: 600,
            reveals_per_minute: 60,
            quarantines_per_minute: 6,
        }
    }
}

/// `[reports]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reports {
    /// The file of hashes of breached passwords, sorted lines `SHA1HEX:count`.
    pub breached_file: Option<PathBuf>,
}

/// `[metrics]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// True: `/metrics` asks for no key, even beyond loopback.
    pub open: bool,
}

impl Settings {
    /// A file of the data folder.
    pub fn data_file(&self, name: &str) -> PathBuf {
        self.data.dir.join(name)
    }

    /// Where the key-encryption key is. A service credential `keyring.kek` has taken its place
    /// here already.
    pub fn kek_file(&self) -> PathBuf {
        self.keyring
            .kek_file
            .clone()
            .unwrap_or_else(|| self.data_file("kek.key"))
    }

    /// The file of the audit trail's anchors.
    pub fn anchor_file(&self) -> PathBuf {
        let set = self.audit.anchor_file.clone();
        set.unwrap_or_else(|| self.data_file("audit-anchors.jsonl"))
    }

    /// Where an operator's own definitions of platforms are.
    pub fn platforms_dir(&self) -> PathBuf {
        let set = self.connectors.platforms_dir.clone();
        set.unwrap_or_else(|| PathBuf::from("/etc/keywheel/platforms"))
    }

    /// Which database to open.
    pub fn database_target(&self) -> DatabaseTarget {
        self.database.url.target(&self.data.dir)
    }
}

#[cfg(test)]
mod tests;
