//! The password policy control: asks a directory why, and reads its answer.
//!
//! Invariant: an answer that cannot be read is never taken for the absence of an error.
//!
//! Source: draft-behera-ldap-password-policy-10, section 6.

use ldap3::controls::{Control, RawControl};

use super::ber;

const OID: &str = "1.3.6.1.4.1.42.2.27.8.5.1";

/// What a directory's password policy objects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Objection {
    /// The password is too old to be used.
    Expired,
    /// The account is locked.
    Locked,
    /// The password was reset and must be changed before anything else.
    ChangeAfterReset,
    /// The password may not be changed.
    ModificationNotAllowed,
    /// The old password must be given.
    MustSupplyOld,
    /// The new password is too simple.
    Quality,
    /// The new password is too short.
    TooShort,
    /// The last change is too recent.
    TooYoung,
    /// The new password was used before.
    InHistory,
    /// The new password is too long.
    TooLong,
    /// An objection that the draft does not name, or a value that is none.
    Unreadable,
}

/// The control to send along with every bind and every password write.
pub(super) fn request() -> RawControl {
    RawControl {
        ctype: OID.to_owned(),
        crit: false,
        val: None,
    }
}

/// The objection among an answer's controls, if there is one.
pub(super) fn objection(controls: &[Control]) -> Option<Objection> {
    let Control(_, control) = controls.iter().find(|Control(_, raw)| raw.ctype == OID)?;
    decode(control.val.as_deref().unwrap_or_default())
}

/// `SEQUENCE { warning [0] …, error [1] ENUMERATED }`, both optional.
fn decode(value: &[u8]) -> Option<Objection> {
    // An absent value says nothing, and so does an empty sequence.
    if value.is_empty() {
        return None;
    }
    let Some(sequence) = ber::expect(0x30, value) else {
        return Some(Objection::Unreadable);
    };
    let after_warning = match ber::expect(0xa0, sequence.body) {
        Some(warning) => warning.rest,
        None => sequence.body,
    };
    if after_warning.is_empty() {
        return None;
    }
    let Some(error) = ber::expect(0x81, after_warning) else {
        return Some(Objection::Unreadable);
    };
    Some(match ber::number(error.body) {
        Some(0) => Objection::Expired,
        Some(1) => Objection::Locked,
        Some(2) => Objection::ChangeAfterReset,
        Some(3) => Objection::ModificationNotAllowed,
        Some(4) => Objection::MustSupplyOld,
        Some(5) => Objection::Quality,
        Some(6) => Objection::TooShort,
        Some(7) => Objection::TooYoung,
        Some(8) => Objection::InHistory,
        Some(9) => Objection::TooLong,
        _ => Objection::Unreadable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_and_warnings_are_no_objection() {
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&[0x30, 0]), None);
        assert_eq!(decode(&[0x30, 5, 0xa0, 3, 0x80, 1, 0x3c]), None);
    }

    #[test]
    fn an_objection_is_read_with_and_without_a_warning() {
        assert_eq!(
            decode(&[0x30, 3, 0x81, 1, 2]),
            Some(Objection::ChangeAfterReset)
        );
        let both = [0x30, 8, 0xa0, 3, 0x81, 1, 2, 0x81, 1, 0];
        assert_eq!(decode(&both), Some(Objection::Expired));
    }

    #[test]
    fn what_cannot_be_read_is_an_objection() {
        for value in [
            &[0x30, 3, 0x81, 1, 10][..],
            &[0x30, 9, 0x81, 1, 0],
            &[0x04, 0],
            &[0x30, 2, 5, 0],
        ] {
            assert_eq!(decode(value), Some(Objection::Unreadable));
        }
    }
}
