//! Who calls: by an API key, or by the cookie of a Password Safe session.
//!
//! Invariant: whatever is wrong with a key or a cookie, the caller learns only that it is not
//! signed in; the reason goes to a metric.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use secrecy::SecretString;

use super::Api;
use super::error::ApiError;
use crate::generate::native_key_is_wellformed;
use crate::model::access::Role;
use crate::model::id::{AccountId, SessionId};
use crate::model::principal::{ApiKey, KeyHash, KeyKind, Permission, Session, User};
use crate::store::StoreError;

/// The cookie of a Password Safe session.
pub(crate) const SESSION_COOKIE: &str = "ASP.NET_SessionId";

/// Who calls, once it is known.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user who acts.
    pub user: User,
    /// The session; `None` with a native key.
    pub session: Option<SessionId>,
}

impl Caller {
    /// The name under which orders and audit rows stand.
    pub fn actor(&self) -> &str {
        &self.user.name
    }

    /// Refuses a caller without this permission; for what depends on the request's body.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`].
    pub fn require(&self, permission: Permission) -> Result<(), ApiError> {
        if self.user.may(permission) {
            Ok(())
        } else {
            Err(ApiError::Forbidden)
        }
    }
}

impl Caller {
    /// Passes whoever has the permission, or one of the roles on a rule that references the
    /// account; everybody else is refused alike, whether or not there is such an account.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`]; otherwise that of `found`.
    pub async fn require_on(
        &self,
        api: &Api,
        (permission, roles): (Permission, &[Role]),
        found: Result<AccountId, ApiError>,
    ) -> Result<AccountId, ApiError> {
        if self.user.may(permission) {
            return found;
        }
        let account = match found {
            Ok(account) => account,
            Err(ApiError::NotFound { .. } | ApiError::Invalid(_)) => {
                return Err(ApiError::Forbidden);
            }
            Err(other) => return Err(other),
        };
        let has = api.store.roles_on(self.user.id, account).await?;
        if roles.iter().any(|role| has.contains(role)) {
            Ok(account)
        } else {
            Err(ApiError::Forbidden)
        }
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or(ApiError::Internal("an open route asked for its caller"))
    }
}

/// The caller of `Authorization: Bearer kw_live_…`; `None` without that header.
pub(crate) async fn by_bearer(api: &Api, headers: &HeaderMap) -> Result<Option<Caller>, ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let key = value.to_str().ok().and_then(|value| {
        let (scheme, key) = value.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let Some(key) = key.filter(|key| native_key_is_wellformed(key)) else {
        return Err(refused(api, "native", "malformed"));
    };
    let (user, _) = by_key(api, KeyKind::Native, &SecretString::from(key), "native").await?;
    Ok(Some(Caller {
        user,
        session: None,
    }))
}

/// The user of a live key.
pub(crate) async fn by_key(
    api: &Api,
    kind: KeyKind,
    key: &SecretString,
    method: &'static str,
) -> Result<(User, ApiKey), ApiError> {
    // Looked up by its hash: how long that takes says nothing about the key.
    let Some(key) = api.store.key_by_hash(kind, &KeyHash::of(key)).await? else {
        return Err(refused(api, method, "unknown"));
    };
    let user = api.store.user(key.user_id).await?;
    let Some(user) = user.filter(|user| !user.disabled) else {
        return Err(refused(api, method, "disabled"));
    };
    if !key.is_live(api.clock.now()) {
        let reason = if key.revoked_at.is_some() {
            "revoked"
        } else {
            "expired"
        };
        return Err(refused(api, method, reason));
    }
    Ok((user, key))
}

/// The caller of a session's cookie.
pub(crate) async fn by_session(api: &Api, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let Some(session) = session_of(api, headers).await? else {
        let reason = if cookie(headers).is_some() {
            "unknown"
        } else {
            "missing"
        };
        return Err(refused(api, "session", reason));
    };
    let now = api.clock.now();
    if session.seen_at <= Session::idle_since(api.settings.session_idle, now) {
        return Err(refused(api, "session", "expired"));
    }
    let user = api.store.user(session.user_id).await?;
    let Some(user) = user.filter(|user| !user.disabled) else {
        return Err(refused(api, "session", "disabled"));
    };
    if now.since(session.seen_at) >= Session::GRAIN
        && let Err(error) = touch(api, &session).await
    {
        // The session then ends a little earlier; that is no reason to refuse the call.
        tracing::warn!(%error, "a session's last use was not noted");
    }
    Ok(Caller {
        user,
        session: Some(session.id),
    })
}

async fn touch(api: &Api, session: &Session) -> Result<(), StoreError> {
    let mut tx = api.store.begin().await?;
    tx.touch_session(session.id, api.clock.now()).await?;
    tx.commit().await
}

/// The session that a request's cookie names, live or idle.
pub(crate) async fn session_of(
    api: &Api,
    headers: &HeaderMap,
) -> Result<Option<Session>, StoreError> {
    let Some(cookie) = cookie(headers) else {
        return Ok(None);
    };
    api.store.session_by_hash(&KeyHash::of(&cookie)).await
}

fn cookie(headers: &HeaderMap) -> Option<SecretString> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case(SESSION_COOKIE))
        .map(|(_, value)| SecretString::from(value.trim()))
}

/// Counts a failed authentication, and refuses.
pub(crate) fn refused(api: &Api, method: &'static str, reason: &'static str) -> ApiError {
    api.metrics.auth_failed(method, reason);
    ApiError::Unauthorized
}
