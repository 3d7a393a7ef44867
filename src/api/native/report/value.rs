//! `/api/v1/reports/duplicates`, `/strength`, `/breached`: what values have in common, how weak they
//! are, and whether they are known to everybody.
//!
//! Values are opened for these and compared, estimated or looked up; none leaves. Each call is on
//! record.
//!
//! Invariant: an answer says whose values, how many and how weak, and nothing of what they are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::seeing;
use crate::api::caller::Caller;
use crate::api::corpus::Corpus;
use crate::api::error::ApiError;
use crate::api::measure::{self, CHUNK, Scope, position};
use crate::api::native::input::ListQuery;
use crate::api::native::output::{Listed, until};
use crate::api::native::problem::Problem;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::id::{AccountId, OrganizationId};
use crate::model::password_record::{Accessed, PasswordRecord};
use crate::model::principal::Permission;
use crate::store::SealedValue;
use crate::vault::{Fingerprints, sha1, strength as strength_of};

/// Values that one call compares with each other.
const COMPARED_MAX: usize = 50_000;
/// Values that one call looks at for a page.
const EXAMINED_MAX: usize = 2_000;
/// Holders of one value that are named.
const HOLDERS_MAX: usize = 100;
/// Records of some accounts that are named.
const RECORDS_MAX: i64 = 2_000;

pub(super) fn routes() -> Routes {
    Routes::new(Dialect::Native)
        .get(
            "/api/v1/reports/duplicates",
            Permission::ReportsRead,
            duplicates,
        )
        .get(
            "/api/v1/reports/strength",
            Permission::ReportsRead,
            strength,
        )
        .get(
            "/api/v1/reports/breached",
            Permission::ReportsRead,
            breached,
        )
}

/// A record that is no account's, or a managed account.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::api::native) struct Holder {
    /// `record` or `account`.
    kind: &'static str,
    id: i64,
    /// The record's name, or `system/account`.
    name: String,
    username: Option<String>,
    /// The record's.
    organization_id: Option<i64>,
    /// The records that document the account, as far as the caller sees them.
    record_ids: Vec<i64>,
}

impl Holder {
    fn of(value: &SealedValue, documents: &HashMap<AccountId, Vec<i64>>) -> Self {
        let (kind, id) = value.of.row();
        let record_ids = match value.of {
            Accessed::Account(id) => documents.get(&id).cloned().unwrap_or_default(),
            Accessed::Record(_) => Vec::new(),
        };
        Self {
            kind,
            id,
            name: value.name.clone(),
            username: value.username.clone(),
            organization_id: value.organization_id.map(|id| id.0),
            record_ids,
        }
    }
}

/// The records that document the accounts among these.
async fn documents<'a>(
    api: &Api,
    scope: Scope,
    values: impl Iterator<Item = &'a SealedValue>,
) -> Result<HashMap<AccountId, Vec<i64>>, ApiError> {
    let accounts: Vec<AccountId> = values
        .filter_map(|value| match value.of {
            Accessed::Account(id) => Some(id),
            Accessed::Record(_) => None,
        })
        .collect();
    let found = api
        .store
        .password_records_of_all(scope.seeing, &accounts, RECORDS_MAX)
        .await?;
    let mut documents: HashMap<AccountId, Vec<i64>> = HashMap::new();
    let account = |record: &PasswordRecord| record.account.as_ref().map(|account| account.id);
    for record in &found {
        if let Some(account) = account(record) {
            documents.entry(account).or_default().push(record.id.0);
        }
    }
    Ok(documents)
}

async fn scope(api: &Api, caller: &Caller, query: &ListQuery) -> Result<Scope, ApiError> {
    let organization = query.filters.int("organization_id", 1..=i64::MAX)?;
    let organization = organization.map(OrganizationId);
    if let Some(id) = organization
        && api.store.organization(id).await?.is_none()
    {
        return Err(ApiError::NotFound {
            what: "Organization",
        });
    }
    Ok(Scope {
        seeing: seeing(caller),
        organization,
    })
}

/// A value that several share.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api::native) struct SharedValue {
    /// How many share it.
    count: usize,
    /// They, the first 100 of them.
    holders: Vec<Holder>,
}

/// Records and accounts that share a value, with those it came from first. Values are compared by
/// marks under a key that is drawn for the call. Of more than 50000 values none are compared: ask
/// for one organization.
#[utoipa::path(
    get, path = "/api/v1/reports/duplicates", tag = "reports",
    params(
        ("organization_id" = Option<i64>, Query, description = "Of one organization alone"),
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "Where the last page ended"),
    ),
    responses((status = 200, body = Listed<SharedValue>), (status = "4XX", body = Problem)),
)]
pub(in crate::api::native) async fn duplicates(
    State(api): State<Api>,
    caller: Caller,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let scope = scope(&api, &caller, &query).await?;
    let marks = Arc::new(Fingerprints::draw(api.dice.as_ref()));
    let mut found: HashMap<[u8; 32], Vec<SealedValue>> = HashMap::new();
    let (mut after, mut examined) = (0, 0);
    loop {
        let values = measure::next(&api, scope, after, CHUNK).await?;
        let Some(last) = values.last() else { break };
        after = position(last.of);
        examined += values.len();
        if examined > COMPARED_MAX {
            let text = "There are more than 50000 values: ask for one organization_id";
            return Err(ApiError::conflict(text));
        }
        let marks = Arc::clone(&marks);
        let measured = measure::measured(&api, values, move |value, _| Ok(marks.of(value)));
        for (mut value, mark) in measured.await? {
            value.sealed = Vec::new();
            found.entry(mark).or_default().push(value);
        }
    }
    // By their first holder: marks are in another order in each call.
    let groups: BTreeMap<i64, Vec<SealedValue>> = found
        .into_values()
        .filter(|holders| holders.len() > 1)
        .filter_map(|holders| Some((position(holders.first()?.of), holders)))
        .collect();
    let page = query.rows();
    let (limit, offset) = (whole(page.limit), whole(page.offset));
    let total = groups.len();
    let shown: Vec<Vec<SealedValue>> = groups.into_values().skip(offset).take(limit).collect();
    let named = || {
        shown
            .iter()
            .flat_map(|group| group.iter().take(HOLDERS_MAX))
    };
    let documents = documents(&api, scope, named()).await?;
    let details = json!({"organization": scope.organization.map(|id| id.0)});
    measure::noted(&api, caller.actor(), "duplicates", details, examined).await?;
    let item = |group: &Vec<SealedValue>| SharedValue {
        count: group.len(),
        holders: group
            .iter()
            .take(HOLDERS_MAX)
            .map(|value| Holder::of(value, &documents))
            .collect(),
    };
    let items = shown.iter().map(item).collect();
    let next = (offset + limit < total).then_some(page.offset + page.limit);
    Ok(until(&query, items, next))
}

fn whole(number: i64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// What a call has found: those values that count, with their measures, and where it stopped.
struct Found<T> {
    hits: Vec<(SealedValue, T)>,
    examined: usize,
    next: Option<i64>,
}

/// Looks at values from the cursor on, until enough of them count, or enough were looked at.
async fn examine<T: Send + 'static>(
    api: &Api,
    scope: Scope,
    query: &ListQuery,
    measure: impl Fn(&secrecy::SecretString, &SealedValue) -> Result<Option<T>, ApiError>
    + Clone
    + Send
    + 'static,
) -> Result<Found<T>, ApiError> {
    let mut found = Found {
        hits: Vec::new(),
        examined: 0,
        next: None,
    };
    let mut after = query.cursor.unwrap_or(0);
    while found.examined < EXAMINED_MAX {
        let values = measure::next(api, scope, after, CHUNK).await?;
        let is_last = values.len() < whole(CHUNK);
        let measured = measure::measured(api, values, measure.clone()).await?;
        for (mut value, measure) in measured {
            after = position(value.of);
            found.examined += 1;
            value.sealed = Vec::new();
            found.hits.extend(measure.map(|measure| (value, measure)));
            if found.hits.len() == whole(query.limit) {
                found.next = Some(after);
                return Ok(found);
            }
        }
        if is_last {
            return Ok(found);
        }
    }
    found.next = Some(after);
    Ok(found)
}

/// How strong a value is.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api::native) struct Strength {
    #[serde(flatten)]
    holder: Holder,
    /// zxcvbn's: 0 and 1 are guessed at once, 2 with some patience, 3 and 4 hardly.
    score: u8,
}

/// How strong values are: of records, then of accounts, each by id. A page may be short: get on for
/// as long as there is a `next_cursor`.
#[utoipa::path(
    get, path = "/api/v1/reports/strength", tag = "reports",
    params(
        ("organization_id" = Option<i64>, Query, description = "Of one organization alone"),
        ("max_score" = Option<i64>, Query, description = "0 to 4: none that are stronger; default 4"),
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "Where the last page ended"),
    ),
    responses((status = 200, body = Listed<Strength>), (status = "4XX", body = Problem)),
)]
pub(in crate::api::native) async fn strength(
    State(api): State<Api>,
    caller: Caller,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let scope = scope(&api, &caller, &query).await?;
    let most = query.filters.int("max_score", 0..=4)?.unwrap_or(4);
    let found = examine(&api, scope, &query, move |value, about| {
        let known = [about.name.as_str(), about.username.as_deref().unwrap_or("")];
        let guess = strength_of(value, &known);
        Ok(Some(guess).filter(|guess| i64::from(*guess) <= most))
    });
    let found = found.await?;
    let documents = documents(&api, scope, found.hits.iter().map(|(value, _)| value)).await?;
    let details = json!({"organization": scope.organization.map(|id| id.0)});
    measure::noted(&api, caller.actor(), "strength", details, found.examined).await?;
    let items = found.hits.iter().map(|(value, score)| Strength {
        holder: Holder::of(value, &documents),
        score: *score,
    });
    Ok(until(&query, items.collect(), found.next))
}

/// A value that a corpus of breached passwords has.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api::native) struct Breached {
    #[serde(flatten)]
    holder: Holder,
    /// How often the corpus says that it was seen.
    seen: u64,
}

/// Values that the file of `reports.breached_file` has: of records, then of accounts, each by id.
/// Nothing is asked of anybody else. A page may be short: get on for as long as there is a
/// `next_cursor`.
#[utoipa::path(
    get, path = "/api/v1/reports/breached", tag = "reports",
    params(
        ("organization_id" = Option<i64>, Query, description = "Of one organization alone"),
        ("limit" = Option<i64>, Query, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "Where the last page ended"),
    ),
    responses(
        (status = 200, body = Listed<Breached>),
        (status = 409, description = "The file is not set, missing, or not sorted", body = Problem),
        (status = "4XX", body = Problem),
    ),
)]
pub(in crate::api::native) async fn breached(
    State(api): State<Api>,
    caller: Caller,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let scope = scope(&api, &caller, &query).await?;
    let file = api.settings.breached_file.clone();
    let corpus = tokio::task::spawn_blocking(move || Corpus::open(file.as_deref())).await;
    let corpus = corpus.map_err(|_| ApiError::Internal("the corpus was not opened"))??;
    let corpus = Arc::new(corpus);
    let found = examine(&api, scope, &query, move |value, _| {
        Ok(corpus.find(&sha1(value))?)
    });
    let found = found.await?;
    let documents = documents(&api, scope, found.hits.iter().map(|(value, _)| value)).await?;
    let details = json!({"organization": scope.organization.map(|id| id.0)});
    measure::noted(&api, caller.actor(), "breached", details, found.examined).await?;
    let items = found.hits.iter().map(|(value, seen)| Breached {
        holder: Holder::of(value, &documents),
        seen: *seen,
    });
    Ok(until(&query, items.collect(), found.next))
}
