//! Reveals at speed while the service is killed: who was told is compared with what left.
//!
//! Invariant: every value that was answered has its notice at the receiver in the end.

use std::time::Duration;

use crate::support::database::on_both;
use crate::support::reveal::{CALLERS, Crowd, Scene, Told, agree, furnish, rate};
use crate::support::wait::LIMIT;

const KILLS: usize = 2;
/// How long the service is asked before each kill, and after the last one.
const LIFE: Duration = Duration::from_millis(1_500);
/// How long the service is asked at full speed where nobody kills it.
const LASTS: Duration = Duration::from_secs(3);
/// Reveals one after another.
const ALONE: usize = 20;
/// A notice takes milliseconds; whoever waits for the next look at the outbox takes a second.
const SOON: Duration = Duration::from_secs(2);

on_both!(
    no_notice_of_an_answered_reveal_is_lost_when_the_service_is_killed,
    |db| {
        let scene = Scene::on(db).await;
        let mut daemon = scene.serve();
        let asked = furnish(&scene, &daemon, "/slowly").await;
        let crowd = Crowd::start(&asked, &daemon);
        let (mut up, mut waiting) = (Duration::ZERO, 0);
        for life in 0..=KILLS {
            let (began, before) = (scene.clock.monotonic(), crowd.answered());
            scene.clock.sleep(LIFE).await;
            assert!(crowd.answered() > before, "nobody was answered");
            up += scene.clock.monotonic().saturating_sub(began);
            if life < KILLS {
                daemon.kill();
                crowd.place.send_replace(None);
                let told = Told::read(&scene.receiver, &asked.signing_key);
                waiting += crowd.answered().saturating_sub(told.reveals());
                daemon = scene.serve();
                crowd.place.send_replace(Some(daemon.url.clone()));
            }
        }
        let answered = crowd.end().await;
        scene.sent().await;
        assert_eq!(daemon.stop(), 0);
        let told = Told::read(&scene.receiver, &asked.signing_key);
        agree(&scene, &answered, &told).await;
        let (count, reveals) = (answered.values().sum::<usize>(), told.reveals());
        let again = told.came - reveals;
        println!(
            "reveals, {:?}: {:.0} a second, {KILLS} kills, {count} answered, {reveals} told, \
             {again} told again, {waiting} not yet told when the service was killed",
            scene.database.backend,
            rate(count, up)
        );
        assert!(waiting + again > 0, "no kill met a notice on its way");
    }
);

on_both!(a_notice_comes_soon_after_its_reveal, |db| {
    let scene = Scene::on(db).await;
    let daemon = scene.serve();
    let asked = furnish(&scene, &daemon, "/quick").await;
    let (glue, record) = (&asked.glue, &asked.records[0]);
    let mut took = Vec::new();
    for nth in 0..ALONE {
        assert!(glue.reveals(&daemon.url, record).await);
        let began = scene.clock.monotonic();
        let since = || scene.clock.monotonic().saturating_sub(began);
        while scene.receiver.received().len() == nth {
            assert!(since() < LIMIT, "a notice does not come");
            scene.clock.sleep(Duration::from_millis(1)).await;
        }
        took.push(since());
        scene.sent().await;
    }
    took.sort();
    let (median, longest) = (took[ALONE / 2], took[ALONE - 1]);
    assert!(median < SOON, "{took:?}");

    let (began, crowd) = (scene.clock.monotonic(), Crowd::start(&asked, &daemon));
    scene.clock.sleep(LASTS).await;
    let mut answered = crowd.end().await;
    let ended = scene.clock.monotonic();
    *answered.entry(record.0).or_default() += ALONE;
    scene.sent().await;
    let drained = scene.clock.monotonic().saturating_sub(ended);
    assert_eq!(daemon.stop(), 0);
    let told = Told::read(&scene.receiver, &asked.signing_key);
    agree(&scene, &answered, &told).await;
    let (count, reveals) = (answered.values().sum::<usize>(), told.reveals());
    assert_eq!((count, told.came), (reveals, reveals), "each is told once");
    println!(
        "reveals, {:?}: told {median:?} after the answer, at most {longest:?}; {:.0} reveals a \
         second by {CALLERS} callers, all told {drained:?} later",
        scene.database.backend,
        rate(count - ALONE, ended.saturating_sub(began))
    );
});
