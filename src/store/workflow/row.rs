//! Rows of workflows, and what they mean.
//!
//! Invariant: what is not understood is an error; a filter left out would let everything pass.

use serde_json::Value;

use super::super::StoreError;
use crate::model::Timestamp;
use crate::model::id::{WorkflowActionId, WorkflowId};
use crate::model::workflow::{Action, Content, Filter, Trigger, Workflow, WorkflowFields};

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) failure_email: String,
    pub(super) state: String,
    pub(super) filters: String,
    pub(super) revision: i64,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
}

#[derive(sqlx::FromRow)]
pub(super) struct ActionRow {
    pub(super) id: i64,
    pub(super) workflow_id: i64,
    pub(super) name: String,
    pub(super) content: String,
    pub(super) masked_url: Option<String>,
}

#[derive(sqlx::FromRow)]
pub(super) struct LiveRow {
    pub(super) workflow_id: i64,
    pub(super) workflow_name: String,
    pub(super) kind: String,
    pub(super) filters: String,
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) content: String,
}

pub(super) fn corrupt(table: &'static str, row: i64, problem: &'static str) -> StoreError {
    StoreError::Corrupt {
        table,
        row,
        problem,
    }
}

pub(super) fn filters(row: i64, raw: &str) -> Result<Vec<Filter>, StoreError> {
    let list: Option<Vec<Value>> = serde_json::from_str(raw).ok();
    let read = list.and_then(|list| list.iter().map(Filter::from_json).collect());
    // A filter that is not understood must not let everything pass.
    read.ok_or(corrupt("workflows", row, "its filters are no filters"))
}

pub(super) fn trigger(row: i64, kind: &str) -> Result<Trigger, StoreError> {
    Trigger::parse(kind).ok_or(corrupt("workflows", row, "its kind is no trigger"))
}

pub(super) fn content(row: i64, raw: &str) -> Result<Content, StoreError> {
    serde_json::from_str(raw).map_err(|_| corrupt("workflow_actions", row, "its content is none"))
}

impl Row {
    pub(super) fn workflow(self, actions: Vec<Action>) -> Result<Workflow, StoreError> {
        Ok(Workflow {
            id: WorkflowId(self.id),
            fields: WorkflowFields {
                trigger: trigger(self.id, &self.kind)?,
                filters: filters(self.id, &self.filters)?,
                name: self.name,
                failure_email: self.failure_email,
                on: self.state == "on",
            },
            actions,
            revision: self.revision,
            created_at: Timestamp(self.created_at),
            updated_at: Timestamp(self.updated_at),
        })
    }
}

impl ActionRow {
    pub(super) fn action(self) -> Result<Action, StoreError> {
        Ok(Action {
            id: WorkflowActionId(self.id),
            content: content(self.id, &self.content)?,
            name: self.name,
            masked_url: self.masked_url,
        })
    }
}
