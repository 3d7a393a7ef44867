//! SSH keys in a directory's entries.

use std::sync::atomic::Ordering;
use std::time::Duration;

use keywheel_connectors::ldap::Ldap;
use keywheel_connectors::{
    Changed, Checked, Class, Connector, Credential, Evidence, KeyPair, Scope, Secret, Target,
};

use super::middle;
use super::slapd::{INITIAL_SECRET, Slapd, by_dn, by_login, functional, ldap_mut, secret};

pub(crate) fn pair(name: &str) -> Credential {
    Credential::Key(KeyPair {
        private: Secret::from(format!("private half of {name}")),
        public: format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5{name}"),
        marker: format!("keywheel:{name}"),
    })
}

#[tokio::test]
async fn a_key_is_swapped_in_one_step_and_foreign_keys_survive() {
    let slapd = Slapd::start(80, &[]);
    let (middle, port) = middle::impostor(&slapd).await;
    let target = Target {
        port,
        ..slapd.ldaps()
    };
    let session = Ldap::new()
        .open(&target, Some(&functional()))
        .await
        .unwrap();
    let (keyed, ours, next) = (by_login("keyed"), pair("ours"), pair("next"));
    assert_eq!(session.change(&keyed, &ours, None).await, Changed::Done);
    assert_eq!(session.check(&keyed, &ours).await, Checked::Accepted);
    let changed = session.change(&keyed, &next, Some(&ours)).await;
    assert_eq!(changed, Changed::Done);
    // The swap itself has removed the old one; there is nothing left to retire.
    assert_eq!(session.retire(&keyed, &ours).await, Changed::Done);
    let shown = slapd.attributes("keyed", &["sshPublicKey"]);
    let shown: Vec<_> = shown.lines().filter(|line| line.contains("ssh-")).collect();
    assert_eq!(shown.len(), 3, "{shown:?}");
    for line in [
        "sshPublicKey: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5first somebody@else",
        "sshPublicKey: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5second somebody@else",
        "sshPublicKey: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5next keywheel:next",
    ] {
        assert!(shown.contains(&line), "{line}: {shown:?}");
    }
    let heard = middle.heard();
    assert!(!heard.windows(12).any(|part| part == b"private half"));
}

#[tokio::test]
async fn what_a_directory_shows_of_its_keys_decides_without_a_login() {
    let slapd = Slapd::start(81, &[]);
    let session = Ldap::new()
        .open(&slapd.ldaps(), Some(&functional()))
        .await
        .unwrap();
    let (single, now, next) = (by_dn("single"), pair("now"), pair("next"));
    assert_eq!(session.change(&single, &now, None).await, Changed::Done);
    for (candidate, current, right) in [
        (&now, Some(&next), Evidence::Candidate),
        (&next, Some(&now), Evidence::Current),
        (&next, None, Evidence::Neither),
    ] {
        let seen = session.evidence(&single, candidate, current).await;
        assert_eq!(seen, right);
    }
    let absent = session.check(&single, &next).await;
    assert!(matches!(absent, Checked::Rejected(reason) if reason.class == Class::Denied));
    // An entry that shows no key at all may hide it.
    let hidden = session.check(&by_dn("u1"), &next).await;
    assert!(matches!(hidden, Checked::NotNow(reason) if reason.class == Class::Privilege));
    let hidden = session.evidence(&by_dn("u1"), &next, Some(&now)).await;
    assert!(matches!(hidden, Evidence::Undecided(_)), "{hidden:?}");
}

#[tokio::test]
async fn a_swap_that_somebody_else_was_faster_with_changes_nothing() {
    let slapd = Slapd::start(82, &[]);
    let session = Ldap::new()
        .open(&slapd.ldaps(), Some(&functional()))
        .await
        .unwrap();
    let (keyed, ours) = (by_dn("keyed"), pair("ours"));
    assert_eq!(session.change(&keyed, &ours, None).await, Changed::Done);
    // Eight at once: each deletes the old key as it read it, so one of them wins.
    let names: Vec<_> = (0..8)
        .map(|number| pair(&format!("racer{number}")))
        .collect();
    let swaps = names
        .iter()
        .map(|new| session.change(&keyed, new, Some(&ours)));
    let outcomes = futures::future::join_all(swaps).await;
    let mut won = 0;
    for (outcome, new) in outcomes.iter().zip(&names) {
        let holds = session.check(&keyed, new).await == Checked::Accepted;
        match outcome {
            Changed::Done => won += 1,
            Changed::NotNow(reason) => assert_eq!(reason.class, Class::IdentityMismatch),
            other => panic!("{other:?}"),
        }
        assert_eq!(holds, *outcome == Changed::Done);
    }
    assert_eq!(won, 1);
    for foreign in ["first", "second"] {
        let there = session.check(&keyed, &pair(foreign)).await;
        assert_eq!(there, Checked::Accepted, "{foreign}");
    }
}

#[tokio::test]
async fn a_schema_that_has_no_place_for_a_key_is_told_apart() {
    let slapd = Slapd::start(83, &[]);
    let mut target = slapd.ldaps();
    let session = Ldap::new()
        .open(&target, Some(&functional()))
        .await
        .unwrap();
    // Without the object class, and without the attribute.
    let changed = session.change(&by_dn("u1"), &pair("ours"), None).await;
    assert!(matches!(&changed, Changed::NotNow(reason)
        if reason.class == Class::Incompatible && reason.scope == Scope::Account));
    ldap_mut(&mut target).key_attribute = Some("noSuchAttribute".to_owned());
    let session = Ldap::new()
        .open(&target, Some(&functional()))
        .await
        .unwrap();
    let changed = session.change(&by_dn("keyed"), &pair("ours"), None).await;
    assert!(matches!(&changed, Changed::NotNow(reason)
        if reason.class == Class::Incompatible && reason.scope == Scope::Account));
}

#[tokio::test]
async fn a_lost_reply_to_a_swap_is_unknown_and_the_entry_tells() {
    let slapd = Slapd::start(84, &[]);
    let (middle, port) = middle::proxy((slapd.ip, slapd.tls_port).into(), slapd.ip).await;
    let target = Target {
        port,
        timeout: Duration::from_secs(1),
        ..slapd.ldaps()
    };
    let session = Ldap::new()
        .open(&target, Some(&functional()))
        .await
        .unwrap();
    // The entry is read first; the second request is the swap.
    middle.swallow_at.store(2, Ordering::SeqCst);
    let (keyed, ours) = (by_dn("keyed"), pair("ours"));
    let changed = session.change(&keyed, &ours, None).await;
    assert!(matches!(changed, Changed::Unknown(_)), "{changed:?}");
    middle.swallow.store(false, Ordering::SeqCst);
    let seen = session.evidence(&keyed, &ours, None).await;
    assert_eq!(seen, Evidence::Candidate);
    // Sent again, it is found there and not added twice.
    assert_eq!(session.change(&keyed, &ours, None).await, Changed::Done);
}

#[tokio::test]
async fn a_write_that_never_arrived_is_known_without_a_login() {
    let slapd = Slapd::start(85, &[]);
    let (middle, port) = middle::proxy((slapd.ip, slapd.tls_port).into(), slapd.ip).await;
    let target = Target {
        port,
        timeout: Duration::from_secs(1),
        ..slapd.ldaps()
    };
    let session = Ldap::new()
        .open(&target, Some(&functional()))
        .await
        .unwrap();
    let (account, current) = (by_login("u1"), secret(INITIAL_SECRET));
    for (deaf, heard) in [(true, "Never-arrived-1"), (false, "Arrived-unheard-1")] {
        // The look-up comes first, then the write.
        let at = if deaf {
            &middle.deaf_at
        } else {
            &middle.swallow_at
        };
        at.store(2, Ordering::SeqCst);
        let new = secret(heard);
        let changed = session.change(&account, &new, Some(&current)).await;
        assert!(matches!(changed, Changed::Unknown(_)), "{changed:?}");
        middle.deaf.store(false, Ordering::SeqCst);
        middle.swallow.store(false, Ordering::SeqCst);
        let seen = session.evidence(&account, &new, Some(&current)).await;
        if deaf {
            assert_eq!(seen, Evidence::Current);
        } else {
            assert!(matches!(seen, Evidence::Undecided(_)), "{seen:?}");
        }
    }
}

#[tokio::test]
async fn an_entry_is_found_by_its_identifier() {
    let slapd = Slapd::start(86, &[]);
    let shown = slapd.attributes("u1", &["entryUUID"]);
    let id = shown
        .lines()
        .find_map(|line| line.strip_prefix("entryUUID: "));
    let mut pinned = by_login("u1");
    pinned.dn = Some(format!("<GUID={}>", id.unwrap()));
    let session = Ldap::new()
        .open(&slapd.ldaps(), Some(&functional()))
        .await
        .unwrap();
    let new = secret("By-identifier-1");
    assert_eq!(session.change(&pinned, &new, None).await, Changed::Done);
    assert_eq!(session.check(&by_dn("u1"), &new).await, Checked::Accepted);
    pinned.dn = Some("<GUID=00000000-0000-4000-8000-000000000000>".to_owned());
    let changed = session.change(&pinned, &new, None).await;
    assert!(matches!(changed, Changed::NotNow(reason) if reason.class == Class::NoAccount));
}
