//! What a definition may hold, and how its faults are told.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::format;
use super::*;
use crate::Login;

/// A definition without a fault; the tests put faults into it.
const GOOD: &str = r#"schema = 1
id = "good"
prompt = '(?m)^[a-z]+> ?\z'
limits = { step_s = 5, total_s = 20, buffer_kib = 16 }
secret = { min = 8, max = 64, forbid = '[^!-~]' }
errors = [ { match = 'no such user', as = "no_account" } ]

[op.set_password]
channel = "shell"
step = [
  { send = "set {account} {secret:new}", commit = true },
  { send = "write", save = true } ]
abort = ["end"]

[op.change_own]
channel = "exec_pty"
run = "passwd"
step = [ { expect = [
  { match = 'Current: ?\z', send = "{secret:old}" },
  { match = 'New: ?\z', send = "{secret:new}", commit = true },
  { exit = 0 } ] } ]
"#;

/// The good definition as a library takes it.
fn offered() -> String {
    let id = "id = \"good\"\n";
    GOOD.replace(id, &format!("{id}platform_id = 10001\nname = \"Good\"\n"))
}

fn faults(text: &str) -> Vec<String> {
    let parsed = Dialogue::parse("x.toml", text);
    let faults = parsed.err().unwrap_or_default();
    faults.iter().map(ToString::to_string).collect()
}

/// The faults after this text was put in that one's place, which must be there.
fn after(old: &str, new: &str) -> Vec<String> {
    assert!(GOOD.contains(old), "{old}");
    faults(&GOOD.replacen(old, new, 1))
}

/// Every row of old text, new text and fault that is not told.
fn all(rows: &[(&str, &str, &str)], told: impl Fn(&[String], &str) -> bool) {
    let missing = rows.iter().filter_map(|(old, new, fault)| {
        let seen = after(old, new);
        let wanted = format!("x.toml:{fault}");
        (!told(&seen, &wanted)).then(|| format!("{new}: {seen:#?} lacks {wanted}"))
    });
    let missing: Vec<_> = missing.collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn a_good_definition_has_no_faults() {
    assert_eq!(faults(GOOD), [""; 0]);
}

/// Old text, new text, and the fault that this makes.
const MEANING: &[(&str, &str, &str)] = &[
    ("schema = 1", "schema = 2", "1:10: schema must be 1"),
    (
        "\"good\"",
        "\"Good\"",
        "2:6: id must be 1 to 32 of a-z, 0-9 and _",
    ),
    (
        "[a-z]+>",
        "[a-z+>",
        "3:10: no regular expression: unclosed character class",
    ),
    (
        "'(?m)^[a-z]+> ?\\z'",
        "'\\w{1,400}>'",
        "3:10: the expression takes more than 1048576 bytes",
    ),
    (
        "'(?m)^[a-z]+> ?\\z'",
        "'x*'",
        "3:10: the expression matches an empty text",
    ),
    (
        "'(?m)^[a-z]+> ?\\z'",
        "'{account}>'",
        "3:10: an expression has no placeholders",
    ),
    (
        "step_s = 5",
        "step_s = 0",
        "4:21: step_s must be from 1 to 300",
    ),
    (
        "step_s = 5",
        "step_s = 21",
        "4:21: step_s must not be above total_s",
    ),
    (
        "buffer_kib = 16",
        "buffer_kib = 257",
        "4:51: buffer_kib must be from 1 to 256",
    ),
    ("min = 8", "min = 65", "5:18: min must not be above max"),
    ("max = 64", "max = 256", "5:27: max must be from 1 to 255"),
    (
        "set {account}",
        "set {user}",
        "11:12: {user} is no placeholder: there are {account}, {secret:new}, {secret:old} and \
         {secret:enable}",
    ),
    (
        "set {account}",
        "set {",
        "11:12: { {secret:new} is no placeholder",
    ),
    (
        "set {account}",
        "set }",
        "11:12: a brace stands alone; write {{ or }} for the character",
    ),
    (
        "{secret:new}\", commit",
        "{secret:old}\", commit",
        "11:12: op.set_password has no {secret:old}",
    ),
    (
        "{secret:new}\", commit",
        "{secret:enable}\", commit",
        "11:12: {secret:enable} may only answer an arm that asks for it",
    ),
    (
        ", commit = true },\n  { send = \"write\"",
        " },\n  { send = \"write\"",
        "12:3: a save comes after the commit",
    ),
    (
        "\"write\", save",
        "\"{secret:new}\", save",
        "12:12: a save sends no secret",
    ),
    (
        "\"write\", save",
        "\"x\", commit",
        "8:1: op.set_password must have exactly one commit; it has 2",
    ),
    (
        "abort = [\"end\"]",
        "abort = [\"{secret:new}\"]",
        "13:10: abort must not hold a secret",
    ),
    (
        "channel = \"shell\"",
        "channel = \"exec\"",
        "9:11: this channel needs run, the command",
    ),
    (
        "channel = \"shell\"",
        "channel = \"exec\"\nrun = \"set {secret:new}\"",
        "10:7: run must not hold a secret",
    ),
    (
        "channel = \"shell\"",
        "channel = \"exec\"\nrun = \"set\"",
        "12:12: no secret before the system has said that it is ready for it",
    ),
    (
        "channel = \"shell\"",
        "channel = \"shell\"\nrun = \"set\"",
        "10:7: a shell runs no command; send it in a step",
    ),
    (
        "{ send = \"write\", save = true }",
        "{ send = \"write\", save = true, expect = [ { exit = 0 } ] }",
        "12:54: a shell has no exit to wait for",
    ),
    (
        "{ exit = 0 }",
        "{ exit = 0, match = 'x' }",
        "21:3: an arm has either match or exit",
    ),
    (
        "{ exit = 0 }",
        "{ match = 'x', max = 2 }",
        "21:3: commit and max belong to an arm that sends",
    ),
    (
        "{ exit = 0 }",
        "{ match = 'x', send = \"y\", max = 9 }",
        "18:21: every arm answers and stays: none ends the step",
    ),
    (
        "prompt = '(?m)^[a-z]+> ?\\z'",
        "",
        "8:2: op must have check, or the definition a prompt",
    ),
];

#[test]
fn faults_name_file_line_and_column() {
    all(MEANING, |seen, wanted| {
        seen.iter().any(|one| one.starts_with(wanted))
    });
}

#[test]
fn faults_of_the_form_name_their_place_too() {
    let rows: &[(&str, &str, &str)] = &[
        ("schema = 1", "schema = ", "1:10: "),
        (
            "id = \"good\"",
            "id = \"good\"\ncolour = 1",
            "3:1: unknown field `colour`",
        ),
        (
            "commit = true",
            "comit = true",
            "11:42: unknown field `comit`",
        ),
        (
            "as = \"no_account\"",
            "as = \"gone\"",
            "6:43: unknown variant `gone`",
        ),
        (
            "limits = { step_s = 5, total_s = 20, buffer_kib = 16 }",
            "",
            "1:1: missing field `limits`",
        ),
        ("step_s = 5, ", "", "4:10: missing field `step_s`"),
        ("\"shell\"", "\"telnet\"", "9:11: unknown variant `telnet`"),
        ("max = 64", "max = 6.4", "5:27: invalid type"),
    ];
    all(
        rows,
        |seen, wanted| matches!(seen, [one] if one.starts_with(wanted)),
    );
}

#[test]
fn every_fault_is_told_at_once() {
    let text = GOOD
        .replace("schema = 1", "schema = 3")
        .replace("step_s = 5", "step_s = 500")
        .replace("'no such user'", "'('");
    assert_eq!(faults(&text).len(), 3, "{:#?}", faults(&text));
}

#[test]
fn columns_count_characters() {
    let text = GOOD.replace("'no such user'", "'ö', as = \"busy\" }, { match = '('");
    assert!(
        faults(&text)[0].starts_with("x.toml:6:52: no regular expression"),
        "{:#?}",
        faults(&text)
    );
}

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

#[test]
fn a_plan_shows_every_line_and_no_secret() {
    let library = Library::shipped().unwrap();
    let plan = library
        .find("cisco_ios")
        .unwrap()
        .plan(&Login::parse("bob").unwrap());
    for line in [
        "cisco_ios set_password, as the functional account",
        "  send     username bob algorithm-type scrypt secret <SENT>   <- commit",
        "  await    Password: ?\\z, then send <SENT>",
        "  login    as bob with the new password",
        "  send     write memory",
        "  on failure  end",
    ] {
        assert!(plan.lines().any(|one| one == line), "{line}\n{plan}");
    }
}

/// The keys that a part of the format knows, by its own complaint about one that it does not.
fn keys<T: DeserializeOwned + std::fmt::Debug>() -> Vec<String> {
    let error = toml::from_str::<T>("keyless = 1").unwrap_err();
    let text = error.message().to_owned();
    assert!(text.starts_with("unknown field `keyless`"), "{text}");
    let mut keys: Vec<_> = text
        .split('`')
        .skip(3)
        .step_by(2)
        .map(ToOwned::to_owned)
        .collect();
    keys.sort();
    keys
}

#[test]
fn the_schema_knows_the_keys_that_the_reader_knows() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let known = |part: &Value| {
        assert_eq!(part["additionalProperties"], false);
        let mut keys: Vec<_> = part["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        keys.sort();
        keys
    };
    let defs = &schema["$defs"];
    let rows = [
        (&schema, keys::<format::Definition>()),
        (&defs["pty"], keys::<format::Pty>()),
        (&defs["pager"], keys::<format::Pager>()),
        (&defs["limits"], keys::<format::Limits>()),
        (&defs["secret"], keys::<format::SecretRule>()),
        (&defs["error"], keys::<format::Complaint>()),
        (&defs["operations"], keys::<format::Operations>()),
        (&defs["operation"], keys::<format::Operation>()),
        (&defs["step"], keys::<format::Step>()),
        (&defs["arm"], keys::<format::Arm>()),
    ];
    for (part, keys) in rows {
        assert!(!keys.is_empty());
        assert_eq!(known(part), keys);
    }
    // Every list of names, too.
    let variants = |field: &str| {
        let broken = GOOD.replace(field, "\"nothing\"");
        let fault = faults(&broken).remove(0);
        let mut names: Vec<_> = fault
            .split('`')
            .skip(3)
            .step_by(2)
            .map(ToOwned::to_owned)
            .collect();
        names.sort();
        names
    };
    let listed = |part: &Value| {
        let names = part["enum"].as_array().unwrap().iter();
        let mut names: Vec<_> = names
            .map(|name| name.as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(
        listed(&defs["error"]["properties"]["as"]),
        variants("\"no_account\"")
    );
    assert_eq!(
        listed(&defs["operation"]["properties"]["channel"]),
        variants("\"shell\"")
    );
}
