//! Every phase that an engine can find, times every fault that a target can have.
//!
//! Whatever comes of it: a recorded secret works, the job ends, a success means that current
//! works; and once the target is sound again, so is the account.

use std::time::Duration;

use keywheel::clock::Clock;
use keywheel::engine::Limits;
use keywheel::model::credential::Parts;
use keywheel::model::id::JobId;
use keywheel::model::job::{Cause, JobKind, JobState, Priority};
use keywheel::model::rotation::{Phase, Rotation};
use keywheel::store::NewJob;
use keywheel_connectors::fake::{OnChange, OnCheck, OnOpen};

use super::world::{Like, Site, World};
use crate::support::database::on_both;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Change(OnChange),
    Check(OnCheck),
    Open(OnOpen),
}

const FAULTS: [Fault; 17] = [
    Fault::Change(OnChange::Obey),
    Fault::Change(OnChange::Refuse),
    Fault::Change(OnChange::NotNow),
    Fault::Change(OnChange::Hang),
    Fault::Change(OnChange::LoseReply),
    Fault::Change(OnChange::LoseOrder),
    Fault::Change(OnChange::ObeyLate),
    Fault::Change(OnChange::Lie),
    Fault::Check(OnCheck::Drop),
    Fault::Check(OnCheck::Hang),
    Fault::Check(OnCheck::Locked),
    Fault::Check(OnCheck::Reject),
    Fault::Open(OnOpen::Unreachable),
    Fault::Open(OnOpen::Hang),
    Fault::Open(OnOpen::WrongIdentity),
    Fault::Open(OnOpen::Reject),
    Fault::Open(OnOpen::NoPrivilege),
];

/// How a case begins.
#[derive(Clone, Copy, Debug)]
struct Case {
    phase: Phase,
    fault: Fault,
    /// The fault stays; otherwise it happens once.
    lasting: bool,
    /// The target holds the candidate.
    landed: bool,
    evidence: bool,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for phase in Phase::ALL {
        for fault in FAULTS {
            for lasting in [false, true] {
                for landed in landings(phase) {
                    let evidence = lasting == landed;
                    cases.push(Case {
                        phase,
                        fault,
                        lasting,
                        landed,
                        evidence,
                    });
                }
            }
        }
    }
    cases
}

/// Whether the candidate may have landed by then.
fn landings(phase: Phase) -> Vec<bool> {
    match phase {
        Phase::Ready | Phase::Staged | Phase::Committed | Phase::Abandoned => vec![false],
        Phase::Applying | Phase::Applied | Phase::NeedsOperator => vec![false, true],
        Phase::Verified => vec![true],
    }
}

fn put(site: &Site, case: Case) {
    let (target, login) = (&site.target, site.login());
    match (case.fault, case.lasting) {
        (Fault::Change(does), false) => target.next_change(&login, does),
        (Fault::Change(does), true) => target.every_change(&login, does),
        (Fault::Check(does), false) => target.next_check(&login, does),
        (Fault::Check(does), true) => target.every_check(&login, does),
        (Fault::Open(does), false) => target.next_open(does),
        (Fault::Open(does), true) => target.every_open(does),
    };
}

/// The target is sound from now on, whatever it was told; it holds what it held.
fn mend(site: &Site) {
    let held = site.target.accepted(&site.login());
    site.target.add(&site.login(), &held[0]);
    site.target.every_open(OnOpen::Judge);
}

async fn begin(world: &World, case: Case) -> (Site, JobId) {
    let like = Like {
        evidence: case.evidence,
        ..Like::default()
    };
    let site = world.site(&like).await;
    let account = site.account();
    if !case.phase.is_final() {
        let state = Rotation {
            phase: case.phase,
            doubt: case.phase == Phase::NeedsOperator,
        };
        world.leave_open(account, state, "Candidate-vLm9Q").await;
    }
    if case.landed {
        site.target.set_behind(&site.login(), "Candidate-vLm9Q");
    }
    put(&site, case);
    let job = world.change(account).await;
    (site, job)
}

async fn order_test(world: &World, site: &Site) -> JobId {
    let now = world.clock.now();
    let mut tx = world.store.begin().await.unwrap();
    let job = NewJob {
        account: site.account(),
        system: site.id,
        kind: JobKind::Test,
        cause: Cause::Order,
        actor: "ada".to_owned(),
        priority: Priority::Routine,
        run_at: now,
        parts: Parts::ALL_THERE_ARE,
        version: None,
        key_version: None,
    };
    let id = tx.enqueue(&job, now).await.unwrap();
    tx.commit().await.unwrap();
    id
}

on_both!(every_phase_survives_every_fault_and_heals, |db| {
    // Short waits: the cases share one clock.
    let limits = Limits {
        give_up_after: Duration::from_mins(30),
        lockout_window: Duration::from_mins(10),
        ..Limits::default()
    };
    let world = World::with_limits(db, limits).await;
    let mut sites = Vec::new();
    for case in cases() {
        let (site, job) = begin(&world, case).await;
        sites.push((case, site, job));
    }
    world.run_all_at_once().await;
    let mut ends = [0; 3];
    for (case, site, job) in &sites {
        let end = match world.state(*job).await {
            JobState::Succeeded => 0,
            JobState::Failed => 1,
            JobState::NeedsOperator => 2,
            open => panic!("{case:?}: {open:?}"),
        };
        ends[end] += 1;
        world.assert_ended_well(*job).await;
        let sound = case.fault == Fault::Change(OnChange::Obey);
        if sound && case.phase != Phase::NeedsOperator && case.phase != Phase::Ready {
            assert_eq!(end, 0, "{case:?}: {}", world.log(*job).await);
        }
        mend(site);
        site.target.deliver_late();
    }
    println!(
        "faults: {} cases: {} succeeded, {} failed, {} need an operator",
        sites.len(),
        ends[0],
        ends[1],
        ends[2]
    );
    // A test, then a change: whatever was left open is found out and ended.
    for _ in 0..2 {
        world.clock.advance(world.limits.lockout_window);
        for (_, site, _) in &sites {
            order_test(&world, site).await;
        }
        world.run_all_at_once().await;
    }
    let mut changes = Vec::new();
    for (case, site, _) in &sites {
        changes.push((case, world.change(site.account()).await));
    }
    world.run_all_at_once().await;
    for (case, job) in changes {
        let log = world.log(job).await;
        assert_eq!(
            world.state(job).await,
            JobState::Succeeded,
            "{case:?}: {log}"
        );
        world.assert_ended_well(job).await;
    }
});
