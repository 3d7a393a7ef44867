//! Points in time.
//!
//! Invariant: a [`Timestamp`] is UTC; zones exist only in `policy`.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This instant plus `span`, or the last instant there is.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// This instant minus `span`, or the first instant there is.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// As a calendar date and time; `None` beyond the calendar's years.
    pub fn to_utc(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_millis(self.0)
    }

    /// From a calendar date and time.
    pub fn from_utc(at: DateTime<Utc>) -> Self {
        Self(at.timestamp_millis())
    }

    /// RFC 3339 in UTC, always with milliseconds: `2026-03-29T01:30:00.000Z`.
    pub fn rfc3339_millis(self) -> String {
        self.to_utc().map_or_else(
            || self.0.to_string(),
            |at| at.to_rfc3339_opts(SecondsFormat::Millis, true),
        )
    }

    /// RFC 3339 in UTC, for example `2026-03-29T01:30:00Z`.
    pub fn rfc3339(self) -> String {
        self.to_utc().map_or_else(
            || self.0.to_string(),
            |at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        )
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}
