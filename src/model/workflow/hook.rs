//! Addresses of webhooks and of Slack: their path and query are as good as a password.
//!
//! Invariant: nothing prints more of an address than its scheme, host and port.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// Longest address; the services that hand them out stay far below.
const URL_MAX_BYTES: usize = 2_048;
/// What stands in the secret part's place.
const MASK: &str = "***";

/// Where a webhook or a Slack message goes.
#[derive(Clone)]
pub struct HookUrl {
    whole: SecretString,
    masked: String,
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HookUrl({})", self.masked)
    }
}

/// Why a text is no address; none repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HookUrlError {
    /// Correct it.
    #[error("must be a URL that begins with https:// or http://")]
    NoUrl,
    /// Use the address alone: user names and passwords in it are sent by nobody.
    #[error("must hold no user name and no password")]
    UserInfo,
    /// Cut it off.
    #[error("must not end in a #fragment")]
    Fragment,
    /// Shorten it.
    #[error("must have at most {URL_MAX_BYTES} bytes")]
    TooLong,
    /// Give it whole.
    #[error("is masked: give the whole URL, or the id of the action that keeps it")]
    Masked,
}

impl HookUrl {
    /// Reads an address that somebody gave.
    ///
    /// # Errors
    /// [`HookUrlError`].
    pub fn of(given: &SecretString) -> Result<Self, HookUrlError> {
        #[expect(clippy::disallowed_methods, reason = "it is taken apart")]
        Self::parse(given.expose_secret())
    }

    /// Reads an address.
    ///
    /// # Errors
    /// [`HookUrlError`].
    pub fn parse(raw: &str) -> Result<Self, HookUrlError> {
        if raw.len() > URL_MAX_BYTES {
            return Err(HookUrlError::TooLong);
        }
        let url = Url::parse(raw.trim()).map_err(|_| HookUrlError::NoUrl)?;
        let host = match (url.scheme(), url.host_str()) {
            ("http" | "https", Some(host)) if !host.is_empty() => host,
            _ => return Err(HookUrlError::NoUrl),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(HookUrlError::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(HookUrlError::Fragment);
        }
        if url.path().ends_with(MASK) {
            return Err(HookUrlError::Masked);
        }
        let port = url
            .port()
            .map_or_else(String::new, |port| format!(":{port}"));
        let secret = url.path() != "/" || url.query().is_some();
        let rest = if secret { MASK } else { "" };
        let masked = format!("{}://{host}{port}/{rest}", url.scheme());
        Ok(Self {
            whole: SecretString::from(String::from(url)),
            masked,
        })
    }

    /// Without its secret part: `https://siem.example.com/***`.
    pub fn masked(&self) -> &str {
        &self.masked
    }

    /// The whole address.
    pub fn whole(&self) -> &SecretString {
        &self.whole
    }
}
