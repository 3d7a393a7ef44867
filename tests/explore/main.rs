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
    overlaps: true,
    own: false,
    looks: true,
};
/// A lease that ends too early, at any step.
const TWO_WORKERS: Scope = Scope {
    secrets: 2,
    workers: 2,
    attempts: 1,
    threshold: Some(3),
    tests: true,
    elapses: false,
    keeps: None,
    overlaps: false,
    own: false,
    looks: true,
};
/// An account that changes itself, and shows nothing.
const OWN_LOGIN: Scope = Scope {
    threshold: Some(4),
    overlaps: false,
    own: true,
    looks: false,
    ..ONE_WORKER
};
/// An account that is changed over sessions of a linked functional account.
const SERVED: Scope = Scope {
    secrets: 2,
    attempts: 1,
    tests: false,
    elapses: false,
    keeps: None,
    overlaps: false,
    ..ONE_WORKER
};
/// The managed account that the functional one is linked to.
const SERVING: Scope = Scope {
    secrets: 3,
    tests: true,
    own: true,
    looks: false,
    ..SERVED
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
}

fn one_account(name: &'static str, scope: Scope, mutant: Option<Mutant>) -> Explored {
    let world = OneAccount {
        rules: Rules::new(scope, mutant),
    };
    let found = search(&world);
    let whole = mutant.is_none() && found.broken.is_none();
    Explored {
        name,
        states: found.states.len(),
        transitions: found.transitions,
        depth: found.depth,
        bound: found.bound,
        rows: world.rules.rows(),
        broken: found.broken,
        ends: whole.then(|| rest::settle(scope, &found.states)),
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
    }
}

#[expect(clippy::disallowed_methods, reason = "tests have no settings")]
fn is_large() -> bool {
    std::env::var_os("KEYWHEEL_EXPLORE").is_some_and(|how| how == "large")
}

fn explore() -> Vec<Explored> {
    let wider = |scope: Scope| match is_large() {
        true => Scope {
            secrets: scope.secrets + 1,
            attempts: scope.attempts + 1,
            ..scope
        },
        false => scope,
    };
    vec![
        one_account("one worker", wider(ONE_WORKER), None),
        one_account("two workers", wider(TWO_WORKERS), None),
        one_account("its own login", wider(OWN_LOGIN), None),
        linked_accounts("a linked login", SERVED, wider(SERVING)),
    ]
}

static EXPLORED: LazyLock<Vec<Explored>> = LazyLock::new(explore);

/// Each mutant, with what it breaks first.
static KILLED: LazyLock<Vec<(Mutant, Option<Broken>)>> = LazyLock::new(|| {
    let kill = |mutant| {
        let worlds = [TWO_WORKERS, OWN_LOGIN, ONE_WORKER];
        worlds
            .into_iter()
            .find_map(|scope| one_account("mutant", scope, Some(mutant)).broken)
    };
    Mutant::ALL
        .into_iter()
        .map(|mutant| (mutant, kill(mutant)))
        .collect()
});

#[test]
fn no_reachable_state_breaks_a_promise() {
    for explored in &*EXPLORED {
        if let Some(Broken { promise, trace }) = &explored.broken {
            let steps = trace.join("\n  ");
            panic!("{}: {promise}, after\n  {steps}", explored.name);
        }
    }
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
        if let Some(ends) = &explored.ends {
            let lost = ends.lost_sight.first();
            println!("{}: {} {:?}", explored.name, ends.at_rest, lost);
        }
    }
}

/// What is put on record.
fn figures() -> String {
    let mut text = String::new();
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
                 neither {}",
                ends.at_rest,
                ends.by_test,
                ends.by_operator,
                ends.by_change,
                ends.lost_sight.len()
            )
            .unwrap();
        }
    }
    let rows = EXPLORED.iter().fold(0, |all, one| all | one.rows);
    let driven = rows.count_ones();
    writeln!(text, "rows of the machine's table: {driven} of {ROWS}").unwrap();
    let killed = KILLED.iter().filter(|(_, broken)| broken.is_some()).count();
    writeln!(text, "mutants killed: {killed} of {}", Mutant::ALL.len()).unwrap();
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
