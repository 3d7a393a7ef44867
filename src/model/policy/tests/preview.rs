//! What previews show and say.

use super::*;

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
