//! Sets passwords of a directory's entries over LDAP, and proves them by logins.
//!
//! A functional account resets passwords by the password modify operation (RFC 3062). Served are
//! OpenLDAP and whatever offers that operation and "Who am I?" (RFC 4532).
//!
//! Invariant: nothing secret leaves before the directory's certificate was verified, and there is
//! no way to reach a directory without TLS.

mod ber;
mod directory;
mod dn;
mod guard;
mod link;
mod ppolicy;
mod result;
mod session;
mod tls;

use std::sync::Arc;

use async_trait::async_trait;
use secrecy::ExposeSecret;
use tokio::time::timeout;

use crate::{
    Account, Class, Connector, Credential, Functional, Identity, LdapTarget, Reason, Secret,
    Session, Target, TargetKind,
};
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
        admit(account, credential.map(Credential::password).transpose()?)
    }

    async fn identify(&self, target: &Target) -> Result<Identity, Reason> {
        let endpoint = tls::Endpoint::new(target, ldap_of(target)?)?;
        let look = async {
            let link = link::Link::connect(&endpoint).await?;
            directory::flavour(&link).await
        };
        let flavour = timeout(target.timeout, look).await.map_err(|_| late())??;
        Ok(Identity::Ldap {
            flavour: flavour.to_owned(),
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

/// Says whether the directory could take the account or the secret for something else.
#[expect(
    clippy::disallowed_methods,
    reason = "looks at the password's characters"
)]
fn admit(account: &Account, secret: Option<&Secret>) -> Result<(), Reason> {
    let refuse = |text| Err(Reason::account(Class::Refused, text));
    if account.dn.is_some() && directory::known(account).is_none() {
        return refuse("what is given as the account's DN is no distinguished name");
    }
    let Some(secret) = secret.map(ExposeSecret::expose_secret) else {
        return Ok(());
    };
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
        for dn in ["", " ", "u1", "x)(uid=*", "uid="] {
            let reason = Ldap::new().admit(&account(Some(dn)), None).unwrap_err();
            assert_eq!(reason.class, Class::Refused, "{dn:?}");
        }
        assert_eq!(
            Ldap::new().admit(&account(Some("uid=u1,dc=test")), None),
            Ok(())
        );
    }
}
