//! Platforms that are definitions: offered, refused at the start, and used on a device that
//! `tests/fleet/device.py` plays behind a real sshd.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::daemon::{Daemon, Home};
use crate::support::fleet::Sshd;

const SHIPPED: &str = include_str!("../../../config/platforms/cisco_ios.toml");
/// The device's enable secret, as `tests/fleet/device.py` knows it.
const ENABLE: &str = "Enable-kw-vLm9";
const FUNCTIONAL: &str = "Functional-2wX-host";
/// The operator's own platform.
const MINE: i64 = 10_001;

/// A definition of an operator's own: the shipped one with less patience, and with a rule for
/// passwords that is narrower than the default rule.
fn mine() -> String {
    SHIPPED
        .replace("\"cisco_ios\"", "\"my_switch\"")
        .replace("platform_id = 1002", "platform_id = 10001")
        .replace("\"Cisco IOS\"", "\"My switch\"")
        .replace("step_s = 10, total_s = 60", "step_s = 3, total_s = 20")
        .replace("max = 64, forbid = '", "max = 16, forbid = '[+=,]|")
}

/// Puts definitions into a folder of their own; the setting that names it.
fn installed(home: &Home, files: &[(&str, &str)]) -> (&'static str, String) {
    let folder = home.path().join("mine");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let folder = folder.to_str().unwrap().to_owned();
    ("KEYWHEEL_CONNECTORS__PLATFORMS_DIR", folder)
}

/// A service, a device with accounts `kw_u0` and so on, and its system.
struct Scene {
    sshd: Sshd,
    home: Home,
    daemon: Daemon,
    client: Client,
    system: i64,
}

impl Scene {
    async fn new() -> Self {
        let sshd = Sshd::start_with(FUNCTIONAL, &[("DEVICE", "1"), ("SUDO", "none")]);
        let home = Home::new();
        let (name, folder) = installed(&home, &[("my_switch.toml", &mine())]);
        let daemon = home.serve_with(&[(name, &folder), ("KEYWHEEL_QUEUE__RETRY_FIRST_S", "1")]);
        let client = Client::signed_in(&daemon.url, &home.keys()).await;
        let functional = json!({
            "platform_id": MINE, "account_name": "kw_func", "password": FUNCTIONAL,
            "enable_secret": ENABLE,
        });
        let made = client
            .order("/api/v1/functional-accounts", &functional)
            .await;
        let functional = made.expect(201).id("id");
        let system = sshd.onboard_device(&client, MINE, functional).await;
        Self {
            sshd,
            home,
            daemon,
            client,
            system,
        }
    }

    async fn account(&self) -> i64 {
        self.sshd
            .onboard_account(&self.client, self.system, "kw_u0")
            .await
    }

    /// Gives the device a trouble; an empty one takes it away.
    fn trouble(&self, word: &str) {
        self.sshd.run(&format!("echo {word} >/etc/keywheel/device"));
    }

    /// Whether what the device would know after a restart is what it knows now.
    fn is_saved(&self, login: &str) -> bool {
        let field =
            |file| format!("grep ^{login}: {file} 2>/dev/null | cut -d: -f2 || true; echo .");
        let now = self.sshd.run(&field("/etc/shadow"));
        self.sshd.run(&field("/etc/keywheel/startup")) == now
    }

    async fn test(&self, account: i64) -> Value {
        let path = format!("ManagedAccounts/{account}/Credentials/Test");
        self.client.post(&path, &json!({})).await.expect(200).json()
    }

    async fn set(&self, account: i64, password: &str) -> Answer {
        let path = format!("ManagedAccounts/{account}/Credentials");
        let body = json!({"Password": password, "UpdateSystem": true});
        self.client.put(&path, &body).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_of_an_operators_own_is_offered_changed_tested_and_saved() {
    let scene = Scene::new().await;
    let client = &scene.client;
    let listed = client.get("Platforms").await.expect(200).json();
    let listed = listed.as_array().unwrap();
    let found = |id| listed.iter().find(|one| one["PlatformID"] == json!(id));
    let own = found(MINE).unwrap();
    assert_eq!(
        (&own["Name"], &own["DSSFlag"]),
        (&json!("My switch"), &json!(false))
    );
    assert!(
        [2, 32, 1002, 1003, 1004, 1005]
            .map(found)
            .iter()
            .all(Option::is_some)
    );
    let account = scene.account().await;
    let path = format!("ManagedAccounts/{account}/Credentials/Change");
    let now = json!({"Queue": false});
    for _ in 0..2 {
        client.post(&path, &now).await.expect(204);
        let current = client.reveal(account).await;
        assert!(current.len() == 16 && !current.contains(['+', '=', ',']));
        assert!(scene.sshd.accepts("kw_u0", &current));
        assert!(scene.is_saved("kw_u0"));
        assert_eq!(scene.test(account).await, json!({"Success": true}));
    }
    assert!(!scene.sshd.accepts("kw_u0", &Sshd::initial("kw_u0")));
    // Without its enable secret the functional account may change nobody.
    client
        .edit(
            "/api/v1/functional-accounts/1",
            &json!({"enable_secret": null}),
        )
        .await;
    let current = client.reveal(account).await;
    let refused = client.post(&path, &now).await;
    assert!(refused.status >= 400, "{refused:?}");
    assert!(scene.sshd.accepts("kw_u0", &current));
    let page = client.native("/metrics").await.expect(200).body;
    assert!(
        page.contains("keywheel_job_attempts_total{connector=\"dialogue\",kind=\"rotate\",outcome=\"success\"} 2"),
        "{page}"
    );
    assert_eq!(scene.daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_the_device_refuses_leaves_the_current_one() {
    let scene = Scene::new().await;
    let account = scene.account().await;
    // Seven characters: the definition knows, and nobody is asked.
    let refused = scene.set(account, "Sev-en7").await.expect(400);
    assert!(refused.body.contains("8 to 16 characters"), "{refused:?}");
    // Nine: the device wants ten.
    let refused = scene.set(account, "Nine-vLm9").await;
    assert!(refused.status >= 400, "{refused:?}");
    let location = refused.location.expect("a Location");
    let failed = scene.client.native(&location).await.expect(200).json();
    assert_eq!(failed["state"], "failed", "{failed}");
    assert_eq!(failed["attempts"][0]["class"], "refused", "{failed}");
    let initial = Sshd::initial("kw_u0");
    assert_eq!(scene.client.reveal(account).await, initial);
    assert!(scene.sshd.accepts("kw_u0", &initial));
    assert_eq!(scene.test(account).await, json!({"Success": true}));
    assert_eq!(scene.daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_hangs_is_asked_which_password_it_holds() {
    let scene = Scene::new().await;
    let account = scene.account().await;
    // It sets, and never answers.
    scene.trouble("late");
    let path = format!("ManagedAccounts/{account}/Credentials/Change");
    let ordered = scene.client.post(&path, &json!({"Queue": true})).await;
    let location = ordered.expect(204).location.expect("a Location");
    scene.client.await_job(&location, &["succeeded"]).await;
    let job = scene.client.native(&location).await.expect(200).body;
    assert!(job.contains("probe"), "{job}");
    let current = scene.client.reveal(account).await;
    assert_ne!(current, Sshd::initial("kw_u0"));
    assert!(scene.sshd.accepts("kw_u0", &current));
    assert!(!scene.sshd.accepts("kw_u0", &Sshd::initial("kw_u0")));
    assert_eq!(scene.daemon.stop(), 0);
    for log in scene.home.logs() {
        let log = std::fs::read_to_string(log).unwrap();
        assert!(!log.contains(ENABLE) && !log.contains(&current));
    }
}

/// What is told of this folder: by the start, by `config validate`, by `doctor`.
fn told(files: &[(&str, &str)], fault: &str) {
    let home = Home::new();
    let (name, folder) = installed(&home, files);
    let setting = [(name, folder.as_str())];
    let started = home.run_with(&["serve", "--listen", "127.0.0.1:0"], &setting);
    assert_eq!(started.code, Some(3), "{started:?}");
    assert!(started.err.contains(fault), "{fault}: {started:?}");
    assert!(started.err.contains("take the file out of"), "{started:?}");
    assert!(!Path::new(&home.data("keywheel.db")).exists());
    let validated = home.run_with(&["config", "validate"], &setting);
    assert_eq!(validated.code, Some(3), "{validated:?}");
    assert!(validated.err.contains(fault), "{validated:?}");
    let examined = home.run_with(&["doctor", "--output", "json"], &setting);
    assert_eq!(examined.code, Some(1), "{examined:?}");
    assert!(examined.out.contains(fault), "{examined:?}");
}

#[test]
fn a_bad_definition_is_told_by_file_and_line_and_nothing_starts() {
    let bad = mine().replace("step_s = 3, ", "step_s = 0, ");
    told(
        &[("bad.toml", &bad)],
        "bad.toml:11:21: step_s must be from 1 to 300",
    );
}

#[test]
fn two_definitions_with_one_number_are_a_fault_that_names_both() {
    let other = mine().replace("\"my_switch\"", "\"other\"");
    let files = [("a.toml", mine()), ("b.toml", other)];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    told(&files, "b.toml:5:1: the platform_id 10001 is taken by");
    let ours = mine().replace("10001", "1002");
    told(
        &[("ours.toml", &ours)],
        "ours.toml:5:1: platform_id must be from 10000 to 19999",
    );
}
