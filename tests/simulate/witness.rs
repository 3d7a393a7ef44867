//! What the targets themselves saw, and what of it must never be.
//!
//! Invariant: nothing here is learnt from the service's own account of what it did, but for what is
//! durable in its store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keywheel::model::credential::Part;
use keywheel::model::id::AccountId;
use keywheel_connectors::fake::FakeSystem;

use crate::plant::{FOREIGN, login};

/// How long a failing login counts.
pub(crate) const WINDOW: Duration = Duration::from_hours(1);

/// One account, as its target and this witness know it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) host: String,
    pub(crate) threshold: Option<i64>,
    pub(crate) budget: usize,
    /// When logins failed.
    fails: Vec<Duration>,
    in_a_row: usize,
    /// What was durable when it came, by part.
    known: [BTreeSet<String>; 2],
    /// What has logged in.
    pub(crate) accepted: BTreeSet<String>,
    /// Somebody else's password holds.
    pub(crate) is_drifted: bool,
    /// Somebody else has changed it at some time: late orders may still undo that.
    pub(crate) was_drifted: bool,
    /// How often each version came.
    pub(crate) sent: BTreeMap<i64, i64>,
    /// A candidate that a look has shown not to hold, and current neither.
    pub(crate) neither: Option<String>,
    /// Others have been changed by its login.
    is_functional: bool,
}

/// Everything that the targets saw.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    pub(crate) accounts: BTreeMap<AccountId, Seen>,
    /// When the wall clock jumped ahead by a window or more: budgets begin anew.
    pub(crate) jumps: Vec<Duration>,
    /// When a process died: a refusal that it had just heard was not counted.
    pub(crate) deaths: Vec<Duration>,
    pub(crate) faults: Vec<String>,
    pub(crate) lost: u64,
    pub(crate) overruns: u64,
    pub(crate) worst: u64,
    /// Refused logins of the functional account that is nobody's, by host.
    pub(crate) functional: BTreeMap<String, usize>,
}

pub(crate) fn index(part: Part) -> usize {
    match part {
        Part::Password => 0,
        Part::Key => 1,
    }
}

impl Witness {
    pub(crate) fn meet(&mut self, account: AccountId, host: &str, threshold: Option<i64>) {
        let budget = keywheel::model::rotation::lockout_budget(threshold).max(1);
        self.accounts.insert(
            account,
            Seen {
                host: host.to_owned(),
                threshold,
                budget: usize::try_from(budget).unwrap(),
                fails: Vec::new(),
                in_a_row: 0,
                known: [BTreeSet::new(), BTreeSet::new()],
                accepted: BTreeSet::new(),
                is_drifted: false,
                was_drifted: false,
                sent: BTreeMap::new(),
                neither: None,
                is_functional: false,
            },
        );
    }

    pub(crate) fn fault(&mut self, text: impl Into<String>) {
        self.faults.push(text.into());
    }

    /// A secret that is durable in the store.
    pub(crate) fn know(&mut self, account: AccountId, part: Part, secret: &str) {
        if let Some(seen) = self.accounts.get_mut(&account) {
            seen.known[index(part)].insert(secret.to_owned());
        }
    }

    /// I1: every account accepts something that is durable in the store, A1 given.
    pub(crate) fn look(&mut self, target: &FakeSystem, host: &str) {
        let mut lost = Vec::new();
        for (account, seen) in &mut self.accounts {
            if seen.host != host {
                continue;
            }
            let held = target.accepted(&login(*account));
            let is_known = held.iter().any(|one| seen.known[0].contains(one));
            if is_known {
                seen.is_drifted = false;
            } else if !seen.is_drifted {
                lost.push(format!("I1: {account}: no stored password is accepted"));
            }
            let keys = target.keys(&login(*account));
            if !seen.known[1].is_empty() {
                if !keys.iter().any(|one| seen.known[1].contains(one)) {
                    lost.push(format!("I1: {account}: no stored key is accepted"));
                }
                if !keys.iter().any(|one| one == FOREIGN) {
                    lost.push(format!("{account}: somebody else's key is gone"));
                }
            }
        }
        self.lost += u64::try_from(lost.len()).unwrap();
        self.faults.extend(lost);
    }

    /// True if the target has locked the account by now.
    pub(crate) fn is_locked(&self, account: AccountId, now: Duration) -> bool {
        self.accounts.get(&account).is_some_and(|seen| {
            let is_over = seen
                .fails
                .last()
                .is_none_or(|last| now.saturating_sub(*last) >= WINDOW);
            let limit = seen.threshold.filter(|threshold| *threshold > 0);
            !is_over && limit.is_some_and(|limit| seen.in_a_row >= usize::try_from(limit).unwrap())
        })
    }

    /// A functional login failed. One that was trusted is counted when its refusal is heard, so
    /// each death may cost one more; see `docs/evidence/simulation.txt`.
    pub(crate) fn failed_for_others(&mut self, account: AccountId, now: Duration) {
        if let Some(seen) = self.accounts.get_mut(&account) {
            seen.is_functional = true;
        }
        self.failed(account, now);
    }

    /// I6: no window holds more failing logins than the budget.
    pub(crate) fn failed(&mut self, account: AccountId, now: Duration) {
        let deaths = self.deaths.clone();
        let jumps: Vec<Duration> = self.jumps.clone();
        let Some(seen) = self.accounts.get_mut(&account) else {
            return;
        };
        let is_over = seen
            .fails
            .last()
            .is_none_or(|last| now.saturating_sub(*last) >= WINDOW);
        seen.in_a_row = if is_over { 1 } else { seen.in_a_row + 1 };
        seen.fails.push(now);
        let is_within = |at: &&Duration| now.saturating_sub(**at) < WINDOW;
        let within = seen.fails.iter().filter(is_within).count();
        let jumped = jumps.iter().filter(is_within).count();
        self.worst = self.worst.max(u64::try_from(within).unwrap());
        let died = if seen.is_functional {
            deaths.iter().filter(is_within).count()
        } else {
            0
        };
        if within > seen.budget * (1 + jumped) + died {
            let text = format!(
                "I6: {account}: {within} failing logins in a window, budget {}",
                seen.budget
            );
            self.overruns += 1;
            self.faults.push(text);
        }
    }

    pub(crate) fn logged_in(&mut self, account: AccountId, secret: &str) {
        if let Some(seen) = self.accounts.get_mut(&account) {
            seen.in_a_row = 0;
            seen.accepted.insert(secret.to_owned());
        }
    }
}
