//! Discoveries: one open for each system, claimed by one node, ended once.

use keywheel::model::Timestamp;
use keywheel::model::discovery::{
    Asked, DiscoveryState, DiscoveryView, NewDiscovered, Wanted, recorded,
};
use keywheel::model::id::{AccountId, DiscoveryId, NodeId, PlatformId, SystemId};
use keywheel::model::platform::Platforms;
use keywheel::store::{
    ClaimedDiscovery, Discovered, DiscoveredFilter, NewDiscovery, Page, StoreError,
};
use keywheel_connectors::{Found, Listing, Lock};

use crate::support::database::on_both;
use crate::support::queue::{NOW, Queue, account_id};

fn query() -> String {
    let platforms = Platforms::default();
    let platform = platforms.find(PlatformId(2)).unwrap();
    let asked = Asked::of(&Wanted::default(), platform).unwrap();
    asked.json().to_string()
}

async fn order(queue: &Queue, system: i64) -> Result<DiscoveryId, StoreError> {
    let new = NewDiscovery {
        system: SystemId(system),
        query: query(),
        actor: "ada".to_owned(),
    };
    let mut tx = queue.store.begin().await.unwrap();
    let id = tx.insert_discovery(&new, NOW).await?;
    tx.commit().await?;
    Ok(id)
}

async fn claim(queue: &Queue, node: NodeId, now: Timestamp) -> Option<ClaimedDiscovery> {
    let mut tx = queue.store.begin().await.unwrap();
    let claimed = tx.claim_discovery(node, now).await.unwrap();
    tx.commit().await.unwrap();
    claimed
}

async fn end(
    queue: &Queue,
    claimed: &ClaimedDiscovery,
    ended: &Discovered,
) -> Result<(), StoreError> {
    let mut tx = queue.store.begin().await.unwrap();
    tx.end_discovery(claimed, ended, NOW).await?;
    tx.commit().await
}

async fn view(queue: &Queue, id: DiscoveryId) -> DiscoveryView {
    queue.store.discovery(id).await.unwrap().unwrap()
}

fn found(name: &str) -> Found {
    Found {
        name: name.to_owned(),
        importable: true,
        dn: None,
        id: Some("1000".to_owned()),
        shell: Some("/bin/sh".to_owned()),
        lock: Lock::Open,
        changed_at: Some(86_400_000),
        expired: Some(false),
    }
}

fn listed(found: Vec<Found>) -> Vec<NewDiscovered> {
    let listing = Listing {
        found,
        truncated: false,
        unreadable: 0,
    };
    recorded(listing, Platforms::default().find(PlatformId(2)).unwrap())
}

fn succeeded(names: &[&str]) -> Discovered {
    Discovered::Succeeded {
        rows: listed(names.iter().map(|name| found(name)).collect()),
        unreadable: 2,
        truncated: true,
    }
}

async fn names(queue: &Queue, filter: &DiscoveredFilter) -> Vec<(String, Option<AccountId>)> {
    let rows = queue
        .store
        .discovered_accounts(SystemId(1), filter, Page::first(99))
        .await
        .unwrap();
    rows.into_iter()
        .map(|row| (row.name, row.account_id))
        .collect()
}

on_both!(
    a_discovery_is_claimed_once_and_ended_by_whoever_holds_it,
    |db| {
        let queue = db.queue().await;
        queue.system(1, 9, 9, 0).await;
        assert!(!queue.store.discovery_waits(NOW).await.unwrap());
        let id = order(&queue, 1).await.unwrap();
        // One open discovery for each system.
        let again = order(&queue, 1).await;
        assert!(
            matches!(again, Err(StoreError::Conflict { .. })),
            "{again:?}"
        );
        let mut tx = queue.store.begin().await.unwrap();
        let open = tx.open_discovery(SystemId(1)).await.unwrap();
        assert_eq!(open, Some((id, query())));
        assert_eq!(tx.open_discovery(SystemId(9)).await.unwrap(), None);
        tx.rollback().await.unwrap();
        assert!(queue.store.discovery_waits(NOW).await.unwrap());
        let claimed = claim(&queue, queue.node, NOW).await.unwrap();
        assert_eq!((claimed.id, claimed.system), (id, SystemId(1)));
        assert_eq!(
            (claimed.query.clone(), claimed.actor.as_str()),
            (query(), "ada")
        );
        assert_eq!(claim(&queue, queue.node, NOW).await, None);
        assert!(!queue.store.discovery_waits(NOW).await.unwrap());
        let running = view(&queue, id).await;
        assert_eq!(
            (running.state, running.started_at),
            (DiscoveryState::Running, Some(NOW))
        );
        // Somebody else's is nobody's to end.
        let foreign = ClaimedDiscovery {
            node: NodeId(999),
            ..claimed.clone()
        };
        let lost = end(&queue, &foreign, &succeeded(&["a"])).await;
        assert!(matches!(lost, Err(StoreError::LeaseLost)), "{lost:?}");
        assert!(names(&queue, &DiscoveredFilter::default()).await.is_empty());
        end(&queue, &claimed, &succeeded(&["a", "b"]))
            .await
            .unwrap();
        let done = view(&queue, id).await;
        assert_eq!(
            (done.state, done.found, done.unreadable),
            (DiscoveryState::Succeeded, 2, 2)
        );
        assert!(done.truncated && done.ended_at == Some(NOW));
        // Ended once.
        let late = Discovered::Failed {
            class: "busy",
            why: "late".to_owned(),
        };
        let lost = end(&queue, &claimed, &late).await;
        assert!(matches!(lost, Err(StoreError::LeaseLost)), "{lost:?}");
        assert_eq!(queue.store.discovery(DiscoveryId(99)).await.unwrap(), None);
    }
);

on_both!(
    a_failed_discovery_keeps_the_list_and_a_new_one_replaces_it,
    |db| {
        let queue = db.queue().await;
        queue.system(1, 9, 9, 0).await;
        let all = DiscoveredFilter::default();
        let mut ids = Vec::new();
        let failed = Discovered::Failed {
            class: "denied",
            why: "the functional login was refused".to_owned(),
        };
        for (ended, left) in [
            (succeeded(&["a", "b"]), vec!["a", "b"]),
            (failed, vec!["a", "b"]),
            (succeeded(&["c"]), vec!["c"]),
            (succeeded(&[]), vec![]),
        ] {
            ids.push(order(&queue, 1).await.unwrap());
            let claimed = claim(&queue, queue.node, NOW).await.unwrap();
            end(&queue, &claimed, &ended).await.unwrap();
            let seen = names(&queue, &all).await;
            let seen: Vec<_> = seen.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(seen, left);
        }
        let failed = view(&queue, ids[1]).await;
        assert_eq!(
            (failed.state, failed.class.as_str()),
            (DiscoveryState::Failed, "denied")
        );
        assert_eq!(failed.why, "the functional login was refused");
        let newest = queue.store.discoveries(SystemId(1), None, 2).await.unwrap();
        let newest: Vec<_> = newest.iter().map(|one| one.id).collect();
        assert_eq!(newest, [ids[3], ids[2]]);
        let older = queue
            .store
            .discoveries(SystemId(1), Some(ids[2]), 9)
            .await
            .unwrap();
        assert_eq!(older.len(), 2);
        assert!(
            queue
                .store
                .discoveries(SystemId(2), None, 9)
                .await
                .unwrap()
                .is_empty()
        );
        assert!(order(&queue, 77).await.is_err(), "there is no such system");
    }
);

on_both!(what_was_found_is_told_from_what_is_managed, |db| {
    let queue = db.queue().await;
    queue.system(1, 9, 9, 3).await;
    let account = queue
        .store
        .account(account_id(1, 2))
        .await
        .unwrap()
        .unwrap();
    let managed = account.settings.name.clone();
    let locked = Found {
        lock: Lock::Locked,
        shell: None,
        importable: false,
        expired: None,
        changed_at: None,
        ..found("locked")
    };
    let rows = listed(vec![found("new"), found(&managed), locked]);
    order(&queue, 1).await.unwrap();
    let claimed = claim(&queue, queue.node, NOW).await.unwrap();
    let ended = Discovered::Succeeded {
        rows,
        unreadable: 0,
        truncated: false,
    };
    end(&queue, &claimed, &ended).await.unwrap();
    let of = async |edit: fn(&mut DiscoveredFilter)| {
        let mut filter = DiscoveredFilter::default();
        edit(&mut filter);
        names(&queue, &filter).await
    };
    let (new, known) = (
        ("new".to_owned(), None),
        (managed.clone(), Some(account.id)),
    );
    let locked = ("locked".to_owned(), None);
    assert_eq!(
        of(|_| {}).await,
        [new.clone(), known.clone(), locked.clone()]
    );
    assert_eq!(
        of(|one| one.managed = Some(true)).await,
        std::slice::from_ref(&known)
    );
    assert_eq!(
        of(|one| one.managed = Some(false)).await,
        [new.clone(), locked.clone()]
    );
    assert_eq!(
        of(|one| one.importable = Some(false)).await,
        std::slice::from_ref(&locked)
    );
    assert_eq!(of(|one| one.lock = Some("locked")).await, [locked]);
    let shell = |one: &mut DiscoveredFilter| one.shell = Some("/bin/sh".to_owned());
    assert_eq!(of(shell).await, [new, known]);
    let page = Page {
        limit: 1,
        offset: 1,
    };
    let all = DiscoveredFilter::default();
    let second = queue
        .store
        .discovered_accounts(SystemId(1), &all, page)
        .await
        .unwrap();
    assert_eq!((second[0].row, second[0].lock), (2, "open"));
    assert_eq!(second[0].last_change_at, Some(Timestamp(86_400_000)));
    assert_eq!(
        (second[0].discovery_id, second[0].expired),
        (claimed.id, Some(false))
    );
});

on_both!(
    a_resting_system_is_not_listed_and_dead_nodes_give_back,
    |db| {
        let queue = db.queue().await;
        queue.system(1, 9, 9, 0).await;
        let id = order(&queue, 1).await.unwrap();
        let rest = Timestamp(NOW.0 + 1_000);
        queue.write("UPDATE systems SET paused_until = 1000").await;
        let pause = sqlx::query("UPDATE systems SET paused_until = $1").bind(rest.0);
        pause.execute(&queue.pool).await.unwrap();
        assert!(!queue.store.discovery_waits(NOW).await.unwrap());
        assert_eq!(claim(&queue, queue.node, NOW).await, None);
        for attempt in 1..=3 {
            let mut tx = queue.store.begin().await.unwrap();
            let node = tx.register_node("dying", NOW).await.unwrap();
            tx.commit().await.unwrap();
            let claimed = claim(&queue, node, rest).await.unwrap();
            let reap = async |alive: NodeId| {
                let mut tx = queue.store.begin().await.unwrap();
                let reaped = tx.reap_discoveries(alive, rest).await.unwrap();
                tx.commit().await.unwrap();
                reaped
            };
            // Its own are not taken from a node, nor those of another that lives.
            assert!(!queue.store.has_orphaned_discovery(node).await.unwrap());
            assert_eq!(reap(node).await, (0, 0));
            let mut tx = queue.store.begin().await.unwrap();
            tx.sign_off(node).await.unwrap();
            tx.commit().await.unwrap();
            assert!(
                queue
                    .store
                    .has_orphaned_discovery(queue.node)
                    .await
                    .unwrap()
            );
            let expected = if attempt < 3 { (1, 0) } else { (0, 1) };
            assert_eq!(reap(queue.node).await, expected);
            let lost = end(&queue, &claimed, &Discovered::GivenBack).await;
            assert!(matches!(lost, Err(StoreError::LeaseLost)), "{lost:?}");
        }
        assert_eq!(view(&queue, id).await.state, DiscoveryState::Failed);
        // Given back, it waits again.
        let id = order(&queue, 1).await.unwrap();
        let claimed = claim(&queue, queue.node, rest).await.unwrap();
        end(&queue, &claimed, &Discovered::GivenBack).await.unwrap();
        assert_eq!(view(&queue, id).await.state, DiscoveryState::Queued);
        assert!(queue.store.discovery_waits(rest).await.unwrap());
    }
);

on_both!(an_account_is_known_by_its_identity_or_its_bare_name, |db| {
    let queue = db.queue().await;
    queue.system(1, 9, 9, 2).await;
    let id = account_id(1, 1);
    let identify = sqlx::query(
        "UPDATE accounts SET target_id = 'uid=a,dc=test', name_key = 'a' WHERE id = $1",
    );
    identify.bind(id.0).execute(&queue.pool).await.unwrap();
    let known = async |system: i64, target: &str, name: &str, bare: bool| {
        let known = queue
            .store
            .account_known_as(SystemId(system), target, name, bare);
        known.await.unwrap()
    };
    assert_eq!(known(1, "uid=a,dc=test", "a", false).await, Some(id));
    assert_eq!(known(1, "uid=b,dc=test", "a", false).await, None);
    assert_eq!(known(1, "a", "a", false).await, None);
    assert_eq!(known(1, "a", "a", true).await, Some(id));
    assert_eq!(known(2, "uid=a,dc=test", "a", true).await, None);
});
