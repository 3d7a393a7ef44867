//! Password records: documented passwords, in the store or of a managed account.
//!
//! Invariant: a record's value is not here; what is here may be listed.

use std::collections::BTreeSet;

use super::Timestamp;
use super::fault::{Fault, Faults, differing};
use super::id::{
    AccountId, GroupId, OrganizationId, PasswordCategoryId, PasswordFolderId, PasswordRecordId,
    PasswordVersionId, RuleId, SystemId, UserId,
};
use super::organization::OrganizationStatus;
use super::reveal::Subject;

/// Longest name, login name, and names of resources.
const LINE_MAX_CHARS: usize = 255;
/// Longest URL.
const URL_MAX_CHARS: usize = 2_000;
/// Longest notes and selectors.
const PROSE_MAX_CHARS: usize = 65_536;

/// A documented password, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordRecord {
    /// Its id.
    pub id: PasswordRecordId,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// What that one is called.
    pub organization_name: String,
    /// Where that one stands.
    pub organization_status: OrganizationStatus,
    /// What people write.
    pub fields: PasswordFields,
    /// The name of its category.
    pub category_name: Option<String>,
    /// The managed account whose credential it shows.
    pub account: Option<LinkedAccount>,
    /// Its current value, in the store; an account's is the account's.
    pub version: Option<PasswordVersionId>,
    /// When its value last changed; `None` while it has none.
    pub value_changed_at: Option<Timestamp>,
    /// When its value changed, as whoever made it said; `None`: as above.
    pub said_changed_at: Option<Timestamp>,
    /// True if it has the secret of one-time codes.
    pub otp_enabled: bool,
    /// Who last changed it.
    pub updated_by: Option<(UserId, String)>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its last edit.
    pub updated_at: Timestamp,
    /// Counts edits.
    pub revision: i64,
}

impl PasswordRecord {
    /// When its value changed, as lists show it: never by a date that somebody sent, once it has
    /// changed here.
    pub fn shown_changed_at(&self) -> Option<Timestamp> {
        match &self.account {
            Some(account) => account.changed_at,
            None => self.said_changed_at.or(self.value_changed_at),
        }
    }

    /// True if it is put away: by hand, or since its account is gone.
    pub fn is_archived(&self) -> bool {
        self.fields.archived || self.account.as_ref().is_some_and(|account| account.deleted)
    }

    /// The login name.
    pub fn username(&self) -> Option<&str> {
        match &self.account {
            Some(account) => Some(&account.login),
            None => self.fields.username.as_deref(),
        }
    }

    /// What is known of it, beside its value.
    pub fn subject(&self) -> Subject {
        let organization = (
            self.organization_id,
            self.organization_name.clone(),
            self.organization_status,
        );
        Subject {
            record_id: Some(self.id),
            account: self.account.as_ref().map(|one| (one.id, one.name())),
            name: self.fields.name.clone(),
            username: self.username().map(str::to_owned),
            url: self.fields.url.clone(),
            notes: self.fields.notes.clone(),
            organization: Some(organization),
            category: self.fields.category_id.zip(self.category_name.clone()),
            updated_by: self.updated_by.clone(),
        }
    }

    /// What its accesses are counted under: an account's by whichever way one comes to it.
    pub fn accessed_as(&self) -> Accessed {
        match &self.account {
            Some(account) => Accessed::Account(account.id),
            None => Accessed::Record(self.id),
        }
    }
}

/// What a user has seen, created, changed or imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Accessed {
    /// A managed account's credential.
    Account(AccountId),
    /// The value of a record that is no account's.
    Record(PasswordRecordId),
}

impl Accessed {
    /// As it stands in the database: kind and id.
    pub const fn row(self) -> (&'static str, i64) {
        match self {
            Self::Account(id) => ("account", id.0),
            Self::Record(id) => ("record", id.0),
        }
    }
}

/// The managed account that a record documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedAccount {
    /// Its id.
    pub id: AccountId,
    /// Where it lives.
    pub system_id: SystemId,
    /// What that system is called.
    pub system_name: String,
    /// Its login name.
    pub login: String,
    /// The version of its current password.
    pub version: Option<i64>,
    /// When that was promoted or stored.
    pub changed_at: Option<Timestamp>,
    /// It was deleted: the record has no value any more.
    pub deleted: bool,
}

impl LinkedAccount {
    /// `system/account`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.system_name, self.login)
    }
}

/// What people write of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordFields {
    /// What people read.
    pub name: String,
    /// The login name; of a linked record the account's, and not kept here.
    pub username: Option<String>,
    /// Where one logs in.
    pub url: Option<String>,
    /// Notes, perhaps in HTML; verbatim.
    pub notes: Option<String>,
    /// For browser extensions.
    pub autofill_selectors: Option<String>,
    /// Its category.
    pub category_id: Option<PasswordCategoryId>,
    /// Its folder, of the same organization.
    pub folder_id: Option<PasswordFolderId>,
    /// Seen by those alone who are named.
    pub restricted: bool,
    /// Put away.
    pub archived: bool,
    /// May be shared.
    pub shareable: bool,
    /// What it is embedded in.
    pub embedded: Option<Embedded>,
    /// Rule for values that are generated.
    pub rule_id: RuleId,
}

impl PasswordFields {
    /// A record of this name, and nothing else.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            username: None,
            url: None,
            notes: None,
            autofill_selectors: None,
            category_id: None,
            folder_id: None,
            restricted: false,
            archived: false,
            shareable: false,
            embedded: None,
            rule_id: RuleId(0),
        }
    }

    /// The names of the fields in which another differs.
    pub fn differing(&self, other: &Self) -> Vec<&'static str> {
        differing!(self, other, name username url notes autofill_selectors category_id folder_id
            restricted archived shareable embedded rule_id)
    }

    /// What `now` becomes by an edit that was `before` when it began and is this at its end: what
    /// the edit did not touch stays as others have made it meanwhile.
    #[must_use]
    pub fn onto(&self, before: &Self, now: &Self) -> Self {
        macro_rules! latest {
            ($($field:ident)+) => {
                Self {$($field: if self.$field == before.$field {
                    now.$field.clone()
                } else {
                    self.$field.clone()
                },)+}
            };
        }
        latest!(name username url notes autofill_selectors category_id folder_id restricted
            archived shareable embedded rule_id)
    }

    /// What is wrong with it.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Faults::default();
        faults.required("name", &self.name, LINE_MAX_CHARS);
        faults.optional("username", self.username.as_ref(), LINE_MAX_CHARS);
        faults.optional("url", self.url.as_ref(), URL_MAX_CHARS);
        faults.prose("notes", self.notes.as_ref(), PROSE_MAX_CHARS);
        let selectors = self.autofill_selectors.as_ref();
        faults.prose("autofill_selectors", selectors, PROSE_MAX_CHARS);
        if let Some(embedded) = &self.embedded {
            faults.range("resource_id", embedded.id, 1..=i64::from(i32::MAX));
            let name = embedded.name.as_ref();
            faults.optional("cached_resource_name", name, LINE_MAX_CHARS);
        }
        faults.found()
    }
}

/// Something outside of Keywheel that a record belongs to; nothing checks that it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// What it is.
    pub kind: ResourceKind,
    /// Its id, there.
    pub id: i64,
    /// What it is called, there.
    pub name: Option<String>,
}

/// What a record may be embedded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    /// A machine.
    Configuration,
    /// A person.
    Contact,
    /// A text.
    Document,
    /// A domain name.
    Domain,
    /// A place.
    Location,
    /// A certificate.
    SslCertificate,
    /// Anything else.
    FlexibleAsset,
    /// A ticket.
    Ticket,
}

impl ResourceKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Configuration,
        Self::Contact,
        Self::Document,
        Self::Domain,
        Self::Location,
        Self::SslCertificate,
        Self::FlexibleAsset,
        Self::Ticket,
    ];
    /// The word for a record that shows a managed account's credential.
    pub const MANAGED_ACCOUNT: &'static str = "Managed Account";

    /// As it stands in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "Configuration",
            Self::Contact => "Contact",
            Self::Document => "Document",
            Self::Domain => "Domain",
            Self::Location => "Location",
            Self::SslCertificate => "SSL Certificate",
            Self::FlexibleAsset => "Flexible Asset",
            Self::Ticket => "Ticket",
        }
    }

    /// Reads it; case, blanks, hyphens, underscores and a plural do not matter.
    pub fn parse(raw: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| Self::is_spelled(kind.as_str(), raw))
    }

    /// True if `raw` is this word, however spelled.
    pub fn is_spelled(word: &str, raw: &str) -> bool {
        let bare = |text: &str| {
            let kept = text.chars().filter(|c| !matches!(c, ' ' | '-' | '_'));
            let bare: String = kept.flat_map(char::to_lowercase).collect();
            match bare.strip_suffix('s') {
                Some(one) => one.to_owned(),
                None => bare,
            }
        };
        bare(word) == bare(raw)
    }
}

/// Those who see what is restricted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readers {
    /// Users.
    pub users: BTreeSet<UserId>,
    /// Groups: all their members.
    pub groups: BTreeSet<GroupId>,
}

/// A value that a record has or had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordVersion {
    /// Its id; of a linked record the version of its account.
    pub id: i64,
    /// When it became the value.
    pub created_at: Timestamp,
    /// Who set it.
    pub created_by: Option<UserId>,
    /// It is the current one.
    pub live: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_however_it_is_spelled() {
        for (raw, kind) in [
            ("configurations", ResourceKind::Configuration),
            ("ssl_certificate", ResourceKind::SslCertificate),
            ("SSL Certificates", ResourceKind::SslCertificate),
            ("flexible-asset", ResourceKind::FlexibleAsset),
            ("TICKET", ResourceKind::Ticket),
        ] {
            assert_eq!(ResourceKind::parse(raw), Some(kind), "{raw}");
        }
        assert_eq!(ResourceKind::parse("ssl"), None);
        assert!(ResourceKind::is_spelled(
            ResourceKind::MANAGED_ACCOUNT,
            "managed-accounts"
        ));
    }

    #[test]
    fn an_edit_touches_what_it_names_and_leaves_the_rest_to_others() {
        let before = PasswordFields::named("Web");
        let edit = PasswordFields {
            notes: Some("mine".into()),
            ..before.clone()
        };
        let now = PasswordFields {
            url: Some("theirs".into()),
            ..before.clone()
        };
        let both = edit.onto(&before, &now);
        assert_eq!(both.differing(&before), ["url", "notes"]);
    }

    #[test]
    fn fields_are_checked_and_no_value_is_repeated() {
        let fields = PasswordFields {
            url: Some("x\u{7}".into()),
            notes: Some("two\nlines".into()),
            ..PasswordFields::named(" ")
        };
        let faults = fields.faults();
        let named: Vec<_> = faults.iter().map(|fault| fault.field).collect();
        assert_eq!(named, ["name", "url"]);
    }
}
