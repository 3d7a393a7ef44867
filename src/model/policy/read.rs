//! Policies from JSON and back.
//!
//! Invariant: reading reports every fault of a document, not only the first.

use std::time::Duration;

use chrono::NaiveDate;
use chrono_tz::Tz;
use serde_json::{Value, json};

use super::due::search;
use super::fields::Fields;
use super::window::parse_pattern;
use super::{
    Blackout, Mode, Policy, PolicyError, Retry, RiskAnalysis, Window, parse_span, span_text,
};
use crate::model::Timestamp;

/// A policy with more needs to be two.
const WINDOWS_MAX: usize = 32;
const BLACKOUTS_MAX: usize = 64;
/// Spans that recur are shorter than what they recur in: a month, and a year.
const WINDOW_MAX: Duration = Duration::from_hours(31 * 24);
const BLACKOUT_MAX: Duration = Duration::from_hours(366 * 24);
const RETRY_MAX: Duration = Duration::from_hours(7 * 24);
/// Moves spent on finding one start that is outside every blackout.
const START_MOVES: usize = 2_000;

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`PolicyError`] with every fault and the place of each; unknown fields are faults.
    pub fn from_json(document: &Value) -> Result<Self, PolicyError> {
        let mut faults = Vec::new();
        let read = Fields::of(document, String::new(), &mut faults).and_then(read);
        match read {
            Some(policy) if faults.is_empty() => Ok(policy),
            Some(_) | None => Err(PolicyError { faults }),
        }
    }

    /// Writes the policy with all its fields, defaults included.
    pub fn to_json(&self) -> Value {
        let blackout = |blackout: &Blackout| match blackout {
            Blackout::Recurring(recurring) => window_to_json(recurring),
            Blackout::Once { from, until } => {
                json!({ "from": from.rfc3339(), "until": until.rfc3339() })
            }
        };
        let mut document = json!({
            "name": self.name,
            "mode": self.mode.as_str(),
            "max_age": span_text(self.max_age),
            "windows": windows_to_json(&self.windows),
            "blackouts": self.blackouts.iter().map(blackout).collect::<Vec<_>>(),
            "jitter": self.jitter.as_f64(),
            "priority": self.priority,
            "retry": {
                "attempts": self.retry.attempts,
                "first": span_text(self.retry.first),
                "factor": self.retry.factor,
                "up_to": span_text(self.retry.up_to),
                "spread": self.retry.spread.as_f64(),
            },
            "check_every": span_text(self.check_every),
            "change_after_release": self.change_after_release,
            "change_on_mismatch": self.change_on_mismatch,
        });
        if let (Some(risk), Some(fields)) = (&self.risk_analysis, document.as_object_mut()) {
            let risk = json!({
                "reference": risk.reference,
                "owner": risk.owner,
                "review_date": risk.review_date.to_string(),
            });
            fields.insert("risk_analysis".to_owned(), risk);
        }
        document
    }
}

impl TryFrom<Value> for Policy {
    type Error = PolicyError;

    fn try_from(document: Value) -> Result<Self, PolicyError> {
        Self::from_json(&document)
    }
}

impl From<Policy> for Value {
    fn from(policy: Policy) -> Self {
        policy.to_json()
    }
}

/// Reads a list of windows as policies hold them; the places of faults begin with `below`.
///
/// # Errors
/// [`PolicyError`] with every fault and the place of each.
pub fn windows_from_json(list: &Value, below: &str) -> Result<Vec<Window>, PolicyError> {
    let mut faults = Vec::new();
    let document = json!({ "windows": list });
    let read = Fields::of(&document, below.to_owned(), &mut faults).and_then(|mut fields| {
        fields.list("windows", WINDOWS_MAX, |item| window(item, WINDOW_MAX))
    });
    match read {
        Some(windows) if faults.is_empty() => Ok(windows),
        Some(_) | None => Err(PolicyError { faults }),
    }
}

/// Writes windows as [`windows_from_json`] reads them.
pub fn windows_to_json(windows: &[Window]) -> Value {
    windows.iter().map(window_to_json).collect()
}

fn window_to_json(window: &Window) -> Value {
    json!({
        "cron": window.pattern(),
        "duration": span_text(window.duration()),
        "zone": window.zone().name(),
    })
}

fn read(mut fields: Fields<'_>) -> Option<Policy> {
    let default = Policy::builtin();
    let name = fields.text("name");
    let mode = fields.take("mode").map_or(Some(default.mode), |value| {
        let mode = value.as_str().and_then(Mode::parse);
        fields.or_fault("mode", mode, "must be auto, flag or manual")
    });
    let max_age = max_age(&mut fields);
    let windows = fields.list("windows", WINDOWS_MAX, |item| window(item, WINDOW_MAX));
    let blackouts = fields.list("blackouts", BLACKOUTS_MAX, blackout);
    let jitter = fields.ratio("jitter", default.jitter);
    let priority = fields.whole("priority", u64::from(default.priority), 0, 9);
    let retry = match fields.take("retry") {
        None => Some(default.retry),
        Some(value) => fields.inside("retry", &value, retry),
    };
    let check_every = fields.span("check_every", default.check_every, BLACKOUT_MAX);
    let change_after_release = fields.flag("change_after_release");
    let change_on_mismatch = fields.flag("change_on_mismatch");
    let risk_analysis = match fields.take("risk_analysis") {
        None => Some(None),
        Some(value) => fields
            .inside("risk_analysis", &value, risk_analysis)
            .map(Some),
    };
    if let (Some(windows), Some(blackouts)) = (&windows, &blackouts) {
        some_start_is_left(&mut fields, windows, blackouts);
    }
    fields.end();
    Some(Policy {
        name: name?,
        mode: mode?,
        max_age: max_age?,
        windows: windows?,
        blackouts: blackouts?,
        jitter: jitter?,
        priority: u8::try_from(priority?).ok()?,
        retry: retry?,
        check_every: check_every?,
        change_after_release: change_after_release?,
        change_on_mismatch: change_on_mismatch?,
        risk_analysis: risk_analysis?,
    })
}

/// `max_age` may also be a plain number of days.
fn max_age(fields: &mut Fields<'_>) -> Option<Duration> {
    let Some(value) = fields.take("max_age") else {
        fields.fault("max_age", "is required, for example 90d");
        return None;
    };
    let text = match (value.as_str(), value.as_i64()) {
        (Some(text), _) => text.to_owned(),
        (None, Some(days)) if days >= 0 => format!("{days}d"),
        (None, _) => {
            fields.fault(
                "max_age",
                "must be a length of time such as 90d, or a number of days",
            );
            return None;
        }
    };
    let span = parse_span(&text);
    fields.checked("max_age", span)
}

fn window(mut fields: Fields<'_>, longest: Duration) -> Option<Window> {
    let pattern = fields.text("cron");
    let cron = pattern.as_deref().and_then(|pattern| {
        let cron = parse_pattern(pattern);
        fields.checked("cron", cron)
    });
    let duration = fields.required_span("duration", longest);
    let zone = fields.text("zone").and_then(|name| {
        let zone = name.parse::<Tz>().ok();
        fields.or_fault(
            "zone",
            zone,
            "must be the name of an IANA zone such as Europe/Berlin",
        )
    });
    fields.end();
    Some(Window::new(cron?, &pattern?, duration?, zone?))
}

fn blackout(mut fields: Fields<'_>) -> Option<Blackout> {
    if !fields.has("from") && !fields.has("until") {
        return window(fields, BLACKOUT_MAX).map(Blackout::Recurring);
    }
    let from = fields.moment("from");
    let until = fields.moment("until");
    fields.end();
    let (from, until) = from.zip(until)?;
    if until <= from {
        fields.fault("until", "must be after from");
        return None;
    }
    if until.since(from) > BLACKOUT_MAX {
        fields.fault("until", "must be at most 366d after from");
        return None;
    }
    Some(Blackout::Once { from, until })
}

fn retry(mut fields: Fields<'_>) -> Option<Retry> {
    let default = Retry::default();
    let attempts = fields.whole("attempts", u64::from(default.attempts), 1, 20);
    let first = fields.span("first", default.first, RETRY_MAX);
    let factor = fields.whole("factor", u64::from(default.factor), 1, 10);
    let up_to = fields.span(
        "up_to",
        default.up_to.max(first.unwrap_or_default()),
        RETRY_MAX,
    );
    let spread = fields.ratio("spread", default.spread);
    fields.end();
    let (first, up_to) = first.zip(up_to)?;
    if up_to < first {
        fields.fault("up_to", "must not be shorter than first");
        return None;
    }
    Some(Retry {
        attempts: u32::try_from(attempts?).ok()?,
        first,
        factor: u32::try_from(factor?).ok()?,
        up_to,
        spread: spread?,
    })
}

fn risk_analysis(mut fields: Fields<'_>) -> Option<RiskAnalysis> {
    let reference = fields.text("reference");
    let owner = fields.text("owner");
    let review_date = fields.text("review_date").and_then(|text| {
        let date = text.parse::<NaiveDate>().ok();
        fields.or_fault("review_date", date, "must be a date such as 2027-01-31")
    });
    fields.end();
    Some(RiskAnalysis {
        reference: reference?,
        owner: owner?,
        review_date: review_date?,
    })
}

/// Refuses blackouts that come back before anything could ever start.
fn some_start_is_left(fields: &mut Fields<'_>, windows: &[Window], blackouts: &[Blackout]) {
    // Those that come once end; only the recurring ones can close a policy for good.
    let recurring: Vec<Blackout> = blackouts
        .iter()
        .filter(|blackout| matches!(blackout, Blackout::Recurring(_)))
        .cloned()
        .collect();
    // 2024-01-01, a leap year ahead.
    let from = Timestamp(1_704_067_200_000);
    let base = Timestamp(i64::MIN);
    if search(windows, &recurring, base, from, START_MOVES).is_err() {
        fields.fault(
            "blackouts",
            "leave no start, neither inside a window nor without one",
        );
    }
}
