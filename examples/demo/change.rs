//! Every way to a new password: by schedule, by order, by hand, by quarantine.
//!
//! Invariant: an act returns once the service has settled all that it ordered, or fails.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::api::Api;
use crate::fleet::{Fleet, drawn};
use crate::onboard;
use crate::program::Trouble;
use crate::stage::Stage;
use crate::{Account, Kind, Plan, Seconds};

const LOOK_EVERY: Duration = Duration::from_millis(400);
/// The longest an act may take.
const ACT_MAX: Duration = Duration::from_secs(180);
/// How far ahead the stale accounts' next change is set: long enough to set it for all.
const DUE_IN: Duration = Duration::from_secs(4);

/// What is looked at while accounts change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    version: Option<i64>,
    stale: bool,
    working: bool,
}

/// All accounts of a system, by id.
async fn look(api: &Api, system: i64) -> Result<HashMap<i64, Seen>, Trouble> {
    let body = api
        .native(&format!("/api/v1/accounts?system_id={system}&limit=200"))
        .await?
        .body;
    let rows = body
        .get("items")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let seen = rows.iter().filter_map(|row| {
        let has = |name: &str| row.get(name).is_some_and(|value| !value.is_null());
        let id = row.get("id").and_then(Value::as_i64)?;
        let version = row.get("current_version").and_then(Value::as_i64);
        Some((
            id,
            Seen {
                version,
                stale: has("stale_since"),
                working: has("open_job"),
            },
        ))
    });
    Ok(seen.collect())
}

/// Lets the scheduler find the stale accounts and change them, and nobody else.
///
/// # Errors
/// A call is refused, an account that is not stale changes, or one that is stays as it was.
pub(crate) async fn stale(
    stage: &Stage,
    fleet: &Fleet,
    api: &Api,
    accounts: &[Account],
    seconds: &mut Seconds,
) -> Result<(), Trouble> {
    let stale: Vec<&Account> = accounts
        .iter()
        .filter(|one| one.plan == Plan::Stale)
        .collect();
    let mut hosts: Vec<(usize, i64)> = stale
        .iter()
        .map(|one| (one.system, one.system_id))
        .collect();
    hosts.dedup();
    let mut before = HashMap::new();
    for (_, id) in &hosts {
        before.extend(look(api, *id).await?);
    }
    onboard::age(api, &stale, api.time().plus(DUE_IN)).await?;
    stage.done(&format!(
        "{} of {} host accounts fall due within seconds",
        stale.len(),
        before.len()
    ));

    let began = api.now();
    let bars = stage.bars();
    let mut open: Vec<_> = hosts
        .into_iter()
        .filter_map(|(index, id)| {
            let mine: Vec<i64> = stale
                .iter()
                .filter(|one| one.system == index)
                .map(|one| one.id)
                .collect();
            let name = fleet.systems.get(index)?.name;
            Some((index, id, bars.add(name, mine.len()), mine))
        })
        .collect();
    // From the first sign of work on a system to the last change of it.
    let mut first: HashMap<usize, Duration> = HashMap::new();
    while !open.is_empty() {
        let mut left = Vec::new();
        for (index, id, bar, mine) in open {
            let now = look(api, id).await?;
            let changed = |id: &i64| {
                let version = |all: &HashMap<i64, Seen>| all.get(id).map(|seen| seen.version);
                version(&now) != version(&before)
            };
            let done = mine.iter().filter(|id| changed(id)).count();
            let flagged = now
                .values()
                .filter(|seen| seen.stale || seen.working)
                .count();
            if done + flagged > 0 {
                first.entry(index).or_insert_with(|| api.now());
            }
            if done + flagged > 0 {
                bar.set(done, &format!("{flagged} flagged stale"));
            }
            if done < mine.len() {
                left.push((index, id, bar, mine));
                continue;
            }
            bar.finish();
            let taken = first
                .get(&index)
                .map(|first| api.now().saturating_sub(*first));
            if let Some(slot) = seconds.get_mut(index) {
                *slot = taken;
            }
            let strangers = now
                .keys()
                .filter(|id| !mine.contains(id) && changed(id))
                .count();
            if strangers > 0 {
                return Err(Trouble(format!(
                    "{strangers} accounts changed that were not due"
                )));
            }
            let name = fleet.systems.get(index).map_or("", |system| system.name);
            let rest = now.len() - mine.len();
            stage.done(&format!(
                "{name:<11} {done:>3} changed; {rest} were not due and stayed as they were"
            ));
        }
        open = left;
        if api.now().saturating_sub(began) > ACT_MAX {
            return Err(Trouble(
                "the scheduler did not change all stale accounts in time".into(),
            ));
        }
        api.pause(LOOK_EVERY).await;
    }
    Ok(())
}

/// One change at once, one given password, one test.
///
/// # Errors
/// A call is refused, or the test does not pass.
pub(crate) async fn by_hand(
    stage: &Stage,
    fleet: &Fleet,
    api: &Api,
    accounts: &mut [Account],
    seconds: &mut Seconds,
) -> Result<(), Trouble> {
    for account in accounts {
        let (id, name, began) = (account.id, account.name.clone(), api.now());
        let host = fleet
            .systems
            .get(account.system)
            .map_or("", |system| system.name);
        let path = format!("ManagedAccounts/{id}/Credentials");
        let (reply, how) = match account.plan {
            Plan::Now => {
                let path = format!("{path}/Change");
                let order = json!({"Queue": false});
                (api.call(Method::POST, &path, &order).await?, "changed now")
            }
            Plan::Given => {
                let given = drawn()?;
                let order = json!({"Password": given});
                let reply = api.call(Method::PUT, &path, &order).await?;
                account.given = Some(given);
                (reply, "took the given one")
            }
            Plan::Stale | Plan::Fresh | Plan::Quarantine => continue,
        };
        let taken = api.now().saturating_sub(began);
        stage.done(&format!(
            "{host}/{name} {how}: {} after {:.1} s",
            reply.status,
            taken.as_secs_f64()
        ));
        if let Some(Some(all)) = seconds.get_mut(account.system) {
            *all += taken;
        }
        let tested = api
            .call(Method::POST, &format!("{path}/Test"), &json!({}))
            .await?
            .body;
        if tested.get("Success") != Some(&Value::Bool(true)) {
            return Err(Trouble(format!("{host}/{name}: the test says {tested}")));
        }
        stage.done(&format!("{host}/{name} tested: {tested}"));
    }
    Ok(())
}

/// A new password for every account of the directory, by one call.
///
/// # Errors
/// The call is refused, or an account does not get a new one.
pub(crate) async fn quarantine(
    stage: &Stage,
    fleet: &Fleet,
    api: &Api,
    accounts: &[Account],
    seconds: &mut Seconds,
) -> Result<(), Trouble> {
    let index = fleet
        .systems
        .iter()
        .position(|system| system.kind == Kind::Ldap)
        .unwrap_or(0);
    let found = accounts.iter().find(|account| account.system == index);
    let system = found
        .ok_or_else(|| Trouble("the directory has no account".into()))?
        .system_id;
    let began = api.now();
    let path = format!("ManagedSystems/{system}/ManagedAccounts/Credentials/Change");
    let reply = api.call(Method::POST, &path, &json!({})).await?;
    let location = reply
        .location
        .ok_or_else(|| Trouble("no Location to follow".into()))?;
    stage.done(&format!(
        "ordered: {} after {:.2} s; followed at {location}",
        reply.status,
        api.now().saturating_sub(began).as_secs_f64()
    ));
    let bars = stage.bars();
    let mut bar = None;
    loop {
        let body = api.native(&location).await?.body;
        let count = |name: &str| body.get("counts")?.get(name)?.as_u64();
        let count = |name: &str| usize::try_from(count(name).unwrap_or(0)).unwrap_or(0);
        let all = body.get("accounts").and_then(Value::as_u64).unwrap_or(0);
        let bar =
            bar.get_or_insert_with(|| bars.add("directory", usize::try_from(all).unwrap_or(0)));
        let (waiting, running) = (count("queued") + count("retrying"), count("running"));
        bar.set(
            count("succeeded"),
            &format!("{waiting} waiting, {running} changing"),
        );
        if body.get("finished_at").is_some_and(|at| !at.is_null()) {
            bar.finish();
            let taken = api.now().saturating_sub(began);
            let lost = count("failed") + count("needs_operator");
            if lost > 0 {
                return Err(Trouble(format!(
                    "{lost} accounts of the quarantine have no new password"
                )));
            }
            if let Some(slot) = seconds.get_mut(index) {
                *slot = Some(taken);
            }
            let text = format!("{all} accounts have a new password, each proven by a login");
            stage.done(&format!("{text}, after {:.1} s", taken.as_secs_f64()));
            return Ok(());
        }
        if api.now().saturating_sub(began) > ACT_MAX {
            return Err(Trouble("the quarantine did not end in time".into()));
        }
        api.pause(LOOK_EVERY).await;
    }
}

/// What the service itself counted, as Prometheus would read it.
///
/// # Errors
/// The service does not answer.
pub(crate) async fn counted(stage: &Stage, api: &Api) -> Result<(), Trouble> {
    let page = api.metrics().await?;
    let total = |state: &str| -> f64 {
        let wanted = format!("state=\"{state}\"");
        page.lines()
            .filter(|line| line.starts_with("keywheel_jobs_finished_total{"))
            .filter(|line| line.contains("kind=\"rotate\"") && line.contains(&wanted))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    stage.note(&format!(
        "Its metrics agree: {} rotations succeeded, {} failed, {} need an operator.",
        total("succeeded"),
        total("failed"),
        total("needs_operator")
    ));
    Ok(())
}
