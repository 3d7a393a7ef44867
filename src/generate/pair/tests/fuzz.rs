//! Whatever is given as a key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;
use crate::fuzz::{check, mutant_texts, mutants, share, text as texts};

/// Made by OpenSSL for these tests: under `x` with few rounds of PBKDF2 and of scrypt, and open.
const PBKDF2: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGaMFYGCSqGSIb3DQEFDTBJMCgGCSqGSIb3DQEFDDAbBAjxVYSjNg3GnAIBCjAM
BggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBKgQQy4tGTEkC7NJQH2Tk1dzmlARAQR54
yZMbHxJyEk8ATJSRHiZ09+AnhRsCgooV50reKFOPHcOFWhQWliZHeA7G0PWggHtB
q3o1CWFE9mgTtAmm0Q==
-----END ENCRYPTED PRIVATE KEY-----
";
const SCRYPT: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGSME4GCSqGSIb3DQEFDTBBMCAGCSsGAQQB2kcECzATBAhIqWQnWOMC5gIBEAIB
AQIBATAdBglghkgBZQMEASoEELNizymUep3gjN5+RszqN+kEQDKQ8pCHnGzYTus+
ZRkhyAijkPYuwnpPC4bnGkPl0y2VxKr3bK83sce88ArhUGbUUQsKobgq3kRmxaMh
9PvPt4o=
-----END ENCRYPTED PRIVATE KEY-----
";
const OPEN: &str = "\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEILc5MzX4sTEQfB5CHAuVE2UH9akV4nlCcLksGrFJBq6V
-----END PRIVATE KEY-----
";

/// A key's label and its bytes.
fn taken_apart(pem: &str) -> (String, Vec<u8>) {
    let label = pem.trim().lines().next().unwrap();
    let label = label
        .trim_start_matches("-----BEGIN ")
        .trim_end_matches('-');
    let body: String = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    (label.to_owned(), STANDARD.decode(body).unwrap())
}

fn put_together(label: &str, bytes: &[u8]) -> String {
    let body = STANDARD.encode(bytes);
    // Both readers insist on the width of their own form.
    let width = if label.starts_with("OPENSSH") { 70 } else { 64 };
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(width)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// DER of so many whole numbers, each so long.
fn numbers(count: u8, bytes: usize) -> Vec<u8> {
    let mut body = vec![2, 1, 0];
    for nth in 0..count {
        body.extend([2, 0x82]);
        body.extend(u16::try_from(bytes).unwrap().to_be_bytes());
        body.extend((0..bytes).map(|at| 0x40 | nth | u8::try_from(at % 63).unwrap()));
        *body.last_mut().unwrap() |= 1;
    }
    let mut key = vec![0x30, 0x82];
    key.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    key.extend(body);
    key
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let dice = SeededDice::new(9);
    let drawn = [
        KeyKind::Ed25519,
        KeyKind::EcdsaP256,
        KeyKind::EcdsaP384,
        KeyKind::EcdsaP521,
    ]
    .map(|kind| {
        taken_apart(text(
            &key_pair(&rule(kind, false), &dice).unwrap().given.private,
        ))
    });
    let mut seeds: Vec<_> = [PBKDF2, SCRYPT, OPEN].map(taken_apart).into();
    seeds.extend(drawn);
    seeds
}

/// A key that opens is a pair, and opens again as what it became.
fn sound(private: &str, passphrase: Option<&str>) -> crate::fuzz::Held {
    match unlock(private, passphrase) {
        Ok(opened) => {
            prop_assert_eq!(public_of(&opened.public), Some(opened.public.clone()));
            let again = unlock(text(&opened.private), None)
                .map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(again.public, opened.public);
        }
        Err(error) => {
            let said = format!("{error} {error:?}");
            prop_assert!(said.len() < 120);
            let body: String = private.split_whitespace().collect();
            prop_assert!(
                !body
                    .as_bytes()
                    .windows(24)
                    .any(|part| said.as_bytes().windows(24).any(|other| other == part))
                    || body.is_empty()
            );
        }
    }
    Ok(())
}

#[test]
fn a_key_with_changed_bytes_is_a_pair_or_none() {
    let all = seeds();
    let keys = (0..all.len(), any::<prop::sample::Index>()).prop_flat_map(move |(which, _)| {
        let (label, bytes) = all[which].clone();
        (Just(label), mutants(vec![bytes], &[]))
    });
    share(
        "generate::unlock of changed bytes",
        400,
        &keys,
        |(label, bytes)| sound(&put_together(&label, &bytes), Some("x")),
    );
}

#[test]
fn a_key_with_changed_text_is_a_pair_or_none() {
    let all: Vec<String> = seeds()
        .iter()
        .map(|(label, bytes)| put_together(label, bytes))
        .collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let tokens = &[
        "-----BEGIN ",
        "-----END ",
        "PRIVATE KEY-----",
        "RSA ",
        "EC ",
        "OPENSSH ",
        "Proc-Type: 4,ENCRYPTED",
        "\n",
    ];
    let keys = (mutant_texts(&all, tokens), proptest::option::of(texts(2)));
    share(
        "generate::unlock of changed text",
        100,
        &keys,
        |(key, passphrase)| sound(&key, passphrase.as_deref()),
    );
}

#[test]
fn a_key_of_huge_numbers_is_refused_in_time() {
    let lengths = prop_oneof![256_usize..600, 1_000_usize..4_000];
    share(
        "generate::unlock of huge numbers",
        4_000,
        &(6_u8..9, lengths),
        |(count, bytes)| {
            let key = put_together("RSA PRIVATE KEY", &numbers(count, bytes));
            prop_assert!(unlock(&key, None).is_err());
            Ok(())
        },
    );
}

#[test]
fn what_costs_nothing_and_what_costs_too_much_is_told() {
    // The cost of scrypt stands as a number of one byte, 16, behind the salt.
    let (label, bytes) = taken_apart(SCRYPT);
    let at = bytes
        .windows(3)
        .position(|part| part == [2, 1, 16])
        .unwrap()
        + 2;
    for (cost, fault) in [
        (0, KeyError::Rounds),
        (3, KeyError::Rounds),
        (8, KeyError::WrongPassphrase),
    ] {
        let mut other = bytes.clone();
        other[at] = cost;
        assert_eq!(
            unlock(&put_together(&label, &other), Some("x")).unwrap_err(),
            fault,
            "{cost}"
        );
    }
    assert!(unlock(SCRYPT, Some("x")).is_ok() && unlock(PBKDF2, Some("x")).is_ok());
}

#[test]
fn a_public_line_is_read_to_one_spelling() {
    let dice = SeededDice::new(3);
    let lines: Vec<String> = [KeyKind::Ed25519, KeyKind::EcdsaP256]
        .map(|kind| key_pair(&rule(kind, false), &dice).unwrap().public)
        .into();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let lines = mutant_texts(
        &lines,
        &[
            "ssh-ed25519 ",
            "ssh-rsa ",
            "AAAA",
            " comment",
            "\nssh-ed25519 ",
        ],
    );
    check("generate::public_of", &lines, |line| {
        if let Some(public) = public_of(&line) {
            prop_assert_eq!(public.split(' ').count(), 2);
            prop_assert_eq!(public_of(&public), Some(public.clone()));
            prop_assert!(
                public
                    .bytes()
                    .all(|byte| byte == b' ' || byte.is_ascii_graphic())
            );
        }
        Ok(())
    });
}

#[test]
fn a_native_key_is_well_formed_only_with_its_own_check() {
    let dice = SeededDice::new(4);
    let key = crate::generate::native_key(&dice);
    let key = text(&key).to_owned();
    assert!(crate::generate::native_key_is_wellformed(&key));
    let whole = key.clone();
    check(
        "generate::native_key_is_wellformed",
        &mutant_texts(&[&key], &["kw_live_"]),
        |other| {
            if crate::generate::native_key_is_wellformed(&other) {
                prop_assert_eq!(other.len(), whole.len());
                prop_assert!(
                    other
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                );
            }
            Ok(())
        },
    );
}
