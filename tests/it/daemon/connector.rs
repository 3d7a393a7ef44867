//! `keywheel connector`: definitions of platforms on the command line.

use serde_json::Value;

use crate::support::daemon::Home;

const MINE: &str = include_str!("../../../config/platforms/cisco_ios.toml");

fn mine() -> String {
    MINE.replace("\"cisco_ios\"", "\"mine\"")
        .replace("platform_id = 1002", "platform_id = 10001")
}

#[test]
fn definitions_are_checked_one_by_one() {
    let home = Home::new();
    std::fs::write(home.path().join("good.toml"), mine()).unwrap();
    let checked = home.run(&["connector", "check", "good.toml"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert_eq!(checked.out, "OK mine good.toml\n");

    let bad = mine().replace("step_s = 10", "step_s = 0");
    std::fs::write(home.path().join("bad.toml"), bad).unwrap();
    std::fs::write(home.path().join("taken.toml"), format!("{MINE}# mine\n")).unwrap();
    let files = ["bad.toml", "good.toml", "taken.toml", "none.toml"];
    let checked = home.run(&[&["connector", "check"], &files[..]].concat());
    assert_eq!(checked.code, Some(3), "{checked:?}");
    assert_eq!(
        checked.out, "OK mine good.toml\n",
        "the good one is told all the same"
    );
    let lines: Vec<&str> = checked.err.lines().collect();
    let [bad, taken, none] = lines[..] else {
        panic!("{checked:?}")
    };
    let line = mine()
        .lines()
        .position(|line| line.starts_with("limits"))
        .unwrap()
        + 1;
    assert_eq!(
        bad,
        format!("bad.toml:{line}:21: step_s must be from 1 to 300")
    );
    assert!(
        taken.starts_with("taken.toml:") && taken.contains("config/platforms/cisco_ios.toml"),
        "{taken}"
    );
    assert!(
        none.starts_with("none.toml:1:1: could not be read"),
        "{none}"
    );
}

#[test]
fn a_dry_run_prints_the_dialogue_and_no_secret() {
    let home = Home::new();
    std::fs::write(home.path().join("mine.toml"), mine()).unwrap();
    let run = [
        "connector",
        "check",
        "--dry-run",
        "--account",
        "bob",
        "mine.toml",
    ];
    let printed = home.run(&run);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    for line in [
        "OK mine mine.toml",
        "  send     configure terminal",
        "  send     username bob algorithm-type scrypt secret <SENT>   <- commit",
        "  send     write memory",
    ] {
        assert!(
            printed.out.lines().any(|one| one == line),
            "{line}: {printed:?}"
        );
    }
    assert!(!printed.out.contains("{secret"), "{printed:?}");
    let refused = home.run(&["connector", "check", "--dry-run", "mine.toml"]);
    assert_eq!(
        refused.code,
        Some(2),
        "a dry run is about an account: {refused:?}"
    );
}

#[test]
fn the_folder_of_the_settings_is_checked_beside_the_shipped_ones() {
    let home = Home::new();
    let folder = home.path().join("mine");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("mine.toml"), mine()).unwrap();
    let settings = "[connectors]\nplatforms_dir = \"mine\"\n";
    std::fs::write(home.path().join("k.toml"), settings).unwrap();
    let checked = home.run(&["--config", "k.toml", "connector", "check"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert_eq!(
        checked.out,
        "OK cisco_ios\nOK junos\nOK linux\nOK mikrotik\nOK mine\n"
    );
    std::fs::write(folder.join("z.toml"), mine() + "# again\n").unwrap();
    let checked = home.run(&["--config", "k.toml", "connector", "check"]);
    assert_eq!(checked.code, Some(3), "{checked:?}");
    assert!(
        checked.err.contains("mine/z.toml") && checked.err.contains("mine/mine.toml"),
        "{checked:?}"
    );
}

#[test]
fn the_schema_is_printed_as_json() {
    let printed = Home::new().run(&["connector", "schema"]);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let schema: Value = serde_json::from_str(&printed.out).unwrap();
    assert_eq!(schema["properties"]["schema"]["const"], 1);
}
