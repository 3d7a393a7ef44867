//! Changes that nobody confirmed, and that a system takes back by itself after a while.
//!
//! A session notes its own. The service notes them as well, where it speaks through processes:
//! the process that made a change may have ended, and another one serves the login that follows.
//!
//! Invariant: while such a change may still be taken back, no login is tried: it would succeed
//! with a password that is about to die.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::talk::now;
use crate::{Account, Class, Reason, Target};

/// How much later a system may take a change back than it has said.
const MARGIN: Duration = Duration::from_secs(15);

/// Host, port and login of an account.
type Name = (String, u16, String);

/// The accounts in doubt, and until when.
#[derive(Debug, Default)]
pub struct Undoing {
    until: Mutex<HashMap<Name, Instant>>,
}

/// A doubt as it stood before another was noted.
#[derive(Clone, Copy, Debug)]
pub struct Before(Option<Instant>);

fn name(target: &Target, account: &Account) -> Name {
    let login = account.login.as_str().to_owned();
    (target.host.clone(), target.port, login)
}

impl Undoing {
    /// Notes that the account's change is taken back within this time, and says what was noted
    /// before.
    pub fn expect(&self, target: &Target, account: &Account, within: Duration) -> Before {
        let mut noted = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now();
        noted.retain(|_, until| *until > now);
        let name = name(target, account);
        let before = noted.get(&name).copied();
        let until = now + within + MARGIN;
        noted.insert(name, before.map_or(until, |before| before.max(until)));
        Before(before)
    }

    /// Puts back what was noted before a change that is in no doubt.
    pub fn restore(&self, target: &Target, account: &Account, before: Before) {
        let mut noted = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let name = name(target, account);
        match before.0 {
            Some(until) => drop(noted.insert(name, until)),
            None => drop(noted.remove(&name)),
        }
    }

    /// Why no login of the account is tried now, if none may be.
    pub fn forbids(&self, target: &Target, account: &Account) -> Option<Reason> {
        let noted = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let until = noted.get(&name(target, account))?;
        let text = "the system may still take back a change that nobody confirmed; no login is \
                    tried before";
        (*until > now()).then(|| Reason::account(Class::Busy, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Elevation, Login, SshTarget, TargetKind};

    #[test]
    fn a_change_in_no_doubt_takes_no_earlier_doubt_away() {
        let target = Target {
            host: "192.0.2.1".to_owned(),
            port: 22,
            timeout: Duration::from_secs(5),
            in_flight: 1,
            kind: TargetKind::Ssh(SshTarget {
                host_key: None,
                elevation: Elevation::None,
            }),
        };
        let account = |name| Account::named(Login::parse(name).unwrap(), None);
        let (bob, ann) = (account("bob"), account("ann"));
        let undoing = Undoing::default();
        let before = undoing.expect(&target, &bob, Duration::from_mins(10));
        assert!(undoing.forbids(&target, &bob).is_some());
        assert!(undoing.forbids(&target, &ann).is_none());
        // The next change is in no doubt; the one before still is, and for as long as it was.
        let between = undoing.expect(&target, &bob, Duration::ZERO);
        undoing.restore(&target, &bob, between);
        assert!(undoing.forbids(&target, &bob).is_some());
        undoing.restore(&target, &bob, before);
        assert!(undoing.forbids(&target, &bob).is_none());
    }
}
