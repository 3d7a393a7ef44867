//! Notices: what a reveal becomes for one action.
//!
//! Invariant: nothing here knows a value; and a rendered text is made once, so that every attempt
//! sends the same.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::Trigger;
use super::action::Content;
use super::filter::{Filter, passes};
use super::template::{RENDERED_MAX_BYTES, Template, Variable};
use crate::model::Timestamp;
use crate::model::id::{OrganizationId, PasswordCategoryId, PasswordRecordId, UserId};
use crate::model::organization::OrganizationStatus;
use crate::model::reveal::{AccessMethod, Reader, Reveal, Subject, page_path};

/// Passwords that a notice of an export names.
const NAMED_MAX: usize = 20;
/// Longest value of one variable.
const VALUE_MAX_BYTES: usize = 8_192;

/// One reveal, as one workflow tells it.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// What happened.
    pub reveal: &'a Reveal,
    /// What of it passed the filters: see [`chosen`].
    pub seen: &'a [&'a Subject],
    /// Which workflow.
    pub workflow: &'a str,
    /// What set it off.
    pub trigger: Trigger,
    /// The reveal's own id, the same in all its notices.
    pub event_id: &'a str,
    /// Where people reach the service, without a slash at the end.
    pub public_url: &'a str,
}

/// What of a reveal a workflow names: of an export all that passes its filters, of a single value
/// the first. Empty: the workflow has nothing to tell.
pub fn chosen<'a>(filters: &[Filter], reveal: &'a Reveal) -> Vec<&'a Subject> {
    let passing = reveal.seen.iter().filter(|seen| passes(filters, seen));
    let most = if reveal.export { usize::MAX } else { 1 };
    passing.take(most).collect()
}

/// A notice, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// A mail's subject; empty otherwise.
    pub subject: String,
    /// A mail's text; otherwise a JSON document.
    pub body: String,
}

/// Renders a notice for an action.
pub fn render(notice: &Notice<'_>, action: &str, content: &Content) -> Rendered {
    let fill = |template: &Template| template.fill(|variable| notice.value(variable, action));
    match content {
        Content::Email { subject, body, .. } => Rendered {
            subject: one_line(&fill(subject)),
            body: fill(body),
        },
        Content::Webhook { payload } => {
            let mut object = Map::new();
            for (key, template) in payload {
                object.insert(key.clone(), Value::String(fill(template)));
            }
            if payload.is_empty() {
                for variable in Variable::ALL {
                    let value = fill(&Template::of(*variable));
                    object.insert(variable.name().to_owned(), Value::String(value));
                }
            }
            Rendered {
                subject: String::new(),
                body: Value::Object(object).to_string(),
            }
        }
        Content::Slack { subject, body } => {
            let subject = escaped(&one_line(&fill(subject)));
            let text = format!("*{subject}*\n{}", escaped(&fill(body)));
            Rendered {
                subject: String::new(),
                body: json!({"text": text}).to_string(),
            }
        }
    }
}

/// No line break reaches a header.
fn one_line(text: &str) -> String {
    let words = text.split(char::is_control).filter(|part| !part.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// Slack's three. Source: its guide to formatting, "Escaping text".
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

impl Notice<'_> {
    /// The value of a variable, cut at 8 KiB. Several subjects give their distinct values, with
    /// commas between them.
    fn value(&self, variable: Variable, action: &str) -> String {
        let reveal = self.reveal;
        let value = match variable {
            Variable::TriggerName => self.trigger.title().to_owned(),
            Variable::WorkflowName => self.workflow.to_owned(),
            Variable::ActionName => action.to_owned(),
            Variable::EventId => self.event_id.to_owned(),
            Variable::AccessMethod => reveal.method.as_str().to_owned(),
            Variable::AccessedAt => reveal.at.rfc3339(),
            Variable::UserName => reveal.by.name.clone(),
            Variable::UserEmail => reveal.by.email.clone(),
            Variable::IpAddress => reveal.by.address.clone(),
            Variable::ResourceCount => self.seen.len().to_string(),
            Variable::VersionId => reveal
                .version
                .map_or_else(String::new, |version| version.to_string()),
            Variable::ResourceName => self.names(),
            Variable::ResourceUrl => self.each(|seen| Some(Cow::Owned(self.url(seen)))),
            Variable::ResourceId => self.each(|seen| number(resource_id(seen))),
            Variable::OrganizationName => {
                self.each(|seen| seen.organization.as_ref().map(|one| Cow::Borrowed(&*one.1)))
            }
            Variable::OrganizationId => {
                self.each(|seen| number(seen.organization.as_ref().map(|one| one.0.0)))
            }
            Variable::OrganizationStatus => self.each(|seen| {
                let status = seen.organization.as_ref()?.2;
                Some(Cow::Borrowed(status.name()))
            }),
            Variable::PasswordCategory => {
                self.each(|seen| seen.category.as_ref().map(|one| Cow::Borrowed(&*one.1)))
            }
            Variable::Username => self.each(|seen| seen.username.as_deref().map(Cow::Borrowed)),
            Variable::Url => self.each(|seen| seen.url.as_deref().map(Cow::Borrowed)),
            Variable::UpdatedBy => {
                self.each(|seen| seen.updated_by.as_ref().map(|one| Cow::Borrowed(&*one.1)))
            }
            Variable::ManagedAccount => {
                self.each(|seen| seen.account.as_ref().map(|one| Cow::Borrowed(&*one.1)))
            }
        };
        cut(value, VALUE_MAX_BYTES)
    }

    fn names(&self) -> String {
        let names = self.each(|seen| Some(Cow::Borrowed(&*seen.name)));
        match self.seen.len().saturating_sub(NAMED_MAX) {
            0 => names,
            more => format!("{} and {more} more", cut(names, VALUE_MAX_BYTES - 64)),
        }
    }

    fn each<'s>(&'s self, of: impl Fn(&'s Subject) -> Option<Cow<'s, str>>) -> String {
        let mut values: Vec<Cow<'s, str>> = Vec::new();
        for subject in self.seen.iter().take(NAMED_MAX) {
            if let Some(value) = of(subject)
                && !value.is_empty()
                && !values.contains(&value)
            {
                values.push(value);
            }
        }
        values.join(", ")
    }

    fn url(&self, seen: &Subject) -> String {
        let organization = seen.organization.as_ref().map(|(id, ..)| *id);
        let account = seen.account.as_ref().map(|(id, _)| *id);
        let path = page_path(organization, seen.record_id, account);
        format!("{}{}", self.public_url, path.unwrap_or_default())
    }
}

fn number<'s>(id: Option<i64>) -> Option<Cow<'s, str>> {
    id.map(|id| Cow::Owned(id.to_string()))
}

fn resource_id(seen: &Subject) -> Option<i64> {
    let account = seen.account.as_ref().map(|(account, _)| account.0);
    seen.record_id.map(|id| id.0).or(account)
}

fn cut(mut text: String, most: usize) -> String {
    debug_assert!(most <= RENDERED_MAX_BYTES);
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// A reveal that never happened, to try actions with.
pub fn sample(by: Reader, at: Timestamp) -> Reveal {
    let organization = (
        OrganizationId(1),
        "Sample Organization".to_owned(),
        OrganizationStatus::Active,
    );
    Reveal {
        method: AccessMethod::Show,
        at,
        version: None,
        seen: vec![Subject {
            record_id: Some(PasswordRecordId(1)),
            account: None,
            name: "Sample Password".to_owned(),
            username: Some("sample".to_owned()),
            url: Some("https://sample.example.com".to_owned()),
            notes: None,
            organization: Some(organization),
            category: Some((PasswordCategoryId(1), "Administrative".to_owned())),
            updated_by: Some((UserId(by.user_id.0), by.name.clone())),
        }],
        by,
        export: false,
    }
}
