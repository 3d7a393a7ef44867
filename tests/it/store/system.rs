//! Managed systems.

use keywheel::model::functional_account::Elevation;
use keywheel::model::id::{AssetId, FunctionalAccountId, SystemId, WorkgroupId};
use keywheel::model::policy::VendorSchedule;
use keywheel::model::system::{EntityType, HostKeyMode};
use keywheel::store::{Page, SystemFilter};

use super::inventory::{
    THEN, conflicts, is_stale, linux_system, one_account, one_system, workgroup,
};
use crate::support::database::on_both;

on_both!(every_setting_of_a_system_survives_the_database, |db| {
    let store = db.store().await;
    let mut system = linux_system(1, "Web1");
    let settings = &mut system.settings;
    settings.dns_name = Some("web1.example.org".to_owned());
    settings.ip_address = Some("10.0.0.1".to_owned());
    settings.port = Some(2_222);
    settings.timeout_s = 17;
    settings.description = Some("front".to_owned());
    settings.elevation = Elevation::Sudo;
    settings.host_key_mode = HostKeyMode::Strict;
    settings.host_key = Some("ssh-ed25519 abc".to_owned());
    settings.tls_ca = Some("pem".to_owned());
    settings.tls_server_name = Some("name".to_owned());
    settings.starttls = true;
    settings.base_dn = Some("dc=example".to_owned());
    settings.flavour = Some("samba".to_owned());
    settings.key_attribute = Some("altSecurityIdentities".to_owned());
    settings.in_flight = Some(8);
    settings.lockout_threshold = Some(0);
    settings.schedule = VendorSchedule::parse("xdays", Some(30), "01:05").unwrap();
    settings.max_sessions = 3;
    settings.max_batch = 7;
    settings.extras.contact_email = Some("a@b".to_owned());
    settings.extras.release_duration = 5;
    let mut tx = store.begin().await.unwrap();
    tx.insert_workgroup(&workgroup(1, "Default")).await.unwrap();
    tx.insert_system(&system, THEN).await.unwrap();
    tx.commit().await.unwrap();
    let found = store.system(SystemId(1)).await.unwrap().unwrap();
    assert_eq!(
        (found.place, &found.settings),
        (system.place, &system.settings)
    );
    assert_eq!(
        (found.revision, found.created_at, found.deleted_at),
        (1, THEN, None)
    );
    let mut settings = system.settings;
    settings.max_batch = 9;
    settings.port = None;
    settings.extras.contact_email = None;
    let mut tx = store.begin().await.unwrap();
    tx.update_system(SystemId(1), 1, &settings).await.unwrap();
    let held = tx.locked_system(SystemId(1)).await.unwrap().unwrap();
    assert_eq!((&held.settings, held.revision), (&settings, 2));
    is_stale(tx.update_system(SystemId(1), 1, &settings).await);
    is_stale(tx.update_system(SystemId(2), 1, &settings).await);
    assert_eq!(tx.locked_system(SystemId(2)).await.unwrap(), None);
});

on_both!(systems_are_listed_by_what_they_hang_on, |db| {
    let store = db.store().await;
    one_system(&store).await;
    let mut other = linux_system(2, "ldap1");
    other.place.entity_type = EntityType::Directory;
    other.place.workgroup_id = WorkgroupId(2);
    let mut tx = store.begin().await.unwrap();
    tx.insert_workgroup(&workgroup(2, "Other")).await.unwrap();
    tx.insert_system(&other, THEN).await.unwrap();
    tx.commit().await.unwrap();
    let all = SystemFilter::default();
    assert_eq!(store.count_systems(&all).await.unwrap(), 2);
    let page = Page {
        limit: 1,
        offset: 1,
    };
    assert_eq!(store.systems(&all, page).await.unwrap()[0].id, SystemId(2));
    for filter in [
        SystemFilter {
            workgroup_id: Some(WorkgroupId(2)),
            ..all.clone()
        },
        SystemFilter {
            entity_type: Some(EntityType::Directory),
            ..all.clone()
        },
        SystemFilter {
            name: Some("LDAP1".to_owned()),
            ..all.clone()
        },
    ] {
        let found = store.systems(&filter, Page::first(9)).await.unwrap();
        assert_eq!(found.len(), 1, "{filter:?}");
        assert_eq!(found[0].id, SystemId(2));
        assert_eq!(store.count_systems(&filter).await.unwrap(), 1);
    }
    for filter in [
        SystemFilter {
            asset_id: Some(AssetId(1)),
            ..all.clone()
        },
        SystemFilter {
            functional_account_id: Some(FunctionalAccountId(1)),
            ..all.clone()
        },
    ] {
        assert_eq!(
            store.systems(&filter, Page::first(9)).await.unwrap(),
            [],
            "{filter:?}"
        );
    }
});

on_both!(what_a_system_refers_to_must_be_there, |db| {
    let store = db.store().await;
    one_system(&store).await;
    let mut tx = store.begin().await.unwrap();
    let mut settings = linux_system(1, "web1").settings;
    settings.functional_account_id = Some(FunctionalAccountId(9));
    conflicts(tx.update_system(SystemId(1), 1, &settings).await);
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    let mut system = linux_system(2, "web2");
    system.place.asset_id = Some(AssetId(9));
    conflicts(tx.insert_system(&system, THEN).await);
});

on_both!(a_system_goes_only_after_its_accounts, |db| {
    let store = db.store().await;
    one_account(&store).await;
    let mut tx = store.begin().await.unwrap();
    conflicts(tx.delete_system(SystemId(1), THEN).await);
    assert_eq!(tx.delete_accounts(SystemId(1), THEN).await.unwrap(), 1);
    tx.delete_system(SystemId(1), THEN).await.unwrap();
    is_stale(tx.delete_system(SystemId(1), THEN).await);
    tx.commit().await.unwrap();
    assert_eq!(store.system(SystemId(1)).await.unwrap(), None);
    assert_eq!(
        store.count_systems(&SystemFilter::default()).await.unwrap(),
        0
    );
});
