//! Discoveries: ordered, claimed by one node, ended once; and what the last one of each system
//! found.
//!
//! Invariant: a node ends only a discovery that it still holds, and no older listing replaces a
//! newer one.

mod row;

use self::row::{FoundRow, Row};
use super::dialect::skip_locked;
use super::{Page, Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::discovery::{DiscoveredAccount, DiscoveryView, NewDiscovered};
use crate::model::id::{DiscoveryId, NodeId, SystemId};

/// Claims of one discovery after which it is given up: it may be what its nodes die of.
const ATTEMPTS_MAX: i64 = 3;

/// An order to list.
#[derive(Clone, Debug)]
pub struct NewDiscovery {
    /// Which system.
    pub system: SystemId,
    /// What is listed, as JSON.
    pub query: String,
    /// Who ordered it.
    pub actor: String,
}

/// A discovery that a node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedDiscovery {
    /// The discovery.
    pub id: DiscoveryId,
    /// Which system.
    pub system: SystemId,
    /// What is listed, as JSON.
    pub query: String,
    /// Who ordered it.
    pub actor: String,
    /// Who holds it.
    pub node: NodeId,
}

/// What came of a discovery.
#[derive(Clone, Debug)]
pub enum Discovered {
    /// The system's list is to be this one.
    Succeeded {
        /// The accounts.
        rows: Vec<NewDiscovered>,
        /// Rows of the target that were no account.
        unreadable: i64,
        /// The target has more.
        truncated: bool,
    },
    /// The system's list stays as it is.
    Failed {
        /// Error class.
        class: &'static str,
        /// A decoded sentence.
        why: String,
    },
    /// The node cannot go on; another one may.
    GivenBack,
}

/// Which rows are wanted; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiscoveredFilter {
    /// True: those that are managed accounts. False: the others.
    pub managed: Option<bool>,
    /// Those that can be imported, or the others.
    pub importable: Option<bool>,
    /// Of this lock state.
    pub lock: Option<&'static str>,
    /// With this shell.
    pub shell: Option<String>,
}

macro_rules! view {
    ($rest:literal) => {
        concat!(
            "SELECT id, system_id, query, actor, state, class, why, found, unreadable, truncated,
                queued_at, started_at, ended_at FROM discoveries ",
            $rest
        )
    };
}

impl Tx {
    /// Queues a discovery; under [`Tx::lock_queue`].
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the system has an open one.
    pub async fn insert_discovery(
        &mut self,
        new: &NewDiscovery,
        now: Timestamp,
    ) -> Result<DiscoveryId, StoreError> {
        let id: DiscoveryId = self.id(DiscoveryId::KIND).await?;
        sqlx::query(
            "INSERT INTO discoveries (id, system_id, query, actor, state, node_id, attempt, class,
                 why, found, unreadable, truncated, queued_at, started_at, ended_at)
             VALUES ($1, $2, $3, $4, 'queued', NULL, 0, '', '', 0, 0, 0, $5, NULL, NULL)",
        )
        .bind(id.0)
        .bind(new.system.0)
        .bind(&new.query)
        .bind(&new.actor)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the system's open discovery"))?;
        self.ring();
        Ok(id)
    }

    /// The system's discovery that has not ended, and what it lists; read after
    /// [`Tx::lock_queue`].
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn open_discovery(
        &mut self,
        system: SystemId,
    ) -> Result<Option<(DiscoveryId, String)>, StoreError> {
        let row: Option<(i64, String)> = sqlx::query_as(
            "SELECT id, query FROM discoveries
             WHERE system_id = $1 AND state IN ('queued', 'running')",
        )
        .bind(system.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        Ok(row.map(|(id, query)| (DiscoveryId(id), query)))
    }

    /// Claims the oldest queued discovery whose system does not rest.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn claim_discovery(
        &mut self,
        node: NodeId,
        now: Timestamp,
    ) -> Result<Option<ClaimedDiscovery>, StoreError> {
        let found: Option<(i64, i64, String, String)> = sqlx::query_as(skip_locked!(
            self.backend,
            "SELECT id, system_id, query, actor FROM discoveries
             WHERE state = 'queued' AND EXISTS (SELECT 1 FROM systems s
                 WHERE s.id = discoveries.system_id AND s.paused_until <= $1)
             ORDER BY id LIMIT 1"
        ))
        .bind(now.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        let Some((id, system, query, actor)) = found else {
            return Ok(None);
        };
        let done = sqlx::query(
            "UPDATE discoveries SET state = 'running', node_id = $2, attempt = attempt + 1,
                 started_at = $3
             WHERE id = $1 AND state = 'queued'",
        )
        .bind(id)
        .bind(node.0)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        if done.rows_affected() == 0 {
            // Another node was faster.
            return Ok(None);
        }
        Ok(Some(ClaimedDiscovery {
            id: DiscoveryId(id),
            system: SystemId(system),
            query,
            actor,
            node,
        }))
    }

    /// Ends a discovery, or gives it back. The system's list is replaced by what was found.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] if another node has taken it over.
    pub async fn end_discovery(
        &mut self,
        claimed: &ClaimedDiscovery,
        ended: &Discovered,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.lock_queue(claimed.system).await?;
        let (state, class, why, counts, ended_at) = match ended {
            Discovered::Succeeded {
                rows,
                unreadable,
                truncated,
            } => {
                let found = i64::try_from(rows.len()).unwrap_or(i64::MAX);
                let counts = (found, *unreadable, i64::from(*truncated));
                ("succeeded", "", "", counts, Some(now.0))
            }
            Discovered::Failed { class, why } => {
                ("failed", *class, why.as_str(), (0, 0, 0), Some(now.0))
            }
            Discovered::GivenBack => ("queued", "", "", (0, 0, 0), None),
        };
        let done = sqlx::query(
            "UPDATE discoveries SET state = $3, node_id = NULL, class = $4, why = $5, found = $6,
                 unreadable = $7, truncated = $8, ended_at = $9
             WHERE id = $1 AND node_id = $2 AND state = 'running'",
        )
        .bind(claimed.id.0)
        .bind(claimed.node.0)
        .bind(state)
        .bind(class)
        .bind(why)
        .bind(counts.0)
        .bind(counts.1)
        .bind(counts.2)
        .bind(ended_at)
        .execute(&mut *self.inner)
        .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::LeaseLost);
        }
        if let Discovered::Succeeded { rows, .. } = ended {
            self.replace_discovered(claimed, rows).await?;
        }
        Ok(())
    }

    async fn replace_discovered(
        &mut self,
        claimed: &ClaimedDiscovery,
        rows: &[NewDiscovered],
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM discovered_accounts WHERE system_id = $1")
            .bind(claimed.system.0)
            .execute(&mut *self.inner)
            .await?;
        for (number, row) in (1_i64..).zip(rows) {
            let found = &row.found;
            let done = sqlx::query(
                "INSERT INTO discovered_accounts (system_id, row_number, discovery_id, target_id,
                     name_id, name, importable, distinguished_name, stable_id, shell, lock_state,
                     last_change_at, expired)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
            )
            .bind(claimed.system.0)
            .bind(number)
            .bind(claimed.id.0)
            .bind(&row.target_id)
            .bind(&row.name_id)
            .bind(&found.name)
            .bind(i64::from(found.importable))
            .bind(found.dn.as_deref())
            .bind(found.id.as_deref())
            .bind(found.shell.as_deref())
            .bind(found.lock.name())
            .bind(found.changed_at)
            .bind(found.expired.map(i64::from))
            .execute(&mut *self.inner)
            .await?;
            exactly(1, done.rows_affected(), "the discovered account")?;
        }
        Ok(())
    }

    /// Queues again what dead nodes have begun, and gives up what was begun too often: (queued,
    /// given up).
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn reap_discoveries(
        &mut self,
        alive: NodeId,
        now: Timestamp,
    ) -> Result<(u64, u64), StoreError> {
        let given_up = sqlx::query(
            "UPDATE discoveries SET state = 'failed', node_id = NULL, class = 'unknown',
                 why = 'the nodes that listed it have ended each time', ended_at = $3
             WHERE state = 'running' AND node_id <> $1 AND attempt >= $2 AND NOT EXISTS (
                 SELECT 1 FROM nodes n WHERE n.id = discoveries.node_id AND n.state = 'alive')",
        )
        .bind(alive.0)
        .bind(ATTEMPTS_MAX)
        .bind(now.0)
        .execute(&mut *self.inner)
        .await?;
        let queued = sqlx::query(
            "UPDATE discoveries SET state = 'queued', node_id = NULL
             WHERE state = 'running' AND node_id <> $1 AND NOT EXISTS (
                 SELECT 1 FROM nodes n WHERE n.id = discoveries.node_id AND n.state = 'alive')",
        )
        .bind(alive.0)
        .execute(&mut *self.inner)
        .await?;
        if queued.rows_affected() > 0 {
            self.ring();
        }
        Ok((queued.rows_affected(), given_up.rows_affected()))
    }
}

impl Store {
    /// True if a discovery is queued whose system does not rest.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn discovery_waits(&self, now: Timestamp) -> Result<bool, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as(
            "SELECT d.id FROM discoveries d JOIN systems s ON s.id = d.system_id
             WHERE d.state = 'queued' AND s.paused_until <= $1 ORDER BY d.id LIMIT 1",
        )
        .bind(now.0)
        .fetch_optional(&self.read)
        .await?;
        Ok(row.is_some())
    }

    /// True if a node that is not alive has begun a discovery.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn has_orphaned_discovery(&self, alive: NodeId) -> Result<bool, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as(
            "SELECT d.id FROM discoveries d
             WHERE d.state = 'running' AND d.node_id <> $1 AND NOT EXISTS (
                 SELECT 1 FROM nodes n WHERE n.id = d.node_id AND n.state = 'alive')
             ORDER BY d.id LIMIT 1",
        )
        .bind(alive.0)
        .fetch_optional(&self.read)
        .await?;
        Ok(row.is_some())
    }

    /// One discovery.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn discovery(&self, id: DiscoveryId) -> Result<Option<DiscoveryView>, StoreError> {
        let row: Option<Row> = sqlx::query_as(view!("WHERE id = $1"))
            .bind(id.0)
            .fetch_optional(&self.read)
            .await?;
        row.map(Row::view).transpose()
    }

    /// Discoveries of a system, newest first; ids below `before` alone.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn discoveries(
        &self,
        system: SystemId,
        before: Option<DiscoveryId>,
        limit: i64,
    ) -> Result<Vec<DiscoveryView>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(view!(
            "WHERE system_id = $1 AND (CAST($2 AS BIGINT) IS NULL OR id < $2)
             ORDER BY id DESC LIMIT $3"
        ))
        .bind(system.0)
        .bind(before.map(|id| id.0))
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        rows.into_iter().map(Row::view).collect()
    }

    /// What the newest successful discovery of a system has found, in the listing's order.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn discovered_accounts(
        &self,
        system: SystemId,
        filter: &DiscoveredFilter,
        page: Page,
    ) -> Result<Vec<DiscoveredAccount>, StoreError> {
        let rows: Vec<FoundRow> = sqlx::query_as(
            "SELECT row_number, discovery_id, name, importable, distinguished_name, stable_id,
                 shell, lock_state, last_change_at, expired, account_id
             FROM (SELECT d.row_number, d.discovery_id, d.name, d.importable,
                     d.distinguished_name, d.stable_id, d.shell, d.lock_state, d.last_change_at,
                     d.expired,
                     (SELECT MIN(a.id) FROM accounts a WHERE a.system_id = d.system_id
                         AND a.target_id IN (d.target_id, d.name_id)) AS account_id
                 FROM discovered_accounts d
                 WHERE d.system_id = $1
                   AND (CAST($4 AS BIGINT) IS NULL OR d.importable = $4)
                   AND (CAST($5 AS TEXT) IS NULL OR d.lock_state = $5)
                   AND (CAST($6 AS TEXT) IS NULL OR d.shell = $6)) found
             WHERE (CAST($7 AS BIGINT) IS NULL
                 OR CASE WHEN account_id IS NULL THEN 0 ELSE 1 END = $7)
             ORDER BY row_number LIMIT $2 OFFSET $3",
        )
        .bind(system.0)
        .bind(page.limit)
        .bind(page.offset)
        .bind(filter.importable.map(i64::from))
        .bind(filter.lock)
        .bind(filter.shell.clone())
        .bind(filter.managed.map(i64::from))
        .fetch_all(&self.read)
        .await?;
        rows.into_iter().map(FoundRow::account).collect()
    }
}
