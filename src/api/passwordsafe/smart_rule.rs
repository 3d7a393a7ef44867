//! Smart Rules: the built-in ones, and Quick Rules, which have fixed members.
//!
//! Invariant: whoever may not read every rule sees those on which a group of theirs has a role.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::managed_account::Full;
use super::wire::{LIST_LIMIT, date, list};
use super::{Params, Segments, asset, managed_system};
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::route::{Need, Routes};
use crate::api::{Api, Dialect};
use crate::model::Timestamp;
use crate::model::access::{Role, SmartRule};
use crate::model::audit::Event;
use crate::model::id::{SmartRuleId, UserId};
use crate::model::principal::Permission;
use crate::model::workgroup::Workgroup;
use crate::store::{AccountFilter, AssetFilter, Page, SystemFilter};

pub(super) const GONE: ApiError = ApiError::NotFound { what: "Smart Rule" };
/// Who sees rules: all of them, or those of a role.
pub(super) const READERS: Need = Need::OrRole(&[Permission::RulesRead], &Role::ALL);

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::PasswordSafe)
        .get("/smartrules", READERS, find)
        .get("/smartrules/{id}", READERS, get)
        .delete("/smartrules/{id}", Permission::RulesWrite, remove)
        .get("/smartrules/{id}/managedaccounts", READERS, accounts)
        .get("/smartrules/{id}/managedsystems", READERS, systems)
        .get("/smartrules/{id}/assets", READERS, assets)
        .post("/smartrules/{id}/process", Permission::RulesWrite, process)
}

/// `SmartRule`.
#[derive(Serialize, ToSchema)]
#[schema(as = SmartRule)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Shape {
    #[serde(rename = "SmartRuleID")]
    smart_rule_id: i64,
    #[serde(rename = "OrganizationID")]
    organization_id: &'static str,
    title: String,
    description: String,
    category: String,
    status: &'static str,
    last_processed_date: Option<String>,
    is_read_only: bool,
    rule_type: &'static str,
}

impl From<SmartRule> for Shape {
    fn from(rule: SmartRule) -> Self {
        Self {
            smart_rule_id: rule.id.0,
            organization_id: Workgroup::ORGANIZATION_DEFAULT,
            title: rule.title,
            description: rule.description,
            category: rule.category,
            // What a rule references is looked up whenever it is asked for.
            status: "Processed",
            last_processed_date: (rule.processed_at > Timestamp(0))
                .then(|| date(rule.processed_at)),
            is_read_only: rule.everything,
            rule_type: rule.kind.word(),
        }
    }
}

/// Whose rules the caller sees; `None`: all.
pub(super) fn seen_by(caller: &Caller) -> Option<UserId> {
    (!caller.user.may(Permission::RulesRead)).then_some(caller.user.id)
}

/// The rule that a path names, if the caller sees it.
pub(super) async fn visible(
    api: &Api,
    caller: &Caller,
    segments: &Segments,
) -> Result<SmartRule, ApiError> {
    let id: SmartRuleId = segments.id("id", "Smart Rule")?;
    let found = api.store.smart_rule(id).await?;
    let Some(user) = seen_by(caller) else {
        return found.ok_or(GONE);
    };
    // One that is not seen and one that is not there look alike.
    let rule = found.ok_or(ApiError::Forbidden)?;
    if api.store.has_role_on(user, rule.id).await? {
        Ok(rule)
    } else {
        Err(ApiError::Forbidden)
    }
}

async fn find(
    State(api): State<Api>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    let user = seen_by(&caller);
    if let Some(title) = params.text("title") {
        let found = api
            .store
            .smart_rules(user, Some(title), false, Page::first(1));
        let rule = found.await?.pop().ok_or(GONE)?;
        return Ok(Json(Shape::from(rule)).into_response());
    }
    let page = params.page(LIST_LIMIT)?.rows();
    let found = api.store.smart_rules(user, None, false, page).await?;
    Ok(list(found.into_iter().map(Shape::from).collect(), None))
}

async fn get(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, ApiError> {
    let rule = visible(&api, &caller, &segments).await?;
    Ok(Json(Shape::from(rule)).into_response())
}

async fn accounts(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    params: Params,
) -> Result<Response, ApiError> {
    let rule = visible(&api, &caller, &segments).await?;
    members(&api, rule.id, &params).await
}

/// Full records of the accounts that a rule references.
pub(super) async fn members(
    api: &Api,
    rule: SmartRuleId,
    params: &Params,
) -> Result<Response, ApiError> {
    let filter = AccountFilter {
        rule_id: Some(rule),
        ..AccountFilter::default()
    };
    let page = params.page(LIST_LIMIT)?;
    let found = api.store.accounts(&filter, page.rows()).await?;
    let total = if page.limited {
        Some(api.store.count_accounts_of(rule).await?)
    } else {
        None
    };
    let now = api.clock.now();
    let shown = found.into_iter().map(|one| Full::of(one.account, now));
    Ok(list(shown.collect(), total))
}

async fn systems(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    params: Params,
) -> Result<Response, ApiError> {
    let rule = visible(&api, &caller, &segments).await?;
    let filter = SystemFilter {
        rule_id: Some(rule.id),
        ..SystemFilter::default()
    };
    managed_system::answer(&api, &filter, &params).await
}

async fn assets(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    params: Params,
) -> Result<Response, ApiError> {
    let rule = visible(&api, &caller, &segments).await?;
    let filter = AssetFilter {
        rule_id: Some(rule.id),
        ..AssetFilter::default()
    };
    asset::answer(&api, &filter, &params).await
}

async fn process(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, ApiError> {
    let id: SmartRuleId = segments.id("id", "Smart Rule")?;
    api.store.smart_rule(id).await?.ok_or(GONE)?;
    let now = api.clock.now();
    let mut tx = api.store.begin().await?;
    tx.touch_rule(id, now).await?;
    let event = Event::by(caller.actor(), "smart_rule.processed", id, json!({}));
    tx.audit(&event, now).await?;
    tx.commit().await?;
    let rule = api.store.smart_rule(id).await?.ok_or(GONE)?;
    Ok(Json(Shape::from(rule)).into_response())
}

/// Deletes a Quick Rule, whichever of its two paths names it.
pub(super) async fn remove(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<StatusCode, ApiError> {
    let id: SmartRuleId = segments.id("id", "Smart Rule")?;
    let rule = api.store.smart_rule(id).await?.ok_or(GONE)?;
    if rule.everything {
        return Err(ApiError::conflict("The Smart Rule is built in and stays"));
    }
    let mut tx = api.store.begin().await?;
    tx.delete_quick_rule(id).await?;
    let details = json!({"title": rule.title});
    let event = Event::by(caller.actor(), "smart_rule.deleted", id, details);
    tx.audit(&event, api.clock.now()).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
