//! Folders of password records.
//!
//! Invariant: a folder lies in its own organization and never in itself, and every record knows the
//! gate of its folder.

use super::dialect::for_update;
use super::{Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::{OrganizationId, PasswordFolderId};
use crate::model::password_folder::{DEPTH_MAX, PasswordFolder, Shape, depth, gate_of, height};

macro_rules! columns {
    () => {
        "SELECT id, organization_id, parent_id, name, CAST(restricted AS BIGINT), gate_id,
            created_at, updated_at FROM password_folders"
    };
}

type Row = (i64, i64, Option<i64>, String, i64, Option<i64>, i64, i64);

fn read(row: Row) -> PasswordFolder {
    let (id, organization_id, parent_id, name, restricted, gate_id, created_at, updated_at) = row;
    PasswordFolder {
        id: PasswordFolderId(id),
        organization_id: OrganizationId(organization_id),
        parent_id: parent_id.map(PasswordFolderId),
        name,
        restricted: restricted == 1,
        gate_id: gate_id.map(PasswordFolderId),
        created_at: Timestamp(created_at),
        updated_at: Timestamp(updated_at),
    }
}

/// What people write of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderFields {
    /// What people read.
    pub name: String,
    /// The folder that it is in.
    pub parent_id: Option<PasswordFolderId>,
    /// Open only to those who are named.
    pub restricted: bool,
}

impl Store {
    /// One folder.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn password_folder(
        &self,
        id: PasswordFolderId,
    ) -> Result<Option<PasswordFolder>, StoreError> {
        let row: Option<Row> = sqlx::query_as(concat!(columns!(), " WHERE id = $1"))
            .bind(id.0)
            .fetch_optional(&self.read)
            .await?;
        Ok(row.map(read))
    }

    /// The folders of one organization, or of all, by id.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn password_folders(
        &self,
        organization: Option<OrganizationId>,
    ) -> Result<Vec<PasswordFolder>, StoreError> {
        let text = concat!(
            columns!(),
            " WHERE CAST($1 AS BIGINT) IS NULL OR organization_id = $1 ORDER BY id"
        );
        let rows: Vec<Row> = sqlx::query_as(text)
            .bind(organization.map(|id| id.0))
            .fetch_all(&self.read)
            .await?;
        Ok(rows.into_iter().map(read).collect())
    }
}

impl Tx {
    /// Makes a folder.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the name is taken in the parent, the parent is not of the
    /// organization, or it would lie too deep.
    pub async fn insert_password_folder(
        &mut self,
        organization: OrganizationId,
        fields: &FolderFields,
        now: Timestamp,
    ) -> Result<PasswordFolderId, StoreError> {
        let id: PasswordFolderId = self.id(PasswordFolderId::KIND).await?;
        let mut shape = self.folder_shape(organization).await?;
        placed(&mut shape, id, fields)?;
        let done = sqlx::query(
            "INSERT INTO password_folders (id, organization_id, parent_id, parent_key, name,
                 name_key, restricted, gate_id, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)",
        )
        .bind(id.0)
        .bind(organization.0)
        .bind(fields.parent_id.map(|id| id.0))
        .bind(fields.parent_id.map_or(0, |id| id.0))
        .bind(&fields.name)
        .bind(fields.name.to_lowercase())
        .bind(i64::from(fields.restricted))
        .bind(gate_of(&shape, id).map(|id| id.0))
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the folder's name or parent"))?;
        exactly(1, done.rows_affected(), "the folder")?;
        Ok(id)
    }

    /// Edits or moves a folder; everything in it goes along.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it is gone; [`StoreError::Conflict`] as for a new one, and if it
    /// would lie in itself.
    pub async fn update_password_folder(
        &mut self,
        folder: &PasswordFolder,
        fields: &FolderFields,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut shape = self.folder_shape(folder.organization_id).await?;
        let before = shape.clone();
        placed(&mut shape, folder.id, fields)?;
        let done = sqlx::query(
            "UPDATE password_folders SET parent_id = $2, parent_key = $3, name = $4, name_key = $5,
                 restricted = $6, updated_at = $7
             WHERE id = $1",
        )
        .bind(folder.id.0)
        .bind(fields.parent_id.map(|id| id.0))
        .bind(fields.parent_id.map_or(0, |id| id.0))
        .bind(&fields.name)
        .bind(fields.name.to_lowercase())
        .bind(i64::from(fields.restricted))
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the folder's name or parent"))?;
        exactly(1, done.rows_affected(), "the folder")?;
        for id in shape.keys() {
            let gate = gate_of(&shape, *id);
            if gate_of(&before, *id) != gate {
                self.set_gate(*id, gate).await?;
            }
        }
        Ok(())
    }

    async fn set_gate(
        &mut self,
        folder: PasswordFolderId,
        gate: Option<PasswordFolderId>,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE password_folders SET gate_id = $2 WHERE id = $1")
            .bind(folder.0)
            .bind(gate.map(|id| id.0))
            .execute(&mut *self.inner)
            .await?;
        sqlx::query("UPDATE password_records SET gate_id = $2 WHERE folder_id = $1")
            .bind(folder.0)
            .bind(gate.map(|id| id.0))
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Deletes an empty folder.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if something is in it; [`StoreError::Stale`] if it is gone.
    pub async fn delete_password_folder(&mut self, id: PasswordFolderId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM password_readers WHERE folder_id = $1")
            .bind(id.0)
            .execute(&mut *self.inner)
            .await?;
        let done = sqlx::query("DELETE FROM password_folders WHERE id = $1")
            .bind(id.0)
            .execute(&mut *self.inner)
            .await
            .map_err(|error| StoreError::from(error).about("the folder's content"))?;
        exactly(1, done.rows_affected(), "the folder")
    }

    /// The folders of an organization, which stays locked: two who move folders at once could make
    /// a ring.
    async fn folder_shape(&mut self, organization: OrganizationId) -> Result<Shape, StoreError> {
        let lock = for_update!(self.backend, "SELECT id FROM organizations WHERE id = $1");
        let found: Option<(i64,)> = sqlx::query_as(lock)
            .bind(organization.0)
            .fetch_optional(&mut *self.inner)
            .await?;
        if found.is_none() {
            return Err(StoreError::Conflict {
                what: "the folder's organization",
            });
        }
        let rows: Vec<(i64, Option<i64>, i64)> = sqlx::query_as(
            "SELECT id, parent_id, CAST(restricted AS BIGINT) FROM password_folders
             WHERE organization_id = $1",
        )
        .bind(organization.0)
        .fetch_all(&mut *self.inner)
        .await?;
        let rows = rows.into_iter().map(|(id, parent, restricted)| {
            let above = parent.map(PasswordFolderId);
            (PasswordFolderId(id), (above, restricted == 1))
        });
        Ok(rows.collect())
    }
}

/// Puts a folder into the shape, if it fits there.
fn placed(
    shape: &mut Shape,
    id: PasswordFolderId,
    fields: &FolderFields,
) -> Result<(), StoreError> {
    const ELSEWHERE: StoreError = StoreError::Conflict {
        what: "the folder's parent",
    };
    if fields
        .parent_id
        .is_some_and(|parent| !shape.contains_key(&parent))
    {
        return Err(ELSEWHERE);
    }
    shape.insert(id, (fields.parent_id, fields.restricted));
    match depth(shape, id) {
        Some(levels) if levels + height(shape, id) <= DEPTH_MAX => Ok(()),
        Some(_) | None => Err(ELSEWHERE),
    }
}
