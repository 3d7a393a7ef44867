//! Rotations and credential versions: each step a compare-and-swap.
//!
//! Invariant: a step is written only if epoch, phase and doubt are still the ones it was decided
//! upon; a version's secret is inserted once and never overwritten.

use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::{AccountId, ClaimId, RotationId};
use crate::model::rotation::{HORIZON, Phase, Rotation};

/// A rotation as it stands in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationRow {
    /// Its id.
    pub id: RotationId,
    /// Whose.
    pub account: AccountId,
    /// The account's epoch when it was opened.
    pub epoch: i64,
    /// Where it stands.
    pub state: Rotation,
    /// The candidate.
    pub version: i64,
    /// Current when it was opened.
    pub base_version: Option<i64>,
    /// How often the candidate was sent.
    pub applies: i64,
    /// The last decoded reason.
    pub why: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Last step.
    pub moved_at: Timestamp,
}

/// One step of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The rotation.
    pub rotation: RotationId,
    /// Whose.
    pub account: AccountId,
    /// Its epoch.
    pub epoch: i64,
    /// The candidate.
    pub version: i64,
    /// Where it was decided to stand.
    pub from: Rotation,
    /// Where it stands now.
    pub to: Rotation,
    /// The last decoded reason.
    pub why: String,
}

impl Tx {
    /// Opens a rotation, in Staged or (to adopt a version that may be live) in Applying.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the account's epoch has moved; [`StoreError::Conflict`] if it has
    /// an open rotation.
    pub async fn open_rotation(
        &mut self,
        account: AccountId,
        epoch: i64,
        version: i64,
        state: Rotation,
        now: Timestamp,
    ) -> Result<RotationId, StoreError> {
        let done = sqlx::query(
            "UPDATE accounts SET epoch = epoch + 1,
                 in_doubt = CASE WHEN $3 = 1 THEN 1 ELSE in_doubt END
             WHERE id = $1 AND epoch = $2 - 1",
        )
        .bind(account.0)
        .bind(epoch)
        .bind(i64::from(state.in_doubt()))
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the account's epoch")?;
        let id: RotationId = self.id(RotationId::KIND).await?;
        sqlx::query(
            "INSERT INTO rotations (id, account_id, epoch, phase, doubt, version, base_version,
                 applies, why, opened_at, moved_at)
             SELECT $1, id, $3, $4, $5, $6, current_version, 0, '', $7, $7
             FROM accounts WHERE id = $2",
        )
        .bind(id.0)
        .bind(account.0)
        .bind(epoch)
        .bind(state.phase.as_str())
        .bind(i64::from(state.doubt))
        .bind(version)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the account's open rotation"))?;
        Ok(id)
    }

    /// Writes one step: compare-and-swap on epoch, phase and doubt.
    ///
    /// A step to Applying from Staged counts an apply; a step to Committed makes the candidate
    /// current.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the rotation is no longer where the step was decided.
    pub async fn advance(&mut self, step: &Step, now: Timestamp) -> Result<(), StoreError> {
        let sends = step.from.phase == Phase::Staged && step.to.phase == Phase::Applying;
        let done = sqlx::query(
            "UPDATE rotations SET phase = $5, doubt = $6, applies = applies + $7, why = $8,
                 moved_at = $9
             WHERE id = $1 AND epoch = $2 AND phase = $3 AND doubt = $4",
        )
        .bind(step.rotation.0)
        .bind(step.epoch)
        .bind(step.from.phase.as_str())
        .bind(i64::from(step.from.doubt))
        .bind(step.to.phase.as_str())
        .bind(i64::from(step.to.doubt))
        .bind(i64::from(sends))
        .bind(&step.why)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the rotation")?;
        if sends {
            self.touch_version(step, VersionTouch::Sent, now).await?;
        }
        if step.to.phase == Phase::Committed {
            self.touch_version(step, VersionTouch::Accepted, now)
                .await?;
            return self.make_current(step, now).await;
        }
        // The doubt about an earlier candidate outlasts the end of this one.
        let done = sqlx::query(
            "UPDATE accounts SET in_doubt = CASE WHEN $3 = 1 OR EXISTS (
                 SELECT 1 FROM rotations r WHERE r.account_id = $1 AND r.phase = 'abandoned'
                   AND r.doubt = 1 AND r.epoch > COALESCE((SELECT MAX(c.epoch) FROM rotations c
                     WHERE c.account_id = $1 AND c.phase = 'committed'), 0)) THEN 1 ELSE 0 END
             WHERE id = $1 AND epoch = $2",
        )
        .bind(step.account.0)
        .bind(step.epoch)
        .bind(i64::from(step.to.in_doubt()))
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the account's epoch")
    }

    async fn touch_version(
        &mut self,
        step: &Step,
        touch: VersionTouch,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let sql = match touch {
            VersionTouch::Sent => {
                "UPDATE credential_versions SET last_sent_at = $3 WHERE account_id = $1 AND version = $2"
            }
            VersionTouch::Accepted => {
                "UPDATE credential_versions SET accepted_at = $3 WHERE account_id = $1 AND version = $2"
            }
        };
        let done = sqlx::query(sql)
            .bind(step.account.0)
            .bind(step.version)
            .bind(now.0)
            .execute(&mut *self.inner)
            .await?;
        exactly(1, done.rows_affected(), "the credential version")
    }

    async fn make_current(&mut self, step: &Step, now: Timestamp) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE accounts SET current_version = $3, last_change_at = $4, in_doubt = 0,
                 last_test = 'passed', last_test_at = $4, next_override_at = NULL
             WHERE id = $1 AND epoch = $2",
        )
        .bind(step.account.0)
        .bind(step.epoch)
        .bind(step.version)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the account's epoch")
    }

    /// Makes a kept version current without the target: it was told so, not tested.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if a rotation came in between.
    pub async fn store_current(
        &mut self,
        account: AccountId,
        epoch: i64,
        version: i64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE accounts SET current_version = $3, last_change_at = $4,
                 last_test = 'never_tested', last_test_at = NULL
             WHERE id = $1 AND epoch = $2",
        )
        .bind(account.0)
        .bind(epoch)
        .bind(version)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the account's epoch")
    }

    /// Records what a test of the current version said.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn record_test(
        &mut self,
        account: AccountId,
        version: i64,
        verdict: &'static str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        // A version that was replaced meanwhile has no verdict any more.
        sqlx::query(
            "UPDATE accounts SET last_test = $3, last_test_at = $4
             WHERE id = $1 AND current_version = $2",
        )
        .bind(account.0)
        .bind(version)
        .bind(verdict)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        if verdict == "passed" {
            self.end_doubt(account, now).await?;
            sqlx::query(
                "UPDATE credential_versions SET accepted_at = $3
                 WHERE account_id = $1 AND version = $2",
            )
            .bind(account.0)
            .bind(version)
            .bind(now.0)
            .execute(&mut *self.inner)
            .await?;
        }
        Ok(())
    }

    /// Current works, and no candidate that was ever sent can land any more.
    async fn end_doubt(&mut self, account: AccountId, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE accounts SET in_doubt = 0
             WHERE id = $1 AND in_doubt = 1
               AND NOT EXISTS (SELECT 1 FROM rotations r WHERE r.account_id = $1 AND r.phase IN
                 ('ready', 'staged', 'applying', 'applied', 'verified', 'needs_operator'))
               AND NOT EXISTS (SELECT 1 FROM credential_versions v WHERE v.account_id = $1
                 AND v.accepted_at IS NULL AND v.last_sent_at > $2)",
        )
        .bind(account.0)
        .bind(now.minus(HORIZON).0)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Counts one login that may fail, before it is sent. `false`: the budget is spent.
    ///
    /// What was counted is forgotten once nothing has been counted for a whole window: so no span
    /// of that length ever holds more than the budget.
    ///
    /// # Errors
    /// [`StoreError`] of the database; then nothing may be sent.
    pub async fn spend_login(
        &mut self,
        account: AccountId,
        budget: i64,
        window_ms: i64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        sqlx::query(
            "INSERT INTO login_budget (account_id, window_at, spent) VALUES ($1, $2, 0)
             ON CONFLICT (account_id) DO UPDATE SET
                 spent = CASE WHEN login_budget.window_at <= $2 - $3 THEN 0
                     ELSE login_budget.spent END",
        )
        .bind(account.0)
        .bind(now.0)
        .bind(window_ms)
        .execute(&mut *self.inner)
        .await?;
        let done = sqlx::query(
            "UPDATE login_budget SET spent = spent + 1, window_at = $3
             WHERE account_id = $1 AND spent < $2",
        )
        .bind(account.0)
        .bind(budget)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Takes back one counted login: it has succeeded.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn refund_login(&mut self, account: AccountId) -> Result<(), StoreError> {
        // A window that has ended meanwhile has nothing left to take back.
        sqlx::query(
            "UPDATE login_budget SET spent = spent - 1 WHERE account_id = $1 AND spent > 0",
        )
        .bind(account.0)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}

enum VersionTouch {
    Sent,
    Accepted,
}

impl Store {
    /// The account's open rotation.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn open_rotation_of(
        &self,
        account: AccountId,
    ) -> Result<Option<RotationRow>, StoreError> {
        let row: Option<RawRotation> = sqlx::query_as(
            "SELECT id, account_id, epoch, phase, doubt, version, base_version, applies, why,
                 opened_at, moved_at
             FROM rotations WHERE account_id = $1 AND phase IN
                 ('ready', 'staged', 'applying', 'applied', 'verified', 'needs_operator')",
        )
        .bind(account.0)
        .fetch_optional(&self.read)
        .await?;
        row.map(RawRotation::row).transpose()
    }

    /// Open rotations of a claim's accounts.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn rotations_of_claim(&self, claim: ClaimId) -> Result<Vec<RotationRow>, StoreError> {
        let rows: Vec<RawRotation> = sqlx::query_as(
            "SELECT r.id, r.account_id, r.epoch, r.phase, r.doubt, r.version, r.base_version,
                 r.applies, r.why, r.opened_at, r.moved_at
             FROM jobs j JOIN rotations r ON r.account_id = j.account_id
             WHERE j.claim_id = $1 AND j.state = 'running' AND r.phase IN
                 ('ready', 'staged', 'applying', 'applied', 'verified', 'needs_operator')
             ORDER BY r.account_id",
        )
        .bind(claim.0)
        .fetch_all(&self.read)
        .await?;
        rows.into_iter().map(RawRotation::row).collect()
    }

    /// The latest rotations of an account, newest first.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn rotations(
        &self,
        account: AccountId,
        limit: i64,
    ) -> Result<Vec<RotationRow>, StoreError> {
        let rows: Vec<RawRotation> = sqlx::query_as(
            "SELECT id, account_id, epoch, phase, doubt, version, base_version, applies, why,
                 opened_at, moved_at
             FROM rotations WHERE account_id = $1 ORDER BY epoch DESC LIMIT $2",
        )
        .bind(account.0)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        rows.into_iter().map(RawRotation::row).collect()
    }
}

#[derive(sqlx::FromRow)]
struct RawRotation {
    id: i64,
    account_id: i64,
    epoch: i64,
    phase: String,
    doubt: i64,
    version: i64,
    base_version: Option<i64>,
    applies: i64,
    why: String,
    opened_at: i64,
    moved_at: i64,
}

impl RawRotation {
    fn row(self) -> Result<RotationRow, StoreError> {
        let phase = Phase::parse(&self.phase).ok_or(StoreError::Corrupt {
            table: "rotations",
            row: self.id,
            problem: "unknown phase",
        })?;
        Ok(RotationRow {
            id: RotationId(self.id),
            account: AccountId(self.account_id),
            epoch: self.epoch,
            state: Rotation {
                phase,
                doubt: self.doubt == 1,
            },
            version: self.version,
            base_version: self.base_version,
            applies: self.applies,
            why: self.why,
            opened_at: Timestamp(self.opened_at),
            moved_at: Timestamp(self.moved_at),
        })
    }
}
