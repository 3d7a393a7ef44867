//! Whatever a definition holds and a system says.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::definition::{Piece, Template, Which};
use super::super::screen::{SENT, Screen, settled, window};
use super::super::words::{Words, shown};
use super::super::{definition::Dialogue, guard};
use super::{GOOD, offered};
use crate::fuzz::{canary, check, mutant_texts, mutants, share, text};
use crate::{Account, Credential, Login, Secret};

const TOKENS: &[&str] = &[
    "commit = true",
    "save = true",
    "expect = [",
    "{ match = '",
    "exit = 0",
    "send = \"",
    "{secret:new}",
    "{secret:old}",
    "{account}",
    "{{",
    "abort = [",
    "channel = \"exec_pty\"",
    "run = \"",
    "'''",
    "(?m)^",
    "\\z",
    "\\w{1,400}",
    "(a*)*",
    "[op.check]",
    "max = 3",
    "step_s = 300",
    "true",
    "[[",
    "#",
];

fn definitions() -> impl Strategy<Value = String> {
    let shipped = [
        include_str!("../../../../config/platforms/linux.toml"),
        include_str!("../../../../config/platforms/junos.toml"),
        include_str!("../../../../config/platforms/cisco_ios.toml"),
        include_str!("../../../../config/platforms/mikrotik.toml"),
    ];
    let offered = offered();
    let seeds = [GOOD, &offered].into_iter().chain(shipped);
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec()).collect();
    mutants(seeds, TOKENS).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[test]
fn a_definition_is_read_or_its_faults_stand_in_the_file() {
    share("dialogue::parse", 200, &definitions(), |text| {
        match Dialogue::parse("x.toml", &text) {
            Ok(dialogue) => {
                prop_assert!((1..=32).contains(&dialogue.id.len()));
                let again = Dialogue::parse("x.toml", &dialogue.text)
                    .map_err(|_| TestCaseError::fail("read once"))?;
                let login = Login::parse("bob").unwrap();
                prop_assert_eq!(again.plan(&login), dialogue.plan(&login));
            }
            Err(faults) => {
                prop_assert!(!faults.is_empty());
                let lines = text.matches('\n').count() + 1;
                for fault in faults {
                    prop_assert!((1..=lines).contains(&fault.line), "{} of {}", fault, lines);
                    prop_assert!(fault.column >= 1 && fault.text.len() < 70_000);
                }
            }
        }
        Ok(())
    });
}

#[test]
fn a_template_says_its_text_and_shows_no_secret() {
    let piece = prop_oneof![
        text(3).prop_map(|text| (
            text.replace('{', "{{").replace('}', "}}"),
            Piece::Text(text)
        )),
        Just(("{account}".to_owned(), Piece::Account)),
        Just(("{secret:new}".to_owned(), Piece::Secret(Which::New))),
    ];
    check(
        "dialogue::Template of pieces",
        &(vec(piece, 0..6), canary()),
        |(pieces, secret)| {
            let raw: String = pieces.iter().map(|(raw, _)| raw.as_str()).collect();
            let template = Template::parse(&raw).map_err(TestCaseError::fail)?;
            let meant: String = pieces
                .iter()
                .map(|(_, piece)| match piece {
                    Piece::Text(text) => text.as_str(),
                    Piece::Account => "bob",
                    Piece::Secret(_) => secret.as_str(),
                })
                .collect();
            let words = Words {
                account: "bob".to_owned(),
                new: Some(Secret::from(secret.as_str())),
                old: None,
                enable: None,
            };
            let line = words
                .line(&template, "\n")
                .map_err(|_| TestCaseError::fail("a secret is missing"))?;
            prop_assert_eq!(line.as_str(), format!("{meant}\n"));
            prop_assert!(!shown(&template, "bob").contains(&secret));
            Ok(())
        },
    );
    check(
        "dialogue::Template of mutants",
        &mutant_texts(&["set {account} {secret:new}", "{{x}}"], TOKENS),
        |raw| {
            if let Ok(Template(pieces)) = Template::parse(&raw) {
                prop_assert!(pieces.len() <= raw.len());
            }
            Ok(())
        },
    );
}

#[test]
fn no_secret_is_seen_on_a_screen_however_it_comes() {
    let around = mutant_texts(
        &[
            "\u{1b}[1;32mR1\u{1b}[0m#\r\n",
            "\u{1b}]0;title\u{7}x\u{8}\u{8}--More--",
        ],
        &["\u{1b}[", "\u{1b}]", "\u{8}", "\u{1b}(B"],
    );
    let inputs = (around.clone(), around, canary(), vec(any::<u16>(), 0..6));
    check(
        "dialogue::screen",
        &inputs,
        |(before, after, secret, cuts)| {
            let said = format!("{before}{secret}{after}").into_bytes();
            let mut whole = Screen::default();
            whole.hear(&said);
            let mut pieces = Screen::default();
            let mut ends: Vec<usize> = cuts
                .iter()
                .map(|cut| usize::from(*cut) % (said.len() + 1))
                .collect();
            ends.push(said.len());
            ends.sort_unstable();
            let mut from = 0;
            for end in ends {
                pieces.hear(&said[from..end]);
                from = end;
            }
            let text = whole.text(&[&secret]);
            prop_assert!(!text.contains(&secret));
            let in_pieces = pieces.text(&[&secret]);
            prop_assert_eq!(in_pieces.as_str(), text.as_str());
            prop_assert!(
                !text
                    .chars()
                    .any(|sign| sign.is_control() && sign != '\n' && sign != '\t')
            );
            prop_assert!(text.len() <= 3 * said.len() + SENT.len());
            prop_assert!(text.ends_with(window(&text)) && window(&text).len() <= 4_096);
            let settled = settled(&text, &[&secret]);
            prop_assert!(text.starts_with(settled));
            prop_assert!(secret.starts_with(&text[settled.len()..]));
            Ok(())
        },
    );
}

#[test]
fn a_name_in_a_dialogue_is_one_word() {
    let names = prop_oneof![
        mutant_texts(&["bob", "a.b@c"], &["; reload", "\" ", "{secret:new}"]),
        text(4)
    ];
    check("dialogue::guard", &(names, text(5)), |(name, secret)| {
        let Ok(login) = Login::parse(&name) else {
            return Ok(());
        };
        let admitted = guard::admit(
            &Account::named(login, None),
            Some(&Credential::from(secret.clone())),
        );
        if admitted.is_ok() {
            prop_assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_.@-".contains(&byte))
            );
            prop_assert!(!name.starts_with(['-', '.', '@']) && name.len() <= 64);
            prop_assert!(!secret.is_empty() && !secret.chars().any(char::is_control));
        }
        Ok(())
    });
}
