//! One rotation: the pure machine that moves an account from one version to the next.
//!
//! Invariant: [`Rotation::after`] is total over phases and outcomes; doubt is never cleared, and
//! no outcome but an accepted login leads to [`Phase::Verified`].

use std::time::Duration;

use serde::Serialize;

/// How long a candidate that was sent may still land on its target.
pub const HORIZON: Duration = Duration::from_hours(24);

/// Where a rotation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Opened; no candidate yet.
    Ready,
    /// The candidate is durable; the target has not heard of it.
    Staged,
    /// The intent to send is durable; the target may hear of it from now on.
    Applying,
    /// The target says, or a look at it has shown, that it holds the candidate.
    Applied,
    /// A login with the candidate has succeeded.
    Verified,
    /// The candidate is current.
    Committed,
    /// Ended without effect; the candidate is kept all the same.
    Abandoned,
    /// Evidence is exhausted; everything is kept; a person decides.
    NeedsOperator,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 8] = [
        Self::Ready,
        Self::Staged,
        Self::Applying,
        Self::Applied,
        Self::Verified,
        Self::Committed,
        Self::Abandoned,
        Self::NeedsOperator,
    ];

    /// As it stands in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Staged => "staged",
            Self::Applying => "applying",
            Self::Applied => "applied",
            Self::Verified => "verified",
            Self::Committed => "committed",
            Self::Abandoned => "abandoned",
            Self::NeedsOperator => "needs_operator",
        }
    }

    /// Reads it back.
    pub fn parse(raw: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == raw)
    }

    /// True if nothing more happens by itself.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Committed | Self::Abandoned => true,
            Self::Ready
            | Self::Staged
            | Self::Applying
            | Self::Applied
            | Self::Verified
            | Self::NeedsOperator => false,
        }
    }

    /// True where a service may stop without owing the target an answer.
    pub const fn is_safe_point(self) -> bool {
        match self {
            Self::Ready
            | Self::Staged
            | Self::Committed
            | Self::Abandoned
            | Self::NeedsOperator => true,
            Self::Applying | Self::Applied | Self::Verified => false,
        }
    }
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Draw the candidate, seal it, store it.
    Generate,
    /// Put the intent to send on record.
    Intend,
    /// Send the candidate to the target.
    Apply,
    /// Find out which secret works, changing nothing.
    Probe,
    /// Log in with the candidate.
    Verify,
    /// Make the candidate current.
    Promote,
}

/// What came of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was done.
    Done,
    /// Proof that this try changed nothing, and the candidate will never do.
    Refused,
    /// Proof that nothing changed; later may work.
    NotNow,
    /// The answer was lost.
    Unknown,
    /// A probe: the candidate works.
    Candidate,
    /// A probe: the current version works.
    Current,
    /// A probe: both are conclusively refused, or the lockout budget is spent for good.
    Neither,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 7] = [
        Self::Done,
        Self::Refused,
        Self::NotNow,
        Self::Unknown,
        Self::Candidate,
        Self::Current,
        Self::Neither,
    ];
}

/// A rotation, as far as decisions need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rotation {
    /// Where it stands.
    pub phase: Phase,
    /// An apply of this candidate ended without an answer: it may have landed, or may land yet.
    pub doubt: bool,
}

/// An outcome that its phase cannot have. A defect of the caller's; nothing may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("outcome {outcome:?} is impossible in phase {phase:?}; the rotation stays as it is")]
pub struct InvalidTransition {
    /// Where the rotation stood.
    pub phase: Phase,
    /// What was claimed to have happened.
    pub outcome: Outcome,
}

impl Rotation {
    /// A rotation that has just been opened.
    pub const fn open() -> Self {
        Self {
            phase: Phase::Ready,
            doubt: false,
        }
    }

    /// A rotation to a kept version that the target may hold: it begins where a crash would have
    /// left it.
    pub const fn adopt() -> Self {
        Self {
            phase: Phase::Applying,
            doubt: true,
        }
    }

    /// What is to be done next.
    ///
    /// `fresh`: this engine has just written the phase. A phase that was *found* in the store may
    /// have been acted upon already, so an intent is probed, not repeated.
    pub const fn effect(self, fresh: bool) -> Option<Effect> {
        match self.phase {
            Phase::Ready => Some(Effect::Generate),
            Phase::Staged => Some(Effect::Intend),
            Phase::Applying => Some(if fresh { Effect::Apply } else { Effect::Probe }),
            Phase::Applied => Some(Effect::Verify),
            Phase::Verified => Some(Effect::Promote),
            Phase::Committed | Phase::Abandoned | Phase::NeedsOperator => None,
        }
    }

    /// Where the rotation stands after its effect had this outcome.
    ///
    /// # Errors
    /// [`InvalidTransition`] for an outcome that the phase's effect cannot have.
    #[expect(clippy::match_same_arms, reason = "the table is read row by row")]
    pub const fn after(self, outcome: Outcome) -> Result<Self, InvalidTransition> {
        use Outcome::{Candidate, Current, Done, Neither, NotNow, Refused, Unknown};
        use Phase::{
            Abandoned, Applied, Applying, Committed, NeedsOperator, Ready, Staged, Verified,
        };
        let doubt = self.doubt;
        let (phase, doubt) = match (self.phase, outcome) {
            (Ready, Done) => (Staged, doubt),
            (Ready | Staged, Refused) => (Abandoned, doubt),
            (Ready, NotNow | Unknown) => (Ready, doubt),
            (Staged, Done) => (Applying, doubt),
            (Staged, NotNow | Unknown) => (Staged, doubt),
            (Applying, Done) => (Applied, doubt),
            // After doubt a refusal proves nothing: "already used" may mean applied.
            (Applying, Refused) => {
                if doubt {
                    (Applying, true)
                } else {
                    (Abandoned, false)
                }
            }
            (Applying, NotNow) => (Staged, doubt),
            (Applying, Unknown) => (Applying, true),
            (Applying | NeedsOperator, Candidate) => (Applied, true),
            (Applying, Current) => (Staged, true),
            // A found intent may have been sent by an engine that died: its order may be late.
            (Applying, Neither) => (NeedsOperator, true),
            (Applied, Done) => (Verified, doubt),
            (Applied, Refused) => (Applying, true),
            (Applied, NotNow | Unknown) => (Applied, doubt),
            (Verified | NeedsOperator, Done) => (Committed, doubt),
            (Verified, Unknown) => (Verified, doubt),
            (NeedsOperator, Current) => (Abandoned, doubt),
            (NeedsOperator, Unknown | Neither) => (NeedsOperator, doubt),
            (Ready | Staged | Applied, Candidate | Current | Neither)
            | (Verified, Refused | NotNow | Candidate | Current | Neither)
            | (NeedsOperator, Refused | NotNow)
            | (
                Committed | Abandoned,
                Done | Refused | NotNow | Unknown | Candidate | Current | Neither,
            ) => {
                return Err(InvalidTransition {
                    phase: self.phase,
                    outcome,
                });
            }
        };
        Ok(Self { phase, doubt })
    }

    /// True if an attempt goes on after a step `to` there with this outcome: it has moved forward,
    /// or a probe has shown that the candidate did not land and may be sent again.
    pub fn moves_on(self, to: Self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::NotNow => false,
            Outcome::Candidate | Outcome::Current => true,
            Outcome::Unknown => !self.doubt && to.doubt,
            Outcome::Done | Outcome::Refused | Outcome::Neither => to.phase > self.phase,
        }
    }

    /// Where the rotation stands once its attempts are used up.
    #[must_use]
    pub const fn give_up(self) -> Self {
        let (phase, doubt) = match self.phase {
            // Without doubt nothing was sent; with doubt the candidate may still land, and is
            // kept past the horizon like every other version.
            Phase::Ready | Phase::Staged | Phase::Abandoned => (Phase::Abandoned, self.doubt),
            // Whatever ends this rotation later must not take the candidate for dead: an order
            // that was called done may land late as well.
            Phase::Applying | Phase::Applied | Phase::Verified | Phase::NeedsOperator => {
                (Phase::NeedsOperator, true)
            }
            Phase::Committed => (Phase::Committed, self.doubt),
        };
        Self { phase, doubt }
    }

    /// True if the target may hold the candidate instead of the current version.
    pub const fn in_doubt(self) -> bool {
        match self.phase {
            Phase::Applying | Phase::Applied | Phase::Verified | Phase::NeedsOperator => true,
            Phase::Ready | Phase::Staged | Phase::Abandoned => self.doubt,
            Phase::Committed => false,
        }
    }
}

/// Failing logins that may be caused on an account in a lockout window: two below the threshold, at
/// most two, one if it is unknown. A threshold of 0 locks nobody out.
pub fn lockout_budget(threshold: Option<i64>) -> i64 {
    match threshold {
        None => 1,
        Some(0) => 2,
        Some(threshold) => (threshold - 2).clamp(0, 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_phase_and_outcome_is_decided() {
        let mut allowed = 0;
        for phase in Phase::ALL {
            for doubt in [false, true] {
                for outcome in Outcome::ALL {
                    match (Rotation { phase, doubt }).after(outcome) {
                        Ok(next) => {
                            allowed += 1;
                            assert!(next.doubt || !doubt, "doubt was cleared by {outcome:?}");
                        }
                        Err(refused) => assert_eq!(refused, InvalidTransition { phase, outcome }),
                    }
                }
            }
        }
        assert_eq!(allowed, 2 * (4 + 4 + 7 + 4 + 2 + 5));
    }

    #[test]
    fn only_an_accepted_login_verifies_and_only_a_verified_one_or_an_operator_commits() {
        for phase in Phase::ALL {
            for outcome in Outcome::ALL {
                let Ok(next) = (Rotation {
                    phase,
                    doubt: false,
                })
                .after(outcome) else {
                    continue;
                };
                if next.phase == Phase::Verified && phase != Phase::Verified {
                    assert_eq!((phase, outcome), (Phase::Applied, Outcome::Done));
                }
                if next.phase == Phase::Committed {
                    assert!(matches!(phase, Phase::Verified | Phase::NeedsOperator));
                    assert_eq!(outcome, Outcome::Done);
                }
            }
        }
    }

    #[test]
    fn an_intent_that_was_found_is_probed_and_never_repeated() {
        let found = Rotation {
            phase: Phase::Applying,
            doubt: false,
        };
        assert_eq!(found.effect(false), Some(Effect::Probe));
        assert_eq!(found.effect(true), Some(Effect::Apply));
    }

    #[test]
    fn the_budget_stays_two_below_the_threshold() {
        let thresholds = [None, Some(0), Some(1), Some(2), Some(3), Some(4), Some(10)];
        assert_eq!(thresholds.map(lockout_budget), [1, 2, 0, 0, 1, 2, 2]);
    }

    #[test]
    fn giving_up_never_ends_a_rotation_whose_candidate_may_be_live() {
        for phase in [
            Phase::Applying,
            Phase::Applied,
            Phase::Verified,
            Phase::NeedsOperator,
        ] {
            let given_up = Rotation {
                phase,
                doubt: false,
            }
            .give_up();
            assert_eq!(given_up.phase, Phase::NeedsOperator);
            assert!(given_up.doubt);
        }
    }
}
