//! The names that accounts of a domain go by.

use keywheel_connectors::ldap::Ldap;
use keywheel_connectors::{Changed, Checked, Class, Connector, Scope};

use super::samba::{FUNCTIONAL, by_dn, ldb, session, sets};
use super::shared::{self, SAMBA, account};
use super::slapd::secret;

#[tokio::test]
async fn a_domain_account_is_found_by_each_of_its_names() {
    let session = session().await;
    for (round, login) in [
        "u8",
        "U8",
        "u8@ad.test",
        "u8@AD.TEST",
        "ADTEST\\u8",
        "adtest\\u8",
    ]
    .into_iter()
    .enumerate()
    {
        sets(
            &session,
            &account(login, None),
            &format!("By-name-{round}-kw"),
        )
        .await;
    }
    // Without a UPN of its own, the one that its login name implies.
    sets(
        &session,
        &account("keyed@ad.test", None),
        "By-implied-name-1",
    )
    .await;
    for login in [
        "u8@other.test",
        "OTHER\\u8",
        "\\u8",
        "ADTEST\\",
        "@ad.test",
        "nobody",
    ] {
        let changed = session
            .change(&account(login, None), &secret("Nobody-here-1"), None)
            .await;
        let right = matches!(&changed, Changed::NotNow(reason)
            if reason.class == Class::NoAccount && reason.scope == Scope::Account);
        assert!(right, "{login}: {changed:?}");
    }
}

#[tokio::test]
async fn an_identifier_finds_the_entry_wherever_it_lives() {
    let shown = ldb("ldbsearch", &["(sAMAccountName=u9)", "objectGUID"]);
    let id = shown
        .lines()
        .find_map(|line| line.strip_prefix("objectGUID: "));
    let pinned = account("u9", Some(format!("<GUID={}>", id.unwrap())));
    let session = session().await;
    sets(&session, &pinned, "By-identifier-1").await;
    assert_eq!(
        session
            .check(&by_dn("u9"), &secret("By-identifier-1"))
            .await,
        Checked::Accepted
    );
    let gone = account(
        "u9",
        Some("<GUID=00000000-0000-4000-8000-000000000000>".to_owned()),
    );
    let changed = session
        .change(&gone, &secret("By-identifier-2"), None)
        .await;
    assert!(matches!(changed, Changed::NotNow(reason) if reason.class == Class::NoAccount));
}

#[tokio::test]
async fn a_domain_login_name_that_is_a_filter_finds_nobody() {
    let session = session().await;
    for login in [
        "x)(uid=*",
        "*",
        "u*",
        "u8)(objectClass=*",
        "ADTEST\\*",
        "*@ad.test",
    ] {
        let changed = session
            .change(&account(login, None), &secret("Injected-1x"), None)
            .await;
        assert!(
            matches!(&changed, Changed::NotNow(reason) if reason.class == Class::NoAccount),
            "{login}: {changed:?}"
        );
    }
}

#[tokio::test]
async fn two_domain_entries_of_one_name_are_no_account() {
    let changed = session()
        .await
        .change(&account("twin", None), &secret("Which-of-them-1"), None)
        .await;
    assert!(matches!(&changed, Changed::NotNow(reason)
        if reason.class == Class::NoAccount && reason.text.contains("more than one")));
}

#[tokio::test]
async fn a_functional_account_of_a_domain_may_be_named_in_each_way() {
    for login in ["keywheel", "keywheel@ad.test", "ADTEST\\keywheel"] {
        let named = shared::functional(account(login, None), FUNCTIONAL);
        let session = Ldap::new().open(&SAMBA.ldaps(), Some(&named)).await;
        let session = session.unwrap_or_else(|reason| panic!("{login}: {reason}"));
        sets(
            &session,
            &by_dn("u10"),
            &format!("Set-by-{}-1", login.len()),
        )
        .await;
    }
}
