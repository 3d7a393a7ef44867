//! What a policy is going to do, before it is saved.
//!
//! Invariant: every run shown is one that the scheduler would choose.

use std::time::Duration;

use chrono::{NaiveDateTime, Timelike};

use super::due::{place, search};
use super::window::Opening;
use super::{Policy, Window, span_text};
use crate::model::Timestamp;

/// Runs in one preview; more tell nobody anything.
const RUNS_MAX: usize = 100;
/// Openings looked at, those in blackouts included.
const OPENINGS_MAX: usize = 2_000;

/// One coming run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviewRun {
    /// When it starts.
    pub at_utc: Timestamp,
    /// The same on the wall clock, for example `2026-03-29 03:00 +02:00 Europe/Berlin`.
    pub local: String,
    /// What may surprise: clock changes, a `max_age` that cannot be met, days of which either is enough.
    pub note: Option<String>,
}

/// The next `n` runs (at most 100) from `now` on.
///
/// With windows these are their openings outside blackouts. Without windows every account has its
/// own times; shown is one that changes now and takes no jitter.
pub fn preview(policy: &Policy, now: Timestamp, n: usize) -> Vec<PreviewRun> {
    let n = n.min(RUNS_MAX);
    let mut runs = if policy.windows().is_empty() {
        without_windows(policy, now, n)
    } else {
        openings(policy, now, n)
    };
    if let Some(first) = runs.first_mut() {
        if policy.windows().iter().any(Window::either_day) {
            add(
                &mut first.note,
                "day of month and day of week are ORed: either is enough",
            );
        }
        if policy.windows().is_empty() {
            let text = format!(
                "no windows: each account runs up to {} after its own last change",
                span_text(policy.max_age())
            );
            add(&mut first.note, &text);
        }
    }
    runs
}

fn without_windows(policy: &Policy, now: Timestamp, n: usize) -> Vec<PreviewRun> {
    let mut runs = Vec::with_capacity(n);
    let mut last = now;
    for _ in 0..n {
        let due = place(policy, last, Duration::ZERO, last);
        let Some(utc) = due.at.to_utc() else { break };
        let mut note = None;
        if due.cannot_meet {
            add(
                &mut note,
                "max_age cannot be met: blackouts stand in the way",
            );
        }
        let local = format!("{} UTC", utc.format("%Y-%m-%d %H:%M %:z"));
        runs.push(PreviewRun {
            at_utc: due.at,
            local,
            note,
        });
        last = due.at;
    }
    runs
}

fn openings(policy: &Policy, now: Timestamp, n: usize) -> Vec<PreviewRun> {
    let mut runs: Vec<PreviewRun> = Vec::with_capacity(n);
    let (mut from, mut skipped) = (now, 0_usize);
    for _ in 0..OPENINGS_MAX {
        if runs.len() >= n {
            break;
        }
        let next = policy
            .windows()
            .iter()
            .filter_map(|window| Some((window, window.opening_after(from)?)))
            .min_by_key(|(_, opening)| opening.at);
        let Some((window, opening)) = next else { break };
        from = Timestamp(opening.at.0.saturating_add(1));
        // A blackout may end while the window is still open; the run then starts late.
        let end = opening.at.plus(window.duration());
        let start = match search(
            &[],
            policy.blackouts(),
            opening.at,
            opening.at,
            OPENINGS_MAX,
        ) {
            Ok(start) if start < end => start,
            Ok(_) | Err(_) => {
                skipped += 1;
                continue;
            }
        };
        // Another window waited for the end of the same blackout.
        if runs.last().is_some_and(|run| run.at_utc >= start) {
            continue;
        }
        let Some(wall) = window.wall(start) else {
            break;
        };
        let mut note = None;
        if start == opening.at {
            if let Some(text) = clock_note(window, opening, wall) {
                add(&mut note, &text);
            }
        } else {
            add(&mut note, "starts late: a blackout ends within the window");
        }
        if skipped > 0 {
            add(
                &mut note,
                &format!("{skipped} earlier left out by a blackout"),
            );
            skipped = 0;
        }
        let gap = runs.last().map(|run| start.since(run.at_utc));
        if let Some(gap) = gap.filter(|gap| *gap > policy.max_age()) {
            let text = format!(
                "max_age of {} cannot be met: {} since the run before",
                span_text(policy.max_age()),
                span_text(gap)
            );
            add(&mut note, &text);
        }
        runs.push(PreviewRun {
            at_utc: start,
            local: local_text(window, start, wall),
            note,
        });
    }
    runs
}

fn local_text(window: &Window, at: Timestamp, wall: NaiveDateTime) -> String {
    let offset = at
        .to_utc()
        .map(|utc| utc.with_timezone(&window.zone()).format("%:z").to_string())
        .unwrap_or_default();
    format!(
        "{} {offset} {}",
        wall.format("%Y-%m-%d %H:%M"),
        window.zone().name()
    )
}

/// What the clock change does to this run, if it does anything.
fn clock_note(window: &Window, opening: Opening, wall: NaiveDateTime) -> Option<String> {
    let wanted = opening.wanted;
    if wanted != wall.with_nanosecond(0)? {
        let missing = format!(
            "{} does not exist on {}",
            wanted.format("%H:%M"),
            date(wanted)
        );
        return Some(if wanted.date() == wall.date() {
            format!("{missing}: {}", wall.format("%H:%M"))
        } else {
            format!("{missing}: {} on {}", wall.format("%H:%M"), date(wall))
        });
    }
    window
        .comes_twice(wanted)
        .then(|| format!("{} comes twice: runs once", wanted.format("%H:%M")))
}

fn date(at: NaiveDateTime) -> String {
    at.format("%-d %B").to_string()
}

fn add(note: &mut Option<String>, text: &str) {
    match note {
        Some(before) => {
            before.push_str("; ");
            before.push_str(text);
        }
        None => *note = Some(text.to_owned()),
    }
}
