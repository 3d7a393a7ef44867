//! Where `authorized_keys` lies, and who may write there.

use keywheel_connectors::{Changed, Checked, Class, Credential, Evidence};

use crate::fleet::{Fleet, account, first, key, key_pair, open, own};
use crate::keys::{FILE, FOREIGN, class_of, fleet, line, read, session, write};

#[tokio::test]
async fn another_authorized_keys_file_is_honoured_if_it_is_one() {
    let new = key_pair("ed25519", "keywheel:7:1");
    let places = [
        ("%h/.keys/of_%u", "/home/kw_u0/.keys/of_kw_u0"),
        ("/etc/ssh/keys/%u.pub", "/etc/ssh/keys/kw_u0.pub"),
    ];
    for (setting, file) in places {
        let fleet = Fleet::start(&[("USERS", "1"), ("SUDO", "all"), ("AUTHORIZED", setting)]);
        let session = session(&fleet).await;
        let kw_u0 = account("kw_u0");
        let nowhere = session.change(&kw_u0, &key(&new), None).await;
        assert!(
            matches!(nowhere, Changed::NotNow(_)),
            "{setting}: {nowhere:?}"
        );
        fleet.run("mkdir -m 755 /etc/ssh/keys; install -d -o kw_u0 -m 700 /home/kw_u0/.keys");
        let changed = session.change(&kw_u0, &key(&new), None).await;
        assert_eq!(changed, Changed::Done, "{setting}");
        assert_eq!(fleet.run(&format!("cat {file}")), line(&new));
        let seen = session.check(&kw_u0, &key(&new)).await;
        assert_eq!(seen, Checked::Accepted, "{setting}");
        assert_eq!(session.retire(&kw_u0, &key(&new)).await, Changed::Done);
        assert_eq!(fleet.run(&format!("cat {file}")), "");
        // Where others may write, root does not.
        let dir = file.rsplit_once('/').unwrap().0;
        fleet.run(&format!("chmod 777 {dir}"));
        let seen = session.change(&kw_u0, &key(&new), None).await;
        assert_eq!(class_of(&seen), Some(Class::Incompatible), "{seen:?}");
    }
    for setting in ["none", ".ssh/a .ssh/b", "/etc/ssh/keys/%t"] {
        let fleet = Fleet::start(&[("USERS", "1"), ("SUDO", "all"), ("AUTHORIZED", setting)]);
        let session = session(&fleet).await;
        let seen = session.change(&account("kw_u0"), &key(&new), None).await;
        assert_eq!(
            class_of(&seen),
            Some(Class::Incompatible),
            "{setting}: {seen:?}"
        );
        assert_eq!(fleet.run("ls -A /home/kw_u0"), "", "{setting}");
    }
}

#[tokio::test]
async fn a_key_in_a_second_file_is_neither_missed_nor_left() {
    let fleet = fleet();
    let session = session(&fleet).await;
    let kw_u0 = account("kw_u0");
    let (old, new) = (
        key_pair("ed25519", "keywheel:7:1"),
        key_pair("ed25519", "keywheel:7:2"),
    );
    write(&fleet, &line(&old));
    fleet.run(&format!("cp -p {FILE} {FILE}2"));
    assert_eq!(
        session.change(&kw_u0, &key(&new), Some(&key(&old))).await,
        Changed::Done
    );
    let seen = session.retire(&kw_u0, &key(&old)).await;
    assert_eq!(class_of(&seen), Some(Class::Incompatible), "{seen:?}");
    let look = session.evidence(&kw_u0, &key(&old), Some(&key(&new))).await;
    assert!(matches!(look, Evidence::Undecided(_)), "{look:?}");
    fleet.run(&format!("rm {FILE}2"));
    assert_eq!(session.retire(&kw_u0, &key(&old)).await, Changed::Done);
}

#[tokio::test]
async fn the_installed_script_serves_listed_accounts_only() {
    let fleet = Fleet::start(&[("USERS", "1"), ("SUDO", "none"), ("KEYS", "1")]);
    let session = session(&fleet).await;
    let new = key_pair("ed25519", "keywheel:7:1");
    let kw_u0 = account("kw_u0");
    assert_eq!(
        session.change(&kw_u0, &key(&new), None).await,
        Changed::Done
    );
    assert_eq!(session.check(&kw_u0, &key(&new)).await, Checked::Accepted);
    assert_eq!(session.retire(&kw_u0, &key(&new)).await, Changed::Done);
    for login in ["kw_func", "root"] {
        let seen = session.change(&account(login), &key(&new), None).await;
        assert_eq!(class_of(&seen), Some(Class::Privilege), "{login}: {seen:?}");
    }
    // It may set keys, and no passwords.
    let seen = session
        .change(&kw_u0, &Credential::from("New-vLm9Q-long"), None)
        .await;
    assert_eq!(class_of(&seen), Some(Class::Privilege), "{seen:?}");
}

#[tokio::test]
async fn an_account_changes_its_own_keys() {
    let fleet = Fleet::start(&[("USERS", "1"), ("SUDO", "none")]);
    let session = open(&fleet.target(), None).await;
    let kw_u0 = own("kw_u0");
    let (one, two) = (
        key_pair("ed25519", "keywheel:7:1"),
        key_pair("rsa", "keywheel:7:2"),
    );
    write(&fleet, FOREIGN);
    let changed = session
        .change(&kw_u0, &key(&one), Some(&first("kw_u0")))
        .await;
    assert_eq!(changed, Changed::Done);
    assert_eq!(session.check(&kw_u0, &key(&one)).await, Checked::Accepted);
    let changed = session.change(&kw_u0, &key(&two), Some(&key(&one))).await;
    assert_eq!(changed, Changed::Done);
    assert_eq!(session.check(&kw_u0, &key(&two)).await, Checked::Accepted);
    assert_eq!(session.check(&kw_u0, &key(&one)).await, Checked::Accepted);
    for _ in 0..2 {
        assert_eq!(session.retire(&kw_u0, &key(&one)).await, Changed::Done);
    }
    let seen = session.check(&kw_u0, &key(&one)).await;
    assert!(matches!(seen, Checked::Rejected(_)), "{seen:?}");
    assert_eq!(read(&fleet), format!("{FOREIGN}{}", line(&two)));
    // A key does not open passwd.
    let new = Credential::from("New-by-key-vLm9Q");
    let seen = session.change(&kw_u0, &new, Some(&key(&two))).await;
    assert_eq!(class_of(&seen), Some(Class::Incompatible), "{seen:?}");
}
