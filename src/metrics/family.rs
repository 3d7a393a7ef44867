//! Metrics with labels whose values are kept within bounds.
//!
//! Invariant: whatever a caller hands in, the number of series stays below the product of the
//! label's sets; a value outside becomes `other` and is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use super::definition::{Definition, Values};

/// The value of whatever has no series of its own.
const OTHER: &str = "other";

/// The one metric that counts folding, and is therefore counted by nobody.
pub(super) const DROPPED: &str = "keywheel_dropped_label_values_total";

/// Names that have come up, by label, and values that were folded, by metric.
///
/// A name that has a series keeps it until the process ends, the same in every metric.
#[derive(Clone, Debug, Default)]
pub(super) struct Folds {
    names: Arc<Mutex<BTreeMap<&'static str, BTreeSet<String>>>>,
    dropped: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl Folds {
    /// The values under which these are counted.
    fn fold<'a>(&self, definition: &Definition, values: &[&'a str]) -> Vec<&'a str> {
        let mut folded = Vec::with_capacity(values.len());
        for ((label, allowed), value) in definition.labels.iter().zip(values) {
            let fits = match allowed {
                Values::Known(words) => words.contains(value),
                Values::Named(most) => self.admits(label, *most, value),
            };
            if fits {
                folded.push(*value);
            } else {
                *guard(&self.dropped).entry(definition.name).or_default() += 1;
                folded.push(OTHER);
            }
        }
        folded
    }

    fn admits(&self, label: &'static str, most: usize, value: &str) -> bool {
        let mut names = guard(&self.names);
        let names = names.entry(label).or_default();
        if names.contains(value) {
            return true;
        }
        let room = names.len() < most;
        if room {
            names.insert(value.to_owned());
        }
        room
    }

    /// Takes what has been folded since the last call.
    pub(super) fn take_dropped(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut *guard(&self.dropped))
    }
}

/// A poisoned lock only means that a thread died between two counts.
pub(super) fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every combination of known values; none if a label takes names.
fn combinations(definition: &Definition) -> Vec<Vec<&'static str>> {
    let mut all = vec![Vec::new()];
    for (_, values) in definition.labels {
        let words = match values {
            Values::Known(words) => *words,
            Values::Named(_) => &[],
        };
        all = all
            .iter()
            .flat_map(|before: &Vec<&'static str>| {
                words.iter().map(move |word| {
                    let mut longer = before.clone();
                    longer.push(*word);
                    longer
                })
            })
            .collect();
    }
    all
}

fn labels(definition: &Definition) -> Vec<&'static str> {
    definition.labels.iter().map(|(label, _)| *label).collect()
}

/// Only grows.
#[derive(Debug)]
pub(super) struct Counter {
    vec: IntCounterVec,
    definition: Definition,
    folds: Folds,
}

impl Counter {
    pub(super) fn register(
        registry: &Registry,
        definition: Definition,
        folds: &Folds,
    ) -> Result<Self, prometheus::Error> {
        let vec = IntCounterVec::new(
            Opts::new(definition.name, definition.help),
            &labels(&definition),
        )?;
        for values in combinations(&definition) {
            vec.get_metric_with_label_values(&values)?;
        }
        registry.register(Box::new(vec.clone()))?;
        Ok(Self {
            vec,
            definition,
            folds: folds.clone(),
        })
    }

    pub(super) fn add(&self, values: &[&str], count: u64) {
        let folded = self.folds.fold(&self.definition, values);
        // Fails only for a wrong number of labels, and then counts nothing.
        if let Ok(counter) = self.vec.get_metric_with_label_values(&folded) {
            counter.inc_by(count);
        }
    }

    /// Gives a series to every known combination next to this name.
    pub(super) fn start(&self, name: &str, words: &[&str]) {
        for word in words {
            self.add(&[name, word], 0);
        }
    }
}

/// Goes up and down.
#[derive(Debug)]
pub(super) struct Gauge {
    vec: GaugeVec,
    definition: Definition,
    folds: Folds,
}

impl Gauge {
    pub(super) fn register(
        registry: &Registry,
        definition: Definition,
        folds: &Folds,
    ) -> Result<Self, prometheus::Error> {
        let vec = GaugeVec::new(
            Opts::new(definition.name, definition.help),
            &labels(&definition),
        )?;
        registry.register(Box::new(vec.clone()))?;
        let gauge = Self {
            vec,
            definition,
            folds: folds.clone(),
        };
        gauge.start();
        Ok(gauge)
    }

    /// Sets every known combination to 0.
    fn start(&self) {
        for values in combinations(&self.definition) {
            if let Ok(gauge) = self.vec.get_metric_with_label_values(&values) {
                gauge.set(0.0);
            }
        }
    }

    pub(super) fn set(&self, values: &[&str], value: f64) {
        let folded = self.folds.fold(&self.definition, values);
        if let Ok(gauge) = self.vec.get_metric_with_label_values(&folded) {
            gauge.set(value);
        }
    }

    /// Replaces every series: `join` says what becomes of values that fold together.
    pub(super) fn replace(&self, found: &[(Vec<&str>, f64)], join: fn(f64, f64) -> f64) {
        let mut joined: BTreeMap<Vec<&str>, f64> = BTreeMap::new();
        for (values, value) in found {
            let folded = self.folds.fold(&self.definition, values);
            joined
                .entry(folded)
                .and_modify(|sum| *sum = join(*sum, *value))
                .or_insert(*value);
        }
        // A name that is there has all its states: an absent series is no zero to Prometheus.
        if let [(_, Values::Named(_)), (_, Values::Known(words))] = self.definition.labels {
            let names: Vec<&str> = joined
                .keys()
                .filter_map(|key| key.first().copied())
                .collect();
            for name in names {
                for word in *words {
                    joined.entry(vec![name, word]).or_insert(0.0);
                }
            }
        }
        self.vec.reset();
        self.start();
        for (values, value) in joined {
            if let Ok(gauge) = self.vec.get_metric_with_label_values(&values) {
                gauge.set(value);
            }
        }
    }
}

/// Counts durations.
#[derive(Debug)]
pub(super) struct Histogram {
    vec: HistogramVec,
    definition: Definition,
    folds: Folds,
}

impl Histogram {
    pub(super) fn register(
        registry: &Registry,
        definition: Definition,
        folds: &Folds,
    ) -> Result<Self, prometheus::Error> {
        let options = HistogramOpts::new(definition.name, definition.help)
            .buckets(definition.buckets.to_vec());
        let vec = HistogramVec::new(options, &labels(&definition))?;
        for values in combinations(&definition) {
            vec.get_metric_with_label_values(&values)?;
        }
        registry.register(Box::new(vec.clone()))?;
        Ok(Self {
            vec,
            definition,
            folds: folds.clone(),
        })
    }

    pub(super) fn observe(&self, values: &[&str], took: Duration) {
        let folded = self.folds.fold(&self.definition, values);
        if let Ok(histogram) = self.vec.get_metric_with_label_values(&folded) {
            histogram.observe(took.as_secs_f64());
        }
    }
}
