//! `/api/v1/functional-accounts`: the privileged logins that connectors use.
//!
//! Invariant: secrets come in here and never go out; an answer says which there are.

use std::fmt;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::Response;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::input::{At, Body, IfMatch, ListQuery, Patch, etag};
use super::output::{Listed, counted, made, revised, set};
use super::problem::Problem;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::inventory::Act;
use crate::api::inventory::functional_account::{self, NewSecret};
use crate::api::passwordsafe::{GivenKeys, Segments};
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::functional_account::{
    Elevation, FunctionalAccount, FunctionalSettings, elevation_of, elevation_word,
};
use crate::model::id::{FunctionalAccountId, PlatformId};
use crate::model::principal::Permission;

const MISSING: ApiError = ApiError::NotFound {
    what: "Functional Account",
};
/// Characters of a password and of an enable secret, at most. Source: Password Safe `Password`.
const SECRET_MAX_CHARS: usize = 1_000;

pub(super) fn routes() -> Routes {
    const ALL: &str = "/api/v1/functional-accounts";
    const ONE: &str = "/api/v1/functional-accounts/{id}";
    Routes::new(Dialect::Native)
        .get(ALL, Permission::AccountsRead, list)
        .post(ALL, Permission::AccountsWrite, create)
        .get(ONE, Permission::AccountsRead, one)
        .patch(ONE, Permission::AccountsWrite, edit)
        .delete(ONE, Permission::AccountsWrite, delete)
}

/// A functional account, without its secrets.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FunctionalAnswer {
    id: i64,
    /// Counts edits; the `ETag`.
    revision: i64,
    /// The platform of the systems that may use it.
    platform_id: i64,
    domain_name: Option<String>,
    /// Login name, or DN in a directory.
    account_name: String,
    /// What people read.
    display_name: String,
    description: Option<String>,
    /// `sudo`, `doas`, `pbrun` or `pmrun`; null: none is needed.
    elevation: Option<&'static str>,
    has_password: bool,
    /// Of its private key, if it has one: algorithm and base64. It then logs in with that key,
    /// and not with its password.
    public_key: Option<String>,
    has_enable_secret: bool,
    /// How many systems use it.
    systems: i64,
    created_at: At,
}

impl From<FunctionalAccount> for FunctionalAnswer {
    fn from(account: FunctionalAccount) -> Self {
        let settings = account.settings;
        Self {
            id: account.id.0,
            revision: account.revision,
            platform_id: settings.platform_id.0,
            domain_name: settings.domain_name,
            account_name: settings.account_name,
            display_name: settings.display_name,
            description: settings.description,
            elevation: elevation_word(settings.elevation),
            has_password: account.has_password,
            public_key: account.public_key,
            has_enable_secret: account.has_enable,
            systems: account.systems,
            created_at: At(account.created_at),
        }
    }
}

/// A secret as a body gives it; it redacts itself.
#[derive(Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, format = Password)]
pub(super) struct Given(String);

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given")
    }
}

impl Given {
    /// Any text.
    pub(super) fn text(self) -> SecretString {
        SecretString::from(self.0)
    }

    /// A secret that is typed at a prompt, and so is one line.
    pub(super) fn line(self, field: &'static str) -> Result<SecretString, ApiError> {
        let Self(text) = self;
        if text.is_empty() || text.chars().count() > SECRET_MAX_CHARS {
            let why = format!("must have 1 to {SECRET_MAX_CHARS} characters");
            return Err(ApiError::field(field, why));
        }
        if text.contains(['\0', '\r', '\n']) {
            return Err(ApiError::field(field, "must not hold NUL, CR or LF"));
        }
        Ok(SecretString::from(text))
    }
}

/// A functional account to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FunctionalOrder {
    /// As `GET /BeyondTrust/api/public/v3/Platforms` lists them: 2 Linux, 32 LDAP.
    platform_id: i64,
    /// Login name, or DN in a directory; 1 to 245 characters.
    account_name: String,
    /// What people read, 1 to 100 characters; default the login name.
    display_name: Option<String>,
    domain_name: Option<String>,
    description: Option<String>,
    /// `sudo`, `doas`, `pbrun` or `pmrun`.
    elevation: Option<String>,
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<Given>,
    /// OpenSSH's own format, or PEM; it wins over the password.
    #[schema(value_type = Option<String>, format = Password)]
    private_key: Option<Given>,
    /// What opens the private key, if it is encrypted.
    #[schema(value_type = Option<String>, format = Password)]
    passphrase: Option<Given>,
    /// One line, as in `authorized_keys`; compared with the private key if it is given.
    public_key: Option<String>,
    /// What raises rights on network devices.
    #[schema(value_type = Option<String>, format = Password)]
    enable_secret: Option<Given>,
}

/// An edit: absent fields stay, null clears.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FunctionalPatch {
    #[serde(default)]
    #[schema(value_type = String)]
    account_name: Patch<String>,
    #[serde(default)]
    #[schema(value_type = String)]
    display_name: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    domain_name: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    description: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    elevation: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    password: Patch<Given>,
    /// Null removes the passphrase and the public key, too.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    private_key: Patch<Given>,
    /// Goes with a new private key.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    passphrase: Option<Given>,
    /// Goes with a new private key.
    #[serde(default)]
    public_key: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    enable_secret: Patch<Given>,
}

fn elevation(word: Option<&str>) -> Result<Elevation, ApiError> {
    elevation_of(word)
        .ok_or_else(|| ApiError::field("elevation", "must be sudo, doas, pbrun or pmrun"))
}

/// Reads a key pair; `None` if none is given.
async fn key_pair(
    private: Option<Given>,
    passphrase: Option<Given>,
    public: Option<String>,
) -> Result<Option<NewSecret>, ApiError> {
    if private.is_none() && passphrase.is_some() {
        return Err(ApiError::field(
            "private_key",
            "is required with passphrase",
        ));
    }
    let texts = (
        private.map(|given| given.0),
        passphrase.map(|given| given.0),
    );
    let read = async {
        let given = GivenKeys::of(public, texts.0, texts.1)?;
        given.open(false).await
    };
    let key = read.await.map_err(named)?;
    Ok(key.map(|key| NewSecret::Key(Some(key))))
}

/// The reader of keys speaks the dialect's names.
fn named(error: ApiError) -> ApiError {
    let ApiError::Invalid(mut faults) = error else {
        return error;
    };
    for fault in &mut faults {
        for (dialect, native) in [
            ("PrivateKey", "private_key"),
            ("PublicKey", "public_key"),
            ("Passphrase", "passphrase"),
        ] {
            if fault.field == dialect {
                native.clone_into(&mut fault.field);
            }
            fault.text = fault.text.replace(dialect, native);
        }
    }
    ApiError::Invalid(faults)
}

/// Functional accounts, by id.
#[utoipa::path(
    get, path = "/api/v1/functional-accounts", tag = "functional-accounts",
    params(
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the last page"),
    ),
    responses((status = 200, body = Listed<FunctionalAnswer>), (status = "4XX", body = Problem)),
)]
pub(super) async fn list(State(api): State<Api>, query: ListQuery) -> Result<Response, ApiError> {
    let found = api.store.functional_accounts(query.rows()).await?;
    Ok(counted::<FunctionalAnswer, _>(&query, found))
}

/// The functional account that a path names.
async fn existing(api: &Api, segments: &Segments) -> Result<FunctionalAccount, ApiError> {
    let id: FunctionalAccountId = segments.id("id", "Functional Account")?;
    api.store.functional_account(id).await?.ok_or(MISSING)
}

/// One functional account.
#[utoipa::path(
    get, path = "/api/v1/functional-accounts/{id}", tag = "functional-accounts",
    params(("id" = i64, Path, description = "The functional account")),
    responses(
        (status = 200, body = FunctionalAnswer, headers(("ETag" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn one(State(api): State<Api>, segments: Segments) -> Result<Response, ApiError> {
    let account = existing(&api, &segments).await?;
    let (revision, body) = (account.revision, FunctionalAnswer::from(account));
    Ok(revised(StatusCode::OK, revision, &body))
}

/// Makes a functional account. Its secrets are sealed and never shown again.
#[utoipa::path(
    post, path = "/api/v1/functional-accounts", tag = "functional-accounts",
    request_body = FunctionalOrder,
    responses(
        (status = 201, body = FunctionalAnswer,
         headers(("Location" = String), ("ETag" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Body(order): Body<FunctionalOrder>,
) -> Result<Response, ApiError> {
    let settings = FunctionalSettings {
        platform_id: PlatformId(order.platform_id),
        domain_name: order.domain_name,
        display_name: order
            .display_name
            .unwrap_or_else(|| order.account_name.chars().take(100).collect()),
        account_name: order.account_name,
        description: order.description,
        elevation: elevation(order.elevation.as_deref())?,
    };
    let mut secrets = Vec::new();
    if let Some(password) = order.password {
        secrets.push(NewSecret::Password(Some(password.line("password")?)));
    }
    secrets.extend(key_pair(order.private_key, order.passphrase, order.public_key).await?);
    if let Some(secret) = order.enable_secret {
        secrets.push(NewSecret::Enable(Some(secret.line("enable_secret")?)));
    }
    let account = functional_account::add(Act::of(&api, &caller), settings, secrets).await?;
    let location = format!("/api/v1/functional-accounts/{}", account.id.0);
    let tag = etag(account.revision);
    let body = FunctionalAnswer::from(account);
    let mut response = made(StatusCode::CREATED, location, &body);
    set(&mut response, header::ETAG, Some(tag));
    Ok(response)
}

/// Changes a functional account, but not its platform.
#[utoipa::path(
    patch, path = "/api/v1/functional-accounts/{id}", tag = "functional-accounts",
    params(
        ("id" = i64, Path, description = "The functional account"),
        ("If-Match" = String, Header, description = "The ETag that was read"),
    ),
    request_body = FunctionalPatch,
    responses(
        (status = 200, body = FunctionalAnswer, headers(("ETag" = String))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn edit(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    if_match: Result<IfMatch, ApiError>,
    body: Result<Body<FunctionalPatch>, ApiError>,
) -> Result<Response, ApiError> {
    let account = existing(&api, &segments).await?;
    let revision = if_match?.revision(account.revision, "the functional account")?;
    let Body(patch) = body?;
    let mut settings = account.settings;
    let secrets = patch.apply(&mut settings).await?;
    let act = Act::of(&api, &caller);
    let account = functional_account::change(act, account.id, revision, &settings, secrets).await?;
    let (revision, body) = (account.revision, FunctionalAnswer::from(account));
    Ok(revised(StatusCode::OK, revision, &body))
}

impl FunctionalPatch {
    async fn apply(self, settings: &mut FunctionalSettings) -> Result<Vec<NewSecret>, ApiError> {
        self.account_name
            .edit_value("account_name", &mut settings.account_name)?;
        self.display_name
            .edit_value("display_name", &mut settings.display_name)?;
        self.domain_name.edit(&mut settings.domain_name);
        self.description.edit(&mut settings.description);
        match self.elevation {
            Patch::Keep => {}
            Patch::Clear => settings.elevation = Elevation::None,
            Patch::Set(word) => settings.elevation = elevation(Some(&word))?,
        }
        let mut secrets = Vec::new();
        match self.password {
            Patch::Keep => {}
            Patch::Clear => secrets.push(NewSecret::Password(None)),
            Patch::Set(given) => {
                secrets.push(NewSecret::Password(Some(given.line("password")?)));
            }
        }
        let private = match self.private_key {
            Patch::Keep => None,
            Patch::Clear => {
                secrets.push(NewSecret::Key(None));
                None
            }
            Patch::Set(given) => Some(given),
        };
        secrets.extend(key_pair(private, self.passphrase, self.public_key).await?);
        match self.enable_secret {
            Patch::Keep => {}
            Patch::Clear => secrets.push(NewSecret::Enable(None)),
            Patch::Set(given) => {
                secrets.push(NewSecret::Enable(Some(given.line("enable_secret")?)));
            }
        }
        Ok(secrets)
    }
}

/// Removes a functional account that no system uses, and its secrets.
#[utoipa::path(
    delete, path = "/api/v1/functional-accounts/{id}", tag = "functional-accounts",
    params(
        ("id" = i64, Path, description = "The functional account"),
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
    let account = existing(&api, &segments).await?;
    if_match?.revision(account.revision, "the functional account")?;
    functional_account::remove(Act::of(&api, &caller), account.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
