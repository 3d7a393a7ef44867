//! Spellings of the dialect: dates, envelopes, names of fields, and fields that are overlaid on
//! what is stored.
//!
//! Invariant: a field that was not given changes nothing.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde::Serialize;

use super::key_pair::GivenKeys;
use super::{Fields, Page};
use crate::api::error::ApiError;
use crate::api::inventory::account::Secrets;
use crate::model::Timestamp;
use crate::model::policy::{VendorSchedule, VendorScheduleError};
use crate::model::schedule::vendor_words;
use crate::store;

/// Longest list where the client named no limit. Source: vendor's default for managed systems.
pub(super) const LIST_LIMIT: i64 = 100_000;
/// Characters of a given password at most.
const PASSWORD_MAX_CHARS: usize = 1_000;
/// Characters of any text: its noun's own limit is lower, and names the field too.
const TEXT_MAX_CHARS: usize = 4_096;
const INT_MAX: i64 = 2_147_483_647;

/// `2026-11-21T20:18:05.25`: UTC, without a zone.
pub(super) fn date(at: Timestamp) -> String {
    at.to_utc().map_or_else(String::new, |at| {
        at.format("%Y-%m-%dT%H:%M:%S%.f").to_string()
    })
}

/// What the dialect calls the model's fields, where that is more than another spelling.
type Renamed = [(&'static str, &'static str)];

/// Gives an error's fields the dialect's names: `ip_address` becomes `IPAddress`.
pub(super) fn named<T>(done: Result<T, ApiError>, renamed: &Renamed) -> Result<T, ApiError> {
    let mut faults = match done {
        Err(ApiError::Invalid(faults)) => faults,
        other => return other,
    };
    for fault in &mut faults {
        let known = renamed.iter().find(|(model, _)| *model == fault.field);
        fault.field = known.map_or_else(|| spelled(&fault.field), |(_, wire)| (*wire).to_owned());
    }
    Err(ApiError::Invalid(faults))
}

fn spelled(field: &str) -> String {
    // What the dialect itself has named stays.
    if field.chars().any(char::is_uppercase) {
        return field.to_owned();
    }
    field
        .split('_')
        .map(|word| match word {
            "dss" | "id" | "ip" | "isa" | "sam" | "ssl" | "url" => word.to_uppercase(),
            word => {
                let mut rest = word.chars();
                rest.next().map_or_else(String::new, |first| {
                    first.to_uppercase().chain(rest).collect()
                })
            }
        })
        .collect()
}

/// A list in the envelope that some lists have when the client names a limit.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope<T> {
    total_count: i64,
    data: Vec<T>,
}

/// A list: bare, or with `total` in its envelope.
pub(super) fn list<T: Serialize>(items: Vec<T>, total: Option<i64>) -> Response {
    match total {
        None => Json(items).into_response(),
        Some(total_count) => Json(Envelope {
            total_count,
            data: items,
        })
        .into_response(),
    }
}

/// A part of a list that lives in memory.
pub(super) fn part<T>(items: impl Iterator<Item = T>, page: Page) -> Vec<T> {
    let count = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
    items
        .skip(count(page.offset))
        .take(count(page.limit))
        .collect()
}

/// 201 with what was made.
pub(super) fn created<T: Serialize>(made: T) -> Response {
    (StatusCode::CREATED, Json(made)).into_response()
}

impl Page {
    /// The page, as the store takes it.
    pub(super) fn rows(self) -> store::Page {
        store::Page {
            limit: self.limit,
            offset: self.offset,
        }
    }
}

/// Overlays given fields.
#[derive(Clone, Copy)]
pub(super) struct Overlay<'a>(pub(super) &'a Fields);

impl Overlay<'_> {
    pub(super) fn text(self, name: &'static str, target: &mut String) -> Result<(), ApiError> {
        if let Some(text) = self.0.text(name, TEXT_MAX_CHARS)? {
            *target = text;
        }
        Ok(())
    }

    pub(super) fn optional(
        self,
        name: &'static str,
        target: &mut Option<String>,
    ) -> Result<(), ApiError> {
        if let Some(text) = self.0.text(name, TEXT_MAX_CHARS)? {
            *target = Some(text);
        }
        Ok(())
    }

    pub(super) fn flag(self, name: &'static str, target: &mut bool) -> Result<(), ApiError> {
        if let Some(flag) = self.0.flag(name)? {
            *target = flag;
        }
        Ok(())
    }

    pub(super) fn int(self, name: &'static str, target: &mut i64) -> Result<(), ApiError> {
        if let Some(int) = self.given_int(name)? {
            *target = int;
        }
        Ok(())
    }

    pub(super) fn optional_int(
        self,
        name: &'static str,
        target: &mut Option<i64>,
    ) -> Result<(), ApiError> {
        if let Some(int) = self.given_int(name)? {
            *target = Some(int);
        }
        Ok(())
    }

    /// A 32-bit number.
    pub(super) fn given_int(self, name: &'static str) -> Result<Option<i64>, ApiError> {
        self.0.int(name, -INT_MAX - 1..=INT_MAX)
    }

    /// `ChangeFrequencyType`, `ChangeFrequencyDays` and `ChangeTime`, each kept if not given.
    pub(super) fn schedule(self, target: &mut VendorSchedule) -> Result<(), ApiError> {
        let (frequency, mut days, mut time) = vendor_words(target);
        let mut frequency = frequency.to_owned();
        self.text("ChangeFrequencyType", &mut frequency)?;
        self.optional_int("ChangeFrequencyDays", &mut days)?;
        self.text("ChangeTime", &mut time)?;
        *target =
            VendorSchedule::parse(&frequency.to_lowercase(), days, &time).map_err(|error| {
                match error {
                    VendorScheduleError::Frequency => {
                        ApiError::field("ChangeFrequencyType", "must be first, last or xdays")
                    }
                    VendorScheduleError::Days => {
                        ApiError::field("ChangeFrequencyDays", "must be 1 to 999 with xdays")
                    }
                    VendorScheduleError::Time => {
                        ApiError::field("ChangeTime", "must be HH:MM between 00:00 and 23:59")
                    }
                }
            })?;
        Ok(())
    }
}

/// The password that a body gives.
///
/// # Errors
/// [`ApiError::Invalid`] naming it, if it is too long or holds what no target takes.
pub(super) fn password(fields: &Fields) -> Result<Option<SecretString>, ApiError> {
    let password = fields.text("Password", PASSWORD_MAX_CHARS)?;
    // `chpasswd` would read a second line.
    if password
        .as_ref()
        .is_some_and(|password| password.contains(['\0', '\r', '\n']))
    {
        return Err(ApiError::field("Password", "must not hold NUL, CR or LF"));
    }
    Ok(password.map(SecretString::from))
}

/// True if a body gives a password or a key, sound or not; a passphrase alone means nothing.
pub(super) fn gives_secret(fields: &Fields) -> bool {
    ["Password", "PublicKey", "PrivateKey"]
        .iter()
        .any(|name| fields.has(name))
}

/// The secrets that a body gives, to be stored without contact to the target.
///
/// # Errors
/// [`ApiError::Invalid`] naming the field.
pub(super) async fn secrets(fields: &Fields) -> Result<Secrets, ApiError> {
    Ok(Secrets {
        password: password(fields)?,
        key: GivenKeys::read(fields)?.open(false).await?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_utc_without_a_zone() {
        assert_eq!(date(Timestamp(0)), "1970-01-01T00:00:00");
        assert_eq!(date(Timestamp(1_250)), "1970-01-01T00:00:01.250");
    }

    #[test]
    fn faults_carry_the_dialects_names() {
        for (model, wire) in [
            ("ip_address", "IPAddress"),
            ("dns_name", "DnsName"),
            ("isa_release_duration", "ISAReleaseDuration"),
            ("sam_account_name", "SAMAccountName"),
            ("password_rule_id", "PasswordRuleID"),
            ("access_url", "AccessURL"),
            ("timeout_s", "Timeout"),
            ("PublicKey", "PublicKey"),
        ] {
            let failed: Result<(), _> = Err(ApiError::field(model, "x"));
            let named = named(failed, &[("timeout_s", "Timeout")]);
            let Err(ApiError::Invalid(faults)) = named else {
                panic!("{model}")
            };
            assert_eq!(faults[0].field, wire);
        }
    }

    #[test]
    fn what_is_not_given_changes_nothing() {
        let fields = Fields::parse(None, br#"{"Name": null, "Port": 7, "ChangeTime": ""}"#);
        let fields = fields.unwrap();
        let overlay = Overlay(&fields);
        let (mut name, mut port, mut days) = ("kept".to_owned(), 1, Some(3));
        overlay.text("Name", &mut name).unwrap();
        overlay.int("Port", &mut port).unwrap();
        overlay.optional_int("Days", &mut days).unwrap();
        assert_eq!((name.as_str(), port, days), ("kept", 7, Some(3)));
        let before = VendorSchedule::parse("xdays", Some(30), "01:05").unwrap();
        let mut schedule = before;
        overlay.schedule(&mut schedule).unwrap();
        assert_eq!(schedule, before);
    }

    #[test]
    fn a_password_of_two_lines_is_refused_without_being_repeated() {
        let fields = Fields::parse(None, br#"{"Password": "se\ncret"}"#).unwrap();
        let ApiError::Invalid(faults) = password(&fields).unwrap_err() else {
            panic!("invalid")
        };
        assert_eq!(faults[0].field, "Password");
        assert!(!faults[0].text.contains("cret"));
    }
}
