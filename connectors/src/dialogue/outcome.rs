//! What becomes of a change whose dialogue did not come to its end.
//!
//! Invariant: after the commit has begun to leave, whatever is not the system's own word about it
//! is [`Changed::Unknown`].

use super::definition::{Dialogue, Which};
use crate::{Changed, Class, Reason, Scope};

/// Why a dialogue did not go on.
#[derive(Debug)]
pub(super) enum Cause {
    /// The connection was lost.
    Lost,
    /// The deadline came, and nothing was heard since the last send.
    Silent,
    /// The deadline came; what was heard is nothing that the platform expects.
    Strange,
    /// More was said than the platform allows.
    TooMuch,
    /// The command ended, in a way that the platform does not expect.
    Ended,
    /// The system says so itself.
    Said(Class, Scope),
    /// It asks again what was answered, by this secret or by none.
    AskedAgain(Option<Which>),
    /// It asks for a secret that is not there.
    Missing(Which),
    /// Nothing began.
    NotBegun(Reason),
}

/// What became of a dialogue that failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) changed: Changed,
    /// True: the connection was gone, or never served.
    pub(super) was_lost: bool,
}

impl Failed {
    /// Nothing was sent.
    pub(super) fn before(reason: Reason) -> Self {
        Self {
            changed: Changed::NotNow(reason),
            was_lost: false,
        }
    }

    /// Why, where nothing was to be changed.
    pub(super) fn reason(self) -> Reason {
        match self.changed {
            Changed::Refused(reason) | Changed::NotNow(reason) | Changed::Unknown(reason) => reason,
            Changed::Done => Reason::account(Class::Unknown, "the dialogue failed after its end"),
        }
    }
}

/// Where the dialogue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing that counts has left.
    Before,
    /// The commit has left; its answer is awaited.
    Committing,
    /// The commit was answered.
    Committed,
}

pub(super) fn place(dialogue: &Dialogue, operation: &str, step: usize) -> String {
    format!("{} {operation}, step {step}", dialogue.id)
}

pub(super) fn judge(place: &str, phase: Phase, cause: &Cause) -> Changed {
    let about = |class, scope, what: &str| Reason {
        class,
        scope,
        text: format!("{place}: {what}").into(),
    };
    let account = |class, what: &str| about(class, Scope::Account, what);
    let before = match cause {
        Cause::NotBegun(reason) => reason.clone(),
        Cause::Lost => account(Class::Unreachable, "the connection was lost"),
        Cause::Silent => account(Class::Unreachable, "the system did not answer in time"),
        Cause::Strange => account(
            Class::Incompatible,
            "the system says nothing that the platform expects, or waits behind another prompt",
        ),
        Cause::TooMuch => account(Class::Incompatible, "the system says too much"),
        Cause::Ended => account(
            Class::Incompatible,
            "the command ended in a way that the platform does not expect",
        ),
        Cause::Missing(which) => account(
            Class::Privilege,
            &format!(
                "the system asks for the {} secret, and none is stored",
                which.name()
            ),
        ),
        Cause::AskedAgain(which) => {
            let what = "the system asks again what was answered";
            match which {
                Some(Which::New) => account(Class::Refused, what),
                Some(Which::Old) => account(Class::Denied, what),
                Some(Which::Enable) => about(Class::Privilege, Scope::System, what),
                None => account(Class::Incompatible, what),
            }
        }
        Cause::Said(class, scope) => {
            let reason = about(
                *class,
                *scope,
                &format!("the system's answer means {}", class.name()),
            );
            // Its own word about the commit counts, unless that word is that it does not know.
            if phase != Phase::Committed && *class != Class::Unknown {
                return by_class(reason);
            }
            reason
        }
    };
    if phase == Phase::Before {
        return by_class(before);
    }
    let what = match phase {
        Phase::Committed => "the change was made, but a later step failed",
        Phase::Before | Phase::Committing => "the answer to the change was lost",
    };
    Changed::Unknown(account(Class::Unknown, what))
}

fn by_class(reason: Reason) -> Changed {
    match reason.class {
        Class::Refused | Class::NoAccount => Changed::Refused(reason),
        _ => Changed::NotNow(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every cause, and how it reads before the commit.
    fn causes() -> Vec<(Cause, Class)> {
        let reason = Reason::account(Class::Busy, "no session");
        vec![
            (Cause::Lost, Class::Unreachable),
            (Cause::Silent, Class::Unreachable),
            (Cause::Strange, Class::Incompatible),
            (Cause::TooMuch, Class::Incompatible),
            (Cause::Ended, Class::Incompatible),
            (Cause::Said(Class::Refused, Scope::Account), Class::Refused),
            (
                Cause::Said(Class::NoAccount, Scope::Account),
                Class::NoAccount,
            ),
            (Cause::Said(Class::Busy, Scope::System), Class::Busy),
            (Cause::Said(Class::Unknown, Scope::Account), Class::Unknown),
            (Cause::AskedAgain(Some(Which::New)), Class::Refused),
            (Cause::AskedAgain(Some(Which::Old)), Class::Denied),
            (Cause::AskedAgain(Some(Which::Enable)), Class::Privilege),
            (Cause::AskedAgain(None), Class::Incompatible),
            (Cause::Missing(Which::Enable), Class::Privilege),
            (Cause::NotBegun(reason), Class::Busy),
        ]
    }

    #[test]
    fn before_the_commit_nothing_is_unknown() {
        for (cause, class) in causes() {
            let changed = judge("x set_password, step 1", Phase::Before, &cause);
            let is_refused = matches!(class, Class::Refused | Class::NoAccount);
            match &changed {
                Changed::Refused(reason) if is_refused => assert_eq!(reason.class, class),
                Changed::NotNow(reason) if !is_refused => assert_eq!(reason.class, class),
                _ => panic!("{cause:?}: {changed:?}"),
            }
        }
    }

    #[test]
    fn once_the_commit_has_left_only_the_systems_word_about_it_counts() {
        for (cause, class) in causes() {
            let is_word = matches!(cause, Cause::Said(..)) && class != Class::Unknown;
            let changed = judge("x set_password, step 2", Phase::Committing, &cause);
            let is_unknown = matches!(changed, Changed::Unknown(_));
            assert_eq!(is_unknown, !is_word, "{cause:?}: {changed:?}");
        }
    }

    #[test]
    fn after_the_commits_answer_everything_is_unknown() {
        for (cause, _) in causes() {
            let changed = judge("x set_password, step 3", Phase::Committed, &cause);
            assert!(
                matches!(changed, Changed::Unknown(_)),
                "{cause:?}: {changed:?}"
            );
        }
    }
}
