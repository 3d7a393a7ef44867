//! The commands beside the service.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::daemon::Home;

#[test]
fn init_makes_the_first_files_and_never_overwrites() {
    let home = Home::new();
    let made = home.run(&["init", "--data-dir", "keywheel-data"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let names = ["keywheel.toml", "kek.key", "admin-credentials.toml"];
    for name in names {
        assert!(
            made.out.contains(&format!("made keywheel-data/{name}")),
            "{made:?}"
        );
    }
    let (native, password_safe) = home.keys();
    assert!(!made.out.contains(&native) && !made.err.contains(&password_safe));
    std::fs::write(home.data("keywheel.toml"), "[queue]\nsessions = 5\n").unwrap();
    let before = names.map(|name| std::fs::read(home.data(name)).unwrap());
    let again = home.run(&["init", "--data-dir", "keywheel-data"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(!again.out.contains("made"), "{again:?}");
    assert_eq!(
        names.map(|name| std::fs::read(home.data(name)).unwrap()),
        before
    );
    assert_eq!(home.serve().stop(), 0);
}

#[test]
fn init_writes_settings_that_the_service_takes() {
    let home = Home::new();
    let made = home.run(&["init", "--config", "my.toml", "--data-dir", "elsewhere"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let shown = home.run(&[
        "--config",
        "my.toml",
        "config",
        "show",
        "--origins",
        "--output",
        "json",
    ]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let shown: Value = serde_json::from_str(&shown.out).unwrap();
    let folder = shown
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["key"] == "data.dir")
        .unwrap();
    assert_eq!(
        (folder["value"].as_str(), folder["origin"].as_str()),
        (Some("\"elsewhere\""), Some("my.toml"))
    );
    let printed = home.run(&["init", "--print"]);
    assert!(printed.out.contains("[server]"), "{printed:?}");
    assert!(!home.path().join("keywheel-data").exists());
}

#[test]
fn faulty_settings_are_all_named_and_end_with_3() {
    let home = Home::new();
    let faults = "[server]\nlisten = \"nowhere\"\n[queue]\npoll_ms = 1\nunknown = 2\n";
    std::fs::write(home.path().join("bad.toml"), faults).unwrap();
    for what in [
        &["config", "validate"][..],
        &["serve"],
        &["doctor"],
        &["migrate", "up"],
    ] {
        let refused = home.run(&[&["--config", "bad.toml"], what].concat());
        assert_eq!(refused.code, Some(3), "{refused:?}");
        for key in ["server.listen", "queue.unknown"] {
            assert!(refused.err.contains(key), "{refused:?}");
        }
    }
    assert_eq!(home.run(&["config", "validate"]).code, Some(0));
    assert_eq!(home.run(&["frobnicate"]).code, Some(2));
    assert_eq!(home.run(&["--help"]).code, Some(0));
}

#[test]
fn the_doctor_names_what_is_wrong_and_its_cure() {
    let home = Home::new();
    let nothing = home.run(&["doctor"]);
    assert_eq!(nothing.code, Some(1), "{nothing:?}");
    assert!(nothing.out.contains("keywheel init"), "{nothing:?}");
    let daemon = home.serve();
    let fine = home.run(&["doctor"]);
    assert_eq!(fine.code, Some(0), "{fine:?}");
    for words in [
        "lies beside the database",
        "admin-credentials.toml is still there",
        "opens the sealed probe",
    ] {
        assert!(fine.out.contains(words), "{fine:?}");
    }
    let online = [
        "--config",
        "port.toml",
        "doctor",
        "--online",
        "--output",
        "json",
    ];
    let listen = daemon.url.trim_start_matches("http://");
    let settings = format!("[server]\nlisten = \"{listen}\"\n");
    std::fs::write(home.path().join("port.toml"), settings).unwrap();
    let asked = home.run(&online);
    assert_eq!(asked.code, Some(0), "{asked:?}");
    assert_eq!(daemon.stop(), 0);
    let asked = home.run(&online);
    assert_eq!(asked.code, Some(1), "{asked:?}");
    let checks: Value = serde_json::from_str(&asked.out).unwrap();
    let service = checks
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "service");
    assert_eq!(service.unwrap()["verdict"], "fault");

    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(home.path().join("keywheel-data"), everybody).unwrap();
    let open = home.run(&["doctor"]);
    assert_eq!(open.code, Some(1), "{open:?}");
    assert!(open.out.contains("chmod 0700"), "{open:?}");
    std::fs::remove_file(home.data("kek.key")).unwrap();
    let keyless = home.run(&["doctor"]);
    assert!(keyless.out.contains("No new key was made"), "{keyless:?}");
}

#[test]
fn the_shipped_files_are_printed() {
    let home = Home::new();
    for (what, words) in [
        ("rules", "groups:"),
        ("recording", "groups:"),
        ("dashboard", "panels"),
        ("print", "# TYPE keywheel_build_info gauge"),
    ] {
        let printed = home.run(&["metrics", what]);
        assert!(printed.out.contains(words), "{what}");
    }
}

#[test]
fn migrate_status_makes_no_database() {
    let home = Home::new();
    let status = home.run(&["migrate", "status", "--output", "json"]);
    assert_eq!(status.code, Some(0), "{status:?}");
    let status: Value = serde_json::from_str(&status.out).unwrap();
    assert_eq!(
        (&status["exists"], &status["pending"]),
        (&false.into(), &true.into())
    );
    assert!(!home.path().join("keywheel-data").exists());
    assert_eq!(home.run(&["migrate", "up"]).code, Some(0));
    assert_eq!(home.run(&["migrate", "check"]).code, Some(0));
    assert_eq!(home.serve().stop(), 0);
}
