//! Reads bodies as the dialect's clients write them: JSON:API documents, more or less.
//!
//! `{"data": …}`, the resource without `data`, and attributes without `attributes` say the same.
//! Hyphens, underscores and camel case are equal in names; unknown attributes are ignored, since
//! clients read a record and send it back whole.
//!
//! Invariant: an error names an attribute, never its value: values hold passwords.

use std::collections::BTreeMap;
use std::fmt;

use axum::extract::{FromRequest, Request};
use secrecy::SecretString;
use serde_json::{Map, Value};
use zeroize::Zeroize;

use super::query::{boolean, moment};
use crate::api::Api;
use crate::api::error::ApiError;
use crate::api::nul;
use crate::api::passwordsafe::read_body;
use crate::model::Timestamp;

/// Items of one body.
const ITEMS_MAX: usize = 1_000;

/// What a client said of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sent<T> {
    /// Nothing.
    Absent,
    /// That there be none.
    Null,
    /// This.
    Value(T),
}

impl<T> Sent<T> {
    /// The value, if there is one.
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Absent | Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }
}

/// Attributes of one resource, by name with underscores.
#[derive(Default)]
struct Attributes(BTreeMap<String, Value>);

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        self.0.values_mut().for_each(wipe); // one may be a password
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// One resource that a client sent.
#[derive(Debug, Default)]
pub(super) struct Item {
    /// Its id, from beside the attributes or from among them.
    pub(super) id: Option<i64>,
    attributes: Attributes,
    relationships: BTreeMap<String, Value>,
    /// Its place in an array.
    at: Option<usize>,
}

impl Item {
    /// Where an attribute stood, for errors.
    pub(super) fn pointer(&self, name: &str) -> String {
        self.at.map_or_else(
            || format!("data/attributes/{name}"),
            |at| format!("data/{at}/attributes/{name}"),
        )
    }

    /// A fault of an attribute.
    pub(super) fn fault(&self, name: &str, text: impl Into<String>) -> ApiError {
        ApiError::field(self.pointer(name), text)
    }

    fn read<T>(
        &self,
        name: &str,
        what: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Sent<T>, ApiError> {
        match self.attributes.0.get(name) {
            None => Ok(Sent::Absent),
            Some(Value::Null) => Ok(Sent::Null),
            Some(Value::String(text)) if text.is_empty() => Ok(Sent::Null),
            Some(value) => read(value)
                .map(Sent::Value)
                .ok_or_else(|| self.fault(name, what)),
        }
    }

    /// A text of at most `chars_max` characters; an empty one is null.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming the attribute.
    pub(super) fn text(&self, name: &str, chars_max: usize) -> Result<Sent<String>, ApiError> {
        let what = format!("must be a text of at most {chars_max} characters");
        self.read(name, &what, |value| {
            let text = value.as_str()?;
            (text.chars().count() <= chars_max).then(|| text.to_owned())
        })
    }

    /// A secret of at most `chars_max` characters; an empty one is null.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming the attribute.
    pub(super) fn secret(
        &self,
        name: &str,
        chars_max: usize,
    ) -> Result<Sent<SecretString>, ApiError> {
        let what = format!("must be a text of at most {chars_max} characters");
        self.read(name, &what, |value| {
            let text = value.as_str()?;
            (text.chars().count() <= chars_max).then(|| SecretString::from(text))
        })
    }

    /// A switch: true, false, 1 or 0, also quoted.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming the attribute.
    pub(super) fn flag(&self, name: &str) -> Result<Sent<bool>, ApiError> {
        self.read(name, "must be true or false", |value| match value {
            Value::Bool(flag) => Some(*flag),
            Value::Number(number) => boolean(&number.to_string()),
            Value::String(text) => boolean(text),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        })
    }

    /// An id: a number, or a text of digits.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming the attribute.
    pub(super) fn id_of(&self, name: &str) -> Result<Sent<i64>, ApiError> {
        self.read(name, "must be an id", number)
    }

    /// A moment by RFC 3339, or a date.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming the attribute.
    pub(super) fn moment(&self, name: &str) -> Result<Sent<Timestamp>, ApiError> {
        self.read(name, "must be a date as 2026-03-01T09:30:00Z", |value| {
            moment(value.as_str()?, false)
        })
    }

    /// The id of what a relationship leads to.
    pub(super) fn related_id(&self, name: &str) -> Option<i64> {
        number(self.related(name)?.get("id")?)
    }

    /// The name of what a relationship leads to, which clients give instead of an id.
    pub(super) fn related_name(&self, name: &str) -> Option<&str> {
        let related = self.related(name)?;
        let attributes = related.get("attributes").unwrap_or(related);
        attributes.get("name")?.as_str()
    }

    /// What stands behind a relationship: an object, or the only one of an array.
    fn related(&self, name: &str) -> Option<&Value> {
        let data = self.relationships.get(name)?.get("data")?;
        match data {
            Value::Array(items) => match items.as_slice() {
                [one] => Some(one),
                _ => None,
            },
            other => Some(other),
        }
    }

    fn of(resource: Value, kind: &str, at: Option<usize>) -> Result<Self, ApiError> {
        let place = at.map_or_else(|| "data".to_owned(), |at| format!("data/{at}"));
        let Value::Object(mut resource) = resource else {
            return Err(ApiError::field(place, "must be an object"));
        };
        match resource.remove("type") {
            None | Some(Value::Null) => {}
            Some(Value::String(given)) if snake(&given) == kind => {}
            Some(_) => {
                let text = format!("must be {}", kind.replace('_', "-"));
                return Err(ApiError::field(format!("{place}/type"), text));
            }
        }
        let id = resource.remove("id");
        let relationships = match resource.remove("relationships") {
            Some(Value::Object(given)) => spelled(given),
            _ => BTreeMap::new(),
        };
        let attributes = match resource.remove("attributes") {
            Some(Value::Object(given)) => given,
            None | Some(Value::Null) => resource,
            Some(_) => {
                return Err(ApiError::field(
                    format!("{place}/attributes"),
                    "must be an object",
                ));
            }
        };
        let mut attributes = Attributes(spelled(attributes));
        let inner = attributes.0.remove("id");
        let given = [inner, id].into_iter().flatten();
        let mut ids = given.filter(|id| !id.is_null());
        let id = match ids.next() {
            None => None,
            Some(id) => {
                Some(number(&id).ok_or_else(|| ApiError::field(place, "has no readable id"))?)
            }
        };
        Ok(Self {
            id,
            attributes,
            relationships,
            at,
        })
    }
}

/// The body of a call.
#[derive(Debug)]
pub(super) enum Document {
    /// None.
    Empty,
    /// One resource, as yet of any type.
    One(Raw),
    /// Several.
    Many(Vec<Raw>),
}

/// A resource whose type nobody has looked at yet.
pub(super) struct Raw(Value);

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Raw(…)")
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl Raw {
    fn taken(mut self) -> Value {
        std::mem::take(&mut self.0)
    }
}

impl Document {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ApiError::MediaType`], or [`ApiError::Invalid`] if it is no JSON or has too many items.
    pub(super) fn parse(content_type: Option<&str>, body: &[u8]) -> Result<Self, ApiError> {
        let body = body.trim_ascii();
        if body.is_empty() {
            return Ok(Self::Empty);
        }
        let kind = content_type.and_then(|kind| kind.split(';').next());
        let kind = kind.unwrap_or_default().trim().to_ascii_lowercase();
        if !["", "application/vnd.api+json", "application/json"].contains(&kind.as_str()) {
            return Err(ApiError::MediaType);
        }
        nul::none_in_json(body)?;
        // The parser's own words may quote the body: they are dropped.
        let parsed: Value = serde_json::from_slice(body)
            .map_err(|_| ApiError::bad("The body is not well-formed JSON"))?;
        let data = match parsed {
            Value::Object(mut document) if document.contains_key("data") => {
                document.remove("data").unwrap_or_default()
            }
            other => other,
        };
        match data {
            Value::Null => Ok(Self::Empty),
            Value::Array(items) if items.len() > ITEMS_MAX => Err(ApiError::field(
                "data",
                format!("has more than {ITEMS_MAX} items; send them in several calls"),
            )),
            Value::Array(items) => Ok(Self::Many(items.into_iter().map(Raw).collect())),
            one @ Value::Object(_) => Ok(Self::One(Raw(one))),
            mut other => {
                wipe(&mut other);
                Err(ApiError::field("data", "must be an object or an array"))
            }
        }
    }

    /// The one resource, of this type.
    ///
    /// # Errors
    /// [`ApiError::Invalid`].
    pub(super) fn one(self, kind: &str) -> Result<Item, ApiError> {
        match self {
            Self::One(raw) => Item::of(raw.taken(), kind, None),
            Self::Empty => Err(ApiError::field("data", "is missing")),
            Self::Many(_) => Err(ApiError::field("data", "must be one object")),
        }
    }

    /// All resources, of this type; true: they came as an array.
    ///
    /// # Errors
    /// [`ApiError::Invalid`].
    pub(super) fn all(self, kind: &str) -> Result<(Vec<Item>, bool), ApiError> {
        match self {
            Self::Many(raws) => {
                let items = raws.into_iter().enumerate();
                let items = items.map(|(at, raw)| Item::of(raw.taken(), kind, Some(at)));
                Ok((items.collect::<Result<_, _>>()?, true))
            }
            one => Ok((vec![one.one(kind)?], false)),
        }
    }

    /// True if no resource was sent.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::One(_) => false,
            Self::Many(items) => items.is_empty(),
        }
    }
}

impl FromRequest<Api> for Document {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        read_body(request, api, Self::parse).await
    }
}

/// Names with underscores. Where two spellings come, the one with underscores counts.
fn spelled(given: Map<String, Value>) -> BTreeMap<String, Value> {
    let mut found: BTreeMap<String, (bool, Value)> = BTreeMap::new();
    for (sent, mut value) in given {
        let name = snake(&sent);
        let plain = sent == name;
        match found.get(&name) {
            Some((true, _)) => wipe(&mut value),
            _ => {
                if let Some((_, mut other)) = found.insert(name, (plain, value)) {
                    wipe(&mut other);
                }
            }
        }
    }
    let named = found.into_iter();
    named.map(|(name, (_, value))| (name, value)).collect()
}

/// A name in lower case with underscores: `otpSecret` and `otp-secret` are `otp_secret`.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    let mut before = '_';
    for sign in name.chars() {
        if sign.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit()) {
            snake.push('_');
        }
        snake.push(if sign == '-' {
            '_'
        } else {
            sign.to_ascii_lowercase()
        });
        before = sign;
    }
    snake
}

/// A number, or a text of one.
fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests;
