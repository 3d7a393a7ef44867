//! Workgroups: how the Password Safe dialect groups assets and systems.
//!
//! Invariant: names are unique, whatever their case.

use super::fault::{Fault, Faults};
use super::id::WorkgroupId;

/// One workgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workgroup {
    /// Its id.
    pub id: WorkgroupId,
    /// As given, 1 to 256 characters.
    pub name: String,
    /// A GUID; tells tenants apart in the vendor's product and is only kept here.
    pub organization_id: String,
}

impl Workgroup {
    /// The workgroup that a new store holds.
    pub const DEFAULT_NAME: &'static str = "Default";
    /// The organization of workgroups that named none.
    pub const ORGANIZATION_DEFAULT: &'static str = "00000000-0000-0000-0000-000000000000";

    /// Every bad field.
    ///
    /// Source: Password Safe API, `POST Workgroups`.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Faults::default();
        faults.required("name", &self.name, 256);
        if uuid::Uuid::try_parse(&self.organization_id).is_err() {
            faults.add("organization_id", "must be a GUID");
        }
        faults.found()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workgroup_needs_a_name_and_a_guid() {
        let mut group = Workgroup {
            id: WorkgroupId(1),
            name: "Default".to_owned(),
            organization_id: Workgroup::ORGANIZATION_DEFAULT.to_owned(),
        };
        assert!(group.faults().is_empty());
        group.name = "x".repeat(257);
        group.organization_id = "none".to_owned();
        let fields: Vec<_> = group
            .faults()
            .into_iter()
            .map(|fault| fault.field)
            .collect();
        assert_eq!(fields, ["name", "organization_id"]);
    }
}
