//! Sets a password, in each product's own way.
//!
//! Invariant: a domain controller is sent `unicodePwd` and never `userPassword`, which it would
//! store in the clear and log nobody in with.

use std::collections::HashSet;

use ldap3::{Mod, Scope};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::flavour::Flavour;
use super::link::{Fault, Link, Reply};
use super::ppolicy::Objection;
use crate::Secret;

/// `insufficientAccessRights`.
const INSUFFICIENT_RIGHTS: u32 = 50;
/// What 389 Directory Server writes where a password must be changed before anything else.
const MUST_CHANGE: &[u8] = b"19700101000000Z";

/// Sets the password of another's entry.
///
/// On a domain the same step unlocks the account: a reset alone leaves it locked.
pub(super) async fn reset(
    link: &Link,
    flavour: Flavour,
    dn: &str,
    new: &Secret,
    current: Option<&Secret>,
) -> Result<Reply, Fault> {
    if flavour.is_domain() {
        let password = || replace("unicodePwd", &unicode_password(new));
        let unlock = replace("lockoutTime", b"0");
        let reply = link.modify(dn, vec![password(), unlock]).await?;
        if reply.code != INSUFFICIENT_RIGHTS {
            return Ok(reply);
        }
        // Nothing was changed. The right to unlock is another one than the right to reset.
        return link.modify(dn, vec![password()]).await;
    }
    let reply = link.set_password(dn, None, new).await?;
    let demanded =
        reply.code == INSUFFICIENT_RIGHTS && reply.objection == Some(Objection::MustSupplyOld);
    match current {
        Some(current) if demanded => link.set_password(dn, Some(current), new).await,
        _ => Ok(reply),
    }
}

/// Sets the password of the entry that the connection is logged in as.
pub(super) async fn own(
    link: &Link,
    flavour: Flavour,
    dn: &str,
    new: &Secret,
    current: &Secret,
) -> Result<Reply, Fault> {
    if !flavour.is_domain() {
        return link.set_password(dn, Some(current), new).await;
    }
    // Deleting the old one is what proves that it is known. Source: MS-ADTS 3.1.1.3.1.5.
    let attribute = || b"unicodePwd".to_vec();
    let value = |secret| HashSet::from([unicode_password(secret).to_vec()]);
    let delete = Mod::Delete(attribute(), value(current));
    let add = Mod::Add(attribute(), value(new));
    link.modify(dn, vec![delete, add]).await
}

/// Lets a password that was just reset be used at once where the policy would have it changed
/// first. Without the right to do so all stays as it is, and the login says what is wrong.
pub(super) async fn release(link: &Link, flavour: Flavour, dn: &str) {
    let attribute = "passwordExpirationTime";
    if flavour != Flavour::Ds389 {
        return;
    }
    let searched = link
        .search(dn, Scope::Base, "(objectClass=*)", &[attribute])
        .await;
    let Ok((entries, _)) = searched else {
        return;
    };
    let marked = |entry: &super::entry::Entry| {
        let [value] = entry.values(attribute) else {
            return false;
        };
        value == MUST_CHANGE
    };
    if entries.first().is_some_and(marked) {
        // This very value: a date that somebody has set meanwhile is not ours to delete.
        let values = HashSet::from([MUST_CHANGE.to_vec()]);
        let delete = Mod::Delete(attribute.as_bytes().to_vec(), values);
        drop(link.modify(dn, vec![delete]).await);
    }
}

fn replace(attribute: &str, value: &[u8]) -> Mod<Vec<u8>> {
    // The library keeps a copy that nobody wipes, as it does of every password.
    Mod::Replace(
        attribute.as_bytes().to_vec(),
        HashSet::from([value.to_vec()]),
    )
}

/// Encodes a password for `unicodePwd`: quoted, UTF-16LE; 2 × (code units + 2) bytes.
///
/// Source: MS-ADTS 3.1.1.3.1.5.1.
fn unicode_password(secret: &Secret) -> Zeroizing<Vec<u8>> {
    #[expect(clippy::disallowed_methods, reason = "the write carries the password")]
    let text = secret.expose_secret();
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * text.len() + 4));
    let quote = std::iter::once(u16::from(b'"'));
    for unit in quote.clone().chain(text.encode_utf16()).chain(quote) {
        bytes.extend(unit.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_for_a_domain_is_quoted_utf_16() {
        for (text, bytes) in [
            ("a\"", &b"\"\0a\0\"\0\"\0"[..]),
            ("ü", b"\"\0\xfc\0\"\0"),
            ("𝄞", b"\"\0\x34\xd8\x1e\xdd\"\0"),
        ] {
            assert_eq!(*unicode_password(&Secret::from(text)), bytes);
        }
    }
}
