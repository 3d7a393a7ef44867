//! Platforms: which kinds of systems there are and which connector serves each.
//!
//! Invariant: a platform that is listed has a connector behind it.

use std::borrow::Cow;
use std::sync::Arc;

use keywheel_connectors::dialogue::{Dialogue, Library};

use super::id::PlatformId;

/// Which connector serves a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectorKind {
    /// Hosts that are reached by SSH.
    Ssh,
    /// Directories that are reached by LDAP over TLS.
    Ldap,
    /// Systems that are spoken to over SSH as a definition says.
    Dialogue,
    /// The target in memory, for tests.
    Fake,
}

impl ConnectorKind {
    /// The connector's name in metrics and job records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Ldap => "ldap",
            Self::Dialogue => "dialogue",
            Self::Fake => "fake",
        }
    }

    /// True if functional accounts may log in there by SSH key.
    pub const fn takes_keys(self) -> bool {
        match self {
            Self::Ssh | Self::Dialogue | Self::Fake => true,
            Self::Ldap => false,
        }
    }

    /// True if its systems show a host key.
    pub const fn has_host_keys(self) -> bool {
        match self {
            Self::Ssh | Self::Dialogue => true,
            Self::Ldap | Self::Fake => false,
        }
    }
}

/// One platform. Source: Password Safe API, `GET Platforms`.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the vendor's record is made of flags"
)]
pub struct Platform {
    /// The vendor's number; 1001 to 1999 where the vendor has none, 10000 to 19999 for an
    /// operator's own.
    pub id: PlatformId,
    /// What people call it.
    pub name: Cow<'static, str>,
    /// A short name.
    pub short_name: Cow<'static, str>,
    /// Who changes credentials there.
    pub connector: ConnectorKind,
    /// TCP port of systems that name none.
    pub default_port: u16,
    /// True if a functional account may raise its rights.
    pub supports_elevation: bool,
    /// True if accounts may carry a domain name.
    pub domain_name: bool,
    /// True if its accounts may have SSH keys.
    pub ssh_keys: bool,
    /// True if functional accounts may have an enable secret there.
    pub enable_secret: bool,
    /// `SSH` where people open sessions; they never go through Keywheel.
    pub session_type: Option<&'static str>,
    /// `EntityTypeID` of its systems: 1 asset, 3 directory.
    pub entity_type: i64,
    /// Left out of lists: exists for tests.
    pub hidden: bool,
    /// What is said to its systems, where that is a definition.
    pub dialogue: Option<Arc<Dialogue>>,
}

impl Platform {
    /// Port of directories that are asked for StartTLS.
    pub const STARTTLS_PORT: u16 = 389;

    /// True if accounts can change themselves there.
    pub fn changes_own(&self) -> bool {
        match &self.dialogue {
            Some(dialogue) => dialogue.changes_own(),
            None => true,
        }
    }

    /// The platform that a definition describes; `None` if it has no number.
    fn of(dialogue: &Arc<Dialogue>) -> Option<Self> {
        Some(Self {
            id: PlatformId(dialogue.platform_id()?),
            name: Cow::Owned(dialogue.name().to_owned()),
            short_name: Cow::Owned(dialogue.id().to_owned()),
            connector: ConnectorKind::Dialogue,
            default_port: dialogue.port(),
            supports_elevation: false,
            domain_name: false,
            ssh_keys: false,
            enable_secret: dialogue.takes_enable(),
            session_type: Some("SSH"),
            entity_type: 1,
            hidden: false,
            dialogue: Some(dialogue.clone()),
        })
    }
}

/// The platforms that are built in.
static BUILT_IN: [Platform; 3] = [
    Platform {
        id: PlatformId(2),
        name: Cow::Borrowed("Linux"),
        short_name: Cow::Borrowed("Linux"),
        connector: ConnectorKind::Ssh,
        default_port: 22,
        supports_elevation: true,
        domain_name: false,
        ssh_keys: true,
        enable_secret: false,
        session_type: Some("SSH"),
        entity_type: 1,
        hidden: false,
        dialogue: None,
    },
    Platform {
        id: PlatformId(32),
        name: Cow::Borrowed("LDAP Directory"),
        short_name: Cow::Borrowed("LDAP"),
        connector: ConnectorKind::Ldap,
        default_port: 636,
        supports_elevation: false,
        domain_name: true,
        ssh_keys: true,
        enable_secret: false,
        session_type: None,
        entity_type: 3,
        hidden: false,
        dialogue: None,
    },
    Platform {
        id: PlatformId(1001),
        name: Cow::Borrowed("Fake"),
        short_name: Cow::Borrowed("Fake"),
        connector: ConnectorKind::Fake,
        default_port: 1,
        supports_elevation: false,
        domain_name: false,
        ssh_keys: true,
        enable_secret: true,
        session_type: None,
        entity_type: 1,
        hidden: true,
        dialogue: None,
    },
];

/// The platforms of a service: those that are built in, and those that are definitions. Made once,
/// at the start.
#[derive(Clone, Debug)]
pub struct Platforms {
    all: Vec<Platform>,
}

impl Default for Platforms {
    /// The platforms that are built in.
    fn default() -> Self {
        Self {
            all: BUILT_IN.to_vec(),
        }
    }
}

impl Platforms {
    /// The platforms that are built in and those of a library, by id.
    pub fn with(library: &Library) -> Self {
        let mut all = Self::default().all;
        all.extend(library.dialogues().filter_map(Platform::of));
        all.sort_by_key(|platform| platform.id.0);
        Self { all }
    }

    /// The platform with that id.
    pub fn find(&self, id: PlatformId) -> Option<&Platform> {
        self.all.iter().find(|platform| platform.id == id)
    }

    /// What people may choose from, by id.
    pub fn listed(&self) -> impl Iterator<Item = &Platform> {
        self.all.iter().filter(|platform| !platform.hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_and_ldap_carry_the_vendors_numbers() {
        let platforms = Platforms::default();
        let linux = platforms.find(PlatformId(2)).unwrap();
        assert_eq!(
            (linux.connector, linux.default_port),
            (ConnectorKind::Ssh, 22)
        );
        let ldap = platforms.find(PlatformId(32)).unwrap();
        assert_eq!(
            (ldap.connector, ldap.default_port),
            (ConnectorKind::Ldap, 636)
        );
        assert!(platforms.find(PlatformId(1)).is_none());
    }

    #[test]
    fn the_fake_is_found_but_not_listed() {
        let platforms = Platforms::default();
        assert!(platforms.find(PlatformId(1001)).is_some());
        let listed: Vec<_> = platforms.listed().map(|platform| platform.id.0).collect();
        assert_eq!(listed, [2, 32]);
    }

    #[test]
    fn shipped_definitions_are_platforms_of_passwords() {
        let platforms = Platforms::with(&Library::shipped().unwrap());
        let listed: Vec<_> = platforms.listed().map(|platform| platform.id.0).collect();
        assert_eq!(listed, [2, 32, 1002, 1003, 1004, 1005]);
        let cisco = platforms.find(PlatformId(1002)).unwrap();
        assert_eq!(
            (cisco.name.as_ref(), cisco.short_name.as_ref()),
            ("Cisco IOS", "cisco_ios")
        );
        assert!(cisco.enable_secret && !cisco.ssh_keys && !cisco.supports_elevation);
        assert_eq!(cisco.dialogue.as_ref().unwrap().id(), "cisco_ios");
        let junos = platforms.find(PlatformId(1003)).unwrap();
        assert!(!junos.enable_secret);
    }
}
