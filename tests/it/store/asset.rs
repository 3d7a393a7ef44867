//! Assets.

use keywheel::model::Timestamp;
use keywheel::model::asset::{Asset, AssetSettings};
use keywheel::model::id::{AssetId, SystemId, WorkgroupId};
use keywheel::store::{AssetFilter, Page};

use super::inventory::{THEN, conflicts, is_stale, linux_system, workgroup};
use crate::support::database::on_both;

fn asset(id: i64, name: &str) -> Asset {
    Asset {
        id: AssetId(id),
        workgroup_id: WorkgroupId(1),
        settings: AssetSettings {
            name: name.to_owned(),
            dns_name: format!("{name}.example.org"),
            ip_address: format!("10.0.0.{id}"),
            ..AssetSettings::default()
        },
        created_at: THEN,
        updated_at: THEN,
    }
}

on_both!(assets_are_found_and_filtered_in_any_case, |db| {
    let store = db.store().await;
    let mut tx = store.begin().await.unwrap();
    tx.insert_workgroup(&workgroup(1, "Default")).await.unwrap();
    tx.insert_asset(&asset(1, "Web1")).await.unwrap();
    tx.insert_asset(&asset(2, "web2")).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        store.asset(AssetId(1)).await.unwrap(),
        Some(asset(1, "Web1"))
    );
    let found = store.asset_named(WorkgroupId(1), "WEB2").await.unwrap();
    assert_eq!(found, Some(asset(2, "web2")));
    assert_eq!(
        store.asset_named(WorkgroupId(2), "web2").await.unwrap(),
        None
    );
    let all = AssetFilter::default();
    assert_eq!(store.count_assets(&all).await.unwrap(), 2);
    let page = Page {
        limit: 1,
        offset: 1,
    };
    assert_eq!(store.assets(&all, page).await.unwrap(), [asset(2, "web2")]);
    for filter in [
        AssetFilter {
            name: Some("web1".to_owned()),
            ..all.clone()
        },
        AssetFilter {
            dns_name: Some("WEB1.example.org".to_owned()),
            ..all.clone()
        },
        AssetFilter {
            ip_address: Some("10.0.0.1".to_owned()),
            ..all.clone()
        },
    ] {
        let found = store.assets(&filter, Page::first(9)).await.unwrap();
        assert_eq!(found, [asset(1, "Web1")], "{filter:?}");
        assert_eq!(store.count_assets(&filter).await.unwrap(), 1);
    }
    for filter in [
        AssetFilter {
            workgroup_id: Some(WorkgroupId(2)),
            ..all.clone()
        },
        AssetFilter {
            domain_name: Some("x".to_owned()),
            ..all.clone()
        },
        AssetFilter {
            mac_address: Some("x".to_owned()),
            ..all.clone()
        },
        AssetFilter {
            asset_type: Some("x".to_owned()),
            ..all.clone()
        },
    ] {
        assert_eq!(store.count_assets(&filter).await.unwrap(), 0, "{filter:?}");
    }
});

on_both!(an_assets_name_is_unique_in_its_workgroup, |db| {
    let store = db.store().await;
    let mut tx = store.begin().await.unwrap();
    tx.insert_workgroup(&workgroup(1, "Default")).await.unwrap();
    tx.insert_asset(&asset(1, "web1")).await.unwrap();
    tx.insert_asset(&asset(2, "web2")).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    conflicts(tx.insert_asset(&asset(3, "WEB1")).await);
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    conflicts(
        tx.update_asset(AssetId(2), &asset(2, "Web1").settings, THEN)
            .await,
    );
});

on_both!(a_renamed_asset_renames_its_system, |db| {
    let store = db.store().await;
    let mut system = linux_system(1, "web1");
    system.place.asset_id = Some(AssetId(1));
    let mut tx = store.begin().await.unwrap();
    tx.insert_workgroup(&workgroup(1, "Default")).await.unwrap();
    tx.insert_asset(&asset(1, "web1")).await.unwrap();
    tx.insert_system(&system, THEN).await.unwrap();
    let mut settings = asset(1, "db1").settings;
    settings.dns_name.clear();
    let later = Timestamp(THEN.0 + 1);
    tx.update_asset(AssetId(1), &settings, later).await.unwrap();
    is_stale(tx.update_asset(AssetId(9), &settings, later).await);
    let held = tx.locked_asset(AssetId(1)).await.unwrap().unwrap();
    assert_eq!(held.settings, settings);
    assert_eq!(tx.locked_asset(AssetId(9)).await.unwrap(), None);
    tx.commit().await.unwrap();
    let found = store.asset(AssetId(1)).await.unwrap().unwrap();
    assert_eq!(
        (found.settings.name.as_str(), found.updated_at),
        ("db1", later)
    );
    let system = store.system(SystemId(1)).await.unwrap().unwrap();
    assert_eq!((system.settings.name.as_str(), system.revision), ("db1", 2));
    assert_eq!(system.settings.dns_name, None);
    assert_eq!(system.settings.address(), "10.0.0.1");
});

on_both!(an_asset_goes_only_after_its_system, |db| {
    let store = db.store().await;
    let mut system = linux_system(1, "web1");
    system.place.asset_id = Some(AssetId(1));
    let mut tx = store.begin().await.unwrap();
    tx.insert_workgroup(&workgroup(1, "Default")).await.unwrap();
    tx.insert_asset(&asset(1, "web1")).await.unwrap();
    tx.insert_system(&system, THEN).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    conflicts(tx.delete_asset(AssetId(1)).await);
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    tx.delete_system(SystemId(1), THEN).await.unwrap();
    tx.delete_asset(AssetId(1)).await.unwrap();
    is_stale(tx.delete_asset(AssetId(1)).await);
    tx.commit().await.unwrap();
    assert_eq!(store.asset(AssetId(1)).await.unwrap(), None);
});
