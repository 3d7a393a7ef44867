//! How often each kind of trouble was met, and what was counted besides.
//!
//! Invariant: a kind is listed once, and one that is never met fails the run.

use std::fmt::Write;

macro_rules! hits {
    ($($name:ident $text:literal,)*) => {
        /// A kind of trouble, or of something asked for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Hit { $($name,)* }

        impl Hit {
            pub(crate) const ALL: &'static [(Self, &'static str)] = &[$((Self::$name, $text),)*];
        }
    };
}

hits! {
    BeginBusy "begin refused, busy",
    BeginFails "begin failed",
    ReadFails "read failed",
    CommitBusy "commit busy",
    CommitConflicts "serialization failure",
    Full "out of space",
    ReadOnly "read-only",
    LostDone "commit unknown, done",
    LostUndone "commit unknown, not done",
    DieBeforeCommit "died before a commit",
    DieAfterCommit "died after a commit",
    DieBetween "died between statements",
    DieBeforeSend "died before a call",
    DieAfterSend "died before an answer",
    DieAnywhere "died elsewhere",
    Restart "started again",
    Drained "drained",
    Stopped "stopped past its lease",
    WentOn "went on without its lease",
    SecondEngine "two engines on one claim",
    Forward "clock an hour ahead",
    Backward "clock an hour behind",
    Decade "clock ten years ahead",
    ClockRight "clock put right",
    TimePasses "hours pass",
    Obeyed "obeyed",
    Refused "refused",
    NotNow "not now",
    LostReply "reply lost",
    LostOrder "order lost",
    Silent "silent",
    ObeysLate "obeys late",
    Landed "late order landed",
    Lied "lied",
    AlreadyUsed "already used",
    Twice "applied twice",
    NotRemoved "key not removed",
    LoginDropped "login dropped",
    LoginLocked "login locked",
    LoginRejected "right login rejected",
    LoginWrong "wrong login refused",
    Unreachable "unreachable",
    OtherIdentity "other identity",
    FunctionalRejected "functional login rejected",
    NoPrivilege "no privilege",
    SomebodyElse "changed by somebody else",
    ChangeNow "change at once",
    ChangeLater "change queued",
    ChangeGiven "password given",
    ChangeKey "key ordered",
    Test "test",
    Quarantine "quarantine",
    Due "due by its policy",
    OwnLogin "functional account rotated",
    HungUp "caller hung up",
}

#[derive(Clone, Debug)]
pub(crate) struct Tally {
    hits: Vec<u64>,
    pub(crate) steps: u64,
    pub(crate) commits: u64,
    pub(crate) crashes: u64,
    pub(crate) rotations: u64,
    pub(crate) sends: u64,
    pub(crate) verified: u64,
    pub(crate) operators: u64,
    pub(crate) drifted: u64,
    pub(crate) out_of_sync: u64,
    pub(crate) lost: u64,
    pub(crate) overruns: u64,
    pub(crate) worst_logins: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            hits: vec![0; Hit::ALL.len()],
            steps: 0,
            commits: 0,
            crashes: 0,
            rotations: 0,
            sends: 0,
            verified: 0,
            operators: 0,
            drifted: 0,
            out_of_sync: 0,
            lost: 0,
            overruns: 0,
            worst_logins: 0,
        }
    }
}

impl Tally {
    pub(crate) fn hit(&mut self, hit: Hit) {
        self.hits[hit as usize] += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.hits.iter_mut().zip(&other.hits) {
            *mine += theirs;
        }
        self.steps += other.steps;
        self.commits += other.commits;
        self.crashes += other.crashes;
        self.rotations += other.rotations;
        self.sends += other.sends;
        self.verified += other.verified;
        self.operators += other.operators;
        self.drifted += other.drifted;
        self.out_of_sync += other.out_of_sync;
        self.lost += other.lost;
        self.overruns += other.overruns;
        self.worst_logins = self.worst_logins.max(other.worst_logins);
    }

    pub(crate) fn never_met(&self) -> Vec<&'static str> {
        let met = Hit::ALL.iter().zip(&self.hits);
        met.filter(|(_, hits)| **hits == 0)
            .map(|((_, text), _)| *text)
            .collect()
    }

    /// As people read it; the last line is the one that sums it up.
    pub(crate) fn report(&self, seeds: u64) -> String {
        let mut text = String::new();
        for ((_, name), hits) in Hit::ALL.iter().zip(&self.hits) {
            writeln!(text, "  {name}: {hits}").unwrap();
        }
        writeln!(
            text,
            "commits {} · rotations {} · sends {} · in the end: verified {}, needs operator {}, \
             changed by somebody else {}, out of sync {} · most failing logins in a window {}",
            self.commits,
            self.rotations,
            self.sends,
            self.verified,
            self.operators,
            self.drifted,
            self.out_of_sync,
            self.worst_logins,
        )
        .unwrap();
        let met = Hit::ALL.len() - self.never_met().len();
        write!(
            text,
            "seeds {seeds} · crash points {} · steps {} · hits {} of {met} kinds, none 0 of {} · lost {} · \
             budget overruns {}",
            self.crashes,
            self.steps,
            self.hits.iter().sum::<u64>(),
            Hit::ALL.len(),
            self.lost,
            self.overruns,
        )
        .unwrap();
        text
    }
}
