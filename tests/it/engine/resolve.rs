//! An operator settles what is in doubt, or what somebody else has changed.

use keywheel::clock::Clock;
use keywheel::model::account::LastTest;
use keywheel::model::credential::{Part, Parts};
use keywheel::model::id::{AccountId, JobId};
use keywheel::model::job::{Cause, JobKind, JobState, Priority};
use keywheel::model::policy::Policy;
use keywheel::model::rotation::Phase;
use keywheel::queue::{OrderError, Resolve, ResolveOrder, TestVerdict};
use keywheel::store::NewJob;
use keywheel_connectors::Secret;
use keywheel_connectors::fake::{OnChange, OnCheck};

use super::world::{Like, Site, World};
use crate::support::database::{Database, on_both};

const THEIRS: &str = "Somebody-elses-7Q";

async fn resolve(world: &World, account: AccountId, how: Resolve) -> Result<JobId, OrderError> {
    let orders = world.orders();
    let order = ResolveOrder {
        account,
        part: Part::Password,
        how,
        reason: "ticket 7",
        actor: "ada",
    };
    orders.resolve(order).await
}

/// Orders it, and works until it has ended.
async fn resolved(world: &World, account: AccountId, how: Resolve) -> (JobId, JobState) {
    let job = resolve(world, account, how).await.unwrap();
    world.run_to_the_end().await;
    (job, world.state(job).await)
}

/// A change whose reply got lost, on a target that judged no login: it needs an operator.
async fn in_doubt(database: Database, evidence: bool, change: OnChange) -> (World, Site) {
    let (world, site) = World::with(database, &Like::showing(evidence)).await;
    site.target.next_change(&site.login(), change);
    site.target.every_check(&site.login(), OnCheck::Drop);
    if evidence {
        site.target.offer_evidence(false);
    }
    let job = world.change_now(site.account()).await;
    world.run_to_the_end().await;
    assert_eq!(world.state(job).await, JobState::NeedsOperator);
    site.target.every_check(&site.login(), OnCheck::Judge);
    site.target.offer_evidence(evidence);
    world.clock.advance(world.limits.lockout_window);
    (world, site)
}

/// Somebody else sets the password.
fn drift(site: &Site) {
    site.target.add(&site.login(), THEIRS);
}

async fn last_test(world: &World, account: AccountId) -> LastTest {
    world.account(account).await.credential.last_test
}

on_both!(a_retry_takes_what_has_landed, |db| {
    for evidence in [true, false] {
        let database = Database::new(db.backend).await;
        let (world, site) = in_doubt(database, evidence, OnChange::LoseReply).await;
        let (job, state) = resolved(&world, site.account(), Resolve::Retry).await;
        assert_eq!(state, JobState::Succeeded, "{}", world.log(job).await);
        assert_eq!(world.version(site.account()).await, Some(2));
        world.assert_current_works(site.account()).await;
    }
});

on_both!(a_retry_changes_what_has_not, |db| {
    for evidence in [true, false] {
        let database = Database::new(db.backend).await;
        let (world, site) = in_doubt(database, evidence, OnChange::LoseOrder).await;
        let (job, state) = resolved(&world, site.account(), Resolve::Retry).await;
        assert_eq!(state, JobState::Succeeded, "{}", world.log(job).await);
        assert_eq!(world.version(site.account()).await, Some(3));
        world.assert_current_works(site.account()).await;
    }
});

on_both!(
    a_version_becomes_current_only_if_the_target_takes_it,
    |db| {
        let (world, site) = in_doubt(db, false, OnChange::LoseReply).await;
        let account = site.account();
        // It is not the one before.
        let (_, state) = resolved(&world, account, Resolve::UseVersion(1)).await;
        assert_eq!(state, JobState::NeedsOperator);
        assert_eq!(world.version(account).await, Some(1));
        assert!(world.account(account).await.credential.in_doubt);
        world.clock.advance(world.limits.lockout_window);
        let (job, state) = resolved(&world, account, Resolve::UseVersion(2)).await;
        assert_eq!(state, JobState::Succeeded, "{}", world.log(job).await);
        assert_eq!(world.version(account).await, Some(2));
        world.assert_current_works(account).await;
        assert!(!world.account(account).await.credential.in_doubt);
        let refused = resolve(&world, account, Resolve::UseVersion(9)).await;
        let why = refused.unwrap_err().to_string();
        assert!(why.contains("not kept"), "{why}");
        let rows = world
            .store
            .audit_of(&account.to_string(), 99)
            .await
            .unwrap();
        let said = rows.iter().filter(|row| row.event == "account.resolving");
        assert!(said.clone().all(|row| row.body.contains("ticket 7")));
        assert_eq!(said.count(), 2, "what was refused was not ordered");
    }
);

on_both!(
    what_is_supplied_is_kept_and_becomes_current_by_a_login,
    |db| {
        for evidence in [true, false] {
            let like = Like::showing(evidence);
            let (world, site) = World::with(Database::new(db.backend).await, &like).await;
            let account = site.account();
            drift(&site);
            assert_eq!(world.test(account).await, TestVerdict::DoesNot);
            world.run_to_the_end().await;
            assert_eq!(last_test(&world, account).await, LastTest::OutOfSync);
            let guess = Resolve::Supply(Secret::from("A-wrong-guess-1"));
            let (_, state) = resolved(&world, account, guess).await;
            assert_eq!(state, JobState::Failed);
            assert_eq!(world.version(account).await, Some(1));
            world.clock.advance(world.limits.lockout_window);
            let theirs = Resolve::Supply(Secret::from(THEIRS));
            let (job, state) = resolved(&world, account, theirs).await;
            assert_eq!(state, JobState::Succeeded, "{}", world.log(job).await);
            assert_eq!(world.current(account).await, THEIRS);
            assert_eq!(site.target.changes(&site.login()), 0, "nothing was sent");
            assert_eq!(last_test(&world, account).await, LastTest::Passed);
        }
    }
);

on_both!(a_reset_sets_a_new_one_whatever_the_target_holds, |db| {
    for evidence in [true, false] {
        let like = Like::showing(evidence);
        let (world, site) = World::with(Database::new(db.backend).await, &like).await;
        let account = site.account();
        // A change of ours was made a moment ago: where the target shows nothing, a test takes up
        // what was current before.
        let job = world.change(account).await;
        world.run_to_the_end().await;
        assert_eq!(world.state(job).await, JobState::Succeeded);
        drift(&site);
        world.test(account).await;
        world.run_to_the_end().await;
        assert_eq!(last_test(&world, account).await, LastTest::OutOfSync);
        world.clock.advance(world.limits.lockout_window);
        let (job, state) = resolved(&world, account, Resolve::Reset).await;
        assert_eq!(state, JobState::Succeeded, "{}", world.log(job).await);
        assert!(!site.target.accepts(&site.login(), THEIRS));
        world.assert_current_works(account).await;
        let open = world.store.open_rotation_of(account, Part::Password).await;
        assert_eq!(open.unwrap(), None);
    }
});

on_both!(an_operators_word_moves_current_and_leaves_the_doubt, |db| {
    let (world, site) = in_doubt(db, false, OnChange::LoseReply).await;
    let account = site.account();
    let opens = site.target.counts().opens;
    let (job, state) = resolved(&world, account, Resolve::UseUntested(2)).await;
    assert_eq!(state, JobState::Succeeded);
    assert!(world.log(job).await.contains("not contacted"));
    assert_eq!(site.target.counts().opens, opens);
    let credential = world.account(account).await.credential;
    assert_eq!(credential.current_version, Some(2));
    assert_eq!(credential.last_test, LastTest::NeverTested);
    assert!(credential.in_doubt);
    // A wrong word is found out, and undone, by a test.
    let (_, state) = resolved(&world, account, Resolve::UseUntested(1)).await;
    assert_eq!(state, JobState::Succeeded);
    world.test(account).await;
    world.run_to_the_end().await;
    assert_eq!(world.version(account).await, Some(2));
    world.assert_current_works(account).await;
});

on_both!(
    a_scheduled_test_that_finds_drift_is_answered_by_policy,
    |db| {
        for (evidence, by_policy, resets) in [
            (true, true, true),
            (true, false, true),
            (false, true, true),
            (true, false, false),
        ] {
            let like = Like::showing(evidence);
            let (world, site) = World::with(Database::new(db.backend).await, &like).await;
            let account = site.account();
            let job = world.change(account).await;
            world.run_to_the_end().await;
            assert_eq!(world.state(job).await, JobState::Succeeded);
            if by_policy {
                set_policy(&world, account).await;
            } else {
                let resets = i64::from(resets);
                sqlx::query("UPDATE accounts SET auto_management = 1, reset_on_mismatch = $1")
                    .bind(resets)
                    .execute(&world.raw)
                    .await
                    .unwrap();
            }
            drift(&site);
            let mut tx = world.store.begin().await.unwrap();
            tx.lock_queue(site.id).await.unwrap();
            let test = NewJob {
                account,
                system: site.id,
                kind: JobKind::Test,
                cause: Cause::Schedule,
                actor: "service".to_owned(),
                priority: Priority::Routine,
                run_at: world.clock.now(),
                parts: Parts::ALL_THERE_ARE,
                version: None,
                key_version: None,
            };
            tx.enqueue(&test, world.clock.now()).await.unwrap();
            tx.commit().await.unwrap();
            world.run_to_the_end().await;
            let theirs = site.target.accepts(&site.login(), THEIRS);
            assert_eq!(theirs, !resets, "evidence {evidence}, policy {by_policy}");
            if resets {
                world.assert_current_works(account).await;
            } else {
                assert_eq!(last_test(&world, account).await, LastTest::OutOfSync);
            }
        }
    }
);

async fn set_policy(world: &World, account: AccountId) {
    let policy = serde_json::json!({
        "name": "reset", "mode": "auto", "max_age": "90d", "change_on_mismatch": true,
    });
    let policy: Policy = serde_json::from_value(policy).unwrap();
    let mut tx = world.store.begin().await.unwrap();
    let now = world.clock.now();
    let id = tx.insert_policy(&policy, now).await.unwrap();
    tx.commit().await.unwrap();
    sqlx::query("UPDATE accounts SET policy_id = $2 WHERE id = $1")
        .bind(account.0)
        .bind(id.0)
        .execute(&world.raw)
        .await
        .unwrap();
}

on_both!(nothing_is_settled_while_a_job_is_under_way, |db| {
    let (world, site) = World::with(db, &Like::default()).await;
    let job = world.change(site.account()).await;
    let refused = resolve(&world, site.account(), Resolve::Probe).await;
    let why = refused.unwrap_err().to_string();
    assert!(why.contains(&format!("Job {}", job.0)), "{why}");
    world.run_to_the_end().await;
    assert_eq!(world.state(job).await, JobState::Succeeded);
});

on_both!(
    a_version_that_was_to_be_tried_is_not_sent_by_a_later_order,
    |db| {
        let (world, site) = World::with(db, &Like::default()).await;
        let account = site.account();
        let job = world.change(account).await;
        world.run_to_the_end().await;
        assert_eq!(world.state(job).await, JobState::Succeeded);
        for quarantine in [false, true] {
            let tried = resolve(&world, account, Resolve::UseVersion(1)).await;
            let tried = tried.unwrap();
            if quarantine {
                let orders = world.orders();
                let ordered = orders.quarantine(site.id, "breach", None, "ada").await;
                ordered.unwrap();
            } else {
                assert_eq!(world.change(account).await, tried, "it is taken along");
            }
            world.run_to_the_end().await;
            assert_eq!(world.state(tried).await, JobState::Succeeded);
            let version = world.version(account).await;
            assert_eq!(version, Some(if quarantine { 4 } else { 3 }));
            world.assert_current_works(account).await;
            let last = world.store.last_rotation(account, Part::Password).await;
            assert_eq!(last.unwrap().unwrap().state.phase, Phase::Committed);
        }
    }
);
