//! Choosing a run, and the one question that the service asks.

use std::collections::BTreeSet;

use super::*;

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

#[test]
fn the_one_start_of_a_year_is_found_however_far_it_is() {
    // Sundays are closed in Casablanca, but for the hour that comes twice when Ramadan begins.
    let policy = policy(json!({
        "name": "p", "max_age": "1h", "jitter": 0.0,
        "windows": [window("0 2 * * SUN", "17m", "UTC")],
        "blackouts": [window("*/20 * * * +SUN", "20m", "Africa/Casablanca")],
    }));
    let now = at("2026-03-08T00:00:00Z");
    let due = next_run(&policy, Some(now), now, 0, now);
    assert!(
        due.at >= at("2027-01-01T00:00:00Z") && due.cannot_meet,
        "{due:?}"
    );
    assert!(policy.windows()[0].open_since(due.at).is_some());
    assert_eq!(policy.blackouts()[0].around(due.at), None);
}
