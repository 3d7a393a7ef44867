//! Who sees restricted password records, and enters restricted folders.
//!
//! Invariant: who is not named, by themselves or by an active group, sees nothing of them.

use std::collections::BTreeSet;

use super::{Store, StoreError, Tx, exactly};
use crate::model::id::{GroupId, PasswordFolderId, PasswordRecordId, UserId};
use crate::model::password_record::Readers;

/// That a row `x` of the readers names a user, or an active group of theirs.
macro_rules! names {
    ($user:literal) => {
        concat!(
            "(x.user_id = ",
            $user,
            " OR x.group_id IN (SELECT g.group_id FROM group_members g
                JOIN user_groups u ON u.id = g.group_id
                WHERE u.active = 1 AND g.user_id = ",
            $user,
            "))"
        )
    };
}
pub(super) use names;

/// Who asks, as far as restricted records go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seeing {
    /// Records that are restricted are seen if this user is named; `None` sees all.
    pub user: Option<UserId>,
}

impl Store {
    /// True if the user is named, or a group of theirs, where the record is restricted; or it is
    /// not.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn sees_password_record(
        &self,
        id: PasswordRecordId,
        user: UserId,
    ) -> Result<bool, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as(concat!(
            "SELECT r.id FROM password_records r WHERE r.id = $1
               AND (r.restricted = 0 OR EXISTS (SELECT 1 FROM password_readers x
                   WHERE x.record_id = r.id AND ",
            names!("$2"),
            "))
               AND (r.gate_id IS NULL OR EXISTS (SELECT 1 FROM password_readers x
                   WHERE x.folder_id = r.gate_id AND ",
            names!("$2"),
            "))"
        ))
        .bind(id.0)
        .bind(user.0)
        .fetch_optional(&self.read)
        .await?;
        Ok(row.is_some())
    }

    /// True if the user may enter a folder.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn enters_password_folder(
        &self,
        id: PasswordFolderId,
        user: UserId,
    ) -> Result<bool, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as(concat!(
            "SELECT f.id FROM password_folders f WHERE f.id = $1
               AND (f.gate_id IS NULL OR EXISTS (SELECT 1 FROM password_readers x
                   WHERE x.folder_id = f.gate_id AND ",
            names!("$2"),
            "))"
        ))
        .bind(id.0)
        .bind(user.0)
        .fetch_optional(&self.read)
        .await?;
        Ok(row.is_some())
    }

    /// Who is named on a record.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn readers_of_record(&self, id: PasswordRecordId) -> Result<Readers, StoreError> {
        let rows: Vec<(Option<i64>, Option<i64>)> =
            sqlx::query_as("SELECT user_id, group_id FROM password_readers WHERE record_id = $1")
                .bind(id.0)
                .fetch_all(&self.read)
                .await?;
        Ok(readers(&rows))
    }

    /// Who is named on a folder.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn readers_of_folder(&self, id: PasswordFolderId) -> Result<Readers, StoreError> {
        let rows: Vec<(Option<i64>, Option<i64>)> =
            sqlx::query_as("SELECT user_id, group_id FROM password_readers WHERE folder_id = $1")
                .bind(id.0)
                .fetch_all(&self.read)
                .await?;
        Ok(readers(&rows))
    }
}

fn readers(rows: &[(Option<i64>, Option<i64>)]) -> Readers {
    Readers {
        users: rows.iter().filter_map(|row| row.0).map(UserId).collect(),
        groups: rows.iter().filter_map(|row| row.1).map(GroupId).collect(),
    }
}

impl Tx {
    /// Replaces who is named on a record.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the record, a user or a group is not there.
    pub async fn set_readers_of_record(
        &mut self,
        id: PasswordRecordId,
        readers: &Readers,
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM password_readers WHERE record_id = $1")
            .bind(id.0)
            .execute(&mut *self.inner)
            .await?;
        self.add_readers((Some(id.0), None), readers).await
    }

    /// Replaces who is named on a folder.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the folder, a user or a group is not there.
    pub async fn set_readers_of_folder(
        &mut self,
        id: PasswordFolderId,
        readers: &Readers,
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM password_readers WHERE folder_id = $1")
            .bind(id.0)
            .execute(&mut *self.inner)
            .await?;
        self.add_readers((None, Some(id.0)), readers).await
    }

    async fn add_readers(
        &mut self,
        (record, folder): (Option<i64>, Option<i64>),
        readers: &Readers,
    ) -> Result<(), StoreError> {
        let users = readers.users.iter().map(|id| (Some(id.0), None));
        let groups = readers.groups.iter().map(|id| (None, Some(id.0)));
        let named: BTreeSet<(Option<i64>, Option<i64>)> = users.chain(groups).collect();
        for (user, group) in named {
            let done = sqlx::query(
                "INSERT INTO password_readers (record_id, folder_id, user_id, group_id)
                 VALUES ($1, $2, $3, $4)",
            )
            .bind(record)
            .bind(folder)
            .bind(user)
            .bind(group)
            .execute(&mut *self.inner)
            .await
            .map_err(|error| StoreError::from(error).about("who is named"))?;
            exactly(1, done.rows_affected(), "who is named")?;
        }
        Ok(())
    }
}
