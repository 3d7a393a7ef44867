//! `/api/v1/regression`: what the database has forgotten, and how its accounts are recovered.
//!
//! Invariant: nothing is tested, reset or taken for known without a reason and a name on record.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::input::{At, Body, ListQuery};
use super::output::{Listed, page};
use super::problem::Problem;
use super::quarantine::reason;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::route::{Need, Routes};
use crate::api::{Api, Dialect};
use crate::model::id::AccountId;
use crate::model::principal::Permission;
use crate::model::regression::{Consent, RegressedAccount, RegressionView};
use crate::queue::RecoveryOrder;

/// Regressions that are shown.
const SHOWN_MAX: i64 = 20;
/// Accounts that one call may name.
const NAMED_MAX: usize = 1_000;

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native)
        .get("/api/v1/regression", Permission::JobsRead, show)
        .get(
            "/api/v1/regression/accounts",
            Permission::AccountsRead,
            list,
        )
        .post("/api/v1/regression/test", Need::Administrator, test)
        .post("/api/v1/regression/reset", Need::Administrator, reset)
        .post("/api/v1/regression/clear", Need::Administrator, clear)
}

/// Whether the database has come back older than it was, and what is left to recover.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RegressionAnswer {
    /// True: it has, and not all is recovered.
    regressed: bool,
    /// Accounts that are marked, by what was agreed to: `none`, `test` or `reset`.
    accounts: BTreeMap<String, i64>,
    /// Up to 20, the newest first.
    regressions: Vec<Regression>,
}

/// One time when the database was found older than it had been.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Regression {
    id: i64,
    /// What the database said.
    generation: i64,
    /// What it had said before.
    expected: i64,
    /// True: an escrow journal named the accounts; false: every account was marked.
    named: bool,
    /// Accounts that were marked.
    accounts: i64,
    /// Accounts that the journal has and the database has not: `keywheel recover` tells which.
    missing: i64,
    found_at: At,
    /// Null while it is open.
    ended_at: Option<At>,
}

impl From<RegressionView> for Regression {
    fn from(view: RegressionView) -> Self {
        Self {
            id: view.id.0,
            generation: view.generation,
            expected: view.expected,
            named: view.named,
            accounts: view.accounts,
            missing: view.missing,
            found_at: At(view.found_at),
            ended_at: view.ended_at.map(At),
        }
    }
}

/// An account of which the database may have forgotten a credential.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Regressed {
    account_id: i64,
    name: String,
    system_id: i64,
    system_name: String,
    regression_id: i64,
    /// What was agreed to, and is not done: `none`, `test` or `reset`.
    consent: &'static str,
    /// Who agreed last; empty while nobody has.
    actor: String,
    /// When its recovery was last ordered.
    ordered_at: Option<At>,
    /// Versions that a journal has of it and the database has not.
    forgotten: i64,
    /// What its last test said: `never_tested`, `passed`, `out_of_sync` or `unreachable`.
    last_test: String,
    /// True: a job of it is open.
    has_job: bool,
}

impl From<RegressedAccount> for Regressed {
    fn from(row: RegressedAccount) -> Self {
        Self {
            account_id: row.account.0,
            name: row.name,
            system_id: row.system.0,
            system_name: row.system_name,
            regression_id: row.regression.0,
            consent: row.consent.as_str(),
            actor: row.actor,
            ordered_at: row.ordered_at.map(At),
            forgotten: row.forgotten,
            last_test: row.last_test,
            has_job: row.has_job,
        }
    }
}

/// Which accounts, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Chosen {
    /// 1 to 1000 ids of accounts that are marked.
    #[serde(default)]
    accounts: Vec<i64>,
    /// Every account that is marked, instead.
    #[serde(default)]
    all: bool,
    /// 1 to 1000 characters.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
}

/// How many accounts it is about.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Agreed {
    accounts: u64,
}

/// Whether the database has come back older than it was.
#[utoipa::path(
    get, path = "/api/v1/regression", tag = "regression",
    responses((status = 200, body = RegressionAnswer), (status = "4XX", body = Problem)),
)]
pub(super) async fn show(State(api): State<Api>) -> Result<Response, ApiError> {
    let regressions = api.store.regressions(SHOWN_MAX).await?;
    let counted = api.store.count_regressed().await?;
    let none = Consent::ALL.map(|one| (one.as_str().to_owned(), 0));
    Ok(Json(RegressionAnswer {
        regressed: api.store.open_regression().await?.is_some(),
        accounts: none.into_iter().chain(counted).collect(),
        regressions: regressions.into_iter().map(Regression::from).collect(),
    })
    .into_response())
}

/// Accounts that are not changed until they are recovered, by id.
#[utoipa::path(
    get, path = "/api/v1/regression/accounts", tag = "regression",
    params(
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the last page"),
    ),
    responses((status = 200, body = Listed<Regressed>), (status = "4XX", body = Problem)),
)]
pub(super) async fn list(State(api): State<Api>, query: ListQuery) -> Result<Response, ApiError> {
    let after = query.cursor.map(AccountId);
    let found = api.store.regressed_accounts(after, query.limit).await?;
    Ok(page::<Regressed, _>(&query, found, |row| row.account.0))
}

/// Agrees that accounts are tested, so many in a minute: whichever kept credential logs in becomes
/// current, and the account is recovered.
#[utoipa::path(
    post, path = "/api/v1/regression/test", tag = "regression", request_body = Chosen,
    responses((status = 200, body = Agreed), (status = "4XX", body = Problem)),
)]
pub(super) async fn test(
    State(api): State<Api>,
    caller: Caller,
    Body(chosen): Body<Chosen>,
) -> Result<Response, ApiError> {
    agree(&api, &caller, &chosen, RecoveryOrder::Agree(Consent::Test)).await
}

/// Agrees that accounts get a new credential by the functional account, so many in a minute, whatever
/// the old one is.
#[utoipa::path(
    post, path = "/api/v1/regression/reset", tag = "regression", request_body = Chosen,
    responses((status = 200, body = Agreed), (status = "4XX", body = Problem)),
)]
pub(super) async fn reset(
    State(api): State<Api>,
    caller: Caller,
    Body(chosen): Body<Chosen>,
) -> Result<Response, ApiError> {
    agree(&api, &caller, &chosen, RecoveryOrder::Agree(Consent::Reset)).await
}

/// Takes accounts for known, without a test: their marks go. With `all`, and none marked, it ends a
/// regression that concerned no account.
#[utoipa::path(
    post, path = "/api/v1/regression/clear", tag = "regression", request_body = Chosen,
    responses((status = 200, body = Agreed), (status = "4XX", body = Problem)),
)]
pub(super) async fn clear(
    State(api): State<Api>,
    caller: Caller,
    Body(chosen): Body<Chosen>,
) -> Result<Response, ApiError> {
    agree(&api, &caller, &chosen, RecoveryOrder::Clear).await
}

async fn agree(
    api: &Api,
    caller: &Caller,
    chosen: &Chosen,
    order: RecoveryOrder,
) -> Result<Response, ApiError> {
    let reason = reason(&chosen.reason)?;
    if chosen.all != chosen.accounts.is_empty() {
        return Err(ApiError::field("accounts", "name accounts, or say all"));
    }
    if chosen.accounts.len() > NAMED_MAX {
        return Err(ApiError::field("accounts", "must be at most 1000"));
    }
    let accounts: Vec<AccountId> = chosen.accounts.iter().map(|id| AccountId(*id)).collect();
    let named = (!chosen.all).then_some(accounts.as_slice());
    let done = api
        .orders
        .recover(named, order, (caller.actor(), reason))
        .await?;
    Ok(Json(Agreed { accounts: done }).into_response())
}
