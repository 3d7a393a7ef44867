//! Every operation: its words, its query parameters, its body and what it answers with.
//!
//! Which refusals an operation has follows from its route: see [`Operation::responses`].
//!
//! Invariant: an operation stands here once.

mod table;

use serde_json::{Map, Value, json};

use super::body;
use crate::api::route::{Declared, Need, segments};

pub(super) use table::{all, answers};

/// One operation.
pub(super) struct Operation {
    method: &'static str,
    path: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) query: Vec<Value>,
    /// The security of an open operation; of the others it is the session.
    pub(super) security: Value,
    body: Option<&'static str>,
    /// By status.
    answers: Map<String, Value>,
    /// Refusals that do not follow from the route.
    also: Vec<&'static str>,
    /// A POST that changes nothing.
    reads: bool,
}

fn operation(method: &'static str, path: &'static str, summary: &'static str) -> Operation {
    Operation {
        method,
        path,
        tag: "",
        summary,
        query: Vec::new(),
        security: json!([]),
        body: None,
        answers: Map::new(),
        also: Vec::new(),
        reads: method == "GET",
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn several(name: &str) -> Value {
    json!({"type": "array", "items": reference(name)})
}

/// The list, or its envelope where the caller named a limit.
fn paged(name: &str) -> Value {
    json!({"anyOf": [several(name), {
        "type": "object",
        "required": ["TotalCount", "Data"],
        "properties": {"TotalCount": {"type": "integer", "minimum": 0}, "Data": several(name)},
    }]})
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "schemas are made where they are handed over"
)]
fn json_of(description: &str, schema: Value) -> Value {
    json!({"description": description, "content": {"application/json": {"schema": schema}}})
}

impl Operation {
    /// True if this describes the route.
    pub(super) fn is_of(&self, route: &Declared) -> bool {
        self.method == route.method && self.path == route.path
    }

    fn tagged(mut self, tag: &'static str) -> Self {
        self.tag = tag;
        self
    }

    fn takes(mut self, body: &'static str) -> Self {
        self.body = Some(body);
        self
    }

    /// A query parameter; an empty one was not given.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "schemas are made where they are handed over"
    )]
    fn asks(mut self, name: &str, schema: Value, about: &str) -> Self {
        self.query.push(json!({
            "name": name, "in": "query", "description": about, "schema": schema,
            "allowEmptyValue": true,
        }));
        self
    }

    fn asks_text(self, name: &str, about: &str) -> Self {
        self.asks(name, json!({"type": "string"}), about)
    }

    /// A query parameter that must be there.
    fn demands(mut self, name: &str, about: &str) -> Self {
        self.query.push(json!({
            "name": name, "in": "query", "required": true, "description": about,
            "schema": {"type": "string", "minLength": 1},
        }));
        self
    }

    fn gives(mut self, status: &str, answer: Value) -> Self {
        self.answers.insert(status.to_owned(), answer);
        self
    }

    /// 200 with one thing.
    fn shows(self, name: &str) -> Self {
        self.gives("200", json_of("It.", reference(name)))
    }

    /// 201 with what was made.
    fn makes(self, name: &str) -> Self {
        self.gives("201", json_of("What was made.", reference(name)))
    }

    fn pages(self) -> Self {
        let count = || json!({"type": "integer", "minimum": 0, "maximum": body::INT_MAX});
        self.asks("limit", count(), "At most so many.")
            .asks("offset", count(), "After so many.")
    }

    /// 200 with a bare list.
    fn lists(self, name: &str) -> Self {
        self.pages().gives("200", json_of("A list.", several(name)))
    }

    /// 200 with a list that has an envelope where a limit is given.
    fn lists_in_envelope(self, name: &str) -> Self {
        self.pages().gives("200", json_of("A list.", paged(name)))
    }

    /// 200 with a list, or with one thing where the parameters name one.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "schemas are made where they are handed over"
    )]
    fn lists_or_shows(mut self, list: Value, one: &str) -> Self {
        self.also.push("404");
        let schema = json!({"anyOf": [list, reference(one)]});
        self.pages()
            .gives("200", json_of("A list, or the one that is named.", schema))
    }

    /// 200 without a body.
    fn removes(self) -> Self {
        self.gives("200", json!({"description": "Done; no body."}))
    }

    /// 204.
    fn ends(self) -> Self {
        self.gives("204", json!({"description": "Done."}))
    }

    /// 204, and where the change that was ordered can be followed.
    fn orders(self, always: bool) -> Self {
        let path = json!({"type": "string", "pattern": "^/api/v1/(jobs|quarantines)/[0-9]+$"});
        self.gives(
            "204",
            json!({
                "description": "Done; `Location` is the job or quarantine of the native API.",
                "headers": {"Location": {"required": always, "schema": path}},
            }),
        )
    }

    fn also(mut self, status: &'static str) -> Self {
        self.also.push(status);
        self
    }

    fn secured_by(mut self, scheme: &str) -> Self {
        self.security = json!([{scheme: []}]);
        self
    }

    const fn reading(mut self) -> Self {
        self.reads = true;
        self
    }

    pub(super) fn request_body(&self) -> Option<Value> {
        let name = self.body?;
        let all = body::all();
        let required = all.iter().any(|(one, schema)| {
            *one == name && (schema.get("required").is_some() || schema.get("anyOf").is_some())
        });
        // Where nothing is demanded, `null` is a body without fields.
        let schema = if required {
            reference(name)
        } else {
            json!({"anyOf": [reference(name), {"type": "null"}]})
        };
        let mut content = json!({"application/json": {"schema": schema}});
        if let (true, Some(content)) = (self.path.ends_with("/token"), content.as_object_mut()) {
            let form = json!({"schema": reference(name)});
            content.insert("application/x-www-form-urlencoded".to_owned(), form);
        }
        Some(json!({"required": required, "content": content}))
    }

    /// What it answers: its own, and the refusals that its route has. 401 wherever one must be
    /// signed in, 403 where that is not enough, 404 where the path names something, 400 where
    /// there is something to get wrong, 413 and 415 where a body is read, 409 for all that
    /// changes something, 429 and 5XX everywhere.
    pub(super) fn responses(&self, route: &Declared) -> Value {
        let signed_in = route.need != Need::Open;
        let reads_body = self.body.is_some();
        let refusals = [
            ("400", !self.query.is_empty() || reads_body),
            ("401", signed_in),
            ("403", signed_in && route.need != Need::SignedIn),
            ("404", segments(self.path).next().is_some()),
            ("409", signed_in && !self.reads),
            ("413", reads_body),
            ("415", reads_body),
            ("429", true),
            ("5XX", true),
        ];
        let mut responses = self.answers.clone();
        for (status, has) in refusals {
            if (has || self.also.contains(&status)) && !responses.contains_key(status) {
                let refusal = json!({"$ref": format!("#/components/responses/{status}")});
                responses.insert(status.to_owned(), refusal);
            }
        }
        Value::Object(responses)
    }
}
