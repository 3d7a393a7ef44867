//! Whatever stands in a file of settings and in the environment.

use proptest::prelude::*;

use super::*;
use crate::fuzz::{canary, check, mutant_texts, mutants, share, text};

const TOKENS: &[&str] = &[
    "[database]",
    "[server]",
    "url = \"",
    "listen = \"127.0.0.1:8443\"",
    "= -1",
    "= true",
    "= 1e9",
    "[[",
    "'''",
    "=",
];

#[test]
fn a_file_of_settings_is_read_whole_or_refused_without_its_password() {
    let world = World::new();
    fs::create_dir_all(world.path("etc")).unwrap();
    let files = canary().prop_flat_map(|canary| {
        let seeds = vec![
            include_bytes!("../../../config/keywheel.toml").to_vec(),
            format!("[database]\nurl = \"postgres://kw:{canary}@db/kw\"\n[queue]\npoll_ms = 500\n")
                .into_bytes(),
            format!(
                "[server]\nlisten = \"127.0.0.1:1\"\n[database]\nurl = \"mysql://kw:{canary}@db\"\n"
            )
            .into_bytes(),
        ];
        (Just(canary), mutants(seeds, TOKENS))
    });
    share("config::load of files", 100, &files, |(canary, file)| {
        let path = world.path("etc/keywheel.toml");
        fs::write(&path, &file).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        // A password that the damage has put into another setting is that setting's value.
        let text = String::from_utf8_lossy(&file);
        let in_place = ["postgres", "mysql"]
            .map(|scheme| format!("\nurl = \"{scheme}://kw:{canary}@"))
            .iter()
            .any(|line| text.contains(line))
            && text.matches(&canary).count() == 1;
        match load(&world.inputs) {
            Ok(loaded) => {
                let shown = format!("{:?} {:?}", loaded.shown(), loaded.settings);
                prop_assert!(!in_place || !shown.contains(&canary), "{}", shown);
            }
            Err(faults) => {
                prop_assert!(!faults.0.is_empty());
                prop_assert!(
                    !in_place || !faults.to_string().contains(&canary),
                    "{}",
                    faults
                );
            }
        }
        Ok(())
    });
}

#[test]
fn a_setting_of_the_environment_is_sound_or_a_fault() {
    let names = prop::sample::select(vec![
        "KEYWHEEL_QUEUE__POLL_MS",
        "KEYWHEEL_SERVER__LISTEN",
        "KEYWHEEL_DATABASE__URL",
        "KEYWHEEL_X",
        "KEYWHEEL_",
    ]);
    let values = prop_oneof![
        text(6),
        mutant_texts(&["127.0.0.1:8443", "500", "true", "[1, 2]"], TOKENS)
    ];
    share(
        "config::load of the environment",
        100,
        &(names, values),
        |(name, value)| {
            let world = World::new().env(name, &value);
            if let Err(faults) = load(&world.inputs) {
                prop_assert!(!faults.0.is_empty());
            }
            Ok(())
        },
    );
}

#[test]
fn the_database_s_password_is_never_shown() {
    let parts = (
        "[a-z]{1,8}",
        text(4),
        canary(),
        text(4),
        "[a-z.]{1,9}(:[0-9]{1,5})?",
    );
    check(
        "config::DatabaseUrl",
        &parts,
        |(user, before, canary, after, host)| {
            let Ok(url) = DatabaseUrl::parse(&format!(
                "postgres://{user}:{before}{canary}{after}@{host}/kw"
            )) else {
                return Ok(());
            };
            let shown = format!("{url:?}");
            prop_assert!(!shown.contains(&canary), "{}", shown);
            Ok(())
        },
    );
}
