//! Filters: which reveals a workflow is about.
//!
//! All filters must hold; of the values of one filter any is enough. Negative operators hold where
//! there is nothing to compare. Letters match in any case.
//!
//! Invariant: a filter has at least one value, and none of them is blank.

use serde_json::{Value, json};

use crate::model::organization::OrganizationStatus;
use crate::model::reveal::Subject;

/// Most values of one filter.
const VALUES_MAX: usize = 100;
/// Longest text that is looked for.
const TEXT_MAX_CHARS: usize = 255;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$one:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$one])* $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// As it stands on the wire and in the database.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// Reads it back.
            pub fn parse(raw: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == raw)
            }
        }
    };
}

words! {
    /// What is compared by its id.
    IdField {
        /// The record.
        Password = "password",
        /// Its organization.
        Organization = "organization",
        /// That one's status.
        OrganizationStatus = "organization_status",
        /// Who last changed it.
        UpdatedBy = "updated_by",
        /// Its category.
        PasswordCategory = "password_category",
    }
}

words! {
    /// What is compared by its letters.
    TextField {
        /// The record's name.
        Description = "description",
        /// The login name.
        Username = "username",
        /// Where one logs in.
        Url = "url",
        /// Its notes.
        Notes = "notes",
    }
}

words! {
    /// How letters are compared.
    TextOperator {
        /// Any of the values is a part of it.
        Contains = "contains",
        /// None of them is.
        DoesNotContain = "does_not_contain",
        /// It begins with any of them.
        StartsWith = "starts_with",
        /// It ends with any of them.
        EndsWith = "ends_with",
    }
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// `any_of`, `none_of`.
    Ids {
        /// What is compared.
        field: IdField,
        /// True: `none_of`.
        none: bool,
        /// With these.
        ids: Vec<i64>,
    },
    /// The four operators of texts.
    Text {
        /// What is compared.
        field: TextField,
        /// How.
        operator: TextOperator,
        /// With these, as they were given.
        values: Vec<String>,
        /// The same, in small letters.
        small: Vec<String>,
    },
}

/// What is wrong with one filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterFault {
    /// Below the filter: `/field`, `/values/3`.
    pub pointer: String,
    /// Reads on after the field.
    pub problem: String,
}

fn fault(pointer: impl Into<String>, problem: impl Into<String>) -> FilterFault {
    FilterFault {
        pointer: pointer.into(),
        problem: problem.into(),
    }
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`FilterFault`].
    pub fn new(field: &str, operator: &str, values: &[Value]) -> Result<Self, FilterFault> {
        let filter = match (IdField::parse(field), TextField::parse(field)) {
            (Some(field), _) => Self::of_ids(field, operator, values)?,
            (None, Some(field)) => Self::of_text(field, operator, values)?,
            (None, None) => return Err(fault("/field", "is no field that can be filtered by")),
        };
        match values.len() {
            0 => Err(fault("/values", "must not be empty: it would never match")),
            1..=VALUES_MAX => Ok(filter),
            _ => Err(fault("/values", format!("must be at most {VALUES_MAX}"))),
        }
    }

    fn of_ids(field: IdField, operator: &str, values: &[Value]) -> Result<Self, FilterFault> {
        let none = match operator {
            "any_of" => false,
            "none_of" => true,
            _ => return Err(fault("/operator", "must be any_of or none_of")),
        };
        let mut ids = Vec::with_capacity(values.len());
        for (nth, value) in values.iter().enumerate() {
            let pointer = format!("/values/{nth}");
            let Some(id) = value.as_i64().filter(|id| *id > 0) else {
                return Err(fault(pointer, "must be an id"));
            };
            if field == IdField::OrganizationStatus && OrganizationStatus::of(id).is_none() {
                return Err(fault(pointer, "is no organization status"));
            }
            ids.push(id);
        }
        Ok(Self::Ids { field, none, ids })
    }

    fn of_text(field: TextField, operator: &str, values: &[Value]) -> Result<Self, FilterFault> {
        let operator = TextOperator::parse(operator).ok_or_else(|| {
            fault(
                "/operator",
                "must be contains, does_not_contain, starts_with or ends_with",
            )
        })?;
        let mut texts = Vec::with_capacity(values.len());
        for (nth, value) in values.iter().enumerate() {
            let pointer = format!("/values/{nth}");
            let Some(text) = value.as_str() else {
                return Err(fault(pointer, "must be a text"));
            };
            if text.trim().is_empty() {
                return Err(fault(pointer, "must not be blank"));
            }
            if text.chars().count() > TEXT_MAX_CHARS {
                let problem = format!("must have at most {TEXT_MAX_CHARS} characters");
                return Err(fault(pointer, problem));
            }
            texts.push(text.to_owned());
        }
        Ok(Self::Text {
            field,
            operator,
            small: texts.iter().map(|text| text.to_lowercase()).collect(),
            values: texts,
        })
    }

    /// What is compared, how, and with what: as it is read and written.
    pub fn parts(&self) -> (&'static str, &'static str, Vec<Value>) {
        match self {
            Self::Ids { field, none, ids } => {
                let operator = if *none { "none_of" } else { "any_of" };
                (
                    field.as_str(),
                    operator,
                    ids.iter().map(|id| json!(id)).collect(),
                )
            }
            Self::Text {
                field,
                operator,
                values,
                ..
            } => {
                let values = values.iter().map(|value| json!(value)).collect();
                (field.as_str(), operator.as_str(), values)
            }
        }
    }

    /// As an object with `field`, `operator` and `values`.
    pub fn to_json(&self) -> Value {
        let (field, operator, values) = self.parts();
        json!({"field": field, "operator": operator, "values": values})
    }

    /// Reads what [`Self::to_json`] has written.
    pub fn from_json(filter: &Value) -> Option<Self> {
        let values = filter.get("values")?.as_array()?;
        let word = |name| filter.get(name).and_then(Value::as_str);
        Self::new(word("field")?, word("operator")?, values).ok()
    }

    fn passes(&self, subject: &Subject) -> bool {
        match self {
            Self::Ids { field, none, ids } => {
                let id = match field {
                    IdField::Password => subject.record_id.map(|id| id.0),
                    IdField::Organization => subject.organization.as_ref().map(|one| one.0.0),
                    IdField::OrganizationStatus => {
                        subject.organization.as_ref().map(|one| one.2.number())
                    }
                    IdField::UpdatedBy => subject.updated_by.as_ref().map(|one| one.0.0),
                    IdField::PasswordCategory => subject.category.as_ref().map(|one| one.0.0),
                };
                id.is_some_and(|id| ids.contains(&id)) != *none
            }
            Self::Text {
                field,
                operator,
                small,
                ..
            } => {
                let text = match field {
                    TextField::Description => Some(&subject.name),
                    TextField::Username => subject.username.as_ref(),
                    TextField::Url => subject.url.as_ref(),
                    TextField::Notes => subject.notes.as_ref(),
                };
                let text = text.map(|text| text.to_lowercase());
                let any = |matches: fn(&str, &str) -> bool| {
                    text.as_deref()
                        .is_some_and(|text| small.iter().any(|value| matches(text, value)))
                };
                match operator {
                    TextOperator::Contains => any(|text, value| text.contains(value)),
                    TextOperator::DoesNotContain => !any(|text, value| text.contains(value)),
                    TextOperator::StartsWith => any(|text, value| text.starts_with(value)),
                    TextOperator::EndsWith => any(|text, value| text.ends_with(value)),
                }
            }
        }
    }
}

/// True if what was seen passes every filter; no filter lets everything pass.
pub fn passes(filters: &[Filter], subject: &Subject) -> bool {
    filters.iter().all(|filter| filter.passes(subject))
}

/// Filters that nothing can pass together with one before them: their places in the list, and why.
pub fn contradictions(filters: &[Filter]) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (nth, later) in filters.iter().enumerate() {
        let mut before = filters.iter().take(nth);
        if let Some(why) = before.find_map(|earlier| contradict(earlier, later)) {
            found.push((nth, why));
        }
    }
    found
}

fn contradict(one: &Filter, other: &Filter) -> Option<&'static str> {
    match (one, other) {
        (
            Filter::Ids { field, none, ids },
            Filter::Ids {
                field: same,
                none: negative,
                ids: others,
            },
        ) if field == same => {
            let common = ids.iter().any(|id| others.contains(id));
            match (none, negative) {
                (false, false) if !common => Some(
                    "shares no id with another any_of of the same field: nothing can pass both",
                ),
                (true, false) | (false, true) if common => {
                    Some("names an id in any_of and in none_of of the same field")
                }
                _ => None,
            }
        }
        (
            Filter::Text {
                field,
                operator,
                small,
                ..
            },
            Filter::Text {
                field: same,
                operator: negative,
                small: others,
                ..
            },
        ) if field == same => contradict_in_text((*operator, small), (*negative, others)),
        _ => None,
    }
}

fn contradict_in_text(
    (one, values): (TextOperator, &[String]),
    (other, others): (TextOperator, &[String]),
) -> Option<&'static str> {
    use TextOperator::{DoesNotContain, EndsWith, StartsWith};
    let clash = |fits: fn(&str, &str) -> bool| {
        let mut pairs = values
            .iter()
            .flat_map(|one| others.iter().map(move |other| (one, other)));
        !pairs.any(|(one, other)| fits(one, other) || fits(other, one))
    };
    let refused = |wanted: &[String], refused: &[String]| {
        let hits = |value: &String| refused.iter().any(|part| value.contains(part.as_str()));
        wanted.iter().all(hits)
    };
    match (one, other) {
        (DoesNotContain, DoesNotContain) => None,
        (DoesNotContain, _) if refused(others, values) => Some(REFUSED),
        (_, DoesNotContain) if refused(values, others) => Some(REFUSED),
        (StartsWith, StartsWith) if clash(|text, value| text.starts_with(value)) => {
            Some("begins otherwise than another filter of the same field: nothing can pass both")
        }
        (EndsWith, EndsWith) if clash(|text, value| text.ends_with(value)) => {
            Some("ends otherwise than another filter of the same field: nothing can pass both")
        }
        _ => None,
    }
}

const REFUSED: &str = "asks for what another filter of the same field refuses";
