//! Who an account is, whatever it is called.
//!
//! Invariant: two accounts that are not one never have the same identity; one account may have
//! two, in the course of time.

use serde::{Deserialize, Deserializer, Serialize, de};

/// The longest half of an identity.
const HALF_MAX_BYTES: usize = 512;

/// Who an account is by its target's own word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CanonicalIdentity {
    /// The machine or directory that says so. It may change: after a restart, for example.
    #[serde(deserialize_with = "half")]
    pub machine: String,
    /// Which of its accounts. Never changes, as long as the account is not made anew.
    #[serde(deserialize_with = "half")]
    pub being: String,
}

impl CanonicalIdentity {
    /// Of two halves; `None` unless both are short texts of printable ASCII.
    pub fn of(machine: String, being: String) -> Option<Self> {
        (fits(&machine) && fits(&being)).then_some(Self { machine, being })
    }
}

/// Two digits for each byte.
#[cfg(any(feature = "ldap", feature = "ssh"))]
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |number: u8| char::from_digit(number.into(), 16).unwrap_or('0');
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(digit).collect()
}

fn fits(half: &str) -> bool {
    let sign = |sign: char| sign.is_ascii_graphic() || sign == ' ';
    (1..=HALF_MAX_BYTES).contains(&half.len()) && half.chars().all(sign)
}

fn half<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if fits(&text) {
        Ok(text)
    } else {
        Err(de::Error::custom("no identity"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_two_short_printable_texts_on_either_side_of_the_wall() {
        let of = |machine: &str, being: &str| CanonicalIdentity::of(machine.into(), being.into());
        let whole = of("machine-id 1 boot 2", "uid 0 name root").unwrap();
        let bytes = postcard::to_allocvec(&whole).unwrap();
        assert_eq!(
            postcard::from_bytes::<CanonicalIdentity>(&bytes).unwrap(),
            whole
        );
        for half in ["", "a\nb", "\u{e9}", &"x".repeat(513)] {
            assert_eq!(of("m", half), None);
            assert_eq!(of(half, "b"), None);
            let foreign = CanonicalIdentity {
                machine: "m".to_owned(),
                being: half.to_owned(),
            };
            let bytes = postcard::to_allocvec(&foreign).unwrap();
            assert!(postcard::from_bytes::<CanonicalIdentity>(&bytes).is_err());
        }
    }
}
