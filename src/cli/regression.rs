//! `keywheel regression`: a database that came back older than it was.
//!
//! Invariant: nothing is agreed to without a reason, and nobody agrees for all by leaving out whom.

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::output::{Format, cell, json as print_json, plain, print, rows, say};
use super::remote::Remote;
use super::{Exit, Globals, block_on, failed, load};
use crate::app;
use crate::clock::SystemClock;

/// See what a database that came back older has forgotten, and recover its accounts
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel regression show")]
pub(super) struct Regression {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Show(Show),
    Accounts(Accounts),
    /// Test accounts, so many in a minute: whichever kept credential logs in becomes current
    #[command(after_help = "Example:\n  keywheel regression test --all --reason INC-7")]
    Test(Agree),
    /// Give accounts a new credential by the functional account, whatever the old one is
    #[command(after_help = "Example:\n  keywheel regression reset 7 8 --reason INC-7")]
    Reset(Agree),
    /// Take accounts for known without a test; with --all, end what concerned no account
    #[command(after_help = "Example:\n  keywheel regression clear 7 --reason INC-7")]
    Clear(Agree),
    Accept(Accept),
}

/// Show whether the database has come back older, and how many accounts are left to recover
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel regression show")]
struct Show {
    #[command(flatten)]
    remote: Remote,
}

/// List the accounts that are not changed until they are recovered
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel regression accounts")]
struct Accounts {
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
struct Agree {
    /// The accounts' ids
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    accounts: Vec<i64>,
    /// Every account that is marked
    #[arg(long)]
    all: bool,
    /// Why; it goes on record
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    remote: Remote,
}

/// Take the database of the settings for the right one, as old as it is
///
/// The service must be stopped if its database is a file. What the echo and the escrow journal
/// remember of another database, or of a younger one, counts no more: only for a database that was
/// replaced on purpose.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel regression accept")]
struct Accept {}

impl Regression {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        match self.what {
            What::Show(show) => show.run(globals),
            What::Accounts(accounts) => accounts.run(globals),
            What::Test(agree) => agree.run("test", globals),
            What::Reset(agree) => agree.run("reset", globals),
            What::Clear(agree) => agree.run("clear", globals),
            What::Accept(Accept {}) => accept(globals),
        }
    }
}

impl Show {
    fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        let service = self.remote.service(globals)?;
        let found: Value = block_on(service.get("/api/v1/regression", &[]))??;
        if globals.output == Format::Json {
            return print_json(&found);
        }
        let marked = found.get("accounts").cloned().unwrap_or_default();
        if found.get("regressed") == Some(&Value::Bool(true)) {
            say(&format!(
                "the database came back older than it was; to be recovered: {} accounts without \
                 consent, {} to be tested, {} to be reset",
                cell(&marked, "none"),
                cell(&marked, "test"),
                cell(&marked, "reset"),
            ));
        } else {
            say("the database has forgotten nothing that is known of");
        }
        let none = Vec::new();
        let all = found.get("regressions").and_then(Value::as_array);
        let heads = [
            "id",
            "found",
            "generation",
            "expected",
            "named",
            "accounts",
            "missing",
            "ended",
        ];
        rows(globals.output, &heads, all.unwrap_or(&none), |one| {
            let fields = [
                "id",
                "found_at",
                "generation",
                "expected",
                "named",
                "accounts",
                "missing",
                "ended_at",
            ];
            fields.map(|field| cell(one, field)).into()
        })
    }
}

/// What a list shows of an account.
#[derive(Debug, Deserialize, Serialize)]
struct Item {
    account_id: i64,
    system_name: String,
    name: String,
    consent: String,
    actor: String,
    forgotten: i64,
    last_test: String,
    has_job: bool,
}

impl Accounts {
    fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        let service = self.remote.service(globals)?;
        let found: Vec<Item> = block_on(service.list("/api/v1/regression/accounts", &[]))??;
        let heads = [
            "account",
            "system",
            "name",
            "consent",
            "by",
            "forgotten",
            "last test",
            "job",
        ];
        rows(globals.output, &heads, &found, |one| {
            vec![
                one.account_id.to_string(),
                plain(&one.system_name),
                plain(&one.name),
                plain(&one.consent),
                plain(&one.actor),
                one.forgotten.to_string(),
                plain(&one.last_test),
                if one.has_job { "open" } else { "-" }.to_owned(),
            ]
        })
    }
}

impl Agree {
    fn run(self, what: &str, globals: &Globals) -> Result<Exit, Exit> {
        let service = self.remote.service(globals)?;
        let order = json!({"accounts": self.accounts, "all": self.all, "reason": self.reason});
        let path = format!("/api/v1/regression/{what}");
        let done: Value = block_on(service.post(&path, &order))??;
        match globals.output {
            Format::Json => print_json(&done),
            Format::Table => print(&format!("{what}: {} accounts", cell(&done, "accounts"))),
        }
    }
}

fn accept(globals: &Globals) -> Result<Exit, Exit> {
    let settings = load(&globals.inputs(Vec::new()))?.settings;
    let clock = SystemClock::shared();
    let accepted = block_on(app::accept_store(&settings, &clock))?;
    let accepted = accepted.map_err(|error| failed(&error))?;
    print(&format!(
        "store {} at generation {} is the right one; {} says so from now on",
        accepted.store,
        accepted.generation,
        accepted.echo.display()
    ))
}
