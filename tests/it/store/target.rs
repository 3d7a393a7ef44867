//! What the engine reads of systems and accounts.

use keywheel::model::functional_account::{Elevation, FunctionalSettings};
use keywheel::model::id::{FunctionalAccountId, PlatformId, SystemId};
use keywheel::model::job::Priority;
use keywheel::store::Pin;

use crate::support::database::on_both;
use crate::support::queue::{NOW, account_id};

on_both!(a_system_is_read_until_it_is_deleted, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 0).await;
    queue
        .write(
            "UPDATE system_details SET port = 2222, timeout_s = 17, starttls = 1,
                 host_key = 'ssh-ed25519 abc', in_flight = 4, lockout_threshold = 0",
        )
        .await;
    let row = queue.store.system_row(SystemId(1)).await.unwrap().unwrap();
    assert_eq!((row.system_id, row.platform_id), (1, 2));
    assert_eq!((row.host_name.as_str(), row.port), ("host1", Some(2222)));
    assert_eq!((row.timeout_s, row.starttls), (17, 1));
    assert_eq!(row.host_key.as_deref(), Some("ssh-ed25519 abc"));
    assert_eq!((row.in_flight, row.lockout_threshold), (Some(4), Some(0)));
    assert!(row.functional_account_id.is_none() && row.tls_ca.is_none());
    queue
        .write("UPDATE system_details SET deleted_at = 1")
        .await;
    assert!(queue.store.system_row(SystemId(1)).await.unwrap().is_none());
    assert!(queue.store.system_row(SystemId(9)).await.unwrap().is_none());
});

on_both!(
    a_functional_account_is_read_with_its_sealed_password,
    |db| {
        let queue = db.queue().await;
        let settings = FunctionalSettings {
            platform_id: PlatformId(2),
            domain_name: None,
            account_name: "keeper".to_owned(),
            display_name: "Keeper".to_owned(),
            description: None,
            elevation: Elevation::Sudo,
        };
        let mut tx = queue.store.begin().await.unwrap();
        tx.insert_functional_account(FunctionalAccountId(1), &settings, Some(vec![7]), NOW)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let read = async |id| queue.store.functional_row(FunctionalAccountId(id)).await;
        let row = read(1).await.unwrap().unwrap();
        assert_eq!((row.id, row.account_name.as_str()), (1, "keeper"));
        assert_eq!(row.elevation.as_deref(), Some("sudo"));
        assert_eq!(row.password, Some(vec![7]));
        assert!(read(2).await.unwrap().is_none());
    }
);

on_both!(an_account_is_read_until_it_is_deleted, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 2).await;
    let id = account_id(1, 1);
    let row = queue.store.account_row(id).await.unwrap().unwrap();
    assert_eq!((row.id(), row.name.as_str()), (id, "user1"));
    assert_eq!((row.active, row.epoch, row.in_doubt), (1, 0, 0));
    assert_eq!((row.current_version, row.last_version), (None, 0));
    let system = queue.store.system_of(id).await.unwrap();
    assert_eq!(system, Some(SystemId(1)));
    let mut tx = queue.store.begin().await.unwrap();
    tx.delete_account(id, NOW).await.unwrap();
    // A transaction sees its own change.
    assert!(tx.account_row(id).await.unwrap().is_none());
    assert!(tx.account_row(account_id(1, 2)).await.unwrap().is_some());
    tx.commit().await.unwrap();
    assert!(queue.store.account_row(id).await.unwrap().is_none());
    assert_eq!(queue.store.system_of(id).await.unwrap(), None);
});

on_both!(a_claim_reads_its_own_accounts, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 2, 3).await;
    for nth in [3, 1, 2] {
        queue.order(1, nth, Priority::Routine).await;
    }
    let claim = queue.claim(Priority::Routine, NOW).await.remove(0);
    let rows = queue.store.accounts_of_claim(claim.id).await.unwrap();
    let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["user1", "user3"]);
});

on_both!(
    a_host_key_is_accepted_once_and_only_where_somebody_said_so,
    |db| {
        let queue = db.queue().await;
        for system in 1..=3 {
            queue.system(system, 1, 1, 0).await;
        }
        queue
            .write("UPDATE system_details SET host_key_mode = system_id - 1")
            .await;
        let accept = async |system, key| {
            let mut tx = queue.store.begin().await.unwrap();
            let pinned = tx.accept_host_key(SystemId(system), key).await.unwrap();
            tx.commit().await.unwrap();
            let row = queue.store.system_row(SystemId(system)).await.unwrap();
            (pinned, row.unwrap().host_key)
        };
        assert_eq!(accept(1, "a").await, (Pin::Other, None));
        assert_eq!(accept(3, "a").await, (Pin::Other, None));
        let pinned = Some("a".to_owned());
        assert_eq!(accept(2, "a").await, (Pin::First, pinned.clone()));
        assert_eq!(accept(2, "a").await, (Pin::Same, pinned.clone()));
        assert_eq!(accept(2, "b").await, (Pin::Other, pinned));
        let system = queue.store.system(SystemId(2)).await.unwrap().unwrap();
        assert_eq!(
            system.revision, 2,
            "an edit that saw no key must not undo it"
        );
    }
);

on_both!(what_a_directory_is_is_pinned_once, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 1, 0).await;
    let pin = async |flavour| {
        let mut tx = queue.store.begin().await.unwrap();
        let pinned = tx.pin_flavour(SystemId(1), flavour).await.unwrap();
        tx.commit().await.unwrap();
        let row = queue.store.system_row(SystemId(1)).await.unwrap();
        (pinned, row.unwrap().flavour)
    };
    let pinned = Some("samba".to_owned());
    assert_eq!(pin("samba").await, (Pin::First, pinned.clone()));
    assert_eq!(pin("samba").await, (Pin::Same, pinned.clone()));
    assert_eq!(pin("openldap").await, (Pin::Other, pinned));
    let system = queue.store.system(SystemId(1)).await.unwrap().unwrap();
    assert_eq!(
        system.revision, 2,
        "an edit that saw no pin must not undo it"
    );
});
