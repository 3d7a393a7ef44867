//! Workflows and their actions: edits keep ids, and removed actions stay for what is queued.

use keywheel::model::Timestamp;
use keywheel::model::id::{WorkflowActionId, WorkflowId};
use keywheel::model::workflow::{Channel, Content, Filter, Template, Trigger, WorkflowFields};
use keywheel::store::{NewAction, Store, Tx};
use serde_json::json;

use super::inventory::{conflicts, is_stale};
use crate::support::database::on_both;
use crate::support::queue::NOW;

pub(super) fn fields(name: &str, on: bool) -> WorkflowFields {
    WorkflowFields {
        name: name.to_owned(),
        trigger: Trigger::PasswordAccess,
        failure_email: "secops@example.org".to_owned(),
        on,
        filters: vec![Filter::new("organization", "any_of", &[json!(2)]).unwrap()],
    }
}

pub(super) fn mail() -> Content {
    Content::Email {
        subject: Template::parse("[resource_name]").unwrap(),
        body: Template::parse("[user_name]").unwrap(),
        recipients: vec!["oncall@example.org".to_owned()],
    }
}

pub(super) fn webhook() -> Content {
    Content::Webhook {
        payload: [("who".to_owned(), Template::parse("[user_name]").unwrap())].into(),
    }
}

pub(super) async fn action(tx: &mut Tx, name: &str, content: Content) -> NewAction {
    let is_mail = content.channel() == Channel::Email;
    NewAction {
        id: tx.next_workflow_action().await.unwrap(),
        name: name.to_owned(),
        content,
        masked_url: (!is_mail).then(|| "https://siem.example.com/***".to_owned()),
        url: (!is_mail).then(|| vec![1, 2]),
        signing_secret: (!is_mail).then(|| vec![3, 4]),
    }
}

/// A workflow with a mail and a webhook.
pub(super) async fn inserted(store: &Store, name: &str, on: bool) -> (WorkflowId, Vec<NewAction>) {
    let mut tx = store.begin().await.unwrap();
    let actions = vec![
        action(&mut tx, "Mail", mail()).await,
        action(&mut tx, "SIEM", webhook()).await,
    ];
    let id = tx
        .insert_workflow(&fields(name, on), &actions, NOW)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    (id, actions)
}

async fn live(store: &Store) -> Vec<(String, Vec<WorkflowActionId>)> {
    let mut tx = store.begin().await.unwrap();
    let live = tx.live_workflows().await.unwrap();
    tx.rollback().await.unwrap();
    live.into_iter()
        .map(|one| {
            (
                one.name,
                one.actions.iter().map(|action| action.id).collect(),
            )
        })
        .collect()
}

on_both!(a_workflow_is_read_back_as_it_was_written, |db| {
    let store = db.store().await;
    let (id, actions) = inserted(&store, "Tier 0", false).await;
    let found = store.workflow(id).await.unwrap().unwrap();
    assert_eq!(found.fields, fields("Tier 0", false));
    assert_eq!((found.revision, found.created_at), (1, NOW));
    let read: Vec<_> = found
        .actions
        .iter()
        .map(|one| (one.id, &one.content))
        .collect();
    let written: Vec<_> = actions.iter().map(|one| (one.id, &one.content)).collect();
    assert_eq!(read, written);
    assert_eq!(found.actions[0].masked_url, None);
    let sealed = store.sealed_action(actions[1].id).await.unwrap().unwrap();
    assert_eq!((sealed.workflow, sealed.channel), (id, Channel::Webhook));
    assert_eq!(
        (sealed.url, sealed.signing_secret),
        (Some(vec![1, 2]), Some(vec![3, 4]))
    );
    assert_eq!(
        store.sealed_action(WorkflowActionId(99)).await.unwrap(),
        None
    );
    let (other, _) = inserted(&store, "Other", true).await;
    let ids = |after| {
        let store = store.clone();
        async move {
            let found = store.workflows(after, 9).await.unwrap();
            found
                .into_iter()
                .map(|one| (one.id, one.actions.len()))
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(ids(WorkflowId(0)).await, [(id, 2), (other, 2)]);
    assert_eq!(ids(id).await, [(other, 2)]);
    assert_eq!(store.workflow(WorkflowId(99)).await.unwrap(), None);
    let mut tx = store.begin().await.unwrap();
    conflicts(tx.insert_workflow(&fields("TIER 0", false), &[], NOW).await);
});

on_both!(only_workflows_that_are_on_make_deliveries, |db| {
    let store = db.store().await;
    assert!(live(&store).await.is_empty());
    let (off, actions) = inserted(&store, "Off", false).await;
    let (_, on) = inserted(&store, "On", true).await;
    let ids = |actions: &[NewAction]| actions.iter().map(|one| one.id).collect::<Vec<_>>();
    assert_eq!(live(&store).await, [("On".to_owned(), ids(&on))]);
    let mut tx = store.begin().await.unwrap();
    let kept = ids(&actions);
    tx.update_workflow((off, 1), &fields("Now on", true), (&actions, &kept), NOW)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let both = [("Now on".to_owned(), kept), ("On".to_owned(), ids(&on))];
    assert_eq!(live(&store).await, both);
});

on_both!(an_edit_keeps_the_ids_of_actions_and_what_they_keep, |db| {
    let store = db.store().await;
    let (id, actions) = inserted(&store, "Tier 0", true).await;
    let (_, others) = inserted(&store, "Other", true).await;
    let kept = NewAction {
        name: "SIEM 2".to_owned(),
        url: None,
        signing_secret: None,
        ..actions[1].clone()
    };
    let later = Timestamp(NOW.0 + 5);
    let mut tx = store.begin().await.unwrap();
    let added = action(&mut tx, "New", webhook()).await;
    let edit = [added.clone(), kept.clone()];
    let ids = [kept.id];
    is_stale(
        tx.update_workflow((id, 2), &fields("A", true), (&edit, &ids), later)
            .await,
    );
    tx.update_workflow((id, 1), &fields("A", true), (&edit, &ids), later)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let found = store.workflow(id).await.unwrap().unwrap();
    let names: Vec<_> = found
        .actions
        .iter()
        .map(|one| (one.id, one.name.as_str()))
        .collect();
    assert_eq!(names, [(added.id, "New"), (kept.id, "SIEM 2")]);
    assert_eq!((found.revision, found.updated_at), (2, later));
    let sealed = store.sealed_action(kept.id).await.unwrap().unwrap();
    assert_eq!(
        (sealed.url, sealed.signing_secret),
        (Some(vec![1, 2]), Some(vec![3, 4]))
    );
    assert_eq!(store.sealed_action(actions[0].id).await.unwrap(), None);
    // Neither an action of another workflow, nor one that was removed, nor one of another kind.
    let other_kind = NewAction {
        content: mail(),
        ..kept
    };
    for (wrong, revision) in [(&others[1], 2), (&actions[0], 2), (&other_kind, 2)] {
        let mut tx = store.begin().await.unwrap();
        let edit = std::slice::from_ref(wrong);
        is_stale(
            tx.update_workflow(
                (id, revision),
                &fields("A", true),
                (edit, &[wrong.id]),
                later,
            )
            .await,
        );
        tx.rollback().await.unwrap();
    }
});

on_both!(
    a_secret_is_replaced_and_a_deleted_workflow_leaves_its_name,
    |db| {
        let store = db.store().await;
        let (id, actions) = inserted(&store, "Tier 0", true).await;
        let mut tx = store.begin().await.unwrap();
        tx.set_signing_secret(actions[1].id, &[9]).await.unwrap();
        is_stale(tx.set_signing_secret(actions[0].id, &[9]).await);
        is_stale(tx.delete_workflow(id, 2, NOW).await);
        tx.commit().await.unwrap();
        let sealed = store.sealed_action(actions[1].id).await.unwrap().unwrap();
        assert_eq!(sealed.signing_secret, Some(vec![9]));
        let mut tx = store.begin().await.unwrap();
        tx.delete_workflow(id, 1, NOW).await.unwrap();
        is_stale(tx.set_signing_secret(actions[1].id, &[9]).await);
        tx.commit().await.unwrap();
        assert_eq!(store.workflow(id).await.unwrap(), None);
        assert!(live(&store).await.is_empty());
        let (again, _) = inserted(&store, "tier 0", true).await;
        assert_ne!(again, id);
    }
);
