//! Systems that cannot be reached, leases that are lost, stores that fail.

use std::time::Duration;

use keywheel::clock::Clock;
use keywheel::engine::Limits;
use keywheel::model::credential::Part;
use keywheel::model::job::JobState;
use keywheel::model::rotation::Phase;
use keywheel_connectors::fake::{OnChange, OnOpen};

use super::world::{FUNC, Like, World, is_sqlite, login};
use crate::support::database::on_both;

on_both!(
    an_immediate_change_of_an_unreachable_system_fails_at_once_and_says_why,
    |db| {
        let (world, site) = World::with(db, &Like::default()).await;
        site.target.every_open(OnOpen::Unreachable);
        let job = world.change_now(site.account()).await;
        world.run().await;
        assert_eq!(world.state(job).await, JobState::Failed);
        let log = world.log(job).await;
        assert!(log.contains("connect: unreachable: "), "{log}");
        let attempt = &world.job(job).await.attempts[0];
        assert_eq!(
            (attempt.class.as_str(), attempt.attempt),
            ("unreachable", 1)
        );
        assert_eq!(
            world.store.versions(site.account(), 9).await.unwrap().len(),
            1
        );
    }
);

on_both!(
    a_queued_change_of_an_unreachable_system_is_tried_with_jitter_and_ends,
    |db| {
        let (world, site) = World::with(
            db,
            &Like {
                accounts: 5,
                max_batch: 5,
                ..Like::default()
            },
        )
        .await;
        site.target.every_open(OnOpen::Unreachable);
        let jobs = world.change_all(&site.accounts).await;
        let begun = world.clock.now();
        world.run().await;
        let mut due = Vec::new();
        for &job in &jobs {
            assert_eq!(
                world.state(job).await,
                JobState::Queued,
                "the attempt is not the account's"
            );
            due.push(world.job(job).await.next_attempt_at.unwrap());
        }
        for at in &due {
            let wait = at.since(begun);
            let base = world.limits.retry_base;
            assert!(base / 2 <= wait && wait <= base * 3 / 2, "{wait:?}");
        }
        due.dedup();
        assert!(due.len() > 1, "all come back at once");
        world.run_to_the_end().await;
        let took = world.clock.now().since(begun);
        assert!(
            took >= world.limits.give_up_after,
            "given up after {took:?}"
        );
        assert!(
            took < world.limits.give_up_after * 2,
            "given up after {took:?}"
        );
        for &job in &jobs {
            assert_eq!(world.state(job).await, JobState::Failed);
            let log = world.log(job).await;
            assert!(log.contains("unreachable"), "{log}");
        }
        assert_eq!(site.target.counts().changes, 0);
        // The breaker: a day of trouble cost few connections.
        let opens = site.target.counts().opens;
        assert!((5..200).contains(&opens), "{opens} connections");
    }
);

on_both!(
    a_breaker_opens_after_three_faults_and_lets_one_job_try,
    |db| {
        let (world, site) = World::with(
            db,
            &Like {
                accounts: 20,
                max_batch: 4,
                ..Like::default()
            },
        )
        .await;
        site.target.every_open(OnOpen::Unreachable);
        world.change_all(&site.accounts).await;
        world.run().await;
        assert_eq!(site.target.counts().opens, 3, "three claims, then a pause");
        let (trips, until) = world.store.breaker(site.id).await.unwrap().unwrap();
        assert_eq!(trips, 3);
        world.clock.advance(until.since(world.clock.now()));
        world.run().await;
        assert_eq!(site.target.counts().opens, 4, "one job tries, half-open");
        let (trips, later) = world.store.breaker(site.id).await.unwrap().unwrap();
        assert_eq!(trips, 4);
        // It answers again: the first success closes the breaker, and all go on.
        site.target.every_open(OnOpen::Judge);
        world.clock.advance(later.since(world.clock.now()));
        world.run_to_the_end().await;
        assert_eq!(world.store.breaker(site.id).await.unwrap().unwrap().0, 0);
        for &account in &site.accounts {
            assert_eq!(world.version(account).await, Some(2));
        }
    }
);

on_both!(a_person_is_not_kept_waiting_by_an_open_breaker, |db| {
    let (world, site) = World::with(
        db,
        &Like {
            accounts: 9,
            max_batch: 2,
            ..Like::default()
        },
    )
    .await;
    site.target.every_open(OnOpen::Unreachable);
    world.change_all(&site.accounts[1..]).await;
    world.run().await;
    site.target.every_open(OnOpen::Judge);
    let job = world.change_now(site.account()).await;
    world.run().await;
    assert_eq!(world.state(job).await, JobState::Succeeded);
    world.run_to_the_end().await;
});

on_both!(
    a_refused_functional_login_stops_the_system_not_each_account,
    |db| {
        let (world, site) = World::with(db, &Like::many(30)).await;
        site.target.every_open(OnOpen::Reject);
        let jobs = world.change_all(&site.accounts).await;
        world.run().await;
        assert_eq!(
            site.target.failed_logins(FUNC),
            1,
            "one refused login for thirty accounts"
        );
        assert_eq!(site.target.counts().changes, 0);
        site.target.every_open(OnOpen::Judge);
        world.run_to_the_end().await;
        world.assert_state(&jobs, JobState::Succeeded).await;
    }
);

on_both!(
    a_functional_account_without_rights_gives_the_rest_of_the_batch_back,
    |db| {
        let (world, site) = World::with(db, &Like::many(30)).await;
        site.target.every_open(OnOpen::NoPrivilege);
        world.change_all(&site.accounts).await;
        world.run().await;
        assert_eq!(site.target.counts().changes, 0);
        let opens = site.target.counts().opens;
        assert!(opens <= 3, "{opens} sessions before the breaker opened");
        site.target.every_open(OnOpen::Judge);
        world.run_to_the_end().await;
        for &account in &site.accounts {
            assert_eq!(world.version(account).await, Some(2));
        }
    }
);

on_both!(a_node_that_lost_its_lease_writes_nothing, |db| {
    let (world, site) = World::with(db, &Like::many(3)).await;
    site.target.every_change_here(OnChange::Wait);
    let jobs = world.change_all(&site.accounts).await;
    let pause = world.clock.now().plus(Duration::from_hours(1));
    let meanwhile = async {
        site.changed(3).await;
        // Another node takes the claim; it must not go on by itself in this test.
        sqlx::query("UPDATE systems SET paused_until = $1")
            .bind(pause.0)
            .execute(&world.raw)
            .await
            .unwrap();
        let (claim,): (i64,) = sqlx::query_as("SELECT id FROM claims")
            .fetch_one(&world.raw)
            .await
            .unwrap();
        let mut tx = world.store.begin().await.unwrap();
        assert!(tx.reap(claim.into(), site.id).await.unwrap());
        tx.commit().await.unwrap();
        let commits = world.store.commits();
        site.target.release(9);
        commits
    };
    let ((), commits) = futures::future::join(world.run(), meanwhile).await;
    // The last look at the queue commits too, with nothing in it.
    assert!(world.store.commits() - commits <= 1, "the old node went on");
    for (&job, &account) in jobs.iter().zip(&site.accounts) {
        let view = world.job(job).await;
        assert_eq!(view.state, JobState::Retrying);
        assert!(view.attempts.is_empty());
        let row = world
            .store
            .open_rotation_of(account, Part::Password)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((row.state.phase, row.state.doubt), (Phase::Applying, false));
        assert_eq!(world.version(account).await, Some(1));
    }
    site.target.every_change_here(OnChange::Obey);
    world.run_to_the_end().await;
    for (&job, &account) in jobs.iter().zip(&site.accounts) {
        assert_eq!(world.state(job).await, JobState::Succeeded);
        world.assert_current_works(account).await;
        assert_eq!(
            site.target.changes(&login(account)),
            1,
            "found, probed, not sent again"
        );
    }
});

on_both!(a_claim_that_cannot_be_read_is_not_tried_for_ever, |db| {
    let (world, site) = World::with(db, &Like::many(4)).await;
    let jobs = world.change_all(&site.accounts).await;
    let sealed: (Vec<u8>,) = sqlx::query_as("SELECT password FROM functional_accounts")
        .fetch_one(&world.raw)
        .await
        .unwrap();
    let tamper = |bytes: Vec<u8>| {
        sqlx::query("UPDATE functional_accounts SET password = $1")
            .bind(bytes)
            .execute(&world.raw)
    };
    tamper(vec![0; 40]).await.unwrap();
    world.run().await;
    for &job in &jobs {
        assert_eq!(world.state(job).await, JobState::NeedsOperator);
        let log = world.log(job).await;
        assert!(log.contains("never sealed"), "{log}");
    }
    assert_eq!(site.target.counts().opens, 0);
    tamper(sealed.0).await.unwrap();
    let job = world.change(site.account()).await;
    world.run().await;
    assert_eq!(world.state(job).await, JobState::Succeeded);
});

on_both!(one_unreadable_secret_stops_one_account, |db| {
    let (world, site) = World::with(db, &Like::many(4)).await;
    let jobs = world.change_all(&site.accounts).await;
    sqlx::query("UPDATE credential_versions SET sealed = $1 WHERE account_id = $2")
        .bind(vec![0u8; 40])
        .bind(site.account().0)
        .execute(&world.raw)
        .await
        .unwrap();
    let worker = world.worker();
    worker.run_until_idle(&world.drain).await.unwrap();
    assert_eq!(world.state(jobs[0]).await, JobState::NeedsOperator);
    world.assert_state(&jobs[1..], JobState::Succeeded).await;
    assert_eq!(site.target.changes(&site.login()), 0);
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_cannot_be_settled_is_taken_back() {
    use crate::support::database::Database;
    let world = World::new(Database::new(keywheel::store::Backend::Sqlite).await).await;
    assert!(is_sqlite(&world));
    let site = world.site(&Like::default()).await;
    let job = world.change(site.account()).await;
    sqlx::query(
        "CREATE TRIGGER refuse BEFORE INSERT ON job_history
         BEGIN SELECT RAISE(ABORT, 'refused'); END",
    )
    .execute(&world.raw)
    .await
    .unwrap();
    let meanwhile = async {
        // The worker waits on the clock between its tries, then gives the claim up.
        for _ in 0..10_000 {
            world.clock.advance(Duration::from_secs(1));
            let taken_back: Option<(i64,)> =
                sqlx::query_as("SELECT attempt FROM jobs WHERE attempt = 2")
                    .fetch_optional(&world.raw)
                    .await
                    .unwrap();
            if taken_back.is_some() {
                break;
            }
        }
        sqlx::query("DROP TRIGGER refuse")
            .execute(&world.raw)
            .await
            .unwrap();
        for _ in 0..100 {
            world.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };
    futures::future::join(world.run(), meanwhile).await;
    let view = world.job(job).await;
    assert_eq!(view.state, JobState::Succeeded);
    assert_eq!(view.attempts.len(), 1, "{view:#?}");
    // Changed and promoted in the first attempt, which the second one found out.
    assert_eq!(site.target.changes(&site.login()), 1);
    world.assert_current_works(site.account()).await;
}

on_both!(waits_between_attempts_grow_no_longer_than_was_set, |db| {
    let limits = Limits {
        retry_max: Duration::from_secs(90),
        ..Limits::default()
    };
    let world = World::with_limits(db, limits).await;
    let site = world.site(&Like::default()).await;
    site.target.every_change(&site.login(), OnChange::NotNow);
    let job = world.change(site.account()).await;
    for attempt in 1..world.limits.attempts_max {
        world.run().await;
        let at = world.job(job).await.next_attempt_at.unwrap();
        let wait = at.since(world.clock.now());
        // The wait is drawn from half to one and a half times of what it has grown to.
        assert!(wait <= Duration::from_secs(135), "{attempt}: {wait:?}");
        world.clock.advance(wait);
    }
    world.run_to_the_end().await;
    assert_eq!(world.state(job).await, JobState::Failed);
});

on_both!(
    a_worker_claims_no_more_accounts_at_once_than_was_set,
    |db| {
        let world = World::new(db).await;
        world.bound_batches(2).await;
        let site = world
            .site(&Like {
                accounts: 5,
                ..Like::default()
            })
            .await;
        for &account in &site.accounts {
            world.change(account).await;
        }
        world.run().await;
        assert_eq!(site.target.counts().opens, 3, "two, two and one");
    }
);
