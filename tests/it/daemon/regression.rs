//! A database that comes back older than it was: found, its accounts left alone, and recovered.
//!
//! Invariant: whatever is restored, every account logs in at the end with what the service says is
//! current.

use std::path::PathBuf;

use keywheel::store::Backend;
use serde_json::{Value, json};

use super::escrow::Escrow;
use crate::support::client::Client;
use crate::support::daemon::{Daemon, Ended, Home};
use crate::support::database::Database;
use crate::support::directory::Directory;
use crate::support::wait::until;

const NAMES: [&str; 3] = ["u0", "u1", "u2"];

/// A service with three accounts of a real directory, its journal and its echo elsewhere.
struct Scene {
    home: Home,
    escrow: Escrow,
    slapd: Directory,
    settings: Vec<(&'static str, String)>,
    system: i64,
    accounts: Vec<i64>,
}

impl Scene {
    /// The service is started once, gets its accounts, and is stopped.
    async fn new(has_journal: bool, more: &[(&'static str, String)]) -> Self {
        let escrow = Escrow::new();
        let mut settings = vec![
            ("KEYWHEEL_ESCROW__ECHO", escrow.path("echo")),
            ("KEYWHEEL_SCHEDULER__GENERATION_EVERY_S", "1".to_owned()),
            (
                "KEYWHEEL_SCHEDULER__RECOVERIES_PER_MINUTE",
                "1000".to_owned(),
            ),
        ];
        settings.extend_from_slice(more);
        if has_journal {
            settings.push(("KEYWHEEL_ESCROW__RECIPIENT", escrow.recipient.clone()));
            settings.push(("KEYWHEEL_ESCROW__JOURNAL", escrow.path("journal")));
        }
        let mut scene = Self {
            home: Home::new(),
            escrow,
            slapd: Directory::openldap(),
            settings,
            system: 0,
            accounts: Vec::new(),
        };
        let daemon = scene.serve();
        let client = scene.client(&daemon).await;
        scene.system = scene.slapd.onboard(&client, None).await;
        // The directory locks after five: a test may ask with two passwords in one window.
        let locks = json!({"lockout_threshold": 5});
        let path = format!("/api/v1/systems/{}", scene.system);
        client.edit(&path, &locks).await;
        for name in NAMES {
            let account = scene
                .slapd
                .onboard_account(&client, scene.system, name)
                .await;
            scene.accounts.push(account);
        }
        // The first contact pins what the directory is.
        let path = format!("ManagedAccounts/{}/Credentials/Test", scene.accounts[0]);
        let tested = client.post(&path, &json!({})).await.expect(200);
        assert_eq!(tested.json()["Success"], true, "{tested:?}");
        assert_eq!(daemon.stop(), 0);
        scene
    }

    fn variables(&self) -> Vec<(&str, &str)> {
        let settings = self.settings.iter();
        settings
            .map(|(name, value)| (*name, value.as_str()))
            .collect()
    }

    fn serve(&self) -> Daemon {
        self.home.serve_with(&self.variables())
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.home.run_with(arguments, &self.variables())
    }

    fn refusal(&self) -> Ended {
        let ended = self.run(&["serve", "--listen", "127.0.0.1:0"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        ended
    }

    async fn client(&self, daemon: &Daemon) -> Client {
        Client::signed_in(&daemon.url, &self.home.keys()).await
    }

    /// Gives an account a new password, and waits for it.
    async fn rotate(&self, client: &Client, nth: usize) {
        let location = self.order(client, nth).await;
        let state = client
            .await_job(&location, &["succeeded", "failed", "needs_operator"])
            .await;
        assert_eq!(state, "succeeded", "{:?}", client.native(&location).await);
    }

    async fn order(&self, client: &Client, nth: usize) -> String {
        let path = format!("ManagedAccounts/{}/Credentials/Change", self.accounts[nth]);
        let ordered = client.post(&path, &json!({"Queue": true})).await;
        ordered.expect(204).location.expect("a Location")
    }

    /// Copies the database's file, and whatever is beside it.
    fn copy(&self) -> Copy {
        let to = tempfile::tempdir().unwrap();
        for file in self.files() {
            std::fs::copy(&file, to.path().join(file.file_name().unwrap())).unwrap();
        }
        Copy(to)
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.home.data("")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let named = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            ["keywheel.db", "keywheel.db-wal", "keywheel.db-shm"].contains(&name)
        };
        paths.filter(named).collect()
    }

    fn restore(&self, copy: &Copy) {
        for file in self.files() {
            std::fs::remove_file(file).unwrap();
        }
        for entry in std::fs::read_dir(copy.0.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), self.home.data("").join(entry.file_name())).unwrap();
        }
    }

    /// `keywheel recover … --into-store`.
    fn recover(&self, more: &[&str]) -> Ended {
        let (journal, identity) = (self.escrow.path("journal"), self.escrow.path("escrow.key"));
        let mut arguments = vec!["recover", &journal, "--identity", &identity, "--into-store"];
        arguments.extend_from_slice(more);
        let ended = self.run(&arguments);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended
    }

    /// `keywheel regression …` against the running service.
    fn command(&self, daemon: &Daemon, arguments: &[&str]) -> Value {
        let mut all = vec!["--output", "json", "regression"];
        all.extend_from_slice(arguments);
        all.extend_from_slice(&["--server", &daemon.url]);
        let ended = self.run(&all);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        serde_json::from_str(&ended.out).unwrap()
    }

    /// Waits until no account is marked.
    async fn recovered(&self, client: &Client) {
        until("every account is recovered", async || {
            let shown = shown(client).await;
            (shown["regressed"] == false).then_some(())
        })
        .await;
    }

    /// Every account logs in with what is current.
    async fn proves_all(&self, client: &Client) {
        for (name, account) in NAMES.iter().zip(&self.accounts) {
            let current = client.reveal(*account).await;
            assert!(self.slapd.accepts(name, &current), "{name} does not log in");
        }
    }
}

/// A copy of a database's file.
struct Copy(tempfile::TempDir);

async fn shown(client: &Client) -> Value {
    client.native("/api/v1/regression").await.expect(200).json()
}

/// Ids of the accounts that are marked.
async fn marked(client: &Client) -> Vec<i64> {
    let found = client.native("/api/v1/regression/accounts").await;
    let found = found.expect(200).json();
    let items = found["items"].as_array().unwrap().iter();
    items
        .map(|one| one["account_id"].as_i64().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_file_is_found_and_what_it_forgot_is_recovered() {
    let scene = Scene::new(true, &[]).await;
    let copy = scene.copy();
    let daemon = scene.serve();
    let client = scene.client(&daemon).await;
    assert_eq!(shown(&client).await["regressed"], false);
    for nth in [0, 0, 1] {
        scene.rotate(&client, nth).await;
    }
    assert_eq!(daemon.stop(), 0);
    scene.restore(&copy);

    let daemon = scene.serve();
    daemon.await_said("has come back older than it was");
    let client = scene.client(&daemon).await;
    let found = shown(&client).await;
    assert_eq!(found["regressed"], true);
    assert_eq!(found["accounts"], json!({"none": 2, "reset": 0, "test": 0}));
    assert_eq!(found["regressions"][0]["named"], true);
    assert_eq!(marked(&client).await, scene.accounts[..2]);
    let metrics = client.nobody("/metrics").await.expect(200).body;
    assert!(metrics.contains("keywheel_store_regressed 1"), "{metrics}");
    // What is concerned waits; the rest goes on.
    let path = format!("ManagedAccounts/{}/Credentials/Change", scene.accounts[0]);
    let refused = client.post(&path, &json!({"Queue": true})).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(refused.body.contains("came back older"), "{refused:?}");
    scene.rotate(&client, 2).await;
    let quarantine = json!({"system_id": scene.system, "reason": "a test"});
    let ordered = client.order("/api/v1/quarantines", &quarantine).await;
    let quarantine = ordered.expect(202).location.expect("a Location");
    let view = until("one of three is done", async || {
        let view = client.native(&quarantine).await.expect(200).json();
        (view["counts"]["succeeded"] == 1).then_some(view)
    })
    .await;
    assert!(view["finished_at"].is_null());
    for account in &scene.accounts[..2] {
        let jobs = format!("/api/v1/jobs?account_id={account}");
        until("its job says why it waits", async || {
            let held = client.native(&jobs).await.expect(200).body;
            held.contains("keywheel regression show").then_some(())
        })
        .await;
    }
    // Nothing was tested: no login has failed.
    for name in NAMES {
        assert_eq!(scene.slapd.failures(name), 0, "{name}");
    }
    assert_eq!(daemon.stop(), 0);

    let dry = scene.recover(&["--dry-run"]);
    assert!(dry.err.contains("3 versions would be put back"), "{dry:?}");
    let done = scene.recover(&[]);
    assert!(done.err.contains("3 versions put back"), "{done:?}");
    let again = scene.recover(&[]);
    assert!(again.err.contains("0 versions put back"), "{again:?}");

    let daemon = scene.serve();
    let client = scene.client(&daemon).await;
    assert_eq!(marked(&client).await, scene.accounts[..2]);
    let agreed = scene.command(&daemon, &["test", "--all", "--reason", "INC-7"]);
    assert_eq!(agreed["accounts"], 2);
    scene.recovered(&client).await;
    // The quarantine's changes, which have waited, follow by themselves.
    let ended = client.await_quarantine(&quarantine).await;
    assert_eq!(ended["counts"]["succeeded"], 3, "{ended}");
    scene.proves_all(&client).await;
    assert_eq!(daemon.stop(), 0);
    let daemon = scene.serve();
    let client = scene.client(&daemon).await;
    assert_eq!(shown(&client).await["regressed"], false, "found twice");
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_journal_every_account_waits_and_what_is_lost_is_reset() {
    let scene = Scene::new(false, &[]).await;
    let copy = scene.copy();
    let daemon = scene.serve();
    let client = scene.client(&daemon).await;
    scene.rotate(&client, 0).await;
    // The start has raised the generation, and so does a tick: the copy is behind.
    assert_eq!(daemon.stop(), 0);
    scene.restore(&copy);
    let daemon = scene.serve();
    let client = scene.client(&daemon).await;
    assert_eq!(marked(&client).await, scene.accounts);
    assert_eq!(shown(&client).await["regressions"][0]["named"], false);
    let nobody = scene.run(&["regression", "test", "--reason", "INC-8"]);
    assert_eq!(nobody.code, Some(2), "nobody is all by being left out");
    scene.command(&daemon, &["test", "--all", "--reason", "INC-8"]);
    let lost = scene.accounts[0];
    let last = until("two of three are known again", async || {
        let found = client.native("/api/v1/regression/accounts").await;
        let found = found.expect(200).json()["items"].clone();
        let is_last = found.as_array().unwrap().len() == 1 && found[0]["consent"] == "none";
        is_last.then(|| found[0].clone())
    })
    .await;
    assert_eq!(last["account_id"], lost);
    assert_eq!(last["last_test"], "out_of_sync");
    assert_eq!(scene.slapd.failures(NAMES[0]), 1, "one test, one login");
    let id = lost.to_string();
    scene.command(&daemon, &["reset", &id, "--reason", "INC-8"]);
    scene.recovered(&client).await;
    scene.proves_all(&client).await;
    let audit = client
        .native("/api/v1/audit?limit=200")
        .await
        .expect(200)
        .body;
    for event in [
        "store.regressed",
        "account.test_agreed",
        "account.reset_agreed",
        "account.recovery_ordered",
        "account.recovered",
        "store.recovered",
    ] {
        assert!(audit.contains(event), "{event} is not on record: {audit}");
    }
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_database_or_a_damaged_echo_is_refused_until_it_is_accepted() {
    let scene = Scene::new(true, &[]).await;
    let echo = scene.escrow.file("echo");
    let whole = std::fs::read_to_string(&echo).unwrap();
    let said: Value = serde_json::from_str(&whole).unwrap();
    let store = said["store"].as_str().unwrap();
    let stranger = whole.replace(store, "another");
    let journal = scene.escrow.file("journal");
    let lines = std::fs::read_to_string(&journal).unwrap();
    let strangers = format!("{lines}{{\"at\":\"2026-01-01T00:00:00Z\",\"store\":\"another\"}}\n");
    for (file, damage) in [
        (&echo, stranger.as_str()),
        (&echo, "{\"store\":"),
        (&echo, ""),
        (&journal, strangers.as_str()),
    ] {
        std::fs::write(file, damage).unwrap();
        let refused = scene.refusal();
        let cure = "keywheel regression accept";
        assert!(refused.err.contains(cure), "{damage}: {refused:?}");
        assert_eq!(std::fs::read_to_string(file).unwrap(), damage, "untouched");
        if file == &echo {
            let doctor = scene.run(&["doctor"]);
            assert_eq!(doctor.code, Some(1), "{doctor:?}");
            assert!(doctor.out.contains(cure), "{doctor:?}");
        }
        let accepted = scene.run(&["regression", "accept"]);
        assert_eq!(accepted.code, Some(0), "{accepted:?}");
        let daemon = scene.serve();
        let client = scene.client(&daemon).await;
        assert_eq!(shown(&client).await["regressed"], false);
        let open = scene.run(&["regression", "accept"]);
        assert_eq!(open.code, Some(1), "the service runs: {open:?}");
        assert_eq!(daemon.stop(), 0);
    }
    // A missing echo is a new node's.
    std::fs::remove_file(&echo).unwrap();
    assert_eq!(scene.serve().stop(), 0);
    assert!(echo.exists());
    // One that was replaced on purpose by its older self is no regression.
    let mut ahead = said.clone();
    ahead["generation"] = json!(1_000_000);
    std::fs::write(&echo, ahead.to_string()).unwrap();
    let doctor = scene.run(&["doctor"]);
    assert!(doctor.out.contains("older than it was"), "{doctor:?}");
    assert_eq!(scene.run(&["regression", "accept"]).code, Some(0));
    let daemon = scene.serve();
    let client = scene.client(&daemon).await;
    assert_eq!(shown(&client).await["regressed"], false);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_echo_that_cannot_be_written_is_said_and_stops_nothing() {
    let home = Home::new();
    let nowhere = home.path().join("none/echo").display().to_string();
    let daemon = home.serve_with(&[
        ("KEYWHEEL_ESCROW__ECHO", nowhere.as_str()),
        ("KEYWHEEL_SCHEDULER__GENERATION_EVERY_S", "1"),
    ]);
    daemon.await_said("is not noticed");
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    let failing = r#"keywheel_scheduler_ticks_total{outcome="failure",tick="generation"}"#;
    until("a tick has said so", async || {
        let page = client.nobody("/metrics").await.expect(200).body;
        let line = page.lines().find(|line| line.starts_with(failing))?;
        (!line.ends_with(" 0")).then_some(())
    })
    .await;
    std::fs::create_dir(home.path().join("none")).unwrap();
    until("it is written once it can be", async || {
        home.path().join("none/echo").exists().then_some(())
    })
    .await;
    assert_eq!(daemon.stop(), 0);
}

/// Makes a running service's database forget an account's last version, and this node's last beats.
async fn forget(url: &str, account: i64, beats: i64) {
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(url).await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    for statement in [
        "DELETE FROM rotations WHERE account_id = $1 AND version > 1",
        "DELETE FROM credential_versions WHERE account_id = $1 AND version > 1",
        "UPDATE accounts SET current_version = 1, last_version = 1, in_doubt = 0 WHERE id = $1",
    ] {
        let done = sqlx::query(statement).bind(account).execute(&mut *tx).await;
        assert!(done.unwrap().rows_affected() > 0, "{statement}");
    }
    sqlx::query("UPDATE nodes SET beat = beat - $1 WHERE state = 'alive'")
        .bind(beats)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_lost_commits_is_found_while_the_service_runs() {
    let database = Database::new(Backend::Postgres).await;
    let more = [
        ("KEYWHEEL_DATABASE__URL", database.url.clone()),
        ("KEYWHEEL_DATABASE__AUTO_MIGRATE", "true".to_owned()),
        ("KEYWHEEL_QUEUE__BEAT_EVERY_S", "1".to_owned()),
        ("KEYWHEEL_QUEUE__DEAD_AFTER_S", "5".to_owned()),
    ];
    let mut scene = Scene::new(true, &more).await;
    let copy = database.copy();
    let daemon = scene.serve();
    let client = scene.client(&daemon).await;
    scene.rotate(&client, 0).await;
    scene.rotate(&client, 1).await;
    forget(&database.url, scene.accounts[1], 3).await;
    daemon.await_said("has come back older than it was");
    assert_eq!(marked(&client).await, [scene.accounts[1]]);
    let recovered = scene.recover(&[]);
    assert!(
        recovered.err.contains("1 versions put back"),
        "{recovered:?}"
    );
    scene.command(&daemon, &["test", "--all", "--reason", "INC-9"]);
    scene.recovered(&client).await;
    scene.proves_all(&client).await;
    assert_eq!(daemon.stop(), 0);
    // The same at the start, with a server's older database.
    let url = scene.settings.iter_mut();
    for (name, value) in url {
        if *name == "KEYWHEEL_DATABASE__URL" {
            value.clone_from(&copy);
        }
    }
    let daemon = scene.serve();
    let client = scene.client(&daemon).await;
    assert_eq!(marked(&client).await, scene.accounts[..2]);
    let recovered = scene.recover(&[]);
    assert!(
        recovered.err.contains("2 versions put back"),
        "{recovered:?}"
    );
    scene.command(&daemon, &["test", "--all", "--reason", "INC-9"]);
    scene.recovered(&client).await;
    scene.proves_all(&client).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_that_is_killed_goes_on_and_leaves_nothing_unmarked() {
    let scene = Scene::new(true, &[]).await;
    let copy = scene.copy();
    let daemon = scene.serve();
    let client = scene.client(&daemon).await;
    for nth in [0, 1, 2, 0, 1, 2] {
        scene.rotate(&client, nth).await;
    }
    assert_eq!(daemon.stop(), 0);
    scene.restore(&copy);
    // Nobody has started the service: the recovery itself marks what it touches.
    let (journal, identity) = (
        scene.escrow.path("journal"),
        scene.escrow.path("escrow.key"),
    );
    let arguments = ["recover", &journal, "--identity", &identity, "--into-store"];
    let (mut killed, mut wait_ms) = (0, 5);
    while scene
        .home
        .killed_after(&arguments, &scene.variables(), wait_ms)
    {
        killed += 1;
        wait_ms += 15;
        let database = super::database(&scene.home.data("keywheel.db")).await;
        let (unmarked,): (i64,) = sqlx::query_as(
            "SELECT COUNT(*) FROM credential_versions v WHERE v.version > 1 AND NOT EXISTS (
                 SELECT 1 FROM regressed_accounts g WHERE g.account_id = v.account_id)",
        )
        .fetch_one(&database)
        .await
        .unwrap();
        database.close().await;
        assert_eq!(unmarked, 0, "after {wait_ms} ms");
    }
    assert!(killed > 2, "only {killed} were killed");
    let again = scene.recover(&[]);
    assert!(again.err.contains("0 versions put back"), "{again:?}");
    let daemon = scene.serve();
    let client = scene.client(&daemon).await;
    assert_eq!(marked(&client).await, scene.accounts);
    scene.command(&daemon, &["test", "--all", "--reason", "INC-10"]);
    scene.recovered(&client).await;
    scene.proves_all(&client).await;
    assert_eq!(daemon.stop(), 0);
}
