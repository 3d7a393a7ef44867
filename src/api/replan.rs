//! Plans accounts anew after what rules them has changed.
//!
//! Invariant: an account is planned under its system's lock, by the policy as it then is.

use std::collections::HashMap;
use std::time::Duration;

use super::Api;
use super::error::ApiError;
use crate::model::Timestamp;
use crate::model::id::{AccountId, PolicyId, SystemId};
use crate::model::policy::Policy;
use crate::model::schedule::plan;
use crate::store::{StoreError, Tx};

/// Accounts of a transaction: the queues of their systems are locked for so long.
const CHUNK: i64 = 200;
/// Tries of a chunk that the database was too busy for, and the pause between two.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// Plans one account, in the transaction that changed it.
pub(crate) async fn account(tx: &mut Tx, id: AccountId, now: Timestamp) -> Result<(), StoreError> {
    planned(tx, id, now, &mut HashMap::new()).await
}

async fn planned(
    tx: &mut Tx,
    id: AccountId,
    now: Timestamp,
    policies: &mut HashMap<PolicyId, Option<Policy>>,
) -> Result<(), StoreError> {
    let Some(account) = tx.locked_account(id).await? else {
        return Ok(()); // deleted meanwhile: never due again
    };
    let Some(system) = tx.locked_system(account.system_id).await? else {
        return Ok(());
    };
    let policy = match account.settings.policy_id.or(system.settings.policy_id) {
        None => None,
        Some(id) => {
            if let std::collections::hash_map::Entry::Vacant(place) = policies.entry(id) {
                place.insert(tx.planning_policy(id).await?);
            }
            policies.get(&id).and_then(Option::as_ref)
        }
    };
    tx.set_schedule(id, system.id, plan(&account, &system, policy, now))
        .await
}

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
    #[expect(
        clippy::disallowed_methods,
        reason = "a task of its own, awaited here, so that a caller who hangs up stops nothing"
    )]
    let work = tokio::task::spawn(async move { in_chunks(&api, ruled).await });
    work.await
        .map_err(|_| ApiError::Internal("planning accounts panicked"))?
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
    let mut policies = HashMap::new();
    let mut tx = api.store.begin().await?;
    for id in ids {
        planned(&mut tx, *id, now, &mut policies).await?;
    }
    tx.commit().await
}
