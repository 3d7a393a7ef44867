//! Managed systems: machines and directories whose accounts Keywheel changes.
//!
//! Invariant: a system's workgroup, asset and platform never change; its accounts' identities
//! hang on them.

mod extras;

use keywheel_connectors::Elevation;

pub use self::extras::SystemExtras;
use super::Timestamp;
use super::fault::{Fault, Faults, differing};
use super::functional_account::elevation_word;
use super::id::{
    AssetId, FunctionalAccountId, PlatformId, PolicyId, RuleId, SystemId, WorkgroupId,
};
use super::platform::{ConnectorKind, Platform};
use super::policy::VendorSchedule;

/// Minutes in the vendor's longest release.
pub const RELEASE_MAX_MINUTES: i64 = 525_600;
/// Minutes of a release where nobody said.
pub const RELEASE_DEFAULT_MINUTES: i64 = 120;

/// One managed system.
#[derive(Clone, Debug, PartialEq)]
pub struct System {
    /// Its id.
    pub id: SystemId,
    /// Where it belongs; never changes.
    pub place: SystemPlace,
    /// What people set.
    pub settings: SystemSettings,
    /// Counts edits; the guard of the next.
    pub revision: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
}

/// A system to be stored; its id is drawn before.
#[derive(Clone, Debug, PartialEq)]
pub struct NewSystem {
    /// From the `ids` table.
    pub id: SystemId,
    /// Where it belongs.
    pub place: SystemPlace,
    /// What people set.
    pub settings: SystemSettings,
}

/// Where a system belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemPlace {
    /// Machine or directory.
    pub entity_type: EntityType,
    /// Its asset, if it was made from one.
    pub asset_id: Option<AssetId>,
    /// Its workgroup.
    pub workgroup_id: WorkgroupId,
    /// Its platform.
    pub platform_id: PlatformId,
}

/// The vendor's kinds of systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntityType {
    /// A machine.
    Asset,
    /// A directory.
    Directory,
}

impl EntityType {
    /// Every kind that can be managed.
    pub const ALL: [Self; 2] = [Self::Asset, Self::Directory];

    /// The vendor's number.
    pub const fn number(self) -> i64 {
        match self {
            Self::Asset => 1,
            Self::Directory => 3,
        }
    }

    /// Reads it back.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// How the first sight of a host key is treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostKeyMode {
    /// Nobody asked for enforcement; Keywheel is strict all the same.
    #[default]
    Unsaid,
    /// The first key that is seen is pinned.
    AcceptFirst,
    /// Somebody pins the key.
    Strict,
}

impl HostKeyMode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Unsaid, Self::AcceptFirst, Self::Strict];

    /// The vendor's number, `SshKeyEnforcementMode`.
    pub const fn number(self) -> i64 {
        match self {
            Self::Unsaid => 0,
            Self::AcceptFirst => 1,
            Self::Strict => 2,
        }
    }

    /// Reads it back.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.number() == number)
    }
}

/// What people set on a system.
#[derive(Clone, Debug, PartialEq)]
pub struct SystemSettings {
    /// What people call it: its asset's name, or the host's.
    pub name: String,
    /// Up to 128 characters.
    pub host_name: String,
    /// Up to 255 characters.
    pub dns_name: Option<String>,
    /// Up to 45 characters.
    pub ip_address: Option<String>,
    /// TCP port; `None`: the platform's.
    pub port: Option<u16>,
    /// The longest one exchange may take, 1 to 3600 seconds.
    pub timeout_s: i64,
    /// Up to 255 characters.
    pub description: Option<String>,
    /// Its accounts are to be managed: a functional account is there. Each account says for
    /// itself whether it is.
    pub auto_management: bool,
    /// Who changes the others.
    pub functional_account_id: Option<FunctionalAccountId>,
    /// How the functional account gains the right to.
    pub elevation: Elevation,
    /// How the first sight of a host key is treated.
    pub host_key_mode: HostKeyMode,
    /// Pinned, as `ssh-keygen -lf` prints it: `ssh-ed25519 SHA256:…`.
    pub host_key: Option<String>,
    /// PEM bundle of the trusted authorities.
    pub tls_ca: Option<String>,
    /// Name in the certificate, if not the host's.
    pub tls_server_name: Option<String>,
    /// Plain port and StartTLS.
    pub starttls: bool,
    /// Where accounts without a DN are looked up.
    pub base_dn: Option<String>,
    /// Which product the directory was found to be, once it is pinned: `openldap`, `389ds`, `ad`,
    /// `samba` or `generic`.
    pub flavour: Option<String>,
    /// The attribute that holds SSH public keys there, if not the product's own.
    pub key_attribute: Option<String>,
    /// Exchanges a session, 1 to 1000; `None`: the connector's default.
    pub in_flight: Option<i64>,
    /// Failed logins that lock an account; 0 never, `None` unknown.
    pub lockout_threshold: Option<i64>,
    /// Policy of its accounts.
    pub policy_id: Option<PolicyId>,
    /// Kept and shown; each account has its own.
    pub password_rule_id: RuleId,
    /// Kept and shown; each account has its own.
    pub schedule: VendorSchedule,
    /// Sessions at once, 1 to 1000.
    pub max_sessions: i64,
    /// Accounts a session, 1 to 1000.
    pub max_batch: i64,
    /// What is kept and shown, but not interpreted.
    pub extras: SystemExtras,
}

impl SystemSettings {
    /// Sessions at once where nobody said. SSH servers start to drop at ten unauthenticated
    /// connections; every change needs a second one for its proof.
    pub const MAX_SESSIONS_DEFAULT: i64 = 4;
    /// Accounts a session where nobody said.
    pub const MAX_BATCH_DEFAULT: i64 = 100;
    /// Seconds of an exchange where nobody said.
    pub const TIMEOUT_DEFAULT_S: i64 = 30;

    /// The settings of a system of which only the host is known.
    pub fn of_host(host_name: impl Into<String>) -> Self {
        let host_name = host_name.into();
        Self {
            name: host_name.clone(),
            host_name,
            dns_name: None,
            ip_address: None,
            port: None,
            timeout_s: Self::TIMEOUT_DEFAULT_S,
            description: None,
            auto_management: false,
            functional_account_id: None,
            elevation: Elevation::None,
            host_key_mode: HostKeyMode::Unsaid,
            host_key: None,
            tls_ca: None,
            tls_server_name: None,
            starttls: false,
            base_dn: None,
            flavour: None,
            key_attribute: None,
            in_flight: None,
            lockout_threshold: None,
            policy_id: None,
            password_rule_id: RuleId(0),
            schedule: super::schedule::vendor_default(),
            max_sessions: Self::MAX_SESSIONS_DEFAULT,
            max_batch: Self::MAX_BATCH_DEFAULT,
            extras: SystemExtras::default(),
        }
    }

    /// Every bad field, for a system on `platform`.
    ///
    /// Source: Password Safe API, `POST Assets/{id}/ManagedSystems` and
    /// `POST Workgroups/{id}/ManagedSystems`.
    pub fn faults(&self, platform: &Platform) -> Vec<Fault> {
        let mut faults = Faults::default();
        faults.required("host_name", &self.host_name, 128);
        faults.line("name", &self.name, 128);
        faults.optional("dns_name", self.dns_name.as_ref(), 255);
        faults.optional("ip_address", self.ip_address.as_ref(), 45);
        if self.port == Some(0) {
            faults.add("port", "must be 1 to 65535");
        }
        faults.range("timeout_s", self.timeout_s, 1..=3_600);
        faults.prose("description", self.description.as_ref(), 255);
        if self.auto_management && self.functional_account_id.is_none() {
            faults.add(
                "functional_account_id",
                "is required where accounts are managed",
            );
        }
        if elevation_word(self.elevation).is_some() && !platform.supports_elevation {
            faults.add("elevation", "is not available on this platform");
        }
        if let Some(key) = &self.host_key
            && super::host_key::parse(key).is_none()
        {
            faults.add(
                "host_key",
                "must be as ssh-keygen -lf prints it: 'ssh-ed25519 SHA256:…'",
            );
        }
        faults.prose("tls_ca", self.tls_ca.as_ref(), 262_144);
        faults.optional("tls_server_name", self.tls_server_name.as_ref(), 255);
        faults.optional("base_dn", self.base_dn.as_ref(), 1_000);
        if let Some(flavour) = &self.flavour
            && !FLAVOURS.contains(&flavour.as_str())
        {
            faults.add("flavour", "must be openldap, 389ds, ad, samba or generic");
        }
        if let Some(attribute) = &self.key_attribute
            && !is_attribute(attribute)
        {
            faults.add(
                "key_attribute",
                "must be an attribute's name: a letter, then letters, digits and hyphens",
            );
        }
        if let Some(in_flight) = self.in_flight {
            faults.range("in_flight", in_flight, 1..=1_000);
        }
        if let Some(threshold) = self.lockout_threshold {
            faults.range("lockout_threshold", threshold, 0..=1_000);
        }
        if self.password_rule_id != RuleId(0) {
            faults.add("password_rule_id", "is no password rule of this service");
        }
        faults.range("max_sessions", self.max_sessions, 1..=1_000);
        faults.range("max_batch", self.max_batch, 1..=1_000);
        self.extras.check(&mut faults);
        faults.found()
    }

    /// The fields in which these settings differ from others.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        differing!(self, other, name host_name dns_name ip_address port timeout_s description
            auto_management functional_account_id elevation host_key_mode host_key tls_ca
            tls_server_name starttls base_dn flavour key_attribute in_flight lockout_threshold policy_id
            password_rule_id schedule max_sessions max_batch extras)
    }

    /// What to connect to: the address if there is one, else a name.
    pub fn address(&self) -> &str {
        self.ip_address
            .as_deref()
            .or(self.dns_name.as_deref())
            .unwrap_or(&self.host_name)
    }

    /// The name that the system's certificate must carry.
    pub fn certificate_name(&self) -> &str {
        self.tls_server_name
            .as_deref()
            .or(self.dns_name.as_deref())
            .unwrap_or(&self.host_name)
    }

    /// The port to connect to.
    pub fn port_on(&self, platform: &Platform) -> u16 {
        self.port.unwrap_or(
            if self.starttls && platform.connector == ConnectorKind::Ldap {
                Platform::STARTTLS_PORT
            } else {
                platform.default_port
            },
        )
    }
}

/// What a directory may be pinned as.
const FLAVOURS: [&str; 5] = ["openldap", "389ds", "ad", "samba", "generic"];

/// A short name of an attribute. Source: RFC 4512 1.4, `keystring`.
fn is_attribute(name: &str) -> bool {
    let sign = |sign: char| sign.is_ascii_alphanumeric() || sign == '-';
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.len() <= 128
        && name.chars().all(sign)
}

/// Checks the three durations that systems and accounts share.
pub(super) fn releases(faults: &mut Faults, release: i64, max_release: i64, isa_release: i64) {
    faults.range("release_duration", release, 1..=RELEASE_MAX_MINUTES);
    faults.range("max_release_duration", max_release, 1..=RELEASE_MAX_MINUTES);
    faults.range("isa_release_duration", isa_release, 1..=RELEASE_MAX_MINUTES);
    if release > max_release {
        faults.add(
            "release_duration",
            "must not be longer than the longest release",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::id::PlatformId;
    use super::*;

    fn linux() -> &'static Platform {
        Platform::find(PlatformId(2)).unwrap()
    }

    #[test]
    fn a_host_alone_makes_a_system() {
        let system = SystemSettings::of_host("web1");
        assert_eq!(system.faults(linux()), []);
        assert_eq!((system.address(), system.port_on(linux())), ("web1", 22));
    }

    #[test]
    fn every_bad_field_of_a_system_is_named() {
        let mut system = SystemSettings::of_host("");
        system.port = Some(0);
        system.timeout_s = 3_601;
        system.auto_management = true;
        system.host_key = Some("ssh-ed25519 short".to_owned());
        system.flavour = Some("edirectory".to_owned());
        system.key_attribute = Some("sshPublicKey)(uid=*".to_owned());
        system.extras.release_duration = 0;
        system.extras.net_bios_name = Some("SIXTEENCHARACTERS".to_owned());
        let fields: Vec<_> = system
            .faults(linux())
            .into_iter()
            .map(|fault| fault.field)
            .collect();
        let want = [
            "host_name",
            "port",
            "timeout_s",
            "functional_account_id",
            "host_key",
            "flavour",
            "key_attribute",
            "net_bios_name",
            "release_duration",
        ];
        assert_eq!(fields, want);
    }

    #[test]
    fn starttls_moves_a_directory_to_the_plain_port() {
        let ldap = Platform::find(PlatformId(32)).unwrap();
        let mut system = SystemSettings::of_host("ldap1");
        assert_eq!(system.port_on(ldap), 636);
        system.starttls = true;
        assert_eq!(system.port_on(ldap), 389);
        system.port = Some(7_389);
        assert_eq!(system.port_on(ldap), 7_389);
    }
}
