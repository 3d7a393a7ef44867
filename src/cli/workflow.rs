//! `keywheel workflow`: workflows of a running service, and what became of their notices.
//!
//! Invariant: an edit sends back what was just read, and changes nothing but whether it is on.

mod delivery;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::delivery::{Deliveries, Redeliver};
use super::output::{Format, cell, json as print_json, plain, rows, say};
use super::remote::{Remote, Service};
use super::{Exit, Globals, block_on};

/// What is shown of a workflow itself, in this order.
const FIELDS: [&str; 6] = [
    "id",
    "name",
    "trigger",
    "status",
    "failure_email",
    "updated_at",
];

/// See workflows, switch them, try them, and send notices again
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel workflow list")]
pub(super) struct Workflow {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    List(List),
    Show(Show),
    /// Switch a workflow on: reveals that pass its filters are told of from then on
    #[command(after_help = "Example:\n  keywheel workflow on 3")]
    On(Switch),
    /// Switch a workflow off; what it has queued still goes
    #[command(after_help = "Example:\n  keywheel workflow off 3")]
    Off(Switch),
    Test(Test),
    Deliveries(Deliveries),
    Redeliver(Redeliver),
}

/// List workflows
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel workflow list")]
struct List {
    #[command(flatten)]
    remote: Remote,
}

/// Show a workflow with its filters and actions; addresses are masked
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel workflow show 3")]
struct Show {
    /// The workflow's id
    id: i64,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
struct Switch {
    /// The workflow's id
    id: i64,
    #[command(flatten)]
    remote: Remote,
}

/// Send a workflow's notices with sample data, at once and once; on or off
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel workflow test 3 --action 7")]
struct Test {
    /// The workflow's id
    id: i64,
    /// One of its actions alone, by its id
    #[arg(long, value_name = "ID")]
    action: Option<i64>,
    #[command(flatten)]
    remote: Remote,
}

impl Workflow {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        match self.what {
            What::List(list) => list.run(globals),
            What::Show(show) => show.run(globals),
            What::On(switch) => switch.run("on", globals),
            What::Off(switch) => switch.run("off", globals),
            What::Test(test) => test.run(globals),
            What::Deliveries(deliveries) => deliveries.run(globals),
            What::Redeliver(redeliver) => redeliver.run(globals),
        }
    }
}

/// What a list shows of a workflow.
#[derive(Debug, Deserialize, Serialize)]
struct Item {
    id: i64,
    name: String,
    status: String,
    failure_email: String,
    actions: Vec<Action>,
}

/// What a list shows of an action.
#[derive(Debug, Deserialize, Serialize)]
struct Action {
    id: i64,
    #[serde(rename = "type")]
    kind: String,
    name: String,
}

impl List {
    fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        let service = self.remote.service(globals)?;
        let found: Vec<Item> = block_on(service.list("/api/v1/workflows", &[]))??;
        let heads = ["id", "name", "status", "actions", "failure e-mail"];
        rows(globals.output, &heads, &found, |one| {
            let actions = one.actions.iter();
            let actions = actions.map(|action| format!("{} {}", action.kind, action.name));
            vec![
                one.id.to_string(),
                plain(&one.name),
                plain(&one.status),
                plain(&actions.collect::<Vec<_>>().join(", ")),
                plain(&one.failure_email),
            ]
        })
    }
}

/// A workflow as the service shows it.
fn read(service: &Service, id: i64) -> Result<Value, Exit> {
    let path = format!("/api/v1/workflows/{id}");
    block_on(service.get(&path, &[]))?
}

/// The entries of one of its lists.
fn entries<'a>(workflow: &'a Value, name: &str) -> &'a [Value] {
    let entries = workflow.get(name).and_then(Value::as_array);
    entries.map_or(&[], Vec::as_slice)
}

impl Show {
    fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        let service = self.remote.service(globals)?;
        let workflow = read(&service, self.id)?;
        if globals.output == Format::Json {
            return print_json(&workflow);
        }
        let own = FIELDS
            .iter()
            .map(|name| ((*name).to_owned(), cell(&workflow, name)));
        let mut lines: Vec<(String, String)> = own.collect();
        for filter in entries(&workflow, "filters") {
            let parts = ["field", "operator", "values"].map(|name| cell(filter, name));
            lines.push(("filter".to_owned(), parts.join(" ")));
        }
        for action in entries(&workflow, "actions") {
            let to = if action.get("url").is_some() {
                "url"
            } else {
                "recipients"
            };
            let parts = ["type", "name", to].map(|name| cell(action, name));
            lines.push((format!("action {}", cell(action, "id")), parts.join(" ")));
        }
        rows(
            globals.output,
            &["field", "value"],
            &lines,
            |(name, value)| vec![name.clone(), value.clone()],
        )
    }
}

impl Switch {
    fn run(self, status: &'static str, globals: &Globals) -> Result<Exit, Exit> {
        let service = self.remote.service(globals)?;
        let mut workflow = read(&service, self.id)?;
        if workflow.get("status") == Some(&json!(status)) {
            say(&format!("workflow {} is {status} already", self.id));
        } else {
            let revision = workflow.get("revision").and_then(Value::as_i64);
            if let Some(fields) = workflow.as_object_mut() {
                fields.insert("status".to_owned(), json!(status));
            }
            let path = format!("/api/v1/workflows/{}", self.id);
            let edited = service.put(&path, revision.unwrap_or_default(), &workflow);
            workflow = block_on(edited)??;
        }
        let now = ["id", "name", "status"].map(|name| {
            let value = workflow.get(name).cloned().unwrap_or_default();
            (name.to_owned(), value)
        });
        let now = Value::Object(now.into_iter().collect());
        match globals.output {
            Format::Json => print_json(&now),
            Format::Table => rows(Format::Table, &["id", "name", "status"], &[now], |one| {
                ["id", "name", "status"].map(|name| cell(one, name)).into()
            }),
        }
    }
}

/// What came of a test.
#[derive(Debug, Serialize)]
struct Tested {
    action_id: i64,
    #[serde(rename = "type")]
    kind: String,
    name: String,
    /// `sent` or `failed`.
    status: &'static str,
    /// Why it was not sent.
    error: Option<String>,
}

impl Test {
    fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        let service = self.remote.service(globals)?;
        let workflow = read(&service, self.id)?;
        let mut tested = Vec::new();
        for action in entries(&workflow, "actions") {
            let id = action.get("id").and_then(Value::as_i64).unwrap_or_default();
            if self.action.is_some_and(|wanted| wanted != id) {
                continue;
            }
            // As it was read: the service knows the address behind the mask by the action's id.
            let sent = service.attempt("/api/v1/workflows/test-action", action);
            let error = block_on(sent)??.err();
            let text = |name: &str| action.get(name).and_then(Value::as_str).unwrap_or_default();
            tested.push(Tested {
                action_id: id,
                kind: text("type").to_owned(),
                name: text("name").to_owned(),
                status: if error.is_none() { "sent" } else { "failed" },
                error,
            });
        }
        if tested.is_empty() {
            say(&format!("workflow {} has no such action", self.id));
            return Err(Exit::NotFound);
        }
        let heads = ["action", "type", "name", "status", "error"];
        rows(globals.output, &heads, &tested, |one| {
            vec![
                one.action_id.to_string(),
                plain(&one.kind),
                plain(&one.name),
                one.status.to_owned(),
                plain(one.error.as_deref().unwrap_or("-")),
            ]
        })?;
        if tested.iter().any(|one| one.error.is_some()) {
            return Err(Exit::Failed);
        }
        Ok(Exit::Done)
    }
}
