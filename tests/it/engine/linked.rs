//! Functional accounts that are linked to a managed account: the login of a system is rotated by
//! the protocol of all others.

use keywheel::clock::Clock;
use keywheel::model::account::LastTest;
use keywheel::model::credential::{Part, Parts};
use keywheel::model::discovery::{Asked, Wanted};
use keywheel::model::id::{AccountId, FunctionalAccountId, JobId};
use keywheel::model::job::JobState;
use keywheel::model::rotation::{Phase, Rotation};
use keywheel::queue::OrderError;
use keywheel_connectors::Class;

use super::crash::{CHANGES, crash_after_each_write};
use super::world::{FUNC, Like, Site, World, login};
use crate::support::database::{Database, on_both};

const FA: FunctionalAccountId = FunctionalAccountId(1);

/// A system that logs in by its own first account.
async fn with(database: Database, like: &Like) -> (World, Site) {
    let (world, site) = World::with(database, like).await;
    world.link(site.account()).await;
    (world, site)
}

async fn succeeded(world: &World, job: JobId) {
    let state = world.state(job).await;
    assert_eq!(state, JobState::Succeeded, "{}", world.log(job).await);
}

/// Leaves a candidate that was sent and not answered.
async fn leave_in_doubt(world: &World, account: AccountId, candidate: &str) -> i64 {
    let state = Rotation {
        phase: Phase::Applying,
        doubt: true,
    };
    world.leave_open(account, state, candidate).await
}

/// How many linked accounts are in doubt.
async fn doubts(world: &World) -> i64 {
    let (doubts,): (i64,) = sqlx::query_as(
        "SELECT COUNT(*) FROM functional_links l JOIN accounts a ON a.id = l.account_id
         WHERE a.in_doubt = 1 OR a.key_in_doubt = 1",
    )
    .fetch_one(&world.raw)
    .await
    .unwrap();
    doubts
}

on_both!(a_quarantine_changes_the_systems_own_login_last, |db| {
    let like = Like {
        max_batch: 2,
        ..Like::many(5)
    };
    let (world, site) = with(db, &like).await;
    let own = site.account();
    let orders = world.orders();
    let ordered = orders.quarantine(site.id, "breach", None, "ada").await;
    let id = ordered.unwrap();
    world.run_to_the_end().await;
    let view = world.store.quarantine(id).await.unwrap().unwrap();
    assert!(view.finished_at.is_some());
    assert_eq!((view.accounts, view.counts.succeeded), (5, 5));
    let mut rotations = Vec::new();
    for &account in &site.accounts {
        world.assert_current_works(account).await;
        let made = world.store.rotations(account, 9).await.unwrap();
        rotations.push((made[0].opened_at, made[0].id, account));
    }
    rotations.sort_unstable();
    assert_eq!(rotations[4].2, own, "{rotations:?}");
    let old = format!("Start-{}-vLm9Q", own.0);
    assert!(!site.target.accepts(&login(own), &old));
    // The others go on with what is current now.
    let job = world.change(site.accounts[1]).await;
    world.run_to_the_end().await;
    succeeded(&world, job).await;
    let log = world.log(job).await;
    assert!(
        log.contains("by the current credential, version 2 of account 1"),
        "{log}"
    );
    let job = world.change(own).await;
    world.run_to_the_end().await;
    succeeded(&world, job).await;
    assert_eq!(world.version(own).await, Some(3));
    assert_eq!(site.target.failed_logins(&login(own)), 0);
    // Every login is on record before it is sent.
    let rows = world.store.audit_of(&FA.to_string(), 99).await.unwrap();
    let logins = rows
        .iter()
        .filter(|row| row.event == "functional_account.login");
    let used: Vec<_> = logins
        .map(|row| row.body.contains("\"version\":2"))
        .collect();
    assert_eq!(used.iter().filter(|two| **two).count(), 1, "{rows:#?}");
    assert!(used.len() >= 3);
});

on_both!(a_crash_after_any_durable_write_loses_no_login, |db| {
    let mut points = 0;
    for change in CHANGES {
        for evidence in [true, false] {
            let like = Like {
                evidence,
                ..Like::many(2)
            };
            let (world, site) = with(Database::new(db.backend).await, &like).await;
            points += crash_after_each_write(&world, &site, change, Parts::ALL_THERE_ARE, 2).await;
        }
    }
    println!("crashes: {points} points after a durable write of a login's change");
    assert!(points > 50, "only {points} crash points");
});

on_both!(a_trusted_login_waits_while_another_one_is_counted, |db| {
    let like = Like {
        lockout_threshold: None,
        ..Like::many(2)
    };
    let (world, site) = with(db, &like).await;
    let own = site.account();
    let window = i64::try_from(world.limits.lockout_window.as_millis()).unwrap();
    let now = world.clock.now();
    let mut tx = world.store.begin().await.unwrap();
    assert!(tx.spend_login(own, 1, window, now).await.unwrap());
    tx.commit().await.unwrap();
    let opens = site.target.counts().opens;
    let job = world.change(site.accounts[1]).await;
    world.run().await;
    assert_eq!(world.state(job).await, JobState::Queued);
    let log = world.log(job).await;
    assert!(log.contains("waiting for what comes of it"), "{log}");
    assert_eq!(site.target.counts().opens, opens, "nothing was sent");
    // It was accepted after all.
    let mut tx = world.store.begin().await.unwrap();
    tx.refund_login(own).await.unwrap();
    tx.commit().await.unwrap();
    world.run_to_the_end().await;
    succeeded(&world, job).await;
    let waited = world.clock.now().since(now);
    assert!(waited < world.limits.lockout_window, "{waited:?}");
});

on_both!(two_logins_of_one_system_are_never_both_in_doubt, |db| {
    for change in CHANGES {
        let (world, site) = with(Database::new(db.backend).await, &Like::many(3)).await;
        world.link_another(site.accounts[1], 2).await;
        for nth in 1.. {
            let mut jobs = Vec::new();
            for &account in &site.accounts {
                site.target.next_change(&login(account), change);
                jobs.push(world.change(account).await);
            }
            let last = world.store.commits() + 1 + nth;
            let crashed = world.crash_when(|| world.store.commits() >= last).await;
            assert!(doubts(&world).await <= 1, "{change:?} at {nth}");
            world.restart().await;
            let mut moves = 0;
            loop {
                world.run().await;
                assert!(doubts(&world).await <= 1, "{change:?} at {nth}");
                let Some(next) = world.next_runnable().await else {
                    break;
                };
                let wait = next.since(world.clock.now());
                let pause = std::time::Duration::from_secs(30);
                world.clock.advance(wait.max(pause));
                moves += 1;
                if moves >= 1_000 {
                    let open = world.store.jobs(true, None, None, 3).await.unwrap();
                    panic!("{change:?} at {nth}: {open:#?}");
                }
            }
            for &job in &jobs {
                succeeded(&world, job).await;
            }
            site.target.deliver_late();
            for &account in &site.accounts {
                super::world::mend(&site.target, &login(account));
                world.clock.advance(world.limits.lockout_window);
                world.test(account).await;
                world.run_to_the_end().await;
                world.assert_current_works(account).await;
            }
            if !crashed || nth > 40 {
                break;
            }
        }
    }
});

on_both!(
    a_login_in_doubt_is_tried_by_every_version_within_the_budget,
    |db| {
        for (threshold, at_once) in [(Some(0), true), (None, false)] {
            let like = Like {
                lockout_threshold: threshold,
                ..Like::many(2)
            };
            let (world, site) = with(Database::new(db.backend).await, &like).await;
            let own = site.account();
            let version = leave_in_doubt(&world, own, "Candidate-vLm9Q").await;
            site.target.set_behind(&login(own), "Candidate-vLm9Q");
            let job = world.change(site.accounts[1]).await;
            world.run().await;
            assert_eq!(site.target.failed_logins(&login(own)), 1);
            let done = world.state(job).await == JobState::Succeeded;
            assert_eq!(done, at_once, "{}", world.log(job).await);
            if !at_once {
                // One failing login a window, and no more.
                let log = world.log(job).await;
                assert!(log.contains("budget is spent"), "{log}");
                for _ in 0..10 {
                    world.clock.advance(std::time::Duration::from_mins(5));
                    world.run().await;
                }
                assert_eq!(site.target.failed_logins(&login(own)), 1);
                world.run_to_the_end().await;
                succeeded(&world, job).await;
                assert_eq!(site.target.failed_logins(&login(own)), 1);
            }
            let log = world.log(job).await;
            let named = format!("by the candidate, version {version} of account {}", own.0);
            assert!(log.contains(&named), "{log}");
            assert_eq!(world.version(own).await, Some(1), "its own job promotes it");
            assert!(world.account(own).await.credential.in_doubt);
        }
    }
);

on_both!(where_a_failing_login_locks_none_is_sent, |db| {
    let like = Like {
        lockout_threshold: Some(2),
        ..Like::many(2)
    };
    let (world, site) = with(db, &like).await;
    leave_in_doubt(&world, site.account(), "Candidate-vLm9Q").await;
    let job = world.change_now(site.accounts[1]).await;
    world.run_to_the_end().await;
    assert_eq!(world.state(job).await, JobState::Failed);
    assert_eq!(site.target.failed_logins(&site.login()), 0);
    assert_eq!(site.target.counts().opens, 0, "{}", world.log(job).await);
});

on_both!(
    a_login_that_somebody_else_changed_is_counted_and_shown,
    |db| {
        let (world, site) = with(db, &Like::many(3)).await;
        let own = site.account();
        site.target.set_behind(&login(own), "Somebody-else-vLm9Q");
        let jobs = world.change_all(&site.accounts[1..]).await;
        for _ in 0..10 {
            world.run().await;
            world.clock.advance(std::time::Duration::from_mins(5));
        }
        let failed = site.target.failed_logins(&login(own));
        assert!((1..=2).contains(&failed), "{failed}");
        let credential = world.account(own).await.credential;
        assert_eq!(credential.last_test, LastTest::OutOfSync);
        world.assert_state(&jobs, JobState::Queued).await;
        // It comes back: the first login that succeeds says so.
        let old = world.current(own).await;
        site.target.set_behind(&login(own), &old);
        world.run_to_the_end().await;
        world.assert_state(&jobs, JobState::Succeeded).await;
        let credential = world.account(own).await.credential;
        assert_eq!(credential.last_test, LastTest::Passed);
    }
);

on_both!(a_version_that_was_replaced_meanwhile_is_still_known, |db| {
    let (world, site) = with(db, &Like::many(2)).await;
    let own = site.account();
    let old = world.current(own).await;
    let job = world.change(own).await;
    world.run_to_the_end().await;
    succeeded(&world, job).await;
    // A server that has not heard of the change yet holds the one before.
    site.target.set_behind(&login(own), &old);
    let job = world.change(site.accounts[1]).await;
    world.run_to_the_end().await;
    succeeded(&world, job).await;
    let log = world.log(job).await;
    assert!(
        log.contains("by the one before, version 1 of account 1"),
        "{log}"
    );
    assert_eq!(site.target.failed_logins(&login(own)), 1);
    let new = world.current(own).await;
    site.target.set_behind(&login(own), &new);
});

on_both!(
    a_second_login_is_not_begun_while_one_waits_for_a_person,
    |db| {
        let (world, site) = with(db, &Like::many(3)).await;
        let (one, two) = (site.accounts[0], site.accounts[1]);
        world.link_another(two, 2).await;
        let state = Rotation {
            phase: Phase::NeedsOperator,
            doubt: true,
        };
        world.leave_open(two, state, "Candidate-vLm9Q").await;
        let job = world.change(one).await;
        let other = world.change(site.accounts[2]).await;
        world.run_to_the_end().await;
        assert_eq!(world.state(job).await, JobState::Failed);
        let log = world.log(job).await;
        assert!(
            log.contains("another functional account of the system, account 2"),
            "{log}"
        );
        assert_eq!(site.target.changes(&login(one)), 0);
        succeeded(&world, other).await;
        // Found out: the other one's turn.
        world.test(two).await;
        world.run_to_the_end().await;
        assert_eq!(doubts(&world).await, 0);
        let job = world.change(one).await;
        world.run_to_the_end().await;
        succeeded(&world, job).await;
    }
);

on_both!(
    a_login_of_elsewhere_is_changed_by_the_login_of_its_home,
    |db| {
        let world = World::new(db).await;
        let home = world.site(&Like::many(2)).await;
        let away = world.site(&Like::many(1)).await;
        sqlx::query("UPDATE system_details SET entity_type = 3 WHERE system_id = $1")
            .bind(home.id.0)
            .execute(&world.raw)
            .await
            .unwrap();
        let own = home.account();
        world.link_another(own, 2).await;
        let mut tx = world.store.begin().await.unwrap();
        let mut system = tx.locked_system(away.id).await.unwrap().unwrap();
        system.settings.functional_account_id = Some(FunctionalAccountId(2));
        tx.update_system(system.id, system.revision, &system.settings)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let job = world.change(own).await;
        world.run_to_the_end().await;
        succeeded(&world, job).await;
        assert!(!world.log(job).await.contains("functional account 2"));
        away.target.add(&login(own), &world.current(own).await);
        let job = world.change(away.account()).await;
        world.run_to_the_end().await;
        succeeded(&world, job).await;
        let log = world.log(job).await;
        assert!(
            log.contains("functional account 2 by the current credential, version 2"),
            "{log}"
        );
    }
);

on_both!(only_a_tested_credential_of_the_same_login_is_linked, |db| {
    let (world, site) = World::with(db, &Like::many(2)).await;
    let own = site.account();
    let orders = world.orders();
    let link = async |account| orders.link_functional(FA, account, "ada").await;
    let refused = link(own).await;
    assert!(
        matches!(refused, Err(OrderError::Refused(_))),
        "{refused:?}"
    );
    let rename = async |name: &'static str| {
        sqlx::query("UPDATE functional_accounts SET account_name = $1")
            .bind(name)
            .execute(&world.raw)
            .await
            .unwrap();
    };
    rename("u1").await;
    let refused = link(AccountId(99)).await;
    assert!(
        matches!(refused, Err(OrderError::Refused(_))),
        "{refused:?}"
    );
    let job = world.change(own).await;
    let refused = link(own).await;
    assert!(
        matches!(refused, Err(OrderError::InTheWay(_))),
        "{refused:?}"
    );
    rename(FUNC).await;
    world.run_to_the_end().await;
    succeeded(&world, job).await;
    let given = Some(keywheel_connectors::Secret::from("Stored-vLm9Q"));
    orders.store_only(own, given, None, "ada").await.unwrap();
    rename("u1").await;
    let refused = link(own).await;
    assert!(
        matches!(refused, Err(OrderError::InTheWay(_))),
        "{refused:?}"
    );
    site.target.set_behind(&login(own), "Stored-vLm9Q");
    rename(FUNC).await;
    world.test(own).await;
    rename("u1").await;
    link(own).await.unwrap();
    let refused = link(site.accounts[1]).await;
    assert!(refused.is_err());
    // In doubt it is not parted; then it keeps what is current now.
    leave_in_doubt(&world, own, "Candidate-vLm9Q").await;
    let parted = orders.unlink_functional(FA, "ada").await;
    assert!(matches!(parted, Err(OrderError::InTheWay(_))), "{parted:?}");
    world.test(own).await;
    world.run_to_the_end().await;
    let open = world.store.open_rotation_of(own, Part::Password).await;
    assert!(open.unwrap().is_none());
    let parted = orders.unlink_functional(FA, "ada").await;
    if parted.is_err() {
        // The candidate may still land; the doubt ends with its horizon.
        world.clock.advance(keywheel::model::rotation::HORIZON * 2);
        world.test(own).await;
        orders.unlink_functional(FA, "ada").await.unwrap();
    }
    orders.unlink_functional(FA, "ada").await.unwrap();
    let job = world.change(site.accounts[1]).await;
    world.run_to_the_end().await;
    succeeded(&world, job).await;
    assert!(
        !world.log(job).await.contains("version"),
        "its own password"
    );
    assert_eq!(site.target.failed_logins(&login(own)), 1, "the probe");
});

on_both!(
    a_look_by_a_linked_login_is_on_record_and_a_refused_one_is_not_repeated,
    |db| {
        let (world, site) = with(db, &Like::many(2)).await;
        let own = site.account();
        let engine = world.engine();
        let platform = engine.platform(1001).unwrap();
        let asked = Asked::of(&Wanted::default(), platform).unwrap();
        let logins = async || {
            let rows = world.store.audit_of(&FA.to_string(), 100).await.unwrap();
            let of = |name| rows.iter().filter(|row| row.event == name).count();
            (
                of("functional_account.login"),
                of("functional_account.refused"),
            )
        };
        let (before, _) = logins().await;
        engine.list(site.id, &asked).await.unwrap().unwrap();
        assert_eq!(logins().await, (before + 1, 0));
        site.target.set_behind(&login(own), "Behind-our-back-vLm9");
        for reason in [Class::Denied, Class::Busy, Class::Busy] {
            let looked = engine.list(site.id, &asked).await.unwrap();
            assert_eq!(looked.unwrap_err().class, reason);
        }
        assert_eq!(logins().await, (before + 2, 1));
        assert_eq!(site.target.failed_logins(&login(own)), 1);
    }
);
