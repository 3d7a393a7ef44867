//! Which directory answers, and where an account lives in it.
//!
//! Invariant: a name is looked up escaped, and only a single hit counts.

use ldap3::{Scope, SearchEntry, ldap_escape};

use super::dn::Dn;
use super::link::{Link, SIZE_LIMIT_EXCEEDED};
use crate::{Account, Class, Reason};

const PASSWORD_MODIFY: &str = "1.3.6.1.4.1.4203.1.11.1";
const WHO_AM_I: &str = "1.3.6.1.4.1.4203.1.11.3";
const ACTIVE_DIRECTORY: &str = "1.2.840.113556.1.4.800";

/// Reads the root DSE and names the product.
///
/// # Errors
/// [`Class::Incompatible`] for a directory that is not served.
pub(super) async fn flavour(link: &Link) -> Result<&'static str, Reason> {
    let attributes = [
        "supportedCapabilities",
        "supportedExtension",
        "vendorName",
        "structuralObjectClass",
    ];
    let (entries, _) = link
        .search("", Scope::Base, "(objectClass=*)", &attributes)
        .await
        .map_err(super::link::Fault::reason)?;
    let no = |text| Err(Reason::system(Class::Incompatible, text));
    let Some(root) = entries.first() else {
        return no("the directory does not say what it is");
    };
    if has(root, "supportedCapabilities", ACTIVE_DIRECTORY) {
        return no("Active Directory is not served yet");
    }
    if has(root, "vendorName", "389 Project") {
        return no("389 Directory Server is not served yet");
    }
    if !has(root, "supportedExtension", PASSWORD_MODIFY) {
        return no("the directory does not offer the password modify operation");
    }
    if !has(root, "supportedExtension", WHO_AM_I) {
        return no("the directory cannot say who is logged in, so no login proves anything");
    }
    Ok(if has(root, "structuralObjectClass", "OpenLDAProotDSE") {
        "openldap"
    } else {
        "generic"
    })
}

fn has(entry: &SearchEntry, attribute: &str, value: &str) -> bool {
    entry
        .attrs
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(attribute))
        .any(|(_, values)| values.iter().any(|held| held.eq_ignore_ascii_case(value)))
}

/// The account's distinguished name: its own, or the one entry that carries its login name.
///
/// # Errors
/// [`Class::NoAccount`] unless exactly one entry carries it.
pub(super) async fn resolve(
    link: &Link,
    base_dn: &str,
    account: &Account,
) -> Result<String, Reason> {
    if let Some(dn) = known(account) {
        return Ok(dn.to_owned());
    }
    let none = |text| Reason::account(Class::NoAccount, text);
    if Dn::parse(base_dn).is_none() {
        return Err(none(
            "the account has no DN and the system no base DN to look below",
        ));
    }
    let filter = format!("(uid={})", ldap_escape(account.login.as_str()));
    let (entries, reply) = link
        .search(base_dn, Scope::Subtree, &filter, &["1.1"])
        .await
        .map_err(super::link::Fault::reason)?;
    match (entries.as_slice(), reply.code) {
        ([], 50) => Err(Reason::account(
            Class::Privilege,
            "this login may not look up accounts",
        )),
        ([], 0 | 32) => Err(none("no entry below the base DN carries this login name")),
        ([_, _, ..], _) | (_, SIZE_LIMIT_EXCEEDED) => Err(none(
            "more than one entry below the base DN carries this login name",
        )),
        ([entry], 0) if Dn::parse(&entry.dn).is_some() => Ok(entry.dn.clone()),
        _ => Err(Reason::account(
            Class::Busy,
            "the directory did not finish the look-up",
        )),
    }
}

/// The account's name where no look-up is needed.
pub(super) fn known(account: &Account) -> Option<&str> {
    account.dn.as_deref().filter(|dn| Dn::parse(dn).is_some())
}

/// What the entry itself says of a refused login: policies may hide a lock from whoever binds.
///
/// `None`: nothing that speaks against the refusal.
pub(super) async fn hindrance(link: &Link, dn: &str) -> Option<Reason> {
    let searched = link
        .search(
            dn,
            Scope::Base,
            "(objectClass=*)",
            &["pwdAccountLockedTime"],
        )
        .await;
    let (entries, reply) = searched.ok()?;
    match (entries.as_slice(), reply.code) {
        ([], 0 | 32) => Some(Reason::account(
            Class::NoAccount,
            "there is no such entry, or the functional account does not see it",
        )),
        ([entry, ..], _)
            if entry
                .attrs
                .keys()
                .any(|name| name.eq_ignore_ascii_case("pwdAccountLockedTime")) =>
        {
            Some(Reason::account(Class::Locked, "the account is locked"))
        }
        _ => None,
    }
}
