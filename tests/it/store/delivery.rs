//! The outbox: one node sends a delivery, and whatever comes of it is on record.

use std::time::Duration;

use keywheel::model::Timestamp;
use keywheel::model::id::{DeliveryId, NodeId, WorkflowActionId, WorkflowId};
use keywheel::model::workflow::{Attempt, Channel, DeliveryKind, DeliveryState};
use keywheel::store::{ClaimedDelivery, Lane, NewDelivery, Outcome, Settlement, Store};

use super::inventory::is_stale;
use super::workflow::inserted;
use crate::support::database::{Database, on_both};
use crate::support::queue::NOW;

const HOUR: Duration = Duration::from_hours(1);

fn delivery(workflow: WorkflowId, action: WorkflowActionId, channel: Channel) -> NewDelivery {
    let is_mail = channel == Channel::Email;
    NewDelivery {
        workflow,
        action,
        kind: DeliveryKind::Notice,
        channel,
        event_id: "e-1".to_owned(),
        event_at: Timestamp(5),
        about: "Domain Admin".to_owned(),
        recipients: if is_mail {
            vec!["a@example.org".to_owned()]
        } else {
            Vec::new()
        },
        subject: "seen".to_owned(),
        body: "{}".to_owned(),
    }
}

/// A store with a workflow of a mail and a webhook, and two nodes.
struct Outbox {
    store: Store,
    workflow: WorkflowId,
    mail: Lane,
    hook: Lane,
    nodes: [NodeId; 2],
}

impl Outbox {
    async fn on(db: &Database) -> Self {
        let store = db.store().await;
        let (workflow, actions) = inserted(&store, "Tier 0", true).await;
        let mut nodes = [NodeId(0); 2];
        for node in &mut nodes {
            let mut tx = store.begin().await.unwrap();
            *node = tx.register_node("n", NOW).await.unwrap();
            tx.commit().await.unwrap();
        }
        let lane = |nth: usize, channel| Lane {
            action: actions[nth].id,
            kind: DeliveryKind::Notice,
            channel,
        };
        Self {
            store,
            workflow,
            mail: lane(0, Channel::Email),
            hook: lane(1, Channel::Webhook),
            nodes,
        }
    }

    async fn queue(&self, lane: Lane, now: Timestamp) -> DeliveryId {
        let mut tx = self.store.begin().await.unwrap();
        let new = NewDelivery {
            kind: lane.kind,
            ..delivery(self.workflow, lane.action, lane.channel)
        };
        let ids = tx.insert_deliveries(&[new], now).await.unwrap();
        tx.commit().await.unwrap();
        ids[0]
    }

    async fn claim(&self, node: usize, lane: Lane, now: Timestamp) -> Vec<ClaimedDelivery> {
        let mut tx = self.store.begin().await.unwrap();
        let claimed = tx
            .claim_deliveries(self.nodes[node], lane, 9, now)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        claimed
    }

    async fn settle(&self, claimed: &ClaimedDelivery, outcome: Outcome, now: Timestamp) -> bool {
        let failed = outcome != Outcome::Sent;
        let settlement = Settlement {
            lane: claimed.lane,
            node: claimed.node,
            attempt: Attempt {
                delivery: claimed.id,
                number: claimed.attempts + 1,
                at: now,
                took_ms: 12,
                status: Some(if failed { 500 } else { 200 }),
                error: if failed {
                    "the receiver answered 500".to_owned()
                } else {
                    String::new()
                },
            },
            outcome,
        };
        let mut tx = self.store.begin().await.unwrap();
        let settled = tx.settle_delivery(&settlement, now).await.unwrap();
        tx.commit().await.unwrap();
        settled
    }

    async fn state(&self, id: DeliveryId) -> (DeliveryState, i64) {
        let found = self.store.delivery(id).await.unwrap().unwrap();
        (found.state, found.attempts)
    }
}

on_both!(one_node_alone_claims_a_delivery, |db| {
    let outbox = Outbox::on(&db).await;
    assert_eq!(outbox.store.oldest_delivery().await.unwrap(), None);
    let id = outbox.queue(outbox.hook, NOW).await;
    assert_eq!(outbox.store.oldest_delivery().await.unwrap(), Some(NOW));
    assert!(
        outbox
            .store
            .due_lanes(Timestamp(NOW.0 - 1))
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(outbox.store.due_lanes(NOW).await.unwrap(), [outbox.hook]);
    assert!(outbox.claim(0, outbox.mail, NOW).await.is_empty());
    let (one, two) = tokio::join!(
        outbox.claim(0, outbox.hook, NOW),
        outbox.claim(1, outbox.hook, NOW)
    );
    assert_eq!(one.len() + two.len(), 1);
    let claimed = one.into_iter().chain(two).next().unwrap();
    assert_eq!((claimed.id, claimed.lane), (id, outbox.hook));
    assert_eq!(
        (claimed.url.clone(), claimed.signing_secret.clone()),
        (Some(vec![1, 2]), Some(vec![3, 4]))
    );
    assert_eq!(
        (claimed.tries, claimed.attempts, claimed.body.as_str()),
        (0, 0, "{}")
    );
    assert!(outbox.store.due_lanes(NOW).await.unwrap().is_empty());
    assert!(outbox.settle(&claimed, Outcome::Sent, NOW).await);
    assert!(
        !outbox.settle(&claimed, Outcome::Sent, NOW).await,
        "settled twice"
    );
    assert_eq!(outbox.state(id).await, (DeliveryState::Sent, 1));
    assert_eq!(outbox.store.oldest_delivery().await.unwrap(), None);
});

on_both!(a_delivery_is_tried_again_when_it_is_due, |db| {
    let outbox = Outbox::on(&db).await;
    let id = outbox.queue(outbox.mail, NOW).await;
    let claimed = outbox.claim(0, outbox.mail, NOW).await.remove(0);
    assert_eq!(claimed.recipients, ["a@example.org"]);
    let later = NOW.plus(HOUR);
    outbox.settle(&claimed, Outcome::Again(later), NOW).await;
    assert_eq!(outbox.state(id).await, (DeliveryState::Pending, 1));
    assert!(outbox.claim(0, outbox.mail, NOW).await.is_empty());
    let claimed = outbox.claim(1, outbox.mail, later).await.remove(0);
    assert_eq!((claimed.tries, claimed.attempts), (1, 1));
    outbox.settle(&claimed, Outcome::Sent, later).await;
    let attempts = outbox
        .store
        .delivery_attempts(outbox.workflow, (id, id))
        .await
        .unwrap();
    let seen: Vec<_> = attempts
        .iter()
        .map(|one| (one.number, one.at, one.status, one.error.as_str()))
        .collect();
    let failed = (1, NOW, Some(500), "the receiver answered 500");
    assert_eq!(seen, [failed, (2, later, Some(200), "")]);
    let listed = outbox
        .store
        .deliveries(outbox.workflow, None, 9)
        .await
        .unwrap();
    assert_eq!((listed.len(), listed[0].error.as_str()), (1, ""));
    assert_eq!(
        (listed[0].about.as_str(), listed[0].ended_at),
        ("Domain Admin", Some(later))
    );
    assert!(
        outbox
            .store
            .deliveries(outbox.workflow, Some(id), 9)
            .await
            .unwrap()
            .is_empty()
    );
});

on_both!(what_a_dead_node_held_is_taken_over, |db| {
    let outbox = Outbox::on(&db).await;
    let id = outbox.queue(outbox.hook, NOW).await;
    let held = outbox.claim(0, outbox.hook, NOW).await.remove(0);
    let [dead, alive] = outbox.nodes;
    let mut tx = outbox.store.begin().await.unwrap();
    tx.sign_off(dead).await.unwrap();
    tx.commit().await.unwrap();
    assert!(outbox.store.has_orphaned_deliveries(alive).await.unwrap());
    let mut tx = outbox.store.begin().await.unwrap();
    assert_eq!(tx.reap_deliveries(alive).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert!(!outbox.store.has_orphaned_deliveries(alive).await.unwrap());
    let taken = outbox.claim(1, outbox.hook, NOW).await.remove(0);
    assert_eq!((taken.id, taken.attempts), (id, 0));
    // What comes late is not written over what the new holder does.
    assert!(!outbox.settle(&held, Outcome::Failed, NOW).await);
    let mut tx = outbox.store.begin().await.unwrap();
    assert_eq!(tx.release_deliveries(alive).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(outbox.state(id).await, (DeliveryState::Pending, 0));
});

on_both!(failures_are_told_once_an_hour_with_their_number, |db| {
    let outbox = Outbox::on(&db).await;
    let fail = async |now| {
        let id = outbox.queue(outbox.hook, now).await;
        let claimed = outbox.claim(0, outbox.hook, now).await.remove(0);
        assert!(outbox.settle(&claimed, Outcome::Failed, now).await);
        id
    };
    let take = async |now: Timestamp| {
        let mut tx = outbox.store.begin().await.unwrap();
        let due = tx.take_alerts(now.minus(HOUR), now).await.unwrap();
        tx.commit().await.unwrap();
        due
    };
    assert!(!outbox.store.has_due_alert(NOW).await.unwrap());
    let first = fail(NOW).await;
    assert_eq!(outbox.state(first).await, (DeliveryState::Failed, 1));
    assert!(outbox.store.has_due_alert(NOW.minus(HOUR)).await.unwrap());
    let due = take(NOW).await.remove(0);
    assert_eq!(
        (due.action, due.failure_email.as_str()),
        (outbox.hook.action, "secops@example.org")
    );
    let failure = due.failure;
    assert_eq!(
        (failure.workflow.as_str(), failure.action.as_str()),
        ("Tier 0", "SIEM")
    );
    assert_eq!(
        (failure.failed, failure.attempts, failure.event_at),
        (1, 1, Timestamp(5))
    );
    assert_eq!(failure.error, "the receiver answered 500");
    fail(NOW).await;
    fail(NOW).await;
    assert!(take(NOW).await.is_empty(), "within the hour");
    assert_eq!(take(NOW.plus(HOUR)).await[0].failure.failed, 2);
    assert!(take(NOW.plus(HOUR * 2)).await.is_empty(), "nothing new");
    // Alerts have a lane of their own, and tell of nothing if they fail.
    let lane = Lane {
        kind: DeliveryKind::Alert,
        channel: Channel::Email,
        ..outbox.hook
    };
    outbox.queue(lane, NOW).await;
    assert_eq!(outbox.store.due_lanes(NOW).await.unwrap(), [lane]);
    let claimed = outbox.claim(0, lane, NOW).await.remove(0);
    assert!(outbox.settle(&claimed, Outcome::Failed, NOW).await);
    assert!(take(NOW.plus(HOUR * 3)).await.is_empty());
});

on_both!(
    what_has_ended_is_sent_again_on_order_and_forgotten_in_time,
    |db| {
        let outbox = Outbox::on(&db).await;
        let id = outbox.queue(outbox.hook, NOW).await;
        let mut tx = outbox.store.begin().await.unwrap();
        is_stale(tx.redeliver(id, NOW).await);
        tx.rollback().await.unwrap();
        let claimed = outbox.claim(0, outbox.hook, NOW).await.remove(0);
        outbox.settle(&claimed, Outcome::Sent, NOW).await;
        let mut tx = outbox.store.begin().await.unwrap();
        tx.redeliver(id, NOW.plus(HOUR)).await.unwrap();
        tx.commit().await.unwrap();
        let claimed = outbox.claim(0, outbox.hook, NOW.plus(HOUR)).await.remove(0);
        assert_eq!((claimed.id, claimed.tries, claimed.attempts), (id, 0, 1));
        outbox.settle(&claimed, Outcome::Sent, NOW.plus(HOUR)).await;
        assert_eq!(outbox.state(id).await, (DeliveryState::Sent, 2));
        let waiting = outbox.queue(outbox.hook, NOW).await;
        let mut tx = outbox.store.begin().await.unwrap();
        tx.delete_workflow(outbox.workflow, 1, NOW).await.unwrap();
        tx.commit().await.unwrap();
        let prune = async |before| {
            let mut tx = outbox.store.begin().await.unwrap();
            let pruned = tx.prune_deliveries(before, 9).await.unwrap();
            tx.commit().await.unwrap();
            pruned
        };
        // The mail has nothing left that could need it; the webhook has.
        assert_eq!(prune(NOW.plus(HOUR)).await, (0, 1));
        assert_eq!(prune(NOW.plus(HOUR * 2)).await, (1, 0));
        assert_eq!(outbox.store.delivery(id).await.unwrap(), None);
        assert_eq!(outbox.state(waiting).await.0, DeliveryState::Pending);
        let claimed = outbox.claim(0, outbox.hook, NOW).await.remove(0);
        outbox.settle(&claimed, Outcome::Sent, NOW).await;
        assert_eq!(prune(NOW.plus(HOUR)).await, (1, 1));
    }
);

on_both!(the_sender_is_woken_by_the_commit_that_queues, |db| {
    let outbox = Outbox::on(&db).await;
    let woken = async |limit| {
        let heard = outbox.store.outbox().notified();
        tokio::time::timeout(limit, heard).await.is_ok()
    };
    let mut tx = outbox.store.begin().await.unwrap();
    let new = delivery(outbox.workflow, outbox.hook.action, Channel::Webhook);
    tx.insert_deliveries(std::slice::from_ref(&new), NOW)
        .await
        .unwrap();
    tx.rollback().await.unwrap();
    assert!(!woken(Duration::from_millis(1)).await);
    outbox.queue(outbox.hook, NOW).await;
    assert!(woken(Duration::from_secs(5)).await);
});
