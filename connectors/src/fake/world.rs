//! The targets behind [`super::Fake`]: their accounts, what they were told to do, what they saw.
//!
//! Invariant: nothing happens here by chance or by time; the same calls in the same order leave
//! the same world.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::state::{AccountState, Proof, State};

/// What a fake target does with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnChange {
    /// Sets the secret and says so.
    #[default]
    Obey,
    /// Sets nothing; answers [`crate::Changed::Refused`].
    Refuse,
    /// Sets nothing; answers [`crate::Changed::NotNow`].
    NotNow,
    /// Sets nothing and never answers: `Unknown` after the target's time-out.
    Hang,
    /// Sets the secret; the answer is lost: `Unknown` at once.
    LoseReply,
    /// Sets nothing; the answer is lost: `Unknown` at once.
    LoseOrder,
    /// `Unknown` at once; sets the secret at [`FakeSystem::deliver_late`].
    ObeyLate,
    /// Says `Done` and sets nothing.
    Lie,
    /// Waits for [`FakeSystem::release`], then obeys; `Unknown` after the target's time-out.
    Wait,
}

/// What a fake target does with a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnCheck {
    /// Judges the secret.
    #[default]
    Judge,
    /// Ends the connection: `NotNow`, and no failed login.
    Drop,
    /// Never answers: `NotNow` after the target's time-out.
    Hang,
    /// Answers that the account is locked: `NotNow`.
    Locked,
    /// Rejects, whatever the secret is. Counts as a failed login.
    Reject,
}

/// What a fake target does with a connection and the functional login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnOpen {
    /// Judges the functional login.
    #[default]
    Judge,
    /// Nobody answers.
    Unreachable,
    /// Never answers: unreachable after the target's time-out.
    Hang,
    /// Another identity than the pinned one.
    WrongIdentity,
    /// Refuses the functional login, whatever its password. Counts as a failed login.
    Reject,
    /// Lets the functional account in, which may change nothing.
    NoPrivilege,
}

/// What fake targets saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// Functional sessions asked for.
    pub opens: usize,
    /// Changes that reached the target.
    pub changes: usize,
    /// Logins that reached the target.
    pub checks: usize,
    /// Looks that reached the target.
    pub looks: usize,
    /// Questions who accounts are.
    pub questions: usize,
    /// Functional sessions open now.
    pub sessions: usize,
    /// The most functional sessions open at once.
    pub sessions_max: usize,
    /// The most exchanges under way at once.
    pub exchanges_max: usize,
    pub(super) exchanges: usize,
}

/// One system of the world, as its connector and its tests share it.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) gate: Semaphore,
}

impl Shared {
    /// The system's state. A test that panicked elsewhere must not hide what it saw.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every fake system, by [`crate::Target::host`]. Clones share one world.
#[derive(Clone, Debug, Default)]
pub struct FakeWorld {
    systems: Arc<Mutex<BTreeMap<String, Arc<Shared>>>>,
}

impl FakeWorld {
    /// A world without systems: every host is unreachable.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a connector process serves, where no test can reach in: at `good` and `spare` the
    /// accounts `u0` to `u255`, at `mute` the same, whose changes and logins are never answered.
    /// Everybody's password is `secret`; `changer` is the functional account.
    pub fn preset() -> Self {
        let world = Self::new();
        for host in ["good", "spare", "mute"] {
            let system = world.system(host);
            system.add("changer", "secret");
            for number in 0..256 {
                system.add(&format!("u{number}"), "secret");
            }
        }
        world
            .system("mute")
            .every_change_here(OnChange::Hang)
            .every_check_here(OnCheck::Hang);
        world
    }

    /// The system at `host`; it exists and answers from the first call on.
    pub fn system(&self, host: &str) -> FakeSystem {
        let mut systems = self.systems.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = systems.entry(host.to_owned()).or_insert_with(|| {
            Arc::new(Shared {
                state: Mutex::default(),
                gate: Semaphore::new(0),
            })
        });
        FakeSystem {
            shared: Arc::clone(shared),
        }
    }

    pub(super) fn find(&self, host: &str) -> Option<Arc<Shared>> {
        self.systems
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(host)
            .cloned()
    }
}

/// One fake system: tells it what to do, and asks what it saw. Clones share one system.
///
/// Every script is a queue for the next calls, then a lasting rule. An account's script comes
/// before its system's; where nothing is told, the target obeys and judges. Telling an account
/// that was not added makes one that accepts no secret.
#[derive(Clone, Debug)]
pub struct FakeSystem {
    shared: Arc<Shared>,
}

impl FakeSystem {
    /// Adds an account that accepts `secret`, or replaces it.
    pub fn add(&self, login: &str, secret: &str) -> &Self {
        let account = AccountState {
            accepted: vec![secret.to_owned()],
            history: vec![secret.to_owned()],
            ..AccountState::default()
        };
        self.shared
            .lock()
            .accounts
            .insert(login.to_owned(), account);
        self
    }

    /// Removes an account.
    pub fn remove(&self, login: &str) {
        self.shared.lock().accounts.remove(login);
    }

    /// Sets an account's secret behind everybody's back.
    pub fn set_behind(&self, login: &str, secret: &str) {
        let proof = Proof::Password(secret.to_owned());
        self.shared.lock().set(login, &proof);
    }

    /// Adds a key, as `authorized_keys` would hold it, behind everybody's back.
    pub fn add_key(&self, login: &str, public: &str) -> &Self {
        let proof = Proof::Key(public.to_owned());
        self.shared.lock().set(login, &proof);
        self
    }

    /// The public keys that the account accepts now, the oldest first.
    pub fn keys(&self, login: &str) -> Vec<String> {
        self.read(login, |account| account.keys.clone())
    }

    /// What the next change of this account does; calls queue up.
    pub fn next_change(&self, login: &str, does: OnChange) -> &Self {
        self.with(login, |account| account.on_change.next.push_back(does))
    }

    /// What every later change of this account does.
    pub fn every_change(&self, login: &str, does: OnChange) -> &Self {
        self.with(login, |account| account.on_change.then = Some(does))
    }

    /// What the next removal of this account's keys does; calls queue up.
    pub fn next_retire(&self, login: &str, does: OnChange) -> &Self {
        self.with(login, |account| account.on_retire.next.push_back(does))
    }

    /// What all removals of this account's keys do once those that queued up are used up.
    pub fn every_retire(&self, login: &str, does: OnChange) -> &Self {
        self.with(login, |account| account.on_retire.then = Some(does))
    }

    /// What the next login of this account does; calls queue up.
    pub fn next_check(&self, login: &str, does: OnCheck) -> &Self {
        self.with(login, |account| account.on_check.next.push_back(does))
    }

    /// What every later login of this account does.
    pub fn every_check(&self, login: &str, does: OnCheck) -> &Self {
        self.with(login, |account| account.on_check.then = Some(does))
    }

    /// What the next change of any account does; calls queue up.
    pub fn next_change_here(&self, does: OnChange) -> &Self {
        self.shared.lock().on_change.next.push_back(does);
        self
    }

    /// What every later change of any account does.
    pub fn every_change_here(&self, does: OnChange) -> &Self {
        self.shared.lock().on_change.then = Some(does);
        self
    }

    /// What every later login of any account does.
    pub fn every_check_here(&self, does: OnCheck) -> &Self {
        self.shared.lock().on_check.then = Some(does);
        self
    }

    /// What the next connection does; calls queue up.
    pub fn next_open(&self, does: OnOpen) -> &Self {
        self.shared.lock().on_open.next.push_back(does);
        self
    }

    /// What every later connection does. Unreachable and hanging systems do so for logins too.
    pub fn every_open(&self, does: OnOpen) -> &Self {
        self.shared.lock().on_open.then = Some(does);
        self
    }

    /// Whether evidence can be had; it can at first.
    pub fn offer_evidence(&self, offered: bool) -> &Self {
        self.shared.lock().blind = !offered;
        self
    }

    /// Locks an account after so many failed logins in a row; `None`, as at first: never.
    pub fn lock_after(&self, failed: Option<usize>) -> &Self {
        self.shared.lock().lock_after = failed;
        self
    }

    /// What the system says it is, from now on. Says nothing at first, nor of its accounts.
    pub fn machine(&self, machine: &str) -> &Self {
        self.shared.lock().machine = Some(machine.to_owned());
        self
    }

    /// Whom the system says that an account is.
    pub fn being(&self, login: &str, being: &str) -> &Self {
        self.with(login, |account| account.being = Some(being.to_owned()))
    }

    /// Applies every late order, oldest first; returns how many.
    pub fn deliver_late(&self) -> usize {
        let mut state = self.shared.lock();
        let late = std::mem::take(&mut state.late);
        for (login, proof) in &late {
            state.set(login, proof);
        }
        late.len()
    }

    /// Lets `changes` waiting changes go on, those to come included.
    pub fn release(&self, changes: usize) {
        self.shared.gate.add_permits(changes);
    }

    /// Whether the account accepts this secret now. Asking is no login.
    pub fn accepts(&self, login: &str, secret: &str) -> bool {
        let proof = Proof::Password(secret.to_owned());
        self.shared.lock().accepts(login, &proof)
    }

    /// What the account accepts now; empty without such an account.
    pub fn accepted(&self, login: &str) -> Vec<String> {
        self.read(login, |account| account.accepted.clone())
    }

    /// Every secret that the account ever had, the first one first.
    pub fn history(&self, login: &str) -> Vec<String> {
        self.read(login, |account| account.history.clone())
    }

    /// How many logins of this account were rejected.
    pub fn failed_logins(&self, login: &str) -> usize {
        self.read(login, |account| account.failed)
    }

    /// How many changes of this account reached the target.
    pub fn changes(&self, login: &str) -> usize {
        self.read(login, |account| account.changes)
    }

    /// What the system saw.
    pub fn counts(&self) -> Counts {
        self.shared.lock().counts
    }

    fn with(&self, login: &str, tell: impl FnOnce(&mut AccountState)) -> &Self {
        tell(
            self.shared
                .lock()
                .accounts
                .entry(login.to_owned())
                .or_default(),
        );
        self
    }

    fn read<T: Default>(&self, login: &str, look: impl FnOnce(&AccountState) -> T) -> T {
        self.shared
            .lock()
            .accounts
            .get(login)
            .map(look)
            .unwrap_or_default()
    }
}
