//! `/api/v1/passwords` and what hangs on organizations: records as the dialect has no words for
//! them.
//!
//! Invariant: the rules are those of `api/record`, whichever interface asks.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::functional_account::Given;
use super::input::{At, Body};
use super::output::{made, revised};
use super::problem::Problem;
use super::quarantine::reason;
use super::reveal::by_way;
use crate::api::caller::Caller;
use crate::api::clear;
use crate::api::error::ApiError;
use crate::api::passwordsafe::Segments;
use crate::api::peer::Peer;
use crate::api::record::{self, Asker, Change, Draft, Shown};
use crate::api::route::{Need, Routes};
use crate::api::{Api, Dialect};
use crate::generate;
use crate::model::id::{AccountId, OrganizationId, PasswordCategoryId, PasswordRecordId};
use crate::model::password_record::{PasswordFields, PasswordRecord};
use crate::model::password_rule::PasswordRule;
use crate::model::principal::Permission;
use crate::vault::otp_secret;

/// Who sees values: those of records, or those of the accounts that records show.
const SEERS: &[Permission] = &[Permission::PasswordsReveal, Permission::CredentialsReveal];

pub(super) fn routes() -> Routes {
    const READ: Permission = Permission::PasswordsRead;
    const WRITE: Permission = Permission::PasswordsWrite;
    Routes::new(Dialect::Native)
        .post("/api/v1/organizations/{id}/passwords", WRITE, create)
        .post("/api/v1/organizations/{id}/folders/ensure", WRITE, ensure)
        .get("/api/v1/passwords/{id}", READ, one)
        .post("/api/v1/passwords/{id}/reveal", Need::Any(SEERS), reveal)
        .post("/api/v1/passwords/{id}/rotate", WRITE, rotate)
        .get("/api/v1/passwords/{id}/otp", Need::Any(SEERS), otp)
}

/// A password record, without its value.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PasswordAnswer {
    id: i64,
    organization_id: i64,
    organization: String,
    name: String,
    username: Option<String>,
    url: Option<String>,
    category: Option<String>,
    folder_id: Option<i64>,
    archived: bool,
    restricted: bool,
    otp_enabled: bool,
    /// The managed account whose credential it shows.
    account_id: Option<i64>,
    /// When its value last changed.
    changed_at: Option<At>,
    /// When its value changes next by itself; null: never, or it is no account's.
    next_change_at: Option<At>,
    /// Of an account's record: `current`, `changing`, `stale`, `in_doubt` or `gone`. Of others
    /// `stored`, or `empty` without a value.
    state: &'static str,
    /// Counts edits.
    revision: i64,
}

async fn answer(api: &Api, record: PasswordRecord) -> Result<PasswordAnswer, ApiError> {
    let account = match &record.account {
        Some(linked) => api.store.account(linked.id).await?,
        None => None,
    };
    let gone = record.account.as_ref().is_some_and(|linked| linked.deleted);
    let state = match &account {
        _ if gone => "gone",
        Some(account) if account.work.is_some() => "changing",
        Some(account) if account.credential.in_doubt => "in_doubt",
        Some(account) if account.due.stale_at.is_some() => "stale",
        Some(_) => "current",
        None if record.version.is_none() => "empty",
        None => "stored",
    };
    let next = account.as_ref().filter(|_| !gone);
    Ok(PasswordAnswer {
        id: record.id.0,
        organization_id: record.organization_id.0,
        username: record.username().map(str::to_owned),
        archived: record.is_archived(),
        account_id: record.account.as_ref().map(|linked| linked.id.0),
        changed_at: record.shown_changed_at().map(At),
        next_change_at: next.and_then(|account| account.due.next_change_at).map(At),
        state,
        revision: record.revision,
        organization: record.organization_name,
        name: record.fields.name,
        url: record.fields.url,
        category: record.category_name,
        folder_id: record.fields.folder_id.map(|id| id.0),
        restricted: record.fields.restricted,
        otp_enabled: record.otp_enabled,
    })
}

pub(super) async fn found(
    api: &Api,
    asker: Asker<'_>,
    segments: &Segments,
) -> Result<PasswordRecord, ApiError> {
    let id: PasswordRecordId = segments.id("id", "Password")?;
    record::visible(api, asker, id).await
}

/// One password record, with where its value stands.
#[utoipa::path(
    get, path = "/api/v1/passwords/{id}", tag = "passwords",
    params(("id" = i64, Path, description = "The record")),
    responses((status = 200, body = PasswordAnswer), (status = "4XX", body = Problem)),
)]
pub(super) async fn one(
    State(api): State<Api>,
    caller: Caller,
    from: Peer,
    segments: Segments,
) -> Result<Response, ApiError> {
    let record = found(&api, Asker::anywhere(&caller, from), &segments).await?;
    let revision = record.revision;
    let answer = answer(&api, record).await?;
    Ok(revised(StatusCode::OK, revision, &answer))
}

/// A password record to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordOrder {
    name: String,
    #[serde(default)]
    username: Option<String>,
    /// The value; drawn where it is left out, unless there is an account.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<Given>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    category_id: Option<i64>,
    /// `Infrastructure/Domain Controllers`; what is missing of it is made.
    #[serde(default)]
    folder_path: Option<String>,
    /// What it is for; stands in the notes, with today's date.
    #[serde(default)]
    purpose: Option<String>,
    /// Seen by whoever makes it and those who are named later.
    #[serde(default)]
    restricted: bool,
    /// The managed account whose credential it shows.
    #[serde(default)]
    account_id: Option<i64>,
    /// The secret of one-time codes, in base 32.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    otp_secret: Option<Given>,
}

/// Makes a record in an organization, with its folders.
#[utoipa::path(
    post, path = "/api/v1/organizations/{id}/passwords", tag = "passwords",
    params(("id" = i64, Path, description = "The organization")),
    request_body = PasswordOrder,
    responses(
        (status = 201, body = PasswordAnswer, headers(("Location" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    from: Peer,
    segments: Segments,
    body: Result<Body<PasswordOrder>, ApiError>,
) -> Result<Response, ApiError> {
    let organization = existing(&api, &segments).await?;
    let Body(order) = body?;
    let asker = Asker::anywhere(&caller, from);
    let otp = order.otp_secret.map(read_otp).transpose()?;
    let fields = PasswordFields {
        username: order.username,
        url: order.url,
        notes: order
            .purpose
            .as_deref()
            .map(|text| record::purpose_notes(&api, text)),
        category_id: order.category_id.map(PasswordCategoryId),
        restricted: order.restricted,
        ..PasswordFields::named(order.name)
    };
    let value = match order.password {
        Some(given) => Some(given.text()),
        None if order.account_id.is_none() => Some(drawn(&api, &fields)?),
        None => None,
    };
    if order.account_id.is_some() && value.is_some() {
        let why = "is the managed account's: leave it out, and rotate the record afterwards";
        return Err(ApiError::field("password", why));
    }
    let folder_id = match &order.folder_path {
        Some(path) => record::ensured(&api, asker, organization, path).await?,
        None => None,
    };
    let draft = Draft {
        organization_id: organization,
        fields: PasswordFields {
            folder_id,
            ..fields
        },
        value,
        otp,
        account_id: order.account_id.map(AccountId),
        said_changed_at: None,
        action: "created",
    };
    let mut made_now = record::create_all(&api, asker, &[draft])
        .await
        .map_err(|(_, error)| error)?;
    let record = made_now
        .pop()
        .ok_or(ApiError::Internal("a made record has vanished"))?;
    let location = format!("/api/v1/passwords/{}", record.id.0);
    let answer = answer(&api, record).await?;
    Ok(made(StatusCode::CREATED, location, &answer))
}

async fn existing(api: &Api, segments: &Segments) -> Result<OrganizationId, ApiError> {
    const MISSING: ApiError = ApiError::NotFound {
        what: "Organization",
    };
    let id: OrganizationId = segments.id("id", "Organization")?;
    let found = api.store.organization(id).await?;
    found.map(|found| found.id).ok_or(MISSING)
}

fn read_otp(given: Given) -> Result<secrecy::SecretString, ApiError> {
    otp_secret(&given.text())
        .ok_or_else(|| ApiError::field("otp_secret", "must be base 32, of 10 to 128 bytes"))
}

/// A value by the record's rule.
fn drawn(api: &Api, fields: &PasswordFields) -> Result<secrecy::SecretString, ApiError> {
    let rule = PasswordRule::built_in(fields.rule_id.0);
    let rule = rule.ok_or(ApiError::Internal("a record's password rule is gone"))?;
    generate::password(&rule, api.dice.as_ref())
        .map_err(|_| ApiError::Internal("no password could be drawn"))
}

/// A folder's path.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PathOrder {
    /// `Infrastructure/Domain Controllers`.
    path: String,
}

/// The folder of a path; what was missing of it was made.
#[utoipa::path(
    post, path = "/api/v1/organizations/{id}/folders/ensure", tag = "passwords",
    params(("id" = i64, Path, description = "The organization")),
    request_body = PathOrder,
    responses((status = 200, body = FolderAnswer), (status = "4XX", body = Problem)),
)]
pub(super) async fn ensure(
    State(api): State<Api>,
    caller: Caller,
    from: Peer,
    segments: Segments,
    body: Result<Body<PathOrder>, ApiError>,
) -> Result<Json<FolderAnswer>, ApiError> {
    let organization = existing(&api, &segments).await?;
    let Body(order) = body?;
    let asker = Asker::anywhere(&caller, from);
    let id = record::ensured(&api, asker, organization, &order.path).await?;
    Ok(Json(FolderAnswer {
        folder_id: id.map(|id| id.0),
    }))
}

/// A folder.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FolderAnswer {
    /// Null for an empty path: the top.
    folder_id: Option<i64>,
}

/// Why a value is needed in the clear.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordReveal {
    /// 1 to 1000 characters; goes to the audit trail.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// An earlier value.
    #[serde(default)]
    version: Option<i64>,
    /// By which way a person comes to see it, as for accounts.
    #[serde(default)]
    via: Option<String>,
}

/// A value in the clear.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PasswordValue {
    password_id: i64,
    /// The value; null if the record has none.
    #[schema(value_type = Option<String>)]
    value: Option<Value>,
}

/// Hands over a record's value. A session that somebody opened with their password must be younger
/// than five minutes.
#[utoipa::path(
    post, path = "/api/v1/passwords/{id}/reveal", tag = "passwords",
    params(("id" = i64, Path, description = "The record")),
    request_body = PasswordReveal,
    responses((status = 200, body = PasswordValue), (status = "4XX", body = Problem)),
)]
pub(super) async fn reveal(
    State(api): State<Api>,
    caller: Caller,
    from: Peer,
    segments: Segments,
    body: Result<Body<PasswordReveal>, ApiError>,
) -> Result<Json<PasswordValue>, ApiError> {
    caller.require_fresh(api.clock.now())?;
    let asker = Asker::anywhere(&caller, from);
    let record = found(&api, asker, &segments).await?;
    let Body(order) = body?;
    let why = reason(&order.reason)?;
    let method = by_way(&caller, order.via)?;
    let shown = record::show_why(&api, asker, method, &record, order.version, Some(why)).await?;
    let value = match shown {
        Shown::Value(value) => Some(clear::handed_over(&value)),
        Shown::Empty => None,
        Shown::Hidden => return Err(ApiError::Forbidden),
    };
    api.metrics.revealed(caller.actor_type(), "reveal");
    Ok(Json(PasswordValue {
        password_id: record.id.0,
        value,
    }))
}

/// Why a value is changed, and to what.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordRotation {
    /// 1 to 1000 characters; stands in the notes and in the audit trail.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// The new value; drawn by the rule where it is left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    value: Option<Given>,
}

/// Changes a record's value; an account's is changed on its target first.
#[utoipa::path(
    post, path = "/api/v1/passwords/{id}/rotate", tag = "passwords",
    params(("id" = i64, Path, description = "The record")),
    request_body = PasswordRotation,
    responses((status = 200, body = PasswordAnswer), (status = "4XX", body = Problem)),
)]
pub(super) async fn rotate(
    State(api): State<Api>,
    caller: Caller,
    from: Peer,
    segments: Segments,
    body: Result<Body<PasswordRotation>, ApiError>,
) -> Result<Response, ApiError> {
    let asker = Asker::anywhere(&caller, from);
    let record = found(&api, asker, &segments).await?;
    let Body(order) = body?;
    let why = reason(&order.reason)?.to_owned();
    let given = order.value.map(Given::text);
    let change = Change {
        drawn: given.is_none(),
        value: match given {
            Some(given) => Some(given),
            None => Some(drawn(&api, &record.fields)?),
        },
        reason: Some(why),
        ..Change::of(record)
    };
    let record = record::change(&api, asker, change).await?;
    let revision = record.revision;
    let answer = answer(&api, record).await?;
    Ok(revised(StatusCode::OK, revision, &answer))
}

/// A one-time code.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CodeAnswer {
    /// Six digits.
    #[schema(value_type = String)]
    code: Value,
    /// For how many more seconds it is the present one.
    seconds_left: u64,
}

/// The present one-time code of a record; seeing it is a reveal.
#[utoipa::path(
    get, path = "/api/v1/passwords/{id}/otp", tag = "passwords",
    params(("id" = i64, Path, description = "The record")),
    responses((status = 200, body = CodeAnswer), (status = "4XX", body = Problem)),
)]
pub(super) async fn otp(
    State(api): State<Api>,
    caller: Caller,
    from: Peer,
    segments: Segments,
) -> Result<Json<CodeAnswer>, ApiError> {
    const NONE: ApiError = ApiError::NotFound {
        what: "One-time code",
    };
    caller.require_fresh(api.clock.now())?;
    let asker = Asker::anywhere(&caller, from);
    let record = found(&api, asker, &segments).await?;
    let code = record::show_code(&api, asker, &record).await?;
    let (code, seconds_left) = code.ok_or(NONE)?;
    api.metrics.revealed(caller.actor_type(), "reveal");
    Ok(Json(CodeAnswer {
        code: clear::handed_over(&code),
        seconds_left,
    }))
}
