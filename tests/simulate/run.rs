//! One seed: trouble, then none, then the question whether everything is well.
//!
//! Invariant: every loop is bounded; what does not end is a broken promise.

use std::time::Duration;

use keywheel::clock::Clock;
use keywheel::model::Timestamp;

use crate::place::Place;
use crate::stage::Trace;
use crate::tally::{Hit, Tally};
use crate::world::World;

/// Gates that a run opens at most; a quarantine waits for hours of pauses, a look at a time.
const STEPS_MAX: u64 = 20_000;
/// The longest that work which is due may wait once nothing is in its way: a job is given up after a
/// day.
const WAIT_MAX: Duration = Duration::from_hours(26);
/// Looks at the queue that find nothing, though something is due.
const IDLE_MAX: usize = 3;
/// Turns, each of them perhaps without the tick that repairs, after which nothing may still be planned
/// later than that.
const TURNS_MAX: usize = 60;
/// How far the clock moves where work is due that nobody may take yet.
const PAUSE: Duration = Duration::from_secs(31);

/// Claims of nodes that do not live, changes that are due, quarantines that were cut short.
const LEFT: &str = "SELECT (SELECT COUNT(*) FROM claims c WHERE NOT EXISTS (
        SELECT 1 FROM nodes n WHERE n.id = c.node_id AND n.state = 'alive'))
    + (SELECT COUNT(*) FROM schedule WHERE open_job = 0 AND next_change_at = 0)
    + (SELECT COUNT(*) FROM quarantines WHERE finished_at IS NULL AND ordered_to IS NOT NULL)";

/// What came of a seed.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) faults: Vec<String>,
    pub(crate) trace: Trace,
}

pub(crate) async fn run(place: &Place, seed: u64, is_traced: bool) -> Outcome {
    let mut world = World::new(place, seed, is_traced).await;
    for _ in 0..world.shape.orders {
        world.order().await;
    }
    let mut course = Pace {
        is_wild: true,
        fruitless: 0,
        turns: 0,
    };
    let mut ended = world.go_on(&mut course).await;
    if ended.is_ok() {
        world.calm().await;
        course.is_wild = false;
        ended = world.finish(&mut course).await;
    }
    if let Err(fault) = ended {
        world.scene.witness.lock().unwrap().fault(fault);
    }
    if is_traced {
        world.show_record().await;
    }
    let (faults, counts) = {
        let mut witness = world.scene.witness.lock().unwrap();
        let faults = std::mem::take(&mut witness.faults);
        (faults, (witness.lost, witness.overruns, witness.worst))
    };
    let (mut tally, trace) = {
        let mut inner = world.stage.lock();
        let tally = std::mem::take(&mut inner.tally);
        (tally, std::mem::take(&mut inner.trace))
    };
    (tally.lost, tally.overruns, tally.worst_logins) = counts;
    world.close().await;
    Outcome {
        tally,
        faults,
        trace,
    }
}

/// How a run goes on.
pub(crate) struct Pace {
    /// Disturbances come.
    pub(crate) is_wild: bool,
    /// Looks that found nothing, though something was due.
    fruitless: usize,
    /// Turns of the ticks, one after the other, that left work waiting for too long.
    turns: usize,
}

impl World {
    /// Goes on until nothing is left to do.
    pub(crate) async fn go_on(&mut self, pace: &mut Pace) -> Result<(), String> {
        loop {
            if let Some(process) = self.cast.settle().await {
                let now = self.clock.monotonic();
                self.scene.witness.lock().unwrap().deaths.push(now);
                self.lose(process);
                continue;
            }
            self.sign_off().await;
            let steps = {
                let mut inner = self.stage.lock();
                inner.tally.steps += 1;
                inner.tally.steps
            };
            if steps > STEPS_MAX {
                return Err(format!("I9: it does not end: {}", self.left().await));
            }
            if pace.is_wild && self.shape.troubles > 0 {
                let rarity = self.shape.rarity;
                if self.die(|die| die.below(rarity) == 0) {
                    self.shape.troubles -= 1;
                    self.trouble().await;
                    continue;
                }
            }
            let (open, idle) = self.gates();
            if open.is_empty() {
                if !self.idle(pace, &idle).await? {
                    return Ok(());
                }
                continue;
            }
            let gate = self.die(|die| die.pick(&open));
            if self.stage.open(gate).is_target() {
                pace.fruitless = 0;
            }
        }
    }

    /// Everything that may go on stands still: what is next? False: nothing.
    async fn idle(
        &mut self,
        pace: &mut Pace,
        idle: &[(u64, crate::stage::ActorId)],
    ) -> Result<bool, String> {
        let left = self.number(LEFT).await > 0;
        let is_wanted = left || pace.is_wild && self.die(|die| die.percent(10));
        if self.tick(idle, is_wanted) {
            return Ok(true);
        }
        let runs = self.nodes.iter().filter(|node| node.stopped.is_none());
        if runs.count() == 0 {
            if self.nodes.is_empty() || self.die(|die| die.percent(50)) {
                self.hit(Hit::Restart);
                self.start().await;
            } else {
                self.wake_one().await;
            }
            return Ok(true);
        }
        let now = self.clock.now();
        let next = self.next_runnable().await;
        let workers: Vec<u64> = idle
            .iter()
            .filter(|(_, actor)| !self.is_ticker(*actor))
            .map(|(gate, _)| *gate)
            .collect();
        let is_due = next.is_some_and(|next| next <= now);
        // A claim may be owed back by who could not end it.
        let is_owed = self.number("SELECT COUNT(*) FROM claims").await > 0;
        if (is_due || is_owed) && !workers.is_empty() && pace.fruitless < IDLE_MAX {
            pace.fruitless += 1;
            let gate = self.die(|die| die.pick(&workers));
            self.stage.open(gate);
            return Ok(true);
        }
        if !self.nodes.iter().all(|node| node.stopped.is_none()) {
            // Its lease runs out first.
            if self.die(|die| die.percent(40)) {
                self.wake_one().await;
            } else {
                self.pass(PAUSE);
            }
            return Ok(true);
        }
        let sleeper = self.first_waker();
        if sleeper.is_some() {
            self.hang_up();
        }
        let sleeper = self
            .first_waker()
            .map(|until| until.saturating_sub(self.clock.monotonic()));
        let due = next.map(|next| {
            let wait = next.since(now);
            if wait.is_zero() { PAUSE } else { wait }
        });
        let wait = match (sleeper, due) {
            (Some(sleeper), Some(due)) => sleeper.min(due),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => {
                if !left && self.number("SELECT COUNT(*) FROM jobs").await == 0 {
                    return Ok(false);
                }
                // Its claim is a dead node's, or a tick has to come.
                PAUSE
            }
        };
        if wait > WAIT_MAX && pace.turns < TURNS_MAX {
            // A clock that was wrong has planned it; the ticks bring it back.
            pace.turns += 1;
            if !self.tick(idle, true) {
                self.pass(PAUSE);
            }
            return Ok(true);
        }
        if wait > WAIT_MAX {
            let hours = wait.as_secs() / 3_600;
            let left = self.left().await;
            return Err(format!("I9: work waits for {hours} hours: {left}"));
        }
        (pace.fruitless, pace.turns) = (0, 0);
        self.pass(wait);
        Ok(true)
    }

    /// What the service itself has put on record, for whoever reads a trace.
    async fn show_record(&self) {
        let audit: Vec<(i64, String, String, String)> =
            sqlx::query_as("SELECT at, event, subject, body FROM audit ORDER BY id")
                .fetch_all(&self.raw)
                .await
                .unwrap();
        for (at, event, subject, body) in audit {
            self.stage
                .note(format!("audit {at} {subject} {event} {body}"));
        }
        let history: Vec<(i64, i64, i64, String, String)> = sqlx::query_as(
            "SELECT job_id, account_id, attempt, outcome, why FROM job_history
             ORDER BY ended_at, job_id, attempt",
        )
        .fetch_all(&self.raw)
        .await
        .unwrap();
        for (job, account, attempt, outcome, why) in history {
            let why = why.replace('\n', "; ");
            self.stage.note(format!(
                "job {job} of {account}, attempt {attempt}: {outcome}: {why}"
            ));
        }
    }

    /// What work is left, and what holds it up.
    async fn left(&self) -> String {
        let now = self.clock.now();
        let jobs: Vec<(i64, i64, String, String, i64, i64)> = sqlx::query_as(
            "SELECT id, account_id, kind, state, attempt, run_at FROM jobs ORDER BY id",
        )
        .fetch_all(&self.raw)
        .await
        .unwrap();
        let jobs: Vec<String> = jobs
            .iter()
            .map(|(id, account, kind, state, attempt, run_at)| {
                let wait = run_at - now.0;
                format!("job {id} of {account}: {kind}, {state}, attempt {attempt}, in {wait} ms")
            })
            .collect();
        let claims = self.number("SELECT COUNT(*) FROM claims").await;
        let sessions: Vec<(i64, i64, i64, i64)> =
            sqlx::query_as("SELECT id, running, trips, paused_until FROM systems ORDER BY id")
                .fetch_all(&self.raw)
                .await
                .unwrap();
        let nodes: Vec<_> = self
            .nodes
            .iter()
            .map(|node| (node.process, node.stopped))
            .collect();
        let waiting = self.stage.waiting();
        format!("{jobs:?}; claims {claims}; systems {sessions:?}; {nodes:?}; {waiting:?}")
    }

    /// Time passes.
    pub(crate) fn pass(&self, span: Duration) {
        self.stage.note(format!("{} s pass", span.as_secs()));
        self.clock.advance(span);
    }

    /// Callers that only wait may leave.
    fn hang_up(&mut self) {
        for caller in self.cast.callers() {
            if self.die(|die| die.percent(30)) {
                self.hit(Hit::HungUp);
                self.stage.note(format!("{caller:?} hangs up"));
                self.cast.drop_caller(caller);
            }
        }
    }

    /// When the next job may become runnable, full systems left out; perhaps too early.
    async fn next_runnable(&self) -> Option<Timestamp> {
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
}
