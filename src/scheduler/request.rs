//! Ends requests whose time is over.
//!
//! Invariant: an end and the change that it orders commit together, however late the tick comes.

use serde_json::json;

use super::Scheduler;
use crate::model::audit::Event;
use crate::model::request::RequestState;
use crate::store::StoreError;

/// Expired requests that are read at once.
const EXPIRED_MAX: i64 = 1_000;
/// Who orders the change after one.
const SERVICE: &str = "keywheel";

impl Scheduler {
    /// Each in a transaction of its own: the change that one orders waits for no other.
    pub(super) async fn end_requests(&self) -> Result<(), StoreError> {
        let store = &self.inner.store;
        loop {
            let due = store
                .expired_requests(self.inner.clock.now(), EXPIRED_MAX)
                .await?;
            if due.is_empty() {
                return Ok(());
            }
            for id in due {
                let Some(request) = store.request(id).await? else {
                    continue;
                };
                let now = self.inner.clock.now();
                let mut tx = store.begin().await?;
                let (ended, job) = tx
                    .end_request(&request, RequestState::Expired, SERVICE, now)
                    .await?;
                if ended {
                    let body = json!({"account": request.account_id, "job": job});
                    tx.audit(&Event::by_service("request.expired", id, body), now)
                        .await?;
                }
                tx.commit().await?;
            }
        }
    }
}
