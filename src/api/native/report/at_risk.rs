//! `/api/v1/reports/at-risk`: what a user had before them and nobody has changed since.
//!
//! Invariant: whether a value is at risk is decided by when it changed here, never by a date that a
//! client sent; a change that is ordered here draws a value that nobody sees.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::native::input::{At, Body, ListQuery};
use crate::api::native::output::{Listed, until};
use crate::api::native::problem::Problem;
use crate::api::native::quarantine::reason;
use crate::api::passwordsafe::Params;
use crate::api::route::{Need, Routes};
use crate::api::{Api, Dialect, detached};
use crate::model::Timestamp;
use crate::model::audit::Event;
use crate::model::id::{AccountId, PasswordRecordId, UserId};
use crate::model::password_record::{Accessed, PasswordRecord};
use crate::model::report::{
    AccessedPassword, AccountFacts, Tab, days_since, of_account, of_record,
};
use crate::queue::{ChangeOrder, OrderError};
use crate::store::{LastAccess, Seeing};

/// Accesses that are looked at together.
pub(super) const CHUNK: i64 = 200;
/// Accesses that one call looks at for a page.
const EXAMINED_MAX: i64 = 2_000;
/// Records that document the accounts of one chunk.
const RECORDS_MAX: i64 = 2_000;
/// Accounts that one call orders changes of.
const ORDERS_MAX: usize = 1_000;
/// Where the positions of records begin: behind every account's.
const RECORDS: i64 = 1 << 32;

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native)
        .get("/api/v1/reports/at-risk", Need::Administrator, at_risk)
        .post(
            "/api/v1/reports/at-risk/rotate",
            Need::Administrator,
            rotate,
        )
}

/// Where an access stands in the order of all of a user's: accounts, then records. Above 0.
const fn position(accessed: Accessed) -> i64 {
    match accessed {
        Accessed::Account(id) => id.0,
        Accessed::Record(id) => RECORDS + id.0,
    }
}

fn accessed_at(position: i64) -> Option<Accessed> {
    if position <= 0 {
        None
    } else if position < RECORDS {
        Some(Accessed::Account(AccountId(position)))
    } else {
        Some(Accessed::Record(PasswordRecordId(position - RECORDS)))
    }
}

/// Who is asked about.
pub(super) async fn user(api: &Api, id: i64) -> Result<UserId, ApiError> {
    let id = UserId(id);
    match api.store.user(id).await? {
        Some(_) => Ok(id),
        None => Err(ApiError::NotFound { what: "User" }),
    }
}

/// `user_id` and `tab` of a query.
pub(super) async fn asked(api: &Api, params: &Params) -> Result<(UserId, Tab), ApiError> {
    params.required("user_id")?;
    let id = params.int("user_id", 1..=i64::MAX)?;
    let user = user(api, id.unwrap_or(0)).await?;
    let tab = match params.text("tab") {
        None => Tab::AtRisk,
        Some(raw) => Tab::parse(raw)
            .ok_or_else(|| ApiError::field("tab", "must be at_risk or all_accessed"))?,
    };
    Ok((user, tab))
}

/// A chunk of a user's accesses, as rows of the report.
pub(super) struct Chunk {
    /// Each access with its rows: an account has one for each record that documents it.
    pub(super) rows: Vec<(Accessed, Vec<AccessedPassword>)>,
    /// Where the next chunk begins; `None`: there is none.
    pub(super) next: Option<i64>,
}

/// The accesses behind a position.
pub(super) async fn chunk(api: &Api, user: UserId, after: i64) -> Result<Chunk, ApiError> {
    let store = &api.store;
    let accesses = store.last_accesses(user, accessed_at(after), CHUNK).await?;
    let full = i64::try_from(accesses.len()).is_ok_and(|count| count == CHUNK);
    let next = accesses.last().filter(|_| full);
    let next = next.map(|last| position(last.accessed));
    let (mut accounts, mut records) = (Vec::new(), Vec::new());
    for access in &accesses {
        match access.accessed {
            Accessed::Account(id) => accounts.push(id),
            Accessed::Record(id) => records.push(id),
        }
    }
    let facts = store.account_facts(&accounts).await?;
    let facts: HashMap<AccountId, AccountFacts> =
        facts.into_iter().map(|one| (one.id, one)).collect();
    // An administrator asks: nothing is hidden.
    let linked = store.password_records_of_all(Seeing::default(), &accounts, RECORDS_MAX);
    let mut documents: HashMap<AccountId, Vec<PasswordRecord>> = HashMap::new();
    for record in linked.await? {
        if let Some(account) = record.account.as_ref().map(|account| account.id) {
            documents.entry(account).or_default().push(record);
        }
    }
    let own = store.password_records_by_id(&records).await?;
    let own: HashMap<_, _> = own.into_iter().map(|one| (one.id, one)).collect();
    let rows = accesses.iter().map(|access| {
        let rows = match access.accessed {
            Accessed::Account(id) => {
                of_accessed_account(access, facts.get(&id), documents.get(&id))
            }
            // What was deleted does not count.
            Accessed::Record(id) => own
                .get(&id)
                .map(|record| of_record(record, None, how(access)))
                .into_iter()
                .collect(),
        };
        (access.accessed, rows)
    });
    Ok(Chunk {
        rows: rows.collect(),
        next,
    })
}

fn how(access: &LastAccess) -> (&str, Timestamp) {
    (access.action.as_str(), access.at)
}

fn of_accessed_account(
    access: &LastAccess,
    facts: Option<&AccountFacts>,
    documents: Option<&Vec<PasswordRecord>>,
) -> Vec<AccessedPassword> {
    let Some(facts) = facts else {
        return Vec::new();
    };
    match documents {
        Some(records) => records
            .iter()
            .map(|record| of_record(record, Some(facts), how(access)))
            .collect(),
        None if facts.deleted => Vec::new(),
        None => vec![of_account(facts, how(access))],
    }
}

/// A password that a user had before them.
#[derive(Debug, Serialize, ToSchema)]
#[expect(
    clippy::struct_field_names,
    reason = "they are the columns of the report"
)]
pub(in crate::api::native) struct AtRisk {
    organization_id: Option<i64>,
    organization: Option<String>,
    /// The record; null for an account that no record documents.
    password_id: Option<i64>,
    /// The record's name, or `system/account`.
    password: String,
    username: Option<String>,
    category: Option<String>,
    /// `general`, `embedded` or `managed account`.
    kind: &'static str,
    account_id: Option<i64>,
    /// `system/account`.
    linked_account: Option<String>,
    /// How it was last accessed: a way of the reveals, `created`, `updated` or `imported`.
    last_action: String,
    last_accessed_at: At,
    /// When its value last changed here; null: it has none, or nobody knows.
    password_updated_at: Option<At>,
    days_since_change: Option<i64>,
    /// It has not changed since the access.
    at_risk: bool,
}

impl AtRisk {
    fn of(row: AccessedPassword, now: Timestamp) -> Self {
        let (organization_id, organization) = row.organization.unzip();
        let (account_id, linked_account) = row.account.unzip();
        Self {
            organization_id: organization_id.map(|id| id.0),
            organization,
            password_id: row.record_id.map(|id| id.0),
            password: row.name,
            username: row.username,
            category: row.category,
            kind: row.kind,
            account_id: account_id.map(|id| id.0),
            linked_account,
            last_action: row.action,
            last_accessed_at: At(row.accessed_at),
            password_updated_at: row.changed_at.map(At),
            days_since_change: row.changed_at.map(|changed_at| days_since(changed_at, now)),
            at_risk: row.at_risk,
        }
    }
}

/// What a user had before them: accounts by id, then records by id. An account comes once for each
/// record that documents it. `limit` counts accesses; a page may be short: get on for as long as
/// there is a `next_cursor`.
#[utoipa::path(
    get, path = "/api/v1/reports/at-risk", tag = "reports",
    params(
        ("user_id" = i64, Query, description = "Whose accesses"),
        ("tab" = Option<String>, Query, description = "`at_risk` (default) or `all_accessed`"),
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "Where the last page ended"),
    ),
    responses((status = 200, body = Listed<AtRisk>), (status = "4XX", body = Problem)),
)]
pub(in crate::api::native) async fn at_risk(
    State(api): State<Api>,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let (user, tab) = asked(&api, &query.filters).await?;
    let now = api.clock.now();
    let (mut items, mut taken, mut examined) = (Vec::new(), 0, 0);
    let mut next = query.cursor.or(Some(0));
    while let Some(after) = next.filter(|_| taken < query.limit && examined < EXAMINED_MAX) {
        let chunk = chunk(&api, user, after).await?;
        next = chunk.next;
        let last = chunk.rows.last().map(|(accessed, _)| *accessed);
        for (accessed, mut rows) in chunk.rows {
            examined += 1;
            rows.retain(|row| tab == Tab::AllAccessed || row.at_risk);
            taken += i64::from(!rows.is_empty());
            items.extend(rows.into_iter().map(|row| AtRisk::of(row, now)));
            if taken == query.limit {
                let more = next.is_some() || last != Some(accessed);
                next = more.then_some(position(accessed));
                break;
            }
        }
    }
    Ok(until(&query, items, next))
}

/// Whose passwords are to be changed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api::native) struct AtRiskRotate {
    /// The user, perhaps one who leaves.
    user_id: i64,
    /// 1 to 1000 characters; goes to the audit trail.
    reason: String,
    /// True: those with which functional accounts log in are changed, too.
    #[serde(default)]
    confirm_functional: Option<bool>,
    /// `next_cursor` of the answer before.
    #[serde(default)]
    cursor: Option<i64>,
}

/// What was ordered.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api::native) struct AtRiskRotated {
    orders: Vec<AtRiskOrder>,
    /// Not null: order again with it as `cursor`, for the accounts that are left.
    next_cursor: Option<i64>,
}

/// What was ordered for one account.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api::native) struct AtRiskOrder {
    account_id: i64,
    /// The job that changes it; of an account that takes over another's password that one's.
    job_id: Option<i64>,
    /// Why there is none.
    refused: Option<String>,
}

/// Orders a change, to a value that nobody sees, of every managed account at risk that the user had
/// before them, whether a record documents it or not. Passwords that are no account's are in the
/// report and change where they are used. Repeating it joins the open jobs.
#[utoipa::path(
    post, path = "/api/v1/reports/at-risk/rotate", tag = "reports",
    request_body = AtRiskRotate,
    responses((status = 202, body = AtRiskRotated), (status = "4XX", body = Problem)),
)]
pub(in crate::api::native) async fn rotate(
    State(api): State<Api>,
    caller: Caller,
    body: Result<Body<AtRiskRotate>, ApiError>,
) -> Result<Response, ApiError> {
    let Body(order) = body?;
    let user = user(&api, order.user_id).await?;
    let why = reason(&order.reason)?.to_owned();
    let actor = caller.actor().to_owned();
    // Whoever hangs up has ordered all the same.
    let ordered = detached(async move {
        let (accounts, next_cursor) = accounts(&api, user, order.cursor.unwrap_or(0)).await?;
        let details = json!({"reason": why, "accounts": accounts.len()});
        let event = Event::by(&actor, "report.at_risk_rotated", user, details);
        let mut tx = api.store.begin().await?;
        tx.audit(&event, api.clock.now()).await?;
        tx.commit().await?;
        let mut orders = Vec::with_capacity(accounts.len());
        for account in accounts {
            let confirmed = order.confirm_functional == Some(true);
            orders.push(change(&api, account, confirmed, &actor).await?);
        }
        Ok::<_, ApiError>(AtRiskRotated {
            orders,
            next_cursor,
        })
    });
    let body = Json(ordered.await??);
    Ok((StatusCode::ACCEPTED, body).into_response())
}

/// The accounts at risk behind a position, and where to get on.
async fn accounts(
    api: &Api,
    user: UserId,
    after: i64,
) -> Result<(Vec<AccountId>, Option<i64>), ApiError> {
    let mut found = Vec::new();
    let mut next = Some(after);
    while let Some(after) = next.filter(|after| *after < RECORDS) {
        let chunk = chunk(api, user, after).await?;
        next = chunk.next;
        for (accessed, rows) in chunk.rows {
            if let Accessed::Account(id) = accessed
                && rows.iter().any(|row| row.at_risk)
            {
                found.push(id);
                if found.len() == ORDERS_MAX {
                    return Ok((found, Some(id.0)));
                }
            }
        }
    }
    Ok((found, None))
}

async fn change(
    api: &Api,
    account: AccountId,
    confirmed: bool,
    actor: &str,
) -> Result<AtRiskOrder, ApiError> {
    let refused = |why: String| AtRiskOrder {
        account_id: account.0,
        job_id: None,
        refused: Some(why),
    };
    let link = api.store.link_of_account(account).await?;
    if let Some(link) = link.filter(|_| !confirmed) {
        return Ok(refused(format!(
            "Functional account {} logs in with this credential; set confirm_functional to true \
             to change it",
            link.functional.0
        )));
    }
    let order = ChangeOrder::random(account, false);
    match api.orders.change(order, actor).await {
        Ok(job) => Ok(AtRiskOrder {
            account_id: account.0,
            job_id: Some(job.0),
            refused: None,
        }),
        Err(
            error @ (OrderError::NotFound
            | OrderError::AlreadyRunning
            | OrderError::Refused(_)
            | OrderError::InTheWay(_)),
        ) => Ok(refused(error.to_string())),
        Err(error @ (OrderError::Vault(_) | OrderError::Store(_))) => Err(error.into()),
    }
}
