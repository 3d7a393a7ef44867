//! Reports: what is stale, what is at risk, and how a file of it is written.
//!
//! Invariant: nothing here holds a value; a date that a client sent decides nothing about risk.

use std::borrow::Cow;

use super::Timestamp;
use super::id::{AccountId, OrganizationId, PasswordRecordId};
use super::password_record::PasswordRecord;

/// What a report says where there is no date.
pub const NEVER: &str = "Never";
/// What a report says where days cannot be counted.
pub const UNKNOWN: &str = "Unknown";
/// The category of records that have none.
pub const UNCATEGORIZED: &str = "Uncategorized";

const DAY_MS: i64 = 86_400_000;

/// Whole days since a change; none where it lies ahead.
pub fn days_since(changed_at: Timestamp, now: Timestamp) -> i64 {
    now.0.saturating_sub(changed_at.0).max(0) / DAY_MS
}

/// What is known of a managed account's secrets, without them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountFacts {
    /// Its id.
    pub id: AccountId,
    /// What its system is called.
    pub system_name: String,
    /// Its login name.
    pub login: String,
    /// True if it has a password, and when that was last changed, if that is known.
    pub password: (bool, Option<Timestamp>),
    /// The same of its SSH key.
    pub key: (bool, Option<Timestamp>),
    /// It was deleted: nothing of it is kept in use here.
    pub deleted: bool,
}

impl AccountFacts {
    /// `system/account`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.system_name, self.login)
    }

    /// What it has: whoever saw one of its secrets may have seen each.
    fn secrets(&self) -> Secrets {
        let parts = [self.password, self.key].into_iter();
        Secrets(
            parts
                .filter(|(there, _)| *there && !self.deleted)
                .map(|(_, changed_at)| changed_at)
                .collect(),
        )
    }
}

/// When each secret was last changed; `None` inside: nobody knows.
struct Secrets(Vec<Option<Timestamp>>);

impl Secrets {
    /// True if one of them is still as it was at that access. Whoever sets a value has it before
    /// them at the same instant, and stays at risk.
    fn at_risk(&self, accessed_at: Timestamp) -> bool {
        let mut all = self.0.iter();
        all.any(|changed_at| changed_at.is_none_or(|changed_at| accessed_at >= changed_at))
    }

    /// The oldest change.
    fn changed_at(&self) -> Option<Timestamp> {
        let all: Option<Vec<Timestamp>> = self.0.iter().copied().collect();
        all?.into_iter().min()
    }
}

/// A tab of the report of passwords at risk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    /// Those that have not changed since the user had them before them.
    AtRisk,
    /// All that the user ever had before them.
    AllAccessed,
}

impl Tab {
    /// As it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AtRisk => "at_risk",
            Self::AllAccessed => "all_accessed",
        }
    }

    /// Reads it.
    pub fn parse(raw: &str) -> Option<Self> {
        let mut all = [Self::AtRisk, Self::AllAccessed].into_iter();
        all.find(|tab| tab.as_str() == raw)
    }
}

/// One row of that report: a password that somebody had before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessedPassword {
    /// Whose it is; an account's that no record documents is nobody's.
    pub organization: Option<(OrganizationId, String)>,
    /// Its record.
    pub record_id: Option<PasswordRecordId>,
    /// The record's name, or `system/account`.
    pub name: String,
    /// The login name.
    pub username: Option<String>,
    /// The name of its category.
    pub category: Option<String>,
    /// `general`, `embedded` or `managed account`.
    pub kind: &'static str,
    /// The managed account, with `system/account`.
    pub account: Option<(AccountId, String)>,
    /// How it was last accessed.
    pub action: String,
    /// When.
    pub accessed_at: Timestamp,
    /// When its value last changed; of an account that has a password and a key the older change.
    pub changed_at: Option<Timestamp>,
    /// It has not changed since.
    pub at_risk: bool,
}

/// The kind of a record.
pub fn kind(record: &PasswordRecord) -> &'static str {
    match (&record.account, &record.fields.embedded) {
        (Some(_), _) => MANAGED_ACCOUNT,
        (None, Some(_)) => "embedded",
        (None, None) => "general",
    }
}

const MANAGED_ACCOUNT: &str = "managed account";

/// The row of a record that was accessed; `account`: the one that it documents.
pub fn of_record(
    record: &PasswordRecord,
    account: Option<&AccountFacts>,
    (action, accessed_at): (&str, Timestamp),
) -> AccessedPassword {
    let secrets = match account {
        Some(account) => account.secrets(),
        None if record.account.is_some() || record.version.is_none() => Secrets(Vec::new()),
        None => Secrets(vec![record.value_changed_at]),
    };
    AccessedPassword {
        organization: Some((record.organization_id, record.organization_name.clone())),
        record_id: Some(record.id),
        name: record.fields.name.clone(),
        username: record.username().map(str::to_owned),
        category: record.category_name.clone(),
        kind: kind(record),
        account: record.account.as_ref().map(|one| (one.id, one.name())),
        action: action.to_owned(),
        accessed_at,
        changed_at: secrets.changed_at(),
        at_risk: secrets.at_risk(accessed_at),
    }
}

/// The row of an account that was accessed and that no record documents.
pub fn of_account(
    account: &AccountFacts,
    (action, accessed_at): (&str, Timestamp),
) -> AccessedPassword {
    let secrets = account.secrets();
    AccessedPassword {
        organization: None,
        record_id: None,
        name: account.name(),
        username: Some(account.login.clone()),
        category: None,
        kind: MANAGED_ACCOUNT,
        account: Some((account.id, account.name())),
        action: action.to_owned(),
        accessed_at,
        changed_at: secrets.changed_at(),
        at_risk: secrets.at_risk(accessed_at),
    }
}

/// A text as a spreadsheet shows it: one that would be a formula gets an apostrophe before it.
///
/// Source: OWASP, CSV Injection.
pub fn spreadsheet_text(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(password: (bool, Option<i64>), key: (bool, Option<i64>)) -> AccountFacts {
        let at = |(there, at): (bool, Option<i64>)| (there, at.map(Timestamp));
        AccountFacts {
            id: AccountId(7),
            system_name: "web1".into(),
            login: "root".into(),
            password: at(password),
            key: at(key),
            deleted: false,
        }
    }

    fn at_risk(account: &AccountFacts, accessed_at: i64) -> bool {
        of_account(account, ("checkout", Timestamp(accessed_at))).at_risk
    }

    #[test]
    fn a_value_is_at_risk_until_it_changes_after_it_was_seen() {
        let one = account((true, Some(100)), (false, None));
        assert_eq!(
            [99, 100, 101].map(|at| at_risk(&one, at)),
            [false, true, true]
        );
        let unknown = account((true, None), (false, None));
        assert!(at_risk(&unknown, 1));
        let nothing = account((false, None), (false, Some(5)));
        assert!(!at_risk(&nothing, 9));
        let gone = AccountFacts {
            deleted: true,
            ..one
        };
        assert!(!at_risk(&gone, 101));
    }

    #[test]
    fn the_older_of_a_password_and_a_key_decides() {
        let both = account((true, Some(200)), (true, Some(100)));
        assert!(at_risk(&both, 150));
        assert!(!at_risk(&both, 50));
        let row = of_account(&both, ("show", Timestamp(150)));
        assert_eq!(row.changed_at, Some(Timestamp(100)));
        assert_eq!(
            (row.kind, row.name.as_str()),
            (MANAGED_ACCOUNT, "web1/root")
        );
    }

    #[test]
    fn days_are_whole_and_never_negative() {
        let day = DAY_MS;
        for (changed, now, days) in [(0, day - 1, 0), (0, day, 1), (0, 90 * day, 90), (5, 0, 0)] {
            assert_eq!(days_since(Timestamp(changed), Timestamp(now)), days);
        }
    }

    #[test]
    fn a_formula_is_a_text() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1"] {
            assert_eq!(spreadsheet_text(text), format!("'{text}"));
        }
        for text in ["", "root", "a=b", "'=1"] {
            assert_eq!(spreadsheet_text(text), text);
        }
    }

    #[test]
    fn a_tab_has_a_name() {
        for tab in [Tab::AtRisk, Tab::AllAccessed] {
            assert_eq!(Tab::parse(tab.as_str()), Some(tab));
        }
        assert_eq!(Tab::parse("all"), None);
    }
}
