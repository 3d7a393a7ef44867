//! Shows Keywheel at work: real servers, real logins, nothing prepared.
//!
//! It starts two OpenSSH servers and an OpenLDAP directory on loopback, starts `keywheel serve`,
//! brings 250 accounts in through its API, lets it change their passwords in every way it knows,
//! and then asks OpenSSH and OpenLDAP's own clients whether the old ones are dead and the new ones
//! alive. `make demo` runs it; `DEMO_EXIT=1` makes it end by itself.
//!
//! Exit code: 0 if every proof holds, 1 if one does not or a step fails, 130 when interrupted.
//!
//! Invariant: whatever it starts or makes is gone when it ends, however it ends.

mod api;
mod change;
mod fleet;
mod onboard;
mod program;
mod proof;
mod service;
mod stage;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use keywheel::clock::{SharedClock, SystemClock};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::fleet::Fleet;
use crate::program::Trouble;
use crate::service::Service;
use crate::stage::Stage;

/// What a system is, as far as its client is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ssh,
    Ldap,
}

/// What the demo means to do with an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// Its password is too old; the scheduler finds it.
    Stale,
    /// Its password is young; nothing may touch it.
    Fresh,
    /// Somebody orders a change at once.
    Now,
    /// Somebody brings the new password.
    Given,
    /// Its whole system is put in quarantine.
    Quarantine,
}

impl Plan {
    fn changes(self) -> bool {
        self != Self::Fresh
    }
}

/// One account as the demo knows it.
#[derive(Clone, Debug)]
struct Account {
    /// Index of its system in the fleet.
    system: usize,
    /// Its system's id in Keywheel.
    system_id: i64,
    name: String,
    /// Its id in Keywheel.
    id: i64,
    /// The password it had before Keywheel knew it.
    initial: String,
    /// The password that somebody brought, if that is the plan.
    given: Option<String>,
    plan: Plan,
}

/// How long changes took on each system.
type Seconds = Vec<Option<Duration>>;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match runtime {
        // The future runs on this thread, which outlives every process that it starts.
        Ok(runtime) => runtime.block_on(attended()),
        Err(error) => {
            Stage::new(SystemClock::shared()).failed(&format!("no runtime: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The demo, until it ends or somebody ends it. Dropping it removes all that it made.
async fn attended() -> ExitCode {
    let clock = SystemClock::shared();
    let ended = tokio::select! {
        ended = played(clock.clone()) => ended,
        () = interrupted() => {
            Stage::new(clock).says("\n  Interrupted. Everything was stopped and removed.");
            return ExitCode::from(130);
        }
    };
    let stage = Stage::new(clock);
    match ended {
        Ok(played) => {
            if !program::ends_by_itself() {
                stage.closing(&played.service);
                interrupted().await;
            }
            let holds = played.holds;
            match played.clear() {
                Ok(()) if holds => ExitCode::SUCCESS,
                Ok(()) => ExitCode::FAILURE,
                Err(trouble) => {
                    stage.failed(&trouble.to_string());
                    ExitCode::FAILURE
                }
            }
        }
        Err(trouble) => {
            stage.failed(&trouble.to_string());
            ExitCode::FAILURE
        }
    }
}

/// What stands when the last act is over.
struct Played {
    holds: bool,
    service: Service,
    fleet: Fleet,
    folder: Arc<TempDir>,
    stage: Stage,
}

impl Played {
    /// Stops and removes it all, and looks whether it is gone.
    fn clear(self) -> Result<(), Trouble> {
        let path = self.folder.path().to_owned();
        drop((self.service, self.fleet, self.folder));
        if path.exists() {
            return Err(Trouble(format!("{} could not be removed", path.display())));
        }
        self.stage.says("\n  Everything was stopped and removed.");
        Ok(())
    }
}

/// Ctrl-C, or whatever else asks a program to end.
async fn interrupted() {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    let mut waits = Vec::new();
    for kind in kinds {
        if let Ok(mut signals) = signal(kind) {
            waits.push(Box::pin(async move { signals.recv().await }));
        }
    }
    if waits.is_empty() {
        std::future::pending::<()>().await;
    }
    futures::future::select_all(waits).await;
}

/// All acts in order.
async fn played(clock: SharedClock) -> Result<Played, Trouble> {
    let mut stage = Stage::new(clock.clone());
    let folder = fleet::folder()?;
    stage.opening(&folder);

    stage.act(
        "Fleet",
        "Two OpenSSH servers and an OpenLDAP directory start. Real ones: nothing is simulated.",
    );
    let fleet = Fleet::start(&folder)?;
    for system in &fleet.systems {
        stage.done(&system.to_string());
    }

    stage.act(
        "Service",
        "One program, SQLite inside. Told nothing but to look for stale passwords every 2 s, not 60.",
    );
    let service = Service::start(&folder, &clock).await?;
    stage.done(&format!(
        "keywheel serve, process {}, at {}",
        service.pid(),
        service.url
    ));
    let api = service.sign_in(&clock).await?;
    stage.done("signed in through the Password Safe API with the key it left in a 0600 file");

    stage.act(
        "Onboard",
        "Every account comes in through the API with its present password. None is touched yet.",
    );
    let mut accounts = onboard::onboard(&stage, &fleet, &api).await?;
    proof::before(&stage, &fleet, &accounts, &clock).await?;

    stage.act(
        "Stale passwords",
        "The scheduler finds the ones that are too old and changes them; nobody asks for it.",
    );
    let mut seconds: Seconds = fleet.systems.iter().map(|_| None).collect();
    change::stale(&stage, &fleet, &api, &accounts, &mut seconds).await?;

    stage.act(
        "By hand",
        "Change now; set a given password; test. Each call answers once the target has proven it.",
    );
    change::by_hand(&stage, &fleet, &api, &mut accounts, &mut seconds).await?;

    stage.act(
        "Quarantine",
        "A breach is suspected: one call, and every account of the directory gets a new password.",
    );
    change::quarantine(&stage, &fleet, &api, &accounts, &mut seconds).await?;

    stage.act(
        "Proof",
        "Keywheel is not asked. OpenSSH and OpenLDAP's own clients log in, 16 at a time.",
    );
    let verdicts = proof::after(&stage, &fleet, &api, &accounts, &clock).await?;
    let holds = stage.table(&fleet, &verdicts, &seconds);
    change::counted(&stage, &api).await?;
    stage.total();
    Ok(Played {
        holds,
        service,
        fleet,
        folder,
        stage,
    })
}
