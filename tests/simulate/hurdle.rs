//! What the database does to its callers.
//!
//! Invariant: each trouble is one that a real database has, said in its own code.

use std::borrow::Cow;
use std::fmt;

use async_trait::async_trait;
use keywheel::store::{Hurdle, Moment, Pass};
use sqlx::error::{DatabaseError, ErrorKind};

use crate::stage::{Stage, Wait};
use crate::tally::Hit;

/// What the store is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    BeginBusy,
    BeginFails,
    ReadFails,
    CommitBusy,
    CommitConflicts,
    Full,
    ReadOnly,
    LostDone,
    LostUndone,
    DieBefore,
    DieAfter,
    DieBetween,
}

impl Trouble {
    pub(crate) const ALL: [Self; 12] = [
        Self::BeginBusy,
        Self::BeginFails,
        Self::ReadFails,
        Self::CommitBusy,
        Self::CommitConflicts,
        Self::Full,
        Self::ReadOnly,
        Self::LostDone,
        Self::LostUndone,
        Self::DieBefore,
        Self::DieAfter,
        Self::DieBetween,
    ];

    fn hit(self) -> Hit {
        match self {
            Self::BeginBusy => Hit::BeginBusy,
            Self::BeginFails => Hit::BeginFails,
            Self::ReadFails => Hit::ReadFails,
            Self::CommitBusy => Hit::CommitBusy,
            Self::CommitConflicts => Hit::CommitConflicts,
            Self::Full => Hit::Full,
            Self::ReadOnly => Hit::ReadOnly,
            Self::LostDone => Hit::LostDone,
            Self::LostUndone => Hit::LostUndone,
            Self::DieBefore => Hit::DieBeforeCommit,
            Self::DieAfter => Hit::DieAfterCommit,
            Self::DieBetween => Hit::DieBetween,
        }
    }

    /// When it happens.
    fn is_at(self, at: Moment) -> bool {
        match self {
            Self::BeginBusy | Self::BeginFails => at == Moment::Begin,
            Self::ReadFails => at == Moment::Read,
            Self::CommitBusy
            | Self::CommitConflicts
            | Self::Full
            | Self::ReadOnly
            | Self::LostUndone
            | Self::DieBefore => at == Moment::Commit,
            Self::LostDone | Self::DieAfter => at == Moment::Committed,
            Self::DieBetween => matches!(at, Moment::Read | Moment::Begin),
        }
    }

    fn kills(self) -> bool {
        matches!(self, Self::DieBefore | Self::DieAfter | Self::DieBetween)
    }

    /// What the driver says. SQLite's codes; the store reads PostgreSQL's as well.
    fn error(self) -> sqlx::Error {
        let coded = |code| sqlx::Error::Database(Box::new(Coded(code)));
        match self {
            Self::BeginBusy => coded("5"),
            Self::CommitBusy => coded("517"),
            Self::CommitConflicts => coded("40001"),
            Self::Full => coded("13"),
            Self::ReadOnly => coded("8"),
            Self::BeginFails
            | Self::ReadFails
            | Self::LostDone
            | Self::LostUndone
            | Self::DieBefore
            | Self::DieAfter
            | Self::DieBetween => sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()),
        }
    }
}

/// An error of the database's own.
#[derive(Debug)]
struct Coded(&'static str);

impl fmt::Display for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "made up, code {}", self.0)
    }
}

impl std::error::Error for Coded {}

impl DatabaseError for Coded {
    fn message(&self) -> &'static str {
        "made up"
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.0.into())
    }

    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl Stage {
    /// What happens at this operation, if anything.
    fn trouble(&self, at: Moment) -> Option<Trouble> {
        let mut inner = self.lock();
        if at == Moment::Commit && inner.lasting > 0 {
            inner.lasting -= 1;
            return Some(Trouble::Full);
        }
        let (countdown, trouble) = inner.armed.as_mut()?;
        if !trouble.is_at(at) {
            return None;
        }
        if *countdown > 0 {
            *countdown -= 1;
            return None;
        }
        let trouble = *trouble;
        inner.armed = None;
        Some(trouble)
    }

    async fn suffer(&self, at: Moment) -> Result<(), sqlx::Error> {
        let Some(trouble) = self.trouble(at) else {
            return Ok(());
        };
        let has_process = self.current().is_some_and(|who| who.process.is_some());
        if trouble.kills() && !has_process {
            return Ok(());
        }
        self.hit(trouble.hit());
        self.note(format!("  {trouble:?}"));
        if matches!(trouble, Trouble::Full | Trouble::ReadOnly) {
            let mut inner = self.lock();
            if inner.lasting == 0 && inner.die.percent(30) {
                let writes = inner.die.below(6);
                inner.lasting = u32::try_from(writes).unwrap();
            }
        }
        if trouble.kills() {
            self.die().await;
        }
        Err(trouble.error())
    }
}

#[async_trait]
impl Hurdle for Stage {
    async fn pass(&self, at: Moment) -> Result<Pass, sqlx::Error> {
        if self.current().is_none() {
            return Ok(Box::new(()));
        }
        match at {
            Moment::Read | Moment::Begin => {
                if at == Moment::Begin || !self.is_inside() {
                    let what = if at == Moment::Begin { "begin" } else { "read" };
                    self.gate(Wait::Database(what)).await;
                }
                self.suffer(at).await?;
                Ok(Box::new(self.busy(at == Moment::Begin)))
            }
            Moment::Commit | Moment::Committed => {
                if at == Moment::Committed {
                    self.lock().tally.commits += 1;
                }
                self.suffer(at).await?;
                Ok(Box::new(()))
            }
        }
    }
}
