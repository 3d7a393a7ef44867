//! A reveal: a value leaves Keywheel in the clear, for a person or a client.
//!
//! Invariant: nothing here holds the value, or anything from which it could be had.

use super::Timestamp;
use super::id::{AccountId, OrganizationId, PasswordCategoryId, PasswordRecordId, UserId};
use super::organization::OrganizationStatus;
use super::password_record::Accessed;

/// By which way a value left: what workflows call `[access_method]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccessMethod {
    /// The record's page: shown.
    Show,
    /// The record's page: copied.
    Copy,
    /// The record's page: as a PDF.
    Pdf,
    /// A list: copied.
    ListCopy,
    /// A list, taken out.
    ListExport,
    /// A list of all organizations, taken out.
    GlobalExport,
    /// The page of a system or an account: shown.
    AssetShow,
    /// The same page: copied.
    AssetCopy,
    /// The same page: opened to edit, with the value in the form.
    AssetEdit,
    /// The same page, taken out.
    AssetExport,
    /// Everything, taken out.
    AccountExport,
    /// One organization, taken out.
    OrganizationExport,
    /// The report of passwords at risk, taken out.
    AtRiskExport,
    /// A search: shown.
    SearchShow,
    /// A search: copied.
    SearchCopy,
    /// An interface: read.
    ApiShow,
    /// An interface: edited, and shown in the answer.
    ApiUpdate,
    /// An interface: one of many edited, and shown in the answer.
    ApiBulkUpdate,
    /// An interface: made, and shown in the answer.
    ApiCreate,
    /// Password Safe: retrieved for a request.
    Checkout,
    /// The command line.
    Cli,
    /// A one-time code.
    Otp,
}

impl AccessMethod {
    /// Every way.
    pub const ALL: [Self; 22] = [
        Self::Show,
        Self::Copy,
        Self::Pdf,
        Self::ListCopy,
        Self::ListExport,
        Self::GlobalExport,
        Self::AssetShow,
        Self::AssetCopy,
        Self::AssetEdit,
        Self::AssetExport,
        Self::AccountExport,
        Self::OrganizationExport,
        Self::AtRiskExport,
        Self::SearchShow,
        Self::SearchCopy,
        Self::ApiShow,
        Self::ApiUpdate,
        Self::ApiBulkUpdate,
        Self::ApiCreate,
        Self::Checkout,
        Self::Cli,
        Self::Otp,
    ];

    /// As it stands in notices, on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Show => "show",
            Self::Copy => "copy",
            Self::Pdf => "pdf",
            Self::ListCopy => "list_copy",
            Self::ListExport => "list_export",
            Self::GlobalExport => "global_export",
            Self::AssetShow => "asset_show",
            Self::AssetCopy => "asset_copy",
            Self::AssetEdit => "asset_edit",
            Self::AssetExport => "asset_export",
            Self::AccountExport => "account_export",
            Self::OrganizationExport => "organization_export",
            Self::AtRiskExport => "at_risk_export",
            Self::SearchShow => "search_show",
            Self::SearchCopy => "search_copy",
            Self::ApiShow => "api_show",
            Self::ApiUpdate => "api_update",
            Self::ApiBulkUpdate => "api_bulk_update",
            Self::ApiCreate => "api_create",
            Self::Checkout => "checkout",
            Self::Cli => "cli",
            Self::Otp => "otp",
        }
    }

    /// Reads it back.
    pub fn parse(raw: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == raw)
    }
}

/// Who sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// The user.
    pub user_id: UserId,
    /// Their sign-in name: the actor of the audit trail.
    pub name: String,
    /// Empty where unknown.
    pub email: String,
    /// From where; empty where unknown.
    pub address: String,
}

/// What is known of a value that is seen, beside the value: what filters look at and notices name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The record; `None` for an account that no record documents.
    pub record_id: Option<PasswordRecordId>,
    /// The managed account whose credential it is, with `system/account`.
    pub account: Option<(AccountId, String)>,
    /// The record's name; that of an account without a record is `system/account`.
    pub name: String,
    /// The login name.
    pub username: Option<String>,
    /// Where one logs in.
    pub url: Option<String>,
    /// Notes, perhaps in HTML.
    pub notes: Option<String>,
    /// Its organization, with its name and status.
    pub organization: Option<(OrganizationId, String, OrganizationStatus)>,
    /// Its category, with its name.
    pub category: Option<(PasswordCategoryId, String)>,
    /// Who last changed it, with their name.
    pub updated_by: Option<(UserId, String)>,
}

/// The path of the page on which people come to a record, or to an account that no record documents,
/// below where they reach the service: `/2/passwords/54`.
pub fn page_path(
    organization: Option<OrganizationId>,
    record: Option<PasswordRecordId>,
    account: Option<AccountId>,
) -> Option<String> {
    match (organization, record, account) {
        (Some(organization), Some(record), _) => {
            Some(format!("/{}/passwords/{}", organization.0, record.0))
        }
        (_, _, Some(account)) => Some(format!("/accounts/{}", account.0)),
        (None, Some(record), None) => Some(format!("/passwords/{}", record.0)),
        (_, None, None) => None,
    }
}

impl Subject {
    /// An account that no record documents.
    pub fn of_account(id: AccountId, system: &str, login: &str) -> Self {
        let name = format!("{system}/{login}");
        Self {
            record_id: None,
            account: Some((id, name.clone())),
            name,
            username: Some(login.to_owned()),
            url: None,
            notes: None,
            organization: None,
            category: None,
            updated_by: None,
        }
    }

    /// What accesses of it are counted under.
    pub fn accessed_as(&self) -> Option<Accessed> {
        match (&self.account, self.record_id) {
            (Some((account, _)), _) => Some(Accessed::Account(*account)),
            (None, Some(record)) => Some(Accessed::Record(record)),
            (None, None) => None,
        }
    }
}

/// One reveal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reveal {
    /// By which way.
    pub method: AccessMethod,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: Reader,
    /// The version that was seen, where one was asked for.
    pub version: Option<i64>,
    /// What was seen. An account that several records document comes once for each; the first that
    /// a workflow's filters pass is named.
    pub seen: Vec<Subject>,
    /// True for a file with many values: one notice names several.
    pub export: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_has_a_name_of_its_own() {
        for method in AccessMethod::ALL {
            assert_eq!(AccessMethod::parse(method.as_str()), Some(method));
        }
        assert_eq!(AccessMethod::parse("glance"), None);
    }
}
