//! A platform's definition, checked: what is said to a system, and what it may answer.
//!
//! Invariant: a definition exists only if every rule of `parse.rs` holds for it.

use std::time::Duration;

use regex::Regex;

use crate::{Account, Class, Scope};

/// One platform, as its definition describes it.
#[derive(Clone, Debug)]
pub struct Dialogue {
    pub(super) text: String,
    pub(super) id: String,
    pub(super) platform_id: Option<i64>,
    pub(super) name: Option<String>,
    pub(super) port: u16,
    pub(super) eol: String,
    pub(super) pty: Pty,
    pub(super) prompt: Option<Regex>,
    pub(super) pager: Option<Pager>,
    pub(super) login_suffix: String,
    pub(super) limits: Limits,
    pub(super) secret: SecretRule,
    pub(super) errors: Vec<Complaint>,
    pub(super) set_password: Option<Operation>,
    pub(super) change_own: Option<Operation>,
    pub(super) check: Operation,
}

impl Dialogue {
    /// The definition itself: [`Dialogue::parse`] makes the same of it in another process.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its id: 1 to 32 of `a-z`, `0-9`, `_`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The number that managed systems refer to; a [`super::Library`] holds none without.
    pub fn platform_id(&self) -> Option<i64> {
        self.platform_id
    }

    /// What people call the platform: up to 64 characters; its id if it has no name.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }

    /// TCP port of systems that name none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Narrows the lengths of a password, in characters, to what the platform takes.
    pub fn narrow(&self, minimum: &mut u16, maximum: &mut u16) {
        let chars = |chars| u16::try_from(chars).unwrap_or(u16::MAX);
        let (low, high) = (chars(self.secret.min_chars), chars(self.secret.max_chars));
        *minimum = (*minimum).clamp(low, high);
        *maximum = (*maximum).clamp(low, high);
    }

    /// True if accounts of the platform can change themselves.
    pub fn changes_own(&self) -> bool {
        self.change_own.is_some()
    }

    /// True if any of its dialogues sends the enable secret.
    pub fn takes_enable(&self) -> bool {
        let operations = [&self.set_password, &self.change_own];
        let operations = operations.into_iter().flatten().chain([&self.check]);
        let mut templates = operations.flat_map(|operation| {
            let steps = operation.steps.iter().chain(&operation.saves);
            steps.flat_map(|step| {
                let arms = step.arms.iter().filter_map(|arm| arm.send.as_ref());
                step.send.iter().chain(arms)
            })
        });
        templates.any(|template| template.secrets().any(|which| which == Which::Enable))
    }

    /// How long a change that nobody confirmed may still be taken back by the system.
    pub fn undo(&self, account: &Account) -> Option<Duration> {
        let operation = if account.uses_own {
            self.change_own.as_ref()
        } else {
            self.set_password.as_ref()
        };
        operation?.undo
    }
}

/// The terminal that a system is told of.
#[derive(Clone, Debug)]
pub(super) struct Pty {
    pub(super) term: String,
    pub(super) cols: u32,
    pub(super) rows: u32,
}

/// How a system that stops after each page is made to go on.
#[derive(Clone, Debug)]
pub(super) struct Pager {
    pub(super) pattern: Regex,
    pub(super) send: String,
}

/// What bounds a dialogue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) step: Duration,
    pub(super) total: Duration,
    pub(super) buffer_bytes: usize,
}

/// Which passwords the platform takes.
#[derive(Clone, Debug)]
pub(super) struct SecretRule {
    pub(super) min_chars: usize,
    pub(super) max_chars: usize,
    pub(super) forbid: Option<Regex>,
}

/// Words by which a system says no.
#[derive(Clone, Debug)]
pub(super) struct Complaint {
    pub(super) pattern: Regex,
    pub(super) class: Class,
    pub(super) scope: Scope,
}

/// One operation.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    /// As the file calls it: `set_password`, `change_own`, `check`.
    pub(super) name: &'static str,
    pub(super) start: Start,
    /// True: a login with the new password must succeed before anything is saved.
    pub(super) verify: bool,
    /// How long after a commit that nothing confirmed the system takes it back by itself.
    pub(super) undo: Option<Duration>,
    /// Up to and with the commit, and what follows it before the save.
    pub(super) steps: Vec<Step>,
    /// What makes the change outlive a reboot.
    pub(super) saves: Vec<Step>,
    pub(super) abort: Vec<Template>,
}

/// What is opened on the connection.
#[derive(Clone, Debug)]
pub(super) enum Start {
    /// A command, without a terminal.
    Exec(Template),
    /// A command on a terminal that does not echo.
    ExecPty(Template),
    /// The system's own command line; its prompt is awaited first.
    Shell,
}

/// One step: something is sent, then one of the arms is awaited.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) send: Option<Template>,
    pub(super) arms: Vec<Arm>,
    pub(super) commit: bool,
    pub(super) limit: Duration,
}

/// One answer that a step may get.
#[derive(Clone, Debug)]
pub(super) struct Arm {
    pub(super) on: On,
    /// What is answered; the step goes on then.
    pub(super) send: Option<Template>,
    /// How often it is answered at most.
    pub(super) max: u32,
    pub(super) commit: bool,
}

/// What an arm waits for.
#[derive(Clone, Debug)]
pub(super) enum On {
    Text(Regex),
    Exit(i32),
}

/// A text with places for names and secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(pub(super) Vec<Piece>);

/// One piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Account,
    Secret(Which),
}

/// Which secret stands in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    New,
    Old,
    Enable,
}

impl Which {
    pub(super) const ALL: [Self; 3] = [Self::New, Self::Old, Self::Enable];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Old => "old",
            Self::Enable => "enable",
        }
    }
}

impl Template {
    /// The secrets that it sends.
    pub(super) fn secrets(&self) -> impl Iterator<Item = Which> + '_ {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Secret(which) => Some(*which),
            Piece::Text(_) | Piece::Account => None,
        })
    }

    /// Parses a text. `{account}`, `{secret:new}`, `{secret:old}` and `{secret:enable}` are
    /// places; `{{` and `}}` are braces.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = from.strip_prefix("{{").or(from.strip_prefix("}}")) {
                plain.push_str(from.get(..1).unwrap_or_default());
                rest = after;
                continue;
            }
            let inside = from.strip_prefix('{').and_then(|from| from.split_once('}'));
            let Some((name, after)) = inside else {
                return Err("a brace stands alone; write {{ or }} for the character".into());
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(place(name)?);
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }
}

fn place(name: &str) -> Result<Piece, String> {
    if name == "account" {
        return Ok(Piece::Account);
    }
    let secret = name.strip_prefix("secret:");
    let which = secret.and_then(|secret| Which::ALL.into_iter().find(|one| one.name() == secret));
    which.map(Piece::Secret).ok_or_else(|| {
        format!(
            "{{{name}}} is no placeholder: there are {{account}}, {{secret:new}}, {{secret:old}} \
             and {{secret:enable}}"
        )
    })
}
