//! A queue with systems and accounts on it, and what tests and benches ask of its tables.
//!
//! Invariant: rows are what the store's own methods would have written; only the number of
//! statements differs.

use keywheel::model::Timestamp;
use keywheel::model::account::AccountSettings;
use keywheel::model::credential::Parts;
use keywheel::model::id::{AccountId, JobId, NodeId, PlatformId, SystemId, WorkgroupId};
use keywheel::model::job::{Cause, JobKind, Priority};
use keywheel::model::system::{EntityType, NewSystem, SystemPlace, SystemSettings};
use keywheel::model::workgroup::Workgroup;
use keywheel::store::{Claim, Ending, NewJob, Settled, Store, SystemHealth};
use sqlx::AnyPool;

/// When the tests begin.
pub(crate) const NOW: Timestamp = Timestamp(1_750_000_000_000);

/// Ids of one system's accounts lie together: system 3 has 3,000,001 and those that follow.
const ACCOUNTS_MAX: i64 = 1_000_000;

/// A store with a node, and a pool to look past the store.
pub(crate) struct Queue {
    pub(crate) store: Store,
    pub(crate) pool: AnyPool,
    pub(crate) node: NodeId,
}

/// What must always be zero; data that would show a broken rule of the queue.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unsound {
    /// Systems with more claims than `max_sessions`.
    pub(crate) over_cap: i64,
    /// Systems whose `running` is not the number of their claims.
    pub(crate) leaked: i64,
    /// Heads that are later than the first job they stand for.
    pub(crate) lazy: i64,
    /// Accounts whose `open_job` is not the number of their open jobs.
    pub(crate) wrong_open_job: i64,
    /// Running jobs without a claim of their system, and claims without a job.
    pub(crate) loose: i64,
}

pub(crate) fn account_id(system: i64, nth: i64) -> AccountId {
    AccountId(system * ACCOUNTS_MAX + nth)
}

impl Queue {
    /// A migrated store with one node and no system.
    pub(crate) async fn new(store: Store, url: &str) -> Self {
        // The URL of SQLite's file is a plain path with a mode; both pools see one database.
        let pool = AnyPool::connect(url).await.expect("the database answers");
        let mut tx = store.begin().await.unwrap();
        let node = tx.register_node("one", NOW).await.unwrap();
        tx.insert_workgroup(&Workgroup {
            id: WorkgroupId(1),
            name: "Default".to_owned(),
            organization_id: Workgroup::ORGANIZATION_DEFAULT.to_owned(),
        })
        .await
        .unwrap();
        tx.commit().await.unwrap();
        Self { store, pool, node }
    }

    /// A system with `max_sessions` and `max_batch`, and its first `accounts` accounts.
    pub(crate) async fn system(&self, id: i64, max_sessions: i64, max_batch: i64, accounts: i64) {
        let mut settings = SystemSettings::of_host(format!("host{id}"));
        settings.max_sessions = max_sessions;
        settings.max_batch = max_batch;
        let system = NewSystem {
            id: SystemId(id),
            place: SystemPlace {
                entity_type: EntityType::Asset,
                asset_id: None,
                workgroup_id: WorkgroupId(1),
                platform_id: PlatformId(2),
            },
            settings,
        };
        let mut tx = self.store.begin().await.unwrap();
        tx.insert_system(&system, NOW).await.unwrap();
        tx.commit().await.unwrap();
        if accounts > 0 {
            self.accounts(id, accounts).await;
        }
    }

    /// Many accounts by two statements; [`Tx::insert_account`](keywheel::store::Tx) writes the
    /// same rows one at a time.
    pub(crate) async fn accounts(&self, system: i64, accounts: i64) {
        self.accounts_due(system, accounts, None).await;
    }

    /// The same, due at `at` and in the milliseconds that follow it.
    pub(crate) async fn accounts_due(&self, system: i64, accounts: i64, at: Option<Timestamp>) {
        sqlx::query(
            "WITH RECURSIVE n (i) AS (SELECT $2 + 1 UNION ALL SELECT i + 1 FROM n WHERE i < $2 + $3)
             INSERT INTO accounts (id, system_id, target_id, name, name_key, active, epoch,
                 current_version, current_key_version, last_version, last_change_at,
                 last_key_change_at, last_test_at, last_test, in_doubt, key_in_doubt,
                 domain_name, distinguished_name, user_principal_name, sam_account_name,
                 description, password_rule_id, key_rule_id, dss_auto_management,
                 use_own_credentials, api_enabled, auto_management, check_password,
                 reset_on_mismatch, change_frequency_type, change_frequency_days, change_time,
                 policy_id, next_override_at, extras, revision, created_at, deleted_at)
             SELECT i, $1, 'user' || CAST(i - $2 AS TEXT), 'user' || CAST(i - $2 AS TEXT),
                 'user' || CAST(i - $2 AS TEXT), 1, 0, NULL, NULL, 0, NULL, NULL, NULL, 'never_tested', 0, 0,
                 NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 'first', NULL, '23:30',
                 NULL, NULL, $5, 1, $4, NULL
             FROM n WHERE i <= $2 + $3",
        )
        .bind(system)
        .bind(system * ACCOUNTS_MAX)
        .bind(accounts)
        .bind(NOW.0)
        .bind(serde_json::to_string(&AccountSettings::named("x").extras).unwrap())
        .execute(&self.pool)
        .await
        .unwrap();
        sqlx::query(
            "INSERT INTO schedule (account_id, system_id, next_change_at, next_test_at, flag_at,
                 stale_at, open_job)
             SELECT id, system_id,
                 CASE WHEN CAST($2 AS BIGINT) IS NULL THEN NULL ELSE $2 + id - system_id * $3 END,
                 NULL, NULL, NULL, 0
             FROM accounts WHERE system_id = $1",
        )
        .bind(system)
        .bind(at.map(|at| at.0))
        .bind(ACCOUNTS_MAX)
        .execute(&self.pool)
        .await
        .unwrap();
    }

    /// Orders a change of one account, as the interfaces do.
    pub(crate) async fn order(&self, system: i64, nth: i64, priority: Priority) -> JobId {
        self.order_at(system, nth, priority, JobKind::Rotate, NOW)
            .await
    }

    pub(crate) async fn order_at(
        &self,
        system: i64,
        nth: i64,
        priority: Priority,
        kind: JobKind,
        run_at: Timestamp,
    ) -> JobId {
        let mut tx = self.store.begin().await.unwrap();
        assert!(tx.lock_queue(SystemId(system)).await.unwrap());
        let job = NewJob {
            account: account_id(system, nth),
            system: SystemId(system),
            kind,
            cause: Cause::Order,
            actor: "ada".to_owned(),
            priority,
            run_at,
            parts: Parts::ALL_THERE_ARE,
            version: None,
            key_version: None,
        };
        let id = tx.enqueue(&job, NOW).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    /// Claims of one class at `now`, by the queue's own node.
    pub(crate) async fn claim(&self, priority: Priority, now: Timestamp) -> Vec<Claim> {
        self.claim_as(self.node, priority, now).await
    }

    pub(crate) async fn claim_as(
        &self,
        node: NodeId,
        priority: Priority,
        now: Timestamp,
    ) -> Vec<Claim> {
        let mut tx = self.store.begin().await.unwrap();
        let claims = tx.claim(node, priority, 100, 1_000, now).await.unwrap();
        tx.commit().await.unwrap();
        claims
    }

    /// Settles a whole claim alike.
    pub(crate) async fn settle(&self, claim: &Claim, ending: &Ending, now: Timestamp) {
        self.settle_healthy(claim, ending, SystemHealth::Unknown, now)
            .await;
    }

    pub(crate) async fn settle_healthy(
        &self,
        claim: &Claim,
        ending: &Ending,
        health: SystemHealth,
        now: Timestamp,
    ) {
        let mut tx = self.store.begin().await.unwrap();
        tx.settle(claim, &settled(claim, ending), health, true, now)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    /// Opens a quarantine and orders all of it, as the interfaces do; its id.
    pub(crate) async fn quarantine(&self, system: i64, now: Timestamp) -> i64 {
        let system = SystemId(system);
        let mut tx = self.store.begin().await.unwrap();
        tx.lock_queue(system).await.unwrap();
        let id = tx
            .open_quarantine(system, "leak", Some("INC-1"), "ada", now)
            .await
            .unwrap();
        let mut after = AccountId(0);
        while let Some(last) = tx
            .quarantine_chunk(id, system, after, "ada", now)
            .await
            .unwrap()
        {
            after = last;
            tx.commit().await.unwrap();
            tx = self.store.begin().await.unwrap();
            tx.lock_queue(system).await.unwrap();
        }
        tx.finish_quarantines(system, now).await.unwrap();
        tx.commit().await.unwrap();
        id.0
    }

    /// One number out of the tables.
    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        let (number,): (i64,) = sqlx::query_as(sql).fetch_one(&self.pool).await.unwrap();
        number
    }

    /// Changes the tables past the store.
    pub(crate) async fn write(&self, sql: &'static str) -> u64 {
        let done = sqlx::query(sql).execute(&self.pool).await.unwrap();
        done.rows_affected()
    }

    /// A system's heads: immediate, quarantine, routine.
    pub(crate) async fn heads(&self, system: i64) -> [Option<i64>; 3] {
        let (a, b, c): (Option<i64>, Option<i64>, Option<i64>) =
            sqlx::query_as("SELECT head0, head1, head2 FROM systems WHERE id = $1")
                .bind(system)
                .fetch_one(&self.pool)
                .await
                .unwrap();
        [a, b, c]
    }

    /// Priority, due time, attempts and `again` of an open job.
    pub(crate) async fn job_row(&self, job: JobId) -> Option<(i64, i64, i64, i64)> {
        sqlx::query_as("SELECT priority, run_at, attempt, again FROM jobs WHERE id = $1")
            .bind(job.0)
            .fetch_optional(&self.pool)
            .await
            .unwrap()
    }

    /// Counts what breaks a rule of the queue; each statement is one snapshot.
    pub(crate) async fn unsound(&self) -> Unsound {
        Unsound {
            over_cap: self
                .number("SELECT COUNT(*) FROM systems WHERE running > max_sessions")
                .await,
            leaked: self
                .number(
                    "SELECT COUNT(*) FROM systems s WHERE running <>
                         (SELECT COUNT(*) FROM claims c WHERE c.system_id = s.id)",
                )
                .await,
            lazy: self
                .number(
                    "SELECT COUNT(*) FROM jobs j JOIN systems s ON s.id = j.system_id
                     WHERE j.state = 'queued' AND CASE j.priority
                         WHEN 0 THEN CASE WHEN s.head0 <= j.run_at THEN 0 ELSE 1 END
                         WHEN 1 THEN CASE WHEN s.head1 <= j.run_at OR s.head1 <= s.paused_until
                             THEN 0 ELSE 1 END
                         ELSE CASE WHEN s.head2 <= j.run_at OR s.head2 <= s.paused_until
                             THEN 0 ELSE 1 END END = 1",
                )
                .await,
            wrong_open_job: self
                .number(
                    "SELECT COUNT(*) FROM schedule s WHERE open_job <>
                         (SELECT COUNT(*) FROM jobs j WHERE j.account_id = s.account_id
                             AND j.state IN ('queued', 'running'))",
                )
                .await,
            loose: self
                .number(
                    "SELECT (SELECT COUNT(*) FROM jobs j WHERE j.state = 'running' AND NOT EXISTS
                         (SELECT 1 FROM claims c WHERE c.id = j.claim_id
                             AND c.system_id = j.system_id))
                     + (SELECT COUNT(*) FROM jobs j WHERE j.state = 'queued'
                         AND j.claim_id IS NOT NULL)",
                )
                .await,
        }
    }

    /// Fails if a rule of the queue is broken.
    pub(crate) async fn is_sound(&self) {
        assert_eq!(self.unsound().await, Unsound::default());
    }
}

/// What settles every job of a claim alike.
pub(crate) fn settled(claim: &Claim, ending: &Ending) -> Vec<Settled> {
    let jobs = claim.jobs.iter();
    jobs.map(|job| Settled {
        job: job.clone(),
        ending: ending.clone(),
        class: "",
        log: "done".to_owned(),
    })
    .collect()
}
