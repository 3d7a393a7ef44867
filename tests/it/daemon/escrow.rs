//! The escrow journal of the real service: what it holds once the database is gone.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::disk::SmallDisk;
use crate::support::client::Client;
use crate::support::daemon::{Ended, Home};
use crate::support::directory::LDAP_INITIAL;
use crate::support::program::{command, run};
use crate::support::under_way::UnderWay;

const NEW: &str = "correct horse battery staple 7";

/// A recipient, its identity's file, and where the journal is.
pub(super) struct Escrow {
    folder: tempfile::TempDir,
    pub(super) recipient: String,
}

impl Escrow {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identity = folder.path().join("escrow.key");
        run(command("age-keygen").arg("-o").arg(&identity));
        let recipient = run(command("age-keygen").arg("-y").arg(&identity));
        Self {
            folder,
            recipient: recipient.trim().to_owned(),
        }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    /// Lines of the journal that hold something, from the first.
    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.file("journal")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines
            .filter(|line: &Value| line.get("sealed").is_some())
            .collect()
    }

    /// `keywheel recover`, in a folder without settings and data.
    fn recover(&self, more: &[&str]) -> Ended {
        let (journal, identity) = (self.path("journal"), self.path("escrow.key"));
        let mut arguments = vec!["recover", &journal, "--identity", &identity];
        arguments.extend_from_slice(more);
        Home::new().run(&arguments)
    }

    /// Everything, by what `--out` has written.
    fn recovered(&self) -> Vec<Value> {
        let out = self.path("recovered.json");
        let ended = self.recover(&["--out", &out]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let mode = std::fs::metadata(&out).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let found: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
        std::fs::remove_file(out).unwrap();
        found.as_array().unwrap().clone()
    }
}

/// An owner's values, the newest first.
fn values<'a>(recovered: &'a [Value], name: &str) -> Vec<&'a str> {
    let owner = recovered.iter().find(|one| one["is"]["name"] == name);
    let owner = owner.unwrap_or_else(|| panic!("nobody is called {name}: {recovered:?}"));
    let values = owner["values"].as_array().unwrap().iter();
    values.map(|one| one["value"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_lost_with_a_change_under_way_loses_no_credential() {
    let escrow = Escrow::new();
    let journal = escrow.path("journal");
    let settings = [
        ("KEYWHEEL_ESCROW__RECIPIENT", escrow.recipient.as_str()),
        ("KEYWHEEL_ESCROW__JOURNAL", journal.as_str()),
    ];
    let under_way = UnderWay::begin_with(&settings).await;
    let UnderWay {
        home,
        slapd,
        daemon,
        ..
    } = under_way;
    daemon.kill();
    std::fs::remove_dir_all(home.data("")).unwrap();
    let recovered = escrow.recovered();
    let account = recovered.iter().find(|one| one["is"]["login"] == "u0");
    let name = account.unwrap()["is"]["name"].as_str().unwrap();
    let found = values(&recovered, name);
    assert_eq!((found.len(), found[1]), (2, LDAP_INITIAL));
    assert!(
        found.iter().any(|value| slapd.accepts("u0", value)),
        "nothing in the journal works"
    );
    let kinds: Vec<_> = recovered.iter().map(|one| &one["kind"]).collect();
    assert_eq!(kinds, ["account", "functional_account"]);
    let listed = escrow.recover(&[]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    assert!(listed.out.contains(name), "{listed:?}");
    for value in found {
        assert!(!listed.out.contains(value) && !listed.err.contains(value));
        let journal = std::fs::read_to_string(escrow.file("journal")).unwrap();
        assert!(!journal.contains(value));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_comes_later_begins_with_what_is_there_and_age_opens_it() {
    let escrow = Escrow::new();
    let home = Home::new();
    let daemon = home.serve();
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    let functional = |name: &str| {
        json!({
            "PlatformID": 32, "AccountName": format!("cn={name}"), "DisplayName": name,
            "Password": NEW,
        })
    };
    let call = client
        .post("FunctionalAccounts", &functional("first"))
        .await;
    call.expect(201);
    assert_eq!(daemon.stop(), 0);
    let journal = escrow.path("journal");
    let settings = [
        ("KEYWHEEL_ESCROW__RECIPIENT", escrow.recipient.as_str()),
        ("KEYWHEEL_ESCROW__JOURNAL", journal.as_str()),
    ];
    for _ in 0..2 {
        assert_eq!(home.serve_with(&settings).stop(), 0);
        let kept = escrow.lines();
        let values: Vec<_> = kept
            .iter()
            .filter(|one| one.get("part").is_some())
            .collect();
        assert_eq!(values.len(), 1, "{kept:?}");
        assert_eq!(kept.len(), 2, "its owner is named once: {kept:?}");
    }
    let daemon = home.serve_with(&settings);
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    let second = functional("second");
    let call = client.post("FunctionalAccounts", &second).await;
    call.expect(201);
    daemon.kill();
    let recovered = escrow.recovered();
    assert_eq!(values(&recovered, "first"), [NEW]);
    assert_eq!(values(&recovered, "second"), [NEW]);
    // Without any program of ours.
    let lines = escrow.lines();
    let line = lines.iter().find(|one| one.get("part").is_some()).unwrap();
    let sealed = escrow.file("line.age");
    std::fs::write(
        &sealed,
        STANDARD.decode(line["sealed"].as_str().unwrap()).unwrap(),
    )
    .unwrap();
    let mut age = command("age");
    age.args(["--decrypt", "--identity"])
        .arg(escrow.file("escrow.key"));
    let opened: Value = serde_json::from_str(&run(age.arg(sealed).stdin(Stdio::null()))).unwrap();
    assert_eq!(opened["value"], NEW);
    assert_eq!(opened["kind"], "functional_account");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_stored_that_the_journal_cannot_take() {
    let escrow = Escrow::new();
    let disk = SmallDisk::at("escrow");
    let journal = disk
        .home
        .path()
        .join("escrow/journal")
        .display()
        .to_string();
    let daemon = disk.serve_with(&[
        ("KEYWHEEL_ESCROW__RECIPIENT", escrow.recipient.as_str()),
        ("KEYWHEEL_ESCROW__JOURNAL", journal.as_str()),
    ]);
    let client = Client::signed_in(&daemon.url, &disk.home.keys()).await;
    let functional = |nth: usize| {
        json!({
            "PlatformID": 32, "AccountName": format!("cn=keywheel{nth}"),
            "DisplayName": format!("far away {nth}"), "Password": NEW,
        })
    };
    disk.fill();
    // The last block of the journal may have room for some.
    let mut stored = 0;
    let refused = loop {
        let answer = client.post("FunctionalAccounts", &functional(stored)).await;
        if answer.status != 201 {
            break answer;
        }
        stored += 1;
        assert!(stored < 10, "the disk is not full");
    };
    assert_eq!(refused.status, 507, "{refused:?}");
    assert!(refused.body.contains("escrow journal"), "{refused:?}");
    let found = client.get("FunctionalAccounts").await.expect(200).json();
    let count = found.as_array().unwrap().len();
    assert_eq!(count, stored, "it was stored all the same");
    // What holds no credential is not held up.
    let group = json!({"Name": "far away"});
    client.post("Workgroups", &group).await.expect(201);
    disk.make_room();
    let last = functional(stored);
    client.post("FunctionalAccounts", &last).await.expect(201);
    assert_eq!(daemon.stop(), 0);
    std::fs::copy(disk.inside("journal"), escrow.file("journal")).unwrap();
    let recovered = escrow.recovered();
    for nth in 0..=stored {
        let name = format!("far away {nth}");
        assert!(values(&recovered, &name).contains(&NEW));
    }
}

#[test]
fn what_cannot_be_recovered_is_named_and_the_rest_is() {
    let escrow = Escrow::new();
    let home = Home::new();
    let journal = escrow.path("journal");
    let settings = [
        ("KEYWHEEL_ESCROW__RECIPIENT", escrow.recipient.as_str()),
        ("KEYWHEEL_ESCROW__JOURNAL", journal.as_str()),
    ];
    let secret = escrow.path("escrow.key");
    let stranger = Escrow::new();
    assert_eq!(home.serve_with(&settings).stop(), 0);
    std::fs::write(escrow.file("journal"), "{\"at\":\"2026\n").unwrap();
    let torn = escrow.recover(&[]);
    assert_eq!(torn.code, Some(0), "{torn:?}");
    assert!(torn.err.contains("line 1: cut short"), "{torn:?}");
    let missing = escrow.recover(&["--out", &secret]);
    assert_eq!(missing.code, Some(7), "no file is replaced: {missing:?}");
    std::fs::copy(stranger.file("escrow.key"), escrow.file("other.key")).unwrap();
    let no_identity = Home::new().run(&["recover", &journal, "--identity", &journal]);
    assert_eq!(no_identity.code, Some(2), "{no_identity:?}");
    assert!(
        no_identity.err.contains("AGE-SECRET-KEY-1"),
        "{no_identity:?}"
    );
    let secret_key = std::fs::read_to_string(escrow.file("escrow.key")).unwrap();
    let secret_key = secret_key.lines().last().unwrap();
    let refused = home.run_with(
        &["serve"],
        &[
            ("KEYWHEEL_ESCROW__RECIPIENT", secret_key),
            ("KEYWHEEL_ESCROW__JOURNAL", &journal),
        ],
    );
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.err.contains("begins with age1"), "{refused:?}");
    assert!(!refused.err.contains(secret_key), "{refused:?}");
}
