//! Which product answers, and what follows from that.
//!
//! Invariant: a directory that cannot be told is not served; nothing is tried to find out.

use super::entry::Entry;
use crate::{Class, Reason};

const PASSWORD_MODIFY: &str = "1.3.6.1.4.1.4203.1.11.1";
const WHO_AM_I: &str = "1.3.6.1.4.1.4203.1.11.3";
/// `LDAP_CAP_ACTIVE_DIRECTORY_OID`. Source: MS-ADTS 3.1.1.3.4.3.
const ACTIVE_DIRECTORY: &str = "1.2.840.113556.1.4.800";
/// `LDAP_CAP_ACTIVE_DIRECTORY_PARTIAL_SECRETS_OID`: a read-only domain controller.
const PARTIAL_SECRETS: &str = "1.2.840.113556.1.4.1920";

/// What is read of the root DSE.
pub(super) const ATTRIBUTES: [&str; 6] = [
    "supportedCapabilities",
    "supportedExtension",
    "vendorName",
    "structuralObjectClass",
    "defaultNamingContext",
    "configurationNamingContext",
];

/// A product, as far as it decides how passwords are set and logins proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    /// OpenLDAP's slapd.
    OpenLdap,
    /// 389 Directory Server and what is built on it.
    Ds389,
    /// Active Directory.
    Ad,
    /// Samba as an Active Directory domain controller.
    Samba,
    /// Any other that offers the password modify operation and "Who am I?".
    Generic,
}

impl Flavour {
    /// Tells the product by its root DSE.
    ///
    /// # Errors
    /// [`Class::Incompatible`] for a directory that is not served.
    pub(super) fn of(root: &Entry) -> Result<Self, Reason> {
        let no = |text| Err(Reason::system(Class::Incompatible, text));
        if root.has("supportedCapabilities", ACTIVE_DIRECTORY) {
            // Its copy of the domain takes no writes, and its verdict on a login may be borrowed.
            if root.has("supportedCapabilities", PARTIAL_SECRETS) {
                return no("a read-only domain controller takes no writes; configure another one");
            }
            let vendor = root.text("vendorName").unwrap_or_default();
            return Ok(if vendor.starts_with("Samba") {
                Self::Samba
            } else {
                Self::Ad
            });
        }
        if !root.has("supportedExtension", PASSWORD_MODIFY) {
            return no("the directory does not offer the password modify operation");
        }
        if !root.has("supportedExtension", WHO_AM_I) {
            return no("the directory cannot say who is logged in, so no login proves anything");
        }
        Ok(if root.has("vendorName", "389 Project") {
            Self::Ds389
        } else if root.has("structuralObjectClass", "OpenLDAProotDSE") {
            Self::OpenLdap
        } else {
            Self::Generic
        })
    }

    /// The name as it is pinned: see [`crate::Identity::Ldap`].
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::OpenLdap => "openldap",
            Self::Ds389 => "389ds",
            Self::Ad => "ad",
            Self::Samba => "samba",
            Self::Generic => "generic",
        }
    }

    /// True if this is what was pinned. `ad` stands for Samba as well.
    pub(super) fn is(self, pinned: &str) -> bool {
        self.name() == pinned || (self.is_domain() && pinned == Self::Ad.name())
    }

    /// True for Active Directory, whoever made it.
    pub(super) const fn is_domain(self) -> bool {
        matches!(self, Self::Ad | Self::Samba)
    }

    /// The attribute that holds SSH keys where none is configured.
    pub(super) const fn key_attribute(self) -> Option<&'static str> {
        match self {
            Self::OpenLdap => Some("sshPublicKey"),
            Self::Ds389 => Some("nsSshPublicKey"),
            // Neither has a schema of its own for keys.
            Self::Ad | Self::Samba | Self::Generic => None,
        }
    }

    /// The attribute that moves with every password that is set, however soon after the last one.
    ///
    /// Times that count seconds are none: two changes within one would look like one.
    pub(super) const fn mark(self) -> Option<&'static str> {
        match self {
            Self::Ad | Self::Samba => Some("pwdLastSet"),
            Self::OpenLdap => Some("entryCSN"),
            // Only with the plugin that counts changes.
            Self::Ds389 => Some("entryusn"),
            Self::Generic => None,
        }
    }
}
