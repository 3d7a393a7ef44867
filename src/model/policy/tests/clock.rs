//! Clock changes, leap days and fractions of a second.

use super::*;

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
