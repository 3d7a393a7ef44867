//! Examines an installation, and says how to put right what is wrong.
//!
//! Invariant: the examination changes nothing and shows no secret; it may run beside the service.

mod inventory;
mod online;
mod tls;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::Serialize;

use super::error::AppError;
use super::platforms::platforms;
use super::wall::options;
use super::{database, first_run, key_ring, migrate, regression};
use crate::clock::SharedClock;
use crate::config::{DatabaseTarget, Loaded, Settings};
use crate::model::platform::Platforms;
use crate::store::{Store, StoreError};
use crate::worker;

/// Free space below which the database may not be able to take an order.
const SPACE_MIN_BYTES: u64 = 256 * 1024 * 1024;

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// Works, and should not stay so.
    Warning,
    /// Does not work.
    Fault,
}

/// One thing that was examined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was examined.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do; empty where nothing is.
    pub fix: String,
}

impl Check {
    fn fine(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Fine,
            found: found.into(),
            fix: String::new(),
        }
    }

    fn warning(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Warning,
            found: found.into(),
            fix: fix.into(),
        }
    }

    fn fault(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Fault,
            found: found.into(),
            fix: fix.into(),
        }
    }

    /// An error's own text says what to do.
    fn failed(name: &'static str, error: &AppError) -> Self {
        Self::fault(name, error.to_string(), "")
    }
}

/// Examines everything; `online` asks the running service too.
pub async fn examine(loaded: &Loaded, clock: &SharedClock, online: bool) -> Vec<Check> {
    let settings = &loaded.settings;
    let mut checks = vec![Check::fine("settings", "valid")];
    for warning in &loaded.warnings {
        checks.push(Check::warning("settings", warning, ""));
    }
    checks.extend(tls::certificate(settings, clock));
    if online {
        checks.push(online::service(settings).await);
    }
    let platforms = match platforms(settings) {
        Ok(platforms) => {
            let count = platforms.listed().count();
            checks.push(Check::fine("platforms", format!("{count} are offered")));
            platforms
        }
        Err(error) => {
            checks.push(Check::failed("platforms", &error));
            Platforms::default()
        }
    };
    checks.push(wall(settings).await);
    if !settings.data.dir.is_dir() {
        let found = format!("{} does not exist", settings.data.dir.display());
        let fix = "run `keywheel serve` or `keywheel init`: the first start makes it";
        checks.push(Check::fault("data folder", found, fix));
        return checks;
    }
    checks.extend(files(settings));
    checks.push(space(settings));
    match migrate::migration(settings).await {
        Err(error) => checks.push(Check::failed("schema", &error)),
        Ok(migration) => match migration.schema {
            None => checks.push(Check::warning(
                "database",
                format!("{} does not exist", migration.place),
                "run `keywheel serve` or `keywheel init`: the first start makes it",
            )),
            Some(state) if state.is_older() => checks.push(Check::fault(
                "schema",
                format!(
                    "{}: schema {}, this program needs {}",
                    migration.place, state.found, state.known
                ),
                "run `keywheel migrate up`",
            )),
            Some(state) => {
                let found = format!("{}: schema {}", migration.place, state.found);
                checks.push(Check::fine("schema", found));
                checks.extend(contents(settings, clock, &platforms).await);
            }
        },
    }
    checks
}

/// Folder, key file and credentials, as the file system shows them.
fn files(settings: &Settings) -> Vec<Check> {
    let mut checks = Vec::new();
    let folder = &settings.data.dir;
    checks.push(mode("data folder", folder, 0o700));
    if let DatabaseTarget::Sqlite(file) = settings.database_target() {
        for ending in ["", "-wal", "-shm"] {
            let mut name = file.clone().into_os_string();
            name.push(ending);
            let path = Path::new(&name);
            if path.exists() {
                checks.push(mode("database file", path, 0o600));
            }
        }
    }
    let kek = settings.kek_file();
    if kek.exists() {
        checks.push(mode("key file", &kek, 0o600));
    }
    if kek.exists() && kek.parent() == Some(folder.as_path()) {
        let found = format!("{} lies beside the database it protects", kek.display());
        let fix = "keep it elsewhere (keyring.kek_file, or a systemd credential keyring.kek), and \
                   back it up apart from the database";
        checks.push(Check::warning("key file", found, fix));
    }
    for path in first_run::left_behind(folder) {
        let found = format!("{} is still there", path.display());
        let fix = "move its keys to where you keep secrets, then delete it";
        checks.push(Check::warning("first keys", found, fix));
    }
    checks
}

fn mode(name: &'static str, path: &Path, right: u32) -> Check {
    let shown = path.display();
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) => return Check::fault(name, format!("{shown}: {error}"), ""),
    };
    let mode = about.permissions().mode() & 0o777;
    let found = format!("{shown} has mode {mode:04o}");
    let fix = format!("chmod {right:04o} {shown}");
    if mode & !right == 0 {
        Check::fine(name, found)
    } else if mode.trailing_zeros() >= 3 {
        // Nobody but owner and group.
        Check::warning(name, found, fix)
    } else {
        Check::fault(name, found, fix)
    }
}

/// Starts a connector process, and asks how it is confined.
async fn wall(settings: &Settings) -> Check {
    let name = "connector processes";
    match worker::look(&options(settings), "ssh").await {
        Err(error) => Check::fault(name, error, "the line before this report says more"),
        Ok(lacks) if lacks.is_empty() => Check::fine(name, "confined"),
        Ok(lacks) => {
            let fix = "run a kernel with Landlock and seccomp; until then a hostile target that \
                       takes over a process reaches what is named here";
            Check::warning(name, lacks.join("; "), fix)
        }
    }
}

fn space(settings: &Settings) -> Check {
    let name = "disk space";
    let folder = match settings.database_target() {
        DatabaseTarget::Sqlite(file) => match file.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => Path::new(".").to_owned(),
        },
        DatabaseTarget::Postgres(_) => settings.data.dir.clone(),
    };
    match rustix::fs::statvfs(&folder) {
        Err(error) => Check::warning(name, format!("{}: {error}", folder.display()), ""),
        Ok(about) => {
            let free = about.f_bavail.saturating_mul(about.f_frsize);
            let found = format!("{} MiB free at {}", free / 1024 / 1024, folder.display());
            if free >= SPACE_MIN_BYTES {
                Check::fine(name, found)
            } else {
                let fix = "make room: on a full disk every new order is refused";
                Check::warning(name, found, fix)
            }
        }
    }
}

/// What the database holds.
async fn contents(settings: &Settings, clock: &SharedClock, platforms: &Platforms) -> Vec<Check> {
    let store = match database::connect(settings).await {
        Ok(store) => store,
        Err(error) => return vec![Check::failed("database", &error)],
    };
    let mut checks = vec![locale(settings, &store).await];
    match key_ring::find(settings, &store).await {
        Err(error) => checks.push(Check::failed("key ring", &error)),
        Ok(None) => checks.push(Check::warning(
            "key ring",
            "the store is fresh",
            "the first start makes it",
        )),
        Ok(Some(ring)) => {
            checks.push(wall_clock(&store, ring.made_at().0, clock).await);
            checks.push(age(settings, &store).await);
            checks.push(match ring.open() {
                Ok(_) => Check::fine("key ring", "opens the sealed probe"),
                Err(error) => Check::failed("key ring", &error),
            });
        }
    }
    match inventory::gaps(&store, platforms).await {
        Ok(gaps) => checks.extend(gaps),
        Err(error) => checks.push(unreadable("inventory", &error)),
    }
    store.close().await;
    checks
}

fn unreadable(name: &'static str, error: &StoreError) -> Check {
    Check::fault(name, error.to_string(), "")
}

async fn locale(settings: &Settings, store: &Store) -> Check {
    match store.require_schema().await {
        Ok(()) => Check::fine("database", format!("{} answers", database::place(settings))),
        Err(error) => unreadable("database", &error),
    }
}

/// The database must be the one that it was, and no older.
async fn age(settings: &Settings, store: &Store) -> Check {
    let name = "database age";
    match regression::fault(settings, store).await {
        Err(error) => return Check::failed(name, &error),
        Ok(Some(found)) => {
            let fix = "restore the right database or the file, or accept this database with \
                       `keywheel regression accept`; one that came back older is recovered by \
                       `keywheel regression`";
            return Check::fault(name, found, fix);
        }
        Ok(None) => {}
    }
    match store.open_regression().await {
        Err(error) => unreadable(name, &error),
        Ok(Some(open)) => {
            let found = format!(
                "came back older than it was; {} accounts were marked",
                open.accounts
            );
            Check::fault(name, found, "see `keywheel regression show`")
        }
        Ok(None) if regression::is_beside(settings) => Check::warning(
            name,
            "its echo lies beside it: whoever restores both notices nothing",
            "keep the echo on another disk (escrow.echo), or the escrow journal",
        ),
        Ok(None) => Check::fine(name, "no older than it was"),
    }
}

/// The wall clock must not be behind what it wrote itself.
async fn wall_clock(store: &Store, made_at: i64, clock: &SharedClock) -> Check {
    let ticks = match store.ticks().await {
        Ok(ticks) => ticks,
        Err(error) => return unreadable("clock", &error),
    };
    let latest = ticks.into_iter().map(|(_, at)| at.0).max().unwrap_or(0);
    let now = clock.now();
    if now.0 < latest.max(made_at) {
        let found = format!("{} is earlier than what the database holds", now.rfc3339());
        let fix = "set the clock (NTP): due times and audit rows depend on it";
        return Check::fault("clock", found, fix);
    }
    Check::fine("clock", now.rfc3339())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_judged_by_who_may_use_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, b"x").unwrap();
        for (bits, verdict) in [
            (0o600, Verdict::Fine),
            (0o400, Verdict::Fine),
            (0o640, Verdict::Warning),
            (0o644, Verdict::Fault),
            (0o602, Verdict::Fault),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
            let check = mode("key file", &path, 0o600);
            assert_eq!(check.verdict, verdict, "{bits:o}");
            assert_eq!(
                check.fix.contains("chmod 0600"),
                verdict != Verdict::Fine,
                "{bits:o}"
            );
        }
    }
}
