//! What a fake target holds: its accounts, what they were told to do, how it judges.
//!
//! Invariant: a password replaces the one before it; a key joins the others.

use std::collections::{BTreeMap, VecDeque};

use crate::listing::{Collector, name};
use crate::{Account, CanonicalIdentity, Class, Found, Functional, Listing, Lock, Query, Reason};

use super::world::{Counts, OnChange, OnCheck, OnOpen};

/// Calls that were told in advance, and what follows them.
#[derive(Debug, Default)]
pub(super) struct Script<T> {
    pub(super) next: VecDeque<T>,
    pub(super) then: Option<T>,
}

impl<T: Copy> Script<T> {
    fn take(&mut self) -> Option<T> {
        self.next.pop_front().or(self.then)
    }
}

/// What a login shows.
#[derive(Debug)]
pub(super) enum Proof {
    Password(String),
    /// The public half of the key that it holds.
    Key(String),
}

#[derive(Debug, Default)]
pub(super) struct AccountState {
    pub(super) accepted: Vec<String>,
    pub(super) keys: Vec<String>,
    pub(super) history: Vec<String>,
    pub(super) on_change: Script<OnChange>,
    pub(super) on_check: Script<OnCheck>,
    pub(super) on_retire: Script<OnChange>,
    pub(super) changes: usize,
    pub(super) failed: usize,
    pub(super) failed_in_a_row: usize,
    /// Another name of the account has the same.
    pub(super) being: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) accounts: BTreeMap<String, AccountState>,
    pub(super) on_open: Script<OnOpen>,
    pub(super) on_change: Script<OnChange>,
    pub(super) on_check: Script<OnCheck>,
    pub(super) blind: bool,
    pub(super) lock_after: Option<usize>,
    pub(super) late: Vec<(String, Proof)>,
    pub(super) counts: Counts,
    pub(super) machine: Option<String>,
}

/// How a login ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Right,
    Wrong,
    Locked,
    NoAccount,
}

/// Logs the functional account in.
pub(super) fn log_in(
    state: &mut State,
    functional: &Functional,
    does: OnOpen,
) -> Result<(), Reason> {
    let login = functional.account.login.as_str();
    let judged = if does == OnOpen::Reject {
        state.fail(login);
        Judged::Wrong
    } else {
        state.judge(login, &super::proof(&functional.credential))
    };
    match judged {
        Judged::Right => Ok(()),
        Judged::Wrong | Judged::NoAccount => Err(Reason::system(
            Class::Denied,
            "the functional login was refused",
        )),
        Judged::Locked => Err(Reason::system(
            Class::Locked,
            "the functional account is locked",
        )),
    }
}

impl State {
    /// Who accounts are, where it was told to say.
    pub(super) fn identities(&mut self, accounts: &[Account]) -> Vec<Option<CanonicalIdentity>> {
        self.counts.questions += 1;
        let who = |account: &Account| {
            let being = self.accounts.get(account.login.as_str())?.being.clone()?;
            CanonicalIdentity::of(self.machine.clone()?, being)
        };
        accounts.iter().map(who).collect()
    }

    pub(super) fn next_open(&mut self) -> OnOpen {
        self.on_open.take().unwrap_or_default()
    }

    /// Takes what an account's own script says, else the system's.
    pub(super) fn next_change(&mut self, login: &str) -> OnChange {
        self.counts.changes += 1;
        let own = self.accounts.get_mut(login).and_then(|account| {
            account.changes += 1;
            account.on_change.take()
        });
        own.or_else(|| self.on_change.take()).unwrap_or_default()
    }

    pub(super) fn next_check(&mut self, login: &str) -> OnCheck {
        self.counts.checks += 1;
        let own = self
            .accounts
            .get_mut(login)
            .and_then(|account| account.on_check.take());
        own.or_else(|| self.on_check.take()).unwrap_or_default()
    }

    pub(super) fn next_retire(&mut self, login: &str) -> OnChange {
        let own = self
            .accounts
            .get_mut(login)
            .and_then(|account| account.on_retire.take());
        own.unwrap_or_default()
    }

    pub(super) fn knows(&self, login: &str) -> bool {
        self.accounts.contains_key(login)
    }

    pub(super) fn accepts(&self, login: &str, proof: &Proof) -> bool {
        self.accounts.get(login).is_some_and(|account| match proof {
            Proof::Password(secret) => account.accepted.contains(secret),
            Proof::Key(public) => account.keys.contains(public),
        })
    }

    pub(super) fn is_blind(&self) -> bool {
        self.blind
    }

    /// Sets a password, or adds a key to the others.
    pub(super) fn set(&mut self, login: &str, proof: &Proof) {
        let Some(account) = self.accounts.get_mut(login) else {
            return;
        };
        match proof {
            Proof::Password(secret) => {
                account.accepted = vec![secret.clone()];
                account.history.push(secret.clone());
            }
            Proof::Key(public) => {
                account.keys.retain(|held| held != public);
                account.keys.push(public.clone());
            }
        }
    }

    pub(super) fn remove_key(&mut self, login: &str, public: &str) {
        if let Some(account) = self.accounts.get_mut(login) {
            account.keys.retain(|held| held != public);
        }
    }

    pub(super) fn set_late(&mut self, login: &str, proof: Proof) {
        self.late.push((login.to_owned(), proof));
    }

    pub(super) fn fail(&mut self, login: &str) {
        if let Some(account) = self.accounts.get_mut(login) {
            account.failed += 1;
            account.failed_in_a_row += 1;
        }
    }

    pub(super) fn judge(&mut self, login: &str, proof: &Proof) -> Judged {
        let lock_after = self.lock_after;
        let right = self.accepts(login, proof);
        let Some(account) = self.accounts.get_mut(login) else {
            return Judged::NoAccount;
        };
        if lock_after.is_some_and(|limit| account.failed_in_a_row >= limit) {
            return Judged::Locked;
        }
        if right {
            account.failed_in_a_row = 0;
            return Judged::Right;
        }
        self.fail(login);
        Judged::Wrong
    }
}

impl State {
    /// What a functional session sees.
    pub(super) fn answer(&self, query: &Query, may_look: bool) -> Result<Listing, Reason> {
        if matches!(self.lasting_open(), OnOpen::Unreachable | OnOpen::Hang) {
            let text = "the fake target does not answer";
            return Err(Reason::system(Class::Unreachable, text));
        }
        if !may_look {
            let text = "the session may list nothing";
            return Err(Reason::system(Class::Privilege, text));
        }
        Ok(self.list(query))
    }

    /// The accounts in the order of their names, with user ids from 1,000 on. A directory of the
    /// fake has no filters.
    fn list(&self, query: &Query) -> Listing {
        let mut collector = Collector::default();
        for (uid, (login, account)) in (1_000_u32..).zip(&self.accounts) {
            let asked = match query {
                Query::Host(query) => (query.uid_min..=query.uid_max).contains(&uid),
                Query::Directory(_) => true,
            };
            let (shown, parsed) = name(login);
            let locked = self
                .lock_after
                .is_some_and(|limit| account.failed_in_a_row >= limit);
            let found = Found {
                name: shown,
                importable: parsed.is_some(),
                dn: None,
                id: Some(uid.to_string()),
                shell: Some("/bin/fake".to_owned()),
                lock: if locked { Lock::Locked } else { Lock::Open },
                changed_at: None,
                expired: None,
            };
            if asked && !collector.take(found) {
                break;
            }
        }
        collector.end()
    }

    /// What an unreachable or hanging system does to connections that are no functional login.
    pub(super) fn lasting_open(&self) -> OnOpen {
        self.on_open.then.unwrap_or_default()
    }
}
