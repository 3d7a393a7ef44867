//! Distinguished names: read, compared, never built from foreign text without escaping.
//!
//! Invariant: the empty name is no name: a password write that names nobody changes its sender.
//!
//! Source: RFC 4514.

use crate::canonical::hex;

/// Longest name that is looked at, in bytes.
const DN_MAX_BYTES: usize = 4_096;

/// Types with several spellings, and the one that directories answer with. Source: RFC 4519.
const SPELLINGS: [(&str, &str); 15] = [
    ("userid", "uid"),
    ("0.9.2342.19200300.100.1.1", "uid"),
    ("commonname", "cn"),
    ("2.5.4.3", "cn"),
    ("surname", "sn"),
    ("2.5.4.4", "sn"),
    ("countryname", "c"),
    ("2.5.4.6", "c"),
    ("localityname", "l"),
    ("2.5.4.7", "l"),
    ("organizationname", "o"),
    ("2.5.4.10", "o"),
    ("organizationalunitname", "ou"),
    ("2.5.4.11", "ou"),
    ("0.9.2342.19200300.100.1.25", "dc"),
];

/// A name in the form in which two spellings of it are equal.
///
/// Types and values are compared without case and with single inner spaces, as nearly every
/// naming attribute is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dn(Vec<Vec<(String, Vec<u8>)>>);

impl Dn {
    /// Reads a name; `None` if it is none, or empty.
    pub(super) fn parse(raw: &str) -> Option<Self> {
        if raw.trim().is_empty() || raw.len() > DN_MAX_BYTES || raw.contains('\0') {
            return None;
        }
        let mut parts = Vec::new();
        for part in split(raw, &[',', ';'])? {
            let mut pairs = Vec::new();
            for pair in split(part, &['+'])? {
                let (kind, value) = pair.split_once('=')?;
                pairs.push((kind_of(kind)?, value_of(value)?));
            }
            // `a=1+b=2` and `b=2+a=1` are one name.
            pairs.sort();
            parts.push(pairs);
        }
        Some(Self(parts))
    }
}

/// True if both are names, and the same one.
pub(super) fn same(left: &str, right: &str) -> bool {
    Dn::parse(left).is_some_and(|left| Dn::parse(right) == Some(left))
}

/// One spelling for all spellings of a name; `None` if it is none.
///
/// A name lies below another exactly if its spelling ends with a comma and the other's.
pub fn canonical(raw: &str) -> Option<String> {
    let spelled = |(kind, value): (String, Vec<u8>)| {
        let mut text = kind + "=";
        for byte in value {
            if byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'-' | b'.' | b'_' | b'@') {
                text.push(char::from(byte));
            } else {
                text.push('\\');
                text.push_str(&hex(&[byte]));
            }
        }
        text
    };
    let parts = Dn::parse(raw)?.0.into_iter().map(|pairs| {
        let pairs: Vec<String> = pairs.into_iter().map(spelled).collect();
        pairs.join("+")
    });
    Some(parts.collect::<Vec<_>>().join(","))
}

/// The DNS name of the domain that a name lies in: `ad.test` for `OU=people,DC=ad,DC=test`.
pub fn domain(raw: &str) -> Option<String> {
    let mut labels: Vec<String> = Vec::new();
    for part in Dn::parse(raw)?.0.into_iter().rev() {
        let [(kind, value)] = part.as_slice() else {
            break;
        };
        if kind != "dc" {
            break;
        }
        labels.push(String::from_utf8(value.clone()).ok()?);
    }
    labels.reverse();
    (!labels.is_empty()).then(|| labels.join("."))
}

/// The login name that a name tells: of `uid=ann,ou=people,dc=test` it is `ann`.
pub fn login(raw: &str) -> Option<String> {
    let first = Dn::parse(raw)?.0.into_iter().next()?;
    let mut pairs = first.into_iter();
    let (_, value) = pairs.find(|(kind, _)| kind == "uid")?;
    String::from_utf8(value).ok()
}

/// The DNS name of a domain's own name: `ad.test` for `DC=ad,DC=test`.
pub(super) fn dns_name(context: &str) -> Option<String> {
    let labels = Dn::parse(context)?.0.into_iter().map(|part| {
        let [(kind, value)] = part.as_slice() else {
            return None;
        };
        (kind == "dc").then(|| String::from_utf8(value.clone()).ok())?
    });
    Some(labels.collect::<Option<Vec<_>>>()?.join("."))
}

/// Splits at separators that are neither escaped nor quoted; `None` for a dangling escape.
fn split<'a>(text: &'a str, separators: &[char]) -> Option<Vec<&'a str>> {
    let (mut parts, mut start, mut escaped, mut quoted) = (Vec::new(), 0, false, false);
    for (at, sign) in text.char_indices() {
        match sign {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            _ if !quoted && separators.contains(&sign) => {
                parts.push(text.get(start..at)?);
                start = at + sign.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text.get(start..)?);
    (!escaped && !quoted).then_some(parts)
}

fn kind_of(raw: &str) -> Option<String> {
    let kind = raw.trim().to_ascii_lowercase();
    let kind = kind.strip_prefix("oid.").unwrap_or(&kind);
    let fits = kind.starts_with(|sign: char| sign.is_ascii_alphanumeric())
        && kind
            .chars()
            .all(|sign| sign.is_ascii_alphanumeric() || matches!(sign, '-' | '.'));
    let spelled = SPELLINGS
        .iter()
        .find(|(other, _)| *other == kind)
        .map_or(kind, |(_, name)| name);
    fits.then(|| spelled.to_owned())
}

fn value_of(raw: &str) -> Option<Vec<u8>> {
    // Spaces around a value do not count, unless the last one is escaped.
    let raw = raw.trim_start_matches(' ');
    let trimmed = raw.trim_end_matches(' ');
    let raw = if trimmed.ends_with('\\') {
        raw.get(..=trimmed.len()).unwrap_or(trimmed)
    } else {
        trimmed
    };
    let unquoted = raw
        .strip_prefix('"')
        .map_or(Some(raw), |inner| inner.strip_suffix('"'))?;
    let mut bytes = Vec::with_capacity(unquoted.len());
    let mut signs = unquoted.chars();
    while let Some(sign) = signs.next() {
        if sign != '\\' {
            bytes.extend(sign.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let next = signs.next()?;
        match next.to_digit(16) {
            Some(high) => {
                let low = signs.next()?.to_digit(16)?;
                bytes.push(u8::try_from(high * 16 + low).ok()?);
            }
            None => bytes.extend(next.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    if bytes.is_empty() {
        return None;
    }
    Some(match String::from_utf8(bytes) {
        Ok(text) => {
            let folded = text.to_lowercase();
            folded
                .split(' ')
                .filter(|word| !word.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
                .into()
        }
        Err(binary) => binary.into_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_are_the_same() {
        for (left, right) in [
            (
                "uid=u1,ou=people,dc=keywheel,dc=test",
                "UID=U1, OU=People; dc=keywheel , DC=test",
            ),
            ("cn=a\\2cb,dc=x", "cn=a\\,b,dc=x"),
            ("cn=a\\2cb,dc=x", "cn=\"a,b\",dc=x"),
            ("cn=a+uid=b,dc=x", "uid=b+cn=a,dc=x"),
            ("2.5.4.3=a  b,dc=x", "cn=A b,dc=x"),
            ("cn=lu\\c4\\8di\\c4\\87", "cn=Lučić"),
            ("cn=a\\ ,dc=x", "cn=a,dc=x"),
        ] {
            assert!(same(left, right), "{left} and {right}");
        }
    }

    #[test]
    fn every_spelling_of_a_name_is_spelled_alike() {
        let one = "uid=a\\2c b,ou=people,dc=keywheel,dc=test";
        for other in ["UID=A\\, B, OU=People; dc=keywheel , DC=test", one] {
            assert_eq!(canonical(other).as_deref(), Some(one));
        }
        assert_eq!(canonical("ann"), None);
        assert_eq!(domain("ou=x,DC=Ad,dc=test").as_deref(), Some("ad.test"));
        assert_eq!(domain("ou=x,o=test"), None);
        assert_eq!(login("cn=x+userid=Ann,dc=test").as_deref(), Some("ann"));
        assert_eq!(login("cn=x,uid=ann,dc=test"), None);
    }

    #[test]
    fn a_domain_is_named_by_its_components() {
        assert_eq!(dns_name("DC=Ad,DC=Test"), Some("ad.test".to_owned()));
        assert_eq!(dns_name("OU=people,DC=ad,DC=test"), None);
        assert_eq!(dns_name(""), None);
    }

    #[test]
    fn other_names_are_not_the_same() {
        for (left, right) in [
            ("uid=u1,dc=test", "uid=u11,dc=test"),
            ("uid=u1,dc=test", "uid=u1"),
            ("uid=u1,dc=test", "cn=u1,dc=test"),
            ("uid=u1\\,dc=test", "uid=u1,dc=test"),
        ] {
            assert!(!same(left, right), "{left} and {right}");
        }
    }

    #[test]
    fn what_is_no_name_is_not_even_its_own_equal() {
        for raw in [
            "", "  ", "u1", "x)(uid=*", "uid=", "uid=a,", "=a", "uid=a\\", "uid=\"a", "uid=\\4",
        ] {
            assert!(!same(raw, raw), "{raw:?}");
        }
    }
}
