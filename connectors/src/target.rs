//! Where a target is, how it is recognised and who acts there.
//!
//! Invariant: a [`Login`] holds nothing that any target's command line or dialogue could read as
//! more than a name.

use std::fmt;
#[cfg(feature = "dialogue")]
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Credential, wire};
#[cfg(feature = "dialogue")]
use crate::{Secret, dialogue::Dialogue};

/// One managed system, as far as a connector needs to know it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The longest that one call may take.
    pub timeout: Duration,
    /// How many exchanges one session may have in flight, at least 1.
    pub in_flight: usize,
    /// What belongs to its kind alone.
    pub kind: TargetKind,
}

/// What belongs to one kind of target alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum TargetKind {
    /// A host that is reached by SSH.
    Ssh(SshTarget),
    /// A directory that is reached by LDAP over TLS.
    Ldap(LdapTarget),
    /// A system that is reached by SSH and spoken to as its platform's definition says.
    #[cfg(feature = "dialogue")]
    Dialogue(DialogueTarget),
    /// A target in memory, for tests.
    #[cfg(feature = "fake")]
    Fake,
}

/// How a system with a dialogue is recognised and spoken to.
#[cfg(feature = "dialogue")]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DialogueTarget {
    /// The pinned host key. Without one, [`crate::Connector::open`] refuses before any login.
    pub host_key: Option<HostKey>,
    /// What its platform's definition says.
    #[serde(with = "crate::dialogue::on_wire")]
    pub platform: Arc<Dialogue>,
    /// What the platform's `{secret:enable}` stands for.
    #[serde(with = "wire::optional_secret")]
    pub enable: Option<Secret>,
}

/// How an SSH host is recognised and how rights are raised there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SshTarget {
    /// The pinned host key. Without one, [`crate::Connector::open`] refuses before any login.
    pub host_key: Option<HostKey>,
    /// How the functional account gains the right to change others.
    pub elevation: Elevation,
}

/// How the functional account gains the right to change others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Elevation {
    /// The functional account is root.
    None,
    /// `sudo -n`.
    Sudo,
    /// `doas -n`.
    Doas,
    /// `pbrun`, of Privilege Management for Unix and Linux.
    Pbrun,
    /// `pmrun`, of Privilege Manager for Unix.
    Pmrun,
}

/// An SSH host key: the algorithm's name and the SHA-256 of its public blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostKey {
    /// For example `ssh-ed25519`.
    #[serde(deserialize_with = "wire::word")]
    pub algorithm: String,
    /// SHA-256 of the wire-format public key.
    pub sha256: [u8; 32],
}

/// How a directory is recognised and searched.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LdapTarget {
    /// True: plain port and StartTLS. False: TLS from the first byte.
    pub starttls: bool,
    /// PEM bundle of the authorities that may sign the directory's certificate.
    ///
    /// Empty: no directory can be trusted, and none is. System roots are never used.
    pub ca_pem: String,
    /// The name that the certificate must carry, if not [`Target::host`].
    pub server_name: Option<String>,
    /// Where accounts without a DN are looked up.
    pub base_dn: String,
    /// What the directory was found to be, once it is pinned: `openldap`, `389ds`, `ad`, `samba`,
    /// `generic`. `ad` admits Samba, too. `None`: it is found out anew.
    pub flavour: Option<String>,
    /// The attribute that holds SSH public keys, if not the flavour's own.
    pub key_attribute: Option<String>,
}

/// Who answered at a target's address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Identity {
    /// An SSH server and its host key.
    Ssh(HostKey),
    /// A directory and what its root DSE says it is.
    Ldap {
        /// As it is pinned in [`LdapTarget::flavour`].
        #[serde(deserialize_with = "wire::word")]
        flavour: String,
    },
    /// The target in memory.
    Fake,
}

/// The privileged login that a connector uses.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Functional {
    /// Its account.
    pub account: Account,
    /// What it logs in with.
    pub credential: Credential,
}

/// One account on a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its login name.
    pub login: Login,
    /// Its distinguished name, or the identifier of its entry as `<GUID=…>`; directories only.
    pub dn: Option<String>,
    /// True: it changes its own credential; no functional account is asked.
    pub uses_own: bool,
}

impl Account {
    /// An account that a functional account changes.
    pub fn named(login: Login, dn: Option<String>) -> Self {
        Self {
            login,
            dn,
            uses_own: false,
        }
    }
}

/// A login name that no target can read as anything else.
///
/// 1 to 245 characters, no control character, no `:`; further limits are the connector's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Login(String);

/// Why a text is no [`Login`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// Nothing was given.
    #[error("an account name must not be empty")]
    Empty,
    /// Longer than 245 characters.
    #[error("an account name has at most 245 characters")]
    TooLong,
    /// A control character or a colon.
    #[error("an account name holds no control character and no colon")]
    Character,
}

impl Login {
    /// The longest name, in characters. Source: Password Safe `AccountName`.
    pub const MAX_CHARS: usize = 245;

    /// Parses a name.
    ///
    /// # Errors
    /// [`LoginError`] says what is wrong with it.
    pub fn parse(raw: &str) -> Result<Self, LoginError> {
        if raw.is_empty() {
            return Err(LoginError::Empty);
        }
        if raw.chars().count() > Self::MAX_CHARS {
            return Err(LoginError::TooLong);
        }
        // chpasswd reads lines of `name:password`.
        if raw.chars().any(|c| c.is_control() || c == ':') {
            return Err(LoginError::Character);
        }
        Ok(Self(raw.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Login {
    type Error = LoginError;

    fn try_from(raw: String) -> Result<Self, LoginError> {
        Self::parse(&raw)
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
