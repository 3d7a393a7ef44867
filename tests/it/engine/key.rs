//! Accounts with an SSH key pair: it is added, tested and promoted; then the one before is removed.

use keywheel::clock::Clock;
use keywheel::model::credential::{Part, Parts};
use keywheel::model::job::{Cause, JobKind, JobState, Priority};
use keywheel::model::rotation::{Phase, Rotation};
use keywheel::queue::{ChangeOrder, OrderError, TestVerdict};
use keywheel::store::NewJob;
use keywheel_connectors::fake::{OnChange, OnCheck};

use super::world::{FOREIGN, Like, World};
use crate::support::database::on_both;

fn with_key() -> Like {
    Like {
        key: true,
        ..Like::default()
    }
}

on_both!(both_parts_of_an_account_change_and_old_keys_go, |db| {
    let world = World::new(db).await;
    let site = world.site(&with_key()).await;
    let (account, login) = (site.account(), site.login());
    let before = world.current_key(account).await.unwrap();
    let job = world.change(account).await;
    world.run().await;
    let log = world.log(job).await;
    assert_eq!(world.state(job).await, JobState::Succeeded, "{log}");
    let credential = world.account(account).await.credential;
    assert_eq!(credential.current_version, Some(3));
    assert_eq!(credential.current_key_version, Some(4));
    assert!(!credential.in_doubt && !credential.key_in_doubt);
    world.assert_current_works(account).await;
    let current = world.current_key(account).await.unwrap();
    assert_ne!(current, before);
    let held = site.target.keys(&login);
    assert_eq!(held, [FOREIGN.to_owned(), current]);
    let keys = world.store.versions_of_part(account, Part::Key, 9).await;
    let removed: Vec<_> = keys
        .unwrap()
        .into_iter()
        .map(|key| (key.version, key.removed_at.is_some()))
        .collect();
    assert_eq!(removed, [(4, false), (2, true)]);
    let trail = world.store.audit_of(&account.to_string(), 99).await;
    let events: Vec<_> = trail.unwrap().into_iter().map(|row| row.event).collect();
    for event in ["key.removing", "key.removed"] {
        assert!(events.iter().any(|one| one == event), "{events:?}");
    }
    // Added, tested, tested again once the old one is gone; the password once.
    let counts = site.target.counts();
    assert_eq!((counts.changes, counts.checks, counts.looks), (2, 3, 0));
});

on_both!(a_key_alone_is_changed_alone, |db| {
    let world = World::new(db).await;
    let site = world.site(&with_key()).await;
    let job = world.change_key(site.account()).await;
    world.run().await;
    assert_eq!(world.state(job).await, JobState::Succeeded);
    let credential = world.account(site.account()).await.credential;
    assert_eq!(credential.current_version, Some(1));
    assert_eq!(credential.current_key_version, Some(3));
});

on_both!(a_removal_that_fails_is_tried_again_and_then_says_so, |db| {
    let world = World::new(db).await;
    for does in [OnChange::Refuse, OnChange::LoseOrder, OnChange::NotNow] {
        let site = world.site(&with_key()).await;
        let (account, login) = (site.account(), site.login());
        let before = world.current_key(account).await.unwrap();
        site.target.every_retire(&login, does);
        let job = world.change_key(account).await;
        world.run().await;
        assert_eq!(world.state(job).await, JobState::Retrying, "{does:?}");
        let promoted = world.account(account).await.credential;
        assert_eq!(
            promoted.current_key_version,
            Some(3),
            "promoted all the same"
        );
        world.run_to_the_end().await;
        assert_eq!(world.state(job).await, JobState::Failed, "{does:?}");
        let log = world.log(job).await;
        assert!(
            log.contains("the old key still stands on the target"),
            "{log}"
        );
        let after = world.account(account).await.credential;
        assert_eq!(after.current_key_version, Some(3), "it is not drawn anew");
        assert!(site.target.keys(&login).contains(&before));
        // The next change removes both.
        site.target.every_retire(&login, OnChange::Obey);
        let job = world.change_key(account).await;
        world.run_to_the_end().await;
        assert_eq!(world.state(job).await, JobState::Succeeded);
        let current = world.current_key(account).await.unwrap();
        assert_eq!(site.target.keys(&login), [FOREIGN.to_owned(), current]);
    }
});

on_both!(no_old_key_is_removed_where_the_current_one_is_gone, |db| {
    let world = World::new(db).await;
    let site = world.site(&with_key()).await;
    let (account, login) = (site.account(), site.login());
    let before = world.current_key(account).await.unwrap();
    site.target.next_retire(&login, OnChange::NotNow);
    let job = world.change_key(account).await;
    world.run().await;
    assert_eq!(world.state(job).await, JobState::Retrying);
    // Somebody takes the current key away between two attempts.
    site.target.next_check(&login, OnCheck::Reject);
    world.run_to_the_end().await;
    assert_eq!(world.state(job).await, JobState::Failed);
    assert!(
        site.target.keys(&login).contains(&before),
        "it may be the last"
    );
});

on_both!(a_test_tries_both_parts, |db| {
    let world = World::new(db).await;
    let site = world.site(&with_key()).await;
    assert_eq!(world.test(site.account()).await, TestVerdict::Works);
    assert_eq!(site.target.counts().checks, 2);
    // The password logs in, the key does not.
    site.target.next_check(&site.login(), OnCheck::Judge);
    site.target.next_check(&site.login(), OnCheck::Reject);
    assert_eq!(world.test(site.account()).await, TestVerdict::DoesNot);
});

on_both!(a_lost_reply_about_a_key_is_found_out, |db| {
    for evidence in [true, false] {
        for lost in [OnChange::LoseReply, OnChange::LoseOrder, OnChange::ObeyLate] {
            let world = World::new(crate::support::database::Database::new(db.backend).await).await;
            let like = Like {
                evidence,
                ..with_key()
            };
            let site = world.site(&like).await;
            site.target.next_change(&site.login(), lost);
            let job = world.change_key(site.account()).await;
            world.run_to_the_end().await;
            let log = world.log(job).await;
            assert_eq!(
                world.state(job).await,
                JobState::Succeeded,
                "{lost:?}: {log}"
            );
            world.assert_current_works(site.account()).await;
            site.target.deliver_late();
            world.assert_current_works(site.account()).await;
        }
    }
});

on_both!(
    a_part_that_needs_an_operator_keeps_the_other_from_nothing,
    |db| {
        let world = World::new(db).await;
        let site = world.site(&with_key()).await;
        let stuck = Rotation {
            phase: Phase::NeedsOperator,
            doubt: true,
        };
        world
            .leave_open(site.account(), stuck, "Candidate-vLm9Q")
            .await;
        let job = world.change(site.account()).await;
        world.run_to_the_end().await;
        assert_eq!(world.state(job).await, JobState::NeedsOperator);
        let credential = world.account(site.account()).await.credential;
        assert_eq!(credential.current_version, Some(1));
        assert_eq!(credential.current_key_version, Some(4));
        world.assert_current_works(site.account()).await;
    }
);

on_both!(an_account_without_a_key_gets_its_first_one, |db| {
    let world = World::new(db).await;
    let site = world.site(&Like::default()).await;
    site.target.add_key(&site.login(), FOREIGN);
    let job = world.change_key(site.account()).await;
    world.run_to_the_end().await;
    assert_eq!(world.state(job).await, JobState::Succeeded);
    world.assert_current_works(site.account()).await;
    // From now on every change moves both.
    world.change(site.account()).await;
    world.run_to_the_end().await;
    let credential = world.account(site.account()).await.credential;
    assert_eq!(credential.current_version, Some(3));
    assert_eq!(credential.current_key_version, Some(4));
});

on_both!(
    a_quarantine_changes_every_part_even_of_a_job_half_done,
    |db| {
        let world = World::new(db).await;
        let site = world.site(&with_key()).await;
        // The key is not possible now, the password is changed.
        site.target.next_change(&site.login(), OnChange::Obey);
        site.target.next_change(&site.login(), OnChange::NotNow);
        let job = world.change(site.account()).await;
        world.run().await;
        assert_eq!(world.state(job).await, JobState::Retrying);
        let half = world.account(site.account()).await.credential;
        assert_eq!(
            (half.current_version, half.current_key_version),
            (Some(3), Some(2))
        );
        world.clock.advance(std::time::Duration::from_secs(1));
        let orders = world.orders();
        orders
            .quarantine(site.id, "breach", None, "ada")
            .await
            .unwrap();
        world.run_to_the_end().await;
        assert_eq!(world.state(job).await, JobState::Succeeded);
        let whole = world.account(site.account()).await.credential;
        assert_eq!(whole.current_version, Some(5), "once more");
        assert_eq!(
            whole.current_key_version,
            Some(4),
            "the candidate that was waiting"
        );
        world.assert_current_works(site.account()).await;
    }
);

on_both!(a_retry_carries_only_what_is_left, |db| {
    let world = World::new(db).await;
    let site = world.site(&with_key()).await;
    site.target.next_change(&site.login(), OnChange::Obey);
    site.target.next_change(&site.login(), OnChange::NotNow);
    let job = world.change(site.account()).await;
    world.run_to_the_end().await;
    assert_eq!(world.state(job).await, JobState::Succeeded);
    let credential = world.account(site.account()).await.credential;
    assert_eq!(credential.current_version, Some(3), "not twice");
    assert_eq!(credential.current_key_version, Some(4));
});

on_both!(a_key_that_was_superseded_never_comes_back, |db| {
    let world = World::new(db).await;
    let site = world.site(&with_key()).await;
    let account = site.account();
    let drawn = |_| {
        let rule = keywheel::model::key_rule::KeyRule::all()[1];
        keywheel::generate::key_pair(&rule, &keywheel::generate::SystemDice).unwrap()
    };
    let [first, second] = [1, 2].map(drawn);
    let give = async |pair: &keywheel::generate::Pair| {
        let key = keywheel::queue::NewKey::read(pair.given.clone()).unwrap();
        let order = ChangeOrder {
            key: Some(key),
            ..ChangeOrder::random(account, false)
        };
        world.orders().change(order, "ada").await
    };
    for pair in [&first, &first, &second] {
        let job = give(pair).await.unwrap();
        world.run_to_the_end().await;
        let log = world.log(job).await;
        assert_eq!(world.state(job).await, JobState::Succeeded, "{log}");
        let current = world.current_key(account).await.unwrap();
        assert_eq!(current, pair.public);
        let held = site.target.keys(&site.login());
        assert_eq!(held, [FOREIGN.to_owned(), current], "{log}");
    }
    let refused = give(&first).await;
    assert!(matches!(refused, Err(OrderError::Refused(_))));
    let credential = world.account(account).await.credential;
    assert_eq!(credential.current_version, Some(1), "the password stays");
});

on_both!(
    the_same_key_joins_a_running_change_and_another_does_not,
    |db| {
        let world = World::new(db).await;
        let site = world.site(&with_key()).await;
        let account = site.account();
        let drawn = |_| {
            let rule = keywheel::model::key_rule::KeyRule::all()[6];
            keywheel::generate::key_pair(&rule, &keywheel::generate::SystemDice).unwrap()
        };
        let [first, second] = [1, 2].map(drawn);
        let give = async |pair: &keywheel::generate::Pair| {
            let key = keywheel::queue::NewKey::read(pair.given.clone()).unwrap();
            let order = ChangeOrder {
                key: Some(key),
                ..ChangeOrder::random(account, true)
            };
            world.orders().change(order, "ada").await
        };
        site.target.next_change(&site.login(), OnChange::Wait);
        let job = give(&first).await.unwrap();
        let checks = async {
            while site.target.counts().changes == 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(give(&first).await.unwrap(), job);
            assert!(matches!(
                give(&second).await,
                Err(OrderError::AlreadyRunning)
            ));
            let random = ChangeOrder::random(account, true);
            let random = world.orders().change(random, "ada").await;
            assert!(matches!(random, Err(OrderError::AlreadyRunning)));
            site.target.release(1);
        };
        futures::future::join(Box::pin(world.run()), checks).await;
        assert_eq!(world.state(job).await, JobState::Succeeded);
        assert_eq!(world.current_key(account).await, Some(first.public));
    }
);

on_both!(a_stored_key_is_believed_and_the_target_left_alone, |db| {
    let world = World::new(db).await;
    let site = world.site(&with_key()).await;
    let account = site.account();
    let rule = keywheel::model::key_rule::KeyRule::all()[1];
    let drawn = keywheel::generate::key_pair(&rule, &keywheel::generate::SystemDice).unwrap();
    let public = drawn.public.clone();
    let key = keywheel::queue::NewKey::read(drawn.given).unwrap();
    site.target.add_key(&site.login(), &public);
    let orders = world.orders();
    let job = orders.store_only(account, None, Some(key), "ada");
    let job = job.await.unwrap();
    assert_eq!(world.state(job).await, JobState::Succeeded);
    let credential = world.account(account).await.credential;
    assert_eq!(credential.current_version, Some(1));
    assert_eq!(world.current_key(account).await, Some(public));
    assert_eq!(site.target.counts().opens, 0);
    // The next change removes both that were stored.
    world.change_key(account).await;
    world.run_to_the_end().await;
    let current = world.current_key(account).await.unwrap();
    assert_eq!(
        site.target.keys(&site.login()),
        [FOREIGN.to_owned(), current]
    );
});

on_both!(
    a_key_that_cannot_be_changed_changes_no_password_every_hour,
    |db| {
        let world = World::new(db).await;
        let site = world.site(&with_key()).await;
        let account = site.account();
        world.clock.advance(std::time::Duration::from_hours(720));
        // The password is taken; the key is refused, whatever is drawn.
        site.target.next_change(&site.login(), OnChange::Obey);
        site.target.every_change(&site.login(), OnChange::Refuse);
        let first = world.change(account).await;
        world.run_to_the_end().await;
        assert_eq!(world.state(first).await, JobState::Failed);
        let half = world.account(account).await.credential;
        assert_eq!(
            (half.current_version, half.current_key_version),
            (Some(3), Some(2))
        );
        assert_eq!(
            half.oldest_change_at(),
            half.key_changed_at,
            "it is still due"
        );
        site.target.every_change(&site.login(), OnChange::Obey);
        world.clock.advance(std::time::Duration::from_hours(1));
        let now = world.clock.now();
        let mut tx = world.store.begin().await.unwrap();
        let job = NewJob {
            account,
            system: site.id,
            kind: JobKind::Rotate,
            cause: Cause::Schedule,
            actor: "keywheel".to_owned(),
            priority: Priority::Routine,
            run_at: now,
            parts: Parts::ALL_THERE_ARE,
            version: None,
            key_version: None,
        };
        let job = tx.enqueue(&job, now).await.unwrap();
        tx.commit().await.unwrap();
        world.run_to_the_end().await;
        assert_eq!(world.state(job).await, JobState::Succeeded);
        let whole = world.account(account).await.credential;
        assert_eq!(
            whole.current_version,
            Some(3),
            "the password has had its change"
        );
        assert!(whole.current_key_version > Some(3));
        world.assert_current_works(account).await;
    }
);
