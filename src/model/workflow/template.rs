//! Templates: texts with variables in brackets.
//!
//! `[resource_name]` stands for a value; `[[` stands for one bracket. What stands in brackets and
//! has the form of a name must be a variable; other brackets are text.
//!
//! Invariant: a value that holds brackets is never read as a template.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest text that a template becomes: an export may name twenty passwords.
pub(super) const RENDERED_MAX_BYTES: usize = 65_536;
/// How much of an unknown name an error repeats.
const NAME_SHOWN_CHARS: usize = 64;

macro_rules! variables {
    ($($name:ident = $text:literal,)+) => {
        /// What a template may name. None yields a value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "docs/workflows.md describes each")]
        pub enum Variable {
            $($name,)+
        }

        impl Variable {
            /// Every variable.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// As it stands in brackets.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

variables! {
    TriggerName = "trigger_name",
    ResourceUrl = "resource_url",
    ResourceName = "resource_name",
    OrganizationName = "organization_name",
    WorkflowName = "workflow_name",
    ActionName = "action_name",
    EventId = "event_id",
    AccessMethod = "access_method",
    AccessedAt = "accessed_at",
    UserName = "user_name",
    UserEmail = "user_email",
    IpAddress = "ip_address",
    ResourceId = "resource_id",
    ResourceCount = "resource_count",
    VersionId = "version_id",
    OrganizationId = "organization_id",
    OrganizationStatus = "organization_status",
    PasswordCategory = "password_category",
    Username = "username",
    Url = "url",
    UpdatedBy = "updated_by",
    ManagedAccount = "managed_account",
}

impl Variable {
    /// Reads it back.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.name() == name)
    }
}

/// A name in brackets that is no variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[{name}] at character {position} is no variable")]
pub struct TemplateError {
    /// The name, cut short.
    pub name: String,
    /// Where its bracket opens, counted in characters from 1.
    pub position: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(Variable),
}

/// A text with variables.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", self.source)
    }
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`] names the first variable that is not known, and its place.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some((before, after)) = rest.split_once('[') {
            text.push_str(before);
            if let Some(behind) = after.strip_prefix('[') {
                text.push('[');
                rest = behind;
                continue;
            }
            let Some((name, behind)) = named(after) else {
                text.push('[');
                rest = after;
                continue;
            };
            let variable = Variable::parse(name).ok_or_else(|| {
                let begun = source.len() - after.len() - 1;
                TemplateError {
                    name: name.chars().take(NAME_SHOWN_CHARS).collect(),
                    position: source.get(..begun).unwrap_or_default().chars().count() + 1,
                }
            })?;
            parts.push(Part::Text(std::mem::take(&mut text)));
            parts.push(Part::Variable(variable));
            rest = behind;
        }
        text.push_str(rest);
        parts.push(Part::Text(text));
        Ok(Self {
            source: source.to_owned(),
            parts,
        })
    }

    /// A template that is one variable.
    pub(super) fn of(variable: Variable) -> Self {
        Self {
            source: format!("[{}]", variable.name()),
            parts: vec![Part::Variable(variable)],
        }
    }

    /// As somebody wrote it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text with values in the variables' places, cut at 64 KiB.
    pub fn fill(&self, value: impl Fn(Variable) -> String) -> String {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Variable(variable) => filled.push_str(&value(*variable)),
            }
            if filled.len() > RENDERED_MAX_BYTES {
                let mut end = RENDERED_MAX_BYTES;
                while !filled.is_char_boundary(end) {
                    end -= 1;
                }
                filled.truncate(end);
                break;
            }
        }
        filled
    }
}

/// The name in front of a closing bracket, and what follows; `None` if that is no name.
fn named(text: &str) -> Option<(&str, &str)> {
    let (name, behind) = text.split_once(']')?;
    let has_its_form = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    (has_its_form && !name.is_empty()).then_some((name, behind))
}

impl TryFrom<String> for Template {
    type Error = TemplateError;

    fn try_from(source: String) -> Result<Self, TemplateError> {
        Self::parse(&source)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.source
    }
}
