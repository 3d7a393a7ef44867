//! Organizations: customers or departments whose passwords are documented.
//!
//! Invariant: a type and a status have a number and a name each, and never change their numbers.

use super::Timestamp;
use super::fault::{Fault, Faults};
use super::id::OrganizationId;

/// One organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// What people write.
    pub fields: OrganizationFields,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its last edit.
    pub updated_at: Timestamp,
}

/// What people write of an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganizationFields {
    /// What people read; unique in any case.
    pub name: String,
    /// A short form of it.
    pub short_name: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// What whoever works for it must know.
    pub alert: Option<String>,
    /// Notes, perhaps in HTML.
    pub quick_notes: Option<String>,
    /// What kind it is of.
    pub kind: OrganizationKind,
    /// Where it stands.
    pub status: OrganizationStatus,
    /// The one whose service this is.
    pub primary: bool,
    /// The one that it is a part of.
    pub parent_id: Option<OrganizationId>,
}

impl OrganizationFields {
    /// An active customer of this name.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            short_name: None,
            description: None,
            alert: None,
            quick_notes: None,
            kind: OrganizationKind::Customer,
            status: OrganizationStatus::Active,
            primary: false,
            parent_id: None,
        }
    }

    /// What is wrong with it.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Faults::default();
        faults.required("name", &self.name, 255);
        faults.line("short_name", self.short_name.as_deref().unwrap_or(""), 255);
        faults.found()
    }
}

/// What kind of organization it is: `organization_types` of the dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrganizationKind {
    /// Whom one works for.
    Customer,
    /// One's own.
    Internal,
    /// With whom one works.
    Partner,
    /// Who might become a customer.
    Prospect,
    /// Of whom one buys.
    Vendor,
}

impl OrganizationKind {
    /// Every kind, by number.
    pub const ALL: [Self; 5] = [
        Self::Customer,
        Self::Internal,
        Self::Partner,
        Self::Prospect,
        Self::Vendor,
    ];

    /// Its id on the wire and in the database.
    pub const fn number(self) -> i64 {
        self as i64 + 1
    }

    /// Reads it back.
    pub fn of(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.number() == number)
    }

    /// What people read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Customer => "Customer",
            Self::Internal => "Internal",
            Self::Partner => "Partner",
            Self::Prospect => "Prospect",
            Self::Vendor => "Vendor",
        }
    }
}

/// Where an organization stands: `organization_statuses` of the dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrganizationStatus {
    /// It is worked for.
    Active,
    /// It is not.
    Inactive,
    /// It is being taken on.
    Onboarding,
}

impl OrganizationStatus {
    /// Every status, by number.
    pub const ALL: [Self; 3] = [Self::Active, Self::Inactive, Self::Onboarding];

    /// Its id on the wire and in the database.
    pub const fn number(self) -> i64 {
        self as i64 + 1
    }

    /// Reads it back.
    pub fn of(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.number() == number)
    }

    /// What people read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Inactive => "Inactive",
            Self::Onboarding => "Onboarding",
        }
    }
}
