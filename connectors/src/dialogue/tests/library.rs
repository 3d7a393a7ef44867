//! What a library of definitions takes, and what it offers.

use super::*;

#[test]
fn shipped_definitions_have_no_faults_and_keep_their_ids() {
    let mut library = Library::shipped().unwrap_or_else(|faults| panic!("{faults:#?}"));
    let ids: Vec<_> = library.ids().map(ToOwned::to_owned).collect();
    assert_eq!(ids, ["cisco_ios", "junos", "linux", "mikrotik"]);
    let taken = library.add("mine.toml", &offered().replace("good", "junos"));
    let text = taken.unwrap_err()[0].to_string();
    assert_eq!(
        text,
        "mine.toml:2:1: the id junos is taken by config/platforms/junos.toml"
    );
    let mine = offered();
    library.add("mine.toml", &mine).unwrap();
    let good = library.find("good").unwrap();
    assert_eq!((good.id(), good.text()), ("good", mine.as_str()));
    assert_eq!(
        (good.platform_id(), good.name(), good.port()),
        (Some(10_001), "Good", 22)
    );
    assert!(!good.takes_enable());
    assert!(library.find("cisco_ios").unwrap().takes_enable());
    assert!(
        library.add("mine.toml", &mine).is_ok(),
        "the same text again"
    );
}

#[test]
fn every_platform_has_a_number_of_its_own() {
    let mut library = Library::shipped().unwrap();
    let told = |library: &mut Library, text: &str| {
        let faults = library.add("mine.toml", text).unwrap_err();
        faults.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for (old, new, fault) in [
        ("platform_id = 10001\n", "", "1:1: platform_id is missing"),
        (
            "10001",
            "1009",
            "3:1: platform_id must be from 10000 to 19999",
        ),
        ("10001", "2", "3:15: platform_id must be from 1002 to 19999"),
        ("name = \"Good\"\n", "", "3:1: name is missing"),
        (
            "\"Good\"",
            "\" \"",
            "4:8: name must have 1 to 64 characters",
        ),
        (
            "\"Good\"",
            "\"Good\"\nport = 0",
            "5:8: port must be from 1 to 65535",
        ),
    ] {
        let seen = told(&mut library, &offered().replace(old, new));
        let [one] = &seen[..] else { panic!("{seen:?}") };
        assert!(one.starts_with(&format!("mine.toml:{fault}")), "{one}");
    }
    library.add("mine.toml", &offered()).unwrap();
    let other = offered().replace("\"good\"", "\"other\"");
    let taken = library.add("other.toml", &other).unwrap_err();
    assert_eq!(
        taken[0].to_string(),
        "other.toml:3:1: the platform_id 10001 is taken by mine.toml"
    );
    let open = other.replace("10001", "10002\nport = 2222");
    assert_eq!(library.add("other.toml", &open).unwrap().port(), 2_222);
}

#[test]
fn a_folder_is_read_whole_and_its_faults_name_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    put("a.toml", &offered());
    put("notes.txt", "no definition");
    let mut library = Library::shipped().unwrap();
    library.add_folder(folder.path()).unwrap();
    assert!(library.find("good").is_some());
    put("b.toml", &offered().replace("min = 8", "min = 7"));
    put("c.toml", "schema = 1\n");
    let faults = Library::shipped()
        .unwrap()
        .add_folder(folder.path())
        .unwrap_err();
    let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(faults.len(), 2, "{faults:#?}");
    assert!(
        faults[0].contains("b.toml:2:1: the id good is taken by") && faults[0].ends_with("a.toml"),
        "{faults:#?}"
    );
    assert!(
        faults[1].contains("c.toml:1:1: missing field"),
        "{faults:#?}"
    );
    assert!(
        Library::default()
            .add_folder(&folder.path().join("none"))
            .is_ok()
    );
}

#[test]
fn passwords_are_held_against_the_platforms_rule() {
    let library = Library::shipped().unwrap();
    let admits = |id: &str, login: &str, password: &str| {
        let account = Account::named(Login::parse(login).unwrap(), None);
        let dialogue = library.find(id).unwrap();
        dialogue
            .admit(&account, Some(&Credential::from(password)))
            .is_ok()
    };
    let rows = [
        ("cisco_ios", "bob", "Right-vLm9", true),
        ("cisco_ios", "bob", "Short-9", false),
        ("cisco_ios", "bob", "Help?me-vLm9", false),
        ("cisco_ios", "bob", "two words-vLm9", false),
        ("mikrotik", "bob", "Quote\"vLm9", false),
        ("mikrotik", "bob", "Dollar$vLm9", false),
        ("linux", "bob", "two words: fine", true),
        ("linux", "bob", "line\nbreak-vLm9", false),
        ("linux", "bob", "Ümlaut-vLm9", false),
        ("linux", "bob secret x", "Right-vLm9", false),
        ("linux", "-rf", "Right-vLm9", false),
    ];
    for (id, login, password, right) in rows {
        assert_eq!(
            admits(id, login, password),
            right,
            "{id} {login} {password}"
        );
    }
}
