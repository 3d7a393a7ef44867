//! The audit trail beside the service: exported, anchored, verified offline.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use keywheel::model::audit_chain::{Anchor, Line};
use serde_json::{Value, json};

use super::tamper;
use crate::support::daemon::{Ended, Home};
use crate::support::wait::eventually;

/// Where every row is sealed and anchored at once.
pub(super) const HURRIED: [(&str, &str); 1] = [("KEYWHEEL_AUDIT__ANCHOR_INTERVAL_S", "1")];

/// The files that an auditor is handed, in a folder without a database or settings.
pub(super) struct Auditor {
    pub(super) home: Home,
}

impl Auditor {
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.file("audit.jsonl")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    pub(super) fn verify(&self, more: &[&str]) -> Ended {
        let fixed = ["audit", "verify", "--key", "key.json", "--export"];
        self.home.run(&[&fixed, more].concat())
    }

    /// Verifies these rows against the anchors.
    pub(super) fn verify_rows(&self, rows: &[String]) -> Ended {
        std::fs::write(self.file("changed.jsonl"), rows.join("\n")).unwrap();
        self.verify(&["changed.jsonl", "--anchors", "anchors.jsonl"])
    }

    #[track_caller]
    pub(super) fn broken(&self, rows: &[String], words: &[&str]) {
        let found = self.verify_rows(rows);
        assert_eq!(found.code, Some(1), "{found:?}");
        for word in words {
            assert!(found.out.contains(word), "{word} is not in {found:?}");
        }
    }
}

pub(super) fn anchors(path: &Path) -> Vec<Anchor> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| Anchor::parse(line).unwrap())
        .collect()
}

/// A service that has made its first rows, sealed and anchored them, and ended.
fn sealed() -> Home {
    let home = Home::new();
    let daemon = home.serve_with(&HURRIED);
    let file = home.data("audit-anchors.jsonl");
    eventually("the first rows are anchored", || {
        let anchors = anchors(&file);
        anchors
            .last()
            .is_some_and(|last| last.seq >= 6)
            .then_some(())
    });
    assert_eq!(daemon.stop(), 0);
    home
}

/// Exports everything, as an operator does for an auditor.
pub(super) fn handed_over(home: &Home) -> Auditor {
    let auditor = Auditor { home: Home::new() };
    let file = |name| auditor.file(name).display().to_string();
    for arguments in [
        ["audit", "export", "--out", &file("audit.jsonl")],
        ["audit", "key", "--out", &file("key.json")],
    ] {
        let done = home.run(&arguments);
        assert_eq!(done.code, Some(0), "{done:?}");
        let mode = std::fs::metadata(arguments[3])
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        // What is there is not overwritten.
        assert_eq!(home.run(&arguments).code, Some(1));
    }
    std::fs::copy(
        home.data("audit-anchors.jsonl"),
        auditor.file("anchors.jsonl"),
    )
    .unwrap();
    auditor
}

pub(super) fn edited(line: &str, edit: impl FnOnce(&mut Line)) -> String {
    let mut read = Line::parse(line).unwrap();
    edit(&mut read);
    read.to_text().unwrap()
}

#[test]
fn an_export_is_verified_offline_and_every_change_is_named() {
    let auditor = handed_over(&sealed());
    let rows = auditor.lines();
    let count = rows.len();
    assert!(count >= 6, "{rows:?}");
    let sound = auditor.verify_rows(&rows);
    assert_eq!(sound.code, Some(0), "{sound:?}");
    assert!(
        sound
            .out
            .contains(&format!("sound: {count} rows up to seq {count}")),
        "{sound:?}"
    );
    let machine = auditor.verify(&[
        "audit.jsonl",
        "--anchors",
        "anchors.jsonl",
        "--output",
        "json",
    ]);
    let machine: Value = serde_json::from_str(&machine.out).unwrap();
    assert_eq!(
        (&machine["sound"], &machine["rows"]),
        (&json!(true), &json!(count))
    );
    assert!(machine["anchors"].as_i64().unwrap() >= 1);

    let id = Line::parse(&rows[3]).unwrap().id;
    let named = format!("seq 4 (id {id}): mac");
    let edits: [fn(&mut Line); 6] = [
        |line| line.at.0 += 1,
        |line| line.actor = "eve".to_owned(),
        |line| line.event.push('x'),
        |line| line.subject.push('x'),
        |line| line.body = line.body.replace('}', " }"),
        |line| line.mac.0[0] ^= 1,
    ];
    for edit in edits {
        let mut rows = rows.clone();
        rows[3] = edited(&rows[3], edit);
        auditor.broken(&rows, &[&named]);
    }
    let mut changed = rows.clone();
    changed[3] = edited(&rows[3], |line| line.id += 1_000);
    auditor.broken(&changed, &[&format!("seq 4 (id {}): mac", id + 1_000)]);
    let mut changed = rows.clone();
    changed.remove(3);
    auditor.broken(&changed, &["seq 5", "gap", "seq 4 is missing"]);
    let mut changed = rows.clone();
    changed.swap(3, 4);
    auditor.broken(&changed, &["seq 5", "order", "where seq 4 belongs"]);
    let mut changed = rows.clone();
    changed[3] = edited(&rows[3], |line| line.seq = 5);
    auditor.broken(&changed, &["seq 5", "gap"]);
    let last = anchors(&auditor.file("anchors.jsonl")).last().unwrap().seq;
    let short = usize::try_from(last).unwrap() - 1;
    let truncated = format!("rows end at seq {short}");
    auditor.broken(&rows[..short], &["truncated", &truncated]);
    auditor.broken(&[], &["truncated", "rows end at seq 0"]);
    // Without anchors nobody misses a tail.
    std::fs::write(auditor.file("changed.jsonl"), rows[..short].join("\n")).unwrap();
    assert_eq!(auditor.verify(&["changed.jsonl"]).code, Some(0));
}

#[test]
fn anchors_of_others_and_changed_ones_are_refused() {
    let home = sealed();
    let auditor = handed_over(&home);
    let shown = home.run(&["audit", "anchor"]);
    let newest = Anchor::parse(shown.out.trim()).unwrap();
    let file = auditor.file("anchors.jsonl");
    assert_eq!(Some(&newest), anchors(&file).last());
    let public = home.run(&["audit", "key"]);
    let public: Value = serde_json::from_str(&public.out).unwrap();
    assert_eq!(public["store"], newest.store);
    let secret: Value =
        serde_json::from_slice(&std::fs::read(auditor.file("key.json")).unwrap()).unwrap();
    assert_eq!(public["anchor_key"], secret["anchor_key"]);
    assert!(public.get("chain_key").is_none());
    let good = std::fs::read_to_string(&file).unwrap();
    let verify = || auditor.verify(&["audit.jsonl", "--anchors", "anchors.jsonl"]);
    for (from, to, why) in [
        (
            format!("\"seq\":{},", newest.seq),
            format!("\"seq\":{},", newest.seq - 1),
            "signature",
        ),
        (
            newest.store.clone(),
            "another-1".to_owned(),
            "another store",
        ),
    ] {
        let line = newest.to_line().unwrap();
        assert!(line.contains(&from));
        let line = line.replace(&from, &to);
        std::fs::write(&file, format!("{good}{line}\n")).unwrap();
        let refused = verify();
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.err.contains(why), "{refused:?}");
        assert!(!refused.out.contains("sound"), "{refused:?}");
    }
    // A line that was cut short says nothing, and hides none of the others.
    std::fs::write(&file, format!("{{\"sto\n{good}")).unwrap();
    let found = verify();
    assert_eq!(found.code, Some(0), "{found:?}");
    assert!(found.err.contains("line 1"), "{found:?}");
    // Another store's key fits nothing.
    let other = handed_over(&sealed());
    std::fs::copy(other.file("key.json"), auditor.file("key.json")).unwrap();
    assert_eq!(verify().code, Some(1));
    let found = auditor.verify(&["audit.jsonl"]);
    assert!(found.out.contains("seq 1 "), "{found:?}");
    // A key that everybody may read is refused.
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(auditor.file("key.json"), open).unwrap();
    assert!(verify().err.contains("chmod 0600"));
}

#[test]
fn a_part_of_the_trail_is_verified_as_such_alone() {
    let home = sealed();
    let auditor = handed_over(&home);
    let part = auditor.file("part.jsonl").display().to_string();
    let done = home.run(&["audit", "export", "--from", "4", "--out", &part]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let lines: Vec<String> = std::fs::read_to_string(&part)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(lines.len(), auditor.lines().len() - 3);
    let found = auditor.verify(&["part.jsonl", "--from", "4", "--anchors", "anchors.jsonl"]);
    assert_eq!(found.code, Some(0), "{found:?}");
    // Nobody is told that a part is the whole.
    let whole = auditor.verify(&["part.jsonl"]);
    assert_eq!(whole.code, Some(1), "{whole:?}");
    assert!(whole.out.contains("seq 1 is missing"), "{whole:?}");
    let mut changed = lines;
    changed[0] = edited(&changed[0], |line| line.actor = "eve".to_owned());
    std::fs::write(&part, changed.join("\n")).unwrap();
    let found = auditor.verify(&["part.jsonl", "--from", "4"]);
    assert!(found.out.contains("seq 4 "), "{found:?}");
    // To stdout it is the same.
    let printed = home.run(&["audit", "export"]);
    assert_eq!(printed.out.lines().count(), auditor.lines().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_itself_is_verified_beside_the_service() {
    let home = sealed();
    let sound = home.run(&["audit", "verify"]);
    assert_eq!(sound.code, Some(0), "{sound:?}");
    assert!(!sound.out.contains("; 0 anchors"), "{sound:?}");
    let database = home.data("keywheel.db");
    tamper(&database, "UPDATE audit SET actor = 'eve' WHERE seq = 2").await;
    let broken = home.run(&["audit", "verify"]);
    assert_eq!(broken.code, Some(1), "{broken:?}");
    assert!(broken.out.contains("seq 2 "), "{broken:?}");
    // The running service says so, too.
    let daemon = home.serve_with(&HURRIED);
    let running = home.run(&["audit", "verify"]);
    assert_eq!(running.code, Some(1), "{running:?}");
    assert_eq!(daemon.stop(), 0);
    // Keys are not made anew for a trail that has rows.
    tamper(&database, "DELETE FROM audit_keys").await;
    let refused = home.refusal();
    assert!(refused.err.contains("audit_keys has no row"), "{refused:?}");
}

#[test]
fn without_a_database_nothing_is_made() {
    let home = Home::new();
    for what in ["export", "verify", "anchor", "key"] {
        let refused = home.run(&["audit", what]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
    }
    assert!(!home.data("keywheel.db").exists());
    assert_eq!(
        home.run(&["audit", "verify", "--export", "x"]).code,
        Some(2)
    );
    assert_eq!(home.run(&["audit", "export", "--from", "0"]).code, Some(2));
}
