//! Who entries are, whatever they are called: by the identifier that no rename changes.
//!
//! Invariant: an entry without an identifier that this login may read is nobody in particular.

use aws_lc_rs::digest::{Context, SHA256};
use futures::future::join_all;
use ldap3::Scope;

use super::link::Fault;
use super::list::id;
use super::session::{LdapSession, over};
use super::tls::trust;
use crate::canonical::hex;
use crate::{Account, CanonicalIdentity, Reason, Scope as Whose};

impl LdapSession {
    /// One answer for each account, in their order.
    pub(super) async fn name_entries(
        &self,
        accounts: &[Account],
    ) -> Result<Vec<Option<CanonicalIdentity>>, Reason> {
        if self.functional.is_none() {
            return Ok(vec![None; accounts.len()]);
        }
        // Side by side, as many as have their turn.
        let each = accounts.iter().map(|account| self.name_entry(account));
        join_all(each).await.into_iter().collect()
    }

    async fn name_entry(&self, account: &Account) -> Result<Option<CanonicalIdentity>, Reason> {
        let (found, _) = match self.find(account).await {
            Ok(found) => found,
            Err(reason) if reason.scope == Whose::System => return Err(reason),
            // Which account it is not is told by what comes next.
            Err(_) => return Ok(None),
        };
        let _turn = self.turns.acquire().await.map_err(|_| over())?;
        let (link, root) = self.shared().await?;
        let attribute = root.flavour.identifier();
        let searched = link
            .search(&found.dn, Scope::Base, "(objectClass=*)", &[attribute])
            .await;
        let (entries, _) = searched.map_err(Fault::reason)?;
        let [entry] = entries.as_slice() else {
            return Ok(None);
        };
        let machine = format!("directory trusted by {}", self.trust);
        let being = id(root.flavour, entry).map(|id| format!("{attribute} {id}"));
        Ok(being.and_then(|being| CanonicalIdentity::of(machine, being)))
    }
}

/// Which authorities vouch for a directory: whoever can show a certificate of theirs is believed
/// about the rest.
pub(super) fn vouching(ca_pem: &str) -> Result<String, Reason> {
    // In whatever order they are listed.
    let mut certificates = trust(ca_pem)?;
    certificates.sort_unstable_by(|one, other| one.iter().cmp(other.iter()));
    certificates.dedup();
    let mut digest = Context::new(&SHA256);
    for certificate in &certificates {
        digest.update(certificate);
    }
    Ok(hex(digest.finish().as_ref()))
}
