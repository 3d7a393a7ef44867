//! Takes orders: what the interfaces call, and all that they call.
//!
//! Invariant: an order is durable before it is answered, and a given secret is sealed before
//! it is stored.

use std::time::Duration;

use keywheel_connectors::Secret;

use crate::model::id::{AccountId, JobId, QuarantineId, SystemId};
use crate::model::job::JobView;
use crate::model::quarantine::QuarantineView;
use crate::store::StoreError;

/// Takes orders for changes, tests and quarantines.
#[derive(Clone, Debug)]
pub struct Orders {}

/// A change of one account.
#[derive(Debug)]
pub struct ChangeOrder {
    /// Whose credential.
    pub account: AccountId,
    /// The new password; `None`: a random one by the account's rule.
    pub password: Option<Secret>,
    /// True: somebody waits for it. False: in the background.
    pub immediate: bool,
}

/// Why an order was not taken.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// No such account or system, or it was deleted.
    #[error("not found")]
    NotFound,
    /// Another change of the account is under way.
    #[error("A change is already running")]
    AlreadyRunning,
    /// The order can never be carried out as it stands.
    #[error("{0}")]
    Refused(String),
    /// The database did not take it; nothing was ordered.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a test said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestVerdict {
    /// The current credential logs in.
    Works,
    /// It does not, or could not be tried.
    DoesNot,
}

impl Orders {
    /// Orders a change of one account. An identical open order is joined.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn change(&self, order: ChangeOrder, actor: &str) -> Result<JobId, OrderError> {
        todo!()
    }

    /// Stores a credential without touching the target: the given one, or a random one.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn store_only(
        &self,
        account: AccountId,
        password: Option<Secret>,
        actor: &str,
    ) -> Result<JobId, OrderError> {
        todo!()
    }

    /// Tests the current credential; waits for a running change first.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn test(&self, account: AccountId, actor: &str) -> Result<TestVerdict, OrderError> {
        todo!()
    }

    /// Orders a change of every active account of a system.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn quarantine(
        &self,
        system: SystemId,
        reason: &str,
        incident: Option<&str>,
        actor: &str,
    ) -> Result<QuarantineId, OrderError> {
        todo!()
    }

    /// Waits until the job has ended or an attempt of it has failed; at most `limit`.
    ///
    /// `None`: no such job.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn wait_job(
        &self,
        job: JobId,
        limit: Duration,
    ) -> Result<Option<JobView>, StoreError> {
        todo!()
    }

    /// Waits until the quarantine has finished; at most `limit`. `None`: no such quarantine.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn wait_quarantine(
        &self,
        quarantine: QuarantineId,
        limit: Duration,
    ) -> Result<Option<QuarantineView>, StoreError> {
        todo!()
    }
}
