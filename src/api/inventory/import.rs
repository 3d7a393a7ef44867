//! Brings accounts in, row by row.
//!
//! Invariant: an import tests and never rotates: an account that a policy would change by itself
//! is taken only if its row says so. A dry run gives the same verdicts and writes nothing.

use std::collections::HashMap;

use secrecy::SecretString;
use serde_json::json;

use super::account::{Secrets, add_in};
use super::{Act, platform_of};
use crate::api::error::ApiError;
use crate::model::account::AccountSettings;
use crate::model::audit::Event;
use crate::model::credential::Parts;
use crate::model::fault::Fault;
use crate::model::id::{AccountId, JobId, PolicyId, SystemId};
use crate::model::identity::{Alias, aliases};
use crate::model::job::{Cause, JobKind, Priority};
use crate::model::platform::ConnectorKind;
use crate::model::policy::Mode;
use crate::model::system::System;
use crate::store::{NewJob, Page, StoreError, SystemFilter};

/// The columns that a row may have.
pub const COLUMNS: [&str; 12] = [
    "system",
    "name",
    "distinguished_name",
    "domain_name",
    "user_principal_name",
    "sam_account_name",
    "description",
    "policy",
    "password",
    "auto_management",
    "check_password",
    "use_own_credentials",
];

/// Policies that are read at once while their names are looked up.
const POLICIES_PAGE: i64 = 200;
/// Pages of them, at most.
const POLICIES_PAGES_MAX: usize = 100;

/// The column of this name, in any case.
pub fn column(name: &str) -> Option<&'static str> {
    let found = COLUMNS.iter().find(|one| one.eq_ignore_ascii_case(name));
    found.copied()
}

/// One row as it was given.
#[derive(Debug, Default)]
pub struct ImportRow {
    /// Where it stands in what was given.
    pub number: u64,
    /// What is wrong with it as it stands.
    pub faults: Vec<Fault>,
    cells: HashMap<&'static str, String>,
    password: Option<SecretString>,
}

impl ImportRow {
    /// A row without cells.
    pub fn new(number: u64) -> Self {
        Self {
            number,
            ..Self::default()
        }
    }

    /// Notes that the row cannot be read.
    pub fn refuse(&mut self, field: &'static str, problem: &str) {
        self.faults.push(Fault::new(field, problem));
    }

    /// Sets a cell; an empty one is none.
    pub fn set(&mut self, name: &str, value: &str) {
        let Some(name) = column(name) else {
            self.refuse("", "has a column that is not known here");
            return;
        };
        if name == "password" {
            // As it stands: blanks may belong to it.
            self.password = Some(value)
                .filter(|value| !value.is_empty())
                .map(SecretString::from);
            return;
        }
        let value = value.trim();
        if !value.is_empty() {
            self.cells.insert(name, value.to_owned());
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        self.cells.get(name).cloned()
    }

    fn flag(&self, name: &'static str, faults: &mut Vec<Fault>) -> bool {
        let word = self.text(name).unwrap_or_default().to_ascii_lowercase();
        match word.as_str() {
            "true" | "yes" | "1" => true,
            "" | "false" | "no" | "0" => false,
            _ => {
                faults.push(Fault::new(name, "must be true or false"));
                false
            }
        }
    }
}

/// What came of a row, or would.
#[derive(Debug)]
pub enum Verdict {
    /// A new account, and the test of its password.
    Created {
        /// `None` in a dry run.
        account: Option<AccountId>,
        /// `None` without a password, and in a dry run.
        job: Option<JobId>,
    },
    /// It is managed already; nothing was changed.
    Exists(Option<AccountId>),
    /// An earlier row names the same account.
    Duplicate(u64),
    /// Correct the row.
    Invalid(Vec<Fault>),
    /// There is no such system.
    UnknownSystem,
    /// Import the row again.
    Failed(&'static str),
}

/// What a name of a system leads to.
#[derive(Clone)]
enum Place {
    None,
    One(Box<System>),
    Several,
}

/// An import under way.
struct Import<'a> {
    act: Act<'a>,
    may_manage: bool,
    places: HashMap<String, Place>,
    /// By name in lower case: which, and whether it changes accounts by itself.
    policies: HashMap<String, PolicyId>,
    automatic: HashMap<PolicyId, bool>,
    seen: HashMap<(SystemId, String), u64>,
    /// Names in directories, with the rows that have them, and whether for certain.
    named: HashMap<(SystemId, String), Vec<(u64, bool)>>,
}

/// Imports rows; one verdict for each, in their order.
///
/// `may_manage`: the caller may say that an account changes itself.
///
/// # Errors
/// [`ApiError::Store`] if the policies could not be read; nothing was written.
pub async fn run(
    act: Act<'_>,
    rows: Vec<ImportRow>,
    may_manage: bool,
    dry_run: bool,
) -> Result<Vec<(u64, Verdict)>, ApiError> {
    let mut import = Import {
        act,
        may_manage,
        places: HashMap::new(),
        policies: HashMap::new(),
        automatic: HashMap::new(),
        seen: HashMap::new(),
        named: HashMap::new(),
    };
    import.read_policies().await?;
    let mut verdicts = Vec::with_capacity(rows.len());
    for row in rows {
        let number = row.number;
        let verdict = match import.judge(row).await {
            Ok(Ok(fit)) if dry_run => {
                drop(fit);
                let (account, job) = (None, None);
                Verdict::Created { account, job }
            }
            Ok(Ok(fit)) => import.write(number, fit).await,
            Ok(Err(verdict)) => verdict,
            Err(error) => failed(number, &error),
        };
        verdicts.push((number, verdict));
    }
    Ok(verdicts)
}

/// A row that can be written.
struct Fit {
    system: SystemId,
    settings: AccountSettings,
    password: Option<SecretString>,
}

fn failed(row: u64, error: &ApiError) -> Verdict {
    tracing::error!(row, %error, "a row could not be imported");
    Verdict::Failed("the database did not take the row; import it again")
}

impl Import<'_> {
    async fn read_policies(&mut self) -> Result<(), ApiError> {
        let mut after = PolicyId(0);
        for _ in 0..POLICIES_PAGES_MAX {
            let page = self.act.api.store.policies(after, POLICIES_PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for stored in page {
                let name = stored.policy.name().to_lowercase();
                self.policies.insert(name, stored.id);
                let automatic = stored.policy.mode() == Mode::Auto;
                self.automatic.insert(stored.id, automatic);
            }
        }
        Ok(())
    }

    /// Judges a row by what is stored; writes nothing.
    async fn judge(&mut self, row: ImportRow) -> Result<Result<Fit, Verdict>, ApiError> {
        let mut faults = row.faults.clone();
        for needed in ["system", "name"] {
            if row.text(needed).is_none() {
                faults.push(Fault::new(needed, "is required"));
            }
        }
        let place = self.place(&row.text("system").unwrap_or_default()).await?;
        let system = match place {
            Place::One(system) => Some(system),
            Place::None if faults.is_empty() => return Ok(Err(Verdict::UnknownSystem)),
            Place::None => None,
            Place::Several => {
                let text = "is the name of more than one system; give its id";
                faults.push(Fault::new("system", text));
                None
            }
        };
        let settings = self.settings(&row, system.as_deref(), &mut faults);
        let Some(system) = system.filter(|_| faults.is_empty()) else {
            return Ok(Err(Verdict::Invalid(faults)));
        };
        let platform = platform_of(self.act.api, &system)?;
        let admitted = self
            .act
            .api
            .orders
            .admits(platform.id, &settings, row.password.as_ref());
        if let Err((field, problem)) = admitted {
            return Ok(Err(Verdict::Invalid(vec![Fault::new(field, problem)])));
        }
        let target_id = settings.target_id(platform);
        let key = (system.id, target_id.clone());
        if let Some(first) = self.seen.get(&key) {
            return Ok(Err(Verdict::Duplicate(*first)));
        }
        self.seen.insert(key, row.number);
        // In a directory, an account whose DN nobody gave may be this one, and the other way
        // round: two records of one login would overwrite each other's passwords.
        let name_id = AccountSettings::named(settings.name.clone()).target_id(platform);
        let bare = platform.connector == ConnectorKind::Ldap && target_id == name_id;
        let store = &self.act.api.store;
        let known = store
            .account_known_as(system.id, &target_id, &name_id, bare)
            .await?;
        let aliases = aliases(&settings, platform, system.settings.base_dn.as_deref());
        let known = match known {
            Some(account) => Some(account),
            None => store.account_called(system.id, &aliases).await?,
        };
        if let Some(account) = known {
            return Ok(Err(Verdict::Exists(Some(account))));
        }
        if let Some(first) = self.named_before(system.id, aliases, row.number) {
            return Ok(Err(Verdict::Duplicate(first)));
        }
        Ok(Ok(Fit {
            system: system.id,
            settings,
            password: row.password,
        }))
    }

    /// The row that names the same account of a directory in another way, if there was one.
    fn named_before(&mut self, system: SystemId, aliases: Vec<Alias>, row: u64) -> Option<u64> {
        for alias in &aliases {
            let key = (system, alias.name.clone());
            let before = self.named.get(&key).into_iter().flatten();
            let first = before
                .filter(|(_, certain)| *certain || alias.is_certain)
                .map(|(number, _)| *number)
                .next();
            if first.is_some() {
                return first;
            }
        }
        for Alias { name, is_certain } in aliases {
            let rows = self.named.entry((system, name)).or_default();
            rows.push((row, is_certain));
        }
        None
    }

    fn settings(
        &self,
        row: &ImportRow,
        system: Option<&System>,
        faults: &mut Vec<Fault>,
    ) -> AccountSettings {
        let mut settings = AccountSettings::named(row.text("name").unwrap_or_default());
        settings.distinguished_name = row.text("distinguished_name");
        settings.domain_name = row.text("domain_name");
        settings.user_principal_name = row.text("user_principal_name");
        settings.sam_account_name = row.text("sam_account_name");
        settings.description = row.text("description");
        settings.auto_management = row.flag("auto_management", faults);
        settings.check_password = row.flag("check_password", faults);
        settings.use_own_credentials = row.flag("use_own_credentials", faults);
        if let Some(name) = row.text("policy") {
            settings.policy_id = self.policies.get(&name.to_lowercase()).copied();
            if settings.policy_id.is_none() {
                faults.push(Fault::new("policy", "is no policy that exists"));
            }
        }
        if !settings.name.is_empty() {
            faults.extend(settings.faults());
        }
        if settings.auto_management && !self.may_manage {
            let text = "needs the permission accounts.write: it lets the account change itself";
            faults.push(Fault::new("auto_management", text));
        }
        let rules = settings
            .policy_id
            .or_else(|| system.and_then(|system| system.settings.policy_id));
        let automatic = rules.and_then(|id| self.automatic.get(&id).copied());
        if automatic == Some(true) && !settings.auto_management {
            let text = "is false, but the account's policy, or its system's, would change it by \
                        itself: say true, or name a policy that only flags";
            faults.push(Fault::new("auto_management", text));
        }
        settings
    }

    /// A system by its name, or else by its id.
    async fn place(&mut self, word: &str) -> Result<Place, ApiError> {
        if let Some(place) = self.places.get(word) {
            return Ok(place.clone());
        }
        let store = &self.act.api.store;
        let filter = SystemFilter {
            name: Some(word.to_owned()),
            ..SystemFilter::default()
        };
        let mut found = if word.is_empty() {
            Vec::new()
        } else {
            store.systems(&filter, Page::first(2)).await?
        };
        let place = match (found.pop(), found.is_empty()) {
            (Some(system), true) => Place::One(Box::new(system)),
            (Some(_), false) => Place::Several,
            (None, _) => match word.parse().ok().filter(|id| *id > 0) {
                Some(id) => {
                    let system = store.system(SystemId(id)).await?;
                    system.map_or(Place::None, |system| Place::One(Box::new(system)))
                }
                None => Place::None,
            },
        };
        self.places.insert(word.to_owned(), place.clone());
        Ok(place)
    }

    /// Stores an account, its password and the order to test it, at once or not at all.
    async fn write(&self, number: u64, fit: Fit) -> Verdict {
        match self.add(number, fit).await {
            Ok((account, job)) => {
                if job.is_some() {
                    let (kind, cause) = (JobKind::Test.as_str(), Cause::Order.as_str());
                    self.act.api.metrics.jobs_enqueued(kind, cause, 1);
                }
                let account = Some(account);
                Verdict::Created { account, job }
            }
            // Somebody added it since it was judged.
            Err(ApiError::Store(StoreError::Conflict { .. })) => Verdict::Exists(None),
            Err(ApiError::Duplicate { id, .. }) => Verdict::Exists(Some(AccountId(id))),
            Err(ApiError::NotFound { .. }) => Verdict::UnknownSystem,
            Err(error) => failed(number, &error),
        }
    }

    async fn add(&self, number: u64, fit: Fit) -> Result<(AccountId, Option<JobId>), ApiError> {
        let api = self.act.api;
        let now = api.clock.now();
        let secrets = Secrets {
            password: fit.password,
            key: None,
        };
        let mut tx = api.store.begin().await?;
        let account = add_in(self.act, &mut tx, fit.system, fit.settings, &secrets, now).await?;
        let job = if secrets.are_none() {
            None
        } else {
            let new = NewJob {
                account,
                system: fit.system,
                kind: JobKind::Test,
                cause: Cause::Order,
                actor: self.act.actor.to_owned(),
                priority: Priority::Routine,
                run_at: now,
                parts: Parts::ALL_THERE_ARE,
                version: None,
                key_version: None,
            };
            Some(tx.enqueue(&new, now).await?)
        };
        let body = json!({"system": fit.system, "row": number, "test": job});
        tx.audit(
            &Event::by(self.act.actor, "account.imported", account, body),
            now,
        )
        .await?;
        tx.commit().await?;
        Ok((account, job))
    }
}
