//! How notices are sent, by the settings.
//!
//! Invariant: a mail server that is set wrongly keeps the service from starting; one that is away
//! does not.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::Base;
use super::error::AppError;
use crate::clock::SharedClock;
use crate::config::{Settings, Smtp, read_secret_file};
use crate::generate::Dice;
use crate::metrics::Metrics;
use crate::model::id::NodeId;
use crate::notify::{MailOptions, Notifier, NotifyError, NotifyOptions};
use crate::workflow::{KeyWarner, Parts, Sender, Workflows};

/// What sends on its own: notices, and warnings of keys that lie idle.
pub(super) struct Senders {
    notices: Sender,
    keys: KeyWarner,
}

impl Senders {
    pub(super) async fn run(self, drain: CancellationToken) {
        tokio::join!(self.notices.run(drain.clone()), self.keys.run(drain));
    }
}

/// What makes notices, and what sends them.
pub(super) fn notices(
    settings: &Settings,
    base: &Base,
    (clock, dice, metrics): (&SharedClock, &Arc<dyn Dice>, &Arc<Metrics>),
    (node, url): (NodeId, &str),
) -> Result<(Workflows, Senders), AppError> {
    let parts = Parts {
        store: base.store.clone(),
        vault: base.vault.clone(),
        notifier: notifier(settings, clock)?,
        clock: clock.clone(),
        dice: dice.clone(),
        metrics: metrics.clone(),
    };
    let workflows = Workflows::new(parts.clone(), settings.server.public_url(url));
    let senders = Senders {
        keys: KeyWarner::new(parts.clone(), node),
        notices: Sender::new(parts, node),
    };
    Ok((workflows, senders))
}

/// Ready to send.
fn notifier(settings: &Settings, clock: &SharedClock) -> Result<Notifier, AppError> {
    let set = !settings.smtp.host.is_empty();
    let options = NotifyOptions {
        mail: set.then(|| mail(&settings.smtp)).transpose()?,
        allow: settings.notify.allow_addresses.clone(),
    };
    Ok(Notifier::new(options, clock.clone())?)
}

fn mail(smtp: &Smtp) -> Result<MailOptions, AppError> {
    let password = match &smtp.password_file {
        Some(path) => {
            let bytes = read_secret_file(path).map_err(AppError::SmtpPassword)?;
            let text = std::str::from_utf8(&bytes).map_err(|_| AppError::SmtpPasswordText)?;
            // An editor's last line break is no part of it.
            Some(SecretString::from(text.trim_end_matches(['\r', '\n'])))
        }
        None => None,
    };
    let authorities = match &smtp.ca_file {
        Some(path) => Some(std::fs::read(path).map_err(|_| NotifyError::Authority)?),
        None => None,
    };
    Ok(MailOptions {
        host: smtp.host.clone(),
        port: u16::try_from(smtp.port).unwrap_or(u16::MAX),
        security: smtp.security,
        login: password.map(|password| (smtp.user.clone(), password)),
        from: smtp.from.clone(),
        timeout: Duration::from_secs(smtp.timeout_s.into()),
        authorities,
    })
}
