//! Functional accounts.
//!
//! Invariant: no answer holds a secret, or says more of it than the vendor's shape does.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::key_pair::GivenKeys;
use super::wire::{LIST_LIMIT, Overlay, created, list, named, password};
use super::{Fields, Params, Segments};
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::inventory::Act;
use crate::api::inventory::functional_account::{self, NewSecret};
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::functional_account::{
    Elevation, FunctionalAccount, FunctionalSettings, elevation_of, elevation_word,
};
use crate::model::id::{FunctionalAccountId, PlatformId};
use crate::model::principal::Permission;

const GONE: ApiError = ApiError::NotFound {
    what: "Functional Account",
};
const RENAMED: [(&str, &str); 1] = [("elevation", "ElevationCommand")];

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::PasswordSafe)
        .get("/functionalaccounts", Permission::AccountsRead, find)
        .post("/functionalaccounts", Permission::AccountsWrite, add)
        .get("/functionalaccounts/{id}", Permission::AccountsRead, get)
        .delete(
            "/functionalaccounts/{id}",
            Permission::AccountsWrite,
            remove,
        )
}

/// `FunctionalAccount`.
#[derive(Serialize, ToSchema)]
#[schema(as = FunctionalAccount)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Shape {
    #[serde(rename = "FunctionalAccountID")]
    functional_account_id: i64,
    #[serde(rename = "PlatformID")]
    platform_id: i64,
    domain_name: Option<String>,
    account_name: String,
    display_name: String,
    description: Option<String>,
    elevation_command: Option<&'static str>,
    system_reference_count: i64,
    #[serde(rename = "TenantID")]
    tenant_id: Option<String>,
    #[serde(rename = "ObjectID")]
    object_id: Option<String>,
    azure_instance: Option<String>,
}

impl From<FunctionalAccount> for Shape {
    fn from(account: FunctionalAccount) -> Self {
        let settings = account.settings;
        Self {
            functional_account_id: account.id.0,
            platform_id: settings.platform_id.0,
            domain_name: settings.domain_name,
            account_name: settings.account_name,
            display_name: settings.display_name,
            description: settings.description,
            elevation_command: elevation_word(settings.elevation),
            system_reference_count: account.systems,
            tenant_id: None,
            object_id: None,
            azure_instance: None,
        }
    }
}

/// `ElevationCommand`, if given.
pub(super) fn elevation(fields: &Fields) -> Result<Option<Elevation>, ApiError> {
    let Some(word) = fields.text("ElevationCommand", 80)? else {
        return Ok(None);
    };
    let known = elevation_of(Some(&word.to_lowercase()));
    // A command that nothing runs would fail at the first change, far from here.
    known
        .map(Some)
        .ok_or_else(|| ApiError::field("ElevationCommand", "must be sudo, doas, pbrun or pmrun"))
}

async fn find(State(api): State<Api>, params: Params) -> Result<Response, ApiError> {
    let page = params.page(LIST_LIMIT)?;
    let found = api.store.functional_accounts(page.rows()).await?;
    Ok(list(found.into_iter().map(Shape::from).collect(), None))
}

/// The functional account that a path names.
pub(super) async fn existing(
    api: &Api,
    segments: &Segments,
) -> Result<FunctionalAccount, ApiError> {
    let id: FunctionalAccountId = segments.id("id", "Functional Account")?;
    api.store.functional_account(id).await?.ok_or(GONE)
}

async fn get(State(api): State<Api>, segments: Segments) -> Result<Response, ApiError> {
    Ok(Json(Shape::from(existing(&api, &segments).await?)).into_response())
}

async fn add(State(api): State<Api>, caller: Caller, fields: Fields) -> Result<Response, ApiError> {
    let platform = fields.required_int("PlatformID", 1..=2_147_483_647)?;
    let account_name = fields.required_text("AccountName", 245)?;
    let mut settings = FunctionalSettings {
        platform_id: PlatformId(platform),
        domain_name: None,
        // People read something even where nobody gave a name; 100 characters are its limit.
        display_name: account_name.chars().take(100).collect(),
        account_name,
        description: None,
        elevation: elevation(&fields)?.unwrap_or(Elevation::None),
    };
    let given = Overlay(&fields);
    given.optional("DomainName", &mut settings.domain_name)?;
    given.text("DisplayName", &mut settings.display_name)?;
    given.optional("Description", &mut settings.description)?;
    // For clouds, which are not managed; only their lengths matter.
    fields.text("Secret", 255)?;
    fields.text("ServiceAccountEmail", 255)?;
    let password = password(&fields)?.map(|password| NewSecret::Password(Some(password)));
    let key = GivenKeys::read(&fields)?.open(false).await?;
    let key = key.map(|key| NewSecret::Key(Some(key)));
    let secrets = password.into_iter().chain(key).collect();
    let act = Act::of(&api, &caller);
    let made = functional_account::add(act, settings, secrets).await;
    Ok(created(Shape::from(named(made, &RENAMED)?)))
}

async fn remove(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<StatusCode, ApiError> {
    let id = existing(&api, &segments).await?.id;
    functional_account::remove(Act::of(&api, &caller), id).await?;
    Ok(StatusCode::OK)
}
