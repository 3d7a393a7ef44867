//! Signing in and out.
//!
//! `Authorization: PS-Auth key=<key>; runas=<user>; pwd=[<password>];` Spaces, the last `;`,
//! `runas` and `pwd` are optional, and names match in any case; a registration may demand `pwd`. Or `Authorization: Bearer <token>`,
//! with a token that an OAuth registration got for its client id and secret.
//!
//! Invariant: a refused sign-in says nothing of why, and does the same work whatever the reason; only
//! who has a key that demands a password learns, by the time its hash takes, that the key is one.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde_json::json;

use super::input::Fields;
use crate::api::caller::{self, Attempt, SESSION_COOKIE};
use crate::api::clear;
use crate::api::error::ApiError;
use crate::api::peer::Peer;
use crate::api::route::Routes;
use crate::api::{Api, Dialect, sign_in};
use crate::generate::base62;
use crate::model::audit::Event;
use crate::model::key::{AccessToken, ApiKey, KeyHash, KeyKind};
use crate::model::principal::User;

/// Characters of a session's cookie: 256 bits.
const COOKIE_CHARS: usize = 43;
/// Characters of an access token: likewise.
const TOKEN_CHARS: usize = 43;
/// Characters of a parameter that are read: no client id or secret is longer.
const PARAMETER_MAX_CHARS: usize = 256;

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::PasswordSafe)
        .open_post("/auth/connect/token", token)
        .open_post("/auth/signappin", sign_in)
        .open_post("/auth/signout", sign_out)
}

/// Hands an access token to an OAuth registration; RFC 6749, sections 4.4 and 5.
async fn token(State(api): State<Api>, peer: Peer, fields: Fields) -> Result<Response, ApiError> {
    let said = |name| fields.text(name, PARAMETER_MAX_CHARS);
    let (Ok(grant), Ok(client), Ok(secret)) = (
        said("grant_type"),
        said("client_id"),
        fields.secret("client_secret", PARAMETER_MAX_CHARS),
    ) else {
        return Ok(denied(StatusCode::BAD_REQUEST, "invalid_request"));
    };
    match grant.as_deref() {
        Some("client_credentials") => {}
        Some(_) => return Ok(denied(StatusCode::BAD_REQUEST, "unsupported_grant_type")),
        None => return Ok(denied(StatusCode::BAD_REQUEST, "invalid_request")),
    }
    let client = client.unwrap_or_default();
    let names = vec![format!("client {client}")];
    let attempt = Attempt::begin(&api, "oauth", peer, names)?;
    let is_it = |key: &ApiKey, _: &User| {
        key.client_id()
            .is_some_and(|own| own.eq_ignore_ascii_case(&client))
    };
    // A secret that is missing is looked up too, as one that nobody has.
    let secret = secret.unwrap_or_default();
    let found = attempt.by_key(KeyKind::OAuth, &secret, is_it);
    let (user, key) = match found.await {
        Ok(found) => found,
        Err(ApiError::Unauthorized) => {
            return Ok(denied(StatusCode::UNAUTHORIZED, "invalid_client"));
        }
        Err(error) => return Err(error),
    };
    let drawn = base62(&*api.dice, TOKEN_CHARS);
    let now = api.clock.now();
    let token = AccessToken {
        key_id: key.id,
        expires_at: now.plus(AccessToken::LIFE),
    };
    let mut tx = api.store.begin().await?;
    tx.insert_access_token(&KeyHash::of(&drawn), &token, now)
        .await?;
    let details = json!({"user": user.id, "expires_at": token.expires_at.rfc3339()});
    let event = Event::by(&user.name, "key.token_issued", key.id, details);
    tx.audit(&event, now).await?;
    tx.commit().await?;
    let body = json!({
        "access_token": clear::handed_over(&drawn),
        "expires_in": AccessToken::LIFE.as_secs(),
        "token_type": "Bearer",
        "scope": "publicapi",
    });
    let mut response = Json(body).into_response();
    let no_cache = HeaderValue::from_static("no-cache");
    response.headers_mut().insert(header::PRAGMA, no_cache);
    Ok(response)
}

/// An error in the words of RFC 6749, section 5.2.
fn denied(status: StatusCode, error: &'static str) -> Response {
    (status, Json(json!({"error": error}))).into_response()
}

async fn sign_in(
    State(api): State<Api>,
    peer: Peer,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (user, key) = match caller::bearer(&headers) {
        Some(token) => {
            let attempt = Attempt::begin(&api, "oauth", peer, Vec::new())?;
            attempt.by_token(&SecretString::from(token)).await?
        }
        None => by_registration(&api, peer, &headers).await?,
    };
    let cookie = base62(&*api.dice, COOKIE_CHARS);
    let now = api.clock.now();
    let mut tx = api.store.begin().await?;
    let session = tx
        .open_session(&KeyHash::of(&cookie), user.id, key.id, now)
        .await?;
    let event = Event::by(
        &user.name,
        "session.opened",
        session,
        json!({"key": key.id, "user": user.id}),
    );
    tx.audit(&event, now).await?;
    tx.commit().await?;
    let body = json!({
        "UserId": user.id,
        "SID": null,
        "EmailAddress": user.email,
        "UserName": user.name,
        "Name": user.display_name,
    });
    let mut response = Json(body).into_response();
    response.headers_mut().insert(
        header::SET_COOKIE,
        clear::set_cookie((SESSION_COOKIE, ""), &cookie, api.settings.tls)?,
    );
    Ok(response)
}

/// Who signs in by `PS-Auth`.
async fn by_registration(
    api: &Api,
    peer: Peer,
    headers: &HeaderMap,
) -> Result<(User, ApiKey), ApiError> {
    let header = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let presented = header.and_then(Presented::parse);
    let known = presented.is_some();
    // A malformed header is looked up too, as a key that nobody has.
    let presented = presented.unwrap_or_default();
    let attempt = Attempt::begin(api, "passwordsafe", peer, presented.names())?;
    let is_it = |_: &ApiKey, user: &User| known && presented.acts_as(user);
    let kind = KeyKind::PasswordSafe;
    let (user, key) = attempt.found(kind, &presented.key, is_it).await?;
    if key.password_required {
        let given = presented.password.as_ref();
        sign_in::prove(api, &attempt, (&user, key.id), given).await?;
    }
    Ok(attempt.passed((user, key)).await)
}

/// 200 whether or not there was a session.
async fn sign_out(State(api): State<Api>, headers: HeaderMap) -> Result<StatusCode, ApiError> {
    let Some(session) = caller::session_of(&api, &headers).await? else {
        return Ok(StatusCode::OK);
    };
    let actor = api
        .store
        .user(session.user_id)
        .await?
        .map_or_else(String::new, |user| user.name);
    let mut tx = api.store.begin().await?;
    if tx.end_session(session.id).await? {
        let event = Event::by(
            actor,
            "session.ended",
            session.id,
            json!({"user": session.user_id}),
        );
        tx.audit(&event, api.clock.now()).await?;
    }
    tx.commit().await?;
    Ok(StatusCode::OK)
}

/// What an `Authorization: PS-Auth …` header holds.
#[derive(Default)]
struct Presented {
    key: SecretString,
    run_as: Option<String>,
    /// What stood in the brackets of `pwd=[…]`.
    password: Option<SecretString>,
}

impl Presented {
    fn parse(header: &str) -> Option<Self> {
        let (scheme, mut rest) = header.trim_start().split_once([' ', '\t'])?;
        if !scheme.eq_ignore_ascii_case("ps-auth") {
            return None;
        }
        let mut presented = Self::default();
        let mut has_key = false;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ';']);
            if rest.is_empty() {
                break;
            }
            let (name, after) = rest.split_once('=')?;
            let name = name.trim().to_ascii_lowercase();
            if name == "pwd" && after.trim_start().starts_with('[') {
                // The password may hold anything: it ends at the last bracket.
                let (given, behind) = after.trim_start().strip_prefix('[')?.rsplit_once(']')?;
                presented.password = Some(SecretString::from(given));
                rest = behind;
                continue;
            }
            let (value, after) = after.split_once(';').unwrap_or((after, ""));
            let value = value.trim();
            match name.as_str() {
                "key" => {
                    presented.key = SecretString::from(value);
                    has_key = !value.is_empty();
                }
                "runas" if !value.is_empty() => presented.run_as = Some(value.to_owned()),
                _ => {}
            }
            rest = after;
        }
        has_key.then_some(presented)
    }

    /// What failed sign-ins are counted by, beside the address.
    fn names(&self) -> Vec<String> {
        let key = Some(KeyHash::prefix(&self.key)).filter(|prefix| !prefix.is_empty());
        let key = key.map(|prefix| format!("key {prefix}"));
        let user = self.run_as.as_ref().map(|name| format!("user {name}"));
        key.into_iter().chain(user).collect()
    }

    /// A key acts for its own user; `runas` may name it as `name`, `DOMAIN\name` or
    /// `name@domain`.
    fn acts_as(&self, user: &User) -> bool {
        let Some(given) = &self.run_as else {
            return true;
        };
        let own = user.name.to_lowercase();
        let given = given.to_lowercase();
        given == own
            || given.rsplit_once('\\').is_some_and(|(_, name)| name == own)
            || given.split_once('@').is_some_and(|(name, _)| name == own)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use secrecy::ExposeSecret;

    use super::*;
    use crate::model::Timestamp;
    use crate::model::id::UserId;
    use crate::model::principal::ByGroups;

    #[expect(clippy::disallowed_methods, reason = "the test compares made-up keys")]
    fn parsed(header: &str) -> Option<(String, Option<String>)> {
        let presented = Presented::parse(header)?;
        Some((presented.key.expose_secret().to_owned(), presented.run_as))
    }

    #[test]
    fn every_spelling_of_the_header_is_read() {
        for header in [
            "PS-Auth key=K; runas=ada;",
            "PS-Auth key=K;runas=ada",
            "ps-auth KEY=K ; RunAs=ada ; pwd=[x];",
            "PS-Auth  runas=ada; key=K",
            "PS-Auth key=K; runas=ada; pwd=[a;key=Z;]b];",
            "PS-Auth key=K; pwd=[a]; runas=ada",
        ] {
            assert_eq!(
                parsed(header),
                Some(("K".into(), Some("ada".into()))),
                "{header}"
            );
        }
        assert_eq!(parsed("PS-Auth key=K"), Some(("K".into(), None)));
        assert_eq!(parsed("PS-Auth key=K; runas=; "), Some(("K".into(), None)));
    }

    #[test]
    fn a_password_stands_in_brackets_and_ends_at_the_last() {
        #[expect(
            clippy::disallowed_methods,
            reason = "the test compares made-up passwords"
        )]
        let password = |header| {
            let presented = Presented::parse(header)?;
            presented.password.map(|one| one.expose_secret().to_owned())
        };
        for (header, given) in [
            ("PS-Auth key=K; runas=ada; pwd=[secret];", Some("secret")),
            ("PS-Auth key=K; pwd=[a];runas=ada", Some("a")),
            ("PS-Auth key=K; pwd= [ a b ] ", Some(" a b ")),
            ("PS-Auth key=K; pwd=[a;key=Z;]b];", Some("a;key=Z;]b")),
            ("PS-Auth key=K; pwd=[[x]]", Some("[x]")),
            ("PS-Auth key=K; pwd=[]", Some("")),
            ("PS-Auth key=K; pwd=secret", None),
            ("PS-Auth key=K", None),
            ("PS-Auth key=K; pwd=[open", None),
        ] {
            assert_eq!(password(header).as_deref(), given, "{header}");
        }
    }

    #[test]
    fn other_headers_are_no_key() {
        for header in [
            "",
            "PS-Auth",
            "PS-Auth runas=ada",
            "Bearer key=K",
            "PS-Auth key=;",
            "K",
        ] {
            assert_eq!(parsed(header), None, "{header}");
        }
    }

    #[test]
    fn a_key_acts_for_its_own_user_in_any_form_of_its_name() {
        let ada = User {
            id: UserId(1),
            name: "Ada".into(),
            display_name: String::new(),
            email: String::new(),
            administrator: false,
            disabled: false,
            created_at: Timestamp(0),
            granted: BTreeSet::new(),
            by_groups: ByGroups::default(),
        };
        for (run_as, fits) in [
            (None, true),
            (Some("ada"), true),
            (Some("CORP\\ADA"), true),
            (Some("ada@corp.example"), true),
            (Some("bob"), false),
            (Some("bob\\eve"), false),
            (Some("adam"), false),
        ] {
            let presented = Presented {
                key: SecretString::default(),
                run_as: run_as.map(str::to_owned),
                password: None,
            };
            assert_eq!(presented.acts_as(&ada), fits, "{run_as:?}");
        }
    }
}
