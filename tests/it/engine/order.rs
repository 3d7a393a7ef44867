//! What orders do to each other.

use keywheel::model::account::LastTest;
use keywheel::model::credential::Part;
use keywheel::model::job::{Cause, JobState};
use keywheel::queue::{OrderError, TestVerdict};
use keywheel_connectors::Secret;
use keywheel_connectors::fake::OnChange;
use tokio_util::sync::CancellationToken;

use super::world::{Like, World};
use crate::support::database::on_both;

on_both!(
    an_identical_order_is_joined_and_another_one_redirects_what_waits,
    |db| {
        let (world, site) = World::with(db, &Like::default()).await;
        let account = site.account();
        let job = world.change(account).await;
        assert_eq!(world.change(account).await, job);
        assert_eq!(
            world.change_now(account).await,
            job,
            "the job becomes urgent"
        );
        let given = world
            .order(account, Some("Given-vLm9Q"), false)
            .await
            .unwrap();
        assert_eq!(given, job, "nothing was sent yet: the last order counts");
        world.run().await;
        assert_eq!(world.state(job).await, JobState::Succeeded);
        assert_eq!(world.current(account).await, "Given-vLm9Q");
        assert_eq!(site.target.changes(&site.login()), 1);
    }
);

on_both!(
    while_a_change_runs_its_own_order_is_joined_and_others_are_refused,
    |db| {
        let (world, site) = World::with(db, &Like::default()).await;
        let account = site.account();
        site.target.every_change_here(OnChange::Wait);
        let job = world
            .order(account, Some("Given-vLm9Q"), true)
            .await
            .unwrap();
        let meanwhile = async {
            site.changed(1).await;
            assert_eq!(
                world
                    .order(account, Some("Given-vLm9Q"), true)
                    .await
                    .unwrap(),
                job
            );
            for (password, immediate) in [(None, true), (Some("Other-vLm9Q"), true), (None, false)]
            {
                let refused = world.order(account, password, immediate).await;
                assert!(
                    matches!(refused, Err(OrderError::AlreadyRunning)),
                    "{refused:?}"
                );
            }
            let stored = world.orders().store_only(account, None, None, "ada").await;
            assert!(matches!(stored, Err(OrderError::AlreadyRunning)));
            site.target.release(9);
        };
        futures::future::join(Box::pin(world.run()), meanwhile).await;
        assert_eq!(world.state(job).await, JobState::Succeeded);
        assert_eq!(site.target.changes(&site.login()), 1);
        assert_eq!(world.current(account).await, "Given-vLm9Q");
    }
);

on_both!(storing_alone_contacts_nobody, |db| {
    let (world, site) = World::with(db, &Like::default()).await;
    let account = site.account();
    let given = Some(Secret::from("Stored-vLm9Q"));
    let job = world
        .orders()
        .store_only(account, given, None, "ada")
        .await
        .unwrap();
    assert_eq!(world.state(job).await, JobState::Succeeded);
    assert_eq!(world.current(account).await, "Stored-vLm9Q");
    let credential = world.account(account).await.credential;
    assert_eq!(credential.last_test, LastTest::NeverTested);
    assert_eq!(site.target.counts().opens, 0);
    // What was stored is not what the target holds: the kept version is found and adopted.
    assert_eq!(world.test(account).await, TestVerdict::Works);
    assert_eq!(world.version(account).await, Some(1));
    world.assert_current_works(account).await;
});

on_both!(
    a_given_password_takes_its_turn_after_an_older_rotation,
    |db| {
        let (world, site) = World::with(db, &Like::showing(false)).await;
        let account = site.account();
        site.target.next_change(&site.login(), OnChange::LoseReply);
        site.target
            .next_check(&site.login(), keywheel_connectors::fake::OnCheck::Drop);
        let job = world.change(account).await;
        world.run().await;
        assert_eq!(world.state(job).await, JobState::Retrying);
        let given = world
            .order(account, Some("Given-vLm9Q"), true)
            .await
            .unwrap();
        assert_eq!(given, job);
        world.run_to_the_end().await;
        assert_eq!(
            world.state(job).await,
            JobState::Succeeded,
            "{}",
            world.log(job).await
        );
        assert_eq!(world.current(account).await, "Given-vLm9Q");
        world.assert_current_works(account).await;
    }
);

on_both!(
    a_quarantine_changes_every_account_and_what_runs_once_more,
    |db| {
        let (world, site) = World::with(db, &Like::many(12)).await;
        let early = site.account();
        site.target.next_change(&site.login(), OnChange::Wait);
        let job = world.change_now(early).await;
        let meanwhile = async {
            site.changed(1).await;
            let id = world
                .orders()
                .quarantine(site.id, "breach", None, "ada")
                .await
                .unwrap();
            site.target.release(1);
            id
        };
        let ((), id) = futures::future::join(Box::pin(world.run()), meanwhile).await;
        let view = world.store.quarantine(id).await.unwrap().unwrap();
        assert!(view.finished_at.is_some());
        assert_eq!((view.accounts, view.counts.succeeded), (12, 12));
        for &account in &site.accounts {
            world.assert_current_works(account).await;
        }
        assert_eq!(
            site.target.changes(&site.login()),
            2,
            "what ran before counts for nothing"
        );
        assert_eq!(world.version(early).await, Some(3));
        assert_eq!(world.job(job).await.cause, Cause::Quarantine);
    }
);

on_both!(a_change_of_a_suspended_account_ends_without_contact, |db| {
    let (world, site) = World::with(db, &Like::default()).await;
    let job = world.change(site.account()).await;
    sqlx::query("UPDATE accounts SET active = 0")
        .execute(&world.raw)
        .await
        .unwrap();
    world.run().await;
    assert_eq!(world.state(job).await, JobState::Failed);
    assert_eq!(site.target.counts().opens, 0);
    let refused = world.order(site.account(), None, true).await;
    assert!(matches!(refused, Err(OrderError::Refused(_))));
});

on_both!(
    a_drain_finishes_what_was_intended_and_gives_the_rest_back,
    |db| {
        let (world, site) = World::with(db, &Like::many(30)).await;
        site.target.every_change_here(OnChange::Wait);
        let jobs = world.change_all(&site.accounts).await;
        let drain = CancellationToken::new();
        let meanwhile = async {
            site.changed(2).await;
            drain.cancel();
            site.target.release(30);
        };
        let worker = world.worker();
        let work = futures::future::join(worker.run(drain.clone()), meanwhile);
        world.while_time_passes(work).await;
        let (mut done, mut back) = (0, 0);
        for (&job, &account) in jobs.iter().zip(&site.accounts) {
            match world.state(job).await {
                JobState::Succeeded => done += 1,
                JobState::Queued => back += 1,
                other => panic!("{other:?}: {}", world.log(job).await),
            }
            let open = world
                .store
                .open_rotation_of(account, Part::Password)
                .await
                .unwrap();
            assert!(open.is_none_or(|row| row.state.phase.is_safe_point()));
        }
        assert!(
            done >= 2 && done <= world.limits.intended_max && back > 0,
            "{done} done, {back} back"
        );
        site.target.every_change_here(OnChange::Obey);
        world.run().await;
        world.assert_state(&jobs, JobState::Succeeded).await;
    }
);
