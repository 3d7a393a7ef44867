//! Quick Rules: Smart Rules with fixed members.
//!
//! Invariant: a member was there, and of the rule's kind, when it was added.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::smart_rule::{GONE, READERS, Shape, members, remove, seen_by, visible};
use super::wire::{LIST_LIMIT, created, list, named};
use super::{Fields, Params, Segments};
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::inventory::sound;
use crate::api::route::Routes;
use crate::api::{Api, Dialect};
use crate::model::access::{NewQuickRule, RuleKind, SmartRule};
use crate::model::audit::Event;
use crate::model::id::{AccountId, SmartRuleId, SystemId};
use crate::model::principal::Permission;

/// Members of one rule at most.
const MEMBERS_MAX: usize = 10_000;

pub(super) fn routes() -> Routes {
    const MEMBERS: &str = "/quickrules/{id}/managedaccounts";
    const MEMBER: &str = "/quickrules/{id}/managedaccounts/{account}";
    Routes::new(Dialect::PasswordSafe)
        .get("/quickrules", READERS, find)
        .post("/quickrules", Permission::RulesWrite, add)
        .get("/quickrules/{id}", READERS, get)
        .delete("/quickrules/{id}", Permission::RulesWrite, remove)
        .get(MEMBERS, READERS, accounts)
        .put(MEMBERS, Permission::RulesWrite, replace)
        .post(MEMBER, Permission::RulesWrite, add_member)
        .delete(MEMBER, Permission::RulesWrite, remove_member)
}

async fn find(
    State(api): State<Api>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    let page = params.page(LIST_LIMIT)?.rows();
    let found = api.store.smart_rules(seen_by(&caller), None, true, page);
    Ok(list(
        found.await?.into_iter().map(Shape::from).collect(),
        None,
    ))
}

/// A rule with fixed members that the caller sees.
async fn fixed(api: &Api, caller: &Caller, segments: &Segments) -> Result<SmartRule, ApiError> {
    let rule = visible(api, caller, segments).await?;
    if rule.everything { Err(GONE) } else { Ok(rule) }
}

/// The same, of accounts.
async fn of_accounts(
    api: &Api,
    caller: &Caller,
    segments: &Segments,
) -> Result<SmartRule, ApiError> {
    let rule = fixed(api, caller, segments).await?;
    if rule.kind == RuleKind::Account {
        Ok(rule)
    } else {
        Err(ApiError::bad(
            "The Quick Rule holds managed systems, not managed accounts",
        ))
    }
}

async fn get(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, ApiError> {
    let rule = fixed(&api, &caller, &segments).await?;
    Ok(Json(Shape::from(rule)).into_response())
}

async fn add(State(api): State<Api>, caller: Caller, fields: Fields) -> Result<Response, ApiError> {
    let kind = match fields.text("RuleType", 20)?.as_deref() {
        None => RuleKind::Account,
        Some(word) if word.eq_ignore_ascii_case("ManagedAccount") => RuleKind::Account,
        Some(word) if word.eq_ignore_ascii_case("ManagedSystem") => RuleKind::System,
        Some(_) => {
            let text = "must be ManagedAccount or ManagedSystem";
            return Err(ApiError::field("RuleType", text));
        }
    };
    let new = NewQuickRule {
        title: fields.required_text("Title", 255)?,
        description: fields.text("Description", 1_000)?.unwrap_or_default(),
        category: fields
            .text("Category", 255)?
            .unwrap_or_else(|| "Quick Rules".to_owned()),
        kind,
        members: ids(&fields, "IDs")?,
    };
    named(sound(new.faults()), &[])?;
    are_there(&api, kind, &new.members, "IDs").await?;
    let now = api.clock.now();
    let mut tx = api.store.begin().await?;
    let id = tx.insert_quick_rule(&new, now).await?;
    let details = json!({"title": new.title, "members": new.members});
    tx.audit(
        &Event::by(caller.actor(), "smart_rule.created", id, details),
        now,
    )
    .await?;
    tx.commit().await?;
    let rule = api.store.smart_rule(id).await?.ok_or(GONE)?;
    Ok(created(Shape::from(rule)))
}

fn ids(fields: &Fields, name: &'static str) -> Result<BTreeSet<i64>, ApiError> {
    let listed = fields.raw(name).and_then(Value::as_array);
    let ids: Option<BTreeSet<i64>> = listed.and_then(|ids| ids.iter().map(Value::as_i64).collect());
    ids.filter(|ids| ids.len() <= MEMBERS_MAX).ok_or_else(|| {
        ApiError::field(name, format!("must be a list of at most {MEMBERS_MAX} IDs"))
    })
}

async fn are_there(
    api: &Api,
    kind: RuleKind,
    ids: &BTreeSet<i64>,
    name: &'static str,
) -> Result<(), ApiError> {
    for &id in ids {
        let found = match kind {
            RuleKind::Account => api.store.account(AccountId(id)).await?.is_some(),
            RuleKind::System => api.store.system(SystemId(id)).await?.is_some(),
            RuleKind::Asset => false,
        };
        if !found {
            let text = format!("names a {} that is not there: {id}", kind.word());
            return Err(ApiError::field(name, text));
        }
    }
    Ok(())
}

async fn accounts(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    params: Params,
) -> Result<Response, ApiError> {
    let rule = fixed(&api, &caller, &segments).await?;
    members(&api, rule.id, &params).await
}

async fn replace(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    params: Params,
    fields: Result<Fields, ApiError>,
) -> Result<Response, ApiError> {
    let rule = of_accounts(&api, &caller, &segments).await?;
    let wanted = ids(&fields?, "AccountIDs")?;
    are_there(&api, rule.kind, &wanted, "AccountIDs").await?;
    let now = api.clock.now();
    let mut tx = api.store.begin().await?;
    tx.set_rule_members(rule.id, &wanted, now).await?;
    let details = json!({"members": wanted});
    let event = Event::by(
        caller.actor(),
        "smart_rule.members_replaced",
        rule.id,
        details,
    );
    tx.audit(&event, now).await?;
    tx.commit().await?;
    members(&api, rule.id, &params).await
}

async fn add_member(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    params: Params,
) -> Result<Response, ApiError> {
    let rule = of_accounts(&api, &caller, &segments).await?;
    let account: AccountId = segments.id("account", "Managed Account")?;
    api.store
        .account(account)
        .await?
        .ok_or(ApiError::NotFound {
            what: "Managed Account",
        })?;
    let mut tx = api.store.begin().await?;
    if tx.add_rule_member(rule.id, account.0).await? {
        note(
            &mut tx,
            &api,
            &caller,
            "smart_rule.member_added",
            (rule.id, account),
        )
        .await?;
        tx.commit().await?;
    }
    members(&api, rule.id, &params).await
}

async fn remove_member(
    State(api): State<Api>,
    caller: Caller,
    segments: Segments,
    params: Params,
) -> Result<Response, ApiError> {
    let rule = of_accounts(&api, &caller, &segments).await?;
    let account: AccountId = segments.id("account", "Managed Account")?;
    let mut tx = api.store.begin().await?;
    if !tx.remove_rule_member(rule.id, account.0).await? {
        return Err(ApiError::NotFound {
            what: "Managed Account",
        });
    }
    note(
        &mut tx,
        &api,
        &caller,
        "smart_rule.member_removed",
        (rule.id, account),
    )
    .await?;
    tx.commit().await?;
    members(&api, rule.id, &params).await
}

async fn note(
    tx: &mut crate::store::Tx,
    api: &Api,
    caller: &Caller,
    event: &'static str,
    (rule, account): (SmartRuleId, AccountId),
) -> Result<(), ApiError> {
    let now = api.clock.now();
    tx.touch_rule(rule, now).await?;
    let event = Event::by(caller.actor(), event, rule, json!({"account": account}));
    Ok(tx.audit(&event, now).await?)
}
