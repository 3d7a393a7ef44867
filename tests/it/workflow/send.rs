//! Deliveries on their way, to real receivers.

use std::time::Duration;

use keywheel::model::workflow::DeliveryState;
use keywheel::store::Backend;
use serde_json::json;

use super::stage::{SIGNING_KEY, Stage};
use crate::support::database::{Database, on_both};
use crate::support::receiver::Receiver;
use crate::support::wait::until;

on_both!(
    a_webhook_is_signed_and_keeps_its_id_on_every_attempt,
    |db| {
        let receiver = Receiver::start().await;
        receiver.tell(500);
        let stage = Stage::on(&db).await;
        let hook = stage.webhook(&receiver.url("/as-told")).await;
        let mut sender = stage.sender().await;
        let id = stage.queue(hook).await;
        let found = stage.settled(id, 1).await;
        assert_eq!(found.state, DeliveryState::Pending);
        assert_eq!(found.error, "the receiver answered 500");
        let wait = found.due_at.since(stage.now()).as_secs();
        assert!((5..=15).contains(&wait), "ten seconds, spread: {wait}");
        receiver.tell(204);
        stage.advance(Duration::from_secs(16));
        assert_eq!(stage.settled(id, 2).await.state, DeliveryState::Sent);
        let [first, second] = &receiver.received()[..] else {
            panic!("{:?}", receiver.received());
        };
        for one in [first, second] {
            assert_eq!(one.header("webhook-id"), id.0.to_string());
            assert_eq!(one.header("content-type"), "application/json");
            assert_eq!(one.header("webhook-signature"), one.signature(SIGNING_KEY));
            assert_eq!(one.json(), json!({"n": 1}));
        }
        assert_ne!(
            first.header("webhook-timestamp"),
            second.header("webhook-timestamp")
        );
        sender.stop().await;
    }
);

/// Path, what it is told to answer, and what becomes of the delivery: state, status, error.
const ANSWERS: [(&str, u16, DeliveryState, i64, &str); 10] = [
    ("/as-told", 200, DeliveryState::Sent, 200, ""),
    ("/as-told", 202, DeliveryState::Sent, 202, ""),
    ("/endless", 200, DeliveryState::Sent, 200, ""),
    (
        "/as-told",
        503,
        DeliveryState::Pending,
        503,
        "the receiver answered 503",
    ),
    (
        "/as-told",
        408,
        DeliveryState::Pending,
        408,
        "the receiver answered 408",
    ),
    (
        "/as-told",
        425,
        DeliveryState::Pending,
        425,
        "the receiver answered 425",
    ),
    (
        "/later",
        200,
        DeliveryState::Pending,
        429,
        "the receiver answered 429",
    ),
    (
        "/moved",
        200,
        DeliveryState::Pending,
        301,
        "the receiver answered 301, a redirect, which is not followed",
    ),
    (
        "/as-told",
        400,
        DeliveryState::Failed,
        400,
        "the receiver answered 400",
    ),
    (
        "/as-told",
        410,
        DeliveryState::Failed,
        410,
        "the receiver answered 410",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_receiver_answers_decides_what_becomes_of_a_delivery() {
    let receiver = Receiver::start().await;
    let stage = Stage::new().await;
    let mut sender = stage.sender().await;
    for (path, told, state, status, error) in ANSWERS {
        receiver.tell(told);
        let hook = stage.webhook(&receiver.url(path)).await;
        let id = stage.queue(hook).await;
        let found = stage.settled(id, 1).await;
        assert_eq!(
            (found.state, found.error.as_str()),
            (state, error),
            "{path} {told}"
        );
        let attempts = stage.attempts(id).await;
        assert_eq!((attempts.len(), attempts[0].status), (1, Some(status)));
        let wait = found.due_at.since(stage.now()).as_secs();
        if path == "/later" {
            assert_eq!(wait, 3_600, "as the receiver asked");
        } else if state == DeliveryState::Pending {
            assert!((5..=15).contains(&wait), "{wait}");
        }
        assert!(!format!("{found:?}{attempts:?}").contains("s3cret-echo"));
    }
    assert!(
        receiver
            .received()
            .iter()
            .all(|one| one.path != "/elsewhere")
    );
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slack_takes_a_message_with_200_alone() {
    let receiver = Receiver::start().await;
    let stage = Stage::new().await;
    let mut sender = stage.sender().await;
    for (told, state) in [(200, DeliveryState::Sent), (202, DeliveryState::Pending)] {
        receiver.tell(told);
        let slack = stage.slack(&receiver.url("/as-told")).await;
        let id = stage.queue(slack).await;
        assert_eq!(stage.settled(id, 1).await.state, state, "{told}");
    }
    let first = &receiver.received()[0];
    assert_eq!(
        first.header("webhook-signature"),
        "",
        "Slack knows no signature"
    );
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_hangs_holds_its_own_deliveries_alone() {
    let receiver = Receiver::start().await;
    let stage = Stage::new().await;
    let silent = stage.webhook(&receiver.url("/silent")).await;
    let quick = stage.webhook(&receiver.url("/quick")).await;
    let mut hanging = Vec::new();
    for _ in 0..50 {
        hanging.push(stage.queue(silent).await);
    }
    let mut sender = stage.sender().await;
    until("the lane is full", async || {
        (receiver.received().len() == 8).then_some(())
    })
    .await;
    let id = stage.queue(quick).await;
    assert_eq!(stage.settled(id, 1).await.state, DeliveryState::Sent);
    let under_way = receiver.received();
    let under_way = under_way.iter().filter(|one| one.path == "/silent").count();
    assert_eq!(under_way, 8, "no more of one lane at once");
    stage.advance(Duration::from_secs(10));
    let found = stage.settled(hanging[0], 1).await;
    assert_eq!(
        (found.state, found.error.as_str()),
        (DeliveryState::Pending, "no answer within 10 s")
    );
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_is_given_up_after_seven_attempts_and_told() {
    let receiver = Receiver::start().await;
    receiver.tell(500);
    let stage = Stage::new().await;
    let hook = stage.webhook(&receiver.url("/as-told")).await;
    let mut sender = stage.sender().await;
    let id = stage.queue(hook).await;
    let mut waited = Vec::new();
    for attempt in 1..=7 {
        let found = stage.settled(id, attempt).await;
        if attempt < 7 {
            let wait = found.due_at.since(stage.now());
            waited.push(wait.as_secs());
            stage.advance(wait + Duration::from_secs(1));
        } else {
            assert_eq!(found.state, DeliveryState::Failed);
        }
    }
    for (wait, meant) in waited.iter().zip([10, 60, 300, 1_800, 7_200, 21_600]) {
        assert!((meant / 2..=meant * 3 / 2).contains(wait), "{waited:?}");
    }
    assert_eq!(receiver.received().len(), 7);
    // There is no mail server: the alert waits for one.
    let alert = stage.alert().await;
    assert_eq!(
        alert.error,
        "no mail server is set: name one in section [smtp] of the settings"
    );
    assert_eq!(alert.state, DeliveryState::Pending);
    let count = |outcome| stage.delivered("webhook", outcome);
    assert_eq!(
        (count("sent"), count("retried"), count("failed")),
        (0, 6, 1)
    );
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_of_our_own_are_not_reached_unless_they_are_named() {
    let receiver = Receiver::start().await;
    let stage = Stage::strict().await;
    let mut sender = stage.sender().await;
    let port = receiver.port;
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("https://127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        format!("https://localhost:{port}/"),
        format!("http://[::1]:{port}/"),
        format!("http://2130706433:{port}/"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "http://[::ffff:127.0.0.1]/".to_owned(),
    ] {
        let hook = stage.webhook(&url).await;
        let id = stage.queue(hook).await;
        let found = stage.settled(id, 1).await;
        let wanted = "the receiver was not contacted: its address is private, local or reserved: \
                      name it in notify.allow_addresses if it is meant";
        assert_eq!(found.error, wanted, "{url}");
    }
    let hook = stage.webhook("http://192.0.2.1/").await;
    let id = stage.queue(hook).await;
    assert!(
        stage.settled(id, 1).await.error.contains("private"),
        "reserved"
    );
    let hook = stage.webhook("http://1.1.1.1/").await;
    let id = stage.queue(hook).await;
    assert!(stage.settled(id, 1).await.error.contains("plain HTTP"));
    assert!(receiver.received().is_empty());
    sender.stop().await;
}

// On SQLite there is one node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_send_each_delivery_once() {
    let db = Database::new(Backend::Postgres).await;
    let receiver = Receiver::start().await;
    let stage = Stage::on(&db).await;
    let mut hooks = Vec::new();
    for _ in 0..4 {
        hooks.push(stage.webhook(&receiver.url("/as-told")).await);
    }
    let mut senders = [stage.another_sender().await, stage.another_sender().await];
    let mut ids = Vec::new();
    for _ in 0..20 {
        for hook in &hooks {
            ids.push(stage.queue(*hook).await.0.to_string());
        }
    }
    until("all have come", async || {
        stage.advance(Duration::from_secs(1));
        (receiver.received().len() >= ids.len()).then_some(())
    })
    .await;
    for sender in &mut senders {
        sender.stop().await;
    }
    let arrived = receiver.received();
    let mut came: Vec<_> = arrived
        .iter()
        .map(|one| one.header("webhook-id").to_owned())
        .collect();
    came.sort();
    ids.sort();
    assert_eq!(came, ids);
}

on_both!(what_a_node_held_when_it_died_is_sent_by_another, |db| {
    let receiver = Receiver::start().await;
    let stage = Stage::on(&db).await;
    let hook = stage.webhook(&receiver.url("/silent")).await;
    let id = stage.queue(hook).await;
    let sender = stage.another_sender().await;
    until("it is under way", async || {
        (receiver.received().len() == 1).then_some(())
    })
    .await;
    sender.die(&stage).await;
    let mut other = stage.another_sender().await;
    until("another node sends it", async || {
        stage.advance(Duration::from_secs(1));
        (receiver.received().len() == 2).then_some(())
    })
    .await;
    for one in receiver.received() {
        assert_eq!(one.header("webhook-id"), id.0.to_string());
    }
    stage.advance(Duration::from_secs(10));
    assert_eq!(stage.settled(id, 1).await.attempts, 1);
    other.stop().await;
});
