//! Rotations and credential versions: each step a compare-and-swap.
//!
//! Invariant: a step is written only if epoch, phase and doubt are still the ones it was decided
//! upon; a version's secret is inserted once and never overwritten.

use super::line::LineStatements;
use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::credential::Part;
use crate::model::id::{AccountId, ClaimId, RotationId};
use crate::model::rotation::{Phase, Rotation};

/// A rotation as it stands in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationRow {
    /// Its id.
    pub id: RotationId,
    /// Whose.
    pub account: AccountId,
    /// Which part of its credential.
    pub part: Part,
    /// The account's epoch when it was opened.
    pub epoch: i64,
    /// Where it stands.
    pub state: Rotation,
    /// The candidate.
    pub version: i64,
    /// The part's current version when it was opened.
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
    /// Which part of its credential.
    pub part: Part,
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
    /// [`StoreError::Stale`] if the account's epoch has moved; [`StoreError::Conflict`] if the part
    /// has an open rotation.
    pub async fn open_rotation(
        &mut self,
        account: AccountId,
        part: Part,
        epoch: i64,
        version: i64,
        state: Rotation,
        now: Timestamp,
    ) -> Result<RotationId, StoreError> {
        let statements = LineStatements::of(part);
        let done = sqlx::query(statements.open)
            .bind(account.0)
            .bind(epoch)
            .bind(i64::from(state.in_doubt()))
            .execute(&mut *self.inner)
            .await?;
        exactly(1, done.rows_affected(), "the account's epoch")?;
        let id: RotationId = self.id(RotationId::KIND).await?;
        sqlx::query(statements.insert)
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
             WHERE id = $1 AND epoch = $2 AND phase = $3 AND doubt = $4
               AND account_id = $10 AND part = $11",
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
        .bind(step.account.0)
        .bind(step.part.as_str())
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
        let done = sqlx::query(LineStatements::of(step.part).doubt)
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
                "UPDATE credential_versions SET last_sent_at = $3, removed_at = NULL WHERE account_id = $1 AND version = $2"
            }
            VersionTouch::Accepted => {
                "UPDATE credential_versions SET accepted_at = $3, removed_at = NULL WHERE account_id = $1 AND version = $2"
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
        let done = sqlx::query(LineStatements::of(step.part).promote)
            .bind(step.account.0)
            .bind(step.epoch)
            .bind(step.version)
            .bind(now.0)
            .execute(&mut *self.inner)
            .await?;
        exactly(1, done.rows_affected(), "the account's epoch")
    }
}

enum VersionTouch {
    Sent,
    Accepted,
}

impl Store {
    /// The open rotation of one part of an account's credential.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn open_rotation_of(
        &self,
        account: AccountId,
        part: Part,
    ) -> Result<Option<RotationRow>, StoreError> {
        let row: Option<RawRotation> = sqlx::query_as(
            "SELECT id, account_id, part, epoch, phase, doubt, version, base_version, applies, why,
                 opened_at, moved_at
             FROM rotations WHERE account_id = $1 AND part = $2 AND phase IN
                 ('ready', 'staged', 'applying', 'applied', 'verified', 'needs_operator')",
        )
        .bind(account.0)
        .bind(part.as_str())
        .fetch_optional(&self.read)
        .await?;
        row.map(RawRotation::row).transpose()
    }

    /// The latest rotation of one part of an account's credential, open or ended.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn last_rotation(
        &self,
        account: AccountId,
        part: Part,
    ) -> Result<Option<RotationRow>, StoreError> {
        let row: Option<RawRotation> = sqlx::query_as(
            "SELECT id, account_id, part, epoch, phase, doubt, version, base_version, applies, why,
                 opened_at, moved_at
             FROM rotations WHERE account_id = $1 AND part = $2 ORDER BY epoch DESC LIMIT 1",
        )
        .bind(account.0)
        .bind(part.as_str())
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
            "SELECT r.id, r.account_id, r.part, r.epoch, r.phase, r.doubt, r.version, r.base_version,
                 r.applies, r.why, r.opened_at, r.moved_at
             FROM jobs j JOIN rotations r ON r.account_id = j.account_id
             WHERE j.claim_id = $1 AND j.state = 'running' AND r.phase IN
                 ('ready', 'staged', 'applying', 'applied', 'verified', 'needs_operator')
             ORDER BY r.account_id, r.part",
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
            "SELECT id, account_id, part, epoch, phase, doubt, version, base_version, applies, why,
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
    part: String,
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
        let corrupt = |problem| StoreError::Corrupt {
            table: "rotations",
            row: self.id,
            problem,
        };
        let phase = Phase::parse(&self.phase).ok_or(corrupt("unknown phase"))?;
        let part = Part::parse(&self.part).ok_or(corrupt("unknown part"))?;
        Ok(RotationRow {
            id: RotationId(self.id),
            account: AccountId(self.account_id),
            part,
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
