//! A directory filter that somebody wrote.
//!
//! Invariant: a [`Filter`] compares no attribute that holds a secret: whoever may ask "does it
//! begin with a?" often enough has read it.
//!
//! Source: RFC 4515, without attribute options, numeric attribute types and the absolute true and
//! false filters.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A search filter, in its string form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Filter(String);

/// Why a text is no [`Filter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Longer than 1,000 bytes.
    #[error("a filter has at most 1,000 bytes")]
    TooLong,
    /// More parentheses within each other than eight.
    #[error("a filter has at most 8 levels")]
    TooDeep,
    /// Not of the form.
    #[error("a filter is written as in RFC 4515, for example (department=12*)")]
    Malformed,
    /// It compares an attribute that may hold a secret.
    #[error("a filter compares no attribute that may hold a secret, and none by its number")]
    Secret,
}

/// Levels of parentheses: each is one call of a parser here and in the library.
const DEPTH_MAX: usize = 8;

/// What the name of an attribute that holds a secret has in it: the products' own password
/// attributes, LAPS, disk recovery keys, one-time passwords, Kerberos keys.
const TELLING: [&str; 13] = [
    "pwd",
    "passw",
    "hash",
    "secret",
    "credential",
    "laps",
    "otp",
    "pkcs12",
    "privatekey",
    "principalkey",
    "keypackage",
    "recovery",
    "supplemental",
];

/// Attributes with such a name that hold a time, a count or a flag.
const HARMLESS: [&str; 12] = [
    "badpasswordtime",
    "badpwdcount",
    "passwordexpirationtime",
    "passwordretrycount",
    "pwdaccountlockedtime",
    "pwdchangedtime",
    "pwdfailuretime",
    "pwdlastset",
    "pwdlastsuccess",
    "pwdpolicysubentry",
    "pwdreset",
    "pwdupdatetime",
];

impl Filter {
    /// The longest filter, in bytes.
    pub const MAX_BYTES: usize = 1_000;

    /// Parses a filter.
    ///
    /// # Errors
    /// [`FilterError`] says what is wrong with it.
    pub fn parse(raw: &str) -> Result<Self, FilterError> {
        if raw.len() > Self::MAX_BYTES {
            return Err(FilterError::TooLong);
        }
        if raw.chars().any(char::is_control) {
            return Err(FilterError::Malformed);
        }
        match filter(raw, 1)? {
            "" => Ok(Self(raw.to_owned())),
            _ => Err(FilterError::Malformed),
        }
    }

    /// The filter's string form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Filter {
    type Error = FilterError;

    fn try_from(raw: String) -> Result<Self, FilterError> {
        Self::parse(&raw)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Takes one filter off; returns what follows.
fn filter(text: &str, depth: usize) -> Result<&str, FilterError> {
    if depth > DEPTH_MAX {
        return Err(FilterError::TooDeep);
    }
    let inner = text.strip_prefix('(').ok_or(FilterError::Malformed)?;
    let rest = if let Some(mut rest) = inner.strip_prefix(['&', '|']) {
        loop {
            rest = filter(rest, depth + 1)?;
            if !rest.starts_with('(') {
                break rest;
            }
        }
    } else if let Some(rest) = inner.strip_prefix('!') {
        filter(rest, depth + 1)?
    } else {
        let (item, _) = inner.split_once(')').ok_or(FilterError::Malformed)?;
        compares(item)?;
        inner.get(item.len()..).unwrap_or_default()
    };
    rest.strip_prefix(')').ok_or(FilterError::Malformed)
}

/// Judges one comparison.
fn compares(item: &str) -> Result<(), FilterError> {
    let (left, value) = item.split_once('=').ok_or(FilterError::Malformed)?;
    let (name, is_equality) = match left.strip_suffix(['~', '<', '>']) {
        Some(name) => (name, false),
        None => (left, true),
    };
    let (name, is_equality) = match name.split_once(':') {
        // `name:rule:=` or `name:dn:rule:=`.
        Some((name, rules)) => (extended(name, rules, is_equality)?, false),
        None => (name, is_equality),
    };
    attribute(name)?;
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        let fits = match byte {
            b'(' => false,
            b'*' => is_equality,
            b'\\' => {
                let mut hex = || bytes.next().is_some_and(|byte| byte.is_ascii_hexdigit());
                hex() && hex()
            }
            _ => true,
        };
        if !fits {
            return Err(FilterError::Malformed);
        }
    }
    Ok(())
}

fn extended<'a>(name: &'a str, rules: &str, plain: bool) -> Result<&'a str, FilterError> {
    let rules = rules.strip_suffix(':').ok_or(FilterError::Malformed)?;
    let fits = plain
        && match rules.split_once(':') {
            Some(("dn", rule)) => is_rule(rule),
            Some(_) => false,
            None => is_rule(rules),
        };
    if name.is_empty() && fits {
        // Without a name every attribute is compared.
        return Err(FilterError::Secret);
    }
    fits.then_some(name).ok_or(FilterError::Malformed)
}

/// A matching rule: its name, or its number. Source: RFC 4512, 1.4.
fn is_rule(rule: &str) -> bool {
    let is_number = |part: &str| {
        let leads = part.len() > 1 && part.starts_with('0');
        !part.is_empty() && !leads && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_name = rule.starts_with(|first: char| first.is_ascii_alphabetic());
    if is_name {
        return rule.bytes().all(sign);
    }
    rule.contains('.') && rule.split('.').all(is_number)
}

fn attribute(name: &str) -> Result<(), FilterError> {
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(FilterError::Secret);
    }
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) || !name.bytes().all(sign) {
        return Err(FilterError::Malformed);
    }
    let name = name.to_ascii_lowercase();
    let tells = TELLING.iter().any(|part| name.contains(part));
    if tells && !HARMLESS.contains(&name.as_str()) {
        return Err(FilterError::Secret);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_the_standard_are_taken() {
        for text in [
            "(cn=*)",
            "(cn=Babs Jensen)",
            "(!(cn=Tim Howes))",
            "(&(objectClass=Person)(|(sn=Jensen)(cn=Babs J*)))",
            "(o=univ*of*mich*)",
            "(o=Parens R Us \\28for all your parenthetical needs\\29)",
            "(cn=*\\2A*)",
            "(seeAlso=)",
            "(cn:caseExactMatch:=Fred Flintstone)",
            "(ou:dn:2.4.6.8.10:=Dino)",
            "(memberOf:1.2.840.113556.1.4.1941:=cn=a,dc=b)",
            "(sn=Lu\\c4\\8di\\c4\\87)",
            "(pwdLastSet<=133000000000000000)",
            "(pwdChangedTime>=20260101000000Z)",
            "(mail~=x)",
            "(sshPublicKey=*)",
            "(cn=ü)",
        ] {
            assert_eq!(
                Filter::parse(text).map(|filter| filter.0),
                Ok(text.to_owned())
            );
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in [
            "",
            "cn=a",
            "(cn=a",
            "(cn=a))",
            "(cn=a)(cn=b)",
            " (cn=a)",
            "(cn)",
            "(=a)",
            "(&)",
            "(|)",
            "(!)",
            "(!(a=b)(c=d))",
            "(cn=a(b)",
            "(cn=\\)",
            "(cn=\\4)",
            "(cn=\\4g)",
            "(cn>=a*)",
            "(cn=a\0)",
            "(cn=a\n)",
            "(c n=a)",
            "(cn;lang-de=a)",
            "(cn::=a)",
            "(cn:a:b:c:=a)",
            "(cn:a:b:=a)",
            "(cn:q.2.840:=a)",
            "(cn:1..2:=a)",
            "(cn:1.02:=a)",
            "(-cn=a)",
        ] {
            assert_eq!(Filter::parse(text), Err(FilterError::Malformed), "{text:?}");
        }
        let long = format!("(cn={})", "x".repeat(1_000));
        assert_eq!(Filter::parse(&long), Err(FilterError::TooLong));
        let deep = |depth: usize| format!("{}(a=b){}", "(!".repeat(depth), ")".repeat(depth));
        assert!(Filter::parse(&deep(7)).is_ok());
        assert_eq!(Filter::parse(&deep(8)), Err(FilterError::TooDeep));
        assert_eq!(Filter::parse(&deep(300)), Err(FilterError::TooDeep));
    }

    #[test]
    fn no_secret_can_be_guessed_sign_by_sign() {
        for text in [
            "(userPassword=*)",
            "(USERPASSWORD=a*)",
            "(unicodePwd=a)",
            "(&(cn=a)(!(ms-Mcs-AdmPwd=A*)))",
            "(msLAPS-EncryptedPassword=*)",
            "(ipaNTHash=a)",
            "(ipatokenOTPkey=a)",
            "(krbPrincipalKey=a)",
            "(msFVE-RecoveryInformation=a)",
            "(userPassword:caseExactMatch:=a)",
            "(2.5.4.35=a*)",
            "(:caseExactMatch:=a)",
            "(:dn:2.4.6.8.10:=a)",
        ] {
            assert_eq!(Filter::parse(text), Err(FilterError::Secret), "{text}");
        }
    }
}
