//! `/api/v1/access-policies`: when credentials are asked for, and on what terms.
//!
//! Invariant: an edit changes no request that was made before it; a policy that a role names is not
//! deleted.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::input::{Body, IfMatch, etag};
use super::output::{made, revised, set};
use super::problem::Problem;
use crate::api::caller::Caller;
use crate::api::error::{ApiError, Fault};
use crate::api::inventory::sound;
use crate::api::passwordsafe::Segments;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::access_policy::{
    ALWAYS_OPEN, AccessPolicy, AccessSchedule, AccessTerms, NewAccessPolicy,
};
use crate::model::audit::Event;
use crate::model::policy::{windows_from_json, windows_to_json};
use crate::model::principal::Permission;

const MISSING: ApiError = ApiError::NotFound {
    what: "Access policy",
};
/// What requests open; there is no other kind here.
const VIEW: &str = "View";
/// A policy's number is within those of the dialect.
const ID_MAX: i64 = 2_147_483_647;

pub(super) fn routes() -> Routes {
    const ALL: &str = "/api/v1/access-policies";
    const ONE: &str = "/api/v1/access-policies/{id}";
    Routes::new(Dialect::Native)
        .get(ALL, Permission::RolesRead, list)
        .post(ALL, Permission::RolesWrite, create)
        .get(ONE, Permission::RolesRead, one)
        .put(ONE, Permission::RolesWrite, replace)
        .delete(ONE, Permission::RolesWrite, delete)
}

/// An access policy; the roles Requestor, and Requestor and Approver, name one.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AccessPolicyAnswer {
    /// `AccessPolicyID` of the Password Safe dialect; 1 is built in: always open, automatic.
    id: i64,
    revision: i64,
    name: String,
    description: String,
    schedules: Vec<AccessScheduleAnswer>,
}

/// When credentials are asked for, and on what terms.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AccessScheduleAnswer {
    /// `AccessPolicyScheduleID` of the Password Safe dialect.
    id: i64,
    name: String,
    /// When requests are made; an empty list means at any time.
    #[schema(value_type = Vec<AccessWindow>)]
    windows: Value,
    /// How many must approve a request.
    approvals: i64,
    access_types: Vec<&'static str>,
    /// Whether `RotateOnCheckin: false` of a request is obeyed.
    rotation_override: bool,
    /// Whether a request may last longer than the window it was made in.
    outlasts_window: bool,
}

/// A recurring span of time.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"cron": "0 8 * * 1-5", "duration": "10h", "zone": "Europe/Berlin"}))]
pub(super) struct AccessWindow {
    /// Five fields: when it opens.
    cron: String,
    /// How long it stays open, at most `31d`.
    duration: String,
    /// IANA zone of the cron fields.
    zone: String,
}

impl From<AccessSchedule> for AccessScheduleAnswer {
    fn from(AccessSchedule { id, terms }: AccessSchedule) -> Self {
        Self {
            id,
            name: terms.name,
            windows: windows_to_json(&terms.windows),
            approvals: terms.approvals,
            access_types: vec![VIEW],
            rotation_override: terms.rotation_override,
            outlasts_window: terms.outlasts_window,
        }
    }
}

impl From<AccessPolicy> for AccessPolicyAnswer {
    fn from(policy: AccessPolicy) -> Self {
        Self {
            id: policy.id,
            revision: policy.revision,
            name: policy.name,
            description: policy.description,
            schedules: policy.schedules.into_iter().map(Into::into).collect(),
        }
    }
}

/// An access policy to be made or edited.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessPolicyOrder {
    /// 1 to 128 characters, unique in any case.
    name: String,
    #[serde(default)]
    description: Option<String>,
    /// 1 to 16; without them there is one that is always open.
    #[serde(default)]
    schedules: Option<Vec<AccessScheduleOrder>>,
    /// 0 to 10, for the one that is always open; default 0. Not together with `schedules`.
    #[serde(default)]
    approvals: Option<i64>,
}

/// A schedule to be made or edited.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessScheduleOrder {
    /// In an edit: the schedule that is meant; without it a new one is made.
    #[serde(default)]
    id: Option<i64>,
    /// 1 to 128 characters, unique within the policy in any case.
    name: String,
    /// At most 32; without them it is always open.
    #[serde(default)]
    windows: Vec<AccessWindow>,
    /// 0 to 10; default 0.
    #[serde(default)]
    approvals: i64,
    /// `View`, which is the default and all there is.
    #[serde(default)]
    access_types: Option<Vec<String>>,
    #[serde(default)]
    rotation_override: bool,
    #[serde(default)]
    outlasts_window: bool,
}

impl AccessScheduleOrder {
    /// Its terms; faults are added under the schedule's place.
    fn read(self, place: usize, faults: &mut Vec<Fault>) -> (Option<i64>, AccessTerms) {
        let below = format!("/schedules/{place}");
        let mut fault = |field: &str, text: String| {
            let field = format!("{below}{field}");
            faults.push(Fault { field, text });
        };
        let types = self.access_types.unwrap_or_else(|| vec![VIEW.to_owned()]);
        if types != [VIEW] {
            fault("/access_types", format!("must be [\"{VIEW}\"]"));
        }
        let windows = self.windows.into_iter();
        let windows = windows
            .map(|one| json!({"cron": one.cron, "duration": one.duration, "zone": one.zone}));
        let windows = windows_from_json(&windows.collect(), "").unwrap_or_else(|error| {
            for found in error.faults {
                fault(&found.pointer, found.message);
            }
            Vec::new()
        });
        let terms = AccessTerms {
            name: self.name.trim().to_owned(),
            windows,
            approvals: self.approvals,
            rotation_override: self.rotation_override,
            outlasts_window: self.outlasts_window,
        };
        for found in terms.faults() {
            fault(&format!("/{}", found.field), found.problem);
        }
        (self.id, terms)
    }
}

impl AccessPolicyOrder {
    /// The policy that is wanted; its schedules keep numbers among `known` alone.
    fn read(self, known: &[AccessSchedule]) -> Result<NewAccessPolicy, ApiError> {
        let mut faults = Vec::new();
        let schedules = match (self.schedules, self.approvals) {
            (Some(_), Some(_)) => {
                let text = "must not be given together with schedules, which have their own";
                return Err(ApiError::field("approvals", text));
            }
            (Some(schedules), None) => schedules,
            (None, approvals) => vec![AccessScheduleOrder {
                id: None,
                name: "Always".to_owned(),
                windows: Vec::new(),
                approvals: approvals.unwrap_or_default(),
                access_types: None,
                rotation_override: false,
                outlasts_window: false,
            }],
        };
        let mut read = Vec::new();
        for (place, schedule) in schedules.into_iter().enumerate() {
            let id = schedule.id;
            if id.is_some_and(|id| known.iter().all(|one| one.id != id)) {
                faults.push(Fault {
                    field: format!("/schedules/{place}/id"),
                    text: "is no schedule of this policy".to_owned(),
                });
            }
            read.push(schedule.read(place, &mut faults));
        }
        if !faults.is_empty() {
            return Err(ApiError::Invalid(faults));
        }
        let policy = NewAccessPolicy {
            name: self.name.trim().to_owned(),
            description: self.description.unwrap_or_default(),
            schedules: read,
        };
        sound(policy.faults())?;
        Ok(policy)
    }
}

async fn existing(api: &Api, segments: &Segments) -> Result<AccessPolicy, ApiError> {
    let id: i64 = segments.id("id", "Access policy")?;
    found(api, id).await?.ok_or(MISSING)
}

async fn found(api: &Api, id: i64) -> Result<Option<AccessPolicy>, ApiError> {
    if !(1..=ID_MAX).contains(&id) {
        return Ok(None);
    }
    let all = api.store.access_policies().await?;
    Ok(all.into_iter().find(|policy| policy.id == id))
}

/// The built-in policy stays as it is: roles may rely on it.
fn not_built_in(policy: &AccessPolicy) -> Result<(), ApiError> {
    if policy.id == ALWAYS_OPEN {
        let text = "The built-in access policy is neither edited nor deleted; make another";
        return Err(ApiError::conflict(text));
    }
    Ok(())
}

/// What stands in the audit trail about a policy.
fn details(policy: &NewAccessPolicy) -> Value {
    let schedules = policy.schedules.iter().map(|(id, terms)| {
        json!({
            "id": id, "name": terms.name, "windows": windows_to_json(&terms.windows),
            "approvals": terms.approvals, "rotation_override": terms.rotation_override,
            "outlasts_window": terms.outlasts_window,
        })
    });
    json!({"name": policy.name, "schedules": schedules.collect::<Vec<_>>()})
}

/// All access policies.
#[utoipa::path(
    get, path = "/api/v1/access-policies", tag = "requests",
    responses((status = 200, body = Vec<AccessPolicyAnswer>), (status = "4XX", body = Problem)),
)]
pub(super) async fn list(State(api): State<Api>) -> Result<Response, ApiError> {
    let found = api.store.access_policies().await?.into_iter();
    let shown: Vec<AccessPolicyAnswer> = found.map(Into::into).collect();
    Ok(Json(shown).into_response())
}

/// One access policy.
#[utoipa::path(
    get, path = "/api/v1/access-policies/{id}", tag = "requests",
    params(("id" = i64, Path, description = "The access policy")),
    responses(
        (status = 200, body = AccessPolicyAnswer, headers(("ETag" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn one(State(api): State<Api>, segments: Segments) -> Result<Response, ApiError> {
    let policy = existing(&api, &segments).await?;
    let (revision, answer) = (policy.revision, AccessPolicyAnswer::from(policy));
    Ok(revised(StatusCode::OK, revision, &answer))
}

/// Makes an access policy; it opens nothing until a role names it.
#[utoipa::path(
    post, path = "/api/v1/access-policies", tag = "requests",
    request_body = AccessPolicyOrder,
    responses(
        (status = 201, body = AccessPolicyAnswer,
         headers(("Location" = String), ("ETag" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Body(order): Body<AccessPolicyOrder>,
) -> Result<Response, ApiError> {
    let policy = order.read(&[])?;
    let mut tx = api.store.begin().await?;
    let id = tx.insert_access_policy(&policy).await?;
    let subject = format!("access policy {id}");
    let event = Event::by(
        caller.actor(),
        "access_policy.created",
        subject,
        details(&policy),
    );
    tx.audit(&event, api.clock.now()).await?;
    tx.commit().await?;
    let stored = found(&api, id).await?.ok_or(MISSING)?;
    let location = format!("/api/v1/access-policies/{id}");
    let revision = stored.revision;
    let answer = AccessPolicyAnswer::from(stored);
    let mut response = made(StatusCode::CREATED, location, &answer);
    set(&mut response, header::ETAG, Some(etag(revision)));
    Ok(response)
}

/// Replaces an access policy, for requests to come. Schedules with an `id` keep it, those that are
/// not given are deleted.
#[utoipa::path(
    put, path = "/api/v1/access-policies/{id}", tag = "requests",
    params(
        ("id" = i64, Path, description = "The access policy"),
        ("If-Match" = String, Header, description = "The ETag that was read"),
    ),
    request_body = AccessPolicyOrder,
    responses(
        (status = 200, body = AccessPolicyAnswer, headers(("ETag" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn replace(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    if_match: Result<IfMatch, ApiError>,
    body: Result<Body<AccessPolicyOrder>, ApiError>,
) -> Result<Response, ApiError> {
    let stored = existing(&api, &segments).await?;
    let revision = if_match?.revision(stored.revision, "the access policy")?;
    let Body(order) = body?;
    let policy = order.read(&stored.schedules)?;
    not_built_in(&stored)?;
    let mut tx = api.store.begin().await?;
    tx.update_access_policy(stored.id, revision, &policy)
        .await?;
    let subject = format!("access policy {}", stored.id);
    let event = Event::by(
        caller.actor(),
        "access_policy.updated",
        subject,
        details(&policy),
    );
    tx.audit(&event, api.clock.now()).await?;
    tx.commit().await?;
    let stored = found(&api, stored.id).await?.ok_or(MISSING)?;
    let revision = stored.revision;
    Ok(revised(
        StatusCode::OK,
        revision,
        &AccessPolicyAnswer::from(stored),
    ))
}

/// Deletes an access policy that no role names.
#[utoipa::path(
    delete, path = "/api/v1/access-policies/{id}", tag = "requests",
    params(
        ("id" = i64, Path, description = "The access policy"),
        ("If-Match" = String, Header, description = "The ETag that was read"),
    ),
    responses((status = 204), (status = "4XX", body = Problem)),
)]
pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    if_match: Result<IfMatch, ApiError>,
) -> Result<StatusCode, ApiError> {
    let stored = existing(&api, &segments).await?;
    let revision = if_match?.revision(stored.revision, "the access policy")?;
    not_built_in(&stored)?;
    let mut tx = api.store.begin().await?;
    tx.delete_access_policy(stored.id, revision).await?;
    let subject = format!("access policy {}", stored.id);
    let body = json!({"name": stored.name});
    let event = Event::by(caller.actor(), "access_policy.deleted", subject, body);
    tx.audit(&event, api.clock.now()).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
