//! Requests: asking for a credential, getting it, giving it back; and seeing one without asking.
//!
//! Invariant: only whoever asked gets the credential, only while the request is active, and each
//! time on record.

mod end;
mod isa;

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::wire::{LIST_LIMIT, date, list};
use super::{Fields, Params, Segments};
use crate::api::caller::Caller;
use crate::api::clear;
use crate::api::error::ApiError;
use crate::api::reveal::{self, Secret};
use crate::api::route::{Need, Routes};
use crate::api::{Api, Dialect};
use crate::model::access::Role;
use crate::model::account::Account;
use crate::model::audit::Event;
use crate::model::id::{AccountId, RequestId, SystemId};
use crate::model::principal::Permission;
use crate::model::request::{NewRequest, Request, RequestState};
use crate::store::{Page, RequestFilter};

const GONE: ApiError = ApiError::NotFound { what: "Request" };
const ID_MAX: i64 = 2_147_483_647;
/// Who asks, and who approves.
const ASKERS: Need = Need::OrRole(&[], &[Role::Requestor, Role::RequestorApprover]);
const EITHER: Need = Need::OrRole(
    &[],
    &[Role::Requestor, Role::RequestorApprover, Role::Approver],
);
/// Who may see a credential at all: whoever has lost the role since has lost the request.
const SEERS: Need = Need::OrRole(&[Permission::CredentialsReveal], Role::REQUESTORS);
const SEERS_WITHOUT_ASKING: Need = Need::OrRole(&[Permission::CredentialsReveal], &[Role::Isa]);
const APPROVERS: &[Role] = &[Role::Approver, Role::RequestorApprover];

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::PasswordSafe)
        .get("/requests", EITHER, find)
        .post("/requests", ASKERS, ask)
        .get("/requests/{id}", EITHER, get)
        .get("/credentials/{request}", SEERS, credential)
        .post("/isarequests", SEERS_WITHOUT_ASKING, isa::see)
        .and(end::routes())
}

/// `Request`.
#[derive(Serialize, ToSchema)]
#[schema(as = Request)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Shape {
    #[serde(rename = "RequestID")]
    request_id: i64,
    #[serde(rename = "SystemID")]
    system_id: i64,
    system_name: String,
    #[serde(rename = "AccountID")]
    account_id: i64,
    account_name: String,
    domain_name: Option<String>,
    #[serde(rename = "AliasID")]
    alias_id: Option<i64>,
    #[serde(rename = "ApplicationID")]
    application_id: Option<i64>,
    request_release_date: String,
    approved_date: Option<String>,
    canceled_date: Option<String>,
    expires_date: String,
    status: &'static str,
    access_type: &'static str,
    reason: String,
}

/// An account that was deleted since has no name any more.
async fn shape(api: &Api, request: Request) -> Result<Shape, ApiError> {
    let account = api.store.account(request.account_id).await?;
    let system = api.store.system(request.system_id).await?;
    let canceled = matches!(request.state, RequestState::Canceled | RequestState::Denied);
    let (account_name, domain_name) = account.map_or_else(Default::default, |account| {
        (account.settings.name, account.settings.domain_name)
    });
    Ok(Shape {
        request_id: request.id.0,
        system_id: request.system_id.0,
        system_name: system.map_or_else(String::new, |system| system.settings.name),
        account_id: request.account_id.0,
        account_name,
        domain_name,
        alias_id: None,
        application_id: None,
        request_release_date: date(request.requested_at),
        approved_date: request.approved_at.map(date),
        canceled_date: request.ended_at.filter(|_| canceled).map(date),
        expires_date: date(request.expires_at),
        status: standing(api, &request).word(),
        access_type: "View",
        reason: request.reason,
    })
}

/// Where it stands now: one whose time is over has ended, whether or not that is recorded yet.
fn standing(api: &Api, request: &Request) -> RequestState {
    if request.state.is_live() && request.expires_at <= api.clock.now() {
        RequestState::Expired
    } else {
        request.state
    }
}

async fn existing(api: &Api, segments: &Segments, name: &str) -> Result<Request, ApiError> {
    let id: RequestId = segments.id(name, "Request")?;
    api.store.request(id).await?.ok_or(GONE)
}

/// True if the caller approves requests for the account.
async fn approves(api: &Api, caller: &Caller, account: AccountId) -> Result<bool, ApiError> {
    if caller.user.administrator {
        return Ok(true);
    }
    let roles = api.store.roles_on(caller.user.id, account).await?;
    Ok(APPROVERS.iter().any(|role| roles.contains(role)))
}

/// The request that a path names, if it is the caller's; others' look like none that is theirs.
async fn own(api: &Api, caller: &Caller, segments: &Segments) -> Result<Request, ApiError> {
    let request = existing(api, segments, "id").await?;
    if request.user_id == caller.user.id {
        Ok(request)
    } else {
        Err(ApiError::Forbidden)
    }
}

async fn find(
    State(api): State<Api>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    let (live, state) = match params.text("status").map(str::to_lowercase).as_deref() {
        None | Some("all") => (false, None),
        Some("active") => (true, Some(RequestState::Active)),
        Some("pending") => (true, Some(RequestState::Pending)),
        Some(_) => return Err(ApiError::field("status", "must be all, active or pending")),
    };
    let to_approve = match params.text("queue").map(str::to_lowercase).as_deref() {
        None | Some("req") => false,
        Some("app") => true,
        Some(_) => return Err(ApiError::field("queue", "must be req or app")),
    };
    let page = params.page(LIST_LIMIT)?;
    let filter = RequestFilter {
        user_id: (!to_approve).then_some(caller.user.id),
        state,
        live,
        ..RequestFilter::default()
    };
    let all = Page::first(LIST_LIMIT);
    let rows = if to_approve { all } else { page.rows() };
    let mut shown = Vec::new();
    for request in api.store.requests(filter, rows).await? {
        // Nobody approves their own.
        let others = request.user_id != caller.user.id;
        if !to_approve || (others && approves(&api, &caller, request.account_id).await?) {
            shown.push(shape(&api, request).await?);
        }
    }
    if to_approve {
        shown = super::wire::part(shown.into_iter(), page);
    }
    Ok(list(shown, None))
}

async fn get(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, ApiError> {
    let request = existing(&api, &segments, "id").await?;
    let own = request.user_id == caller.user.id;
    if !own && !approves(&api, &caller, request.account_id).await? {
        return Err(ApiError::Forbidden);
    }
    Ok(Json(shape(&api, request).await?).into_response())
}

/// What the bodies of both kinds of requests have in common.
struct Asked {
    system: i64,
    account: AccountId,
    minutes: Option<i64>,
    reason: String,
}

impl Asked {
    fn read(fields: &Fields) -> Result<Self, ApiError> {
        Ok(Self {
            system: fields.required_int("SystemID", 1..=ID_MAX)?,
            account: AccountId(fields.required_int("AccountID", 1..=ID_MAX)?),
            minutes: fields.int("DurationMinutes", 1..=525_600)?,
            reason: fields.text("Reason", 1_000)?.unwrap_or_default(),
        })
    }

    /// The account, if it is on the system that was named.
    async fn found(&self, api: &Api) -> Result<Account, ApiError> {
        let found = api.store.account(self.account).await?;
        found
            .filter(|account| account.system_id == SystemId(self.system))
            .ok_or(ApiError::NotFound {
                what: "Managed Account",
            })
    }

    fn duration(&self, default: i64, most: i64) -> Result<i64, ApiError> {
        let minutes = self.minutes.unwrap_or(default.min(most));
        if minutes > most {
            let text = format!("must be 1 to {most} for this account");
            return Err(ApiError::field("DurationMinutes", text));
        }
        Ok(minutes * 60_000)
    }
}

/// True if the credential changes once a request for it has ended.
fn rotates(account: &Account) -> bool {
    account.settings.auto_management && account.settings.extras.change_after_release
}

async fn ask(
    State(api): State<Api>,
    caller: Caller,
    fields: Result<Fields, ApiError>,
) -> Result<Response, ApiError> {
    let fields = fields?;
    let asked = Asked::read(&fields)?;
    let approvals = if caller.user.administrator {
        Some(0)
    } else {
        api.store
            .approvals_for(caller.user.id, asked.account)
            .await?
    };
    let approvals_needed = approvals.ok_or(ApiError::Forbidden)?;
    let account = asked.found(&api).await?;
    if !account.settings.api_enabled {
        return Err(ApiError::Forbidden);
    }
    if let Some(kind) = fields.text("AccessType", 20)?
        && !kind.eq_ignore_ascii_case("View")
    {
        return Err(ApiError::field("AccessType", "must be View"));
    }
    let conflict = fields
        .text("ConflictOption", 20)?
        .map(|word| word.to_lowercase());
    if !matches!(conflict.as_deref(), None | Some("reuse" | "renew")) {
        return Err(ApiError::field("ConflictOption", "must be reuse or renew"));
    }
    fields.flag("RotateOnCheckin")?;
    let extras = &account.settings.extras;
    let lasts = asked.duration(extras.release_duration, extras.max_release_duration)?;
    let now = api.clock.now();
    let mut rotates = rotates(&account);
    let mut tx = api.store.begin().await?;
    tx.lock_queue(account.system_id).await?;
    let mut live = tx.live_requests(account.id, now).await?;
    let mine = live.iter().find(|(user, _)| *user == caller.user.id);
    if let Some((_, mine)) = mine.copied() {
        match conflict.as_deref() {
            Some("reuse") => return Ok((StatusCode::OK, Json(mine.0)).into_response()),
            Some("renew") => {
                // Whoever renews keeps the credential: it changes when the new request ends.
                let before = api.store.request(mine).await?.ok_or(GONE)?;
                rotates |= before.rotates && before.approved_at.is_some();
                tx.replace_request(mine, now).await?;
                live.retain(|(_, id)| *id != mine);
            }
            _ => return Err(ApiError::ConflictingRequest),
        }
    }
    let most = extras.max_concurrent_requests;
    if most > 0 && i64::try_from(live.len()).is_ok_and(|live| live >= most) {
        return Err(ApiError::ConflictingRequest);
    }
    let new = NewRequest {
        user_id: caller.user.id,
        account_id: account.id,
        system_id: account.system_id,
        reason: asked.reason,
        rotates,
        approvals_needed,
        expires_at: now.plus(Duration::from_millis(lasts.unsigned_abs())),
    };
    let id = tx.insert_request(&new, now).await?;
    let details = json!({
        "account": account.id, "minutes": lasts / 60_000, "reason": new.reason,
        "approvals_needed": approvals_needed,
    });
    tx.audit(&Event::by(caller.actor(), "request.made", id, details), now)
        .await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(id.0)).into_response())
}

fn wanted(params: &Params) -> Result<Secret, ApiError> {
    match params.text("type").map(str::to_lowercase).as_deref() {
        None | Some("password") => Ok(Secret::Password),
        Some("dsskey") => Ok(Secret::Key),
        Some("passphrase") => Ok(Secret::Passphrase),
        Some(_) => {
            let text = "must be password, dsskey or passphrase";
            Err(ApiError::field("type", text))
        }
    }
}

async fn credential(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let request = existing(&api, &segments, "request").await?;
    if request.user_id != caller.user.id {
        return Err(ApiError::Forbidden);
    }
    match standing(&api, &request) {
        RequestState::Active => {}
        RequestState::Pending => return Err(ApiError::NotApproved),
        _ => return Err(GONE),
    }
    let what = (request.account_id, wanted(&params)?);
    let why = json!({"request": request.id});
    let found = reveal::reveal(&api, caller.actor(), what, why).await?;
    api.metrics.revealed("passwordsafe", "release");
    Ok(Json(clear::handed_over(&found.value)))
}
