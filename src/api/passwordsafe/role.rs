//! Roles of user groups on smart rules, and the access policies that some of them need.
//!
//! Invariant: a role stands only on rules of a kind that the vendor gives it on.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::wire::{LIST_LIMIT, list, part};
use super::{Fields, Params, Segments, permission, smart_rule};
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::access::{Group, Role, SmartRule};
use crate::model::access_policy::AccessSchedule;
use crate::model::audit::Event;
use crate::model::id::SmartRuleId;
use crate::model::principal::Permission;

pub(super) fn routes() -> Routes {
    const OF_RULE: &str = "/usergroups/{id}/smartrules/{rule}/roles";
    Routes::new(Dialect::PasswordSafe)
        .get("/roles", Permission::RolesRead, roles)
        .get("/accesspolicies", Permission::RolesRead, policies)
        .get(OF_RULE, Permission::RolesRead, of_rule)
        .post(OF_RULE, Permission::RolesWrite, set)
        .delete(OF_RULE, Permission::RolesWrite, clear)
}

fn shape(role: Role) -> Value {
    json!({"RoleID": role.number(), "Name": role.name()})
}

async fn roles(State(_): State<Api>, params: Params) -> Result<Response, ApiError> {
    let all = Role::ALL.into_iter().map(shape);
    Ok(list(part(all, params.page(LIST_LIMIT)?), None))
}

async fn policies(State(api): State<Api>, params: Params) -> Result<Response, ApiError> {
    let all = api.store.access_policies().await?.into_iter();
    let shown = all.map(|policy| {
        let schedules: Vec<Value> = policy.schedules.iter().map(schedule).collect();
        json!({
            "AccessPolicyID": policy.id, "Name": policy.name,
            "Description": policy.description, "Schedules": schedules,
        })
    });
    Ok(list(part(shown, params.page(LIST_LIMIT)?), None))
}

/// A schedule; no public page gives its fields. Its id is a request's `AccessPolicyScheduleID`.
fn schedule(schedule: &AccessSchedule) -> Value {
    json!({
        "ScheduleID": schedule.id, "Name": schedule.terms.name,
        "RequireReason": false, "RequireTicketSystem": false, "TicketSystemID": null,
        "AccessTypes": [{
            "AccessType": "View", "IsSession": false, "RecordSession": false,
            "MinApprovers": schedule.terms.approvals,
        }],
    })
}

async fn pair(api: &Api, segments: &Segments) -> Result<(Group, SmartRule), ApiError> {
    let group = permission::existing(api, segments).await?;
    let rule: SmartRuleId = segments.id("rule", "Smart Rule")?;
    let rule = api.store.smart_rule(rule).await?;
    Ok((group, rule.ok_or(smart_rule::GONE)?))
}

async fn of_rule(
    State(api): State<Api>,
    segments: Segments,
    params: Params,
) -> Result<Response, ApiError> {
    let (group, rule) = pair(&api, &segments).await?;
    let found = api.store.rule_roles(group.id, rule.id).await?;
    let shown = found.into_iter().map(|(role, _)| shape(role));
    Ok(list(part(shown, params.page(LIST_LIMIT)?), None))
}

async fn set(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    fields: Result<Fields, ApiError>,
) -> Result<StatusCode, ApiError> {
    let (group, rule) = pair(&api, &segments).await?;
    let fields = fields?;
    let wanted = given(&fields, &rule)?;
    let policy = fields.int("AccessPolicyID", 1..=2_147_483_647)?;
    if let Some(policy) = policy {
        let known = api.store.access_policies().await?;
        if known.iter().all(|one| one.id != policy) {
            let text = "is no access policy; see AccessPolicies";
            return Err(ApiError::field("AccessPolicyID", text));
        }
    }
    if policy.is_none() && wanted.iter().any(|role| role.needs_policy()) {
        let text = "is required for Requestor and Requestor and Approver; see AccessPolicies";
        return Err(ApiError::field("AccessPolicyID", text));
    }
    write(&api, &caller, (&group, &rule), &wanted, policy).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn given(fields: &Fields, rule: &SmartRule) -> Result<BTreeSet<Role>, ApiError> {
    let listed = fields.raw("Roles").and_then(Value::as_array);
    let listed = listed.ok_or_else(|| ApiError::field("Roles", "must be a list of roles"))?;
    let mut roles = BTreeSet::new();
    for one in listed {
        let number = one.get("RoleID").and_then(Value::as_i64);
        let known = number.and_then(Role::of);
        let known = known.ok_or_else(|| ApiError::field("RoleID", "is no role; see GET Roles"))?;
        if !known.fits(rule.kind) {
            let text = format!(
                "{} is not given on Smart Rules of type {}",
                known.name(),
                rule.kind.word()
            );
            return Err(ApiError::field("RoleID", text));
        }
        roles.insert(known);
    }
    if roles.iter().filter(|role| role.excludes_others()).count() > 1 {
        let text = "takes only one of Requestor, Approver, and Requestor and Approver";
        return Err(ApiError::field("Roles", text));
    }
    Ok(roles)
}

async fn clear(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<StatusCode, ApiError> {
    let (group, rule) = pair(&api, &segments).await?;
    write(&api, &caller, (&group, &rule), &BTreeSet::new(), None).await?;
    Ok(StatusCode::OK)
}

async fn write(
    api: &Api,
    caller: &Caller,
    (group, rule): (&Group, &SmartRule),
    roles: &BTreeSet<Role>,
    policy: Option<i64>,
) -> Result<(), ApiError> {
    let mut tx = api.store.begin().await?;
    tx.set_rule_roles(group.id, rule.id, roles, policy).await?;
    let names: Vec<_> = roles.iter().map(|role| role.name()).collect();
    let details = json!({"rule": rule.id, "roles": names, "access_policy": policy});
    let event = Event::by(caller.actor(), "group.roles_set", group.id, details);
    tx.audit(&event, api.clock.now()).await?;
    tx.commit().await?;
    Ok(())
}
