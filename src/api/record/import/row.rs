//! A row of an import, as it was given.
//!
//! Invariant: a secret is read into its own type at once, and no fault repeats what a cell held.

use std::collections::HashMap;

use secrecy::SecretString;

use crate::model::Timestamp;
use crate::model::fault::Fault;
use crate::vault::{PLAIN_MAX_BYTES, otp_secret};

/// The columns that a row may have, each with other names for it.
const COLUMNS: [(&str, &[&str]); 18] = [
    ("name", &["title", "password_name"]),
    ("organization", &["organization_name"]),
    ("organization_id", &[]),
    ("username", &["user_name", "login"]),
    ("password", &[]),
    ("otp_secret", &[]),
    ("url", &[]),
    ("notes", &[]),
    ("autofill_selectors", &[]),
    ("password_category", &["password_category_name", "category"]),
    ("password_folder", &["folder", "folder_path"]),
    ("archived", &[]),
    ("restricted", &[]),
    ("shareable", &[]),
    ("resource_type", &[]),
    ("resource_id", &[]),
    ("resource_name", &["cached_resource_name"]),
    ("password_updated_at", &[]),
];
/// The column of this name: case, blanks and hyphens do not matter.
pub(crate) fn column(name: &str) -> Option<&'static str> {
    let name = name.trim().to_lowercase().replace([' ', '-'], "_");
    let found = COLUMNS
        .iter()
        .find(|(own, others)| *own == name || others.contains(&name.as_str()));
    found.map(|(own, _)| *own)
}

/// One row as it was given.
#[derive(Debug, Default)]
pub(crate) struct ImportRow {
    /// Where it stands in what was given.
    pub(crate) number: u64,
    faults: Vec<Fault>,
    cells: HashMap<&'static str, String>,
    password: Option<SecretString>,
    otp: Option<SecretString>,
}

impl ImportRow {
    /// A row without cells.
    pub(crate) fn new(number: u64) -> Self {
        Self {
            number,
            ..Self::default()
        }
    }

    /// Notes that the row cannot be read.
    pub(crate) fn refuse(&mut self, field: &'static str, problem: &str) {
        self.faults.push(Fault::new(field, problem));
    }

    /// True if nothing of it is at fault as it stands.
    #[cfg(test)]
    pub(crate) fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    /// Sets a cell; an empty one is none.
    pub(crate) fn set(&mut self, column: &'static str, value: &str) {
        match column {
            "password" if value.len() > PLAIN_MAX_BYTES => {
                self.refuse("password", "is longer than 65536 bytes");
            }
            // As it stands: blanks may belong to it.
            "password" if !value.is_empty() => self.password = Some(SecretString::from(value)),
            "password" => {}
            "otp_secret" if value.trim().is_empty() => {}
            "otp_secret" => match otp_secret(&SecretString::from(value)) {
                Some(secret) => self.otp = Some(secret),
                None => self.refuse("otp_secret", "must be base 32, of 10 to 128 bytes"),
            },
            _ => {
                let value = value.trim();
                if !value.is_empty() {
                    self.cells.insert(column, value.to_owned());
                }
            }
        }
    }

    /// What is wrong with it as it stands; told once.
    pub(super) fn faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.faults)
    }

    /// Its value, told once; and its secret of one-time codes.
    pub(super) fn secrets(&mut self) -> (Option<SecretString>, Option<SecretString>) {
        (self.password.take(), self.otp.take())
    }

    /// True if it brings a value.
    pub(super) fn has_value(&self) -> bool {
        self.password.is_some()
    }

    pub(super) fn text(&self, column: &str) -> Option<String> {
        self.cells.get(column).cloned()
    }

    pub(super) fn flag(&self, column: &'static str, faults: &mut Vec<Fault>) -> bool {
        let word = self.text(column).unwrap_or_default().to_ascii_lowercase();
        match word.as_str() {
            "true" | "yes" | "1" => true,
            "" | "false" | "no" | "0" => false,
            _ => {
                faults.push(Fault::new(column, "must be true or false"));
                false
            }
        }
    }

    pub(super) fn number(&self, column: &'static str, faults: &mut Vec<Fault>) -> Option<i64> {
        let text = self.text(column)?;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text
            .parse()
            .ok()
            .filter(|number| digits && (1..=i64::from(i32::MAX)).contains(number));
        if number.is_none() {
            faults.push(Fault::new(column, "must be a number from 1 to 2147483647"));
        }
        number
    }

    /// When a row's value changed, as it says: RFC 3339, or a date and a time in UTC.
    pub(super) fn moment(&self, faults: &mut Vec<Fault>) -> Option<Timestamp> {
        let text = self.text("password_updated_at")?;
        let bare = text.trim_end_matches("UTC").trim();
        let read = chrono::DateTime::parse_from_rfc3339(&text)
            .map(|at| at.to_utc())
            .or_else(|_| {
                let time = chrono::NaiveDateTime::parse_from_str(bare, "%Y-%m-%d %H:%M:%S");
                time.map(|time| time.and_utc())
            });
        if read.is_err() {
            let text = "must be a time such as 2026-01-31T08:00:00Z";
            faults.push(Fault::new("password_updated_at", text));
        }
        read.ok().map(Timestamp::from_utc)
    }
}
