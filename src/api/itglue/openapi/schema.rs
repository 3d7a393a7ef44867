//! What may stand in attributes and parameters, and the resources that they belong to.
//!
//! Invariant: what is sent may be whatever is described here; a test sends each attribute wrong.

use serde_json::{Map, Value, json};

/// Ids and other numbers on the wire fit 32 bits.
const INT_MAX: i64 = 2_147_483_647;
/// Items of one body.
const ITEMS_MAX: usize = 1_000;
/// Digits of an id, perhaps among blanks.
const ID: &str = r" *\+?0*[1-9][0-9]{0,9} *";
/// Several such with commas between them.
const IDS: &str = r"^,*( *[+-]?[0-9]{1,18} *(,+ *[+-]?[0-9]{1,18} *)*,*)?$";
/// No text has U+0000.
const FREE: &str = r"^[^\u0000]*$";
/// One line.
const LINE: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
/// One line that is not blank.
const NAME: &str = r"^[^\u0000-\u001f\u007f-\u009f]*[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000][^\u0000-\u001f\u007f-\u009f]*$";
/// Several lines.
const PROSE: &str = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$";
/// Base 32.
const BASE32: &str = r"^[A-Za-z2-7 -]+[= -]*$";
/// A date; 29 February is read too, in years that have one.
const DAY: &str = concat!(
    "[12][0-9]{3}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])",
    "|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))",
);
/// What may follow a date.
const TIME: &str = concat!(
    r"(T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?",
    "(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))?",
);
/// A moment, as answers have it.
const AT: &str = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{3}Z$";

/// An attribute that is sent.
pub(super) struct Field {
    name: &'static str,
    schema: Value,
    is_required: bool,
    /// Null and an empty text mean none.
    may_be_blank: bool,
}

impl Field {
    fn new(name: &'static str, schema: Value) -> Self {
        Self {
            name,
            schema,
            is_required: false,
            may_be_blank: true,
        }
    }

    /// The same, which must be there.
    pub(super) fn required(mut self) -> Self {
        self.is_required = true;
        self.may_be_blank = false;
        self
    }

    fn accepted(self) -> Value {
        if self.may_be_blank {
            json!({"anyOf": [self.schema, {"enum": [null, ""]}]})
        } else {
            self.schema
        }
    }
}

fn texts(name: &'static str, chars_max: usize, pattern: &str) -> Field {
    let schema =
        json!({"type": "string", "minLength": 1, "maxLength": chars_max, "pattern": pattern});
    Field::new(name, schema)
}

/// The name of a thing, which is never taken away.
pub(super) fn name() -> Field {
    Field {
        may_be_blank: false,
        ..texts("name", 255, NAME)
    }
}

/// One line.
pub(super) fn line(name: &'static str, chars_max: usize) -> Field {
    texts(name, chars_max, LINE)
}

/// Several lines.
pub(super) fn prose(name: &'static str, chars_max: usize) -> Field {
    texts(name, chars_max, PROSE)
}

/// Any text.
pub(super) fn free(name: &'static str, chars_max: usize) -> Field {
    texts(name, chars_max, FREE)
}

/// A value.
pub(super) fn secret(name: &'static str, chars_max: usize) -> Field {
    let schema = json!({
        "type": "string", "format": "password", "writeOnly": true,
        "minLength": 1, "maxLength": chars_max, "pattern": FREE,
    });
    Field::new(name, schema)
}

/// The secret of one-time codes, of 10 to 128 bytes.
pub(super) fn base32(name: &'static str) -> Field {
    let schema = json!({
        "type": "string", "format": "password", "writeOnly": true, "minLength": 16,
        "pattern": BASE32,
    });
    Field::new(name, schema)
}

/// A switch.
pub(super) fn flag(name: &'static str) -> Field {
    Field::new(
        name,
        json!({"enum": [true, false, 1, 0, "true", "false", "1", "0"]}),
    )
}

/// The id of something.
pub(super) fn id_of(name: &'static str) -> Field {
    id_up_to(name, INT_MAX)
}

/// An id of a closed list, which begins with 1.
pub(super) fn id_up_to(name: &'static str, most: i64) -> Field {
    let quoted = format!("^{ID}$");
    let schema = json!({"anyOf": [
        {"type": "integer", "minimum": 1, "maximum": most}, {"type": "string", "pattern": quoted},
    ]});
    Field::new(name, schema)
}

/// A moment, or a date.
pub(super) fn moment(name: &'static str) -> Field {
    Field::new(
        name,
        json!({"type": "string", "pattern": format!("^{DAY}{TIME}$")}),
    )
}

/// Attributes that are sent together.
pub(super) fn sent(fields: Vec<Field>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in fields {
        if field.is_required {
            required.push(field.name);
        }
        properties.insert(field.name.to_owned(), field.accepted());
    }
    let mut object = json!({"type": "object", "properties": properties});
    if let (false, Some(object)) = (required.is_empty(), object.as_object_mut()) {
        object.insert("required".to_owned(), json!(required));
    }
    object
}

/// A resource as it is sent, of this type and with these attributes; they may be left out where
/// none of them is required.
pub(super) fn resource(kind: &str, attributes: &str, is_required: bool) -> Value {
    let mut kinds = vec![json!(kind), json!(kind.replace('-', "_")), Value::Null];
    kinds.dedup();
    let attributes = reference(attributes);
    let about = "To-one relationships by their `data`, an object or an array of one.";
    let relationships = json!({"description": about});
    if is_required {
        json!({
            "type": "object",
            "required": ["attributes"],
            "properties": {
                "type": {"enum": kinds}, "attributes": attributes, "relationships": relationships,
            },
        })
    } else {
        json!({
            "type": "object",
            "properties": {
                "type": {"enum": kinds},
                "attributes": {"anyOf": [attributes, {"type": "null"}]},
                "relationships": relationships,
            },
        })
    }
}

/// Several resources as they are sent.
pub(super) fn resources(one: &Value) -> Value {
    json!({"type": "array", "items": one, "maxItems": ITEMS_MAX})
}

pub(super) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// An id of a path.
pub(super) fn id() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": INT_MAX})
}

/// A parameter that any text may stand in; what makes no sense there counts for nothing.
pub(super) fn lenient() -> Value {
    json!({"type": "string", "pattern": FREE})
}

/// A switch that is asked for.
pub(super) fn switch() -> Value {
    json!({"type": "string", "pattern": FREE, "examples": ["true"]})
}

/// What a filter of this name takes.
pub(super) fn filter(name: &str) -> (Value, &'static str) {
    let moment = format!("({DAY}{TIME}|[*])?");
    let ends = ["[gt]", "[gte]", "[lt]", "[lte]"];
    if name.ends_with("_at]") {
        let pattern = format!("^{moment}(,{moment})?$");
        let about = "From one moment or date to another; `*`: open.";
        (json!({"type": "string", "pattern": pattern}), about)
    } else if ends.iter().any(|end| name.ends_with(end)) {
        let pattern = format!("^{moment}$");
        (
            json!({"type": "string", "pattern": pattern}),
            "A moment or date.",
        )
    } else if name.ends_with("id]") {
        let about = "Ids, any of which may fit.";
        (json!({"type": "string", "pattern": IDS}), about)
    } else if matches!(name, "filter[archived]" | "filter[primary]") {
        let words = ["true", "false", "1", "0", ""];
        (json!({"type": "string", "enum": words}), "In any case.")
    } else if name == "filter[stale_days]" {
        let about = "Those whose value is older, or that have none.";
        (
            json!({"type": "integer", "minimum": 0, "maximum": 36_500}),
            about,
        )
    } else if name == "filter[server]" {
        let about = "A part of name, URL or notes, or of the name of the account's system.";
        (lenient(), about)
    } else {
        let about = "Texts, any of which may fit, in any case; `\\,` is a comma in one.";
        (lenient(), about)
    }
}

/// A date with a time, as answers have it.
pub(super) fn at() -> Value {
    json!({"type": "string", "pattern": AT})
}

/// The same, or null.
pub(super) fn maybe_at() -> Value {
    json!({"type": ["string", "null"], "pattern": AT})
}

pub(super) fn text() -> Value {
    json!({"type": "string"})
}

pub(super) fn maybe_text() -> Value {
    json!({"type": ["string", "null"]})
}

pub(super) fn maybe_id() -> Value {
    json!({"type": ["integer", "null"], "minimum": 1})
}

pub(super) fn boolean() -> Value {
    json!({"type": "boolean"})
}

/// A resource as answers have it: all of these attributes, and perhaps some more.
pub(super) fn shown(kind: &str, always: &[(&str, Value)], perhaps: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = always.iter().map(|(name, _)| *name).collect();
    let all = always.iter().chain(perhaps);
    let properties: Map<String, Value> = all
        .map(|(name, schema)| ((*name).to_owned(), schema.clone()))
        .collect();
    json!({
        "type": "object",
        "required": ["id", "type", "attributes", "relationships"],
        "properties": {
            "id": {"type": "string", "pattern": "^[1-9][0-9]*$"},
            "type": {"const": kind},
            "attributes": {
                "type": "object", "required": names, "properties": properties,
                "additionalProperties": false,
            },
            "relationships": reference("Relationships"),
        },
        "additionalProperties": false,
    })
}

/// What every noun's answers share.
pub(super) fn shared() -> Vec<(&'static str, Value)> {
    let linkage = json!({
        "type": "object", "required": ["type", "id"], "properties": {"type": text(), "id": text()},
        "additionalProperties": false,
    });
    let data = json!({"anyOf": [
        {"type": "null"}, reference("Linkage"),
        {"type": "array", "items": reference("Linkage")},
    ]});
    let relationships = json!({
        "type": "object",
        "description": "What `include` has named.",
        "additionalProperties": {
            "type": "object", "required": ["data"], "properties": {"data": data},
            "additionalProperties": false,
        },
    });
    let count = |least: i64| json!({"type": "integer", "minimum": least});
    let number = json!({"type": ["integer", "null"], "minimum": 1});
    let meta = json!({
        "type": "object",
        "required": [
            "current-page", "next-page", "prev-page", "total-pages", "total-count", "filters",
        ],
        "properties": {
            "current-page": count(1), "next-page": number, "prev-page": number,
            "total-pages": count(1), "total-count": count(0), "filters": {"type": "object"},
        },
        "additionalProperties": false,
    });
    let links = json!({
        "type": "object",
        "required": ["self", "first", "last"],
        "properties": {
            "self": text(), "first": text(), "last": text(), "next": text(), "prev": text(),
        },
        "additionalProperties": false,
    });
    vec![
        ("Linkage", linkage),
        ("Relationships", relationships),
        ("Meta", meta),
        ("Links", links),
        ("Id", sent(vec![id_of("id").required()])),
    ]
}
