//! What every drawn secret keeps to.
//!
//! Invariant: the dice are seeded, so that a failure repeats itself.

use std::collections::{HashMap, HashSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use secrecy::ExposeSecret;

use super::*;
use crate::model::id::RuleId;
use crate::model::password_rule::{FirstCharacter, LENGTH_MAX_CHARS, Requirement};

fn text(secret: &SecretString) -> &str {
    #[expect(clippy::disallowed_methods, reason = "the test looks at it")]
    secret.expose_secret()
}

fn requirement() -> impl Strategy<Value = Requirement> {
    select(vec![
        Requirement::Never,
        Requirement::Permitted,
        Requirement::Required,
    ])
}

prop_compose! {
    fn rule()(
        length in 1..=LENGTH_MAX_CHARS,
        short in 1_u16..6,
        be_short in any::<bool>(),
        first in select(vec![
            FirstCharacter::Letter, FirstCharacter::Alphanumeric, FirstCharacter::Any,
        ]),
        (lower, upper, digit, symbol) in
            (requirement(), requirement(), requirement(), requirement()),
        lowers in vec(prop::char::range('a', 'z'), 0..5),
        uppers in vec(prop::char::range('A', 'Z'), 0..5),
        symbols in vec(select("+-. !\"$:;".chars().collect::<Vec<_>>()), 0..4),
    ) -> PasswordRule {
        PasswordRule {
            id: RuleId(1),
            name: String::new(),
            description: String::new(),
            minimum_length: 1,
            maximum_length: if be_short { short } else { length },
            first_character_requirement: first,
            lowercase_requirement: lower,
            uppercase_requirement: upper,
            numeric_requirement: digit,
            symbol_requirement: symbol,
            valid_lowercase_characters: lowers,
            valid_uppercase_characters: uppers,
            valid_symbols: symbols,
        }
    }
}

/// Every sentence of a rule, asked of a password.
fn keeps_to(rule: &PasswordRule, password: &str) -> bool {
    let digits: Vec<char> = ('0'..='9').collect();
    let classes = [
        (rule.lowercase_requirement, &rule.valid_lowercase_characters),
        (rule.uppercase_requirement, &rule.valid_uppercase_characters),
        (rule.numeric_requirement, &digits),
        (rule.symbol_requirement, &rule.valid_symbols),
    ];
    let counted: Vec<usize> = classes
        .iter()
        .map(|(_, listed)| password.chars().filter(|c| listed.contains(c)).count())
        .collect();
    let each = classes
        .iter()
        .zip(&counted)
        .all(|((requirement, _), &count)| match requirement {
            Requirement::Never => count == 0,
            Requirement::Permitted => true,
            Requirement::Required => count > 0,
        });
    let length = password.chars().count();
    let first = password.chars().next().unwrap();
    each && counted.iter().sum::<usize>() == length
        && length == usize::from(rule.maximum_length)
        && rule.first_character_requirement.admits(first)
}

proptest! {
    #[test]
    fn a_password_keeps_to_its_rule_or_the_rule_is_refused_as_contradictory(
        rule in rule(),
        seed in any::<u64>(),
    ) {
        match password(&rule, &SeededDice::new(seed)) {
            Ok(drawn) => prop_assert!(keeps_to(&rule, text(&drawn)), "{}", text(&drawn)),
            Err(GenerateError::Rule(_)) => {}
            Err(GenerateError::NoLuck | GenerateError::Key) => {
                prop_assert!(false, "an accepted rule was not met");
            }
        }
    }

    #[test]
    fn a_native_key_with_one_changed_character_is_not_wellformed(
        seed in any::<u64>(),
        at in 0_usize..44,
        to in prop::char::range('!', '~'),
    ) {
        let key = text(&native_key(&SeededDice::new(seed))).to_owned();
        prop_assert!(native_key_is_wellformed(&key));
        let mut changed: Vec<char> = key.chars().collect();
        changed[at] = to;
        let changed: String = changed.into_iter().collect();
        prop_assert_eq!(native_key_is_wellformed(&changed), changed == key);
    }
}

#[test]
fn the_default_rule_gives_32_characters_of_all_classes_that_no_shell_reads() {
    let (rule, dice) = (PasswordRule::default_rule(), SeededDice::new(3));
    for _ in 0..200 {
        let drawn = password(&rule, &dice).unwrap();
        assert!(keeps_to(&rule, text(&drawn)));
        assert!(!text(&drawn).contains([':', '"', '\'', '\\', ' ', '?', '$', '`', '!', '#']));
    }
}

/// One character each, so that the required ones are hard to hit.
fn hardest() -> PasswordRule {
    PasswordRule {
        maximum_length: 2,
        minimum_length: 1,
        first_character_requirement: FirstCharacter::Alphanumeric,
        uppercase_requirement: Requirement::Permitted,
        numeric_requirement: Requirement::Permitted,
        valid_lowercase_characters: vec!['a'],
        valid_symbols: vec!['+'],
        ..PasswordRule::default_rule()
    }
}

#[test]
fn the_hardest_rule_is_met_every_time() {
    for seed in 0..50 {
        assert_eq!(
            text(&password(&hardest(), &SeededDice::new(seed)).unwrap()),
            "a+"
        );
    }
}

#[test]
fn every_password_that_a_rule_allows_is_equally_likely() {
    let rule = PasswordRule {
        maximum_length: 3,
        minimum_length: 3,
        lowercase_requirement: Requirement::Required,
        uppercase_requirement: Requirement::Never,
        numeric_requirement: Requirement::Never,
        symbol_requirement: Requirement::Required,
        valid_lowercase_characters: vec!['a', 'b'],
        valid_symbols: vec!['+'],
        ..PasswordRule::default_rule()
    };
    let (dice, draws) = (SeededDice::new(5), 10_000);
    let mut seen: HashMap<String, u32> = HashMap::new();
    for _ in 0..draws {
        *seen
            .entry(text(&password(&rule, &dice).unwrap()).to_owned())
            .or_default() += 1;
    }
    // Begins with a or b, holds a +: 2 × (9 − 4) texts.
    assert_eq!(seen.len(), 10);
    // Five standard deviations of a binomial: sqrt(10,000 × 0.1 × 0.9) = 30.
    assert!(
        seen.values().all(|&count| (850..=1150).contains(&count)),
        "{seen:?}"
    );
}

#[test]
fn a_draw_of_many_things_favours_none() {
    let dice = SeededDice::new(9);
    let mut rolls = Rolls::new(&dice);
    let things: Vec<u8> = (0..200).collect();
    let mut seen = [0_u32; 200];
    for _ in 0..200_000 {
        seen[usize::from(rolls.one_of(&things).unwrap())] += 1;
    }
    // A byte modulo 200 would give the first 56 things twice as often.
    assert!(
        seen.iter().all(|count| (800..1200).contains(count)),
        "{seen:?}"
    );
    assert_eq!(rolls.one_of::<u8>(&[]), None);
}

type Change = fn(&mut PasswordRule);

const CONTRADICTIONS: [(Change, &str); 11] = [
    (
        |rule| {
            rule.lowercase_requirement = Requirement::Never;
            rule.uppercase_requirement = Requirement::Never;
            rule.numeric_requirement = Requirement::Never;
            rule.symbol_requirement = Requirement::Never;
        },
        "permits no character",
    ),
    (
        |rule| rule.valid_symbols.clear(),
        "requires a symbol, but lists none",
    ),
    (
        |rule| (rule.minimum_length, rule.maximum_length) = (1, 3),
        "needs 4 characters, but its maximum length is 3",
    ),
    (
        |rule| {
            // A letter comes first, yet no letter is required.
            rule.lowercase_requirement = Requirement::Permitted;
            rule.uppercase_requirement = Requirement::Never;
            (rule.minimum_length, rule.maximum_length) = (1, 2);
        },
        "needs 3 characters",
    ),
    (
        |rule| {
            rule.lowercase_requirement = Requirement::Never;
            rule.uppercase_requirement = Requirement::Never;
        },
        "may come first",
    ),
    (|rule| rule.minimum_length = 33, "lengths must be"),
    (|rule| rule.minimum_length = 0, "lengths must be"),
    (|rule| rule.maximum_length = 256, "lengths must be"),
    (|rule| rule.valid_symbols.push('\n'), "holds '\\n'"),
    (|rule| rule.valid_symbols.push('ß'), "holds 'ß'"),
    (
        |rule| rule.valid_lowercase_characters.push('A'),
        "holds 'A'",
    ),
];

#[test]
fn contradictory_rules_are_refused_with_their_reason() {
    for (change, reason) in CONTRADICTIONS {
        let mut rule = PasswordRule::default_rule();
        change(&mut rule);
        let refused = password(&rule, &SeededDice::new(1))
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains(reason),
            "{refused:?} does not say {reason:?}"
        );
    }
}

#[test]
fn broken_dice_end_in_an_error_and_not_in_an_endless_loop() {
    #[derive(Debug)]
    struct Stuck;
    impl Dice for Stuck {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }
    let refused = password(&PasswordRule::default_rule(), &Stuck).unwrap_err();
    assert_eq!(refused, GenerateError::NoLuck);
}

#[test]
fn keys_have_their_dialects_forms() {
    let dice = SeededDice::new(4);
    let alphanumeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let key = password_safe_key(&dice);
    assert!(text(&key).len() == 128 && alphanumeric(text(&key)));
    let key = itglue_key(&dice);
    let random = text(&key).strip_prefix("ITG.").unwrap();
    assert!(random.len() == 60 && alphanumeric(random));
    let key = oauth_client_secret(&dice);
    assert!(text(&key).len() == 48 && alphanumeric(text(&key)));
    let id = oauth_client_id(&dice).to_string();
    assert!(id.len() == 36 && id.as_bytes()[14] == b'4', "{id}");
    let key = native_key(&dice);
    assert!(text(&key).starts_with("kw_live_") && text(&key).len() == 44);
}

#[test]
fn texts_that_are_no_native_keys_are_told_apart() {
    let key = text(&native_key(&SeededDice::new(4))).to_owned();
    let lengthened = format!("{key}0");
    let umlauts = "ü".repeat(22);
    for other in ["", "kw_live_", &key[..43], &key[8..], &lengthened, &umlauts] {
        assert!(!native_key_is_wellformed(other), "{other}");
    }
}

#[test]
fn the_systems_dice_do_not_repeat_themselves() {
    let drawn: HashSet<String> = (0..100)
        .map(|_| text(&native_key(&SystemDice)).to_owned())
        .collect();
    assert_eq!(drawn.len(), 100);
}

#[test]
fn the_same_seed_draws_the_same_secret() {
    let drawn = |seed| text(&password_safe_key(&SeededDice::new(seed))).to_owned();
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
}
