//! Recurring spans of time in a zone: when scheduled changes may start, and when not.
//!
//! The pattern is read as wall-clock time and only then turned into an instant, so that daylight
//! saving cannot confuse the search: a time that does not exist becomes the moment the clocks
//! jump, a time that comes twice counts the first time only. A duration is elapsed time.
//!
//! Invariant: wall-clock order is the order of the instants, so every search ends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{Datelike, Days, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::model::Timestamp;

/// 1900-01-01; zones and calendars are certain between here and [`CALM_TO_MS`].
const CALM_FROM_MS: i64 = -2_208_988_800_000;
/// 3000-01-01.
const CALM_TO_MS: i64 = 32_503_680_000_000;

/// Wall-clock times looked at before giving up: a zone that drops or repeats a whole day, with a
/// pattern that names every minute, needs 1,440.
const STEPS_MAX: usize = 4_000;

/// Every minute of an hour by number has 170 bytes.
const PATTERN_MAX_BYTES: usize = 200;

/// `at`, moved into the years in which calendar arithmetic cannot overflow.
pub(super) fn calm(at: Timestamp) -> Timestamp {
    Timestamp(at.0.clamp(CALM_FROM_MS, CALM_TO_MS))
}

/// A recurring span: it opens whenever the pattern matches, and stays open for the duration.
#[derive(Clone, PartialEq)]
pub struct Window {
    /// Parsed once and shared: it is large.
    cron: Arc<Cron>,
    pattern: String,
    duration: Duration,
    zone: Tz,
}

/// One opening of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) at: Timestamp,
    /// What the pattern asked for, on the wall clock.
    pub(super) wanted: NaiveDateTime,
}

/// Why a pattern was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PatternError {
    #[error("must have five fields: minute, hour, day of month, month, day of week")]
    Fields,
    #[error("must have at most 200 characters")]
    TooLong,
    #[error("is not a cron pattern: {0}")]
    Syntax(String),
    #[error("never matches any day")]
    Never,
}

/// Reads a cron pattern of five fields and makes sure that it ever matches.
pub(super) fn parse_pattern(pattern: &str) -> Result<Cron, PatternError> {
    if pattern.split_whitespace().count() != 5 || !pattern.is_ascii() {
        return Err(PatternError::Fields);
    }
    // What is wrong is told with the part at fault.
    if pattern.len() > PATTERN_MAX_BYTES {
        return Err(PatternError::TooLong);
    }
    let cron = CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build()
        .parse(pattern)
        .map_err(|fault| PatternError::Syntax(fault.to_string()))?;
    // Weekdays and leap days repeat after 28 years, so a day that is not among these is in none.
    let matches = NaiveDate::from_ymd_opt(2000, 1, 1).is_some_and(|first| {
        first.iter_days().take(28 * 366).any(|day| {
            cron.pattern.month_match(day.month()).unwrap_or(false)
                && cron
                    .pattern
                    .day_match(day.year(), day.month(), day.day())
                    .unwrap_or(false)
        })
    });
    if matches {
        Ok(cron)
    } else {
        Err(PatternError::Never)
    }
}

impl Window {
    pub(super) fn new(cron: Cron, pattern: &str, duration: Duration, zone: Tz) -> Self {
        let pattern = pattern.split_whitespace().collect::<Vec<_>>().join(" ");
        Self {
            cron: Arc::new(cron),
            pattern,
            duration,
            zone,
        }
    }

    /// The five cron fields.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// How long it stays open, as elapsed time.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// The zone whose wall clock the pattern names.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// When it last opened at or before `at`; `None` before 1900.
    pub fn last_start(&self, at: Timestamp) -> Option<Timestamp> {
        self.opening_before(at).map(|opening| opening.at)
    }

    /// When it next opens at or after `at`; `None` after the year 3000.
    pub fn next_start(&self, at: Timestamp) -> Option<Timestamp> {
        self.opening_after(at).map(|opening| opening.at)
    }

    /// When the span that holds `at` began, if it is open then.
    pub fn open_since(&self, at: Timestamp) -> Option<Timestamp> {
        self.last_start(at)
            .filter(|start| at < start.plus(self.duration))
    }

    /// Whether both day fields are restricted, so that either of them is enough.
    pub(super) fn either_day(&self) -> bool {
        let field = |index| self.pattern.split(' ').nth(index).unwrap_or("*");
        let restricted = |field: &str| field != "*" && field != "?";
        restricted(field(2)) && restricted(field(4)) && !field(4).starts_with('+')
    }

    pub(super) fn opening_before(&self, at: Timestamp) -> Option<Opening> {
        if at.0 < CALM_FROM_MS {
            return None;
        }
        let at = calm(at);
        // After the clocks went back, wall-clock times ahead of the present one have already been.
        let ahead = -self.shift_of_the_day(at)?;
        let mut from = self
            .wall(at)?
            .checked_add_signed(ahead.max(TimeDelta::zero()))?;
        from = from.with_nanosecond(0)?;
        for _ in 0..STEPS_MAX {
            let wanted = self
                .cron
                .find_previous_occurrence(&from.and_utc(), true)
                .ok()?
                .naive_utc();
            let start = self.instant(wanted)?;
            if start <= at {
                return Some(Opening { at: start, wanted });
            }
            from = wanted.checked_sub_signed(TimeDelta::seconds(1))?;
        }
        None
    }

    pub(super) fn opening_after(&self, at: Timestamp) -> Option<Opening> {
        if at.0 > CALM_TO_MS {
            return None;
        }
        let at = calm(at);
        // After the clocks went forward, the times they skipped count as the moment they jumped.
        let behind = self.shift_of_the_day(at)?;
        let mut from = self
            .wall(at)?
            .checked_sub_signed(behind.max(TimeDelta::zero()))?;
        if from.nanosecond() > 0 {
            from = from
                .with_nanosecond(0)?
                .checked_add_signed(TimeDelta::seconds(1))?;
        }
        for _ in 0..STEPS_MAX {
            let wanted = self
                .cron
                .find_next_occurrence(&from.and_utc(), true)
                .ok()?
                .naive_utc();
            let start = self.instant(wanted)?;
            if start >= at {
                return Some(Opening { at: start, wanted });
            }
            from = wanted.checked_add_signed(TimeDelta::seconds(1))?;
        }
        None
    }

    /// The wall clock of the zone at `at`.
    pub(super) fn wall(&self, at: Timestamp) -> Option<NaiveDateTime> {
        Some(calm(at).to_utc()?.with_timezone(&self.zone).naive_local())
    }

    /// Whether the wall clock shows this time twice.
    pub(super) fn comes_twice(&self, wanted: NaiveDateTime) -> bool {
        let found = self.zone.from_local_datetime(&wanted);
        found.single().is_none() && found.earliest().is_some()
    }

    /// How far the clocks were moved within the day before `at`: positive is forward.
    fn shift_of_the_day(&self, at: Timestamp) -> Option<TimeDelta> {
        let now = at.to_utc()?;
        let before = now.checked_sub_days(Days::new(1))?;
        let offset = |at: chrono::DateTime<chrono::Utc>| {
            self.zone
                .offset_from_utc_datetime(&at.naive_utc())
                .fix()
                .local_minus_utc()
        };
        Some(TimeDelta::seconds(i64::from(offset(now) - offset(before))))
    }

    /// The first moment at which the wall clock shows `wanted`, or jumps over it.
    fn instant(&self, wanted: NaiveDateTime) -> Option<Timestamp> {
        if let Some(found) = self.zone.from_local_datetime(&wanted).earliest() {
            return Some(Timestamp::from_utc(found.to_utc()));
        }
        // The clocks jump over it. No zone is a day and a half away from UTC, so the jump lies
        // between these two, and the wall clock passes `wanted` exactly once.
        let middle = wanted.and_utc().timestamp();
        let (mut early, mut late) = (middle - 129_600, middle + 129_600);
        while late - early > 1 {
            let half = early + (late - early) / 2;
            if self.wall(Timestamp(half * 1_000))? < wanted {
                early = half;
            } else {
                late = half;
            }
        }
        Some(Timestamp(late * 1_000))
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Window({} for {:?} in {})",
            self.pattern,
            self.duration,
            self.zone.name()
        )
    }
}

/// A span in which no scheduled change starts.
#[derive(Clone, Debug, PartialEq)]
pub enum Blackout {
    /// Comes back, like a window.
    Recurring(Window),
    /// Comes once; `until` is the first moment after it.
    Once {
        /// First moment.
        from: Timestamp,
        /// First moment after it.
        until: Timestamp,
    },
}

impl Blackout {
    /// First moment of the blackout that holds `at`, and the first moment after it.
    pub fn around(&self, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
        match self {
            Self::Recurring(window) => window
                .open_since(at)
                .map(|start| (start, start.plus(window.duration))),
            Self::Once { from, until } => (*from <= at && at < *until).then_some((*from, *until)),
        }
    }
}
