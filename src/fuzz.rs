//! Runs a property on many inputs, most of them mutations of valid ones, and counts the cases.
//!
//! `KEYWHEEL_FUZZ_CASES` says how many cases a target gets; a target that is dear says so and gets
//! a share of them. `make fuzz` adds up what the targets print. The connectors' crate includes this
//! file too. What fails is shrunk and told; nothing is kept on disk.
//!
//! Invariant: a case is counted after its property held, and a target that ran none fails.

use std::cell::Cell;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

/// How many cases a target gets.
const CASES: &str = "KEYWHEEL_FUZZ_CASES";
/// The same where nobody says: a second for each target, unoptimised.
const CASES_DEFAULT: u32 = 256;
/// No input takes longer, on a busy machine and unoptimised.
const CASE_MAX: Duration = Duration::from_secs(20);
/// A mutated input is at most so many bytes long; what repeats a piece of it grows it.
const MUTANT_MAX_BYTES: usize = 1 << 16;
/// How often a piece is repeated: enough to see quadratic time in [`CASE_MAX`].
const REPEATS: [usize; 4] = [2, 9, 300, 5_000];

/// What a property says.
pub(crate) type Held = Result<(), TestCaseError>;

/// Runs a property on as many cases as were asked for.
pub(crate) fn check<S: Strategy>(name: &str, inputs: &S, property: impl Fn(S::Value) -> Held)
where
    S::Value: Debug,
{
    share(name, 1, inputs, property);
}

/// The same on one case of so many that were asked for: such a case is dear.
#[expect(
    clippy::disallowed_methods,
    reason = "no setting of the service; and how long a case takes is a property, too"
)]
pub(crate) fn share<S: Strategy>(
    name: &str,
    one_of: u32,
    inputs: &S,
    property: impl Fn(S::Value) -> Held,
) where
    S::Value: Debug,
{
    let asked = std::env::var(CASES).ok();
    let asked = asked.map_or(CASES_DEFAULT, |asked| {
        asked
            .parse()
            .unwrap_or_else(|_| panic!("{CASES} must be a number"))
    });
    let cases = (asked / one_of).max(8);
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 4_096,
        max_global_rejects: 0,
        ..Config::default()
    });
    let (held, slowest) = (Cell::new(0_u64), Cell::new(Duration::ZERO));
    let ran = runner.run(inputs, |input| {
        let begun = Instant::now();
        property(input)?;
        let took = begun.elapsed();
        slowest.set(slowest.get().max(took));
        prop_assert!(took < CASE_MAX, "took {took:?}");
        held.set(held.get() + 1);
        Ok(())
    });
    match ran {
        Ok(()) => {}
        Err(TestError::Fail(why, input)) => panic!("{name}: {why}\nsmallest input: {input:?}"),
        Err(TestError::Abort(why)) => panic!("{name}: {why}"),
    }
    assert!(held.get() >= u64::from(cases), "{name} ran too few cases");
    println!(
        "fuzz {name}: {} cases, the slowest {} us",
        held.get(),
        slowest.get().as_micros()
    );
}

/// Bytes without any form.
pub(crate) fn noise(bytes_max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..bytes_max)
}

/// Characters that somebody treats specially.
pub(crate) const NASTY: &[&str] = &[
    "\0",
    "\n",
    "\r\n",
    "\r",
    "\t",
    " ",
    "'",
    "\"",
    "`",
    "\\",
    "/",
    ":",
    ";",
    ",",
    "=",
    "-",
    "--",
    "%",
    "%00",
    "%2e%2e%2f",
    "../",
    "$(id)",
    "${x}",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "<",
    ">",
    "&",
    "|",
    "*",
    "?",
    "#",
    "+",
    "@",
    "\u{7f}",
    "\u{85}",
    "\u{a0}",
    "\u{202e}",
    "\u{feff}",
    "\u{200b}",
    "\u{1b}[2J",
    "\u{130}",
    "ß",
    "ſ",
    "\u{10ffff}",
    "é",
    "e\u{301}",
    "0",
    "-1",
    "2147483648",
    "9223372036854775807",
    "18446744073709551616",
    "1e400",
    "null",
    "NaN",
];

/// Text: plain, any, and full of what somebody treats specially.
pub(crate) fn text(pieces_max: usize) -> impl Strategy<Value = String> + Clone {
    let piece = prop_oneof![
        3 => "[a-zA-Z0-9_.-]{1,8}",
        2 => select(NASTY).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    vec(piece, 0..pieces_max).prop_map(|pieces| pieces.concat())
}

/// One change of an input. Places are taken modulo its length.
#[derive(Clone, Debug)]
enum Change {
    Flip { at: u16, bits: u8 },
    Insert { at: u16, piece: Vec<u8> },
    Cut { from: u16, bytes: u8 },
    Double { from: u16, bytes: u8, to: u16 },
    Repeat { from: u16, bytes: u8, times: usize },
    Swap { one: u16, other: u16, bytes: u8 },
    End { at: u16 },
    Join { seed: usize, from: u16, at: u16 },
}

fn change(tokens: &'static [&'static str]) -> impl Strategy<Value = Change> + Clone {
    let place = any::<u16>();
    let bytes = 1_u8..40;
    let words: Vec<&'static str> = NASTY.iter().chain(tokens).copied().collect();
    prop_oneof![
        3 => (place, 1_u8..=255).prop_map(|(at, bits)| Change::Flip { at, bits }),
        3 => (place, select(words)).prop_map(|(at, piece)| Change::Insert { at, piece: piece.into() }),
        1 => (place, vec(any::<u8>(), 1..5)).prop_map(|(at, piece)| Change::Insert { at, piece }),
        2 => (place, bytes.clone()).prop_map(|(from, bytes)| Change::Cut { from, bytes }),
        1 => (place, bytes.clone(), place).prop_map(|(from, bytes, to)| Change::Double { from, bytes, to }),
        1 => (place, bytes.clone(), prop_oneof![9 => select(&REPEATS[..2]), 1 => select(&REPEATS[2..])])
            .prop_map(|(from, bytes, times)| Change::Repeat { from, bytes, times }),
        1 => (place, place, bytes).prop_map(|(one, other, bytes)| Change::Swap { one, other, bytes }),
        1 => place.prop_map(|at| Change::End { at }),
        1 => (any::<prop::sample::Index>(), place, place)
            .prop_map(|(seed, from, at)| Change::Join { seed: seed.index(64), from, at }),
    ]
}

fn apply(input: &mut Vec<u8>, change: &Change, seeds: &[Vec<u8>]) {
    let length = input.len();
    let place = |at: u16| usize::from(at) % (length + 1);
    let piece = |from: usize, bytes: u8| from..(from + usize::from(bytes)).min(length);
    match change {
        Change::Flip { at, bits } => {
            if let Some(byte) = input.get_mut(place(*at)) {
                *byte ^= bits;
            }
        }
        Change::Insert { at, piece } => drop(input.splice(place(*at)..place(*at), piece.clone())),
        Change::Cut { from, bytes } => drop(input.drain(piece(place(*from), *bytes))),
        Change::Double { from, bytes, to } => {
            let copied = input[piece(place(*from), *bytes)].to_vec();
            input.splice(place(*to)..place(*to), copied);
        }
        Change::Repeat { from, bytes, times } => {
            let from = place(*from);
            let copied = input[piece(from, *bytes)].repeat(*times);
            input.splice(from..from, copied);
        }
        Change::Swap { one, other, bytes } => {
            for offset in 0..usize::from(*bytes) {
                let (one, other) = (place(*one) + offset, place(*other) + offset);
                if one < length && other < length {
                    input.swap(one, other);
                }
            }
        }
        Change::End { at } => input.truncate(place(*at)),
        Change::Join { seed, from, at } => {
            let other = &seeds[seed % seeds.len()];
            let tail = other[usize::from(*from) % (other.len() + 1)..].to_vec();
            input.splice(place(*at).., tail);
        }
    }
    input.truncate(MUTANT_MAX_BYTES);
}

/// Valid inputs after up to eight changes; none of them is one of the inputs as it is. `tokens` are
/// words that the parser knows.
pub(crate) fn mutants(
    seeds: Vec<Vec<u8>>,
    tokens: &'static [&'static str],
) -> impl Strategy<Value = Vec<u8>> + Clone {
    assert!(!seeds.is_empty(), "nothing to mutate");
    let seeds = Arc::new(seeds);
    let which = any::<prop::sample::Index>();
    (which, vec(change(tokens), 0..8)).prop_map(move |(which, changes)| {
        let mut input = seeds[which.index(seeds.len())].clone();
        for change in &changes {
            apply(&mut input, change, &seeds);
        }
        input
    })
}

/// The same of texts.
pub(crate) fn mutant_texts(
    seeds: &[&str],
    tokens: &'static [&'static str],
) -> impl Strategy<Value = String> + Clone + use<> {
    let seeds = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    mutants(seeds, tokens).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// A word that stands nowhere by chance: looked for where no input may be repeated.
pub(crate) fn canary() -> impl Strategy<Value = String> {
    "KwCanary[a-zA-Z0-9]{12}"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "smallest input: \"x\"")]
    fn a_property_that_does_not_hold_is_told_with_its_smallest_input() {
        check("a broken property", &"[a-z]{0,6}", |input| {
            prop_assert!(!input.contains('x'));
            Ok(())
        });
    }

    #[test]
    #[should_panic(expected = "a panic inside")]
    fn a_panic_of_a_parser_is_a_failure() {
        let seeds = vec![b"seed".to_vec()];
        check(
            "a parser that panics",
            &mutants(seeds, &["token"]),
            |input| {
                assert!(!input.ends_with(b"seed"), "a panic inside");
                Ok(())
            },
        );
    }

    #[test]
    fn no_change_goes_beyond_the_input() {
        let seeds = vec![Vec::new(), b"a".to_vec(), b"two words".to_vec()];
        check("the mutations", &mutants(seeds, &["token"]), |input| {
            prop_assert!(input.len() <= MUTANT_MAX_BYTES);
            Ok(())
        });
    }
}
