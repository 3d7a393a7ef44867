//! After the trouble: every account is verified, or says that it needs an operator.
//!
//! Invariant: the verdict is the target's; the store is asked only what it says of it.

use std::time::Duration;

use keywheel::model::account::LastTest;
use keywheel::model::credential::{Part, Parts};
use keywheel::model::id::AccountId;
use keywheel::model::job::{Cause, JobKind, Priority};
use keywheel::model::rotation::Phase;
use keywheel::queue::ChangeOrder;
use keywheel::store::NewJob;
use keywheel_connectors::fake::OnOpen;

use crate::plant::login;
use crate::run::Pace;
use crate::tally::Hit;
use crate::witness::WINDOW;
use crate::world::{World, host};

/// As far ahead as the scheduler lets anything be planned.
const FARTHEST: Duration = Duration::from_hours(48);

impl World {
    /// No more trouble: targets obey, processes run, the disk has room.
    pub(crate) async fn calm(&mut self) {
        self.stage.note("calm");
        *self.scene.wild.lock().unwrap() = 0;
        {
            let mut inner = self.stage.lock();
            inner.armed = None;
            inner.lasting = 0;
        }
        for _ in 0..self.nodes.len() {
            self.wake_one().await;
        }
        if self.clock.off() != 0 && self.die(|die| die.percent(60)) {
            self.set_clock(0, Hit::ClockRight);
        }
        self.bring_back().await;
        for _ in 0..self.sites.len() {
            self.deliver();
        }
        for site in &self.sites {
            site.target.every_open(OnOpen::Judge);
        }
    }

    /// A minute passes, and with it the tick that repairs what a wrong clock has planned.
    async fn bring_back(&self) {
        let now = self.now();
        let farthest = now.plus(FARTHEST);
        let store = &self.plant.store;
        if store.is_ahead(farthest).await.unwrap() {
            let mut tx = store.begin().await.unwrap();
            tx.bring_back(farthest, now).await.unwrap();
            tx.commit().await.unwrap();
        }
    }

    /// Whatever is open ends; then tests find out, and a change heals.
    pub(crate) async fn finish(&mut self, pace: &mut Pace) -> Result<(), String> {
        self.go_on(pace).await?;
        self.is_at_rest().await?;
        for _ in 0..2 {
            if self.all_work().await && self.die(|die| die.percent(70)) {
                break;
            }
            self.pass(WINDOW);
            self.test_all().await;
            self.go_on(pace).await?;
        }
        let is_well = self.all_work().await;
        if is_well && self.die(|die| die.percent(85)) {
            self.is_at_rest().await?;
            self.judge(true).await;
            return Ok(());
        }
        self.judge(false).await;
        self.pass(WINDOW);
        for (account, _) in self.accounts() {
            let order = ChangeOrder::random(account, false);
            let ordered = self.plant.orders().change(order, "ada").await;
            if let Err(error) = ordered {
                return Err(format!("I9: {account}: no order is taken: {error}"));
            }
        }
        self.go_on(pace).await?;
        self.is_at_rest().await?;
        self.judge(true).await;
        Ok(())
    }

    /// Every current credential works.
    async fn all_work(&self) -> bool {
        for (account, nth) in self.accounts() {
            for part in self.parts(nth) {
                if !self.works(account, nth, part).await {
                    return false;
                }
            }
        }
        self.number("SELECT COUNT(*) FROM accounts WHERE in_doubt = 1 OR key_in_doubt = 1")
            .await
            == 0
    }

    fn parts(&self, nth: usize) -> Vec<Part> {
        let has_key = self.shape.likes[nth].key;
        let parts = Part::ALL.into_iter();
        parts
            .filter(|part| *part == Part::Password || has_key)
            .collect()
    }

    /// Its target accepts the current version.
    async fn works(&self, account: AccountId, nth: usize, part: Part) -> bool {
        let store = &self.plant.store;
        let target = &self.sites[nth].target;
        let found = store.account(account).await.unwrap().unwrap();
        let current = match part {
            Part::Password => found.credential.current_version,
            Part::Key => found.credential.current_key_version,
        };
        let Some(current) = current else {
            return false;
        };
        let Some(sealed) = store.sealed_version(account, current).await.unwrap() else {
            return false;
        };
        let secret = self.scene.kept(account, current, &sealed);
        match part {
            Part::Password => target.accepts(&login(account), &secret),
            Part::Key => target.keys(&login(account)).contains(&secret),
        }
    }

    async fn test_all(&mut self) {
        let now = self.now();
        for (account, nth) in self.accounts() {
            let job = NewJob {
                account,
                system: self.sites[nth].id,
                kind: JobKind::Test,
                cause: Cause::Order,
                actor: "ada".to_owned(),
                priority: Priority::Routine,
                run_at: now,
                parts: Parts::ALL_THERE_ARE,
                version: None,
                key_version: None,
            };
            let mut tx = self.plant.store.begin().await.unwrap();
            tx.lock_queue(self.sites[nth].id).await.unwrap();
            if tx.open_job(account).await.unwrap().is_none() {
                tx.enqueue(&job, now).await.unwrap();
            }
            tx.commit().await.unwrap();
        }
    }

    /// Nothing is left half done.
    async fn is_at_rest(&self) -> Result<(), String> {
        let claims = self.number("SELECT COUNT(*) FROM claims").await;
        let running = self
            .number("SELECT CAST(COALESCE(SUM(running), 0) AS BIGINT) FROM systems")
            .await;
        if claims + running > 0 {
            return Err(format!(
                "I9: {claims} claims and {running} sessions are left"
            ));
        }
        Ok(())
    }

    /// Every account and part, by its target.
    async fn judge(&self, is_last: bool) {
        for (account, nth) in self.accounts() {
            self.scene.look(&host(&self.sites[nth]));
            self.keeps_all(account).await;
            for part in self.parts(nth) {
                if let Err(fault) = self.judge_part(account, nth, part, is_last).await {
                    self.scene.witness.lock().unwrap().fault(fault);
                }
            }
        }
        self.moved_by_proof().await;
        self.changed_once().await;
    }

    async fn judge_part(
        &self,
        account: AccountId,
        nth: usize,
        part: Part,
        is_last: bool,
    ) -> Result<(), String> {
        let store = &self.plant.store;
        let works = self.works(account, nth, part).await;
        let found = store.account(account).await.unwrap().unwrap();
        let open = store.open_rotation_of(account, part).await.unwrap();
        let waits = open
            .as_ref()
            .filter(|row| row.state.phase == Phase::NeedsOperator);
        let was_drifted = self.scene.witness.lock().unwrap().accounts[&account].was_drifted;
        let mut inner = self.stage.lock();
        let tally = &mut inner.tally;
        match (works, waits) {
            (_, Some(row)) if row.why.is_empty() => {
                return Err(format!("I9: {account}: needs an operator for no reason"));
            }
            (_, Some(_)) => tally.operators += u64::from(is_last),
            (true, None) => tally.verified += u64::from(is_last),
            (false, None) if found.credential.last_test == LastTest::OutOfSync => {
                if was_drifted {
                    tally.drifted += u64::from(is_last);
                } else {
                    tally.out_of_sync += u64::from(is_last);
                }
            }
            // Nobody gets there: its functional account's password is somebody else's, too.
            (false, None) if was_drifted && found.credential.last_test == LastTest::Unreachable => {
                tally.drifted += u64::from(is_last);
            }
            (false, None) => {
                return Err(format!(
                    "I9: {account}: its current {} does not work, and nothing says so: {:?}",
                    part.as_str(),
                    found.credential
                ));
            }
        }
        Ok(())
    }

    /// I3: whatever was sent is still there.
    async fn keeps_all(&self, account: AccountId) {
        let sent: Vec<i64> = {
            let witness = self.scene.witness.lock().unwrap();
            witness.accounts[&account].sent.keys().copied().collect()
        };
        for version in sent {
            let kept = self.plant.store.sealed_version(account, version).await;
            if kept.unwrap().is_none() {
                let mut witness = self.scene.witness.lock().unwrap();
                witness.lost += 1;
                witness.fault(format!("I3: {account}: version {version} is gone"));
            }
        }
    }

    /// I4: what became current has logged in.
    async fn moved_by_proof(&self) {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT subject, body FROM audit WHERE event = 'rotation.committed' ORDER BY id",
        )
        .fetch_all(&self.raw)
        .await
        .unwrap();
        for (subject, body) in rows {
            let account = AccountId(subject.rsplit(' ').next().unwrap().parse().unwrap());
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            let version = body["version"].as_i64().unwrap();
            let sealed = self.plant.store.sealed_version(account, version).await;
            let Some(sealed) = sealed.unwrap() else {
                continue;
            };
            let secret = self.scene.kept(account, version, &sealed);
            let mut witness = self.scene.witness.lock().unwrap();
            if !witness.accounts[&account].accepted.contains(&secret) {
                let text = format!("I4: {account}: version {version} never logged in");
                witness.fault(text);
            }
        }
    }

    /// I10: no job changes a part more often than it was ordered; a quarantine may order it too.
    async fn changed_once(&self) {
        let rows: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT s.subject, s.body, c.body FROM audit s
             JOIN audit c ON c.subject = s.subject AND c.event = 'rotation.committed'
             WHERE s.event = 'rotation.staged' ORDER BY s.id, c.id",
        )
        .fetch_all(&self.raw)
        .await
        .unwrap();
        let (again,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM quarantines")
            .fetch_one(&self.raw)
            .await
            .unwrap();
        let ordered: Vec<(String,)> =
            sqlx::query_as("SELECT body FROM audit WHERE event = 'change.ordered'")
                .fetch_all(&self.raw)
                .await
                .unwrap();
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let ordered: Vec<String> = ordered
            .iter()
            .map(|(body,)| read(body)["job"].to_string())
            .collect();
        let mut changes = std::collections::BTreeMap::new();
        for (subject, staged, committed) in rows {
            let (staged, committed) = (read(&staged), read(&committed));
            // A step back to Staged is called the same, and is for no job.
            if staged["rotation"] == committed["rotation"] && !staged["job"].is_null() {
                let part = committed["part"].to_string();
                let key = (subject, staged["job"].to_string(), part);
                *changes.entry(key).or_insert(0) += 1;
            }
        }
        self.stage.lock().tally.rotations = u64::try_from(changes.len()).unwrap();
        for ((subject, job, part), times) in changes {
            // What was due was ordered by its policy as well.
            let was_due = self.stage.lock().tally.has_met(Hit::Due);
            let again = again + i64::from(was_due);
            let orders = ordered.iter().filter(|one| **one == job).count().max(1);
            if times > i64::try_from(orders).unwrap() + again {
                let text = format!("I10: job {job} changed {part} of {subject} {times} times");
                self.scene.witness.lock().unwrap().fault(text);
            }
        }
    }
}
