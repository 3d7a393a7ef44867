//! Requests: they end once, and with the end the change is ordered.

use std::time::Duration;

use keywheel::model::Timestamp;
use keywheel::model::id::{AccountId, RequestId, SystemId, UserId};
use keywheel::model::job::{JobKind, Priority};
use keywheel::model::principal::NewUser;
use keywheel::model::request::{NewRequest, Request, RequestState};
use keywheel::store::{Ending, Page, RequestFilter, Store};

use super::inventory::{conflicts, is_stale};
use crate::support::database::on_both;
use crate::support::queue::{NOW, Queue, account_id};

fn later() -> Timestamp {
    NOW.plus(Duration::from_hours(1))
}

pub(super) fn account() -> AccountId {
    account_id(1, 1)
}

pub(super) async fn user(store: &Store, name: &str) -> UserId {
    let new = NewUser {
        name: name.to_owned(),
        display_name: String::new(),
        email: String::new(),
        administrator: false,
        granted: [].into(),
    };
    let mut tx = store.begin().await.unwrap();
    let id = tx.insert_user(&new, NOW).await.unwrap();
    tx.commit().await.unwrap();
    id
}

pub(super) fn new(user_id: UserId, approvals_needed: i64, rotates: bool) -> NewRequest {
    NewRequest {
        user_id,
        account_id: account(),
        system_id: SystemId(1),
        reason: "on call".to_owned(),
        rotates,
        approvals_needed,
        expires_at: later(),
    }
}

pub(super) async fn made(store: &Store, new: &NewRequest) -> RequestId {
    let mut tx = store.begin().await.unwrap();
    tx.lock_queue(new.system_id).await.unwrap();
    let id = tx.insert_request(new, NOW).await.unwrap();
    tx.commit().await.unwrap();
    id
}

async fn found(store: &Store, id: RequestId) -> Request {
    store.request(id).await.unwrap().unwrap()
}

/// Ends it; whether it had not ended before, and whether there is a change.
async fn end(store: &Store, id: RequestId, state: RequestState) -> (bool, bool) {
    let request = found(store, id).await;
    let mut tx = store.begin().await.unwrap();
    let (ended, job) = tx.end_request(&request, state, "ada", NOW).await.unwrap();
    tx.commit().await.unwrap();
    (ended, job.is_some())
}

async fn changes(queue: &Queue) -> i64 {
    queue
        .number("SELECT COUNT(*) FROM jobs WHERE kind = 'rotate' AND cause = 'release'")
        .await
}

on_both!(a_request_is_active_until_it_ends_once, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 9, 1).await;
    let store = &queue.store;
    let ada = user(store, "ada").await;
    let id = made(store, &new(ada, 0, true)).await;
    let request = found(store, id).await;
    assert_eq!(request.state, RequestState::Active);
    assert_eq!((request.approved_at, request.ended_at), (Some(NOW), None));
    assert_eq!(
        (request.rotates, request.reason.as_str()),
        (true, "on call")
    );
    let mut tx = store.begin().await.unwrap();
    let live = tx.live_requests(account(), NOW).await.unwrap();
    assert_eq!(live, [(ada, id)]);
    assert_eq!(tx.live_requests(account(), later()).await.unwrap(), []);
    tx.rollback().await.unwrap();
    assert_eq!(end(store, id, RequestState::CheckedIn).await, (true, true));
    assert_eq!(end(store, id, RequestState::Expired).await, (false, false));
    let request = found(store, id).await;
    assert_eq!(request.state, RequestState::CheckedIn);
    assert_eq!(request.ended_at, Some(NOW));
    assert_eq!(changes(&queue).await, 1);
    queue.is_sound().await;
    // What was never open, or does not rotate, changes nothing.
    for (approvals, rotates) in [(1, true), (0, false)] {
        let id = made(store, &new(ada, approvals, rotates)).await;
        assert_eq!(end(store, id, RequestState::Canceled).await, (true, false));
    }
    let mut tx = store.begin().await.unwrap();
    is_stale(tx.rotate_at_end(id).await);
    is_stale(tx.replace_request(id, NOW).await);
    is_stale(tx.approve_request(id, ada, NOW).await);
    conflicts(tx.insert_request(&new(UserId(77), 0, false), NOW).await);
});

on_both!(the_change_after_a_release_joins_what_is_open, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 9, 1).await;
    let store = &queue.store;
    let ada = user(store, "ada").await;
    // A queued test becomes the change.
    let job = queue
        .order_at(1, 1, Priority::Routine, JobKind::Test, NOW)
        .await;
    let id = made(store, &new(ada, 0, true)).await;
    assert_eq!(end(store, id, RequestState::Expired).await, (true, true));
    let open = queue
        .number("SELECT COUNT(*) FROM jobs WHERE kind = 'rotate'")
        .await;
    assert_eq!(open, 1);
    // A queued change is enough.
    let id = made(store, &new(ada, 0, true)).await;
    assert_eq!(end(store, id, RequestState::Expired).await, (true, true));
    assert_eq!(queue.number("SELECT COUNT(*) FROM jobs").await, 1);
    // One that runs may have begun before the end: another follows.
    let claim = queue.claim(Priority::Routine, NOW).await.remove(0);
    let id = made(store, &new(ada, 0, true)).await;
    assert_eq!(end(store, id, RequestState::Expired).await, (true, true));
    queue.settle(&claim, &Ending::Succeeded, NOW).await;
    let view = store.job(job).await.unwrap().unwrap();
    assert!(view.ended_at.is_none(), "{view:?}");
    queue.is_sound().await;
    // A suspended account changes no more.
    queue.write("UPDATE accounts SET active = 0").await;
    let id = made(store, &new(ada, 0, true)).await;
    assert_eq!(end(store, id, RequestState::Expired).await, (true, false));
});

on_both!(a_request_opens_once_enough_have_approved_it, |db| {
    let queue = db.queue().await;
    queue.system(1, 1, 9, 1).await;
    let store = &queue.store;
    let [ada, bob, carl] = [
        user(store, "ada").await,
        user(store, "bob").await,
        user(store, "carl").await,
    ];
    let id = made(store, &new(ada, 2, false)).await;
    assert_eq!(found(store, id).await.state, RequestState::Pending);
    let approve = async |who| {
        let mut tx = store.begin().await.unwrap();
        let open = tx.approve_request(id, who, NOW).await.unwrap();
        tx.commit().await.unwrap();
        open
    };
    assert!(!approve(bob).await);
    assert!(!approve(bob).await, "one person counts once");
    assert!(approve(carl).await);
    let request = found(store, id).await;
    assert_eq!(request.state, RequestState::Active);
    assert_eq!(request.approved_at, Some(NOW));
    let mut tx = store.begin().await.unwrap();
    tx.rotate_at_end(id).await.unwrap();
    tx.commit().await.unwrap();
    assert!(found(store, id).await.rotates);
    let mut tx = store.begin().await.unwrap();
    tx.replace_request(id, NOW).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(found(store, id).await.state, RequestState::Canceled);
    assert_eq!(changes(&queue).await, 0, "its successor changes it");
});

on_both!(
    requests_are_found_by_whose_they_are_and_by_what_is_over,
    |db| {
        let queue = db.queue().await;
        queue.system(1, 1, 9, 1).await;
        let store = &queue.store;
        let (ada, bob) = (user(store, "ada").await, user(store, "bob").await);
        let first = made(store, &new(ada, 0, false)).await;
        let second = made(store, &new(bob, 1, false)).await;
        let ids = async |filter| {
            let found = store.requests(filter, Page::first(9)).await.unwrap();
            found.into_iter().map(|one| one.id).collect::<Vec<_>>()
        };
        let all = RequestFilter::default();
        assert_eq!(ids(all).await, [first, second]);
        let of_bob = RequestFilter {
            user_id: Some(bob),
            ..all
        };
        assert_eq!(ids(of_bob).await, [second]);
        let pending = RequestFilter {
            state: Some(RequestState::Pending),
            account_id: Some(account()),
            system_id: Some(SystemId(1)),
            ..all
        };
        assert_eq!(ids(pending).await, [second]);
        assert_eq!(store.expired_requests(NOW, 9).await.unwrap(), []);
        assert_eq!(store.expired_requests(later(), 1).await.unwrap(), [first]);
        end(store, first, RequestState::Expired).await;
        assert_eq!(store.expired_requests(later(), 9).await.unwrap(), [second]);
        let live = RequestFilter { live: true, ..all };
        assert_eq!(ids(live).await, [second]);
    }
);
