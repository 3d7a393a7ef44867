//! Finds out whether the database has come back older than it was, and recovers what it has
//! forgotten at a bounded rate.
//!
//! Invariant: what was read from the database or written to the journal once is never taken for
//! unsaid; nothing is tested or changed here without an operator's consent.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::Scheduler;
use crate::escrow::{Echo, EchoError, Echoed, EscrowError, Journal, Owner, Print};
use crate::model::Timestamp;
use crate::model::audit::Event;
use crate::model::credential::Parts;
use crate::model::id::{AccountId, SystemId};
use crate::model::job::{Cause, JobKind, Priority};
use crate::model::regression::Consent;
use crate::store::{ForgottenValue, KEPT_KINDS, Named, NewJob, NewRegression, Store, StoreError};

/// Values that are read at once.
const PAGE: i64 = 500;
/// The span that the rate of recovery is counted in.
const RATE_SPAN: Duration = Duration::from_mins(1);

/// Why nobody knows whether the database has come back older.
#[derive(Debug, thiserror::Error)]
pub enum RegressionError {
    /// Ask again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Repair the file.
    #[error(transparent)]
    Echo(#[from] EchoError),
    /// Repair the journal.
    #[error(transparent)]
    Escrow(#[from] EscrowError),
    /// Name the right database, or accept this one.
    #[error("{path} is of another database, store {found}", path = path.display())]
    OtherStore {
        /// The echo.
        path: PathBuf,
        /// Whose it is.
        found: String,
    },
}

/// Why the database is compared with what is remembered of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Nothing speaks against it.
    Nothing,
    /// A node has found that it has forgotten something, which is on record.
    Peer,
    /// It has forgotten something, whatever its generation says.
    Proof,
}

/// What a node remembers of the database outside of it.
#[derive(Clone, Debug)]
pub struct Memory {
    /// The store's identity.
    pub store: String,
    /// How old it was.
    pub echo: Echo,
    /// What it has committed, by this node; `None`: no journal is kept.
    pub journal: Option<Arc<Journal>>,
    /// True if the journal can name the accounts concerned: it was this database's before.
    pub names: bool,
}

impl Memory {
    /// Compares the database with what is remembered of it, and records a regression if there is
    /// one. True if there is.
    ///
    /// `remembered`: the highest generation that this process has read; 0 for none.
    ///
    /// # Errors
    /// [`RegressionError`].
    pub async fn compare(
        &self,
        store: &Store,
        (remembered, ground): (i64, Ground),
        now: Timestamp,
    ) -> Result<bool, RegressionError> {
        let echoed = self.echo.read()?;
        if let Some(other) = echoed.as_ref().filter(|echoed| echoed.store != self.store) {
            return Err(RegressionError::OtherStore {
                path: self.echo.path().to_owned(),
                found: other.store.clone(),
            });
        }
        let expected = echoed.map_or(0, |echoed| echoed.generation).max(remembered);
        let generation = store.generation().await?;
        let is_sure = generation < expected || ground == Ground::Proof;
        let supposes = is_sure || ground == Ground::Peer;
        let named = match &self.journal {
            Some(journal) if self.names => Some(lacks(store, journal, supposes).await?),
            _ => None,
        };
        let is_short = named
            .as_ref()
            .is_some_and(|named| !named.values.is_empty() || !named.sent.is_empty());
        let is_older = is_sure || is_short;
        if is_older {
            let new = NewRegression {
                generation,
                expected,
                named,
            };
            record(store, &new, now).await?;
        }
        Ok(is_older)
    }

    /// Raises the generation; what it is now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn raise(&self, store: &Store) -> Result<i64, StoreError> {
        let mut tx = store.begin().await?;
        let generation = tx.raise_generation().await?;
        tx.commit().await?;
        Ok(generation)
    }

    /// Says outside of the database how old it is; after the commit that made it so.
    ///
    /// # Errors
    /// [`EchoError::File`].
    pub fn echo(&self, generation: i64, now: Timestamp) -> Result<(), EchoError> {
        self.echo.write(&Echoed {
            store: self.store.clone(),
            generation,
            at: now.to_string(),
        })
    }
}

async fn record(store: &Store, new: &NewRegression, now: Timestamp) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    let (id, accounts) = tx.record_regression(new, now).await?;
    let body = json!({
        "generation": new.generation,
        "expected": new.expected,
        "named": new.named.is_some(),
        "accounts": accounts,
    });
    tx.audit(&Event::by_service("store.regressed", id, body), now)
        .await?;
    tx.commit().await?;
    tracing::error!(
        generation = new.generation,
        expected = new.expected,
        accounts,
        by_journal = new.named.is_some(),
        "the database has come back older than it was: these accounts are not changed until an \
         operator recovers them; see `keywheel regression show`"
    );
    Ok(())
}

/// What the journal says that the database has committed, and the database does not have; where it
/// surely has forgotten something, what it may have committed too.
async fn lacks(store: &Store, journal: &Journal, supposes: bool) -> Result<Named, RegressionError> {
    // First the journal: what is committed meanwhile is in the database all the more.
    journal.flush().await?;
    let mut held = journal.held().await?;
    if supposes {
        held.suppose_committed();
    }
    for kind in KEPT_KINDS.iter().filter(|kind| kind.is_used()) {
        let mut after = (0, -1);
        loop {
            let page = store.kept_values(kind, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = (last.owner.word().1, last.version);
            for value in &page {
                let print = Print::of(&value.sealed);
                held.committed.remove(&print);
                if let Owner::FunctionalAccount(id) = value.owner
                    && held.is_outdated(value.part, print)
                {
                    tracing::error!(
                        functional_account = id,
                        part = value.part,
                        "the database holds an older credential of a functional account than the \
                         escrow journal; set it anew, or recover it from there"
                    );
                }
            }
        }
    }
    let values = forgotten(store, journal, held.committed).await?;
    let sent = held.sent.iter();
    let sent: Vec<(i64, i64, Timestamp)> = sent
        .map(|(account, (version, at))| (*account, *version, *at))
        .collect();
    let unsent = store.versions_unsent(&sent).await?;
    let sent = sent
        .into_iter()
        .filter(|(account, version, _)| unsent.contains(&(*account, *version)))
        .map(|(account, version, at)| (AccountId(account), version, at))
        .collect();
    Ok(Named { values, sent })
}

/// Those of these values that nobody knows yet to be forgotten.
async fn forgotten(
    store: &Store,
    journal: &Journal,
    prints: HashSet<Print>,
) -> Result<Vec<ForgottenValue>, RegressionError> {
    if prints.is_empty() {
        return Ok(Vec::new());
    }
    let places = journal.places(prints).await?;
    let keys: Vec<(i64, String)> = places
        .iter()
        .map(|one| (one.account, one.print.text()))
        .collect();
    let known = store.known_forgotten(&keys).await?;
    let known: HashSet<(i64, String)> = known.into_iter().collect();
    Ok(places
        .into_iter()
        .zip(keys)
        .filter(|(_, key)| !known.contains(key))
        .map(|(one, (_, print))| ForgottenValue {
            account: AccountId(one.account),
            version: one.version,
            print,
            at: one.at,
        })
        .collect())
}

/// What the ticks remember from one to the next.
#[derive(Debug, Default)]
pub(super) struct Recall {
    /// The highest generation that was read.
    generation: i64,
    /// This node's last beat that was committed.
    beat: i64,
    /// The newest regression that was looked at.
    regression: i64,
    /// True: the database has forgotten something, and the look at what has not succeeded yet.
    is_proven: bool,
    /// True: something may be missing, and the look at what has not succeeded yet.
    is_suspected: bool,
}

impl Recall {
    /// What the start has read.
    pub(super) fn at(generation: i64) -> Self {
        Self {
            generation,
            ..Self::default()
        }
    }
}

impl Scheduler {
    /// Has the journal say on its disk what the database has committed so far.
    pub(super) async fn note_commits(&self) {
        let memory = self.inner.options.memory.as_ref();
        if let Some(journal) = memory.and_then(|memory| memory.journal.as_ref())
            && let Err(error) = journal.flush().await
        {
            tracing::warn!(%error, "what the database has committed could not be noted");
        }
    }

    /// Takes note of this node's beat: one that was committed before is forgotten.
    pub(super) async fn heard_beat(&self, beat: i64) {
        let mut recall = self.inner.recall.lock().await;
        if beat <= recall.beat {
            tracing::error!(
                beat,
                remembered = recall.beat,
                "the database has forgotten this node's beats"
            );
            recall.is_proven = true;
        }
        recall.beat = beat;
    }

    /// Raises the generation and echoes it, and looks whether the database still has what it had.
    pub(super) async fn age(&self) -> Result<(), RegressionError> {
        let inner = &self.inner;
        let Some(memory) = &inner.options.memory else {
            return Ok(());
        };
        let mut recall = inner.recall.lock().await;
        let mut tx = inner.store.begin().await?;
        let raised = tx.raise_generation().await?;
        if raised <= recall.generation {
            // Its generation stays as it was found, for the record.
            tx.rollback().await?;
            recall.is_proven = true;
        } else {
            tx.commit().await?;
            recall.generation = raised;
            memory.echo(raised, inner.clock.now())?;
        }
        if let Some(journal) = &memory.journal {
            journal.flush().await?;
            let recent = journal.take_recent();
            let there = inner.store.versions_there(&recent).await?;
            recall.is_suspected |= recent.iter().any(|one| !there.contains(one));
        }
        let open = inner.store.open_regression().await?;
        let open = open.map_or(0, |open| open.id.0);
        // Another node has found it: this one's journal may name other accounts.
        let is_told = open > recall.regression && memory.journal.is_some();
        let ground = match (recall.is_proven, is_told) {
            (true, _) => Ground::Proof,
            (false, true) => Ground::Peer,
            (false, false) => Ground::Nothing,
        };
        if ground != Ground::Nothing || recall.is_suspected {
            let known = (recall.generation, ground);
            memory
                .compare(&inner.store, known, inner.clock.now())
                .await?;
            (recall.is_proven, recall.is_suspected) = (false, false);
            recall.generation = memory.raise(&inner.store).await?;
            memory.echo(recall.generation, inner.clock.now())?;
        }
        let open = inner.store.open_regression().await?;
        recall.regression = open.map_or(recall.regression, |open| open.id.0);
        Ok(())
    }

    /// Orders what operators have agreed to, so many in a minute at most, and ends regressions of
    /// which no account is left.
    pub(super) async fn recover(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        if inner.store.open_regression().await?.is_none() {
            return Ok(());
        }
        let now = inner.clock.now();
        let ordered = inner.store.recoveries_since(now.minus(RATE_SPAN)).await?;
        let left = inner.options.recoveries_per_minute - ordered;
        if left > 0 {
            for due in inner.store.recoveries_due(now, left).await? {
                self.order_recovery(due, now).await?;
            }
        }
        let mut tx = inner.store.begin().await?;
        let ended = tx.end_regressions(false, now).await?;
        for id in &ended {
            tx.audit(&Event::by_service("store.recovered", *id, json!({})), now)
                .await?;
        }
        tx.commit().await?;
        if !ended.is_empty() {
            tracing::info!("every account of which the database forgot a credential is recovered");
        }
        Ok(())
    }

    /// Orders one account's recovery; a job that waits for it goes on instead.
    async fn order_recovery(
        &self,
        (account, system, consent, actor): (AccountId, SystemId, Consent, String),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.inner.store.begin().await?;
        tx.lock_queue(system).await?;
        let open = tx.open_job(account).await?;
        if open.as_ref().is_some_and(|job| job.running) || !tx.take_turn(account, now).await? {
            return tx.rollback().await;
        }
        let kind = match consent {
            Consent::Reset => JobKind::Rotate,
            Consent::Test | Consent::None => JobKind::Test,
        };
        let job = match open {
            None => {
                let new = NewJob {
                    account,
                    system,
                    kind,
                    cause: Cause::Operator,
                    actor: actor.clone(),
                    priority: Priority::Routine,
                    run_at: now,
                    parts: Parts::ALL_THERE_ARE,
                    version: None,
                    key_version: None,
                };
                tx.enqueue(&new, now).await?
            }
            Some(open) => {
                if kind == JobKind::Rotate && open.kind == JobKind::Test {
                    let parts = Parts::ALL_THERE_ARE;
                    tx.redirect_job(open.id, parts, (None, None), &actor, now)
                        .await?;
                }
                tx.wake_job(account, (system, open.priority), now).await?;
                open.id
            }
        };
        let body = json!({"job": job.0, "consent": consent.as_str()});
        tx.audit(
            &Event::by(actor, "account.recovery_ordered", account, body),
            now,
        )
        .await?;
        tx.commit().await?;
        self.inner
            .metrics
            .jobs_enqueued(kind.as_str(), Cause::Operator.as_str(), 1);
        Ok(())
    }
}
