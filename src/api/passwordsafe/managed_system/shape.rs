//! The vendor's record of a managed system, both ways.
//!
//! Invariant: what a client reads, it may send back whole without changing anything.

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::error::ApiError;
use crate::api::passwordsafe::Fields;
use crate::api::passwordsafe::functional_account::elevation;
use crate::api::passwordsafe::wire::Overlay;
use crate::model::functional_account::elevation_word;
use crate::model::id::{FunctionalAccountId, RuleId};
use crate::model::platform::Platforms;
use crate::model::schedule::vendor_words;
use crate::model::system::{HostKeyMode, System, SystemExtras, SystemPlace, SystemSettings};

/// What the dialect calls the model's fields.
pub(super) const RENAMED: [(&str, &str); 4] = [
    ("name", "HostName"),
    ("timeout_s", "Timeout"),
    ("elevation", "ElevationCommand"),
    ("host_key_mode", "SshKeyEnforcementMode"),
];

/// `ManagedSystem`.
#[derive(Serialize, ToSchema)]
#[schema(as = ManagedSystem)]
#[serde(rename_all = "PascalCase")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the vendor's record is made of flags"
)]
pub(in crate::api::passwordsafe) struct Shape {
    #[serde(rename = "ManagedSystemID")]
    managed_system_id: i64,
    #[serde(rename = "EntityTypeID")]
    entity_type_id: i64,
    #[serde(rename = "AssetID")]
    asset_id: Option<i64>,
    #[serde(rename = "DatabaseID")]
    database_id: Option<i64>,
    #[serde(rename = "DirectoryID")]
    directory_id: Option<i64>,
    #[serde(rename = "CloudID")]
    cloud_id: Option<i64>,
    #[serde(rename = "WorkgroupID")]
    workgroup_id: i64,
    host_name: String,
    dns_name: Option<String>,
    #[serde(rename = "IPAddress")]
    ip_address: Option<String>,
    instance_name: Option<String>,
    is_default_instance: Option<bool>,
    template: Option<String>,
    forest_name: Option<String>,
    #[serde(rename = "UseSSL")]
    use_ssl: Option<bool>,
    #[serde(rename = "OracleInternetDirectoryID")]
    oracle_internet_directory_id: Option<String>,
    oracle_internet_directory_service_name: Option<String>,
    system_name: String,
    #[serde(rename = "PlatformID")]
    platform_id: i64,
    net_bios_name: Option<String>,
    port: Option<u16>,
    timeout: i64,
    description: Option<String>,
    contact_email: Option<String>,
    #[serde(rename = "PasswordRuleID")]
    password_rule_id: i64,
    #[serde(rename = "DSSKeyRuleID")]
    dss_key_rule_id: Option<i64>,
    release_duration: i64,
    max_release_duration: i64,
    #[serde(rename = "ISAReleaseDuration")]
    isa_release_duration: i64,
    auto_management_flag: bool,
    #[serde(rename = "FunctionalAccountID")]
    functional_account_id: Option<i64>,
    #[serde(rename = "LoginAccountID")]
    login_account_id: Option<i64>,
    elevation_command: Option<&'static str>,
    ssh_key_enforcement_mode: Option<i64>,
    check_password_flag: bool,
    change_password_after_any_release_flag: bool,
    reset_password_on_mismatch_flag: bool,
    change_frequency_type: &'static str,
    change_frequency_days: Option<i64>,
    change_time: String,
    account_name_format: i64,
    remote_client_type: Option<String>,
    #[serde(rename = "ApplicationHostID")]
    application_host_id: Option<i64>,
    is_application_host: bool,
    #[serde(rename = "AccessURL")]
    access_url: Option<String>,
}

impl Shape {
    /// A system as the dialect shows it.
    pub(super) fn of(system: System, platforms: &Platforms) -> Self {
        let (settings, place) = (system.settings, system.place);
        let extras = settings.extras;
        let (change_frequency_type, change_frequency_days, change_time) =
            vendor_words(&settings.schedule);
        let platform = platforms.find(place.platform_id);
        let ssh = platform.is_some_and(|platform| platform.connector.has_host_keys());
        Self {
            managed_system_id: system.id.0,
            entity_type_id: place.entity_type.number(),
            asset_id: place.asset_id.map(|id| id.0),
            database_id: None,
            directory_id: None,
            cloud_id: None,
            workgroup_id: place.workgroup_id.0,
            host_name: settings.host_name,
            dns_name: settings.dns_name,
            ip_address: settings.ip_address,
            instance_name: extras.instance_name,
            is_default_instance: extras.is_default_instance,
            template: extras.template,
            forest_name: extras.forest_name,
            use_ssl: extras.use_ssl,
            oracle_internet_directory_id: extras.oracle_internet_directory_id,
            oracle_internet_directory_service_name: extras.oracle_internet_directory_service_name,
            system_name: settings.name,
            platform_id: place.platform_id.0,
            net_bios_name: extras.net_bios_name,
            port: settings.port,
            timeout: settings.timeout_s,
            description: settings.description,
            contact_email: extras.contact_email,
            password_rule_id: settings.password_rule_id.0,
            dss_key_rule_id: extras.dss_key_rule_id,
            release_duration: extras.release_duration,
            max_release_duration: extras.max_release_duration,
            isa_release_duration: extras.isa_release_duration,
            auto_management_flag: settings.auto_management,
            functional_account_id: settings.functional_account_id.map(|id| id.0),
            login_account_id: extras.login_account_id,
            elevation_command: elevation_word(settings.elevation),
            ssh_key_enforcement_mode: ssh.then(|| settings.host_key_mode.number()),
            check_password_flag: extras.check_password,
            change_password_after_any_release_flag: extras.change_after_release,
            reset_password_on_mismatch_flag: extras.reset_on_mismatch,
            change_frequency_type,
            change_frequency_days,
            change_time,
            account_name_format: extras.account_name_format,
            remote_client_type: extras.remote_client_type,
            application_host_id: extras.application_host_id,
            is_application_host: extras.is_application_host,
            access_url: extras.access_url,
        }
    }
}

/// Overlays what a body gives on a system's settings.
pub(super) fn overlay(
    fields: &Fields,
    place: SystemPlace,
    settings: &mut SystemSettings,
) -> Result<(), ApiError> {
    let given = Overlay(fields);
    if given
        .given_int("PlatformID")?
        .is_some_and(|id| id != place.platform_id.0)
    {
        return Err(ApiError::field(
            "PlatformID",
            "of a managed system never changes",
        ));
    }
    // A system that was made from an asset has the asset's name and addresses.
    if place.asset_id.is_none() {
        given.text("HostName", &mut settings.host_name)?;
        settings.name.clone_from(&settings.host_name);
        given.optional("DnsName", &mut settings.dns_name)?;
        given.optional("IPAddress", &mut settings.ip_address)?;
    }
    if let Some(port) = fields.int("Port", 1..=65_535)? {
        settings.port = u16::try_from(port).ok();
    }
    given.int("Timeout", &mut settings.timeout_s)?;
    given.optional("Description", &mut settings.description)?;
    given.flag("AutoManagementFlag", &mut settings.auto_management)?;
    if let Some(id) = given.given_int("FunctionalAccountID")? {
        settings.functional_account_id = Some(FunctionalAccountId(id));
    }
    if let Some(elevation) = elevation(fields)? {
        settings.elevation = elevation;
    }
    if let Some(mode) = given.given_int("SshKeyEnforcementMode")? {
        settings.host_key_mode = HostKeyMode::from_number(mode)
            .ok_or_else(|| ApiError::field("SshKeyEnforcementMode", "must be 0, 1 or 2"))?;
    }
    if let Some(rule) = given.given_int("PasswordRuleID")? {
        settings.password_rule_id = RuleId(rule);
    }
    given.schedule(&mut settings.schedule)?;
    overlay_extras(given, &mut settings.extras)
}

fn overlay_extras(given: Overlay<'_>, extras: &mut SystemExtras) -> Result<(), ApiError> {
    given.optional("InstanceName", &mut extras.instance_name)?;
    if let Some(flag) = given.0.flag("IsDefaultInstance")? {
        extras.is_default_instance = Some(flag);
    }
    given.optional("Template", &mut extras.template)?;
    given.optional("ForestName", &mut extras.forest_name)?;
    if let Some(flag) = given.0.flag("UseSSL")? {
        extras.use_ssl = Some(flag);
    }
    given.optional(
        "OracleInternetDirectoryID",
        &mut extras.oracle_internet_directory_id,
    )?;
    given.optional(
        "OracleInternetDirectoryServiceName",
        &mut extras.oracle_internet_directory_service_name,
    )?;
    given.optional("NetBiosName", &mut extras.net_bios_name)?;
    given.optional("ContactEmail", &mut extras.contact_email)?;
    given.optional_int("DSSKeyRuleID", &mut extras.dss_key_rule_id)?;
    given.int("ReleaseDuration", &mut extras.release_duration)?;
    given.int("MaxReleaseDuration", &mut extras.max_release_duration)?;
    given.int("ISAReleaseDuration", &mut extras.isa_release_duration)?;
    given.optional_int("LoginAccountID", &mut extras.login_account_id)?;
    given.flag("CheckPasswordFlag", &mut extras.check_password)?;
    given.flag(
        "ChangePasswordAfterAnyReleaseFlag",
        &mut extras.change_after_release,
    )?;
    given.flag("ResetPasswordOnMismatchFlag", &mut extras.reset_on_mismatch)?;
    given.int("AccountNameFormat", &mut extras.account_name_format)?;
    given.optional("RemoteClientType", &mut extras.remote_client_type)?;
    given.optional_int("ApplicationHostID", &mut extras.application_host_id)?;
    given.flag("IsApplicationHost", &mut extras.is_application_host)?;
    given.optional("AccessURL", &mut extras.access_url)
}
