//! Processes that die, hang and are killed: what was under way is a lost reply, others go on.

use std::time::Duration;

use keywheel_connectors::{Changed, Checked, Class, Connector, Credential, Evidence, Scope};

use super::{Stage, account, functional, signal, target};
use crate::support::wait::until;

/// Longer than any of these tests takes: an answer never comes from a time-out.
const LONG: Duration = Duration::from_secs(50);

/// What befalls a process, and what the metrics call it.
const BLOWS: [(&str, &str); 3] = [("KILL", "killed"), ("STOP", "hung"), ("ABRT", "killed")];

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_a_process_that_ends_is_unknown_and_others_go_on() {
    for (blow, reason) in BLOWS {
        let stage = Stage::fake(2).await;
        let open = async |host| {
            let target = target(host, LONG);
            let opened = stage.remote.open(&target, Some(&functional())).await;
            opened.unwrap()
        };
        let mute = open("mute").await;
        let [first] = stage.pool.processes()[..] else {
            panic!("not one process");
        };
        // On the same process, which is busy: a second one is started.
        let good = open("good").await;
        until("there is a second process", async || {
            (stage.pool.processes().len() == 2).then_some(())
        })
        .await;
        let spare = open("spare").await;
        let new = Credential::from("New-and-long-1");
        let (u1, u2) = (account("u1"), account("u2"));
        let under_way = async {
            tokio::join!(
                mute.change(&u1, &new, None),
                mute.check(&u2, &new),
                mute.retire(&u2, &new),
            )
        };
        let strike = async {
            // Served by the other process, all along.
            assert_eq!(spare.change(&u1, &new, None).await, Changed::Done);
            signal(blow, first);
            assert_eq!(spare.check(&u1, &new).await, Checked::Accepted);
        };
        let ((changed, checked, _), ()) = tokio::join!(under_way, strike);
        let Changed::Unknown(why) = changed else {
            panic!("{blow}: {changed:?}");
        };
        assert_eq!((why.class, why.scope), (Class::Unknown, Scope::Account));
        assert!(matches!(checked, Checked::NotNow(_)), "{blow}: {checked:?}");
        // The same session goes on elsewhere, and can look for evidence.
        let looked = mute
            .evidence(&u1, &new, Some(&Credential::from("secret")))
            .await;
        assert_eq!(looked, Evidence::Current, "{blow}");
        let current = Credential::from("secret");
        assert_eq!(good.check(&u1, &current).await, Checked::Accepted, "{blow}");
        assert_eq!(spare.check(&u1, &new).await, Checked::Accepted, "{blow}");
        let exits =
            format!("connector_process_exits_total{{connector=\"other\",reason=\"{reason}\"}}");
        assert_eq!(stage.series(&exits), 1, "{blow}");
        until("the process has a successor", async || {
            (stage.series("connector_process_restarts_total{connector=\"other\"}") == 1)
                .then_some(())
        })
        .await;
        stage.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspect_has_a_process_of_its_own_until_it_behaves() {
    let stage = Stage::fake(1).await;
    let live = || stage.series("connector_processes{connector=\"other\"}");
    let (mute, good) = (target("mute", LONG), target("good", LONG));
    let session = stage.remote.open(&mute, None).await.unwrap();
    let [first] = stage.pool.processes()[..] else {
        panic!("not one process");
    };
    signal("KILL", first);
    until("the process has a successor", async || {
        (stage.pool.ready() && stage.pool.processes() != [first]).then_some(())
    })
    .await;
    drop(session);
    assert_eq!(live(), 1);
    let suspected = stage.remote.open(&mute, None).await.unwrap();
    assert_eq!(live(), 2, "it shares no process");
    let trusted = stage.remote.open(&good, None).await.unwrap();
    assert_eq!(live(), 2, "others do");
    suspected.close().await;
    drop(suspected);
    until("its process has ended", async || {
        (live() == 1).then_some(())
    })
    .await;
    let again = stage.remote.open(&mute, None).await.unwrap();
    assert_eq!(live(), 1, "it has behaved");
    trusted.close().await;
    again.close().await;
    let unmeant = "connector_process_exits_total{connector=\"other\",reason=\"killed\"}";
    assert_eq!(stage.series(unmeant), 1, "an end that was meant is none");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_stops_the_call() {
    let stage = Stage::fake(1).await;
    let mut mute = target("mute", LONG);
    mute.in_flight = 1;
    let session = stage.remote.open(&mute, Some(&functional())).await.unwrap();
    let (u1, new) = (account("u1"), Credential::from("New-and-long-1"));
    let moment = Duration::from_millis(300);
    let left = tokio::time::timeout(moment, session.change(&u1, &new, None)).await;
    assert!(left.is_err(), "{left:?}");
    // It held the only place; now there is one.
    let secret = Credential::from("secret");
    let looked = session.evidence(&u1, &new, Some(&secret)).await;
    assert_eq!(looked, Evidence::Current);
    assert_eq!(stage.pool.processes().len(), 1, "nobody was killed for it");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_process_nothing_is_sent_and_the_system_is_told_so() {
    let stage = Stage::fake(1).await;
    let pool = stage.pool.clone();
    let remote = stage.remote.clone();
    stage.end().await;
    assert!(!pool.ready());
    let opened = remote
        .open(&target("good", Duration::from_secs(1)), None)
        .await;
    let reason = opened.map(drop).unwrap_err();
    assert_eq!(
        (reason.class, reason.scope),
        (Class::Unreachable, Scope::System)
    );
}
