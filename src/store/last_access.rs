//! When a user last had which value before them: shown, made, changed or imported.
//!
//! Invariant: the newest access counts, by whichever way it came.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::wide::Wide;
use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::{AccountId, PasswordRecordId, UserId};
use crate::model::password_record::Accessed;

/// A user's last access of one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastAccess {
    /// Of what.
    pub accessed: Accessed,
    /// How: an access method, `created`, `updated` or `imported`.
    pub action: String,
    /// When.
    pub at: Timestamp,
}

static NOTE: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        3,
        "subject_id, kind",
        "INSERT INTO last_accesses (user_id, kind, subject_id, action, at)
         SELECT CAST($1 AS BIGINT), kind, subject_id, CAST($2 AS TEXT), CAST($3 AS BIGINT)
         FROM r WHERE subject_id > 0
         ON CONFLICT (user_id, kind, subject_id) DO UPDATE SET
             action = CASE WHEN excluded.at >= last_accesses.at THEN excluded.action
                 ELSE last_accesses.action END,
             at = CASE WHEN excluded.at >= last_accesses.at THEN excluded.at
                 ELSE last_accesses.at END",
    )
});

impl Tx {
    /// Notes an access.
    ///
    /// # Errors
    /// [`StoreError`] of the database; then the value must not be shown either.
    pub async fn note_access(
        &mut self,
        user: UserId,
        accessed: Accessed,
        how: (&'static str, Timestamp),
    ) -> Result<(), StoreError> {
        self.note_accesses(user, &[accessed].into(), how).await
    }

    /// Notes that a user had several values before them at once. A set, since one statement cannot
    /// write a row twice.
    ///
    /// # Errors
    /// [`StoreError`] of the database; then no value must be shown either.
    pub async fn note_accesses(
        &mut self,
        user: UserId,
        accessed: &BTreeSet<Accessed>,
        (action, now): (&'static str, Timestamp),
    ) -> Result<(), StoreError> {
        let rows: Vec<_> = accessed.iter().map(|one| one.row()).collect();
        for cut in NOTE.cuts(&rows) {
            let mut query = sqlx::query(cut.text).bind(user.0).bind(action).bind(now.0);
            for (id, (kind, _)) in cut.rows(|(_, id)| *id) {
                query = query.bind(id).bind(*kind);
            }
            let done = query.execute(&mut *self.inner).await;
            let done = done.map_err(|error| StoreError::from(error).about("the user"))?;
            exactly(cut.len(), done.rows_affected(), "the accesses")?;
        }
        Ok(())
    }
}

impl Store {
    /// A user's accesses after `after` in the order of kind and id, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn last_accesses(
        &self,
        user: UserId,
        after: Option<Accessed>,
        limit: i64,
    ) -> Result<Vec<LastAccess>, StoreError> {
        let (kind, subject) = after.map_or(("", 0), Accessed::row);
        let rows: Vec<(String, i64, String, i64)> = sqlx::query_as(
            "SELECT kind, subject_id, action, at FROM last_accesses
             WHERE user_id = $1 AND (kind > $2 OR (kind = $2 AND subject_id > $3))
             ORDER BY kind, subject_id LIMIT $4",
        )
        .bind(user.0)
        .bind(kind)
        .bind(subject)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        let read = |(kind, subject, action, at): (String, i64, String, i64)| LastAccess {
            accessed: match kind.as_str() {
                "account" => Accessed::Account(AccountId(subject)),
                _ => Accessed::Record(PasswordRecordId(subject)),
            },
            action,
            at: Timestamp(at),
        };
        Ok(rows.into_iter().map(read).collect())
    }
}
