//! Assets: machines as the Password Safe dialect lists them.
//!
//! Invariant: an asset's name is unique in its workgroup, whatever its case.

use super::Timestamp;
use super::fault::{Fault, Faults};
use super::id::{AssetId, WorkgroupId};

/// One asset. Texts that nobody gave are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Its id.
    pub id: AssetId,
    /// Its workgroup; never changes.
    pub workgroup_id: WorkgroupId,
    /// What people set.
    pub settings: AssetSettings,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last edit.
    pub updated_at: Timestamp,
}

/// What people set on an asset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssetSettings {
    /// Up to 128 characters; [`AssetSettings::name_it`] fills it in.
    pub name: String,
    /// Up to 255 characters.
    pub dns_name: String,
    /// Up to 64 characters.
    pub domain_name: String,
    /// Up to 45 characters; required.
    pub ip_address: String,
    /// Up to 128 characters.
    pub mac_address: String,
    /// Up to 64 characters.
    pub asset_type: String,
    /// Up to 255 characters.
    pub operating_system: String,
    /// Up to 255 characters.
    pub description: String,
}

impl AssetSettings {
    /// An asset without a name is called by its DNS name, or by its address.
    pub fn name_it(&mut self) {
        if self.name.is_empty() {
            self.name = [&self.dns_name, &self.ip_address]
                .into_iter()
                .find(|name| !name.is_empty())
                .cloned()
                .unwrap_or_default();
        }
    }

    /// Every bad field.
    ///
    /// Source: Password Safe API, `POST Workgroups/{id}/Assets`.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Faults::default();
        faults.required("ip_address", &self.ip_address, 45);
        faults.line("name", &self.name, 128);
        faults.line("dns_name", &self.dns_name, 255);
        faults.line("domain_name", &self.domain_name, 64);
        faults.line("mac_address", &self.mac_address, 128);
        faults.line("asset_type", &self.asset_type, 64);
        faults.line("operating_system", &self.operating_system, 255);
        faults.prose("description", Some(&self.description), 255);
        faults.found()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asset_without_a_name_is_called_by_its_dns_name_or_address() {
        let mut asset = AssetSettings {
            ip_address: "10.0.0.1".to_owned(),
            ..Default::default()
        };
        asset.name_it();
        assert_eq!(asset.name, "10.0.0.1");
        asset.name.clear();
        asset.dns_name = "web1.example.org".to_owned();
        asset.name_it();
        assert_eq!(asset.name, "web1.example.org");
        assert!(asset.faults().is_empty());
    }

    #[test]
    fn an_asset_needs_an_address() {
        let faults = AssetSettings::default().faults();
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].field, "ip_address");
    }
}
