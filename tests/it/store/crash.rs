//! What a crash leaves behind: of a transaction all or nothing, wherever it is cut.

use std::fmt::Write as _;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use keywheel::model::audit::Event;
use keywheel::model::credential::{Part, Parts};
use keywheel::model::id::{AccountId, QuarantineId, RotationId, SystemId};
use keywheel::model::job::{Cause, JobKind, Priority};
use keywheel::model::rotation::{Phase, Rotation};
use keywheel::store::{
    Claim, Ending, NewJob, NewRotation, NewVersion, SealedSecret, Step, StoreError, SystemHealth,
    Tx,
};
use serde_json::json;
use sqlx::any::AnyRow;
use sqlx::{Column, Row};

use crate::support::database::on_both;
use crate::support::queue::{NOW, Queue, account_id, settled};

const SYSTEM: SystemId = SystemId(1);

/// Every table that a rotation's way through the store touches; ids may have gaps.
const TABLES: [&str; 12] = [
    "SELECT * FROM systems ORDER BY 1, 2",
    "SELECT * FROM accounts ORDER BY 1, 2",
    "SELECT * FROM schedule ORDER BY 1, 2",
    "SELECT * FROM credential_versions ORDER BY 1, 2",
    "SELECT * FROM rotations ORDER BY 1, 2",
    "SELECT * FROM login_budget ORDER BY 1, 2",
    "SELECT * FROM jobs ORDER BY 1, 2",
    "SELECT * FROM claims ORDER BY 1, 2",
    "SELECT * FROM job_history ORDER BY 1, 2",
    "SELECT * FROM quarantines ORDER BY 1, 2",
    "SELECT * FROM quarantine_accounts ORDER BY 1, 2",
    "SELECT * FROM audit ORDER BY 1, 2",
];

fn text(row: &AnyRow) -> String {
    let mut text = String::new();
    for column in row.columns() {
        let at = column.ordinal();
        let value = if let Ok(number) = row.try_get::<Option<i64>, _>(at) {
            format!("{number:?}")
        } else if let Ok(words) = row.try_get::<Option<String>, _>(at) {
            format!("{words:?}")
        } else {
            format!("{:?}", row.get::<Option<Vec<u8>>, _>(at))
        };
        write!(text, "{}={value} ", column.name()).unwrap();
    }
    text
}

/// All that is committed.
async fn everything(queue: &Queue) -> Vec<String> {
    let mut rows = Vec::new();
    for table in TABLES {
        let found = sqlx::query(table).fetch_all(&queue.pool).await.unwrap();
        rows.extend(found.iter().map(text));
    }
    rows
}

/// Runs a future until it has been polled so often, then drops it; its output if it was done.
async fn cut<F: Future>(work: F, mut polls: usize) -> Option<F::Output> {
    let mut work = pin!(work);
    poll_fn(move |context| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

/// Cuts a transaction at every place where it waits, then lets it through once.
///
/// Cut or rolled back, nothing of it may be seen; committed, something must be.
macro_rules! all_or_nothing {
    ($queue:expr, $cuts:ident, |$tx:ident| $work:expr) => {{
        let before = everything(&$queue).await;
        for polls in 0.. {
            let mut $tx = $queue.store.begin().await.unwrap();
            let done = cut(async { $work }, polls).await;
            drop($tx);
            let after = everything(&$queue).await;
            assert!(after == before, "cut after {polls} polls: {after:#?}");
            if done.is_some() {
                break;
            }
            $cuts += 1;
        }
        // The last cut is undone once its lock is free.
        let mut free = $queue.store.begin().await.unwrap();
        assert!(free.lock_queue(SYSTEM).await.unwrap());
        free.rollback().await.unwrap();
        let mut $tx = $queue.store.begin().await.unwrap();
        let result = $work.unwrap();
        $tx.commit().await.unwrap();
        assert!(everything(&$queue).await != before, "nothing was written");
        $queue.is_sound().await;
        result
    }};
}

async fn order(tx: &mut Tx, account: AccountId) -> Result<(), StoreError> {
    tx.lock_queue(SYSTEM).await?;
    let job = NewJob {
        account,
        system: SYSTEM,
        kind: JobKind::Rotate,
        cause: Cause::Order,
        actor: "ada".to_owned(),
        priority: Priority::Immediate,
        run_at: NOW,
        parts: Parts::ALL_THERE_ARE,
        version: None,
        key_version: None,
    };
    tx.enqueue(&job, NOW).await?;
    let event = Event::by("ada", "change.ordered", account, json!({}));
    tx.audit(&event, NOW).await
}

async fn stage(tx: &mut Tx, claim: &Claim) -> Result<RotationId, StoreError> {
    tx.hold(claim.id, claim.node).await?;
    let account = claim.jobs[0].account;
    let new = NewVersion {
        account,
        version: 1,
        secret: SealedSecret::Password(vec![1, 2, 3]),
        origin: "generated",
    };
    tx.add_version(&new, NOW).await?;
    let state = Rotation {
        phase: Phase::Staged,
        doubt: false,
    };
    let id = tx
        .open_rotation(
            &NewRotation {
                account,
                part: Part::Password,
                epoch: 1,
                version: 1,
                state,
            },
            NOW,
        )
        .await?;
    let event = Event::by_service("rotation.staged", account, json!({}));
    tx.audit(&event, NOW).await?;
    Ok(id)
}

async fn walk(
    tx: &mut Tx,
    claim: &Claim,
    rotation: RotationId,
    phases: &[Phase],
) -> Result<(), StoreError> {
    tx.hold(claim.id, claim.node).await?;
    let account = claim.jobs[0].account;
    for pair in phases.windows(2) {
        let [from, to] = [pair[0], pair[1]].map(|phase| Rotation {
            phase,
            doubt: false,
        });
        let step = Step {
            rotation,
            account,
            part: Part::Password,
            epoch: 1,
            version: 1,
            from,
            to,
            why: String::new(),
        };
        assert!(tx.spend_login(account, 99, 1_000, NOW).await?);
        tx.advance(&step, NOW).await?;
        let event = Event::by_service("rotation.moved", account, json!({}));
        tx.audit(&event, NOW).await?;
    }
    Ok(())
}

async fn quarantine(tx: &mut Tx) -> Result<QuarantineId, StoreError> {
    tx.lock_queue(SYSTEM).await?;
    let id = tx.open_quarantine(SYSTEM, "", None, "ada", NOW).await?;
    let mut after = AccountId(0);
    while let Some(last) = tx.quarantine_chunk(id, SYSTEM, after, "ada", NOW).await? {
        after = last;
    }
    tx.finish_quarantines(SYSTEM, NOW).await?;
    Ok(id)
}

async fn settle(tx: &mut Tx, claim: &Claim) -> Result<(), StoreError> {
    let all = settled(claim, &Ending::Succeeded);
    tx.settle(claim, &all, SystemHealth::Answers, true, NOW)
        .await
        .map(drop)
}

on_both!(a_crash_leaves_all_of_a_transaction_or_nothing, |db| {
    let queue = db.queue().await;
    queue.system(1, 2, 2, 3).await;
    let node = queue.node;
    let mut cuts = 0;
    all_or_nothing!(queue, cuts, |tx| order(&mut tx, account_id(1, 1)).await);
    let claim = all_or_nothing!(queue, cuts, |tx| tx
        .claim(node, Priority::Immediate, 9, 1_000, NOW)
        .await);
    let claim = &claim[0];
    let id = all_or_nothing!(queue, cuts, |tx| stage(&mut tx, claim).await);
    let phases = [Phase::Staged, Phase::Applying];
    all_or_nothing!(queue, cuts, |tx| walk(&mut tx, claim, id, &phases).await);
    // While it runs, its system is put in quarantine.
    let ordered = all_or_nothing!(queue, cuts, |tx| quarantine(&mut tx).await);
    let phases = [
        Phase::Applying,
        Phase::Applied,
        Phase::Verified,
        Phase::Committed,
    ];
    all_or_nothing!(queue, cuts, |tx| walk(&mut tx, claim, id, &phases).await);
    all_or_nothing!(queue, cuts, |tx| settle(&mut tx, claim).await);
    // Its node dies with the next claim.
    let claim = all_or_nothing!(queue, cuts, |tx| tx
        .claim(node, Priority::Quarantine, 9, 1_000, NOW)
        .await);
    assert!(all_or_nothing!(queue, cuts, |tx| tx
        .reap(claim[0].id, SYSTEM)
        .await));
    while let Some(claim) = queue.claim(Priority::Quarantine, NOW).await.pop() {
        all_or_nothing!(queue, cuts, |tx| settle(&mut tx, &claim).await);
    }
    queue
        .write("UPDATE schedule SET next_change_at = 5, flag_at = 5")
        .await;
    let scanned = all_or_nothing!(queue, cuts, |tx| tx.scan_stale(NOW, 9).await);
    assert_eq!(scanned.changes, 3);
    let done = queue.store.quarantine(ordered).await.unwrap().unwrap();
    assert_eq!((done.counts.succeeded, done.finished_at), (3, Some(NOW)));
    let account = queue.store.account_row(account_id(1, 1)).await.unwrap();
    assert_eq!(account.unwrap().current_version, Some(1));
    // A quick database answers before it is asked again: some places are then none.
    assert!(cuts > 15, "only {cuts} places were found to cut at");
    let all_logins = queue.number("SELECT spent FROM login_budget").await;
    assert_eq!(all_logins, 4);
});
