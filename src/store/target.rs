//! What the engine reads of systems and accounts, and what it writes there: who answered first.
//!
//! Invariant: what is pinned is never replaced here.

use std::time::Duration;

use super::{Store, StoreError, Tx};
use crate::model::Timestamp;
use crate::model::credential::{Part, Parts};
use crate::model::id::{AccountId, ClaimId, FunctionalAccountId, SystemId};

/// A managed system, as the engine needs it.
#[derive(Clone, sqlx::FromRow)]
pub struct SystemRow {
    /// Its id.
    pub system_id: i64,
    /// Built-in platform.
    pub platform_id: i64,
    /// Host name, as given.
    pub host_name: String,
    /// DNS name, where given.
    pub dns_name: Option<String>,
    /// Address, where given.
    pub ip_address: Option<String>,
    /// Port; `None`: the platform's.
    pub port: Option<i64>,
    /// The longest one exchange may take.
    pub timeout_s: i64,
    /// Who changes the others.
    pub functional_account_id: Option<i64>,
    /// `sudo`, or none.
    pub elevation: Option<String>,
    /// 0 and 2 strict, 1 accept the first.
    pub host_key_mode: i64,
    /// Pinned, as `ssh-keygen -lf` prints it: `ssh-ed25519 SHA256:…`.
    pub host_key: Option<String>,
    /// PEM bundle of the trusted authorities.
    pub tls_ca: Option<String>,
    /// Name in the certificate, if not the host's.
    pub tls_server_name: Option<String>,
    /// 1: plain port and StartTLS.
    pub starttls: i64,
    /// Where accounts without a DN are looked up.
    pub base_dn: Option<String>,
    /// What the directory is, once it is pinned.
    pub flavour: Option<String>,
    /// Where SSH public keys are kept there.
    pub key_attribute: Option<String>,
    /// Exchanges a session.
    pub in_flight: Option<i64>,
    /// Failed logins that lock; 0 never.
    pub lockout_threshold: Option<i64>,
}

/// A functional account, as the engine needs it.
#[derive(Clone, sqlx::FromRow)]
pub struct FunctionalRow {
    /// Its id.
    pub id: i64,
    /// Login name or DN.
    pub account_name: String,
    /// `sudo`, or none.
    pub elevation: Option<String>,
    /// Sealed.
    pub password: Option<Vec<u8>>,
}

/// A managed account, as the engine needs it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct AccountRow {
    /// Its id.
    pub id: i64,
    /// Login name.
    pub name: String,
    /// Where given; directories.
    pub distinguished_name: Option<String>,
    /// Where given; domains.
    pub user_principal_name: Option<String>,
    /// Its domain's short name, where given.
    pub domain_name: Option<String>,
    /// Its name there, where given.
    pub sam_account_name: Option<String>,
    /// 1: neither suspended nor deleted.
    pub active: i64,
    /// Counts rotations opened.
    pub epoch: i64,
    /// The password that is known to work.
    pub current_version: Option<i64>,
    /// The key pair that is known to work.
    pub current_key_version: Option<i64>,
    /// The highest version ever staged.
    pub last_version: i64,
    /// Rule for generated passwords.
    pub password_rule_id: i64,
    /// Rule for generated key pairs.
    pub key_rule_id: i64,
    /// 1: has a key pair that is generated.
    pub dss_auto_management: i64,
    /// 1: changes itself.
    pub use_own_credentials: i64,
    /// When the current password was promoted or stored.
    pub last_change_at: Option<i64>,
    /// When the current key pair was.
    pub last_key_change_at: Option<i64>,
    /// Not 0: the current password may have been replaced on the target; 2: by an older order that
    /// may land yet.
    pub in_doubt: i64,
    /// Not 0: so may the current key pair.
    pub key_in_doubt: i64,
    /// Whose passwords it takes over.
    pub parent_id: Option<i64>,
}

impl AccountRow {
    /// Its id.
    pub fn id(&self) -> AccountId {
        AccountId(self.id)
    }

    /// The version of one part that is known to work.
    pub fn current(&self, part: Part) -> Option<i64> {
        match part {
            Part::Password => self.current_version,
            Part::Key => self.current_key_version,
        }
    }

    /// True if the current version of one part may have been replaced on the target.
    pub fn in_doubt(&self, part: Part) -> bool {
        match part {
            Part::Password => self.in_doubt != 0,
            Part::Key => self.key_in_doubt != 0,
        }
    }

    /// What the schedule has to do here: where one part was changed a moment ago and the other
    /// was not, the other alone. So a key that cannot be changed changes no password every hour.
    pub fn overdue(&self, now: Timestamp) -> Parts {
        const MOMENT: Duration = Duration::from_hours(24);
        let fresh = |at: Option<i64>| at.is_some_and(|at| Timestamp(at).plus(MOMENT) > now);
        let all = self.resolve(Parts::ALL_THERE_ARE);
        match (fresh(self.last_change_at), fresh(self.last_key_change_at)) {
            (true, false) if all.holds(Parts::KEY) => Parts::KEY,
            (false, true) if all.holds(Parts::PASSWORD) => Parts::PASSWORD,
            _ => all,
        }
    }

    /// What a job has to do here that nobody has decided upon.
    pub fn resolve(&self, parts: Parts) -> Parts {
        let wants_key = self.current_key_version.is_some() || self.dss_auto_management == 1;
        parts.resolve(self.current_version.is_some(), wants_key)
    }
}

impl Store {
    /// A system that is not deleted.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn system_row(&self, id: SystemId) -> Result<Option<SystemRow>, StoreError> {
        Ok(sqlx::query_as(
            "SELECT system_id, platform_id, host_name, dns_name, ip_address, port, timeout_s,
                 functional_account_id, elevation, host_key_mode, host_key, tls_ca,
                 tls_server_name, starttls, base_dn, flavour, key_attribute, in_flight, lockout_threshold
             FROM system_details WHERE system_id = $1 AND deleted_at IS NULL",
        )
        .bind(id.0)
        .fetch_optional(&self.read)
        .await?)
    }

    /// A functional account with its sealed password.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn functional_row(
        &self,
        id: FunctionalAccountId,
    ) -> Result<Option<FunctionalRow>, StoreError> {
        Ok(sqlx::query_as(
            "SELECT id, account_name, elevation, password FROM functional_accounts WHERE id = $1",
        )
        .bind(id.0)
        .fetch_optional(&self.read)
        .await?)
    }

    /// The accounts of a claim.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn accounts_of_claim(&self, claim: ClaimId) -> Result<Vec<AccountRow>, StoreError> {
        Ok(sqlx::query_as(
            "SELECT a.id, a.name, a.distinguished_name, a.user_principal_name, a.domain_name,
                 a.sam_account_name, a.active, a.epoch, a.current_version,
                 a.current_key_version, a.last_version, a.password_rule_id, a.key_rule_id,
                 a.dss_auto_management, a.use_own_credentials, a.last_change_at,
                 a.last_key_change_at, a.in_doubt,
                 a.key_in_doubt, y.parent_id
             FROM jobs j JOIN accounts a ON a.id = j.account_id
                 LEFT JOIN subscriptions y ON y.account_id = a.id
             WHERE j.claim_id = $1 AND j.state = 'running' ORDER BY a.id",
        )
        .bind(claim.0)
        .fetch_all(&self.read)
        .await?)
    }

    /// One account.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn account_row(&self, id: AccountId) -> Result<Option<AccountRow>, StoreError> {
        Ok(sqlx::query_as(
            "SELECT id, name, distinguished_name, user_principal_name, domain_name,
                 sam_account_name, active, epoch, current_version, current_key_version,
                 last_version, password_rule_id, key_rule_id,
                 dss_auto_management, use_own_credentials, last_change_at, last_key_change_at,
                 in_doubt, key_in_doubt,
                 (SELECT parent_id FROM subscriptions WHERE account_id = accounts.id) AS parent_id
             FROM accounts WHERE id = $1 AND deleted_at IS NULL",
        )
        .bind(id.0)
        .fetch_optional(&self.read)
        .await?)
    }

    /// Where an account lives.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn system_of(&self, id: AccountId) -> Result<Option<SystemId>, StoreError> {
        let row: Option<(i64,)> =
            sqlx::query_as("SELECT system_id FROM accounts WHERE id = $1 AND deleted_at IS NULL")
                .bind(id.0)
                .fetch_optional(&self.read)
                .await?;
        Ok(row.map(|(system,)| SystemId(system)))
    }
}

/// What became of a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// It stands now.
    First,
    /// Another session was first, and found the same.
    Same,
    /// Something else stands, or the system wants no first one.
    Other,
}

impl Pin {
    fn beside(stands: Option<(Option<String>,)>, found: &str) -> Self {
        if stands.is_some_and(|(stands,)| stands.as_deref() == Some(found)) {
            Self::Same
        } else {
            Self::Other
        }
    }
}

impl Tx {
    /// One account, read under this transaction.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn account_row(&mut self, id: AccountId) -> Result<Option<AccountRow>, StoreError> {
        Ok(sqlx::query_as(
            "SELECT id, name, distinguished_name, user_principal_name, domain_name,
                 sam_account_name, active, epoch, current_version, current_key_version,
                 last_version, password_rule_id, key_rule_id,
                 dss_auto_management, use_own_credentials, last_change_at, last_key_change_at,
                 in_doubt, key_in_doubt,
                 (SELECT parent_id FROM subscriptions WHERE account_id = accounts.id) AS parent_id
             FROM accounts WHERE id = $1 AND deleted_at IS NULL",
        )
        .bind(id.0)
        .fetch_optional(&mut *self.inner)
        .await?)
    }

    /// Pins what a directory was found to be.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn pin_flavour(
        &mut self,
        system: SystemId,
        flavour: &str,
    ) -> Result<Pin, StoreError> {
        let done = sqlx::query(
            "UPDATE system_details SET flavour = $2, revision = revision + 1
             WHERE system_id = $1 AND flavour IS NULL",
        )
        .bind(system.0)
        .bind(flavour)
        .execute(&mut *self.inner)
        .await?;
        if done.rows_affected() == 1 {
            return Ok(Pin::First);
        }
        let stands: Option<(Option<String>,)> =
            sqlx::query_as("SELECT flavour FROM system_details WHERE system_id = $1")
                .bind(system.0)
                .fetch_optional(&mut *self.inner)
                .await?;
        Ok(Pin::beside(stands, flavour))
    }

    /// Pins the host key that answered first.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn accept_host_key(
        &mut self,
        system: SystemId,
        key: &str,
    ) -> Result<Pin, StoreError> {
        let done = sqlx::query(
            "UPDATE system_details SET host_key = $2, revision = revision + 1
             WHERE system_id = $1 AND host_key IS NULL AND host_key_mode = 1",
        )
        .bind(system.0)
        .bind(key)
        .execute(&mut *self.inner)
        .await?;
        if done.rows_affected() == 1 {
            return Ok(Pin::First);
        }
        let stands: Option<(Option<String>,)> = sqlx::query_as(
            "SELECT host_key FROM system_details WHERE system_id = $1 AND host_key_mode = 1",
        )
        .bind(system.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        Ok(Pin::beside(stands, key))
    }
}
