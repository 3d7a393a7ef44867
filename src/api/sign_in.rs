//! Signing in with a password: to the native API, and where a registration of the Password Safe
//! dialect demands it.
//!
//! Invariant: a refusal tells the caller one thing, whoever they are and whatever was wrong; the audit
//! trail has the reason, and neither the password nor a name that nobody has.

use axum::http::{HeaderMap, Method};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::Api;
use super::caller::{self, Attempt, By, Caller};
use super::error::ApiError;
use super::peer::Peer;
use crate::generate::base62;
use crate::model::Timestamp;
use crate::model::audit::Event;
use crate::model::id::{KeyId, UserId, UserSessionId};
use crate::model::key::{KeyHash, csrf_token};
use crate::model::password::PasswordHash;
use crate::model::principal::{Session, User};
use crate::model::session::NewUserSession;
use crate::model::totp::Totp;
use crate::store::{StoreError, Tx};
use crate::vault::{Place, same_secret, step_of};

/// The cookie of a session that was opened with a password.
pub(crate) const COOKIE: &str = "keywheel_session";
/// The header of the token that acting calls carry beside it.
const TOKEN: &str = "x-csrf-token";
/// Where browsers say which site a call was made from.
const FETCH_SITE: &str = "sec-fetch-site";
/// Characters of the cookie: 256 bits.
const COOKIE_CHARS: usize = 43;
/// Looked up where nobody has the name.
const NOBODY: UserId = UserId(0);

/// What somebody signs in with.
pub(crate) struct Given {
    pub(crate) name: String,
    pub(crate) password: SecretString,
    /// A code of the second factor, or a recovery code.
    pub(crate) code: Option<SecretString>,
}

/// A session that was just opened.
pub(crate) struct Opened {
    pub(crate) id: UserSessionId,
    pub(crate) user: User,
    pub(crate) at: Timestamp,
    pub(crate) cookie: SecretString,
}

/// How a second factor was proven.
pub(crate) enum Proof {
    /// By the code of this step.
    Step(i64),
    /// By a recovery code, if it is one.
    Recovery(KeyHash),
}

impl Proof {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Step(_) => "totp",
            Self::Recovery(_) => "recovery_code",
        }
    }

    /// Uses it up; false if it was used before, or is none.
    pub(crate) async fn spend(
        &self,
        tx: &mut Tx,
        user: UserId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        match self {
            Self::Step(step) => tx.use_totp_step(user, *step).await,
            Self::Recovery(code) => tx.use_recovery_code(user, code, now).await,
        }
    }
}

/// What a code proves: the step that it belongs to; else it can only be a recovery code.
pub(crate) fn proof(
    api: &Api,
    user: UserId,
    factor: &Totp,
    code: &SecretString,
) -> Result<Proof, ApiError> {
    let secret = api.vault.open(&Place::totp(user), &factor.sealed)?;
    let step = step_of(&secret, code, api.clock.now());
    Ok(step.map_or_else(|| Proof::Recovery(KeyHash::of(code)), Proof::Step))
}

/// Why somebody is refused, as the metrics and the audit trail call it.
struct Refusal {
    metric: &'static str,
    reason: &'static str,
}

/// Opens a session.
pub(crate) async fn open(api: &Api, from: Peer, given: Given) -> Result<Opened, ApiError> {
    let names = vec![format!("user {}", given.name)];
    let attempt = Attempt::begin(api, "password", from, names)?;
    let user = api.store.user_by_name(&given.name).await?;
    let id = user.as_ref().map_or(NOBODY, |user| user.id);
    let kept = api.store.password_of(id).await?;
    let right = api.passwords.verify(&given.password, kept.as_ref()).await?;
    let factor = api.store.totp_of(id).await?;
    let factor = factor.filter(|factor| factor.confirmed_at.is_some());
    let refuse = async |why: Refusal| {
        let user = user.as_ref().map(|user| user.id);
        refused(
            api,
            &attempt,
            user,
            (why, json!({"address": address(from)})),
        )
        .await
    };
    let no = |metric, reason| Refusal { metric, reason };
    let (user_found, kept) = match (&user, kept) {
        (None, _) => return refuse(no("unknown", "unknown")).await,
        (Some(_), None) => return refuse(no("unknown", "no_password")).await,
        (Some(_), Some(_)) if !right => return refuse(no("wrong", "password")).await,
        (Some(user), _) if user.disabled => return refuse(no("disabled", "disabled")).await,
        (Some(user), Some(kept)) => (user, kept),
    };
    let proof = match (&factor, &given.code) {
        (None, _) => None,
        (Some(_), None) => return refuse(no("missing", "no_code")).await,
        (Some(factor), Some(code)) => Some(proof(api, id, factor, code)?),
    };
    let cookie = base62(&*api.dice, COOKIE_CHARS);
    let new = NewUserSession {
        cookie: KeyHash::of(&cookie),
        user_id: id,
        address: address(from),
    };
    let recorded = record(api, &new, (user_found, &kept), proof.as_ref()).await?;
    let (id, at) = match recorded {
        Ok(opened) => opened,
        Err(reason) => return refuse(no("wrong", reason)).await,
    };
    attempt.succeeded();
    let user = user.ok_or(ApiError::Unauthorized)?;
    Ok(Opened {
        id,
        user,
        at,
        cookie,
    })
}

/// Uses the code up, opens the session and puts it on record, at once; or says what is good no more.
async fn record(
    api: &Api,
    new: &NewUserSession,
    (user, kept): (&User, &PasswordHash),
    proof: Option<&Proof>,
) -> Result<Result<(UserSessionId, Timestamp), &'static str>, ApiError> {
    let now = api.clock.now();
    let mut tx = api.store.begin().await?;
    match tx.use_password(user.id, kept, now).await {
        // It was changed while it was verified.
        Err(StoreError::Stale { .. }) => return Ok(Err("password")),
        used => used?,
    }
    if let Some(proof) = proof
        && !proof.spend(&mut tx, user.id, now).await?
    {
        tx.rollback().await?;
        return Ok(Err("code"));
    }
    let id = tx.open_user_session(new, now).await?;
    let factor = proof.map_or("none", Proof::as_str);
    let details = json!({"user": user.id, "address": new.address, "second_factor": factor});
    let event = Event::by(&user.name, "session.opened", id, details);
    tx.audit(&event, now).await?;
    tx.commit().await?;
    Ok(Ok((id, now)))
}

/// Puts a refusal on record, counts it, and refuses.
async fn refused<T>(
    api: &Api,
    attempt: &Attempt<'_>,
    user: Option<UserId>,
    (why, mut details): (Refusal, Value),
) -> Result<T, ApiError> {
    let answer = attempt.refused(why.metric);
    if let Some(details) = details.as_object_mut() {
        details.insert("reason".to_owned(), json!(why.reason));
    }
    // A name that nobody has may be a password in the wrong field.
    let subject = user.map_or_else(|| "user".to_owned(), |user| user.to_string());
    let mut tx = api.store.begin().await?;
    let event = Event::by_service("session.refused", subject, details);
    tx.audit(&event, api.clock.now()).await?;
    tx.commit().await?;
    Err(answer)
}

/// Proves the user of a registration that demands their password.
pub(crate) async fn prove(
    api: &Api,
    attempt: &Attempt<'_>,
    (user, key): (&User, KeyId),
    given: Option<&SecretString>,
) -> Result<(), ApiError> {
    let kept = api.store.password_of(user.id).await?;
    let none = SecretString::default();
    let right = api.passwords.verify(given.unwrap_or(&none), kept.as_ref());
    let right = right.await?;
    let (metric, reason) = match (given, kept) {
        (None, _) => ("missing", "no_password_given"),
        (Some(_), None) => ("unknown", "no_password"),
        (Some(_), Some(_)) if !right => ("wrong", "password"),
        (Some(_), Some(_)) => return Ok(()),
    };
    let why = Refusal { metric, reason };
    refused(api, attempt, Some(user.id), (why, json!({"key": key}))).await
}

/// The current password of a user who is to change what they sign in with.
pub(crate) async fn require_current(
    api: &Api,
    from: Peer,
    user: &User,
    (given, kept): (&SecretString, &PasswordHash),
) -> Result<(), ApiError> {
    let names = vec![format!("user {}", user.name)];
    let attempt = Attempt::begin(api, "password", from, names)?;
    if api.passwords.verify(given, Some(kept)).await? {
        attempt.succeeded();
        return Ok(());
    }
    let why = Refusal {
        metric: "wrong",
        reason: "current_password",
    };
    let details = json!({"address": address(from)});
    let refused: Result<(), ApiError> = refused(api, &attempt, Some(user.id), (why, details)).await;
    match refused {
        // The caller is known; it is the field that is wrong.
        Err(ApiError::Unauthorized) => Err(ApiError::field("current", "is not the password")),
        other => other,
    }
}

/// A code that does not fit, of a user who is known: counted as a failed sign-in, and on record.
pub(crate) async fn wrong_code(api: &Api, from: Peer, user: &User) -> ApiError {
    let names = vec![format!("user {}", user.name)];
    let attempt = match Attempt::begin(api, "password", from, names) {
        Ok(attempt) => attempt,
        Err(throttled) => return throttled,
    };
    let why = Refusal {
        metric: "wrong",
        reason: "code",
    };
    let details = json!({"address": address(from)});
    let refused: Result<(), ApiError> = refused(api, &attempt, Some(user.id), (why, details)).await;
    match refused {
        Err(ApiError::Unauthorized) | Ok(()) => ApiError::field("code", "is wrong, or was used"),
        Err(other) => other,
    }
}

fn address(from: Peer) -> String {
    from.0
        .map(|address| address.to_string())
        .unwrap_or_default()
}

/// The caller of a session's cookie; `None` without one. Calls that act need the token too, which a
/// page of another site cannot read.
pub(crate) async fn by_cookie(
    api: &Api,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Option<Caller>, ApiError> {
    let Some(cookie) = caller::cookie(headers, COOKIE) else {
        return Ok(None);
    };
    let found = api
        .store
        .user_session_by_hash(&KeyHash::of(&cookie))
        .await?;
    let no = |reason| Err(caller::refused(api, "session", reason));
    let Some(session) = found else {
        return no("unknown");
    };
    let now = api.clock.now();
    if !session.is_live(api.settings.sessions, now) {
        return no("expired");
    }
    let user = api.store.user(session.user_id).await?;
    let Some(user) = user.filter(|user| !user.disabled) else {
        return no("disabled");
    };
    if !method.is_safe() && !carries_token(headers, &cookie) {
        return Err(ApiError::TokenMissing);
    }
    if now.since(session.seen_at) >= Session::GRAIN {
        let noted = async {
            let mut tx = api.store.begin().await?;
            tx.touch_user_session(session.id, now).await?;
            tx.commit().await
        };
        let noted: Result<(), StoreError> = noted.await;
        if let Err(error) = noted {
            // The session then ends a little earlier; that is no reason to refuse the call.
            tracing::warn!(%error, "a session's last use was not noted");
        }
    }
    Ok(Some(Caller {
        user,
        by: By::SignIn(session.id, session.created_at),
    }))
}

fn carries_token(headers: &HeaderMap, cookie: &SecretString) -> bool {
    let token = headers.get(TOKEN).and_then(|value| value.to_str().ok());
    let token = token.map(SecretString::from);
    is_of_this_site(headers) && token.is_some_and(|token| same_secret(&token, &csrf_token(cookie)))
}

/// False if a browser says that the call was made from a page of another site.
pub(crate) fn is_of_this_site(headers: &HeaderMap) -> bool {
    headers.get(FETCH_SITE).is_none_or(|site| {
        let site = site.as_bytes();
        site == b"same-origin" || site == b"none"
    })
}
