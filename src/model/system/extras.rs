//! Fields of a system that the Password Safe dialect has and Keywheel only keeps.
//!
//! Invariant: nothing is decided by them, but for the key rule: new accounts take it over.

use serde::{Deserialize, Serialize};

use super::{RELEASE_DEFAULT_MINUTES, RELEASE_MAX_MINUTES, releases};
use crate::model::fault::Faults;
use crate::model::id::RuleId;
use crate::model::key_rule::KeyRule;

/// Fields of the dialect that Keywheel keeps and shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the vendor's record is made of flags"
)]
pub struct SystemExtras {
    /// Up to 100 characters.
    pub instance_name: Option<String>,
    /// Databases only.
    pub is_default_instance: Option<bool>,
    /// Databases only.
    pub template: Option<String>,
    /// Up to 64 characters.
    pub forest_name: Option<String>,
    /// Kept as given; directories are always reached over TLS.
    pub use_ssl: Option<bool>,
    /// A GUID.
    pub oracle_internet_directory_id: Option<String>,
    /// Up to 200 characters.
    pub oracle_internet_directory_service_name: Option<String>,
    /// Up to 15 characters.
    pub net_bios_name: Option<String>,
    /// Up to 1000 characters.
    pub contact_email: Option<String>,
    /// 0 is the default rule.
    pub dss_key_rule_id: Option<i64>,
    /// Minutes, 1 to 525600.
    pub release_duration: i64,
    /// Minutes, 1 to 525600.
    pub max_release_duration: i64,
    /// Minutes, 1 to 525600.
    pub isa_release_duration: i64,
    /// An account's id.
    pub login_account_id: Option<i64>,
    /// Kept as given; each account has its own.
    pub check_password: bool,
    /// Kept as given; each account has its own.
    pub change_after_release: bool,
    /// Kept as given; each account has its own.
    pub reset_on_mismatch: bool,
    /// 0 `Domain\Account`, 1 UPN, 2 SAM.
    pub account_name_format: i64,
    /// `None` or `EPM`, the vendor's words.
    pub remote_client_type: Option<String>,
    /// A system's id.
    pub application_host_id: Option<i64>,
    /// Kept as given.
    pub is_application_host: bool,
    /// Up to 2048 characters.
    pub access_url: Option<String>,
}

impl Default for SystemExtras {
    fn default() -> Self {
        Self {
            instance_name: None,
            is_default_instance: None,
            template: None,
            forest_name: None,
            use_ssl: None,
            oracle_internet_directory_id: None,
            oracle_internet_directory_service_name: None,
            net_bios_name: None,
            contact_email: None,
            dss_key_rule_id: Some(0),
            release_duration: RELEASE_DEFAULT_MINUTES,
            max_release_duration: RELEASE_MAX_MINUTES,
            isa_release_duration: RELEASE_DEFAULT_MINUTES,
            login_account_id: None,
            check_password: false,
            change_after_release: false,
            reset_on_mismatch: false,
            account_name_format: 0,
            remote_client_type: None,
            application_host_id: None,
            is_application_host: false,
            access_url: None,
        }
    }
}

impl SystemExtras {
    pub(super) fn check(&self, faults: &mut Faults) {
        faults.optional("instance_name", self.instance_name.as_ref(), 100);
        faults.optional("template", self.template.as_ref(), 255);
        faults.optional("forest_name", self.forest_name.as_ref(), 64);
        if let Some(id) = &self.oracle_internet_directory_id
            && uuid::Uuid::try_parse(id).is_err()
        {
            faults.add("oracle_internet_directory_id", "must be a GUID");
        }
        faults.optional(
            "oracle_internet_directory_service_name",
            self.oracle_internet_directory_service_name.as_ref(),
            200,
        );
        faults.optional("net_bios_name", self.net_bios_name.as_ref(), 15);
        faults.optional("contact_email", self.contact_email.as_ref(), 1_000);
        if self
            .dss_key_rule_id
            .is_some_and(|rule| KeyRule::built_in(RuleId(rule)).is_none())
        {
            faults.add("dss_key_rule_id", "is no key rule of this service");
        }
        releases(
            faults,
            self.release_duration,
            self.max_release_duration,
            self.isa_release_duration,
        );
        faults.range("account_name_format", self.account_name_format, 0..=2);
        if self
            .remote_client_type
            .as_deref()
            .is_some_and(|kind| !matches!(kind, "None" | "EPM"))
        {
            faults.add("remote_client_type", "must be None or EPM");
        }
        faults.optional("access_url", self.access_url.as_ref(), 2_048);
    }
}
