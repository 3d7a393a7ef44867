//! What a directory's own text says beyond its result code.
//!
//! Invariant: a text is looked at for a few known phrases and numbers, and none of it is kept.
//!
//! Source: MS-ERREF 2.2 for the numbers; the phrases as sent by OpenLDAP slapd 2.5, 389 Directory
//! Server 2.3 and Samba 4.17.

/// The part of a text that decides something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing at all.
    Nothing,
    /// Nothing that is known.
    Something,
    /// Active Directory's error number of a write: the first eight hexadecimal digits.
    Number(u32),
    /// The same, and the minimum age is named.
    TooYoung,
    /// Active Directory's error number of a refused login: the digits after `data`.
    Login(u32),
    /// The value to be deleted is not there.
    NoSuchValue,
    /// The schema does not know the attribute.
    NoSuchType,
    /// The old password that was given is wrong.
    OldWrong,
    /// The directory will not look whether the old password is right.
    OldUnchecked,
    /// 389 Directory Server: the history holds the password.
    NotUpdated,
    /// A stored form was sent where a password belongs.
    StoredForm,
    /// 389 Directory Server: too many refused logins.
    RetryLimit,
    /// 389 Directory Server: an operator has inactivated the account.
    Inactivated,
    /// 389 Directory Server: the connection is not protected enough.
    Unprotected,
}

/// Known phrases, in lower case; the first that is found counts.
const PHRASES: [(&str, Said); 12] = [
    ("not found in the schema", Said::NoSuchType),
    ("no such value", Said::NoSuchValue),
    ("no matching attribute value", Said::NoSuchValue),
    ("no such attribute", Said::NoSuchValue),
    ("invalid oldpasswd value", Said::OldWrong),
    ("unwilling to verify old password", Said::OldUnchecked),
    ("failed to update password", Said::NotUpdated),
    ("storage scheme", Said::StoredForm),
    ("exceed password retry limit", Said::RetryLimit),
    ("account inactivated", Said::Inactivated),
    ("account is inactivated", Said::Inactivated),
    ("minimum ssf not met", Said::Unprotected),
];

/// Reads a text.
pub(super) fn read(text: &str) -> Said {
    let text = text.trim_matches(|sign: char| sign.is_whitespace() || sign == '\0');
    if text.is_empty() {
        return Said::Nothing;
    }
    let text = text.to_ascii_lowercase();
    if let Some(found) = login(&text) {
        return Said::Login(found);
    }
    let phrase = PHRASES.iter().find(|(phrase, _)| text.contains(phrase));
    if let Some((_, said)) = phrase {
        return *said;
    }
    match number(&text) {
        Some(_) if text.contains("too young") => Said::TooYoung,
        Some(number) => Said::Number(number),
        None => Said::Something,
    }
}

/// `80090308: LdapErr: DSID-…, comment: AcceptSecurityContext error, data 52e, v1db1`.
fn login(text: &str) -> Option<u32> {
    let (_, after) = text.split_once(", data ")?;
    let digits = after.split(',').next()?;
    u32::from_str_radix(digits.trim(), 16).ok()
}

/// `0000052D: Constraint violation - …`.
fn number(text: &str) -> Option<u32> {
    let digits = text.get(..8)?;
    let alone = text.get(8..).is_none_or(|rest| rest.starts_with(':'));
    alone.then(|| u32::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_active_directory_are_read() {
        let refused = "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, \
                       data 52e, v1db1";
        assert_eq!(read(refused), Said::Login(0x52e));
        let text = "0000052D: Constraint violation - check_password_restrictions: the password is \
                    too young to change!";
        assert_eq!(read(text), Said::TooYoung);
        let text = "0000052D: Constraint violation - check_password_restrictions: too short";
        assert_eq!(read(text), Said::Number(0x52d));
        assert_eq!(
            read("00000056: AtrErr: DSID-03190FD6, #1:"),
            Said::Number(0x56)
        );
    }

    #[test]
    fn phrases_are_found_in_upper_and_lower_case() {
        for (text, said) in [
            ("", Said::Nothing),
            (" \0", Said::Nothing),
            (
                "modify/delete: sshPublicKey: no such value",
                Said::NoSuchValue,
            ),
            (
                "00000057: objectclass_attrs: attribute 'x' on entry was not found in the schema!",
                Said::NoSuchType,
            ),
            (
                "Exceed password retry limit. Please try later.",
                Said::RetryLimit,
            ),
            (
                "Account inactivated. Contact system administrator.",
                Said::Inactivated,
            ),
            ("unwilling to verify old password", Said::OldUnchecked),
            ("Minimum SSF not met.", Said::Unprotected),
            ("Zugriff verweigert", Said::Something),
        ] {
            assert_eq!(read(text), said, "{text}");
        }
    }

    #[test]
    fn no_text_panics() {
        for text in [
            "ü",
            "1234567ü",
            "0000052",
            "0000052Dx",
            ", data ",
            ", data zz,",
            "\u{fffd}",
        ] {
            assert!(
                !matches!(read(text), Said::Number(_) | Said::Login(_)),
                "{text}"
            );
        }
    }
}
