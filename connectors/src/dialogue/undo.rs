//! Changes that nobody confirmed, and that a system takes back by itself after a while.
//!
//! Invariant: while such a change may still be taken back, no login is tried: it would succeed
//! with a password that is about to die.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::talk::now;
use crate::{Account, Target};

/// How much later a system may take a change back than it has said.
const MARGIN: Duration = Duration::from_secs(15);

/// Host, port and login of an account.
type Name = (String, u16, String);

/// The accounts in doubt, and until when.
#[derive(Debug, Default)]
pub(super) struct Undoing {
    until: Mutex<HashMap<Name, Instant>>,
}

fn name(target: &Target, account: &Account) -> Name {
    let login = account.login.as_str().to_owned();
    (target.host.clone(), target.port, login)
}

impl Undoing {
    /// Notes that the account's change is taken back within this time.
    pub(super) fn expect(&self, target: &Target, account: &Account, within: Duration) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now();
        until.retain(|_, until| *until > now);
        until.insert(name(target, account), now + within + MARGIN);
    }

    /// Whether the account's change may still be taken back.
    pub(super) fn is_expected(&self, target: &Target, account: &Account) -> bool {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let until = until.get(&name(target, account));
        until.is_some_and(|until| *until > now())
    }
}
