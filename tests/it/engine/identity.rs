//! One login on the target under two records, and one record of a login that was made anew.

use keywheel::clock::Clock;
use keywheel::model::id::{AccountId, JobId};
use keywheel::model::job::JobState;
use keywheel::model::rotation::{Phase, Rotation};
use keywheel::queue::TestVerdict;

use super::world::{Like, Site, World, login};
use crate::support::database::{Database, on_both};

/// Two systems, each with one account, that are one machine.
async fn twins(db: Database) -> (World, Site, Site) {
    let (world, first) = World::with(db, &Like::default()).await;
    let second = world.site(&Like::default()).await;
    for site in [&first, &second] {
        site.target.machine("machine 1");
        site.target.being(&site.login(), "uid 1000");
    }
    (world, first, second)
}

async fn changed(world: &World, account: AccountId) -> JobId {
    let job = world.change(account).await;
    world.run_to_the_end().await;
    job
}

async fn class(world: &World, job: JobId) -> String {
    let job = world.job(job).await;
    job.attempts.last().unwrap().class.clone()
}

/// Nothing was sent, whatever the job.
fn untouched(site: &Site) {
    let counts = site.target.counts();
    assert_eq!((counts.changes, counts.checks, counts.looks), (0, 0, 0));
}

async fn events(world: &World, account: AccountId) -> Vec<String> {
    let rows = world
        .store
        .audit_of(&account.to_string(), 99)
        .await
        .unwrap();
    let rows = rows.into_iter().map(|row| row.event);
    rows.filter(|event| {
        [
            "account.identified",
            "account.duplicate",
            "account.made_anew",
        ]
        .contains(&event.as_str())
    })
    .collect()
}

on_both!(
    a_login_that_another_record_is_already_is_refused_with_a_link_to_it,
    |db| {
        let (world, first, second) = twins(db).await;
        let job = changed(&world, first.account()).await;
        assert_eq!(world.state(job).await, JobState::Succeeded);
        let job = changed(&world, second.account()).await;
        assert_eq!(world.state(job).await, JobState::Failed);
        assert_eq!(class(&world, job).await, "identity_mismatch");
        let log = world.log(job).await;
        let want = format!(
            "is account {} of system {} by another name",
            first.account().0,
            first.id.0
        );
        assert!(log.contains(&want), "{log}");
        // A test is no way around it.
        let verdict = world.test(second.account()).await;
        assert_eq!(verdict, TestVerdict::DoesNot);
        untouched(&second);
        assert_eq!(
            events(&world, first.account()).await,
            ["account.identified"]
        );
        assert_eq!(
            events(&world, second.account()).await,
            ["account.duplicate", "account.duplicate"]
        );
        // Once the first one is gone, nothing is in the second one's way.
        let mut tx = world.store.begin().await.unwrap();
        let now = world.clock.now();
        tx.delete_account(first.account(), now).await.unwrap();
        tx.commit().await.unwrap();
        let job = changed(&world, second.account()).await;
        assert_eq!(world.state(job).await, JobState::Succeeded);
    }
);

on_both!(
    two_logins_of_one_machine_and_clones_of_it_are_no_duplicates,
    |db| {
        let (world, first, second) = twins(db).await;
        second.target.machine("machine 2");
        for site in [&first, &second] {
            let job = changed(&world, site.account()).await;
            assert_eq!(world.state(job).await, JobState::Succeeded);
        }
        let many = world.site(&Like::many(3)).await;
        many.target.machine("machine 1");
        for (number, account) in many.accounts.iter().enumerate() {
            many.target
                .being(&login(*account), &format!("uid 200{number}"));
        }
        let jobs = world.change_all(&many.accounts).await;
        world.run_to_the_end().await;
        world.assert_state(&jobs, JobState::Succeeded).await;
    }
);

on_both!(of_two_records_in_one_batch_one_goes_on, |db| {
    let (world, site) = World::with(db, &Like::many(3)).await;
    site.target.machine("machine 1");
    for account in &site.accounts {
        site.target.being(&login(*account), "uid 1000");
    }
    let jobs = world.change_all(&site.accounts).await;
    world.run_to_the_end().await;
    let (first, rest) = jobs.split_first().unwrap();
    assert_eq!(world.state(*first).await, JobState::Succeeded);
    world.assert_state(rest, JobState::Failed).await;
    assert_eq!(site.target.counts().changes, 1);
});

on_both!(
    after_a_restart_of_the_machine_the_older_record_keeps_its_identity,
    |db| {
        let (world, first, second) = twins(db).await;
        changed(&world, first.account()).await;
        world.clock.advance(std::time::Duration::from_secs(60));
        for site in [&first, &second] {
            site.target.machine("machine 1, started again");
        }
        // Nobody can tell yet that it is the first one's.
        let job = changed(&world, second.account()).await;
        assert_eq!(world.state(job).await, JobState::Succeeded);
        let job = changed(&world, first.account()).await;
        assert_eq!(world.state(job).await, JobState::Succeeded);
        let job = changed(&world, second.account()).await;
        assert_eq!(world.state(job).await, JobState::Failed);
        assert_eq!(class(&world, job).await, "identity_mismatch");
    }
);

on_both!(
    a_login_that_was_made_anew_is_left_alone_until_somebody_says_what_works_there,
    |db| {
        let (world, site) = World::with(db, &Like::default()).await;
        let account = site.account();
        site.target
            .machine("machine 1")
            .being(&site.login(), "uid 1000");
        changed(&world, account).await;
        site.target.being(&site.login(), "uid 1001");
        let before = site.target.counts();
        let job = changed(&world, account).await;
        assert_eq!(world.state(job).await, JobState::Failed);
        assert_eq!(class(&world, job).await, "identity_mismatch");
        let log = world.log(job).await;
        assert!(log.contains("made anew"), "{log}");
        let after = site.target.counts();
        assert_eq!(
            (before.changes, before.checks),
            (after.changes, after.checks)
        );
        assert_eq!(
            events(&world, account)
                .await
                .iter()
                .filter(|one| *one == "account.made_anew")
                .count(),
            1
        );
        let version = world.account(account).await.credential.last_version + 1;
        let now = world.clock.now();
        site.target.set_behind(&site.login(), "Works-there-vLm9Q");
        let sealed = world.seal(account, version, "Works-there-vLm9Q");
        let mut tx = world.store.begin().await.unwrap();
        tx.add_stored_version(account, version, sealed, now)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let job = changed(&world, account).await;
        assert_eq!(
            world.state(job).await,
            JobState::Succeeded,
            "{}",
            world.log(job).await
        );
    }
);

on_both!(
    a_doubtful_change_of_a_login_that_was_made_anew_waits_for_an_operator,
    |db| {
        let (world, site) = World::with(db, &Like::default()).await;
        let account = site.account();
        site.target
            .machine("machine 1")
            .being(&site.login(), "uid 1000");
        changed(&world, account).await;
        let doubtful = Rotation {
            phase: Phase::Applying,
            doubt: true,
        };
        world.leave_open(account, doubtful, "Doubtful-vLm9Q").await;
        site.target.being(&site.login(), "uid 1001");
        let checks = site.target.counts().checks;
        let job = changed(&world, account).await;
        assert_eq!(world.state(job).await, JobState::NeedsOperator);
        assert_eq!(site.target.counts().checks, checks);
    }
);

on_both!(
    a_target_that_does_not_say_who_its_accounts_are_refuses_nobody,
    |db| {
        let (world, first, second) = twins(db).await;
        changed(&world, first.account()).await;
        // Nobody in particular, and not known to be another one.
        second.target.being(&second.login(), "");
        first.target.being(&first.login(), "");
        for site in [&first, &second] {
            let job = changed(&world, site.account()).await;
            assert_eq!(world.state(job).await, JobState::Succeeded);
            assert!(site.target.counts().questions > 0);
        }
    }
);
