//! `/api/v1/doubts`, `/api/v1/accounts/{id}/doubt` and `…/resolve`: which secret a target holds, and
//! how an operator settles it.
//!
//! Invariant: no answer here holds a credential; nothing an operator says is ordered without a
//! reason on record.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::functional_account::Given;
use super::input::{At, Body, ListQuery, Wait};
use super::job::Job;
use super::output::{Listed, made, page};
use super::problem::Problem;
use super::quarantine::reason;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::passwordsafe::Segments;
use crate::api::reveal::KEPT_MAX;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::account::{Account, LastTest};
use crate::model::credential::{Certainty, Kept, Part, candidates};
use crate::model::id::AccountId;
use crate::model::principal::Permission;
use crate::queue::{Resolve, ResolveOrder};
use crate::store::VersionRow;

const MISSING: ApiError = ApiError::NotFound {
    what: "Managed Account",
};

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native)
        .get("/api/v1/doubts", Permission::AccountsRead, list)
        .get("/api/v1/accounts/{id}/doubt", Permission::AccountsRead, one)
        .post(
            "/api/v1/accounts/{id}/resolve",
            Permission::JobsResolve,
            resolve,
        )
}

/// An account whose current credential may not be what its target holds.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Unsure {
    account_id: i64,
    system_id: i64,
    name: String,
    /// True if an order of ours for its password had no answer that settles it.
    in_doubt: bool,
    /// The same of its key pair.
    key_in_doubt: bool,
    /// `never_tested`, `passed`, `out_of_sync` or `unreachable`. `out_of_sync`: its target refuses
    /// what is current.
    last_test: &'static str,
    last_test_at: Option<At>,
    /// Null: never by itself.
    next_test: Option<At>,
    /// Its open job, if one is queued or running.
    open_job: Option<i64>,
}

impl From<Account> for Unsure {
    fn from(account: Account) -> Self {
        Self {
            account_id: account.id.0,
            system_id: account.system_id.0,
            name: account.settings.name,
            in_doubt: account.credential.in_doubt,
            key_in_doubt: account.credential.key_in_doubt,
            last_test: account.credential.last_test.as_str(),
            last_test_at: account.credential.tested_at.map(At),
            next_test: account.due.next_test_at.map(At),
            open_job: account.work.map(|work| work.job.0),
        }
    }
}

/// What is known of an account's credential.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Doubt {
    account_id: i64,
    /// Its password, and its key pair if it has one.
    parts: Vec<PartDoubt>,
}

/// What is known of one part.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PartDoubt {
    /// `password` or `key`.
    part: &'static str,
    /// `empty`, `untested`, `sure`, `in_doubt` or `drifted`. `in_doubt`: an order of ours had no
    /// answer. `drifted`: somebody else has changed it.
    #[schema(value_type = String)]
    certainty: Certainty,
    /// Null before the first.
    current: Option<KeptVersion>,
    /// What the target may hold instead, the likeliest first.
    candidates: Vec<KeptVersion>,
    /// The change that has not come to its end; null: none.
    change: Option<OpenChange>,
}

/// A kept version, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeptVersion {
    version: i64,
    /// `generated`, `supplied` or `stored`.
    origin: String,
    recorded_at: At,
    /// When it was last on its way to the target; null: never.
    sent_at: Option<At>,
    /// When a login with it was last accepted; null: never.
    accepted_at: Option<At>,
}

impl From<&VersionRow> for KeptVersion {
    fn from(row: &VersionRow) -> Self {
        Self {
            version: row.version,
            origin: row.origin.clone(),
            recorded_at: At(row.staged_at),
            sent_at: row.last_sent_at.map(At),
            accepted_at: row.accepted_at.map(At),
        }
    }
}

/// A change that has not come to its end.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OpenChange {
    /// The candidate's version.
    version: i64,
    /// `staged`, `applying`, `applied`, `verified` or `needs_operator`.
    phase: &'static str,
    /// What was last found out, without secrets.
    why: String,
    opened_at: At,
    moved_at: At,
}

/// How an account is to be settled.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResolveBody {
    /// `probe` asks the target once more; `retry` asks, and goes on with the change; `reset` sets a
    /// new credential through the functional account, whatever the target holds; `use_version`
    /// makes a kept version current; `supply` keeps a password that the target has.
    action: Action,
    /// Which part of the credential: `password` or `key`. Default `password`.
    #[serde(default)]
    part: Option<PartName>,
    /// With `use_version` alone: which.
    #[serde(default)]
    version: Option<i64>,
    /// With `use_version` alone: true makes it current without a login, where the target cannot be
    /// reached; it stays in doubt until a test has passed. Default false.
    #[serde(default)]
    untested: Option<bool>,
    /// With `supply` alone.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<Given>,
    /// 1 to 1000 characters; goes to the audit trail.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
}

/// What an operator may ask for.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    /// Ask once more.
    Probe,
    /// Ask, and go on.
    Retry,
    /// Set anew.
    Reset,
    /// This one works.
    UseVersion,
    /// The target has this.
    Supply,
}

/// A part of a credential.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum PartName {
    /// The password.
    Password,
    /// The SSH key pair.
    Key,
}

impl From<PartName> for Part {
    fn from(name: PartName) -> Self {
        match name {
            PartName::Password => Self::Password,
            PartName::Key => Self::Key,
        }
    }
}

/// Accounts whose current credential may not be what their target holds, by id.
#[utoipa::path(
    get, path = "/api/v1/doubts", tag = "accounts",
    params(
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the last page"),
    ),
    responses((status = 200, body = Listed<Unsure>), (status = "4XX", body = Problem)),
)]
pub(super) async fn list(State(api): State<Api>, query: ListQuery) -> Result<Response, ApiError> {
    let after = AccountId(query.cursor.unwrap_or(0));
    let found = api.store.unsure_accounts(after, query.limit).await?;
    Ok(page::<Unsure, _>(&query, found, |one| one.id.0))
}

/// What is known of an account's credential: current, what the target may hold instead, and why.
#[utoipa::path(
    get, path = "/api/v1/accounts/{id}/doubt", tag = "accounts",
    params(("id" = i64, Path, description = "The account")),
    responses((status = 200, body = Doubt), (status = "4XX", body = Problem)),
)]
pub(super) async fn one(State(api): State<Api>, segments: Segments) -> Result<Response, ApiError> {
    let id: AccountId = segments.id("id", "Managed Account")?;
    let account = api.store.account(id).await?.ok_or(MISSING)?;
    let mut parts = Vec::new();
    for part in Part::ALL {
        let found = part_doubt(&api, &account, part).await?;
        if part == Part::Password || !found.versions_none() {
            parts.push(found);
        }
    }
    Ok(Json(Doubt {
        account_id: id.0,
        parts,
    })
    .into_response())
}

impl PartDoubt {
    fn versions_none(&self) -> bool {
        self.current.is_none() && self.candidates.is_empty() && self.change.is_none()
    }
}

async fn part_doubt(api: &Api, account: &Account, part: Part) -> Result<PartDoubt, ApiError> {
    let state = &account.credential;
    let (current, in_doubt) = match part {
        Part::Password => (state.current_version, state.in_doubt),
        Part::Key => (state.current_key_version, state.key_in_doubt),
    };
    let rows = api
        .store
        .versions_of_part(account.id, part, KEPT_MAX)
        .await?;
    let open = api.store.open_rotation_of(account.id, part).await?;
    let kept: Vec<Kept> = rows.iter().map(VersionRow::kept).collect();
    let likely = candidates(&kept, current);
    let open_version = open.as_ref().map(|row| row.version);
    let others = likely.iter().filter(|one| Some(**one) != open_version);
    let certainty = Certainty::of(
        kept.iter().find(|one| Some(one.version) == current),
        in_doubt,
        state.last_test == LastTest::OutOfSync,
        open.as_ref().map(|row| row.state.phase),
        others.count(),
    );
    let shown = |version: i64| {
        let found = rows.iter().find(|row| row.version == version);
        found.map(KeptVersion::from)
    };
    Ok(PartDoubt {
        part: part.as_str(),
        certainty,
        current: current.and_then(shown),
        candidates: likely.into_iter().filter_map(shown).collect(),
        change: open.map(|row| OpenChange {
            version: row.version,
            phase: row.state.phase.as_str(),
            why: row.why,
            opened_at: At(row.opened_at),
            moved_at: At(row.moved_at),
        }),
    })
}

impl ResolveBody {
    /// What is asked for, with all that it needs and nothing else.
    fn how(self) -> Result<(Part, Resolve), ApiError> {
        let part = self.part.map_or(Part::Password, Part::from);
        let alone = |given: bool, field: &'static str, action: &str| {
            let why = format!("belongs to the action {action} alone");
            if given {
                Err(ApiError::field(field, why))
            } else {
                Ok(())
            }
        };
        if !matches!(self.action, Action::UseVersion) {
            alone(self.version.is_some(), "version", "use_version")?;
            alone(self.untested.is_some(), "untested", "use_version")?;
        }
        if !matches!(self.action, Action::Supply) {
            alone(self.password.is_some(), "password", "supply")?;
        }
        let how = match self.action {
            Action::Probe => Resolve::Probe,
            Action::Retry => Resolve::Retry,
            Action::Reset => Resolve::Reset,
            Action::UseVersion => {
                let version = self.version.ok_or_else(|| {
                    ApiError::field("version", "is required by the action use_version")
                })?;
                match self.untested {
                    Some(true) => Resolve::UseUntested(version),
                    Some(false) | None => Resolve::UseVersion(version),
                }
            }
            Action::Supply => match (part, self.password) {
                (Part::Key, _) => {
                    return Err(ApiError::field("part", "must be password with supply"));
                }
                (Part::Password, None) => {
                    let why = "is required by the action supply";
                    return Err(ApiError::field("password", why));
                }
                (Part::Password, Some(password)) => Resolve::Supply(password.line("password")?),
            },
        };
        Ok((part, how))
    }
}

/// Settles an account that is in doubt, or that somebody else has changed. Nothing becomes current
/// before a login with it has succeeded, unless `untested` says so.
#[utoipa::path(
    post, path = "/api/v1/accounts/{id}/resolve", tag = "accounts",
    params(
        ("id" = i64, Path, description = "The account"),
        ("wait" = Option<i64>, Query, description = "Seconds, 0 to 60"),
    ),
    request_body = ResolveBody,
    responses(
        (status = 202, description = "Ordered", body = Job,
         headers(("Location" = String, description = "Where to follow it"))),
        (status = "4XX", body = Problem),
    ),
)]
pub(super) async fn resolve(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    Wait(limit): Wait,
    body: Result<Body<ResolveBody>, ApiError>,
) -> Result<Response, ApiError> {
    const VANISHED: ApiError = ApiError::Internal("an ordered job has vanished");
    let id: AccountId = segments.id("id", "Managed Account")?;
    api.store.account(id).await?.ok_or(MISSING)?;
    let Body(body) = body?;
    let why = reason(&body.reason)?.to_owned();
    let (part, how) = body.how()?;
    let order = ResolveOrder {
        account: id,
        part,
        how,
        reason: &why,
        actor: caller.actor(),
    };
    let job = api.orders.resolve(order).await?;
    let view = if limit.is_zero() {
        api.store.job(job).await?
    } else {
        api.orders.wait_job(job, limit).await?
    };
    let location = format!("/api/v1/jobs/{}", job.0);
    Ok(made(
        StatusCode::ACCEPTED,
        location,
        &Job::from(view.ok_or(VANISHED)?),
    ))
}
