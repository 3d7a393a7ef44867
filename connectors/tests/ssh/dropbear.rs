//! What is different where Dropbear answers.

use keywheel_connectors::ssh::Ssh;
use keywheel_connectors::{
    Changed, Checked, Class, Connector, Credential, Elevation, Evidence, Functional, Identity,
};

use crate::fleet::{Fleet, account, first, functional, key, key_pair, open, own, ssh_part};

fn fleet(settings: &[(&'static str, &'static str)]) -> Fleet {
    let all = [&[("SERVER", "dropbear"), ("USERS", "2")][..], settings].concat();
    Fleet::start(&all)
}

#[tokio::test]
async fn a_shell_that_lets_nobody_in_is_not_judged_and_a_look_decides() {
    let fleet = fleet(&[("WRAPPER", "1"), ("SUDO", "all")]);
    let session = open(&fleet.target(), Some(&functional())).await;
    let (account, old) = (account("kw_nologin"), first("kw_nologin"));
    let new = Credential::from("New-nologin-vLm9Q");
    for secret in [&old, &new] {
        let seen = session.check(&account, secret).await;
        assert!(
            matches!(&seen, Checked::NotNow(reason) if reason.class == Class::Incompatible),
            "{seen:?}"
        );
    }
    assert_eq!(session.change(&account, &new, None).await, Changed::Done);
    let seen = session.evidence(&account, &new, Some(&old)).await;
    assert_eq!(seen, Evidence::Candidate);
    // Keys, too.
    let pair = key_pair("ed25519", "keywheel:7:1");
    assert_eq!(
        session.change(&account, &key(&pair), None).await,
        Changed::Done
    );
    let seen = session.check(&account, &key(&pair)).await;
    assert!(matches!(seen, Checked::NotNow(_)), "{seen:?}");
    let seen = session.evidence(&account, &key(&pair), None).await;
    assert_eq!(seen, Evidence::Candidate);
    // Whoever has a shell is judged.
    let seen = session.check(&crate::fleet::account("kw_u0"), &new).await;
    assert!(matches!(seen, Checked::Rejected(_)), "{seen:?}");
}

#[tokio::test]
async fn an_account_changes_itself() {
    let fleet = fleet(&[("SUDO", "none")]);
    let session = open(&fleet.target(), None).await;
    let (kw_u0, old) = (own("kw_u0"), first("kw_u0"));
    let weak = Credential::from("short");
    let seen = session.change(&kw_u0, &weak, Some(&old)).await;
    assert!(matches!(seen, Changed::Refused(_)), "{seen:?}");
    let new = Credential::from("Own-dropbear-9Q-vLm");
    assert_eq!(
        session.change(&kw_u0, &new, Some(&old)).await,
        Changed::Done
    );
    assert_eq!(session.check(&kw_u0, &new).await, Checked::Accepted);
    let pair = key_pair("ed25519", "keywheel:7:1");
    let changed = session.change(&kw_u0, &key(&pair), Some(&new)).await;
    assert_eq!(changed, Changed::Done);
    assert_eq!(session.check(&kw_u0, &key(&pair)).await, Checked::Accepted);
    for _ in 0..2 {
        assert_eq!(session.retire(&kw_u0, &key(&pair)).await, Changed::Done);
    }
    let seen = session.check(&kw_u0, &key(&pair)).await;
    assert!(matches!(seen, Checked::Rejected(_)), "{seen:?}");
}

#[tokio::test]
async fn shells_host_keys_and_a_functional_key_work_as_on_openssh() {
    let fleet = fleet(&[]);
    let connector = Ssh::new(3);
    let mut target = fleet.target();
    let seen = connector.identify(&target).await;
    assert_eq!(seen, Ok(Identity::Ssh(fleet.host_key("ed25519"))));
    let pair = key_pair("rsa", "functional");
    fleet.run(&format!(
        "install -d -m 700 -o kw_func -g kw_func /home/kw_func/.ssh; \
         install -m 600 -o kw_func -g kw_func /dev/null /home/kw_func/.ssh/authorized_keys; \
         echo '{}' >/home/kw_func/.ssh/authorized_keys",
        pair.public
    ));
    let by_key = Functional {
        credential: key(&pair),
        ..functional()
    };
    for (number, kind) in ["ed25519", "ecdsa", "rsa"].into_iter().enumerate() {
        ssh_part(&mut target).host_key = Some(fleet.host_key(kind));
        let session = open(&target, Some(&by_key)).await;
        for login in ["kw_u0", "kw_csh", "kw_noise"] {
            let new = Credential::from(format!("New-{number}-{login}-vLm9Q"));
            let changed = session.change(&account(login), &new, None).await;
            assert_eq!(changed, Changed::Done, "{login}");
            let seen = session.check(&account(login), &new).await;
            assert_eq!(seen, Checked::Accepted, "{login}");
        }
    }
}

#[tokio::test]
async fn root_needs_no_sudo() {
    let fleet = fleet(&[("ROOT_LOGIN", "1"), ("SUDO", "none")]);
    let mut target = fleet.target();
    ssh_part(&mut target).elevation = Elevation::None;
    let root = Functional {
        account: account("root"),
        ..functional()
    };
    let session = open(&target, Some(&root)).await;
    let (kw_u0, new) = (account("kw_u0"), Credential::from("New-by-root-vLm9Q"));
    assert_eq!(session.change(&kw_u0, &new, None).await, Changed::Done);
    assert_eq!(session.check(&kw_u0, &new).await, Checked::Accepted);
    let seen = session.change(&account("kw_locked"), &new, None).await;
    assert!(
        matches!(&seen, Changed::NotNow(reason) if reason.class == Class::Locked),
        "{seen:?}"
    );
}
