//! What the vault refuses.
//!
//! Invariant: every test that expects a refusal also shows the same call succeeding untouched.

mod fuzz;

use super::*;
use crate::generate::SeededDice;

const PLAIN: &str = "correct horse, battery staple: ünïcode";
const PLACE: Place = Place {
    table: "credential_versions",
    row: 7,
    column: "sealed",
    version: 3,
};

fn kek(byte: u8) -> Kek {
    Kek::from_bytes([byte; 32])
}

fn dice() -> SeededDice {
    SeededDice::new(1)
}

fn ring() -> (Vault, WrappedKey) {
    let key = Vault::new_data_key(&kek(1), &dice()).unwrap();
    (Vault::new(kek(1), vec![key.clone()]).unwrap(), key)
}

fn text(secret: &SecretString) -> &str {
    #[expect(clippy::disallowed_methods, reason = "the test compares it")]
    secret.expose_secret()
}

fn sealed_by(vault: &Vault) -> Vec<u8> {
    let sealed = vault
        .seal(&PLACE, &SecretString::from(PLAIN), &dice())
        .unwrap()
        .0;
    assert_eq!(text(&vault.open(&PLACE, &sealed).unwrap()), PLAIN);
    sealed
}

#[test]
fn what_was_sealed_opens_in_its_place_and_shows_nothing_of_itself() {
    let (vault, key) = ring();
    let sealed = sealed_by(&vault);
    assert_eq!(sealed[0], 1);
    assert_eq!(sealed[1..9], key.id.0.to_be_bytes());
    assert_eq!(sealed.len(), 1 + 8 + 12 + PLAIN.len() + 16);
    assert!(
        !sealed
            .windows(4)
            .any(|four| PLAIN.as_bytes().windows(4).any(|plain| plain == four))
    );
    assert_eq!(vault.active_key_id(), key.id);
}

#[test]
fn the_empty_secret_and_the_longest_one_survive_and_one_byte_more_is_refused() {
    let (vault, _) = ring();
    for length in [0, 1, PLAIN_MAX_BYTES] {
        let plain = "x".repeat(length);
        let sealed = vault.seal(&PLACE, &plain.as_str().into(), &dice()).unwrap();
        assert_eq!(text(&vault.open(&PLACE, &sealed.0).unwrap()), plain);
    }
    let plain = SecretString::from("x".repeat(PLAIN_MAX_BYTES + 1));
    assert_eq!(
        vault.seal(&PLACE, &plain, &dice()),
        Err(VaultError::TooLong { place: PLACE })
    );
}

#[test]
fn a_copy_to_another_table_row_column_or_version_does_not_open() {
    let (vault, _) = ring();
    let sealed = sealed_by(&vault);
    for place in [
        Place {
            table: "accounts",
            ..PLACE
        },
        Place { row: 8, ..PLACE },
        Place {
            column: "other",
            ..PLACE
        },
        Place {
            version: 4,
            ..PLACE
        },
        // The same letters, cut elsewhere.
        Place {
            table: "credential_versionss",
            column: "ealed",
            ..PLACE
        },
        Place {
            row: PLACE.version,
            version: PLACE.row,
            ..PLACE
        },
    ] {
        let tampered = VaultError::Tampered { place };
        assert_eq!(vault.open(&place, &sealed).unwrap_err(), tampered);
    }
}

#[test]
fn every_single_flipped_bit_is_refused() {
    let (vault, _) = ring();
    let sealed = sealed_by(&vault);
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1 << bit;
            let refused = vault.open(&PLACE, &flipped).unwrap_err();
            match at {
                0 => assert_eq!(refused, VaultError::NotSealed { place: PLACE }),
                1..9 => assert!(matches!(refused, VaultError::UnknownKey { .. })),
                _ => assert_eq!(refused, VaultError::Tampered { place: PLACE }),
            }
        }
    }
}

#[test]
fn every_truncation_and_every_extension_is_refused() {
    let (vault, _) = ring();
    let sealed = sealed_by(&vault);
    for length in 0..sealed.len() {
        assert!(
            vault.open(&PLACE, &sealed[..length]).is_err(),
            "{length} bytes opened"
        );
    }
    let mut longer = sealed;
    longer.push(0);
    assert_eq!(
        vault.open(&PLACE, &longer).unwrap_err(),
        VaultError::Tampered { place: PLACE }
    );
    longer.resize(SEALED_MAX_BYTES + 1, 0);
    assert_eq!(
        vault.open(&PLACE, &longer).unwrap_err(),
        VaultError::NotSealed { place: PLACE }
    );
}

#[test]
fn plaintext_in_the_column_is_an_error_and_never_a_secret() {
    let (vault, _) = ring();
    let long = "a password that somebody wrote into the column by hand";
    for plain in ["", "hunter2", long] {
        let refused = vault.open(&PLACE, plain.as_bytes()).unwrap_err();
        assert_eq!(refused, VaultError::NotSealed { place: PLACE });
        assert!(plain.is_empty() || !format!("{refused} {refused:?}").contains(plain));
    }
}

#[test]
fn the_same_secret_never_seals_to_the_same_bytes() {
    let (vault, _) = ring();
    let (dice, plain) = (dice(), SecretString::from(PLAIN));
    let first = vault.seal(&PLACE, &plain, &dice).unwrap();
    assert_ne!(first, vault.seal(&PLACE, &plain, &dice).unwrap());
}

#[test]
fn another_kek_opens_nothing_and_the_error_says_which_one_is_wanted() {
    let (_, key) = ring();
    let refused = Vault::new(kek(2), vec![key.clone()]).unwrap_err();
    let (needed, loaded) = (kek(1).id().to_owned(), kek(2).id().to_owned());
    assert_eq!(
        refused,
        VaultError::WrongKek {
            key: key.id.0,
            needed: needed.clone(),
            loaded
        }
    );
    assert!(
        refused
            .to_string()
            .contains(&format!("key file of KEK {needed}")),
        "{refused}"
    );
}

#[test]
fn an_altered_wrapped_key_is_refused_byte_by_byte() {
    let (_, key) = ring();
    for at in 0..key.wrapped.len() {
        let mut altered = key.clone();
        altered.wrapped[at] ^= 1;
        let refused = Vault::new(kek(1), vec![altered]).unwrap_err();
        assert!(
            matches!(refused, VaultError::AlteredKey { .. }),
            "byte {at}: {refused}"
        );
    }
    for length in 0..key.wrapped.len() {
        let mut altered = key.clone();
        altered.wrapped.truncate(length);
        assert!(Vault::new(kek(1), vec![altered]).is_err());
    }
}

#[test]
fn a_wrapped_key_does_not_open_under_another_id_or_a_forged_kek_id() {
    let (_, key) = ring();
    let moved = WrappedKey {
        id: DataKeyId(key.id.0 ^ 1),
        ..key.clone()
    };
    assert!(matches!(
        Vault::new(kek(1), vec![moved]),
        Err(VaultError::AlteredKey { .. })
    ));
    let forged = WrappedKey {
        kek_id: kek(2).id().to_owned(),
        ..key
    };
    assert!(matches!(
        Vault::new(kek(2), vec![forged]),
        Err(VaultError::AlteredKey { .. })
    ));
}

#[test]
fn a_retired_key_opens_what_it_sealed_and_seals_no_more() {
    let (old, key) = ring();
    let sealed = sealed_by(&old);
    let next = Vault::new_data_key(&kek(1), &SeededDice::new(2)).unwrap();
    let retired = WrappedKey {
        retired: true,
        ..key.clone()
    };
    let vault = Vault::new(kek(1), vec![retired.clone(), next.clone()]).unwrap();
    assert_eq!(vault.active_key_id(), next.id);
    assert_eq!(text(&vault.open(&PLACE, &sealed).unwrap()), PLAIN);
    let new = vault
        .seal(&PLACE, &SecretString::from(PLAIN), &dice())
        .unwrap();
    let unknown = VaultError::UnknownKey {
        place: PLACE,
        key: next.id.0,
    };
    assert_eq!(old.open(&PLACE, &new.0).unwrap_err(), unknown);
    assert_eq!(
        Vault::new(kek(1), vec![retired]).unwrap_err(),
        VaultError::NoActiveKey
    );
    assert_eq!(
        Vault::new(kek(1), Vec::new()).unwrap_err(),
        VaultError::NoActiveKey
    );
    let twice = Vault::new(kek(1), vec![key.clone(), key.clone()]).unwrap_err();
    assert_eq!(twice, VaultError::TwiceTheSameKey { key: key.id.0 });
}

#[test]
fn a_rewrapped_key_opens_under_the_new_kek_and_a_half_done_rewrap_under_both() {
    let (old, key) = ring();
    let sealed = sealed_by(&old);
    let moved = key.rewrap(&kek(1), &kek(2), &dice()).unwrap();
    assert_eq!((moved.id, moved.kek_id.as_str()), (key.id, kek(2).id()));
    let vault = Vault::new(kek(2), vec![moved.clone()]).unwrap();
    assert_eq!(text(&vault.open(&PLACE, &sealed).unwrap()), PLAIN);
    let waiting = Vault::new_data_key(&kek(1), &SeededDice::new(2)).unwrap();
    let half = [moved, waiting];
    assert!(Vault::with_keks(&[kek(1), kek(2)], &half).is_ok());
    assert!(matches!(
        Vault::with_keks(&[kek(2)], &half),
        Err(VaultError::WrongKek { .. })
    ));
    assert!(matches!(
        key.rewrap(&kek(2), &kek(1), &dice()),
        Err(VaultError::WrongKek { .. })
    ));
}

#[test]
fn debug_output_shows_ids_and_no_key() {
    let (vault, _) = ring();
    let shown = format!("{:?} {vault:?}", kek(0xab));
    assert!(
        !shown.to_lowercase().contains("abab") && !shown.contains("171"),
        "{shown}"
    );
    assert!(shown.contains(kek(0xab).id()));
}
