//! Synced accounts: one password for several, on targets in memory.

use std::time::Duration;

use axum::http::header;
use keywheel::model::id::{AccountId, JobId};
use keywheel::model::job::JobState;
use keywheel::model::principal::Permission;
use keywheel::scheduler::Tick;
use keywheel_connectors::fake::{FakeSystem, OnChange};
use serde_json::{Value, json};

use super::world::{Answer, Client, HOST, Target, World};
use crate::support::wait::until;

/// A parent, `root`, and its subscriber, `ann`.
async fn pair() -> (World, Client, Target, FakeSystem) {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let admin = world.session(&keys).await;
    let target = world.target(&admin).await;
    sync(&admin, target.root, target.ann).await.expect(201);
    let system = world.targets.system(HOST);
    (world, admin, target, system)
}

async fn sync(client: &Client, parent: i64, account: i64) -> Answer {
    let path = format!("/ManagedAccounts/{parent}/SyncedAccounts/{account}");
    client.call("POST", &path, None, &[]).await
}

async fn change(client: &Client, account: i64, body: &Value) -> Answer {
    let path = format!("/ManagedAccounts/{account}/Credentials/Change");
    client.post(&path, body).await
}

/// The one password that the target takes for both.
#[track_caller]
fn shared(system: &FakeSystem) -> String {
    let [root, ann] = ["root", "ann"].map(|login| system.accepted(login));
    assert_eq!(root.len(), 1);
    assert_eq!(root, ann);
    root[0].clone()
}

fn job_of(answer: &Answer) -> JobId {
    let location = answer.header(header::LOCATION);
    JobId(location.rsplit('/').next().unwrap().parse().unwrap())
}

/// Waits until nothing is open any more; the clock goes on, as jobs that wait need it to.
async fn settle(world: &World, accounts: &[i64]) {
    until("nothing is open", async || {
        for id in accounts {
            let account = world.store.account(AccountId(*id)).await.unwrap().unwrap();
            if account.work.is_some() {
                world.clock.advance(Duration::from_secs(10));
                return None;
            }
        }
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_for_one_changes_all_that_share_the_password() {
    let (world, admin, target, system) = pair().await;
    world.work();
    let list = format!("/managedaccounts/{}/syncedaccounts", target.root);
    let listed = admin.get(&list).await.expect(200).json();
    assert_eq!(listed[0]["ManagedAccountID"], target.ann);
    assert_eq!(listed[0]["ParentAccountID"], target.root);
    assert_eq!(listed[0]["IsSubscribedAccount"], true);
    assert_eq!(listed[0]["NextChangeDate"], Value::Null);
    // To sync has changed nothing on the target.
    assert!(system.accepts("ann", "old-ann"));
    for (turn, account) in [(1, target.ann), (2, target.root)] {
        let answer = change(&admin, account, &json!({})).await.expect(204);
        let job = world.store.job(job_of(&answer)).await.unwrap().unwrap();
        assert_eq!(job.account_id.0, target.root);
        shared(&system);
        assert_eq!(
            (system.changes("root"), system.changes("ann")),
            (turn, turn)
        );
    }
    let versions = world
        .store
        .versions(AccountId(target.ann), 9)
        .await
        .unwrap();
    let origins: Vec<_> = versions.iter().map(|one| one.origin.as_str()).collect();
    assert_eq!(origins.iter().filter(|one| **one == "synced").count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_given_password_goes_to_all_whoever_is_named() {
    let (world, admin, target, system) = pair().await;
    world.work();
    let path = format!("/ManagedAccounts/{}/Credentials", target.ann);
    let body = json!({"Password": "given-For-both-1"});
    admin.put(&path, &body).await.expect(204);
    assert_eq!(shared(&system), "given-For-both-1");
    // Stored alone it is stored for both, no target hears of it, and nobody has to follow.
    let body = json!({"Password": "stored-For-both-2", "UpdateSystem": false});
    admin.put(&path, &body).await.expect(204);
    world.tick(Tick::AccountSync).await;
    let ann = AccountId(target.ann);
    let after = world.store.account(ann).await.unwrap().unwrap();
    assert_eq!(after.work, None);
    assert_eq!(shared(&system), "given-For-both-1");
    for account in [target.root, target.ann] {
        let test = format!("/ManagedAccounts/{account}/Credentials/Test");
        let verdict = admin.post(&test, &json!({})).await.expect(200).json();
        assert_eq!(verdict, json!({"Success": false}));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_nobody_waited_for_follow_by_a_tick() {
    let (world, admin, target, system) = pair().await;
    world.work();
    let answer = change(&admin, target.ann, &json!({"Queue": true}))
        .await
        .expect(204);
    let limit = Duration::from_mins(1);
    let job = world
        .api
        .orders
        .wait_end(job_of(&answer), limit)
        .await
        .unwrap();
    assert_eq!(job.unwrap().state, JobState::Succeeded);
    assert!(system.accepts("ann", "old-ann"));
    world.tick(Tick::AccountSync).await;
    settle(&world, &[target.ann]).await;
    shared(&system);
    world.tick(Tick::AccountSync).await;
    assert_eq!((system.changes("root"), system.changes("ann")), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partial_failure_names_who_kept_the_old_password() {
    let (world, admin, target, system) = pair().await;
    world.work();
    system.every_change("ann", OnChange::Refuse);
    let answer = change(&admin, target.root, &json!({})).await.expect(400);
    let text = answer.json().as_str().unwrap().to_owned();
    assert!(
        text.contains(&format!("account {} (ann)", target.ann)),
        "{text}"
    );
    assert!(answer.header(header::LOCATION).starts_with("/api/v1/jobs/"));
    assert!(system.accepts("ann", "old-ann") && !system.accepts("root", "old-root"));
    system.every_change("ann", OnChange::Obey);
    settle(&world, &[target.ann]).await;
    // It is told again after an hour.
    world.tick(Tick::AccountSync).await;
    assert!(system.accepts("ann", "old-ann"));
    world.clock.advance(Duration::from_mins(61));
    world.tick(Tick::AccountSync).await;
    settle(&world, &[target.ann]).await;
    shared(&system);
    assert_eq!(system.changes("root"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantine_changes_the_set_once() {
    let (world, admin, target, system) = pair().await;
    let path = format!(
        "/ManagedSystems/{}/ManagedAccounts/Credentials/Change",
        target.system
    );
    let answer = admin.post(&path, &json!({})).await.expect(204);
    world.work();
    settle(&world, &[target.root, target.ann]).await;
    shared(&system);
    assert_eq!((system.changes("root"), system.changes("ann")), (1, 1));
    let location = answer.header(header::LOCATION).to_owned();
    let done = admin.below("").get(&location).await.expect(200).json();
    assert_eq!(
        (&done["accounts"], &done["counts"]["succeeded"]),
        (&json!(2), &json!(2))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_in_quarantine_has_its_parent_elsewhere_changed() {
    let (world, admin, target, system) = pair().await;
    let spare = world.targets.system("10.0.0.2");
    spare.add("changer", "functional").add("eve", "old-eve");
    let asset = json!({"IPAddress": "10.0.0.2", "AssetName": "web2"});
    let asset = admin.post("/Workgroups/1/Assets", &asset).await.expect(201);
    let path = format!("/Assets/{}/ManagedSystems", asset.json()["AssetID"]);
    let elsewhere = json!({"PlatformID": 1001, "FunctionalAccountID": 1});
    let elsewhere = admin.post(&path, &elsewhere).await.expect(201).json();
    let path = format!(
        "/ManagedSystems/{}/ManagedAccounts",
        elsewhere["ManagedSystemID"]
    );
    let eve = json!({"AccountName": "eve", "Password": "old-eve"});
    let eve = admin.post(&path, &eve).await.expect(201).json()["ManagedAccountID"].clone();
    let eve = eve.as_i64().unwrap();
    sync(&admin, target.root, eve).await.expect(201);
    // The parent's own change fails at first: eve waits for it, and gives up with it.
    system.every_change("root", OnChange::Refuse);
    world.work();
    admin
        .post(&format!("{path}/Credentials/Change"), &json!({}))
        .await
        .expect(204);
    settle(&world, &[target.root, target.ann, eve]).await;
    assert!(spare.accepts("eve", "old-eve") && system.accepts("root", "old-root"));
    system.every_change("root", OnChange::Obey);
    admin
        .post(&format!("{path}/Credentials/Change"), &json!({}))
        .await
        .expect(204);
    settle(&world, &[target.root, eve]).await;
    assert_eq!(spare.accepted("eve"), system.accepted("root"));
    assert!(!spare.accepts("eve", "old-eve"));
    world.tick(Tick::AccountSync).await;
    settle(&world, &[target.ann]).await;
    shared(&system);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_changed_behind_is_put_right_with_the_shared_password() {
    let (world, admin, target, system) = pair().await;
    world.work();
    change(&admin, target.root, &json!({})).await.expect(204);
    let before = shared(&system);
    let record = json!({
        "CheckPasswordFlag": true, "ResetPasswordOnMismatchFlag": true, "AutoManagementFlag": true,
    });
    let path = format!("/ManagedAccounts/{}", target.ann);
    admin.put(&path, &record).await.expect(200);
    system.set_behind("ann", "behind-our-back");
    world.clock.advance(Duration::from_hours(25));
    world.tick(Tick::StaleScan).await;
    until("the mismatch is answered", async || {
        system.accepts("ann", &before).then_some(())
    })
    .await;
    // The refused login is counted; the new one is tested in the next window.
    world.clock.advance(Duration::from_hours(1));
    settle(&world, &[target.ann]).await;
    assert_eq!(shared(&system), before);
    assert_eq!(system.changes("root"), 1);
}

#[tokio::test]
async fn a_set_has_one_parent_and_one_level() {
    let (_world, admin, target, _) = pair().await;
    let (root, ann) = (target.root, target.ann);
    sync(&admin, root, ann).await.expect(200);
    sync(&admin, root, root).await.expect(400);
    sync(&admin, ann, root).await.expect(409);
    sync(&admin, root, 99).await.expect(404);
    sync(&admin, 99, ann).await.expect(404);
    let path = format!("/ManagedSystems/{}/ManagedAccounts", target.system);
    let bob = json!({"AccountName": "bob", "Password": "old-bob"});
    let bob = admin.post(&path, &bob).await.expect(201).json()["ManagedAccountID"].clone();
    let bob = bob.as_i64().unwrap();
    sync(&admin, bob, ann).await.expect(409);
    sync(&admin, ann, bob).await.expect(409);
    sync(&admin, bob, root).await.expect(409);
    // Clients send back what they have read.
    let record = format!("/ManagedAccounts/{ann}");
    let read = admin.get(&record).await.expect(200).json();
    assert_eq!(read["ParentAccountID"], root);
    admin.put(&record, &read).await.expect(200);
    admin
        .put(&record, &json!({"ParentAccountID": bob}))
        .await
        .expect(400);
    let password = admin
        .put(&record, &json!({"Password": "alone"}))
        .await
        .expect(400);
    assert!(
        password.body.contains("shared with other accounts"),
        "{password:?}"
    );
    // The parent stays while others share its password; a subscriber may go.
    let delete = async |path: String| admin.call("DELETE", &path, None, &[]).await;
    delete(format!("/ManagedAccounts/{root}")).await.expect(409);
    let of_root = format!("/ManagedAccounts/{root}/SyncedAccounts");
    delete(format!("{of_root}/{bob}")).await.expect(404);
    delete(format!("{of_root}/{ann}")).await.expect(200);
    delete(format!("{of_root}/{ann}")).await.expect(404);
    sync(&admin, root, ann).await.expect(201);
    sync(&admin, root, bob).await.expect(201);
    delete(format!("/ManagedAccounts/{bob}")).await.expect(200);
    delete(of_root.clone()).await.expect(200);
    assert_eq!(admin.get(&of_root).await.expect(200).json(), json!([]));
    delete(format!("/ManagedAccounts/{root}")).await.expect(200);
}

#[tokio::test]
async fn a_role_on_one_of_them_sets_none() {
    let (world, admin, target, _) = pair().await;
    let (user, keys) = world.user("bob", &[]).await;
    let (_, maker) = world.user("maker", &[Permission::UsersWrite]).await;
    let native = world.native(&maker);
    let made = native.post("/groups", &json!({"name": "setters"})).await;
    let group = made.expect(201).json()["id"].clone();
    let path = format!("/groups/{group}/members/{}", user.0);
    native.put(&path, &json!({})).await.expect(204);
    let rule = json!({"IDs": [target.ann], "Title": "ann alone", "Category": "", "Description": "",
        "RuleType": "ManagedAccount"});
    let rule = admin.post("/QuickRules", &rule).await.expect(201).json()["SmartRuleID"].clone();
    let roles = json!({"Roles": [{"RoleID": 7}]});
    admin
        .post(
            &format!("/UserGroups/{group}/SmartRules/{rule}/Roles"),
            &roles,
        )
        .await
        .expect(204);
    let bob = world.session(&keys).await;
    let path = format!("/ManagedAccounts/{}/Credentials", target.ann);
    let body = json!({"Password": "taken-over-1", "UpdateSystem": false});
    bob.put(&path, &body).await.expect(403);
    let path_of_set = format!(
        "/ManagedAccounts/{}/SyncedAccounts/{}",
        target.root, target.ann
    );
    admin
        .call("DELETE", &path_of_set, None, &[])
        .await
        .expect(200);
    bob.put(&path, &body).await.expect(204);
}
