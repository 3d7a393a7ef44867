//! A world of two accounts: one that is changed over sessions of a functional account, and the
//! managed account that the functional one is linked to, which changes itself meanwhile.
//!
//! Which version a session logs in by is the service's own choice. Under a version that the login's
//! target does not take any more, nothing is changed: the answer is a refusal or a later time. Jobs
//! of the two exclude each other, as the claims of a guarded system do; but a lease may end too
//! early, and a worker go on over a session that it opened before.
//!
//! A login that is trusted is sent uncounted while no other is counted, and counted once it was refused.
//!
//! Not in it: a second functional account of the same system, which is SQL's alone; a worker that
//! dies between such a refusal and its count; and what the other worlds have: writes that land twice,
//! and leases of the login's own jobs.
//!
//! Invariant: each account moves by the steps of a world of its own; only the session joins them.

use keywheel::model::functional_account::LinkedLogin;

use super::account::{self, broken, order, work};
use super::rules::Rules;
use super::search::{Next, World};
use super::side::{Set, Side, Worker};
use super::worker::{Login, What};

/// Both accounts, and the session of the first one's worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Both {
    pub(super) account: Side,
    pub(super) login: Side,
    /// The version by which the session was opened.
    pinned: Option<u8>,
    /// Versions that this attempt has been refused with.
    refused: u8,
}

/// Whose step it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Account,
    Login,
}

/// The rules of each.
pub(super) struct LinkedAccounts {
    pub(super) account: Rules,
    pub(super) login: Rules,
}

impl World for LinkedAccounts {
    type State = Both;
    type Label = (Who, What);

    fn starts(&self) -> Vec<Both> {
        vec![Both {
            account: Side::onboarded(false),
            login: Side::onboarded(false),
            pinned: None,
            refused: 0,
        }]
    }

    fn steps(&self, from: &Both, steps: &mut Vec<Next<Both, (Who, What)>>) {
        let runs = |side: &Side| side.workers.iter().any(|worker| worker.holds);
        let waits = |side: &Side, other: &Side| side.is_quiet() && runs(other);
        let mut one = Vec::new();
        order(&self.account, &from.account, &mut one);
        if from.account.is_quiet() || from.pinned.is_some() {
            let authorised = from.pinned.is_some_and(|it| from.login.takes.has(it));
            if !waits(&from.account, &from.login) {
                work(&self.account, &from.account, authorised, &mut one);
            }
        } else {
            self.open(from, steps);
            crash(&from.account, &mut one);
        }
        surroundings(&self.account, &from.account, &mut one);
        lease_ends(&from.account, &mut one);
        for next in one.drain(..) {
            let ended = next.state.is_quiet();
            let state = Both {
                account: next.state,
                pinned: from.pinned.filter(|_| !ended),
                refused: if ended { 0 } else { from.refused },
                ..*from
            };
            push(steps, Who::Account, next.label, next.is_fair, state);
        }
        order(&self.login, &from.login, &mut one);
        if !waits(&from.login, &from.account) {
            work(&self.login, &from.login, true, &mut one);
        }
        surroundings(&self.login, &from.login, &mut one);
        for next in one {
            let state = Both {
                login: next.state,
                ..*from
            };
            push(steps, Who::Login, next.label, next.is_fair, state);
        }
    }

    fn broken(&self, state: &Both) -> Option<&'static str> {
        if state.pinned.is_some_and(|it| !state.login.kept.has(it)) {
            return Some("I8: a session was opened by a version that is not kept");
        }
        broken(&self.account, &state.account).or_else(|| broken(&self.login, &state.login))
    }

    fn is_at_rest(&self, state: &Both) -> bool {
        state.account.is_at_rest() && state.login.is_at_rest()
    }
}

fn push(
    steps: &mut Vec<Next<Both, (Who, What)>>,
    who: Who,
    what: What,
    is_fair: bool,
    state: Both,
) {
    steps.push(Next {
        label: (who, what),
        is_fair,
        state,
    });
}

/// What happens to an account without a worker.
fn surroundings(rules: &Rules, from: &Side, steps: &mut Vec<Next<Side, What>>) {
    account::elapse(rules, from, steps);
    account::target_moves(from, steps);
    steps.retain(|next| !matches!(next.label, What::LandedNotForTheLastTime(_)));
}

/// A lease ends, and its worker goes on.
fn lease_ends(from: &Side, steps: &mut Vec<Next<Side, What>>) {
    if from.workers.iter().any(|worker| worker.holds) {
        let mut state = *from;
        for worker in &mut state.workers {
            worker.holds = false;
        }
        steps.push(Next {
            label: What::LeaseEnded,
            is_fair: false,
            state,
        });
    }
}

fn crash(from: &Side, steps: &mut Vec<Next<Side, What>>) {
    let mut state = *from;
    state.workers = [Worker::IDLE; 2];
    steps.push(Next {
        label: What::Crashed,
        is_fair: false,
        state,
    });
}

impl LinkedAccounts {
    /// Opens the session of the account's worker: one version after the other, each counted before
    /// it is sent where it may fail.
    fn open(&self, from: &Both, steps: &mut Vec<Next<Both, (Who, What)>>) {
        let login = &from.login;
        let doubtful = login.open.filter(|row| row.state.in_doubt());
        let refused: Vec<i64> = Set(from.refused).newest().map(i64::from).collect();
        for candidates_turn in [false, true] {
            let known = LinkedLogin {
                current: Some(i64::from(login.current)),
                candidate: doubtful.map(|row| (i64::from(row.version), row.state.phase)),
                previous: login.previous.map(i64::from),
                is_trusted: !login.out_of_sync && !login.in_doubt && login.spent == 0,
                candidates_turn,
            };
            let next = known.next(&refused);
            let mut counted = *from;
            let granted = next.is_some_and(|next| {
                !next.is_counted || counted.login.spend(&self.login, self.login.budget())
            });
            let Some(next) = next.filter(|_| granted) else {
                let mut state = *from;
                state.account.workers = [Worker::IDLE; 2];
                state.refused = 0;
                push(steps, Who::Account, What::NotOpened, true, state);
                continue;
            };
            let version = u8::try_from(next.version).unwrap();
            self.log_in(&counted, version, next.is_counted, steps);
            if doubtful.is_none() {
                break; // nobody takes turns
            }
        }
    }

    fn log_in(
        &self,
        counted: &Both,
        version: u8,
        is_counted: bool,
        steps: &mut Vec<Next<Both, (Who, What)>>,
    ) {
        let mut state = *counted;
        let login = &mut state.login;
        let is_current = login.current == version && !login.in_doubt;
        if login.takes.has(version) {
            login.accepted = login.accepted.with(version);
            if is_counted {
                login.refund();
                if is_current {
                    login.record_passed(&self.login, version);
                }
            }
            state.pinned = Some(version);
            let label = What::Opened(version, Login::Accepted);
            push(steps, Who::Account, label, true, state);
        } else {
            // What was trusted is counted now.
            login.failed += 1;
            if !is_counted {
                login.spend(&self.login, self.login.test_budget());
            }
            login.out_of_sync |= is_current;
            state.refused |= Set::of(version).0;
            let label = What::Opened(version, Login::Refused);
            push(steps, Who::Account, label, true, state);
        }
    }
}
