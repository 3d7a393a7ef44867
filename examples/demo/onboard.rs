//! Brings the fleet into Keywheel, as an operator's script would.
//!
//! Invariant: nothing here changes a target.

use futures::{StreamExt, TryStreamExt, stream};
use keywheel::model::Timestamp;
use serde_json::{Value, json};

use crate::api::Api;
use crate::fleet::{BASE_DN, Fleet, System};
use crate::program::{Trouble, ask, command};
use crate::stage::Stage;
use crate::{Account, Kind, Plan};

/// Password Safe's numbers of the platforms, and of directories among the kinds of systems.
const LINUX: i64 = 2;
const LDAP: i64 = 32;
const DIRECTORY: i64 = 3;
/// `SshKeyEnforcementMode`.
const ACCEPT_FIRST: i64 = 1;
const STRICT: i64 = 2;

const SIDE_BY_SIDE: usize = 8;

/// What happens to the account with this index on this system.
fn plan(system: &System, index: usize) -> Plan {
    match (system.name, index) {
        ("directory", _) => Plan::Quarantine,
        ("harbour", 22) => Plan::Now,
        ("harbour", 23) => Plan::Given,
        ("harbour", 24) | ("lighthouse", 20..) => Plan::Fresh,
        _ => Plan::Stale,
    }
}

/// Workgroup, assets, functional accounts, systems, accounts.
///
/// # Errors
/// A call is refused.
pub(crate) async fn onboard(
    stage: &Stage,
    fleet: &Fleet,
    api: &Api,
) -> Result<Vec<Account>, Trouble> {
    let group = api
        .make("Workgroups", "ID", &json!({"Name": "Demo"}))
        .await?;
    let mut accounts = Vec::new();
    for (index, system) in fleet.systems.iter().enumerate() {
        let id = self::system(api, group, system).await?;
        pin(api, id, system).await?;
        let bars = stage.bars();
        let bar = bars.add(system.name, system.accounts().len());
        let made: Vec<Account> = stream::iter(system.accounts().into_iter().enumerate())
            .map(|(number, (name, password))| {
                account(api, id, index, system, plan(system, number), name, password)
            })
            .buffer_unordered(SIDE_BY_SIDE)
            .inspect_ok(|_| bar.tick())
            .try_collect()
            .await?;
        bar.finish();
        let how = match (system.kind, system.name) {
            (Kind::Ldap, _) => "its certificate's authority is pinned",
            (Kind::Ssh, "harbour") => "its host key is pinned when it first answers",
            (Kind::Ssh, _) => "its host key was pinned beforehand, strictly",
        };
        stage.done(&format!(
            "{:<11} {:>3} accounts; {how}",
            system.name,
            made.len()
        ));
        accounts.extend(made);
    }
    Ok(accounts)
}

/// The functional account and the managed system; gives the system's id back.
async fn system(api: &Api, group: i64, system: &System) -> Result<i64, Trouble> {
    let platform = match system.kind {
        Kind::Ssh => LINUX,
        Kind::Ldap => LDAP,
    };
    let (login, password) = &system.functional;
    let functional = json!({
        "PlatformID": platform,
        "AccountName": login,
        "DisplayName": format!("{} functional", system.name),
        "Password": password,
    });
    let functional = api
        .make("FunctionalAccounts", "FunctionalAccountID", &functional)
        .await?;
    let mut managed = json!({
        "PlatformID": platform,
        "Port": system.port,
        "AutoManagementFlag": true,
        "FunctionalAccountID": functional,
    });
    if system.kind == Kind::Ldap {
        merge(
            &mut managed,
            json!({
                "EntityTypeID": DIRECTORY,
                "HostName": system.name,
                "IPAddress": system.ip,
                "UseSSL": true,
            }),
        );
        let path = format!("Workgroups/{group}/ManagedSystems");
        return api.make(&path, "ManagedSystemID", &managed).await;
    }
    let mode = if system.name == "harbour" {
        ACCEPT_FIRST
    } else {
        STRICT
    };
    merge(
        &mut managed,
        json!({"SshKeyEnforcementMode": mode, "ElevationCommand": "sudo"}),
    );
    let asset = json!({"AssetName": system.name, "IPAddress": system.ip});
    let asset = api
        .make(&format!("Workgroups/{group}/Assets"), "AssetID", &asset)
        .await?;
    api.make(
        &format!("Assets/{asset}/ManagedSystems"),
        "ManagedSystemID",
        &managed,
    )
    .await
}

/// What the dialect has no field for: whom to trust.
async fn pin(api: &Api, id: i64, system: &System) -> Result<(), Trouble> {
    let trust = match (system.kind, system.name) {
        (Kind::Ldap, _) => {
            let authority = std::fs::read_to_string(system.authority())?;
            json!({"tls_ca": authority, "base_dn": BASE_DN, "starttls": false})
        }
        (Kind::Ssh, "harbour") => return Ok(()),
        (Kind::Ssh, _) => json!({"host_key": fingerprint(system).await?}),
    };
    api.edit(&format!("/api/v1/systems/{id}"), &trust).await
}

/// A host key as `ssh-ed25519 SHA256:…`, from the host's own console so to speak.
async fn fingerprint(system: &System) -> Result<String, Trouble> {
    let mut keygen = command("ssh-keygen");
    keygen.args(["-l", "-E", "sha256", "-f", "/dev/stdin"]);
    let said = ask(keygen, &system.host_key()?).await?;
    let print = said.out.split_whitespace().nth(1).unwrap_or_default();
    if print.starts_with("SHA256:") {
        Ok(format!("ssh-ed25519 {print}"))
    } else {
        Err(Trouble(format!("ssh-keygen: {}", said.err.trim())))
    }
}

async fn account(
    api: &Api,
    system_id: i64,
    index: usize,
    system: &System,
    plan: Plan,
    name: String,
    initial: String,
) -> Result<Account, Trouble> {
    let mut body = json!({
        "AccountName": name,
        "Password": initial,
        "AutoManagementFlag": true,
        "ChangeFrequencyType": "xdays",
        "ChangeFrequencyDays": 30,
        "ChangeTime": "23:30",
        "ApiEnabled": true,
    });
    if system.kind == Kind::Ldap {
        merge(&mut body, json!({"DistinguishedName": System::dn(&name)}));
    }
    let path = format!("ManagedSystems/{system_id}/ManagedAccounts");
    let id = api.make(&path, "ManagedAccountID", &body).await?;
    Ok(Account {
        system: index,
        system_id,
        name,
        id,
        initial,
        given: None,
        plan,
    })
}

/// Makes the stale ones stale: their next change is set to `due`.
///
/// # Errors
/// A call is refused.
pub(crate) async fn age(api: &Api, accounts: &[&Account], due: Timestamp) -> Result<(), Trouble> {
    let edit = json!({"next_change": due.rfc3339()});
    stream::iter(accounts)
        .map(|account| api.edit_at(format!("/api/v1/accounts/{}", account.id), &edit))
        .buffer_unordered(SIDE_BY_SIDE)
        .try_collect()
        .await
}

fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}
