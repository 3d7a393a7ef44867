//! Keys in every form that people have them in, and keys that are drawn.

mod fuzz;

use super::*;
use crate::generate::SeededDice;

fn unlock(text: &str, passphrase: Option<&str>) -> Result<UnlockedKey, KeyError> {
    let given = GivenKey {
        private: SecretString::from(text),
        passphrase: passphrase.map(SecretString::from),
    };
    given.unlock()
}

fn text(secret: &SecretString) -> &str {
    #[expect(
        clippy::disallowed_methods,
        reason = "the test reads what it has drawn"
    )]
    secret.expose_secret()
}

fn rule(kind: KeyKind, passphrase: bool) -> KeyRule {
    KeyRule {
        kind,
        passphrase,
        ..KeyRule::all()[0]
    }
}

#[test]
fn a_drawn_pair_is_what_its_rule_says_and_opens() {
    let dice = SeededDice::new(5);
    for (kind, algorithm) in [
        (KeyKind::Ed25519, "ssh-ed25519"),
        (KeyKind::EcdsaP256, "ecdsa-sha2-nistp256"),
        (KeyKind::EcdsaP384, "ecdsa-sha2-nistp384"),
        (KeyKind::EcdsaP521, "ecdsa-sha2-nistp521"),
        (KeyKind::Rsa { bits: 3_072 }, "ssh-rsa"),
    ] {
        let drawn = key_pair(&rule(kind, false), &dice).unwrap();
        let opened = drawn.given.unlock().unwrap();
        assert!(drawn.public.starts_with(algorithm), "{}", drawn.public);
        assert_eq!(drawn.public.split(' ').count(), 2, "no comment");
        assert_eq!(opened.public, drawn.public);
        assert_eq!(
            public_of(&format!("{} ada@host", drawn.public)),
            Some(drawn.public)
        );
    }
}

#[test]
fn a_rule_with_a_passphrase_gives_a_key_that_only_it_opens() {
    let dice = SeededDice::new(6);
    let drawn = key_pair(&rule(KeyKind::Ed25519, true), &dice).unwrap();
    let passphrase = drawn.given.passphrase.as_ref().unwrap();
    assert_eq!(text(passphrase).len(), 32);
    let private = text(&drawn.given.private);
    assert_eq!(unlock(private, None).unwrap_err(), KeyError::NoPassphrase);
    assert_eq!(
        unlock(private, Some("wrong")).unwrap_err(),
        KeyError::WrongPassphrase
    );
    assert_eq!(drawn.given.unlock().unwrap().public, drawn.public);
}

#[test]
fn the_same_seed_draws_the_same_pair() {
    let drawn = |seed| {
        let rule = rule(KeyKind::Ed25519, false);
        key_pair(&rule, &SeededDice::new(seed)).unwrap().public
    };
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
}

/// Removes a file that may be there: `ssh-keygen` would ask.
fn forget(path: &str) {
    drop(std::fs::remove_file(path));
}

/// Runs a tool of the machine and returns what it wrote.
#[expect(
    clippy::disallowed_methods,
    reason = "the keys of others are made by their own tools"
)]
fn run(program: &str, arguments: &[&str]) -> String {
    let done = std::process::Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        done.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn keys_as_openssl_and_ssh_keygen_write_them_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let path = path.to_str().unwrap();
    for kind in [
        ["ed25519", "256"],
        ["ecdsa", "256"],
        ["ecdsa", "384"],
        ["ecdsa", "521"],
        ["rsa", "2048"],
    ] {
        for (form, phrase) in [
            (None, ""),
            (None, "open sesame"),
            (Some("PEM"), ""),
            (Some("PKCS8"), ""),
            (Some("PKCS8"), "open sesame"),
        ] {
            let [name, bits] = kind;
            // ssh-keygen keeps Ed25519 keys in its own format.
            if name == "ed25519" && form.is_some() {
                continue;
            }
            forget(path);
            let mut arguments = vec!["-q", "-t", name, "-b", bits, "-N", phrase, "-f", path];
            if let Some(form) = form {
                arguments.extend(["-m", form]);
            }
            run("ssh-keygen", &arguments);
            let private = std::fs::read_to_string(path).unwrap();
            let public = std::fs::read_to_string(format!("{path}.pub")).unwrap();
            let case = format!("{kind:?} {form:?} {phrase:?}");
            let given = (!phrase.is_empty()).then_some(phrase);
            let opened = unlock(&private, given).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(Some(opened.public), public_of(&public), "{case}");
            if given.is_some() {
                let shut = unlock(&private, None).unwrap_err();
                assert_eq!(shut, KeyError::NoPassphrase, "{case}");
                let shut = unlock(&private, Some("no")).unwrap_err();
                assert_eq!(shut, KeyError::WrongPassphrase, "{case}");
            }
        }
    }
    let ed25519 = run("openssl", &["genpkey", "-algorithm", "ed25519"]);
    assert!(
        unlock(&ed25519, None)
            .unwrap()
            .public
            .starts_with("ssh-ed25519 ")
    );
    let scrypt = [
        "genpkey",
        "-algorithm",
        "ed25519",
        "-aes-256-cbc",
        "-pass",
        "pass:open sesame",
    ];
    let sealed = run("openssl", &scrypt);
    assert!(unlock(&sealed, Some("open sesame")).is_ok());
}

#[test]
fn a_number_with_leading_zeros_is_read_however_short_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let path = path.to_str().unwrap();
    // Half of all numbers on P-521 are short.
    for at in 0..16 {
        let phrase = if at % 4 == 3 { "open sesame" } else { "" };
        forget(path);
        run(
            "ssh-keygen",
            &["-q", "-t", "ecdsa", "-b", "521", "-N", phrase, "-f", path],
        );
        let private = std::fs::read_to_string(path).unwrap();
        let public = std::fs::read_to_string(format!("{path}.pub")).unwrap();
        let given = (!phrase.is_empty()).then_some(phrase);
        let opened = unlock(&private, given).unwrap();
        assert_eq!(Some(&opened.public), public_of(&public).as_ref());
        // What is handed on is read by others, too.
        assert_eq!(
            unlock(text(&opened.private), None).unwrap().public,
            opened.public
        );
    }
}

#[test]
fn what_is_no_use_is_refused_for_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old");
    let path = path.to_str().unwrap();
    run(
        "ssh-keygen",
        &[
            "-q",
            "-t",
            "rsa",
            "-b",
            "2048",
            "-m",
            "PEM",
            "-N",
            "open sesame",
            "-f",
            path,
        ],
    );
    let old = std::fs::read_to_string(path).unwrap();
    let short = run("openssl", &["genrsa", "1024"]);
    let other = run("openssl", &["genpkey", "-algorithm", "x25519"]);
    for (given, fault) in [
        ("no key", KeyError::Unreadable),
        (old.as_str(), KeyError::OldEncryption),
        (other.as_str(), KeyError::Kind),
    ] {
        assert_eq!(unlock(given, Some("open sesame")).unwrap_err(), fault);
    }
    let short = unlock(&short, None).unwrap_err();
    assert!(matches!(short, KeyError::Kind | KeyError::Unreadable));
}

#[test]
fn a_key_whose_halves_are_no_pair_is_refused() {
    let dice = SeededDice::new(8);
    let drawn = |_| key_pair(&rule(KeyKind::Ed25519, false), &dice).unwrap();
    let [one, other] = [1, 2].map(drawn);
    let read = |key: &Pair| PrivateKey::from_openssh(text(&key.given.private)).unwrap();
    let (one, other) = (read(&one), read(&other));
    let mut mixed = one.key_data().ed25519().unwrap().clone();
    mixed.public = other.key_data().ed25519().unwrap().public;
    let mixed = PrivateKey::new(KeypairData::from(mixed), "").unwrap();
    let mixed = mixed.to_openssh(LineEnding::LF).unwrap();
    assert_eq!(unlock(&mixed, None).unwrap_err(), KeyError::Unreadable);
}

#[test]
fn a_key_that_would_take_long_to_open_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slow");
    let path = path.to_str().unwrap();
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", path]);
    let slow = [
        "pkcs8",
        "-topk8",
        "-v2",
        "aes-256-cbc",
        "-iter",
        "3000000",
        "-passout",
        "pass:open sesame",
    ];
    let plain = run("openssl", &["genpkey", "-algorithm", "ed25519"]);
    std::fs::write(path, plain).unwrap();
    let slow = run("openssl", &[&slow[..], &["-in", path]].concat());
    let refused = unlock(&slow, Some("open sesame")).unwrap_err();
    assert_eq!(refused, KeyError::Rounds);
}
