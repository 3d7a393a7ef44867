//! What befalls the service in the midst of its work, and at which moment.
//!
//! Invariant: a step is seen from outside, in the tables and in a target's log; the service has no
//! hook for it.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::time::Duration;

use keywheel::clock::SystemClock;
use nix::sys::signal::{Signal, kill};

use crate::base::{Base, OpenJob, Tables};
use crate::line::State;
use crate::node::Node;
use crate::tally::{Blow, STEPS};
use crate::target::Target;
use crate::wait::until;
use crate::world::World;

/// How often the tables are asked which step work has reached.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// The longest wait for a step; work that waits for its next attempt may never reach it.
const STEP_MAX: Duration = Duration::from_secs(4);

/// When it happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// So long after the work was ordered, or after the blow before.
    After(Duration),
    /// When work has reached this step, and so long after that.
    At(&'static str, Duration),
}

fn rank(step: &str) -> usize {
    let mut steps = STEPS.iter();
    steps.position(|one| *one == step).unwrap()
}

impl World {
    /// Strikes once. Work must be under way; false: there was none.
    pub(crate) async fn strike(&mut self, blow: Blow, when: When) -> bool {
        self.nodes_are_up();
        let tables = self.tables().await;
        let found = self.await_moment(&tables, when).await;
        if !found {
            tables.close().await;
            return false;
        }
        let node = self.holder(&tables).await;
        match blow {
            Blow::Kill => return self.kill(node, tables).await,
            Blow::Stop => self.stop(node, tables).await,
            Blow::Worker => {
                tables.close().await;
                let workers = self.nodes[node].workers();
                if workers.is_empty() {
                    return false;
                }
                // It may have ended by itself.
                kill(*self.draws.pick(&workers), Signal::SIGKILL).unwrap_or_default();
            }
            Blow::Target => {
                tables.close().await;
                self.restart_target().await;
            }
            Blow::Cut => {
                tables.close().await;
                let line = self.part(&[State::Cut]);
                self.hold(200, 2_000).await;
                self.systems[line].line.set(State::Open);
            }
            Blow::Silence => {
                tables.close().await;
                let line = self.part(&[State::Silent, State::Deaf]);
                // Some last longer than any call to a target.
                if self.draws.percent(20) {
                    self.hold(8_500, 11_000).await;
                } else {
                    self.hold(500, 4_000).await;
                }
                // What was under way is lost, or comes through late.
                if self.draws.percent(50) {
                    self.systems[line].line.set(State::Cut);
                }
                self.systems[line].line.set(State::Open);
            }
            Blow::Database => {
                tables.close().await;
                self.end_database().await;
            }
        }
        self.tally.count(blow);
        true
    }

    async fn await_moment(&self, tables: &Tables, when: When) -> bool {
        let clock = SystemClock::shared();
        let up: Vec<i64> = self.nodes.iter().map(Node::id).collect();
        match when {
            When::After(span) => {
                clock.sleep(span).await;
                tables.open_jobs().await.is_ok_and(|jobs| !jobs.is_empty())
            }
            When::At(step, more) => {
                while clock.monotonic() < STEP_MAX {
                    let Ok(jobs) = tables.open_jobs().await else {
                        return true;
                    };
                    if jobs.is_empty() {
                        return false;
                    }
                    // What a dead node held is nobody's work until it is taken from it; a step that
                    // was over before it could be seen has come as well.
                    let reached = self.steps(&jobs);
                    let mut reached = reached.iter().filter(|(node, _)| up.contains(node));
                    if reached.any(|(_, reached)| rank(reached) >= rank(step)) {
                        clock.sleep(more).await;
                        return true;
                    }
                    clock.sleep(LOOK_EVERY).await;
                }
                true
            }
        }
    }

    /// Jobs that run, and how far each has come.
    fn steps(&self, jobs: &[OpenJob]) -> Vec<(i64, &'static str)> {
        let mut steps = Vec::new();
        let mut logs = None;
        for job in jobs {
            let Some(step) = job.step() else {
                continue;
            };
            let mut step = *STEPS.iter().find(|known| **known == step).unwrap();
            if step == "applied" {
                // The target has let the new secret in, and that is not on record yet.
                let logs = logs.get_or_insert_with(|| self.new_lines());
                let account = self.account(job.account_id);
                let login = format!("Accepted password for {} from ", account.name);
                let plain = !account.is_functional && !account.has_key;
                if plain && logs[account.system].contains(&login) {
                    step = "verified";
                }
            }
            steps.push((job.node_id.unwrap_or_default(), step));
        }
        steps
    }

    /// What targets have written down since the last check.
    fn new_lines(&self) -> Vec<String> {
        let read = |log: std::path::PathBuf, from| {
            let mut file = std::fs::File::open(log).unwrap();
            file.seek(SeekFrom::Start(from)).unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let systems = self.systems.iter();
        systems
            .map(|system| {
                let log = system.target.log();
                log.map_or_else(String::new, |log| read(log, system.log_read))
            })
            .collect()
    }

    /// The node that works, or any that is up.
    async fn holder(&self, tables: &Tables) -> usize {
        let holders = tables.holders().await.unwrap_or_default();
        let up: Vec<usize> = (0..self.nodes.len())
            .filter(|at| self.nodes[*at].is_up())
            .collect();
        let working = up
            .iter()
            .filter(|at| holders.contains(&self.nodes[**at].id()));
        let working: Vec<usize> = working.copied().collect();
        *self
            .draws
            .pick(if working.is_empty() { &up } else { &working })
    }

    /// False: it had ended by itself.
    async fn kill(&mut self, node: usize, tables: Tables) -> bool {
        let id = self.nodes[node].id();
        let mut killed = u64::from(self.nodes[node].kill());
        let jobs = tables.open_jobs().await.unwrap();
        tables.close().await;
        let mut steps: Vec<_> = self.steps(&jobs);
        steps.retain(|(holder, _)| *holder == id);
        if steps.is_empty() && killed > 0 {
            self.tally.idle += 1;
        }
        for step in STEPS {
            if steps.iter().any(|(_, reached)| *reached == step) {
                *self.tally.landed.entry(step).or_default() += 1;
            }
        }
        let mut dead = vec![node];
        if self.nodes.len() > 1 && self.draws.percent(15) {
            let other = self.nodes.len() - 1 - node;
            killed += u64::from(self.nodes[other].kill());
            dead.push(other);
        }
        self.forget_logins();
        let gates = self.domains();
        let held: Vec<_> = gates.iter().map(|domain| domain.gate.try_read()).collect();
        tokio::task::block_in_place(|| {
            self.read_counters(held.iter().all(Result::is_ok));
            drop(held);
            for node in &dead {
                self.nodes[*node].resume();
            }
        });
        for _ in 0..killed {
            self.tally.count(Blow::Kill);
        }
        killed > 0
    }

    /// Stops a node past its lease. Another one that shares the database takes over meanwhile.
    async fn stop(&mut self, node: usize, tables: Tables) {
        let id = self.nodes[node].id();
        self.nodes[node].signal(Signal::SIGSTOP);
        if matches!(self.base, Base::Postgres(_)) {
            until("a peer takes the stopped node for dead", async || {
                tables.is_dead(id).await.then_some(())
            })
            .await;
            self.hold(0, 1_500).await;
        } else {
            self.hold(3_000, 6_000).await;
        }
        tables.close().await;
        self.nodes[node].signal(Signal::SIGCONT);
        if matches!(self.base, Base::Sqlite(_)) {
            return;
        }
        // It must notice, and end: its supervisor starts it anew.
        until("the node that was taken for dead ends", async || {
            self.nodes[node].has_ended().then_some(())
        })
        .await;
        self.tally.declared_dead += 1;
        tokio::task::block_in_place(|| self.nodes[node].resume());
    }

    async fn restart_target(&mut self) {
        let at = self.draws.below(self.systems.len());
        let pause = self.draws.span(100, 1_500);
        let target = &self.systems[at].target;
        let domain = match target {
            Target::Domain(domain) => Some(domain.clone()),
            Target::Host(_) | Target::Directory(_) => None,
        };
        let _gate = match &domain {
            Some(domain) => Some(domain.gate.write().await),
            None => None,
        };
        tokio::task::block_in_place(|| target.halt());
        SystemClock::shared().sleep(pause).await;
        tokio::task::block_in_place(|| target.resume());
    }

    fn part(&self, states: &[State]) -> usize {
        let at = self.draws.below(self.systems.len());
        self.systems[at].line.set(*self.draws.pick(states));
        at
    }

    async fn hold(&self, from_ms: usize, to_ms: usize) {
        let span = self.draws.span(from_ms, to_ms);
        SystemClock::shared().sleep(span).await;
    }

    async fn end_database(&mut self) {
        let pause = self.draws.span(0, 1_500);
        let signal = *self.draws.pick(&[Signal::SIGKILL, Signal::SIGQUIT]);
        let Base::Postgres(server) = &mut self.base else {
            return;
        };
        tokio::task::block_in_place(|| server.kill(signal));
        SystemClock::shared().sleep(pause).await;
        tokio::task::block_in_place(|| server.resume());
    }
}
