//! Which blows a run deals, and when it has dealt enough.
//!
//! Invariant: a run that is cut short by its time says how many kills it has made.

use std::time::Duration;

use keywheel::clock::SharedClock;

use crate::blow::When;
use crate::tally::{Blow, STEPS, Tally};
use crate::world::World;

/// What a world must have been through.
#[derive(Clone, Debug)]
pub(crate) struct Quota {
    pub(crate) blows: Vec<(Blow, u64)>,
    /// Each of these steps must have been found by a kill.
    pub(crate) steps: &'static [&'static str],
    /// Blows of one round, at most.
    round_max: usize,
    /// It ends then in any case.
    pub(crate) span_max: Duration,
}

/// What a run of CI deals: where the first figure is the file's, the second the server's.
const EACH: [(Blow, u64, u64); 7] = [
    (Blow::Kill, 18, 14),
    (Blow::Stop, 2, 3),
    (Blow::Worker, 2, 2),
    (Blow::Target, 2, 1),
    (Blow::Cut, 1, 1),
    (Blow::Silence, 1, 1),
    (Blow::Database, 0, 2),
];
/// Times as many are a soak.
const SOAK: u64 = 16;

impl Quota {
    pub(crate) fn of(shares: bool, is_soak: bool, span_max: Duration) -> Self {
        let times = if is_soak { SOAK } else { 1 };
        let blows =
            EACH.map(|(blow, file, server)| (blow, times * if shares { server } else { file }));
        Self {
            blows: blows.into(),
            // Between the others no target is spoken to, and they last for milliseconds.
            steps: if is_soak { &STEPS } else { &STEPS[2..4] },
            round_max: if is_soak { 6 } else { 3 },
            span_max,
        }
    }

    /// What is left to do.
    fn left(&self, tally: &Tally) -> Vec<Blow> {
        let mut left = Vec::new();
        for (blow, count) in &self.blows {
            for _ in tally.of(*blow)..*count {
                left.push(*blow);
            }
        }
        left
    }

    fn missed(&self, tally: &Tally) -> Option<&'static str> {
        let mut steps = self.steps.iter();
        steps
            .find(|step| !tally.landed.contains_key(*step))
            .copied()
    }

    /// What has not come about.
    pub(crate) fn faults(&self, tally: &Tally) -> Vec<String> {
        let mut faults = Vec::new();
        for (blow, count) in &self.blows {
            if tally.of(*blow) < *count {
                faults.push(format!("{blow:?}: {} of {count}", tally.of(*blow)));
            }
        }
        faults.extend(
            self.missed(tally)
                .map(|step| format!("no kill found work {step}")),
        );
        faults
    }
}

impl World {
    /// Rounds, until the quota is met or time is up.
    pub(crate) async fn run(&mut self, quota: &Quota, clock: &SharedClock) {
        let name = self.base.name();
        while clock.monotonic() < quota.span_max {
            let mut left = quota.left(&self.tally);
            let missed = quota.missed(&self.tally);
            if left.is_empty() && missed.is_none() {
                return;
            }
            self.draws.shuffle(&mut left);
            let count = 1 + self.draws.below(quota.round_max);
            let mut blows: Vec<_> = left.into_iter().take(count).collect();
            if blows.is_empty() {
                blows.push(Blow::Kill);
            }
            let mut struck = Vec::new();
            for blow in blows {
                struck.push((blow, self.when(blow, missed)));
            }
            let work = self.work();
            let began = clock.monotonic();
            self.round(work, &struck).await;
            let took = clock.monotonic().saturating_sub(began);
            println!(
                "{name} {}: {work:?}, {struck:?}, {:.1} s",
                self.tally.rounds,
                took.as_secs_f64()
            );
        }
    }

    /// A drawn moment, or a drawn step; first of all one that no kill has found yet.
    fn when(&self, blow: Blow, missed: Option<&'static str>) -> When {
        let draws = &self.draws;
        // What has no answer to wait for is over within milliseconds.
        let at = |step: &'static str| {
            When::At(step, draws.span(0, if step == "applying" { 60 } else { 6 }))
        };
        if let (Blow::Kill, Some(step)) = (blow, missed)
            && draws.percent(50)
        {
            return at(step);
        }
        match blow {
            Blow::Kill if draws.percent(65) => at(STEPS[draws.below(STEPS.len())]),
            // Where a target is spoken to.
            Blow::Worker | Blow::Cut | Blow::Silence if draws.percent(80) => {
                When::At(STEPS[2 + draws.below(2)], draws.span(0, 150))
            }
            _ => When::After(draws.span(0, 1_500)),
        }
    }
}
