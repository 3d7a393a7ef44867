//! Counts for the metrics: the whole database at a glance.
//!
//! Invariant: no row names an account or a system.

use super::{Store, StoreError};
use crate::model::Timestamp;
use crate::model::id::PlatformId;

/// Accounts that are due within this are shown as due soon.
const SOON_MS: i64 = 7 * 86_400_000;
/// Accounts that are due for longer than this are overdue.
const GRACE_MS: i64 = 86_400_000;

/// A count under two labels.
pub(super) type Count = (String, String, i64);

impl Store {
    /// Accounts by (platform, state).
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn count_accounts(&self) -> Result<Vec<(PlatformId, String, i64)>, StoreError> {
        let rows: Vec<(i64, String, i64)> = sqlx::query_as(
            "SELECT platform_id, state, COUNT(*) FROM (
                 SELECT d.platform_id AS platform_id, CASE
                     WHEN EXISTS (SELECT 1 FROM rotations r WHERE r.account_id = a.id
                         AND r.phase IN ('ready', 'staged', 'applying', 'applied', 'verified', 'needs_operator')
                         AND r.phase = 'needs_operator') THEN 'needs_operator'
                     WHEN a.active = 0 THEN 'suspended'
                     WHEN a.auto_management = 1 OR a.policy_id IS NOT NULL
                         OR d.policy_id IS NOT NULL THEN 'managed'
                     ELSE 'unmanaged' END AS state
                 FROM accounts a JOIN system_details d ON d.system_id = a.system_id
                 WHERE a.deleted_at IS NULL) one
             GROUP BY platform_id, state ORDER BY platform_id, state",
        )
        .fetch_all(&self.read)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(platform, state, count)| (PlatformId(platform), state, count))
            .collect())
    }

    /// Accounts by (policy, how near their change is). Accounts without a policy are `vendor`.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn count_due(&self, now: Timestamp) -> Result<Vec<Count>, StoreError> {
        Ok(sqlx::query_as(
            "SELECT policy, status, COUNT(*) FROM (
                 SELECT CASE WHEN p.name IS NULL THEN 'vendor' ELSE p.name END AS policy, CASE
                     WHEN s.stale_at IS NOT NULL AND s.stale_at <= $1 - $3 THEN 'overdue'
                     WHEN s.next_change_at IS NOT NULL AND s.next_change_at <= $1 - $3 THEN 'overdue'
                     WHEN s.stale_at IS NOT NULL THEN 'due'
                     WHEN s.next_change_at IS NOT NULL AND s.next_change_at <= $1 THEN 'due'
                     WHEN s.next_change_at IS NOT NULL AND s.next_change_at <= $1 + $2 THEN 'due_soon'
                     WHEN s.flag_at IS NOT NULL AND s.flag_at <= $1 + $2 THEN 'due_soon'
                     ELSE 'ok' END AS status
                 FROM schedule s JOIN accounts a ON a.id = s.account_id
                     JOIN system_details d ON d.system_id = a.system_id
                     LEFT JOIN policies p
                         ON p.id = CASE WHEN a.policy_id IS NULL THEN d.policy_id ELSE a.policy_id END
                 WHERE a.deleted_at IS NULL
                   AND (s.next_change_at IS NOT NULL OR s.flag_at IS NOT NULL
                     OR s.stale_at IS NOT NULL OR s.open_job = 1)) one
             GROUP BY policy, status ORDER BY policy, status",
        )
        .bind(now.0)
        .bind(SOON_MS)
        .bind(GRACE_MS)
        .fetch_all(&self.read)
        .await?)
    }

    /// Accounts whose stored credential is not known to work, by (platform, why).
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn count_unverified(&self) -> Result<Vec<(PlatformId, String, i64)>, StoreError> {
        let rows: Vec<(i64, String, i64)> = sqlx::query_as(
            "SELECT platform_id, why, COUNT(*) FROM (
                 SELECT d.platform_id AS platform_id, CASE
                     WHEN a.last_test = 'out_of_sync' THEN a.last_test
                     WHEN a.in_doubt <> 0 OR a.key_in_doubt <> 0 THEN 'in_doubt'
                     ELSE a.last_test END AS why
                 FROM accounts a JOIN system_details d ON d.system_id = a.system_id
                 WHERE a.deleted_at IS NULL
                   AND (a.last_test <> 'passed' OR a.in_doubt <> 0 OR a.key_in_doubt <> 0)) one
             GROUP BY platform_id, why ORDER BY platform_id, why",
        )
        .fetch_all(&self.read)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(platform, reason, count)| (PlatformId(platform), reason, count))
            .collect())
    }

    /// The next change of each policy's accounts.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn next_runs(&self) -> Result<Vec<(String, Option<Timestamp>)>, StoreError> {
        let rows: Vec<(String, Option<i64>)> = sqlx::query_as(
            "SELECT p.name, MIN(s.next_change_at) FROM policies p
                 LEFT JOIN accounts a ON a.policy_id = p.id AND a.deleted_at IS NULL
                 LEFT JOIN schedule s ON s.account_id = a.id
             GROUP BY p.name ORDER BY p.name",
        )
        .fetch_all(&self.read)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(name, at)| (name, at.map(Timestamp)))
            .collect())
    }

    /// Open jobs by (kind, state).
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn count_jobs(&self) -> Result<Vec<Count>, StoreError> {
        Ok(sqlx::query_as(
            "SELECT kind, state, COUNT(*) FROM (
                 SELECT kind, CASE WHEN state = 'queued' AND attempt > 0 THEN 'retrying'
                     ELSE state END AS state FROM jobs) one
             GROUP BY kind, state ORDER BY kind, state",
        )
        .fetch_all(&self.read)
        .await?)
    }

    /// Since when the oldest runnable job of each class waits, by the class's rank.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn oldest_runnable(
        &self,
        now: Timestamp,
    ) -> Result<Vec<(i64, Timestamp)>, StoreError> {
        let rows: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT priority, MIN(run_at) FROM jobs WHERE state = 'queued' AND run_at <= $1
             GROUP BY priority ORDER BY priority",
        )
        .bind(now.0)
        .fetch_all(&self.read)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(rank, at)| (rank, Timestamp(at)))
            .collect())
    }

    /// Systems whose breaker is open, by platform.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn count_broken(&self) -> Result<Vec<(PlatformId, i64)>, StoreError> {
        let rows: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT d.platform_id, COUNT(*) FROM systems s
                 JOIN system_details d ON d.system_id = s.id
             WHERE s.trips >= 3 AND d.deleted_at IS NULL
             GROUP BY d.platform_id ORDER BY d.platform_id",
        )
        .fetch_all(&self.read)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(platform, count)| (PlatformId(platform), count))
            .collect())
    }

    /// Accounts that were flagged at one instant, by policy. Accounts without one are `vendor`.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn flagged_at(&self, at: Timestamp) -> Result<Vec<(String, i64)>, StoreError> {
        Ok(sqlx::query_as(
            "SELECT policy, COUNT(*) FROM (
                 SELECT CASE WHEN p.name IS NULL THEN 'vendor' ELSE p.name END AS policy
                 FROM schedule s JOIN accounts a ON a.id = s.account_id
                     JOIN system_details d ON d.system_id = a.system_id
                     LEFT JOIN policies p
                         ON p.id = CASE WHEN a.policy_id IS NULL THEN d.policy_id ELSE a.policy_id END
                 WHERE s.stale_at IS NOT NULL AND s.stale_at = $1) one
             GROUP BY policy ORDER BY policy",
        )
        .bind(at.0)
        .fetch_all(&self.read)
        .await?)
    }
}
