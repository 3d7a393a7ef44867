//! What `accounts` keeps of each part of a credential: the current version, and what is known of it.
//!
//! Invariant: a statement touches the columns of one part; the verdict of the last test alone is
//! shared.

use std::sync::LazyLock;

use super::wide::Wide;
use super::{StoreError, Tx, exactly};
use crate::model::Timestamp;
use crate::model::credential::Part;
use crate::model::id::AccountId;
use crate::model::rotation::HORIZON;

/// The statements over what `accounts` keeps of a part.
pub(super) struct LineStatements {
    pub(super) open: Wide,
    pub(super) insert: Wide,
    pub(super) doubt: Wide,
    pub(super) promote: Wide,
    store: &'static str,
    tested: &'static str,
    end_doubt: &'static str,
}

/// True where an order without an answer, of another version than the one named, may land yet.
macro_rules! may_land {
    ($part:literal, $since:literal, $account:literal, $but:expr) => {
        concat!(
            "EXISTS (SELECT 1 FROM rotations q JOIN credential_versions v",
            " ON v.account_id = q.account_id AND v.version = q.version WHERE q.account_id = ",
            $account,
            " AND q.part = '",
            $part,
            "' AND q.doubt = 1 AND q.moved_at > ",
            $since,
            " AND v.last_sent_at > ",
            $since,
            " AND q.version <> ",
            $but,
            ")"
        )
    };
}

macro_rules! line_statements {
    ($part:literal, $version:literal, $changed_at:literal, $in_doubt:literal,
     $promoted:literal, $stored:literal, $tested:literal) => {
        LineStatements {
            open: Wide::new(
                0,
                "account, opening, doubtful",
                concat!(
                    "UPDATE accounts SET epoch = epoch + 1, ",
                    $in_doubt,
                    " = CASE WHEN r.doubtful = 1 THEN 1 ELSE ",
                    $in_doubt,
                    " END FROM r WHERE id = r.account AND epoch = r.opening - 1"
                ),
            ),
            insert: Wide::new(
                1,
                "rotation, account, opening, stands, doubtful, candidate",
                concat!(
                    "INSERT INTO rotations (id, account_id, part, epoch, phase, doubt, version,",
                    " base_version, applies, why, opened_at, moved_at)",
                    " SELECT r.rotation, a.id, '",
                    $part,
                    "', r.opening, r.stands, r.doubtful, r.candidate, a.",
                    $version,
                    ", 0, '', CAST($1 AS BIGINT), CAST($1 AS BIGINT)",
                    " FROM r JOIN accounts a ON a.id = r.account WHERE r.rotation > 0"
                ),
            ),
            // The doubt about an earlier candidate outlasts the end of this one: 1. What may land yet
            // is told to readers, and keeps nobody from work: 2.
            doubt: Wide::new(
                1,
                "account, opened, doubtful",
                concat!(
                    "UPDATE accounts SET ",
                    $in_doubt,
                    " = CASE WHEN r.doubtful = 1 OR EXISTS (",
                    " SELECT 1 FROM rotations d WHERE d.account_id = r.account AND d.part = '",
                    $part,
                    "' AND d.phase = 'abandoned' AND d.doubt = 1 AND d.epoch > COALESCE((",
                    " SELECT MAX(c.epoch) FROM rotations c WHERE c.account_id = r.account",
                    " AND c.part = '",
                    $part,
                    "' AND c.phase = 'committed'), 0)) THEN 1 WHEN ",
                    may_land!(
                        $part,
                        "$1",
                        "r.account",
                        concat!("COALESCE(accounts.", $version, ", 0)")
                    ),
                    " THEN 2 ELSE 0 END FROM r",
                    " WHERE id = r.account AND NOT EXISTS (SELECT 1 FROM rotations l",
                    " WHERE l.account_id = r.account AND l.part = '",
                    $part,
                    "' AND l.epoch > r.opened)"
                ),
            ),
            promote: Wide::new(
                2,
                "account, opened, candidate",
                concat!(
                    "UPDATE accounts SET ",
                    $version,
                    " = r.candidate, ",
                    $changed_at,
                    " = $1, ",
                    $in_doubt,
                    " = CASE WHEN ",
                    may_land!($part, "$2", "r.account", "r.candidate"),
                    " THEN 2 ELSE 0 END, last_test_at = $1, ",
                    $promoted,
                    " FROM r WHERE id = r.account AND NOT EXISTS (SELECT 1 FROM rotations l",
                    " WHERE l.account_id = r.account AND l.part = '",
                    $part,
                    "' AND l.epoch > r.opened)"
                ),
            ),
            store: concat!(
                "UPDATE accounts SET ",
                $version,
                " = $3, ",
                $changed_at,
                " = $4, ",
                $stored,
                " WHERE id = $1 AND epoch = $2"
            ),
            tested: concat!(
                "UPDATE accounts SET last_test = ",
                $tested,
                ", last_test_at = $4",
                " WHERE id = $1 AND ",
                $version,
                " = $2"
            ),
            end_doubt: concat!(
                "UPDATE accounts SET ",
                $in_doubt,
                " = CASE WHEN EXISTS (SELECT 1 FROM credential_versions v",
                " WHERE v.account_id = $1 AND v.part = '",
                $part,
                "' AND v.accepted_at IS NULL AND v.last_sent_at > $2) THEN ",
                $in_doubt,
                " WHEN ",
                may_land!(
                    $part,
                    "$2",
                    "accounts.id",
                    concat!("COALESCE(accounts.", $version, ", 0)")
                ),
                " THEN 2 ELSE 0 END WHERE id = $1 AND ",
                $in_doubt,
                " <> 0 AND NOT EXISTS (SELECT 1 FROM rotations r WHERE r.account_id = $1",
                " AND r.part = '",
                $part,
                "' AND r.phase IN ('ready', 'staged', 'applying',",
                " 'applied', 'verified', 'needs_operator'))"
            ),
        }
    };
}

/// An account's last verdict is that of its password; a key's counts where there is no password,
/// and where it is bad.
static PASSWORD: LazyLock<LineStatements> = LazyLock::new(|| {
    line_statements!(
        "password",
        "current_version",
        "last_change_at",
        "in_doubt",
        "last_test = 'passed', next_override_at = NULL",
        "last_test = 'never_tested', last_test_at = NULL",
        "$3"
    )
});
static KEY: LazyLock<LineStatements> = LazyLock::new(|| {
    line_statements!(
        "key",
        "current_key_version",
        "last_key_change_at",
        "key_in_doubt",
        "last_test = CASE WHEN current_version IS NULL THEN 'passed' ELSE last_test END, \
         next_override_at = CASE WHEN current_version IS NULL THEN NULL \
         ELSE next_override_at END",
        "last_test = CASE WHEN current_version IS NULL THEN 'never_tested' \
         ELSE last_test END, last_test_at = CASE WHEN current_version IS NULL THEN NULL \
         ELSE last_test_at END",
        "CASE WHEN CAST($3 AS TEXT) = 'passed' AND current_version IS NOT NULL \
         THEN last_test ELSE CAST($3 AS TEXT) END"
    )
});

impl LineStatements {
    pub(super) fn of(part: Part) -> &'static Self {
        match part {
            Part::Password => &PASSWORD,
            Part::Key => &KEY,
        }
    }
}

impl Tx {
    /// Makes a kept version current without the target: it was told so, not tested.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if a rotation came in between.
    pub async fn store_current(
        &mut self,
        account: AccountId,
        part: Part,
        epoch: i64,
        version: i64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(LineStatements::of(part).store)
            .bind(account.0)
            .bind(epoch)
            .bind(version)
            .bind(now.0)
            .execute(&mut *self.inner)
            .await?;
        exactly(1, done.rows_affected(), "the account's epoch")
    }

    /// Records what a test of the current version said.
    ///
    /// # Errors
    /// [`StoreError`] of the database.
    pub async fn record_test(
        &mut self,
        account: AccountId,
        part: Part,
        version: i64,
        verdict: &'static str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        // A version that was replaced meanwhile has no verdict any more.
        sqlx::query(LineStatements::of(part).tested)
            .bind(account.0)
            .bind(version)
            .bind(verdict)
            .bind(now.0)
            .execute(&mut *self.inner)
            .await?;
        if verdict == "passed" {
            self.end_doubt(account, part, now).await?;
            sqlx::query(
                "UPDATE credential_versions SET accepted_at = $3
                 WHERE account_id = $1 AND version = $2",
            )
            .bind(account.0)
            .bind(version)
            .bind(now.0)
            .execute(&mut *self.inner)
            .await?;
        }
        Ok(())
    }

    /// Current works, and no candidate that was ever sent can land any more.
    async fn end_doubt(
        &mut self,
        account: AccountId,
        part: Part,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query(LineStatements::of(part).end_doubt)
            .bind(account.0)
            .bind(now.minus(HORIZON).0)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}
