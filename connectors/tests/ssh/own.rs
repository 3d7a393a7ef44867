//! Accounts that change their own password.

use keywheel_connectors::{Changed, Checked, Class, Credential, Elevation, Functional, Target};

use crate::fleet::{Fleet, account, first, functional, held, open, own, ssh_part};
use crate::peer::Wire;

fn class_of(changed: &Changed) -> Option<Class> {
    match changed {
        Changed::NotNow(reason) | Changed::Refused(reason) | Changed::Unknown(reason) => {
            Some(reason.class)
        }
        Changed::Done => None,
    }
}

#[tokio::test]
async fn an_account_changes_its_own_password() {
    for methods in ["password", "keyboard"] {
        let fleet = Fleet::start(&[("USERS", "1"), ("SUDO", "none"), ("METHODS", methods)]);
        let session = open(&fleet.target(), None).await;
        for login in ["kw_u0", "kw_csh", "kw_noise"] {
            let (account, mut old) = (own(login), first(login));
            for number in 0..2 {
                let new = Credential::from(format!("Own-{number}-new-vLm9Q: $x'\""));
                let changed = session.change(&account, &new, Some(&old)).await;
                assert_eq!(changed, Changed::Done, "{login} by {methods}");
                assert_eq!(session.check(&account, &new).await, Checked::Accepted);
                old = new;
            }
        }
    }
}

#[tokio::test]
async fn repeated_new_password_is_refused_and_the_old_one_works() {
    let fleet = Fleet::start(&[("USERS", "1"), ("SUDO", "none")]);
    let session = open(&fleet.target(), None).await;
    let (kw_u0, old) = (own("kw_u0"), first("kw_u0"));
    let field = fleet.field("kw_u0");
    for weak in ["short", "aaaaaaaaaaaaaaaa", "Start-kw_u0-vLm8"] {
        let seen = session
            .change(&kw_u0, &Credential::from(weak), Some(&old))
            .await;
        assert!(matches!(seen, Changed::Refused(_)), "{weak}: {seen:?}");
    }
    assert_eq!(fleet.field("kw_u0"), field);
    assert_eq!(session.check(&kw_u0, &old).await, Checked::Accepted);
}

#[tokio::test]
async fn reuse_and_minimum_age_are_refused() {
    let fleet = Fleet::start(&[("USERS", "2"), ("SUDO", "none"), ("HISTORY", "5")]);
    let session = open(&fleet.target(), None).await;
    let (kw_u0, old) = (own("kw_u0"), first("kw_u0"));
    let new = Credential::from("Quite-another-9Q-one");
    assert_eq!(
        session.change(&kw_u0, &new, Some(&old)).await,
        Changed::Done
    );
    let seen = session.change(&kw_u0, &old, Some(&new)).await;
    assert!(matches!(seen, Changed::Refused(_)), "{seen:?}");
    assert_eq!(session.check(&kw_u0, &new).await, Checked::Accepted);

    fleet.run("chage -m 1 -d \"$(date +%Y-%m-%d)\" kw_u1");
    let (kw_u1, old) = (own("kw_u1"), first("kw_u1"));
    let seen = session.change(&kw_u1, &new, Some(&old)).await;
    assert!(
        matches!(&seen, Changed::NotNow(reason) if reason.class == Class::Refused),
        "{seen:?}"
    );
    assert_eq!(session.check(&kw_u1, &old).await, Checked::Accepted);
}

#[tokio::test]
async fn translated_prompts_fail_before_the_new_password_is_sent() {
    let fleet = Fleet::start(&[("USERS", "1"), ("SUDO", "none")]);
    let session = open(&fleet.target(), None).await;
    fleet.run(
        "printf '#!/bin/sh\\nprintf \"Geben Sie das aktuelle Passwort ein: \"\\nread p; \
         echo $p >/run/got\\n' >/run/german; chmod 755 /run/german; touch /run/got; \
         chmod 666 /run/got; mount --bind /run/german /usr/bin/passwd",
    );
    let (kw_u0, old) = (own("kw_u0"), first("kw_u0"));
    let new = Credential::from("Never-sent-9Q-vLm");
    let seen = session.change(&kw_u0, &new, Some(&old)).await;
    assert!(
        matches!(&seen, Changed::NotNow(reason) if reason.class == Class::Incompatible),
        "{seen:?}"
    );
    assert_eq!(fleet.run("cat /run/got").trim(), "");
    assert_eq!(session.check(&kw_u0, &old).await, Checked::Accepted);
}

#[tokio::test]
async fn a_change_that_is_forced_at_the_first_login_is_made() {
    for methods in ["password", "keyboard"] {
        let fleet = Fleet::start(&[("USERS", "1"), ("SUDO", "none"), ("METHODS", methods)]);
        let session = open(&fleet.target(), None).await;
        let (kw_expired, old) = (own("kw_expired"), first("kw_expired"));
        let seen = session
            .change(&kw_expired, &Credential::from("weak"), Some(&old))
            .await;
        assert!(matches!(seen, Changed::Refused(_)), "{methods}: {seen:?}");
        let seen = session.check(&kw_expired, &old).await;
        assert!(
            matches!(&seen, Checked::NotNow(reason) if reason.class == Class::Expired),
            "{methods}: {seen:?}"
        );
        let new = Credential::from("Forced-and-made-9Q-vLm");
        let changed = session.change(&kw_expired, &new, Some(&old)).await;
        assert_eq!(changed, Changed::Done, "{methods}");
        assert_eq!(session.check(&kw_expired, &new).await, Checked::Accepted);
    }
}

#[tokio::test]
async fn a_wrong_current_password_changes_nothing() {
    let fleet = Fleet::start(&[("USERS", "1"), ("SUDO", "none")]);
    let session = open(&fleet.target(), None).await;
    let (kw_u0, old) = (own("kw_u0"), first("kw_u0"));
    let (new, wrong) = (
        Credential::from("Not-to-be-set-9Q"),
        Credential::from("Wrong-9Q-vLm"),
    );
    for current in [Some(&wrong), None] {
        let seen = session.change(&kw_u0, &new, current).await;
        assert!(
            matches!(&seen, Changed::NotNow(reason) if reason.class == Class::Denied),
            "{seen:?}"
        );
    }
    assert_eq!(session.check(&kw_u0, &old).await, Checked::Accepted);
    // A shell that lets nobody in cannot run passwd.
    let seen = session
        .change(&own("kw_nologin"), &new, Some(&first("kw_nologin")))
        .await;
    assert_eq!(class_of(&seen), Some(Class::Incompatible), "{seen:?}");
}

#[tokio::test]
async fn wherever_a_dialogue_is_cut_one_of_two_passwords_works() {
    let fleet = Fleet::start(&[("USERS", "1"), ("SUDO", "none"), ("STARTUPS", "100:30:200")]);
    let wire = Wire::to((fleet.address, fleet.port));
    let target = Target {
        host: wire.address.to_string(),
        port: wire.port,
        ..fleet.target()
    };
    let kw_u0 = own("kw_u0");
    let direct = open(&fleet.target(), None).await;
    let session = open(&target, None).await;
    let mut now = first("kw_u0");
    let before = wire.to_server_bytes();
    let new = Credential::from("Whole-dialogue-9Q-vLm");
    assert_eq!(
        session.change(&kw_u0, &new, Some(&now)).await,
        Changed::Done
    );
    now = new;
    let needed = wire.to_server_bytes() - before;
    let mut field = fleet.field("kw_u0");
    let (mut done, mut unknown, mut not_now) = (0, 0, 0);
    for step in 0..12 {
        wire.mend();
        wire.allow(match step {
            0 => needed * 2,
            _ => needed.saturating_sub(step * 60) + 100,
        });
        let new = Credential::from(format!("{step}-Cut-somewhere-{}Lm", "9Qv".repeat(step + 1)));
        let changed = session.change(&kw_u0, &new, Some(&now)).await;
        match &changed {
            Changed::Done => done += 1,
            Changed::Unknown(_) => unknown += 1,
            Changed::NotNow(_) => not_now += 1,
            Changed::Refused(reason) => panic!("{reason}"),
        }
        if changed != Changed::Done {
            // Whoever may still write ends with its terminal.
            fleet.run("while pgrep --ns $$ --nslist mnt -x passwd; do sleep 0.02; done");
        }
        // A wrong login would cost seconds; the login below proves which of the two it is.
        let field_now = fleet.field("kw_u0");
        let has_new = field_now != field;
        field = field_now;
        match &changed {
            Changed::Done => assert!(has_new, "{step}"),
            Changed::NotNow(_) => assert!(!has_new, "{step}: {changed:?}"),
            _ => {}
        }
        now = if has_new { new } else { now };
        assert_eq!(
            direct.check(&kw_u0, &now).await,
            Checked::Accepted,
            "{step}"
        );
    }
    assert!(
        done > 0 && unknown > 0 && not_now > 0,
        "{done} done, {unknown} unknown, {not_now} not now"
    );
}

#[tokio::test]
async fn an_expired_account_and_a_closed_system_are_not_judged() {
    let fleet = Fleet::start(&[("USERS", "2")]);
    let session = open(&fleet.target(), Some(&functional())).await;
    fleet.run("chage -E 1 kw_u0");
    let seen = session.check(&account("kw_u0"), &first("kw_u0")).await;
    assert!(matches!(seen, Checked::NotNow(_)), "{seen:?}");
    fleet.run("chage -E -1 kw_u0; echo closed >/run/nologin");
    let seen = session.check(&account("kw_u0"), &first("kw_u0")).await;
    fleet.run("rm /run/nologin");
    assert!(
        matches!(seen, Checked::NotNow(_) | Checked::Accepted),
        "{seen:?}"
    );
    let seen = session.check(&account("kw_u0"), &first("kw_u0")).await;
    assert_eq!(seen, Checked::Accepted);
}

#[tokio::test]
async fn root_changes_others_by_key() {
    let fleet = Fleet::start(&[("USERS", "1"), ("SUDO", "none")]);
    let mut target = fleet.target();
    ssh_part(&mut target).elevation = Elevation::None;
    let pair = crate::fleet::key_pair("ed25519", "root");
    fleet.run(&format!(
        "mkdir -m 700 /root/.ssh; echo '{}' >/root/.ssh/authorized_keys; \
         chmod 600 /root/.ssh/authorized_keys",
        pair.public
    ));
    let root = Functional {
        account: account("root"),
        credential: crate::fleet::key(&pair),
    };
    let session = open(&target, Some(&root)).await;
    for held in held(1) {
        let new = Credential::from("New-by-root-vLm9Q");
        let old = held.credential.clone();
        assert_eq!(
            session.change(&held.account, &new, None).await,
            Changed::Done
        );
        assert_eq!(session.check(&held.account, &new).await, Checked::Accepted);
        let seen = session.evidence(&held.account, &new, Some(&old)).await;
        assert_eq!(seen, keywheel_connectors::Evidence::Candidate);
    }
    // Root's own key, too.
    let next = crate::fleet::key_pair("ed25519", "keywheel:1:2");
    let (next, old) = (crate::fleet::key(&next), crate::fleet::key(&pair));
    let changed = session.change(&account("root"), &next, Some(&old)).await;
    assert_eq!(changed, Changed::Done);
    assert_eq!(
        session.check(&account("root"), &next).await,
        Checked::Accepted
    );
    assert_eq!(session.retire(&account("root"), &old).await, Changed::Done);
    let seen = session.check(&account("root"), &old).await;
    assert!(matches!(seen, Checked::Rejected(_)), "{seen:?}");
}
