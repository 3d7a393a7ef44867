#![cfg(test)]
//! Every state that one account's rotation can reach, with a target that refuses, loses replies and
//! obeys late, and with workers that die or overtake each other at any step.
//!
//! The rules are the service's own functions, driven through every interleaving; whatever breaks a
//! promise is shown with the shortest way to it. So is every mutant: one rule broken at a time. A
//! mutant that breaks no promise fails the test, since then the search would see no defect either.
//!
//! `KEYWHEEL_EXPLORE=large` searches wider worlds, for minutes and in gigabytes; build that optimised.

mod account;
mod effect;
mod linked;
mod rest;
mod rules;
mod search;
mod side;
mod store;
mod worker;

use std::fmt::Write;
use std::path::Path;
use std::sync::LazyLock;

use account::OneAccount;
use linked::LinkedAccounts;
use rest::Ends;
use rules::{Mutant, Rules, Scope};
use search::{Broken, search};

/// The figures of the default search.
const RECORD: &str = "docs/evidence/exploration.txt";
/// Rows of the machine's table: pairs of phase and outcome that are no defect.
const ROWS: u32 = 26;

/// One candidate after the other, late writes, time, and the retirement of losers.
const ONE_WORKER: Scope = Scope {
    secrets: 3,
    workers: 1,
    attempts: 2,
    threshold: Some(3),
    tests: true,
    elapses: true,
    keeps: Some(1),
    is_steady: false,
    overlaps: false,
    own: false,
    looks: true,
};
/// The same on a target that takes a replaced secret for a while.
const OVERLAPPING: Scope = Scope {
    attempts: 1,
    overlaps: true,
    ..ONE_WORKER
};
/// A lease that ends too early, at any step.
const TWO_WORKERS: Scope = Scope {
    secrets: 2,
    workers: 2,
    attempts: 1,
    elapses: false,
    keeps: None,
    ..ONE_WORKER
};
/// An account that changes itself, and shows nothing.
const OWN_LOGIN: Scope = Scope {
    threshold: Some(4),
    own: true,
    looks: false,
    ..ONE_WORKER
};
/// The managed account that a functional account is linked to.
const SERVING: Scope = Scope {
    secrets: 2,
    attempts: 1,
    threshold: Some(3),
    elapses: false,
    keeps: None,
    ..OWN_LOGIN
};
/// An account that is changed over sessions of that one.
const SERVED: Scope = Scope {
    tests: false,
    is_steady: true,
    own: false,
    ..SERVING
};

/// What a search came to.
struct Explored {
    name: &'static str,
    states: usize,
    transitions: usize,
    depth: usize,
    bound: usize,
    rows: u64,
    broken: Option<Broken>,
    ends: Option<Ends>,
    /// The shortest ways to an account whose live version is not found, and to one that does not
    /// work untold.
    examples: Vec<(&'static str, Vec<String>)>,
}

fn one_account(name: &'static str, scope: Scope, mutant: Option<Mutant>) -> Explored {
    let world = OneAccount {
        rules: Rules::new(scope, mutant),
    };
    let found = search(&world);
    let whole = mutant.is_none() && found.broken.is_none();
    let ends = whole.then(|| rest::settle(scope, &found.states));
    let mut examples = Vec::new();
    if let Some(ends) = &ends {
        let out_of_sight = ("out of sight", ends.out_of_sight.first());
        for (what, at) in [out_of_sight, ("untold", ends.untold.first())] {
            examples.extend(at.map(|at| (what, found.trace(*at))));
        }
    }
    Explored {
        name,
        states: found.states.len(),
        transitions: found.transitions,
        depth: found.depth,
        bound: found.bound,
        rows: world.rules.rows(),
        broken: found.broken,
        ends,
        examples,
    }
}

fn linked_accounts(name: &'static str, served: Scope, serving: Scope) -> Explored {
    let world = LinkedAccounts {
        account: Rules::new(served, None),
        login: Rules::new(serving, None),
    };
    let found = search(&world);
    Explored {
        name,
        states: found.states.len(),
        transitions: found.transitions,
        depth: found.depth,
        bound: found.bound,
        rows: world.account.rows() | world.login.rows(),
        broken: found.broken,
        ends: None,
        examples: Vec::new(),
    }
}

#[expect(clippy::disallowed_methods, reason = "tests have no settings")]
fn is_large() -> bool {
    std::env::var_os("KEYWHEEL_EXPLORE").is_some_and(|how| how == "large")
}

fn explore() -> Vec<Explored> {
    let more = u8::from(is_large());
    let patient = |scope: Scope| Scope {
        attempts: scope.attempts + more,
        ..scope
    };
    let serving = Scope {
        secrets: SERVING.secrets + more,
        ..SERVING
    };
    std::thread::scope(|scope| {
        [
            scope.spawn(move || one_account("one worker", patient(ONE_WORKER), None)),
            scope.spawn(move || one_account("overlapping", patient(OVERLAPPING), None)),
            scope.spawn(move || one_account("two workers", patient(TWO_WORKERS), None)),
            scope.spawn(move || one_account("its own login", patient(OWN_LOGIN), None)),
            scope.spawn(move || linked_accounts("a linked login", SERVED, serving)),
        ]
        .map(|search| search.join().unwrap())
        .into()
    })
}

static EXPLORED: LazyLock<Vec<Explored>> = LazyLock::new(explore);

/// Each mutant, with what it breaks first.
static KILLED: LazyLock<Vec<(Mutant, Option<Broken>)>> = LazyLock::new(|| {
    let kill = |mutant| {
        let scope = match mutant {
            Mutant::NoCompareAndSwap => TWO_WORKERS,
            _ => ONE_WORKER,
        };
        one_account("mutant", scope, Some(mutant)).broken
    };
    Mutant::ALL
        .into_iter()
        .map(|mutant| (mutant, kill(mutant)))
        .collect()
});

#[test]
fn no_reachable_state_breaks_a_promise() {
    let mut faults = String::new();
    for explored in &*EXPLORED {
        if let Some(Broken { promise, trace }) = &explored.broken {
            let steps = trace.join("\n  ");
            writeln!(faults, "{}: {promise}, after\n  {steps}", explored.name).unwrap();
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn every_broken_rule_breaks_a_promise() {
    for (mutant, broken) in &*KILLED {
        assert!(broken.is_some(), "{mutant:?} breaks nothing");
    }
}

#[test]
fn whatever_faults_have_left_ends_verified_or_with_an_operator() {
    for explored in &*EXPLORED {
        for (what, trace) in &explored.examples {
            println!("{}, {what}:\n  {}", explored.name, trace.join("\n  "));
        }
        let hidden = explored.ends.as_ref().map(|ends| ends.out_of_sight.len());
        assert_eq!(hidden.unwrap_or(0), 0, "{}", explored.name);
        let missed = explored.ends.as_ref().map_or(0, |ends| ends.missed);
        assert_eq!(
            missed, 0,
            "{}: a version that may be live is not tried",
            explored.name
        );
    }
}

/// What the words below mean.
const LEGEND: &str = "\
Every state that an account's rotation can reach, as `tests/explore` searches them; its head tells the worlds.
At rest: nothing is under way or left to do; so many steps are the longest way there where the target answers.
Accounts at rest, whose late writes have landed or never will, get a test, and then a change:
  out of sight: neither finds the kept version that works; a person has to say which one it is
  untold: current does not work, and before the test nothing says so

";

/// What is put on record.
fn figures() -> String {
    let mut text = LEGEND.to_owned();
    let broken = EXPLORED.iter().filter(|one| one.broken.is_some()).count();
    let killed = KILLED.iter().filter(|(_, broken)| broken.is_some()).count();
    writeln!(
        text,
        "states {}, transitions {}, depth {}, worlds with a broken promise {broken}, mutants killed {killed} of {}\n",
        EXPLORED.iter().map(|one| one.states).sum::<usize>(),
        EXPLORED.iter().map(|one| one.transitions).sum::<usize>(),
        EXPLORED.iter().map(|one| one.depth).max().unwrap_or(0),
        Mutant::ALL.len()
    )
    .unwrap();
    for one in &*EXPLORED {
        writeln!(
            text,
            "{}: {} states, {} transitions, depth {}, at rest after at most {} steps",
            one.name, one.states, one.transitions, one.depth, one.bound
        )
        .unwrap();
        if let Some(ends) = &one.ends {
            writeln!(
                text,
                "  at rest {}: verified by a test {}, needs operator {}, verified by a change {}, \
                 out of sight {}; current does not work, untold {}",
                ends.at_rest,
                ends.by_test,
                ends.by_operator,
                ends.by_change,
                ends.out_of_sight.len(),
                ends.untold.len()
            )
            .unwrap();
        }
    }
    let rows = EXPLORED.iter().fold(0, |all, one| all | one.rows);
    let driven = rows.count_ones();
    writeln!(
        text,
        "rows of the machine's table that the engine reaches: {driven} of {ROWS}\n\
         mutants, with the shortest way to what each breaks:"
    )
    .unwrap();
    for (mutant, broken) in &*KILLED {
        if let Some(Broken { promise, trace }) = broken {
            writeln!(text, "  {mutant:?}: {} steps; {promise}", trace.len()).unwrap();
        }
    }
    text
}

#[test]
fn the_figures_on_record_are_this_searchs() {
    let figures = figures();
    println!("{figures}");
    if is_large() {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORD);
    #[expect(clippy::disallowed_methods, reason = "tests have no settings")]
    if std::env::var_os("KEYWHEEL_REWRITE").is_some() {
        std::fs::write(&path, &figures).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == figures,
        "{RECORD} has drifted; look at the difference, then run this test with KEYWHEEL_REWRITE=1"
    );
}
