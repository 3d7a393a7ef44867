//! The ticks of one node and of two, and what the gauges say after them.
//!
//! Invariant: what is due follows the clock that the test moves; real time only wakes.

mod load;
mod regression;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use keywheel::clock::{Clock, ManualClock};
use keywheel::metrics::Metrics;
use keywheel::model::Timestamp;
use keywheel::model::audit::Event;
use keywheel::model::audit_chain::Anchor;
use keywheel::model::id::{NodeId, SystemId};
use keywheel::model::job::Priority;
use keywheel::model::key::{AccessToken, Addresses, KeyHash, KeyKind, NewKey, Reach};
use keywheel::model::principal::NewUser;
use keywheel::model::schedule::Planned;
use keywheel::model::session::SessionLife;
use keywheel::scheduler::{
    AnchorSink, Auditing, Scheduler, SchedulerError, SchedulerOptions, Tick, TickError, Ticked,
};
use keywheel::store::{Backend, Store, StoreError};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::support::audit::{audit_keys, verified};
use crate::support::database::on_both;
use crate::support::queue::{NOW, Queue, account_id};
use crate::support::wait::until;

/// The ticks that one node of all is enough for.
const SHARED: [Tick; 3] = [Tick::StaleScan, Tick::HeadRepair, Tick::SessionReaper];
/// Longer than any interval.
const LONG: Duration = Duration::from_hours(1);

/// A node's scheduler.
struct Node {
    scheduler: Scheduler,
    metrics: Arc<Metrics>,
}

impl Node {
    fn new(store: &Store, clock: &Arc<ManualClock>, id: NodeId) -> Self {
        Self::with(store, clock, id, SchedulerOptions::default())
    }

    fn with(
        store: &Store,
        clock: &Arc<ManualClock>,
        id: NodeId,
        options: SchedulerOptions,
    ) -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        let scheduler = Scheduler::new(store.clone(), clock.clone(), metrics.clone(), id, options);
        Self { scheduler, metrics }
    }

    async fn tick(&self, tick: Tick) -> Ticked {
        self.scheduler.tick(tick).await.unwrap()
    }

    /// A series' value.
    #[track_caller]
    fn value(&self, series: &str) -> f64 {
        let page = self.metrics.render();
        let found = page
            .lines()
            .find_map(|line| line.strip_prefix(&format!("keywheel_{series} ")));
        let value = found.unwrap_or_else(|| panic!("no {series} in\n{page}"));
        value.parse().unwrap()
    }

    #[track_caller]
    fn says(&self, series: &str, meant: f64) {
        let value = self.value(series);
        assert!(
            (value - meant).abs() < 1e-6,
            "{series}: {value}, not {meant}"
        );
    }

    /// How many ticks have ended so.
    fn ended(&self, tick: Tick, outcome: &str) -> f64 {
        let tick = tick.as_str();
        self.value(&format!(
            r#"scheduler_ticks_total{{outcome="{outcome}",tick="{tick}"}}"#
        ))
    }

    fn last_success(&self, tick: Tick) -> f64 {
        let tick = tick.as_str();
        self.value(&format!(
            r#"scheduler_last_success_timestamp_seconds{{tick="{tick}"}}"#
        ))
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
fn seconds(at: Timestamp) -> f64 {
    at.0 as f64 / 1_000.0
}

async fn register(store: &Store) -> NodeId {
    let mut tx = store.begin().await.unwrap();
    let node = tx.register_node("two", NOW).await.unwrap();
    tx.commit().await.unwrap();
    node
}

/// Opens a session that was last used at each of these times, and a token that ends then; the cookies are their numbers.
async fn sessions(queue: &Queue, seen: &[Timestamp]) {
    let secret = SecretString::from("0123456789abcdef");
    let user = NewUser {
        name: "ada".into(),
        display_name: "Ada".into(),
        email: "ada@example.org".into(),
        administrator: false,
        granted: BTreeSet::new(),
    };
    let mut tx = queue.store.begin().await.unwrap();
    let user = tx.insert_user(&user, NOW).await.unwrap();
    let key = NewKey {
        kind: KeyKind::PasswordSafe,
        user_id: user,
        name: "laptop".into(),
        hash: KeyHash::of(&secret),
        prefix: KeyHash::prefix(&secret),
        addresses: Addresses::default(),
        expires_at: None,
        password_required: false,
        reach: Reach::default(),
    };
    let key = tx.insert_key(&key, NOW).await.unwrap();
    for (nth, at) in seen.iter().enumerate() {
        tx.open_session(&cookie(nth), user, key, *at).await.unwrap();
        let token = AccessToken {
            key_id: key,
            expires_at: *at,
        };
        tx.insert_access_token(&cookie(nth), &token, NOW)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
}

fn cookie(nth: usize) -> KeyHash {
    KeyHash::of(&SecretString::from(nth.to_string()))
}

async fn jobs(queue: &Queue) -> i64 {
    queue.number("SELECT COUNT(*) FROM jobs").await
}

on_both!(a_tick_that_runs_again_finds_nothing_to_do, |db| {
    let queue = db.queue().await;
    let clock = ManualClock::at(NOW);
    queue.system(1, 5, 10, 0).await;
    queue
        .accounts_due(1, 3, Some(Timestamp(NOW.0 - 60_000)))
        .await;
    queue.system(2, 5, 10, 1).await;
    queue.order(2, 1, Priority::Routine).await;
    // A head that is later than its job, for the repair.
    queue
        .write("UPDATE systems SET head2 = NULL WHERE id = 2")
        .await;
    sessions(&queue, &[NOW, Timestamp(NOW.0 - 7_200_000)]).await;
    let node = Node::new(&queue.store, &clock, queue.node);
    let counts = async || {
        let sessions = queue.number("SELECT COUNT(*) FROM sessions").await;
        (jobs(&queue).await, queue.unsound().await.lazy, sessions)
    };
    assert_eq!(counts().await, (1, 1, 2));
    for _ in 0..3 {
        for tick in Tick::ALL {
            assert_eq!(node.tick(tick).await, Ticked::Done, "{tick:?}");
        }
        assert_eq!(counts().await, (4, 0, 1));
        // Another session must not grow idle meanwhile.
        clock.advance(Duration::from_mins(1));
    }
    let enqueued = r#"jobs_enqueued_total{kind="rotate",trigger="schedule"}"#;
    node.says(enqueued, 3.0);
    node.says(
        r#"scheduler_flagged_total{policy="vendor",reason="age"}"#,
        3.0,
    );
    queue.is_sound().await;
});

on_both!(of_two_nodes_one_runs_a_shared_tick, |db| {
    let queue = db.queue().await;
    let clock = ManualClock::at(NOW);
    queue.system(1, 5, 10, 0).await;
    queue
        .accounts_due(1, 3, Some(Timestamp(NOW.0 - 60_000)))
        .await;
    let one = Node::new(&queue.store, &clock, queue.node);
    let two = Node::new(&queue.store, &clock, register(&queue.store).await);
    for tick in SHARED {
        for _ in 0..3 {
            let both = tokio::join!(one.tick(tick), two.tick(tick));
            let by_one = matches!(
                both,
                (Ticked::Done, Ticked::Skipped) | (Ticked::Skipped, Ticked::Done)
            );
            assert!(by_one, "{tick:?}: {both:?}");
            let again = tokio::join!(one.tick(tick), two.tick(tick));
            assert_eq!(again, (Ticked::Skipped, Ticked::Skipped), "{tick:?}");
            clock.advance(LONG);
        }
    }
    assert_eq!(jobs(&queue).await, 3);
    // What belongs to the node is the node's, whoever else has done it.
    for tick in [Tick::LeaseReaper, Tick::Gauges] {
        let both = tokio::join!(one.tick(tick), two.tick(tick));
        assert_eq!(both, (Ticked::Done, Ticked::Done), "{tick:?}");
    }
    queue.is_sound().await;
});

on_both!(ticks_missed_in_a_pause_are_made_up_for_once, |db| {
    let queue = db.queue().await;
    let clock = ManualClock::at(NOW);
    queue.system(1, 5, 10, 0).await;
    let node = Node::new(&queue.store, &clock, queue.node);
    assert_eq!(node.tick(Tick::StaleScan).await, Ticked::Done);
    queue.accounts_due(1, 2, Some(NOW)).await;
    clock.advance(LONG);
    assert_eq!(node.tick(Tick::StaleScan).await, Ticked::Done);
    assert_eq!(jobs(&queue).await, 2);
    for _ in 0..3 {
        assert_eq!(node.tick(Tick::StaleScan).await, Ticked::Skipped);
    }
    let done = [(Tick::StaleScan.as_str().to_owned(), clock.now())];
    assert_eq!(queue.store.ticks().await.unwrap(), done);
    // The next one comes an interval after the late one, not after the ones that never were.
    clock.advance(Duration::from_mins(1));
    assert_eq!(node.tick(Tick::StaleScan).await, Ticked::Done);
});

on_both!(
    stale_accounts_are_flagged_queued_and_seen_in_the_gauges,
    |db| {
        let queue = db.queue().await;
        let clock = ManualClock::at(NOW);
        queue.system(1, 5, 10, 4).await;
        let plans = [
            (1, Some(Timestamp(NOW.0 + 1_000)), None),
            (2, None, Some(Timestamp(NOW.0 + 1_000))),
            (3, Some(Timestamp(NOW.0 + 864_000_000)), None),
        ];
        for (nth, next_change_at, flag_at) in plans {
            let planned = Planned {
                next_change_at,
                flag_at,
                ..Planned::default()
            };
            let mut tx = queue.store.begin().await.unwrap();
            tx.set_schedule(account_id(1, nth), SystemId(1), planned)
                .await
                .unwrap();
            tx.commit().await.unwrap();
        }
        let node = Node::new(&queue.store, &clock, queue.node);
        let due = |status: &str| format!(r#"accounts_due{{policy="vendor",status="{status}"}}"#);
        let queued = r#"jobs{kind="rotate",state="queued"}"#;
        let oldest = r#"queue_oldest_runnable_timestamp_seconds{lane="scheduled"}"#;
        let flagged = r#"scheduler_flagged_total{policy="vendor",reason="age"}"#;
        node.tick(Tick::StaleScan).await;
        node.tick(Tick::Gauges).await;
        node.says(&due("due_soon"), 2.0);
        node.says(&due("ok"), 1.0);
        node.says(queued, 0.0);
        node.says(oldest, 0.0);
        clock.advance(Duration::from_mins(1));
        node.tick(Tick::StaleScan).await;
        node.tick(Tick::Gauges).await;
        node.says(&due("due"), 2.0);
        node.says(&due("ok"), 1.0);
        node.says(queued, 1.0);
        node.says(flagged, 2.0);
        let stale = async |nth| {
            let account = queue.store.account(account_id(1, nth)).await;
            account.unwrap().unwrap().due.stale_at
        };
        let found = [stale(1).await, stale(2).await, stale(3).await];
        assert_eq!(found, [Some(clock.now()), Some(clock.now()), None]);
        let (since,): (i64,) = sqlx::query_as("SELECT run_at FROM jobs")
            .fetch_one(&queue.pool)
            .await
            .unwrap();
        node.says(oldest, seconds(Timestamp(since)));
        // A scan later, the same: nobody is flagged twice.
        clock.advance(Duration::from_mins(1));
        node.tick(Tick::StaleScan).await;
        node.says(flagged, 2.0);
        assert_eq!(jobs(&queue).await, 1);
    }
);

on_both!(the_work_of_a_silent_node_is_taken_over_once, |db| {
    let queue = db.queue().await;
    let clock = ManualClock::at(NOW);
    queue.system(1, 5, 10, 2).await;
    for nth in 1..=2 {
        queue.order(1, nth, Priority::Routine).await;
    }
    let one = Node::new(&queue.store, &clock, queue.node);
    assert_eq!(queue.claim(Priority::Routine, NOW).await.len(), 1);
    let two = Node::new(&queue.store, &clock, register(&queue.store).await);
    let running = "SELECT COUNT(*) FROM jobs WHERE state = 'running'";
    let several = queue.store.backend() == Backend::Postgres;
    if several {
        for _ in 0..4 {
            // It beats, so it lives, however long it works.
            two.tick(Tick::LeaseReaper).await;
            one.tick(Tick::Beat).await;
            clock.advance(Duration::from_secs(20));
        }
        assert_eq!(queue.number(running).await, 2);
        two.tick(Tick::LeaseReaper).await;
        clock.advance(Duration::from_secs(29));
        two.tick(Tick::LeaseReaper).await;
        assert_eq!(
            queue.number(running).await,
            2,
            "not yet silent for long enough"
        );
        clock.advance(Duration::from_secs(1));
    }
    // On SQLite a second node says that the first has ended.
    two.tick(Tick::LeaseReaper).await;
    assert_eq!(queue.number(running).await, 0);
    let expired = r#"lease_expirations_total{kind="rotate"}"#;
    two.says(expired, 1.0);
    two.tick(Tick::LeaseReaper).await;
    two.says(expired, 1.0);
    queue.is_sound().await;
    let beat = one.scheduler.tick(Tick::Beat).await;
    assert!(
        matches!(beat, Err(TickError::Store(StoreError::LeaseLost))),
        "{beat:?}"
    );
    let ended = one.scheduler.run(CancellationToken::new()).await;
    assert!(
        matches!(ended, Err(SchedulerError::DeclaredDead)),
        "{ended:?}"
    );
    assert!(one.ended(Tick::Beat, "failure") >= 1.0);
    one.says(
        r#"scheduler_last_success_timestamp_seconds{tick="beat"}"#,
        0.0,
    );
});

on_both!(
    idle_sessions_and_expired_tokens_are_removed_and_live_ones_stay,
    |db| {
        let queue = db.queue().await;
        let clock = ManualClock::at(NOW);
        let minute = |count: i64| Timestamp(NOW.0 + count * 60_000);
        sessions(&queue, &[minute(0), minute(3), minute(6)]).await;
        let options = SchedulerOptions {
            sessions: SessionLife {
                idle: Duration::from_mins(5),
                ..SessionLife::default()
            },
            ..SchedulerOptions::default()
        };
        let node = Node::with(&queue.store, &clock, queue.node, options);
        let left = async || {
            let mut left = Vec::new();
            for nth in 0..3 {
                let found = queue.store.session_by_hash(&cookie(nth)).await.unwrap();
                left.extend(found.map(|_| nth));
            }
            left
        };
        let tokens = async || {
            let mut left = Vec::new();
            for nth in 0..3 {
                let found = queue.store.access_token(&cookie(nth)).await.unwrap();
                left.extend(found.map(|_| nth));
            }
            left
        };
        // Five minutes, and the minute that a last call may be noted late by.
        clock.advance(Duration::from_mins(5));
        assert_eq!(node.tick(Tick::SessionReaper).await, Ticked::Done);
        assert_eq!(tokens().await, [2]);
        clock.advance(Duration::from_mins(1));
        assert_eq!(node.tick(Tick::SessionReaper).await, Ticked::Done);
        assert_eq!(left().await, [0, 1, 2]);
        assert_eq!(tokens().await, [0; 0]);
        clock.advance(Duration::from_mins(1));
        assert_eq!(node.tick(Tick::SessionReaper).await, Ticked::Done);
        assert_eq!(left().await, [1, 2]);
        clock.advance(LONG);
        assert_eq!(node.tick(Tick::SessionReaper).await, Ticked::Done);
        assert_eq!(left().await, [0; 0]);
    }
);

on_both!(
    a_quarantine_that_the_database_cut_short_goes_on_with_the_next_tick,
    |db| {
        let queue = db.queue().await;
        queue.system(1, 1, 100, 3).await;
        let clock = ManualClock::at(NOW);
        let node = Node::new(&queue.store, &clock, queue.node);
        // Its order is on record; the commit of its first accounts was refused.
        let mut tx = queue.store.begin().await.unwrap();
        tx.lock_queue(SystemId(1)).await.unwrap();
        let opened = tx.open_quarantine(SystemId(1), "breach", None, "ada", NOW);
        let id = opened.await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(node.tick(Tick::HeadRepair).await, Ticked::Done);
        let view = queue.store.quarantine(id).await.unwrap().unwrap();
        assert_eq!(view.accounts, 3);
        let open = queue.store.unordered_quarantines().await.unwrap();
        assert!(open.is_empty(), "{open:?}");
    }
);

on_both!(a_failing_tick_is_counted_and_tried_again, |db| {
    let queue = db.queue().await;
    let clock = ManualClock::at(NOW);
    queue.system(1, 5, 10, 0).await;
    queue.accounts_due(1, 2, Some(NOW)).await;
    queue
        .write("ALTER TABLE schedule RENAME TO elsewhere")
        .await;
    let options = SchedulerOptions {
        scan_every: Duration::from_secs(1),
        beat_every: LONG,
        reap_every: LONG,
        housekeeping_every: LONG,
        gauges_every: LONG,
        seal_every: LONG,
        anchor_every: LONG,
        ..SchedulerOptions::default()
    };
    let node = Node::with(&queue.store, &clock, queue.node, options);
    let stop = CancellationToken::new();
    let follow = async {
        let seen = async |outcome: &'static str| {
            until(outcome, async || {
                (node.ended(Tick::StaleScan, outcome) >= 1.0).then_some(())
            })
            .await;
        };
        seen("failure").await;
        assert!(node.last_success(Tick::StaleScan).abs() < 1e-6);
        until("the first beat", async || {
            (node.ended(Tick::Beat, "success") >= 1.0).then_some(())
        })
        .await;
        node.says(
            r#"scheduler_last_success_timestamp_seconds{tick="beat"}"#,
            seconds(NOW),
        );
        queue
            .write("ALTER TABLE elsewhere RENAME TO schedule")
            .await;
        clock.advance(LONG);
        seen("success").await;
        let then = seconds(clock.now());
        assert!((node.last_success(Tick::StaleScan) - then).abs() < 1e-6);
        assert_eq!(jobs(&queue).await, 2);
        // Not yet due again by the clock: skipped, which is no success.
        let skipped = node.ended(Tick::StaleScan, "skipped");
        until("a skipped tick", async || {
            (node.ended(Tick::StaleScan, "skipped") > skipped).then_some(())
        })
        .await;
        assert!((node.last_success(Tick::StaleScan) - then).abs() < 1e-6);
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(node.scheduler.run(stop.clone()), follow);
    ended.unwrap();
});

async fn record(store: &Store, count: usize) {
    let event = Event::by("ada", "test.ran", "test", serde_json::json!({}));
    let mut tx = store.begin().await.unwrap();
    tx.audit_all(&vec![&event; count], NOW).await.unwrap();
    tx.commit().await.unwrap();
}

/// Options of a node that seals, with anchors in this folder.
fn auditing(folder: &tempfile::TempDir) -> SchedulerOptions {
    SchedulerOptions {
        audit: Some(Auditing {
            keys: Arc::new(audit_keys()),
            sink: AnchorSink {
                file: folder.path().join("anchors.jsonl"),
                syslog: None,
            },
        }),
        ..SchedulerOptions::default()
    }
}

fn anchors(folder: &tempfile::TempDir) -> Vec<Anchor> {
    let text = std::fs::read_to_string(folder.path().join("anchors.jsonl")).unwrap_or_default();
    text.lines()
        .map(|line| Anchor::parse(line).unwrap())
        .collect()
}

on_both!(of_two_nodes_one_seals_and_one_anchors, |db| {
    let queue = db.queue().await;
    let clock = ManualClock::at(NOW);
    let folder = tempfile::tempdir().unwrap();
    let one = Node::with(&queue.store, &clock, queue.node, auditing(&folder));
    let second = register(&queue.store).await;
    let two = Node::with(&queue.store, &clock, second, auditing(&folder));
    let before = queue.store.audit_head().await.unwrap().seq;
    for round in 1..=3_i64 {
        // More than one chunk.
        record(&queue.store, 700).await;
        tokio::join!(one.tick(Tick::AuditSeal), two.tick(Tick::AuditSeal));
        let head = queue.store.audit_head().await.unwrap();
        assert!(!queue.store.has_unsealed_audit().await.unwrap());
        assert_eq!(head.seq - before, 700 * round);
        tokio::join!(one.tick(Tick::AuditAnchor), two.tick(Tick::AuditAnchor));
        let written = anchors(&folder);
        assert_eq!(written.len(), usize::try_from(round).unwrap());
        let last = written.last().unwrap();
        assert_eq!((last.link(), last.at), (head, clock.now()));
        let keys = audit_keys();
        assert_eq!(last.check(&keys.store, &keys.anchor.public()), Ok(()));
        let kept = queue.store.audit_anchors(1).await.unwrap();
        assert_eq!(kept.first(), Some(last));
        one.tick(Tick::Gauges).await;
        one.says("audit_last_anchor_timestamp_seconds", seconds(last.at));
        clock.advance(Duration::from_mins(1));
    }
    let links: Vec<_> = anchors(&folder).iter().map(Anchor::link).collect();
    verified(&queue.store, &links).await.unwrap();
    // A chain that stands still is anchored each hour, not each minute.
    one.tick(Tick::AuditAnchor).await;
    assert_eq!(anchors(&folder).len(), 3);
    clock.advance(LONG);
    one.tick(Tick::AuditAnchor).await;
    assert_eq!(anchors(&folder).len(), 4);
});

on_both!(an_anchor_that_cannot_be_written_does_not_count, |db| {
    let queue = db.queue().await;
    let clock = ManualClock::at(NOW);
    let folder = tempfile::tempdir().unwrap();
    let mut options = auditing(&folder);
    options.audit.as_mut().unwrap().sink.file = folder.path().join("gone/anchors.jsonl");
    let node = Node::with(&queue.store, &clock, queue.node, options);
    record(&queue.store, 3).await;
    node.tick(Tick::AuditSeal).await;
    let refused = node.scheduler.tick(Tick::AuditAnchor).await;
    assert!(matches!(refused, Err(TickError::Sink(_))), "{refused:?}");
    assert!(queue.store.audit_anchors(9).await.unwrap().is_empty());
    std::fs::create_dir(folder.path().join("gone")).unwrap();
    clock.advance(Duration::from_mins(1));
    assert_eq!(node.tick(Tick::AuditAnchor).await, Ticked::Done);
    assert_eq!(queue.store.audit_anchors(9).await.unwrap().len(), 1);
});

on_both!(a_chain_that_breaks_shows_in_the_metrics, |db| {
    let queue = db.queue().await;
    let clock = ManualClock::at(NOW);
    let folder = tempfile::tempdir().unwrap();
    let node = Node::with(&queue.store, &clock, queue.node, auditing(&folder));
    let verify = async |sound: f64| {
        clock.advance(Duration::from_mins(1));
        assert_eq!(node.tick(Tick::AuditVerify).await, Ticked::Done);
        node.says("audit_chain_ok", sound);
        node.says("audit_last_verify_timestamp_seconds", seconds(clock.now()));
    };
    node.says("audit_last_verify_timestamp_seconds", 0.0);
    verify(1.0).await;
    record(&queue.store, 2_500).await;
    node.tick(Tick::AuditSeal).await;
    verify(1.0).await;
    // New rows; then an old one, found by the sweep in its second or third turn.
    record(&queue.store, 20).await;
    clock.advance(Duration::from_secs(2));
    node.tick(Tick::AuditSeal).await;
    for (tamper, undo) in [
        (
            "UPDATE audit SET actor = 'eve' WHERE seq = 2510",
            "UPDATE audit SET actor = 'ada' WHERE seq = 2510",
        ),
        (
            "UPDATE audit_head SET seq = 2519",
            "UPDATE audit_head SET seq = 2520",
        ),
    ] {
        queue.write(tamper).await;
        verify(0.0).await;
        verify(0.0).await;
        queue.write(undo).await;
        verify(1.0).await;
    }
    queue
        .write("UPDATE audit SET actor = 'eve' WHERE seq = 7")
        .await;
    for _ in 0..3 {
        clock.advance(Duration::from_mins(1));
        node.tick(Tick::AuditVerify).await;
    }
    let ok = async || {
        clock.advance(Duration::from_mins(1));
        node.tick(Tick::AuditVerify).await;
        node.value("audit_chain_ok")
    };
    assert!(ok().await + ok().await < 1.5, "the sweep has found nothing");
    queue
        .write("UPDATE audit SET actor = 'ada' WHERE seq = 7")
        .await;
    verify(1.0).await;
    // The tail goes, head and all: this node remembers.
    for statement in [
        "DELETE FROM audit WHERE seq > 2500",
        "UPDATE audit_head SET seq = 2500, mac = (SELECT mac FROM audit WHERE seq = 2500)",
    ] {
        queue.write(statement).await;
    }
    verify(0.0).await;
});
