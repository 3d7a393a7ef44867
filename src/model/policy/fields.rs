//! The fields of a JSON object, taken one at a time, with a note of each that is wrong.
//!
//! Invariant: a field that nobody took is reported as unknown.

use std::time::Duration;

use chrono::DateTime;
use serde_json::{Map, Value};

use super::{Fault, Ratio, parse_span, span_text};
use crate::model::Timestamp;

/// Longest text that a policy holds.
const TEXT_MAX_CHARS: usize = 200;

/// The fields of one JSON object, taken one by one; what is left over is unknown.
pub(super) struct Fields<'a> {
    map: Map<String, Value>,
    pointer: String,
    faults: &'a mut Vec<Fault>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(value: &Value, pointer: String, faults: &'a mut Vec<Fault>) -> Option<Self> {
        if let Some(map) = value.as_object() {
            return Some(Self {
                map: map.clone(),
                pointer,
                faults,
                known: Vec::new(),
            });
        }
        faults.push(Fault {
            pointer,
            message: "must be an object".to_owned(),
        });
        None
    }

    pub(super) fn fault(&mut self, field: &str, message: &str) {
        let field = field.replace('~', "~0").replace('/', "~1");
        let pointer = format!("{}/{field}", self.pointer);
        self.faults.push(Fault {
            pointer,
            message: message.to_owned(),
        });
    }

    pub(super) fn or_fault<T>(
        &mut self,
        field: &str,
        value: Option<T>,
        message: &str,
    ) -> Option<T> {
        if value.is_none() {
            self.fault(field, message);
        }
        value
    }

    pub(super) fn checked<T, E: std::error::Error>(
        &mut self,
        field: &str,
        value: Result<T, E>,
    ) -> Option<T> {
        value
            .map_err(|error| self.fault(field, &error.to_string()))
            .ok()
    }

    /// Whether the field is there.
    pub(super) fn has(&self, field: &str) -> bool {
        self.map.contains_key(field)
    }

    /// The field's value; absent and `null` are the same.
    pub(super) fn take(&mut self, field: &'static str) -> Option<Value> {
        self.known.push(field);
        self.map.remove(field).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, field: &'static str) -> Option<String> {
        let Some(value) = self.take(field) else {
            self.fault(field, "is required");
            return None;
        };
        let text = value.as_str().map(str::trim).filter(|text| {
            !text.is_empty()
                && text.chars().count() <= TEXT_MAX_CHARS
                && !text.chars().any(char::is_control)
        });
        let text = text.map(str::to_owned);
        self.or_fault(
            field,
            text,
            "must be a text of 1 to 200 characters on one line",
        )
    }

    pub(super) fn flag(&mut self, field: &'static str) -> Option<bool> {
        let Some(value) = self.take(field) else {
            return Some(false);
        };
        self.or_fault(field, value.as_bool(), "must be true or false")
    }

    pub(super) fn whole(
        &mut self,
        field: &'static str,
        default: u64,
        from: u64,
        to: u64,
    ) -> Option<u64> {
        let Some(value) = self.take(field) else {
            return Some(default);
        };
        let number = value.as_u64().filter(|number| (from..=to).contains(number));
        self.or_fault(
            field,
            number,
            &format!("must be a whole number from {from} to {to}"),
        )
    }

    pub(super) fn ratio(&mut self, field: &'static str, default: Ratio) -> Option<Ratio> {
        let Some(value) = self.take(field) else {
            return Some(default);
        };
        let ratio = value
            .as_f64()
            .filter(|ratio| (0.0..=0.9).contains(ratio))
            .map(|ratio| {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "between 0 and 900,000 by the range above"
                )]
                let millionths = (ratio * f64::from(Ratio::WHOLE)).round() as u32;
                Ratio(millionths)
            });
        self.or_fault(field, ratio, "must be a number from 0 to 0.9")
    }

    pub(super) fn span(
        &mut self,
        field: &'static str,
        default: Duration,
        longest: Duration,
    ) -> Option<Duration> {
        if self.map.get(field).is_none_or(Value::is_null) {
            self.take(field);
            return Some(default);
        }
        self.required_span(field, longest)
    }

    pub(super) fn required_span(
        &mut self,
        field: &'static str,
        longest: Duration,
    ) -> Option<Duration> {
        let text = self.text(field)?;
        let span = parse_span(&text);
        let span = self.checked(field, span)?;
        let fits = (span <= longest).then_some(span);
        self.or_fault(
            field,
            fits,
            &format!("must not be longer than {}", span_text(longest)),
        )
    }

    pub(super) fn moment(&mut self, field: &'static str) -> Option<Timestamp> {
        let text = self.text(field)?;
        let moment = DateTime::parse_from_rfc3339(&text).ok();
        let moment = moment.map(|moment| Timestamp::from_utc(moment.to_utc()));
        self.or_fault(
            field,
            moment,
            "must be a moment such as 2026-06-01T00:00:00Z",
        )
    }

    pub(super) fn inside<T>(
        &mut self,
        field: &str,
        value: &Value,
        read: impl FnOnce(Fields<'_>) -> Option<T>,
    ) -> Option<T> {
        Fields::of(value, format!("{}/{field}", self.pointer), self.faults).and_then(read)
    }

    /// Every item of a list, or `None` if one of them is wrong; all are looked at.
    pub(super) fn list<T>(
        &mut self,
        field: &'static str,
        most: usize,
        read: impl Fn(Fields<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Some(value) = self.take(field) else {
            return Some(Vec::new());
        };
        let items = value
            .as_array()
            .filter(|items| items.len() <= most)
            .cloned();
        let items = self.or_fault(
            field,
            items,
            &format!("must be a list of at most {most} objects"),
        )?;
        let read: Vec<Option<T>> = items
            .into_iter()
            .enumerate()
            .map(|(index, item)| self.inside(&format!("{field}/{index}"), &item, &read))
            .collect();
        read.into_iter().collect()
    }

    /// Names every field that nobody asked for.
    pub(super) fn end(&mut self) {
        let unknown: Vec<String> = self.map.keys().cloned().collect();
        let message = format!("unknown field; known are {}", self.known.join(", "));
        for field in unknown {
            self.fault(&field, &message);
        }
        self.map.clear();
    }
}
