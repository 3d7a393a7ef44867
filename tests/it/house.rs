//! The house rules, read from the sources themselves.
//!
//! - **Floors.** The table in `src/lib.rs` gives every room a floor. A room imports from floors
//!   below its own. Rooms of one floor do not import each other. One exception: `clock`,
//!   `config`, `escrow`, `generate` and `metrics` serve every room from their own floor up, and in return
//!   import nothing but floors below theirs. So no import can lead back to where it began. The
//!   store and the vault do not know each other: the engine carries sealed bytes between them.
//!   `api` and `console` enqueue: the engine and the connectors are closed to them.
//! - **Doors.** Secrets are exposed, sealed values opened, dice and clocks picked only in the
//!   listed files.
//! - **Heads, budgets, names, words**, and a test for every method of the store.
//!
//! Invariant: a rule that finds nothing to check fails, since it would pass on an empty house.

mod evidence;
mod source;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use self::source::{Source, root, sources, text_files};

/// Rooms that serve their own floor as well.
const SERVING: [&str; 5] = ["clock", "config", "escrow", "generate", "metrics"];

/// Rooms that must not know each other, whatever their floors.
const CLOSED: [(&str, &str); 4] = [
    ("api", "engine"),
    ("api", "connectors"),
    ("console", "engine"),
    ("console", "connectors"),
];

/// Longest file without its tests; what is longer is two things.
const FILE_MAX_LINES: usize = 450;
const MAIN_MAX_LINES: usize = 40;

/// Who may read a secret's characters: a file, or a folder with everything below it, and why.
const EXPOSERS: [(&str, &str); 24] = [
    (
        "connectors/src/dialogue/",
        "hands them to systems as their platform says",
    ),
    ("connectors/src/ssh/", "hands them to SSH hosts"),
    ("connectors/src/ldap/", "hands them to directories"),
    ("connectors/src/fake.rs", "plays a target, in tests"),
    ("connectors/src/conformance.rs", "compares them, in tests"),
    (
        "connectors/src/wire.rs",
        "hands them to the process that speaks with their target",
    ),
    (
        "src/api/clear.rs",
        "hands a cookie, a new key or factor, or a reveal to its owner",
    ),
    (
        "src/app/audit.rs",
        "makes the audit trail's keys of their text",
    ),
    (
        "src/app/database.rs",
        "hands the database's URL to its driver",
    ),
    (
        "src/app/first_run.rs",
        "writes the first administrator's keys to their file",
    ),
    (
        "src/escrow/read.rs",
        "writes what is recovered to the file that was named",
    ),
    (
        "src/cli/password/out.rs",
        "writes a value where its reader asked for it, and prints made-up ones",
    ),
    (
        "src/cli/remote.rs",
        "shows a key to the service that it is for",
    ),
    ("src/config/database.rs", "takes the database's URL apart"),
    (
        "src/generate/pair.rs",
        "decodes private keys, and encrypts drawn ones under their passphrases",
    ),
    ("src/model/key.rs", "hashes a presented key"),
    (
        "src/model/workflow/hook.rs",
        "takes addresses of webhooks apart",
    ),
    (
        "src/notify/",
        "connects to webhooks, signs for them, and signs in to the mail server",
    ),
    ("src/vault.rs", "seals them"),
    (
        "src/vault/appraisal.rs",
        "marks, estimates and hashes values for reports",
    ),
    (
        "src/vault/archive.rs",
        "derives a file's key from its password",
    ),
    (
        "src/vault/kdbx.rs",
        "makes the key of a KeePass file of its password",
    ),
    (
        "src/vault/password.rs",
        "measures and hashes users' passwords",
    ),
    (
        "src/vault/totp.rs",
        "computes codes of second factors, and hands their secret to an app",
    ),
];

/// Who may open a sealed value, and why.
const OPENERS: [(&str, &str); 12] = [
    (
        "src/api/measure.rs",
        "measures values for reports; none leaves, and each report is on record",
    ),
    (
        "src/api/record/",
        "shows values of records, on record, and compares them",
    ),
    ("src/api/reveal.rs", "hands a credential over, on record"),
    (
        "src/api/sign_in.rs",
        "computes the codes of a second factor",
    ),
    ("src/app/audit.rs", "opens the audit trail's keys"),
    (
        "src/app/escrow.rs",
        "hands the journal what the database has and it has not",
    ),
    ("src/app/key_ring.rs", "opens the probe at the start"),
    (
        "src/app/recover.rs",
        "compares what the database has with what a journal would put back",
    ),
    ("src/engine/", "hands credentials to connectors"),
    (
        "src/queue/link.rs",
        "seals a functional account's password for its own row once more",
    ),
    (
        "src/queue/order.rs",
        "compares a repeated order's password with the one under way",
    ),
    (
        "src/workflow/",
        "opens addresses of webhooks and what they are signed with",
    ),
];

/// Who hands a secret to its owner, and why nobody has to be told: by a reveal, which records itself
/// and queues its notices before its answer; or what is given out is nobody else's value.
const HANDERS: [(&str, &str); 13] = [
    (
        "src/api/itglue/password.rs",
        "a record's value, by record::show",
    ),
    ("src/api/native/key.rs", "a new key, to whoever makes it"),
    (
        "src/api/record/export.rs",
        "files with values, by record::show_all",
    ),
    (
        "src/api/native/password_record.rs",
        "a record's value, by record::show_why, and its codes, by record::show_code",
    ),
    (
        "src/api/native/reveal.rs",
        "a credential, by reveal::reveal",
    ),
    ("src/api/native/session.rs", "a session's own token"),
    ("src/api/native/totp.rs", "a new second factor, to its user"),
    ("src/api/native/workflow.rs", "a new signing secret"),
    (
        "src/api/native/workflow/document.rs",
        "a new workflow's signing secrets",
    ),
    ("src/api/passwordsafe/auth.rs", "a new access token"),
    (
        "src/api/passwordsafe/request.rs",
        "a credential, by reveal::reveal",
    ),
    (
        "src/api/passwordsafe/request/isa.rs",
        "a credential, by reveal::reveal",
    ),
    ("src/api/clear.rs", "the door itself"),
];

/// Who puts reveals on record: the transaction that a value waits for.
const RECORDERS: [(&str, &str); 3] = [
    ("src/api/reveal.rs", "of an account's credential"),
    ("src/api/record/show.rs", "of records' values and codes"),
    (
        "src/api/native/report/at_risk_file.rs",
        "of the report's file, which holds no values",
    ),
];

/// Who may pick the machine's clock and dice; all others are handed theirs.
const BUILDERS: [&str; 5] = ["app", "cli", "clock", "generate", "main"];

/// Names that say nothing about what they name.
const EMPTY_NAMES: [&str; 6] = ["util", "utils", "common", "misc", "manager", "helpers"];

type Floors = BTreeMap<String, usize>;

/// The table in the crate's map.
fn floors(map: &str) -> Floors {
    let mut floors = Floors::new();
    for line in map.lines() {
        let cells: Vec<&str> = line
            .trim_start_matches("//!")
            .split('|')
            .map(str::trim)
            .collect();
        let [_, floor, rooms, _] = cells[..] else {
            continue;
        };
        let Ok(floor) = floor.parse::<usize>() else {
            continue;
        };
        for room in rooms.split('`').skip(1).step_by(2) {
            floors.insert(room.replace("keywheel-", ""), floor);
        }
    }
    floors
}

fn real_floors() -> Floors {
    floors(&std::fs::read_to_string(root().join("src/lib.rs")).unwrap())
}

/// What an import breaks, if anything.
fn broken_by(floors: &Floors, from: &str, to: &str) -> Option<String> {
    if from == to {
        return None;
    }
    if CLOSED.contains(&(from, to)) {
        return Some(format!(
            "{from} must not know {to}: enqueue, and await the job's end"
        ));
    }
    let (Some(mine), Some(theirs)) = (floors.get(from), floors.get(to)) else {
        return Some(format!(
            "{from} or {to} has no floor in the table of src/lib.rs"
        ));
    };
    let serves = SERVING.contains(&to) && !SERVING.contains(&from);
    let allowed = theirs < mine || (theirs == mine && serves);
    (!allowed).then(|| format!("{from} (floor {mine}) imports {to} (floor {theirs})"))
}

fn rooms() -> Vec<Source> {
    // lib.rs is the map of the rooms, and lives in none.
    let rooms: Vec<_> = sources("src")
        .into_iter()
        .filter(|one| one.room() != "lib")
        .collect();
    assert!(rooms.len() > 5, "only {} files were found", rooms.len());
    rooms
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn imports_point_down() {
    let floors = real_floors();
    let mut faults = Vec::new();
    let mut seen = 0;
    for source in rooms() {
        for (to, line) in source.imports() {
            seen += 1;
            let broken = broken_by(&floors, source.room(), &to);
            faults.extend(broken.map(|broken| format!("{}:{line}: {broken}", source.name)));
        }
    }
    assert!(seen > 10, "only {seen} imports were found");
    none(&faults);
}

#[test]
fn an_import_is_found_however_it_is_written() {
    let text = "use crate::engine::Engine;\n\
                use crate::{api, model::id};\n\
                use super::super::queue as q;\n\
                fn f() { crate::scheduler::tick(); let x: crate::cli::Y; }\n\
                fn g() { format!(\"{}\", crate::app::Z); }\n\
                mod inner { use super::super::super::console::P; use super::own; }\n\
                use keywheel_connectors::Class;\n\
                use self::own; use super::own;\n";
    let found: BTreeSet<String> = Source::parse("src/store/job.rs", text)
        .imports()
        .into_iter()
        .map(|(to, _)| to)
        .collect();
    let meant = "engine api model queue scheduler cli app console connectors";
    assert_eq!(found, meant.split(' ').map(str::to_owned).collect());
    let main = Source::parse("src/main.rs", "fn main() { keywheel::cli::run() }");
    assert_eq!(main.imports(), [("cli".to_owned(), 1)]);
}

#[test]
fn an_import_across_or_up_the_floors_is_told_from_one_down() {
    let table = "//! | 0 | the crate `keywheel-connectors` |\n//! | 1 | [`model`] |\n\
                 //! | 2 | [`clock`], `config`, `store`, `vault` |\n//! | 3 | `engine` |\n\
                 //! | 5 | `api` |";
    let floors = floors(table);
    let allowed = |from, to| broken_by(&floors, from, to).is_none();
    for (from, to) in [
        ("engine", "store"),
        ("engine", "connectors"),
        ("store", "clock"),
        ("api", "config"),
        ("model", "connectors"),
        ("clock", "model"),
        ("store", "store"),
    ] {
        assert!(allowed(from, to), "{from} → {to}");
    }
    for (from, to) in [
        ("store", "engine"),
        ("store", "vault"),
        ("clock", "config"),
        ("model", "clock"),
        ("clock", "store"),
        ("api", "engine"),
        ("api", "connectors"),
        ("api", "unheard"),
    ] {
        assert!(!allowed(from, to), "{from} → {to}");
    }
}

#[test]
fn every_room_has_a_floor() {
    let floors = real_floors();
    assert!(
        floors.len() > 10,
        "the table of src/lib.rs was not understood: {floors:?}"
    );
    let homeless: BTreeSet<String> = rooms()
        .iter()
        .map(|one| one.room().to_owned())
        .filter(|r| !floors.contains_key(r))
        .collect();
    assert!(
        homeless.is_empty(),
        "no floor in the table of src/lib.rs: {homeless:?}"
    );
}

#[test]
fn every_module_says_what_it_is_and_what_always_holds() {
    let faults: Vec<String> = sources("src")
        .into_iter()
        .chain(sources("connectors/src"))
        .filter(|source| !source.is_test())
        .filter(|source| {
            let head = source.head();
            let says = head.lines().next().is_some_and(|line| line.len() >= 12);
            !says || !head.contains("Invariant: ")
        })
        .map(|source| {
            format!(
                "{}: a `//!` paragraph and a line `//! Invariant: …`",
                source.name
            )
        })
        .collect();
    none(&faults);
}

#[test]
fn no_file_is_longer_than_one_thought() {
    let faults: Vec<String> = sources("src")
        .into_iter()
        .chain(sources("connectors/src"))
        .filter(|source| !source.is_test() && source.lines_without_tests() > FILE_MAX_LINES)
        .map(|source| format!("{}: {} lines", source.name, source.lines_without_tests()))
        .collect();
    none(&faults);
    let main = std::fs::read_to_string(root().join("src/main.rs")).unwrap();
    assert!(
        main.lines().count() <= MAIN_MAX_LINES,
        "main.rs only starts what cli does"
    );
}

/// Files that do something without standing on its list, and those that stand there for nothing.
fn off_the_list(
    all: &[Source],
    list: &[(&str, &str)],
    what: &str,
    does: impl Fn(&Source) -> Vec<usize>,
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    for source in all {
        let lines = does(source);
        let entry = list.iter().find(|(name, _)| source.name.starts_with(name));
        match entry {
            Some((name, _)) if !lines.is_empty() => drop(used.insert(*name)),
            Some(_) => {}
            None => {
                faults.extend(lines.iter().map(|line| {
                    format!("{}:{line}: {what}; list it with its reason", source.name)
                }));
            }
        }
    }
    for (name, _) in list {
        if all.iter().any(|source| source.name.starts_with(name)) && !used.contains(name) {
            faults.push(format!("{name} is on the list, but never {what}"));
        }
    }
    faults
}

fn everything() -> Vec<Source> {
    sources("src")
        .into_iter()
        .chain(sources("connectors/src"))
        .filter(|source| !source.is_test())
        .collect()
}

#[test]
fn secrets_are_exposed_only_where_the_list_says_so() {
    none(&off_the_list(
        &everything(),
        &EXPOSERS,
        "exposes a secret",
        Source::exposures,
    ));
}

#[test]
fn sealed_values_are_opened_only_where_the_list_says_so() {
    none(&off_the_list(
        &everything(),
        &OPENERS,
        "opens a sealed value",
        Source::openings,
    ));
}

#[test]
fn values_leave_only_by_reveals_that_the_lists_know() {
    let inside: Vec<Source> = everything()
        .into_iter()
        .filter(|source| source.room() == "api")
        .collect();
    let hands = |source: &Source| {
        let mut lines = source.mentions("handed_over");
        lines.extend(source.mentions("as_csv").iter().filter(|_| {
            // Reports have a writer of that name, of texts alone.
            !source.name.ends_with("at_risk_file.rs")
        }));
        lines
    };
    let what = "hands a secret out";
    none(&off_the_list(&inside, &HANDERS, what, hands));
    let records = |source: &Source| source.mentions("on_record");
    let what = "puts a reveal on record";
    none(&off_the_list(&inside, &RECORDERS, what, records));
    // Both recorders reach the workflows by one function.
    let fired = inside.iter().filter(|source| source.calls("fire"));
    let fired: Vec<&str> = fired.map(|source| source.name.as_str()).collect();
    assert_eq!(fired, ["src/api/reveal.rs"]);
}

#[test]
fn a_door_is_found_however_it_is_opened() {
    let text = "fn a(s: &S) { s.expose_secret(); }\n\
                fn b() { x.map(ExposeSecret::expose_secret); }\n\
                fn c() { self.vault.open(&p, &b); }\n\
                fn d() { Vault::open(&v, &p, &b); }\n\
                fn e() { log!(\"{}\", s.expose_secret()); }\n\
                fn f() { self.vault().open(p, b); file.open(p); (&*vault).open(p, b); }\n\
                #[cfg(test)] mod tests { fn g() { s.expose_secret(); vault.open(p, b); } }\n";
    let source = Source::parse("src/x.rs", text);
    assert_eq!(source.exposures(), [1, 2, 5]);
    assert_eq!(source.openings(), [3, 4, 6, 6]);
    let list = [("src/x.rs", "why"), ("src/y.rs", "not there yet")];
    let exposes = |list| off_the_list(std::slice::from_ref(&source), list, "", Source::exposures);
    assert!(exposes(&list).is_empty());
    assert_eq!(exposes(&[]).len(), 3);
    let quiet = [Source::parse("src/x.rs", "fn a() {}")];
    assert_eq!(off_the_list(&quiet, &list, "", Source::exposures).len(), 1);
}

#[test]
fn clock_and_dice_are_handed_in() {
    let mut faults = Vec::new();
    for source in rooms()
        .iter()
        .filter(|one| !one.is_test() && !BUILDERS.contains(&one.room()))
    {
        for name in ["SystemClock", "SystemDice", "SeededDice", "ManualClock"] {
            let lines = source.mentions(name);
            faults.extend(
                lines
                    .iter()
                    .map(|line| format!("{}:{line}: {name}", source.name)),
            );
        }
    }
    none(&faults);
}

#[test]
fn every_method_of_the_store_is_tested_on_both_databases() {
    let suite: Vec<Source> = sources("tests/it")
        .into_iter()
        .filter(|one| {
            let name = one.name.strip_prefix("tests/it/").unwrap_or_default();
            // The stage opens the store for every test.
            name.starts_with("store") || name.starts_with("support/database")
        })
        .collect();
    let mut faults = Vec::new();
    for source in sources("src/store") {
        for (owner, method) in source.public_async_methods() {
            let named = suite.iter().any(|one| one.calls(&method));
            if matches!(owner.as_str(), "Store" | "Tx") && !named {
                faults.push(format!("{}: {owner}::{method} is in no test", source.name));
            }
        }
    }
    none(&faults);
}

#[test]
fn public_methods_and_their_calls_are_found() {
    let suite = Source::parse(
        "tests/it/store.rs",
        "fn t() { let job = s.begin().await; T::end() }",
    );
    assert!(suite.calls("begin") && suite.calls("end") && !suite.calls("job"));
    let text = "impl Store { pub async fn a(&self) {} pub fn b(&self) {} async fn c(&self) {} }\n\
                impl super::Tx { pub async fn d(&mut self) {} pub(crate) async fn e(&mut self) {} }";
    let found = Source::parse("src/store/x.rs", text).public_async_methods();
    let meant = [("Store", "a"), ("Tx", "d")];
    assert_eq!(
        found,
        meant.map(|(owner, method)| (owner.to_owned(), method.to_owned()))
    );
}

#[test]
fn names_say_what_they_name() {
    let mut faults = Vec::new();
    for folder in ["src", "connectors/src", "tests"] {
        for source in sources(folder) {
            let parts = source
                .name
                .trim_end_matches(".rs")
                .split('/')
                .map(str::to_owned);
            let names = parts.chain(source.item_names());
            for name in names.filter(|name| is_empty_name(name)) {
                faults.push(format!("{}: {name}", source.name));
            }
        }
    }
    none(&faults);
    for (name, empty) in [
        ("JobManager", true),
        ("string_utils", true),
        ("Common", true),
        ("commonly_used", false),
        ("managed_account", false),
        ("utilisation", false),
    ] {
        assert_eq!(is_empty_name(name), empty, "{name}");
    }
}

fn is_empty_name(name: &str) -> bool {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if c == '_' || c.is_uppercase() {
            words.push(String::new());
        }
        words
            .last_mut()
            .unwrap()
            .extend(c.to_lowercase().filter(|c| c.is_alphanumeric()));
    }
    words
        .iter()
        .any(|word| EMPTY_NAMES.contains(&word.as_str()))
}

#[test]
fn nothing_is_left_for_later() {
    // Spelled in halves, or this line would be found.
    let words = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["HA", "CK"]].map(|two| two.concat());
    let files = text_files(&["src", "connectors", "tests", "migrations", "docs", "config"]);
    assert!(files.len() > 10, "only {} files were found", files.len());
    let mut faults = Vec::new();
    for (name, text) in files {
        for (at, line) in text.lines().enumerate() {
            let mut found = line.split(|c: char| !c.is_alphanumeric());
            if found.any(|word| words.iter().any(|banned| banned == word)) {
                faults.push(format!("{name}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    none(&faults);
}
