//! Every operation: its words, its query parameters, its body and what it answers with.
//!
//! Which refusals an operation has follows from its route: see [`Operation::responses`].
//!
//! Invariant: an answer is described as `wire` renders it.

use serde_json::{Map, Value, json};

use super::schema::{self, reference, resource, resources};
use crate::api::route::{Declared, Need, segments};

/// The media type of every answer, and of bodies.
const MEDIA_TYPE: &str = "application/vnd.api+json";

/// What goes well.
enum Answer {
    /// A page of these.
    List(&'static str),
    /// One, with this status.
    One(&'static str, &'static str),
    /// One where one was sent, an array where an array was.
    AsSent(&'static str, &'static str),
    /// An array.
    Several(&'static str),
    /// A file.
    File,
    /// 204.
    Nothing,
}

/// The body of a call.
struct Body {
    schema: Value,
    is_required: bool,
}

/// One operation.
pub(super) struct Operation {
    method: &'static str,
    path: &'static str,
    pub(super) summary: &'static str,
    pub(super) query: Vec<Value>,
    body: Option<Body>,
    answers: Vec<Answer>,
    /// Schemas of what its answers may include.
    included: Vec<&'static str>,
    /// Refusals that do not follow from the route.
    also: Vec<&'static str>,
}

pub(super) fn operation(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
) -> Operation {
    Operation {
        method,
        path,
        summary,
        query: Vec::new(),
        body: None,
        answers: Vec::new(),
        included: Vec::new(),
        also: Vec::new(),
    }
}

impl Operation {
    /// True if this describes the route.
    pub(super) fn is_of(&self, route: &Declared) -> bool {
        self.method == route.method && self.path == route.path
    }

    /// A query parameter; an empty one was not given.
    pub(super) fn asks(mut self, name: &str, schema: &Value, about: &str) -> Self {
        self.query.push(json!({
            "name": name, "in": "query", "description": about, "schema": schema,
            "allowEmptyValue": true,
        }));
        self
    }

    /// Filters of these names.
    pub(super) fn filters(self, names: impl IntoIterator<Item = String>) -> Self {
        names.into_iter().fold(self, |operation, name| {
            let (schema, about) = schema::filter(&name);
            operation.asks(&name, &schema, about)
        })
    }

    /// Takes one resource. Where nothing is required of it, it may be left out.
    pub(super) fn takes(mut self, kind: &str, attributes: &'static str, is_new: bool) -> Self {
        let data = resource(kind, attributes, is_new);
        let mut schema = json!({"type": "object", "properties": {"data": data}});
        if let (true, Some(schema)) = (is_new, schema.as_object_mut()) {
            schema.insert("required".to_owned(), json!(["data"]));
        }
        self.body = Some(Body {
            schema,
            is_required: true,
        });
        self
    }

    /// Takes one resource, or several.
    pub(super) fn takes_any(mut self, kind: &str, attributes: &'static str) -> Self {
        let one = resource(kind, attributes, true);
        let several = resources(&one);
        let schema = json!({"anyOf": [
            {
                "type": "object", "required": ["data"],
                "properties": {"data": {"anyOf": [one, several]}},
            },
            several,
        ]});
        self.body = Some(Body {
            schema,
            is_required: true,
        });
        self
    }

    /// As it takes any, or nothing at all.
    pub(super) fn or_nothing(mut self) -> Self {
        if let Some(body) = &mut self.body {
            body.is_required = false;
        }
        self
    }

    /// A body as described; it may be left out.
    pub(super) fn may_take(mut self, schema: Value) -> Self {
        self.body = Some(Body {
            schema,
            is_required: false,
        });
        self
    }

    /// 200 with a page.
    pub(super) fn lists(mut self, name: &'static str, sorts: &[&str]) -> Self {
        let page = "From 1; what is no such number means 1.";
        let size = "1 to 1000; more means 1000, what is no such number 50.";
        let sort = format!(
            "Of {}, with commas between them; `-` reverses. Others count for nothing.",
            sorts.join(", ")
        );
        self.answers.push(Answer::List(name));
        self.asks("page[number]", &schema::lenient(), page)
            .asks("page[size]", &schema::lenient(), size)
            .asks("sort", &schema::lenient(), &sort)
    }

    /// 200 with one.
    pub(super) fn shows(mut self, name: &'static str) -> Self {
        self.answers.push(Answer::One("200", name));
        self
    }

    /// 201 with one.
    pub(super) fn makes(mut self, name: &'static str) -> Self {
        self.answers.push(Answer::One("201", name));
        self
    }

    /// 201 with one, or as many as were sent.
    pub(super) fn makes_as_sent(mut self, name: &'static str) -> Self {
        self.answers.push(Answer::AsSent("201", name));
        self
    }

    /// 200 with several that were written, or are gone.
    pub(super) fn gives_several(mut self, name: &'static str) -> Self {
        self.answers.push(Answer::Several(name));
        self
    }

    /// 200 with a ZIP file.
    pub(super) fn gives_file(mut self) -> Self {
        self.answers.push(Answer::File);
        self
    }

    /// 204.
    pub(super) fn ends(mut self) -> Self {
        self.answers.push(Answer::Nothing);
        self
    }

    /// Its answers may include such.
    pub(super) fn includes(mut self, names: &[&'static str]) -> Self {
        self.included = names.to_vec();
        self
    }

    pub(super) fn also(mut self, status: &'static str) -> Self {
        self.also.push(status);
        self
    }

    pub(super) fn request_body(&self) -> Option<Value> {
        let Body {
            schema,
            is_required,
        } = self.body.as_ref()?;
        Some(json!({
            "required": is_required,
            "description": "`application/json` is taken as well.",
            "content": {(MEDIA_TYPE): {"schema": schema}},
        }))
    }

    fn answer(&self, answer: &Answer) -> (&'static str, Value) {
        let array = |name: &str| json!({"type": "array", "items": reference(name)});
        let (status, description, data) = match answer {
            Answer::Nothing => return ("204", json!({"description": "Done."})),
            Answer::File => {
                let file = json!({"type": "string", "format": "binary"});
                let content = json!({"application/zip": {"schema": file}});
                return (
                    "200",
                    json!({"description": "The file.", "content": content}),
                );
            }
            Answer::List(name) => ("200", "A page of a list.", array(name)),
            Answer::One(status, name) => (*status, "It.", reference(name)),
            Answer::Several(name) => ("200", "They, in the order of the call.", array(name)),
            Answer::AsSent(status, name) => {
                let either = json!({"anyOf": [reference(name), array(name)]});
                (*status, "It, or as many as were sent.", either)
            }
        };
        let mut required = vec!["data"];
        let mut properties = Map::new();
        properties.insert("data".to_owned(), data);
        if let Answer::List(_) = answer {
            for (name, schema) in [("meta", "Meta"), ("links", "Links")] {
                required.push(name);
                properties.insert(name.to_owned(), reference(schema));
            }
        }
        if !self.included.is_empty() {
            let any: Vec<Value> = self.included.iter().map(|name| reference(name)).collect();
            let all = json!({"type": "array", "items": {"anyOf": any}});
            properties.insert("included".to_owned(), all);
        }
        let document = json!({
            "type": "object", "required": required, "properties": properties,
            "additionalProperties": false,
        });
        let content = json!({(MEDIA_TYPE): {"schema": document}});
        (
            status,
            json!({"description": description, "content": content}),
        )
    }

    /// What it answers: its own, and the refusals that its route has. 401 and 403 everywhere, 404
    /// where the path names something, 400 where there is something to get wrong, 413 and 415
    /// where a body is read, 409 and 422 for all that changes something, 429 and 5XX everywhere.
    pub(super) fn responses(&self, route: &Declared) -> Value {
        let reads_body = self.body.is_some();
        let writes = route.method != "GET";
        let is_known = route.need != Need::Open;
        let refusals = [
            ("400", !self.query.is_empty() || reads_body),
            ("401", is_known),
            ("403", is_known),
            ("404", segments(self.path).next().is_some()),
            ("409", writes),
            ("413", reads_body),
            ("415", reads_body),
            ("422", writes),
            ("429", true),
            ("5XX", true),
        ];
        let answers = self.answers.iter().map(|answer| self.answer(answer));
        let mut responses: Map<String, Value> = answers
            .map(|(status, answer)| (status.to_owned(), answer))
            .collect();
        for (status, has) in refusals {
            if has || self.also.contains(&status) {
                let refusal = json!({"$ref": format!("#/components/responses/{status}")});
                responses.insert(status.to_owned(), refusal);
            }
        }
        Value::Object(responses)
    }
}

/// The answers that refuse.
pub(super) fn refusals() -> Value {
    let told = |description: &str| refusal(description, true);
    let said = |description: &str| refusal(description, false);
    let mut later = said(
        "Too many calls with this key, or a busy database: repeat the call after \
                          the seconds in `Retry-After`.",
    );
    if let Some(later) = later.as_object_mut() {
        let seconds = json!({"required": true, "schema": {"type": "integer", "minimum": 1}});
        later.insert("headers".to_owned(), json!({"Retry-After": seconds}));
    }
    json!({
        "400": said("`Name can't be blank`, `Organization required`, or `Bad Request`: what is wrong \
                     with the call."),
        "401": told("`Invalid API key`: missing, unknown or revoked."),
        "403": told("`Access denied`, or `Cannot PATCH Password in bulk`: out of the key's reach."),
        "404": said("What was not found: `Password not found`."),
        "409": said("`Conflict`: somebody else has changed it meanwhile."),
        "413": said("`Payload Too Large`: the body is too long."),
        "415": said("`Unsupported Media Type`: the body is not JSON."),
        "422": said("What cannot be done as it is asked for, among others `Invalid category`, \
                     `Invalid folder`, `Rotation failed`, and `Rotation pending` with the job's id: \
                     repeat the call to join it."),
        "429": later,
        "5XX": said("The service failed, or its disk is full; its log has the reason."),
    })
}

fn refusal(description: &str, is_told: bool) -> Value {
    let text = schema::text();
    let job = json!({
        "type": "object", "required": ["job-id"],
        "properties": {"job-id": {"type": "integer", "minimum": 1}}, "additionalProperties": false,
    });
    let error = json!({
        "type": "object",
        "required": ["status", "title", "detail", "source"],
        "properties": {
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "title": text, "detail": text, "meta": job,
            "source": {
                "type": "object", "required": ["pointer"],
                "properties": {"pointer": schema::maybe_text()}, "additionalProperties": false,
            },
        },
        "additionalProperties": false,
    });
    let mut required = vec!["errors"];
    let mut properties = json!({
        "errors": {"type": "array", "items": error, "minItems": 1}, "meta": job,
    });
    if let (true, Some(properties)) = (is_told, properties.as_object_mut()) {
        required.push("message");
        properties.insert("message".to_owned(), text);
    }
    let document = json!({
        "type": "object", "required": required, "properties": properties,
        "additionalProperties": false,
    });
    json!({"description": description, "content": {(MEDIA_TYPE): {"schema": document}}})
}
