//! Who is who: the names of systems and accounts in one spelling, so that none is managed twice.
//!
//! Invariant: one name that is certain belongs to one system, or to one account of a system.

use std::collections::HashMap;
use std::sync::LazyLock;

use keywheel_connectors::CanonicalIdentity;
use sqlx::Any;
use sqlx::any::AnyArguments;
use sqlx::query::QueryAs;

use super::wide::Wide;
use super::{Store, StoreError, Tx};
use crate::model::Timestamp;
use crate::model::id::{AccountId, SystemId};
use crate::model::identity::{Alias, Endpoint};

/// Systems that may share a name and be several all the same.
const NAMESAKES_MAX: i64 = 1_000;

static ON_RECORD: LazyLock<Wide> = LazyLock::new(|| {
    Wide::new(
        0,
        "account",
        "SELECT account_id, machine, being FROM target_identities
         WHERE account_id IN (SELECT account FROM r)",
    )
});

/// How an account stands that the target has named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the one on record; its machine may say something new of itself.
    Known,
    /// It is on record from now on.
    New,
    /// It is the one on record, and another record came after it: that one is not it any more.
    Ousts(Holder),
    /// Another record is it.
    Taken(Holder),
    /// It is not the one on record.
    Another,
}

/// The record that has an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Which account.
    pub account: AccountId,
    /// Of which system.
    pub system: SystemId,
}

impl Store {
    /// Who accounts are, as far as their targets have said.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn identities(
        &self,
        accounts: &[AccountId],
    ) -> Result<HashMap<AccountId, CanonicalIdentity>, StoreError> {
        let mut found = HashMap::new();
        for cut in ON_RECORD.cuts(accounts) {
            let mut query = sqlx::query_as(cut.text);
            for (id, _) in cut.rows(|id| id.0) {
                query = query.bind(id);
            }
            let rows: Vec<(i64, String, String)> = query.fetch_all(&self.read).await?;
            for (id, machine, being) in rows {
                found.insert(AccountId(id), CanonicalIdentity { machine, being });
            }
        }
        Ok(found)
    }

    /// The account of a system that is this login on the target: by its identity, or by the one
    /// of an account without a DN. `bare`: whoever has the name counts, too, whatever its DN is.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn account_known_as(
        &self,
        system: SystemId,
        target_id: &str,
        name_id: &str,
        bare: bool,
    ) -> Result<Option<AccountId>, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as(
            "SELECT id FROM accounts
             WHERE system_id = $1 AND deleted_at IS NULL
               AND (target_id = $2 OR target_id = $3 OR ($4 = 1 AND name_key = $3))
             ORDER BY id LIMIT 1",
        )
        .bind(system.0)
        .bind(target_id.to_owned())
        .bind(name_id.to_owned())
        .bind(i64::from(bare))
        .fetch_optional(&self.read)
        .await?;
        Ok(row.map(|(id,)| AccountId(id)))
    }

    /// The account of a system that one of these names belongs to.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn account_called(
        &self,
        system: SystemId,
        aliases: &[Alias],
    ) -> Result<Option<AccountId>, StoreError> {
        for alias in aliases {
            let row = called(system, AccountId(0), alias);
            if let Some((id,)) = row.fetch_optional(&self.read).await? {
                return Ok(Some(AccountId(id)));
            }
        }
        Ok(None)
    }
}

impl Tx {
    /// Systems that share a name with this one.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn namesakes(
        &mut self,
        system: SystemId,
        endpoint: &Endpoint,
    ) -> Result<Vec<SystemId>, StoreError> {
        let mut found: Vec<SystemId> = Vec::new();
        for name in &endpoint.names {
            let rows: Vec<(i64,)> = sqlx::query_as(
                "SELECT system_id FROM system_names WHERE name = $1 AND system_id <> $2
                 ORDER BY system_id LIMIT $3",
            )
            .bind(name.clone())
            .bind(system.0)
            .bind(NAMESAKES_MAX)
            .fetch_all(&mut *self.inner)
            .await?;
            found.extend(rows.into_iter().map(|(id,)| SystemId(id)));
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Notes by which names a system is known.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if another one answers at its address.
    pub async fn name_system(
        &mut self,
        system: SystemId,
        endpoint: &Endpoint,
    ) -> Result<(), StoreError> {
        self.unname_system(system).await?;
        for name in &endpoint.names {
            let base = (*name == endpoint.address).then(|| endpoint.base.clone());
            sqlx::query("INSERT INTO system_names (system_id, name, base) VALUES ($1, $2, $3)")
                .bind(system.0)
                .bind(name.clone())
                .bind(base)
                .execute(&mut *self.inner)
                .await
                .map_err(|error| StoreError::from(error).about("the system's address"))?;
        }
        Ok(())
    }

    pub(super) async fn unname_system(&mut self, system: SystemId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM system_names WHERE system_id = $1")
            .bind(system.0)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// The other account of a system that is this login, by its identity or one of its names.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn account_known_by(
        &mut self,
        account: AccountId,
        system: SystemId,
        target_id: &str,
        aliases: &[Alias],
    ) -> Result<Option<AccountId>, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as(
            "SELECT id FROM accounts WHERE system_id = $1 AND target_id = $2 AND id <> $3",
        )
        .bind(system.0)
        .bind(target_id.to_owned())
        .bind(account.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        if let Some((id,)) = row {
            return Ok(Some(AccountId(id)));
        }
        for alias in aliases {
            let row = called(system, account, alias);
            if let Some((id,)) = row.fetch_optional(&mut *self.inner).await? {
                return Ok(Some(AccountId(id)));
            }
        }
        Ok(None)
    }

    /// Notes by which names an account is known in its directory.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if another account of the system has one of them for certain.
    pub async fn name_account(
        &mut self,
        account: AccountId,
        system: SystemId,
        aliases: &[Alias],
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM account_names WHERE account_id = $1")
            .bind(account.0)
            .execute(&mut *self.inner)
            .await?;
        for alias in aliases {
            sqlx::query(
                "INSERT INTO account_names (account_id, system_id, name, certain)
                 VALUES ($1, $2, $3, $4)",
            )
            .bind(account.0)
            .bind(system.0)
            .bind(alias.name.clone())
            .bind(i64::from(alias.is_certain))
            .execute(&mut *self.inner)
            .await
            .map_err(|error| StoreError::from(error).about("a name of the account"))?;
        }
        Ok(())
    }

    /// Records who an account is, unless another record is that already. The older of two keeps
    /// it, whichever the target is asked about first after its restart. The account has an open
    /// job, so that nobody removes it meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if others claim it at once; ask again.
    pub async fn claim_identity(
        &mut self,
        account: AccountId,
        identity: &CanonicalIdentity,
        at: Timestamp,
    ) -> Result<Standing, StoreError> {
        let known: Option<(String, String, i64)> = sqlx::query_as(
            "SELECT machine, being, first_at FROM target_identities WHERE account_id = $1",
        )
        .bind(account.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        let first_at = match &known {
            Some((_, being, _)) if *being != identity.being => return Ok(Standing::Another),
            Some((machine, _, _)) if *machine == identity.machine => return Ok(Standing::Known),
            Some((_, _, first_at)) => *first_at,
            None => at.0,
        };
        let holder = self.holder(identity).await?;
        let mut standing = known.map_or(Standing::New, |_| Standing::Known);
        if let Some((holder, held_since)) = holder {
            if held_since <= first_at {
                return Ok(Standing::Taken(holder));
            }
            self.forget_identity(holder.account).await?;
            standing = Standing::Ousts(holder);
        }
        self.forget_identity(account).await?;
        let done = sqlx::query(
            "INSERT INTO target_identities (account_id, machine, being, first_at)
             VALUES ($1, $2, $3, $4) ON CONFLICT (being, machine) DO NOTHING",
        )
        .bind(account.0)
        .bind(identity.machine.clone())
        .bind(identity.being.clone())
        .bind(first_at)
        .execute(&mut *self.inner)
        .await?;
        if done.rows_affected() == 1 {
            return Ok(standing);
        }
        // Another claim was faster.
        match self.holder(identity).await? {
            Some((holder, _)) => Ok(Standing::Taken(holder)),
            None => Err(StoreError::Busy),
        }
    }

    async fn holder(
        &mut self,
        identity: &CanonicalIdentity,
    ) -> Result<Option<(Holder, i64)>, StoreError> {
        let row: Option<(i64, i64, i64)> = sqlx::query_as(
            "SELECT t.account_id, a.system_id, t.first_at FROM target_identities t
                 JOIN accounts a ON a.id = t.account_id
             WHERE t.being = $1 AND t.machine = $2",
        )
        .bind(identity.being.clone())
        .bind(identity.machine.clone())
        .fetch_optional(&mut *self.inner)
        .await?;
        Ok(row.map(|(account, system, first_at)| {
            let (account, system) = (AccountId(account), SystemId(system));
            (Holder { account, system }, first_at)
        }))
    }

    /// An account is deleted: its names and its identity are free.
    pub(super) async fn forget_names(&mut self, account: AccountId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM account_names WHERE account_id = $1")
            .bind(account.0)
            .execute(&mut *self.inner)
            .await?;
        self.forget_identity(account).await
    }

    /// The same for every account of a system.
    pub(super) async fn forget_names_of(&mut self, system: SystemId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM account_names WHERE system_id = $1")
            .bind(system.0)
            .execute(&mut *self.inner)
            .await?;
        self.forget_identities(system).await
    }

    /// A system is another machine from now on: it is asked anew who its accounts are.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn forget_identities(&mut self, system: SystemId) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM target_identities
             WHERE account_id IN (SELECT id FROM accounts WHERE system_id = $1)",
        )
        .bind(system.0)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// The target is asked anew who an account is.
    pub(super) async fn forget_identity(&mut self, account: AccountId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM target_identities WHERE account_id = $1")
            .bind(account.0)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}

/// The account of a system, but for `except`, that a name belongs to.
fn called(
    system: SystemId,
    except: AccountId,
    alias: &Alias,
) -> QueryAs<'static, Any, (i64,), AnyArguments> {
    sqlx::query_as(
        "SELECT account_id FROM account_names
         WHERE system_id = $1 AND name = $2 AND account_id <> $3 AND (certain = 1 OR $4 = 1)
         ORDER BY account_id LIMIT 1",
    )
    .bind(system.0)
    .bind(alias.name.clone())
    .bind(except.0)
    .bind(i64::from(alias.is_certain))
}
