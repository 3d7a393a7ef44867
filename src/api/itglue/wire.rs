//! Renders answers as JSON:API the way the dialect's clients read it.
//!
//! Invariant: names are hyphenated, ids are texts outside of attributes and numbers within, and an
//! answer's status is 200, 201 or 204.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::BASE;
use super::query::{Page, Query};
use crate::api::error::ApiError;
use crate::api::{Api, Settings};
use crate::model::Timestamp;

/// The media type of every answer.
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/vnd.api+json");

/// A moment, always with milliseconds.
pub(super) fn at(moment: Timestamp) -> Value {
    Value::String(moment.rfc3339_millis())
}

/// A moment, or null.
pub(super) fn maybe_at(moment: Option<Timestamp>) -> Value {
    moment.map_or(Value::Null, at)
}

/// One resource.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    /// Its type, hyphenated.
    pub(super) kind: &'static str,
    /// Its id.
    pub(super) id: i64,
    /// Its attributes, hyphenated; an object.
    pub(super) attributes: Value,
    /// What was asked to be included, by hyphenated name.
    pub(super) relationships: Map<String, Value>,
}

impl Resource {
    /// A resource without relationships.
    pub(super) fn new(kind: &'static str, id: i64, attributes: Value) -> Self {
        Self {
            kind,
            id,
            attributes,
            relationships: Map::new(),
        }
    }

    /// Adds an attribute, or replaces it.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        if let Some(attributes) = self.attributes.as_object_mut() {
            attributes.insert(name.to_owned(), value);
        }
    }

    /// What names it.
    pub(super) fn linkage(&self) -> Value {
        json!({"type": self.kind, "id": self.id.to_string()})
    }

    fn rendered(&self) -> Value {
        json!({
            "id": self.id.to_string(), "type": self.kind,
            "attributes": self.attributes, "relationships": self.relationships,
        })
    }
}

/// Resources that others lead to, each once.
#[derive(Debug, Default)]
pub(super) struct Included(Vec<Resource>);

impl Included {
    /// Adds a resource, unless it is there.
    fn add(&mut self, resource: Resource) {
        let there = |one: &Resource| one.kind == resource.kind && one.id == resource.id;
        if !self.0.iter().any(there) {
            self.0.push(resource);
        }
    }

    /// The linkage of a resource that is there already.
    pub(super) fn linkage(&self, kind: &str, id: i64) -> Option<Value> {
        let mut all = self.0.iter();
        let found = all.find(|one| one.kind == kind && one.id == id);
        found.map(Resource::linkage)
    }

    /// Adds what a relationship leads to, if it leads anywhere; its linkage, or null.
    pub(super) fn led(&mut self, to: Option<Resource>) -> Value {
        to.map_or(Value::Null, |resource| {
            let linkage = resource.linkage();
            self.add(resource);
            linkage
        })
    }

    fn put(&self, document: &mut Value) {
        if !self.0.is_empty() {
            let all: Vec<Value> = self.0.iter().map(Resource::rendered).collect();
            document["included"] = Value::from(all);
        }
    }
}

fn answer(status: StatusCode, document: &Value) -> Response {
    let mut response = (status, document.to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, MEDIA_TYPE);
    response
}

/// One resource, as an answer.
pub(super) fn one(status: StatusCode, resource: &Resource, included: &Included) -> Response {
    let mut document = json!({"data": resource.rendered()});
    included.put(&mut document);
    answer(status, &document)
}

/// Several resources that were written, as an answer.
pub(super) fn several(status: StatusCode, all: &[Resource], included: &Included) -> Response {
    let data: Vec<Value> = all.iter().map(Resource::rendered).collect();
    let mut document = json!({ "data": data });
    included.put(&mut document);
    answer(status, &document)
}

/// Where a list stands: what links are made of.
#[derive(Debug)]
pub(super) struct Place {
    /// Scheme, host and path of the list.
    url: String,
    /// Its parameters.
    pub(super) query: Query,
}

impl Place {
    /// One page of a list with `total` entries.
    pub(super) fn listed(&self, data: &[Resource], total: i64, included: &Included) -> Response {
        let page = self.query.page();
        let pages = pages(total, page.size);
        let next = (page.number < pages).then(|| page.number + 1);
        // From beyond the end one comes back to the last page.
        let prev = (page.number > 1).then(|| (page.number - 1).min(pages));
        let link = |number| {
            let page = Page { number, ..page };
            format!("{}?{}", self.url, self.query.with_page(page))
        };
        let mut links = json!({
            "self": link(page.number), "first": link(1), "last": link(pages),
        });
        for (name, number) in [("next", next), ("prev", prev)] {
            if let (Some(number), Some(links)) = (number, links.as_object_mut()) {
                links.insert(name.to_owned(), Value::from(link(number)));
            }
        }
        let data: Vec<Value> = data.iter().map(Resource::rendered).collect();
        let mut document = json!({
            "data": data,
            "meta": {
                "current-page": page.number, "next-page": next, "prev-page": prev,
                "total-pages": pages, "total-count": total, "filters": {},
            },
            "links": links,
        });
        included.put(&mut document);
        answer(StatusCode::OK, &document)
    }

    /// The part of a whole list that was asked for.
    pub(super) fn part<T>(&self, all: Vec<T>) -> Vec<T> {
        let page = self.query.page();
        let size = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
        let rest = all.into_iter().skip(size(page.offset()));
        rest.take(size(page.size)).collect()
    }
}

/// Pages of so many entries each; at least one.
fn pages(total: i64, size: i64) -> i64 {
    let (total, size) = (total.max(0), size.max(1));
    (total / size + i64::from(total % size > 0)).max(1)
}

impl FromRequestParts<Api> for Place {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let base = origin(&api.settings, &parts.uri, &parts.headers);
        let query = Query::from_request_parts(parts, api).await?;
        // The router has taken the dialect's base off the path.
        let path = parts.uri.path().trim_end_matches('/');
        let url = format!("{base}{BASE}{path}");
        Ok(Self { url, query })
    }
}

/// Where people reach the service: as the operator says, else scheme and host as the client called
/// them; empty where it named no host, which leaves a path.
pub(super) fn origin(settings: &Settings, uri: &Uri, headers: &HeaderMap) -> String {
    if let Some(url) = &settings.public_url {
        return url.clone();
    }
    let host = || headers.get(header::HOST)?.to_str().ok()?.parse().ok();
    let authority: Option<Authority> = uri.authority().cloned().or_else(host);
    let authority = authority.filter(|one| !one.as_str().contains('@'));
    authority.map_or_else(String::new, |authority| {
        let scheme = if settings.tls { "https" } else { "http" };
        format!("{scheme}://{authority}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(raw: &str) -> Place {
        Place {
            url: "http://host:1/itglue/passwords".to_owned(),
            query: Query::parse(raw).unwrap(),
        }
    }

    async fn listed(raw: &str, total: i64) -> Value {
        let response = place(raw).listed(&[], total, &Included::default());
        assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
        let body = axum::body::to_bytes(response.into_body(), 99_999).await;
        serde_json::from_slice(&body.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_list_says_where_it_stands_and_how_to_go_on() {
        let found = listed("sort=-name&page[size]=25", 121).await;
        let meta = json!({
            "current-page": 1, "next-page": 2, "prev-page": null, "total-pages": 5,
            "total-count": 121, "filters": {},
        });
        assert_eq!(found["meta"], meta);
        let url = "http://host:1/itglue/passwords?sort=-name";
        let page = |number| format!("{url}&page%5Bnumber%5D={number}&page%5Bsize%5D=25");
        let links = json!({
            "self": page(1), "first": page(1), "next": page(2), "last": page(5),
        });
        assert_eq!(found["links"], links);
        let last = listed("page[number]=5&page[size]=25", 121).await;
        assert!(last["links"].get("next").is_none());
        assert_eq!(
            (&last["meta"]["next-page"], &last["meta"]["prev-page"]),
            (&Value::Null, &json!(4))
        );
    }

    #[tokio::test]
    async fn an_empty_list_has_one_page_and_beyond_the_end_there_is_nothing() {
        let none = listed("", 0).await;
        assert_eq!(none["meta"]["total-pages"], 1);
        assert_eq!(none["data"], json!([]));
        let beyond = listed("page[number]=9", 60).await;
        assert_eq!(beyond["meta"]["current-page"], 9);
        assert_eq!(beyond["meta"]["next-page"], Value::Null);
        assert_eq!(beyond["meta"]["prev-page"], 2);
        assert_eq!(
            place("page[number]=2&page[size]=2").part(vec![1, 2, 3]),
            [3]
        );
        assert!(place("page[number]=9").part(vec![1, 2, 3]).is_empty());
    }

    #[test]
    fn a_link_begins_as_the_operator_says_or_as_the_client_called() {
        let mut headers = HeaderMap::new();
        let path = Uri::from_static("/passwords");
        let plain = Settings::default();
        let tls = Settings {
            tls: true,
            ..Settings::default()
        };
        let public = Settings {
            public_url: Some("https://vault.example/kw".to_owned()),
            ..Settings::default()
        };
        assert_eq!(origin(&plain, &path, &headers), "");
        headers.insert(header::HOST, HeaderValue::from_static("vault.example:7420"));
        assert_eq!(origin(&tls, &path, &headers), "https://vault.example:7420");
        assert_eq!(origin(&public, &path, &headers), "https://vault.example/kw");
        headers.insert(header::HOST, HeaderValue::from_static("a@b/<script>"));
        assert_eq!(origin(&plain, &path, &headers), "");
    }
}
