//! Every phase that an engine can find, times every fault that a target can have.
//!
//! Whatever comes of it: a recorded secret works, the job ends, a success means that current
//! works; and once the target is sound again, so is the account.

use std::time::Duration;

use keywheel::clock::Clock;
use keywheel::engine::Limits;
use keywheel::model::credential::{Part, Parts};
use keywheel::model::id::JobId;
use keywheel::model::job::{Cause, JobKind, JobState, Priority};
use keywheel::model::rotation::{Phase, Rotation};
use keywheel::store::NewJob;
use keywheel_connectors::fake::{OnChange, OnCheck, OnOpen};

use super::world::{FOREIGN, Like, Site, World, mend};
use crate::support::database::{Database, on_both};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Change(OnChange),
    Check(OnCheck),
    Open(OnOpen),
    Retire(OnChange),
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

/// What the removal of a superseded key can have besides.
const REMOVALS: [Fault; 7] = [
    Fault::Retire(OnChange::Obey),
    Fault::Retire(OnChange::Refuse),
    Fault::Retire(OnChange::NotNow),
    Fault::Retire(OnChange::Hang),
    Fault::Retire(OnChange::LoseReply),
    Fault::Retire(OnChange::LoseOrder),
    Fault::Retire(OnChange::Lie),
];

/// How a case begins.
#[derive(Clone, Copy, Debug)]
struct Case {
    part: Part,
    phase: Phase,
    fault: Fault,
    /// The fault stays; otherwise it happens once.
    lasting: bool,
    /// The target holds the candidate.
    landed: bool,
    evidence: bool,
}

fn cases(part: Part) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut faults = FAULTS.to_vec();
    if part == Part::Key {
        faults.extend(REMOVALS);
    }
    for phase in Phase::ALL {
        for &fault in &faults {
            for lasting in [false, true] {
                for landed in landings(phase) {
                    let evidence = lasting == landed;
                    cases.push(Case {
                        part,
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
        (Fault::Retire(does), false) => target.next_retire(&login, does),
        (Fault::Retire(does), true) => target.every_retire(&login, does),
        (Fault::Open(does), false) => target.next_open(does),
        (Fault::Open(does), true) => target.every_open(does),
    };
}

async fn begin(world: &World, case: Case) -> (Site, JobId) {
    let like = Like {
        evidence: case.evidence,
        key: case.part == Part::Key,
        ..Like::default()
    };
    let site = world.site(&like.hasty()).await;
    let account = site.account();
    let state = Rotation {
        phase: case.phase,
        doubt: case.phase == Phase::NeedsOperator,
    };
    match (case.part, case.phase.is_final()) {
        (_, true) => {}
        (Part::Password, false) => {
            world.leave_open(account, state, "Candidate-vLm9Q").await;
            if case.landed {
                site.target.set_behind(&site.login(), "Candidate-vLm9Q");
            }
        }
        (Part::Key, false) => {
            let public = world.leave_key_open(account, state).await;
            if case.landed {
                site.target.add_key(&site.login(), &public);
            }
        }
    }
    put(&site, case);
    let job = match case.part {
        Part::Password => world.change(account).await,
        Part::Key => world.change_key(account).await,
    };
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
    survive(db, Part::Password).await;
});

on_both!(every_phase_of_a_key_survives_every_fault_and_heals, |db| {
    survive(db, Part::Key).await;
});

async fn survive(db: Database, part: Part) {
    // Short waits: the cases share one clock.
    let limits = Limits {
        // A key takes several steps more, and its cases are half as many again.
        give_up_after: match part {
            Part::Password => Duration::from_mins(30),
            Part::Key => Duration::from_hours(2),
        },
        lockout_window: Duration::from_mins(10),
        ..Limits::default()
    };
    let world = World::with_limits(db, limits).await;
    let mut sites = Vec::new();
    for case in cases(part) {
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
        let sound = matches!(
            case.fault,
            Fault::Change(OnChange::Obey) | Fault::Retire(OnChange::Obey)
        );
        if sound && case.phase != Phase::NeedsOperator && case.phase != Phase::Ready {
            assert_eq!(end, 0, "{case:?}: {}", world.log(*job).await);
        }
        mend(&site.target, &site.login());
        site.target.every_open(OnOpen::Judge);
        site.target.deliver_late();
    }
    println!(
        "faults of the {}: {} cases: {} succeeded, {} failed, {} need an operator",
        part.as_str(),
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
    if part == Part::Key {
        for (case, site, _) in &sites {
            assert_nothing_forgotten(&world, *case, site).await;
        }
    }
}

/// What stands beside the current key is somebody else's, or not known to be gone.
async fn assert_nothing_forgotten(world: &World, case: Case, site: &Site) {
    let account = site.account();
    let current = world.current_key(account).await.unwrap();
    let versions = world.store.versions_of_part(account, Part::Key, 1_000);
    let versions = versions.await.unwrap();
    for key in site.target.keys(&site.login()) {
        let kept = versions
            .iter()
            .find(|version| version.public_key.as_ref() == Some(&key));
        let accounted = key == FOREIGN
            || key == current
            || kept.is_some_and(|version| version.removed_at.is_none());
        // Who says that it removed a key, and has not, is believed.
        let lied = case.fault == Fault::Retire(OnChange::Lie);
        assert!(accounted || lied, "{case:?}: a key stands and is forgotten");
    }
}
