//! Reading and refusing documents.

use super::*;

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
