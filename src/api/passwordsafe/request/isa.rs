//! Seeing a credential without asking: for those whose role is to administer it.
//!
//! Invariant: it is a request like any other, made and on record before the credential is opened.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::ask::{Asked, account_of, found, rotates};
use super::wanted;
use crate::api::Api;
use crate::api::caller::Caller;
use crate::api::clear;
use crate::api::error::ApiError;
use crate::api::passwordsafe::{Fields, Params};
use crate::api::peer::Peer;
use crate::api::reveal::{self, Seeing, Wanted};
use crate::model::access::Role;
use crate::model::audit::Event;
use crate::model::principal::Permission;
use crate::model::request::NewRequest;
use crate::model::reveal::AccessMethod;

pub(super) async fn see(
    State(api): State<Api>,
    caller: Caller,
    from: Peer,
    params: Params,
    fields: Result<Fields, ApiError>,
) -> Result<Response, ApiError> {
    const SEE: (Permission, &[Role]) = (Permission::CredentialsReveal, &[Role::Isa]);
    let fields = fields?;
    let named = account_of(&fields)?;
    caller.require_on(&api, SEE, Ok(named)).await?;
    let account = found(&api, &fields, named).await?;
    let asked = Asked::read(&fields)?;
    let extras = &account.settings.extras;
    let lasts = asked.duration(extras.isa_release_duration, extras.max_release_duration)?;
    let secret = wanted(&params)?;
    let now = api.clock.now();
    let new = NewRequest {
        user_id: caller.user.id,
        account_id: account.id,
        system_id: account.system_id,
        reason: asked.reason,
        rotates: rotates(&account),
        approvals_needed: 0,
        expires_at: now.plus(Duration::from_millis(lasts.unsigned_abs())),
    };
    let mut tx = api.store.begin().await?;
    tx.lock_queue(account.system_id).await?;
    let request = tx.insert_request(&new, now).await?;
    let details = json!({"account": account.id, "reason": new.reason, "isa": true});
    tx.audit(
        &Event::by(caller.actor(), "request.made", request, details),
        now,
    )
    .await?;
    tx.commit().await?;
    let seeing = Seeing {
        caller: &caller,
        from,
        method: AccessMethod::Checkout,
    };
    let why = json!({"request": request});
    let found = reveal::reveal(&api, seeing, Wanted::current(account.id, secret), why).await?;
    api.metrics.revealed("passwordsafe", "release");
    Ok((StatusCode::CREATED, Json(clear::handed_over(&found.value))).into_response())
}
