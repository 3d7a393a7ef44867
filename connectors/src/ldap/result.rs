//! Result codes, policy objections and known phrases, decoded into what is known to have happened.
//!
//! Invariant: whatever a table here does not list is unknown for a write and no verdict for a
//! login; no byte of the directory's own text is passed on.
//!
//! Source: RFC 4511 appendix A; MS-ERREF 2.2; observed on OpenLDAP slapd 2.5, 389 Directory Server
//! 2.3 and Samba 4.17.

use super::diagnosis::Said;
use super::flavour::Flavour;
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

/// `ERROR_INVALID_PASSWORD`: the old password is wrong.
const INVALID_PASSWORD: u32 = 0x56;
/// `ERROR_PASSWORD_RESTRICTION`: length, complexity, history or age.
const PASSWORD_RESTRICTION: u32 = 0x52d;
/// `ERROR_DS_OPERATIONS_ERROR`: the connection has lost its identity.
const NOBODY: u32 = 0x2020;
/// `ERROR_DS_WILL_NOT_PERFORM`.
const WILL_NOT_PERFORM: u32 = 0x2035;
/// `ERROR_GEN_FAILURE`: what a domain controller says to a password outside TLS, or unquoted.
const GENERAL_FAILURE: u32 = 0x1f;

/// What became of a password write.
pub(super) fn written(flavour: Flavour, reply: Reply) -> Changed {
    match reply.code {
        0 => Changed::Done,
        1 if flavour.is_domain() && reply.said == Said::Number(NOBODY) => Changed::NotNow(system(
            Class::Busy,
            "the functional connection had lost its identity; nothing was set",
        )),
        16 | 17 | 21 | 65 => Changed::NotNow(account(
            Class::Incompatible,
            "the directory's schema does not let this entry hold a password",
        )),
        19 if flavour.is_domain() => restricted(reply),
        19 => constrained(reply),
        49 if reply.said == Said::OldWrong => Changed::NotNow(old_refused()),
        53 if reply.said != Said::Unprotected => unwilling(flavour, reply),
        _ => common(reply),
    }
}

/// What every write may meet, whatever it sets.
pub(super) fn common(reply: Reply) -> Changed {
    Changed::NotNow(match reply.code {
        2 | 12 => system(
            Class::Incompatible,
            "the directory does not know the operation that its kind should have",
        ),
        8 | 13 => unprotected(),
        53 if reply.said == Said::Unprotected => unprotected(),
        10 => system(
            Class::Incompatible,
            "this server takes no writes; configure the one that does",
        ),
        32 | 34 => account(
            Class::NoAccount,
            "the directory holds no entry of this name",
        ),
        50 if reply.objection == Some(Objection::MustSupplyOld) => old_demanded(),
        50 => account(
            Class::Privilege,
            "the login that writes has no right to change this entry",
        ),
        51 | 52 => system(Class::Busy, "the directory is busy"),
        code => return Changed::Unknown(unlisted(code)),
    })
}

fn unprotected() -> Reason {
    system(
        Class::Incompatible,
        "the directory demands a stronger protection than this connection has",
    )
}

fn refused(text: &'static str) -> Changed {
    Changed::Refused(account(Class::Refused, text))
}

/// Why a password may not be changed yet.
pub(super) fn too_young() -> Reason {
    account(
        Class::Busy,
        "the minimum age of the present password has not passed",
    )
}

fn old_demanded() -> Reason {
    account(
        Class::Privilege,
        "the directory demands the old password for this entry",
    )
}

fn old_refused() -> Reason {
    account(
        Class::Denied,
        "the directory does not take the current password for the old one",
    )
}

/// Active Directory's `constraintViolation` and `unwillingToPerform`: the number says which.
fn restricted(reply: Reply) -> Changed {
    match reply.said {
        Said::TooYoung => Changed::NotNow(too_young()),
        Said::Number(PASSWORD_RESTRICTION) => {
            refused("the password is too short, too simple or was used before")
        }
        Said::Number(INVALID_PASSWORD) => Changed::NotNow(old_refused()),
        _ => Changed::Unknown(unlisted(reply.code)),
    }
}

/// `unwillingToPerform`: for each product something else.
fn unwilling(flavour: Flavour, reply: Reply) -> Changed {
    match (flavour, reply.said) {
        (Flavour::Ad | Flavour::Samba, Said::Number(WILL_NOT_PERFORM | GENERAL_FAILURE)) => {
            Changed::NotNow(system(
                Class::Incompatible,
                "the domain controller does not take the password in this form",
            ))
        }
        (Flavour::Ad | Flavour::Samba, _) => restricted(reply),
        // It lets whoever must change its own password do nothing else.
        (Flavour::Ds389, Said::Nothing) => Changed::NotNow(system(
            Class::Denied,
            "the functional account must first change its own password",
        )),
        (_, Said::OldUnchecked) => Changed::NotNow(old_refused()),
        _ => Changed::Unknown(unlisted(reply.code)),
    }
}

/// `constraintViolation` elsewhere: the policy says which, or at least the text.
fn constrained(reply: Reply) -> Changed {
    match reply.objection {
        Some(Objection::TooYoung) => Changed::NotNow(too_young()),
        Some(Objection::Quality) => refused("the password is too simple for the policy"),
        Some(Objection::TooShort) => refused("the password is too short for the policy"),
        Some(Objection::TooLong) => refused("the password is too long for the policy"),
        Some(Objection::InHistory) => refused("the password was used before"),
        None if reply.said == Said::StoredForm => Changed::NotNow(account(
            Class::Incompatible,
            "the directory took the password for one in stored form",
        )),
        None if reply.said == Said::NotUpdated => {
            refused("the directory keeps the old password; the new one was probably used before")
        }
        None => refused("the password breaks a rule that the directory does not name"),
        Some(Objection::ModificationNotAllowed) => Changed::NotNow(account(
            Class::Privilege,
            "the policy forbids changing this password",
        )),
        Some(Objection::MustSupplyOld) => Changed::NotNow(old_demanded()),
        Some(
            Objection::Expired
            | Objection::Locked
            | Objection::ChangeAfterReset
            | Objection::Unreadable,
        ) => Changed::Unknown(unlisted(19)),
    }
}

/// What a bind as a managed account says about its secret.
pub(super) fn judged(flavour: Flavour, reply: Reply) -> Verdict {
    let no = |reason| Verdict::NotNow(reason);
    let locked = || no(account(Class::Locked, "the account is locked"));
    match (reply.code, reply.objection) {
        (0, None) => Verdict::Right,
        (0, Some(Objection::ChangeAfterReset)) => no(account(
            Class::Expired,
            "the password is right but must be changed before use",
        )),
        (49, None) if flavour.is_domain() => of_domain(reply.said),
        (49, None) => Verdict::Wrong,
        (0 | 49, Some(Objection::Expired)) => {
            no(account(Class::Expired, "the password has expired"))
        }
        (53, _) if reply.said == Said::Inactivated => {
            no(account(Class::Locked, "the account is disabled"))
        }
        (19 | 49 | 53, Some(Objection::Locked)) => locked(),
        (19, _) if reply.said == Said::RetryLimit => locked(),
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
        (8 | 13, _) => no(unprotected()),
        (53, _) if reply.said == Said::Unprotected => no(unprotected()),
        (51 | 52, _) => no(system(Class::Busy, "the directory is busy")),
        (code, _) => no(unlisted(code)),
    }
}

/// A login that Active Directory refused. All but the first two numbers come only to a password
/// that is right, or to one that was not looked at.
fn of_domain(said: Said) -> Verdict {
    let Said::Login(number) = said else {
        return Verdict::NotNow(unlisted(49));
    };
    let (class, text) = match number {
        0x52e => return Verdict::Wrong,
        0x525 => (Class::NoAccount, "the domain holds no account of this name"),
        0x530 | 0x531 => (Class::Locked, "the account may not log in now or from here"),
        0x532 => (Class::Expired, "the password has expired"),
        0x533 => (Class::Locked, "the account is disabled"),
        0x701 => (Class::Locked, "the account has expired"),
        0x773 => (
            Class::Expired,
            "the password is right but must be changed before use",
        ),
        0x775 => (Class::Locked, "the account is locked"),
        _ => return Verdict::NotNow(unlisted(49)),
    };
    Verdict::NotNow(account(class, text))
}

/// Why the functional account may not work, if it may not.
pub(super) fn functional(flavour: Flavour, reply: Reply) -> Option<Reason> {
    Some(match judged(flavour, reply) {
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

/// A result that no table lists.
pub(super) fn unlisted(code: u32) -> Reason {
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

    const FLAVOURS: [Flavour; 5] = [
        Flavour::OpenLdap,
        Flavour::Ds389,
        Flavour::Ad,
        Flavour::Samba,
        Flavour::Generic,
    ];

    const SAID: [Said; 15] = [
        Said::Nothing,
        Said::Something,
        Said::Number(PASSWORD_RESTRICTION),
        Said::Number(INVALID_PASSWORD),
        Said::Number(NOBODY),
        Said::TooYoung,
        Said::Login(0x52e),
        Said::Login(0x775),
        Said::NoSuchValue,
        Said::OldWrong,
        Said::OldUnchecked,
        Said::NotUpdated,
        Said::RetryLimit,
        Said::Inactivated,
        Said::Unprotected,
    ];

    /// Every answer that the tables could meet, of every product.
    fn answers() -> impl Iterator<Item = (Flavour, Reply)> {
        FLAVOURS.into_iter().flat_map(|flavour| {
            (0..=255).flat_map(move |code| {
                OBJECTIONS.into_iter().flat_map(move |objection| {
                    SAID.into_iter().map(move |said| {
                        let reply = Reply {
                            code,
                            objection,
                            said,
                        };
                        (flavour, reply)
                    })
                })
            })
        })
    }

    const fn reply(code: u32, said: Said) -> Reply {
        Reply {
            code,
            objection: None,
            said,
        }
    }

    #[test]
    fn only_code_zero_is_ever_done_or_right() {
        for (flavour, reply) in answers() {
            let zero = reply.code == 0;
            assert_eq!(written(flavour, reply) == Changed::Done, zero, "{reply:?}");
            let right = zero && reply.objection.is_none();
            assert_eq!(judged(flavour, reply) == Verdict::Right, right, "{reply:?}");
            assert_eq!(functional(flavour, reply).is_none(), right, "{reply:?}");
        }
    }

    #[test]
    fn only_invalid_credentials_without_objection_are_wrong() {
        for (flavour, reply) in answers() {
            let plain = reply.code == 49 && reply.objection.is_none();
            let wrong = plain && (!flavour.is_domain() || reply.said == Said::Login(0x52e));
            assert_eq!(judged(flavour, reply) == Verdict::Wrong, wrong, "{reply:?}");
        }
    }

    #[test]
    fn codes_that_may_follow_an_applied_write_are_unknown() {
        for flavour in FLAVOURS {
            for code in [1, 3, 4, 11, 14, 49, 53, 80, 88, 118, 255] {
                let outcome = written(flavour, reply(code, Said::Something));
                assert!(matches!(outcome, Changed::Unknown(_)), "{code}");
            }
        }
    }

    #[test]
    fn a_referral_is_no_success() {
        for flavour in FLAVOURS {
            let referral = reply(10, Said::Nothing);
            assert!(matches!(written(flavour, referral), Changed::NotNow(_)));
            assert!(matches!(judged(flavour, referral), Verdict::NotNow(_)));
        }
    }

    #[test]
    fn a_refusal_of_the_secret_needs_a_constraint() {
        for (flavour, reply) in answers() {
            if let Changed::Refused(_) = written(flavour, reply) {
                let number = reply.said == Said::Number(PASSWORD_RESTRICTION);
                let fits = if flavour.is_domain() {
                    matches!(reply.code, 19 | 53) && number
                } else {
                    reply.code == 19
                };
                assert!(fits, "{flavour:?} {reply:?}");
            }
        }
    }

    #[test]
    fn trouble_with_the_functional_account_stops_the_system() {
        for (flavour, reply) in answers() {
            if matches!(reply.code, 0 | 19 | 32 | 48 | 49 | 53)
                && let Some(reason) = functional(flavour, reply)
            {
                let class = match (reply.code, reply.said, reply.objection) {
                    (53, Said::Unprotected, Some(Objection::Locked)) => Class::Denied,
                    (53, Said::Unprotected, _) => Class::Incompatible,
                    _ => Class::Denied,
                };
                let seen = (reason.scope, reason.class);
                assert_eq!(seen, (crate::Scope::System, class), "{reply:?}");
            }
        }
    }

    #[test]
    fn a_locked_or_disabled_account_is_no_verdict_on_the_secret() {
        for (flavour, code, said, class) in [
            (Flavour::Samba, 49, Said::Login(0x775), Class::Locked),
            (Flavour::Ad, 49, Said::Login(0x533), Class::Locked),
            (Flavour::Ad, 49, Said::Login(0x773), Class::Expired),
            (Flavour::Ad, 49, Said::Login(0x532), Class::Expired),
            (Flavour::Ad, 49, Said::Login(0x9999), Class::Unknown),
            (Flavour::Ad, 49, Said::Nothing, Class::Unknown),
            (Flavour::Ds389, 19, Said::RetryLimit, Class::Locked),
            (Flavour::Ds389, 53, Said::Inactivated, Class::Locked),
            (Flavour::Ds389, 53, Said::Unprotected, Class::Incompatible),
        ] {
            let verdict = judged(flavour, reply(code, said));
            let right = matches!(&verdict, Verdict::NotNow(reason) if reason.class == class);
            assert!(right, "{said:?}: {verdict:?}");
        }
    }

    #[test]
    fn the_numbers_of_a_refused_write_are_told_apart() {
        for (flavour, code, said, class) in [
            (Flavour::Samba, 19, Said::TooYoung, Class::Busy),
            (Flavour::Ad, 53, Said::TooYoung, Class::Busy),
            (
                Flavour::Ad,
                19,
                Said::Number(INVALID_PASSWORD),
                Class::Denied,
            ),
            (Flavour::Ad, 53, Said::Number(0x2035), Class::Incompatible),
            (Flavour::Ad, 53, Said::Number(0x1f), Class::Incompatible),
            (Flavour::Ad, 1, Said::Number(NOBODY), Class::Busy),
            (Flavour::Ds389, 49, Said::OldWrong, Class::Denied),
            (Flavour::Ds389, 53, Said::Nothing, Class::Denied),
            (Flavour::Ds389, 53, Said::Unprotected, Class::Incompatible),
            (Flavour::Ds389, 19, Said::StoredForm, Class::Incompatible),
            (Flavour::OpenLdap, 53, Said::OldUnchecked, Class::Denied),
        ] {
            let outcome = written(flavour, reply(code, said));
            let right = matches!(&outcome, Changed::NotNow(reason) if reason.class == class);
            assert!(right, "{flavour:?} {said:?}: {outcome:?}");
        }
    }
}
