//! When a credential is due: the vendor's change frequency and Keywheel's own policies.
//!
//! [`due()`] is the one question the service asks. It weighs, in this order, a date somebody set on
//! the account, the vendor's schedule, the policy, and the built-in policy (flag after 90 days).
//! [`Policy`] is read from JSON, with every fault reported at once; [`preview()`] shows what a policy
//! will do before anybody relies on it.
//!
//! Invariant: the same policy, account and instant always give the same answer.

mod due;
mod fields;
mod preview;
mod read;
mod span;
mod vendor;
mod window;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use due::{Due, DueInputs, Effective, Origin, Overrides, Schedule, due, next_run};
pub use preview::{PreviewRun, preview};
pub use read::{windows_from_json, windows_to_json};
pub use span::{SpanError, parse_span, span_text};
pub use vendor::{ChangeTime, VendorFrequency, VendorSchedule, VendorScheduleError};
pub use window::{Blackout, Window};

/// What the scheduler does with an account whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Flags the account and enqueues its rotation.
    Auto,
    /// Only flags it.
    Flag,
    /// Neither; people decide alone.
    Manual,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Flag, Self::Manual];

    /// The word in files, in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Flag => "flag",
            Self::Manual => "manual",
        }
    }

    /// From that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == word)
    }

    /// The vendor's `AutoManagementFlag` as a mode.
    pub fn from_auto_management(flag: bool) -> Self {
        if flag { Self::Auto } else { Self::Flag }
    }
}

/// How often, and how patiently, a failed attempt is repeated.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    attempts: u32,
    first: Duration,
    factor: u32,
    up_to: Duration,
    spread: Ratio,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            first: Duration::from_mins(1),
            factor: 2,
            up_to: Duration::from_hours(1),
            spread: Ratio::HALF,
        }
    }
}

impl Retry {
    /// Attempts in all, the first one included; 1 to 20.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How long to wait after the failed attempt number `attempt` (from 1).
    ///
    /// The wait doubles (or grows by the policy's factor) up to its limit and is then spread
    /// evenly around that value by `dice`, so that accounts that failed together come back apart.
    pub fn wait(&self, attempt: u32, dice: u64) -> Duration {
        let mut wait = self.first.min(self.up_to);
        // A wait that has reached its limit stays there, so this loop is short.
        for _ in 1..attempt {
            if wait >= self.up_to {
                break;
            }
            wait = wait.saturating_mul(self.factor).min(self.up_to);
            if self.factor <= 1 {
                break;
            }
        }
        let swing = self.spread.of(wait);
        wait.saturating_sub(swing)
            .saturating_add(share(swing.saturating_mul(2), dice))
    }
}

/// Why the change frequency was chosen (PCI DSS 8.6.3 asks for a targeted risk analysis).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RiskAnalysis {
    /// Where the analysis is kept.
    pub reference: String,
    /// Who answers for it.
    pub owner: String,
    /// The day it is looked at again.
    pub review_date: chrono::NaiveDate,
}

/// A rotation policy that has passed validation.
///
/// Its JSON form, all but `name` and `max_age` optional:
///
/// ```json
/// {"name": "nightly", "mode": "auto", "max_age": "30d", "jitter": 0.1, "priority": 5,
///  "windows": [{"cron": "30 2 * * *", "duration": "4h", "zone": "Europe/Berlin"}],
///  "blackouts": [{"cron": "0 0 24 12 *", "duration": "9d", "zone": "Europe/Berlin"},
///                {"from": "2026-06-01T00:00:00Z", "until": "2026-06-08T00:00:00Z"}],
///  "retry": {"attempts": 5, "first": "1m", "factor": 2, "up_to": "1h", "spread": 0.5},
///  "check_every": "1d", "change_after_release": false, "change_on_mismatch": false,
///  "risk_analysis": {"reference": "RA-12", "owner": "Ops", "review_date": "2027-01-31"}}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Policy {
    name: String,
    mode: Mode,
    max_age: Duration,
    windows: Vec<Window>,
    blackouts: Vec<Blackout>,
    jitter: Ratio,
    priority: u8,
    retry: Retry,
    check_every: Duration,
    change_after_release: bool,
    change_on_mismatch: bool,
    risk_analysis: Option<RiskAnalysis>,
}

impl Policy {
    /// Priority of a policy that names none.
    pub const PRIORITY_DEFAULT: u8 = 5;

    /// What applies where nobody chose anything: flag after 90 days, at any hour.
    pub fn builtin() -> Self {
        Self {
            name: "default".to_owned(),
            mode: Mode::Flag,
            max_age: Duration::from_hours(90 * 24),
            windows: Vec::new(),
            blackouts: Vec::new(),
            jitter: Ratio::TENTH,
            priority: Self::PRIORITY_DEFAULT,
            retry: Retry::default(),
            check_every: Duration::from_hours(24),
            change_after_release: false,
            change_on_mismatch: false,
            risk_analysis: None,
        }
    }

    /// What people call it; unique among policies.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the scheduler does when an account is due.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Longest time a credential may stay.
    pub fn max_age(&self) -> Duration {
        self.max_age
    }

    /// When scheduled changes may start; none means at any time.
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// When none may start.
    pub fn blackouts(&self) -> &[Blackout] {
        &self.blackouts
    }

    /// The largest share of `max_age` by which an account may come early, 0 to 0.9.
    pub fn jitter_ratio(&self) -> f64 {
        self.jitter.as_f64()
    }

    /// 0 first to 9 last.
    pub fn priority(&self) -> u8 {
        self.priority
    }

    /// How failed attempts are repeated.
    pub fn retry(&self) -> &Retry {
        &self.retry
    }

    /// How often the stored credential is tested.
    pub fn check_every(&self) -> Duration {
        self.check_every
    }

    /// Whether a returned credential is changed.
    pub fn change_after_release(&self) -> bool {
        self.change_after_release
    }

    /// Whether a credential that the target refused in a test is changed.
    pub fn change_on_mismatch(&self) -> bool {
        self.change_on_mismatch
    }

    /// The reasons on record for `max_age`.
    pub fn risk_analysis(&self) -> Option<&RiskAnalysis> {
        self.risk_analysis.as_ref()
    }
}

/// One thing that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer (RFC 6901) to the field, `""` for the document.
    pub pointer: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Everything that is wrong with a policy. Show all of it; nothing was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", text(.faults))]
pub struct PolicyError {
    /// In the order of the fields; never empty.
    pub faults: Vec<Fault>,
}

fn text(faults: &[Fault]) -> String {
    let lines: Vec<String> = faults
        .iter()
        .map(|fault| {
            let place = if fault.pointer.is_empty() {
                "/"
            } else {
                &fault.pointer
            };
            format!("{place}: {}", fault.message)
        })
        .collect();
    lines.join("; ")
}

/// A share between 0 and 1, kept in millionths so that equal policies compare equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ratio(u32);

impl Ratio {
    const TENTH: Self = Self(100_000);
    const HALF: Self = Self(500_000);
    const WHOLE: u32 = 1_000_000;

    fn as_f64(self) -> f64 {
        f64::from(self.0) / f64::from(Self::WHOLE)
    }

    /// This share of `span`.
    fn of(self, span: Duration) -> Duration {
        millis(span.as_millis() * u128::from(self.0) / u128::from(Self::WHOLE))
    }
}

/// An evenly spread share of `span`, from zero up to but not including all of it.
fn share(span: Duration, dice: u64) -> Duration {
    millis((span.as_millis() * u128::from(scatter(dice))) >> 64)
}

fn millis(count: u128) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap_or(u64::MAX))
}

/// Spreads neighbouring numbers over the whole range: callers may hand in plain account ids.
///
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (`SplitMix64`).
fn scatter(dice: u64) -> u64 {
    let mut z = dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
