//! The dialect's credential endpoints, on a target in memory.

use std::time::Duration;

use axum::http::header;
use keywheel::model::principal::Permission;
use keywheel_connectors::fake::OnChange;
use serde_json::{Value, json};

use super::world::{Answer, Client, HOST, Target, World};

async fn ready() -> (World, Client, Target) {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let admin = world.session(&keys).await;
    let target = world.target(&admin).await;
    (world, admin, target)
}

/// Follows an answer's `Location` until what is there has ended.
async fn follow(client: &Client, answer: &Answer) -> Value {
    let location = answer.header(header::LOCATION).to_owned();
    assert!(location.starts_with("/api/v1/"), "{answer:?}");
    let found = client.below("").get(&format!("{location}?wait=60")).await;
    found.expect(200).json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_answered_once_the_target_has_taken_it() {
    let (world, admin, target) = ready().await;
    world.work();
    let path = format!(
        "/managedaccounts/{}/credentials/change?version=3.0",
        target.root
    );
    let body = json!({"UpdateSystem": true, "Queue": false});
    let answer = admin.post(&path, &body).await.expect(204);
    assert_eq!(answer.body, "");
    let system = world.targets.system(HOST);
    assert!(!system.accepts("root", "old-root"));
    let job = follow(&admin, &answer).await;
    assert_eq!(
        (&job["state"], &job["lane"]),
        (&json!("succeeded"), &json!("interactive"))
    );
    assert_eq!(job["account_id"], target.root);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_given_password_is_set_whatever_way_the_account_is_named() {
    let (world, admin, target) = ready().await;
    world.work();
    let system = world.targets.system(HOST);
    let by_path = "/Workgroups/DEFAULT/Assets/Web1/ManagedSystems/ManagedAccounts/Root/Credentials";
    for (password, path) in [
        (
            "first-1",
            format!("/ManagedAccounts/{}/Credentials", target.root),
        ),
        (
            "second-2",
            "/Credentials?WORKGROUPNAME=default&assetname=WEB1&accountName=ROOT".into(),
        ),
        ("third-3", by_path.to_owned()),
    ] {
        let body = json!({
            "Password": password, "PublicKey": "", "PrivateKey": "", "Passphrase": "",
            "UpdateSystem": true,
        });
        let answer = admin.put(&path, &body).await.expect(204);
        assert!(system.accepts("root", password), "{path}");
        assert_eq!(follow(&admin, &answer).await["state"], "succeeded");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn naming_an_account_badly_says_how_to_do_better() {
    let (world, admin, _) = ready().await;
    world.work();
    let missing = admin
        .put("/Credentials?assetName=web1&accountName=root", &json!({}))
        .await;
    assert!(
        missing
            .expect(400)
            .json()
            .as_str()
            .unwrap()
            .contains("workgroupName")
    );
    let path = "/Credentials?workgroupName=Default&assetName=web1&accountName=nobody";
    let unknown = admin.put(path, &json!({})).await.expect(404);
    assert_eq!(unknown.json(), "Managed Account not found");
    for id in ["x", "0", "-1", "99", "4294967297"] {
        let path = format!("/ManagedAccounts/{id}/Credentials/Change");
        let answer = admin.post(&path, &json!({})).await.expect(404);
        assert_eq!(answer.json(), "Managed Account not found");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storing_alone_never_contacts_the_target() {
    let (world, admin, target) = ready().await;
    world.work();
    let path = format!("/ManagedAccounts/{}/Credentials", target.root);
    let body = json!({"Password": "kept-only", "UpdateSystem": false});
    let answer = admin.put(&path, &body).await.expect(204);
    assert_eq!(follow(&admin, &answer).await["state"], "succeeded");
    let system = world.targets.system(HOST);
    assert_eq!(
        (system.changes("root"), system.failed_logins("root")),
        (0, 0)
    );
    // What is stored does not log in, and the test says so.
    let test = format!("/ManagedAccounts/{}/Credentials/Test", target.root);
    assert_eq!(
        admin.post(&test, &json!({})).await.expect(200).json(),
        json!({"Success": false})
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_says_whether_the_credential_logs_in() {
    let (world, admin, target) = ready().await;
    world.work();
    let path = format!(
        "/managedaccounts/{}/credentials/test?version=3.0",
        target.root
    );
    let answer = admin.call("POST", &path, None, &[]).await.expect(200);
    assert_eq!(answer.json(), json!({"Success": true}));
    world.targets.system(HOST).set_behind("root", "other");
    let answer = admin.post(&path, &json!({})).await.expect(200);
    assert_eq!(answer.json(), json!({"Success": false}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queued_change_is_answered_before_anything_runs() {
    let (world, admin, target) = ready().await;
    let path = format!("/ManagedAccounts/{}/Credentials/Change", target.root);
    let answer = admin.post(&path, &json!({"queue": true})).await.expect(204);
    let location = answer.header(header::LOCATION).to_owned();
    let job = admin.below("").get(&location).await.expect(200).json();
    assert_eq!(job["state"], "queued");
    assert_eq!(world.targets.system(HOST).changes("root"), 0);
    // The same order again joins it; one that waits runs it now.
    let again = admin.post(&path, &json!({"Queue": true})).await.expect(204);
    assert_eq!(again.header(header::LOCATION), location);
    let body = json!({"Queue": false});
    let work = async {
        until(async || {
            let job = admin.below("").get(&location).await.expect(200).json();
            job["lane"] == "interactive"
        })
        .await;
        world.work();
    };
    let (now, ()) = tokio::join!(admin.post(&path, &body), work);
    assert_eq!(now.expect(204).header(header::LOCATION), location);
    assert_eq!(world.targets.system(HOST).changes("root"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_the_target_refuses_is_a_400_with_its_log_and_keeps_the_old_one() {
    let (world, admin, target) = ready().await;
    world.work();
    let system = world.targets.system(HOST);
    system.every_change("root", OnChange::Refuse);
    let path = format!("/ManagedAccounts/{}/Credentials", target.root);
    let answer = admin
        .put(&path, &json!({"Password": "canary-7731"}))
        .await
        .expect(400);
    let log = answer.json().as_str().unwrap().to_owned();
    assert!(
        log.contains("attempt 1") && !log.contains("canary"),
        "{log}"
    );
    assert_ne!(follow(&admin, &answer).await["state"], "succeeded");
    assert!(system.accepts("root", "old-root"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_order_during_a_change_conflicts_and_the_same_one_joins() {
    let (world, admin, target) = ready().await;
    world.work();
    let system = world.targets.system(HOST);
    system.next_change("root", OnChange::Wait);
    let path = format!("/ManagedAccounts/{}/Credentials/Change", target.root);
    let queued = admin.post(&path, &json!({"Queue": true})).await.expect(204);
    let location = queued.header(header::LOCATION).to_owned();
    until(async || system.changes("root") == 1).await;
    let other = admin
        .post(&path, &json!({"Password": "other-one"}))
        .await
        .expect(409);
    assert_eq!(other.json(), "A change is already running");
    let same = admin.post(&path, &json!({"Queue": true})).await.expect(204);
    assert_eq!(same.header(header::LOCATION), location);
    system.release(1);
    assert_eq!(follow(&admin, &same).await["state"], "succeeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_of_the_same_moment_are_each_told_their_own() {
    let (world, admin, target) = ready().await;
    let admin = admin.kept();
    world
        .write("UPDATE accounts SET active = 0 WHERE id = 2")
        .await;
    let queue = json!({"Queue": true});
    let order = async |account: i64| {
        let path = format!("/ManagedAccounts/{account}/Credentials/Change");
        admin.post(&path, &queue).await
    };
    let before = world.store.commits();
    let orders = [target.root, 77, target.ann, target.root, 78, target.root].map(order);
    let answers = futures::future::join_all(orders).await;
    let statuses: Vec<_> = answers
        .iter()
        .map(|answer| answer.status.as_u16())
        .collect();
    assert_eq!(statuses, [204, 404, 400, 204, 404, 204]);
    let location = answers[0].header(header::LOCATION);
    for same in [&answers[3], &answers[5]] {
        assert_eq!(same.header(header::LOCATION), location);
    }
    let refused = answers[2].json();
    assert!(refused.as_str().unwrap().contains("suspended"), "{refused}");
    // Answered means durable: one job, and one row that says who ordered it.
    assert!(world.store.commits() > before);
    let ordered = "SELECT COUNT(*) FROM audit WHERE event = 'change.ordered'";
    let jobs = "SELECT COUNT(*) FROM jobs WHERE state = 'queued'";
    assert_eq!(
        (world.number(ordered).await, world.number(jobs).await),
        (1, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_hangs_up_cancels_nothing() {
    let (world, admin, target) = ready().await;
    world.work();
    let system = world.targets.system(HOST);
    system.next_change("root", OnChange::Wait);
    let path = format!("/ManagedAccounts/{}/Credentials/Change", target.root);
    {
        let body = json!({});
        let call = admin.post(&path, &body);
        tokio::pin!(call);
        tokio::select! {
            answer = &mut call => panic!("the target has not answered yet: {answer:?}"),
            () = until(async || system.changes("root") == 1) => {}
        }
    }
    system.release(1);
    until(async || !system.accepts("root", "old-root")).await;
    let id = keywheel::model::id::AccountId(target.root);
    until(async || {
        world
            .store
            .account(id)
            .await
            .unwrap()
            .unwrap()
            .work
            .is_none()
    })
    .await;
    let versions = world.store.account(id).await.unwrap().unwrap().credential;
    assert_eq!(versions.current_version, Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantine_changes_every_account_of_the_system() {
    let (world, admin, target) = ready().await;
    let path = format!(
        "/ManagedSystems/{}/ManagedAccounts/Credentials/Change",
        target.system
    );
    // With a JSON content type and no body, as ps-cli's raw command sends it.
    let headers = [
        ("content-type", "application/json"),
        ("content-length", "0"),
    ];
    let answer = admin.call("POST", &path, None, &headers).await.expect(204);
    world.work();
    let found = follow(&admin, &answer).await;
    assert_eq!(
        (&found["accounts"], &found["counts"]["succeeded"]),
        (&json!(2), &json!(2))
    );
    let system = world.targets.system(HOST);
    assert!(!system.accepts("root", "old-root") && !system.accepts("ann", "old-ann"));
    let path = "/ManagedSystems/77/ManagedAccounts/Credentials/Change";
    let missing = admin.post(path, &json!({})).await.expect(404);
    assert_eq!(missing.json(), "Managed System not found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_cannot_be_carried_out_is_refused_without_repeating_it() {
    let (world, admin, target) = ready().await;
    let path = format!("/ManagedAccounts/{}/Credentials", target.root);
    let long = "7731".repeat(251);
    for (body, says) in [
        (json!({"Password": long}), "Password"),
        (json!({"Password": "7731\n7731"}), "Password"),
        (json!({"Password": 7731}), "Password"),
        (json!({"UpdateSystem": "true"}), "UpdateSystem"),
        (json!({"PrivateKey": "7731"}), "PublicKey"),
        (json!({"PublicKey": "7731"}), "PrivateKey"),
        (
            json!({"PublicKey": "7731", "PrivateKey": "7731"}),
            "PrivateKey",
        ),
    ] {
        let answer = admin.put(&path, &body).await.expect(400);
        let text = answer.json().as_str().unwrap().to_owned();
        assert!(text.starts_with(says) && !text.contains("7731"), "{text}");
    }
    let id = keywheel::model::id::AccountId(target.root);
    assert_eq!(
        world.store.versions(id, 10).await.unwrap().len(),
        1,
        "nothing was stored"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_change_asks_for_decides_which_permission_it_needs() {
    let (world, _, target) = ready().await;
    world.work();
    let (_, keys) = world.user("ann", &[Permission::CredentialsRotate]).await;
    let rotator = world.session(&keys).await;
    let path = format!("/ManagedAccounts/{}/Credentials/Change", target.root);
    rotator.post(&path, &json!({})).await.expect(204);
    for body in [json!({"Password": "x1"}), json!({"UpdateSystem": false})] {
        let refused = rotator.post(&path, &body).await.expect(403);
        assert_eq!(refused.json(), 4031);
    }
    // Whoever lacks the right learns nothing of what exists.
    for id in [target.root, 99] {
        let path = format!("/ManagedAccounts/{id}/Credentials");
        rotator
            .put(&path, &json!({"Password": 1}))
            .await
            .expect(403);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_outlasts_the_wait_asks_the_client_to_come_back_and_join() {
    let (world, mut admin, target) = ready().await;
    admin.api.settings.wait_max = Duration::ZERO;
    let path = format!("/ManagedAccounts/{}/Credentials/Change", target.root);
    let early = admin.post(&path, &json!({})).await.expect(429);
    assert_eq!(early.header(header::RETRY_AFTER), "5");
    admin.api.settings.wait_max = Duration::from_mins(1);
    let metrics = admin.api.metrics.clone();
    let has_joined = async || {
        metrics
            .render()
            .contains("keywheel_jobs_joined_total{kind=\"rotate\"} 1")
    };
    let nothing = json!({});
    let (joined, ()) = tokio::join!(admin.post(&path, &nothing), async {
        // Work begins only when the repeat waits for it too.
        until(has_joined).await;
        world.work();
    });
    let joined = joined.expect(204);
    assert_eq!(
        joined.header(header::LOCATION),
        early.header(header::LOCATION)
    );
    assert_eq!(world.targets.system(HOST).changes("root"), 1);
}

/// Waits for a condition, at most ten seconds.
pub(super) async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), wait).await;
    assert!(
        waited.is_ok(),
        "the condition did not come true within 10 s"
    );
}
