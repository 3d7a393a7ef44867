//! A store, an engine and a target in memory: one node at a time, with a clock that only the
//! test moves.
//!
//! Invariant: dropping a world fails unless every job has ended and every claim is closed.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use keywheel::clock::{Clock, ManualClock};
use keywheel::engine::{Engine, Limits};
use keywheel::generate::SeededDice;
use keywheel::metrics::Metrics;
use keywheel::model::Timestamp;
use keywheel::model::account::Account;
use keywheel::model::credential::{Part, Parts};
use keywheel::model::id::{AccountId, JobId};
use keywheel::model::job::{JobState, JobView};
use keywheel::model::rotation::Rotation;
use keywheel::queue::{ChangeOrder, OrderError, Orders, TestVerdict, Worker};
use keywheel::store::{Backend, NewRotation, NewVersion, SealedSecret, Store, VersionRow};
use keywheel::vault::Place;
use keywheel_connectors::Secret;
use keywheel_connectors::fake::{Fake, FakeSystem, FakeWorld};
use secrecy::ExposeSecret;
use sqlx::AnyPool;
use tokio_util::sync::CancellationToken;

use crate::support::database::Database;
pub(super) use crate::support::plant::{FOREIGN, FUNC, Like, Site, login};
use crate::support::plant::{NOON, Plant};

/// Real time that a run may take.
const RUN_MAX: Duration = Duration::from_mins(2);
/// How far the clock moves where work is due on a system that is paused.
const PAUSE_STEP: Duration = Duration::from_secs(30);
/// Accounts of one claim, where only its system bounds it.
const BATCH_MAX: i64 = 1_000;
/// Clock moves that bring every job to its end.
const MOVES_MAX: usize = 400;

#[derive(Default)]
struct Made {
    systems: i64,
    accounts: HashMap<AccountId, FakeSystem>,
}

pub(super) struct World {
    pub(super) store: Store,
    pub(super) clock: Arc<ManualClock>,
    pub(super) limits: Limits,
    pub(super) drain: CancellationToken,
    plant: Plant,
    worker: Mutex<Worker>,
    made: Mutex<Made>,
    /// A way to the tables past the store's methods.
    pub(super) raw: AnyPool,
    _database: Database,
}

impl World {
    pub(super) async fn new(database: Database) -> Self {
        Self::with_limits(database, Limits::default()).await
    }

    /// A world with one system.
    pub(super) async fn with(database: Database, like: &Like) -> (Self, Site) {
        let world = Self::new(database).await;
        let site = world.site(like).await;
        (world, site)
    }

    pub(super) async fn with_limits(database: Database, limits: Limits) -> Self {
        let store = database.store().await;
        let dice = Arc::new(SeededDice::new(11));
        let clock = ManualClock::at(NOON);
        let fake = FakeWorld::new();
        let plant = Plant {
            store: store.clone(),
            clock: clock.clone(),
            vault: Plant::vault(&*dice),
            dice,
            connector: Arc::new(Fake::new(&fake)),
            fake,
            limits: limits.clone(),
            metrics: Arc::new(Metrics::new().unwrap()),
        };
        plant.furnish().await;
        let raw = AnyPool::connect(&database.url).await.unwrap();
        let worker = plant.worker(plant.register().await, BATCH_MAX);
        Self {
            store,
            clock,
            limits,
            drain: CancellationToken::new(),
            plant,
            worker: Mutex::new(worker),
            made: Mutex::default(),
            raw,
            _database: database,
        }
    }

    /// A system whose accounts were verified at onboarding.
    pub(super) async fn site(&self, like: &Like) -> Site {
        let (id, first) = {
            let mut made = self.made.lock().unwrap();
            made.systems += 1;
            (
                made.systems,
                i64::try_from(made.accounts.len()).unwrap() + 1,
            )
        };
        let site = self.plant.site(id, first, like).await;
        let accounts = site.accounts.iter();
        let targets = accounts.map(|account| (*account, site.target.clone()));
        self.made.lock().unwrap().accounts.extend(targets);
        site
    }

    /// Makes an account the login of the systems that log in by functional account 1.
    pub(super) async fn link(&self, account: AccountId) {
        self.plant.link(&self.raw, account).await;
    }

    /// The same with another functional account, which comes to be.
    pub(super) async fn link_another(&self, account: AccountId, id: i64) {
        self.plant.link_another(&self.raw, account, id).await;
    }

    pub(super) fn seal(&self, account: AccountId, version: i64, secret: &str) -> SealedSecret {
        self.plant.seal(account, version, secret)
    }

    /// A key pair for a version's place: sealed, and its public half.
    pub(super) fn draw_key(&self, account: AccountId, version: i64) -> (SealedSecret, String) {
        self.plant.draw_key(account, version)
    }

    pub(super) fn engine(&self) -> Engine {
        self.plant.engine()
    }

    pub(super) fn orders(&self) -> Orders {
        self.plant.orders()
    }

    /// Writes an open rotation of the account's key; returns the candidate's public half.
    pub(super) async fn leave_key_open(&self, account: AccountId, state: Rotation) -> String {
        let row = self.store.account_row(account).await.unwrap().unwrap();
        let version = row.last_version + 1;
        let (secret, public) = self.draw_key(account, version);
        let new = NewVersion {
            account,
            version,
            secret,
            origin: "generated",
        };
        let now = self.clock.now();
        let mut tx = self.store.begin().await.unwrap();
        tx.add_version(&new, now).await.unwrap();
        tx.open_rotation(
            &NewRotation {
                account,
                part: Part::Key,
                epoch: row.epoch + 1,
                version,
                state,
            },
            now,
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
        public
    }

    /// Writes an open rotation as an engine would have left it, with a candidate of its own.
    pub(super) async fn leave_open(
        &self,
        account: AccountId,
        state: Rotation,
        candidate: &str,
    ) -> i64 {
        let row = self.store.account_row(account).await.unwrap().unwrap();
        let version = row.last_version + 1;
        let new = NewVersion {
            account,
            version,
            secret: self.seal(account, version, candidate),
            origin: "generated",
        };
        let now = self.clock.now();
        let mut tx = self.store.begin().await.unwrap();
        tx.add_version(&new, now).await.unwrap();
        tx.open_rotation(
            &NewRotation {
                account,
                part: Part::Password,
                epoch: row.epoch + 1,
                version,
                state,
            },
            now,
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
        version
    }

    /// Orders a change in the background.
    pub(super) async fn change(&self, account: AccountId) -> JobId {
        self.order(account, None, false).await.unwrap()
    }

    /// Orders a change of each in the background.
    pub(super) async fn change_all(&self, accounts: &[AccountId]) -> Vec<JobId> {
        let mut jobs = Vec::new();
        for &account in accounts {
            jobs.push(self.change(account).await);
        }
        jobs
    }

    /// Orders a change that somebody waits for.
    pub(super) async fn change_now(&self, account: AccountId) -> JobId {
        self.order(account, None, true).await.unwrap()
    }

    /// Orders a new key pair in the background.
    pub(super) async fn change_key(&self, account: AccountId) -> JobId {
        let order = ChangeOrder {
            parts: Parts::KEY,
            ..ChangeOrder::random(account, false)
        };
        self.orders().change(order, "ada").await.unwrap()
    }

    /// The public half of the current key pair.
    pub(super) async fn current_key(&self, account: AccountId) -> Option<String> {
        let version = self.account(account).await.credential.current_key_version?;
        let kept = self.store.sealed_version(account, version).await.unwrap();
        let Some(SealedSecret::Key { public, .. }) = kept else {
            panic!("version {version} is no key");
        };
        Some(public)
    }

    pub(super) async fn order(
        &self,
        account: AccountId,
        password: Option<&str>,
        immediate: bool,
    ) -> Result<JobId, OrderError> {
        let order = ChangeOrder {
            password: password.map(Secret::from),
            ..ChangeOrder::random(account, immediate)
        };
        self.orders().change(order, "ada").await
    }

    /// Tests an account; the worker runs meanwhile.
    pub(super) async fn test(&self, account: AccountId) -> TestVerdict {
        let orders = self.orders();
        let test = orders.test(account, "ada");
        let work = async {
            while self
                .store
                .jobs(true, Some(account), None, 1)
                .await
                .unwrap()
                .is_empty()
            {
                tokio::task::yield_now().await;
            }
            self.run().await;
        };
        let both = futures::future::join(test, work);
        let (verdict, ()) = tokio::time::timeout(RUN_MAX, both)
            .await
            .expect("the test ends");
        verdict.unwrap()
    }

    /// From now on a claim holds so many accounts at most, whatever its system allows.
    pub(super) async fn bound_batches(&self, batch_max: i64) {
        let worker = self.plant.worker(self.plant.register().await, batch_max);
        *self.worker.lock().unwrap() = worker;
    }

    pub(super) fn worker(&self) -> Worker {
        self.worker.lock().unwrap().clone()
    }

    /// Awaits work, and lets the clock go on meanwhile: a busy database is asked once more after a
    /// pause by that clock.
    pub(super) async fn while_time_passes<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(tokio::time::timeout(RUN_MAX, work));
        loop {
            let moment = Duration::from_millis(50);
            if let Ok(done) = tokio::time::timeout(moment, work.as_mut()).await {
                return done.expect("the work ends");
            }
            self.clock.advance(moment);
        }
    }

    /// Works until nothing is runnable now; what was promised of every state holds afterwards.
    pub(super) async fn run(&self) {
        let worker = self.worker();
        let run = worker.run_until_idle(&self.drain);
        tokio::time::timeout(RUN_MAX, run)
            .await
            .expect("the worker becomes idle")
            .unwrap();
        self.assert_recoverable().await;
    }

    /// When the next job may become runnable, full systems left out; perhaps too early.
    pub(super) async fn next_runnable(&self) -> Option<Timestamp> {
        let (next,): (Option<i64>,) = sqlx::query_as(
            "SELECT MIN(head) FROM (
                 SELECT head0 AS head FROM systems WHERE running < max_sessions
                 UNION ALL SELECT head1 FROM systems WHERE running < max_sessions
                 UNION ALL SELECT head2 FROM systems WHERE running < max_sessions) heads",
        )
        .fetch_one(&self.raw)
        .await
        .unwrap();
        next.map(Timestamp)
    }

    /// Works, and moves the clock to whatever is due next, until no job is open.
    pub(super) async fn run_to_the_end(&self) {
        for _ in 0..MOVES_MAX {
            self.run().await;
            let Some(next) = self.next_runnable().await else {
                return;
            };
            let wait = next.since(self.clock.now());
            self.clock
                .advance(if wait.is_zero() { PAUSE_STEP } else { wait });
        }
        panic!("the jobs do not end");
    }

    /// Works with as many sessions as a node has, all at once, until no job is open.
    pub(super) async fn run_all_at_once(&self) {
        let worker = self.worker();
        let drain = CancellationToken::new();
        let follow = async {
            for _ in 0..MOVES_MAX * 10 {
                let settled = self.store.settled().notified();
                let (open, running): (i64, i64) = sqlx::query_as(
                    "SELECT COUNT(*), COUNT(claim_id) FROM jobs WHERE state IN ('queued', 'running')",
                )
                .fetch_one(&self.raw)
                .await
                .unwrap();
                if open == 0 {
                    break;
                }
                let now = self.clock.now();
                let next = self.next_runnable().await;
                if running > 0 || next.is_some_and(|next| next <= now) {
                    // What was announced is taken at the next look, at the latest.
                    let look = Duration::from_millis(100);
                    if tokio::time::timeout(look, settled).await.is_err() {
                        self.clock.advance(PAUSE_STEP);
                    }
                } else if let Some(next) = next {
                    self.clock
                        .advance(next.since(now) + Duration::from_millis(1_500));
                }
            }
            drain.cancel();
        };
        let both = futures::future::join(worker.run(drain.clone()), follow);
        if tokio::time::timeout(RUN_MAX, both).await.is_err() {
            let open = self.store.jobs(true, None, None, 3).await.unwrap();
            panic!("the jobs do not end: {open:#?}");
        }
        self.assert_recoverable().await;
    }

    /// Runs the worker until `stop` says so, then drops it and everything it was doing, as a
    /// crash would. True if it crashed; false if it had become idle before.
    pub(super) async fn crash_when(&self, mut stop: impl FnMut() -> bool) -> bool {
        let worker = self.worker();
        let mut run = pin!(worker.run_until_idle(&self.drain));
        let crashed = poll_fn(|context| {
            if let Poll::Ready(ended) = run.as_mut().poll(context) {
                ended.unwrap();
                return Poll::Ready(false);
            }
            if stop() {
                return Poll::Ready(true);
            }
            Poll::Pending
        });
        tokio::time::timeout(RUN_MAX, crashed)
            .await
            .expect("the worker ends")
    }

    /// The node is gone; another one comes and takes over what it left.
    pub(super) async fn restart(&self) {
        for (node, beat) in self.store.living_nodes().await.unwrap() {
            let mut tx = self.store.begin().await.unwrap();
            assert!(tx.declare_dead(node, beat).await.unwrap());
            tx.commit().await.unwrap();
        }
        let node = self.plant.register().await;
        for (claim, system) in self.store.orphaned_claims(node).await.unwrap() {
            let mut tx = self.store.begin().await.unwrap();
            assert!(tx.reap(claim, system).await.unwrap());
            tx.commit().await.unwrap();
        }
        let worker = self.plant.worker(node, BATCH_MAX);
        *self.worker.lock().unwrap() = worker;
    }

    pub(super) async fn account(&self, id: AccountId) -> Account {
        self.store.account(id).await.unwrap().unwrap()
    }

    pub(super) async fn version(&self, account: AccountId) -> Option<i64> {
        self.account(account).await.credential.current_version
    }

    pub(super) async fn job(&self, id: JobId) -> JobView {
        self.store.job(id).await.unwrap().unwrap()
    }

    pub(super) async fn state(&self, id: JobId) -> JobState {
        self.job(id).await.state
    }

    pub(super) async fn assert_state(&self, jobs: &[JobId], state: JobState) {
        for &job in jobs {
            assert_eq!(self.state(job).await, state, "{}", self.log(job).await);
        }
    }

    /// The log of a job's last attempt.
    pub(super) async fn log(&self, id: JobId) -> String {
        let job = self.job(id).await;
        job.attempts
            .last()
            .map_or(String::new(), |attempt| attempt.log.clone())
    }

    /// One recorded secret.
    pub(super) async fn secret(&self, account: AccountId, version: i64) -> String {
        let kept = self.store.sealed_version(account, version).await.unwrap();
        let Some(SealedSecret::Password(sealed)) = kept else {
            panic!("version {version} is no password");
        };
        let place = Place::credential(account, version);
        #[expect(
            clippy::disallowed_methods,
            reason = "the test compares it with what the target holds"
        )]
        let secret = self
            .plant
            .vault
            .open(&place, &sealed)
            .unwrap()
            .expose_secret()
            .to_owned();
        secret
    }

    /// The current secret.
    pub(super) async fn current(&self, account: AccountId) -> String {
        let version = self.version(account).await;
        self.secret(account, version.expect("a current version"))
            .await
    }

    /// I1: the target accepts some recorded secret of every account.
    pub(super) async fn assert_recoverable(&self) {
        let accounts: Vec<_> = {
            let made = self.made.lock().unwrap();
            made.accounts
                .iter()
                .map(|(id, target)| (*id, target.clone()))
                .collect()
        };
        for (account, target) in accounts {
            let versions = self
                .store
                .versions_of_part(account, Part::Password, 1_000)
                .await
                .unwrap();
            if versions.is_empty() {
                continue;
            }
            let mut known = false;
            for version in &versions {
                let secret = self.secret(account, version.version).await;
                known |= target.accepts(&login(account), &secret);
                if known {
                    break;
                }
            }
            self.assert_key_recoverable(account, &target).await;
            let untouched = target.changes(&login(account)) == 0;
            assert!(
                known || untouched,
                "lost: {account:?} of {} versions",
                versions.len()
            );
        }
    }

    /// I1 of the key part: a recorded key stands on the target, and so do those of others.
    async fn assert_key_recoverable(&self, account: AccountId, target: &FakeSystem) {
        let keys = self.store.versions_of_part(account, Part::Key, 1_000);
        let keys = keys.await.unwrap();
        if !keys.iter().any(|key| key.accepted_at.is_some()) {
            return;
        }
        let held = target.keys(&login(account));
        let recorded = |key: &VersionRow| held.contains(key.public_key.as_ref().unwrap());
        assert!(
            keys.iter().any(recorded),
            "lost: the key of {account:?} of {} versions",
            keys.len()
        );
        assert!(
            held.iter().any(|key| key == FOREIGN),
            "a foreign key is gone"
        );
    }

    pub(super) async fn assert_current_works(&self, account: AccountId) {
        let secret = self.current(account).await;
        let target = self.made.lock().unwrap().accounts[&account].clone();
        assert!(
            target.accepts(&login(account), &secret),
            "{account:?}: the target refuses its current secret"
        );
        if let Some(public) = self.current_key(account).await {
            assert!(
                target.keys(&login(account)).contains(&public),
                "{account:?}: the target refuses its current key"
            );
        }
    }

    /// A job that has ended keeps what its end says.
    pub(super) async fn assert_ended_well(&self, job: JobId) {
        let job = self.job(job).await;
        assert!(job.state.is_final(), "{job:#?}");
        if job.state == JobState::Succeeded {
            self.assert_current_works(job.account_id).await;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let left = async {
            let jobs = self.store.jobs(true, None, None, 10).await.unwrap();
            let (claims, sessions): (i64, i64) = sqlx::query_as(
                "SELECT (SELECT COUNT(*) FROM claims), (SELECT CAST(COALESCE(SUM(running), 0) AS BIGINT) FROM systems)",
            )
            .fetch_one(&self.raw)
            .await
            .unwrap();
            self.raw.close().await;
            self.store.close().await;
            (jobs, claims, sessions)
        };
        let runtime = tokio::runtime::Handle::current();
        let (jobs, claims, sessions) = tokio::task::block_in_place(|| runtime.block_on(left));
        assert!(jobs.is_empty(), "jobs are left: {jobs:#?}");
        assert_eq!((claims, sessions), (0, 0), "claims are left");
    }
}

/// The target is sound from now on, whatever it was told about an account; it holds what it held.
pub(super) fn mend(target: &FakeSystem, login: &str) {
    let (held, keys) = (target.accepted(login), target.keys(login));
    target.add(login, &held[0]);
    for key in keys {
        target.add_key(login, &key);
    }
}

/// True where crashes are to be tried at every single point: one database is enough for that.
pub(super) fn is_sqlite(world: &World) -> bool {
    world.store.backend() == Backend::Sqlite
}
