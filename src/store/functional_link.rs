//! Functional accounts that are linked to a managed account, and log in with its credential.
//!
//! Invariant: a linked functional account has no credential of its own; before the link goes it has
//! one again, in the same transaction.

use super::dialect::for_update;
use super::{FunctionalRow, SealedKey, Store, StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::id::{AccountId, FunctionalAccountId, SystemId};

/// What a functional account gets back when it is parted from its managed account, sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FunctionalSecret {
    /// A password.
    Password(Vec<u8>),
    /// A key pair.
    Key(SealedKey),
}

/// A functional account and the managed account whose credential it logs in with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionalLink {
    /// The functional account.
    pub functional: FunctionalAccountId,
    /// The managed account.
    pub account: AccountId,
    /// Where the managed account lives.
    pub system: SystemId,
}

impl FunctionalLink {
    fn of((functional, account, system): (i64, i64, i64)) -> Self {
        Self {
            functional: FunctionalAccountId(functional),
            account: AccountId(account),
            system: SystemId(system),
        }
    }
}

impl Store {
    /// The link of a functional account; `None` if it has a credential of its own.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn functional_link(
        &self,
        id: FunctionalAccountId,
    ) -> Result<Option<FunctionalLink>, StoreError> {
        let row = sqlx::query_as(
            "SELECT functional_account_id, account_id, system_id FROM functional_links
             WHERE functional_account_id = $1",
        )
        .bind(id.0)
        .fetch_optional(&self.read)
        .await?;
        Ok(row.map(FunctionalLink::of))
    }

    /// The link that a managed account is part of.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn link_of_account(
        &self,
        account: AccountId,
    ) -> Result<Option<FunctionalLink>, StoreError> {
        let row = sqlx::query_as(
            "SELECT functional_account_id, account_id, system_id FROM functional_links
             WHERE account_id = $1",
        )
        .bind(account.0)
        .fetch_optional(&self.read)
        .await?;
        Ok(row.map(FunctionalLink::of))
    }

    /// For a linked account: another linked account of the same system whose credential is in
    /// doubt. Two are of one system if they live on it, or if one of them lives on a system that
    /// uses the other.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn doubtful_peer(&self, account: AccountId) -> Result<Option<AccountId>, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as(
            "SELECT p.account_id FROM functional_links l
                 JOIN system_details h ON h.system_id = l.system_id
                 JOIN functional_links p ON p.account_id <> l.account_id
                 JOIN system_details g ON g.system_id = p.system_id
                 JOIN accounts b ON b.id = p.account_id
             WHERE l.account_id = $1 AND (b.in_doubt = 1 OR b.key_in_doubt = 1)
               AND (p.system_id = l.system_id
                 OR p.functional_account_id = h.functional_account_id
                 OR g.functional_account_id = l.functional_account_id)
             ORDER BY p.account_id LIMIT 1",
        )
        .bind(account.0)
        .fetch_optional(&self.read)
        .await?;
        Ok(row.map(|(id,)| AccountId(id)))
    }

    /// The systems that log in by a functional account, by id.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn systems_using(
        &self,
        id: FunctionalAccountId,
    ) -> Result<Vec<SystemId>, StoreError> {
        let rows: Vec<(i64,)> = sqlx::query_as(
            "SELECT system_id FROM system_details WHERE functional_account_id = $1
             ORDER BY system_id",
        )
        .bind(id.0)
        .fetch_all(&self.read)
        .await?;
        Ok(rows.into_iter().map(|(id,)| SystemId(id)).collect())
    }
}

impl Tx {
    /// Locks a functional account and reads it: until this transaction ends no system begins to
    /// use it. `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if another transaction holds it for too long.
    pub async fn locked_functional(
        &mut self,
        id: FunctionalAccountId,
    ) -> Result<Option<FunctionalRow>, StoreError> {
        sqlx::query(for_update!(
            self.backend,
            "SELECT id FROM functional_accounts WHERE id = $1"
        ))
        .bind(id.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        Ok(sqlx::query_as(
            "SELECT id, account_name, elevation, password FROM functional_accounts WHERE id = $1",
        )
        .bind(id.0)
        .fetch_optional(&mut *self.inner)
        .await?)
    }

    /// Links a functional account to a managed account, and forgets its own password. Under
    /// [`Tx::locked_account`] and [`Tx::locked_functional`].
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if either is linked already, if the managed account is synced with
    /// others, or if a system uses the functional account that the managed account does not live
    /// on and that is served by no directory.
    pub async fn link_functional(
        &mut self,
        link: FunctionalLink,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.not_synced(link.account).await?;
        sqlx::query(
            "INSERT INTO functional_links (functional_account_id, account_id, system_id,
                 wanted_until, linked_at)
             VALUES ($1, $2, $3, 0, $4)",
        )
        .bind(link.functional.0)
        .bind(link.account.0)
        .bind(link.system.0)
        .bind(at.0)
        .execute(&mut *self.inner)
        .await
        .map_err(|error| StoreError::from(error).about("the link of one of the two accounts"))?;
        self.clear_functional_password(link.functional).await?;
        self.set_functional_key(link.functional, None).await?;
        self.guard_all(link.functional, link.system).await
    }

    /// Ends a link; the functional account logs in with what is given, sealed, from now on. Under
    /// [`Tx::locked_account`] and [`Tx::locked_functional`].
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it is not linked so.
    pub async fn unlink_functional(
        &mut self,
        link: FunctionalLink,
        secret: FunctionalSecret,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "DELETE FROM functional_links WHERE functional_account_id = $1 AND account_id = $2",
        )
        .bind(link.functional.0)
        .bind(link.account.0)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the functional account's link")?;
        match secret {
            FunctionalSecret::Password(sealed) => {
                self.set_functional_password(link.functional, sealed)
                    .await?;
            }
            FunctionalSecret::Key(key) => {
                self.set_functional_key(link.functional, Some(key)).await?;
            }
        }
        self.guard_all(link.functional, link.system).await
    }

    /// The functional account goes, and its link with it: the managed account keeps its credential.
    pub(super) async fn drop_link(&mut self, id: FunctionalAccountId) -> Result<(), StoreError> {
        let home: Option<(i64,)> = sqlx::query_as(
            "DELETE FROM functional_links WHERE functional_account_id = $1 RETURNING system_id",
        )
        .bind(id.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        match home {
            Some((home,)) => self.guard(SystemId(home)).await,
            None => Ok(()),
        }
    }

    /// Fails if the account is linked: it stays where it is, and who it is.
    pub(super) async fn not_linked(&mut self, account: AccountId) -> Result<(), StoreError> {
        let row: Option<(i64,)> =
            sqlx::query_as("SELECT account_id FROM functional_links WHERE account_id = $1")
                .bind(account.0)
                .fetch_optional(&mut *self.inner)
                .await?;
        match row {
            Some(_) => Err(LINKED),
            None => Ok(()),
        }
    }

    /// Fails if one of a system's accounts is linked.
    pub(super) async fn none_linked(&mut self, system: SystemId) -> Result<(), StoreError> {
        let row: Option<(i64,)> =
            sqlx::query_as("SELECT account_id FROM functional_links WHERE system_id = $1 LIMIT 1")
                .bind(system.0)
                .fetch_optional(&mut *self.inner)
                .await?;
        match row {
            Some(_) => Err(LINKED),
            None => Ok(()),
        }
    }

    /// Marks where a linked account lives, and the systems that log in by it.
    async fn guard_all(
        &mut self,
        functional: FunctionalAccountId,
        home: SystemId,
    ) -> Result<(), StoreError> {
        let mut systems: Vec<(i64,)> = sqlx::query_as(
            "SELECT system_id FROM system_details WHERE functional_account_id = $1
             ORDER BY system_id",
        )
        .bind(functional.0)
        .fetch_all(&mut *self.inner)
        .await?;
        systems.push((home.0,));
        for (system,) in systems {
            self.guard(SystemId(system)).await?;
        }
        Ok(())
    }

    /// Marks a system for the claims: does it use a linked functional account, or is it the home
    /// of one? Whoever changes either calls this in the same transaction.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it uses one that lives on another host.
    pub(super) async fn guard(&mut self, system: SystemId) -> Result<(), StoreError> {
        let stranger: Option<(i64,)> = sqlx::query_as(
            "SELECT l.account_id FROM system_details d
                 JOIN functional_links l ON l.functional_account_id = d.functional_account_id
                 JOIN system_details h ON h.system_id = l.system_id
             WHERE d.system_id = $1 AND l.system_id <> $1 AND h.entity_type <> 3",
        )
        .bind(system.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        if stranger.is_some() {
            return Err(StoreError::Conflict {
                what: "a functional account that is linked to an account of another host",
            });
        }
        let done = sqlx::query(
            "UPDATE systems SET guarded = CASE
                 WHEN EXISTS (SELECT 1 FROM functional_links l WHERE l.system_id = $1)
                   OR EXISTS (SELECT 1 FROM system_details d JOIN functional_links l
                       ON l.functional_account_id = d.functional_account_id
                       WHERE d.system_id = $1) THEN 1 ELSE 0 END
             WHERE id = $1",
        )
        .bind(system.0)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the managed system")
    }
}

const LINKED: StoreError = StoreError::Conflict {
    what: "an account that a functional account is linked to",
};
