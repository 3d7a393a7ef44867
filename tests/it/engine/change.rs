//! What a change comes to where the target is sound, and where it refuses.

use keywheel::model::job::JobState;
use keywheel_connectors::fake::OnChange;

use super::world::{Like, World};
use crate::support::database::on_both;

on_both!(a_batch_of_thirty_changes_over_one_session, |db| {
    let (world, site) = World::with(db, &Like::many(30)).await;
    let jobs = world.change_all(&site.accounts).await;
    world.run().await;
    for (job, &account) in jobs.into_iter().zip(&site.accounts) {
        assert_eq!(
            world.state(job).await,
            JobState::Succeeded,
            "{}",
            world.log(job).await
        );
        world.assert_current_works(account).await;
        let credential = world.account(account).await.credential;
        assert_eq!(credential.current_version, Some(2));
        assert!(!credential.in_doubt);
        assert_ne!(
            world.secret(account, 1).await,
            world.secret(account, 2).await
        );
    }
    let counts = site.target.counts();
    assert_eq!((counts.opens, counts.changes, counts.checks), (1, 30, 30));
    assert_eq!(counts.looks, 0, "the normal path probes nothing");
    assert!(counts.exchanges_max > 1, "accounts wait for each other");
});

on_both!(steps_of_several_accounts_share_commits, |db| {
    let (world, site) = World::with(db, &Like::many(30)).await;
    world.change_all(&site.accounts).await;
    let before = world.store.commits();
    world.run().await;
    let commits = world.store.commits() - before;
    assert!(commits < 60, "{commits} commits for 30 accounts");
});

on_both!(a_given_password_becomes_current, |db| {
    let (world, site) = World::with(db, &Like::default()).await;
    let job = world
        .order(site.account(), Some("Given-vLm9Q"), true)
        .await
        .unwrap();
    world.run().await;
    assert_eq!(world.state(job).await, JobState::Succeeded);
    assert_eq!(world.current(site.account()).await, "Given-vLm9Q");
    world.assert_current_works(site.account()).await;
    assert_eq!(site.target.changes(&site.login()), 1);
});

on_both!(
    a_refused_candidate_is_followed_by_two_others_at_most,
    |db| {
        for refusals in 0..4 {
            let world = World::new(crate::support::database::Database::new(db.backend).await).await;
            let site = world.site(&Like::default()).await;
            for _ in 0..refusals {
                site.target.next_change(&site.login(), OnChange::Refuse);
            }
            let job = world.change(site.account()).await;
            world.run_to_the_end().await;
            let (ended, changes) = if refusals < 3 {
                (JobState::Succeeded, refusals + 1)
            } else {
                (JobState::Failed, 3)
            };
            assert_eq!(world.state(job).await, ended);
            assert_eq!(site.target.changes(&site.login()), changes);
            world.assert_current_works(site.account()).await;
            let kept = world
                .store
                .versions(site.account(), 10)
                .await
                .unwrap()
                .len();
            assert_eq!(kept, 1 + changes, "a refused candidate is kept");
            assert!(!world.account(site.account()).await.credential.in_doubt);
        }
    }
);

on_both!(
    a_refused_given_password_fails_and_current_still_works,
    |db| {
        let (world, site) = World::with(db, &Like::default()).await;
        site.target.next_change(&site.login(), OnChange::Refuse);
        let job = world
            .order(site.account(), Some("Given-vLm9Q"), false)
            .await
            .unwrap();
        world.run_to_the_end().await;
        assert_eq!(world.state(job).await, JobState::Failed);
        assert!(world.log(job).await.contains("change refused: refused"));
        assert_eq!(
            site.target.changes(&site.login()),
            1,
            "nobody asked for another one"
        );
        assert_eq!(world.version(site.account()).await, Some(1));
        world.assert_current_works(site.account()).await;
    }
);

on_both!(a_change_that_is_not_possible_now_is_tried_again, |db| {
    let (world, site) = World::with(db, &Like::default()).await;
    site.target.next_change(&site.login(), OnChange::NotNow);
    let job = world.change(site.account()).await;
    world.run().await;
    assert_eq!(world.state(job).await, JobState::Retrying);
    world.run_to_the_end().await;
    assert_eq!(world.state(job).await, JobState::Succeeded);
    let versions = world.store.versions(site.account(), 9).await.unwrap().len();
    assert_eq!(versions, 2, "the same candidate is sent again");
});

on_both!(an_account_without_a_stored_credential_gets_one, |db| {
    for evidence in [true, false] {
        for lost in [OnChange::Obey, OnChange::LoseOrder, OnChange::LoseReply] {
            let world = World::new(crate::support::database::Database::new(db.backend).await).await;
            let like = Like {
                evidence,
                stored: false,
                ..Like::default()
            };
            let site = world.site(&like).await;
            site.target.next_change(&site.login(), lost);
            let job = world.change(site.account()).await;
            world.run_to_the_end().await;
            assert_eq!(
                world.state(job).await,
                JobState::Succeeded,
                "{}",
                world.log(job).await
            );
            world.assert_current_works(site.account()).await;
        }
    }
});

on_both!(
    an_unfit_given_password_is_refused_before_anything_is_stored,
    |db| {
        let (world, site) = World::with(db, &Like::default()).await;
        let refused = world.order(site.account(), Some("two\nlines"), true).await;
        assert!(matches!(
            refused,
            Err(keywheel::queue::OrderError::Refused(_))
        ));
        assert_eq!(
            world.store.versions(site.account(), 9).await.unwrap().len(),
            1
        );
        assert_eq!(site.target.counts().opens, 0);
    }
);
