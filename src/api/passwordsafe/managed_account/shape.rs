//! The vendor's records of a managed account: the full one both ways, and the requestable one.
//!
//! Invariant: what a client reads, it may send back whole without changing anything.

use chrono::NaiveDate;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::error::ApiError;
use crate::api::passwordsafe::Fields;
use crate::api::passwordsafe::wire::{Overlay, date};
use crate::model::Timestamp;
use crate::model::account::{Account, AccountExtras, AccountSettings};
use crate::model::id::{AccountId, RuleId};
use crate::model::schedule::vendor_words;
use crate::store::ListedAccount;

/// What the dialect calls the model's fields.
pub(super) const RENAMED: [(&str, &str); 1] = [("name", "AccountName")];

/// `ManagedAccount`.
#[derive(Serialize, ToSchema)]
#[schema(as = ManagedAccount)]
#[serde(rename_all = "PascalCase")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the vendor's record is made of flags"
)]
pub(in crate::api::passwordsafe) struct Full {
    #[serde(rename = "ManagedAccountID")]
    managed_account_id: i64,
    #[serde(rename = "ManagedSystemID")]
    managed_system_id: i64,
    domain_name: Option<String>,
    account_name: String,
    distinguished_name: Option<String>,
    password_fallback_flag: bool,
    user_principal_name: Option<String>,
    #[serde(rename = "SAMAccountName")]
    sam_account_name: Option<String>,
    login_account_flag: bool,
    description: Option<String>,
    #[serde(rename = "PasswordRuleID")]
    password_rule_id: i64,
    api_enabled: bool,
    release_notification_email: Option<String>,
    change_services_flag: bool,
    restart_services_flag: bool,
    change_tasks_flag: bool,
    release_duration: i64,
    max_release_duration: i64,
    #[serde(rename = "ISAReleaseDuration")]
    isa_release_duration: i64,
    max_concurrent_requests: i64,
    auto_management_flag: bool,
    #[serde(rename = "DSSAutoManagementFlag")]
    dss_auto_management_flag: bool,
    check_password_flag: bool,
    reset_password_on_mismatch_flag: bool,
    change_password_after_any_release_flag: bool,
    change_frequency_type: &'static str,
    change_frequency_days: Option<i64>,
    change_time: String,
    #[serde(rename = "ParentAccountID")]
    parent_account_id: Option<i64>,
    is_subscribed_account: bool,
    last_change_date: Option<String>,
    next_change_date: Option<String>,
    is_changing: bool,
    change_state: i64,
    use_own_credentials: bool,
    #[serde(rename = "ChangeIISAppPoolFlag")]
    change_iis_app_pool_flag: bool,
    #[serde(rename = "RestartIISAppPoolFlag")]
    restart_iis_app_pool_flag: bool,
    #[serde(rename = "WorkgroupID")]
    workgroup_id: Option<i64>,
    change_windows_auto_logon_flag: bool,
    change_com_plus_flag: bool,
    #[serde(rename = "ChangeDComFlag")]
    change_dcom_flag: bool,
    #[serde(rename = "ChangeSComFlag")]
    change_scom_flag: bool,
    #[serde(rename = "ObjectID")]
    object_id: Option<String>,
}

impl Full {
    pub(in crate::api::passwordsafe) fn of(account: Account, now: Timestamp) -> Self {
        let change_state = account.change_state(now);
        let settings = account.settings;
        let extras = settings.extras;
        let (change_frequency_type, change_frequency_days, change_time) =
            vendor_words(&settings.schedule);
        Self {
            managed_account_id: account.id.0,
            managed_system_id: account.system_id.0,
            domain_name: settings.domain_name,
            account_name: settings.name,
            distinguished_name: settings.distinguished_name,
            password_fallback_flag: extras.password_fallback,
            user_principal_name: settings.user_principal_name,
            sam_account_name: settings.sam_account_name,
            login_account_flag: extras.login_account,
            description: settings.description,
            password_rule_id: settings.password_rule_id.0,
            api_enabled: settings.api_enabled,
            release_notification_email: extras.release_notification_email,
            change_services_flag: extras.change_services,
            restart_services_flag: extras.restart_services,
            change_tasks_flag: extras.change_tasks,
            release_duration: extras.release_duration,
            max_release_duration: extras.max_release_duration,
            isa_release_duration: extras.isa_release_duration,
            max_concurrent_requests: extras.max_concurrent_requests,
            auto_management_flag: settings.auto_management,
            dss_auto_management_flag: settings.dss_auto_management,
            check_password_flag: settings.check_password,
            reset_password_on_mismatch_flag: settings.reset_on_mismatch,
            change_password_after_any_release_flag: extras.change_after_release,
            change_frequency_type,
            change_frequency_days,
            change_time,
            parent_account_id: account.parent_id.map(|id| id.0),
            is_subscribed_account: account.parent_id.is_some(),
            last_change_date: account.credential.last_change_at().map(date),
            next_change_date: account.due.next_change_at.map(date),
            is_changing: change_state == 1,
            change_state,
            use_own_credentials: settings.use_own_credentials,
            change_iis_app_pool_flag: extras.change_iis_app_pool,
            restart_iis_app_pool_flag: extras.restart_iis_app_pool,
            workgroup_id: extras.workgroup_id,
            change_windows_auto_logon_flag: extras.change_windows_auto_logon,
            change_com_plus_flag: extras.change_com_plus,
            change_dcom_flag: extras.change_dcom,
            change_scom_flag: extras.change_scom,
            object_id: extras.object_id,
        }
    }
}

/// The requestable account: note `SystemId` and `AccountId`.
#[derive(Serialize, ToSchema)]
#[schema(as = RequestableAccount)]
#[serde(rename_all = "PascalCase")]
pub(in crate::api::passwordsafe) struct Requestable {
    #[serde(rename = "PlatformID")]
    platform_id: i64,
    system_id: i64,
    system_name: String,
    instance_name: Option<String>,
    domain_name: Option<String>,
    account_id: i64,
    account_name: String,
    user_principal_name: Option<String>,
    #[serde(rename = "ApplicationID")]
    application_id: Option<i64>,
    application_display_name: Option<String>,
    maximum_release_duration: i64,
    default_release_duration: i64,
    last_change_date: Option<String>,
    next_change_date: Option<String>,
    change_state: i64,
    is_changing: bool,
    #[serde(rename = "IsISAAccess")]
    is_isa_access: bool,
    #[serde(rename = "PreferredNodeID")]
    preferred_node_id: &'static str,
    account_description: String,
}

impl Requestable {
    pub(super) fn of(listed: ListedAccount, now: Timestamp, is_isa_access: bool) -> Self {
        let account = listed.account;
        let change_state = account.change_state(now);
        let settings = account.settings;
        Self {
            platform_id: listed.platform_id.0,
            system_id: account.system_id.0,
            system_name: listed.system_name,
            instance_name: None,
            domain_name: settings.domain_name,
            account_id: account.id.0,
            account_name: settings.name,
            user_principal_name: settings.user_principal_name,
            application_id: None,
            application_display_name: None,
            maximum_release_duration: settings.extras.max_release_duration,
            default_release_duration: settings.extras.release_duration,
            last_change_date: account.credential.last_change_at().map(date),
            next_change_date: account.due.next_change_at.map(date),
            change_state,
            is_changing: change_state == 1,
            is_isa_access,
            preferred_node_id: "",
            account_description: settings.description.unwrap_or_default(),
        }
    }
}

/// What the client may have read: sent back, it is no wish.
#[derive(Clone, Copy, Default)]
pub(super) struct Shown {
    pub(super) next_change_at: Option<Timestamp>,
    pub(super) parent_id: Option<AccountId>,
}

/// Overlays what a body gives on an account's settings.
pub(super) fn overlay(
    fields: &Fields,
    settings: &mut AccountSettings,
    shown: Shown,
    now: Timestamp,
) -> Result<(), ApiError> {
    let given = Overlay(fields);
    given.text("AccountName", &mut settings.name)?;
    given.optional("DomainName", &mut settings.domain_name)?;
    given.optional("DistinguishedName", &mut settings.distinguished_name)?;
    given.optional("UserPrincipalName", &mut settings.user_principal_name)?;
    given.optional("SAMAccountName", &mut settings.sam_account_name)?;
    given.optional("Description", &mut settings.description)?;
    if let Some(rule) = given.given_int("PasswordRuleID")? {
        settings.password_rule_id = RuleId(rule);
    }
    given.flag("ApiEnabled", &mut settings.api_enabled)?;
    given.flag("AutoManagementFlag", &mut settings.auto_management)?;
    given.flag("DSSAutoManagementFlag", &mut settings.dss_auto_management)?;
    given.flag("UseOwnCredentials", &mut settings.use_own_credentials)?;
    given.flag("CheckPasswordFlag", &mut settings.check_password)?;
    given.flag(
        "ResetPasswordOnMismatchFlag",
        &mut settings.reset_on_mismatch,
    )?;
    given.schedule(&mut settings.schedule)?;
    if let Some(day) = next_change(fields)?
        && shown.next_change_at.and_then(day_of) != Some(day)
    {
        settings.next_override_at = Some(settings.schedule.on_date(day, now));
    }
    if let Some(parent) = given.given_int("ParentAccountID")?
        && shown.parent_id != Some(AccountId(parent))
    {
        return Err(ApiError::field(
            "ParentAccountID",
            "cannot be set; POST ManagedAccounts/{parent}/SyncedAccounts/{account} syncs",
        ));
    }
    overlay_extras(given, &mut settings.extras)
}

fn day_of(at: Timestamp) -> Option<NaiveDate> {
    at.to_utc().map(|at| at.date_naive())
}

/// `NextChangeDate`: a day, or a date as it is shown.
fn next_change(fields: &Fields) -> Result<Option<NaiveDate>, ApiError> {
    let Some(text) = fields.text("NextChangeDate", 40)? else {
        return Ok(None);
    };
    let day = text.split_once('T').map_or(text.as_str(), |(day, _)| day);
    let day = NaiveDate::parse_from_str(day, "%Y-%m-%d");
    day.map(Some)
        .map_err(|_| ApiError::field("NextChangeDate", "must be YYYY-MM-DD"))
}

fn overlay_extras(given: Overlay<'_>, extras: &mut AccountExtras) -> Result<(), ApiError> {
    given.flag("PasswordFallbackFlag", &mut extras.password_fallback)?;
    given.flag("LoginAccountFlag", &mut extras.login_account)?;
    given.optional(
        "ReleaseNotificationEmail",
        &mut extras.release_notification_email,
    )?;
    given.flag("ChangeServicesFlag", &mut extras.change_services)?;
    given.flag("RestartServicesFlag", &mut extras.restart_services)?;
    given.flag("ChangeTasksFlag", &mut extras.change_tasks)?;
    given.int("ReleaseDuration", &mut extras.release_duration)?;
    given.int("MaxReleaseDuration", &mut extras.max_release_duration)?;
    given.int("ISAReleaseDuration", &mut extras.isa_release_duration)?;
    given.int("MaxConcurrentRequests", &mut extras.max_concurrent_requests)?;
    given.flag(
        "ChangePasswordAfterAnyReleaseFlag",
        &mut extras.change_after_release,
    )?;
    given.flag("ChangeIISAppPoolFlag", &mut extras.change_iis_app_pool)?;
    given.flag("RestartIISAppPoolFlag", &mut extras.restart_iis_app_pool)?;
    given.optional_int("WorkgroupID", &mut extras.workgroup_id)?;
    given.flag(
        "ChangeWindowsAutoLogonFlag",
        &mut extras.change_windows_auto_logon,
    )?;
    given.flag("ChangeComPlusFlag", &mut extras.change_com_plus)?;
    given.flag("ChangeDComFlag", &mut extras.change_dcom)?;
    given.flag("ChangeSComFlag", &mut extras.change_scom)?;
    given.optional("ObjectID", &mut extras.object_id)
}
