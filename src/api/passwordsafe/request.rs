//! Requests: asking for a credential, getting it, giving it back; and seeing one without asking.
//!
//! Invariant: only whoever asked gets the credential, only while the request is active, and each
//! time on record.

mod ask;
mod end;
mod isa;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::wire::{LIST_LIMIT, date, list};
use super::{Params, Segments};
use crate::api::caller::Caller;
use crate::api::clear;
use crate::api::error::ApiError;
use crate::api::peer::Peer;
use crate::api::reveal::{self, Secret, Seeing, Wanted};
use crate::api::route::{Need, Routes};
use crate::api::{Api, Dialect};
use crate::model::access::Role;
use crate::model::id::{AccountId, RequestId};
use crate::model::principal::Permission;
use crate::model::request::{Request, RequestState};
use crate::model::reveal::AccessMethod;
use crate::store::{Page, RequestFilter};

const GONE: ApiError = ApiError::NotFound { what: "Request" };
/// Who asks, and who approves: whoever is one where it takes the other is told so.
const EITHER: Need = Need::OrRole(
    &[],
    &[Role::Requestor, Role::RequestorApprover, Role::Approver],
);
/// Who may see a credential at all, and who is told that only requestors do.
const SEERS: Need = Need::OrRole(
    &[Permission::CredentialsReveal],
    &[
        Role::Requestor,
        Role::RequestorApprover,
        Role::Isa,
        Role::Approver,
    ],
);
const SEERS_WITHOUT_ASKING: Need = Need::OrRole(&[Permission::CredentialsReveal], &[Role::Isa]);
const APPROVERS: &[Role] = &[Role::Approver, Role::RequestorApprover];

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::PasswordSafe)
        .get("/requests", EITHER, find)
        .post("/requests", EITHER, ask::ask)
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

/// Passes the owner, who must still be one of those who see: whoever has lost the role since has
/// lost the request.
async fn may_see(api: &Api, caller: &Caller, request: &Request) -> Result<(), ApiError> {
    let own = request.user_id == caller.user.id;
    if caller.user.may(Permission::CredentialsReveal) {
        return if own {
            Ok(())
        } else {
            Err(ApiError::Forbidden)
        };
    }
    let roles = api
        .store
        .roles_on(caller.user.id, request.account_id)
        .await?;
    let sees = Role::REQUESTORS.iter().any(|role| roles.contains(role));
    if own && sees {
        Ok(())
    } else if !sees && roles.contains(&Role::Approver) {
        Err(ApiError::RequestorOnly)
    } else {
        Err(ApiError::Forbidden)
    }
}

/// Why a request that waits opens nothing: approval may come, or cannot any more.
async fn waiting(api: &Api, request: &Request) -> Result<ApiError, ApiError> {
    let (asker, account) = (request.user_id, request.account_id);
    let approvers = api
        .store
        .count_approvers(asker, account, Some(request.id))
        .await?;
    Ok(if approvers < request.approvals_needed {
        ApiError::TooFewApprovers
    } else {
        ApiError::NotApproved
    })
}

async fn credential(
    State(api): State<Api>,
    caller: Caller,
    from: Peer,
    segments: Segments,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let request = existing(&api, &segments, "request").await?;
    may_see(&api, &caller, &request).await?;
    match standing(&api, &request) {
        RequestState::Active => {}
        RequestState::Pending => return Err(waiting(&api, &request).await?),
        _ => return Err(GONE),
    }
    let what = Wanted::current(request.account_id, wanted(&params)?);
    let seeing = Seeing {
        caller: &caller,
        from,
        method: AccessMethod::Checkout,
    };
    let why = json!({"request": request.id});
    let found = reveal::reveal(&api, seeing, what, why).await?;
    api.metrics.revealed("passwordsafe", "release");
    Ok(Json(clear::handed_over(&found.value)))
}
