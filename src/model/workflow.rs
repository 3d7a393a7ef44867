//! Workflows: who is told that somebody has seen a password.
//!
//! A workflow has a trigger, filters and actions. A reveal that passes all its filters makes one
//! delivery for each of its actions.
//!
//! Invariant: a stored workflow has passed [`WorkflowFields::faults`]: its filters can match, and
//! every variable of its templates is known.

mod action;
mod alert;
mod delivery;
mod filter;
mod hook;
mod notice;
mod template;

use super::Timestamp;
use super::fault::{Fault, Faults};
use super::id::{WorkflowActionId, WorkflowId};

pub use action::{Channel, Content, email_fault};
pub use alert::{Failure, alert};
pub use delivery::{Attempt, Delivery, DeliveryKind, DeliveryState, WAITS, next_wait};
pub use filter::{Filter, FilterFault, IdField, TextField, TextOperator, contradictions, passes};
pub use hook::{HookUrl, HookUrlError};
pub use notice::{Notice, Rendered, chosen, render, sample};
pub use template::{Template, TemplateError, Variable};

/// What sets a workflow off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Somebody has seen a value.
    PasswordAccess,
}

impl Trigger {
    /// Every trigger.
    pub const ALL: [Self; 1] = [Self::PasswordAccess];

    /// As it stands on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PasswordAccess => "password_access",
        }
    }

    /// What people read: `[trigger_name]`.
    pub const fn title(self) -> &'static str {
        match self {
            Self::PasswordAccess => "Password Access",
        }
    }

    /// Reads it back.
    pub fn parse(raw: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == raw)
    }
}

/// What people write of a workflow, beside its actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowFields {
    /// What people read; unique in any case.
    pub name: String,
    /// What sets it off.
    pub trigger: Trigger,
    /// Who is told that a notice could not be delivered.
    pub failure_email: String,
    /// False: reveals make no deliveries; those that are queued still go.
    pub on: bool,
    /// What a reveal must pass, all of them.
    pub filters: Vec<Filter>,
}

impl WorkflowFields {
    /// Most filters of one workflow.
    pub const FILTERS_MAX: usize = 20;
    /// Most actions of one workflow.
    pub const ACTIONS_MAX: usize = 10;
    /// Longest name of a workflow or an action.
    pub const NAME_MAX_CHARS: usize = 255;

    /// What is wrong with it; filters that contradict each other are told by [`contradictions`].
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Faults::default();
        faults.required("name", &self.name, Self::NAME_MAX_CHARS);
        if let Some(problem) = email_fault(&self.failure_email) {
            faults.add("failure_email", problem);
        }
        if self.filters.len() > Self::FILTERS_MAX {
            faults.add("filters", format!("must be at most {}", Self::FILTERS_MAX));
        }
        faults.found()
    }
}

/// One thing that a workflow does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Its id; an edit of the workflow keeps it.
    pub id: WorkflowActionId,
    /// What people read.
    pub name: String,
    /// What is sent.
    pub content: Content,
    /// Where to, without its secret part; `None` of a mail.
    pub masked_url: Option<String>,
}

impl Action {
    /// What is wrong with its name and its content.
    pub fn faults(name: &str, content: &Content) -> Vec<Fault> {
        let mut faults = Faults::default();
        faults.required("name", name, WorkflowFields::NAME_MAX_CHARS);
        content.check(&mut faults);
        faults.found()
    }
}

/// A workflow as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workflow {
    /// Its id.
    pub id: WorkflowId,
    /// What people write.
    pub fields: WorkflowFields,
    /// What it does, in order.
    pub actions: Vec<Action>,
    /// Counts edits; the guard of the next.
    pub revision: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its last edit.
    pub updated_at: Timestamp,
}

#[cfg(test)]
mod tests;
