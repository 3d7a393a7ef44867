//! Which accounts a directory has, on every product.

use std::collections::BTreeMap;
use std::time::Duration;

use keywheel_connectors::ldap::Ldap;
use keywheel_connectors::{
    Class, Connector, DirectoryQuery, Filter, Found, HostQuery, Listing, Lock, Query, Reason,
    Session, Target,
};
use tokio::time::timeout;

use super::slapd::{
    FUNCTIONAL_SECRET, INITIAL_SECRET, Slapd, dn, functional, functional_dn, open, secret,
};
use super::{middle, samba, shared};

async fn ask(session: &dyn Session, filter: Option<&str>) -> Result<Listing, Reason> {
    let filter = filter.map(|text| Filter::parse(text).unwrap());
    session
        .list(&Query::Directory(DirectoryQuery { filter }))
        .await
}

async fn list(session: &dyn Session, filter: Option<&str>) -> Listing {
    let listed = ask(session, filter).await;
    listed.unwrap_or_else(|reason| panic!("{reason}"))
}

/// The rows of a listing by DN; every one is importable.
fn rows(listing: Listing) -> BTreeMap<String, Found> {
    assert!(
        listing.found.iter().all(|row| row.importable),
        "{listing:?}"
    );
    let rows = listing.found.into_iter();
    rows.map(|row| (row.dn.clone().unwrap(), row)).collect()
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12]
}

#[tokio::test]
async fn openldap_lists_its_accounts_page_by_page_with_their_states() {
    let slapd = Slapd::start(90, &[("N", "230")]);
    let session = open(&slapd.ldaps()).await;
    let listing = list(session.as_ref(), None).await;
    assert!(!listing.truncated && listing.unreadable == 0);
    let rows = rows(listing);
    for number in 0..230 {
        let name = format!("u{number}");
        assert_eq!(rows[&dn(&name)].name, name);
    }
    assert!(!rows.contains_key(&functional_dn()));
    // Two entries of one name are two rows, told apart by their DN.
    assert_eq!(rows.values().filter(|row| row.name == "twin").count(), 2);
    let locked = &rows[&dn("locked")];
    assert_eq!(locked.lock, Lock::Locked);
    assert_eq!(rows[&dn("reset")].expired, Some(true));
    assert!(rows.values().all(|row| is_uuid(row.id.as_ref().unwrap())));
    // Its policy notes the time of every password that is set.
    let new = secret("Set-for-the-list-1");
    let changed = session.change(&super::slapd::by_dn("u1"), &new, None).await;
    assert_eq!(changed, keywheel_connectors::Changed::Done);
    let listing = list(session.as_ref(), Some("(uid=u1)")).await;
    let [row] = listing.found.as_slice() else {
        panic!("{listing:?}");
    };
    assert_eq!(row.lock, Lock::Open);
    let shown = slapd.attributes("u1", &["pwdChangedTime"]);
    let year = shown.split("pwdChangedTime: ").nth(1).unwrap()[..4].to_owned();
    // 2020 and 2100: the reading of the time itself is tested where it is read.
    let at = row.changed_at.unwrap();
    assert!(
        (1_577_836_800_000..4_102_444_800_000).contains(&at),
        "{year} {at}"
    );
}

#[tokio::test]
async fn a_filter_narrows_and_never_widens() {
    let slapd = Slapd::start(91, &[]);
    let session = open(&slapd.ldaps()).await;
    for (filter, count) in [
        ("(uid=u1*)", 3),
        ("(|(uid=u1)(uid=u2))", 2),
        ("(cn=keywheel)", 0),
        ("(uid=nobody)", 0),
        ("(!(uid=*))", 0),
        ("(description=\\2a\\29\\28)", 0),
    ] {
        let listing = list(session.as_ref(), Some(filter)).await;
        assert_eq!(listing.found.len(), count, "{filter}: {listing:?}");
        assert!(!listing.truncated);
    }
}

#[tokio::test]
async fn a_directory_s_own_limit_shows_as_cut() {
    let slapd = Slapd::start(92, &[("N", "600")]);
    let session = open(&slapd.ldaps()).await;
    let listing = list(session.as_ref(), None).await;
    // slapd hands out 500 entries unless its limits say otherwise.
    assert!(listing.truncated);
    assert_eq!(listing.found.len(), 500);
    // The session goes on.
    let listing = list(session.as_ref(), Some("(uid=u59*)")).await;
    assert_eq!(listing.found.len(), 11);
}

#[tokio::test]
async fn what_cannot_be_listed_is_refused_by_name() {
    let slapd = Slapd::start(93, &[]);
    let target = slapd.ldaps();
    let session = Ldap::new().open(&target, None).await.unwrap();
    let reason = ask(session.as_ref(), None).await.unwrap_err();
    assert_eq!(reason.class, Class::Privilege);
    let session = open(&target).await;
    let query = Query::Host(HostQuery::default());
    let reason = session.list(&query).await.unwrap_err();
    assert_eq!(reason.class, Class::Incompatible);
    let mut elsewhere = slapd.ldaps();
    super::slapd::ldap_mut(&mut elsewhere).base_dn = "ou=nowhere,dc=keywheel,dc=test".to_owned();
    let session = open(&elsewhere).await;
    let reason = ask(session.as_ref(), None).await.unwrap_err();
    assert_eq!(reason.class, Class::NoAccount);
}

#[tokio::test]
async fn a_389_directory_server_lists_its_accounts() {
    let functional = shared::functional(
        shared::account("keywheel", Some(functional_dn())),
        FUNCTIONAL_SECRET,
    );
    let session = shared::open(&shared::DS389.ldaps(), &functional).await;
    let listing = list(session.as_ref(), Some("(|(uid=u3*)(uid=off)(uid=must))")).await;
    assert!(!listing.truncated);
    let rows = rows(listing);
    assert_eq!(rows.len(), 13, "{rows:?}");
    assert_eq!(rows[&dn("off")].lock, Lock::Locked);
    assert_eq!(rows[&dn("u39")].name, "u39");
    // Four groups of eight signs, as its own identifiers are written.
    assert!(
        rows.values()
            .all(|row| row.id.as_ref().unwrap().len() == 35)
    );
    assert!(rows.values().all(|row| row.lock != Lock::Open));
}

#[tokio::test]
async fn a_domain_lists_its_people_and_no_computer() {
    let session = shared::open(&shared::SAMBA.ldaps(), &samba::functional()).await;
    let listing = list(session.as_ref(), None).await;
    assert!(!listing.truncated && listing.unreadable == 0);
    let rows = rows(listing);
    let row = |name: &str| &rows[&format!("CN={name},OU=people,DC=ad,DC=test")];
    for number in 0..60 {
        let name = format!("u{number}");
        assert_eq!(row(&name).name, name);
    }
    assert!(rows.values().all(|row| !row.name.ends_with('$')));
    assert!(rows.values().all(|row| is_uuid(row.id.as_ref().unwrap())));
    assert_eq!(row("off").lock, Lock::Locked);
    assert_eq!(row("must").expired, Some(true));
    assert_eq!(
        (row("must").lock, row("must").changed_at),
        (Lock::Open, None)
    );
    assert_eq!(row("gone").expired, Some(true));
    let ordinary = row("u59");
    assert_eq!((ordinary.lock, ordinary.expired), (Lock::Open, Some(false)));
    assert!(ordinary.changed_at.unwrap() > 1_577_836_800_000);
    // Its identifier is one that the entry is found by.
    let id = ordinary.id.clone().unwrap();
    let account = shared::account("u59", Some(format!("<GUID={id}>")));
    let checked = session.check(&account, &secret(samba::INITIAL)).await;
    assert_eq!(checked, keywheel_connectors::Checked::Accepted);
    let listing = list(session.as_ref(), Some("(sAMAccountName=u1*)")).await;
    assert_eq!(listing.found.len(), 11);
}

/// One BER element, at most 64 KiB.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let size = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&[tag, 0x82], &size[..], &body].concat()
}

fn message(id: u16, parts: &[&[u8]]) -> Vec<u8> {
    let id = [&[2, 2][..], &id.to_be_bytes()].concat();
    element(0x30, &[&id, &parts.concat()])
}

fn entry(name: &[u8], uids: &[&[u8]]) -> Vec<u8> {
    let values: Vec<u8> = uids.iter().flat_map(|uid| element(0x04, &[uid])).collect();
    let uid = element(
        0x30,
        &[&element(0x04, &[b"uid"]), &element(0x31, &[&values])],
    );
    element(0x64, &[&element(0x04, &[name]), &element(0x30, &[&uid])])
}

/// The end of a page, with this in the paging control.
fn page_end(control: &[u8]) -> Vec<u8> {
    let done = element(0x65, &[&[0x0a, 1, 0, 4, 0, 4, 0]]);
    let oid = element(0x04, &[b"1.2.840.113556.1.4.319"]);
    let control = element(0x30, &[&oid, &element(0x04, &[control])]);
    [done, element(0xa0, &[&control])].concat()
}

fn cookie(text: &[u8]) -> Vec<u8> {
    element(0x30, &[&[2, 1, 0], &element(0x04, &[text])])
}

/// A session on a directory that answers every search with what `answer` gives for its number.
async fn answered(
    number: u16,
    limit: Duration,
    answer: impl Fn(u16) -> Vec<u8>,
) -> (Slapd, Result<Listing, Reason>) {
    let slapd = Slapd::start(number, &[]);
    let (middle, port) = middle::impostor(&slapd).await;
    let target = Target {
        timeout: limit,
        ..slapd.at(port)
    };
    let session = open(&target).await;
    // The library counts its requests; it drops answers to those that it has not made yet.
    let answers = (1..=400).flat_map(answer);
    *middle.poison.lock().unwrap() = Some(answers.collect());
    let listed = timeout(limit * 2, ask(session.as_ref(), None)).await;
    (slapd, listed.expect("left in time"))
}

#[tokio::test]
async fn hostile_entries_are_escaped_cut_and_counted() {
    let page = |id| {
        let wide = [b"uid=w,dc=test,o=".as_slice(), &b"x".repeat(3_000)].concat();
        let entries = [
            entry(b"uid=a\x1b[2J,dc=test", &[b"a\x1b[2J"]),
            entry(b"uid=fine,dc=test", &[b"fine"]),
            entry(b"uid=two,dc=test", &[b"two", b"three"]),
            entry(b"uid=none,dc=test", &[]),
            entry(b"uid=raw,dc=test", &[b"\xff\xfe"]),
            entry(b"no name at all", &[b"lost"]),
            entry(&wide, &[b"wide"]),
        ];
        let entries = entries.iter().flat_map(|entry| message(id, &[entry]));
        [entries.collect(), message(id, &[&page_end(&cookie(b""))])].concat()
    };
    let (_slapd, listed) = answered(94, Duration::from_secs(5), page).await;
    let listing = listed.unwrap();
    assert_eq!((listing.truncated, listing.unreadable), (false, 3));
    let seen: Vec<_> = listing
        .found
        .iter()
        .map(|row| (row.name.as_str(), row.importable))
        .collect();
    assert_eq!(
        seen,
        [
            ("a\\u{1b}[2J", false),
            ("fine", true),
            ("lost", false),
            ("wide", false)
        ]
    );
    let mut dns = listing.found.iter().map(|row| row.dn.as_ref().unwrap());
    assert!(dns.clone().all(|dn| dn.len() <= 1_024));
    assert_eq!(dns.next_back().map(String::len), Some(1_024));
}

#[tokio::test]
async fn pages_that_never_end_do() {
    // Every page of one poison is there at once: each names another one to come.
    let page = |id| message(id, &[&page_end(&cookie(b"more"))]);
    let (_slapd, listed) = answered(95, Duration::from_secs(10), page).await;
    match listed {
        Ok(listing) => assert!(listing.truncated && listing.found.is_empty(), "{listing:?}"),
        Err(reason) => assert_eq!(reason.class, Class::Unreachable, "{reason}"),
    }
}

#[tokio::test]
async fn entries_that_never_end_are_cut_and_a_deep_cookie_is_the_end() {
    let many = |id| {
        let rows = (0..30).flat_map(|row| {
            let name = format!("n{id}x{row}");
            let dn = format!("uid={name},dc=test");
            message(id, &[&entry(dn.as_bytes(), &[name.as_bytes()])])
        });
        // No end of the page: the next answers go on with it.
        rows.collect()
    };
    let limit = Duration::from_secs(3);
    let (_slapd, listed) = answered(96, limit, many).await;
    assert!(listed.is_err(), "{listed:?}");
    let deep = |id| message(id, &[&page_end(&vec![0x30; 20_000])]);
    let (_slapd, listed) = answered(97, limit, deep).await;
    let listing = listed.unwrap();
    assert!(listing.found.is_empty() && !listing.truncated);
}

#[tokio::test]
async fn a_list_asks_for_nothing_secret() {
    let slapd = Slapd::start(98, &[]);
    let (middle, port) = middle::impostor(&slapd).await;
    let session = Ldap::new()
        .open(&slapd.at(port), Some(&functional()))
        .await
        .unwrap();
    middle.heard.lock().unwrap().clear();
    let listing = list(session.as_ref(), None).await;
    assert!(!listing.found.is_empty());
    let heard = String::from_utf8_lossy(&middle.heard()).to_lowercase();
    assert!(heard.contains("pwdchangedtime"));
    for word in [
        "userpassword",
        "unicodepwd",
        FUNCTIONAL_SECRET,
        INITIAL_SECRET,
    ] {
        assert!(!heard.contains(word), "{word}");
    }
}
