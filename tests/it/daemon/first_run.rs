//! The first start, and the second.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use keywheel::store::Backend;
use serde_json::json;

use crate::support::client::Client;
use crate::support::daemon::Home;
use crate::support::database::Database;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_without_configuration_works() {
    let home = Home::new();
    let daemon = home.serve();
    assert_eq!(mode(&home.path().join("keywheel-data")), 0o700);
    for name in [
        "keywheel.db",
        "keywheel.db-wal",
        "kek.key",
        "admin-credentials.toml",
    ] {
        assert_eq!(mode(&home.data(name)), 0o600, "{name}");
    }
    assert_eq!(std::fs::read(home.data("kek.key")).unwrap().len(), 32);
    let credentials = std::fs::read_to_string(home.data("admin-credentials.toml")).unwrap();
    assert!(credentials.contains(&format!("url = \"{}\"", daemon.url)));
    let keys = home.keys();
    let client = Client::signed_in(&daemon.url, &keys).await;
    client.native("/api/v1/users").await.expect(200);
    let held = client.native("/api/v1/keys").await.expect(200).json();
    let held = held["items"].as_array().unwrap();
    let kinds: Vec<_> = held.iter().map(|key| &key["kind"]).collect();
    assert_eq!(kinds, ["native", "passwordsafe", "oauth", "itglue"]);
    let reach = (&held[3]["password_access"], &held[3]["organizations"]);
    assert_eq!(reach, (&json!(true), &json!([])));
    let oauth = held[2]["client_id"].as_str().unwrap();
    assert!(credentials.contains(&format!("oauth_client_id = \"{oauth}\"")));
    client.nobody("/readyz").await.expect(200);
    let said = daemon.said();
    assert!(said.contains("admin-credentials.toml"), "{said}");
    assert!(!said.contains(&keys.0) && !said.contains(&keys.1));
    let (_, secret) = credentials.split_once("oauth_client_secret = \"").unwrap();
    let (secret, _) = secret.split_once('"').unwrap();
    assert_eq!(secret.len(), 48);
    assert!(!said.contains(secret));
    let (_, itglue) = credentials.split_once("itglue_key = \"").unwrap();
    let (itglue, _) = itglue.split_once('"').unwrap();
    assert!(itglue.starts_with("ITG.") && itglue.len() == 64);
    assert!(!said.contains(itglue));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let core: Vec<_> = core.unwrap().split_whitespace().skip(4).take(2).collect();
    assert_eq!(core, ["0", "0"], "core dumps hold secrets");
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_keeps_every_key() {
    let home = Home::new();
    assert_eq!(home.serve().stop(), 0);
    let files = ["kek.key", "admin-credentials.toml"];
    let before = files.map(|name| std::fs::read(home.data(name)).unwrap());
    let daemon = home.serve();
    assert_eq!(
        files.map(|name| std::fs::read(home.data(name)).unwrap()),
        before
    );
    Client::signed_in(&daemon.url, &home.keys()).await;
    assert!(!daemon.said().contains("admin-credentials"));
    assert_eq!(daemon.stop(), 0);
    let database = super::database(&home.data("keywheel.db")).await;
    let (keys, users): (i64, i64) =
        sqlx::query_as("SELECT (SELECT COUNT(*) FROM data_keys), (SELECT COUNT(*) FROM users)")
            .fetch_one(&database)
            .await
            .unwrap();
    assert_eq!((keys, users), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_was_cut_short_is_made_good() {
    let home = Home::new();
    let folder = home.path().join("keywheel-data");
    std::fs::create_dir(&folder).unwrap();
    // As it looks if the power fails between the files and the commit.
    for (name, content) in [
        ("kek.key", &[7; 32][..]),
        ("admin-credentials.toml", b"api_key = \"kw_live_lost\"\n"),
        ("admin-credentials.toml.new", b"half"),
    ] {
        std::fs::write(folder.join(name), content).unwrap();
        let owner = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(folder.join(name), owner).unwrap();
    }
    let daemon = home.serve();
    assert_eq!(std::fs::read(home.data("kek.key")).unwrap(), [7; 32]);
    Client::signed_in(&daemon.url, &home.keys()).await;
    let aside = std::fs::read_dir(&folder).unwrap().flatten().find(|entry| {
        let name = entry.file_name();
        name.to_str()
            .unwrap()
            .starts_with("admin-credentials.toml.before-")
    });
    let aside = std::fs::read_to_string(aside.unwrap().path()).unwrap();
    assert!(aside.contains("kw_live_lost"));
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_waits_for_its_migration_and_then_works() {
    let home = Home::new();
    let database = Database::new(Backend::Postgres).await;
    let url = [("KEYWHEEL_DATABASE__URL", database.url.as_str())];
    let refused = home.run_with(&["serve", "--listen", "127.0.0.1:0"], &url);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("keywheel migrate up"), "{refused:?}");
    assert!(!home.data("kek.key").exists());
    assert_eq!(home.run_with(&["migrate", "check"], &url).code, Some(4));
    assert_eq!(home.run_with(&["migrate", "up"], &url).code, Some(0));
    assert_eq!(home.run_with(&["migrate", "check"], &url).code, Some(0));
    let daemon = home.serve_with(&url);
    Client::signed_in(&daemon.url, &home.keys()).await;
    assert_eq!(daemon.stop(), 0);
    assert_eq!(home.serve_with(&url).stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_migrates_itself_where_that_is_wanted() {
    let home = Home::new();
    let database = Database::new(Backend::Postgres).await;
    let daemon = home.serve_with(&[
        ("KEYWHEEL_DATABASE__URL", database.url.as_str()),
        ("KEYWHEEL_DATABASE__AUTO_MIGRATE", "true"),
    ]);
    assert_eq!(daemon.stop(), 0);
    // A node without the first one's key file gets no key of its own.
    let other = Home::new();
    let url = [("KEYWHEEL_DATABASE__URL", database.url.as_str())];
    let refused = other.run_with(&["serve", "--listen", "127.0.0.1:0"], &url);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("No new key was made"), "{refused:?}");
    assert!(!other.data("kek.key").exists());
}
