//! Which accounts a system has that nobody may know of yet.
//!
//! Invariant: a listing reads; nothing found is an account of ours before somebody imports it.

use keywheel_connectors::{DirectoryQuery, Filter, Found, HostQuery, Listing, Lock, Query};

use super::Timestamp;
use super::fault::Fault;
use super::id::{AccountId, DiscoveryId, SystemId};
use super::platform::{ConnectorKind, Platform};

/// Shells that one order may name.
const SHELLS_MAX: usize = 16;
/// The longest of them, in bytes.
const SHELL_MAX_BYTES: usize = 128;

/// What somebody wants listed, in the words of the interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Hosts: the lowest user id; 1000 where nobody says.
    pub uid_min: Option<i64>,
    /// Hosts: the highest one; 59999 where nobody says.
    pub uid_max: Option<i64>,
    /// Hosts: root, too; yes where nobody says.
    pub with_root: Option<bool>,
    /// Hosts: only accounts with one of these shells.
    pub shells: Option<Vec<String>>,
    /// Directories: only entries that match, RFC 4515.
    pub filter: Option<String>,
}

/// What a connector is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked(Query);

impl Asked {
    /// Makes a question out of an order, for a system of this platform.
    ///
    /// # Errors
    /// Every bad field.
    pub fn of(wanted: &Wanted, platform: &Platform) -> Result<Self, Vec<Fault>> {
        let is_directory = platform.connector == ConnectorKind::Ldap;
        let mut faults = Vec::new();
        let mut unfit = |field, given: bool, kind| {
            if given {
                faults.push(Fault::new(field, format!("belongs to {kind}")));
            }
        };
        if is_directory {
            unfit("uid_min", wanted.uid_min.is_some(), "hosts");
            unfit("uid_max", wanted.uid_max.is_some(), "hosts");
            unfit("with_root", wanted.with_root.is_some(), "hosts");
            unfit("shells", wanted.shells.is_some(), "hosts");
        } else {
            unfit("filter", wanted.filter.is_some(), "directories");
        }
        let query = if is_directory {
            let filter = wanted.filter.as_deref().map(Filter::parse).transpose();
            let filter = filter.unwrap_or_else(|error| {
                faults.push(Fault::new("filter", format!("is refused: {error}")));
                None
            });
            Query::Directory(DirectoryQuery { filter })
        } else {
            Query::Host(host(wanted, &mut faults))
        };
        if faults.is_empty() {
            Ok(Self(query))
        } else {
            Err(faults)
        }
    }

    /// What the connector gets.
    pub fn query(&self) -> &Query {
        &self.0
    }

    /// As it is stored and shown.
    pub fn json(&self) -> serde_json::Value {
        match &self.0 {
            Query::Host(host) => serde_json::json!({
                "uid_min": host.uid_min,
                "uid_max": host.uid_max,
                "with_root": host.with_root,
                "shells": host.shells,
            }),
            Query::Directory(directory) => serde_json::json!({
                "filter": directory.filter.as_ref().map(Filter::as_str),
            }),
        }
    }

    /// Reads it back; `None` for what this program never wrote.
    pub fn parse(stored: &str, platform: &Platform) -> Option<Self> {
        let json: serde_json::Value = serde_json::from_str(stored).ok()?;
        let shells = json.get("shells").and_then(|list| {
            let texts = list.as_array()?.iter();
            texts.map(|one| Some(one.as_str()?.to_owned())).collect()
        });
        let wanted = Wanted {
            uid_min: json.get("uid_min").and_then(serde_json::Value::as_i64),
            uid_max: json.get("uid_max").and_then(serde_json::Value::as_i64),
            with_root: json.get("with_root").and_then(serde_json::Value::as_bool),
            shells,
            filter: json
                .get("filter")
                .and_then(|filter| Some(filter.as_str()?.to_owned())),
        };
        Self::of(&wanted, platform).ok()
    }
}

fn host(wanted: &Wanted, faults: &mut Vec<Fault>) -> HostQuery {
    let default = HostQuery::default();
    let mut uid = |field, given: Option<i64>, default: u32| {
        let Some(given) = given else { return default };
        u32::try_from(given).unwrap_or_else(|_| {
            faults.push(Fault::new(field, "must be from 0 to 4294967295"));
            default
        })
    };
    let (uid_min, uid_max) = (
        uid("uid_min", wanted.uid_min, default.uid_min),
        uid("uid_max", wanted.uid_max, default.uid_max),
    );
    if uid_min > uid_max {
        faults.push(Fault::new("uid_max", "must not be below uid_min"));
    }
    let shells = wanted.shells.clone().unwrap_or_default();
    let is_shell = |shell: &String| {
        shell.starts_with('/')
            && shell.len() <= SHELL_MAX_BYTES
            && shell
                .chars()
                .all(|sign| sign.is_ascii_graphic() && sign != ':')
    };
    if shells.len() > SHELLS_MAX || !shells.iter().all(is_shell) {
        faults.push(Fault::new(
            "shells",
            "must be at most 16 absolute paths of at most 128 characters",
        ));
    }
    HostQuery {
        uid_min,
        uid_max,
        with_root: wanted.with_root.unwrap_or(default.with_root),
        shells,
    }
}

/// How far a discovery has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscoveryState {
    /// Waits for a node, or for its system.
    Queued,
    /// A node is at it.
    Running,
    /// The system's list is replaced.
    Succeeded,
    /// The system's list is as it was.
    Failed,
}

impl DiscoveryState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Queued, Self::Running, Self::Succeeded, Self::Failed];

    /// As it stands in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }

    /// Reads it back.
    pub fn parse(raw: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == raw)
    }

    /// True if nothing more comes.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Succeeded | Self::Failed => true,
        }
    }
}

/// One discovery and what has come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryView {
    /// The discovery.
    pub id: DiscoveryId,
    /// Which system.
    pub system_id: SystemId,
    /// [`Asked::json`].
    pub query: String,
    /// Who ordered it.
    pub actor: String,
    /// How far it has come.
    pub state: DiscoveryState,
    /// Error class; empty where none.
    pub class: String,
    /// Why it failed; empty where it did not.
    pub why: String,
    /// Accounts that were found.
    pub found: i64,
    /// Rows of the target that were no account.
    pub unreadable: i64,
    /// The target has more.
    pub truncated: bool,
    /// When it was ordered.
    pub queued_at: Timestamp,
    /// When a node last began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// One account that the newest successful discovery of a system has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveredAccount {
    /// Its place in the list, from 1.
    pub row: i64,
    /// The discovery.
    pub discovery_id: DiscoveryId,
    /// Its login name, escaped where it could not be shown.
    pub name: String,
    /// An account of this name, and DN, can be imported.
    pub importable: bool,
    /// Directories only.
    pub distinguished_name: Option<String>,
    /// User id, UUID or GUID.
    pub stable_id: Option<String>,
    /// Its login shell.
    pub shell: Option<String>,
    /// `open`, `locked`, `no_password` or `unknown`.
    pub lock: &'static str,
    /// When its password was set; of hosts the day.
    pub last_change_at: Option<Timestamp>,
    /// Its password must be changed first, or the account has run out.
    pub expired: Option<bool>,
    /// The managed account that it is.
    pub account_id: Option<AccountId>,
}

/// What of a listing goes on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDiscovered {
    /// As [`super::account::AccountSettings::target_id`] of the account that an import would make.
    pub target_id: String,
    /// The same of one without a DN.
    pub name_id: String,
    /// As the connector found it.
    pub found: Found,
}

/// What a listing found, as it goes on record.
pub fn recorded(listing: Listing, platform: &Platform) -> Vec<NewDiscovered> {
    let is_directory = platform.connector == ConnectorKind::Ldap;
    let rows = listing.found.into_iter().map(|found| {
        let name_id = if is_directory {
            found.name.to_lowercase()
        } else {
            found.name.clone()
        };
        let target_id = match &found.dn {
            Some(dn) if is_directory => dn.to_lowercase(),
            _ => name_id.clone(),
        };
        NewDiscovered {
            target_id,
            name_id,
            found,
        }
    });
    rows.collect()
}

/// Reads a lock state back; its word if it is one.
pub fn lock(raw: &str) -> Option<&'static str> {
    let mut names = Lock::ALL.into_iter().map(Lock::name);
    names.find(|name| *name == raw)
}

#[cfg(test)]
mod tests {
    use super::super::id::PlatformId;
    use super::super::platform::Platforms;
    use super::*;

    fn platform(id: i64) -> Platform {
        let platforms = Platforms::default();
        platforms.find(PlatformId(id)).unwrap().clone()
    }

    fn faulty(wanted: &Wanted, id: i64) -> Vec<&'static str> {
        let faults = Asked::of(wanted, &platform(id)).unwrap_err();
        faults.into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn a_question_survives_its_record() {
        let host = Wanted {
            uid_min: Some(500),
            uid_max: Some(4_294_967_295),
            with_root: Some(false),
            shells: Some(vec!["/bin/sh".to_owned()]),
            filter: None,
        };
        let directory = Wanted {
            filter: Some("(department=12*)".to_owned()),
            ..Wanted::default()
        };
        for (wanted, id) in [
            (Wanted::default(), 2),
            (host, 2),
            (Wanted::default(), 32),
            (directory, 32),
        ] {
            let asked = Asked::of(&wanted, &platform(id)).unwrap();
            let read = Asked::parse(&asked.json().to_string(), &platform(id));
            assert_eq!(read, Some(asked));
        }
        assert_eq!(Asked::parse("{", &platform(2)), None);
    }

    #[test]
    fn what_no_target_could_answer_is_refused_by_field() {
        let host = |edit: fn(&mut Wanted)| {
            let mut wanted = Wanted::default();
            edit(&mut wanted);
            wanted
        };
        let shells = |list: &[&str]| Wanted {
            shells: Some(list.iter().map(|&one| one.to_owned()).collect()),
            ..Wanted::default()
        };
        assert_eq!(faulty(&host(|one| one.uid_min = Some(-1)), 2), ["uid_min"]);
        assert_eq!(faulty(&host(|one| one.uid_max = Some(9)), 2), ["uid_max"]);
        let all = host(|one| one.filter = Some("(uid=a)".to_owned()));
        assert_eq!(faulty(&all, 2), ["filter"]);
        assert_eq!(faulty(&shells(&["sh"]), 2), ["shells"]);
        assert_eq!(faulty(&shells(&["/bin/a b"]), 2), ["shells"]);
        assert_eq!(faulty(&shells(&["/bin/sh"; 17]), 2), ["shells"]);
        assert_eq!(faulty(&shells(&[]), 32), ["shells"]);
        let secret = host(|one| one.filter = Some("(userPassword=a*)".to_owned()));
        assert_eq!(faulty(&secret, 32), ["filter"]);
    }
}
