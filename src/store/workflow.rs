//! Workflows and their actions.
//!
//! Invariant: an action that a delivery refers to is never gone, only retired; its address and its
//! signing secret are sealed before they come here.

mod row;

use serde_json::Value;

use self::row::{ActionRow, LiveRow, Row, content, corrupt, filters, trigger};
use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::{WorkflowActionId, WorkflowId};
use crate::model::workflow::{Channel, Content, Filter, Trigger, Workflow, WorkflowFields};

/// An action that is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAction {
    /// Its id, from [`Tx::next_workflow_action`], or the one it has.
    pub id: WorkflowActionId,
    /// What people read.
    pub name: String,
    /// What is sent.
    pub content: Content,
    /// Where to, without its secret part; `None` of a mail.
    pub masked_url: Option<String>,
    /// Where to, sealed; `None` keeps what is kept.
    pub url: Option<Vec<u8>>,
    /// What a webhook is signed with, sealed; `None` keeps what is kept.
    pub signing_secret: Option<Vec<u8>>,
}

/// The sealed parts of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedAction {
    /// Of which workflow.
    pub workflow: WorkflowId,
    /// By which way it sends.
    pub channel: Channel,
    /// Where to.
    pub url: Option<Vec<u8>>,
    /// What a webhook is signed with.
    pub signing_secret: Option<Vec<u8>>,
}

/// An action of a workflow that is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveAction {
    /// Its id.
    pub id: WorkflowActionId,
    /// What people read.
    pub name: String,
    /// What is sent.
    pub content: Content,
}

/// A workflow that is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveWorkflow {
    /// Its id.
    pub id: WorkflowId,
    /// What people read.
    pub name: String,
    /// What sets it off.
    pub trigger: Trigger,
    /// What a reveal must pass.
    pub filters: Vec<Filter>,
    /// What it does, in order; at least one.
    pub actions: Vec<LiveAction>,
}

impl Store {
    /// One workflow, unless it was deleted.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn workflow(&self, id: WorkflowId) -> Result<Option<Workflow>, StoreError> {
        let found = self.workflows(WorkflowId(id.0 - 1), 1).await?.pop();
        Ok(found.filter(|found| found.id == id))
    }

    /// At most `limit` workflows with an id above `after`, by id, without deleted ones.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn workflows(
        &self,
        after: WorkflowId,
        limit: i64,
    ) -> Result<Vec<Workflow>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, name, kind, failure_email, state, filters, revision, created_at, updated_at
             FROM workflows WHERE id > $1 AND state IN ('on', 'off') ORDER BY id LIMIT $2",
        )
        .bind(after.0)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        let Some(last) = rows.last().map(|row| row.id) else {
            return Ok(Vec::new());
        };
        let mut actions: Vec<ActionRow> = sqlx::query_as(
            "SELECT id, workflow_id, name, content, masked_url FROM workflow_actions
             WHERE workflow_id > $1 AND workflow_id <= $2 AND retired_at IS NULL
             ORDER BY workflow_id, position",
        )
        .bind(after.0)
        .bind(last)
        .fetch_all(&self.read)
        .await?;
        let mut workflows = Vec::with_capacity(rows.len());
        for row in rows {
            let (own, others) = actions
                .into_iter()
                .partition(|one| one.workflow_id == row.id);
            actions = others;
            let own: Vec<ActionRow> = own;
            let own = own
                .into_iter()
                .map(ActionRow::action)
                .collect::<Result<_, _>>()?;
            workflows.push(row.workflow(own)?);
        }
        Ok(workflows)
    }

    /// The sealed parts of an action that was not retired.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn sealed_action(
        &self,
        id: WorkflowActionId,
    ) -> Result<Option<SealedAction>, StoreError> {
        type Raw = (i64, String, Option<Vec<u8>>, Option<Vec<u8>>);
        let row: Option<Raw> = sqlx::query_as(
            "SELECT workflow_id, channel, url, signing_secret FROM workflow_actions
             WHERE id = $1 AND retired_at IS NULL",
        )
        .bind(id.0)
        .fetch_optional(&self.read)
        .await?;
        let sealed = row.map(|(workflow, channel, url, signing_secret)| {
            Ok(SealedAction {
                workflow: WorkflowId(workflow),
                channel: Channel::parse(&channel).ok_or(corrupt(
                    "workflow_actions",
                    id.0,
                    "its channel is none",
                ))?,
                url,
                signing_secret,
            })
        });
        sealed.transpose()
    }
}

impl Tx {
    /// Workflows that are on, with their actions, by id. One statement; part of every reveal.
    ///
    /// # Errors
    /// [`StoreError`] of the database; [`StoreError::Corrupt`] rather than a filter left out.
    pub async fn live_workflows(&mut self) -> Result<Vec<LiveWorkflow>, StoreError> {
        let rows: Vec<LiveRow> = sqlx::query_as(
            "SELECT w.id AS workflow_id, w.name AS workflow_name, w.kind, w.filters, a.id, a.name,
                 a.content
             FROM workflows w JOIN workflow_actions a ON a.workflow_id = w.id
             WHERE w.state = 'on' AND a.retired_at IS NULL ORDER BY w.id, a.position",
        )
        .fetch_all(&mut *self.inner)
        .await?;
        let mut live: Vec<LiveWorkflow> = Vec::new();
        for row in rows {
            let action = LiveAction {
                id: WorkflowActionId(row.id),
                content: content(row.id, &row.content)?,
                name: row.name,
            };
            match live.last_mut().filter(|last| last.id.0 == row.workflow_id) {
                Some(last) => last.actions.push(action),
                None => live.push(LiveWorkflow {
                    id: WorkflowId(row.workflow_id),
                    trigger: trigger(row.workflow_id, &row.kind)?,
                    filters: filters(row.workflow_id, &row.filters)?,
                    name: row.workflow_name,
                    actions: vec![action],
                }),
            }
        }
        Ok(live)
    }

    /// The id of an action that is about to be sealed and stored.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn next_workflow_action(&mut self) -> Result<WorkflowActionId, StoreError> {
        self.id(WorkflowActionId::KIND).await
    }

    /// Stores a workflow with its actions.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if its name is taken.
    pub async fn insert_workflow(
        &mut self,
        fields: &WorkflowFields,
        actions: &[NewAction],
        now: Timestamp,
    ) -> Result<WorkflowId, StoreError> {
        let id: WorkflowId = self.id(WorkflowId::KIND).await?;
        sqlx::query(
            "INSERT INTO workflows (id, name, name_key, kind, failure_email, state, filters,
                 revision, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $8)",
        )
        .bind(id.0)
        .bind(&fields.name)
        .bind(fields.name.to_lowercase())
        .bind(fields.trigger.as_str())
        .bind(&fields.failure_email)
        .bind(state(fields))
        .bind(filters_text(fields))
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the workflow's name"))?;
        for (position, action) in (0_i64..).zip(actions) {
            self.insert_action(id, position, action).await?;
        }
        Ok(id)
    }

    async fn insert_action(
        &mut self,
        workflow: WorkflowId,
        position: i64,
        action: &NewAction,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO workflow_actions (id, workflow_id, position, name, channel, content,
                 masked_url, url, signing_secret, retired_at, failed, failed_delivery, alerted_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, NULL, 0, NULL, NULL)",
        )
        .bind(action.id.0)
        .bind(workflow.0)
        .bind(position)
        .bind(&action.name)
        .bind(action.content.channel().as_str())
        .bind(content_text(action)?)
        .bind(&action.masked_url)
        .bind(&action.url)
        .bind(&action.signing_secret)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Replaces a workflow, if nobody has since `revision`. Actions that it has already, `kept`,
    /// are edited; those of `actions` that are not among them are added, and all others retired.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if its name is taken; [`StoreError::Stale`] if it was edited
    /// meanwhile or is gone, or an action is not its own or changes its channel.
    pub async fn update_workflow(
        &mut self,
        (id, revision): (WorkflowId, i64),
        fields: &WorkflowFields,
        (actions, kept): (&[NewAction], &[WorkflowActionId]),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE workflows SET name = $3, name_key = $4, kind = $5, failure_email = $6,
                 state = $7, filters = $8, revision = revision + 1, updated_at = $9
             WHERE id = $1 AND revision = $2 AND state IN ('on', 'off')",
        )
        .bind(id.0)
        .bind(revision)
        .bind(&fields.name)
        .bind(fields.name.to_lowercase())
        .bind(fields.trigger.as_str())
        .bind(&fields.failure_email)
        .bind(state(fields))
        .bind(filters_text(fields))
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the workflow's name"))?;
        exactly(1, done.rows_affected(), "the workflow")?;
        // What has no place when all is done was removed.
        sqlx::query(
            "UPDATE workflow_actions SET position = -1
             WHERE workflow_id = $1 AND retired_at IS NULL",
        )
        .bind(id.0)
        .execute(&mut *self.inner)
        .await?;
        for (position, action) in (0_i64..).zip(actions) {
            if !kept.contains(&action.id) {
                self.insert_action(id, position, action).await?;
                continue;
            }
            let done = sqlx::query(
                "UPDATE workflow_actions SET position = $4, name = $5, content = $6,
                     masked_url = $7, url = COALESCE($8, url),
                     signing_secret = COALESCE($9, signing_secret)
                 WHERE id = $1 AND workflow_id = $2 AND channel = $3 AND position = -1
                   AND retired_at IS NULL",
            )
            .bind(action.id.0)
            .bind(id.0)
            .bind(action.content.channel().as_str())
            .bind(position)
            .bind(&action.name)
            .bind(content_text(action)?)
            .bind(&action.masked_url)
            .bind(&action.url)
            .bind(&action.signing_secret)
            .execute(&mut *self.inner)
            .await?;
            exactly(1, done.rows_affected(), "the action")?;
        }
        sqlx::query(
            "UPDATE workflow_actions SET retired_at = $2
             WHERE workflow_id = $1 AND retired_at IS NULL AND position = -1",
        )
        .bind(id.0)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Deletes a workflow and retires its actions; what is queued still goes.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it was edited meanwhile or is gone.
    pub async fn delete_workflow(
        &mut self,
        id: WorkflowId,
        revision: i64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE workflows SET state = 'deleted', revision = revision + 1, updated_at = $3
             WHERE id = $1 AND revision = $2 AND state IN ('on', 'off')",
        )
        .bind(id.0)
        .bind(revision)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the workflow")?;
        sqlx::query(
            "UPDATE workflow_actions SET retired_at = $2
             WHERE workflow_id = $1 AND retired_at IS NULL",
        )
        .bind(id.0)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Replaces what a webhook is signed with, from its next attempt on.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it is no webhook, or was retired.
    pub async fn set_signing_secret(
        &mut self,
        id: WorkflowActionId,
        sealed: &[u8],
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE workflow_actions SET signing_secret = $2
             WHERE id = $1 AND channel = 'webhook' AND retired_at IS NULL",
        )
        .bind(id.0)
        .bind(sealed)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the action")
    }
}

fn state(fields: &WorkflowFields) -> &'static str {
    if fields.on { "on" } else { "off" }
}

fn filters_text(fields: &WorkflowFields) -> String {
    let filters = fields.filters.iter().map(Filter::to_json);
    Value::Array(filters.collect()).to_string()
}

fn content_text(action: &NewAction) -> Result<String, StoreError> {
    let unwritten = corrupt(
        "workflow_actions",
        action.id.0,
        "its content cannot be written",
    );
    serde_json::to_string(&action.content).map_err(|_| unwritten)
}
