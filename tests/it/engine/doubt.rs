//! Lost replies, late orders, lies: what is not known is found out, and nothing is forgotten.

use std::time::Duration;

use keywheel::clock::Clock;
use keywheel::model::credential::Part;
use keywheel::model::job::JobState;
use keywheel::model::rotation::{HORIZON, Phase};
use keywheel::queue::TestVerdict;
use keywheel_connectors::fake::{OnChange, OnCheck};

use super::world::{Like, World};
use crate::support::database::{Database, on_both};

on_both!(a_lost_reply_never_loses_the_live_password, |db| {
    for evidence in [true, false] {
        for lost in [
            OnChange::LoseReply,
            OnChange::LoseOrder,
            OnChange::ObeyLate,
            OnChange::Hang,
        ] {
            let (world, site) = World::with(
                Database::new(db.backend).await,
                &Like::showing(evidence).hasty(),
            )
            .await;
            site.target.next_change(&site.login(), lost);
            let job = world.change(site.account()).await;
            world.run_to_the_end().await;
            assert_eq!(world.state(job).await, JobState::Succeeded, "{lost:?}");
            let versions = world.store.versions(site.account(), 9).await.unwrap().len();
            assert_eq!(versions, 2, "the same candidate is sent again");
            let sent = if lost == OnChange::LoseReply { 1 } else { 2 };
            assert_eq!(site.target.changes(&site.login()), sent, "{lost:?}");
            world.assert_current_works(site.account()).await;
            // Sent twice, landed twice: the same secret.
            site.target.deliver_late();
            world.assert_current_works(site.account()).await;
        }
    }
});

on_both!(a_lie_is_never_believed, |db| {
    for evidence in [true, false] {
        let (world, site) =
            World::with(Database::new(db.backend).await, &Like::showing(evidence)).await;
        site.target.next_change(&site.login(), OnChange::Lie);
        let job = world.change(site.account()).await;
        world.run().await;
        assert_eq!(world.state(job).await, JobState::Retrying);
        let credential = world.account(site.account()).await.credential;
        assert_eq!(credential.current_version, Some(1));
        assert!(credential.in_doubt);
        world.run_to_the_end().await;
        assert_eq!(world.state(job).await, JobState::Succeeded);
        world.assert_current_works(site.account()).await;
        assert!(!world.account(site.account()).await.credential.in_doubt);
    }
});

on_both!(a_target_that_always_lies_needs_an_operator, |db| {
    let (world, site) = World::with(db, &Like::default()).await;
    site.target.every_change(&site.login(), OnChange::Lie);
    let job = world.change(site.account()).await;
    world.run_to_the_end().await;
    assert_eq!(world.state(job).await, JobState::NeedsOperator);
    world.assert_current_works(site.account()).await;
    let attempts = world.job(job).await.attempts.len();
    assert_eq!(attempts, 5);
});

on_both!(
    a_write_that_lands_after_a_newer_change_is_adopted_by_a_test,
    |db| {
        for evidence in [true, false] {
            let (world, site) =
                World::with(Database::new(db.backend).await, &Like::showing(evidence)).await;
            let account = site.account();
            // Everything about version 2 gets lost until the attempts are used up.
            site.target.every_change(&site.login(), OnChange::ObeyLate);
            let job = world.change(account).await;
            world.run_to_the_end().await;
            assert_eq!(world.state(job).await, JobState::NeedsOperator);
            assert!(world.account(account).await.credential.in_doubt);
            // The operator's test finds current working, and a newer change succeeds.
            assert_eq!(world.test(account).await, TestVerdict::Works);
            assert!(
                world.account(account).await.credential.in_doubt,
                "it may land yet"
            );
            site.target.every_change(&site.login(), OnChange::Obey);
            let newer = world.change(account).await;
            world.run_to_the_end().await;
            assert_eq!(world.state(newer).await, JobState::Succeeded);
            assert_eq!(world.version(account).await, Some(3));
            assert!(
                world.account(account).await.credential.in_doubt,
                "readers are told: version 2 may land yet"
            );
            // Now the old order lands.
            assert!(site.target.deliver_late() > 0);
            world.assert_recoverable().await;
            world.clock.advance(world.limits.lockout_window);
            let verdict = world.test(account).await;
            world.run_to_the_end().await;
            let credential = world.account(account).await.credential;
            assert_eq!(
                credential.current_version,
                Some(2),
                "adopted; the test said {verdict:?}"
            );
            world.assert_current_works(account).await;
        }
    }
);

on_both!(
    an_accepted_version_that_lands_again_is_adopted_where_the_target_shows_it,
    |db| {
        let (world, site) = World::with(db, &Like::default()).await;
        site.target.next_change(&site.login(), OnChange::ObeyLate);
        for _ in 0..2 {
            let job = world.change(site.account()).await;
            world.run_to_the_end().await;
            assert_eq!(world.state(job).await, JobState::Succeeded);
        }
        // The first order of version 2, which was accepted long ago.
        assert_eq!(site.target.deliver_late(), 1);
        assert_eq!(world.test(site.account()).await, TestVerdict::Works);
        let credential = world.account(site.account()).await.credential;
        assert_eq!(credential.current_version, Some(2));
        world.assert_current_works(site.account()).await;
    }
);

on_both!(
    what_may_have_landed_is_found_after_its_horizon_where_the_target_shows_nothing,
    |db| {
        let (world, site) = World::with(db, &Like::showing(false)).await;
        let account = site.account();
        site.target.next_change(&site.login(), OnChange::ObeyLate);
        for _ in 0..2 {
            let job = world.change(account).await;
            world.run_to_the_end().await;
            assert_eq!(world.state(job).await, JobState::Succeeded);
        }
        assert!(
            world.account(account).await.credential.in_doubt,
            "the first order of version 2 had no answer"
        );
        // A test of its own is due, though nobody has asked for tests of this account.
        let (due,): (Option<i64>,) =
            sqlx::query_as("SELECT next_test_at FROM schedule WHERE account_id = $1")
                .bind(account.0)
                .fetch_one(&world.raw)
                .await
                .unwrap();
        let latest = world.clock.now().plus(HORIZON);
        assert!(due.is_some_and(|at| at <= latest.0), "{due:?}");
        assert_eq!(site.target.deliver_late(), 1);
        world.clock.advance(HORIZON * 2);
        world.test(account).await;
        world.run_to_the_end().await;
        assert_eq!(world.version(account).await, Some(2));
        world.assert_current_works(account).await;
        // Whatever was sent has landed, or never will.
        assert_eq!(world.test(account).await, TestVerdict::Works);
        assert!(!world.account(account).await.credential.in_doubt);
    }
);

on_both!(
    a_candidate_that_was_refused_with_proof_is_not_tried_before_what_may_be_live,
    |db| {
        let (world, site) = World::with(db, &Like::showing(false)).await;
        let account = site.account();
        site.target.next_change(&site.login(), OnChange::ObeyLate);
        for _ in 0..2 {
            let job = world.change(account).await;
            world.run_to_the_end().await;
            assert_eq!(world.state(job).await, JobState::Succeeded);
        }
        site.target.every_change(&site.login(), OnChange::Refuse);
        let job = world.change(account).await;
        world.run_to_the_end().await;
        assert_eq!(world.state(job).await, JobState::Failed);
        assert_eq!(site.target.deliver_late(), 1);
        world.clock.advance(world.limits.lockout_window);
        let before = site.target.failed_logins(&site.login());
        world.test(account).await;
        world.run_to_the_end().await;
        assert_eq!(world.version(account).await, Some(2));
        let failed = site.target.failed_logins(&site.login()) - before;
        assert_eq!(failed, 1, "current's alone");
    }
);

on_both!(
    used_up_attempts_in_doubt_need_an_operator_and_keep_everything,
    |db| {
        let (world, site) = World::with(db, &Like::showing(false)).await;
        let account = site.account();
        site.target.next_change(&site.login(), OnChange::LoseReply);
        site.target.every_check(&site.login(), OnCheck::Drop);
        let job = world.change_now(account).await;
        world.run_to_the_end().await;
        assert_eq!(world.state(job).await, JobState::NeedsOperator);
        let rotation = world
            .store
            .open_rotation_of(account, Part::Password)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(rotation.state.phase, Phase::NeedsOperator);
        assert!(rotation.state.doubt);
        assert_eq!(world.job(job).await.attempts.len(), 5);
        // Another change does not even connect.
        let opens = site.target.counts().opens;
        let next = world.change_now(account).await;
        world.run().await;
        assert_eq!(world.state(next).await, JobState::NeedsOperator);
        assert_eq!(site.target.counts().opens, opens);
        // A test is the operator's probe: the candidate has landed.
        site.target.every_check(&site.login(), OnCheck::Judge);
        world.clock.advance(world.limits.lockout_window);
        world.test(account).await;
        world.run_to_the_end().await;
        let open = world.store.open_rotation_of(account, Part::Password).await;
        assert_eq!(open.unwrap(), None);
        assert_eq!(world.version(account).await, Some(2));
        world.assert_current_works(account).await;
    }
);

on_both!(
    doubt_outlasts_a_later_rotation_that_fails_and_ends_with_the_horizon,
    |db| {
        let (world, site) = World::with(db, &Like::default()).await;
        let account = site.account();
        site.target.every_change(&site.login(), OnChange::LoseOrder);
        let job = world.change(account).await;
        world.run_to_the_end().await;
        assert_eq!(world.state(job).await, JobState::NeedsOperator);
        assert_eq!(world.test(account).await, TestVerdict::Works);
        site.target.every_change(&site.login(), OnChange::Refuse);
        let job = world.change(account).await;
        world.run_to_the_end().await;
        assert_eq!(world.state(job).await, JobState::Failed);
        assert!(world.account(account).await.credential.in_doubt);
        world.clock.advance(HORIZON + Duration::from_secs(1));
        assert_eq!(world.test(account).await, TestVerdict::Works);
        assert!(!world.account(account).await.credential.in_doubt);
    }
);
