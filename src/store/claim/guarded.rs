//! Claims on systems with linked functional accounts: those logins change alone, and last in a
//! quarantine.
//!
//! A guarded system uses a linked functional account, or is the home of one. All others are
//! claimed without a look at any of this.
//!
//! Invariant: while a job of a linked functional account runs, no other job runs on the systems
//! that log in by it, and never two such jobs of one system.

use std::time::Duration;

use super::super::dialect::skip_locked;
use super::{ClaimRow, Taken, consent, due_jobs};
use crate::model::Timestamp;
use crate::model::id::{JobId, NodeId, SystemId};
use crate::model::job::Priority;
use crate::store::{StoreError, Tx, exactly};

/// How long a job that waits for its systems to fall idle keeps others from beginning there. Every
/// look of a node renews it.
const WANTED: Duration = Duration::from_mins(1);

/// The linked functional account that a system logs in by.
#[derive(sqlx::FromRow)]
struct Login {
    account_id: i64,
    wanted_until: i64,
    is_running: i64,
}

/// A linked functional account's job whose turn it is.
#[derive(sqlx::FromRow)]
struct Turn {
    id: i64,
    functional_account_id: i64,
    account_id: i64,
}

/// The first due job of a linked functional account of the system at hand that nothing stands
/// against but sessions that are open.
///
/// - No other linked functional account of the same system has a job running.
/// - Unless its own change is half done: no other one that is in doubt has a job left to end the
///   doubt, and no quarantine of a system that it serves, or lives on, has a change left that
///   goes before it. In a quarantine the login of its own system is the last of all.
macro_rules! turn {
    () => {
        "SELECT j.id, l.functional_account_id, l.account_id
         FROM functional_links l
             JOIN accounts a ON a.id = l.account_id
             JOIN system_details h ON h.system_id = l.system_id
             JOIN jobs j ON j.account_id = l.account_id AND j.state IN ('queued', 'running')
         WHERE l.system_id = $1 AND j.priority = $2 AND j.state = 'queued' AND j.run_at <= $3
           AND NOT EXISTS (
             SELECT 1 FROM functional_links p
                 JOIN accounts b ON b.id = p.account_id
                 JOIN system_details g ON g.system_id = p.system_id
                 JOIN jobs k ON k.account_id = p.account_id AND k.state IN ('queued', 'running')
             WHERE p.account_id <> l.account_id
               AND (p.system_id = l.system_id
                 OR p.functional_account_id = h.functional_account_id
                 OR g.functional_account_id = l.functional_account_id)
               AND (k.state = 'running' OR (a.in_doubt <> 1 AND a.key_in_doubt <> 1
                 AND (b.in_doubt = 1 OR b.key_in_doubt = 1))))
           AND (a.in_doubt = 1 OR a.key_in_doubt = 1 OR NOT EXISTS (
             SELECT 1 FROM quarantines q JOIN system_details u ON u.system_id = q.system_id
             WHERE q.finished_at IS NULL
               AND (q.system_id = l.system_id
                 OR u.functional_account_id = l.functional_account_id)
               AND (q.ordered_to IS NOT NULL
                 OR EXISTS (
                   SELECT 1 FROM jobs k JOIN quarantine_accounts m ON m.quarantine_id = q.id
                       AND m.account_id = k.account_id AND m.job_id = k.id
                   WHERE k.system_id = q.system_id AND k.state = 'queued'
                     AND k.account_id <> l.account_id
                     AND NOT EXISTS (SELECT 1 FROM functional_links o
                       JOIN system_details w ON w.system_id = o.system_id
                       WHERE o.account_id = k.account_id
                         AND (w.functional_account_id = o.functional_account_id
                           OR COALESCE(h.functional_account_id, 0) <> l.functional_account_id)))
                 OR EXISTS (
                   SELECT 1 FROM claims c
                       JOIN jobs k ON k.claim_id = c.id AND k.state = 'running'
                       JOIN quarantine_accounts m ON m.quarantine_id = q.id
                           AND m.account_id = k.account_id AND m.job_id = k.id
                   WHERE c.system_id = q.system_id
                     AND NOT EXISTS (SELECT 1 FROM functional_links o
                       JOIN system_details w ON w.system_id = o.system_id
                       WHERE o.account_id = k.account_id
                         AND (w.functional_account_id = o.functional_account_id
                           OR COALESCE(h.functional_account_id, 0) <> l.functional_account_id))))))
         ORDER BY j.run_at, j.id LIMIT 1"
    };
}

impl Tx {
    /// Claims on a guarded system, under its lock.
    pub(super) async fn claim_guarded(
        &mut self,
        (node, system, priority): (NodeId, SystemId, Priority),
        batch: i64,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        let login = self.login_of(system).await?;
        if login.as_ref().is_some_and(|login| login.is_running == 1) {
            return Ok(Taken::Held);
        }
        // Its login is about to change: let the sessions that are open end.
        let leaves = login
            .as_ref()
            .filter(|login| login.wanted_until > now.0)
            .map(|login| login.account_id);
        let turn: Option<Turn> = sqlx::query_as(turn!())
            .bind(system.0)
            .bind(priority.rank())
            .bind(now.0)
            .fetch_optional(&mut *self.inner)
            .await?;
        if let Some(turn) = turn
            && leaves.is_none_or(|account| account == turn.account_id)
        {
            if self.are_idle(turn.functional_account_id).await? {
                return self.claim_alone(node, system, priority, &turn, now).await;
            }
            self.want(turn.functional_account_id, now).await?;
            if login.is_some_and(|login| login.account_id == turn.account_id) {
                return Ok(Taken::Held);
            }
        }
        if leaves.is_some() {
            return Ok(Taken::Held);
        }
        let rows: Vec<ClaimRow> = sqlx::query_as(due_jobs!(
            " AND NOT EXISTS (SELECT 1 FROM functional_links l
                 WHERE l.account_id = jobs.account_id)"
        ))
        .bind(system.0)
        .bind(priority.rank())
        .bind(now.0)
        .bind(batch)
        .fetch_all(&mut *self.inner)
        .await?;
        if rows.is_empty() {
            return self.held_or_moved(system, priority, now).await;
        }
        let claim = self.take(node, system, priority, rows, now).await?;
        Ok(Taken::Claim(claim))
    }

    async fn login_of(&mut self, system: SystemId) -> Result<Option<Login>, StoreError> {
        Ok(sqlx::query_as(
            "SELECT l.account_id, l.wanted_until, CASE WHEN EXISTS (SELECT 1 FROM jobs j
                 WHERE j.account_id = l.account_id AND j.state IN ('queued', 'running')
                   AND j.state = 'running') THEN 1 ELSE 0 END AS is_running
             FROM system_details d
                 JOIN functional_links l ON l.functional_account_id = d.functional_account_id
             WHERE d.system_id = $1",
        )
        .bind(system.0)
        .fetch_optional(&mut *self.inner)
        .await?)
    }

    /// Locks the systems that log in by a functional account; true if nothing runs on any. One
    /// that another transaction holds counts as busy: to wait for a second system could deadlock.
    async fn are_idle(&mut self, functional: i64) -> Result<bool, StoreError> {
        let locked: Vec<(i64, i64)> = sqlx::query_as(skip_locked!(
            self.backend,
            "SELECT id, running FROM systems WHERE id IN (
                 SELECT system_id FROM system_details WHERE functional_account_id = $1)
             ORDER BY id"
        ))
        .bind(functional)
        .fetch_all(&mut *self.inner)
        .await?;
        let (all,): (i64,) =
            sqlx::query_as("SELECT COUNT(*) FROM system_details WHERE functional_account_id = $1")
                .bind(functional)
                .fetch_one(&mut *self.inner)
                .await?;
        let is_whole = i64::try_from(locked.len()).is_ok_and(|locked| locked == all);
        Ok(is_whole && locked.iter().all(|(_, running)| *running == 0))
    }

    /// Nothing else begins on the systems that log in by it, until it has had its turn.
    async fn want(&mut self, functional: i64, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE functional_links SET wanted_until = $2
             WHERE functional_account_id = $1 AND wanted_until < $3",
        )
        .bind(functional)
        .bind(now.plus(WANTED).0)
        .bind(now.plus(WANTED / 2).0)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    async fn claim_alone(
        &mut self,
        node: NodeId,
        system: SystemId,
        priority: Priority,
        turn: &Turn,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        let row: ClaimRow = sqlx::query_as(concat!(
            "SELECT id, account_id, kind, cause, actor, attempt, parts, version, key_version,",
            " orders, queued_at, run_at, ",
            consent!(),
            " FROM jobs WHERE id = $1"
        ))
        .bind(JobId(turn.id).0)
        .fetch_one(&mut *self.inner)
        .await?;
        let done = sqlx::query(
            "UPDATE functional_links SET wanted_until = 0 WHERE functional_account_id = $1",
        )
        .bind(turn.functional_account_id)
        .execute(&mut *self.inner)
        .await?;
        exactly(1, done.rows_affected(), "the functional account's link")?;
        let claim = self.take(node, system, priority, vec![row], now).await?;
        Ok(Taken::Claim(claim))
    }

    /// Nothing was found: is the head too urgent, or does it stand for a job that must wait?
    async fn held_or_moved(
        &mut self,
        system: SystemId,
        priority: Priority,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        let waits: Option<(i64,)> = sqlx::query_as(
            "SELECT id FROM jobs WHERE system_id = $1 AND priority = $2 AND state = 'queued'
                 AND run_at <= $3 LIMIT 1",
        )
        .bind(system.0)
        .bind(priority.rank())
        .bind(now.0)
        .fetch_optional(&mut *self.inner)
        .await?;
        if waits.is_some() {
            return Ok(Taken::Held);
        }
        self.refresh(system, 0).await?;
        Ok(Taken::Nothing)
    }
}
