//! What other rooms that speak over SSH borrow: the connection, the login, the watchdog.
//!
//! Invariant: a connection that is lent has compared the host key and has logged in.

use std::sync::Arc;
use std::time::Duration;

use super::link::{self, Link, dial};
use super::login::{self, Failed};
use super::turn::Turn;
use crate::{Class, Credential, HostKey, Reason, Target};

/// Runs what blocks on a thread of its own.
pub(crate) async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Reason> {
    link::on_thread(work).await
}

/// The system did not answer before the deadline.
pub(crate) fn silent() -> Reason {
    link::silent()
}

/// One exchange and its deadline.
#[derive(Clone, Debug)]
pub(crate) struct Exchange(Arc<Turn>);

impl Exchange {
    pub(crate) fn new() -> Self {
        Self(Turn::new())
    }

    /// Asks to send what cannot be taken back; false when time is up.
    pub(crate) fn may_send(&self) -> bool {
        self.0.may_send()
    }

    /// Whether what cannot be taken back may have left.
    pub(crate) fn was_sent(&self) -> bool {
        self.0.was_sent()
    }

    /// Awaits the exchange; cuts it and returns `None` when time is up or nobody waits any more.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        self.0.within(limit, work).await
    }
}

/// How a login did not succeed.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The system judged the credential and says no.
    Wrong(Reason),
    /// The credential was not judged.
    Unjudged(Reason),
}

impl Refusal {
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Wrong(reason) | Self::Unjudged(reason) => reason,
        }
    }
}

impl From<Failed> for Refusal {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Wrong(reason) => Self::Wrong(reason),
            Failed::Unjudged(reason) => Self::Unjudged(reason),
        }
    }
}

/// A connection that is logged in. Dropping it closes the socket at once.
pub(crate) struct Connection(Link);

impl Connection {
    /// Connects, compares the host key with the pinned one, logs in under this name.
    pub(crate) async fn log_in(
        target: &Target,
        pin: &HostKey,
        login: String,
        credential: &Credential,
        exchange: &Exchange,
    ) -> Result<Self, Refusal> {
        let credential = credential.clone();
        let wire = dial(target).await.map_err(Refusal::Unjudged)?;
        let (pin, limit, turn) = (pin.clone(), target.timeout, Arc::clone(&exchange.0));
        let logged_in = on_thread(move || {
            let shaken = Link::shake_hands(wire, Some(&pin), limit, &turn);
            let link = shaken.map_err(Refusal::Unjudged)?;
            login::log_in(&link, &login, &credential)?;
            Ok(Self(link))
        });
        logged_in
            .await
            .unwrap_or_else(|reason| Err(Refusal::Unjudged(reason)))
    }

    /// Proves who answers, and logs nobody in.
    pub(crate) async fn meet(
        target: &Target,
        pin: &HostKey,
        exchange: &Exchange,
    ) -> Result<(), Reason> {
        shake(target, Some(pin.clone()), exchange).await.map(drop)
    }

    /// Puts this connection under another exchange's watchdog and opens a channel on it.
    pub(crate) fn channel(&self, exchange: &Exchange) -> Result<ssh2::Channel, Reason> {
        let lost = |text| Reason::account(Class::Unreachable, text);
        if !self.0.watched_by(&exchange.0) {
            return Err(lost("time was up before the dialogue began"));
        }
        let opened = self.0.session().channel_session();
        opened.map_err(|error| match link::code(&error) {
            -21 => Reason::account(Class::Busy, "the system opens no further session now"),
            _ => lost("the connection was lost before the dialogue began"),
        })
    }

    /// Bounds each call on the connection. 0 would mean for ever.
    pub(crate) fn limit_each_call(&self, limit: Duration) {
        let millis = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        self.0.session().set_timeout(millis.max(1));
    }
}

/// The key of the host that answers.
pub(crate) async fn host_key(target: &Target) -> Result<HostKey, Reason> {
    let exchange = Exchange::new();
    let shaken = exchange.within(target.timeout, shake(target, None, &exchange));
    let shaken = shaken.await.unwrap_or_else(|| Err(silent()));
    shaken.map_err(Reason::of_system)?.host_key()
}

async fn shake(target: &Target, pin: Option<HostKey>, exchange: &Exchange) -> Result<Link, Reason> {
    let wire = dial(target).await?;
    let (limit, turn) = (target.timeout, Arc::clone(&exchange.0));
    on_thread(move || Link::shake_hands(wire, pin.as_ref(), limit, &turn)).await?
}
