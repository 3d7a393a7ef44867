//! Workflows as they are read and written.
//!
//! Invariant: an address is taken whole or by its mask, and only ever shown by its mask.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::super::functional_account::Given;
use super::super::input::At;
use crate::api::clear;
use crate::api::error::{ApiError, Fault, Refusal};
use crate::model::id::WorkflowActionId;
use crate::model::workflow::{
    Action, Channel, Content, Filter, HookUrl, Template, Trigger, Workflow, WorkflowFields,
    contradictions,
};
use crate::vault::same_secret;
use crate::workflow::{Draft, Drawn, Target};

/// A workflow to be made or replaced. What a workflow shows can be sent back: `id`, `revision`,
/// `created_at` and `updated_at` are ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "trigger": "password_access", "name": "Tier 0 access", "failure_email": "secops@example.com",
    "filters": [{"field": "description", "operator": "contains", "values": ["tier 0"]}],
    "actions": [{"type": "email", "name": "Mail", "subject": "[resource_name] accessed",
        "body": "[user_name]: [access_method]", "recipients": ["oncall@example.com"]}]
}))]
pub(in super::super) struct WorkflowDocument {
    /// What people read; unique in any case.
    name: String,
    /// `password_access`.
    trigger: String,
    /// Who is told that a notice could not be delivered.
    failure_email: String,
    /// `on` or `off`, which is the default: a new workflow is tried first.
    #[serde(default)]
    status: Option<String>,
    /// What a reveal must pass, all of them; at most 20.
    #[serde(default)]
    filters: Vec<FilterDocument>,
    /// What it does; 1 to 10.
    actions: Vec<ActionDocument>,
    #[serde(default, rename = "id")]
    #[schema(read_only)]
    _id: Option<i64>,
    #[serde(default, rename = "revision")]
    #[schema(read_only)]
    _revision: Option<i64>,
    #[serde(default, rename = "created_at")]
    #[schema(read_only, value_type = Option<String>, format = DateTime)]
    _created_at: Option<At>,
    #[serde(default, rename = "updated_at")]
    #[schema(read_only, value_type = Option<String>, format = DateTime)]
    _updated_at: Option<At>,
}

/// A condition.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct FilterDocument {
    /// `password`, `organization`, `organization_status`, `updated_by`, `password_category`;
    /// `description`, `username`, `url`, `notes`.
    field: String,
    /// Of the first five `any_of`, `none_of`; of the others `contains`, `does_not_contain`,
    /// `starts_with`, `ends_with`.
    operator: String,
    /// Ids of the first five, texts of the others; 1 to 100, of which any is enough.
    values: Vec<Value>,
}

/// An action.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct ActionDocument {
    /// `email`, `webhook` or `slack`.
    #[serde(rename = "type")]
    kind: String,
    /// The action that is edited; without it one is added. Those that are missing are removed.
    #[serde(default)]
    id: Option<i64>,
    /// What people read.
    name: String,
    /// Of `email` and `slack`: one line, with `[variables]`.
    #[serde(default)]
    subject: Option<String>,
    /// Of `email` and `slack`: a text, with `[variables]`.
    #[serde(default)]
    body: Option<String>,
    /// Of `email`: 1 to 50 addresses.
    #[serde(default)]
    recipients: Option<Vec<String>>,
    /// Of `webhook` and `slack`: where to. As it was read, masked, it keeps what is kept.
    #[serde(default)]
    url: Option<Given>,
    /// Of `webhook`: texts with `[variables]`; empty: every variable.
    #[serde(default)]
    payload: Option<BTreeMap<String, String>>,
}

/// A workflow.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct WorkflowAnswer {
    id: i64,
    trigger: &'static str,
    name: String,
    failure_email: String,
    /// `on` or `off`.
    status: &'static str,
    filters: Vec<FilterDocument>,
    actions: Vec<ActionAnswer>,
    /// Counts edits; the `ETag`.
    revision: i64,
    created_at: At,
    updated_at: At,
}

/// An action, without the secret part of its address.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct ActionAnswer {
    id: i64,
    /// `email`, `webhook` or `slack`.
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipients: Option<Vec<String>>,
    /// Its path and query are masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<BTreeMap<String, String>>,
    /// What the webhook is signed with: shown once, in the answer that has drawn it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    signing_secret: Option<Value>,
}

impl From<Workflow> for WorkflowAnswer {
    fn from(workflow: Workflow) -> Self {
        let fields = workflow.fields;
        Self {
            id: workflow.id.0,
            trigger: fields.trigger.as_str(),
            name: fields.name,
            failure_email: fields.failure_email,
            status: if fields.on { "on" } else { "off" },
            filters: fields.filters.iter().map(FilterDocument::from).collect(),
            actions: workflow
                .actions
                .into_iter()
                .map(ActionAnswer::from)
                .collect(),
            revision: workflow.revision,
            created_at: At(workflow.created_at),
            updated_at: At(workflow.updated_at),
        }
    }
}

impl From<&Filter> for FilterDocument {
    fn from(filter: &Filter) -> Self {
        let (field, operator, values) = filter.parts();
        Self {
            field: field.to_owned(),
            operator: operator.to_owned(),
            values,
        }
    }
}

impl From<Action> for ActionAnswer {
    fn from(action: Action) -> Self {
        let kind = action.content.channel().as_str();
        let source = |template: &Template| Some(template.source().to_owned());
        let (subject, body, recipients, payload) = match &action.content {
            Content::Email {
                subject,
                body,
                recipients,
            } => (
                source(subject),
                source(body),
                Some(recipients.clone()),
                None,
            ),
            Content::Webhook { payload } => {
                let payload = payload
                    .iter()
                    .map(|(key, value)| (key.clone(), value.source().to_owned()));
                (None, None, None, Some(payload.collect()))
            }
            Content::Slack { subject, body } => (source(subject), source(body), None, None),
        };
        Self {
            id: action.id.0,
            kind,
            name: action.name,
            subject,
            body,
            recipients,
            url: action.masked_url,
            payload,
            signing_secret: None,
        }
    }
}

impl WorkflowAnswer {
    /// The answer that shows the secrets that were drawn for it.
    pub(super) fn showing(mut self, drawn: &[Drawn]) -> Self {
        for action in &mut self.actions {
            let own = drawn.iter().find(|one| one.action.0 == action.id);
            action.signing_secret = own.map(|own| clear::handed_over(&own.secret));
        }
        self
    }
}

fn invalid(pointer: String, text: impl Into<String>) -> ApiError {
    ApiError::Invalid(vec![Fault {
        field: pointer,
        text: text.into(),
    }])
}

impl WorkflowDocument {
    /// What it says; `stored` is what it replaces.
    pub(super) fn read(
        self,
        stored: Option<&Workflow>,
    ) -> Result<(WorkflowFields, Vec<Draft>), ApiError> {
        let trigger = Trigger::parse(&self.trigger)
            .ok_or_else(|| ApiError::field("trigger", "must be password_access"))?;
        let on = match self.status.as_deref() {
            None => stored.is_some_and(|stored| stored.fields.on),
            Some("off") => false,
            Some("on") => true,
            Some(_) => return Err(ApiError::field("status", "must be on or off")),
        };
        let mut filters = Vec::with_capacity(self.filters.len());
        for (nth, one) in self.filters.iter().enumerate() {
            let read = Filter::new(&one.field, &one.operator, &one.values);
            filters.push(read.map_err(|fault| {
                invalid(format!("/filters/{nth}{}", fault.pointer), fault.problem)
            })?);
        }
        if let Some((nth, why)) = contradictions(&filters).first() {
            return Err(invalid(format!("/filters/{nth}/values"), *why));
        }
        let fields = WorkflowFields {
            name: self.name,
            trigger,
            failure_email: self.failure_email,
            on,
            filters,
        };
        let faults = fields.faults();
        if !faults.is_empty() {
            let faults = faults.into_iter().map(|fault| Fault {
                field: fault.field.to_owned(),
                text: fault.problem,
            });
            return Err(ApiError::Invalid(faults.collect()));
        }
        if !(1..=WorkflowFields::ACTIONS_MAX).contains(&self.actions.len()) {
            let text = format!("must be 1 to {}", WorkflowFields::ACTIONS_MAX);
            return Err(ApiError::field("actions", text));
        }
        let kept = stored.map_or(&[][..], |stored| stored.actions.as_slice());
        let drafts = self.actions.into_iter().enumerate();
        let drafts = drafts.map(|(nth, one)| one.read(&format!("/actions/{nth}"), kept));
        let drafts: Vec<Draft> = drafts.collect::<Result<_, _>>()?;
        for (nth, draft) in drafts.iter().enumerate() {
            let before = drafts.iter().take(nth);
            if draft.id.is_some() && before.filter(|one| one.id == draft.id).count() > 0 {
                return Err(invalid(format!("/actions/{nth}/id"), "comes twice"));
            }
        }
        Ok((fields, drafts))
    }
}

impl ActionDocument {
    /// The action that it names.
    pub(super) fn named(&self) -> Option<WorkflowActionId> {
        self.id.map(WorkflowActionId)
    }

    /// What it says, at `pointer`; `kept` are the actions that it may name.
    pub(super) fn read(self, pointer: &str, kept: &[Action]) -> Result<Draft, ApiError> {
        let at = |name: &str| format!("{pointer}/{name}");
        let channel = Channel::parse(&self.kind)
            .ok_or_else(|| invalid(at("type"), "must be email, webhook or slack"))?;
        let kept = match self.named() {
            None => None,
            Some(id) => {
                let found = kept.iter().find(|one| one.id == id);
                let found = found.ok_or_else(|| invalid(at("id"), "is no action of it"))?;
                if found.content.channel() != channel {
                    let text = "cannot change: leave the id out, and an action is added";
                    return Err(invalid(at("type"), text));
                }
                Some(found)
            }
        };
        let surplus = [
            (
                "subject",
                self.subject.is_some(),
                channel != Channel::Webhook,
            ),
            ("body", self.body.is_some(), channel != Channel::Webhook),
            (
                "recipients",
                self.recipients.is_some(),
                channel == Channel::Email,
            ),
            ("url", self.url.is_some(), channel != Channel::Email),
            (
                "payload",
                self.payload.is_some(),
                channel == Channel::Webhook,
            ),
        ];
        if let Some((name, ..)) = surplus.iter().find(|(_, given, takes)| *given && !takes) {
            let text = format!("is no field of {}", channel.as_str());
            return Err(invalid(at(name), text));
        }
        let template = |name: &str, source: Option<String>| {
            let source = source.unwrap_or_default();
            Template::parse(&source).map_err(|error| {
                ApiError::from(Refusal {
                    pointer: Some(at(name)),
                    ..Refusal::unprocessable("Unknown variable", error.to_string())
                })
            })
        };
        let content = match channel {
            Channel::Email => Content::Email {
                subject: template("subject", self.subject)?,
                body: template("body", self.body)?,
                recipients: self.recipients.unwrap_or_default(),
            },
            Channel::Webhook => {
                let mut payload = BTreeMap::new();
                for (key, value) in self.payload.unwrap_or_default() {
                    let name = key.replace('~', "~0").replace('/', "~1");
                    let value = template(&format!("payload/{name}"), Some(value))?;
                    payload.insert(key, value);
                }
                Content::Webhook { payload }
            }
            Channel::Slack => Content::Slack {
                subject: template("subject", self.subject)?,
                body: template("body", self.body)?,
            },
        };
        let faults = Action::faults(&self.name, &content);
        if !faults.is_empty() {
            let faults = faults.into_iter().map(|fault| Fault {
                field: at(fault.field),
                text: fault.problem,
            });
            return Err(ApiError::Invalid(faults.collect()));
        }
        let target = match (channel, self.url.map(Given::text)) {
            (Channel::Email, _) => Target::Mail,
            (_, None) => return Err(invalid(at("url"), "is required")),
            (_, Some(url)) => target(&url, kept).map_err(|text| invalid(at("url"), text))?,
        };
        Ok(Draft {
            id: kept.map(|kept| kept.id),
            name: self.name,
            content,
            target,
        })
    }
}

/// The address that is kept, if this is its mask; else this one.
fn target(given: &SecretString, kept: Option<&Action>) -> Result<Target, String> {
    let masked = kept.and_then(|kept| kept.masked_url.as_deref());
    if let Some(masked) = masked.filter(|masked| same_secret(given, &SecretString::from(*masked))) {
        return Ok(Target::Kept(masked.to_owned()));
    }
    let url = HookUrl::of(given).map_err(|error| error.to_string())?;
    Ok(Target::Given(url))
}
