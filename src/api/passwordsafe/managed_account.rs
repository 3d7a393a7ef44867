//! Managed accounts: the full record for those who manage them, the requestable one for those
//! who ask for credentials.
//!
//! Invariant: the requestable list shows only accounts that may be requested.

mod shape;
mod synced;

pub(super) use self::shape::{Full, Requestable};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use self::shape::{RENAMED, Shown, overlay};
use super::wire::{LIST_LIMIT, created, gives_secret, list, named, secrets};
use super::{Fields, Params, Segments, managed_system};
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::inventory::{Act, account};
use crate::api::route::{Need, Routes};
use crate::api::{Api, Dialect};
use crate::model::access::Role;
use crate::model::account::{Account, AccountSettings};
use crate::model::credential::Parts;
use crate::model::id::{AccountId, SystemId};
use crate::model::principal::Permission::{self, AccountsRead, AccountsWrite};
use crate::queue::ChangeOrder;
use crate::store::{AccountFilter, Page};

const GONE: ApiError = ApiError::NotFound {
    what: "Managed Account",
};
/// Requestable accounts where the client named no limit. Source: vendor's default.
const REQUESTABLE_LIMIT: i64 = 1_000;
/// Who finds every account to ask for; whoever has a role finds those that it is about.
const FINDERS: &[Permission] = &[Permission::AccountsRead, Permission::CredentialsReveal];

pub(super) fn routes() -> Routes {
    const OF_SYSTEM: &str = "/managedsystems/{id}/managedaccounts";
    Routes::new(Dialect::PasswordSafe)
        .get(OF_SYSTEM, AccountsRead, find_of_system)
        .post(OF_SYSTEM, AccountsWrite, add)
        .delete(OF_SYSTEM, AccountsWrite, remove_of_system)
        .delete(
            "/managedsystems/{id}/managedaccounts/{name}",
            AccountsWrite,
            remove_named,
        )
        .get(
            "/managedaccounts",
            Need::OrRole(FINDERS, Role::REQUESTORS),
            find_requestable,
        )
        .get("/managedaccounts/{id}", AccountsRead, get)
        .put("/managedaccounts/{id}", AccountsWrite, change)
        .delete("/managedaccounts/{id}", AccountsWrite, remove)
        .and(synced::routes())
}

/// The account that a path names by its ID.
async fn existing(api: &Api, segments: &Segments) -> Result<Account, ApiError> {
    let id: AccountId = segments.id("id", "Managed Account")?;
    api.store.account(id).await?.ok_or(GONE)
}

async fn find_of_system(
    State(api): State<Api>,
    segments: Segments,
    params: Params,
) -> Result<Response, ApiError> {
    let system_id = Some(managed_system::existing(&api, &segments).await?.id);
    let page = params.page(LIST_LIMIT)?;
    let filter = AccountFilter {
        system_id,
        ..AccountFilter::default()
    };
    let now = api.clock.now();
    let found = api.store.accounts(&filter, page.rows()).await?;
    Ok(list(
        found
            .into_iter()
            .map(|one| Full::of(one.account, now))
            .collect(),
        None,
    ))
}

async fn get(State(api): State<Api>, segments: Segments) -> Result<Response, ApiError> {
    let found = existing(&api, &segments).await?;
    Ok(Json(Full::of(found, api.clock.now())).into_response())
}

async fn add(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    fields: Result<Fields, ApiError>,
) -> Result<Response, ApiError> {
    let system = managed_system::existing(&api, &segments).await?.id;
    let fields = fields?;
    let now = api.clock.now();
    let mut settings = AccountSettings::named(fields.required_text("AccountName", 245)?);
    overlay(&fields, &mut settings, Shown::default(), now)?;
    let secrets = secrets(&fields).await?;
    if secrets.are_none() && !settings.dss_auto_management && !settings.auto_management {
        return Err(ApiError::field(
            "Password",
            "is required when AutoManagementFlag is false",
        ));
    }
    let act = Act::of(&api, &caller);
    let wants_key = settings.dss_auto_management && secrets.key.is_none();
    let made = account::add(act, system, settings, secrets).await;
    let made = named(made, &RENAMED)?;
    if wants_key {
        draw_key(&api, made.id, caller.actor()).await;
    }
    Ok(created(Full::of(made, now)))
}

/// Orders a generated key pair at once. The account is there even if nothing comes of it.
async fn draw_key(api: &Api, account: AccountId, actor: &str) {
    let order = ChangeOrder {
        parts: Parts::KEY,
        ..ChangeOrder::random(account, true)
    };
    if let Err(error) = api.orders.change(order, actor).await {
        tracing::warn!(account = account.0, %error, "no key pair was ordered for a new account");
    }
}

async fn change(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    fields: Result<Fields, ApiError>,
) -> Result<Response, ApiError> {
    if fields.as_ref().is_ok_and(gives_secret) {
        // What `PUT …/Credentials` does needs what that needs.
        caller.require(Permission::CredentialsSet)?;
    }
    let id = existing(&api, &segments).await?.id;
    let fields = fields?;
    let secrets = secrets(&fields).await?;
    let now = api.clock.now();
    let act = Act::of(&api, &caller);
    let edit = |settings: &mut AccountSettings, account: &Account| {
        let shown = Shown {
            next_change_at: account.due.next_change_at,
            parent_id: account.parent_id,
        };
        overlay(&fields, settings, shown, now)
    };
    let changed = account::change(act, id, secrets, edit).await;
    let changed = named(changed, &RENAMED)?;
    Ok(Json(Full::of(changed, now)).into_response())
}

async fn remove(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<StatusCode, ApiError> {
    let id = existing(&api, &segments).await?.id;
    account::remove(Act::of(&api, &caller), id).await?;
    Ok(StatusCode::OK)
}

async fn remove_of_system(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<StatusCode, ApiError> {
    let system: SystemId = managed_system::existing(&api, &segments).await?.id;
    account::remove_all(Act::of(&api, &caller), system).await?;
    Ok(StatusCode::OK)
}

async fn remove_named(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<StatusCode, ApiError> {
    let filter = AccountFilter {
        system_id: Some(managed_system::existing(&api, &segments).await?.id),
        account_name: Some(segments.text("name")?.to_owned()),
        ..AccountFilter::default()
    };
    let id = only(&api, &filter).await?;
    account::remove(Act::of(&api, &caller), id).await?;
    Ok(StatusCode::OK)
}

/// The one account that a filter finds.
pub(super) async fn only(api: &Api, filter: &AccountFilter) -> Result<AccountId, ApiError> {
    let found = api.store.accounts(filter, Page::first(2)).await?;
    match found.as_slice() {
        [] => Err(GONE),
        [one] => Ok(one.account.id),
        _ => Err(several()),
    }
}

fn several() -> ApiError {
    ApiError::bad("More than one managed account matches; use its ID")
}

async fn find_requestable(
    State(api): State<Api>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    let text = |name| params.text(name).map(str::to_owned);
    let filter = AccountFilter {
        system_id: params.int("systemID", 1..=2_147_483_647)?.map(SystemId),
        system_name: text("systemName"),
        account_name: text("accountName"),
        workgroup_name: text("workgroupName"),
        ip_address: text("ipAddress"),
        entity_type: entity_type(params.text("type"))?,
        api_enabled: true,
        rule_id: None,
        requestor: (!caller.user.may_any(FINDERS)).then_some(caller.user.id),
    };
    let page = params.page(REQUESTABLE_LIMIT)?;
    // No account belongs to an application here.
    let none = params.text("applicationDisplayName").is_some();
    let now = api.clock.now();
    if filter.system_name.is_some() && filter.account_name.is_some() {
        let mut found = api.store.accounts(&filter, Page::first(2)).await?;
        return match (found.pop(), found.is_empty()) {
            (Some(one), true) if !none => {
                let isa = is_isa(&api, &caller, one.account.id).await?;
                Ok(Json(Requestable::of(one, now, isa)).into_response())
            }
            (Some(_), false) if !none => Err(several()),
            _ => Err(GONE),
        };
    }
    let found = if none {
        Vec::new()
    } else {
        api.store.accounts(&filter, page.rows()).await?
    };
    let mut shown = Vec::with_capacity(found.len());
    for one in found {
        let isa = is_isa(&api, &caller, one.account.id).await?;
        shown.push(Requestable::of(one, now, isa));
    }
    Ok(list(shown, None))
}

/// True if the caller sees the account's credential without asking.
async fn is_isa(api: &Api, caller: &Caller, account: AccountId) -> Result<bool, ApiError> {
    if caller.user.may(Permission::CredentialsReveal) || !caller.user.has_any(&[Role::Isa]) {
        return Ok(caller.user.may(Permission::CredentialsReveal));
    }
    let roles = api.store.roles_on(caller.user.id, account).await?;
    Ok(roles.contains(&Role::Isa))
}

/// The vendor's `type`, as a kind of system.
fn entity_type(word: Option<&str>) -> Result<Option<i64>, ApiError> {
    let Some(word) = word else { return Ok(None) };
    match word.to_lowercase().as_str() {
        "system" => Ok(Some(1)),
        "database" => Ok(Some(2)),
        "directory" | "domainlinked" => Ok(Some(3)),
        "cloud" => Ok(Some(4)),
        "application" => Ok(Some(0)), // there are none
        _ => Err(ApiError::field(
            "type",
            "must be system, directory, domainlinked, database, cloud or application",
        )),
    }
}
