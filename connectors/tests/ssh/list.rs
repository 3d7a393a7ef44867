//! Which accounts a host has, as its own tools and ours say it.

use std::time::Duration;

use keywheel_connectors::{
    Class, DirectoryQuery, Elevation, Found, HostQuery, Listing, Lock, Query, Session, Target,
};
use tokio::time::timeout;

use crate::fleet::{Fleet, functional, open, ssh_part};

/// The fleet's own accounts.
fn ours() -> HostQuery {
    HostQuery {
        uid_min: 20_000,
        uid_max: 29_999,
        ..HostQuery::default()
    }
}

async fn list(session: &dyn Session, query: HostQuery) -> Listing {
    let listed = session.list(&Query::Host(query)).await;
    listed.unwrap_or_else(|reason| panic!("{reason}"))
}

fn named<'a>(listing: &'a Listing, name: &str) -> &'a Found {
    let mut found = listing.found.iter().filter(|row| row.name == name);
    let row = found
        .next()
        .unwrap_or_else(|| panic!("{name}: {listing:?}"));
    assert_eq!(found.next(), None);
    row
}

/// What whoever may see states sees of the fleet's accounts.
fn shows_states(fleet: &Fleet, listing: &Listing) {
    let today: i64 = fleet.run("date +%s").trim().parse().unwrap();
    let day_ms = 86_400_000;
    let ordinary = named(listing, "kw_u0");
    assert_eq!((ordinary.lock, ordinary.expired), (Lock::Open, Some(false)));
    let at = ordinary.changed_at.unwrap();
    assert!(today * 1_000 - at < 2 * day_ms && at % day_ms == 0, "{at}");
    let locked = named(listing, "kw_locked");
    assert_eq!((locked.lock, locked.expired), (Lock::Locked, Some(false)));
    let expired = named(listing, "kw_expired");
    assert_eq!((expired.lock, expired.changed_at), (Lock::Open, None));
    assert_eq!(expired.expired, Some(true));
    assert_eq!(named(listing, "root").id.as_deref(), Some("0"));
}

fn shows_names(listing: &Listing) {
    assert!(!listing.truncated && listing.unreadable == 0, "{listing:?}");
    // The functional account, five of special habits, two ordinary ones, and root.
    assert_eq!(listing.found.len(), 9, "{listing:?}");
    let closed = named(listing, "kw_nologin");
    assert_eq!(closed.shell.as_deref(), Some("/usr/sbin/nologin"));
    assert!(
        listing
            .found
            .iter()
            .all(|row| row.importable && row.dn.is_none())
    );
}

/// Notes all that the functional account's commands print.
fn listen(fleet: &Fleet) {
    fleet.run(
        "printf '#!/bin/sh\\nsh \"$@\" 2>&1 | tee -a /run/said\\n' >/run/told; chmod 755 /run/told; \
         touch /run/said; chmod 666 /run/said; usermod -s /run/told kw_func",
    );
}

#[tokio::test]
async fn every_right_to_see_states_shows_them_and_no_hash_is_ever_said() {
    let settings: [&[(&str, &str)]; 4] = [
        &[("WRAPPER", "1"), ("SUDO", "none")],
        &[("WRAPPER", "1"), ("SUDO", "none"), ("ASKS", "1")],
        &[("SUDO", "all")],
        &[("SUDO", "all"), ("ASKS", "1")],
    ];
    for settings in settings {
        let fleet = Fleet::start(&[&[("USERS", "2")], settings].concat());
        listen(&fleet);
        let session = open(&fleet.target(), Some(&functional())).await;
        let listing = list(session.as_ref(), ours()).await;
        shows_names(&listing);
        shows_states(&fleet, &listing);
        let said = fleet.run("cat /run/said");
        assert!(said.contains("KW:user:"), "{said}");
        // How the fleet's hashes begin, and every hash in full.
        assert!(!said.contains("$6$"), "{settings:?}");
    }
}

#[tokio::test]
async fn a_host_whose_passwd_lists_nothing_is_asked_otherwise() {
    let fleet = Fleet::start(&[("USERS", "2"), ("SUDO", "all")]);
    fleet.run(
        "printf '#!/bin/sh\\nexit 1\\n' >/run/passwd; chmod 755 /run/passwd; \
         mount --bind /run/passwd /usr/bin/passwd; usermod -p '' kw_u1; chage -E 1 kw_noise",
    );
    listen(&fleet);
    let session = open(&fleet.target(), Some(&functional())).await;
    let listing = list(session.as_ref(), ours()).await;
    shows_names(&listing);
    shows_states(&fleet, &listing);
    assert_eq!(named(&listing, "kw_u1").lock, Lock::NoPassword);
    assert_eq!(named(&listing, "kw_noise").expired, Some(true));
    assert!(!fleet.run("cat /run/said").contains("$6$"));
}

#[tokio::test]
async fn root_and_other_ways_to_more_rights_see_states_too() {
    let ways = [("doas", Elevation::Doas), ("pbrun", Elevation::Pbrun)];
    for (way, elevation) in ways {
        let fleet = Fleet::start(&[("USERS", "2"), ("SUDO", "all"), ("ELEVATION", way)]);
        let mut target = fleet.target();
        ssh_part(&mut target).elevation = elevation;
        let session = open(&target, Some(&functional())).await;
        shows_states(&fleet, &list(session.as_ref(), ours()).await);
    }
    let fleet = Fleet::start(&[("USERS", "2"), ("SUDO", "none"), ("ROOT_LOGIN", "1")]);
    let mut target = fleet.target();
    ssh_part(&mut target).elevation = Elevation::None;
    let mut root = functional();
    root.account = crate::fleet::account("root");
    let session = open(&target, Some(&root)).await;
    shows_states(&fleet, &list(session.as_ref(), ours()).await);
}

#[tokio::test]
async fn without_the_right_names_are_listed_and_states_are_unknown() {
    for asks in ["0", "1"] {
        let fleet = Fleet::start(&[("USERS", "2"), ("ASKS", asks)]);
        let session = open(&fleet.target(), Some(&functional())).await;
        let listing = list(session.as_ref(), ours()).await;
        shows_names(&listing);
        for row in &listing.found {
            let told = (row.lock, row.changed_at, row.expired);
            assert_eq!(told, (Lock::Unknown, None, None), "{row:?}");
        }
        // Asking was no step: the session still changes passwords.
        let new = keywheel_connectors::Credential::from("New-after-list-vLm9Q");
        let changed = session
            .change(&crate::fleet::account("kw_u0"), &new, None)
            .await;
        assert_eq!(changed, keywheel_connectors::Changed::Done);
    }
}

#[tokio::test]
async fn a_wrapper_of_before_lists_names_without_states() {
    let fleet = Fleet::start(&[("USERS", "2"), ("WRAPPER", "1"), ("SUDO", "none")]);
    // As it was shipped before it knew the verb.
    fleet.run("sed -i '/= list/d' /usr/local/sbin/keywheel-passwd");
    let session = open(&fleet.target(), Some(&functional())).await;
    let listing = list(session.as_ref(), ours()).await;
    shows_names(&listing);
    assert!(listing.found.iter().all(|row| row.lock == Lock::Unknown));
}

#[tokio::test]
async fn dropbear_and_a_csh_list_as_well() {
    let settings = [
        ("USERS", "2"),
        ("WRAPPER", "1"),
        ("SUDO", "none"),
        ("SERVER", "dropbear"),
    ];
    let fleet = Fleet::start(&settings);
    fleet.run("usermod -s /bin/tcsh kw_func");
    let session = open(&fleet.target(), Some(&functional())).await;
    let listing = list(session.as_ref(), ours()).await;
    shows_names(&listing);
    shows_states(&fleet, &listing);
}

#[tokio::test]
async fn only_the_range_and_the_shells_that_were_asked_for_are_listed() {
    let fleet = Fleet::start(&[("USERS", "3")]);
    let session = open(&fleet.target(), Some(&functional())).await;
    let query = HostQuery {
        with_root: false,
        shells: vec!["/bin/bash".to_owned()],
        ..ours()
    };
    let listing = list(session.as_ref(), query).await;
    let mut names: Vec<_> = listing.found.iter().map(|row| row.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["kw_noise", "kw_u0", "kw_u1", "kw_u2"]);
    let one = HostQuery {
        uid_min: 20_006,
        uid_max: 20_006,
        with_root: false,
        shells: Vec::new(),
    };
    let listing = list(session.as_ref(), one).await;
    assert_eq!(listing.found.len(), 1);
    assert_eq!(listing.found[0].id.as_deref(), Some("20006"));
}

#[tokio::test]
async fn nobody_lists_without_a_functional_account_nor_entries_of_a_host() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    let session = open(&fleet.target(), None).await;
    let refused = session.list(&Query::Host(ours())).await.unwrap_err();
    assert_eq!(refused.class, Class::Privilege);
    let session = open(&fleet.target(), Some(&functional())).await;
    let query = Query::Directory(DirectoryQuery::default());
    let refused = session.list(&query).await.unwrap_err();
    assert_eq!(refused.class, Class::Incompatible);
}

/// Puts another `getent` in the place of the host's.
fn getent(fleet: &Fleet, script: &str) {
    fleet.run(&format!(
        "printf '#!/bin/sh\\n%s\\n' '{script}' >/run/getent; chmod 755 /run/getent; \
         mount --bind /run/getent /usr/bin/getent"
    ));
}

#[tokio::test]
async fn hostile_rows_are_escaped_cut_and_counted() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    fleet.run(
        "printf 'evil\\033[2J:x:20900:1::/:/bin/sh\\nUpper:x:20901:1::/:/bin/sh\\n\
         wide:x:20902:1::/:/%s\\nno uid:x:20903x:1::/:/bin/sh\\n:x:20904:1::/:/bin/sh\\n\
         kw_u0:x:20905:1::/:/bin/other\\n' \"$(head -c 200000 /dev/zero | tr '\\0' x)\" >>/etc/passwd",
    );
    let session = open(&fleet.target(), Some(&functional())).await;
    let listing = list(session.as_ref(), ours()).await;
    assert!(!named(&listing, "evil\\u{1b}[2J").importable);
    assert!(!named(&listing, "Upper").importable);
    let wide = named(&listing, "wide");
    assert!(wide.importable && wide.shell.as_ref().unwrap().len() <= 1_024);
    // The host goes by the first entry of a name.
    assert_eq!(named(&listing, "kw_u0").shell.as_deref(), Some("/bin/bash"));
}

#[tokio::test]
async fn a_host_that_never_stops_listing_is_cut() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    getent(
        &fleet,
        "i=20000; while i=$((i + 1)); do echo \"n$i:x:$((i % 9000 + 20000)):1::/:/bin/sh\"; done",
    );
    let session = open(&fleet.target(), Some(&functional())).await;
    let listing = list(session.as_ref(), ours()).await;
    assert!(listing.truncated);
    assert_eq!(listing.found.len(), Listing::ROWS_MAX);
}

#[tokio::test]
async fn a_host_that_never_stops_naming_others_is_cut() {
    let fleet = Fleet::start(&[("USERS", "1")]);
    getent(&fleet, "exec yes a:x:1:1::/:/bin/sh");
    let session = open(&fleet.target(), Some(&functional())).await;
    let listing = list(session.as_ref(), ours()).await;
    assert!(listing.truncated && listing.found.is_empty());
    // Nothing of it goes on there.
    fleet.run("while pgrep -x yes >/dev/null; do sleep 0.1; done");
}

#[tokio::test]
async fn a_host_that_floods_or_never_ends_is_left_in_time() {
    let limit = Duration::from_secs(3);
    for script in [
        // One line, for ever; and silence.
        "exec cat /dev/zero",
        "exec sleep 60",
    ] {
        let fleet = Fleet::start(&[("USERS", "1")]);
        getent(&fleet, script);
        let target = Target {
            timeout: limit,
            ..fleet.target()
        };
        let session = open(&target, Some(&functional())).await;
        let query = Query::Host(ours());
        let ended = timeout(limit * 2, session.list(&query)).await;
        assert!(ended.expect("left in time").is_err(), "{script}");
    }
    // Past our own script: whatever is said is too much.
    let fleet = Fleet::start(&[("USERS", "1")]);
    let shell = |script: &str| {
        fleet.run(&format!(
            "printf '#!/bin/sh\n%s\n' '{script}' >/run/new; chmod 755 /run/new; mv /run/new /run/shell"
        ))
    };
    shell("exec sh \"$@\"");
    fleet.run("usermod -s /run/shell kw_func");
    let session = open(&fleet.target(), Some(&functional())).await;
    shell("exec yes KW:user:20001:kw_u0:/bin/sh");
    let ended = session.list(&Query::Host(ours())).await;
    assert!(ended.is_err(), "{ended:?}");
}
