//! Organizations.

use keywheel::model::Timestamp;
use keywheel::model::organization::{OrganizationFields, OrganizationStatus};
use keywheel::store::Page;

use super::inventory::{THEN, conflicts, is_stale};
use crate::support::database::on_both;

on_both!(an_organization_is_made_found_and_edited, |db| {
    let store = db.store().await;
    let mut tx = store.begin().await.unwrap();
    let acme = OrganizationFields::named("Ácme");
    let id = tx.insert_organization(&acme, THEN).await.unwrap();
    tx.commit().await.unwrap();
    let found = store.organization_named("áCME").await.unwrap().unwrap();
    assert_eq!((found.id, &found.fields), (id, &acme));
    let mut tx = store.begin().await.unwrap();
    let edited = OrganizationFields {
        status: OrganizationStatus::Inactive,
        alert: Some("call first".into()),
        ..acme
    };
    let later = Timestamp(THEN.0 + 1);
    tx.update_organization(id, &edited, later).await.unwrap();
    tx.commit().await.unwrap();
    let found = store.organization(id).await.unwrap().unwrap();
    assert_eq!((found.fields, found.updated_at), (edited, later));
    let all = store.organizations(Page::first(10)).await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(store.organization_named("none").await.unwrap(), None);
});

on_both!(organizations_share_no_name_and_lie_in_no_ring, |db| {
    let store = db.store().await;
    let mut tx = store.begin().await.unwrap();
    let top = OrganizationFields::named("Top");
    let top_id = tx.insert_organization(&top, THEN).await.unwrap();
    let part = OrganizationFields {
        parent_id: Some(top_id),
        ..OrganizationFields::named("Part")
    };
    let part_id = tx.insert_organization(&part, THEN).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.ancestors(part_id).await.unwrap(), [top_id]);
    assert_eq!(store.ancestors(top_id).await.unwrap(), []);
    let mut tx = store.begin().await.unwrap();
    conflicts(
        tx.insert_organization(&OrganizationFields::named("TOP"), THEN)
            .await,
    );
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    let ring = OrganizationFields {
        parent_id: Some(part_id),
        ..top.clone()
    };
    conflicts(tx.update_organization(top_id, &ring, THEN).await);
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    is_stale(tx.update_organization(999.into(), &part, THEN).await);
});
