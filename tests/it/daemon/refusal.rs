//! What the service refuses to start on. It says what to do, and changes nothing.

use crate::support::daemon::Home;

use super::tamper;

/// A folder in which a service has run.
fn used() -> Home {
    let home = Home::new();
    assert_eq!(home.serve().stop(), 0);
    home
}

/// Everything in the data folder but the locks.
fn contents(home: &Home) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(home.path().join("keywheel-data")).unwrap();
    let mut found: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none_or(|ending| ending != "lock"))
        .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap()))
        .collect();
    found.sort();
    found
}

/// Refuses with these words; the files stay as they are.
#[track_caller]
fn refuses(home: &Home, words: &[&str]) {
    let before = contents(home);
    let refused = home.refusal().err;
    for words in words {
        assert!(refused.contains(words), "no `{words}` in: {refused}");
    }
    let after = contents(home);
    let names = |all: &[(String, Vec<u8>)]| all.iter().map(|one| one.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after));
    assert!(before == after, "a refused start changed a file");
}

#[test]
fn a_database_whose_key_is_gone_gets_no_new_one() {
    let home = used();
    let kek = home.data("kek.key");
    std::fs::rename(&kek, home.path().join("elsewhere")).unwrap();
    refuses(&home, &["kek.key does not exist", "No new key was made"]);
    assert!(!kek.exists());
    // And with the key back, everything is as before.
    std::fs::rename(home.path().join("elsewhere"), &kek).unwrap();
    assert_eq!(home.serve().stop(), 0);
}

#[test]
fn a_wrong_key_names_the_right_one() {
    let home = used();
    let other = used();
    let right = std::fs::read(home.data("kek.key")).unwrap();
    std::fs::copy(other.data("kek.key"), home.data("kek.key")).unwrap();
    refuses(&home, &["point keyring.kek_file to the key file of KEK"]);
    std::fs::write(home.data("kek.key"), &right[..31]).unwrap();
    refuses(&home, &["holds 31 bytes"]);
    std::fs::write(home.data("kek.key"), right).unwrap();
    assert_eq!(home.serve().stop(), 0);
}

#[test]
fn a_key_that_everybody_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let home = used();
    let everybody = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(home.data("kek.key"), everybody).unwrap();
    refuses(&home, &["chmod 0600"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_row_of_the_key_ring_is_refused() {
    let cases = [
        (
            "UPDATE data_keys SET wrapped = zeroblob(61)",
            "its row in data_keys was altered",
        ),
        ("UPDATE data_keys SET wrapped = 'text'", "data_keys"),
        ("UPDATE data_keys SET seals = -1", "of data_keys is corrupt"),
        ("UPDATE data_keys SET retired_at = 1", "no active data key"),
        (
            "UPDATE data_keys SET id = id - 1",
            "its row in data_keys was altered",
        ),
        ("DELETE FROM data_keys", "data_keys has no key"),
        (
            "UPDATE store_identity SET probe = zeroblob(80)",
            "never sealed",
        ),
        ("UPDATE store_identity SET probe = NULL", "has no probe"),
        (
            "UPDATE store_identity SET uuid = 'another'",
            "belongs to another store",
        ),
        ("DELETE FROM store_identity", "store_identity has no row"),
    ];
    let whole = used();
    let keep = whole.path().join("whole.db");
    std::fs::copy(whole.data("keywheel.db"), &keep).unwrap();
    for (statement, words) in cases {
        std::fs::copy(&keep, whole.data("keywheel.db")).unwrap();
        tamper(&whole.data("keywheel.db"), statement).await;
        let refused = whole.refusal().err;
        assert!(refused.contains(words), "{statement}: {refused}");
        assert!(
            refused.to_lowercase().contains("restore") || refused.contains("make one"),
            "{statement}: no advice in {refused}"
        );
    }
    std::fs::copy(&keep, whole.data("keywheel.db")).unwrap();
    assert_eq!(whole.serve().stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_left_alone() {
    let home = used();
    tamper(
        &home.data("keywheel.db"),
        "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum,
             execution_time)
         VALUES (9999, 'later', CURRENT_TIMESTAMP, 1, x'00', 1)",
    )
    .await;
    refuses(
        &home,
        &["schema 9999, newer than", "Run the release that wrote it"],
    );
    assert_eq!(home.run(&["migrate", "up"]).code, Some(1));
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let home = used();
    std::fs::write(home.data("keywheel.db"), [b'x'; 8_192]).unwrap();
    refuses(&home, &["keywheel.db", "not a database"]);
}

#[test]
fn two_services_never_share_a_folder() {
    let home = Home::new();
    let first = home.serve();
    let refused = home.refusal().err;
    assert!(
        refused.contains("another keywheel uses these files"),
        "{refused}"
    );
    assert_eq!(first.stop(), 0);
    assert_eq!(home.serve().stop(), 0);
}

#[test]
fn an_address_in_use_is_named_before_anything_is_made() {
    let home = Home::new();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    let refused = home.run(&["serve", "--listen", &address]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains(&address), "{refused:?}");
    assert!(!home.path().join("keywheel-data").exists());
}
