//! Whoever calls with a session's cookie: the session, its user and its key, as they are now.
//!
//! Invariant: nothing is remembered from one call to the next; what was revoked is revoked at once.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::group::Granted;
use super::key::Row as KeyRow;
use super::wide::Wide;
use super::{Store, StoreError};
use crate::model::Timestamp;
use crate::model::id::{SessionId, UserId};
use crate::model::key::{ApiKey, KeyHash};
use crate::model::principal::{Session, User};

/// A session with all that it rests on.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The session, live or idle.
    pub session: Session,
    /// Who signed in, enabled or not.
    pub user: User,
    /// With which key, live or not.
    pub key: ApiKey,
}

static FIND: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        0,
        "cookie",
        "SELECT s.hash, s.id AS session_id, s.created_at AS opened_at, s.seen_at,
             u.name AS user_name, u.display_name, u.email,
             CAST(u.administrator AS BIGINT) AS administrator,
             CAST(u.disabled AS BIGINT) AS disabled, u.created_at AS user_created_at,
             k.id, k.kind, k.user_id, k.name, k.prefix, k.addresses, k.created_at, k.expires_at,
             k.revoked_at, k.last_used_at, k.successor_id,
             CAST(k.password_required AS BIGINT) AS password_required,
             CAST(k.password_access AS BIGINT) AS password_access, k.organizations, k.revision
         FROM r JOIN sessions s ON s.hash = r.cookie JOIN users u ON u.id = s.user_id
             JOIN api_keys k ON k.id = s.key_id AND k.user_id = s.user_id",
    )
});

#[derive(sqlx::FromRow)]
struct Row {
    hash: String,
    session_id: i64,
    opened_at: i64,
    seen_at: i64,
    user_name: String,
    display_name: String,
    email: String,
    administrator: i64,
    disabled: i64,
    user_created_at: i64,
    #[sqlx(flatten)]
    key: KeyRow,
}

impl Row {
    fn signed_in(self, granted: Option<Granted>) -> Result<SignedIn, StoreError> {
        let key = self.key.key()?;
        let (granted, by_groups) = granted.unwrap_or_default();
        Ok(SignedIn {
            session: Session {
                id: SessionId(self.session_id),
                user_id: key.user_id,
                key_id: key.id,
                created_at: Timestamp(self.opened_at),
                seen_at: Timestamp(self.seen_at),
            },
            user: User {
                id: key.user_id,
                name: self.user_name,
                display_name: self.display_name,
                email: self.email,
                administrator: self.administrator == 1,
                disabled: self.disabled == 1,
                created_at: Timestamp(self.user_created_at),
                granted,
                by_groups,
            },
            key,
        })
    }
}

impl Store {
    /// Whoever has this cookie; `None` if nobody. Calls of the same moment share the question.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn signed_in(&self, cookie: &KeyHash) -> Result<Option<SignedIn>, StoreError> {
        let cookie = cookie.as_str().to_owned();
        self.callers
            .ask(cookie, |cookies| self.signed_in_all(cookies))
            .await
    }

    async fn signed_in_all(
        &self,
        cookies: Vec<String>,
    ) -> Result<Vec<Option<SignedIn>>, StoreError> {
        let mut rows: HashMap<String, Row> = HashMap::new();
        for cut in FIND.cuts(&cookies) {
            let mut query = sqlx::query_as(cut.text);
            for (real, cookie) in cut.rows(|_| 1) {
                // No cookie has an empty hash.
                query = query.bind(if real == 1 { cookie.as_str() } else { "" });
            }
            let found: Vec<Row> = query.fetch_all(&self.read).await?;
            rows.extend(found.into_iter().map(|row| (row.hash.clone(), row)));
        }
        let users = rows.values().map(|row| UserId(row.key.user_id));
        let granted = self.granted_to_all(users.collect()).await?;
        let mut answers: HashMap<String, SignedIn> = HashMap::new();
        for (cookie, row) in rows {
            let granted = granted.get(&UserId(row.key.user_id)).cloned();
            answers.insert(cookie, row.signed_in(granted)?);
        }
        // The same cookie may have been asked for several times.
        Ok(cookies
            .iter()
            .map(|cookie| answers.get(cookie).cloned())
            .collect())
    }
}
