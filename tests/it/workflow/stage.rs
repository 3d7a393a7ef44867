//! A sender of notices on a database of its own.
//!
//! Invariant: time moves when a test says so; what receivers take they take in real time.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keywheel::clock::ManualClock;
use keywheel::model::Timestamp;
use keywheel::model::id::{DeliveryId, NodeId, WorkflowId};
use keywheel::model::key::Addresses;
use keywheel::model::workflow::{
    Attempt, Channel, Content, Delivery, DeliveryKind, Template, Trigger, WorkflowFields,
};
use keywheel::notify::{MailOptions, NotifyOptions};
use keywheel::store::{Backend, Lane, NewAction, NewDelivery, Store};
use keywheel::vault::Place;
use keywheel::workflow::{Parts, Sender};
use secrecy::SecretString;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::parts;
use crate::support::database::Database;
use crate::support::queue::NOW;
use crate::support::wait::until;

/// What webhooks are signed with here.
pub(crate) const SIGNING_KEY: &[u8] = b"0123456789abcdef01234567";
/// Who is told of failures.
pub(crate) const FAILURES: &str = "secops@example.org";

/// The outbox and what sends it.
pub(crate) struct Stage {
    pub(crate) store: Store,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) parts: Parts,
    _database: Option<Database>,
}

/// A sender at work.
pub(crate) struct Running {
    node: NodeId,
    task: JoinHandle<()>,
    drain: CancellationToken,
}

impl Running {
    /// Drains it.
    pub(crate) async fn stop(&mut self) {
        self.drain.cancel();
        // What hangs is cut off by its limit, which is not what is waited for here.
        drop(tokio::time::timeout(Duration::from_millis(500), &mut self.task).await);
        self.task.abort();
    }

    /// Ends it in the midst of its work, and has its node found dead.
    pub(crate) async fn die(self, stage: &Stage) {
        self.task.abort();
        drop(self.task.await);
        let mut tx = stage.store.begin().await.unwrap();
        tx.sign_off(self.node).await.unwrap();
        tx.commit().await.unwrap();
    }
}

fn loopback() -> Addresses {
    Addresses::parse("127.0.0.0/8").unwrap()
}

impl Stage {
    /// On SQLite; receivers on this machine are allowed.
    pub(crate) async fn new() -> Self {
        Self::with(None, loopback()).await
    }

    /// The same, where no address is allowed that is not public.
    pub(crate) async fn strict() -> Self {
        Self::with(None, Addresses::default()).await
    }

    /// The same, with a mail server.
    pub(crate) async fn mailing(mail: MailOptions) -> Self {
        Self::with(Some(mail), loopback()).await
    }

    pub(crate) async fn on(database: &Database) -> Self {
        Self::over(database.store().await, None, None, loopback())
    }

    async fn with(mail: Option<MailOptions>, allow: Addresses) -> Self {
        let database = Database::new(Backend::Sqlite).await;
        Self::over(database.store().await, Some(database), mail, allow)
    }

    fn over(
        store: Store,
        database: Option<Database>,
        mail: Option<MailOptions>,
        allow: Addresses,
    ) -> Self {
        let clock = ManualClock::at(NOW);
        let parts = parts(&store, clock.clone(), NotifyOptions { mail, allow });
        Self {
            store,
            clock,
            parts,
            _database: database,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    pub(crate) async fn sender(&self) -> Running {
        self.another_sender().await
    }

    /// The sender of another node.
    pub(crate) async fn another_sender(&self) -> Running {
        let mut tx = self.store.begin().await.unwrap();
        // On SQLite this declares all others dead.
        let node = tx.register_node("n", self.now()).await.unwrap();
        tx.commit().await.unwrap();
        let drain = CancellationToken::new();
        let sender = Sender::new(self.parts.clone(), node);
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        let task = tokio::task::spawn(sender.run(drain.clone()));
        Running { node, task, drain }
    }

    pub(crate) async fn webhook(&self, url: &str) -> (WorkflowId, Lane) {
        let content = Content::Webhook {
            payload: [("n".to_owned(), Template::parse("1").unwrap())].into(),
        };
        self.action(content, Some(url)).await
    }

    pub(crate) async fn slack(&self, url: &str) -> (WorkflowId, Lane) {
        let template = || Template::parse("x").unwrap();
        let (subject, body) = (template(), template());
        self.action(Content::Slack { subject, body }, Some(url))
            .await
    }

    pub(crate) async fn email(&self) -> (WorkflowId, Lane) {
        let template = || Template::parse("x").unwrap();
        let content = Content::Email {
            subject: template(),
            body: template(),
            recipients: vec!["oncall@example.org".to_owned()],
        };
        self.action(content, None).await
    }

    /// A workflow of one action.
    async fn action(&self, content: Content, url: Option<&str>) -> (WorkflowId, Lane) {
        let mut tx = self.store.begin().await.unwrap();
        let id = tx.next_workflow_action().await.unwrap();
        let channel = content.channel();
        let seal = |place: Place, text: String| {
            let dice = self.parts.dice.as_ref();
            let sealed = self
                .parts
                .vault
                .seal(&place, &SecretString::from(text), dice);
            sealed.unwrap().0
        };
        let secret = format!("whsec_{}", STANDARD.encode(SIGNING_KEY));
        let action = NewAction {
            id,
            name: format!("action {}", id.0),
            content,
            masked_url: url.map(|_| "http://127.0.0.1/***".to_owned()),
            url: url.map(|url| seal(Place::workflow_url(id), url.to_owned())),
            signing_secret: (channel == Channel::Webhook)
                .then(|| seal(Place::signing_secret(id), secret)),
        };
        let fields = WorkflowFields {
            name: format!("workflow {}", id.0),
            trigger: Trigger::PasswordAccess,
            failure_email: FAILURES.to_owned(),
            on: true,
            filters: Vec::new(),
        };
        let workflow = tx.insert_workflow(&fields, &[action], self.now()).await;
        tx.commit().await.unwrap();
        let lane = Lane {
            action: id,
            kind: DeliveryKind::Notice,
            channel,
        };
        (workflow.unwrap(), lane)
    }

    pub(crate) async fn queue(&self, (workflow, lane): (WorkflowId, Lane)) -> DeliveryId {
        let mail = lane.channel == Channel::Email;
        let new = NewDelivery {
            workflow,
            action: lane.action,
            kind: lane.kind,
            channel: lane.channel,
            event_id: "e-1".to_owned(),
            event_at: self.now(),
            about: "Domain Admin".to_owned(),
            recipients: if mail {
                ["oncall@example.org", "second@example.org"]
                    .map(str::to_owned)
                    .to_vec()
            } else {
                Vec::new()
            },
            subject: if mail {
                "Zugriff: Domäne".to_owned()
            } else {
                String::new()
            },
            body: if mail {
                "alice\nüber api_show".to_owned()
            } else {
                r#"{"n":1}"#.to_owned()
            },
        };
        let mut tx = self.store.begin().await.unwrap();
        let ids = tx.insert_deliveries(&[new], self.now()).await.unwrap();
        tx.commit().await.unwrap();
        ids[0]
    }

    /// Moves the clock, and has a sender look: one that begins to wait just now would have missed
    /// that it moved.
    pub(crate) fn advance(&self, span: Duration) {
        self.clock.advance(span);
        self.store.outbox().notify_one();
    }

    /// A delivery after so many attempts.
    pub(crate) async fn settled(&self, id: DeliveryId, attempts: i64) -> Delivery {
        let what = format!("attempt {attempts} of {id}");
        until(&what, async || {
            let found = self.store.delivery(id).await.unwrap().unwrap();
            (found.attempts >= attempts).then_some(found)
        })
        .await
    }

    pub(crate) async fn attempts(&self, id: DeliveryId) -> Vec<Attempt> {
        let workflow = self.store.delivery(id).await.unwrap().unwrap().workflow;
        self.store
            .delivery_attempts(workflow, (id, id))
            .await
            .unwrap()
    }

    /// The alert that was tried; waits for it.
    pub(crate) async fn alert(&self) -> Delivery {
        until("an alert", async || {
            self.advance(Duration::from_secs(1));
            for id in 1..200 {
                let found = self.store.delivery(DeliveryId(id)).await.unwrap();
                let alert = found.filter(|one| one.kind == DeliveryKind::Alert);
                if let Some(alert) = alert.filter(|alert| alert.attempts > 0) {
                    return Some(alert);
                }
            }
            None
        })
        .await
    }

    /// The counter of attempts.
    pub(crate) fn delivered(&self, channel: &str, outcome: &str) -> u64 {
        let name = format!(
            "keywheel_outbox_deliveries_total{{channel=\"{channel}\",outcome=\"{outcome}\"}} "
        );
        let shown = self.parts.metrics.render();
        let line = shown.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap().parse().unwrap()
    }
}
