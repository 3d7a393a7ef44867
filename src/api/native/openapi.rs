//! The API's description: `/openapi.json`, and a page at `/docs/api` to read it and the dialects'.
//!
//! Invariant: every native route is described, and what is described exists; a test compares.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::json;
use utoipa::Number;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Content, OpenApi as Description, RefOr, Required, Schema};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::{Config, SwaggerUi, Url};

use super::input::{LIMIT_MAX, LONG_ID_MAX, WAIT_MAX_S};
use super::{
    access_policy, account, audit, delivery, discovery, doubt, functional_account, functional_link,
    group, health, import, job, key, password, password_export, password_import, password_list,
    password_reader, password_record, platform, policy, quarantine, regression, report, reveal,
    session, system, totp, user, workflow,
};
use crate::api::Api;
use crate::api::caller::SESSION_COOKIE;
use crate::api::sign_in::COOKIE;
use crate::api::{itglue, passwordsafe};

/// The page's own policy: its styles are written by its script.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                   img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
                   form-action 'none'; frame-ancestors 'none'";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Keywheel",
        description = "The native API: what the Password Safe dialect has no words for. \
                       Errors are problem details, RFC 9457; edits need If-Match; lists have a \
                       cursor; times are RFC 3339 in UTC.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        access_policy::list, access_policy::one, access_policy::create, access_policy::replace,
        access_policy::delete,
        account::list, account::one, account::edit, account::rotate, account::test,
        account::suspend, account::resume, reveal::reveal,
        audit::list, audit::verify, audit::anchors, audit::export,
        discovery::list, discovery::run, discovery::one, discovery::discovered,
        doubt::list, doubt::one, doubt::resolve,
        import::run,
        functional_account::list, functional_account::one, functional_account::create,
        functional_account::edit, functional_account::delete,
        functional_link::linked, functional_link::link,
        group::list, group::one, group::create, group::delete, group::disable, group::enable, group::add_member,
        group::remove_member,
        health::alive, health::ready, health::metrics,
        job::list, job::one,
        key::list, key::create, key::edit::one, key::edit::edit, key::revoke, key::rotate,
        password::set,
        password_export::all, password_export::of_organization,
        password_record::create, password_record::ensure, password_record::one,
        password_record::reveal, password_record::rotate, password_record::otp,
        password_reader::readers, password_reader::set_readers,
        password_import::run, password_list::list,
        platform::list,
        policy::list, policy::one, policy::create, policy::replace, policy::delete,
        policy::preview,
        quarantine::list, quarantine::run, quarantine::one,
        regression::show, regression::list, regression::test, regression::reset, regression::clear,
        report::stale, report::categories, report::value::duplicates, report::value::strength, report::value::breached,
        report::at_risk::at_risk, report::at_risk_file::export, report::at_risk::rotate,
        session::sign_in, session::list, session::end, session::end_all,
        system::list, system::one, system::edit,
        totp::one, totp::enrol, totp::confirm, totp::remove,
        workflow::list, workflow::one, workflow::create, workflow::replace, workflow::delete,
        workflow::test, workflow::renew_secret, delivery::list, delivery::redeliver,
        user::list, user::one, user::create, user::disable, user::enable,
    ),
    security(("key" = []), ("sign_in" = [])),
    modifiers(&Schemes, &Refined),
)]
struct Native;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, description: &mut Description) {
        let components = description.components.get_or_insert_default();
        let bearer = Http::new(HttpAuthScheme::Bearer);
        components.add_security_scheme("key", SecurityScheme::Http(bearer));
        let cookie = ApiKeyValue::with_description(
            SESSION_COOKIE,
            "A Password Safe session; it may read the jobs and quarantines that it ordered.",
        );
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
        let cookie = ApiKeyValue::with_description(
            COOKIE,
            "A session that a user opened with their password, by `POST /api/v1/sessions`. Calls \
             other than GET also carry its `csrf_token` as `X-CSRF-Token`.",
        );
        components.add_security_scheme("sign_in", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

/// Whole numbers in paths and query strings: name, least and most.
const BOUNDS: [(&str, i64, i64); 13] = [
    ("action", 1, LONG_ID_MAX),
    ("id", 1, LONG_ID_MAX),
    ("user", 1, LONG_ID_MAX),
    ("limit", 1, LIMIT_MAX),
    ("wait", 0, WAIT_MAX_S),
    ("from", 1, LONG_ID_MAX),
    ("to", 1, LONG_ID_MAX),
    ("account_id", 1, i64::MAX),
    ("system_id", 1, i64::MAX),
    ("user_id", 1, i64::MAX),
    ("organization_id", 1, i64::MAX),
    ("days", 1, 36_525),
    ("max_score", 0, 4),
];

/// Words in query strings: name and pattern.
const PATTERNS: [(&str, &str); 5] = [
    ("cursor", "^[0-9]{0,15}$"),
    ("state", "^(|open|ended)$"),
    ("lock", "^(|open|locked|no_password|unknown)$"),
    ("tab", "^(|at_risk|all_accessed)$"),
    ("format", "^(|csv|html)$"),
];

/// Says what holds for all operations alike, and what their types cannot say.
struct Refined;

impl Modify for Refined {
    fn modify(&self, description: &mut Description) {
        let schemas = &description.components.get_or_insert_default().schemas;
        let optional: BTreeSet<String> = schemas
            .iter()
            .filter(|(_, schema)| {
                matches!(schema, RefOr::T(Schema::Object(object)) if object.required.is_empty())
            })
            .map(|(name, _)| format!("#/components/schemas/{name}"))
            .collect();
        let operations = description.paths.paths.values_mut().flat_map(|path| {
            [
                &mut path.get,
                &mut path.post,
                &mut path.put,
                &mut path.patch,
                &mut path.delete,
            ]
        });
        for operation in operations.flatten() {
            for parameter in operation.parameters.iter_mut().flatten() {
                if let RefOr::T(parameter) = parameter {
                    bounded(parameter);
                }
            }
            // An empty body stands for `{}`.
            if let Some(RefOr::T(body)) = &mut operation.request_body {
                let mut names = body.content.values().filter_map(named);
                if names.any(|name| optional.contains(name)) {
                    body.required = Some(Required::False);
                }
            }
            for response in operation.responses.responses.values_mut() {
                if let RefOr::T(response) = response
                    && response.content.values().any(is_problem)
                    && let Some(problem) = response.content.shift_remove("application/json")
                {
                    let kind = "application/problem+json".to_owned();
                    response.content.insert(kind, problem);
                }
            }
        }
    }
}

fn named(content: &RefOr<Content>) -> Option<&str> {
    match content {
        RefOr::T(Content {
            schema: Some(RefOr::Ref(schema)),
            ..
        }) => Some(&schema.ref_location),
        _ => None,
    }
}

fn is_problem(content: &RefOr<Content>) -> bool {
    named(content) == Some("#/components/schemas/Problem")
}

/// Gives a parameter its limits; an empty one of a query string was not given.
fn bounded(parameter: &mut Parameter) {
    if matches!(parameter.parameter_in, ParameterIn::Query) {
        parameter.extensions = serde_json::from_value(json!({"allowEmptyValue": true})).ok();
    }
    let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema else {
        return;
    };
    let bounds = BOUNDS.iter().find(|(name, ..)| *name == parameter.name);
    if let Some(&(_, least, most)) = bounds {
        schema.minimum = Some(whole(least));
        schema.maximum = Some(whole(most));
    }
    // Empty ones match too: the words of a query string do not know of `allowEmptyValue`.
    let pattern = PATTERNS.iter().find(|(name, _)| *name == parameter.name);
    if let Some((_, pattern)) = pattern {
        schema.pattern = Some((*pattern).to_owned());
    }
}

fn whole(number: i64) -> Number {
    isize::try_from(number).map_or(Number::Int(isize::MAX), Number::Int)
}

/// The description of the native API, OpenAPI 3.1, with the permission of each operation.
pub fn description() -> Description {
    let mut description = Native::openapi();
    for route in super::routes().declared() {
        let Some(path) = description.paths.paths.get_mut(route.path) else {
            continue; // the tests compare routes and description
        };
        let operation = match route.method {
            "GET" => &mut path.get,
            "POST" => &mut path.post,
            "PUT" => &mut path.put,
            "PATCH" => &mut path.patch,
            _ => &mut path.delete,
        };
        if let (Some(operation), Some(needs)) = (operation, route.need.in_words()) {
            let said = operation.description.get_or_insert_default();
            let pause = if said.is_empty() { "" } else { "\n\n" };
            said.push_str(pause);
            said.push_str(&needs);
        }
    }
    description
}

/// `/openapi.json`, `/openapi-passwordsafe.json`, `/openapi-itglue.json` and `/docs/api`; they are
/// open, since they describe the program, not its data.
pub(super) fn router() -> Router<Api> {
    // Made when somebody reads them: they take long, and say the same as long as the program runs.
    static NATIVE: LazyLock<Bytes> = LazyLock::new(|| written(&description()));
    static PASSWORD_SAFE: LazyLock<Bytes> = LazyLock::new(|| written(&passwordsafe::description()));
    static IT_GLUE: LazyLock<Bytes> = LazyLock::new(|| written(&itglue::description()));
    let page = SwaggerUi::new("/docs/api").config(Config::new([
        Url::with_primary("Native API", "/openapi.json", true),
        Url::new("Password Safe dialect", "/openapi-passwordsafe.json"),
        Url::new("IT Glue dialect", "/openapi-itglue.json"),
    ]));
    let described = Router::<Api>::from(page)
        .route("/openapi.json", get(async || json_of(&NATIVE)))
        .route(
            "/openapi-passwordsafe.json",
            get(async || json_of(&PASSWORD_SAFE)),
        )
        .route("/openapi-itglue.json", get(async || json_of(&IT_GLUE)));
    described.layer(axum::middleware::map_response(
        async |mut answer: Response| {
            let headers = answer.headers_mut();
            headers.insert(
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(CSP),
            );
            headers.insert(
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            );
            answer
        },
    ))
}

/// Descriptions have string keys alone, so each of them has a text.
fn written(description: &impl Serialize) -> Bytes {
    serde_json::to_vec(description).unwrap_or_default().into()
}

fn json_of(text: &Bytes) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, "application/json")], text.clone())
}
