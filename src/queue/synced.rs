//! Orders for accounts that share a password: the parent first, then its subscribers.
//!
//! Invariant: an order for one of them is one for all; a given password is admitted by every one
//! of their systems before the first is changed.

use std::collections::BTreeSet;
use std::time::Duration;

use super::given::given;
use super::order::{ChangeOrder, OrderError, Orders};
use super::wait::TEST_WAIT_MAX;
use crate::model::credential::Parts;
use crate::model::id::{AccountId, JobId, SystemId};
use crate::model::job::{Cause, JobKind, JobState, JobView, Priority};
use crate::store::{Page, StoreError, Subscription, Tx};

/// Subscribers that one order goes on with.
const SUBSCRIBERS_MAX: i64 = 10_000;
/// How often a subscriber is told of the same order: its job under way may be of an older one.
const TOLD_MAX: usize = 3;

/// A subscriber that has not taken over its parent's password, and its last job.
#[derive(Debug)]
pub struct Straggler {
    /// The subscriber.
    pub account: AccountId,
    /// What its job came to so far.
    pub job: Option<JobView>,
}

impl Orders {
    /// The order as it is carried out: a subscriber's password changes with its parent's. Says on
    /// which system it begins.
    ///
    /// # Errors
    /// [`OrderError`] if one of the accounts concerned cannot be changed so.
    pub(super) async fn led(
        &self,
        mut order: ChangeOrder,
    ) -> Result<(ChangeOrder, SystemId), OrderError> {
        let shown = given(order.account, order.password.as_ref(), order.key.as_ref());
        let (row, mut system) = self.fit(order.account, &shown, true).await?;
        let parent = row.parent_id.map(AccountId);
        if let Some(parent) = parent
            && row.resolve(order.wanted()).holds(Parts::PASSWORD)
        {
            if order.key.is_some() {
                return Err(OrderError::Refused(
                    "The account's password is shared with others and its key is not; set them \
                     by two orders"
                        .into(),
                ));
            }
            (_, system) = self.fit(parent, &shown, true).await?;
            order.account = parent;
        }
        if order.password.is_some() {
            let others = self.subscribers(order.account).await?;
            let password = given(order.account, order.password.as_ref(), None);
            for one in others.iter().filter(|one| one.active) {
                self.fit(one.account, &password, true)
                    .await
                    .map_err(|error| error.of(one.account))?;
            }
        }
        Ok((order, system))
    }

    async fn subscribers(&self, parent: AccountId) -> Result<Vec<Subscription>, StoreError> {
        let all = Page::first(SUBSCRIBERS_MAX);
        self.store.subscribers(parent, all).await
    }

    /// All that share an account's password, the parent first; it alone if nobody does.
    ///
    /// # Errors
    /// [`OrderError::NotFound`]; [`OrderError::Store`].
    pub async fn members(&self, account: AccountId) -> Result<Vec<AccountId>, OrderError> {
        let row = self.store.account_row(account).await?;
        let row = row.ok_or(OrderError::NotFound)?;
        let parent = row.parent_id.map_or(account, AccountId);
        let others = self.subscribers(parent).await?;
        let mut members = vec![parent];
        members.extend(others.iter().map(|one| one.account));
        Ok(members)
    }

    /// Goes on with an order whose parent was changed: has the others take over its password,
    /// and waits for them, at most `limit`. Says who has not.
    ///
    /// Whoever stops waiting stops nothing: a tick tells those that were not told.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn carry_on(
        &self,
        account: AccountId,
        actor: &str,
        limit: Duration,
    ) -> Result<Vec<Straggler>, OrderError> {
        let row = self.store.account_row(account).await?;
        let parent = row.and_then(|row| row.parent_id).map_or(account, AccountId);
        let until = self.clock.monotonic() + limit;
        let mut told = Vec::new();
        for one in self.subscribers(parent).await? {
            if one.active && one.is_behind() {
                told.push((one.account, self.tell(&one, actor).await?));
            }
        }
        let mut stragglers = Vec::new();
        for (account, mut job) in told {
            for time in 1..=TOLD_MAX {
                let left = until.saturating_sub(self.clock.monotonic());
                let view = self.wait_job(job, left).await?;
                let Some(one) = self.store.subscription(account).await? else {
                    break;
                };
                if !one.active || !one.is_behind() {
                    break;
                }
                let ended_well = view
                    .as_ref()
                    .is_none_or(|view| view.state == JobState::Succeeded);
                if time == TOLD_MAX || !ended_well {
                    stragglers.push(Straggler { account, job: view });
                    break;
                }
                job = self.tell(&one, actor).await?;
            }
        }
        Ok(stragglers)
    }

    /// Has a subscriber take over its parent's password at once; a job that is under way is
    /// waited for like one of this order.
    async fn tell(&self, one: &Subscription, actor: &str) -> Result<JobId, OrderError> {
        loop {
            let now = self.clock.now();
            let mut tx = self.store.begin().await?;
            tx.lock_queue(one.system).await?;
            let ordered = (actor, Priority::Immediate);
            if let Some(job) = tx.order_sync(one, ordered, now).await? {
                tx.commit().await?;
                self.metrics
                    .jobs_enqueued(JobKind::Rotate.as_str(), Cause::Sync.as_str(), 1);
                return Ok(job);
            }
            let Some(open) = tx.open_job(one.account).await? else {
                continue;
            };
            if open.kind == JobKind::Test && open.running {
                tx.rollback().await?;
                self.wait_end(open.id, TEST_WAIT_MAX).await?;
                continue;
            }
            if !open.running {
                if open.kind == JobKind::Test {
                    let parts = Parts::ALL_THERE_ARE;
                    tx.redirect_job(open.id, parts, (None, None), actor, now)
                        .await?;
                }
                tx.hasten(open.id, one.system, Priority::Immediate, now)
                    .await?;
            }
            tx.commit().await?;
            return Ok(open.id);
        }
    }

    /// Locks the queues of all systems on which these accounts live; says where each does.
    ///
    /// # Errors
    /// [`OrderError::AlreadyRunning`] while one of them is being changed.
    pub(super) async fn lock_members(
        &self,
        tx: &mut Tx,
        members: &[AccountId],
    ) -> Result<Vec<(AccountId, SystemId)>, OrderError> {
        let mut found = Vec::with_capacity(members.len());
        for &account in members {
            let system = self.store.system_of(account).await?;
            found.push((account, system.ok_or(OrderError::NotFound)?));
        }
        // In one order: two who lock several never wait for each other.
        let systems: BTreeSet<i64> = found.iter().map(|(_, system)| system.0).collect();
        for system in systems {
            tx.lock_queue(SystemId(system)).await?;
        }
        for &(account, _) in &found {
            if tx.open_job(account).await?.is_some_and(|job| job.running) {
                return Err(OrderError::AlreadyRunning);
            }
        }
        Ok(found)
    }
}

impl OrderError {
    /// The same, said of another account than the one that was ordered.
    fn of(self, account: AccountId) -> Self {
        match self {
            Self::Refused(why) => Self::Refused(format!(
                "Account {}, which shares the password: {why}",
                account.0
            )),
            other => other,
        }
    }
}
