//! Accounts of which the store may have forgotten a credential: what operators agree to, and what
//! is refused meanwhile.
//!
//! Invariant: whoever agrees is on record in the same commit, with a reason.

use std::collections::BTreeSet;

use serde_json::json;

use super::order::{OrderError, Orders};
use crate::model::audit::Event;
use crate::model::id::AccountId;
use crate::model::regression::Consent;
use crate::store::StoreError;

/// Why a change is refused.
pub(super) const FORGOTTEN: &str = "The database came back older than it was, and may have \
                                    forgotten a credential of this account: recover it first; see \
                                    /api/v1/regression";
/// Accounts that are read at once.
const PAGE: i64 = 1_000;

/// What an operator says of accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryOrder {
    /// This may be done to them.
    Agree(Consent),
    /// They are known to be right: their marks go.
    Clear,
}

impl Orders {
    /// Refuses an account of which the store may have forgotten a credential.
    ///
    /// # Errors
    /// [`OrderError::InTheWay`].
    pub(super) async fn remembers(&self, account: AccountId) -> Result<(), OrderError> {
        if self.store.is_regressed(account).await? {
            return Err(OrderError::InTheWay(FORGOTTEN.to_owned()));
        }
        Ok(())
    }

    /// What an operator says of these accounts, or of all that are marked: of how many it holds.
    ///
    /// # Errors
    /// [`StoreError`] of the database; nothing was agreed to.
    pub async fn recover(
        &self,
        accounts: Option<&[AccountId]>,
        order: RecoveryOrder,
        (actor, reason): (&str, &str),
    ) -> Result<u64, StoreError> {
        let now = self.clock.now();
        // Each once, in the order of their ids.
        let named = accounts.map(|accounts| {
            let once: BTreeSet<AccountId> = accounts.iter().copied().collect();
            Vec::from_iter(once)
        });
        let marked = self.marked().await?;
        let marked: Vec<AccountId> = match &named {
            None => marked,
            Some(named) => marked.into_iter().filter(|id| named.contains(id)).collect(),
        };
        let mut tx = self.store.begin().await?;
        let (done, event) = match order {
            RecoveryOrder::Agree(consent) => {
                let event = match consent {
                    Consent::Test => "account.test_agreed",
                    Consent::Reset => "account.reset_agreed",
                    Consent::None => "account.agreement_withdrawn",
                };
                (tx.agree(&marked, consent, actor).await?, event)
            }
            RecoveryOrder::Clear => (tx.unmark(&marked, now).await?, "account.regression_cleared"),
        };
        for account in &marked {
            let body = json!({"reason": reason});
            tx.audit(&Event::by(actor, event, *account, body), now)
                .await?;
        }
        if order == RecoveryOrder::Clear {
            for id in tx.end_regressions(named.is_none(), now).await? {
                let body = json!({"reason": reason});
                tx.audit(&Event::by(actor, "store.regression_ended", id, body), now)
                    .await?;
            }
        }
        tx.commit().await?;
        if order == RecoveryOrder::Clear {
            for account in marked {
                self.wake(account).await?;
            }
        }
        Ok(done)
    }

    /// What an account's job has waited for is over.
    async fn wake(&self, account: AccountId) -> Result<(), StoreError> {
        let Some(system) = self.store.system_of(account).await? else {
            return Ok(());
        };
        let mut tx = self.store.begin().await?;
        tx.lock_queue(system).await?;
        let Some(open) = tx.open_job(account).await?.filter(|job| !job.running) else {
            return tx.rollback().await;
        };
        let queue = (system, open.priority);
        tx.wake_job(account, queue, self.clock.now()).await?;
        tx.commit().await
    }

    async fn marked(&self) -> Result<Vec<AccountId>, StoreError> {
        let mut marked = Vec::new();
        loop {
            let after = marked.last().copied();
            let page = self.store.regressed_accounts(after, PAGE).await?;
            if page.is_empty() {
                return Ok(marked);
            }
            marked.extend(page.iter().map(|one| one.account));
        }
    }
}
