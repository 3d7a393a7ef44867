//! Who a host and its accounts are, by whatever address it is reached.

use std::net::Ipv4Addr;

use keywheel_connectors::{CanonicalIdentity, Session};

use crate::fleet::{Fleet, account, functional, open};

async fn named(session: &dyn Session, logins: &[&str]) -> Vec<Option<CanonicalIdentity>> {
    let accounts: Vec<_> = logins.iter().map(|login| account(login)).collect();
    let named = session.identities(&accounts).await;
    named.unwrap_or_else(|reason| panic!("{reason}"))
}

#[tokio::test]
async fn one_server_at_two_addresses_names_the_same_accounts() {
    for wrapper in ["0", "1"] {
        let fleet = Fleet::start_at(Ipv4Addr::UNSPECIFIED, &[("WRAPPER", wrapper)]);
        let mut seen = Vec::new();
        for host in ["127.0.0.11", "127.0.0.12"] {
            let mut target = fleet.target();
            target.host = host.to_owned();
            let session = open(&target, Some(&functional())).await;
            seen.push(named(session.as_ref(), &["kw_u0", "kw_u1", "nobody-here", "root"]).await);
        }
        let [one, other] = seen.as_slice() else {
            panic!("two addresses")
        };
        assert_eq!(one, other);
        let [Some(first), Some(second), None, Some(root)] = one.as_slice() else {
            panic!("{one:?}")
        };
        assert_eq!(
            (&first.machine, root.being.as_str()),
            (&second.machine, "uid 0 name root")
        );
        assert_ne!(first.being, second.being);
    }
}

#[tokio::test]
async fn an_account_that_was_made_anew_is_another_and_a_key_is_part_of_the_machine() {
    let fleet = Fleet::start(&[]);
    let session = open(&fleet.target(), Some(&functional())).await;
    let before = named(session.as_ref(), &["kw_u0", "kw_u1"]).await;
    fleet.run("usermod -u 25999 kw_u0");
    let after = named(session.as_ref(), &["kw_u0", "kw_u1"]).await;
    let being = after[0].as_ref().unwrap().being.as_str();
    assert_eq!(being, "uid 25999 name kw_u0");
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1], before[1]);
    // What a host says of itself does not make it another that has another key.
    let mut by_another_key = fleet.target();
    crate::fleet::ssh_part(&mut by_another_key).host_key = Some(fleet.host_key("rsa"));
    let session = open(&by_another_key, Some(&functional())).await;
    let foreign = named(session.as_ref(), &["kw_u1"]).await;
    assert_ne!(
        foreign[0].as_ref().unwrap().machine,
        before[1].as_ref().unwrap().machine
    );
}

#[tokio::test]
async fn who_only_checks_is_told_nothing() {
    let fleet = Fleet::start(&[]);
    let session = open(&fleet.target(), None).await;
    assert_eq!(named(session.as_ref(), &["kw_u0"]).await, [None]);
}
