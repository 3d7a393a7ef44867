//! Orders of many accounts in one transaction: nothing was given with them, and none of the
//! accounts has an open job.
//!
//! Invariant: the systems' queues are taken before anything is read that they protect, and always
//! in the order of their ids.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::wide::Wide;
use super::{AccountRow, Shared, Store, StoreError, SystemRow, Tx, exactly};
use crate::model::Timestamp;
use crate::model::credential::Parts;
use crate::model::id::{AccountId, JobId, SystemId};
use crate::model::job::Priority;

/// What an order finds.
#[derive(Clone, sqlx::FromRow)]
pub struct Orderable {
    /// The account.
    #[sqlx(flatten)]
    pub account: AccountRow,
    /// Where it lives.
    #[sqlx(flatten)]
    pub system: SystemRow,
    /// 1: a job of the account is queued or running.
    pub has_job: i64,
    /// 1: the store may have forgotten a credential of it.
    pub is_regressed: i64,
}

/// A rotation to be queued, with values that are yet to be generated.
#[derive(Clone, Debug)]
pub struct NewRotationJob {
    /// Whose credential.
    pub account: AccountId,
    /// On which system.
    pub system: SystemId,
    /// Who ordered it.
    pub actor: String,
    /// Its class.
    pub priority: Priority,
    /// What it is to do.
    pub parts: Parts,
}

static LOCK: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        0,
        "account",
        "SELECT id FROM systems WHERE id IN (
             SELECT a.system_id FROM r JOIN accounts a ON a.id = r.account)
         ORDER BY id FOR NO KEY UPDATE",
    )
});
static READ: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        0,
        "account",
        "SELECT a.id, a.name, a.distinguished_name, a.user_principal_name, a.domain_name,
             a.sam_account_name, a.active, a.epoch, a.current_version, a.current_key_version,
             a.last_version, a.password_rule_id, a.key_rule_id, a.dss_auto_management,
             a.use_own_credentials, a.last_change_at, a.last_key_change_at, a.in_doubt,
             a.key_in_doubt, y.parent_id, d.system_id, d.platform_id, d.host_name, d.dns_name, d.ip_address,
             d.port, d.timeout_s, d.functional_account_id, d.elevation, d.host_key_mode,
             d.host_key, d.tls_ca, d.tls_server_name, d.starttls, d.base_dn, d.flavour,
             d.key_attribute, d.in_flight, d.lockout_threshold,
             CASE WHEN j.id IS NULL THEN 0 ELSE 1 END AS has_job,
             CASE WHEN g.account_id IS NULL THEN 0 ELSE 1 END AS is_regressed
         FROM r JOIN accounts a ON a.id = r.account AND a.deleted_at IS NULL
             JOIN system_details d ON d.system_id = a.system_id AND d.deleted_at IS NULL
             LEFT JOIN subscriptions y ON y.account_id = a.id
             LEFT JOIN jobs j ON j.account_id = a.id AND j.state IN ('queued', 'running')
             LEFT JOIN regressed_accounts g ON g.account_id = a.id AND g.recovered_at IS NULL",
    )
});
static INSERT: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        1,
        "id, account, system, actor, priority, parts",
        "INSERT INTO jobs (id, account_id, system_id, kind, cause, actor, priority, run_at, state,
             claim_id, attempt, again, again_priority, parts, version, key_version, queued_at)
         SELECT id, account, system, 'rotate', 'order', actor, priority, CAST($1 AS BIGINT),
             'queued', NULL, 0, 0, 2, parts, NULL, NULL, CAST($1 AS BIGINT)
         FROM r WHERE id > 0",
    )
});
static OPEN: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        0,
        "account",
        "UPDATE schedule SET open_job = 1 FROM r WHERE account_id = r.account",
    )
});

/// As `Tx::raise_head`, of each class; a head that is urgent enough is left alone.
static HEADS: LazyLock<[Wide; 3]> = LazyLock::new(|| {
    [
        "UPDATE systems SET head0 = $1 FROM r
         WHERE id = r.system AND (head0 IS NULL OR head0 > $1)",
        "UPDATE systems SET head1 = $1 FROM r
         WHERE id = r.system AND (head1 IS NULL OR head1 > $1)",
        "UPDATE systems SET head2 = $1 FROM r
         WHERE id = r.system AND (head2 IS NULL OR head2 > $1)",
    ]
    .map(|statement| Wide::new(1, "system", statement))
});

impl Store {
    /// Shares transactions of orders among those who order at the same moment.
    pub(crate) fn crowd<Q: Clone, A>(&self) -> Shared<Q, A> {
        Shared::new(self.backend.crowds_at_once())
    }
}

impl Tx {
    /// What orders of these accounts find, in any order; those that are gone are missing. The
    /// queues of their systems are this transaction's from here on.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn take_orderable(
        &mut self,
        accounts: &[AccountId],
    ) -> Result<Vec<Orderable>, StoreError> {
        if self.backend.locks_rows() {
            for cut in LOCK.cuts(accounts) {
                let mut query = sqlx::query(cut.text);
                for (id, _) in cut.rows(|account| account.0) {
                    query = query.bind(id);
                }
                query.execute(&mut *self.inner).await?;
            }
        }
        let mut found = Vec::with_capacity(accounts.len());
        for cut in READ.cuts(accounts) {
            let mut query = sqlx::query_as(cut.text);
            for (id, _) in cut.rows(|account| account.0) {
                query = query.bind(id);
            }
            let rows: Vec<Orderable> = query.fetch_all(&mut *self.inner).await?;
            found.extend(rows);
        }
        Ok(found)
    }

    /// Queues rotations, due now, of accounts that have no open job; after
    /// [`Tx::take_orderable`]. Their jobs, in the same order.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if one of the accounts has an open job.
    pub async fn enqueue_rotations(
        &mut self,
        jobs: &[NewRotationJob],
        now: Timestamp,
    ) -> Result<Vec<JobId>, StoreError> {
        for (priority, heads) in Priority::ALL.into_iter().zip(&*HEADS) {
            let systems = jobs.iter().filter(|job| job.priority == priority);
            let systems: BTreeSet<i64> = systems.map(|job| job.system.0).collect();
            let systems: Vec<i64> = systems.into_iter().collect();
            for cut in heads.cuts(&systems) {
                let mut query = sqlx::query(cut.text).bind(now.0);
                for (id, _) in cut.rows(|system| *system) {
                    query = query.bind(id);
                }
                query.execute(&mut *self.inner).await?;
            }
        }
        let count = i64::try_from(jobs.len()).unwrap_or(i64::MAX);
        let first = self.ids(JobId::KIND, count).await?;
        let rows: Vec<(i64, &NewRotationJob)> = (first..).zip(jobs).collect();
        for cut in INSERT.cuts(&rows) {
            let mut query = sqlx::query(cut.text).bind(now.0);
            for (id, (_, job)) in cut.rows(|(id, _)| *id) {
                query = query
                    .bind(id)
                    .bind(job.account.0)
                    .bind(job.system.0)
                    .bind(&job.actor)
                    .bind(job.priority.rank())
                    .bind(job.parts.bits());
            }
            let done = query.execute(&mut *self.inner).await;
            let done =
                done.map_err(|error| StoreError::from(error).about("the account's open job"))?;
            exactly(cut.len(), done.rows_affected(), "the jobs")?;
        }
        for cut in OPEN.cuts(&rows) {
            let mut query = sqlx::query(cut.text);
            for (id, (_, job)) in cut.rows(|(id, _)| *id) {
                query = query.bind(if id > 0 { job.account.0 } else { 0 });
            }
            let done = query.execute(&mut *self.inner).await?;
            exactly(cut.len(), done.rows_affected(), "the accounts' schedule")?;
        }
        self.ring();
        Ok(rows.into_iter().map(|(id, _)| JobId(id)).collect())
    }
}
