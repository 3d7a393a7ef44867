//! Rows that several tests of the store begin with.

use keywheel::model::Timestamp;
use keywheel::model::account::{AccountSettings, NewAccount};
use keywheel::model::id::{AccountId, PlatformId, SystemId, WorkgroupId};
use keywheel::model::platform::Platforms;
use keywheel::model::system::{EntityType, NewSystem, SystemPlace, SystemSettings};
use keywheel::model::workgroup::Workgroup;
use keywheel::store::{Store, StoreError};

/// When everything here was made.
pub(super) const THEN: Timestamp = Timestamp(1_750_000_000_000);

pub(super) fn workgroup(id: i64, name: &str) -> Workgroup {
    Workgroup {
        id: WorkgroupId(id),
        name: name.to_owned(),
        organization_id: Workgroup::ORGANIZATION_DEFAULT.to_owned(),
    }
}

pub(super) fn linux_system(id: i64, host: &str) -> NewSystem {
    NewSystem {
        id: SystemId(id),
        place: SystemPlace {
            entity_type: EntityType::Asset,
            asset_id: None,
            workgroup_id: WorkgroupId(1),
            platform_id: PlatformId(2),
        },
        settings: SystemSettings::of_host(host),
    }
}

pub(super) fn account(id: i64, system: i64, name: &str) -> NewAccount {
    let settings = AccountSettings::named(name);
    let platforms = Platforms::default();
    let linux = platforms.find(PlatformId(2)).unwrap();
    NewAccount {
        id: AccountId(id),
        system_id: SystemId(system),
        target_id: settings.target_id(linux),
        settings,
    }
}

/// Workgroup 1 with system 1, `web1`.
pub(super) async fn one_system(store: &Store) {
    let mut tx = store.begin().await.unwrap();
    tx.insert_workgroup(&workgroup(1, "Default")).await.unwrap();
    tx.insert_system(&linux_system(1, "web1"), THEN)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

/// System 1 with account 1, `root`.
pub(super) async fn one_account(store: &Store) {
    one_system(store).await;
    let mut tx = store.begin().await.unwrap();
    tx.insert_account(&account(1, 1, "root"), THEN)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

#[track_caller]
pub(super) fn conflicts<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    match result {
        Err(StoreError::Conflict { .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[track_caller]
pub(super) fn is_stale<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    match result {
        Err(StoreError::Stale { .. }) => {}
        other => panic!("{other:?}"),
    }
}
