//! A definition as it stands in its file, before anything but its shape was checked.
//!
//! Invariant: an unknown key is an error, and what a check may complain about keeps its place.

use serde::Deserialize;
use toml::Spanned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Definition {
    pub(super) schema: Spanned<i64>,
    pub(super) id: Spanned<String>,
    pub(super) platform_id: Option<Spanned<i64>>,
    pub(super) name: Option<Spanned<String>>,
    pub(super) port: Option<Spanned<i64>>,
    pub(super) eol: Option<Spanned<String>>,
    pub(super) pty: Option<Pty>,
    pub(super) prompt: Option<Spanned<String>>,
    pub(super) pager: Option<Pager>,
    pub(super) login_suffix: Option<Spanned<String>>,
    pub(super) limits: Limits,
    pub(super) secret: SecretRule,
    #[serde(default)]
    pub(super) errors: Vec<Complaint>,
    pub(super) op: Spanned<Operations>,
}

/// `pty`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pty {
    pub(super) term: Spanned<String>,
    pub(super) cols: Spanned<i64>,
    pub(super) rows: Spanned<i64>,
}

/// `pager`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pager {
    #[serde(rename = "match")]
    pub(super) pattern: Spanned<String>,
    pub(super) send: Spanned<String>,
}

/// `limits`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) step_s: Spanned<i64>,
    pub(super) total_s: Spanned<i64>,
    pub(super) buffer_kib: Spanned<i64>,
}

/// `secret`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretRule {
    pub(super) min: Spanned<i64>,
    pub(super) max: Spanned<i64>,
    pub(super) forbid: Option<Spanned<String>>,
}

/// One of `errors`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Complaint {
    #[serde(rename = "match")]
    pub(super) pattern: Spanned<String>,
    #[serde(rename = "as")]
    pub(super) class: ClassName,
    #[serde(default)]
    pub(super) scope: ScopeName,
}

/// The classes that a system's own words can mean.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClassName {
    Incompatible,
    Denied,
    Locked,
    Expired,
    Privilege,
    Refused,
    Busy,
    NoAccount,
    Unknown,
}

/// Whose trouble it is.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ScopeName {
    #[default]
    Account,
    System,
}

/// `op`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Operations {
    pub(super) set_password: Option<Spanned<Operation>>,
    pub(super) change_own: Option<Spanned<Operation>>,
    pub(super) check: Option<Spanned<Operation>>,
}

/// One operation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Operation {
    pub(super) channel: Spanned<ChannelName>,
    pub(super) run: Option<Spanned<String>>,
    pub(super) verify: Option<Spanned<VerifyName>>,
    pub(super) undo_s: Option<Spanned<i64>>,
    #[serde(default)]
    pub(super) step: Vec<Spanned<Step>>,
    #[serde(default)]
    pub(super) abort: Vec<Spanned<String>>,
}

/// `channel`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum ChannelName {
    Exec,
    ExecPty,
    Shell,
}

/// `verify`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum VerifyName {
    Login,
    None,
}

/// One step.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) send: Option<Spanned<String>>,
    pub(super) expect: Option<Spanned<Vec<Spanned<Arm>>>>,
    #[serde(default)]
    pub(super) commit: bool,
    #[serde(default)]
    pub(super) save: bool,
    #[serde(rename = "step_s")]
    pub(super) limit_s: Option<Spanned<i64>>,
}

/// One of a step's `expect`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Arm {
    #[serde(rename = "match")]
    pub(super) pattern: Option<Spanned<String>>,
    pub(super) exit: Option<Spanned<i64>>,
    pub(super) send: Option<Spanned<String>>,
    pub(super) max: Option<Spanned<i64>>,
    #[serde(default)]
    pub(super) commit: bool,
}
