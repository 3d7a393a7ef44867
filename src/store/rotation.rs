//! Rotations and credential versions: each step a compare-and-swap.
//!
//! Invariant: a step is written only if epoch, phase and doubt are still the ones it was decided
//! upon; a version's secret is inserted once and never overwritten.

use std::sync::LazyLock;

use super::line::LineStatements;
use super::wide::Wide;
use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::credential::Part;
use crate::model::id::{AccountId, ClaimId, RotationId};
use crate::model::rotation::{HORIZON, Phase, Rotation};

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

/// A rotation to be opened, in Staged or (to adopt a version that may be live) in Applying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRotation {
    /// Whose.
    pub account: AccountId,
    /// Which part of its credential.
    pub part: Part,
    /// The account's epoch after its opening.
    pub epoch: i64,
    /// The candidate.
    pub version: i64,
    /// Where it begins.
    pub state: Rotation,
}

static MOVE: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        1,
        "rotation, account, line, opened, stood, doubted, stands, doubtful, sends, because",
        "UPDATE rotations SET phase = r.stands, doubt = r.doubtful, applies = applies + r.sends,
             why = r.because, moved_at = $1
         FROM r WHERE id = r.rotation AND epoch = r.opened AND phase = r.stood
           AND doubt = r.doubted AND account_id = r.account AND part = r.line",
    )
});
static SENT: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        1,
        "account, candidate",
        "UPDATE credential_versions SET last_sent_at = $1, removed_at = NULL
         FROM r WHERE account_id = r.account AND version = r.candidate",
    )
});
static ACCEPTED: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        1,
        "account, candidate",
        "UPDATE credential_versions SET accepted_at = $1, removed_at = NULL
         FROM r WHERE account_id = r.account AND version = r.candidate",
    )
});

impl Step {
    /// The candidate goes to the target.
    pub fn sends(&self) -> bool {
        self.from.phase == Phase::Staged && self.to.phase == Phase::Applying
    }

    /// The candidate becomes current.
    pub fn promotes(&self) -> bool {
        self.to.phase == Phase::Committed
    }

    /// What the account says of the doubt may have to change.
    pub fn moves_doubt(&self) -> bool {
        !self.promotes() && (self.to.phase.is_final() || self.from.in_doubt() != self.to.in_doubt())
    }
}

impl Tx {
    /// Opens a rotation.
    ///
    /// # Errors
    /// As [`Tx::open_rotations`].
    pub async fn open_rotation(
        &mut self,
        new: &NewRotation,
        now: Timestamp,
    ) -> Result<RotationId, StoreError> {
        let ids = self.open_rotations(&[new], now).await?;
        ids.first().copied().ok_or(StoreError::Stale {
            what: "the account's epoch",
        })
    }

    /// Opens a rotation of each of several accounts; their ids, in the same order.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if an account's epoch has moved; [`StoreError::Conflict`] if a part
    /// has an open rotation.
    pub async fn open_rotations(
        &mut self,
        new: &[&NewRotation],
        now: Timestamp,
    ) -> Result<Vec<RotationId>, StoreError> {
        let mut rows = Vec::with_capacity(new.len());
        for new in new {
            rows.push((self.id::<RotationId>(RotationId::KIND).await?, *new));
        }
        for part in Part::ALL {
            let rows: Vec<_> = rows.iter().filter(|(_, new)| new.part == part).collect();
            let statements = LineStatements::of(part);
            for cut in statements.open.cuts(&rows) {
                let mut query = sqlx::query(cut.text);
                for (account, (_, new)) in cut.rows(|(_, new)| new.account.0) {
                    query = query
                        .bind(account)
                        .bind(new.epoch)
                        .bind(i64::from(new.state.in_doubt()));
                }
                let done = query.execute(&mut *self.inner).await?;
                exactly(cut.len(), done.rows_affected(), "the account's epoch")?;
            }
            for cut in statements.insert.cuts(&rows) {
                let mut query = sqlx::query(cut.text).bind(now.0);
                for (id, (_, new)) in cut.rows(|(id, _)| id.0) {
                    query = query
                        .bind(id)
                        .bind(new.account.0)
                        .bind(new.epoch)
                        .bind(new.state.phase.as_str())
                        .bind(i64::from(new.state.doubt))
                        .bind(new.version);
                }
                let done = query.execute(&mut *self.inner).await.map_err(|error| {
                    StoreError::from(error).about("the account's open rotation")
                })?;
                exactly(cut.len(), done.rows_affected(), "the account")?;
            }
        }
        Ok(rows.into_iter().map(|(id, _)| id).collect())
    }

    /// Writes one step.
    ///
    /// # Errors
    /// As [`Tx::advance_all`].
    pub async fn advance(&mut self, step: &Step, now: Timestamp) -> Result<(), StoreError> {
        self.advance_all(&[step], now).await
    }

    /// Writes a step of each of several rotations: compare-and-swap on epoch, phase and doubt.
    ///
    /// A step to Applying from Staged counts an apply; a step to Committed makes the candidate
    /// current.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if one of the rotations is no longer where its step was decided.
    pub async fn advance_all(&mut self, steps: &[&Step], now: Timestamp) -> Result<(), StoreError> {
        for cut in MOVE.cuts(steps) {
            let mut query = sqlx::query(cut.text).bind(now.0);
            for (id, step) in cut.rows(|step| step.rotation.0) {
                query = query
                    .bind(id)
                    .bind(step.account.0)
                    .bind(step.part.as_str())
                    .bind(step.epoch)
                    .bind(step.from.phase.as_str())
                    .bind(i64::from(step.from.doubt))
                    .bind(step.to.phase.as_str())
                    .bind(i64::from(step.to.doubt))
                    .bind(i64::from(step.sends()))
                    .bind(&step.why);
            }
            let done = query.execute(&mut *self.inner).await?;
            exactly(cut.len(), done.rows_affected(), "the rotation")?;
        }
        let of = |wanted: fn(&Step) -> bool| -> Vec<&Step> {
            steps.iter().copied().filter(|step| wanted(step)).collect()
        };
        let (sent, promoted) = (of(Step::sends), of(Step::promotes));
        self.sends
            .extend(sent.iter().map(|step| (step.account.0, step.version)));
        self.touch_versions(&SENT, &sent, now).await?;
        self.touch_versions(&ACCEPTED, &promoted, now).await?;
        for part in Part::ALL {
            self.make_current(part, &promoted, now).await?;
            self.mark_doubt(part, &of(Step::moves_doubt), now).await?;
        }
        Ok(())
    }

    async fn touch_versions(
        &mut self,
        touch: &Wide,
        steps: &[&Step],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for cut in touch.cuts(steps) {
            let mut query = sqlx::query(cut.text).bind(now.0);
            for (account, step) in cut.rows(|step| step.account.0) {
                query = query.bind(account).bind(step.version);
            }
            let done = query.execute(&mut *self.inner).await?;
            exactly(cut.len(), done.rows_affected(), "the credential version")?;
        }
        Ok(())
    }

    async fn make_current(
        &mut self,
        part: Part,
        steps: &[&Step],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for cut in LineStatements::of(part).promote.cuts(&of_part(part, steps)) {
            let mut query = sqlx::query(cut.text).bind(now.0).bind(now.minus(HORIZON).0);
            for (account, step) in cut.rows(|step| step.account.0) {
                query = query.bind(account).bind(step.epoch).bind(step.version);
            }
            let done = query.execute(&mut *self.inner).await?;
            exactly(cut.len(), done.rows_affected(), "the account's epoch")?;
        }
        Ok(())
    }

    async fn mark_doubt(
        &mut self,
        part: Part,
        steps: &[&Step],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for cut in LineStatements::of(part).doubt.cuts(&of_part(part, steps)) {
            let mut query = sqlx::query(cut.text).bind(now.minus(HORIZON).0);
            for (account, step) in cut.rows(|step| step.account.0) {
                let doubt = i64::from(step.to.in_doubt());
                query = query.bind(account).bind(step.epoch).bind(doubt);
            }
            let done = query.execute(&mut *self.inner).await?;
            exactly(cut.len(), done.rows_affected(), "the account's epoch")?;
        }
        Ok(())
    }
}

fn of_part<'a>(part: Part, steps: &[&'a Step]) -> Vec<&'a Step> {
    steps
        .iter()
        .copied()
        .filter(|step| step.part == part)
        .collect()
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
