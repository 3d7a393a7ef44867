//! `/healthz`, `/readyz` and `/metrics`.
//!
//! Invariant: what anybody may ask tells no names, addresses or counts of accounts.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::caller;
use crate::api::error::ApiError;
use crate::api::peer::Peer;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::principal::Permission;

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native)
        .open_get("/healthz", alive)
        .open_get("/readyz", ready)
        .open_get("/metrics", metrics)
}

/// Whether the service can do its work.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReadyAnswer {
    /// True if every component is ready.
    ready: bool,
    /// `ok`, or what is wrong, by component.
    components: BTreeMap<String, String>,
}

/// The process answers.
#[utoipa::path(
    get, path = "/healthz", tag = "health",
    responses((status = 200, body = String, content_type = "text/plain")),
    security(()),
)]
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// The service can do its work, component by component.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses((status = 200, body = ReadyAnswer), (status = 503, body = ReadyAnswer)),
    security(()),
)]
pub(super) async fn ready(State(api): State<Api>) -> Response {
    let mut found = api.readiness.components();
    let database = api.store.ping().await.map_err(|error| {
        // The cause may name hosts: it goes to the log alone.
        tracing::warn!(%error, "the database does not answer");
        "does not answer".to_owned()
    });
    found.insert("db", database);
    let ready = found.values().all(Result::is_ok);
    let components = found.into_iter().map(|(name, state)| {
        (
            name.to_owned(),
            state.err().unwrap_or_else(|| "ok".to_owned()),
        )
    });
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(ReadyAnswer {
            ready,
            components: components.collect(),
        }),
    )
        .into_response()
}

/// Prometheus' text format. Open where only this machine can connect; else it needs a native key
/// with `metrics.read`.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses((status = 200, body = String, content_type = "text/plain")),
    security((), ("key" = [])),
)]
pub(super) async fn metrics(
    State(api): State<Api>,
    peer: Peer,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if !api.settings.loopback {
        let caller = caller::by_bearer(&api, &headers, peer)
            .await?
            .ok_or(ApiError::Unauthorized)?;
        caller.require(Permission::MetricsRead)?;
    }
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    Ok((kind, api.metrics.render()).into_response())
}
