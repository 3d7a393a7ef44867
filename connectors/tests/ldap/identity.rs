//! Who an entry is, by whatever name it is asked for, on every product.

use keywheel_connectors::{Account, CanonicalIdentity, Session};

use super::slapd::{Slapd, by_dn, by_login, dn, open};
use super::{samba, shared};

async fn named(session: &dyn Session, accounts: &[Account]) -> Vec<Option<CanonicalIdentity>> {
    let named = session.identities(accounts).await;
    named.unwrap_or_else(|reason| panic!("{reason}"))
}

/// Every one is the same entry, and is one.
async fn are_one(session: &dyn Session, accounts: &[Account]) -> CanonicalIdentity {
    let seen = named(session, accounts).await;
    let first = seen[0].clone().expect("an identity");
    for (account, seen) in accounts.iter().zip(seen) {
        assert_eq!(seen.as_ref(), Some(&first), "{account:?}");
    }
    first
}

fn spelled(dn: &str) -> Account {
    shared::account("whatever", Some(dn.to_owned()))
}

#[tokio::test]
async fn openldap_names_one_entry_by_its_dn_in_every_spelling_and_by_its_login() {
    let slapd = Slapd::start(97, &[]);
    let session = open(&slapd.ldaps()).await;
    let session = session.as_ref();
    let other = dn("u1").to_uppercase().replace(',', " , ");
    let ways = [by_dn("u1"), spelled(&other), by_login("u1"), by_login("U1")];
    let first = are_one(session, &ways).await;
    assert!(first.being.starts_with("entryUUID "), "{first:?}");
    let others = named(
        session,
        &[by_dn("u2"), by_login("nobody"), by_login("twin")],
    )
    .await;
    assert_ne!(others[0].as_ref(), Some(&first));
    // Two entries of one name are nobody in particular.
    assert_eq!(others[1..], [None, None]);
    // Another connection, another way of TLS: the same directory.
    let again = open(&slapd.starttls()).await;
    assert_eq!(are_one(again.as_ref(), &ways).await, first);
}

#[tokio::test]
async fn a_domain_names_one_account_by_dn_principal_and_login() {
    let session = samba::session().await;
    let name = |login: &str| shared::account(login, None);
    let ways = [
        samba::by_dn("u8"),
        spelled("cn=U8, ou=People,dc=ad,dc=test"),
        name("u8"),
        name("u8@ad.test"),
        name("ADTEST\\u8"),
    ];
    let first = are_one(session.as_ref(), &ways).await;
    assert!(first.being.starts_with("objectGUID "), "{first:?}");
    let other = named(session.as_ref(), &[samba::by_dn("u9"), name("nobody")]).await;
    assert_ne!(other[0].as_ref(), Some(&first));
    assert_eq!(other[1], None);
}

#[tokio::test]
async fn ds389_names_its_entries_too() {
    let session = super::ds389::session().await;
    let ways = [super::ds389::by_dn("u2"), shared::account("u2", None)];
    let first = are_one(session.as_ref(), &ways).await;
    assert!(first.being.starts_with("nsUniqueId "), "{first:?}");
}
