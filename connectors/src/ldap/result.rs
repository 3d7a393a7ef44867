//! Result codes and policy objections, decoded into what is known to have happened.
//!
//! Invariant: whatever a table here does not list is unknown for a write and no verdict for a
//! login; the directory's own text is never read.
//!
//! Source: RFC 4511 appendix A; observed on OpenLDAP slapd 2.5.

use super::link::Reply;
use super::ppolicy::Objection;
use crate::{Changed, Class, Reason};

/// What a bind says about the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is right, if the identity is.
    Right,
    /// It is wrong, or there is no such entry.
    Wrong,
    /// It was not judged, or it is right and of no use.
    NotNow(Reason),
}

fn account(class: Class, text: &'static str) -> Reason {
    Reason::account(class, text)
}

fn system(class: Class, text: &'static str) -> Reason {
    Reason::system(class, text)
}

/// What became of a password write by the functional account.
pub(super) fn written(reply: Reply) -> Changed {
    let Reply { code, objection } = reply;
    match code {
        0 => Changed::Done,
        2 | 12 => Changed::NotNow(system(
            Class::Incompatible,
            "the directory does not know the password modify operation",
        )),
        8 | 13 => Changed::NotNow(system(
            Class::Incompatible,
            "the directory demands a stronger protection than this connection has",
        )),
        10 => Changed::NotNow(system(
            Class::Incompatible,
            "this server takes no writes; configure the one that does",
        )),
        16 | 17 | 21 | 65 => Changed::NotNow(account(
            Class::Incompatible,
            "the directory's schema does not let this entry hold a password",
        )),
        19 => constrained(objection),
        32 | 34 => Changed::NotNow(account(
            Class::NoAccount,
            "the directory holds no entry of this name",
        )),
        50 => Changed::NotNow(match objection {
            Some(Objection::MustSupplyOld) => account(
                Class::Privilege,
                "the directory demands the old password for this entry",
            ),
            _ => account(
                Class::Privilege,
                "the functional account may not set this password",
            ),
        }),
        51 | 52 => Changed::NotNow(system(Class::Busy, "the directory is busy")),
        _ => Changed::Unknown(unlisted(code)),
    }
}

/// `constraintViolation`: the policy overlay says which.
fn constrained(objection: Option<Objection>) -> Changed {
    let refused = |text| Changed::Refused(account(Class::Refused, text));
    match objection {
        Some(Objection::TooYoung) => Changed::NotNow(account(
            Class::Busy,
            "the minimum age of the present password has not passed",
        )),
        Some(Objection::Quality) => refused("the password is too simple for the policy"),
        Some(Objection::TooShort) => refused("the password is too short for the policy"),
        Some(Objection::TooLong) => refused("the password is too long for the policy"),
        Some(Objection::InHistory) => refused("the password was used before"),
        None => refused("the password breaks a rule that the directory does not name"),
        Some(Objection::ModificationNotAllowed) => Changed::NotNow(account(
            Class::Privilege,
            "the policy forbids changing this password",
        )),
        Some(Objection::MustSupplyOld) => Changed::NotNow(account(
            Class::Privilege,
            "the directory demands the old password for this entry",
        )),
        Some(
            Objection::Expired
            | Objection::Locked
            | Objection::ChangeAfterReset
            | Objection::Unreadable,
        ) => Changed::Unknown(unlisted(19)),
    }
}

/// What a bind as a managed account says about its secret.
pub(super) fn judged(reply: Reply) -> Verdict {
    let no = |reason| Verdict::NotNow(reason);
    match (reply.code, reply.objection) {
        (0, None) => Verdict::Right,
        (0, Some(Objection::ChangeAfterReset)) => no(account(
            Class::Expired,
            "the password is right but must be changed before use",
        )),
        (49, None) => Verdict::Wrong,
        (0 | 49, Some(Objection::Expired)) => {
            no(account(Class::Expired, "the password has expired"))
        }
        (19 | 49 | 53, Some(Objection::Locked)) => {
            no(account(Class::Locked, "the account is locked"))
        }
        (0 | 49, Some(_)) => no(account(
            Class::Incompatible,
            "the policy objects in a way that does not belong to a login",
        )),
        (32 | 34, _) => no(account(
            Class::NoAccount,
            "the directory holds no entry of this name",
        )),
        (48, _) => no(account(
            Class::Incompatible,
            "the entry has no password to log in with",
        )),
        (8 | 13, _) => no(system(
            Class::Incompatible,
            "the directory demands a stronger protection than this connection has",
        )),
        (51 | 52, _) => no(system(Class::Busy, "the directory is busy")),
        (code, _) => no(unlisted(code)),
    }
}

/// Why the functional account may not work, if it may not.
pub(super) fn functional(reply: Reply) -> Option<Reason> {
    Some(match judged(reply) {
        Verdict::Right => return None,
        Verdict::Wrong => system(Class::Denied, "the functional account's login was refused"),
        Verdict::NotNow(reason) => match reason.class {
            Class::Expired => system(
                Class::Denied,
                "the functional account must first change its own password",
            ),
            Class::Locked => system(Class::Denied, "the functional account is locked"),
            Class::Busy | Class::Incompatible if reason.scope == crate::Scope::System => reason,
            _ => system(Class::Denied, "the functional account cannot log in"),
        },
    })
}

fn unlisted(code: u32) -> Reason {
    // The number is the server's, but a number carries no secret.
    Reason::account(
        Class::Unknown,
        format!("the directory answered with result code {code}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECTIONS: [Option<Objection>; 12] = [
        None,
        Some(Objection::Expired),
        Some(Objection::Locked),
        Some(Objection::ChangeAfterReset),
        Some(Objection::ModificationNotAllowed),
        Some(Objection::MustSupplyOld),
        Some(Objection::Quality),
        Some(Objection::TooShort),
        Some(Objection::TooYoung),
        Some(Objection::InHistory),
        Some(Objection::TooLong),
        Some(Objection::Unreadable),
    ];

    #[test]
    fn only_code_zero_is_ever_done_or_right() {
        for code in 0..=255 {
            for objection in OBJECTIONS {
                let reply = Reply { code, objection };
                assert_eq!(written(reply) == Changed::Done, code == 0, "{reply:?}");
                let right = code == 0 && objection.is_none();
                assert_eq!(judged(reply) == Verdict::Right, right, "{reply:?}");
                assert_eq!(functional(reply).is_none(), right, "{reply:?}");
            }
        }
    }

    #[test]
    fn only_invalid_credentials_without_objection_are_wrong() {
        for code in 0..=255 {
            for objection in OBJECTIONS {
                let wrong = judged(Reply { code, objection }) == Verdict::Wrong;
                assert_eq!(wrong, code == 49 && objection.is_none());
            }
        }
    }

    #[test]
    fn codes_that_may_follow_an_applied_write_are_unknown() {
        for code in [1, 3, 4, 11, 14, 53, 80, 88, 118, 255] {
            let outcome = written(Reply {
                code,
                objection: None,
            });
            assert!(matches!(outcome, Changed::Unknown(_)), "{code}");
        }
    }

    #[test]
    fn a_referral_is_no_success() {
        assert!(matches!(
            written(Reply {
                code: 10,
                objection: None
            }),
            Changed::NotNow(_)
        ));
        assert!(matches!(
            judged(Reply {
                code: 10,
                objection: None
            }),
            Verdict::NotNow(_)
        ));
    }

    #[test]
    fn a_refusal_of_the_secret_needs_a_constraint() {
        for code in 0..=255 {
            for objection in OBJECTIONS {
                if let Changed::Refused(_) = written(Reply { code, objection }) {
                    assert_eq!(code, 19);
                }
            }
        }
    }

    #[test]
    fn trouble_with_the_functional_account_stops_the_system() {
        for objection in OBJECTIONS {
            for code in [0, 19, 32, 48, 49, 53] {
                if let Some(reason) = functional(Reply { code, objection }) {
                    assert_eq!(
                        (reason.scope, reason.class),
                        (crate::Scope::System, Class::Denied)
                    );
                }
            }
        }
    }
}
