//! `keywheel password`: password records of a running service, and made-up passwords.
//!
//! Invariant: a value is revealed only where it was asked for with a reason and has a place to go;
//! every other answer is without values.

mod out;

use std::fmt;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(super) use self::out::Out;
use super::output::{Format, cell, json as print_json, plain, rows, say};
use super::remote::{Remote, Service};
use super::{Exit, Globals, block_on};
use crate::generate::{self, SystemDice};
use crate::model::password_rule::PasswordRule;
use crate::model::reveal::AccessMethod;

/// What is shown of a record, in this order.
const FIELDS: [&str; 12] = [
    "id",
    "organization",
    "name",
    "username",
    "url",
    "category",
    "account_id",
    "state",
    "changed_at",
    "next_change_at",
    "restricted",
    "archived",
];

/// Find password records, reveal one, or make a password up
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel password list --organization 1")]
pub(super) struct Password {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    List(List),
    Get(Get),
    /// Make a password up by a rule, without any service
    #[command(after_help = "Example:\n  keywheel password generate --rule 0")]
    Generate {
        /// Which built-in rule; 0: 32 letters, digits and symbols that every target takes
        #[arg(long, value_name = "ID", default_value_t = 0)]
        rule: i64,
    },
}

/// List an organization's password records, without their values
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel password list --organization 1 --server-name dc01")]
struct List {
    /// The organization's id
    #[arg(long, value_name = "ID")]
    organization: i64,
    /// A part, in any case, of a record's name, URL or notes, or of its account's system's name
    #[arg(long, value_name = "TEXT")]
    server_name: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// Show a password record; its value only with --reveal or --out
///
/// A value that is asked for is a reveal of method `cli`: it stands in the audit trail with its
/// reason, and workflows tell of it.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  keywheel password get 42 --reason INC-7 --out /run/user/0/db.password"
)]
struct Get {
    /// The record's id
    id: i64,
    /// Why the value is needed, 1 to 1000 characters
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Show the value, on a terminal alone
    #[arg(long, requires = "reason", conflicts_with = "out")]
    reveal: bool,
    /// Write the value as it is to a new file, mode 0600
    #[arg(long, value_name = "FILE", requires = "reason")]
    out: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

impl Password {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        match self.what {
            What::List(list) => list.run(globals),
            What::Get(get) => get.run(globals),
            What::Generate { rule } => made_up(rule, globals.output),
        }
    }
}

/// What a list shows of a record.
#[derive(Debug, Deserialize, Serialize)]
struct Item {
    id: i64,
    name: String,
    username: Option<String>,
    changed_at: Option<String>,
}

impl List {
    fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        let service = self.remote.service(globals)?;
        let path = format!("/api/v1/organizations/{}/passwords", self.organization);
        let server = self.server_name.as_deref();
        let query: Vec<_> = server.map(|part| ("server", part)).into_iter().collect();
        let found: Vec<Item> = block_on(service.list(&path, &query))??;
        let heads = ["id", "name", "username", "changed"];
        rows(globals.output, &heads, &found, |one| {
            // Names are other people's words: none of them moves the cursor.
            let text = |text: &Option<String>| plain(text.as_deref().unwrap_or("-"));
            vec![
                one.id.to_string(),
                plain(&one.name),
                text(&one.username),
                text(&one.changed_at),
            ]
        })
    }
}

/// A value in the clear.
#[derive(Deserialize)]
struct Revealed {
    value: Option<Given>,
}

/// A secret as an answer gives it; it redacts itself.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Given(SecretString);

impl From<String> for Given {
    fn from(text: String) -> Self {
        Self(SecretString::from(text))
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given")
    }
}

impl Get {
    fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        // Whether the value has a place to go is settled before it is asked for: a reveal is on record.
        if self.reveal {
            out::needs_terminal()?;
        }
        let service = self.remote.service(globals)?;
        match (&self.reason, &self.out) {
            (Some(reason), Some(path)) => {
                let file = Out::new(path)?;
                file.fill(&self.value(&service, reason)?)?;
                let path = path.display();
                say(&format!("the value of password {} is in {path}", self.id));
                Ok(Exit::Done)
            }
            (Some(reason), None) if self.reveal => {
                out::show(globals.output, self.id, &self.value(&service, reason)?)
            }
            _ => self.record(&service, globals.output),
        }
    }

    fn value(&self, service: &Service, reason: &str) -> Result<SecretString, Exit> {
        let path = format!("/api/v1/passwords/{}/reveal", self.id);
        let order = json!({"reason": reason, "via": AccessMethod::Cli.as_str()});
        let revealed: Revealed = block_on(service.post(&path, &order))??;
        if let Some(Given(value)) = revealed.value {
            return Ok(value);
        }
        say(&format!("password {} has no value", self.id));
        Err(Exit::NotFound)
    }

    fn record(&self, service: &Service, format: Format) -> Result<Exit, Exit> {
        let path = format!("/api/v1/passwords/{}", self.id);
        let record: Value = block_on(service.get(&path, &[]))??;
        if format == Format::Json {
            return print_json(&record);
        }
        rows(format, &["field", "value"], &FIELDS, |field| {
            vec![(*field).to_owned(), cell(&record, field)]
        })
    }
}

fn made_up(rule: i64, format: Format) -> Result<Exit, Exit> {
    let Some(rule) = PasswordRule::built_in(rule) else {
        say(&format!("there is no built-in password rule {rule}"));
        return Err(Exit::NotFound);
    };
    match generate::password(&rule, &SystemDice) {
        Ok(password) => out::made_up(format, &password),
        Err(error) => {
            say(&error.to_string());
            Err(Exit::Failed)
        }
    }
}
