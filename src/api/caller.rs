//! Who calls: by an API key of the native API or of the IT Glue dialect, by the cookie of a Password Safe session, or by that of a session which
//! a user opened with their password (`api/sign_in.rs`).
//!
//! Invariant: whatever is wrong with a key or a cookie, the caller learns only that it is not
//! signed in; the reason goes to a metric.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use secrecy::SecretString;

use super::Api;
use super::error::ApiError;
use super::limits::Spender;
use super::peer::Peer;
use crate::generate::native_key_is_wellformed;
use crate::model::Timestamp;
use crate::model::access::Role;
use crate::model::id::{AccountId, KeyId, SessionId, UserId, UserSessionId};
use crate::model::key::{ApiKey, KeyHash, KeyKind, Reach};
use crate::model::principal::{Permission, Session, User};
use crate::model::session::UserSession;
use crate::store::{SignedIn, StoreError};

/// Ids that nothing has: looked up where nothing was found, so that a refusal takes as long.
const NO_KEY: KeyId = KeyId(0);
const NOBODY: UserId = UserId(0);

/// The cookie of a Password Safe session.
pub(crate) const SESSION_COOKIE: &str = "ASP.NET_SessionId";

/// Who calls, once it is known.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user who acts.
    pub user: User,
    /// How that is known.
    pub by: By,
}

/// What a caller shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A native key.
    Key(KeyId),
    /// A key of the IT Glue dialect.
    ItGlue(KeyId),
    /// A session of the Password Safe dialect, opened with this key.
    Session(SessionId, KeyId),
    /// A session that the user opened with their password, then.
    SignIn(UserSessionId, Timestamp),
}

impl Caller {
    /// The name under which orders and audit rows stand.
    pub fn actor(&self) -> &str {
        &self.user.name
    }

    /// Who pays for the call.
    pub(crate) fn spender(&self) -> Spender {
        match self.by {
            By::Key(key) | By::ItGlue(key) | By::Session(_, key) => Spender::Key(key),
            By::SignIn(..) => Spender::User(self.user.id),
        }
    }

    /// What the caller is, as the metrics call it.
    pub(crate) fn actor_type(&self) -> &'static str {
        match self.by {
            By::Key(_) => "native",
            By::ItGlue(_) => "itglue",
            By::Session(..) => "passwordsafe",
            By::SignIn(..) => "user",
        }
    }

    /// Refuses a session whose sign-in is too old for what it asks: a browser that was left open
    /// shows no credential. Keys are no sign-ins, and have no such age.
    ///
    /// # Errors
    /// [`ApiError::SignInAgain`].
    pub fn require_fresh(&self, now: Timestamp) -> Result<(), ApiError> {
        match self.by {
            By::SignIn(_, at) if now.since(at) >= UserSession::FRESH => Err(ApiError::SignInAgain),
            By::Key(_) | By::ItGlue(_) | By::Session(..) | By::SignIn(..) => Ok(()),
        }
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

/// Somebody who tries to prove who they are. What fails is counted by address and by name.
pub(crate) struct Attempt<'a> {
    api: &'a Api,
    /// By which means, as the metrics call it.
    method: &'static str,
    from: Peer,
    /// Whom they say they are.
    names: Vec<String>,
}

impl<'a> Attempt<'a> {
    /// Lets them try, unless too many tries have failed of late.
    pub(crate) fn begin(
        api: &'a Api,
        method: &'static str,
        from: Peer,
        names: Vec<String>,
    ) -> Result<Self, ApiError> {
        let attempt = Self {
            api,
            method,
            from,
            names,
        };
        let now = api.clock.monotonic();
        let rates = api.settings.failures();
        match api.limits.may_try(from.0, &attempt.names, rates, now) {
            Ok(()) => Ok(attempt),
            Err(wait) => {
                api.metrics.auth_failed(method, "throttled");
                api.metrics.rate_limited("sign_ins");
                Err(ApiError::TooMany { wait })
            }
        }
    }

    /// Counts a failure, and refuses.
    pub(crate) fn refused(&self, reason: &'static str) -> ApiError {
        let now = self.api.clock.monotonic();
        let rates = self.api.settings.failures();
        self.api.limits.failed(self.from.0, &self.names, rates, now);
        refused(self.api, self.method, reason)
    }

    /// The user of a live key of this kind for which `fits` holds. A refusal takes the same
    /// questions to the database whatever its reason.
    pub(crate) async fn by_key(
        &self,
        kind: KeyKind,
        key: &SecretString,
        fits: impl Fn(&ApiKey, &User) -> bool,
    ) -> Result<(User, ApiKey), ApiError> {
        let found = self.found(kind, key, fits).await?;
        Ok(self.passed(found).await)
    }

    /// The same, before it counts as a success.
    pub(crate) async fn found(
        &self,
        kind: KeyKind,
        key: &SecretString,
        fits: impl Fn(&ApiKey, &User) -> bool,
    ) -> Result<(User, ApiKey), ApiError> {
        // Looked up by its hash: how long that takes says nothing about the key.
        let key = self.api.store.key_by_hash(kind, &KeyHash::of(key)).await?;
        let fits = |key: &ApiKey, user: &User| fits(key, user).then_some(()).ok_or("wrong");
        self.by_found(key, fits).await
    }

    /// Counts a success: earlier mistakes are forgiven, and the key's use is noted.
    pub(crate) async fn passed(&self, (user, key): (User, ApiKey)) -> (User, ApiKey) {
        self.succeeded();
        note_use(self.api, &key).await;
        (user, key)
    }

    /// Forgives earlier mistakes by the names.
    pub(crate) fn succeeded(&self) {
        self.api.limits.succeeded(&self.names);
    }

    /// The same by an access token.
    pub(crate) async fn by_token(&self, token: &SecretString) -> Result<(User, ApiKey), ApiError> {
        let store = &self.api.store;
        let token = store.access_token(&KeyHash::of(token)).await?;
        let key = token.as_ref().map_or(NO_KEY, |token| token.key_id);
        let key = store.key(key).await?;
        let now = self.api.clock.now();
        let lives = token.is_some_and(|token| now < token.expires_at);
        let found = self.by_found(key, |_, _| lives.then_some(()).ok_or("expired"));
        Ok(self.passed(found.await?).await)
    }

    async fn by_found(
        &self,
        key: Option<ApiKey>,
        fits: impl Fn(&ApiKey, &User) -> Result<(), &'static str>,
    ) -> Result<(User, ApiKey), ApiError> {
        let owner = key.as_ref().map_or(NOBODY, |key| key.user_id);
        let user = self.api.store.user(owner).await?;
        let Some(key) = key else {
            return Err(self.refused("unknown"));
        };
        let (user, key) =
            usable(self.api, user, key, self.from).map_err(|reason| self.refused(reason))?;
        fits(&key, &user).map_err(|reason| self.refused(reason))?;
        Ok((user, key))
    }
}

/// A key with its user, if it may be used now and from there; else why not.
fn usable(
    api: &Api,
    user: Option<User>,
    key: ApiKey,
    from: Peer,
) -> Result<(User, ApiKey), &'static str> {
    let user = user.filter(|user| !user.disabled).ok_or("disabled")?;
    if key.revoked_at.is_some() {
        return Err("revoked");
    }
    if !key.is_live(api.clock.now()) {
        return Err("expired");
    }
    if !key.addresses.allow(from.0) {
        return Err("address");
    }
    Ok((user, key))
}

/// Notes when a key was used, a minute's grain.
async fn note_use(api: &Api, key: &ApiKey) {
    let now = api.clock.now();
    if !key.is_used_anew(now) {
        return;
    }
    let noted = async {
        let mut tx = api.store.begin().await?;
        tx.touch_key(key.id, now).await?;
        tx.commit().await
    };
    let noted: Result<(), StoreError> = noted.await;
    if let Err(error) = noted {
        tracing::warn!(%error, key = key.id.0, "a key's last use was not noted");
    }
}

/// The caller of `Authorization: Bearer kw_live_…`; `None` without that header.
pub(crate) async fn by_bearer(
    api: &Api,
    headers: &HeaderMap,
    from: Peer,
) -> Result<Option<Caller>, ApiError> {
    if !headers.contains_key(header::AUTHORIZATION) {
        return Ok(None);
    }
    let key = bearer(headers).filter(|key| native_key_is_wellformed(key));
    let Some(key) = key.map(SecretString::from) else {
        let attempt = Attempt::begin(api, "native", from, Vec::new())?;
        return Err(attempt.refused("malformed"));
    };
    let names = vec![format!("key {}", KeyHash::prefix(&key))];
    let attempt = Attempt::begin(api, "native", from, names)?;
    let (user, key) = attempt.by_key(KeyKind::Native, &key, |_, _| true).await?;
    Ok(Some(Caller {
        user,
        by: By::Key(key.id),
    }))
}

/// The header that holds a key of the IT Glue dialect.
const ITGLUE_HEADER: &str = "x-api-key";

/// The caller of `x-api-key: ITG.…`, or of the same key as a bearer, with what the key reaches.
pub(crate) async fn by_itglue_key(
    api: &Api,
    headers: &HeaderMap,
    from: Peer,
) -> Result<(Caller, Reach), ApiError> {
    let own = headers.get(ITGLUE_HEADER);
    let own = own.and_then(|value| value.to_str().ok()).map(str::trim);
    let own = own.filter(|key| !key.is_empty());
    let Some(key) = own.or_else(|| bearer(headers)) else {
        return Err(refused(api, "itglue", "missing"));
    };
    let key = SecretString::from(key);
    let names = vec![format!("key {}", KeyHash::prefix(&key))];
    let attempt = Attempt::begin(api, "itglue", from, names)?;
    let (user, key) = attempt.by_key(KeyKind::ItGlue, &key, |_, _| true).await?;
    let by = By::ItGlue(key.id);
    Ok((Caller { user, by }, key.reach))
}

/// What stands behind `Authorization: Bearer`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| rest.trim())
}

/// The caller of a session's cookie. The session's key must still be good, and so must the
/// address: a cookie is worth no more than the key it was had for.
pub(crate) async fn by_session(
    api: &Api,
    headers: &HeaderMap,
    from: Peer,
) -> Result<Caller, ApiError> {
    let Some(cookie) = cookie(headers, SESSION_COOKIE) else {
        return Err(refused(api, "session", "missing"));
    };
    let found = api.store.signed_in(&KeyHash::of(&cookie)).await?;
    let Some(SignedIn { session, user, key }) = found else {
        return Err(refused(api, "session", "unknown"));
    };
    let now = api.clock.now();
    if session.seen_at <= Session::idle_since(api.settings.sessions.idle, now) {
        return Err(refused(api, "session", "expired"));
    }
    let (user, key) =
        usable(api, Some(user), key, from).map_err(|reason| refused(api, "session", reason))?;
    if now.since(session.seen_at) >= Session::GRAIN
        && let Err(error) = touch(api, &session).await
    {
        // The session then ends a little earlier; that is no reason to refuse the call.
        tracing::warn!(%error, "a session's last use was not noted");
    }
    note_use(api, &key).await;
    Ok(Caller {
        user,
        by: By::Session(session.id, key.id),
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
    let Some(cookie) = cookie(headers, SESSION_COOKIE) else {
        return Ok(None);
    };
    api.store.session_by_hash(&KeyHash::of(&cookie)).await
}

/// A cookie's value.
pub(super) fn cookie(headers: &HeaderMap, name: &str) -> Option<SecretString> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.split_once('='))
        .find(|(one, _)| one.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| SecretString::from(value.trim()))
}

/// Counts a failed authentication, and refuses.
pub(super) fn refused(api: &Api, method: &'static str, reason: &'static str) -> ApiError {
    api.metrics.auth_failed(method, reason);
    ApiError::Unauthorized
}

#[cfg(test)]
mod tests {
    mod fuzz;
}
