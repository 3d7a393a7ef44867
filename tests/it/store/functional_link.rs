//! Functional accounts that log in with a managed account's credential: one record, which changes
//! alone, and last in a quarantine.

use keywheel::model::account::AccountSettings;
use keywheel::model::credential::Part;
use keywheel::model::functional_account::{Elevation, FunctionalSettings};
use keywheel::model::id::{AccountId, FunctionalAccountId, PlatformId, SystemId};
use keywheel::model::job::{JobKind, Priority};
use keywheel::model::rotation::{Phase, Rotation};
use keywheel::store::{
    Claim, Ending, FunctionalLink, FunctionalSecret, NewRotation, NewVersion, SealedKey,
    SealedSecret, Step,
};

use super::inventory::{conflicts, is_stale, linux_system};
use crate::support::database::on_both;
use crate::support::queue::{NOW, Queue, account_id};

const FA: FunctionalAccountId = FunctionalAccountId(1);
const FB: FunctionalAccountId = FunctionalAccountId(2);

fn settings(name: &str) -> FunctionalSettings {
    FunctionalSettings {
        platform_id: PlatformId(2),
        domain_name: None,
        account_name: name.to_owned(),
        display_name: name.to_owned(),
        description: None,
        elevation: Elevation::Sudo,
    }
}

/// A functional account, and the systems that log in by it.
async fn functional(queue: &Queue, id: FunctionalAccountId, systems: &[i64]) {
    let mut tx = queue.store.begin().await.unwrap();
    tx.insert_functional_account(id, &settings("user1"), Some(vec![7]), NOW)
        .await
        .unwrap();
    for &system in systems {
        let mut found = tx.locked_system(SystemId(system)).await.unwrap().unwrap();
        found.settings.functional_account_id = Some(id);
        tx.update_system(found.id, found.revision, &found.settings)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
}

fn between(functional: FunctionalAccountId, system: i64, nth: i64) -> FunctionalLink {
    FunctionalLink {
        functional,
        account: account_id(system, nth),
        system: SystemId(system),
    }
}

async fn link(queue: &Queue, link: FunctionalLink) {
    let mut tx = queue.store.begin().await.unwrap();
    tx.locked_account(link.account).await.unwrap().unwrap();
    tx.locked_functional(link.functional)
        .await
        .unwrap()
        .unwrap();
    tx.link_functional(link, NOW).await.unwrap();
    tx.commit().await.unwrap();
}

/// System 1 logs in by its own first account.
async fn with_own(queue: &Queue, sessions: i64, accounts: i64) {
    queue.system(1, sessions, 2, accounts).await;
    functional(queue, FA, &[1]).await;
    link(queue, between(FA, 1, 1)).await;
}

fn accounts(claim: &Claim) -> Vec<i64> {
    let jobs = claim.jobs.iter();
    jobs.map(|job| job.account.0 - account_id(claim.system.0, 0).0)
        .collect()
}

/// What is claimed now: (system, accounts), a claim each.
async fn claimed(queue: &Queue, priority: Priority) -> Vec<(Claim, Vec<i64>)> {
    let claims = queue.claim(priority, NOW).await;
    claims
        .into_iter()
        .map(|claim| (claim.clone(), accounts(&claim)))
        .collect()
}

async fn the_only(queue: &Queue, priority: Priority) -> (Claim, Vec<i64>) {
    let mut all = claimed(queue, priority).await;
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

async fn nothing(queue: &Queue, priority: Priority) {
    let all = claimed(queue, priority).await;
    assert!(all.is_empty(), "{all:?}");
}

/// An open rotation whose candidate was sent and not answered.
async fn leave_in_doubt(queue: &Queue, account: AccountId) -> Step {
    let mut tx = queue.store.begin().await.unwrap();
    let row = tx.account_row(account).await.unwrap().unwrap();
    let version = row.last_version + 1;
    let new = NewVersion {
        account,
        version,
        secret: SealedSecret::Password(vec![1]),
        origin: "generated",
    };
    tx.add_version(&new, NOW).await.unwrap();
    let from = Rotation {
        phase: Phase::Applying,
        doubt: true,
    };
    let rotation = tx
        .open_rotation(
            &NewRotation {
                account,
                part: Part::Password,
                epoch: row.epoch + 1,
                version,
                state: from,
            },
            NOW,
        )
        .await
        .unwrap();
    tx.commit().await.unwrap();
    Step {
        rotation,
        account,
        part: Part::Password,
        epoch: row.epoch + 1,
        version,
        from,
        to: from,
        why: String::new(),
    }
}

on_both!(a_link_forgets_the_own_password_and_gives_one_back, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 2).await;
    functional(&queue, FA, &[1]).await;
    let made = between(FA, 1, 1);
    assert_eq!(queue.store.functional_link(FA).await.unwrap(), None);
    link(&queue, made).await;
    assert_eq!(queue.store.functional_link(FA).await.unwrap(), Some(made));
    let found = queue.store.link_of_account(made.account).await.unwrap();
    assert_eq!(found, Some(made));
    let other = queue.store.link_of_account(account_id(1, 2)).await.unwrap();
    assert_eq!(other, None);
    assert_eq!(queue.store.functional_password(FA).await.unwrap(), None);
    let using = queue.store.systems_using(FA).await.unwrap();
    assert_eq!(using, [SystemId(1)]);
    let mut tx = queue.store.begin().await.unwrap();
    conflicts(tx.link_functional(made, NOW).await);
    drop(tx);
    functional(&queue, FB, &[]).await;
    let mut tx = queue.store.begin().await.unwrap();
    let taken = between(FB, 1, 1);
    conflicts(tx.link_functional(taken, NOW).await);
    drop(tx);
    let mut tx = queue.store.begin().await.unwrap();
    is_stale(
        tx.unlink_functional(taken, FunctionalSecret::Password(vec![8]))
            .await,
    );
    tx.unlink_functional(made, FunctionalSecret::Password(vec![8]))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(queue.store.functional_link(FA).await.unwrap(), None);
    let password = queue.store.functional_password(FA).await.unwrap();
    assert_eq!(password, Some(vec![8]));
    // Where there is no password it is a key.
    link(&queue, made).await;
    let key = SealedKey {
        private: vec![9],
        passphrase: None,
        public: "ssh-ed25519 AAAA".to_owned(),
    };
    let mut tx = queue.store.begin().await.unwrap();
    let secret = FunctionalSecret::Key(key.clone());
    tx.unlink_functional(made, secret).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(queue.store.functional_password(FA).await.unwrap(), None);
    assert_eq!(queue.store.functional_key(FA).await.unwrap(), Some(key));
    let guarded = queue.number("SELECT CAST(SUM(guarded) AS BIGINT) FROM systems");
    assert_eq!(guarded.await, 0);
});

on_both!(a_linked_account_stays_and_stays_who_it_is, |db| {
    let queue = db.queue().await;
    with_own(&queue, 1, 2).await;
    let (linked, other) = (account_id(1, 1), account_id(1, 2));
    let mut tx = queue.store.begin().await.unwrap();
    conflicts(tx.delete_account(linked, NOW).await);
    drop(tx);
    let mut tx = queue.store.begin().await.unwrap();
    conflicts(tx.delete_accounts(SystemId(1), NOW).await);
    drop(tx);
    let renamed = AccountSettings::named("somebody");
    let mut tx = queue.store.begin().await.unwrap();
    conflicts(tx.update_account(linked, 1, "somebody", &renamed).await);
    drop(tx);
    let mut tx = queue.store.begin().await.unwrap();
    tx.update_account(other, 1, "somebody", &renamed)
        .await
        .unwrap();
    tx.delete_account(other, NOW).await.unwrap();
    // The functional account may go: the managed one keeps its credential.
    let mut found = tx.locked_system(SystemId(1)).await.unwrap().unwrap();
    found.settings.functional_account_id = None;
    tx.update_system(found.id, found.revision, &found.settings)
        .await
        .unwrap();
    tx.delete_functional_account(FA).await.unwrap();
    tx.delete_account(linked, NOW).await.unwrap();
    tx.commit().await.unwrap();
});

on_both!(
    a_host_takes_no_functional_account_of_another_host_but_one_of_a_directory,
    |db| {
        let queue = db.queue().await;
        with_own(&queue, 1, 1).await;
        queue.system(2, 1, 1, 1).await;
        queue.system(3, 1, 1, 1).await;
        let mut strange = linux_system(4, "web4");
        strange.settings.functional_account_id = Some(FA);
        let mut tx = queue.store.begin().await.unwrap();
        conflicts(tx.insert_system(&strange, NOW).await);
        drop(tx);
        let mut tx = queue.store.begin().await.unwrap();
        let mut second = tx.locked_system(SystemId(2)).await.unwrap().unwrap();
        second.settings.functional_account_id = Some(FA);
        conflicts(
            tx.update_system(second.id, second.revision, &second.settings)
                .await,
        );
        drop(tx);
        functional(&queue, FB, &[2]).await;
        let mut tx = queue.store.begin().await.unwrap();
        conflicts(tx.link_functional(between(FB, 3, 1), NOW).await);
        drop(tx);
        queue
            .write("UPDATE system_details SET entity_type = 3 WHERE system_id = 3")
            .await;
        link(&queue, between(FB, 3, 1)).await;
        assert_eq!(
            queue
                .number("SELECT CAST(SUM(guarded) AS BIGINT) FROM systems")
                .await,
            3
        );
    }
);

on_both!(a_linked_account_changes_alone, |db| {
    let queue = db.queue().await;
    with_own(&queue, 3, 6).await;
    for nth in 1..=4 {
        queue.order(1, nth, Priority::Routine).await;
    }
    let (alone, held) = the_only(&queue, Priority::Routine).await;
    assert_eq!(held, [1]);
    nothing(&queue, Priority::Routine).await;
    queue.order(1, 5, Priority::Immediate).await;
    nothing(&queue, Priority::Immediate).await;
    queue.is_sound().await;
    queue.settle(&alone, &Ending::Succeeded, NOW).await;
    let (first, held) = the_only(&queue, Priority::Routine).await;
    assert_eq!(held, [2, 3]);
    // While others are at work it waits, and nobody else begins meanwhile.
    queue.order(1, 1, Priority::Routine).await;
    nothing(&queue, Priority::Routine).await;
    nothing(&queue, Priority::Immediate).await;
    queue.is_sound().await;
    queue.settle(&first, &Ending::Succeeded, NOW).await;
    let (alone, held) = the_only(&queue, Priority::Routine).await;
    assert_eq!(held, [1]);
    queue.settle(&alone, &Ending::Succeeded, NOW).await;
    let rest = claimed(&queue, Priority::Immediate).await;
    assert_eq!(rest[0].1, [5]);
    let rest = claimed(&queue, Priority::Routine).await;
    assert_eq!(rest[0].1, [4]);
    queue.is_sound().await;
});

on_both!(
    a_login_that_is_wanted_and_never_comes_holds_nobody_for_long,
    |db| {
        let queue = db.queue().await;
        with_own(&queue, 3, 4).await;
        queue.order(1, 2, Priority::Routine).await;
        the_only(&queue, Priority::Routine).await;
        let job = queue.order(1, 1, Priority::Routine).await;
        queue.order(1, 3, Priority::Routine).await;
        nothing(&queue, Priority::Routine).await;
        // Its job waits for another attempt before its turn has come.
        queue
            .write("UPDATE jobs SET run_at = run_at + 900000 WHERE account_id = 1000001")
            .await;
        assert!(queue.job_row(job).await.is_some());
        nothing(&queue, Priority::Routine).await;
        let later = keywheel::model::Timestamp(NOW.0 + 60_001);
        let claims = queue.claim(Priority::Routine, later).await;
        assert_eq!(claims.iter().map(accounts).collect::<Vec<_>>(), [[3]]);
        queue.is_sound().await;
    }
);

on_both!(every_system_that_logs_in_by_it_rests_meanwhile, |db| {
    let queue = db.queue().await;
    for system in 1..=4 {
        queue.system(system, 2, 2, 3).await;
    }
    queue
        .write("UPDATE system_details SET entity_type = 3 WHERE system_id = 3")
        .await;
    functional(&queue, FA, &[1, 2]).await;
    link(&queue, between(FA, 3, 1)).await;
    queue.order(2, 1, Priority::Routine).await;
    let (other, _) = the_only(&queue, Priority::Routine).await;
    queue.order(3, 1, Priority::Routine).await;
    queue.order(3, 2, Priority::Routine).await;
    // Its home logs in by another account, and goes on.
    let (home, held) = the_only(&queue, Priority::Routine).await;
    assert_eq!((home.system, held), (SystemId(3), vec![2]));
    // Systems behind those that wait are found.
    queue.order(1, 1, Priority::Routine).await;
    queue.order(4, 1, Priority::Routine).await;
    let mut tx = queue.store.begin().await.unwrap();
    let claims = tx
        .claim(queue.node, Priority::Routine, 1, 9, NOW)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(claims[0].system, SystemId(4));
    queue.settle(&other, &Ending::Succeeded, NOW).await;
    let (alone, held) = the_only(&queue, Priority::Routine).await;
    assert_eq!((alone.system, held), (SystemId(3), vec![1]));
    queue.order(2, 2, Priority::Quarantine).await;
    nothing(&queue, Priority::Quarantine).await;
    nothing(&queue, Priority::Routine).await;
    queue.settle(&alone, &Ending::Succeeded, NOW).await;
    assert_eq!(claimed(&queue, Priority::Quarantine).await.len(), 1);
    assert_eq!(claimed(&queue, Priority::Routine).await.len(), 1);
    queue.is_sound().await;
});

on_both!(in_a_quarantine_the_own_login_is_last, |db| {
    let queue = db.queue().await;
    with_own(&queue, 3, 4).await;
    // It was ordered before, and even somebody waits for it.
    queue.order(1, 1, Priority::Immediate).await;
    queue.quarantine(1, NOW).await;
    nothing(&queue, Priority::Immediate).await;
    let (first, held) = the_only(&queue, Priority::Quarantine).await;
    assert_eq!(held, [2, 3]);
    nothing(&queue, Priority::Immediate).await;
    let (second, held) = the_only(&queue, Priority::Quarantine).await;
    assert_eq!(held, [4]);
    nothing(&queue, Priority::Immediate).await;
    let at = keywheel::model::Timestamp(NOW.0 + 9);
    let retry = Ending::Retry { at, counts: true };
    queue.settle(&second, &retry, NOW).await;
    queue.settle(&first, &Ending::NeedsOperator, NOW).await;
    // One waits for its next attempt: not yet.
    nothing(&queue, Priority::Immediate).await;
    let again = queue.claim(Priority::Quarantine, at).await.remove(0);
    queue.settle(&again, &Ending::Failed, at).await;
    let alone = queue.claim(Priority::Immediate, at).await.remove(0);
    assert_eq!(accounts(&alone), [1]);
    queue.settle(&alone, &Ending::Succeeded, at).await;
    let open = "SELECT COUNT(*) FROM quarantines WHERE finished_at IS NULL";
    assert_eq!(queue.number(open).await, 0);
    queue.is_sound().await;
});

on_both!(of_two_in_a_quarantine_the_systems_own_login_is_last, |db| {
    let queue = db.queue().await;
    with_own(&queue, 3, 3).await;
    functional(&queue, FB, &[]).await;
    link(&queue, between(FB, 1, 2)).await;
    queue.quarantine(1, NOW).await;
    for nth in [3, 2, 1] {
        let (claim, held) = the_only(&queue, Priority::Quarantine).await;
        assert_eq!(held, [nth]);
        nothing(&queue, Priority::Quarantine).await;
        queue.settle(&claim, &Ending::Succeeded, NOW).await;
    }
    queue.is_sound().await;
});

on_both!(a_quarantine_that_is_half_ordered_is_waited_for, |db| {
    let queue = db.queue().await;
    with_own(&queue, 3, 2).await;
    let mut tx = queue.store.begin().await.unwrap();
    tx.lock_queue(SystemId(1)).await.unwrap();
    tx.open_quarantine(SystemId(1), "leak", None, "ada", NOW)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    queue.order(1, 1, Priority::Quarantine).await;
    nothing(&queue, Priority::Quarantine).await;
    queue
        .write("UPDATE quarantines SET ordered_to = NULL")
        .await;
    assert_eq!(the_only(&queue, Priority::Quarantine).await.1, [1]);
});

on_both!(never_two_of_one_system_at_once_or_in_doubt, |db| {
    let queue = db.queue().await;
    with_own(&queue, 9, 3).await;
    functional(&queue, FB, &[]).await;
    let (one, two) = (account_id(1, 1), account_id(1, 2));
    link(&queue, between(FB, 1, 2)).await;
    assert_eq!(queue.store.doubtful_peer(one).await.unwrap(), None);
    queue.order(1, 2, Priority::Routine).await;
    let (second, _) = the_only(&queue, Priority::Routine).await;
    queue.order(1, 1, Priority::Routine).await;
    nothing(&queue, Priority::Routine).await;
    let step = leave_in_doubt(&queue, two).await;
    assert_eq!(queue.store.doubtful_peer(one).await.unwrap(), Some(two));
    assert_eq!(queue.store.doubtful_peer(two).await.unwrap(), None);
    assert_eq!(
        queue.store.doubtful_peer(account_id(1, 3)).await.unwrap(),
        None,
        "it is not linked"
    );
    // Its next attempt comes: until then the other one is not begun.
    let at = keywheel::model::Timestamp(NOW.0 + 9);
    let retry = Ending::Retry { at, counts: true };
    queue.settle(&second, &retry, NOW).await;
    nothing(&queue, Priority::Routine).await;
    // A quarantine comes: what is half done is brought to its end before all others.
    queue.quarantine(1, NOW).await;
    let again = queue.claim(Priority::Quarantine, at).await.remove(0);
    assert_eq!(accounts(&again), [2]);
    // Nobody works on the doubt any more: the engine says so of the other one.
    queue.settle(&again, &Ending::NeedsOperator, at).await;
    let rest = queue.claim(Priority::Quarantine, at).await.remove(0);
    assert_eq!(accounts(&rest), [3]);
    queue.settle(&rest, &Ending::Succeeded, at).await;
    let own = queue.claim(Priority::Quarantine, at).await.remove(0);
    assert_eq!(accounts(&own), [1]);
    assert_eq!(step.account, two);
    queue.is_sound().await;
});

on_both!(
    old_jobs_are_ended_without_the_login_and_not_beside_it,
    |db| {
        let queue = db.queue().await;
        with_own(&queue, 3, 3).await;
        let expired = async || {
            let mut tx = queue.store.begin().await.unwrap();
            let cutoff = keywheel::model::Timestamp(NOW.0 + 1);
            let claim = tx.claim_expired(queue.node, cutoff, NOW).await.unwrap();
            tx.commit().await.unwrap();
            claim.map(|claim| accounts(&claim))
        };
        queue
            .order_at(1, 1, Priority::Immediate, JobKind::Test, NOW)
            .await;
        let (alone, held) = the_only(&queue, Priority::Immediate).await;
        assert_eq!(held, [1]);
        queue.write("UPDATE systems SET trips = 3").await;
        queue.order(1, 2, Priority::Routine).await;
        assert_eq!(expired().await, None, "its login is being looked at");
        queue.settle(&alone, &Ending::Succeeded, NOW).await;
        queue.order(1, 1, Priority::Routine).await;
        assert_eq!(expired().await, Some(vec![2]));
        assert_eq!(expired().await, None);
        queue.is_sound().await;
    }
);

on_both!(exclusion_holds_among_many_who_claim_at_once, |db| {
    let queue = db.queue().await;
    for system in 1..=3 {
        queue.system(system, 3, 1, 8).await;
    }
    queue
        .write("UPDATE system_details SET entity_type = 3 WHERE system_id = 3")
        .await;
    functional(&queue, FA, &[1, 2, 3]).await;
    link(&queue, between(FA, 3, 1)).await;
    for system in 1..=3 {
        for nth in 2..=8 {
            queue.order(system, nth, Priority::Routine).await;
        }
    }
    let running = "SELECT COUNT(*) FROM jobs WHERE state = 'running'";
    let login = "SELECT COUNT(*) FROM jobs WHERE state = 'running' AND account_id = 3000001";
    let (mut turns, mut rounds) = (0, 0);
    let mut held: Vec<Claim> = Vec::new();
    let mut now = NOW;
    while turns < 3 {
        rounds += 1;
        assert!(rounds < 200, "its turn never comes");
        if rounds % 5 == 1
            && queue
                .number("SELECT COUNT(*) FROM jobs WHERE account_id = 3000001")
                .await
                == 0
        {
            queue.order(3, 1, Priority::Routine).await;
        }
        let claims = (0..6).map(|_| queue.claim(Priority::Routine, now));
        held.extend(futures::future::join_all(claims).await.concat());
        queue.is_sound().await;
        let (all, alone) = (queue.number(running).await, queue.number(login).await);
        assert!(alone == 0 || all == 1, "{alone} of {all}");
        turns += alone;
        now = keywheel::model::Timestamp(now.0 + 1_000);
        // The oldest claim ends; its work is ordered anew.
        if !held.is_empty() {
            let claim = held.remove(0);
            queue.settle(&claim, &Ending::Succeeded, now).await;
            for job in &claim.jobs {
                let nth = job.account.0 - account_id(claim.system.0, 0).0;
                if nth != 1 {
                    queue.order(claim.system.0, nth, Priority::Routine).await;
                }
            }
        }
    }
});
