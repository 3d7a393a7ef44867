//! `[smtp]` and `[notify]`: how notices are sent.
//!
//! Invariant: the mail server's password is only ever read from a file of its own.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::key::Addresses;
use crate::model::workflow::email_fault;

/// `[smtp]`: the mail server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Smtp {
    /// Its name; empty: mails wait until there is one.
    pub host: String,
    /// Its port.
    pub port: u32,
    /// How the connection is protected.
    pub security: SmtpSecurity,
    /// Who signs in; empty: nobody.
    pub user: String,
    /// The file of their password. A service credential `smtp.password` has taken its place here
    /// already.
    pub password_file: Option<PathBuf>,
    /// The sender's address.
    pub from: String,
    /// Longest exchange of one mail.
    pub timeout_s: u32,
    /// Authorities that are trusted instead of the machine's, PEM.
    pub ca_file: Option<PathBuf>,
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 587,
            security: SmtpSecurity::StartTls,
            user: String::new(),
            password_file: None,
            from: String::new(),
            timeout_s: 10,
            ca_file: None,
        }
    }
}

impl Smtp {
    /// What its settings ask of each other.
    pub(super) fn rules(&self) -> Vec<(&'static str, String)> {
        let mut broken = Vec::new();
        if self.host.is_empty() {
            return broken;
        }
        if let Some(problem) = email_fault(&self.from) {
            let what = format!("{problem}: notices are sent from it");
            broken.push(("smtp.from", what));
        }
        if self.user.is_empty() != self.password_file.is_none() {
            let what = "goes with smtp.password_file: both, or neither";
            broken.push(("smtp.user", what.to_owned()));
        }
        if self.security == SmtpSecurity::None && !self.user.is_empty() {
            let what = "is none, so the password would cross the network in the clear: set \
                        starttls or tls, or no smtp.user";
            broken.push(("smtp.security", what.to_owned()));
        }
        broken
    }
}

/// How the connection to the mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum SmtpSecurity {
    /// TLS from the server's greeting on; without it, nothing is sent.
    #[default]
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// Not at all.
    None,
}

impl TryFrom<String> for SmtpSecurity {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, &'static str> {
        match name.as_str() {
            "starttls" => Ok(Self::StartTls),
            "tls" => Ok(Self::Tls),
            "none" => Ok(Self::None),
            _ => Err("must be starttls, tls or none"),
        }
    }
}

/// `[notify]`: where notices may go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notify {
    /// Networks of webhooks that are reached although they are not public, with commas between
    /// them.
    pub allow_addresses: Addresses,
}
