//! One functional session on one system: a dialogue for each change, a login for each check.
//!
//! Invariant: a change whose commit may have left is repeated by nobody here, and nothing is saved
//! on the system before a login with the new password has succeeded.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::definition::{Dialogue, Operation, Start};
use super::guard;
use super::outcome::Failed;
use super::talk::Talk;
use super::transcript::Transcript;
use super::undo::Undoing;
use super::words::Words;
use crate::ssh::lent::{Connection, Exchange, Refusal, on_thread, silent};
use crate::{
    Account, Changed, Checked, Class, Credential, DialogueTarget, Evidence, Functional, HostKey,
    Listing, Query, Reason, Scope, Session, Target,
};

/// The most commands that run at once. Command lines, and what they lock, are one to a system.
const COMMANDS_MAX: usize = 3;

/// The most connections that log in at once.
const LOGINS_MAX: usize = 4;

/// One functional session on one system.
pub(super) struct DialogueSession {
    target: Target,
    pin: HostKey,
    part: DialogueTarget,
    functional: Option<Functional>,
    undoing: Arc<Undoing>,
    transcript: Transcript,
    /// A functional login that waits for work.
    idle: Mutex<Option<Connection>>,
    dialogues: Semaphore,
    logins: Semaphore,
}

/// Which operation a dialogue follows.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Set,
    Own,
    Check,
}

fn operation(dialogue: &Dialogue, kind: Kind) -> Option<&Operation> {
    match kind {
        Kind::Set => dialogue.set_password.as_ref(),
        Kind::Own => dialogue.change_own.as_ref(),
        Kind::Check => Some(&dialogue.check),
    }
}

/// What a lost connection means for a change.
fn lost(exchange: &Exchange, reason: Reason) -> Changed {
    if exchange.was_sent() {
        let text = "the time was up after the change was sent";
        return Changed::Unknown(Reason::account(Class::Unknown, text));
    }
    Changed::NotNow(reason)
}

fn no_operation() -> Reason {
    let text = "the platform's definition has no such operation: it takes set_password with a \
                functional account, change_own without";
    Reason::account(Class::Incompatible, text)
}

impl DialogueSession {
    /// Connects, compares the host key, and logs the functional account in.
    pub(super) async fn open(
        target: &Target,
        pin: &HostKey,
        part: &DialogueTarget,
        functional: Option<&Functional>,
        undoing: Arc<Undoing>,
        transcript: Transcript,
    ) -> Result<Self, Reason> {
        let in_flight = target.in_flight.max(1);
        let operation = part.platform.set_password.as_ref();
        let is_shell = operation.is_some_and(|op| matches!(op.start, Start::Shell));
        let dialogues = if is_shell {
            1
        } else {
            in_flight.min(COMMANDS_MAX)
        };
        let session = Self {
            target: target.clone(),
            pin: pin.clone(),
            part: part.clone(),
            functional: functional.cloned(),
            undoing,
            transcript,
            idle: Mutex::new(None),
            dialogues: Semaphore::new(dialogues),
            logins: Semaphore::new(in_flight.min(LOGINS_MAX)),
        };
        let exchange = Exchange::new();
        let enter = session.enter(functional, &exchange);
        let entered = exchange.within(target.timeout, enter).await;
        entered
            .unwrap_or_else(|| Err(silent()))
            .map_err(|reason| Reason {
                scope: Scope::System,
                ..reason
            })?;
        Ok(session)
    }

    async fn enter(
        &self,
        functional: Option<&Functional>,
        exchange: &Exchange,
    ) -> Result<(), Reason> {
        let Some(functional) = functional else {
            return Connection::meet(&self.target, &self.pin, exchange).await;
        };
        // A key has no lines to look at.
        let credential = &functional.credential;
        let password = credential.password().is_ok().then_some(credential);
        guard::admit(&functional.account, password)?;
        let logged_in = self.log_in(&functional.account, &functional.credential, exchange);
        self.keep(logged_in.await.map_err(Refusal::reason)?);
        Ok(())
    }

    async fn log_in(
        &self,
        account: &Account,
        credential: &Credential,
        exchange: &Exchange,
    ) -> Result<Connection, Refusal> {
        let _place = self.logins.acquire().await;
        let login = format!("{}{}", account.login, self.part.platform.login_suffix);
        Connection::log_in(&self.target, &self.pin, login, credential, exchange).await
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Option<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, connection: Connection) {
        *self.idle() = Some(connection);
    }

    /// The longest that a dialogue may take: it ends by itself before the watchdog ends it, so
    /// that the system can be brought back to where it was.
    fn dialogue_limit(&self) -> Duration {
        let total = self.part.platform.limits.total;
        total.min(self.target.timeout * 9 / 10)
    }

    /// Waits for a place, no longer than half of the time.
    async fn place(&self) -> Option<SemaphorePermit<'_>> {
        let half = self.target.timeout / 2;
        timeout(half, self.dialogues.acquire()).await.ok()?.ok()
    }

    /// Goes through an operation's steps up to its saves.
    async fn talk(
        &self,
        connection: Connection,
        kind: Kind,
        words: &Words,
        exchange: &Exchange,
    ) -> Result<Talk, Failed> {
        let (dialogue, words) = (Arc::clone(&self.part.platform), words.clone());
        let (held, limit) = (exchange.clone(), self.dialogue_limit());
        let transcript = self.transcript.clone();
        let talked = on_thread(move || {
            let Some(operation) = operation(&dialogue, kind) else {
                return Err(Failed::before(no_operation()));
            };
            let talk = Talk::begin(
                connection, &dialogue, operation, words, &held, transcript, limit,
            );
            let mut talk = talk?;
            talk.go(&operation.steps, operation)?;
            Ok(talk)
        });
        talked.await.unwrap_or_else(|reason| {
            Err(Failed {
                changed: lost(exchange, reason),
                was_lost: false,
            })
        })
    }

    /// Who logs in for a change, and which operation that is.
    fn way<'a>(
        &'a self,
        account: &'a Account,
        current: Option<&'a Credential>,
    ) -> Result<(Kind, &'a Account, &'a Credential), Reason> {
        if account.uses_own {
            let missing = || {
                let text = "the account changes itself, and its current password is not known";
                Reason::account(Class::Privilege, text)
            };
            return Ok((Kind::Own, account, current.ok_or_else(missing)?));
        }
        let functional = self.functional.as_ref().ok_or_else(|| {
            let text = "this session has no functional account: it can only check";
            Reason::system(Class::Privilege, text)
        })?;
        Ok((Kind::Set, &functional.account, &functional.credential))
    }

    async fn set(
        &self,
        account: &Account,
        new: &Credential,
        current: Option<&Credential>,
        exchange: &Exchange,
    ) -> Result<Changed, Reason> {
        let (kind, who, credential) = self.way(account, current)?;
        if operation(&self.part.platform, kind).is_none() {
            return Err(no_operation());
        }
        let words = Words {
            account: account.login.as_str().to_owned(),
            new: Some(new.password()?.clone()),
            old: current.map(Credential::password).transpose()?.cloned(),
            enable: self.part.enable.clone(),
        };
        let Some(_place) = self.place().await else {
            let text = "its turn on this session did not come in time";
            return Err(Reason::account(Class::Busy, text));
        };
        let kept = match kind {
            Kind::Set => self.idle().take(),
            Kind::Own | Kind::Check => None,
        };
        if let Some(connection) = kept {
            match self.talk(connection, kind, &words, exchange).await {
                // The system has closed it meanwhile; as nothing was sent, once more.
                Err(failed) if failed.was_lost && !exchange.was_sent() => {}
                talked => return Ok(self.after(talked, kind, account, new).await),
            }
        }
        let logged_in = self.log_in(who, credential, exchange).await;
        let connection = logged_in.map_err(|refusal| of_functional(kind, refusal))?;
        let talked = self.talk(connection, kind, &words, exchange).await;
        Ok(self.after(talked, kind, account, new).await)
    }

    /// What follows the last step before the saves: the login, the saves.
    async fn after(
        &self,
        talked: Result<Talk, Failed>,
        kind: Kind,
        account: &Account,
        new: &Credential,
    ) -> Changed {
        let talk = match talked {
            Ok(talk) => talk,
            Err(failed) => return failed.changed,
        };
        if !talk.is_committed() {
            let text = "the dialogue came to its end without the change";
            return Changed::NotNow(Reason::account(Class::Incompatible, text));
        }
        let dialogue = Arc::clone(&self.part.platform);
        let has_saves = operation(&dialogue, kind).is_some_and(|op| !op.saves.is_empty());
        let verifies = operation(&dialogue, kind).is_some_and(|op| op.verify);
        if has_saves
            && verifies
            && let Err(text) = self.proves(account, new).await
        {
            // What it answers to that matters to nobody: the change is in doubt either way.
            let given_up = on_thread(move || {
                if let Some(operation) = operation(&dialogue, kind) {
                    talk.give_up(operation);
                }
            });
            given_up.await.unwrap_or_default();
            return Changed::Unknown(Reason::account(Class::Unknown, text));
        }
        let saved = on_thread(move || {
            let mut talk = talk;
            if let Some(operation) = operation(&dialogue, kind).filter(|_| has_saves) {
                talk.go(&operation.saves, operation)?;
            }
            Ok(talk.into_connection())
        });
        let unsaved =
            "applied but unsaved: a reboot may bring the old password back; both are kept";
        match saved.await {
            Ok(Ok(connection)) => {
                if matches!(kind, Kind::Set) {
                    self.keep(connection);
                }
                Changed::Done
            }
            Ok(Err(Failed { .. })) | Err(_) => {
                Changed::Unknown(Reason::account(Class::Unknown, unsaved))
            }
        }
    }

    /// Logs in with the new password before anything is saved.
    async fn proves(&self, account: &Account, new: &Credential) -> Result<(), &'static str> {
        // Watched apart: the change's own connection must be cut, too, when time is up.
        let exchange = Exchange::new();
        let prove = self.prove(account, new, &exchange);
        let ended = exchange.within(self.target.timeout, prove).await;
        match ended.unwrap_or_else(|| Checked::NotNow(silent())) {
            Checked::Accepted => Ok(()),
            Checked::Rejected(_) => Err(
                "the system says that it has set the password, and refuses it; nothing was saved",
            ),
            Checked::NotNow(_) => {
                Err("applied but unsaved: the login that comes before the save could not be tried")
            }
        }
    }

    async fn prove(
        &self,
        account: &Account,
        credential: &Credential,
        exchange: &Exchange,
    ) -> Checked {
        let connection = match self.log_in(account, credential, exchange).await {
            Ok(connection) => connection,
            Err(Refusal::Wrong(reason)) => return Checked::Rejected(reason),
            Err(Refusal::Unjudged(reason)) => return Checked::NotNow(reason),
        };
        let words = Words {
            account: account.login.as_str().to_owned(),
            new: None,
            old: credential.password().ok().cloned(),
            enable: None,
        };
        match self.talk(connection, Kind::Check, &words, exchange).await {
            Ok(_) => Checked::Accepted,
            Err(failed) => Checked::NotNow(failed.reason()),
        }
    }
}

/// A functional login that fails in the middle of a session is the system's trouble if it was
/// judged.
fn of_functional(kind: Kind, refusal: Refusal) -> Reason {
    let reason = refusal.reason();
    let judged = matches!(
        reason.class,
        Class::Denied | Class::Expired | Class::Incompatible
    );
    let scope = if judged && matches!(kind, Kind::Set) {
        Scope::System
    } else {
        reason.scope
    };
    Reason { scope, ..reason }
}

#[async_trait]
impl Session for DialogueSession {
    async fn change(
        &self,
        account: &Account,
        new: &Credential,
        current: Option<&Credential>,
    ) -> Changed {
        if let Err(reason) = self.part.platform.admit(account, Some(new)) {
            return Changed::Refused(reason);
        }
        let exchange = Exchange::new();
        let set = self.set(account, new, current, &exchange);
        let ended = exchange.within(self.target.timeout, set).await;
        let changed = match ended {
            Some(Ok(changed)) => changed,
            Some(Err(reason)) => lost(&exchange, reason),
            None => lost(&exchange, silent()),
        };
        if let (Changed::Unknown(_), Some(undo)) = (&changed, self.part.platform.undo(account)) {
            self.undoing.expect(&self.target, account, undo);
        }
        changed
    }

    async fn check(&self, account: &Account, credential: &Credential) -> Checked {
        if let Err(reason) = guard::admit(account, Some(credential)) {
            return Checked::NotNow(reason);
        }
        if let Some(reason) = self.undoing.forbids(&self.target, account) {
            return Checked::NotNow(reason);
        }
        let exchange = Exchange::new();
        let prove = self.prove(account, credential, &exchange);
        let ended = exchange.within(self.target.timeout, prove).await;
        ended.unwrap_or_else(|| Checked::NotNow(silent()))
    }

    async fn evidence(
        &self,
        _account: &Account,
        _candidate: &Credential,
        _current: Option<&Credential>,
    ) -> Evidence {
        let text = "a platform with a dialogue offers no look without a login";
        Evidence::Undecided(Reason::account(Class::Incompatible, text))
    }

    async fn retire(&self, _account: &Account, _old: &Credential) -> Changed {
        // A password that was replaced leaves nothing behind.
        Changed::Done
    }

    async fn list(&self, _query: &Query) -> Result<Listing, Reason> {
        let text = "a dialogue platform lists no accounts: name them in an import";
        Err(Reason::system(Class::Incompatible, text))
    }

    async fn close(&self) {
        *self.idle() = None;
    }
}
