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
use crate::api::caller::{By, Caller};
use crate::api::clear;
use crate::api::error::ApiError;
use crate::api::passwordsafe::Segments;
use crate::api::peer::Peer;
use crate::api::reveal::{self, Secret, Seeing, Wanted};
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::id::AccountId;
use crate::model::principal::Permission;
use crate::model::reveal::AccessMethod;

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
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// `password`, `key` or `passphrase`. Default `password`.
    #[serde(default)]
    kind: Option<Kind>,
    /// One of the kept versions; default: the current one.
    #[serde(default)]
    version: Option<i64>,
    /// By which way a person comes to see it: `show`, `copy`, `list_copy`, `asset_show`,
    /// `asset_copy`, `search_show`, `search_copy` or `cli`. Default `show` for a session, and
    /// `api_show` for a key.
    #[serde(default)]
    via: Option<String>,
}

/// The ways that a client may name for itself.
const WAYS: [AccessMethod; 8] = [
    AccessMethod::Show,
    AccessMethod::Copy,
    AccessMethod::ListCopy,
    AccessMethod::AssetShow,
    AccessMethod::AssetCopy,
    AccessMethod::SearchShow,
    AccessMethod::SearchCopy,
    AccessMethod::Cli,
];

/// By which way a caller sees something.
pub(super) fn by_way(caller: &Caller, said: Option<String>) -> Result<AccessMethod, ApiError> {
    let Some(said) = said else {
        return Ok(match caller.by {
            By::SignIn(..) => AccessMethod::Show,
            By::Key(_) | By::ItGlue(_) | By::Session(..) => AccessMethod::ApiShow,
        });
    };
    let way = AccessMethod::parse(&said).filter(|way| WAYS.contains(way));
    way.ok_or_else(|| {
        let ways = WAYS.map(AccessMethod::as_str).join(", ");
        ApiError::field("via", format!("must be one of {ways}"))
    })
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

impl From<Kind> for Secret {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Password => Self::Password,
            Kind::Key => Self::Key,
            Kind::Passphrase => Self::Passphrase,
        }
    }
}

/// A credential in the clear.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Revealed {
    account_id: i64,
    /// Which version this is.
    version: i64,
    /// True if what is current may have been replaced on the target.
    in_doubt: bool,
    /// The secret.
    #[schema(value_type = String)]
    value: Value,
    /// In doubt: what the target may hold instead of the current one, the likeliest first.
    candidates: Vec<Candidate>,
}

/// A kept version that the target may hold.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Candidate {
    version: i64,
    /// The secret.
    #[schema(value_type = String)]
    value: Value,
}

impl From<&reveal::Candidate> for Candidate {
    fn from(one: &reveal::Candidate) -> Self {
        Self {
            version: one.version,
            value: clear::handed_over(&one.value),
        }
    }
}

/// Hands over the current credential, and in doubt what the target may hold instead. A session that somebody opened with their password must be
/// younger than five minutes.
#[utoipa::path(
    post, path = "/api/v1/accounts/{id}/reveal", tag = "accounts",
    params(("id" = i64, Path, description = "The account")),
    request_body = RevealOrder,
    responses((status = 200, body = Revealed), (status = "4XX", body = Problem)),
)]
pub(super) async fn reveal(
    State(api): State<Api>,
    caller: Caller,
    from: Peer,
    segments: Segments,
    body: Result<Body<RevealOrder>, ApiError>,
) -> Result<Response, ApiError> {
    caller.require_fresh(api.clock.now())?;
    let id: AccountId = segments.id("id", "Managed Account")?;
    if api.store.account_row(id).await?.is_none() {
        return Err(ApiError::NotFound {
            what: "Managed Account",
        });
    }
    let Body(order) = body?;
    let why = json!({"reason": reason(&order.reason)?});
    let seeing = Seeing {
        caller: &caller,
        from,
        method: by_way(&caller, order.via)?,
    };
    let secret = Secret::from(order.kind.unwrap_or_default());
    let wanted = Wanted {
        account: id,
        secret,
        version: order.version,
        candidates: true,
    };
    let found = reveal::reveal(&api, seeing, wanted, why).await?;
    api.metrics.revealed(caller.actor_type(), "reveal");
    Ok(Json(Revealed {
        account_id: id.0,
        version: found.version,
        in_doubt: found.in_doubt,
        value: clear::handed_over(&found.value),
        candidates: found.candidates.iter().map(Candidate::from).collect(),
    })
    .into_response())
}
