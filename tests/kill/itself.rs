//! The harness looked at itself: what it is there to see is done on purpose, and must be seen.

use std::time::Duration;

use keywheel::clock::SystemClock;
use keywheel::model::credential::Part;
use serde_json::json;

use crate::directory::{Directory, LDAP_INITIAL};
use crate::kept::Secret;
use crate::line::State;
use crate::oracle::Verdict;
use crate::program::{command, find, run};
use crate::tally::budget;
use crate::target::{Said, Target};
use crate::wait::until;
use crate::world::{Plan, World};

/// Changes an account behind the service's back, as the directory's own administrator.
fn change(directory: &Directory, name: &str, secret: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (admin, new) = (folder.path().join("admin"), folder.path().join("new"));
    std::fs::write(&admin, "admin-secret").unwrap();
    std::fs::write(&new, secret).unwrap();
    run(command(find("ldappasswd", "ldap-utils"))
        .env("LDAPTLS_REQCERT", "never")
        .args(["-x", "-D", "cn=admin,dc=keywheel,dc=test", "-y"])
        .arg(admin)
        .arg("-T")
        .arg(new)
        .arg("-H")
        .arg(format!("ldaps://{}:{}", directory.ip, directory.port))
        .arg(directory.dn(name)));
}

impl World {
    fn id_of(&self, name: &str) -> i64 {
        let mut accounts = self.accounts.iter();
        accounts.find(|one| one.name == name).unwrap().id
    }

    /// One login with a secret that nobody has ever had is one more on the target's counter.
    pub(crate) fn counters_count(&mut self) {
        for system in 0..self.systems.len() {
            let mut accounts = self.accounts.iter();
            let account = accounts.find(|one| one.system == system && !one.is_functional);
            let name = &account.unwrap().name;
            let target = &self.systems[system].target;
            let counted = || {
                target
                    .failed_logins()
                    .get(name)
                    .copied()
                    .unwrap_or_default()
            };
            let before = counted();
            let wrong = Secret::new("Never-8uX-anybodys");
            let said = target.login(name, Part::Password, &wrong, self.folder.path());
            assert_eq!(said, Said::Refused, "{}", target.name());
            assert_eq!(counted(), before + 1, "{} counts", target.name());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_harness_sees_what_it_is_there_to_see() {
    let mut world = World::begin(Plan {
        seed: 1,
        shares: false,
        host: 0,
        host_settings: &[],
        directory: 6,
    })
    .await;
    let client = world.client();
    for name in ["u0", "u1", "u2", "u3"] {
        let path = format!("/api/v1/accounts/{}/rotate?wait=60", world.id_of(name));
        let changed = client.order(&path, &json!({})).await.expect(202);
        assert_eq!(changed.json()["state"], "succeeded");
    }
    let found = world.check().await;
    assert!(found.values().all(|verdict| *verdict == Verdict::Current));
    assert!(world.tally.faults.is_empty() && world.tally.lost == 0);

    let Target::Directory(directory) = &world.systems[0].target else {
        unreachable!()
    };
    change(directory, "u0", "Somebody-elses-3wQ");
    change(directory, "u1", LDAP_INITIAL);
    let wrong = Secret::new("Never-8uX-anybodys");
    for _ in 0..=budget() {
        let target = &world.systems[0].target;
        let said = target.login("u3", Part::Password, &wrong, world.folder.path());
        assert_eq!(said, Said::Refused);
    }
    let (u2, u3) = (world.id_of("u2"), world.id_of("u3"));
    let tables = world.tables().await;
    tables.spoil(u2, 2).await;
    tables.forget(u3, 1).await;
    tables.close().await;
    world.accepted.push(4_711);
    let found = world.check().await;
    let verdict = |name| found[&(world.id_of(name), Part::Password)].clone();
    assert_eq!(verdict("u0"), Verdict::Lost);
    assert_eq!(verdict("u1"), Verdict::Drifted(1));
    assert_eq!(verdict("u2"), Verdict::Lost);
    assert_eq!(verdict("u3"), Verdict::Current);
    assert_eq!(world.tally.lost, 2);
    world.rest().await;
    let faults: Vec<&str> = world.tally.faults.keys().map(String::as_str).collect();
    for meant in [
        "u1 on OpenLDAP, password: current does not log in, nothing says so, and version 1 does",
        "u2: the current password is not what is revealed",
        "u2: version 2 does not open",
        "u3 on OpenLDAP: more logins failed than the budget allows",
        "u3: a version is not kept",
        "job 4711 was accepted, and has no end",
    ] {
        assert!(faults.contains(&meant), "{meant}: {faults:?}");
    }
    assert_eq!(faults.len(), 6, "{faults:?}");
    tokio::task::block_in_place(|| world.counters_count());
    let tally = world.end().await;
    // The journal never forgets; the spoiled version is not what it holds.
    let spoiled = "u2: version 2 is in no escrow journal";
    assert!(tally.faults.contains_key(spoiled), "{:?}", tally.faults);
    assert_eq!(tally.faults.len(), 7, "{:?}", tally.faults);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_probe_settles_the_harness_settles_as_an_operator() {
    let mut world = World::begin(Plan {
        seed: 2,
        shares: false,
        host: 0,
        host_settings: &[],
        directory: 2,
    })
    .await;
    let account = world.id_of("u0");
    let path = format!("/api/v1/accounts/{account}/rotate?wait=60");
    let changed = world.client().order(&path, &json!({})).await.expect(202);
    assert_eq!(changed.json()["state"], "succeeded");
    // A change whose answer does not come, and meanwhile somebody gives back what was there at first.
    until("a change is left in the middle", async || {
        let path = format!("/api/v1/accounts/{account}/rotate");
        let ordered = json!({"immediate": false});
        world.client().order(&path, &ordered).await.expect(202);
        let tables = world.tables().await;
        let step = async || {
            let jobs = tables.open_jobs().await.unwrap();
            jobs.first().map(|job| job.step().map(str::to_owned))
        };
        while let Some(found) = step().await {
            if matches!(found.as_deref(), Some("applying" | "applied")) {
                world.systems[0].line.set(State::Deaf);
                SystemClock::shared().sleep(Duration::from_millis(50)).await;
                if matches!(
                    step().await.flatten().as_deref(),
                    Some("applying" | "applied")
                ) {
                    tables.close().await;
                    return Some(());
                }
                world.systems[0].line.set(State::Open);
            }
        }
        tables.close().await;
        None
    })
    .await;
    assert!(world.nodes[0].kill());
    let Target::Directory(directory) = &world.systems[0].target else {
        unreachable!()
    };
    change(directory, "u0", LDAP_INITIAL);
    world.systems[0].line.set(State::Cut);
    world.systems[0].line.set(State::Open);
    tokio::task::block_in_place(|| world.nodes[0].resume());
    world.rest().await;
    let found = world.check().await;
    assert_eq!(found[&(account, Part::Password)], Verdict::Doubtful(1));
    world.operate().await;
    let found = world.check().await;
    assert!(found.values().all(|verdict| *verdict == Verdict::Current));
    let tally = world.end().await;
    assert_eq!(tally.needs_operator.values().sum::<u64>(), 1, "{tally:?}");
    assert_eq!((tally.probed, tally.overridden, tally.lost), (0, 1, 0));
    assert!(tally.faults.is_empty(), "{:?}", tally.faults);
}
