//! Asks the targets, by clients that know nothing of Keywheel: OpenSSH and OpenLDAP's own.
//!
//! Invariant: a login counts as refused only if the target said that the password is wrong;
//! anything else is no proof. Each old password is tried once after its change.

use futures::{StreamExt, TryStreamExt, stream};
use keywheel::clock::SharedClock;
use serde_json::{Value, json};

use crate::api::Api;
use crate::fleet::{Fleet, System};
use crate::program::{Trouble, ask, command};
use crate::stage::{Bar, Stage};
use crate::{Account, Kind};

const SIDE_BY_SIDE: usize = 16;

/// What a target said to a login.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Login {
    Accepted,
    Refused,
    /// Neither; in the client's words.
    Unclear(String),
}

/// What was found on one system.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) accounts: usize,
    /// How many were to change.
    pub(crate) meant: usize,
    /// How many have another password than at the start.
    pub(crate) changed: usize,
    /// Old passwords that the target refused.
    pub(crate) refused: usize,
    /// New passwords, from Keywheel's store, that the target accepted.
    pub(crate) accepted: usize,
    /// Accounts that were to stay as they were, did so, and still let their password in.
    pub(crate) kept: usize,
}

impl Verdict {
    /// True if nothing is missing.
    pub(crate) fn holds(&self) -> bool {
        let all = [self.changed, self.refused, self.accepted].map(|count| count == self.meant);
        all == [true; 3] && self.meant + self.kept == self.accounts
    }
}

/// Proves that every initial password works: without that, a refusal afterwards says nothing.
///
/// # Errors
/// One does not.
pub(crate) async fn before(
    stage: &Stage,
    fleet: &Fleet,
    accounts: &[Account],
    clock: &SharedClock,
) -> Result<(), Trouble> {
    let began = clock.monotonic();
    let bars = stage.bars();
    let bar = bars.add("logins", accounts.len());
    let bar = &bar;
    let unclear: Vec<String> = stream::iter(accounts)
        .map(|account| async move {
            let said = login(fleet, account, &account.initial).await?;
            bar.step("work as they should");
            Ok::<_, Trouble>(
                (said != Login::Accepted).then(|| format!("{}: {said:?}", account.name)),
            )
        })
        .buffer_unordered(SIDE_BY_SIDE)
        .try_filter_map(|wrong| async { Ok(wrong) })
        .try_collect()
        .await?;
    bar.finish();
    if let Some(first) = unclear.first() {
        return Err(Trouble(format!(
            "{} first passwords do not work: {first}",
            unclear.len()
        )));
    }
    let seconds = clock.monotonic().saturating_sub(began).as_secs_f64();
    stage.done(&format!(
        "all {} present passwords work, say ssh and ldapwhoami; {seconds:.1} s",
        accounts.len()
    ));
    Ok(())
}

/// Proves for every account that the password in the store works, and that the old one does not.
///
/// # Errors
/// A password cannot be revealed, or a client cannot be started.
pub(crate) async fn after(
    stage: &Stage,
    fleet: &Fleet,
    api: &Api,
    accounts: &[Account],
    clock: &SharedClock,
) -> Result<Vec<Verdict>, Trouble> {
    let began = clock.monotonic();
    let mut verdicts: Vec<Verdict> = fleet.systems.iter().map(|_| Verdict::default()).collect();
    let bars = stage.bars();
    let drawn: Vec<Bar> = fleet
        .systems
        .iter()
        .enumerate()
        .map(|(index, system)| {
            let mine = accounts.iter().filter(|account| account.system == index);
            bars.add(system.name, mine.count())
        })
        .collect();
    let mut found = stream::iter(accounts)
        .map(|account| async move { (account, proof(fleet, api, account).await) })
        .buffer_unordered(SIDE_BY_SIDE);
    let mut wrong = Vec::new();
    while let Some((account, one)) = found.next().await {
        let one = one?;
        if let Some(bar) = drawn.get(account.system) {
            bar.step("new one in, old one out");
        }
        let Some(verdict) = verdicts.get_mut(account.system) else {
            continue;
        };
        verdict.accounts += 1;
        verdict.meant += usize::from(account.plan.changes());
        verdict.changed += usize::from(one.changed);
        let works = one.new == Login::Accepted;
        verdict.accepted += usize::from(one.changed && works);
        verdict.kept += usize::from(!account.plan.changes() && !one.changed && works);
        verdict.refused += usize::from(one.old == Some(Login::Refused));
        if let Some(fault) = one.fault(account) {
            wrong.push(format!("{}: {fault}", account.name));
        }
    }
    drop(found);
    for bar in drawn {
        bar.finish();
    }
    for line in wrong.iter().take(10) {
        stage.failed(line);
    }
    let logins: usize = verdicts
        .iter()
        .map(|verdict| verdict.accounts + verdict.meant)
        .sum();
    let seconds = clock.monotonic().saturating_sub(began).as_secs_f64();
    stage.done(&format!(
        "{logins} logins in {seconds:.1} s; no password stood in an argument list"
    ));
    Ok(verdicts)
}

/// What was found for one account.
struct Found {
    changed: bool,
    new: Login,
    old: Option<Login>,
    as_given: bool,
}

impl Found {
    fn fault(&self, account: &Account) -> Option<String> {
        if self.changed != account.plan.changes() {
            return Some(format!("changed is {}, against the plan", self.changed));
        }
        if !self.as_given {
            return Some("the store does not hold the password that was given".into());
        }
        if self.new != Login::Accepted {
            return Some(format!("the password in the store: {:?}", self.new));
        }
        match &self.old {
            None | Some(Login::Refused) => None,
            Some(said) => Some(format!("the old password: {said:?}")),
        }
    }
}

async fn proof(fleet: &Fleet, api: &Api, account: &Account) -> Result<Found, Trouble> {
    let path = format!("/api/v1/accounts/{}/reveal", account.id);
    let order = json!({"reason": "demo: proof by an independent client"});
    let body = api.order(&path, &order).await?.body;
    let value = body.get("value").and_then(Value::as_str);
    let value = value.ok_or_else(|| Trouble(format!("POST {path}: the answer has no value")))?;
    let changed = value != account.initial;
    let new = login(fleet, account, value).await?;
    let old = if changed {
        Some(login(fleet, account, &account.initial).await?)
    } else {
        None
    };
    let as_given = account.given.as_deref().is_none_or(|given| given == value);
    Ok(Found {
        changed,
        new,
        old,
        as_given,
    })
}

/// One login by the target's usual client; the password goes in by a file descriptor.
async fn login(fleet: &Fleet, account: &Account, password: &str) -> Result<Login, Trouble> {
    let system = fleet.systems.get(account.system);
    let system = system.ok_or_else(|| Trouble("an account without a system".into()))?;
    match system.kind {
        Kind::Ssh => by_ssh(fleet, system, &account.name, password).await,
        Kind::Ldap => by_ldap(system, &account.name, password).await,
    }
}

async fn by_ssh(
    fleet: &Fleet,
    system: &System,
    name: &str,
    password: &str,
) -> Result<Login, Trouble> {
    let mut ssh = command("sshpass");
    ssh.args([
        "-d",
        "0",
        "ssh",
        "-n",
        "-F",
        "/dev/null",
        "-p",
        &system.client_port.to_string(),
    ]);
    let known = format!("UserKnownHostsFile={}", fleet.known_hosts.display());
    for option in [
        known.as_str(),
        "GlobalKnownHostsFile=/dev/null",
        "StrictHostKeyChecking=yes",
        "PreferredAuthentications=password",
        "PubkeyAuthentication=no",
        "NumberOfPasswordPrompts=1",
        "ConnectTimeout=30",
        "LogLevel=ERROR",
    ] {
        ssh.args(["-o", option]);
    }
    ssh.arg(format!("{name}@{}", system.ip)).args(["id", "-un"]);
    let said = ask(ssh, &format!("{password}\n")).await?;
    Ok(if said.ok && said.out.trim() == name {
        Login::Accepted
    } else if !said.ok && said.err.contains("Permission denied") {
        Login::Refused
    } else {
        Login::Unclear(said.err.trim().to_owned())
    })
}

async fn by_ldap(system: &System, name: &str, password: &str) -> Result<Login, Trouble> {
    let dn = System::dn(name);
    let mut whoami = command("ldapwhoami");
    whoami
        .args([
            "-x",
            "-ZZ",
            "-o",
            "nettimeout=30",
            "-D",
            &dn,
            "-y",
            "/dev/stdin",
            "-H",
        ])
        .arg(format!("ldap://{}:{}", system.ip, system.client_port))
        .env("LDAPCONF", "/dev/null")
        .env("LDAPTLS_REQCERT", "demand")
        .env("LDAPTLS_CACERT", system.authority());
    let said = ask(whoami, password).await?;
    Ok(if said.ok && said.out.trim() == format!("dn:{dn}") {
        Login::Accepted
    } else if !said.ok && said.err.contains("Invalid credentials (49)") {
        Login::Refused
    } else {
        Login::Unclear(said.err.trim().to_owned())
    })
}
