//! One guarded connection and the few requests that are ever sent on it.
//!
//! Invariant: a link whose request was given up, by whomever, is never used for another one.

use std::future::Future;
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use ldap3::exop::{PasswordModify, WhoAmI};
use ldap3::{
    Ldap, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, Mod, Scope, SearchOptions,
    StdStream,
};
use secrecy::ExposeSecret;

use super::diagnosis::{self, Said};
use super::entry::Entry;
use super::guard::{self, Ending, EndingSlot};
use super::page;
use super::ppolicy::{self, Objection};
use super::tls::Endpoint;
use crate::{Class, Reason, Secret};

/// How many entries of one search are looked at. Two are already one too many.
const ENTRIES_MAX: usize = 8;

/// How often a write is sent to a directory that misjudges the connection.
const SENDS_MAX: usize = 3;

/// A connection over TLS, behind the guard.
pub(super) struct Link {
    ldap: Ldap,
    ending: EndingSlot,
    retired: AtomicBool,
}

/// What a directory answered to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// The result code. Source: RFC 4511 appendix A.
    pub(super) code: u32,
    /// What its password policy says.
    pub(super) objection: Option<Objection>,
    /// What its text says beyond that.
    pub(super) said: Said,
}

impl Reply {
    /// As a directory answers that has more to send.
    const SIZE_LIMIT: Self = Self {
        code: SIZE_LIMIT_EXCEEDED,
        objection: None,
        said: Said::Nothing,
    };

    /// True if the write was not looked at. 389 Directory Server takes a connection for one
    /// without protection for an instant, whenever another request on it begins.
    fn misjudged(self) -> bool {
        self.code != 0 && self.said == Said::Unprotected
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The request never left this process.
    NotSent,
    /// The request may have reached the directory.
    Lost(Reason),
}

impl Fault {
    /// The reason, for requests that change nothing.
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::NotSent => gone(),
            Self::Lost(reason) => reason,
        }
    }
}

/// Retires a link unless its request came to an end: dropped by a time-out or by the caller.
struct Pending<'a> {
    link: &'a Link,
    ended: bool,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.link.retire();
        }
    }
}

impl Link {
    /// Connects. The caller sets the time limit.
    ///
    /// # Errors
    /// A reason of the system's scope; nothing secret was sent.
    #[expect(
        clippy::disallowed_methods,
        reason = "both tasks end when the link is dropped"
    )]
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, Reason> {
        let server = endpoint.connect().await?;
        let (ours, theirs) = socket_pair().map_err(|_| {
            Reason::system(
                Class::Unreachable,
                "this process is out of file descriptors",
            )
        })?;
        let ending = EndingSlot::default();
        tokio::task::spawn(guard::relay(server, ours, Arc::clone(&ending)));
        let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(theirs));
        let (driver, ldap) = LdapConnAsync::with_settings(settings, "ldapi:///")
            .await
            .map_err(|_| Reason::system(Class::Incompatible, "the LDAP library did not start"))?;
        tokio::task::spawn(async move {
            // Its error says no more than the guard's ending, and it may quote a message.
            drop(driver.drive().await);
        });
        Ok(Self {
            ldap,
            ending,
            retired: AtomicBool::new(false),
        })
    }

    /// True if another request may be sent here.
    pub(super) fn usable(&self) -> bool {
        !self.retired.load(Ordering::Acquire)
            && self.ending.get().is_none()
            && !self.ldap.clone().is_closed()
    }

    /// Lets no further request in. Those in flight still get their answers.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Binds with a name and a secret that is not empty.
    pub(super) async fn bind(&self, dn: &str, secret: &Secret) -> Result<Reply, Fault> {
        let mut ldap = self.ldap.clone();
        ldap.with_controls(ppolicy::request());
        #[expect(clippy::disallowed_methods, reason = "a bind carries the password")]
        let bind = async move { ldap.simple_bind(dn, secret.expose_secret()).await };
        self.run(bind).await.map(|result| reply(&result))
    }

    /// Becomes nobody.
    pub(super) async fn unbind_identity(&self) -> Result<Reply, Fault> {
        let mut ldap = self.ldap.clone();
        let bind = async move { ldap.simple_bind("", "").await };
        self.run(bind).await.map(|result| reply(&result))
    }

    /// Asks who we are. `None`: not answered with an identity.
    pub(super) async fn who_am_i(&self) -> Result<Option<String>, Fault> {
        let mut ldap = self.ldap.clone();
        let ask = async move { ldap.extended(WhoAmI).await };
        let ldap3::result::ExopResult(answer, result) = self.run(ask).await?;
        Ok((result.rc == 0)
            .then_some(answer.val)
            .flatten()
            .and_then(|value| String::from_utf8(value).ok())
            .and_then(|text| Some(text.strip_prefix("dn:")?.trim().to_owned()))
            .filter(|dn| !dn.is_empty()))
    }

    /// Sets the password of `dn`, which must not be empty. Source: RFC 3062.
    pub(super) async fn set_password(
        &self,
        dn: &str,
        old: Option<&Secret>,
        new: &Secret,
    ) -> Result<Reply, Fault> {
        for _ in 1..SENDS_MAX {
            let reply = self.send_password(dn, old, new).await?;
            if !reply.misjudged() {
                return Ok(reply);
            }
        }
        self.send_password(dn, old, new).await
    }

    async fn send_password(
        &self,
        dn: &str,
        old: Option<&Secret>,
        new: &Secret,
    ) -> Result<Reply, Fault> {
        let mut ldap = self.ldap.clone();
        ldap.with_controls(ppolicy::request());
        let write = async move {
            #[expect(clippy::disallowed_methods, reason = "the write carries the passwords")]
            let (old_pass, new_pass) = (old.map(ExposeSecret::expose_secret), new.expose_secret());
            ldap.extended(PasswordModify {
                user_id: Some(dn),
                old_pass,
                new_pass: Some(new_pass),
            })
            .await
        };
        self.run(write)
            .await
            .map(|ldap3::result::ExopResult(_, result)| reply(&result))
    }

    /// Changes attributes of `dn` in one step: all of them, or none.
    pub(super) async fn modify(&self, dn: &str, mods: Vec<Mod<Vec<u8>>>) -> Result<Reply, Fault> {
        for _ in 1..SENDS_MAX {
            let reply = self.send_mods(dn, mods.clone()).await?;
            if !reply.misjudged() {
                return Ok(reply);
            }
        }
        self.send_mods(dn, mods).await
    }

    async fn send_mods(&self, dn: &str, mods: Vec<Mod<Vec<u8>>>) -> Result<Reply, Fault> {
        let mut ldap = self.ldap.clone();
        ldap.with_controls(ppolicy::request());
        let write = async move { ldap.modify(dn, mods).await };
        self.run(write).await.map(|result| reply(&result))
    }

    /// Searches; yields at most [`ENTRIES_MAX`] entries and follows no referral.
    pub(super) async fn search(
        &self,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: &[&str],
    ) -> Result<(Vec<Entry>, Reply), Fault> {
        let mut ldap = self.ldap.clone();
        let limit = i32::try_from(ENTRIES_MAX).unwrap_or(i32::MAX);
        ldap.with_search_options(SearchOptions::new().sizelimit(limit));
        let run = async move {
            let mut stream = ldap
                .streaming_search(base, scope, filter, attributes)
                .await?;
            let (mut entries, mut items) = (Vec::new(), 0);
            while let Some(item) = stream.next().await? {
                items += 1;
                if items > ENTRIES_MAX {
                    return Ok((entries, None));
                }
                if !item.is_ref() && !item.is_intermediate() {
                    entries.push(Entry::read(item));
                }
            }
            Ok((entries, Some(stream.finish().await)))
        };
        let (entries, result) = self.run(run).await?;
        let entries: Option<Vec<Entry>> = entries.into_iter().collect();
        let entries = entries.ok_or_else(unreadable)?;
        let Some(result) = result else {
            // The server ignores the limit and may go on sending.
            self.retire();
            return Ok((entries, Reply::SIZE_LIMIT));
        };
        Ok((entries, reply(&result)))
    }

    /// Searches for one page and hands each entry over; follows no referral.
    ///
    /// Yields the directory's answer and its cookie for the next page; no cookie: that was all.
    /// `each` says false when it takes no more; the connection is then of no more use.
    pub(super) async fn page(
        &self,
        base: &str,
        filter: &str,
        attributes: &[&str],
        cookie: Vec<u8>,
        mut each: impl FnMut(Entry) -> bool,
    ) -> Result<(Reply, Option<Vec<u8>>), Fault> {
        let mut ldap = self.ldap.clone();
        ldap.with_controls(page::request(cookie));
        let run = async move {
            let mut stream = ldap
                .streaming_search(base, Scope::Subtree, filter, attributes)
                .await?;
            while let Some(item) = stream.next().await? {
                if item.is_ref() || item.is_intermediate() {
                    continue;
                }
                // `Some`: of another shape, or one too many.
                let end = match Entry::read(item) {
                    None => Some(Err(unreadable())),
                    Some(entry) => (!each(entry)).then_some(Ok(None)),
                };
                if let Some(end) = end {
                    return Ok(end);
                }
            }
            Ok(Ok(Some(stream.finish().await)))
        };
        let Some(result) = self.run(run).await?? else {
            // The server may go on sending.
            self.retire();
            return Ok((Reply::SIZE_LIMIT, None));
        };
        Ok((reply(&result), page::cookie(&result.ctrls)))
    }

    /// Runs one request to its end; the library panics on answers that it does not expect.
    async fn run<T>(
        &self,
        request: impl Future<Output = Result<T, LdapError>>,
    ) -> Result<T, Fault> {
        let mut pending = Pending {
            link: self,
            ended: false,
        };
        let outcome = AssertUnwindSafe(request).catch_unwind().await;
        match outcome {
            Ok(Ok(answer)) => {
                pending.ended = true;
                Ok(answer)
            }
            Ok(Err(LdapError::OpSend { .. } | LdapError::FilterParsing)) => Err(Fault::NotSent),
            Ok(Err(_)) => Err(Fault::Lost(self.why_silent())),
            Err(_) => Err(unreadable()),
        }
    }

    fn why_silent(&self) -> Reason {
        match self.ending.get() {
            Some(Ending::Violation(what)) => Reason::system(Class::Incompatible, *what),
            Some(Ending::Notice) => {
                Reason::system(Class::Unreachable, "the directory ended the connection")
            }
            Some(Ending::Closed) | None => gone(),
        }
    }
}

/// `sizeLimitExceeded`.
pub(super) const SIZE_LIMIT_EXCEEDED: u32 = 4;

fn unreadable() -> Fault {
    Fault::Lost(Reason::system(
        Class::Incompatible,
        "the directory's answer cannot be read",
    ))
}

fn gone() -> Reason {
    Reason::system(
        Class::Unreachable,
        "the connection to the directory was lost",
    )
}

fn reply(result: &LdapResult) -> Reply {
    Reply {
        code: result.rc,
        objection: ppolicy::objection(&result.ctrls),
        said: diagnosis::read(&result.text),
    }
}

fn socket_pair() -> std::io::Result<(tokio::net::UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((tokio::net::UnixStream::from_std(ours)?, theirs))
}
