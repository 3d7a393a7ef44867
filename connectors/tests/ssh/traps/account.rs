//! Accounts of every kind: shells, rights, expiry, odd passwords.

use super::*;

/// Why the functional account was not let in.
async fn refused(target: &Target) -> Reason {
    let opened = Ssh::new(5).open(target, Some(&functional())).await;
    opened.err().unwrap()
}

#[tokio::test]
async fn shells_of_every_kind_are_changed_and_checked() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    let session = open(&fleet.target()).await;
    for login in ["kw_csh", "kw_nologin", "kw_noise"] {
        let new = Credential::from(format!("New-{login}-vLm9Q"));
        let account = account(login);
        assert_eq!(
            session.check(&account, &first(login)).await,
            Checked::Accepted,
            "{login}"
        );
        assert_eq!(
            session.change(&account, &new, None).await,
            Changed::Done,
            "{login}"
        );
        assert_eq!(
            session.check(&account, &new).await,
            Checked::Accepted,
            "{login}"
        );
        let old = session.check(&account, &first(login)).await;
        assert!(matches!(old, Checked::Rejected(_)), "{login}: {old:?}");
    }
    let seen = session
        .check(&account("kw_expired"), &first("kw_expired"))
        .await;
    assert!(
        matches!(&seen, Checked::NotNow(reason) if reason.class == Class::Expired),
        "{seen:?}"
    );
}

#[tokio::test]
async fn an_expired_password_is_seen_in_a_dialogue_too() {
    let fleet = Fleet::start(&[("USERS", "1"), ("METHODS", "keyboard")]);
    let session = open(&fleet.target()).await;
    let seen = session
        .check(&account("kw_expired"), &first("kw_expired"))
        .await;
    assert!(
        matches!(&seen, Checked::NotNow(reason) if reason.class == Class::Expired),
        "{seen:?}"
    );
    let field = fleet.field("kw_expired");
    let seen = session
        .check(&account("kw_expired"), &Credential::from("Wrong-vLm9Q"))
        .await;
    assert!(matches!(seen, Checked::Rejected(_)), "{seen:?}");
    assert_eq!(fleet.field("kw_expired"), field);
}

#[tokio::test]
async fn the_functional_account_may_have_any_shell() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    for (number, shell) in ["/bin/tcsh", "/bin/bash"].into_iter().enumerate() {
        fleet.run(&format!(
            "sed -i '/^kw_func:/s#[^:]*$#{shell}#' /etc/passwd"
        ));
        fleet.run("echo 'echo NOISE; echo KW:set; echo KW:ready' >/home/kw_func/.bashrc");
        let session = open(&fleet.target()).await;
        let new = Credential::from(format!("New-{number}-vLm9Q"));
        let changed = session.change(&account("kw_u0"), &new, None).await;
        assert_eq!(changed, Changed::Done, "{shell}");
        assert_eq!(
            session.check(&account("kw_u0"), &new).await,
            Checked::Accepted,
            "{shell}"
        );
    }
}

#[tokio::test]
async fn a_functional_account_without_rights_stops_before_any_secret() {
    for asks in ["0", "1"] {
        let fleet = Fleet::start(&[("USERS", "1"), ("SUDO", "none"), ("ASKS", asks)]);
        let refused = refused(&fleet.target()).await;
        assert!(
            has_class(&refused, Class::Privilege, Scope::System),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn rights_that_are_lost_in_a_session_are_the_systems_trouble() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    let session = open(&fleet.target()).await;
    fleet.run("sed -i '/^kw_func/s/NOPASSWD: //' /etc/sudoers");
    let new = Credential::from("New-late-vLm9Q");
    let seen = session.change(&account("kw_u0"), &new, None).await;
    assert!(
        matches!(&seen, Changed::NotNow(reason) if has_class(reason, Class::Privilege, Scope::System)),
        "{seen:?}"
    );
    let seen = session.check(&account("kw_u0"), &first("kw_u0")).await;
    assert_eq!(seen, Checked::Accepted);
}

#[tokio::test]
async fn an_expired_functional_account_touches_nothing() {
    for methods in ["password", "keyboard"] {
        let fleet = Fleet::start(&[("USERS", "1"), ("METHODS", methods)]);
        fleet.run("chage -d 0 kw_func");
        let refused = refused(&fleet.target()).await;
        assert!(
            has_class(&refused, Class::Expired, Scope::System),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn odd_passwords_arrive_as_they_are() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    let session = open(&fleet.target()).await;
    let kw_u0 = account("kw_u0");
    let long = format!("x{}", "Yz-9".repeat(63));
    let odd = [
        "with a blank at the end ",
        " and:colons::at:all:places:",
        "quotes'\"`$(id)$HOME\\n\\",
        "-n --percent %s%d%n",
        "päßwörter-ünd-日本-vLm9",
        "KW-END",
        long.as_str(),
    ];
    for odd in odd {
        let new = Credential::from(odd);
        assert_eq!(
            session.change(&kw_u0, &new, None).await,
            Changed::Done,
            "{odd}"
        );
        assert_eq!(
            session.check(&kw_u0, &new).await,
            Checked::Accepted,
            "{odd}"
        );
    }
}

#[tokio::test]
async fn faillock_is_not_tripped_by_five_rotations() {
    let fleet = Fleet::start(&[("USERS", "1"), ("FAILLOCK", "3")]);
    let session = open(&fleet.target()).await;
    let kw_u0 = account("kw_u0");
    let mut old = first("kw_u0");
    for number in 0..5 {
        let new = Credential::from(format!("New-{number}-vLm9Q"));
        assert_eq!(session.change(&kw_u0, &new, None).await, Changed::Done);
        let seen = session.check(&kw_u0, &old).await;
        assert!(matches!(seen, Checked::Rejected(_)), "{seen:?}");
        assert_eq!(
            session.check(&kw_u0, &new).await,
            Checked::Accepted,
            "rotation {number}"
        );
        old = new;
    }
}
