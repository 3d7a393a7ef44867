//! Managed accounts: logins whose credentials Keywheel changes.
//!
//! Invariant: an account's target id says which login on the target it is; two live accounts of
//! one system never share it.

use keywheel_connectors::Login;
use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::fault::{Fault, Faults, differing};
use super::functional_account::login_problem;
use super::id::{AccountId, JobId, PolicyId, RuleId, SystemId};
use super::job::JobKind;
use super::key_rule::KeyRule;
use super::platform::{ConnectorKind, Platform};
use super::policy::VendorSchedule;
use super::system::{RELEASE_DEFAULT_MINUTES, RELEASE_MAX_MINUTES, releases};

/// One managed account.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Where it lives; never changes.
    pub system_id: SystemId,
    /// What people set.
    pub settings: AccountSettings,
    /// Neither suspended nor deleted.
    pub active: bool,
    /// What is known about its credential.
    pub credential: CredentialState,
    /// When it changes and is tested by itself.
    pub due: DueState,
    /// Whose passwords it takes over, if it is a subscriber.
    pub parent_id: Option<AccountId>,
    /// Its open job, if one is queued or running.
    pub work: Option<OpenWork>,
    /// Counts edits; the guard of the next.
    pub revision: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was deleted; its versions are kept.
    pub deleted_at: Option<Timestamp>,
}

/// An account to be stored; its id is drawn before, because secrets are sealed for it.
#[derive(Clone, Debug, PartialEq)]
pub struct NewAccount {
    /// From the `ids` table.
    pub id: AccountId,
    /// Where it lives.
    pub system_id: SystemId,
    /// [`AccountSettings::target_id`] on its system's platform.
    pub target_id: String,
    /// What people set.
    pub settings: AccountSettings,
}

/// What is known about an account's credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialState {
    /// Counts rotations opened.
    pub epoch: i64,
    /// The password that is known to work; `None` before the first.
    pub current_version: Option<i64>,
    /// The key pair that is known to work; `None` before the first.
    pub current_key_version: Option<i64>,
    /// The highest version ever staged, of either part.
    pub last_version: i64,
    /// When the current password was promoted or stored.
    pub changed_at: Option<Timestamp>,
    /// When the current key pair was.
    pub key_changed_at: Option<Timestamp>,
    /// Last check that gave a verdict.
    pub tested_at: Option<Timestamp>,
    /// Its verdict.
    pub last_test: LastTest,
    /// The current password may have been replaced on the target.
    pub in_doubt: bool,
    /// So may the current key pair.
    pub key_in_doubt: bool,
}

impl CredentialState {
    /// True if the account has a credential of any part.
    pub fn is_held(&self) -> bool {
        self.current_version.is_some() || self.current_key_version.is_some()
    }

    /// When a part was changed last.
    pub fn last_change_at(&self) -> Option<Timestamp> {
        self.changed_at.max(self.key_changed_at)
    }

    /// When the part was changed that has waited longest: the next change is counted from it.
    pub fn oldest_change_at(&self) -> Option<Timestamp> {
        match (self.changed_at, self.key_changed_at) {
            (Some(password), Some(key)) => Some(password.min(key)),
            (one, other) => one.or(other),
        }
    }
}

/// What the last test of a credential said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LastTest {
    /// Nobody has tried the current credential.
    NeverTested,
    /// It logged in.
    Passed,
    /// The target refused it.
    OutOfSync,
    /// The target did not answer.
    Unreachable,
}

impl LastTest {
    /// Every verdict.
    pub const ALL: [Self; 4] = [
        Self::NeverTested,
        Self::Passed,
        Self::OutOfSync,
        Self::Unreachable,
    ];

    /// As it stands in the database and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NeverTested => "never_tested",
            Self::Passed => "passed",
            Self::OutOfSync => "out_of_sync",
            Self::Unreachable => "unreachable",
        }
    }

    /// Reads it back.
    pub fn parse(raw: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|verdict| verdict.as_str() == raw)
    }
}

/// When an account changes and is tested by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DueState {
    /// When it changes; `None`: never by itself.
    pub next_change_at: Option<Timestamp>,
    /// When it is tested; `None`: never by itself.
    pub next_test_at: Option<Timestamp>,
    /// When it is flagged stale, where nothing changes it by itself.
    pub flag_at: Option<Timestamp>,
    /// Since when it is flagged stale.
    pub stale_at: Option<Timestamp>,
}

/// The open job of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenWork {
    /// The job.
    pub job: JobId,
    /// What it does.
    pub kind: JobKind,
    /// An attempt is under way.
    pub running: bool,
    /// Not before.
    pub run_at: Timestamp,
}

/// What people set on an account.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the vendor's record is made of flags"
)]
pub struct AccountSettings {
    /// Login name, 1 to 245 characters.
    pub name: String,
    /// Up to 50 characters.
    pub domain_name: Option<String>,
    /// Up to 1000 characters.
    pub distinguished_name: Option<String>,
    /// Up to 500 characters.
    pub user_principal_name: Option<String>,
    /// Up to 20 characters.
    pub sam_account_name: Option<String>,
    /// Up to 1024 characters.
    pub description: Option<String>,
    /// Rule of generated passwords; 0 is the default rule.
    pub password_rule_id: RuleId,
    /// Requestable through the dialect.
    pub api_enabled: bool,
    /// Changes itself when due.
    pub auto_management: bool,
    /// Tested daily.
    pub check_password: bool,
    /// Rule of generated key pairs.
    pub key_rule_id: RuleId,
    /// Has a key pair that is generated; without it only a key that was given is changed.
    pub dss_auto_management: bool,
    /// Changes itself with its current credential; the functional account does otherwise.
    pub use_own_credentials: bool,
    /// A refused test queues a change.
    pub reset_on_mismatch: bool,
    /// The vendor's schedule.
    pub schedule: VendorSchedule,
    /// Its own policy; wins over the system's.
    pub policy_id: Option<PolicyId>,
    /// The next change, set by hand; once.
    pub next_override_at: Option<Timestamp>,
    /// What is kept and shown, but not interpreted.
    pub extras: AccountExtras,
}

/// Fields of the dialect that Keywheel keeps and shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the vendor's record is made of flags"
)]
pub struct AccountExtras {
    /// Kept as given.
    pub password_fallback: bool,
    /// Kept as given.
    pub login_account: bool,
    /// Up to 255 characters.
    pub release_notification_email: Option<String>,
    /// Windows only.
    pub change_services: bool,
    /// Windows only.
    pub restart_services: bool,
    /// Windows only.
    pub change_tasks: bool,
    /// Minutes, 1 to 525600.
    pub release_duration: i64,
    /// Minutes, 1 to 525600.
    pub max_release_duration: i64,
    /// Minutes, 1 to 525600.
    pub isa_release_duration: i64,
    /// 0 to 999; 0 is no limit.
    pub max_concurrent_requests: i64,
    /// Kept as given.
    pub change_after_release: bool,
    /// Windows only.
    pub change_iis_app_pool: bool,
    /// Windows only.
    pub restart_iis_app_pool: bool,
    /// A workgroup's id.
    pub workgroup_id: Option<i64>,
    /// Windows only.
    pub change_windows_auto_logon: bool,
    /// Windows only.
    pub change_com_plus: bool,
    /// Windows only.
    pub change_dcom: bool,
    /// Windows only.
    pub change_scom: bool,
    /// Up to 36 characters.
    pub object_id: Option<String>,
}

impl Default for AccountExtras {
    fn default() -> Self {
        Self {
            password_fallback: false,
            login_account: false,
            release_notification_email: None,
            change_services: false,
            restart_services: false,
            change_tasks: false,
            release_duration: RELEASE_DEFAULT_MINUTES,
            max_release_duration: RELEASE_MAX_MINUTES,
            isa_release_duration: RELEASE_DEFAULT_MINUTES,
            max_concurrent_requests: 1,
            change_after_release: false,
            change_iis_app_pool: false,
            restart_iis_app_pool: false,
            workgroup_id: None,
            change_windows_auto_logon: false,
            change_com_plus: false,
            change_dcom: false,
            change_scom: false,
            object_id: None,
        }
    }
}

impl AccountSettings {
    /// The settings of an account of which only the name is known, with the vendor's defaults.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            domain_name: None,
            distinguished_name: None,
            user_principal_name: None,
            sam_account_name: None,
            description: None,
            password_rule_id: RuleId(0),
            api_enabled: false,
            auto_management: false,
            check_password: false,
            key_rule_id: RuleId(0),
            dss_auto_management: false,
            use_own_credentials: false,
            reset_on_mismatch: false,
            schedule: super::schedule::vendor_default(),
            policy_id: None,
            next_override_at: None,
            extras: AccountExtras::default(),
        }
    }

    /// Every bad field.
    ///
    /// Source: Password Safe API, `POST ManagedSystems/{id}/ManagedAccounts`.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Faults::default();
        if let Err(error) = Login::parse(&self.name) {
            faults.add("name", login_problem(error));
        }
        faults.optional("domain_name", self.domain_name.as_ref(), 50);
        faults.optional(
            "distinguished_name",
            self.distinguished_name.as_ref(),
            1_000,
        );
        faults.optional(
            "user_principal_name",
            self.user_principal_name.as_ref(),
            500,
        );
        faults.optional("sam_account_name", self.sam_account_name.as_ref(), 20);
        faults.prose("description", self.description.as_ref(), 1_024);
        if self.password_rule_id != RuleId(0) {
            faults.add("password_rule_id", "is no password rule of this service");
        }
        if KeyRule::built_in(self.key_rule_id).is_none() {
            faults.add("key_rule_id", "is no key rule of this service");
        }
        let extras = &self.extras;
        faults.optional(
            "release_notification_email",
            extras.release_notification_email.as_ref(),
            255,
        );
        releases(
            &mut faults,
            extras.release_duration,
            extras.max_release_duration,
            extras.isa_release_duration,
        );
        faults.range(
            "max_concurrent_requests",
            extras.max_concurrent_requests,
            0..=999,
        );
        faults.optional("object_id", extras.object_id.as_ref(), 36);
        faults.found()
    }

    /// The fields in which these settings differ from others.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        differing!(self, other, name domain_name distinguished_name user_principal_name
            sam_account_name description password_rule_id api_enabled auto_management
            check_password key_rule_id dss_auto_management use_own_credentials reset_on_mismatch
            schedule policy_id next_override_at extras)
    }

    /// Which login on the target this is.
    ///
    /// On hosts the name as it is: `Root` and `root` are two logins. In directories the DN, or
    /// where there is none the name, in lower case: directories do not tell cases apart.
    pub fn target_id(&self, platform: &Platform) -> String {
        match platform.connector {
            ConnectorKind::Ssh | ConnectorKind::Dialogue | ConnectorKind::Fake => self.name.clone(),
            ConnectorKind::Ldap => self
                .distinguished_name
                .as_ref()
                .unwrap_or(&self.name)
                .to_lowercase(),
        }
    }
}

impl Account {
    /// The vendor's `ChangeState`: 1 changing, 2 queued or scheduled within five minutes, else 0.
    pub fn change_state(&self, now: Timestamp) -> i64 {
        const SOON: std::time::Duration = std::time::Duration::from_mins(5);
        let soon = now.plus(SOON);
        match &self.work {
            Some(work) if work.kind == JobKind::Rotate => {
                if work.running {
                    1
                } else {
                    // A job that backs off for longer is not about to run.
                    i64::from(work.run_at <= soon) * 2
                }
            }
            _ => i64::from(self.due.next_change_at.is_some_and(|at| at <= soon)) * 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::id::PlatformId;
    use super::super::platform::Platforms;
    use super::*;

    #[test]
    fn an_account_is_told_apart_as_its_target_does() {
        let mut account = AccountSettings::named("Ann");
        let platforms = Platforms::default();
        let linux = platforms.find(PlatformId(2)).unwrap();
        let ldap = platforms.find(PlatformId(32)).unwrap();
        assert_eq!(account.target_id(linux), "Ann");
        assert_eq!(account.target_id(ldap), "ann");
        account.distinguished_name = Some("UID=Ann,DC=example".to_owned());
        assert_eq!(account.target_id(linux), "Ann");
        assert_eq!(account.target_id(ldap), "uid=ann,dc=example");
    }

    #[test]
    fn every_bad_field_of_an_account_is_named() {
        let mut account = AccountSettings::named("");
        account.sam_account_name = Some("x".repeat(21));
        account.extras.max_release_duration = 60;
        account.extras.max_concurrent_requests = 1_000;
        let fields: Vec<_> = account
            .faults()
            .into_iter()
            .map(|fault| fault.field)
            .collect();
        let want = [
            "name",
            "sam_account_name",
            "release_duration",
            "max_concurrent_requests",
        ];
        assert_eq!(fields, want);
        assert_eq!(AccountSettings::named("root").faults(), []);
    }

    #[test]
    fn verdicts_survive_their_words() {
        for verdict in LastTest::ALL {
            assert_eq!(LastTest::parse(verdict.as_str()), Some(verdict));
        }
    }
}
