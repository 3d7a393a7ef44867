//! Reads a claim's accounts and gives each its candidate.
//!
//! Invariant: a candidate is sealed before it is bound to a statement, and committed with its
//! rotation before anything else happens to it.

use std::collections::HashMap;

use keywheel_connectors::{Account, Credential, Login, Secret};

use super::{Engine, EngineError, Finished, Log, Work};
use crate::generate;
use crate::model::Timestamp;
use crate::model::audit::Event;
use crate::model::credential::Part;
use crate::model::id::{RotationId, RuleId};
use crate::model::job::JobKind;
use crate::model::key_rule::KeyRule;
use crate::model::password_rule::PasswordRule;
use crate::model::rotation::{Phase, Rotation};
use crate::store::{
    AccountRow, Claim, ClaimedJob, Ending, NewRotation, NewVersion, RotationRow, SealedSecret, Tx,
};
use crate::vault::{Place, VaultError};

/// The audit trail's name of a staging.
pub(super) const STAGED: &str = "rotation.staged";

/// A candidate to be staged: the one that was given, or one that was drawn and sealed.
struct Candidate {
    version: i64,
    secret: Option<SealedSecret>,
}

/// Passwords that are drawn, at most, until a platform's definition takes one.
const DRAWS_MAX: usize = 1_000;

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
        let mut rotations: HashMap<i64, Vec<RotationRow>> = HashMap::new();
        for row in self.store.rotations_of_claim(claim.id).await? {
            rotations.entry(row.account.0).or_default().push(row);
        }
        let mut versions: HashMap<i64, HashMap<i64, SealedSecret>> = HashMap::new();
        for (account, version, secret) in self.store.versions_of_claim(claim.id).await? {
            versions
                .entry(account.0)
                .or_default()
                .insert(version, secret);
        }
        let mut works = Vec::with_capacity(claim.jobs.len());
        let mut refused = Vec::new();
        for job in claim.jobs.clone() {
            let id = job.account.0;
            let found = accounts.remove(&id).ok_or("the account is gone");
            match found.and_then(|account| Ok((address(&account)?, account))) {
                Ok((target, account)) => works.push(Work::new(
                    job,
                    account,
                    target,
                    rotations.remove(&id).unwrap_or_default(),
                    versions.remove(&id).unwrap_or_default(),
                    self.clock.now(),
                )),
                Err(problem) => refused.push(refuse(job, "no_account", problem)),
            }
        }
        Ok((works, refused))
    }

    /// Gives every job that begins with a password its candidate, all in one commit. Keys are
    /// drawn in their turn: that may take seconds.
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
            let begins = work.driven().first().copied();
            work.enter(begins.unwrap_or(Part::Password));
            let wanted = work.job.kind == JobKind::Rotate
                && begins == Some(Part::Password)
                && Self::wants_candidate(&work);
            if !wanted {
                ready.push((work, None));
                continue;
            }
            let given = work.given();
            match self.password(&work, given) {
                Ok(secret) => {
                    if let Some(unsent) = work.rotation.take() {
                        self.abandon_unsent(&mut tx, &unsent).await?;
                    }
                    let candidate = work.candidate(given, secret);
                    ready.push((work, Some(candidate)));
                }
                Err(StageError::Rule(problem)) => {
                    work.log.class = "refused";
                    work.log.note(problem);
                    work.skip(Part::Password, Ending::Failed);
                    if work.driven().is_empty() {
                        ended.push(work.finish());
                    } else {
                        ready.push((work, None));
                    }
                }
                Err(StageError::Engine(error)) => return Err(error),
            }
        }
        let mut begun: Vec<(&mut Work, Candidate)> = ready
            .iter_mut()
            .filter_map(|(work, candidate)| Some((work, candidate.take()?)))
            .collect();
        self.open_all(&mut tx, &mut begun).await?;
        tx.commit().await?;
        Ok((ready.into_iter().map(|(work, _)| work).collect(), ended))
    }

    /// True if the part has no rotation yet, or one that was never sent while another candidate
    /// has been given.
    pub(super) fn wants_candidate(work: &Work) -> bool {
        match (&work.rotation, work.given()) {
            (None, _) => true,
            (Some(row), Some(given)) => {
                row.version != given && row.state.phase == Phase::Staged && !row.state.doubt
            }
            (Some(_), None) => false,
        }
    }

    async fn abandon_unsent(&self, tx: &mut Tx, row: &RotationRow) -> Result<(), EngineError> {
        let write =
            super::commit::Write::step(row, row.state.give_up(), "another credential was given");
        let now = self.clock.now();
        tx.advance_all(&Vec::from_iter(&write.step), now).await?;
        tx.audit_all(&Vec::from_iter(&write.events), now).await?;
        Ok(())
    }

    /// Gives the part at hand a candidate in the middle of an attempt. `false`: its rule makes
    /// none, which is noted.
    pub(super) async fn restage(
        &self,
        claim: &Claim,
        work: &mut Work,
        given: Option<i64>,
    ) -> Result<bool, EngineError> {
        // The rotation before has moved the epoch; read it back.
        let account = self.store.account_row(work.id()).await?;
        work.account = account.ok_or(EngineError::LeaseLost)?;
        if let Some(version) = work.current()
            && !work.versions.contains_key(&version)
            && let Some(secret) = self.store.sealed_version(work.id(), version).await?
        {
            work.versions.insert(version, secret);
        }
        let drawn = match work.part {
            Part::Password => self.password(work, given),
            Part::Key => self.key(work, given).await,
        };
        let secret = match drawn {
            Ok(secret) => secret,
            Err(StageError::Engine(error)) => return Err(error),
            Err(StageError::Rule(problem)) => {
                work.log.class = "refused";
                work.log.note(problem);
                return Ok(false);
            }
        };
        let mut tx = self.store.begin().await?;
        tx.hold(claim.id, claim.node).await?;
        if let Some(open) = work.rotation.take()
            && !open.state.phase.is_final()
        {
            self.abandon_unsent(&mut tx, &open).await?;
        }
        let candidate = work.candidate(given, secret);
        self.open_all(&mut tx, &mut [(work, candidate)]).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Stages candidates: keeps those that were drawn, and opens a rotation to each.
    async fn open_all(
        &self,
        tx: &mut Tx,
        begun: &mut [(&mut Work, Candidate)],
    ) -> Result<(), EngineError> {
        let now = self.clock.now();
        let drawn: Vec<NewVersion> = begun
            .iter()
            .filter_map(|(work, candidate)| {
                Some(NewVersion {
                    account: work.id(),
                    version: candidate.version,
                    secret: candidate.secret.clone()?,
                    origin: match work.copied {
                        Some(_) if work.part == Part::Password => "synced",
                        _ => "generated",
                    },
                })
            })
            .collect();
        tx.add_versions(&drawn, now).await?;
        for (work, candidate) in &*begun {
            if let Some(copied) = &work.copied
                && work.part == Part::Password
                && candidate.secret.is_some()
            {
                let of = (copied.parent, copied.parent_version);
                tx.record_synced(work.id(), candidate.version, of).await?;
            }
        }
        let state = Rotation {
            phase: Phase::Staged,
            doubt: false,
        };
        let new: Vec<NewRotation> = begun
            .iter()
            .map(|(work, candidate)| NewRotation {
                account: work.id(),
                part: work.part,
                epoch: work.account.epoch + 1,
                version: candidate.version,
                state,
            })
            .collect();
        let ids = tx.open_rotations(&Vec::from_iter(&new), now).await?;
        let mut events = Vec::with_capacity(begun.len());
        for (((work, candidate), new), id) in begun.iter_mut().zip(&new).zip(ids) {
            let body = staged(id, new.version, &work.job);
            events.push(Event::by(work.job.actor.clone(), STAGED, work.id(), body));
            work.begin(id, new, candidate.secret.take(), now);
        }
        tx.audit_all(&Vec::from_iter(&events), now).await?;
        Ok(())
    }

    /// Draws a password by the account's rule, or takes the parent's, and seals it; `None` if one
    /// was given.
    fn password(
        &self,
        work: &Work,
        given: Option<i64>,
    ) -> Result<Option<SealedSecret>, StageError> {
        if given.is_some() {
            return Ok(None);
        }
        let secret = match &work.copied {
            Some(copied) => self.take_over(work, copied)?.map_err(StageError::Rule)?,
            None => self.draw_by_rule(work)?,
        };
        let place = Place::credential(work.id(), work.account.last_version + 1);
        let sealed = self.vault.seal(&place, &secret, self.dice.as_ref())?;
        Ok(Some(SealedSecret::Password(sealed.0)))
    }

    fn draw_by_rule(&self, work: &Work) -> Result<Secret, StageError> {
        let rule = PasswordRule::built_in(work.account.password_rule_id).ok_or_else(|| {
            StageError::Rule(format!(
                "password rule {} does not exist; give the account another one",
                work.account.password_rule_id
            ))
        })?;
        self.draw(rule, work)
    }

    /// Draws a password by a rule; a platform that is a definition may narrow it.
    fn draw(&self, mut rule: PasswordRule, work: &Work) -> Result<Secret, StageError> {
        let drawn = |rule: &PasswordRule| {
            generate::password(rule, self.dice.as_ref())
                .map_err(|error| StageError::Rule(error.to_string()))
        };
        let Some(dialogue) = &work.dialogue else {
            return drawn(&rule);
        };
        dialogue.narrow(&mut rule.minimum_length, &mut rule.maximum_length);
        for _ in 0..DRAWS_MAX {
            let secret = drawn(&rule)?;
            let candidate = Credential::from(secret.clone());
            if dialogue.admit(&work.target, Some(&candidate)).is_ok() {
                return Ok(secret);
            }
        }
        Err(StageError::Rule(format!(
            "the platform {} takes no password by the account's rule",
            dialogue.id()
        )))
    }

    /// Draws a key pair by the account's rule and seals it; `None` if one was given.
    async fn key(
        &self,
        work: &Work,
        given: Option<i64>,
    ) -> Result<Option<SealedSecret>, StageError> {
        if given.is_some() {
            return Ok(None);
        }
        let id = RuleId(work.account.key_rule_id);
        let rule = KeyRule::built_in(id).ok_or_else(|| {
            StageError::Rule(format!(
                "key rule {} does not exist; give the account another one",
                id.0
            ))
        })?;
        let dice = self.dice.clone();
        // On a thread of its own: primes take long to find.
        let drawn = tokio::task::spawn_blocking(move || generate::key_pair(&rule, dice.as_ref()))
            .await
            .map_err(|_| StageError::Rule("the generation of a key pair panicked".to_owned()))?
            .map_err(|error| StageError::Rule(error.to_string()))?;
        let version = work.account.last_version + 1;
        let place = Place::credential(work.id(), version);
        let private = self
            .vault
            .seal(&place, &drawn.given.private, self.dice.as_ref())?
            .0;
        let passphrase = match &drawn.given.passphrase {
            Some(passphrase) => {
                let place = Place::passphrase(work.id(), version);
                Some(self.vault.seal(&place, passphrase, self.dice.as_ref())?.0)
            }
            None => None,
        };
        Ok(Some(SealedSecret::Key {
            private,
            passphrase,
            public: drawn.public,
        }))
    }
}

impl Work {
    fn candidate(&self, given: Option<i64>, secret: Option<SealedSecret>) -> Candidate {
        let version = given.unwrap_or(self.account.last_version + 1);
        Candidate { version, secret }
    }

    /// Takes note of the rotation that is being opened.
    fn begin(
        &mut self,
        id: RotationId,
        new: &NewRotation,
        secret: Option<SealedSecret>,
        now: Timestamp,
    ) {
        self.rotation = Some(RotationRow {
            id,
            account: new.account,
            part: new.part,
            epoch: new.epoch,
            state: new.state,
            version: new.version,
            base_version: self.current(),
            applies: 0,
            why: String::new(),
            opened_at: now,
            moved_at: now,
        });
        self.account.epoch = new.epoch;
        self.account.last_version = self.account.last_version.max(new.version);
        if let Some(secret) = secret {
            self.versions.insert(new.version, secret);
        }
    }
}

/// What the audit trail keeps of a staging: which job it was for, and which order of that job.
pub(super) fn staged(rotation: RotationId, version: i64, job: &ClaimedJob) -> serde_json::Value {
    serde_json::json!({
        "rotation": rotation.0,
        "version": version,
        "job": job.id.0,
        "order": job.orders,
    })
}

enum StageError {
    /// The account's rule makes no candidate.
    Rule(String),
    Engine(EngineError),
}

impl From<EngineError> for StageError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<VaultError> for StageError {
    fn from(error: VaultError) -> Self {
        Self::Engine(error.into())
    }
}

/// How a connector addresses an account.
pub(super) fn address(account: &AccountRow) -> Result<Account, &'static str> {
    let login = Login::parse(&account.name)
        .map_err(|_| "the account's name holds a control character, a colon, or too much")?;
    Ok(Account {
        uses_own: account.use_own_credentials == 1,
        ..Account::named(login, account.distinguished_name.clone())
    })
}

/// How a domain knows an account that has no DN: by its principal name, or by `DOMAIN\name`.
pub(super) fn domain_login(account: &AccountRow) -> Option<Login> {
    let name = match (
        &account.user_principal_name,
        &account.domain_name,
        &account.sam_account_name,
    ) {
        (Some(principal), _, _) => principal.clone(),
        // A name with dots is the domain's DNS name, which has no place before a backslash.
        (None, Some(domain), Some(name)) if !domain.contains('.') => format!("{domain}\\{name}"),
        (None, _, Some(name)) => name.clone(),
        (None, _, None) => return None,
    };
    Login::parse(&name).ok()
}

fn refuse(job: ClaimedJob, class: &'static str, problem: &str) -> Finished {
    let mut log = Log {
        class,
        ..Log::default()
    };
    log.note(problem);
    log.finish(job, Ending::Failed)
}
