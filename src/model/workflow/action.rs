//! What a workflow does: mail, webhook, Slack.
//!
//! Invariant: no content holds an address that is a secret; those stand beside it, sealed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::template::Template;
use crate::model::fault::Faults;

/// Most recipients of one mail.
const RECIPIENTS_MAX: usize = 50;
/// Longest subject, and longest body, as they are written.
const SUBJECT_MAX_CHARS: usize = 255;
const BODY_MAX_CHARS: usize = 10_000;
/// Most values of a webhook, and the longest key and value.
const PAYLOAD_MAX: usize = 50;
const KEY_MAX_CHARS: usize = 255;
const VALUE_MAX_CHARS: usize = 1_000;
/// Longest address. Source: RFC 5321, 4.5.3.1.3.
const EMAIL_MAX_BYTES: usize = 254;

/// By which way a notice goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// SMTP.
    Email,
    /// A signed POST.
    Webhook,
    /// A POST of Slack's form.
    Slack,
}

impl Channel {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::Email, Self::Webhook, Self::Slack];

    /// As it stands on the wire, in the database and in the metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Webhook => "webhook",
            Self::Slack => "slack",
        }
    }

    /// Reads it back.
    pub fn parse(raw: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == raw)
    }
}

/// What an action sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Content {
    /// One mail to all recipients.
    Email {
        /// One line.
        subject: Template,
        /// Plain text.
        body: Template,
        /// At least one.
        recipients: Vec<String>,
    },
    /// A flat JSON object of texts; without any it holds every variable.
    Webhook {
        /// Templates by their keys.
        payload: BTreeMap<String, Template>,
    },
    /// One message.
    Slack {
        /// One line, in bold.
        subject: Template,
        /// What follows.
        body: Template,
    },
}

impl Content {
    /// By which way it goes.
    pub const fn channel(&self) -> Channel {
        match self {
            Self::Email { .. } => Channel::Email,
            Self::Webhook { .. } => Channel::Webhook,
            Self::Slack { .. } => Channel::Slack,
        }
    }

    pub(super) fn check(&self, faults: &mut Faults) {
        match self {
            Self::Email {
                subject,
                body,
                recipients,
            } => {
                message(faults, subject, body);
                if recipients.is_empty() {
                    faults.add("recipients", "is required: name at least one");
                }
                if recipients.len() > RECIPIENTS_MAX {
                    faults.add("recipients", format!("must be at most {RECIPIENTS_MAX}"));
                }
                if let Some(problem) = recipients.iter().find_map(|one| email_fault(one)) {
                    faults.add("recipients", problem);
                }
            }
            Self::Webhook { payload } => {
                if payload.len() > PAYLOAD_MAX {
                    faults.add("payload", format!("must have at most {PAYLOAD_MAX} values"));
                }
                for (key, value) in payload {
                    faults.required("payload", key, KEY_MAX_CHARS);
                    let value = value.source().to_owned();
                    faults.prose("payload", Some(&value), VALUE_MAX_CHARS);
                }
            }
            Self::Slack { subject, body } => message(faults, subject, body),
        }
    }
}

fn message(faults: &mut Faults, subject: &Template, body: &Template) {
    faults.required("subject", subject.source(), SUBJECT_MAX_CHARS);
    if body.source().trim().is_empty() {
        faults.add("body", "is required");
    }
    let body = body.source().to_owned();
    faults.prose("body", Some(&body), BODY_MAX_CHARS);
}

/// What is wrong with a mail address; it is not repeated.
///
/// Only what a mail system would take anyhow passes: one `@`, letters, digits and the usual marks.
/// Quoted local parts and comments are refused, since headers are made of it.
pub fn email_fault(address: &str) -> Option<&'static str> {
    if address.len() > EMAIL_MAX_BYTES {
        return Some("must have at most 254 bytes");
    }
    let Some((local, domain)) = address.split_once('@') else {
        return Some("must be a mail address");
    };
    let dotted = |part: &str, allowed: fn(char) -> bool| {
        part.split('.')
            .all(|label| !label.is_empty() && label.chars().all(allowed))
    };
    let local_is = dotted(local, |c| {
        c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c)
    });
    let domain_is = dotted(domain, |c| c.is_ascii_alphanumeric() || c == '-');
    (!local_is || !domain_is || local.len() > 64).then_some("must be a mail address")
}
