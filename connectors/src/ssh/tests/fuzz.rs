//! Replies, conversations, key files and password fields.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use zeroize::Zeroizing;

use super::super::authorized::{Edit, edited, holds};
use super::super::guard::admit;
use super::super::keys::{Keys, Wish};
use super::super::link::Output;
use super::super::own::Passwd;
use super::super::talk::{Answer, Asked, Lines, Say, Talk};
use super::super::{elevate, reply, shadow};
use crate::fuzz::{canary, check, mutant_texts, mutants, share, text};
use crate::{Account, Changed, Checked, Credential, Evidence, KeyPair, Login, Secret};

const NONCE: &str = "00c0ffee00c0ffee";

/// What a hundred thousand pieces of one byte may cost, unoptimised and on a busy machine.
const TRICKLE_MAX: Duration = Duration::from_secs(8);

#[expect(
    clippy::disallowed_methods,
    reason = "what a target may cost is measured"
)]
fn clock() -> std::time::Instant {
    std::time::Instant::now()
}

/// Words that commands print. `KW#` stands for the sentinel.
const LINES: &[&str] = &[
    "KW#:0\n",
    "KW#:1\n",
    "KW#:",
    "KW#:root\n",
    "KW#:kw_u0\n",
    "KW:set\n",
    "KW:ready\n",
    "KW:begin\n",
    "KW:busy\n",
    "KW:locked\n",
    "KW:refused\n",
    "KW:no-account\n",
    "KW:truncated\n",
    "KW:unchanged\n",
    "KW:not-listed\n",
    "KW:no-look\n",
    "KW:field:",
    "KW:field:!\n",
    "KW:mode:plain\n",
    "KW:no-shell\n",
    "KW#f:file:12\n",
    "KW#f:now:99999999999999999999\n",
    "KW#f:file:0\nKW:ready\n",
    "KW#-SUDO:\n",
    "BAD PASSWORD: too simple\n",
    "password not changed\n",
    "passwd: password updated successfully\n",
    "Current password: ",
    "New password: ",
    "Retype new password: ",
    "Sorry, try again.\n",
    "\r\n",
    "Password has expired\n",
    "currently not available",
    "a password is required\n",
];

fn outputs() -> impl Strategy<Value = (String, Option<i32>)> {
    let piece = prop_oneof![
        6 => select(LINES).prop_map(str::to_owned),
        2 => mutant_texts(&["KW#:0\n", "KW:set\nKW#:0\n", "KW:field:$y$j9T$a$b\n"], LINES),
        1 => text(5),
    ];
    let status = prop_oneof![3 => Just(Some(0)), 1 => Just(None), 1 => any::<i32>().prop_map(Some)];
    (vec(piece, 0..9).prop_map(|pieces| pieces.concat()), status)
}

fn account(name: &str) -> Account {
    Account::named(Login::parse(name).unwrap(), None)
}

#[test]
fn done_needs_the_whole_proof_and_no_reason_repeats_the_target() {
    let inputs = (outputs(), any::<bool>(), canary());
    check("ssh::reply", &inputs, |((text, status), sent, canary)| {
        let text = text
            .replace('\n', &format!(" {canary}\n"))
            .replace(&format!("KW:set {canary}"), "KW:set");
        let text = text.replace(&format!("KW#:0 {canary}"), "KW#:0");
        let output = Output::played(&text, NONCE, status);
        let changed = reply::changed(&output, NONCE, sent);
        let has = |wanted: String| output.text.lines().any(|line| line == wanted);
        if matches!(changed, Changed::Done) {
            prop_assert!(sent && status == Some(0));
            prop_assert!(
                has("KW:set".to_owned()) && has(format!("KW{NONCE}:0")),
                "does not hold"
            );
        }
        if !sent {
            prop_assert!(!matches!(changed, Changed::Unknown(_)), "{:?}", changed);
        }
        let checked = reply::checked(&output, NONCE, "kw_u0");
        if matches!(checked, Checked::Accepted) {
            prop_assert!(status == Some(0) || status == Some(1));
        }
        let mode = reply::mode(&output, NONCE);
        let shown = format!(
            "{changed:?}{checked:?}{:?}{:?}",
            mode.err(),
            reply::field(&output, NONCE).err()
        );
        prop_assert!(!shown.contains(&canary), "{}", shown);
        prop_assert!(!reply::has_no_shell(&output, NONCE) || has("KW:no-shell".to_owned()));
        let _: (bool, bool) = (elevate::says_no(&text), reply::wants_new_password(&text));
        Ok(())
    });
}

/// Feeds a conversation what was heard piece by piece; returns what was said after each.
fn played(talk: &mut dyn Talk, text: &str, cuts: &[usize]) -> Vec<(usize, &'static str, String)> {
    let bytes = text.replace("KW#", &format!("KW{NONCE}")).into_bytes();
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.extend([0, bytes.len()]);
    ends.sort_unstable();
    let mut all = Vec::new();
    for end in ends {
        for _ in 0..16 {
            let (kind, said) = match talk.next(&bytes[..end]) {
                Say::Nothing => break,
                Say::Plain(said) => ("plain", said),
                Say::Secret(said) => ("secret", said),
                Say::Over => {
                    all.push((end, "over", String::new()));
                    break;
                }
                Say::HangUp => {
                    all.push((end, "hang up", String::new()));
                    return all;
                }
            };
            all.push((end, kind, String::from_utf8_lossy(&said).into_owned()));
        }
    }
    all
}

#[test]
fn a_secret_is_said_once_and_after_its_question() {
    let inputs = (
        outputs(),
        vec(any::<u16>().prop_map(usize::from), 0..6),
        any::<bool>(),
    );
    check("ssh::talk", &inputs, |((text, _), cuts, asks)| {
        let answer = Answer {
            prompt: format!("KW{NONCE}-SUDO:"),
            line: Zeroizing::new("FunctionalSecret\n".to_owned()),
            after: String::new(),
            times: 2,
        };
        let tail = Some(Zeroizing::new("NewSecret\nKW-END\n".to_owned()));
        let mut talk = Lines::new(
            "kw_u0\n".to_owned(),
            tail,
            Asked::new(asks.then_some(answer)),
        );
        let heard = text.replace("KW#", &format!("KW{NONCE}"));
        let said = played(&mut talk, &text, &cuts);
        let secrets: Vec<_> = said
            .iter()
            .filter(|(_, kind, _)| *kind == "secret")
            .collect();
        prop_assert!(secrets.len() <= 1);
        for (end, ..) in secrets {
            let before = String::from_utf8_lossy(&heard.as_bytes()[..*end]).into_owned();
            prop_assert!(before.lines().any(|line| line == "KW:ready"), "{}", before);
        }
        let functional = said
            .iter()
            .filter(|(.., text)| text.contains("FunctionalSecret"))
            .count();
        prop_assert!(
            functional <= heard.matches(&format!("KW{NONCE}-SUDO:")).count().min(2),
            "does not hold"
        );
        prop_assert!(asks || functional == 0);
        Ok(())
    });
}

#[test]
fn passwd_hears_the_new_password_at_most_twice() {
    let inputs = (outputs(), vec(any::<u16>().prop_map(usize::from), 0..8));
    check("ssh::own", &inputs, |((text, status), cuts)| {
        let (current, new) = (Secret::from("CurrentSecret"), Secret::from("NewSecret"));
        let mut talk = Passwd::new(&current, &new);
        let said = played(&mut talk, &text, &cuts);
        let count = |secret: &str| {
            said.iter()
                .filter(|(.., text)| text.contains(secret))
                .count()
        };
        prop_assert!(count("NewSecret") <= 2 && count("CurrentSecret") <= 1);
        for (_, kind, text) in &said {
            prop_assert_eq!(*kind == "secret", text.contains("NewSecret"));
        }
        let sent = count("NewSecret") > 0;
        let verdict = talk.verdict(&Output::played(&text, NONCE, status), NONCE, sent);
        prop_assert!(!matches!(verdict, Changed::Done) || count("NewSecret") == 2);
        prop_assert!(!matches!(verdict, Changed::Unknown(_)) || sent);
        prop_assert!(!format!("{verdict:?}").contains("Secret"), "does not hold");
        Ok(())
    });
}

fn pair(letter: char) -> KeyPair {
    KeyPair {
        private: Secret::from("-"),
        public: format!("ssh-ed25519 {}", letter.to_string().repeat(8)),
        marker: "keywheel:7:1".to_owned(),
    }
}

/// Lines of key files, ours and others'.
const KEY_LINES: &[&str] = &[
    "ssh-rsa AAAA me\n",
    "ssh-ed25519 CCCCCCCC keywheel:7:0\n",
    "no-pty,command=\"echo \\\"a b\\\" # x\" ssh-ed25519 CCCCCCCC c\n",
    "command=\"x ssh-ed25519 NNNNNNNN y\" ssh-rsa AAAA me\n",
    "# ssh-ed25519 CCCCCCCC off\n",
    "\r\n",
    "restrict\tssh-ed25519\tNNNNNNNN\n",
];

fn key_files() -> impl Strategy<Value = Vec<u8>> {
    let seeds = KEY_LINES
        .iter()
        .map(|line| line.as_bytes().to_vec())
        .collect();
    vec(mutants(seeds, KEY_LINES), 0..6).prop_map(|lines| lines.concat())
}

#[test]
fn only_our_own_line_comes_and_goes() {
    check("ssh::authorized", &key_files(), |file| {
        let (new, current) = (pair('N'), pair('C'));
        let add = Edit::Add {
            new: &new,
            current: Some(&current),
        };
        let added = match edited(&file, &add) {
            None => file.clone(),
            Some(added) => {
                prop_assert!(!holds(&file, &new));
                prop_assert!(added.starts_with(&file), "what was there stays");
                let more = &added[file.len()..];
                let line = more.strip_prefix(b"\n").unwrap_or(more);
                prop_assert_eq!(line.split(|byte| *byte == b'\n').count(), 2);
                added
            }
        };
        prop_assert!(holds(&added, &new));
        prop_assert_eq!(edited(&added, &add), None, "once is enough");
        let remove = Edit::Remove { old: &new };
        let left = edited(&added, &remove).unwrap();
        prop_assert!(!holds(&left, &new));
        prop_assert_eq!(edited(&left, &remove), None);
        if !holds(&file, &new) {
            let mut before = file.clone();
            if before.last().is_some_and(|last| *last != b'\n') {
                before.push(b'\n');
            }
            prop_assert_eq!(left, before, "what was added is gone, and nothing else");
        }
        Ok(())
    });
}

#[test]
fn a_key_counts_by_the_file_that_was_shown() {
    let inputs = (
        outputs(),
        key_files(),
        vec(any::<u16>().prop_map(usize::from), 0..4),
        any::<u16>(),
    );
    check(
        "ssh::keys",
        &inputs,
        |((text, status), file, cuts, claimed)| {
            let file = String::from_utf8_lossy(&file).into_owned();
            let claimed = if claimed % 3 == 0 {
                usize::from(claimed)
            } else {
                file.len()
            };
            let text = format!("KW:begin\nKW#f:file:{claimed}\n{file}KW:ready\n{text}");
            let (new, current) = (pair('N'), pair('C'));
            let wish = Wish::Add {
                new: new.clone(),
                current: Some(current.clone()),
            };
            let mut talk = Keys::new(NONCE, &account("kw_u0"), false, &[], wish, Asked::new(None));
            let said = played(&mut talk, &text, &cuts);
            prop_assert!(said.iter().filter(|(_, kind, _)| *kind == "secret").count() <= 1);
            let output = Output::played(&text, NONCE, status);
            let shown = output.text.contains("NNNNNNNN");
            prop_assert!(!matches!(talk.changed(&output, true), Changed::Done) || shown);
            let evidence = talk.evidence(&output, &new, Some(&current));
            prop_assert!(!matches!(evidence, Ok(Evidence::Candidate)) || shown);
            Ok(())
        },
    );
}

#[test]
fn a_password_field_costs_no_more_than_was_said() {
    const YESCRYPT: &str =
        "$y$j9T$3LplTlDYYUSSaFcQv0Rxk.$Ou.Yg1nzVcPaj49H6.JkrGzzY.WRgDNiKgtD6im8e95";
    const SHA512: &str = "$6$rounds=5000$y6QRbxKpKo4rG06f$VYhZHS.6yaOeNPYibS.0uYgBNW1iDqyH8qhyooVoadVvwu5z7P8HZd4yfkqPvnKxImasKdluUgbHj5lUfHb4//";
    let fields = mutant_texts(
        &[YESCRYPT, SHA512, "!", "*", "$1$a$b"],
        &["$", "rounds=", "999999999", "j9T", "jXT"],
    );
    share(
        "ssh::shadow",
        400,
        &(fields, canary()),
        |(field, candidate)| {
            let seen = shadow::judge(&field, &Secret::from(candidate.as_str()), None);
            // No field was made from a word that was just drawn.
            prop_assert!(
                matches!(seen, Evidence::Neither | Evidence::Undecided(_)),
                "{:?}",
                seen
            );
            let locked = field.is_empty() || field.starts_with(['!', '*']);
            prop_assert!(!locked || matches!(seen, Evidence::Undecided(_)));
            prop_assert!(!format!("{seen:?}").contains(&candidate), "does not hold");
            Ok(())
        },
    );
}

#[test]
fn what_a_host_is_handed_is_one_line_of_chpasswd() {
    let names = prop_oneof![3 => mutant_texts(&["kw_u0", "_apt", "a.b-c"], &["$(id)", "-R", ";id"]), 1 => text(4)];
    check("ssh::guard", &(names, text(6)), |(name, secret)| {
        let Ok(login) = Login::parse(&name) else {
            return Ok(());
        };
        let account = Account::named(login, None);
        let credential = Credential::from(secret.clone());
        match admit(&account, Some(&credential)) {
            Ok(()) => {
                let line = format!("{name}:{secret}");
                prop_assert_eq!(line.split(|sign: char| sign.is_control()).count(), 1);
                prop_assert_eq!(line.split_once(':'), Some((name.as_str(), secret.as_str())));
                prop_assert!(!name.starts_with('-'));
                prop_assert!(
                    !name.contains(
                        |sign: char| !sign.is_ascii_alphanumeric() && !"_.-".contains(sign)
                    )
                );
            }
            Err(reason) => {
                prop_assert!(secret.chars().count() < 8 || !reason.text.contains(&secret));
            }
        }
        Ok(())
    });
}

#[test]
fn a_target_that_trickles_costs_no_more_than_one_that_does_not() {
    let noise = (select(LINES), 1_usize..4, any::<bool>());
    share(
        "ssh::talk byte by byte",
        4_000,
        &noise,
        |(line, times, breaks)| {
            // Never what is waited for, and as much of it as a key file may take.
            let line = line
                .replace("KW", "kw")
                .replace(':', if breaks { "\n" } else { "." });
            let heard = line.repeat(times * 60_000 / line.len().max(1)).into_bytes();
            let answer = Answer {
                prompt: format!("KW{NONCE}-SUDO:"),
                line: Zeroizing::new("FunctionalSecret\n".to_owned()),
                after: String::new(),
                times: 2,
            };
            let tail = Some(Zeroizing::new("NewSecret\n".to_owned()));
            let (current, new) = (Secret::from("CurrentSecret"), Secret::from("NewSecret"));
            let wish = Wish::Look;
            let mut keys = Keys::new(NONCE, &account("kw_u0"), false, &[], wish, Asked::new(None));
            let mut lines = Lines::new(String::new(), tail, Asked::new(Some(answer)));
            let mut passwd = Passwd::new(&current, &new);
            // The script goes at once.
            prop_assert!(matches!(keys.next(b""), Say::Plain(_)));
            prop_assert!(matches!(keys.next(b"KW:begin\n"), Say::Plain(_)));
            let heard = [&b"KW:begin\n"[..], &heard].concat();
            let begun = clock();
            for end in 9..heard.len() {
                for talk in [&mut keys as &mut dyn Talk, &mut lines, &mut passwd] {
                    prop_assert!(matches!(talk.next(&heard[..end]), Say::Nothing));
                }
            }
            let took = begun.elapsed();
            prop_assert!(took < TRICKLE_MAX, "{:?}", took);
            Ok(())
        },
    );
}
