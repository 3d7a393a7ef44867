//! The platform `mikrotik` with a device of `tests/fleet/device.py`, on a real sshd.

use keywheel_connectors::dialogue::Dialogues;
use keywheel_connectors::{Changed, Checked, Class, Credential, Functional};

use crate::fleet::{Fleet, account, first};
use crate::stage::{open_as, shipped, start, target};

/// A device whose accounts have names with the suffix of the platform's logins.
fn device() -> (Fleet, Functional) {
    let mut names = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut names, b"kw_admin+ct\nkw_bob+ct\n").unwrap();
    let list = names.path().to_str().unwrap();
    let fleet = start(&[
        ("USERS", "1"),
        ("USER_LIST", list),
        ("DEVICE", "1"),
        ("SUDO", "none"),
    ]);
    fleet.run("echo routeros >/etc/keywheel/kind");
    fleet.run("sed -n 's/^kw_func /kw_admin+ct /p' /etc/sudoers >>/etc/sudoers");
    let functional = Functional {
        account: account("kw_admin"),
        credential: first("kw_admin+ct"),
    };
    (fleet, functional)
}

#[tokio::test]
async fn one_command_sets_the_password_of_the_named_user() {
    let (fleet, functional) = device();
    let target = target(&fleet, shipped("mikrotik"));
    let session = open_as(&Dialogues::new(), &target, &functional).await;
    let (bob, old) = (account("kw_bob"), first("kw_bob+ct"));
    assert_eq!(session.check(&bob, &old).await, Checked::Accepted);
    let new = Credential::from("Fresh-1-kw-vLm9Q");
    assert_eq!(session.change(&bob, &new, Some(&old)).await, Changed::Done);
    assert_eq!(session.check(&bob, &new).await, Checked::Accepted);
    let seen = session.check(&bob, &old).await;
    assert!(matches!(seen, Checked::Rejected(_)), "{seen:?}");

    // The echo of a password is no complaint, whole or in part.
    let new = Credential::from("no-failure:-vLm9Q");
    assert_eq!(session.change(&bob, &new, None).await, Changed::Done);

    let refusals = [
        ("kw_bob", "Short-9-x", Class::Refused),
        ("kw_nobody", "Fresh-2-kw-vLm9Q", Class::NoAccount),
        ("kw_bob", "Quote\"-kw-vLm9Q", Class::Refused),
    ];
    for (login, password, class) in refusals {
        let seen = session
            .change(&account(login), &Credential::from(password), None)
            .await;
        assert!(
            matches!(&seen, Changed::Refused(reason) if reason.class == class),
            "{login} {password}: {seen:?}"
        );
    }
    assert_eq!(session.check(&bob, &new).await, Checked::Accepted);

    fleet.run("echo drop >/etc/keywheel/device");
    let last = Credential::from("Fresh-3-kw-vLm9Q");
    let seen = session.change(&bob, &last, Some(&new)).await;
    assert!(matches!(seen, Changed::Unknown(_)), "{seen:?}");
    assert_eq!(session.check(&bob, &last).await, Checked::Accepted);
}
