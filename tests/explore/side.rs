//! One account in one state: what the store keeps of it, what its target holds, and what its
//! workers have in memory.
//!
//! Time is folded. `fresh` has the versions that were sent within the horizon, `cleared` those whose
//! horizon had passed when another version got a conclusive accept. An epoch is only ever compared
//! with the account's, so a worker keeps whether it has fallen behind, and no number.
//!
//! Invariant: a state is all there is; two that are equal have the same future.

use std::hash::{Hash, Hasher};

use keywheel::model::job::JobKind;
use keywheel::model::rotation::{Effect, Outcome, Rotation};

/// Workers that an account may have at once: one more than a lease allows.
pub(super) const WORKERS: usize = 2;

/// Versions of an account. Version `v` is also the secret that it is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Set(pub(super) u8);

impl Set {
    pub(super) const NONE: Self = Self(0);

    pub(super) const fn of(version: u8) -> Self {
        Self(1 << version)
    }

    pub(super) const fn has(self, version: u8) -> bool {
        self.0 & (1 << version) != 0
    }

    pub(super) const fn with(self, version: u8) -> Self {
        Self(self.0 | (1 << version))
    }

    pub(super) const fn without(self, version: u8) -> Self {
        Self(self.0 & !(1 << version))
    }

    pub(super) const fn plus(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// The newest first.
    pub(super) fn newest(self) -> impl Iterator<Item = u8> {
        (0..8).rev().filter(move |version| self.has(*version))
    }
}

/// A rotation as it stands in the store, or as a worker has read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) state: Rotation,
    pub(super) version: u8,
}

/// The account's open job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) kind: JobKind,
    /// Counted when it is claimed.
    pub(super) attempt: u8,
    /// True if the account's latest rotation was opened by it.
    pub(super) staged: bool,
}

/// What a worker does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Idle,
    /// It has claimed the job and read the account.
    Begins,
    /// It asks the rotation for its effect.
    Rotates,
    /// The first login of its probe was refused; true: the candidate's.
    ProbesOn(bool),
    /// An effect had this outcome, which is not on record yet.
    Records(Effect, Outcome),
    /// Its test was refused: it looks for the version that the target holds.
    Looks,
    /// The attempt is over.
    Concludes,
}

/// What a worker has in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Worker {
    pub(super) doing: Doing,
    pub(super) row: Option<Row>,
    /// The current version when it read the account.
    pub(super) current: u8,
    /// The effect before, in this attempt.
    pub(super) asked: Option<Effect>,
    /// True if the login of its next verification is counted already.
    pub(super) granted: bool,
    /// False: its lease has ended, and somebody else may have the job.
    pub(super) holds: bool,
    /// True: the account's epoch has moved since it read it.
    pub(super) behind: bool,
    pub(super) kind: JobKind,
    pub(super) attempt: u8,
}

impl Worker {
    pub(super) const IDLE: Self = Self {
        doing: Doing::Idle,
        row: None,
        current: 0,
        asked: None,
        granted: false,
        holds: false,
        behind: false,
        kind: JobKind::Rotate,
        attempt: 0,
    };

    pub(super) fn is_idle(&self) -> bool {
        self.doing == Doing::Idle
    }

    /// All of it in one number.
    fn packed(&self) -> u64 {
        let row = self.row.map_or(0, |row| 1 + packed(row));
        let doing = match self.doing {
            Doing::Idle => 0,
            Doing::Begins => 1,
            Doing::Rotates => 2,
            Doing::ProbesOn(candidate_first) => 3 + u64::from(candidate_first),
            Doing::Looks => 5,
            Doing::Concludes => 6,
            Doing::Records(effect, outcome) => 7 + (effect as u64) * 8 + outcome as u64,
        };
        let asked = self.asked.map_or(0, |effect| 1 + effect as u64);
        let flags = [self.granted, self.holds, self.behind];
        let flags = flags
            .into_iter()
            .fold(self.kind as u64, |all, one| all << 1 | u64::from(one));
        let small = u64::from(self.current) << 4 | u64::from(self.attempt);
        row << 40 | doing << 32 | asked << 24 | flags << 16 | small
    }
}

fn packed(row: Row) -> u64 {
    let Rotation { phase, doubt } = row.state;
    (phase as u64) << 5 | u64::from(doubt) << 4 | u64::from(row.version)
}

/// One account.
#[expect(clippy::struct_excessive_bools, reason = "each tells one thing")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Side {
    // The store.
    pub(super) kept: Set,
    /// The highest version so far.
    pub(super) last: u8,
    pub(super) current: u8,
    /// The one before, if the latest rotation was committed within the horizon.
    pub(super) previous: Option<u8>,
    pub(super) open: Option<Row>,
    /// What readers are told.
    pub(super) in_doubt: bool,
    /// A rotation was abandoned in doubt since the last commit.
    pub(super) lingers: bool,
    /// The last rotation was committed.
    pub(super) committed: bool,
    /// The last test was refused.
    pub(super) out_of_sync: bool,
    pub(super) sent: Set,
    pub(super) fresh: Set,
    pub(super) proved: Set,
    pub(super) cleared: Set,
    /// An order of them has had no answer.
    pub(super) doubted: Set,
    pub(super) spent: u8,
    pub(super) job: Option<Job>,
    // The target.
    pub(super) takes: Set,
    /// What was set last; what else it takes will end.
    pub(super) set: u8,
    /// Sent writes that may land yet.
    pub(super) in_flight: Set,
    /// Failing logins in the window.
    pub(super) failed: u8,
    /// True: it takes a replaced secret for a while.
    pub(super) overlaps: bool,
    // Who works on it.
    pub(super) workers: [Worker; WORKERS],
    // What only the judge knows.
    /// Versions that the target has conclusively accepted.
    pub(super) accepted: Set,
    /// Candidates of rotations that were abandoned without doubt.
    pub(super) disproved: Set,
    /// A step was written that had been decided upon another epoch, phase or doubt.
    pub(super) overwritten: bool,
}

impl Side {
    /// An account that was verified at its onboarding, with version 0.
    pub(super) const fn onboarded(overlaps: bool) -> Self {
        Self {
            kept: Set::of(0),
            last: 0,
            current: 0,
            previous: None,
            open: None,
            in_doubt: false,
            lingers: false,
            committed: false,
            out_of_sync: false,
            sent: Set::NONE,
            fresh: Set::NONE,
            proved: Set::of(0),
            cleared: Set::NONE,
            doubted: Set::NONE,
            spent: 0,
            job: None,
            takes: Set::of(0),
            set: 0,
            in_flight: Set::NONE,
            failed: 0,
            overlaps,
            workers: [Worker::IDLE; WORKERS],
            accepted: Set::of(0),
            disproved: Set::NONE,
            overwritten: false,
        }
    }

    /// A write lands.
    pub(super) fn land(&mut self, version: u8) {
        if version != self.set {
            let before = if self.overlaps {
                Set::of(self.set)
            } else {
                Set::NONE
            };
            self.takes = before.with(version);
            self.set = version;
        }
    }

    /// Versions beside current whose orders had no answer, and may land yet.
    pub(super) fn may_land(&self) -> Set {
        let late = self.fresh.minus(Set::of(self.current));
        Set(late.0 & self.doubted.0)
    }

    /// True if nobody works on it.
    pub(super) fn is_quiet(&self) -> bool {
        self.workers.iter().all(Worker::is_idle)
    }

    /// True if nothing is under way or left to do.
    pub(super) fn is_at_rest(&self) -> bool {
        self.job.is_none() && self.is_quiet()
    }

    /// Workers are alike: which is which makes no other state.
    pub(super) fn in_order(mut self) -> Self {
        let [one, other] = self.workers;
        if one.packed() < other.packed() {
            self.workers = [other, one];
        }
        self
    }
}

impl Hash for Side {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let sets = [
            self.kept,
            self.sent,
            self.fresh,
            self.proved,
            self.cleared,
            self.takes,
            self.in_flight,
            self.accepted,
        ];
        let sets = sets.iter().fold(0, |all, set| all << 8 | u64::from(set.0));
        let flags = [
            self.in_doubt,
            self.lingers,
            self.committed,
            self.out_of_sync,
            self.overlaps,
            self.overwritten,
        ];
        let flags = flags
            .iter()
            .fold(0, |all, flag| all << 1 | u64::from(*flag));
        let small = [self.last, self.current, self.spent, self.failed, self.set];
        let small = small.iter().fold(0, |all, one| all << 4 | u64::from(*one));
        let job = self.job.map_or(0, |job| {
            1 + ((job.kind as u64) << 5 | u64::from(job.staged) << 4 | u64::from(job.attempt))
        });
        let open = self.open.map_or(0, |row| 1 + packed(row));
        let previous = self.previous.map_or(0, |version| 1 + u64::from(version));
        hasher.write_u64(sets);
        hasher.write_u64(flags << 48 | small << 24 | open << 8 | job);
        let judged = u64::from(self.disproved.0) << 8 | u64::from(self.doubted.0);
        hasher.write_u64(previous << 16 | judged);
        for worker in &self.workers {
            hasher.write_u64(worker.packed());
        }
    }
}
