//! Access policies: when credentials may be asked for, and how.
//!
//! Invariant: what an access policy opens ends with the window it was opened in, unless its
//! schedule says otherwise.

use super::Timestamp;
use super::fault::{Fault, Faults};
use super::policy::Window;

/// The number of the built-in policy: always open, automatic.
pub const ALWAYS_OPEN: i64 = 1;
/// Schedules of one policy; with more needs it is two.
pub const SCHEDULES_MAX: usize = 16;
/// Approvals that a schedule may ask for.
const APPROVALS_MAX: i64 = 10;
/// Openings that are strung together at most: what is open longer ends there, never later.
const STRUNG_MAX: usize = 1_000;

/// How credentials are asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessPolicy {
    /// Its number; 1 is the built-in one.
    pub id: i64,
    /// What people read; unique in any case.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// When, and on what terms; at least one, by id.
    pub schedules: Vec<AccessSchedule>,
    /// Counts edits; the guard of the next.
    pub revision: i64,
}

/// When credentials may be asked for, and on what terms.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessSchedule {
    /// Its number, among those of all policies; it stays when the policy is edited.
    pub id: i64,
    /// When, and on what terms.
    pub terms: AccessTerms,
}

/// What a schedule says.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessTerms {
    /// What people read; unique within the policy, in any case.
    pub name: String,
    /// When requests are made; none means at any time.
    pub windows: Vec<Window>,
    /// How many must approve a request; 0: nobody.
    pub approvals: i64,
    /// Whether whoever asks may waive the change after the release.
    pub rotation_override: bool,
    /// Whether a request that was made inside a window may last longer than it.
    pub outlasts_window: bool,
}

impl AccessTerms {
    /// At any time, with so many approvals.
    pub fn always(name: &str, approvals: i64) -> Self {
        Self {
            name: name.to_owned(),
            windows: Vec::new(),
            approvals,
            rotation_override: false,
            outlasts_window: false,
        }
    }

    /// When a request that is made at `now` and wants to last until `wanted` ends; `None` outside
    /// every window.
    pub fn ends(&self, now: Timestamp, wanted: Timestamp) -> Option<Timestamp> {
        if self.windows.is_empty() {
            return Some(wanted);
        }
        let mut end = self.closes(now)?;
        if self.outlasts_window {
            return Some(wanted);
        }
        // Windows that meet or overlap are one.
        for _ in 0..STRUNG_MAX {
            if wanted <= end {
                return Some(wanted);
            }
            match self.closes(end) {
                Some(later) if end < later => end = later,
                _ => break,
            }
        }
        Some(end.min(wanted))
    }

    /// The latest end of the windows that are open at `at`.
    fn closes(&self, at: Timestamp) -> Option<Timestamp> {
        let open = |window: &Window| Some(window.open_since(at)?.plus(window.duration()));
        self.windows.iter().filter_map(open).max()
    }

    fn check(&self, faults: &mut Faults) {
        faults.required("name", &self.name, 128);
        faults.range("approvals", self.approvals, 0..=APPROVALS_MAX);
    }

    /// What is wrong with it.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Faults::default();
        self.check(&mut faults);
        faults.found()
    }
}

/// An access policy to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NewAccessPolicy {
    /// What people read; unique in any case.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// At least one; those with a number are edited, others are made.
    pub schedules: Vec<(Option<i64>, AccessTerms)>,
}

impl NewAccessPolicy {
    /// What is wrong with it, but for what is wrong with each schedule.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Faults::default();
        faults.required("name", &self.name, 128);
        faults.line("description", &self.description, 1_000);
        if !(1..=SCHEDULES_MAX).contains(&self.schedules.len()) {
            let text = format!("must be a list of 1 to {SCHEDULES_MAX} schedules");
            faults.add("schedules", text);
        }
        let twice = |place: usize| {
            let before = self.schedules.iter().take(place);
            let (id, terms) = self.schedules.get(place)?;
            let key = terms.name.to_lowercase();
            let mut before = before.filter(|(other, one)| {
                one.name.to_lowercase() == key || (id.is_some() && id == other)
            });
            before.next()
        };
        if (0..self.schedules.len()).any(|place| twice(place).is_some()) {
            faults.add("schedules", "must not hold a name or an id twice");
        }
        faults.found()
    }
}

/// The schedule that serves a request best, of those that are open, and when the request ends:
/// the fewest approvals, then the latest end, then the lowest number.
pub fn best(
    schedules: Vec<AccessSchedule>,
    now: Timestamp,
    wanted: Timestamp,
) -> Option<(AccessSchedule, Timestamp)> {
    let open = schedules.into_iter().filter_map(|schedule| {
        let end = schedule.terms.ends(now, wanted)?;
        Some((schedule, end))
    });
    open.min_by_key(|(schedule, end)| {
        (
            schedule.terms.approvals,
            std::cmp::Reverse(*end),
            schedule.id,
        )
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::super::policy::windows_from_json;
    use super::*;

    /// 2026-06-01, a Monday, at this hour and minute in UTC.
    fn at(hour: u64, minute: u64) -> Timestamp {
        Timestamp(1_780_272_000_000).plus(Duration::from_mins(hour * 60 + minute))
    }

    fn terms(windows: &Value) -> AccessTerms {
        AccessTerms {
            windows: windows_from_json(windows, "").unwrap(),
            ..AccessTerms::always("Office", 0)
        }
    }

    fn office() -> Value {
        json!([
            {"cron": "0 8 * * 1-5", "duration": "4h", "zone": "UTC"},
            {"cron": "0 12 * * 1-5", "duration": "5h", "zone": "UTC"},
        ])
    }

    #[test]
    fn without_windows_a_request_lasts_as_long_as_it_wants() {
        let always = AccessTerms::always("Always", 0);
        assert_eq!(always.ends(at(3, 0), at(900, 0)), Some(at(900, 0)));
    }

    #[test]
    fn a_request_is_made_inside_a_window_and_ends_with_it() {
        let office = terms(&office());
        assert_eq!(office.ends(at(7, 59), at(8, 30)), None);
        assert_eq!(
            office.ends(at(17, 0), at(17, 1)),
            None,
            "its first moment after"
        );
        assert_eq!(office.ends(at(8, 0), at(8, 30)), Some(at(8, 30)));
        // The two windows meet at noon.
        assert_eq!(office.ends(at(9, 0), at(13, 0)), Some(at(13, 0)));
        assert_eq!(office.ends(at(9, 0), at(23, 0)), Some(at(17, 0)));
    }

    #[test]
    fn a_request_outlasts_its_window_where_the_schedule_says_so() {
        let lasting = AccessTerms {
            outlasts_window: true,
            ..terms(&office())
        };
        assert_eq!(lasting.ends(at(16, 59), at(23, 0)), Some(at(23, 0)));
        assert_eq!(lasting.ends(at(17, 0), at(23, 0)), None);
    }

    #[test]
    fn a_window_that_never_closes_ends_nothing_late_and_costs_little() {
        let minutes = json!([{"cron": "* * * * *", "duration": "1m", "zone": "UTC"}]);
        let end = terms(&minutes).ends(at(8, 0), at(24 * 365, 0)).unwrap();
        assert!(at(24, 0) <= end && end < at(25, 0), "{end:?}");
    }

    #[test]
    fn the_clock_of_the_zone_counts_not_that_of_utc() {
        // 08:00 in Berlin is 06:00 UTC in summer.
        let berlin = json!([{"cron": "0 8 * * *", "duration": "1h", "zone": "Europe/Berlin"}]);
        let berlin = terms(&berlin);
        assert_eq!(berlin.ends(at(6, 30), at(9, 0)), Some(at(7, 0)));
        assert_eq!(berlin.ends(at(8, 30), at(9, 0)), None);
    }

    #[test]
    fn the_mildest_open_schedule_is_the_best_and_then_the_longest() {
        let numbered = |id, terms| AccessSchedule { id, terms };
        let strict = AccessTerms::always("Night", 2);
        let schedules = vec![
            numbered(1, strict),
            numbered(2, terms(&office())),
            numbered(3, AccessTerms::always("Always", 0)),
            numbered(4, AccessTerms::always("Also", 0)),
        ];
        let found = |now, wanted| {
            let (schedule, end) = best(schedules.clone(), now, wanted).unwrap();
            (schedule.id, end)
        };
        assert_eq!(
            found(at(9, 0), at(10, 0)),
            (2, at(10, 0)),
            "the lowest number"
        );
        assert_eq!(found(at(9, 0), at(23, 0)), (3, at(23, 0)), "the latest end");
        assert_eq!(found(at(3, 0), at(4, 0)), (3, at(4, 0)), "the open one");
        let closed = vec![numbered(2, terms(&office()))];
        assert_eq!(best(closed, at(3, 0), at(4, 0)), None);
    }

    #[test]
    fn faults_name_what_is_wrong() {
        let policy = |schedules| NewAccessPolicy {
            name: "p".to_owned(),
            description: String::new(),
            schedules,
        };
        let one = |id, name: &str| (id, AccessTerms::always(name, 0));
        let fields = |policy: &NewAccessPolicy| -> Vec<_> {
            policy.faults().iter().map(|fault| fault.field).collect()
        };
        assert!(fields(&policy(vec![one(None, "a"), one(None, "b")])).is_empty());
        assert_eq!(fields(&policy(Vec::new())), ["schedules"]);
        let named = policy(vec![one(None, "a"), one(None, "A")]);
        assert_eq!(fields(&named), ["schedules"]);
        let numbered = policy(vec![one(Some(3), "a"), one(Some(3), "b")]);
        assert_eq!(fields(&numbered), ["schedules"]);
        let faults = AccessTerms::always(" ", 11).faults();
        let fields: Vec<_> = faults.iter().map(|fault| fault.field).collect();
        assert_eq!(fields, ["name", "approvals"]);
    }
}
