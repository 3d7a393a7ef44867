//! Platforms: which kinds of systems there are and which connector serves each.
//!
//! Invariant: a platform that is listed has a connector behind it.

use super::id::PlatformId;

/// Which connector serves a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectorKind {
    /// Hosts that are reached by SSH.
    Ssh,
    /// Directories that are reached by LDAP over TLS.
    Ldap,
    /// The target in memory, for tests.
    Fake,
}

impl ConnectorKind {
    /// The connector's name in metrics and job records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Ldap => "ldap",
            Self::Fake => "fake",
        }
    }

    /// True if functional accounts may log in there by SSH key.
    pub const fn takes_keys(self) -> bool {
        match self {
            Self::Ssh | Self::Fake => true,
            Self::Ldap => false,
        }
    }
}

/// One platform. Source: Password Safe API, `GET Platforms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the vendor's record is made of flags"
)]
pub struct Platform {
    /// The vendor's number; 1001 and up where the vendor has none.
    pub id: PlatformId,
    /// What people call it.
    pub name: &'static str,
    /// A short name.
    pub short_name: &'static str,
    /// Who changes credentials there.
    pub connector: ConnectorKind,
    /// TCP port of systems that name none.
    pub default_port: u16,
    /// True if a functional account may raise its rights.
    pub supports_elevation: bool,
    /// True if accounts may carry a domain name.
    pub domain_name: bool,
    /// True if SSH keys belong to it.
    pub ssh_keys: bool,
    /// True if functional accounts may have an enable secret there.
    pub enable_secret: bool,
    /// `SSH` where people open sessions; they never go through Keywheel.
    pub session_type: Option<&'static str>,
    /// `EntityTypeID` of its systems: 1 asset, 3 directory.
    pub entity_type: i64,
    /// Left out of lists: exists for tests.
    pub hidden: bool,
}

impl Platform {
    /// Port of directories that are asked for StartTLS.
    pub const STARTTLS_PORT: u16 = 389;

    /// Every platform.
    pub const ALL: [Self; 3] = [
        Self {
            id: PlatformId(2),
            name: "Linux",
            short_name: "Linux",
            connector: ConnectorKind::Ssh,
            default_port: 22,
            supports_elevation: true,
            domain_name: false,
            ssh_keys: true,
            enable_secret: false,
            session_type: Some("SSH"),
            entity_type: 1,
            hidden: false,
        },
        Self {
            id: PlatformId(32),
            name: "LDAP Directory",
            short_name: "LDAP",
            connector: ConnectorKind::Ldap,
            default_port: 636,
            supports_elevation: false,
            domain_name: true,
            ssh_keys: false,
            enable_secret: false,
            session_type: None,
            entity_type: 3,
            hidden: false,
        },
        Self {
            id: PlatformId(1001),
            name: "Fake",
            short_name: "Fake",
            connector: ConnectorKind::Fake,
            default_port: 1,
            supports_elevation: false,
            domain_name: false,
            ssh_keys: false,
            enable_secret: true,
            session_type: None,
            entity_type: 1,
            hidden: true,
        },
    ];

    /// The platform with that id.
    pub fn find(id: PlatformId) -> Option<&'static Self> {
        const { &Self::ALL }
            .iter()
            .find(|platform| platform.id == id)
    }

    /// What people may choose from, by id.
    pub fn listed() -> impl Iterator<Item = &'static Self> {
        const { &Self::ALL }
            .iter()
            .filter(|platform| !platform.hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_and_ldap_carry_the_vendors_numbers() {
        let linux = Platform::find(PlatformId(2)).unwrap();
        assert_eq!(
            (linux.connector, linux.default_port),
            (ConnectorKind::Ssh, 22)
        );
        let ldap = Platform::find(PlatformId(32)).unwrap();
        assert_eq!(
            (ldap.connector, ldap.default_port),
            (ConnectorKind::Ldap, 636)
        );
        assert_eq!(Platform::find(PlatformId(1)), None);
    }

    #[test]
    fn the_fake_is_found_but_not_listed() {
        assert!(Platform::find(PlatformId(1001)).is_some());
        let listed: Vec<_> = Platform::listed().map(|platform| platform.id.0).collect();
        assert_eq!(listed, [2, 32]);
    }
}
