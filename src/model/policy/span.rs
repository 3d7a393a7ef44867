//! Lengths of time as people write them: `90d`, `4h`, `1d12h`.
//!
//! Invariant: [`parse_span`] reads back what [`span_text`] wrote.

use std::time::Duration;

/// No setting of a policy is longer: 3,660 days.
pub(super) const SPAN_MAX: Duration = Duration::from_hours(3_660 * 24);

/// Units with their seconds, largest first.
const UNITS: [(char, u64); 5] = [
    ('w', 7 * 86_400),
    ('d', 86_400),
    ('h', 3_600),
    ('m', 60),
    ('s', 1),
];

/// Why a length of time was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// Ask for the right form.
    #[error("write a length of time as 90d, 4h, 30m or 1d12h (units w, d, h, m, s)")]
    Form,
    /// Ask for something longer.
    #[error("must be longer than nothing")]
    Zero,
    /// Ask for something shorter.
    #[error("must not be longer than 3660d")]
    TooLong,
}

/// Reads a length of time: whole numbers, each followed by one of `w d h m s`.
///
/// # Errors
/// [`SpanError`]; zero is refused too.
pub fn parse_span(text: &str) -> Result<Duration, SpanError> {
    let mut seconds: u64 = 0;
    let mut digits = String::new();
    for letter in text.trim().chars() {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        let (_, unit) = UNITS
            .iter()
            .find(|(name, _)| *name == letter)
            .ok_or(SpanError::Form)?;
        if digits.is_empty() {
            return Err(SpanError::Form);
        }
        let count: u64 = digits.parse().map_err(|_| SpanError::TooLong)?;
        seconds = count
            .checked_mul(*unit)
            .and_then(|more| seconds.checked_add(more))
            .ok_or(SpanError::TooLong)?;
        digits.clear();
    }
    if !digits.is_empty() || text.trim().is_empty() {
        return Err(SpanError::Form);
    }
    let span = Duration::from_secs(seconds);
    if span.is_zero() {
        return Err(SpanError::Zero);
    }
    if span > SPAN_MAX {
        return Err(SpanError::TooLong);
    }
    Ok(span)
}

/// Writes a length of time in days, hours, minutes and seconds; parts of a second are dropped.
pub fn span_text(span: Duration) -> String {
    let mut rest = span.as_secs();
    let mut parts = Vec::new();
    for (unit, seconds) in UNITS.into_iter().skip(1) {
        let count = rest / seconds;
        rest %= seconds;
        if count > 0 {
            parts.push(format!("{count}{unit}"));
        }
    }
    if parts.is_empty() {
        "0s".to_owned()
    } else {
        parts.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_and_written_alike() {
        for (text, seconds) in [
            ("90d", 7_776_000),
            ("1d12h", 129_600),
            ("30m", 1_800),
            ("2w", 1_209_600),
            ("1s", 1),
        ] {
            let span = parse_span(text).unwrap();
            assert_eq!(span.as_secs(), seconds, "{text}");
            assert_eq!(parse_span(&span_text(span)), Ok(span), "{text}");
        }
        assert_eq!(span_text(Duration::from_secs(90_061)), "1d1h1m1s");
        assert_eq!(span_text(Duration::ZERO), "0s");
    }

    #[test]
    fn nonsense_zero_and_excess_are_told_apart() {
        for text in ["", " ", "d", "5", "-1d", "1.5d", "1 d", "1y", "P1D", "١d"] {
            assert_eq!(parse_span(text), Err(SpanError::Form), "{text:?}");
        }
        assert_eq!(parse_span("0d"), Err(SpanError::Zero));
        assert_eq!(parse_span("0h0m"), Err(SpanError::Zero));
        for text in ["3661d", "99999999999999999999d", "18446744073709551615w"] {
            assert_eq!(parse_span(text), Err(SpanError::TooLong), "{text}");
        }
    }
}
