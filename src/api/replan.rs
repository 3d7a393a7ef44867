//! Plans accounts anew after what rules them has changed.
//!
//! Invariant: whoever hangs up stops nothing, and every account is planned by what rules it then.

use std::time::Duration;

use super::error::ApiError;
use super::{Api, detached};
use crate::model::id::{AccountId, PolicyId, SystemId};
use crate::store::StoreError;

/// Accounts of a transaction: the queues of their systems are locked for so long.
const CHUNK: i64 = 200;
/// Tries of a chunk that the database was too busy for, and the pause between two.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// Whose accounts are to be planned.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ruled {
    /// Those of a policy.
    Policy(PolicyId),
    /// Those of a system.
    System(SystemId),
}

/// Plans every account that something rules, chunk by chunk; how many.
///
/// It goes on when the caller hangs up: a plan that stopped halfway would leave the other half
/// on the old policy.
pub(crate) async fn all(api: &Api, ruled: Ruled) -> Result<u64, ApiError> {
    let api = api.clone();
    detached(async move { in_chunks(&api, ruled).await })
        .await?
        .map_err(Into::into)
}

async fn in_chunks(api: &Api, ruled: Ruled) -> Result<u64, StoreError> {
    let mut after = AccountId(0);
    let mut count = 0;
    loop {
        let ids = match ruled {
            Ruled::Policy(id) => api.store.accounts_of_policy(id, after, CHUNK).await?,
            Ruled::System(id) => api.store.accounts_of_system(id, after, CHUNK).await?,
        };
        let Some(last) = ids.last() else {
            return Ok(count);
        };
        let mut tries = 0;
        while let Err(error) = chunk(api, &ids).await {
            tries += 1;
            if !matches!(error, StoreError::Busy) || tries == TRIES {
                return Err(error);
            }
            api.clock.sleep(PAUSE).await;
        }
        after = *last;
        count += u64::try_from(ids.len()).unwrap_or_default();
    }
}

async fn chunk(api: &Api, ids: &[AccountId]) -> Result<(), StoreError> {
    let now = api.clock.now();
    let mut tx = api.store.begin().await?;
    for id in ids {
        tx.replan(*id, now).await?;
    }
    tx.commit().await
}
