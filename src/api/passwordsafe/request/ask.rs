//! Asking for a credential.
//!
//! Invariant: a request is made only inside a window of a schedule that lets its user ask, and is
//! only made if enough people can approve it.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::GONE;
use crate::api::Api;
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::passwordsafe::Fields;
use crate::model::Timestamp;
use crate::model::access::Role;
use crate::model::access_policy::{ALWAYS_OPEN, AccessSchedule, AccessTerms, best};
use crate::model::account::Account;
use crate::model::audit::Event;
use crate::model::id::{AccountId, RequestId, SystemId};
use crate::model::request::NewRequest;
use crate::store::Tx;

const ID_MAX: i64 = 2_147_483_647;
/// Longest request, in minutes: a year.
const MINUTES_MAX: i64 = 525_600;

/// The account that a body names; who may ask for it is asked before anything else is looked at.
pub(super) fn account_of(fields: &Fields) -> Result<AccountId, ApiError> {
    Ok(AccountId(fields.required_int("AccountID", 1..=ID_MAX)?))
}

/// The account, if it is on the system that was named.
pub(super) async fn found(
    api: &Api,
    fields: &Fields,
    account: AccountId,
) -> Result<Account, ApiError> {
    let system = SystemId(fields.required_int("SystemID", 1..=ID_MAX)?);
    let found = api.store.account(account).await?;
    found
        .filter(|account| account.system_id == system)
        .ok_or(ApiError::NotFound {
            what: "Managed Account",
        })
}

/// What the bodies of both kinds of requests have in common beside the account.
pub(super) struct Asked {
    minutes: Option<i64>,
    pub(super) reason: String,
}

impl Asked {
    pub(super) fn read(fields: &Fields) -> Result<Self, ApiError> {
        Ok(Self {
            minutes: fields.int("DurationMinutes", 1..=MINUTES_MAX)?,
            reason: fields.text("Reason", 1_000)?.unwrap_or_default(),
        })
    }

    /// How long the request lasts, in milliseconds.
    pub(super) fn duration(&self, default: i64, most: i64) -> Result<i64, ApiError> {
        let minutes = self.minutes.unwrap_or(default.min(most));
        if minutes > most {
            let text = format!("must be 1 to {most} for this account");
            return Err(ApiError::field("DurationMinutes", text));
        }
        Ok(minutes * 60_000)
    }
}

/// True if the credential changes once a request for it has ended.
pub(super) fn rotates(account: &Account) -> bool {
    account.settings.auto_management && account.settings.extras.change_after_release
}

/// Schedules that are open now and let the caller ask; the named one alone, if it is among them.
/// There is at least one, and enough people to approve by the mildest.
async fn offered(
    api: &Api,
    caller: &Caller,
    account: AccountId,
    named: Option<i64>,
    now: Timestamp,
) -> Result<Vec<AccessSchedule>, ApiError> {
    let mut offered = schedules(api, caller, account, named).await?;
    if offered.iter().any(|schedule| Some(schedule.id) == named) {
        offered.retain(|schedule| Some(schedule.id) == named);
    }
    offered.retain(|schedule| schedule.terms.ends(now, now).is_some());
    let mildest = offered.iter().map(|schedule| schedule.terms.approvals);
    let needed = mildest.min().ok_or(ApiError::Forbidden)?;
    let asker = caller.user.id;
    if needed > 0 && api.store.count_approvers(asker, account, None).await? < needed {
        return Err(ApiError::TooFewApprovers);
    }
    Ok(offered)
}

/// Schedules by which the caller may ask, open or not. An administrator asks at any time, or by
/// any schedule that it names.
async fn schedules(
    api: &Api,
    caller: &Caller,
    account: AccountId,
    named: Option<i64>,
) -> Result<Vec<AccessSchedule>, ApiError> {
    if caller.user.administrator {
        if named.is_none() {
            return Ok(vec![AccessSchedule {
                id: ALWAYS_OPEN,
                terms: AccessTerms::always("Administrator", 0),
            }]);
        }
        let policies = api.store.access_policies().await?.into_iter();
        return Ok(policies.flat_map(|policy| policy.schedules).collect());
    }
    let asker = caller.user.id;
    let schedules = api.store.schedules_for(asker, account).await?;
    if !schedules.is_empty() {
        return Ok(schedules);
    }
    let roles = api.store.roles_on(asker, account).await?;
    Err(if roles.contains(&Role::Approver) {
        ApiError::RequestorOnly
    } else {
        ApiError::Forbidden
    })
}

/// What a live request of the same user for the same account means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Conflict {
    Reuse,
    Renew,
    Refuse,
}

impl Conflict {
    fn read(fields: &Fields) -> Result<Self, ApiError> {
        let word = fields.text("ConflictOption", 20)?;
        match word.map(|word| word.to_lowercase()).as_deref() {
            None => Ok(Self::Refuse),
            Some("reuse") => Ok(Self::Reuse),
            Some("renew") => Ok(Self::Renew),
            Some(_) => Err(ApiError::field("ConflictOption", "must be reuse or renew")),
        }
    }
}

fn view(fields: &Fields) -> Result<(), ApiError> {
    match fields.text("AccessType", 20)? {
        Some(kind) if !kind.eq_ignore_ascii_case("View") => {
            Err(ApiError::field("AccessType", "must be View"))
        }
        _ => Ok(()),
    }
}

/// What stands where a new request is to be made.
enum Place {
    /// The caller's own request serves again.
    Taken(RequestId),
    /// Nothing is in the way; `rotates` if what was replaced owes a change.
    Free { rotates: bool },
}

/// Looks for other requests under the queue's lock, so that two that come at once see each other.
async fn place(
    api: &Api,
    tx: &mut Tx,
    caller: &Caller,
    (account, conflict): (&Account, Conflict),
    now: Timestamp,
) -> Result<Place, ApiError> {
    let mut live = tx.live_requests(account.id, now).await?;
    let mut rotates = false;
    let mine = live.iter().find(|(user, _)| *user == caller.user.id);
    if let Some((_, mine)) = mine.copied() {
        match conflict {
            Conflict::Reuse => return Ok(Place::Taken(mine)),
            Conflict::Renew => {
                // Whoever renews keeps the credential: it changes when the new request ends.
                let before = api.store.request(mine).await?.ok_or(GONE)?;
                rotates = before.rotates && before.approved_at.is_some();
                tx.replace_request(mine, now).await?;
                live.retain(|(_, id)| *id != mine);
            }
            Conflict::Refuse => return Err(ApiError::ConflictingRequest),
        }
    }
    let most = account.settings.extras.max_concurrent_requests;
    if most > 0 && i64::try_from(live.len()).is_ok_and(|live| live >= most) {
        return Err(ApiError::ConflictingRequest);
    }
    Ok(Place::Free { rotates })
}

/// Refused callers first, then what does not exist, then the fields, then conflicts.
pub(super) async fn ask(
    State(api): State<Api>,
    caller: Caller,
    fields: Result<Fields, ApiError>,
) -> Result<Response, ApiError> {
    let fields = fields?;
    let now = api.clock.now();
    let id = account_of(&fields)?;
    let named = fields.int("AccessPolicyScheduleID", 1..=ID_MAX);
    let wanted = named.as_ref().ok().copied().flatten();
    let offered = offered(&api, &caller, id, wanted, now).await?;
    let account = found(&api, &fields, id).await?;
    if !account.settings.api_enabled {
        return Err(ApiError::Forbidden);
    }
    if let Some(named) = named?
        && offered.iter().all(|schedule| schedule.id != named)
    {
        let text = "is no schedule by which you may ask; see AccessPolicies";
        return Err(ApiError::field("AccessPolicyScheduleID", text));
    }
    view(&fields)?;
    let conflict = Conflict::read(&fields)?;
    let rotate = fields.flag("RotateOnCheckin")?.unwrap_or(true);
    let asked = Asked::read(&fields)?;
    let extras = &account.settings.extras;
    let lasts = asked.duration(extras.release_duration, extras.max_release_duration)?;
    let until = now.plus(Duration::from_millis(lasts.unsigned_abs()));
    let (schedule, expires_at) = best(offered, now, until).ok_or(ApiError::Forbidden)?;
    let waived = !rotate && schedule.terms.rotation_override;
    let mut tx = api.store.begin().await?;
    tx.lock_queue(account.system_id).await?;
    let owed = match place(&api, &mut tx, &caller, (&account, conflict), now).await? {
        Place::Taken(mine) => return Ok((StatusCode::OK, Json(mine.0)).into_response()),
        Place::Free { rotates } => rotates,
    };
    let new = NewRequest {
        user_id: caller.user.id,
        account_id: account.id,
        system_id: account.system_id,
        reason: asked.reason,
        rotates: owed || (rotates(&account) && !waived),
        approvals_needed: schedule.terms.approvals,
        expires_at,
    };
    let id = tx.insert_request(&new, now).await?;
    let details = json!({
        "account": account.id, "until": expires_at.rfc3339(), "reason": new.reason,
        "approvals_needed": new.approvals_needed, "schedule": schedule.id,
        "rotates": new.rotates,
    });
    tx.audit(&Event::by(caller.actor(), "request.made", id, details), now)
        .await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(id.0)).into_response())
}
