//! The API's description: `/openapi.json`, and a page to read it at `/docs/api`.
//!
//! Invariant: every native route is described, and what is described exists; a test compares.

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use utoipa::openapi::OpenApi as Description;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::SwaggerUi;

use super::{
    access_policy, account, audit, discovery, functional_account, functional_link, group, health,
    import, job, key, password, platform, policy, quarantine, reveal, session, system, totp, user,
};
use crate::api::Api;
use crate::api::caller::SESSION_COOKIE;
use crate::api::route::Need;
use crate::api::sign_in::COOKIE;

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
        platform::list,
        policy::list, policy::one, policy::create, policy::replace, policy::delete,
        policy::preview,
        quarantine::list, quarantine::run, quarantine::one,
        session::sign_in, session::list, session::end, session::end_all,
        system::list, system::one, system::edit,
        totp::one, totp::enrol, totp::confirm, totp::remove,
        user::list, user::one, user::create, user::disable, user::enable,
    ),
    security(("key" = []), ("sign_in" = [])),
    modifiers(&Schemes),
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
        if let (Some(operation), Some(needs)) = (operation, needs(route.need)) {
            let said = operation.description.get_or_insert_default();
            let pause = if said.is_empty() { "" } else { "\n\n" };
            said.push_str(pause);
            said.push_str(&needs);
        }
    }
    description
}

fn needs(need: Need) -> Option<String> {
    match need {
        Need::Open => None,
        Need::SignedIn => Some("Needs to be signed in.".to_owned()),
        Need::One(permission) => Some(format!("Needs `{permission}`.")),
        Need::Any(permissions) => {
            let any: Vec<_> = permissions.iter().map(|one| format!("`{one}`")).collect();
            Some(format!("Needs {}.", any.join(" or ")))
        }
        Need::OrRole(permissions, roles) => {
            let any: Vec<_> = permissions.iter().map(|one| format!("`{one}`")).collect();
            let roles: Vec<_> = roles.iter().map(|role| role.name()).collect();
            Some(format!(
                "Needs {}, or the role {} on a smart rule.",
                any.join(" or "),
                roles.join(" or ")
            ))
        }
        Need::OrOwn(permission) => Some(format!(
            "Needs `{permission}`, or that the caller ordered it."
        )),
    }
}

/// `/openapi.json` and `/docs/api`; both are open, since they describe the program, not its data.
pub(super) fn router() -> Router<Api> {
    let page = SwaggerUi::new("/docs/api").url("/openapi.json", description());
    Router::<Api>::from(page).layer(axum::middleware::map_response(
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
