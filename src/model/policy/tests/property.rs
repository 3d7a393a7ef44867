//! Whatever comes: the rules hold for any policy at any instant.

use chrono::{NaiveDateTime, TimeDelta};
use chrono_tz::Tz;
use proptest::prelude::*;

use super::*;

const ZONES: [&str; 6] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "UTC",
];

/// Days on which one of the zones moves its clocks, and an ordinary one.
const DAYS: [&str; 9] = [
    "2026-03-29T00:00:00Z",
    "2026-10-25T00:00:00Z",
    "2026-03-08T00:00:00Z",
    "2026-11-01T00:00:00Z",
    "2026-04-05T00:00:00Z",
    "2026-10-04T00:00:00Z",
    "2026-02-15T00:00:00Z",
    "2026-03-22T00:00:00Z",
    "2028-02-29T00:00:00Z",
];

fn patterns() -> impl Strategy<Value = String> {
    let minute = prop::sample::select(vec!["0", "30", "15,45", "*/20", "*", "59"]);
    let hour = prop::sample::select(vec!["2", "1", "*", "1-3", "*/5", "0", "23", "3"]);
    let day = prop::sample::select(vec!["*", "*", "*", "29", "L", "1-7"]);
    let weekday = prop::sample::select(vec!["*", "*", "*", "SUN", "MON-FRI", "+SUN"]);
    (minute, hour, day, weekday).prop_map(|(m, h, d, w)| format!("{m} {h} {d} * {w}"))
}

fn some_policy() -> impl Strategy<Value = Policy> {
    (
        prop::collection::vec(
            (patterns(), 1_u32..600, prop::sample::select(ZONES.to_vec())),
            0..3,
        ),
        prop::collection::vec(
            (patterns(), 1_u32..50, prop::sample::select(ZONES.to_vec())),
            0..2,
        ),
        1_u32..2_000,
        0_u32..=90,
    )
        .prop_filter_map(
            "blackouts leave nothing",
            |(windows, blackouts, hours, percent)| {
                let spans = |spans: Vec<(String, u32, &str)>| -> Vec<Value> {
                    spans
                        .iter()
                        .map(|(cron, m, zone)| window(cron, &format!("{m}m"), zone))
                        .collect()
                };
                Policy::from_json(&json!({
                "name": "p", "max_age": format!("{hours}h"), "jitter": f64::from(percent) / 100.0,
                "windows": spans(windows), "blackouts": spans(blackouts),
            }))
            .ok()
            },
        )
}

fn permitted(policy: &Policy, at: Timestamp) -> bool {
    (policy.windows().is_empty() || policy.windows().iter().any(|w| w.open_since(at).is_some()))
        && policy
            .blackouts()
            .iter()
            .all(|blackout| blackout.around(at).is_none())
}

/// Every opening between two instants, found minute by minute by watching the wall clock: a
/// pattern opens when the clock first shows, or jumps over, a time that it names.
fn watched(window: &Window, pattern: &str, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    let zone: Tz = window.zone();
    let cron = super::super::window::parse_pattern(pattern).unwrap();
    let wall = |at: i64| -> NaiveDateTime {
        DateTime::from_timestamp(at, 0)
            .unwrap()
            .with_timezone(&zone)
            .naive_local()
    };
    let minute = TimeDelta::minutes(1);
    let (mut found, start) = (Vec::new(), from.0 / 1_000);
    // A day earlier, so that times which come again are known as such.
    let mut shown = wall(start - 86_400);
    for now in (start - 86_400..to.0 / 1_000).step_by(60) {
        let mut opens = false;
        while shown < wall(now) {
            shown += minute;
            opens |= cron.is_time_matching(&shown.and_utc()).unwrap();
        }
        if opens && now >= start {
            found.push(Timestamp(now * 1_000));
        }
    }
    found
}

proptest! {

    #[test]
    fn the_search_finds_what_watching_the_clock_finds(
        pattern in patterns(), zone in prop::sample::select(ZONES.to_vec()),
        day in prop::sample::select(DAYS.to_vec()), offset in 0_i64..172_800_000,
    ) {
        let window = one_window(&pattern, zone);
        let from = at(day).minus(2 * DAY);
        let to = at(day).plus(3 * DAY);
        let openings = watched(&window, &pattern, from, to);
        let now = Timestamp(at(day).minus(DAY / 2).0 + offset);
        let next = openings.iter().copied().find(|opening| *opening >= now);
        let found = window.next_start(now).filter(|found| *found < to);
        prop_assert_eq!(found, next, "{} {} {}", pattern, zone, now);
        let last = openings.iter().copied().rfind(|opening| *opening <= now);
        let found = window.last_start(now).filter(|found| *found >= from);
        prop_assert_eq!(found, last, "{} {} {}", pattern, zone, now);
    }

    #[test]
    fn a_run_is_permitted_never_past_and_in_time_unless_it_says_so(
        policy in some_policy(), day in prop::sample::select(DAYS.to_vec()),
        age_hours in 0_i64..3_000, offset in -86_400_000_i64..86_400_000, dice in any::<u64>(),
    ) {
        let now = Timestamp(at(day).0 + offset);
        let last = Timestamp(now.0 - age_hours * 3_600_000);
        let due = next_run(&policy, Some(last), last, dice, now);
        prop_assert!(due.at >= now);
        prop_assert!(due.at > last);
        prop_assert!(permitted(&policy, due.at), "{} {:?}", due.at, policy.to_json());
        prop_assert_eq!(due.latest, last.plus(policy.max_age()));
        prop_assert_eq!(due.cannot_meet, due.at > due.latest);
        if due.cannot_meet {
            // Nothing permitted was left before: look at every quarter of an hour.
            let mut look = now.max(last);
            while look < due.latest.min(now.plus(20 * DAY)) {
                let opening = policy.windows().iter().filter_map(|w| w.next_start(look)).min();
                let Some(opening) = opening.filter(|opening| *opening <= due.latest) else { break };
                if opening > last {
                    prop_assert!(
                        policy.blackouts().iter().any(|b| b.around(opening).is_some()),
                        "{} was possible", opening
                    );
                }
                look = opening.plus(Duration::from_mins(15));
            }
        }
        prop_assert_eq!(next_run(&policy, Some(last), last, dice, now), due, "the same again");
    }

    #[test]
    fn later_is_never_answered_with_earlier(
        policy in some_policy(), day in prop::sample::select(DAYS.to_vec()),
        age_hours in 0_i64..3_000, wait in 0_i64..400_000_000, dice in any::<u64>(),
    ) {
        let now = at(day);
        let last = Timestamp(now.0 - age_hours * 3_600_000);
        let first = next_run(&policy, Some(last), last, dice, now);
        let later = next_run(&policy, Some(last), last, dice, Timestamp(now.0 + wait));
        prop_assert!(later.at >= first.at);
        let fresher = next_run(&policy, Some(Timestamp(last.0 + wait)), last, dice, now);
        prop_assert!(fresher.at >= first.at);
    }

    #[test]
    fn changing_at_every_run_never_runs_twice_in_one_opening(
        policy in some_policy(), day in prop::sample::select(DAYS.to_vec()), dice in any::<u64>(),
    ) {
        let mut last = at(day).minus(3 * DAY);
        for _ in 0..8 {
            // The change itself takes a moment.
            let now = last.plus(Duration::from_secs(1));
            let due = next_run(&policy, Some(now), now, dice, now);
            let opened = policy.windows().iter().filter_map(|w| w.open_since(due.at)).max();
            if let Some(opened) = opened {
                prop_assert!(opened > last, "{} again in {}", due.at, opened);
            }
            last = due.at;
        }
    }

    #[test]
    fn no_instant_whatever_breaks_it(
        policy in some_policy(), last in any::<i64>(), now in any::<i64>(), dice in any::<u64>(),
    ) {
        let due = next_run(&policy, Some(Timestamp(last)), Timestamp(last), dice, Timestamp(now));
        prop_assert!(due.at >= Timestamp(now));
        for run in preview(&policy, Timestamp(now), 3) {
            prop_assert!(run.at_utc >= Timestamp(now));
        }
    }

    #[test]
    fn previews_are_in_order_permitted_and_ahead(
        policy in some_policy(), day in prop::sample::select(DAYS.to_vec()),
    ) {
        let now = at(day);
        let runs = preview(&policy, now, 12);
        prop_assert!(!runs.is_empty());
        let mut last = Timestamp(now.0 - 1);
        for run in runs {
            prop_assert!(run.at_utc > last);
            prop_assert!(permitted(&policy, run.at_utc));
            last = run.at_utc;
        }
    }

    #[test]
    fn any_text_is_a_pattern_or_a_fault(pattern in "\\PC{0,20}", digits in "[0-9*/,#LW+?@ -]{5,25}") {
        for text in [pattern, digits] {
            let document = json!({ "name": "p", "max_age": 1, "windows": [window(&text, "1h", "UTC")] });
            if let Ok(policy) = Policy::from_json(&document) {
                prop_assert!(!preview(&policy, at(DAYS[0]), 1).is_empty(), "{:?}", text);
            }
        }
    }
}
