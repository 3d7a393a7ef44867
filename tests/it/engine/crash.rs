//! The node dies: after every durable write, and between any two steps at all.
//!
//! Each crash is followed by another node, which takes over what the first one left. Right after
//! the crash, and at the end, a recorded secret works; a success means that current works.

use keywheel::model::credential::Parts;
use keywheel::model::job::JobState;
use keywheel::model::rotation::Phase;
use keywheel::queue::ChangeOrder;
use keywheel_connectors::fake::OnChange;

use super::world::{Like, Site, World, is_sqlite, login, mend};
use crate::support::database::{Database, on_both};

pub(super) const CHANGES: [OnChange; 6] = [
    OnChange::Obey,
    OnChange::Refuse,
    OnChange::LoseReply,
    OnChange::LoseOrder,
    OnChange::ObeyLate,
    OnChange::Lie,
];
/// Crash points after which something is wrong with the test itself.
pub(super) const POINTS_MAX: usize = 2_000;

/// Changes of a key, told to the target as the first change of its account.
const KEY_CHANGES: [OnChange; 5] = [
    OnChange::Obey,
    OnChange::LoseReply,
    OnChange::LoseOrder,
    OnChange::ObeyLate,
    OnChange::Lie,
];

/// Crashes after each durable write of a change, the first `spared` left out: at how many.
pub(super) async fn crash_after_each_write(
    world: &World,
    site: &Site,
    change: OnChange,
    parts: Parts,
    spared: u64,
) -> usize {
    for points in 0..POINTS_MAX {
        let last = world.store.commits() + spared + 1 + u64::try_from(points).unwrap();
        let stop = || world.store.commits() >= last;
        if !crash_once(world, site, change, parts, stop).await {
            return points;
        }
    }
    panic!("the runs do not end");
}

/// Orders a change of every account, crashes where `stop` says so, lets another node finish.
/// False if there was nothing left to crash.
async fn crash_once(
    world: &World,
    site: &Site,
    change: OnChange,
    parts: Parts,
    stop: impl FnMut() -> bool,
) -> bool {
    let mut jobs = Vec::new();
    for &account in &site.accounts {
        site.target.next_change(&login(account), change);
        let order = ChangeOrder {
            parts,
            ..ChangeOrder::random(account, false)
        };
        jobs.push(world.orders().change(order, "ada").await.unwrap());
    }
    let before = committed(world, site).await;
    let crashed = world.crash_when(stop).await;
    world.assert_recoverable().await;
    world.restart().await;
    world.run_to_the_end().await;
    for (&job, &account) in jobs.iter().zip(&site.accounts) {
        let log = world.log(job).await;
        assert_eq!(
            world.state(job).await,
            JobState::Succeeded,
            "{change:?}: {log}"
        );
        world.assert_current_works(account).await;
        // What the crash kept from happening must not happen to the next round.
        mend(&site.target, &login(account));
    }
    // I10: a job changes its account once, however often it was tried.
    let made = committed(world, site).await;
    let both = world.current_key(site.account()).await.is_some() && parts != Parts::KEY;
    let each = if both { 2 } else { 1 };
    assert_eq!(made, before + each * site.accounts.len(), "{change:?}");
    site.target.deliver_late();
    world.assert_recoverable().await;
    // A late order of an older version may have landed: a test finds it.
    for &account in &site.accounts {
        world.clock.advance(world.limits.lockout_window);
        world.test(account).await;
        world.run_to_the_end().await;
        world.assert_current_works(account).await;
    }
    crashed
}

/// How many rotations of a site's accounts were committed.
async fn committed(world: &World, site: &Site) -> usize {
    let mut committed = 0;
    for &account in &site.accounts {
        let rotations = world.store.rotations(account, 10_000).await.unwrap();
        let ended = rotations
            .iter()
            .filter(|row| row.state.phase == Phase::Committed);
        committed += ended.count();
    }
    committed
}

on_both!(a_clock_that_goes_back_makes_nobody_change_twice, |db| {
    let (world, site) = World::with(db, &Like::default()).await;
    let job = world.change(site.account()).await;
    // By the clock it was ordered an hour after it runs.
    sqlx::query("UPDATE jobs SET queued_at = queued_at + 3600000")
        .execute(&world.raw)
        .await
        .unwrap();
    // Claimed, staged, intended, applied, promoted; not settled.
    let last = world.store.commits() + 5;
    assert!(world.crash_when(|| world.store.commits() >= last).await);
    world.restart().await;
    world.run_to_the_end().await;
    assert_eq!(world.state(job).await, JobState::Succeeded);
    let credential = world.account(site.account()).await.credential;
    assert_eq!(credential.current_version, Some(2));
});

on_both!(
    a_quarantine_after_a_crash_changes_the_account_once_more,
    |db| {
        let (world, site) = World::with(db, &Like::default()).await;
        let job = world.change(site.account()).await;
        // Claimed, staged, intended, applied, promoted; not settled.
        let last = world.store.commits() + 5;
        assert!(world.crash_when(|| world.store.commits() >= last).await);
        let credential = world.account(site.account()).await.credential;
        assert_eq!(credential.current_version, Some(2));
        assert_eq!(world.state(job).await, JobState::Running);
        world.restart().await;
        let orders = world.orders();
        orders
            .quarantine(site.id, "breach", None, "ada")
            .await
            .unwrap();
        world.run_to_the_end().await;
        assert_eq!(world.state(job).await, JobState::Succeeded);
        let credential = world.account(site.account()).await.credential;
        assert_eq!(credential.current_version, Some(3));
    }
);

on_both!(a_crash_after_any_durable_write_loses_nothing, |db| {
    let mut points = 0;
    for change in CHANGES {
        for evidence in [true, false] {
            let (world, site) = World::with(
                Database::new(db.backend).await,
                &Like {
                    accounts: 2,
                    evidence,
                    ..Like::default()
                },
            )
            .await;
            points += crash_after_each_write(&world, &site, change, Parts::ALL_THERE_ARE, 2).await;
        }
    }
    println!("crashes: {points} points after a durable write");
    assert!(points > 50, "only {points} crash points");
});

on_both!(a_crash_after_any_durable_write_loses_no_key, |db| {
    let mut points = 0;
    let orders = KEY_CHANGES.map(|change| (change, Parts::KEY));
    let both = (OnChange::Obey, Parts::ALL_THERE_ARE);
    for (change, parts) in orders.into_iter().chain([both]) {
        for evidence in [true, false] {
            let world = World::new(Database::new(db.backend).await).await;
            let like = Like {
                evidence,
                key: true,
                ..Like::default()
            };
            let site = world.site(&like).await;
            points += crash_after_each_write(&world, &site, change, parts, 1).await;
        }
    }
    println!("crashes: {points} points after a durable write of a key's change");
    assert!(points > 50, "only {points} crash points");
});

on_both!(a_crash_between_any_two_steps_loses_nothing, |db| {
    let (world, site) = World::with(db, &Like::many(2)).await;
    // One database is tried at every point, the other at every seventh.
    let stride = if is_sqlite(&world) { 1 } else { 7 };
    let mut points = 0;
    for (at, change) in (1..).step_by(stride).zip(CHANGES.into_iter().cycle()) {
        let mut polls = 0;
        let stop = || {
            polls += 1;
            polls >= at
        };
        let crashed = crash_once(&world, &site, change, Parts::ALL_THERE_ARE, stop).await;
        // Longer histories have more points: the shortest must not end the round.
        if !crashed && change == OnChange::Lie {
            break;
        }
        points += usize::from(crashed);
        assert!(points < POINTS_MAX, "the runs do not end");
    }
    println!("crashes: {points} points between steps");
    assert!(points * stride > 10, "only {points} crash points");
});

const EVENTS: [&str; 5] = [
    "rotation.staged",
    "rotation.intended",
    "rotation.applied",
    "rotation.verified",
    "rotation.committed",
];

async fn let_audit_refuse(world: &World) {
    sqlx::query("CREATE TABLE refused (event TEXT NOT NULL)")
        .execute(&world.raw)
        .await
        .unwrap();
    if is_sqlite(world) {
        sqlx::query(
            "CREATE TRIGGER refuse BEFORE INSERT ON audit
             WHEN NEW.event IN (SELECT event FROM refused)
             BEGIN SELECT RAISE(ABORT, 'refused'); END",
        )
        .execute(&world.raw)
        .await
        .unwrap();
        return;
    }
    sqlx::query(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF EXISTS (SELECT 1 FROM refused WHERE event = NEW.event) THEN
                 RAISE EXCEPTION 'refused';
             END IF;
             RETURN NEW;
         END $$",
    )
    .execute(&world.raw)
    .await
    .unwrap();
    sqlx::query(
        "CREATE TRIGGER refuse BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    .execute(&world.raw)
    .await
    .unwrap();
}

on_both!(what_the_audit_trail_refuses_does_not_happen, |db| {
    let world = World::new(db).await;
    let_audit_refuse(&world).await;
    for event in EVENTS {
        let site = world.site(&Like::many(3)).await;
        let jobs = world.change_all(&site.accounts).await;
        sqlx::query("INSERT INTO refused (event) VALUES ($1)")
            .bind(event)
            .execute(&world.raw)
            .await
            .unwrap();
        world.run().await;
        for &account in &site.accounts {
            let sent = site.target.changes(&login(account));
            let intended = !matches!(event, "rotation.staged" | "rotation.intended");
            assert_eq!(sent, usize::from(intended), "{event}");
            let credential = world.account(account).await.credential;
            assert_eq!(credential.current_version, Some(1), "{event}");
        }
        for &job in &jobs {
            assert_eq!(world.state(job).await, JobState::Retrying, "{event}");
        }
        sqlx::query("DELETE FROM refused")
            .execute(&world.raw)
            .await
            .unwrap();
        world.run_to_the_end().await;
        for (&job, &account) in jobs.iter().zip(&site.accounts) {
            assert_eq!(world.state(job).await, JobState::Succeeded, "{event}");
            world.assert_current_works(account).await;
        }
    }
});
