//! What the escrow journal needs of the database: how owners are called, and every value that is
//! kept.
//!
//! Invariant: no transaction commits a sealed value before the journal has that.

use std::sync::LazyLock;

use serde_json::json;

use super::wide::Wide;
use super::{Store, StoreError, Tx};
use crate::escrow::{Owner, Print};

/// A sealed value and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptValue {
    /// Whose it is.
    pub owner: Owner,
    /// Its column.
    pub part: &'static str,
    /// Its version; 0 where a value has none.
    pub version: i64,
    /// As it stands there.
    pub sealed: Vec<u8>,
}

/// A kind of values: how its owner and its column are called, and the statement that reads them,
/// from an owner and a version on.
pub struct KeptKind {
    owner: fn(i64) -> Owner,
    part: &'static str,
    text: &'static str,
}

macro_rules! functional {
    ($column:literal) => {
        KeptKind {
            owner: Owner::FunctionalAccount,
            part: $column,
            text: concat!(
                "SELECT id, CAST(0 AS BIGINT), ",
                $column,
                " FROM functional_accounts WHERE (id > $1 OR (id = $1 AND 0 > $2)) AND ",
                $column,
                " IS NOT NULL ORDER BY id LIMIT $3"
            ),
        }
    };
}

macro_rules! version {
    ($column:literal) => {
        KeptKind {
            owner: Owner::Account,
            part: $column,
            text: concat!(
                "SELECT account_id, version, ",
                $column,
                " FROM credential_versions
                 WHERE (account_id > $1 OR (account_id = $1 AND version > $2)) AND ",
                $column,
                " IS NOT NULL ORDER BY account_id, version LIMIT $3"
            ),
        }
    };
}

/// Every kind of values that the journal keeps.
pub const KEPT_KINDS: [KeptKind; 8] = [
    version!("sealed"),
    version!("passphrase"),
    functional!("password"),
    functional!("private_key"),
    functional!("passphrase"),
    functional!("enable_secret"),
    KeptKind {
        owner: Owner::PasswordRecord,
        part: "sealed",
        text: "SELECT record_id, id, sealed FROM password_versions
               WHERE record_id > $1 OR (record_id = $1 AND id > $2)
               ORDER BY record_id, id LIMIT $3",
    },
    KeptKind {
        owner: Owner::PasswordRecord,
        part: "otp",
        text: "SELECT record_id, CAST(0 AS BIGINT), otp FROM password_texts
               WHERE (record_id > $1 OR (record_id = $1 AND 0 > $2)) AND otp IS NOT NULL
               ORDER BY record_id LIMIT $3",
    },
];

/// How owners of a kind are called.
struct Called {
    owner: fn(i64) -> Owner,
    /// What the last of its texts is.
    place: &'static str,
    text: LazyLock<Wide>,
}

impl Called {
    /// The id, if the owner is of this kind.
    fn id(&self, owner: Owner) -> Option<i64> {
        let (_, id) = owner.word();
        ((self.owner)(id) == owner).then_some(id)
    }
}

static ACCOUNTS: Called = Called {
    owner: Owner::Account,
    place: "host",
    text: LazyLock::new(|| {
        Wide::new(
            0,
            "id",
            "SELECT a.id, d.name || '/' || a.name, a.name, d.host_name, d.platform_id
             FROM r JOIN accounts a ON a.id = r.id
             JOIN system_details d ON d.system_id = a.system_id WHERE r.id > 0",
        )
    }),
};
static FUNCTIONAL_ACCOUNTS: Called = Called {
    owner: Owner::FunctionalAccount,
    place: "domain",
    text: LazyLock::new(|| {
        Wide::new(
            0,
            "id",
            "SELECT f.id, f.display_name, f.account_name, COALESCE(f.domain_name, ''), f.platform_id
             FROM r JOIN functional_accounts f ON f.id = r.id WHERE r.id > 0",
        )
    }),
};
static PASSWORD_RECORDS: Called = Called {
    owner: Owner::PasswordRecord,
    place: "url",
    text: LazyLock::new(|| {
        Wide::new(
            0,
            "id",
            "SELECT p.id, o.name || '/' || p.name, COALESCE(p.username, ''), COALESCE(p.url, ''),
                 CAST(0 AS BIGINT)
             FROM r JOIN password_records p ON p.id = r.id
             JOIN organizations o ON o.id = p.organization_id WHERE r.id > 0",
        )
    }),
};

impl KeptKind {
    /// True if these values are on targets, or log in to them.
    pub fn is_used(&self) -> bool {
        (self.owner)(0) != Owner::PasswordRecord(0)
    }
}

impl Store {
    /// At most `limit` values of a kind, after one owner's version; (0, -1) begins.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn kept_values(
        &self,
        kind: &KeptKind,
        after: (i64, i64),
        limit: i64,
    ) -> Result<Vec<KeptValue>, StoreError> {
        let rows: Vec<(i64, i64, Vec<u8>)> = sqlx::query_as(kind.text)
            .bind(after.0)
            .bind(after.1)
            .bind(limit)
            .fetch_all(&self.read)
            .await?;
        let value = |(id, version, sealed)| KeptValue {
            owner: (kind.owner)(id),
            part: kind.part,
            version,
            sealed,
        };
        Ok(rows.into_iter().map(value).collect())
    }
}

impl Tx {
    /// Notes that a sealed value is stored by this transaction: it commits only once the journal
    /// has that.
    pub fn holds(&mut self, sealed: &[u8]) {
        if self.store.journal.is_some() {
            self.holds.push(Print::of(sealed));
        }
    }

    /// Has the escrow journal written, where one is kept and this transaction stores a value.
    pub(super) async fn escrow(&mut self) -> Result<(), StoreError> {
        let (Some(journal), false) = (self.store.journal.clone(), self.holds.is_empty()) else {
            return Ok(());
        };
        // Rows of another transaction that has not committed are named by itself.
        let unnamed = journal.unnamed();
        for called in [&ACCOUNTS, &FUNCTIONAL_ACCOUNTS, &PASSWORD_RECORDS] {
            let ids: Vec<i64> = unnamed
                .iter()
                .filter_map(|owner| called.id(*owner))
                .collect();
            for cut in called.text.cuts(&ids) {
                let mut query = sqlx::query_as::<_, (i64, String, String, String, i64)>(cut.text);
                for (id, _) in cut.rows(|id| *id) {
                    query = query.bind(id);
                }
                for (id, name, login, place, platform) in query.fetch_all(&mut *self.inner).await? {
                    let platform = (platform > 0).then_some(platform);
                    let is = json!({
                        "name": name, "login": login, called.place: place, "platform_id": platform,
                    });
                    journal
                        .name((called.owner)(id), is)
                        .map_err(StoreError::Escrow)?;
                }
            }
        }
        journal.hold(&self.holds).await.map_err(StoreError::Escrow)
    }
}
