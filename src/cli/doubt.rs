//! `keywheel doubt`: accounts whose current credential may not be what their target holds, and how
//! an operator settles them.
//!
//! Invariant: a password is read from a file, goes into one request, and is printed nowhere.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::output::{Format, cell, json as print_json, rows, say};
use super::remote::Remote;
use super::{Exit, Globals, block_on};
use crate::config::read_secret_file;

/// Columns of the list, and the fields that they show.
const COLUMNS: [(&str, &str); 8] = [
    ("account", "account_id"),
    ("system", "system_id"),
    ("name", "name"),
    ("password in doubt", "in_doubt"),
    ("key in doubt", "key_in_doubt"),
    ("last test", "last_test"),
    ("next test", "next_test"),
    ("open job", "open_job"),
];

/// See which accounts are in doubt or were changed by somebody else, and settle them
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel doubt list")]
pub(super) struct Doubt {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    List(List),
    Show(Show),
    /// Ask the target once more which secret works
    #[command(after_help = "Example:\n  keywheel doubt probe 7 --reason INC-104")]
    Probe(Settle),
    /// Ask, and go on with the change: what the target holds becomes current, and is changed
    #[command(after_help = "Example:\n  keywheel doubt retry 7 --reason INC-104")]
    Retry(Settle),
    /// Set a new credential through the functional account, whatever the target holds
    #[command(after_help = "Example:\n  keywheel doubt reset 7 --reason INC-104")]
    Reset(Settle),
    Use(Use),
    Supply(Supply),
}

/// List accounts whose current credential may not be what their target holds
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel doubt list")]
struct List {
    #[command(flatten)]
    remote: Remote,
}

/// Show what is known of an account's credential: versions, never values
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel doubt show 7")]
struct Show {
    /// The account's id
    account: i64,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
struct Settle {
    /// The account's id
    account: i64,
    /// Why; goes to the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The SSH key pair, not the password
    #[arg(long)]
    key: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Make a kept version current, once a login with it has succeeded
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel doubt use 7 3 --reason INC-104")]
struct Use {
    /// The account's id
    account: i64,
    /// The version
    version: i64,
    /// Without a login, where the target cannot be reached; it stays in doubt until a test has passed
    #[arg(long)]
    untested: bool,
    /// Why; goes to the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The SSH key pair, not the password
    #[arg(long)]
    key: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Keep the password that the target has; it is current once a login with it has succeeded
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel doubt supply 7 --password-file pw --reason INC-104")]
struct Supply {
    /// The account's id
    account: i64,
    /// File with the password, which its owner alone may read
    #[arg(long, value_name = "FILE")]
    password_file: PathBuf,
    /// Why; goes to the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    remote: Remote,
}

impl Doubt {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        match self.what {
            What::List(list) => list.run(globals),
            What::Show(show) => show.run(globals),
            What::Probe(settle) => settle.run("probe", globals),
            What::Retry(settle) => settle.run("retry", globals),
            What::Reset(settle) => settle.run("reset", globals),
            What::Use(named) => named.run(globals),
            What::Supply(supply) => supply.run(globals),
        }
    }
}

impl List {
    fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        let service = self.remote.service(globals)?;
        let found: Vec<Value> = block_on(service.list("/api/v1/doubts", &[]))??;
        let heads = COLUMNS.map(|(head, _)| head);
        rows(globals.output, &heads, &found, |one| {
            COLUMNS.map(|(_, field)| cell(one, field)).to_vec()
        })
    }
}

impl Show {
    fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        let service = self.remote.service(globals)?;
        let path = format!("/api/v1/accounts/{}/doubt", self.account);
        let doubt: Value = block_on(service.get(&path, &[]))??;
        if globals.output == Format::Json {
            return print_json(&doubt);
        }
        let mut lines: Vec<Value> = Vec::new();
        for part in entries(&doubt, "parts") {
            let line = |what: &str, one: &Value| {
                let mut line = one.clone();
                if !line.is_object() {
                    line = json!({});
                }
                if let Some(fields) = line.as_object_mut() {
                    for name in ["part", "certainty"] {
                        let value = part.get(name).cloned().unwrap_or_default();
                        fields.insert(name.to_owned(), value);
                    }
                    fields.insert("is".to_owned(), json!(what));
                }
                line
            };
            lines.push(line("current", part.get("current").unwrap_or(&Value::Null)));
            let others = entries(part, "candidates").iter();
            lines.extend(others.map(|one| line("candidate", one)));
        }
        let heads = [
            "part",
            "certainty",
            "is",
            "version",
            "origin",
            "sent",
            "accepted",
        ];
        let fields = [
            "part",
            "certainty",
            "is",
            "version",
            "origin",
            "sent_at",
            "accepted_at",
        ];
        rows(Format::Table, &heads, &lines, |one| {
            fields.map(|field| cell(one, field)).to_vec()
        })
    }
}

/// The entries of one of a document's lists.
fn entries<'a>(document: &'a Value, name: &str) -> &'a [Value] {
    let entries = document.get(name).and_then(Value::as_array);
    entries.map_or(&[], Vec::as_slice)
}

const fn part(key: bool) -> &'static str {
    if key { "key" } else { "password" }
}

impl Settle {
    fn run(self, action: &'static str, globals: &Globals) -> Result<Exit, Exit> {
        let order = json!({"action": action, "part": part(self.key), "reason": self.reason});
        settle(&self.remote, globals, self.account, &order)
    }
}

impl Use {
    fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        let order = json!({
            "action": "use_version", "part": part(self.key), "version": self.version,
            "untested": self.untested, "reason": self.reason,
        });
        settle(&self.remote, globals, self.account, &order)
    }
}

impl Supply {
    fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        let file = read_secret_file(&self.password_file).map_err(|error| {
            say(&error.to_string());
            Exit::Usage
        })?;
        let Ok(password) = std::str::from_utf8(&file) else {
            say("the password's file is no text in UTF-8");
            return Err(Exit::Usage);
        };
        // One line; its end is the file's.
        let password = password.strip_suffix('\n').unwrap_or(password);
        let password = password.strip_suffix('\r').unwrap_or(password);
        let order = json!({"action": "supply", "password": password, "reason": self.reason});
        settle(&self.remote, globals, self.account, &order)
    }
}

/// Orders it, and waits for what comes of it.
fn settle(remote: &Remote, globals: &Globals, account: i64, order: &Value) -> Result<Exit, Exit> {
    let service = remote.service(globals)?;
    let path = format!("/api/v1/accounts/{account}/resolve");
    let job: Value = block_on(service.post(&path, order))??;
    let path = format!("/api/v1/jobs/{}", cell(&job, "id"));
    let job: Value = block_on(service.get(&path, &[("wait", "50")]))??;
    match globals.output {
        Format::Json => print_json(&job)?,
        Format::Table => {
            let fields = ["id", "account_id", "state"];
            rows(
                Format::Table,
                &["job", "account", "state"],
                &[&job],
                |job| fields.map(|field| cell(job, field)).to_vec(),
            )?
        }
    };
    let last = entries(&job, "attempts").last();
    match job.get("state").and_then(Value::as_str) {
        Some("succeeded") => Ok(Exit::Done),
        Some("needs_operator") => {
            say(&cell(last.unwrap_or(&Value::Null), "log"));
            Err(Exit::NeedsOperator)
        }
        Some("failed") => {
            say(&cell(last.unwrap_or(&Value::Null), "log"));
            Err(Exit::Failed)
        }
        _ => {
            say("it goes on in the background");
            Err(Exit::TimedOut)
        }
    }
}
