//! Reads a claim's accounts and gives each its candidate.
//!
//! Invariant: a candidate is sealed before it is bound to a statement, and committed with its
//! rotation before anything else happens to it.

use std::collections::HashMap;

use keywheel_connectors::{Account, Login};

use super::{Engine, EngineError, Finished, Log, Work, credential_place};
use crate::generate;
use crate::model::audit::Event;
use crate::model::id::{AccountId, JobId, RotationId};
use crate::model::job::JobKind;
use crate::model::password_rule::PasswordRule;
use crate::model::rotation::{Phase, Rotation};
use crate::store::{
    AccountRow, Claim, ClaimedJob, Ending, NewVersion, RotationRow, StoreError, Tx,
};

/// The audit trail's name of a staging.
pub(super) const STAGED: &str = "rotation.staged";

/// A candidate that was committed.
struct Staged {
    rotation: RotationRow,
    version: i64,
    sealed: Option<Vec<u8>>,
}

impl Engine {
    /// Reads all that a claim's jobs need. Jobs that cannot be tried come back ended.
    pub(super) async fn load(
        &self,
        claim: &Claim,
    ) -> Result<(Vec<Work>, Vec<Finished>), EngineError> {
        let mut accounts: HashMap<i64, AccountRow> = self
            .store
            .accounts_of_claim(claim.id)
            .await?
            .into_iter()
            .map(|account| (account.id, account))
            .collect();
        let mut rotations: HashMap<i64, RotationRow> = self
            .store
            .rotations_of_claim(claim.id)
            .await?
            .into_iter()
            .map(|row| (row.account.0, row))
            .collect();
        let mut versions: HashMap<i64, HashMap<i64, Vec<u8>>> = HashMap::new();
        for (account, version, sealed) in self.store.versions_of_claim(claim.id).await? {
            versions
                .entry(account.0)
                .or_default()
                .insert(version, sealed);
        }
        let mut works = Vec::with_capacity(claim.jobs.len());
        let mut refused = Vec::new();
        for job in claim.jobs.clone() {
            let id = job.account.0;
            let found = accounts.remove(&id).ok_or("the account is gone");
            match found.and_then(|account| Ok((address(&account)?, account))) {
                Ok((target, account)) => works.push(Work {
                    job,
                    account,
                    target,
                    rotation: rotations.remove(&id),
                    versions: versions.remove(&id).unwrap_or_default(),
                    log: Log::default(),
                }),
                Err(problem) => refused.push(refuse(job, "no_account", problem)),
            }
        }
        Ok((works, refused))
    }

    /// Gives every rotation job without a rotation its candidate, all in one commit.
    pub(super) async fn stage(
        &self,
        claim: &Claim,
        works: Vec<Work>,
    ) -> Result<(Vec<Work>, Vec<Finished>), EngineError> {
        let mut ready = Vec::with_capacity(works.len());
        let mut ended = Vec::new();
        let mut tx = self.store.begin().await?;
        tx.hold(claim.id, claim.node).await?;
        for mut work in works {
            let wanted = work.job.kind == JobKind::Rotate && Self::wants_candidate(&work);
            if !wanted {
                ready.push(work);
                continue;
            }
            if let Some(unsent) = work.rotation.take() {
                self.abandon_unsent(&mut tx, &unsent).await?;
            }
            match self.stage_one(&mut tx, &work, work.job.version).await {
                Ok(staged) => {
                    work.take(staged);
                    ready.push(work);
                }
                Err(StageError::Rule(problem)) => {
                    ended.push(refuse(work.job, "refused", &problem));
                }
                Err(StageError::Engine(error)) => return Err(error),
            }
        }
        tx.commit().await?;
        Ok((ready, ended))
    }

    /// True if the job has no rotation yet, or one that was never sent while another password
    /// has been given.
    fn wants_candidate(work: &Work) -> bool {
        match (&work.rotation, work.job.version) {
            (None, _) => true,
            (Some(row), Some(given)) => {
                row.version != given && row.state.phase == Phase::Staged && !row.state.doubt
            }
            (Some(_), None) => false,
        }
    }

    async fn abandon_unsent(&self, tx: &mut Tx, row: &RotationRow) -> Result<(), EngineError> {
        let write =
            super::commit::Write::step(row, row.state.give_up(), "another password was given");
        for step in &write.steps {
            tx.advance(step, self.clock.now()).await?;
        }
        for event in &write.events {
            tx.audit(event, self.clock.now()).await?;
        }
        Ok(())
    }

    /// Gives an account another candidate in the middle of an attempt.
    pub(super) async fn restage(
        &self,
        claim: &Claim,
        work: &mut Work,
        given: Option<i64>,
    ) -> Result<(), EngineError> {
        // The rotation before has moved the epoch; read it back.
        let account = self.store.account_row(work.account.id()).await?;
        work.account = account.ok_or(EngineError::LeaseLost)?;
        if let Some(version) = work.account.current_version
            && !work.versions.contains_key(&version)
            && let Some(sealed) = self
                .store
                .sealed_version(work.account.id(), version)
                .await?
        {
            work.versions.insert(version, sealed);
        }
        let mut tx = self.store.begin().await?;
        tx.hold(claim.id, claim.node).await?;
        let staged = match self.stage_one(&mut tx, work, given).await {
            Ok(staged) => staged,
            Err(StageError::Engine(error)) => return Err(error),
            // The first candidate was drawn by the same rule.
            Err(StageError::Rule(_)) => return Err(EngineError::LeaseLost),
        };
        tx.commit().await?;
        work.take(staged);
        Ok(())
    }

    async fn stage_one(
        &self,
        tx: &mut Tx,
        work: &Work,
        given: Option<i64>,
    ) -> Result<Staged, StageError> {
        let now = self.clock.now();
        let id = work.account.id();
        let (version, sealed) = if let Some(version) = given {
            (version, None)
        } else {
            let version = work.account.last_version + 1;
            (version, Some(self.draw(work, id, version)?))
        };
        if let Some(sealed) = &sealed {
            let new = NewVersion {
                account: id,
                version,
                sealed: sealed.clone(),
                origin: "generated",
            };
            tx.add_version(&new, now).await?;
        }
        let epoch = work.account.epoch + 1;
        let state = Rotation {
            phase: Phase::Staged,
            doubt: false,
        };
        let rotation = tx.open_rotation(id, epoch, version, state, now).await?;
        let body = staged(rotation, version, work.job.id);
        tx.audit(&Event::by(work.job.actor.clone(), STAGED, id, body), now)
            .await?;
        Ok(Staged {
            rotation: RotationRow {
                id: rotation,
                account: id,
                epoch,
                state,
                version,
                base_version: work.account.current_version,
                applies: 0,
                why: String::new(),
                opened_at: now,
                moved_at: now,
            },
            version,
            sealed,
        })
    }

    /// Draws a candidate by the account's rule and seals it.
    fn draw(&self, work: &Work, id: AccountId, version: i64) -> Result<Vec<u8>, StageError> {
        let rule = PasswordRule::built_in(work.account.password_rule_id).ok_or_else(|| {
            StageError::Rule(format!(
                "password rule {} does not exist; give the account another one",
                work.account.password_rule_id
            ))
        })?;
        let secret = generate::password(&rule, self.dice.as_ref())
            .map_err(|error| StageError::Rule(error.to_string()))?;
        let place = credential_place(id, version);
        let sealed = self
            .vault
            .seal(&place, &secret, self.dice.as_ref())
            .map_err(|error| StageError::Engine(error.into()))?;
        Ok(sealed.0)
    }
}

impl Work {
    fn take(&mut self, staged: Staged) {
        self.account.epoch = staged.rotation.epoch;
        self.account.last_version = self.account.last_version.max(staged.version);
        if let Some(sealed) = staged.sealed {
            self.versions.insert(staged.version, sealed);
        }
        self.rotation = Some(staged.rotation);
    }
}

/// What the audit trail keeps of a staging: which job it was for.
pub(super) fn staged(rotation: RotationId, version: i64, job: JobId) -> serde_json::Value {
    serde_json::json!({"rotation": rotation.0, "version": version, "job": job.0})
}

enum StageError {
    /// The account's rule makes no password.
    Rule(String),
    Engine(EngineError),
}

impl From<StoreError> for StageError {
    fn from(error: StoreError) -> Self {
        Self::Engine(error.into())
    }
}

/// How a connector addresses an account.
pub(super) fn address(account: &AccountRow) -> Result<Account, &'static str> {
    let login = Login::parse(&account.name)
        .map_err(|_| "the account's name holds a control character, a colon, or too much")?;
    Ok(Account::named(login, account.distinguished_name.clone()))
}

fn refuse(job: ClaimedJob, class: &'static str, problem: &str) -> Finished {
    let mut log = Log {
        class,
        ..Log::default()
    };
    log.note(problem);
    log.finish(job, Ending::Failed)
}
