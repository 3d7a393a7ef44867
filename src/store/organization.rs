//! Organizations.
//!
//! Invariant: two organizations never share a name, whatever its case, and none is a part of itself.

use super::{Page, Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::OrganizationId;
use crate::model::organization::{
    Organization, OrganizationFields, OrganizationKind, OrganizationStatus,
};

/// Most levels of organizations; what is deeper is a mistake of a program.
const LEVELS_MAX: usize = 32;

macro_rules! columns {
    () => {
        "SELECT id, name, short_name, description, alert, quick_notes, kind, status,
            CAST(is_primary AS BIGINT) AS is_primary, parent_id, created_at, updated_at
         FROM organizations"
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    name: String,
    short_name: Option<String>,
    description: Option<String>,
    alert: Option<String>,
    quick_notes: Option<String>,
    kind: i64,
    status: i64,
    is_primary: i64,
    parent_id: Option<i64>,
    created_at: i64,
    updated_at: i64,
}

impl TryFrom<Row> for Organization {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let corrupt = |problem| StoreError::Corrupt {
            table: "organizations",
            row: row.id,
            problem,
        };
        Ok(Self {
            id: OrganizationId(row.id),
            fields: OrganizationFields {
                kind: OrganizationKind::of(row.kind).ok_or(corrupt("its type is none"))?,
                status: OrganizationStatus::of(row.status).ok_or(corrupt("its status is none"))?,
                name: row.name,
                short_name: row.short_name,
                description: row.description,
                alert: row.alert,
                quick_notes: row.quick_notes,
                primary: row.is_primary == 1,
                parent_id: row.parent_id.map(OrganizationId),
            },
            created_at: Timestamp(row.created_at),
            updated_at: Timestamp(row.updated_at),
        })
    }
}

impl Store {
    /// One organization.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn organization(
        &self,
        id: OrganizationId,
    ) -> Result<Option<Organization>, StoreError> {
        let row: Option<Row> = sqlx::query_as(concat!(columns!(), " WHERE id = $1"))
            .bind(id.0)
            .fetch_optional(&self.read)
            .await?;
        row.map(Organization::try_from).transpose()
    }

    /// The organization of that name, in any case.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn organization_named(&self, name: &str) -> Result<Option<Organization>, StoreError> {
        let row: Option<Row> = sqlx::query_as(concat!(columns!(), " WHERE name_key = $1"))
            .bind(name.to_lowercase())
            .fetch_optional(&self.read)
            .await?;
        row.map(Organization::try_from).transpose()
    }

    /// Organizations by id.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn organizations(&self, page: Page) -> Result<Vec<Organization>, StoreError> {
        let text = concat!(columns!(), " ORDER BY id LIMIT $1 OFFSET $2");
        let rows: Vec<Row> = sqlx::query_as(text)
            .bind(page.limit)
            .bind(page.offset)
            .fetch_all(&self.read)
            .await?;
        rows.into_iter().map(Organization::try_from).collect()
    }

    /// Those that an organization is a part of, the highest first.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn ancestors(
        &self,
        organization: OrganizationId,
    ) -> Result<Vec<OrganizationId>, StoreError> {
        let mut above = Vec::new();
        let mut at = organization;
        while above.len() < LEVELS_MAX {
            let row: Option<(Option<i64>,)> =
                sqlx::query_as("SELECT parent_id FROM organizations WHERE id = $1")
                    .bind(at.0)
                    .fetch_optional(&self.read)
                    .await?;
            let Some((Some(parent),)) = row else { break };
            at = OrganizationId(parent);
            above.insert(0, at);
        }
        Ok(above)
    }
}

impl Tx {
    /// Makes an organization.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the name is taken, or there is no such parent.
    pub async fn insert_organization(
        &mut self,
        fields: &OrganizationFields,
        now: Timestamp,
    ) -> Result<OrganizationId, StoreError> {
        let id: OrganizationId = self.id(OrganizationId::KIND).await?;
        let done = sqlx::query(
            "INSERT INTO organizations (id, name, name_key, short_name, description, alert,
                 quick_notes, kind, status, is_primary, parent_id, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)",
        )
        .bind(id.0)
        .bind(&fields.name)
        .bind(fields.name.to_lowercase())
        .bind(&fields.short_name)
        .bind(&fields.description)
        .bind(&fields.alert)
        .bind(&fields.quick_notes)
        .bind(fields.kind.number())
        .bind(fields.status.number())
        .bind(i64::from(fields.primary))
        .bind(fields.parent_id.map(|id| id.0))
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the organization's name or parent"))?;
        exactly(1, done.rows_affected(), "the organization")?;
        Ok(id)
    }

    /// Edits an organization.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it is gone; [`StoreError::Conflict`] if the name is taken, or it
    /// would become a part of itself.
    pub async fn update_organization(
        &mut self,
        id: OrganizationId,
        fields: &OrganizationFields,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut above = fields.parent_id;
        for _ in 0..LEVELS_MAX {
            let Some(one) = above else { break };
            if one == id {
                return Err(StoreError::Conflict {
                    what: "the organization's parent",
                });
            }
            let row: Option<(Option<i64>,)> =
                sqlx::query_as("SELECT parent_id FROM organizations WHERE id = $1")
                    .bind(one.0)
                    .fetch_optional(&mut *self.inner)
                    .await?;
            above = row.and_then(|(parent,)| parent).map(OrganizationId);
        }
        let done = sqlx::query(
            "UPDATE organizations SET name = $2, name_key = $3, short_name = $4, description = $5,
                 alert = $6, quick_notes = $7, kind = $8, status = $9, is_primary = $10,
                 parent_id = $11, updated_at = $12
             WHERE id = $1",
        )
        .bind(id.0)
        .bind(&fields.name)
        .bind(fields.name.to_lowercase())
        .bind(&fields.short_name)
        .bind(&fields.description)
        .bind(&fields.alert)
        .bind(&fields.quick_notes)
        .bind(fields.kind.number())
        .bind(fields.status.number())
        .bind(i64::from(fields.primary))
        .bind(fields.parent_id.map(|id| id.0))
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the organization's name or parent"))?;
        exactly(1, done.rows_affected(), "the organization")
    }
}
