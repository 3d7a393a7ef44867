//! One round: work is ordered, blows fall, the service comes to rest, every account is looked at.
//!
//! Invariant: a round ends with nothing open, or with a fault that says what is.

use std::time::Duration;

use keywheel::clock::SystemClock;
use keywheel::model::Timestamp;
use keywheel::model::credential::Part;
use serde_json::{Value, json};

use crate::base::OpenJob;
use crate::blow::When;
use crate::oracle::Verdict;
use crate::tally::Blow;
use crate::world::World;

/// The longest that nothing may move while work is open.
const STILL_MAX: Duration = Duration::from_mins(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What waits longer waits for nothing but time.
const WAITS_LONG_MS: i64 = 4_000;
/// What has not moved for so long will not by itself.
const STANDS_MAX: Duration = Duration::from_secs(2);
/// Hours that one round lets pass at most.
const HOURS_MAX: u64 = 12;
/// Probes that an operator orders before they say which version it is.
const PROBES_MAX: usize = 3;

/// What is ordered in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// A change of one account.
    One,
    /// Changes of several accounts, one by one.
    Some,
    /// A quarantine of one system; its functional account comes last.
    System,
    /// A quarantine of every system.
    All,
    /// A change of a functional account.
    Functional,
    /// A change of an account that has a key pair, too.
    Key,
}

impl World {
    /// One round with these blows.
    pub(crate) async fn round(&mut self, work: Work, blows: &[(Blow, When)]) {
        self.tally.rounds += 1;
        self.order(work).await;
        for (blow, when) in blows {
            if !self.strike(*blow, *when).await {
                // It had come to rest: there is more to do.
                let more = *self.draws.pick(&[Work::Some, Work::System, Work::Key]);
                self.order(more).await;
                let soon = When::After(self.draws.span(0, 600));
                self.strike(*blow, soon).await;
            }
        }
        self.rest().await;
        self.check().await;
        self.operate().await;
    }

    pub(crate) fn work(&self) -> Work {
        *self.draws.pick(&[
            Work::One,
            Work::Some,
            Work::Some,
            Work::Some,
            Work::System,
            Work::System,
            Work::All,
            Work::All,
            Work::Functional,
            Work::Key,
        ])
    }

    pub(crate) async fn order(&mut self, work: Work) {
        let functional = |world: &Self| {
            let all = world.accounts.iter().filter(|one| one.is_functional);
            all.map(|one| one.id).collect::<Vec<_>>()
        };
        let mut accounts = Vec::new();
        let mut systems = Vec::new();
        match work {
            Work::One => accounts.push(self.draws.pick(&self.accounts).id),
            Work::Some => {
                for _ in 0..4 {
                    accounts.push(self.draws.pick(&self.accounts).id);
                }
            }
            Work::System => systems.push(self.draws.pick(&self.systems).id),
            Work::All => systems.extend(self.systems.iter().map(|system| system.id)),
            Work::Functional => {
                let own = functional(self);
                accounts.push(*self.draws.pick(&own));
            }
            Work::Key => {
                let with = self.accounts.iter().filter(|one| one.has_key);
                accounts.extend(with.map(|one| one.id));
            }
        }
        let client = self.client();
        for account in accounts {
            // Two of three wait for nobody: those are tried again by themselves.
            let order = json!({
                "confirm_functional": true,
                "immediate": self.draws.percent(33),
            });
            let path = format!("/api/v1/accounts/{account}/rotate");
            let answer = client.order(&path, &order).await;
            self.accept(answer.status, &answer.body);
        }
        for system in systems {
            let order = json!({"system_id": system, "reason": "a round"});
            client
                .order("/api/v1/quarantines", &order)
                .await
                .expect(202);
        }
    }

    fn accept(&mut self, status: u16, body: &str) {
        let body: Value = serde_json::from_str(body).unwrap();
        match status {
            202 => self.accepted.push(body["id"].as_i64().unwrap()),
            // It needs an operator first, or another functional account does.
            409 => {}
            _ => panic!("an order was answered with {status}: {body}"),
        }
    }

    /// Waits until nothing is open. Where work waits for time alone, time passes.
    pub(crate) async fn rest(&mut self) {
        let clock = SystemClock::shared();
        let mut hours = 0;
        let (mut stood, mut since, mut still) = (Vec::new(), clock.monotonic(), clock.monotonic());
        loop {
            self.nodes_are_up();
            let tables = self.tables().await;
            let jobs = tables.open_jobs().await.unwrap();
            if jobs.is_empty() {
                let vanished = tables.vanished(&self.accepted).await;
                tables.close().await;
                for job in vanished {
                    self.tally
                        .fault(format!("job {job} was accepted, and has no end"));
                }
                self.accepted.clear();
                return;
            }
            let long = clock
                .now()
                .plus(Duration::from_millis(WAITS_LONG_MS.unsigned_abs()));
            let waits = jobs.iter().any(|job| Timestamp(job.runs_at) > long);
            let runs = jobs.iter().any(|job| job.state == "running");
            let stands: Vec<_> = jobs.iter().map(OpenJob::stands).collect();
            let moved = stands != stood;
            if moved {
                (stood, still) = (stands, clock.monotonic());
            }
            if runs || moved {
                since = clock.monotonic();
            }
            // Others may stand behind it, as a functional account does in a quarantine.
            let idle = clock.monotonic().saturating_sub(since) > STANDS_MAX;
            if waits && idle && hours < HOURS_MAX {
                (hours, since) = (hours + 1, clock.monotonic());
                self.tally.hours += 1;
                tables.close().await;
                // The windows end on the targets, too: whoever may log in does.
                self.check().await;
                let tables = self.tables().await;
                tables.elapse().await;
                tables.close().await;
                continue;
            }
            tables.close().await;
            if clock.monotonic().saturating_sub(still) > STILL_MAX {
                for job in jobs {
                    let name = self.account(job.account_id).name.clone();
                    let step = job.step().unwrap_or("queued").to_owned();
                    self.tally
                        .fault(format!("{name}: its job does not end, {step}"));
                }
                return;
            }
            clock.sleep(LOOK_EVERY).await;
        }
    }

    /// A node that has ended by itself is started anew, as by its supervisor: its peers had taken it
    /// for dead, or its database was gone.
    pub(crate) fn nodes_are_up(&mut self) {
        for at in 0..self.nodes.len() {
            if self.nodes[at].has_ended() {
                self.tally.ended += 1;
                tokio::task::block_in_place(|| self.nodes[at].resume());
            }
        }
    }

    /// What an operator does: looks why, has the account probed, and at last says which kept
    /// version it is that works.
    pub(crate) async fn operate(&mut self) {
        for probe in 0..=PROBES_MAX {
            let tables = self.tables().await;
            let standings = tables.standings().await;
            tables.close().await;
            let mut waiting = Vec::new();
            for standing in standings {
                let name = self.account(standing.account_id).name.clone();
                match standing.phase.as_deref() {
                    Some("needs_operator") => {}
                    None => continue,
                    Some(open) => {
                        let what = format!("{name}: at rest with a rotation {open}");
                        self.tally.fault(what);
                        continue;
                    }
                }
                let why = standing.why.clone().unwrap_or_default();
                if why.is_empty() {
                    self.tally
                        .fault(format!("{name}: needs an operator, and says not why"));
                }
                if probe == 0 {
                    *self.tally.needs_operator.entry(why).or_default() += 1;
                }
                waiting.push((standing.account_id, Part::parse(&standing.part).unwrap()));
            }
            if waiting.is_empty() {
                return;
            }
            if probe > 0 {
                // The windows end on the targets, too: whoever may log in does.
                self.check().await;
                let tables = self.tables().await;
                tables.elapse().await;
                tables.close().await;
                self.tally.hours += 1;
            }
            if probe == PROBES_MAX {
                self.override_all(&waiting).await;
            } else {
                self.probe_all(&waiting).await;
            }
            self.rest().await;
        }
    }

    async fn probe_all(&mut self, waiting: &[(i64, Part)]) {
        let client = self.client();
        for (account, part) in waiting {
            let path = format!("/api/v1/accounts/{account}/test");
            client.order(&path, &json!({})).await.expect(200);
            let tables = self.tables().await;
            let standings = tables.standings().await;
            tables.close().await;
            let still = standings.iter().any(|one| {
                one.account_id == *account
                    && one.part == part.as_str()
                    && one.phase.as_deref() == Some("needs_operator")
            });
            if !still {
                self.tally.probed += 1;
            }
        }
    }

    async fn override_all(&mut self, waiting: &[(i64, Part)]) {
        let found = self.check().await;
        let keys = self.nodes[0].keys();
        let client = crate::client::Client::signed_in(self.client().url.as_str(), &keys).await;
        let kept = self.kept().await;
        for (account, part) in waiting {
            let works = match found.get(&(*account, *part)) {
                Some(Verdict::Current) => None,
                Some(Verdict::Doubtful(version) | Verdict::Drifted(version)) => Some(*version),
                _ => continue,
            };
            let versions = kept.versions(*account).await;
            let tables = self.tables().await;
            let standings = tables.standings().await;
            tables.close().await;
            let standing = standings
                .iter()
                .find(|one| one.account_id == *account && one.part == part.as_str());
            let number = works.or(standing.unwrap().current).unwrap();
            let version = versions.iter().find(|version| version.number == number);
            let secret = version.and_then(|version| version.secret.clone()).unwrap();
            let body = match part {
                Part::Password => json!({"Password": secret.text(), "UpdateSystem": false}),
                Part::Key => json!({"PrivateKey": secret.text(), "UpdateSystem": false}),
            };
            let path = format!("ManagedAccounts/{account}/Credentials");
            client.put(&path, &body).await.expect(204);
            self.tally.overridden += 1;
        }
        kept.close().await;
    }
}
