//! A reveal and its notices stand in one transaction.

use keywheel::clock::ManualClock;
use keywheel::model::id::{
    AccountId, DeliveryId, OrganizationId, PasswordRecordId, UserId, WorkflowActionId, WorkflowId,
};
use keywheel::model::organization::OrganizationStatus;
use keywheel::model::reveal::{AccessMethod, Reader, Reveal, Subject};
use keywheel::model::workflow::{Content, Filter, Template, Trigger, WorkflowFields};
use keywheel::notify::NotifyOptions;
use keywheel::store::{NewAction, Store};
use keywheel::workflow::Workflows;
use serde_json::{Value, json};

use super::parts;
use crate::support::database::on_both;
use crate::support::queue::NOW;

pub(crate) fn reveal(names: &[&str], export: bool) -> Reveal {
    let subject = |name: &&str| Subject {
        record_id: Some(PasswordRecordId(54)),
        account: None,
        name: (*name).to_owned(),
        username: None,
        url: None,
        notes: None,
        organization: Some((
            OrganizationId(2),
            "Acme".to_owned(),
            OrganizationStatus::Active,
        )),
        category: None,
        updated_by: None,
    };
    Reveal {
        method: AccessMethod::ApiShow,
        at: NOW,
        by: Reader {
            user_id: UserId(7),
            name: "alice".to_owned(),
            email: String::new(),
            address: "192.0.2.1".to_owned(),
        },
        version: None,
        seen: names.iter().map(subject).collect(),
        export,
    }
}

fn workflows(store: &Store) -> Workflows {
    let parts = parts(store, ManualClock::at(NOW), NotifyOptions::default());
    Workflows::new(parts, "https://kw.example.com/")
}

/// A workflow with one webhook for each of the actions' names.
async fn workflow(
    store: &Store,
    name: &str,
    filters: &[(&str, &str, Value)],
    actions: &[&str],
) -> WorkflowId {
    let fields = WorkflowFields {
        name: name.to_owned(),
        trigger: Trigger::PasswordAccess,
        failure_email: "secops@example.org".to_owned(),
        on: true,
        filters: filters
            .iter()
            .map(|(field, operator, value)| {
                Filter::new(field, operator, std::slice::from_ref(value)).unwrap()
            })
            .collect(),
    };
    let payload = [
        "resource_name",
        "resource_url",
        "action_name",
        "event_id",
        "resource_count",
    ];
    let payload = payload.map(|name| {
        (
            name.to_owned(),
            Template::parse(&format!("[{name}]")).unwrap(),
        )
    });
    let mut tx = store.begin().await.unwrap();
    let mut new = Vec::new();
    for action in actions {
        new.push(NewAction {
            id: tx.next_workflow_action().await.unwrap(),
            name: (*action).to_owned(),
            content: Content::Webhook {
                payload: payload.clone().into(),
            },
            masked_url: None,
            url: Some(vec![1]),
            signing_secret: None,
        });
    }
    let id = tx.insert_workflow(&fields, &new, NOW).await.unwrap();
    tx.commit().await.unwrap();
    id
}

async fn fired(store: &Store, reveal: &Reveal) {
    let mut tx = store.begin().await.unwrap();
    workflows(store).fire(&mut tx, reveal).await.unwrap();
    tx.commit().await.unwrap();
}

/// What waits to be sent.
async fn queued(url: &str) -> Vec<(WorkflowId, Value)> {
    let pool = sqlx::AnyPool::connect(url).await.unwrap();
    let rows: Vec<(i64, String)> = sqlx::query_as(
        "SELECT workflow_id, body FROM deliveries WHERE state = 'pending' ORDER BY id",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    pool.close().await;
    rows.into_iter()
        .map(|(workflow, body)| (WorkflowId(workflow), serde_json::from_str(&body).unwrap()))
        .collect()
}

on_both!(
    a_reveal_makes_one_delivery_for_each_action_that_it_passes_to,
    |db| {
        let store = db.store().await;
        let all = workflow(&store, "All", &[], &["A", "B"]).await;
        let lab = [("description", "contains", json!("lab"))];
        workflow(&store, "Lab", &lab, &["C"]).await;
        fired(&store, &reveal(&["Domain Admin"], false)).await;
        let found = queued(&db.url).await;
        assert_eq!(found.len(), 2, "{found:?}");
        for ((workflow, body), action) in found.iter().zip(["A", "B"]) {
            assert_eq!(*workflow, all);
            assert_eq!(body["action_name"], action);
            assert_eq!(body["resource_name"], "Domain Admin");
            assert_eq!(
                body["resource_url"],
                "https://kw.example.com/2/passwords/54"
            );
        }
        assert_eq!(found[0].1["event_id"], found[1].1["event_id"]);
        assert_eq!(found[0].1["event_id"].as_str().unwrap().len(), 36);
        let listed = store.deliveries(all, None, 9).await.unwrap();
        assert_eq!(listed[0].about, "Domain Admin");
        assert_eq!(listed[0].action.0, WorkflowActionId(listed[0].action.0.0));
    }
);

on_both!(a_reveal_that_is_undone_tells_nobody, |db| {
    let store = db.store().await;
    workflow(&store, "All", &[], &["A"]).await;
    let mut tx = store.begin().await.unwrap();
    workflows(&store)
        .fire(&mut tx, &reveal(&["x"], false))
        .await
        .unwrap();
    tx.rollback().await.unwrap();
    assert!(queued(&db.url).await.is_empty());
    assert_eq!(store.delivery(DeliveryId(1)).await.unwrap(), None);
});

on_both!(an_export_gives_one_notice_that_names_several, |db| {
    let store = db.store().await;
    let lab = [("description", "does_not_contain", json!("lab"))];
    workflow(&store, "No lab", &lab, &["A"]).await;
    fired(&store, &reveal(&["lab 1", "one", "two"], true)).await;
    let found = queued(&db.url).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1["resource_name"], "one, two");
    assert_eq!(found[0].1["resource_count"], "2");
    fired(&store, &reveal(&["lab 1", "lab 2"], true)).await;
    assert_eq!(queued(&db.url).await.len(), 1, "nothing passed");
});

on_both!(an_account_without_records_has_notices_too, |db| {
    let store = db.store().await;
    workflow(&store, "All", &[], &["A"]).await;
    let mut seen = reveal(&["db1/root"], false);
    seen.seen[0].record_id = None;
    seen.seen[0].organization = None;
    seen.seen[0].account = Some((AccountId(9), "db1/root".to_owned()));
    fired(&store, &seen).await;
    let found = queued(&db.url).await;
    assert_eq!(
        found[0].1["resource_url"],
        "https://kw.example.com/accounts/9"
    );
});

on_both!(a_workflow_that_cannot_be_read_lets_no_value_out, |db| {
    let store = db.store().await;
    workflow(&store, "All", &[], &["A"]).await;
    let pool = sqlx::AnyPool::connect(&db.url).await.unwrap();
    sqlx::query("UPDATE workflows SET filters = '[{}]'")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let mut tx = store.begin().await.unwrap();
    let refused = workflows(&store)
        .fire(&mut tx, &reveal(&["x"], false))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("workflows"), "{refused}");
});
