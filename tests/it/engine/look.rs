//! Tests of accounts, and what logins may cost.

use keywheel::clock::Clock;
use keywheel::model::account::LastTest;
use keywheel::model::credential::Part;
use keywheel::model::job::JobState;
use keywheel::queue::TestVerdict;
use keywheel_connectors::fake::{OnChange, OnCheck, OnOpen};

use super::world::{Like, Site, World, login};
use crate::support::database::{Database, on_both};

on_both!(a_test_says_what_the_target_says, |db| {
    let (world, site) = World::with(db, &Like::many(3)).await;
    let [sound, foreign, silent] = site.accounts[..] else {
        panic!()
    };
    site.target
        .set_behind(&login(foreign), "Somebody-else-vLm9Q");
    site.target.every_check(&login(silent), OnCheck::Drop);
    for (account, verdict, last) in [
        (sound, TestVerdict::Works, LastTest::Passed),
        (foreign, TestVerdict::DoesNot, LastTest::OutOfSync),
        (silent, TestVerdict::DoesNot, LastTest::Unreachable),
    ] {
        world.clock.advance(std::time::Duration::from_secs(1));
        assert_eq!(world.test(account).await, verdict);
        let credential = world.account(account).await.credential;
        assert_eq!(credential.last_test, last);
        assert_eq!(credential.tested_at, Some(world.clock.now()));
        assert_eq!(
            credential.current_version,
            Some(1),
            "a test changes nothing"
        );
    }
    assert_eq!(site.target.counts().changes, 0);
    assert_eq!(
        world
            .store
            .open_rotation_of(foreign, Part::Password)
            .await
            .unwrap(),
        None
    );
    // Put right, or the world would be dropped with a lost account.
    site.target
        .set_behind(&login(foreign), &world.current(foreign).await);
});

on_both!(an_unreachable_system_fails_a_test_and_says_so, |db| {
    let (world, site) = World::with(db, &Like::default()).await;
    site.target.every_open(OnOpen::Unreachable);
    assert_eq!(world.test(site.account()).await, TestVerdict::DoesNot);
    let credential = world.account(site.account()).await.credential;
    assert_eq!(credential.last_test, LastTest::Unreachable);
});

/// Runs to the end and notes when logins failed.
async fn failures(world: &World, site: &Site) -> Vec<(i64, usize)> {
    let mut seen = 0;
    let mut failures = Vec::new();
    for _ in 0..100 {
        world.run().await;
        let failed = site.target.failed_logins(&site.login());
        if failed > seen {
            failures.push((world.clock.now().0, failed - seen));
            seen = failed;
        }
        let Some(next) = world.next_runnable().await else {
            return failures;
        };
        world.clock.advance(next.since(world.clock.now()));
    }
    panic!("the jobs do not end");
}

on_both!(failing_logins_stay_within_the_lockout_budget, |db| {
    let budgets = [
        (Some(0), 2),
        (Some(3), 1),
        (Some(4), 2),
        (Some(5), 2),
        (None, 1),
    ];
    for (threshold, budget) in budgets {
        for change in [OnChange::Lie, OnChange::LoseOrder, OnChange::LoseReply] {
            let world = World::new(Database::new(db.backend).await).await;
            let like = Like {
                lockout_threshold: threshold,
                evidence: false,
                ..Like::default()
            };
            let site = world.site(&like).await;
            site.target.every_change(&site.login(), change);
            site.target.every_check(&site.login(), OnCheck::Reject);
            let job = world.change(site.account()).await;
            let failures = failures(&world, &site).await;
            assert_eq!(world.state(job).await, JobState::NeedsOperator);
            assert!(!failures.is_empty());
            let window = i64::try_from(world.limits.lockout_window.as_millis()).unwrap();
            for (at, _) in &failures {
                let within: usize = failures
                    .iter()
                    .filter(|(later, _)| (*at..*at + window).contains(later))
                    .map(|(_, failed)| failed)
                    .sum();
                assert!(within <= budget, "{threshold:?} {change:?}: {failures:?}");
            }
        }
    }
});

on_both!(
    a_budget_of_one_login_still_finds_out_which_secret_works,
    |db| {
        for lost in [OnChange::LoseOrder, OnChange::LoseReply] {
            let world = World::new(Database::new(db.backend).await).await;
            let like = Like {
                lockout_threshold: None,
                evidence: false,
                ..Like::default()
            };
            let site = world.site(&like).await;
            site.target.next_change(&site.login(), lost);
            let job = world.change(site.account()).await;
            world.run_to_the_end().await;
            assert_eq!(world.state(job).await, JobState::Succeeded, "{lost:?}");
            world.assert_current_works(site.account()).await;
            assert!(site.target.failed_logins(&site.login()) <= 2);
        }
    }
);

on_both!(changes_that_succeed_spend_nothing, |db| {
    let (world, site) = World::with(
        db,
        &Like {
            lockout_threshold: None,
            ..Like::default()
        },
    )
    .await;
    for _ in 0..6 {
        let job = world.change(site.account()).await;
        world.run().await;
        assert_eq!(world.state(job).await, JobState::Succeeded);
        assert_eq!(world.test(site.account()).await, TestVerdict::Works);
    }
    assert_eq!(site.target.failed_logins(&site.login()), 0);
});
