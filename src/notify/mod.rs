//! Sends notices: mail by SMTP, webhooks and Slack by HTTP.
//!
//! Receivers are strangers. Each exchange has a limit, no redirect is followed, and addresses that
//! only this machine or its network can reach are refused unless `notify.allow_addresses` names
//! them.
//!
//! Invariant: why something was not sent is said in words of our own: no error holds a byte that a
//! receiver sent, a secret, or more of an address than its kind.

mod address;
mod mail;
mod post;
mod signature;

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::SharedClock;
use crate::model::key::Addresses;

pub use mail::{Letter, MailOptions};
pub use post::{Hook, Post};

/// Longest exchange with a receiver, from the look-up of its name to its status.
pub const ATTEMPT_MAX: Duration = Duration::from_secs(10);

/// What was answered by a receiver that has taken a notice: the HTTP status; none of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The HTTP status.
    pub status: Option<u16>,
}

/// Why a receiver has not taken a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untaken {
    /// A sentence without its end.
    pub why: String,
    /// The HTTP status, or the SMTP code.
    pub status: Option<u16>,
    /// False: a repeat would meet the same answer.
    pub again: bool,
    /// How long the receiver asks to be left alone.
    pub retry_after: Option<Duration>,
}

impl Untaken {
    /// What may go well the next time.
    pub(crate) fn now(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            status: None,
            again: true,
            retry_after: None,
        }
    }

    /// What would not.
    pub(crate) fn ever(why: impl Into<String>) -> Self {
        Self {
            again: false,
            ..Self::now(why)
        }
    }
}

impl fmt::Display for Untaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// What an error comes from, however deep it lies; errors of the network wrap others.
pub(crate) fn cause<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    let mut next = Some(error);
    while let Some(one) = next {
        if let Some(found) = one.downcast_ref::<T>() {
            return Some(found);
        }
        // What an I/O error wraps is not its source, but that one's source is.
        let wrapped = one.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => one.source(),
        };
    }
    None
}

/// The notifier could not be built.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// Correct `smtp.from`.
    #[error("smtp.from is no mail address: notices could not be sent")]
    From,
    /// Give a PEM file.
    #[error("smtp.ca_file holds no certificate in PEM: the mail server could not be trusted")]
    Authority,
    /// Report it.
    #[error("the HTTP client for notices could not be built")]
    Http,
}

/// How notices are sent.
#[derive(Clone, Debug, Default)]
pub struct NotifyOptions {
    /// The mail server; without it, mails wait for one.
    pub mail: Option<MailOptions>,
    /// Networks of receivers that are reached although they are not public.
    pub allow: Addresses,
}

/// Sends notices.
#[derive(Clone, Debug)]
pub struct Notifier {
    mail: Option<Arc<mail::Mailer>>,
    post: Arc<post::Poster>,
    clock: SharedClock,
}

impl Notifier {
    /// Ready to send; connects to nothing yet.
    ///
    /// # Errors
    /// [`NotifyError`].
    pub fn new(options: NotifyOptions, clock: SharedClock) -> Result<Self, NotifyError> {
        let mail = options.mail.map(mail::Mailer::new).transpose()?;
        Ok(Self {
            mail: mail.map(Arc::new),
            post: Arc::new(post::Poster::new(&options.allow)?),
            clock,
        })
    }

    /// True if a mail server is set.
    pub fn has_mail_server(&self) -> bool {
        self.mail.is_some()
    }

    /// Sends one mail to all its recipients.
    ///
    /// # Errors
    /// [`Untaken`].
    pub async fn mail(&self, letter: &Letter<'_>) -> Result<Taken, Untaken> {
        let Some(mailer) = &self.mail else {
            let why = "no mail server is set: name one in section [smtp] of the settings";
            return Err(Untaken::now(why));
        };
        let limit = mailer.limit();
        self.within(limit, mailer.send(letter, self.clock.now()))
            .await
    }

    /// Posts a webhook or a Slack message.
    ///
    /// # Errors
    /// [`Untaken`].
    pub async fn post(&self, post: &Post<'_>) -> Result<Taken, Untaken> {
        let sent = self.post.send(post, self.clock.now());
        let taken = self.within(ATTEMPT_MAX, sent).await?;
        let status = Some(taken.status);
        // The status stands: what follows is read for the connection's sake alone.
        tokio::select! {
            () = taken.drain() => {}
            () = self.clock.sleep(post::DRAIN_MAX) => {}
        }
        Ok(Taken { status })
    }

    async fn within<T>(
        &self,
        limit: Duration,
        sent: impl Future<Output = Result<T, Untaken>>,
    ) -> Result<T, Untaken> {
        tokio::select! {
            biased;
            sent = sent => sent,
            () = self.clock.sleep(limit) => {
                Err(Untaken::now(format!("no answer within {} s", limit.as_secs())))
            }
        }
    }
}
