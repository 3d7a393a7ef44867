//! `POST /api/v1/accounts/{id}/reveal`: a credential leaves Keywheel in the clear.
//!
//! Invariant: the reveal is on record before its answer is made; without the audit row there is
//! no answer.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::input::Body;
use super::problem::Problem;
use super::quarantine::reason;
use crate::api::caller::Caller;
use crate::api::clear;
use crate::api::error::ApiError;
use crate::api::passwordsafe::Segments;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::audit::Event;
use crate::model::credential::Part;
use crate::model::id::AccountId;
use crate::model::principal::Permission;
use crate::store::SealedSecret;
use crate::vault::Place;

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native).post(
        "/api/v1/accounts/{id}/reveal",
        Permission::CredentialsReveal,
        reveal,
    )
}

/// Why a credential is needed in the clear.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevealOrder {
    /// 1 to 1000 characters; goes to the audit trail.
    reason: String,
    /// `password`, `key` or `passphrase`. Default `password`.
    #[serde(default)]
    kind: Option<Kind>,
}

/// Which secret is meant.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// The current password.
    #[default]
    Password,
    /// The current private key, as it was given or drawn; perhaps under its passphrase.
    Key,
    /// The current private key's passphrase.
    Passphrase,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Key => "key",
            Self::Passphrase => "passphrase",
        }
    }

    const fn part(self) -> Part {
        match self {
            Self::Password => Part::Password,
            Self::Key | Self::Passphrase => Part::Key,
        }
    }
}

/// A credential in the clear.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Revealed {
    account_id: i64,
    /// Which version this is.
    version: i64,
    /// True if it may have been replaced on the target.
    in_doubt: bool,
    /// The secret.
    #[schema(value_type = String)]
    value: Value,
}

/// Hands over the current credential.
#[utoipa::path(
    post, path = "/api/v1/accounts/{id}/reveal", tag = "accounts",
    params(("id" = i64, Path, description = "The account")),
    request_body = RevealOrder,
    responses((status = 200, body = Revealed), (status = "4XX", body = Problem)),
)]
pub(super) async fn reveal(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    body: Result<Body<RevealOrder>, ApiError>,
) -> Result<Response, ApiError> {
    const MISSING: ApiError = ApiError::NotFound {
        what: "Managed Account",
    };
    const EMPTY: ApiError = ApiError::NotFound { what: "Credential" };
    let id: AccountId = segments.id("id", "Managed Account")?;
    let account = api.store.account_row(id).await?.ok_or(MISSING)?;
    let Body(order) = body?;
    let why = reason(&order.reason)?;
    let kind = order.kind.unwrap_or_default();
    let version = account.current(kind.part()).ok_or(EMPTY)?;
    let kept = api.store.sealed_version(id, version).await?.ok_or(EMPTY)?;
    let (place, sealed) = match (kind, kept) {
        (Kind::Password, SealedSecret::Password(sealed))
        | (
            Kind::Key,
            SealedSecret::Key {
                private: sealed, ..
            },
        ) => (Place::credential(id, version), sealed),
        (Kind::Passphrase, SealedSecret::Key { passphrase, .. }) => {
            (Place::passphrase(id, version), passphrase.ok_or(EMPTY)?)
        }
        _ => return Err(EMPTY),
    };
    let secret = api.vault.open(&place, &sealed)?;
    let now = api.clock.now();
    let details = json!({"kind": kind.as_str(), "version": version, "reason": why});
    let mut tx = api.store.begin().await?;
    tx.audit(
        &Event::by(caller.actor(), "credential.revealed", id, details),
        now,
    )
    .await?;
    tx.commit().await?;
    api.metrics.revealed("native", "reveal");
    Ok(Json(Revealed {
        account_id: id.0,
        version,
        in_doubt: account.in_doubt(kind.part()),
        value: clear::handed_over(&secret),
    })
    .into_response())
}
