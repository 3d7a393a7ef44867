//! Routes, and what surrounds every handler: identity, permission, limits, panics, metrics, and
//! the rendering of errors.
//!
//! A route cannot be added without saying what it needs: [`Routes`] has no other way in.
//!
//! Invariant: a handler runs only after its caller was known and permitted, except on routes
//! that are declared with `Routes::open_get`.

use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use futures::FutureExt;
use tracing::Instrument;

use super::Api;
use super::caller::{self, Caller};
use super::error::{ApiError, Dialect, Unrendered};
use super::limits::{Budget, Spender};
use super::peer::Peer;
use super::sign_in;
use crate::model::access::Role;
use crate::model::principal::Permission;

/// What a caller must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: anybody may call.
    Open,
    /// To be signed in.
    SignedIn,
    /// One permission.
    One(Permission),
    /// Any of several permissions.
    Any(&'static [Permission]),
    /// Several permissions at once.
    All(&'static [Permission]),
    /// To be an administrator.
    Administrator,
    /// Any of the permissions, or a role on any smart rule: the handler asks which accounts that
    /// opens, by [`Caller::require_on`] or a list's filter.
    OrRole(&'static [Permission], &'static [Role]),
    /// The permission; a caller without it, or a Password Safe session on a native route, sees
    /// what it ordered itself: the handler checks that.
    OrOwn(Permission),
}

impl From<Permission> for Need {
    fn from(permission: Permission) -> Self {
        Self::One(permission)
    }
}

impl From<&'static [Permission]> for Need {
    fn from(permissions: &'static [Permission]) -> Self {
        Self::Any(permissions)
    }
}

impl Need {
    /// True if the caller has what is needed.
    pub fn is_met_by(self, caller: &Caller) -> bool {
        match self {
            Self::Open | Self::SignedIn | Self::OrOwn(_) => true,
            Self::One(permission) => caller.user.may(permission),
            Self::Any(permissions) => caller.user.may_any(permissions),
            Self::All(permissions) => permissions.iter().all(|one| caller.user.may(*one)),
            Self::Administrator => caller.user.administrator,
            Self::OrRole(permissions, roles) => {
                caller.user.administrator
                    || caller.user.may_any(permissions)
                    || caller.user.has_any(roles)
            }
        }
    }
}

impl Need {
    /// As the descriptions say it; `None` where nothing is needed.
    pub(super) fn in_words(self) -> Option<String> {
        let joined = |permissions: &[Permission], word: &str| {
            let all: Vec<_> = permissions.iter().map(|one| format!("`{one}`")).collect();
            all.join(word)
        };
        let any = |permissions: &[Permission]| joined(permissions, " or ");
        Some(match self {
            Self::Open => return None,
            Self::SignedIn => "Needs to be signed in.".to_owned(),
            Self::One(permission) => format!("Needs `{permission}`."),
            Self::Any(permissions) => format!("Needs {}.", any(permissions)),
            Self::All(permissions) => format!("Needs {}.", joined(permissions, " and ")),
            Self::Administrator => "Needs an administrator.".to_owned(),
            Self::OrRole(permissions, roles) => {
                let roles: Vec<_> = roles.iter().map(|role| role.name()).collect();
                let roles = format!("the role {} on a smart rule", roles.join(" or "));
                if permissions.is_empty() {
                    format!("Needs {roles}.")
                } else {
                    format!("Needs {}, or {roles}.", any(permissions))
                }
            }
            Self::OrOwn(permission) => {
                format!("Needs `{permission}`, or that the caller ordered it.")
            }
        })
    }

    /// The budget that such calls have beside that of all calls.
    const fn budget(self) -> Option<Budget> {
        match self {
            Self::One(Permission::CredentialsReveal | Permission::PasswordsReveal)
            | Self::Any([Permission::PasswordsReveal, ..])
            | Self::OrRole([Permission::CredentialsReveal], _) => Some(Budget::Reveals),
            Self::One(Permission::QuarantinesRun) => Some(Budget::Quarantines),
            Self::Open
            | Self::SignedIn
            | Self::One(_)
            | Self::Any(_)
            | Self::All(_)
            | Self::Administrator
            | Self::OrRole(..)
            | Self::OrOwn(_) => None,
        }
    }
}

/// One route as it was declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Which interface it belongs to.
    pub dialect: Dialect,
    /// `GET`, `POST`, …
    pub method: &'static str,
    /// The template below the interface's base; the metrics' route.
    pub path: &'static str,
    /// What a caller must have.
    pub need: Need,
}

impl Declared {
    /// What descriptions call the operation: `GET /assets/{id}` is `get_assets_id`.
    pub(super) fn name(&self) -> String {
        let path = self.path.replace(['{', '}'], "").replace('/', "_");
        format!("{}{path}", self.method.to_lowercase())
    }
}

/// The variable segments of a template.
pub(super) fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

/// Routes of one interface.
#[derive(Debug)]
pub struct Routes {
    dialect: Dialect,
    router: Router<Api>,
    declared: Vec<Declared>,
}

/// `Routes::new(…).get("/path/{id}", Permission::AccountsRead, handler)`, and so on.
macro_rules! methods {
    ($($name:ident $filter:ident,)+) => {$(
        /// Adds a handler for this method.
        #[must_use]
        pub fn $name<H, T>(self, path: &'static str, need: impl Into<Need>, handler: H) -> Self
        where
            H: Handler<T, Api>,
            T: 'static,
        {
            self.add(MethodFilter::$filter, stringify!($filter), path, need.into(), handler)
        }
    )+};
}

impl Routes {
    /// No routes yet.
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            router: Router::new(),
            declared: Vec::new(),
        }
    }

    methods! { get GET, post POST, put PUT, patch PATCH, delete DELETE, }

    /// Adds a GET that anybody may call.
    #[must_use]
    pub fn open_get<H: Handler<T, Api>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add(MethodFilter::GET, "GET", path, Need::Open, handler)
    }

    /// Adds a POST that anybody may call.
    #[must_use]
    pub fn open_post<H: Handler<T, Api>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add(MethodFilter::POST, "POST", path, Need::Open, handler)
    }

    /// Adds the routes of another file of the same interface.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.declared.extend(other.declared);
        self
    }

    fn add<H, T>(
        mut self,
        filter: MethodFilter,
        method: &'static str,
        path: &'static str,
        need: Need,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Api>,
        T: 'static,
    {
        let declared = Declared {
            dialect: self.dialect,
            method,
            path,
            need,
        };
        let endpoint = move |State(api): State<Api>, request: Request| {
            serve(api, declared, request, handler.clone())
        };
        self.router = self.router.route(path, on(filter, endpoint));
        self.declared.push(declared);
        self
    }

    /// What was declared, in order.
    pub fn declared(&self) -> &[Declared] {
        &self.declared
    }

    /// The router; other methods on known paths are answered by 405 with `Allow`.
    pub(crate) fn into_router(self) -> Router<Api> {
        let declared = Declared {
            dialect: self.dialect,
            method: "other",
            path: "other",
            need: Need::SignedIn,
        };
        self.router
            .method_not_allowed_fallback(move |State(api): State<Api>, request: Request| {
                serve(api, declared, request, async || ApiError::MethodNotAllowed)
            })
    }
}

/// Answers what no route takes. In the dialects 401 goes before 404: the signed-in alone learn
/// what exists.
pub(crate) async fn nothing_here(api: Api, dialect: Dialect, request: Request) -> Response {
    let need = match dialect {
        Dialect::PasswordSafe | Dialect::ItGlue => Need::SignedIn,
        Dialect::Native => Need::Open,
    };
    let declared = Declared {
        dialect,
        method: "other",
        path: "other",
        need,
    };
    serve(api, declared, request, async || ApiError::NotFound {
        what: "Resource",
    })
    .await
}

/// The id under which a call stands in the log; drawn for each.
#[derive(Clone, Debug)]
pub(crate) struct TraceId(pub(crate) String);

impl TraceId {
    fn draw(api: &Api) -> Self {
        let mut bytes = [0; 16];
        api.dice.fill(&mut bytes);
        Self(
            uuid::Builder::from_random_bytes(bytes)
                .into_uuid()
                .simple()
                .to_string(),
        )
    }
}

async fn serve<H, T>(api: Api, declared: Declared, mut request: Request, handler: H) -> Response
where
    H: Handler<T, Api>,
    T: 'static,
{
    let began = api.clock.monotonic();
    let trace = TraceId::draw(&api);
    request.extensions_mut().insert(trace.clone());
    // The template, never the path: paths hold names, and query strings may hold anything.
    let span = tracing::info_span!(
        "call",
        api = declared.dialect.label(),
        route = declared.path,
        method = method_label(request.method()),
        trace_id = trace.0,
    );
    let answer = async {
        match guard(&api, declared, &mut request).await {
            Ok(()) => handler.call(request, api.clone()).await,
            Err(error) => error.into_response(),
        }
    };
    let mut response = caught(answer).instrument(span.clone()).await;
    let _entered = span.enter();
    if let Some(Unrendered(error)) = response.extensions_mut().remove::<Unrendered>() {
        response = error.render(declared.dialect, &trace.0);
    }
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(no_store);
    let spent = api.clock.monotonic().saturating_sub(began);
    let status = response.status().as_u16();
    api.metrics
        .http_request(declared.dialect.label(), declared.path, status, spent);
    let spent_ms = u64::try_from(spent.as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(status, spent_ms, "answered");
    response
}

/// A panic becomes an internal fault; its words stand in the log, by the process's hook.
async fn caught(answer: impl Future<Output = Response>) -> Response {
    let answer = AssertUnwindSafe(answer).catch_unwind().await;
    answer.unwrap_or_else(|_| ApiError::Internal("a handler panicked").into_response())
}

async fn guard(api: &Api, declared: Declared, request: &mut Request) -> Result<(), ApiError> {
    if declared.need != Need::Open {
        let headers = request.headers();
        let peer = Peer::of(api, request.extensions(), headers);
        let caller = match declared.dialect {
            Dialect::PasswordSafe => caller::by_session(api, headers, peer).await?,
            Dialect::ItGlue => {
                let (caller, reach) = caller::by_itglue_key(api, headers, peer).await?;
                request.extensions_mut().insert(reach);
                caller
            }
            Dialect::Native => native(api, declared.need, request.method(), headers, peer).await?,
        };
        let calls = match declared.dialect {
            Dialect::ItGlue => Budget::ItGlue,
            Dialect::PasswordSafe | Dialect::Native => Budget::Requests,
        };
        spend(api, calls, caller.spender())?;
        if !declared.need.is_met_by(&caller) {
            return Err(ApiError::Forbidden);
        }
        if let Some(budget) = declared.need.budget() {
            spend(api, budget, caller.spender())?;
        }
        request.extensions_mut().insert(caller);
    }
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > api.settings.body_max_bytes) {
        return Err(ApiError::TooLarge);
    }
    Ok(())
}

/// Who calls the native API: with a key, else with a cookie.
async fn native(
    api: &Api,
    need: Need,
    method: &Method,
    headers: &HeaderMap,
    peer: Peer,
) -> Result<Caller, ApiError> {
    if let Some(caller) = caller::by_bearer(api, headers, peer).await? {
        return Ok(caller);
    }
    if let Some(caller) = sign_in::by_cookie(api, method, headers).await? {
        return Ok(caller);
    }
    match need {
        Need::OrOwn(_) => caller::by_session(api, headers, peer).await,
        _ => Err(ApiError::Unauthorized),
    }
}

/// Takes one from a budget.
fn spend(api: &Api, budget: Budget, by: Spender) -> Result<(), ApiError> {
    let rate = api.settings.rate(budget);
    let taken = api.limits.take(budget, by, rate, api.clock.monotonic());
    taken.map_err(|wait| {
        api.metrics.rate_limited(budget.as_str());
        ApiError::TooMany { wait }
    })
}

/// A method's name out of a closed set: clients may send any word.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_500_without_its_words() {
        let mut response = caught(async { panic!("canary-7731") }).await;
        let Unrendered(error) = response.extensions_mut().remove().unwrap();
        for dialect in [Dialect::PasswordSafe, Dialect::ItGlue, Dialect::Native] {
            let response = error.render(dialect, "trace");
            assert_eq!(response.status(), 500);
            let body = axum::body::to_bytes(response.into_body(), 9_999)
                .await
                .unwrap();
            assert!(!String::from_utf8_lossy(&body).contains("canary"));
        }
    }
}
