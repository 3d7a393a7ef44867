//! Posts webhooks and Slack messages.
//!
//! Invariant: a body that does not end, a redirect and a compressed bomb cost what 4 KiB cost.

use std::error::Error as _;
use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};

use super::address::{Barred, Guard};
use super::signature::{seconds, sign};
use super::{NotifyError, Untaken};
use crate::model::Timestamp;
use crate::model::key::Addresses;

/// How much of an answer's body is read, and how long: only to use the connection again.
const BODY_MAX_BYTES: usize = 4_096;
pub(super) const DRAIN_MAX: Duration = Duration::from_secs(1);
/// How long an unused connection is kept.
const IDLE_MAX: Duration = Duration::from_secs(30);
const IDLE_CONNECTIONS: usize = 4;

/// What is signed, if anything, and what counts as taken.
#[derive(Clone, Copy, Debug)]
pub enum Hook<'a> {
    /// Any 2xx.
    Webhook {
        /// `webhook-id`.
        id: &'a str,
        /// `whsec_…`; without it nothing is signed.
        secret: Option<&'a SecretString>,
    },
    /// 200 alone.
    Slack,
}

/// A JSON document and where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Post<'a> {
    /// Where to.
    pub url: &'a SecretString,
    /// The document.
    pub body: &'a str,
    /// In which form.
    pub hook: Hook<'a>,
}

/// An answer whose status says that the notice was taken.
pub(super) struct Answered {
    pub(super) status: u16,
    rest: Response,
}

impl Answered {
    /// Reads what is left, up to a limit.
    pub(super) async fn drain(mut self) {
        let mut read = 0;
        while let Ok(Some(chunk)) = self.rest.chunk().await {
            read += chunk.len();
            if read >= BODY_MAX_BYTES {
                return;
            }
        }
    }
}

/// The HTTP clients: one for each scheme, since they may reach different addresses.
#[derive(Debug)]
pub(super) struct Poster {
    /// `None`: this machine trusts no certificate authority.
    https: Option<(Client, Guard)>,
    http: (Client, Guard),
}

fn client(guard: &Guard) -> ClientBuilder {
    Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .dns_resolver(std::sync::Arc::new(guard.clone()))
        .pool_idle_timeout(IDLE_MAX)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .user_agent(concat!("keywheel/", env!("CARGO_PKG_VERSION")))
}

impl Poster {
    pub(super) fn new(allow: &Addresses) -> Result<Self, NotifyError> {
        let guard = Guard::new(allow, true);
        let https = client(&guard).https_only(true).build().ok();
        if https.is_none() {
            tracing::warn!(
                "this machine has no certificate authorities: webhooks over HTTPS wait until they \
                 are installed (Debian: ca-certificates) and the service is started again"
            );
        }
        let https = https.map(|client| (client, guard));
        let guard = Guard::new(allow, false);
        // Nothing is verified where nothing is encrypted.
        let http = client(&guard).tls_certs_only([]).build();
        Ok(Self {
            https,
            http: (http.map_err(|_| NotifyError::Http)?, guard),
        })
    }

    pub(super) async fn send(&self, post: &Post<'_>, now: Timestamp) -> Result<Answered, Untaken> {
        #[expect(clippy::disallowed_methods, reason = "it is connected to")]
        let url = Url::parse(post.url.expose_secret());
        let url = url.map_err(|_| Untaken::ever("the URL is none"))?;
        let (client, guard) = match (url.scheme(), &self.https) {
            ("https", Some(https)) => https,
            ("https", None) => {
                return Err(Untaken::now("this machine trusts no certificate authority"));
            }
            _ => &self.http,
        };
        // The client resolves names by the guard, but takes addresses as they are.
        if let Some(address) = literal(&url) {
            guard.allows(address).map_err(barred)?;
        }
        let mut request = client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .body(post.body.to_owned());
        if let Hook::Webhook { id, secret } = post.hook {
            request = request
                .header("webhook-id", id)
                .header("webhook-timestamp", seconds(now));
            if let Some(secret) = secret {
                let signature = sign(secret, id, now, post.body)
                    .ok_or_else(|| Untaken::ever("the signing secret is none: draw a new one"))?;
                request = request.header("webhook-signature", signature);
            }
        }
        let answer = request.send().await.map_err(|error| failed(&error))?;
        let status = answer.status();
        let taken = match post.hook {
            Hook::Webhook { .. } => status.is_success(),
            Hook::Slack => status == StatusCode::OK,
        };
        if taken {
            return Ok(Answered {
                status: status.as_u16(),
                rest: answer,
            });
        }
        Err(refused(status, retry_after(&answer, now)))
    }
}

fn literal(url: &Url) -> Option<std::net::IpAddr> {
    let host = url.host_str()?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    host.parse().ok()
}

fn barred(why: Barred) -> Untaken {
    Untaken::now(format!("the receiver was not contacted: {why}"))
}

fn refused(status: StatusCode, retry_after: Option<Duration>) -> Untaken {
    let code = status.as_u16();
    let why = if status.is_redirection() {
        format!("the receiver answered {code}, a redirect, which is not followed")
    } else {
        format!("the receiver answered {code}")
    };
    Untaken {
        why,
        status: Some(code),
        again: !status.is_client_error() || matches!(code, 408 | 425 | 429),
        retry_after,
    }
}

/// Seconds, or a date. Source: RFC 9110, 10.2.3.
fn retry_after(answer: &Response, now: Timestamp) -> Option<Duration> {
    let value = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at = DateTime::parse_from_rfc2822(value).ok()?;
    Some(Timestamp(at.timestamp_millis()).since(now))
}

/// Why there was no answer, without the words of the library, which hold the URL.
fn failed(error: &reqwest::Error) -> Untaken {
    let mut cause = error.source();
    while let Some(one) = cause {
        if let Some(why) = one.downcast_ref::<Barred>() {
            return barred(*why);
        }
        if one.is::<rustls::Error>() {
            return Untaken::now(
                "TLS with the receiver failed: its certificate is not trusted, or it speaks none",
            );
        }
        if let Some(io) = one.downcast_ref::<std::io::Error>()
            && let Some(inner) = io.get_ref()
        {
            if let Some(why) = inner.downcast_ref::<Barred>() {
                return barred(*why);
            }
            if inner.is::<rustls::Error>() {
                return Untaken::now(
                    "TLS with the receiver failed: its certificate is not trusted, or it speaks none",
                );
            }
        }
        cause = one.source();
    }
    if error.is_connect() {
        Untaken::now("the receiver could not be reached")
    } else {
        Untaken::now("the receiver broke the connection off, or did not speak HTTP")
    }
}
