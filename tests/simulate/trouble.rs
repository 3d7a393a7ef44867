//! What happens to a world: orders, and disturbances.
//!
//! Invariant: each is counted when it has happened, not when it was wished for.

use std::time::Duration;

use keywheel::clock::Clock;
use keywheel::model::credential::Parts;
use keywheel::queue::ChangeOrder;
use keywheel_connectors::Secret;

use crate::hurdle::Trouble;
use crate::plant::login;
use crate::stage::{Process, Wait};
use crate::tally::Hit;
use crate::world::{World, host};

const HOUR_MS: i64 = 3_600_000;
const DECADE_MS: i64 = 10 * 365 * 24 * HOUR_MS;

impl World {
    /// One disturbance.
    pub(crate) async fn trouble(&mut self) {
        match self.die(|die| die.below(100)) {
            0..36 => self.arm(),
            36..40 => self.kill_anywhere(),
            40..51 => self.kill_at_target(),
            51..62 => self.stop_one(),
            62..67 => self.jump(),
            67..70 => {
                let minutes = self.die(|die| die.pick(&[1, 10, 61, 180, 25 * 60]));
                self.hit(Hit::TimePasses);
                self.pass(Duration::from_mins(minutes));
            }
            70..78 => self.deliver(),
            78..84 => self.somebody_else(),
            84..88 => {
                if self.nodes.len() < 3 {
                    self.start().await;
                }
            }
            88..91 => self.drain_one(),
            _ => self.order().await,
        }
    }

    fn arm(&self) {
        let mut inner = self.stage.lock();
        let trouble = inner.die.pick(&Trouble::ALL);
        let after = u32::try_from(inner.die.below(14)).unwrap();
        inner.armed = Some((after, trouble));
    }

    fn kill_anywhere(&mut self) {
        let processes: Vec<Process> = self.nodes.iter().map(|node| node.process).collect();
        if processes.is_empty() {
            return;
        }
        let process = self.die(|die| die.pick(&processes));
        self.hit(Hit::DieAnywhere);
        self.crash(process);
    }

    fn crash(&mut self, process: Process) {
        self.stage.lock().tally.crashes += 1;
        self.lose(process);
    }

    /// Kills whoever is about to call a target, or to hear from it.
    fn kill_at_target(&mut self) {
        let mut found = Vec::new();
        for (_, actor, wait) in self.stage.waiting() {
            if let (Wait::Target(what), Some(process)) = (wait, self.cast.process_of(actor)) {
                let hears = what == "answer" || what.starts_with("opened");
                found.push((process, hears));
            }
        }
        if found.is_empty() {
            return self.arm();
        }
        let (process, hears) = self.die(|die| die.pick(&found));
        self.hit(if hears {
            Hit::DieAfterSend
        } else {
            Hit::DieBeforeSend
        });
        self.crash(process);
    }

    /// A process stands still, and does not know it.
    fn stop_one(&mut self) {
        let busy: Vec<Process> = self
            .stage
            .waiting()
            .into_iter()
            .filter(|(_, actor, wait)| *wait != Wait::Idle && !self.is_stopped(*actor))
            .filter_map(|(_, actor, _)| self.cast.process_of(actor))
            .collect();
        if busy.is_empty() {
            return;
        }
        let process = self.die(|die| die.pick(&busy));
        let now = self.clock.monotonic();
        self.stage.note(format!("{process:?} is stopped"));
        for node in &mut self.nodes {
            if node.process == process {
                node.stopped = Some(now);
            }
        }
    }

    /// A process that was stopped goes on.
    pub(crate) async fn wake_one(&mut self) {
        let stopped: Vec<usize> = (0..self.nodes.len())
            .filter(|nth| self.nodes[*nth].stopped.is_some())
            .collect();
        if stopped.is_empty() {
            return;
        }
        let nth = self.die(|die| die.pick(&stopped));
        let (id, process) = (self.nodes[nth].id, self.nodes[nth].process);
        let since = self.nodes[nth].stopped.take().unwrap();
        if self.clock.monotonic().saturating_sub(since) >= Duration::from_secs(30) {
            self.hit(Hit::Stopped);
        }
        let (claims,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM claims WHERE node_id = $1")
            .bind(id.0)
            .fetch_one(&self.raw)
            .await
            .unwrap();
        let is_busy = self.stage.waiting().iter().any(|(_, actor, wait)| {
            *wait != Wait::Idle
                && self.cast.process_of(*actor) == Some(process)
                && !self.is_ticker(*actor)
        });
        if claims == 0 && is_busy {
            self.hit(Hit::WentOn);
            if self.nodes.len() > 1 {
                self.hit(Hit::SecondEngine);
            }
        }
        self.stage.note(format!("{process:?} goes on"));
    }

    fn jump(&mut self) {
        let off = self.clock.off();
        let (to, hit) = if off != 0 {
            (0, Hit::ClockRight)
        } else {
            self.die(|die| {
                die.pick(&[
                    (HOUR_MS, Hit::Forward),
                    (-HOUR_MS, Hit::Backward),
                    (DECADE_MS, Hit::Decade),
                ])
            })
        };
        self.set_clock(to, hit);
    }

    pub(crate) fn set_clock(&self, off: i64, hit: Hit) {
        self.hit(hit);
        self.stage.note(format!("{hit:?}"));
        if off - self.clock.off() >= HOUR_MS {
            let now = self.clock.monotonic();
            self.scene.witness.lock().unwrap().jumps.push(now);
        }
        self.clock.set_off(off);
    }

    /// Late orders land.
    pub(crate) fn deliver(&self) {
        let nth = self.die(|die| die.below(self.sites.len()));
        let site = &self.sites[nth];
        let landed = site.target.deliver_late();
        for _ in 0..landed {
            self.hit(Hit::Landed);
        }
        self.stage.note(format!("{landed} late orders land"));
        self.scene.look(&host(site));
    }

    fn somebody_else(&self) {
        if !self.shape.has_somebody {
            return self.arm();
        }
        let accounts = self.accounts();
        let (account, nth) = self.die(|die| die.pick(&accounts));
        self.hit(Hit::SomebodyElse);
        self.stage.note(format!("somebody else changes {account}"));
        {
            let mut witness = self.scene.witness.lock().unwrap();
            let seen = witness.accounts.get_mut(&account).unwrap();
            seen.is_drifted = true;
            seen.was_drifted = true;
        }
        let secret = format!("Else-{}", self.die(crate::die::Die::draw));
        self.sites[nth].target.set_behind(&login(account), &secret);
    }

    /// The service is told to end; it is started again later.
    fn drain_one(&mut self) {
        let nodes: Vec<usize> = (0..self.nodes.len())
            .filter(|nth| self.nodes[*nth].stopped.is_none())
            .collect();
        if nodes.is_empty() {
            return;
        }
        let nth = self.die(|die| die.pick(&nodes));
        self.hit(Hit::Drained);
        self.stage
            .note(format!("{:?} drains", self.nodes[nth].process));
        self.nodes[nth].drain.cancel();
    }

    /// Somebody orders something.
    pub(crate) async fn order(&mut self) {
        let accounts = self.accounts();
        let (account, nth) = self.die(|die| die.pick(&accounts));
        let has_key = self.shape.likes[nth].key;
        let orders = self.plant.orders();
        let stage = self.stage.clone();
        let is_linked = self.shape.is_linked && account == self.sites[0].account();
        let kind = self.die(|die| die.below(100));
        if is_linked && kind < 80 {
            self.hit(Hit::OwnLogin);
        }
        self.stage.note(format!("order {kind} of {account}"));
        let system = self.sites[nth].id;
        let mut order = ChangeOrder::random(account, kind < 20);
        match kind {
            0..20 => self.hit(Hit::ChangeNow),
            20..50 => self.hit(Hit::ChangeLater),
            50..62 => {
                self.hit(Hit::ChangeGiven);
                // A few, so that some were used before; one is the first that it had.
                let given = match self.die(|die| die.below(3)) {
                    0 => format!("Start-{}-vLm9Q", account.0),
                    drawn => format!("Given-{drawn}-vLm9Q"),
                };
                order.password = Some(Secret::from(given));
            }
            62..74 if has_key => {
                self.hit(Hit::ChangeKey);
                order.parts = Parts::KEY;
            }
            62..82 => {
                self.hit(Hit::Test);
                self.cast.add(None, true, async move {
                    let tested = orders.test(account, "ada").await;
                    stage.note(format!("  test: {tested:?}"));
                });
                return;
            }
            82..92 => {
                self.hit(Hit::Quarantine);
                self.cast.add(None, true, async move {
                    let ordered = orders.quarantine(system, "breach", None, "ada").await;
                    stage.note(format!("  quarantine: {ordered:?}"));
                });
                return;
            }
            _ => {
                self.hit(Hit::Due);
                sqlx::query("UPDATE schedule SET next_change_at = 0 WHERE account_id = $1")
                    .bind(account.0)
                    .execute(&self.raw)
                    .await
                    .unwrap();
                return;
            }
        }
        self.cast.add(None, true, async move {
            let ordered = orders.change(order, "ada").await;
            stage.note(format!("  ordered: {ordered:?}"));
        });
    }
}
