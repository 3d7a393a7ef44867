//! Policies as a whole: reading, choosing a run, clock changes, previews.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, TimeDelta};
use chrono_tz::Tz;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::Timestamp;

const DAY: Duration = Duration::from_hours(24);

fn at(text: &str) -> Timestamp {
    Timestamp::from_utc(DateTime::parse_from_rfc3339(text).unwrap().to_utc())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "callers write the document in place"
)]
fn policy(document: Value) -> Policy {
    Policy::from_json(&document).unwrap()
}

fn window(cron: &str, duration: &str, zone: &str) -> Value {
    json!({ "cron": cron, "duration": duration, "zone": zone })
}

fn one_window(cron: &str, zone: &str) -> Window {
    let policy =
        policy(json!({ "name": "p", "max_age": "30d", "windows": [window(cron, "1h", zone)] }));
    policy.windows()[0].clone()
}

fn faults(document: &Value) -> Vec<(String, String)> {
    Policy::from_json(document)
        .unwrap_err()
        .faults
        .into_iter()
        .map(|fault| (fault.pointer, fault.message))
        .collect()
}

fn inputs(policy: Option<&Policy>, now: Timestamp) -> DueInputs<'_> {
    DueInputs {
        mode: Mode::Auto,
        vendor: None,
        policy,
        override_next: None,
        last_change: None,
        created: at("2026-01-01T00:00:00Z"),
        dice: 0,
        now,
    }
}

// Reading.

#[test]
fn a_policy_needs_only_a_name_and_a_limit() {
    let policy = policy(json!({ "name": " monthly ", "max_age": 30 }));
    assert_eq!(policy.name(), "monthly");
    assert_eq!(policy.mode(), Mode::Flag);
    assert_eq!(policy.max_age(), 30 * DAY);
    assert!((policy.jitter_ratio() - 0.1).abs() < 1e-9);
    assert_eq!(policy.priority(), 5);
    assert_eq!(policy.check_every(), DAY);
    assert_eq!(policy.retry(), &Retry::default());
    assert!(!policy.change_after_release() && !policy.change_on_mismatch());
    assert!(policy.windows().is_empty() && policy.risk_analysis().is_none());
}

#[test]
fn a_policy_survives_being_written_and_read() {
    let document = json!({
        "name": "nightly", "mode": "auto", "max_age": "45d12h", "jitter": 0.25, "priority": 0,
        "windows": [window("30 2 * * MON-FRI", "4h", "Europe/Berlin")],
        "blackouts": [
            window("0 0 24 12 *", "9d", "Europe/Berlin"),
            { "from": "2026-06-01T00:00:00+02:00", "until": "2026-06-08T00:00:00Z" },
        ],
        "retry": { "attempts": 3, "first": "2m", "factor": 3, "up_to": "30m", "spread": 0 },
        "check_every": "12h", "change_after_release": true, "change_on_mismatch": true,
        "risk_analysis": { "reference": "RA-12", "owner": "Ops", "review_date": "2027-01-31" },
    });
    let policy = policy(document);
    let text = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy);
    assert_eq!(
        policy.to_json()["blackouts"][1]["from"],
        "2026-05-31T22:00:00Z"
    );
    assert_eq!(
        policy.risk_analysis().unwrap().review_date.to_string(),
        "2027-01-31"
    );
    let builtin = Policy::builtin();
    assert_eq!(Policy::from_json(&builtin.to_json()).unwrap(), builtin);
}

#[test]
fn every_fault_is_reported_at_once_with_its_place() {
    let found = faults(&json!({
        "mode": "always", "max_age": "0d", "jitter": 0.95, "priority": 10,
        "windows": [
            window("0 0 31 2 *", "4h", "Europe/Berlin"),
            { "cron": "0 0 * *", "duration": "-1h", "zone": "Mars/Olympus", "colour": "red" },
            "nightly",
        ],
        "blackouts": [{ "from": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z" }],
        "retry": { "attempts": 0, "first": "2h", "up_to": "1h", "spread": -0.1 },
        "check_every": 5, "change_on_mismatch": "yes",
        "risk_analysis": { "owner": "", "review_date": "soon" },
        "stagger": "5m", "a/b~c": 1,
    }));
    let places: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
    let mut expected = vec![
        "/name",
        "/mode",
        "/max_age",
        "/jitter",
        "/priority",
        "/windows/0/cron",
        "/windows/1/cron",
        "/windows/1/duration",
        "/windows/1/zone",
        "/windows/1/colour",
        "/windows/2",
        "/blackouts/0/until",
        "/retry/attempts",
        "/retry/spread",
        "/retry/up_to",
        "/check_every",
        "/change_on_mismatch",
        "/risk_analysis/reference",
        "/risk_analysis/owner",
        "/risk_analysis/review_date",
        "/stagger",
        "/a~1b~0c",
    ];
    let mut sorted = places.clone();
    sorted.sort_unstable();
    expected.sort_unstable();
    assert_eq!(sorted, expected, "{found:#?}");
    let said = |pointer: &str| &found.iter().find(|(place, _)| place == pointer).unwrap().1;
    assert_eq!(said("/windows/0/cron"), "never matches any day");
    assert!(said("/stagger").starts_with("unknown field"));
    assert!(said("/windows/1/cron").contains("five fields"));
}

#[test]
fn what_is_no_object_is_one_fault() {
    for document in [json!(null), json!([]), json!("x"), json!(1)] {
        assert_eq!(
            faults(&document),
            [(String::new(), "must be an object".to_owned())]
        );
    }
}

#[test]
fn patterns_that_cannot_be_meant_are_refused() {
    for pattern in [
        "0 0 31 2 *",
        "0 0 30 2 *",
        "0 0 31 4,6,9,11 *",
        "0 0 31 2 +MON",
        "60 0 * * *",
        "0 24 * * *",
        "0 0 0 * *",
        "0 0 * 13 *",
        "0 0 * * 8",
        "0 0 * * * *",
        "0 0 * * * * *",
        "@daily",
        "",
        "a b c d e",
        "0 0 * * ü",
        "*/0 * * * *",
        "5-1 * * * *",
    ] {
        let found = faults(&json!({
            "name": "p", "max_age": 1, "windows": [window(pattern, "1h", "UTC")],
        }));
        assert_eq!(found.len(), 1, "{pattern:?}: {found:?}");
        assert_eq!(found[0].0, "/windows/0/cron", "{pattern:?}");
    }
    for pattern in [
        "0 0 29 2 *",
        "0 0 29 2 +MON",
        "0 0 L * *",
        "0 0 * * MON#1",
        "*/7 * ? * ?",
    ] {
        one_window(pattern, "UTC");
    }
}

#[test]
fn blackouts_that_leave_no_start_are_refused() {
    let closed = json!({
        "name": "p", "max_age": 30, "windows": [window("0 2 * * *", "4h", "Europe/Berlin")],
        "blackouts": [window("0 0 * * *", "12h", "Europe/Berlin")],
    });
    assert_eq!(faults(&closed)[0].0, "/blackouts");
    let always = json!({
        "name": "p", "max_age": 30, "blackouts": [window("* * * * *", "1m", "UTC")],
    });
    assert_eq!(faults(&always)[0].0, "/blackouts");
}

#[test]
fn a_zone_is_a_name_and_not_an_offset() {
    for zone in ["+02:00", "UTC+2", "CEST2", "berlin", ""] {
        let document = json!({
            "name": "p", "max_age": 30, "windows": [window("0 2 * * *", "4h", zone)],
        });
        assert_eq!(faults(&document)[0].0, "/windows/0/zone", "{zone}");
    }
}

#[test]
fn waits_between_attempts_double_up_to_an_hour_and_spread_by_half() {
    let retry = Retry::default();
    for (attempt, minutes) in [
        (1, 1),
        (2, 2),
        (3, 4),
        (6, 32),
        (7, 60),
        (8, 60),
        (u32::MAX, 60),
    ] {
        let middle = Duration::from_mins(minutes);
        let waits: Vec<Duration> = (0..200).map(|dice| retry.wait(attempt, dice)).collect();
        assert!(
            waits
                .iter()
                .all(|wait| (middle / 2..middle * 3 / 2).contains(wait)),
            "{attempt}"
        );
        let spread = waits
            .iter()
            .max()
            .unwrap()
            .saturating_sub(*waits.iter().min().unwrap());
        assert!(spread > middle * 8 / 10, "{attempt}: {spread:?}");
    }
}

// Choosing a run.

#[test]
fn without_windows_an_account_is_due_when_its_age_says_so() {
    let policy = policy(json!({ "name": "p", "max_age": 30, "jitter": 0 }));
    let created = at("2026-01-01T12:00:00Z");
    let due = next_run(&policy, None, created, 7, created);
    assert_eq!(due.at, at("2026-01-31T12:00:00Z"));
    assert!(!due.cannot_meet);

    let changed = at("2026-01-10T00:00:00Z");
    assert_eq!(
        next_run(&policy, Some(changed), created, 7, changed).at,
        at("2026-02-09T00:00:00Z")
    );

    let late = at("2026-03-01T00:00:00Z");
    let due = next_run(&policy, Some(changed), created, 7, late);
    assert_eq!(
        (due.at, due.latest, due.cannot_meet),
        (late, at("2026-02-09T00:00:00Z"), true)
    );
}

#[test]
fn jitter_comes_early_spreads_accounts_and_stays_the_same() {
    let policy = policy(json!({ "name": "p", "max_age": 100 }));
    let created = at("2026-01-01T00:00:00Z");
    let latest = created.plus(100 * DAY);
    let runs: Vec<Timestamp> = (0..1_000)
        .map(|dice| next_run(&policy, None, created, dice, created).at)
        .collect();
    assert!(
        runs.iter()
            .all(|run| *run <= latest && *run > latest.minus(10 * DAY))
    );
    let days: BTreeSet<u64> = runs
        .iter()
        .map(|run| latest.since(*run).as_secs() / 86_400)
        .collect();
    assert_eq!(days.len(), 10, "every day of the ten gets its share");
    for day in 0..10 {
        let share = runs
            .iter()
            .filter(|run| latest.since(**run).as_secs() / 86_400 == day)
            .count();
        assert!((60..140).contains(&share), "day {day}: {share} of 1000");
    }
    assert_eq!(next_run(&policy, None, created, 42, created).at, runs[42]);
}

#[test]
fn a_run_moves_back_to_the_latest_opening() {
    let policy = policy(json!({
        "name": "p", "max_age": 30, "jitter": 0,
        "windows": [window("0 22 * * SAT", "4h", "Europe/Berlin")],
    }));
    let changed = at("2026-06-01T09:00:00Z");
    let due = next_run(&policy, Some(changed), changed, 0, changed);
    // Due by Wednesday 1 July; the Saturday before is 27 June, 22:00 in summer.
    assert_eq!(due.at, at("2026-06-27T20:00:00Z"));
    assert_eq!(due.latest, at("2026-07-01T09:00:00Z"));
    assert!(!due.cannot_meet);
}

#[test]
fn where_no_opening_is_left_the_next_one_comes_and_says_so() {
    let policy = policy(json!({
        "name": "p", "max_age": "1d", "windows": [window("0 22 * * SAT", "4h", "Europe/Berlin")],
    }));
    let changed = at("2026-06-01T09:00:00Z");
    let due = next_run(&policy, Some(changed), changed, 0, changed);
    assert_eq!(due.at, at("2026-06-06T20:00:00Z"));
    assert!(due.cannot_meet);
}

#[test]
fn an_open_window_is_used_at_once_but_only_once() {
    let policy = policy(json!({
        "name": "p", "max_age": 1, "jitter": 0.5,
        "windows": [window("0 2 * * *", "4h", "UTC")],
    }));
    let now = at("2026-06-10T03:00:00Z");
    let stale = at("2026-06-01T00:00:00Z");
    assert_eq!(next_run(&policy, Some(stale), stale, 0, now).at, now);
    let fresh = at("2026-06-10T02:59:00Z");
    assert_eq!(
        next_run(&policy, Some(fresh), stale, 0, now).at,
        at("2026-06-11T02:00:00Z")
    );
    let closed = at("2026-06-10T06:00:00Z");
    assert_eq!(
        next_run(&policy, Some(stale), stale, 0, closed).at,
        at("2026-06-11T02:00:00Z")
    );
}

#[test]
fn no_run_starts_in_a_blackout() {
    let policy = policy(json!({
        "name": "p", "max_age": 30, "jitter": 0,
        "windows": [window("0 2 * * *", "4h", "Europe/Berlin")],
        "blackouts": [
            window("0 0 20 12 *", "20d", "Europe/Berlin"),
            { "from": "2027-03-01T00:00:00Z", "until": "2027-03-20T03:00:00Z" },
        ],
    }));
    // Due on 29 December: the night before the blackout.
    let changed = at("2026-11-29T12:00:00Z");
    let due = next_run(&policy, Some(changed), changed, 0, changed);
    assert_eq!(
        (due.at, due.cannot_meet),
        (at("2026-12-19T01:00:00Z"), false)
    );
    // In the blackout already: the night after it (20 times 24 hours from midnight).
    let due = next_run(
        &policy,
        Some(changed),
        changed,
        0,
        at("2026-12-29T12:00:00Z"),
    );
    assert_eq!(
        (due.at, due.cannot_meet),
        (at("2027-01-09T01:00:00Z"), true)
    );
    // The one-time blackout ends within an open window.
    let due = next_run(
        &policy,
        Some(changed),
        changed,
        0,
        at("2027-03-05T00:00:00Z"),
    );
    assert_eq!(due.at, at("2027-03-20T03:00:00Z"));
}

#[test]
fn blackouts_without_windows_push_a_run_ahead_of_them() {
    let policy = policy(json!({
        "name": "p", "max_age": 10, "jitter": 0,
        "blackouts": [{ "from": "2026-01-05T00:00:00Z", "until": "2026-01-20T00:00:00Z" }],
    }));
    let changed = at("2026-01-01T00:00:00Z");
    let due = next_run(&policy, Some(changed), changed, 0, changed);
    assert_eq!(
        (due.at, due.cannot_meet),
        (Timestamp(at("2026-01-05T00:00:00Z").0 - 1), false)
    );
    let due = next_run(
        &policy,
        Some(changed),
        changed,
        0,
        at("2026-01-06T00:00:00Z"),
    );
    assert_eq!(
        (due.at, due.cannot_meet),
        (at("2026-01-20T00:00:00Z"), true)
    );
}

// One question for the service.

#[test]
fn a_date_set_by_hand_goes_before_everything_until_it_has_had_its_effect() {
    let policy = policy(json!({
        "name": "p", "max_age": 30, "windows": [window("0 2 * * *", "4h", "UTC")],
    }));
    let now = at("2026-06-10T12:00:00Z");
    let set = at("2026-06-11T17:00:00Z");
    let mut inputs = DueInputs {
        override_next: Some(set),
        ..inputs(Some(&policy), now)
    };
    inputs.created = now;
    assert_eq!(due(&inputs).unwrap().at, set);
    assert!(!due(&inputs).unwrap().cannot_meet);
    inputs.override_next = Some(at("2026-06-01T00:00:00Z"));
    assert_eq!(due(&inputs).unwrap().at, now, "a date in the past is now");
    inputs.override_next = Some(at("2027-06-01T00:00:00Z"));
    assert!(due(&inputs).unwrap().cannot_meet);
    inputs.override_next = Some(set);
    inputs.last_change = Some(set.plus(Duration::from_mins(1)));
    inputs.now = set.plus(Duration::from_mins(1));
    assert_ne!(
        due(&inputs).unwrap().at,
        inputs.now,
        "the change has happened"
    );
}

#[test]
fn the_vendors_schedule_goes_before_the_policy_where_it_is_managed() {
    let policy = policy(json!({ "name": "p", "max_age": 10, "jitter": 0 }));
    let now = at("2026-01-01T12:00:00Z");
    let vendor = VendorSchedule::parse("first", None, "23:30").unwrap();
    let base = inputs(Some(&policy), now);
    let managed = DueInputs {
        vendor: Some(vendor),
        ..base
    };
    assert_eq!(due(&managed).unwrap().at, at("2026-01-01T23:30:00Z"));
    let flagged = DueInputs {
        mode: Mode::Flag,
        ..managed
    };
    assert_eq!(due(&flagged).unwrap().at, at("2026-01-11T00:00:00Z"));
    let manual = DueInputs {
        mode: Mode::Manual,
        override_next: Some(now),
        ..managed
    };
    assert_eq!(due(&manual), None);
    let nobody = due(&inputs(None, now)).unwrap();
    assert_eq!(nobody.latest, at("2026-04-01T00:00:00Z"));
    assert!(nobody.at > at("2026-03-22T00:00:00Z") && nobody.at <= nobody.latest);
}

#[test]
fn settings_are_settled_field_by_field() {
    let policy = policy(json!({ "name": "p", "mode": "auto", "max_age": 10 }));
    let vendor = VendorSchedule::parse("last", None, "06:00").unwrap();
    let none = Overrides::default();
    let account = Overrides {
        mode: Some(Mode::Manual),
        schedule: None,
    };
    let system = Overrides {
        mode: Some(Mode::Flag),
        schedule: Some(vendor),
    };

    let found = Effective::of(&account, &system, Some(&policy));
    assert_eq!(
        (found.mode, found.mode_from),
        (Mode::Manual, Origin::Account)
    );
    assert_eq!(
        (found.vendor(), found.schedule_from),
        (Some(vendor), Origin::System)
    );

    let found = Effective::of(&none, &none, Some(&policy));
    assert_eq!((found.mode, found.mode_from), (Mode::Auto, Origin::Policy));
    assert_eq!(found.schedule, Schedule::Policy(&policy));

    let found = Effective::of(&none, &none, None);
    assert_eq!((found.mode, found.mode_from), (Mode::Flag, Origin::Default));
    assert_eq!((found.schedule, found.vendor()), (Schedule::Default, None));
}

// Clock changes.

#[test]
fn a_time_that_does_not_exist_is_the_moment_the_clocks_jump() {
    for (zone, pattern, before, run, after) in [
        (
            "Europe/Berlin",
            "30 2 * * *",
            "2026-03-28T12:00:00Z",
            "2026-03-29T01:00:00Z",
            "2026-03-30T00:30:00Z",
        ),
        (
            "America/New_York",
            "30 2 * * *",
            "2026-03-07T12:00:00Z",
            "2026-03-08T07:00:00Z",
            "2026-03-09T06:30:00Z",
        ),
        (
            "Australia/Lord_Howe",
            "15 2 * * *",
            "2026-10-03T00:00:00Z",
            "2026-10-03T15:30:00Z",
            "2026-10-04T15:15:00Z",
        ),
        // Moved forward by a quarter of an hour at the start of 1986.
        (
            "Asia/Kathmandu",
            "5 0 * * *",
            "1985-12-31T00:00:00Z",
            "1985-12-31T18:30:00Z",
            "1986-01-01T18:20:00Z",
        ),
        (
            "Africa/Casablanca",
            "30 2 * * *",
            "2026-03-21T12:00:00Z",
            "2026-03-22T02:00:00Z",
            "2026-03-23T01:30:00Z",
        ),
        // A whole day left out.
        (
            "Pacific/Apia",
            "0 9 30 12 *",
            "2011-12-29T12:00:00Z",
            "2011-12-30T10:00:00Z",
            "2012-12-29T19:00:00Z",
        ),
    ] {
        let window = one_window(pattern, zone);
        assert_eq!(window.next_start(at(before)), Some(at(run)), "{zone}");
        assert_eq!(window.next_start(at(run)), Some(at(run)), "{zone}");
        assert_eq!(window.last_start(at(run)), Some(at(run)), "{zone}");
        assert_eq!(
            window.next_start(Timestamp(at(run).0 + 1)),
            Some(at(after)),
            "{zone}"
        );
        assert_eq!(
            window.last_start(Timestamp(at(after).0 - 1)),
            Some(at(run)),
            "{zone}"
        );
    }
}

#[test]
fn a_time_that_comes_twice_runs_once() {
    for (zone, pattern, before, run, after) in [
        (
            "Europe/Berlin",
            "30 2 * * *",
            "2026-10-24T12:00:00Z",
            "2026-10-25T00:30:00Z",
            "2026-10-26T01:30:00Z",
        ),
        (
            "America/New_York",
            "30 1 * * *",
            "2026-10-31T12:00:00Z",
            "2026-11-01T05:30:00Z",
            "2026-11-02T06:30:00Z",
        ),
        (
            "Australia/Lord_Howe",
            "45 1 * * *",
            "2026-04-04T00:00:00Z",
            "2026-04-04T14:45:00Z",
            "2026-04-05T15:15:00Z",
        ),
        (
            "Africa/Casablanca",
            "30 2 * * *",
            "2026-02-14T12:00:00Z",
            "2026-02-15T01:30:00Z",
            "2026-02-16T02:30:00Z",
        ),
    ] {
        let window = one_window(pattern, zone);
        assert_eq!(window.next_start(at(before)), Some(at(run)), "{zone}");
        assert_eq!(
            window.next_start(Timestamp(at(run).0 + 1)),
            Some(at(after)),
            "{zone}"
        );
        assert_eq!(
            window.last_start(Timestamp(at(after).0 - 1)),
            Some(at(run)),
            "{zone}"
        );
        // Between the two, on the second pass of the clock.
        assert_eq!(
            window.last_start(at(run).plus(Duration::from_mins(50))),
            Some(at(run)),
            "{zone}"
        );
    }
}

#[test]
fn a_policy_keeps_its_run_on_both_days_of_the_clock_change() {
    let policy = policy(json!({
        "name": "p", "max_age": 1, "jitter": 0,
        "windows": [window("30 2 * * *", "1h", "Europe/Berlin")],
    }));
    for (from, runs) in [
        (
            "2026-03-28T01:31:00Z",
            [
                "2026-03-29T01:00:00Z",
                "2026-03-30T00:30:00Z",
                "2026-03-31T00:30:00Z",
            ],
        ),
        (
            "2026-10-24T00:31:00Z",
            [
                "2026-10-25T00:30:00Z",
                "2026-10-26T01:30:00Z",
                "2026-10-27T01:30:00Z",
            ],
        ),
    ] {
        let mut last = at(from);
        for run in runs {
            last = next_run(&policy, Some(last), last, 0, last).at;
            assert_eq!(last, at(run));
        }
    }
}

#[test]
fn leap_days_and_short_months_find_their_next_run() {
    let leap = one_window("0 12 29 2 *", "UTC");
    assert_eq!(
        leap.next_start(at("2026-01-01T00:00:00Z")),
        Some(at("2028-02-29T12:00:00Z"))
    );
    assert_eq!(
        leap.next_start(at("2097-01-01T00:00:00Z")),
        Some(at("2104-02-29T12:00:00Z"))
    );
    let long = one_window("0 12 31 * *", "UTC");
    assert_eq!(
        long.next_start(at("2026-04-01T00:00:00Z")),
        Some(at("2026-05-31T12:00:00Z"))
    );
    assert_eq!(
        long.last_start(at("2026-05-01T00:00:00Z")),
        Some(at("2026-03-31T12:00:00Z"))
    );
    let decade = policy(json!({
        "name": "p", "max_age": "3650d", "windows": [window("0 12 29 2 *", "1m", "Asia/Kathmandu")],
    }));
    let created = at("2026-01-01T00:00:00Z");
    let due = next_run(&decade, None, created, 3, created);
    assert_eq!(due.at, at("2032-02-29T06:15:00Z"));
}

#[test]
fn a_fraction_of_a_second_neither_loses_nor_repeats_an_opening() {
    let window = one_window("0 12 * * *", "UTC");
    let noon = at("2026-05-05T12:00:00Z");
    assert_eq!(window.last_start(Timestamp(noon.0 + 500)), Some(noon));
    assert_eq!(
        window.last_start(Timestamp(noon.0 - 1)),
        Some(noon.minus(DAY))
    );
    assert_eq!(window.next_start(Timestamp(noon.0 - 500)), Some(noon));
    assert_eq!(
        window.next_start(Timestamp(noon.0 + 1)),
        Some(noon.plus(DAY))
    );
}

// Previews.

#[test]
fn a_preview_shows_twelve_runs_in_the_zone_and_in_utc_with_clock_changes() {
    let policy = policy(json!({
        "name": "p", "max_age": 30, "windows": [window("30 2 * * *", "4h", "Europe/Berlin")],
    }));
    let runs = preview(&policy, at("2026-03-27T12:00:00Z"), 12);
    assert_eq!(runs.len(), 12);
    assert_eq!(runs[0].local, "2026-03-28 02:30 +01:00 Europe/Berlin");
    assert_eq!(runs[0].note, None);
    assert_eq!(runs[1].at_utc, at("2026-03-29T01:00:00Z"));
    assert_eq!(runs[1].local, "2026-03-29 03:00 +02:00 Europe/Berlin");
    assert_eq!(
        runs[1].note.as_deref(),
        Some("02:30 does not exist on 29 March: 03:00")
    );
    assert_eq!(runs[2].local, "2026-03-30 02:30 +02:00 Europe/Berlin");
    let runs = preview(&policy, at("2026-10-24T12:00:00Z"), 2);
    assert_eq!(runs[0].at_utc, at("2026-10-25T00:30:00Z"));
    assert_eq!(
        runs[0].note.as_deref(),
        Some("02:30 comes twice: runs once")
    );
    assert_eq!(runs[1].note, None);
}

#[test]
fn a_preview_says_what_may_surprise() {
    let note = |document: Value, from: &str, run: usize| {
        preview(&policy(document), at(from), 12)[run]
            .note
            .clone()
            .unwrap_or_default()
    };
    let windows = json!([window("0 2 13 * FRI", "1h", "UTC")]);
    let said = note(
        json!({ "name": "p", "max_age": 30, "windows": windows }),
        "2026-01-01T00:00:00Z",
        0,
    );
    assert!(said.contains("ORed"), "{said}");
    let windows = json!([window("0 2 13 * +FRI", "1h", "UTC")]);
    let said = note(
        json!({ "name": "p", "max_age": 3000, "windows": windows }),
        "2026-01-01T00:00:00Z",
        0,
    );
    assert_eq!(said, "", "both are wanted here");

    let windows = json!([window("0 2 * * SUN", "1h", "UTC")]);
    let said = note(
        json!({ "name": "p", "max_age": 5, "windows": windows }),
        "2026-01-01T00:00:00Z",
        1,
    );
    assert_eq!(said, "max_age of 5d cannot be met: 7d since the run before");

    let windows = json!([window("0 2 * * *", "1h", "UTC")]);
    let blackouts = json!([{ "from": "2026-01-02T00:00:00Z", "until": "2026-01-04T02:30:00Z" }]);
    let document =
        json!({ "name": "p", "max_age": 30, "windows": windows, "blackouts": blackouts });
    let runs = preview(&policy(document), at("2026-01-01T12:00:00Z"), 3);
    assert_eq!(runs[0].at_utc, at("2026-01-04T02:30:00Z"));
    assert_eq!(
        runs[0].note.as_deref(),
        Some("starts late: a blackout ends within the window; 2 earlier left out by a blackout")
    );

    // Two windows that wait for the same blackout make one run.
    let windows = json!([
        window("0 2 * * *", "2h", "UTC"),
        window("15 2 * * *", "2h", "UTC")
    ]);
    let document =
        json!({ "name": "p", "max_age": 30, "windows": windows, "blackouts": blackouts });
    let runs = preview(&policy(document), at("2026-01-03T12:00:00Z"), 2);
    assert_eq!(runs[0].at_utc, at("2026-01-04T02:30:00Z"));
    assert_eq!(runs[1].at_utc, at("2026-01-05T02:00:00Z"));

    let runs = preview(&Policy::builtin(), at("2026-01-01T00:00:00Z"), 3);
    assert_eq!(runs[0].local, "2026-04-01 00:00 +00:00 UTC");
    assert!(runs[0].note.as_deref().unwrap().starts_with("no windows"));
    assert_eq!(
        preview(&Policy::builtin(), at("2026-01-01T00:00:00Z"), 1_000_000).len(),
        100
    );
}

// Whatever comes.

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
    let cron = super::window::parse_pattern(pattern).unwrap();
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
