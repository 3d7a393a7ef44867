//! Sets passwords of a directory's entries over LDAP, and proves them by logins.
//!
//! A functional account resets passwords, or an account changes its own: by the password modify
//! operation (RFC 3062) on OpenLDAP, 389 Directory Server and whatever else offers that operation
//! and "Who am I?" (RFC 4532), and by `unicodePwd` on Active Directory. SSH keys are swapped in
//! the entry.
//!
//! Invariant: nothing secret leaves before the directory's certificate was verified, and there is
//! no way to reach a directory without TLS.

mod age;
mod ber;
mod change;
mod diagnosis;
mod directory;
mod dn;
mod entry;
mod flavour;
mod guard;
mod identity;
mod key;
mod link;
mod list;
mod page;
mod ppolicy;
mod prove;
mod result;
mod session;
mod tls;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use secrecy::ExposeSecret;
use tokio::time::timeout;

use crate::{
    Account, Class, Connector, Credential, Functional, Identity, LdapTarget, Reason, Secret,
    Session, Target, TargetKind,
};
use directory::Name;
pub use dn::{canonical as canonical_dn, domain as domain_of_dn, login as login_of_dn};
use session::LdapSession;

/// The longest password that is handed to a directory, in characters.
const PASSWORD_MAX_CHARS: usize = 1_000;

/// Changes entries of a directory over LDAP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ldap;

impl Ldap {
    /// The connector. It keeps nothing between sessions.
    pub const fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Connector for Ldap {
    fn name(&self) -> &'static str {
        "ldap"
    }

    fn admit(&self, account: &Account, credential: Option<&Credential>) -> Result<(), Reason> {
        admit(account, credential)
    }

    async fn identify(&self, target: &Target) -> Result<Identity, Reason> {
        let endpoint = tls::Endpoint::new(target, ldap_of(target)?)?;
        let look = async {
            let link = link::Link::connect(&endpoint).await?;
            directory::root(&link).await
        };
        let root = timeout(target.timeout, look).await.map_err(|_| late())??;
        Ok(Identity::Ldap {
            flavour: root.flavour.name().to_owned(),
        })
    }

    async fn open(
        &self,
        target: &Target,
        functional: Option<&Functional>,
    ) -> Result<Arc<dyn Session>, Reason> {
        let session = LdapSession::new(target, ldap_of(target)?, functional)?;
        timeout(target.timeout, session.shared())
            .await
            .map_err(|_| late())??;
        Ok(Arc::new(session))
    }
}

/// Says whether the directory could take the account or the credential for something else.
fn admit(account: &Account, credential: Option<&Credential>) -> Result<(), Reason> {
    if Name::of(account).is_none() {
        return Err(Reason::account(
            Class::Refused,
            "what is given as the account's DN is no distinguished name",
        ));
    }
    match credential {
        None => Ok(()),
        Some(Credential::Password(password)) => admit_password(password),
        Some(Credential::Key(pair)) => key::admit(pair),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "looks at the password's characters"
)]
fn admit_password(secret: &Secret) -> Result<(), Reason> {
    let refuse = |text| Err(Reason::account(Class::Refused, text));
    let secret = secret.expose_secret();
    if secret.is_empty() {
        // A bind with a name and no password succeeds as nobody. Source: RFC 4513 5.1.2.
        return refuse("an empty password is none");
    }
    if secret.chars().any(char::is_control) {
        return refuse("a password for a directory holds no control characters");
    }
    if secret.chars().count() > PASSWORD_MAX_CHARS {
        return refuse("a password for a directory has at most 1,000 characters");
    }
    Ok(())
}

fn ldap_of(target: &Target) -> Result<&LdapTarget, Reason> {
    match &target.kind {
        TargetKind::Ldap(ldap) => Ok(ldap),
        TargetKind::Ssh(_) => Err(foreign()),
        #[cfg(feature = "dialogue")]
        TargetKind::Dialogue(_) => Err(foreign()),
        #[cfg(feature = "fake")]
        TargetKind::Fake => Err(foreign()),
    }
}

fn foreign() -> Reason {
    Reason::system(Class::Incompatible, "this system is no directory")
}

fn late() -> Reason {
    Reason::system(Class::Unreachable, "the directory did not answer in time")
}

#[cfg(test)]
mod tests {
    mod fuzz;

    use super::*;
    use crate::Login;

    fn account(dn: Option<&str>) -> Account {
        Account {
            login: Login::parse("u1").unwrap(),
            dn: dn.map(str::to_owned),
            uses_own: false,
        }
    }

    #[test]
    fn secrets_that_a_directory_could_misread_are_refused() {
        for text in [
            "",
            "a\nb",
            "a\0b",
            "a\u{7f}b",
            "a\u{85}b",
            &"x".repeat(1_001),
        ] {
            let secret = Credential::from(text.to_owned());
            let reason = Ldap::new()
                .admit(&account(None), Some(&secret))
                .unwrap_err();
            assert_eq!(reason.class, Class::Refused);
        }
        for text in ["a", " ", "pässwörd", "a\"'\\)(*b", &"ü".repeat(1_000)] {
            let secret = Credential::from(text.to_owned());
            assert_eq!(Ldap::new().admit(&account(None), Some(&secret)), Ok(()));
        }
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        for dn in [
            "",
            " ",
            "u1",
            "x)(uid=*",
            "uid=",
            "<GUID=x)(uid=*>",
            "<GUID=>",
        ] {
            let reason = Ldap::new().admit(&account(Some(dn)), None).unwrap_err();
            assert_eq!(reason.class, Class::Refused, "{dn:?}");
        }
        assert_eq!(
            Ldap::new().admit(&account(Some("uid=u1,dc=test")), None),
            Ok(())
        );
        let id = "<GUID=48989570-7a4e-1041-8c42-ef8b0f921cc9>";
        assert_eq!(Ldap::new().admit(&account(Some(id)), None), Ok(()));
    }
}
