//! What is wrong with something that somebody wants to store.
//!
//! Invariant: a fault names the field and what would be right; it never repeats the value.

use std::ops::RangeInclusive;

/// One bad field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field, by its name in the model.
    pub field: &'static str,
    /// What is wrong with it; reads on after the field's name.
    pub problem: String,
}

impl Fault {
    /// A bad field and what is wrong with it.
    pub fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self {
            field,
            problem: problem.into(),
        }
    }
}

/// Collects every fault of one object.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    /// All that was found, in the order of the checks.
    pub(super) fn found(self) -> Vec<Fault> {
        self.0
    }

    pub(super) fn add(&mut self, field: &'static str, problem: impl Into<String>) {
        self.0.push(Fault::new(field, problem));
    }

    /// One line of at most `max_chars` characters; may be empty.
    pub(super) fn line(&mut self, field: &'static str, value: &str, max_chars: usize) {
        self.length(field, value, max_chars);
        if value.chars().any(char::is_control) {
            self.add(field, "must not hold control characters");
        }
    }

    /// As [`Faults::line`], where something must be given.
    pub(super) fn required(&mut self, field: &'static str, value: &str, max_chars: usize) {
        if value.trim().is_empty() {
            self.add(field, "is required");
        } else {
            self.line(field, value, max_chars);
        }
    }

    /// As [`Faults::line`], where something may be given.
    pub(super) fn optional(
        &mut self,
        field: &'static str,
        value: Option<&String>,
        max_chars: usize,
    ) {
        if let Some(value) = value {
            self.line(field, value, max_chars);
        }
    }

    /// Several lines of at most `max_chars` characters in all.
    pub(super) fn prose(&mut self, field: &'static str, value: Option<&String>, max_chars: usize) {
        let Some(value) = value else { return };
        self.length(field, value, max_chars);
        if value
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
        {
            self.add(field, "must not hold control characters");
        }
    }

    /// A number within its limits.
    pub(super) fn range(&mut self, field: &'static str, value: i64, limits: RangeInclusive<i64>) {
        if !limits.contains(&value) {
            self.add(
                field,
                format!("must be {} to {}", limits.start(), limits.end()),
            );
        }
    }

    fn length(&mut self, field: &'static str, value: &str, max_chars: usize) {
        if value.chars().count() > max_chars {
            self.add(field, format!("must have at most {max_chars} characters"));
        }
    }
}

/// The names of those fields in which two values differ.
macro_rules! differing {
    ($one:expr, $other:expr, $($field:ident)+) => {{
        let mut names = Vec::new();
        $(if $one.$field != $other.$field {
            names.push(stringify!($field));
        })+
        names
    }};
}
pub(super) use differing;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_reported_and_no_value_repeated() {
        let mut faults = Faults::default();
        faults.required("name", " ", 5);
        faults.line("host", "long\u{0}er", 5);
        faults.prose("text", Some(&"one\ntwo".to_owned()), 9);
        faults.range("port", 70_000, 1..=65_535);
        let found = faults.found();
        let fields: Vec<_> = found.iter().map(|fault| fault.field).collect();
        assert_eq!(fields, ["name", "host", "host", "port"]);
        assert!(found.iter().all(|fault| !fault.problem.contains("long")));
    }
}
