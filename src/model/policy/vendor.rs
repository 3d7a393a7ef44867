//! The vendor's own schedule: first or last day of the month, or every so many days.
//!
//! Invariant: what comes out is never in the past, and always at the change time unless the
//! calendar itself has ended.

use std::fmt;

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, Timelike, Utc};

use super::window::calm;
use crate::model::Timestamp;

/// A time of day in UTC, to the minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangeTime(NaiveTime);

impl ChangeTime {
    /// Reads `HH:MM`, both with two digits.
    ///
    /// # Errors
    /// [`VendorScheduleError::Time`] for anything else.
    pub fn parse(text: &str) -> Result<Self, VendorScheduleError> {
        let fault = VendorScheduleError::Time;
        let (hour, minute) = text.split_once(':').ok_or(fault)?;
        let two = |part: &str| -> Option<u32> {
            (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()))
                .then(|| part.parse().ok())
                .flatten()
        };
        let (hour, minute) = two(hour).zip(two(minute)).ok_or(fault)?;
        NaiveTime::from_hms_opt(hour, minute, 0)
            .map(Self)
            .ok_or(fault)
    }
}

impl Default for ChangeTime {
    /// 23:30, the vendor's default.
    fn default() -> Self {
        Self(NaiveTime::from_hms_opt(23, 30, 0).unwrap_or(NaiveTime::MIN))
    }
}

impl fmt::Display for ChangeTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0.hour(), self.0.minute())
    }
}

/// Which days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VendorFrequency {
    /// The first day of each month.
    First,
    /// The last day of each month.
    Last,
    /// So many days after the last change, 1 to 999.
    XDays(u16),
}

/// Why a vendor schedule was refused; nothing was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VendorScheduleError {
    /// `ChangeFrequencyType` is none of the three.
    #[error("ChangeFrequencyType must be first, last or xdays")]
    Frequency,
    /// `ChangeFrequencyDays` is missing or out of range.
    #[error("ChangeFrequencyDays must be 1 to 999 with xdays")]
    Days,
    /// `ChangeTime` is not a time of day.
    #[error("ChangeTime must be HH:MM between 00:00 and 23:59")]
    Time,
}

/// `ChangeFrequencyType`, `ChangeFrequencyDays` and `ChangeTime` of an account or system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VendorSchedule {
    /// Which days.
    pub frequency: VendorFrequency,
    /// What time on them, UTC.
    pub change_time: ChangeTime,
}

impl VendorSchedule {
    /// Reads the three fields as the dialect carries them; `days` matters only with `xdays`.
    ///
    /// # Errors
    /// The first field that does not fit.
    pub fn parse(
        frequency: &str,
        days: Option<i64>,
        time: &str,
    ) -> Result<Self, VendorScheduleError> {
        let frequency = match frequency {
            "first" => VendorFrequency::First,
            "last" => VendorFrequency::Last,
            "xdays" => VendorFrequency::XDays(
                days.and_then(|days| u16::try_from(days).ok())
                    .filter(|days| (1..=999).contains(days))
                    .ok_or(VendorScheduleError::Days)?,
            ),
            _ => return Err(VendorScheduleError::Frequency),
        };
        Ok(Self {
            frequency,
            change_time: ChangeTime::parse(time)?,
        })
    }

    /// When the next change is due, never before `now`.
    ///
    /// `xdays` counts calendar days from the last change, else from creation, so that a change
    /// that ran a minute late does not push the next one to another day; if that day has passed,
    /// the next change time counts. `first` and `last` fall on no other day of the month.
    pub fn next(
        &self,
        last_change: Option<Timestamp>,
        created: Timestamp,
        now: Timestamp,
    ) -> Timestamp {
        let base = last_change.unwrap_or(created);
        self.next_in_calendar(base, now)
            .map_or(now, |at| at.max(now))
    }

    /// When a date that a client wrote as `NextChangeDate` comes: at the change time of that day,
    /// or, if that has passed, at the next change time.
    pub fn on_date(&self, date: NaiveDate, now: Timestamp) -> Timestamp {
        let at = self.at(date);
        if at >= now {
            at
        } else {
            self.next_change_time(now).unwrap_or(now)
        }
    }

    /// The next change time, today or tomorrow.
    fn next_change_time(&self, now: Timestamp) -> Option<Timestamp> {
        let today = day(now)?;
        let at = self.at(today);
        if at >= now {
            Some(at)
        } else {
            Some(self.at(today.checked_add_days(Days::new(1))?))
        }
    }

    fn next_in_calendar(&self, base: Timestamp, now: Timestamp) -> Option<Timestamp> {
        match self.frequency {
            VendorFrequency::XDays(days) => {
                let date = day(base)?.checked_add_days(Days::new(u64::from(days)))?;
                let at = self.at(date);
                if at >= now {
                    Some(at)
                } else {
                    self.next_change_time(now)
                }
            }
            VendorFrequency::First => self.next_of_month(base, now, first_of_month),
            VendorFrequency::Last => self.next_of_month(base, now, last_of_month),
        }
    }

    fn next_of_month(
        &self,
        base: Timestamp,
        now: Timestamp,
        pick: fn(NaiveDate) -> Option<NaiveDate>,
    ) -> Option<Timestamp> {
        let mut month = first_of_month(day(base.max(now))?)?;
        // This month's day may have passed; next month's cannot have.
        for _ in 0..2 {
            let at = self.at(pick(month)?);
            if at >= now && at > base {
                return Some(at);
            }
            month = month.checked_add_months(Months::new(1))?;
        }
        None
    }

    fn at(&self, date: NaiveDate) -> Timestamp {
        Timestamp::from_utc(date.and_time(self.change_time.0).and_utc())
    }
}

fn day(at: Timestamp) -> Option<NaiveDate> {
    calm(at).to_utc().map(|at: DateTime<Utc>| at.date_naive())
}

fn first_of_month(date: NaiveDate) -> Option<NaiveDate> {
    date.with_day(1)
}

fn last_of_month(date: NaiveDate) -> Option<NaiveDate> {
    first_of_month(date)?
        .checked_add_months(Months::new(1))?
        .pred_opt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_utc(DateTime::parse_from_rfc3339(text).unwrap().to_utc())
    }

    fn schedule(frequency: &str, days: Option<i64>, time: &str) -> VendorSchedule {
        VendorSchedule::parse(frequency, days, time).unwrap()
    }

    #[test]
    fn the_first_day_of_the_month_comes_at_the_change_time() {
        let first = schedule("first", None, "23:30");
        let created = at("2026-01-10T00:00:00Z");
        for (last, now, want) in [
            (None, "2026-01-10T00:00:00Z", "2026-02-01T23:30:00Z"),
            (None, "2026-02-01T23:30:00Z", "2026-02-01T23:30:00Z"),
            (None, "2026-02-01T23:30:00.001Z", "2026-03-01T23:30:00Z"),
            // Changed on the day itself, but before the hour: the hour still counts.
            (
                Some("2026-02-01T10:00:00Z"),
                "2026-02-01T10:00:00Z",
                "2026-02-01T23:30:00Z",
            ),
            (
                Some("2026-02-01T23:30:00Z"),
                "2026-02-01T23:30:00Z",
                "2026-03-01T23:30:00Z",
            ),
            (None, "2026-12-02T00:00:00Z", "2027-01-01T23:30:00Z"),
        ] {
            assert_eq!(
                first.next(last.map(at), created, at(now)),
                at(want),
                "{last:?} {now}"
            );
        }
    }

    #[test]
    fn the_last_day_of_the_month_knows_its_month() {
        let last = schedule("last", None, "06:00");
        let created = at("2024-01-10T00:00:00Z");
        for (now, want) in [
            ("2024-01-10T00:00:00Z", "2024-01-31T06:00:00Z"),
            ("2024-01-31T06:00:01Z", "2024-02-29T06:00:00Z"),
            ("2025-02-01T00:00:00Z", "2025-02-28T06:00:00Z"),
            ("2025-04-30T07:00:00Z", "2025-05-31T06:00:00Z"),
            ("2025-12-31T07:00:00Z", "2026-01-31T06:00:00Z"),
        ] {
            assert_eq!(last.next(None, created, at(now)), at(want), "{now}");
        }
    }

    #[test]
    fn xdays_counts_from_the_last_change_else_from_creation() {
        let thirty = schedule("xdays", Some(30), "23:30");
        let created = at("2026-03-01T12:00:00Z");
        assert_eq!(
            thirty.next(None, created, created),
            at("2026-03-31T23:30:00Z")
        );
        let changed = Some(at("2026-03-31T23:31:10Z"));
        let now = at("2026-03-31T23:31:10Z");
        assert_eq!(
            thirty.next(changed, created, now),
            at("2026-04-30T23:30:00Z")
        );
    }

    #[test]
    fn a_late_run_does_not_drift_to_another_day() {
        let daily = schedule("xdays", Some(1), "23:30");
        let mut now = at("2026-01-01T23:30:00Z");
        for expected in 2..20 {
            let changed = Timestamp(now.0 + 75_000);
            now = daily.next(Some(changed), now, changed);
            assert_eq!(now, at(&format!("2026-01-{expected:02}T23:30:00Z")));
        }
    }

    #[test]
    fn a_day_in_the_past_becomes_the_next_change_time() {
        let ninety = schedule("xdays", Some(90), "23:30");
        let created = at("2020-01-01T00:00:00Z");
        let next = |now: &str| ninety.next(None, created, at(now));
        assert_eq!(next("2026-05-05T23:29:59Z"), at("2026-05-05T23:30:00Z"));
        assert_eq!(next("2026-05-05T23:30:01Z"), at("2026-05-06T23:30:00Z"));

        let date = |text: &str| text.parse::<NaiveDate>().unwrap();
        let now = at("2026-05-05T23:31:00Z");
        assert_eq!(
            ninety.on_date(date("2026-06-01"), now),
            at("2026-06-01T23:30:00Z")
        );
        assert_eq!(
            ninety.on_date(date("2026-05-05"), now),
            at("2026-05-06T23:30:00Z")
        );
        assert_eq!(
            ninety.on_date(date("1999-01-01"), now),
            at("2026-05-06T23:30:00Z")
        );
    }

    #[test]
    fn fields_that_do_not_fit_are_refused() {
        use VendorScheduleError::{Days, Frequency, Time};
        for (frequency, days, time, want) in [
            ("weekly", None, "23:30", Frequency),
            ("First", None, "23:30", Frequency),
            ("xdays", None, "23:30", Days),
            ("xdays", Some(0), "23:30", Days),
            ("xdays", Some(1000), "23:30", Days),
            ("xdays", Some(-1), "23:30", Days),
            ("first", None, "24:00", Time),
            ("first", None, "23:60", Time),
            ("first", None, "2:30", Time),
            ("first", None, "+2:30", Time),
            ("first", None, "23:30:00", Time),
            ("first", None, "", Time),
        ] {
            assert_eq!(
                VendorSchedule::parse(frequency, days, time),
                Err(want),
                "{time}"
            );
        }
        assert_eq!(ChangeTime::default().to_string(), "23:30");
        assert_eq!(ChangeTime::parse("00:05").unwrap().to_string(), "00:05");
    }

    proptest! {
        #[test]
        fn no_schedule_ever_panics_or_points_to_the_past(
            days in 0_i64..=999, base in any::<i64>(), now in any::<i64>(), minute in 0..1440,
        ) {
            let frequency = match days % 5 { 0 => "first", 1 => "last", _ => "xdays" };
            let time = format!("{:02}:{:02}", minute / 60, minute % 60);
            let schedule = schedule(frequency, Some(days.max(1)), &time);
            let next = schedule.next(Some(Timestamp(base)), Timestamp(0), Timestamp(now));
            prop_assert!(next >= Timestamp(now));
        }

        #[test]
        fn in_our_centuries_the_answer_lies_on_the_change_time(
            days in 0_i64..=999, base in 0_i64..4_102_444_800_000, ahead in 0_i64..86_400_000_000,
        ) {
            let frequency = match days % 5 { 0 => "first", 1 => "last", _ => "xdays" };
            let schedule = schedule(frequency, Some(days.max(1)), "04:05");
            let next = schedule.next(Some(Timestamp(base)), Timestamp(0), Timestamp(base + ahead));
            let clock = next.to_utc().unwrap();
            prop_assert_eq!((clock.hour(), clock.minute(), clock.second()), (4, 5, 0));
            prop_assert!(next > Timestamp(base));
            match frequency {
                "first" => prop_assert_eq!(clock.day(), 1),
                "last" => prop_assert_eq!(clock.date_naive().succ_opt().unwrap().day(), 1),
                _ => {}
            }
        }
    }
}
