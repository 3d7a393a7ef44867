//! Tells of reveals: what passes a workflow's filters becomes deliveries, and those are sent.
//!
//! Invariant: a notice is rendered and queued in the transaction of the reveal itself, so that no
//! value leaves without its notices; sending comes after the commit, and delays no answer.

mod attempt;
mod edit;
mod key_warning;
mod sender;
mod upkeep;

use std::sync::Arc;

use crate::clock::SharedClock;
use crate::generate::Dice;
use crate::metrics::Metrics;
use crate::model::reveal::{Reveal, Subject};
use crate::model::workflow::{Content, DeliveryKind, Notice, chosen, render};
use crate::notify::Notifier;
use crate::store::{LiveWorkflow, NewDelivery, Store, StoreError, Tx};
use crate::vault::Vault;

pub use edit::{Draft, Drawn, Target, WorkflowError};
pub use key_warning::KeyWarner;
pub use sender::Sender;

/// Longest name of what was seen that a list of deliveries shows.
const ABOUT_MAX_CHARS: usize = 255;

/// What notices are made and sent with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The outbox.
    pub store: Store,
    /// Opens addresses and signing secrets.
    pub vault: Arc<Vault>,
    /// Sends.
    pub notifier: Notifier,
    /// The time.
    pub clock: SharedClock,
    /// Draws ids, secrets and waits.
    pub dice: Arc<dyn Dice>,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// Makes deliveries of reveals.
#[derive(Clone, Debug)]
pub struct Workflows {
    parts: Parts,
    /// Where people reach the service, without a slash at the end.
    public_url: Arc<str>,
}

impl Workflows {
    /// `public_url` is where people reach the service: `https://keywheel.example.com`.
    pub fn new(parts: Parts, public_url: &str) -> Self {
        Self {
            parts,
            public_url: Arc::from(public_url.trim_end_matches('/')),
        }
    }

    /// Queues the notices of a reveal, in the transaction that records it. Without a workflow that
    /// is on, that is one small statement.
    ///
    /// # Errors
    /// [`StoreError`]; then the value must not leave.
    pub async fn fire(&self, tx: &mut Tx, reveal: &Reveal) -> Result<(), StoreError> {
        let live = tx.live_workflows().await?;
        if live.is_empty() {
            return Ok(());
        }
        let event_id = self.event_id();
        let mut deliveries = Vec::new();
        for workflow in &live {
            let seen = chosen(&workflow.filters, reveal);
            if !seen.is_empty() {
                self.add(&mut deliveries, workflow, (reveal, &seen), &event_id);
            }
        }
        tx.insert_deliveries(&deliveries, self.parts.clock.now())
            .await?;
        Ok(())
    }

    fn add(
        &self,
        deliveries: &mut Vec<NewDelivery>,
        workflow: &LiveWorkflow,
        (reveal, seen): (&Reveal, &[&Subject]),
        event_id: &str,
    ) {
        let notice = Notice {
            reveal,
            seen,
            workflow: &workflow.name,
            trigger: workflow.trigger,
            event_id,
            public_url: &self.public_url,
        };
        for action in &workflow.actions {
            let rendered = render(&notice, &action.name, &action.content);
            let recipients = match &action.content {
                Content::Email { recipients, .. } => recipients.clone(),
                Content::Webhook { .. } | Content::Slack { .. } => Vec::new(),
            };
            deliveries.push(NewDelivery {
                workflow: workflow.id,
                action: action.id,
                kind: DeliveryKind::Notice,
                channel: action.content.channel(),
                event_id: event_id.to_owned(),
                event_at: reveal.at,
                about: about(seen),
                recipients,
                subject: rendered.subject,
                body: rendered.body,
            });
        }
    }

    /// A random UUID.
    fn event_id(&self) -> String {
        let mut bytes = [0; 16];
        self.parts.dice.fill(&mut bytes);
        let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
        id.to_string()
    }
}

/// What was seen, in a few words.
fn about(seen: &[&Subject]) -> String {
    let first = seen.first().map_or("", |seen| seen.name.as_str());
    let first: String = first.chars().take(ABOUT_MAX_CHARS).collect();
    match seen.len() {
        0 | 1 => first,
        more => format!("{first} and {} more", more - 1),
    }
}
