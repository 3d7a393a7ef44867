//! Answers made by hand: what a directory says of itself and of whoever logged in.

use std::time::Duration;

use keywheel_connectors::ldap::Ldap;
use keywheel_connectors::{Changed, Checked, Class, Connector, Identity, Scope, Target};

use super::middle;
use super::shared::on_its_own;
use super::slapd::{
    FUNCTIONAL_SECRET, INITIAL_SECRET, Slapd, by_dn, dn, functional, ldap_mut, open, secret,
};

/// One BER element, at most 64 KiB.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let size = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&[tag, 0x82], &size[..], &body].concat()
}

fn message(id: u8, operation: &[u8]) -> Vec<u8> {
    element(0x30, &[&[0x02, 1, id], operation])
}

/// A result with code 0 and, for an extended one, a value.
fn success(tag: u8, value: Option<&str>) -> Vec<u8> {
    let value = value.map_or_else(Vec::new, |text| element(0x8b, &[text.as_bytes()]));
    element(tag, &[&[0x0a, 1, 0, 4, 0, 4, 0], &value])
}

fn root_dse(attributes: &[(&str, &[&str])]) -> Vec<u8> {
    searched(1, attributes)
}

/// The answer to a search that finds one entry.
fn searched(id: u8, attributes: &[(&str, &[&str])]) -> Vec<u8> {
    let attributes = attributes.iter().map(|(name, values)| {
        let values = values
            .iter()
            .map(|value| element(0x04, &[value.as_bytes()]));
        let values = values.collect::<Vec<_>>().concat();
        element(
            0x30,
            &[
                &element(0x04, &[name.as_bytes()]),
                &element(0x31, &[&values]),
            ],
        )
    });
    let attributes = element(0x30, &[&attributes.collect::<Vec<_>>().concat()]);
    let entry = message(id, &element(0x64, &[&[4, 0], &attributes]));
    [entry, message(id, &success(0x65, None))].concat()
}

const PASSWORD_MODIFY: &str = "1.3.6.1.4.1.4203.1.11.1";
const WHO_AM_I: &str = "1.3.6.1.4.1.4203.1.11.3";
const DOMAIN: &str = "1.2.840.113556.1.4.800";
const READ_ONLY: &str = "1.2.840.113556.1.4.1920";
const CONTEXTS: [(&str, &[&str]); 2] = [
    ("defaultNamingContext", &["DC=ad,DC=test"]),
    (
        "configurationNamingContext",
        &["CN=Configuration,DC=ad,DC=test"],
    ),
];

#[tokio::test]
async fn directories_that_are_not_served_are_refused_by_name() {
    let slapd = Slapd::start(60, &[]);
    let (middle, port) = middle::impostor(&slapd).await;
    let target = slapd.at(port);
    let [context, configuration] = CONTEXTS;
    for (attributes, why) in [
        (
            vec![
                ("supportedCapabilities", &[DOMAIN, READ_ONLY][..]),
                context,
                configuration,
            ],
            "read-only",
        ),
        (
            vec![("supportedCapabilities", &[DOMAIN][..]), context],
            "does not name its domain",
        ),
        (
            vec![("supportedExtension", &[WHO_AM_I][..])],
            "password modify",
        ),
        (
            vec![("supportedExtension", &[PASSWORD_MODIFY][..])],
            "who is logged in",
        ),
        (
            vec![("vendorName", &["389 Project"][..])],
            "password modify",
        ),
        (vec![], "password modify"),
    ] {
        *middle.poison.lock().unwrap() = Some(root_dse(&attributes));
        let identified = Ldap::new().identify(&target).await.unwrap_err();
        assert_eq!(identified.class, Class::Incompatible);
        assert!(identified.text.contains(why), "{identified}");
        // Nobody logs in there either.
        let opened = Ldap::new()
            .open(&target, Some(&functional()))
            .await
            .map(|_| ());
        assert_eq!(opened.unwrap_err(), identified);
    }
}

type Attributes = Vec<(&'static str, &'static [&'static str])>;

/// What each product says of itself, and the name that is pinned for it.
fn products() -> Vec<(&'static str, Attributes)> {
    const BOTH: &[&str] = &[PASSWORD_MODIFY, WHO_AM_I];
    let [context, configuration] = CONTEXTS;
    let domain = vec![
        ("supportedCapabilities", &[DOMAIN][..]),
        context,
        configuration,
    ];
    let with = |mut attributes: Vec<_>, name, values: &'static [&'static str]| {
        attributes.push((name, values));
        attributes
    };
    let both = || vec![("SUPPORTEDEXTENSION", BOTH)];
    vec![
        ("ad", domain.clone()),
        (
            "samba",
            with(
                domain,
                "vendorName",
                &["Samba Team (https://www.samba.org)"],
            ),
        ),
        ("389ds", with(both(), "vendorName", &["389 Project"])),
        (
            "openldap",
            with(both(), "structuralObjectClass", &["OpenLDAProotDSE"]),
        ),
        ("generic", both()),
    ]
}

#[tokio::test]
async fn a_directory_that_is_not_the_pinned_one_hears_no_login() {
    let slapd = Slapd::start(63, &[]);
    let (middle, port) = middle::impostor(&slapd).await;
    for (name, attributes) in products() {
        *middle.poison.lock().unwrap() = Some(root_dse(&attributes));
        for pinned in [
            "openldap", "389ds", "ad", "samba", "generic", "", "OpenLDAP",
        ] {
            let mut target = Target {
                port,
                ..slapd.ldaps()
            };
            ldap_mut(&mut target).flavour = Some(pinned.to_owned());
            let flavour = name.to_owned();
            let identity = Ldap::new().identify(&target).await;
            assert_eq!(identity, Ok(Identity::Ldap { flavour }));
            middle.heard.lock().unwrap().clear();
            // Nobody logs in, so that what was pinned is all that decides.
            let opened = Ldap::new().open(&target, None).await.map(|_| ());
            if pinned == name || (pinned, name) == ("ad", "samba") {
                assert_eq!(opened, Ok(()), "{pinned}: {name}");
                continue;
            }
            let reason = opened.unwrap_err();
            assert_eq!(
                (reason.class, reason.scope),
                (Class::IdentityMismatch, Scope::System)
            );
            let opened = Ldap::new().open(&target, Some(&functional())).await;
            assert_eq!(opened.map(|_| ()).unwrap_err(), reason);
            let secret = FUNCTIONAL_SECRET.as_bytes();
            let heard = middle.heard();
            assert!(!heard.windows(secret.len()).any(|bytes| bytes == secret));
        }
    }
}

#[tokio::test]
async fn a_login_that_names_somebody_else_is_not_accepted() {
    let slapd = Slapd::start(61, &[]);
    let (middle, port) = middle::impostor(&slapd).await;
    let target = Target {
        timeout: Duration::from_secs(1),
        ..slapd.at(port)
    };
    let session = open(&target).await;
    let right = format!("dn: {}", dn("u1"));
    for (identity, same) in [
        ("dn:uid=u2,ou=people,dc=keywheel,dc=test", false),
        ("", false),
        ("u:u1", false),
        (&right, true),
    ] {
        // Each answer is replaced by both: the library drops the one that it does not wait for.
        let bound = message(1, &success(0x61, None));
        let who = message(2, &success(0x78, Some(identity)));
        *middle.poison.lock().unwrap() = Some([bound, who].concat());
        // Becoming nobody afterwards is never answered, and the verdict stands all the same.
        let checked = session
            .check(&by_dn("u1"), &secret("Whatever-it-is-1"))
            .await;
        match checked {
            Checked::NotNow(reason) => {
                assert!(!same, "{identity}: {reason}");
                assert_eq!(
                    reason.class,
                    Class::IdentityMismatch,
                    "{identity}: {reason}"
                );
            }
            Checked::Accepted => assert!(same, "{identity}"),
            Checked::Rejected(reason) => panic!("{identity}: {reason}"),
        }
    }
}

#[tokio::test]
async fn a_domain_login_counts_only_for_the_entry_that_its_token_begins_with() {
    let slapd = Slapd::start(64, &[]);
    let (middle, port) = middle::impostor(&slapd).await;
    let target = Target {
        port,
        timeout: Duration::from_secs(1),
        ..slapd.ldaps()
    };
    let [context, configuration] = CONTEXTS;
    let domain = [
        ("supportedCapabilities", &[DOMAIN][..]),
        context,
        configuration,
    ];
    *middle.poison.lock().unwrap() = Some(root_dse(&domain));
    let session = Ldap::new().open(&target, None).await.unwrap();
    for (token, own, same) in [
        (&["S-me", "S-group"][..], &["S-me"][..], true),
        (&["S-you", "S-me"], &["S-me"], false),
        (&["S-you"], &["S-me"], false),
        (&[], &["S-me"], false),
        (&["S-me"], &[], false),
        (&[], &[], false),
    ] {
        let token = searched(2, &[("tokenGroups", token)]);
        let own = searched(3, &[("objectSid", own)]);
        *middle.poison.lock().unwrap() =
            Some([message(1, &success(0x61, None)), token, own].concat());
        let checked = session
            .check(&by_dn("u1"), &secret("Whatever-it-is-1"))
            .await;
        let right = match &checked {
            Checked::Accepted => same,
            Checked::NotNow(reason) => !same && reason.class == Class::IdentityMismatch,
            Checked::Rejected(_) => false,
        };
        assert!(right, "{checked:?}");
    }
}

#[tokio::test]
async fn a_domain_that_does_not_name_the_minimum_age_is_asked_for_its_times() {
    let slapd = Slapd::start(65, &[]);
    let (middle, port) = middle::impostor(&slapd).await;
    let target = Target {
        port,
        timeout: Duration::from_secs(1),
        ..slapd.ldaps()
    };
    let [context, configuration] = CONTEXTS;
    let domain = [
        ("supportedCapabilities", &[DOMAIN][..]),
        context,
        configuration,
    ];
    *middle.poison.lock().unwrap() = Some(root_dse(&domain));
    let session = Ldap::new().open(&target, None).await.unwrap();
    let text = b"0000052D: SvcErr: DSID-031A1262, problem 5003";
    let parts: [&[u8]; 3] = [&[0x0a, 1, 19, 4, 0], &element(0x04, &[text]), &[]];
    for (now, class) in [
        ("20261121000000.0Z", Class::Busy),
        ("20271121000000.0Z", Class::Refused),
        ("whenever", Class::Refused),
    ] {
        // The password was set in November 2026 and must stay for a day.
        let answers = [
            message(1, &success(0x61, None)),
            searched(2, &[("tokenGroups", &["S-me"])]),
            searched(3, &[("objectSid", &["S-me"])]),
            message(4, &element(0x67, &parts)),
            searched(5, &[("currentTime", &[now])]),
            searched(6, &[("pwdLastSet", &["134397769099941560"])]),
            searched(7, &[("minPwdAge", &["-864000000000"])]),
        ];
        *middle.poison.lock().unwrap() = Some(answers.concat());
        let new = secret("Whatever-it-is-2");
        let changed = session
            .change(
                &on_its_own(by_dn("u1")),
                &new,
                Some(&secret("Whatever-it-is-1")),
            )
            .await;
        let (Changed::NotNow(reason) | Changed::Refused(reason)) = &changed else {
            panic!("{now}: {changed:?}");
        };
        assert_eq!(reason.class, class, "{now}");
        assert_eq!(matches!(changed, Changed::NotNow(_)), class == Class::Busy);
    }
}

/// A bind without name and password: version 3, two empty strings.
const NOBODY: &[u8] = &[0x60, 7, 2, 1, 3, 4, 0, 0x80, 0];

#[tokio::test]
async fn a_kept_connection_waits_as_nobody() {
    let slapd = Slapd::start(62, &[]);
    let (middle, port) = middle::impostor(&slapd).await;
    let target = slapd.at(port);
    let session = open(&target).await;
    let checked = session.check(&by_dn("u1"), &secret(INITIAL_SECRET)).await;
    assert_eq!(checked, Checked::Accepted);
    assert!(middle.heard().ends_with(NOBODY));
}

/// A refusal to modify a password, with a text.
fn unwilling(id: u8, text: &[u8]) -> Vec<u8> {
    let parts: [&[u8]; 2] = [&[0x0a, 1, 53, 4, 0], &element(0x04, &[text])];
    message(id, &element(0x78, &parts))
}

#[tokio::test]
async fn a_write_that_is_misjudged_as_unprotected_is_sent_again_and_not_for_ever() {
    let slapd = Slapd::start(66, &[]);
    for (misjudged, sent, done) in [(1, 2, true), (2, 3, true), (9, 3, false)] {
        let (middle, port) = middle::impostor(&slapd).await;
        let session = open(&slapd.at(port)).await;
        // The root DSE, the login and who that is were the first three.
        let answers = (4..12).map(|id| match id - 4 {
            n if n < misjudged => unwilling(id, b"Minimum SSF not met."),
            _ => message(id, &success(0x78, None)),
        });
        *middle.poison.lock().unwrap() = Some(answers.collect::<Vec<_>>().concat());
        let new = "Whatever-it-is-1";
        let changed = session.change(&by_dn("u1"), &secret(new), None).await;
        let heard = middle.heard();
        let seen = heard.windows(new.len()).filter(|at| *at == new.as_bytes());
        assert_eq!(seen.count(), sent, "{misjudged}");
        match changed {
            Changed::Done => assert!(done, "{misjudged}"),
            // Nothing was set, and another account would fare no better.
            Changed::NotNow(reason) => {
                let right = (reason.class, reason.scope) == (Class::Incompatible, Scope::System);
                assert!(!done && right, "{misjudged}: {reason}");
            }
            Changed::Refused(_) | Changed::Unknown(_) => panic!("{misjudged}: {changed:?}"),
        }
    }
}
