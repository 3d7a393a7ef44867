//! Workgroups, by ID and by name.
//!
//! Invariant: where a path takes a workgroup's ID or name, digits mean the ID.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::wire::{LIST_LIMIT, created, list, named};
use super::{Fields, Params, Segments};
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::inventory::{Act, workgroup};
use crate::api::route::{Need, Routes};
use crate::api::{Api, Dialect};
use crate::model::id::WorkgroupId;
use crate::model::principal::Permission;
use crate::model::workgroup::Workgroup;

const GONE: ApiError = ApiError::NotFound { what: "Workgroup" };

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::PasswordSafe)
        .get("/workgroups", Need::SignedIn, find)
        .post("/workgroups", Permission::AssetsWrite, add)
        .get("/workgroups/{workgroup}", Need::SignedIn, get)
}

/// `Workgroup`.
#[derive(Serialize, ToSchema)]
#[schema(as = Workgroup)]
pub(super) struct Shape {
    #[serde(rename = "OrganizationID")]
    organization_id: String,
    #[serde(rename = "ID")]
    id: i64,
    #[serde(rename = "Name")]
    name: String,
}

impl From<Workgroup> for Shape {
    fn from(workgroup: Workgroup) -> Self {
        Self {
            organization_id: workgroup.organization_id,
            id: workgroup.id.0,
            name: workgroup.name,
        }
    }
}

/// The workgroup that a path names by ID or name.
pub(super) async fn named_in(api: &Api, segments: &Segments) -> Result<Workgroup, ApiError> {
    let raw = segments.text("workgroup")?;
    let found = if raw.bytes().all(|byte| byte.is_ascii_digit()) {
        match Segments::parse_id(raw) {
            Some(id) => api.store.workgroup(WorkgroupId(id)).await?,
            None => None,
        }
    } else {
        api.store.workgroup_named(raw).await?
    };
    found.ok_or(GONE)
}

async fn find(State(api): State<Api>, params: Params) -> Result<Response, ApiError> {
    if let Some(name) = params.text("name") {
        let found = api.store.workgroup_named(name).await?.ok_or(GONE)?;
        return Ok(Json(Shape::from(found)).into_response());
    }
    let page = params.page(LIST_LIMIT)?;
    let found = api.store.workgroups(page.rows()).await?;
    Ok(list(found.into_iter().map(Shape::from).collect(), None))
}

async fn get(State(api): State<Api>, segments: Segments) -> Result<Response, ApiError> {
    let id: WorkgroupId = segments.id("workgroup", "Workgroup")?;
    let found = api.store.workgroup(id).await?.ok_or(GONE)?;
    Ok(Json(Shape::from(found)).into_response())
}

async fn add(State(api): State<Api>, caller: Caller, fields: Fields) -> Result<Response, ApiError> {
    let name = fields.required_text("Name", 256)?;
    let organization = fields.text("OrganizationID", 36)?;
    let act = Act::of(&api, &caller);
    let made = workgroup::add(act, name, organization).await;
    Ok(created(Shape::from(named(made, &[])?)))
}
