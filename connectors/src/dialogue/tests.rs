//! What a definition may hold, and how its faults are told.

mod fuzz;
mod library;

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
