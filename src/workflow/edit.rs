//! Makes, edits and tries workflows.
//!
//! Invariant: addresses and signing secrets are sealed before they are stored; a signing secret is
//! shown once, to whoever had it drawn.

use secrecy::SecretString;
use serde_json::{Value, json};

use super::Workflows;
use crate::generate::webhook_secret;
use crate::model::audit::Event;
use crate::model::id::{DeliveryId, WorkflowActionId, WorkflowId};
use crate::model::reveal::Reader;
use crate::model::workflow::{
    Channel, Content, Filter, HookUrl, Notice, Trigger, Workflow, WorkflowFields, render, sample,
};
use crate::notify::{Hook, Letter, Post, Untaken};
use crate::store::{NewAction, StoreError, Tx};
use crate::vault::{Place, VaultError};

/// Why a workflow was not stored.
#[derive(Debug, thiserror::Error)]
pub enum WorkflowError {
    /// As the store says.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// As the vault says.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Where an action sends to.
#[derive(Clone, Debug)]
pub enum Target {
    /// A mail: its content says so.
    Mail,
    /// The address that is kept, by its masked form.
    Kept(String),
    /// This one.
    Given(HookUrl),
}

/// An action that somebody wants.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The action that it replaces.
    pub id: Option<WorkflowActionId>,
    /// What people read.
    pub name: String,
    /// What is sent.
    pub content: Content,
    /// Where to.
    pub target: Target,
}

/// A signing secret that was drawn, and for which action.
#[derive(Debug)]
pub struct Drawn {
    /// The action.
    pub action: WorkflowActionId,
    /// `whsec_…`.
    pub secret: SecretString,
}

impl Workflows {
    /// Stores a workflow; what its webhooks are signed with is drawn.
    ///
    /// # Errors
    /// [`WorkflowError`]; [`StoreError::Conflict`] if its name is taken.
    pub async fn create(
        &self,
        fields: &WorkflowFields,
        drafts: &[Draft],
        actor: &str,
    ) -> Result<(WorkflowId, Vec<Drawn>), WorkflowError> {
        let now = self.parts.clock.now();
        let mut tx = self.parts.store.begin().await?;
        let (actions, drawn) = self.sealed(&mut tx, drafts).await?;
        let id = tx.insert_workflow(fields, &actions, now).await?;
        let event = Event::by(actor, "workflow.created", id, told(fields, &actions));
        tx.audit(&event, now).await?;
        tx.commit().await?;
        Ok((id, drawn))
    }

    /// Replaces a workflow; what new webhooks are signed with is drawn.
    ///
    /// # Errors
    /// [`WorkflowError`]; [`StoreError::Stale`] if it was edited meanwhile, or an action is not
    /// its own.
    pub async fn replace(
        &self,
        (id, revision): (WorkflowId, i64),
        fields: &WorkflowFields,
        drafts: &[Draft],
        actor: &str,
    ) -> Result<Vec<Drawn>, WorkflowError> {
        let now = self.parts.clock.now();
        let mut tx = self.parts.store.begin().await?;
        let (actions, drawn) = self.sealed(&mut tx, drafts).await?;
        let kept: Vec<_> = drafts.iter().filter_map(|draft| draft.id).collect();
        tx.update_workflow((id, revision), fields, (&actions, &kept), now)
            .await?;
        let event = Event::by(actor, "workflow.updated", id, told(fields, &actions));
        tx.audit(&event, now).await?;
        tx.commit().await?;
        Ok(drawn)
    }

    /// Deletes a workflow; what is queued still goes.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it was edited meanwhile or is gone.
    pub async fn delete(&self, workflow: &Workflow, actor: &str) -> Result<(), StoreError> {
        let now = self.parts.clock.now();
        let mut tx = self.parts.store.begin().await?;
        tx.delete_workflow(workflow.id, workflow.revision, now)
            .await?;
        let about = json!({"name": workflow.fields.name});
        let event = Event::by(actor, "workflow.deleted", workflow.id, about);
        tx.audit(&event, now).await?;
        tx.commit().await
    }

    /// Draws anew what a webhook is signed with: from its next attempt on.
    ///
    /// # Errors
    /// [`WorkflowError`]; [`StoreError::Stale`] if it is no webhook, or was removed.
    pub async fn renew_secret(
        &self,
        workflow: WorkflowId,
        action: WorkflowActionId,
        actor: &str,
    ) -> Result<Drawn, WorkflowError> {
        let now = self.parts.clock.now();
        let (drawn, sealed) = self.draw(action)?;
        let mut tx = self.parts.store.begin().await?;
        tx.set_signing_secret(action, &sealed).await?;
        let about = json!({"action": action.0});
        let event = Event::by(actor, "workflow.signing_secret_renewed", workflow, about);
        tx.audit(&event, now).await?;
        tx.commit().await?;
        Ok(drawn)
    }

    /// Queues a delivery again that has ended.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it has not ended, or is gone.
    pub async fn redeliver(&self, id: DeliveryId, actor: &str) -> Result<(), StoreError> {
        let now = self.parts.clock.now();
        let mut tx = self.parts.store.begin().await?;
        tx.redeliver(id, now).await?;
        let event = Event::by(actor, "workflow.redelivered", id, json!({}));
        tx.audit(&event, now).await?;
        tx.commit().await
    }

    /// Sends an action's notice of a reveal that never happened, at once and once.
    ///
    /// # Errors
    /// [`WorkflowError`], or why it was not taken.
    pub async fn test(
        &self,
        draft: &Draft,
        by: Reader,
    ) -> Result<Result<(), Untaken>, WorkflowError> {
        let (actor, now) = (by.name.clone(), self.parts.clock.now());
        let reveal = sample(by, now);
        let seen: Vec<_> = reveal.seen.iter().collect();
        let event_id = self.event_id();
        let notice = Notice {
            reveal: &reveal,
            seen: &seen,
            workflow: "Test",
            trigger: Trigger::PasswordAccess,
            event_id: &event_id,
            public_url: &self.public_url,
        };
        let rendered = render(&notice, &draft.name, &draft.content);
        let id = format!("test-{event_id}");
        let (url, secret) = self.opened(draft).await?;
        // On record before it goes out: whoever tries addresses is seen to try them.
        let channel = draft.content.channel();
        let about = json!({
            "action": draft.name, "type": channel.as_str(), "url": masked(&draft.target),
            "recipients": recipients(&draft.content),
        });
        let mut tx = self.parts.store.begin().await?;
        let event = Event::by(actor, "workflow.action_tested", "workflow", about);
        tx.audit(&event, now).await?;
        tx.commit().await?;
        let taken = match (&draft.content, &url) {
            (Content::Email { recipients, .. }, _) => {
                let letter = Letter {
                    id: &id,
                    recipients,
                    subject: &rendered.subject,
                    body: &rendered.body,
                };
                self.parts.notifier.mail(&letter).await
            }
            (_, None) => Err(Untaken::ever("the action's URL is gone")),
            (content, Some(url)) => {
                let hook = match content.channel() {
                    Channel::Slack => Hook::Slack,
                    Channel::Webhook | Channel::Email => Hook::Webhook {
                        id: &id,
                        secret: secret.as_ref(),
                    },
                };
                let post = Post {
                    url,
                    body: &rendered.body,
                    hook,
                };
                self.parts.notifier.post(&post).await
            }
        };
        Ok(taken.map(drop))
    }

    /// The address of a draft, and what it is signed with if it is stored.
    async fn opened(
        &self,
        draft: &Draft,
    ) -> Result<(Option<SecretString>, Option<SecretString>), WorkflowError> {
        let stored = match draft.id {
            Some(id) => self.parts.store.sealed_action(id).await?,
            None => None,
        };
        let stored = stored.zip(draft.id);
        let open = |place: Place, sealed: Option<&Vec<u8>>| {
            let opened = sealed.map(|sealed| self.parts.vault.open(&place, sealed));
            opened.transpose()
        };
        let (kept, secret) = match &stored {
            Some((sealed, id)) => (
                open(Place::workflow_url(*id), sealed.url.as_ref())?,
                open(Place::signing_secret(*id), sealed.signing_secret.as_ref())?,
            ),
            None => (None, None),
        };
        let url = match &draft.target {
            Target::Mail => None,
            Target::Kept(_) => kept,
            Target::Given(url) => Some(url.whole().clone()),
        };
        Ok((url, secret))
    }

    async fn sealed(
        &self,
        tx: &mut Tx,
        drafts: &[Draft],
    ) -> Result<(Vec<NewAction>, Vec<Drawn>), WorkflowError> {
        let mut all_drawn = Vec::new();
        let mut actions = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let id = match draft.id {
                Some(id) => id,
                None => tx.next_workflow_action().await?,
            };
            let url = match &draft.target {
                Target::Mail | Target::Kept(_) => None,
                Target::Given(url) => {
                    let dice = self.parts.dice.as_ref();
                    let place = Place::workflow_url(id);
                    Some(self.parts.vault.seal(&place, url.whole(), dice)?.0)
                }
            };
            let mut signing_secret = None;
            if draft.id.is_none() && draft.content.channel() == Channel::Webhook {
                let (drawn, sealed) = self.draw(id)?;
                signing_secret = Some(sealed);
                all_drawn.push(drawn);
            }
            actions.push(NewAction {
                id,
                name: draft.name.clone(),
                content: draft.content.clone(),
                masked_url: masked(&draft.target).map(str::to_owned),
                url,
                signing_secret,
            });
        }
        Ok((actions, all_drawn))
    }

    fn draw(&self, action: WorkflowActionId) -> Result<(Drawn, Vec<u8>), VaultError> {
        let dice = self.parts.dice.as_ref();
        let secret = webhook_secret(dice);
        let place = Place::signing_secret(action);
        let sealed = self.parts.vault.seal(&place, &secret, dice)?.0;
        Ok((Drawn { action, secret }, sealed))
    }
}

fn masked(target: &Target) -> Option<&str> {
    match target {
        Target::Mail => None,
        Target::Kept(masked) => Some(masked),
        Target::Given(url) => Some(url.masked()),
    }
}

fn recipients(content: &Content) -> &[String] {
    match content {
        Content::Email { recipients, .. } => recipients,
        Content::Webhook { .. } | Content::Slack { .. } => &[],
    }
}

/// What the audit trail keeps: whom it tells of what. Templates stand in the workflow.
fn told(fields: &WorkflowFields, actions: &[NewAction]) -> Value {
    let filters: Vec<_> = fields.filters.iter().map(Filter::to_json).collect();
    let actions: Vec<_> = actions
        .iter()
        .map(|action| {
            json!({
                "id": action.id.0, "name": action.name,
                "type": action.content.channel().as_str(), "url": action.masked_url,
                "recipients": recipients(&action.content),
            })
        })
        .collect();
    json!({
        "name": fields.name, "trigger": fields.trigger.as_str(),
        "status": if fields.on { "on" } else { "off" },
        "failure_email": fields.failure_email, "filters": filters, "actions": actions,
    })
}
