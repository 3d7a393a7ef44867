//! `/api/v1/accounts`: managed accounts, and what the dialect has no field for.
//!
//! Invariant: no answer here holds a credential; [`super::reveal`] alone hands one over.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::input::{At, Body, IfMatch, ListQuery, Patch, Wait};
use super::job::Job;
use super::output::{Listed, counted, made, revised};
use super::problem::Problem;
use super::quarantine::reason;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::inventory::platform_of;
use crate::api::passwordsafe::Segments;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::Timestamp;
use crate::model::account::Account;
use crate::model::audit::Event;
use crate::model::id::{AccountId, PolicyId, SystemId};
use crate::model::principal::Permission;
use crate::queue::{ChangeOrder, TestVerdict};
use crate::store::AccountFilter;

const MISSING: ApiError = ApiError::NotFound {
    what: "Managed Account",
};

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native)
        .get("/api/v1/accounts", Permission::AccountsRead, list)
        .get("/api/v1/accounts/{id}", Permission::AccountsRead, one)
        .patch("/api/v1/accounts/{id}", Permission::AccountsWrite, edit)
        .post(
            "/api/v1/accounts/{id}/rotate",
            Permission::CredentialsRotate,
            rotate,
        )
        .post(
            "/api/v1/accounts/{id}/test",
            Permission::CredentialsTest,
            test,
        )
        .post(
            "/api/v1/accounts/{id}/suspend",
            Permission::AccountsWrite,
            suspend,
        )
        .post(
            "/api/v1/accounts/{id}/resume",
            Permission::AccountsWrite,
            resume,
        )
}

/// A managed account, without its credential.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AccountAnswer {
    id: i64,
    /// Counts edits; the `ETag`.
    revision: i64,
    system_id: i64,
    name: String,
    domain_name: Option<String>,
    distinguished_name: Option<String>,
    /// `managed`, `unmanaged` or `suspended`.
    state: &'static str,
    /// The account whose passwords it takes over; null: it has its own.
    parent_id: Option<i64>,
    /// Its own policy; null: its system's, or none.
    policy_id: Option<i64>,
    password_rule_id: i64,
    key_rule_id: i64,
    /// The password that is known to work; null before the first.
    current_version: Option<i64>,
    /// True if the current password may have been replaced on the target: look before relying
    /// on it.
    in_doubt: bool,
    /// The SSH key pair that is known to work; null before the first.
    current_key_version: Option<i64>,
    /// True if the current key pair may have been replaced on the target.
    key_in_doubt: bool,
    last_key_change: Option<At>,
    last_change: Option<At>,
    /// Null: never by itself.
    next_change: Option<At>,
    /// The next change as it was set by hand; once.
    next_change_override: Option<At>,
    /// Since when it is flagged stale.
    stale_since: Option<At>,
    /// `never_tested`, `passed`, `out_of_sync` or `unreachable`.
    last_test: &'static str,
    last_test_at: Option<At>,
    /// Null: never by itself.
    next_test: Option<At>,
    /// Its open job, if one is queued or running.
    open_job: Option<i64>,
    created_at: At,
}

impl From<Account> for AccountAnswer {
    fn from(account: Account) -> Self {
        let state = match (account.active, account.settings.auto_management) {
            (false, _) => "suspended",
            (true, true) => "managed",
            (true, false) => "unmanaged",
        };
        Self {
            id: account.id.0,
            revision: account.revision,
            system_id: account.system_id.0,
            name: account.settings.name,
            domain_name: account.settings.domain_name,
            distinguished_name: account.settings.distinguished_name,
            state,
            parent_id: account.parent_id.map(|id| id.0),
            policy_id: account.settings.policy_id.map(|id| id.0),
            password_rule_id: account.settings.password_rule_id.0,
            key_rule_id: account.settings.key_rule_id.0,
            current_version: account.credential.current_version,
            current_key_version: account.credential.current_key_version,
            key_in_doubt: account.credential.key_in_doubt,
            last_key_change: account.credential.key_changed_at.map(At),
            in_doubt: account.credential.in_doubt,
            last_change: account.credential.changed_at.map(At),
            next_change: account.due.next_change_at.map(At),
            next_change_override: account.settings.next_override_at.map(At),
            stale_since: account.due.stale_at.map(At),
            last_test: account.credential.last_test.as_str(),
            last_test_at: account.credential.tested_at.map(At),
            next_test: account.due.next_test_at.map(At),
            open_job: account.work.map(|work| work.job.0),
            created_at: At(account.created_at),
        }
    }
}

/// An edit: absent fields stay, null clears.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountPatch {
    /// Its own policy.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    policy_id: Patch<i64>,
    /// When it changes next, once, whatever its policy says.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    next_change: Patch<At>,
}

/// An order to rotate.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateOrder {
    /// False: in the background, behind what somebody waits for. Default true.
    #[serde(default)]
    immediate: Option<bool>,
    /// Why; goes to the audit trail.
    #[serde(default)]
    reason: Option<String>,
    /// True: changes it although a functional account logs in with it. Needed there, since the
    /// systems behind it depend on this one credential; ignored elsewhere.
    #[serde(default)]
    confirm_functional: Option<bool>,
}

/// What a test said.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TestAnswer {
    /// True if the current credential logged in; false for anything else.
    passed: bool,
}

/// Managed accounts, by id.
#[utoipa::path(
    get, path = "/api/v1/accounts", tag = "accounts",
    params(
        ("system_id" = Option<i64>, Query, description = "On this system alone"),
        ("system_name" = Option<String>, Query, description = "On systems of this name"),
        ("name" = Option<String>, Query, description = "Of this name, in any case"),
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the last page"),
    ),
    responses((status = 200, body = Listed<AccountAnswer>), (status = "4XX", body = Problem)),
)]
pub(super) async fn list(State(api): State<Api>, query: ListQuery) -> Result<Response, ApiError> {
    let filter = AccountFilter {
        system_id: query.filters.int("system_id", 1..=i64::MAX)?.map(SystemId),
        system_name: query.filters.text("system_name").map(str::to_owned),
        account_name: query.filters.text("name").map(str::to_owned),
        ..AccountFilter::default()
    };
    let found = api.store.accounts(&filter, query.rows()).await?;
    let found = found.into_iter().map(|one| one.account).collect();
    Ok(counted::<AccountAnswer, Account>(&query, found))
}

/// One managed account.
#[utoipa::path(
    get, path = "/api/v1/accounts/{id}", tag = "accounts",
    params(("id" = i64, Path, description = "The account")),
    responses(
        (status = 200, body = AccountAnswer, headers(("ETag" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn one(State(api): State<Api>, segments: Segments) -> Result<Response, ApiError> {
    answer(&api, existing(&api, &segments).await?.id).await
}

async fn existing(api: &Api, segments: &Segments) -> Result<Account, ApiError> {
    let id: AccountId = segments.id("id", "Managed Account")?;
    api.store.account(id).await?.ok_or(MISSING)
}

async fn answer(api: &Api, id: AccountId) -> Result<Response, ApiError> {
    let account = api.store.account(id).await?.ok_or(MISSING)?;
    Ok(revised(
        StatusCode::OK,
        account.revision,
        &AccountAnswer::from(account),
    ))
}

/// Sets an account's policy and next change.
#[utoipa::path(
    patch, path = "/api/v1/accounts/{id}", tag = "accounts",
    params(
        ("id" = i64, Path, description = "The account"),
        ("If-Match" = String, Header, description = "The ETag that was read"),
    ),
    request_body = AccountPatch,
    responses(
        (status = 200, body = AccountAnswer, headers(("ETag" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn edit(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    if_match: Result<IfMatch, ApiError>,
    body: Result<Body<AccountPatch>, ApiError>,
) -> Result<Response, ApiError> {
    let account = existing(&api, &segments).await?;
    let revision = if_match?.revision(account.revision, "the managed account")?;
    let Body(patch) = body?;
    let now = api.clock.now();
    let mut settings = account.settings;
    edit_policy(&api, patch.policy_id, &mut settings.policy_id).await?;
    if let Patch::Set(At(at)) = patch.next_change
        && at <= now
    {
        return Err(ApiError::field("next_change", "must lie in the future"));
    }
    let mut next = settings.next_override_at.map(At);
    patch.next_change.edit(&mut next);
    settings.next_override_at = next.map(|At(at)| at);
    let system = api.store.system(account.system_id).await?.ok_or(MISSING)?;
    let platform = platform_of(&api, &system)?;
    let mut tx = api.store.begin().await?;
    let target_id = settings.target_id(platform);
    tx.update_account(account.id, revision, &target_id, &settings)
        .await?;
    tx.replan(account.id, now).await?;
    let details = json!({
        "policy_id": settings.policy_id,
        "next_change": settings.next_override_at.map(Timestamp::rfc3339),
    });
    tx.audit(
        &Event::by(caller.actor(), "account.updated", account.id, details),
        now,
    )
    .await?;
    tx.commit().await?;
    answer(&api, account.id).await
}

/// Edits which policy rules: one that exists, or none.
pub(super) async fn edit_policy(
    api: &Api,
    patch: Patch<i64>,
    policy: &mut Option<PolicyId>,
) -> Result<(), ApiError> {
    let mut id = policy.map(|id| id.0);
    patch.edit(&mut id);
    *policy = id.map(PolicyId);
    match *policy {
        Some(id) if api.store.policy(id).await?.is_none() => {
            Err(ApiError::field("policy_id", "is no policy that exists"))
        }
        _ => Ok(()),
    }
}

/// Orders a new random credential. With `wait` the answer is held back until the job has ended
/// or an attempt has failed. Of an account that takes over another's password the job is its
/// parent's; those that share it follow.
#[utoipa::path(
    post, path = "/api/v1/accounts/{id}/rotate", tag = "accounts",
    params(
        ("id" = i64, Path, description = "The account"),
        ("wait" = Option<i64>, Query, description = "Seconds, 0 to 60"),
    ),
    request_body = RotateOrder,
    responses(
        (status = 202, description = "Ordered, or an open order joined", body = Job,
         headers(("Location" = String, description = "Where to follow it"))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn rotate(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    Wait(limit): Wait,
    body: Result<Body<RotateOrder>, ApiError>,
) -> Result<Response, ApiError> {
    const VANISHED: ApiError = ApiError::Internal("an ordered job has vanished");
    let account = existing(&api, &segments).await?;
    let Body(order) = body?;
    let why = order.reason.as_deref().map(reason).transpose()?;
    if order.confirm_functional != Some(true)
        && let Some(link) = api.store.link_of_account(account.id).await?
    {
        return Err(ApiError::conflict(format!(
            "Functional account {} logs in with this credential; set confirm_functional to true \
             to change it",
            link.functional.0
        )));
    }
    let immediate = order.immediate.unwrap_or(true);
    let change = ChangeOrder::random(account.id, immediate);
    let job = api.orders.change(change, caller.actor()).await?;
    if let Some(why) = why {
        let details = json!({"job": job, "reason": why});
        let event = Event::by(caller.actor(), "rotation.explained", account.id, details);
        let mut tx = api.store.begin().await?;
        tx.audit(&event, api.clock.now()).await?;
        tx.commit().await?;
    }
    let view = if limit.is_zero() {
        api.store.job(job).await?
    } else {
        api.orders.wait_job(job, limit).await?
    };
    let location = format!("/api/v1/jobs/{}", job.0);
    Ok(made(
        StatusCode::ACCEPTED,
        location,
        &Job::from(view.ok_or(VANISHED)?),
    ))
}

/// Logs in with the current credential; waits for a running change first.
#[utoipa::path(
    post, path = "/api/v1/accounts/{id}/test", tag = "accounts",
    params(("id" = i64, Path, description = "The account")),
    responses((status = 200, body = TestAnswer), (status = "4XX", body = Problem)),
)]
pub(super) async fn test(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, ApiError> {
    let account = existing(&api, &segments).await?;
    let verdict = api.orders.test(account.id, caller.actor()).await?;
    Ok(Json(TestAnswer {
        passed: verdict == TestVerdict::Works,
    })
    .into_response())
}

/// Suspends an account: nothing changes or tests it by itself, and quarantines leave it out.
#[utoipa::path(
    post, path = "/api/v1/accounts/{id}/suspend", tag = "accounts",
    params(("id" = i64, Path, description = "The account")),
    responses((status = 200, body = AccountAnswer), (status = "4XX", body = Problem)),
)]
pub(super) async fn suspend(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, ApiError> {
    let account = existing(&api, &segments).await?;
    activate(&api, &caller, account.id, false).await
}

/// Resumes a suspended account.
#[utoipa::path(
    post, path = "/api/v1/accounts/{id}/resume", tag = "accounts",
    params(("id" = i64, Path, description = "The account")),
    responses((status = 200, body = AccountAnswer), (status = "4XX", body = Problem)),
)]
pub(super) async fn resume(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, ApiError> {
    let account = existing(&api, &segments).await?;
    activate(&api, &caller, account.id, true).await
}

async fn activate(
    api: &Api,
    caller: &Caller,
    id: AccountId,
    active: bool,
) -> Result<Response, ApiError> {
    let now = api.clock.now();
    let name = if active {
        "account.resumed"
    } else {
        "account.suspended"
    };
    let mut tx = api.store.begin().await?;
    tx.set_account_active(id, active).await?;
    tx.replan(id, now).await?;
    tx.audit(&Event::by(caller.actor(), name, id, json!({})), now)
        .await?;
    tx.commit().await?;
    answer(api, id).await
}
