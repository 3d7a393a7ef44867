//! Changes accounts of systems that are spoken to line by line, as a definition says.
//!
//! What a definition may hold stands in `docs/platforms.md`. It is read by `parse.rs` into the
//! types of `definition.rs`; `talk.rs` is one dialogue, `outcome.rs` what its end means, `session.rs`
//! what surrounds it.
//!
//! Invariant: a definition decides what is sent and what the answers mean, never whether a
//! credential is given up: after the commit has begun to leave, all doubt is
//! [`crate::Changed::Unknown`].

mod definition;
mod format;
mod guard;
mod library;
pub(crate) mod on_wire;
mod outcome;
mod parse;
mod plan;
mod screen;
mod session;
mod talk;
#[cfg(test)]
mod tests;
mod transcript;
mod undo;
mod words;

use std::sync::Arc;

use async_trait::async_trait;

use crate::ssh::{self, lent};
use crate::{
    Account, Class, Connector, Credential, DialogueTarget, Functional, Identity, Reason, Session,
    Target, TargetKind,
};
use session::DialogueSession;
use transcript::Transcript;

pub use definition::Dialogue;
pub use library::{Library, SCHEMA};
pub use parse::Fault;
pub use undo::{Before, Undoing};

/// The connector to systems whose platform is a definition.
#[derive(Debug, Default)]
pub struct Dialogues {
    undoing: Arc<Undoing>,
    transcript: Transcript,
}

impl Dialogues {
    /// The connector. Between sessions it only remembers which changes may still be taken back.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, which has every dialogue read out, for writing a definition: what was sent and
    /// what was heard, escape sequences removed, every secret of the dialogue as `<SENT>`.
    pub fn reading_out(read: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            transcript: Transcript::to(read),
            ..Self::default()
        }
    }
}

impl Dialogue {
    /// Says whether this account and this new password can be handed to the platform.
    ///
    /// # Errors
    /// A [`Reason`] of class [`Class::Refused`] naming what is wrong, never the secret.
    pub fn admit(&self, account: &Account, new: Option<&Credential>) -> Result<(), Reason> {
        guard::admit(account, new)?;
        match new.map(Credential::password).transpose()? {
            Some(password) => guard::fits(self, password),
            None => Ok(()),
        }
    }
}

fn dialogue_part(target: &Target) -> Result<&DialogueTarget, Reason> {
    if let TargetKind::Dialogue(part) = &target.kind {
        return Ok(part);
    }
    Err(Reason::system(
        Class::Incompatible,
        "this system's platform is no definition",
    ))
}

#[async_trait]
impl Connector for Dialogues {
    fn name(&self) -> &'static str {
        "dialogue"
    }

    fn admit(&self, account: &Account, credential: Option<&Credential>) -> Result<(), Reason> {
        guard::admit(account, credential)
    }

    async fn identify(&self, target: &Target) -> Result<Identity, Reason> {
        dialogue_part(target)?;
        Ok(Identity::Ssh(lent::host_key(target).await?))
    }

    async fn open(
        &self,
        target: &Target,
        functional: Option<&Functional>,
    ) -> Result<Arc<dyn Session>, Reason> {
        let part = dialogue_part(target)?;
        let pin = ssh::pinned(part.host_key.as_ref())?;
        let undoing = Arc::clone(&self.undoing);
        let transcript = self.transcript.clone();
        let session = DialogueSession::open(target, pin, part, functional, undoing, transcript);
        Ok(Arc::new(session.await?))
    }
}
