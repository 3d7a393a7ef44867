//! Key rules: what a generated SSH key pair looks like.
//!
//! Invariant: every rule is one that OpenSSH servers in use take without being told to.

use super::id::RuleId;

/// Kinds of key pairs that are generated. DSA is not: no server in use takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Edwards curve 25519.
    Ed25519,
    /// NIST curve of 256 bits.
    EcdsaP256,
    /// NIST curve of 384 bits.
    EcdsaP384,
    /// NIST curve of 521 bits.
    EcdsaP521,
    /// RSA with a modulus of that many bits.
    Rsa {
        /// Bits of the modulus.
        bits: u16,
    },
}

impl KeyKind {
    /// The vendor's `KeyType`; the vendor knows RSA and DSA alone.
    pub const fn family(self) -> &'static str {
        match self {
            Self::Ed25519 => "ED25519",
            Self::EcdsaP256 | Self::EcdsaP384 | Self::EcdsaP521 => "ECDSA",
            Self::Rsa { .. } => "RSA",
        }
    }

    /// The vendor's `KeySize`, in bits.
    pub const fn bits(self) -> u16 {
        match self {
            Self::Ed25519 | Self::EcdsaP256 => 256,
            Self::EcdsaP384 => 384,
            Self::EcdsaP521 => 521,
            Self::Rsa { bits } => bits,
        }
    }
}

/// How a key pair is to be generated. Source: BeyondTrust Password Safe, `DSSKeyRules`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRule {
    /// Its id; 0 is the default rule.
    pub id: RuleId,
    /// What people call it.
    pub name: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// What is generated.
    pub kind: KeyKind,
    /// The private key is encrypted under a passphrase by the default password rule.
    pub passphrase: bool,
}

const fn rule(
    id: i64,
    name: &'static str,
    description: &'static str,
    kind: KeyKind,
    passphrase: bool,
) -> KeyRule {
    KeyRule {
        id: RuleId(id),
        name,
        description,
        kind,
        passphrase,
    }
}

const RULES: [KeyRule; 8] = [
    rule(
        0,
        "Default",
        "RSA keys of 4096 bits, without a passphrase",
        KeyKind::Rsa { bits: 4_096 },
        false,
    ),
    rule(
        1,
        "ED25519",
        "ED25519 keys, without a passphrase",
        KeyKind::Ed25519,
        false,
    ),
    rule(
        2,
        "ECDSA 256",
        "ECDSA keys on P-256, without a passphrase",
        KeyKind::EcdsaP256,
        false,
    ),
    rule(
        3,
        "ECDSA 384",
        "ECDSA keys on P-384, without a passphrase",
        KeyKind::EcdsaP384,
        false,
    ),
    rule(
        4,
        "ECDSA 521",
        "ECDSA keys on P-521, without a passphrase",
        KeyKind::EcdsaP521,
        false,
    ),
    rule(
        5,
        "RSA 3072",
        "RSA keys of 3072 bits, without a passphrase",
        KeyKind::Rsa { bits: 3_072 },
        false,
    ),
    rule(
        6,
        "ED25519 with passphrase",
        "ED25519 keys under a generated passphrase",
        KeyKind::Ed25519,
        true,
    ),
    rule(
        7,
        "RSA 4096 with passphrase",
        "RSA keys of 4096 bits under a generated passphrase",
        KeyKind::Rsa { bits: 4_096 },
        true,
    ),
];

impl KeyRule {
    /// The rules of this service, by id.
    pub const fn all() -> [Self; 8] {
        RULES
    }

    /// The rule with this id.
    pub fn built_in(id: RuleId) -> Option<Self> {
        RULES.into_iter().find(|rule| rule.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_found_by_their_ids_and_the_first_is_the_default() {
        for (at, rule) in KeyRule::all().into_iter().enumerate() {
            assert_eq!(rule.id, RuleId(i64::try_from(at).unwrap()));
            assert_eq!(KeyRule::built_in(rule.id), Some(rule));
        }
        assert_eq!(KeyRule::all()[0].kind, KeyKind::Rsa { bits: 4_096 });
        assert_eq!(KeyRule::built_in(RuleId(8)), None);
    }
}
