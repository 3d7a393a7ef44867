//! The five credential endpoints, and the by-path variant of one.
//!
//! Every accepted change is answered by 204 and a `Location` below `/api/v1`, where its job can
//! be followed. A change that is waited for and fails is 400 with its attempts' log, never 5xx:
//! clients repeat those at once.
//!
//! Invariant: waiting is only waiting; a client that hangs up or gives up cancels nothing.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde_json::json;

use super::key_pair::GivenKeys;
use super::managed_account::only;
use super::wire::{gives_secret, password};
use super::{Fields, Params, Segments};
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::route::{Need, Routes};
use crate::api::{Api, Dialect};
use crate::model::access::Role;
use crate::model::id::{AccountId, JobId, SystemId};
use crate::model::job::{JobState, JobView};
use crate::model::principal::Permission;
use crate::queue::{ChangeOrder, OrderError, TestVerdict};
use crate::store::AccountFilter;

const ACCOUNT: ApiError = ApiError::NotFound {
    what: "Managed Account",
};
const SYSTEM: ApiError = ApiError::NotFound {
    what: "Managed System",
};

/// Who sets a credential: by the permission on every account, by a role on those that a rule of
/// the role references.
const SETTERS: Need = Need::OrRole(&[Permission::CredentialsSet], Role::SETTERS);
const SET: (Permission, &[Role]) = (Permission::CredentialsSet, Role::SETTERS);

pub(super) fn routes() -> Routes {
    const BY_PATH: &str = "/workgroups/{workgroup}/assets/{asset}/managedsystems/managedaccounts/\
                           {account}/credentials";
    Routes::new(Dialect::PasswordSafe)
        .put("/managedaccounts/{id}/credentials", SETTERS, set)
        .put("/credentials", SETTERS, set_by_names)
        .put(BY_PATH, SETTERS, set_by_path)
        .post(
            "/managedaccounts/{id}/credentials/test",
            Permission::CredentialsTest,
            test,
        )
        .post(
            "/managedaccounts/{id}/credentials/change",
            Permission::CredentialsRotate,
            change,
        )
        .post(
            "/managedsystems/{id}/managedaccounts/credentials/change",
            Permission::QuarantinesRun,
            change_all,
        )
}

async fn set(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    fields: Result<Fields, ApiError>,
) -> Result<Response, ApiError> {
    let found = existing(&api, &segments).await;
    let account = settable(&api, &caller, found).await?;
    carry_out(&api, &caller, account, Wanted::read(&fields?)?, true).await
}

async fn set_by_names(
    State(api): State<Api>,
    caller: Caller,
    params: Result<Params, ApiError>,
    fields: Result<Fields, ApiError>,
) -> Result<Response, ApiError> {
    // What is wrong with the names is said to those alone who may set every account.
    let found = async {
        let params = params?;
        let names = Names {
            workgroup: params.required("workgroupName")?,
            asset: params.required("assetName")?,
            account: params.required("accountName")?,
        };
        names.find(&api).await
    };
    let found = found.await;
    let account = settable(&api, &caller, found).await?;
    carry_out(&api, &caller, account, Wanted::read(&fields?)?, true).await
}

async fn set_by_path(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    fields: Result<Fields, ApiError>,
) -> Result<Response, ApiError> {
    let names = Names {
        workgroup: segments.text("workgroup")?,
        asset: segments.text("asset")?,
        account: segments.text("account")?,
    };
    let found = names.find(&api).await;
    let account = settable(&api, &caller, found).await?;
    carry_out(&api, &caller, account, Wanted::read(&fields?)?, true).await
}

async fn test(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, ApiError> {
    let account = existing(&api, &segments).await?;
    let works = match api.orders.test(account, caller.actor()).await {
        Ok(verdict) => verdict == TestVerdict::Works,
        // What cannot be tested has not passed.
        Err(OrderError::Refused(_)) => false,
        Err(error) => return Err(error.into()),
    };
    Ok(Json(json!({"Success": works})).into_response())
}

async fn change(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    fields: Result<Fields, ApiError>,
) -> Result<Response, ApiError> {
    if fields.as_ref().is_ok_and(is_more_than_a_rotation) {
        // What PUT does needs what PUT needs, whether or not the account is there.
        caller.require(Permission::CredentialsSet)?;
    }
    let read = fields.and_then(|fields| {
        let queue = fields.flag("Queue")?.unwrap_or(false);
        Ok((Wanted::read(&fields)?, queue))
    });
    let account = match &read {
        // The order looks it up.
        Ok((wanted, _)) if !wanted.keys.any() => segments.id("id", "Managed Account")?,
        // What is wrong with a body is told of accounts that are there.
        Ok(_) | Err(_) => existing(&api, &segments).await?,
    };
    let (wanted, queue) = read?;
    carry_out(&api, &caller, account, wanted, !queue).await
}

async fn change_all(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, ApiError> {
    let system: SystemId = segments.id("id", "Managed System")?;
    if api.store.system_row(system).await?.is_none() {
        return Err(SYSTEM);
    }
    let quarantine = crate::api::quarantine(&api, system, "", None, caller.actor()).await?;
    Ok(no_content(format!("/api/v1/quarantines/{}", quarantine.0)))
}

/// The account that a path names by its id.
async fn existing(api: &Api, segments: &Segments) -> Result<AccountId, ApiError> {
    let id: AccountId = segments.id("id", "Managed Account")?;
    match api.store.account_row(id).await? {
        Some(_) => Ok(id),
        None => Err(ACCOUNT),
    }
}

/// How an account is named without its id.
struct Names<'a> {
    workgroup: &'a str,
    asset: &'a str,
    account: &'a str,
}

impl Names<'_> {
    async fn find(&self, api: &Api) -> Result<AccountId, ApiError> {
        let filter = AccountFilter {
            workgroup_name: Some(self.workgroup.to_owned()),
            system_name: Some(self.asset.to_owned()),
            account_name: Some(self.account.to_owned()),
            ..AccountFilter::default()
        };
        only(api, &filter).await
    }
}

/// What a body asks for.
struct Wanted {
    password: Option<SecretString>,
    keys: GivenKeys,
    update_system: bool,
}

impl Wanted {
    fn read(fields: &Fields) -> Result<Self, ApiError> {
        Ok(Self {
            password: password(fields)?,
            keys: GivenKeys::read(fields)?,
            update_system: fields.flag("UpdateSystem")?.unwrap_or(true),
        })
    }
}

fn is_more_than_a_rotation(fields: &Fields) -> bool {
    gives_secret(fields) || matches!(fields.flag("UpdateSystem"), Ok(Some(false)))
}

async fn carry_out(
    api: &Api,
    caller: &Caller,
    account: AccountId,
    wanted: Wanted,
    immediate: bool,
) -> Result<Response, ApiError> {
    let Wanted {
        password,
        keys,
        update_system,
    } = wanted;
    let key = keys.open(update_system).await?;
    if !update_system {
        let job = api
            .orders
            .store_only(account, password, key, caller.actor())
            .await?;
        return Ok(no_content(job_path(job)));
    }
    let order = ChangeOrder {
        password,
        key,
        ..ChangeOrder::random(account, immediate)
    };
    let job = api.orders.change(order, caller.actor()).await?;
    if immediate {
        ended(api, job).await?;
        all_followed(api, caller, account, job).await?;
    }
    Ok(no_content(job_path(job)))
}

/// An account that the caller may set. Who may by a role needs one on each of those that share
/// its password: an order for one is one for all.
async fn settable(
    api: &Api,
    caller: &Caller,
    found: Result<AccountId, ApiError>,
) -> Result<AccountId, ApiError> {
    let account = caller.require_on(api, SET, found).await?;
    if !caller.user.may(Permission::CredentialsSet) {
        for member in api.orders.members(account).await? {
            caller.require_on(api, SET, Ok(member)).await?;
        }
    }
    Ok(account)
}

/// Waits for the accounts that share the password which a job has changed.
async fn all_followed(
    api: &Api,
    caller: &Caller,
    account: AccountId,
    job: JobId,
) -> Result<(), ApiError> {
    let wait_max = api.settings.wait_max;
    let stragglers = api
        .orders
        .carry_on(account, caller.actor(), wait_max)
        .await?;
    if stragglers.is_empty() {
        return Ok(());
    }
    let mut log = "The password was changed, but not on all accounts that share it; these keep \
                   theirs, and are tried again"
        .to_owned();
    for one in stragglers {
        let name = match api.store.account(one.account).await? {
            Some(account) => account.settings.name,
            None => String::new(),
        };
        for part in ["\naccount ", &one.account.0.to_string(), " (", &name, ")"] {
            log.push_str(part);
        }
        if let Some(view) = &one.job {
            attempts(&mut log, view);
        }
    }
    Err(ApiError::ChangeFailed {
        log,
        location: job_path(job),
    })
}

/// Waits for a change's end.
async fn ended(api: &Api, job: JobId) -> Result<(), ApiError> {
    let location = job_path(job);
    let view = api.orders.wait_job(job, api.settings.wait_max).await?;
    let Some(view) = view else {
        return Err(ApiError::Internal("an ordered job has vanished"));
    };
    match view.state {
        JobState::Succeeded => Ok(()),
        JobState::Failed | JobState::NeedsOperator => Err(ApiError::ChangeFailed {
            log: log_of(&view),
            location,
        }),
        // An attempt has failed and others follow: whoever asked for it now has not got it.
        JobState::Retrying if !view.attempts.is_empty() => Err(ApiError::ChangeFailed {
            log: log_of(&view),
            location,
        }),
        JobState::Queued | JobState::Running | JobState::Retrying => {
            Err(ApiError::StillRunning { location })
        }
    }
}

/// The attempts, a paragraph each. Their lines are decoded reasons, without secrets.
fn log_of(view: &JobView) -> String {
    let head = match view.state {
        JobState::NeedsOperator => {
            "The change needs an operator: which credential works is not known; every version \
             is kept"
        }
        JobState::Retrying => "The change has not succeeded yet; another attempt follows",
        JobState::Queued | JobState::Running | JobState::Succeeded | JobState::Failed => {
            "The change failed; the stored credential is unchanged"
        }
    };
    let mut log = head.to_owned();
    attempts(&mut log, view);
    log
}

fn attempts(log: &mut String, view: &JobView) {
    for attempt in &view.attempts {
        log.push_str("\nattempt ");
        log.push_str(&attempt.attempt.to_string());
        if !attempt.class.is_empty() {
            log.push_str(" (");
            log.push_str(&attempt.class);
            log.push(')');
        }
        log.push_str(": ");
        log.push_str(&attempt.log);
    }
}

fn job_path(job: JobId) -> String {
    format!("/api/v1/jobs/{}", job.0)
}

fn no_content(location: String) -> Response {
    let location: [(HeaderName, String); 1] = [(header::LOCATION, location)];
    (StatusCode::NO_CONTENT, location).into_response()
}
