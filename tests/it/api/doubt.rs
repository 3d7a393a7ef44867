//! Accounts in doubt, as operators and readers see them, and how they are settled.

use std::time::Duration;

use keywheel::model::principal::Permission;
use keywheel_connectors::fake::{OnChange, OnCheck};
use serde_json::{Value, json};

use super::world::{Client, HOST, Target, World};

/// An account whose change had no answer, on a target that judged no login.
async fn in_doubt() -> (World, Client, Target) {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let target = world.target(&world.session(&keys).await).await;
    let admin = world.native(&keys);
    let system = world.targets.system(HOST);
    system.offer_evidence(false);
    system.next_change("root", OnChange::LoseReply);
    system.every_check("root", OnCheck::Drop);
    world.work();
    let path = format!("/accounts/{}/rotate?wait=20", target.root);
    let job = admin.post(&path, &json!({})).await.expect(202).json();
    assert_eq!(job["state"], "retrying", "{job}");
    (world, admin, target)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_get_current_and_what_the_target_may_hold_instead() {
    let (world, admin, target) = in_doubt().await;
    let list = admin.get("/doubts").await.expect(200).json();
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{list}");
    assert_eq!(
        (&items[0]["account_id"], &items[0]["in_doubt"]),
        (&json!(target.root), &json!(true))
    );
    let path = format!("/accounts/{}/doubt", target.root);
    let doubt = admin.get(&path).await.expect(200).json();
    let part = &doubt["parts"][0];
    assert_eq!(
        (&part["part"], &part["certainty"]),
        (&json!("password"), &json!("in_doubt"))
    );
    assert_eq!(part["current"]["version"], 1);
    assert_eq!(part["candidates"][0]["version"], 2);
    assert_eq!(part["candidates"].as_array().unwrap().len(), 1);
    assert_eq!(part["change"]["phase"], "applying");
    assert_eq!(doubt["parts"].as_array().unwrap().len(), 1, "it has no key");
    let path = format!("/accounts/{}/reveal", target.root);
    let told = admin.post(&path, &json!({"reason": "look"})).await;
    let told = told.expect(200).json();
    assert_eq!(
        (&told["version"], &told["in_doubt"]),
        (&json!(1), &json!(true))
    );
    let other = &told["candidates"][0];
    assert_eq!(other["version"], 2);
    let system = world.targets.system(HOST);
    assert!(system.accepts("root", other["value"].as_str().unwrap()));
    assert!(!system.accepts("root", told["value"].as_str().unwrap()));
    // One of them alone, and none that is not kept.
    let body = json!({"reason": "look", "version": 2});
    let one = admin.post(&path, &body).await.expect(200).json();
    assert_eq!(
        (&one["version"], &one["value"]),
        (&json!(2), &other["value"])
    );
    let body = json!({"reason": "look", "version": 9});
    admin.post(&path, &body).await.expect(404);
    let audit = format!("/audit?subject=account%20{}", target.root);
    let audit = admin.get(&audit).await;
    let audit = audit.expect(200);
    assert!(audit.body.contains("candidates"), "{}", audit.body);
    let value = other["value"].as_str().unwrap();
    assert!(!audit.body.contains(value), "the trail holds no value");
    // Of an account that is sure, nothing but current is told.
    let path = format!("/accounts/{}/reveal", target.ann);
    let sure = admin.post(&path, &json!({"reason": "look"})).await;
    let sure = sure.expect(200).json();
    assert_eq!(
        (&sure["in_doubt"], &sure["candidates"]),
        (&json!(false), &json!([]))
    );
}

/// Waits until an account has no open job.
async fn settled(admin: &Client, account: i64) -> Value {
    for _ in 0..600 {
        let path = format!("/accounts/{account}");
        let found = admin.get(&path).await.expect(200).json();
        if found["open_job"].is_null() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the job of account {account} does not end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_else_has_changed_is_told_apart_and_settled() {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let session = world.session(&keys).await;
    let target = world.target(&session).await;
    let admin = world.native(&keys);
    let system = world.targets.system(HOST);
    world.work();
    system.add("root", "somebody-elses-1");
    let test = format!("/accounts/{}/test", target.root);
    let verdict = admin.post(&test, &json!({})).await.expect(200).json();
    assert_eq!(verdict, json!({"passed": false}));
    settled(&admin, target.root).await;
    let doubt = format!("/accounts/{}/doubt", target.root);
    let found = admin.get(&doubt).await.expect(200).json();
    assert_eq!(found["parts"][0]["certainty"], "drifted", "{found}");
    let path = format!("/accounts/{}/resolve?wait=20", target.root);
    let faults = [
        (json!({"action": "supply", "reason": "r"}), "password"),
        (json!({"action": "use_version", "reason": "r"}), "version"),
        (
            json!({"action": "probe", "version": 1, "reason": "r"}),
            "version",
        ),
        (
            json!({"action": "retry", "untested": true, "reason": "r"}),
            "untested",
        ),
        (
            json!({"action": "reset", "password": "x", "reason": "r"}),
            "password",
        ),
        (
            json!({"action": "supply", "part": "key", "password": "x", "reason": "r"}),
            "part",
        ),
        (
            json!({"action": "supply", "password": "a\nb", "reason": "r"}),
            "password",
        ),
        (json!({"action": "probe", "reason": " "}), "reason"),
    ];
    for (body, field) in faults {
        let answer = admin.post(&path, &body).await.expect(400);
        assert!(answer.body.contains(field), "{}", answer.body);
        assert!(!answer.body.contains("a\\nb"), "{}", answer.body);
    }
    let body = json!({"action": "use_version", "version": 99, "reason": "r"});
    let answer = admin.post(&path, &body).await.expect(400);
    assert!(answer.body.contains("not kept"), "{}", answer.body);
    // The test has spent the one login that may fail in a window.
    let body = json!({"action": "supply", "password": "somebody-elses-1", "reason": "INC 7"});
    let job = admin.post(&path, &body).await.expect(202).json();
    let log = job["attempts"][0]["log"].as_str().unwrap();
    assert!(log.contains("budget is spent"), "{job}");
    world.clock.advance(Duration::from_hours(2));
    let job = admin.post(&path, &body).await.expect(202).json();
    assert_eq!(
        (&job["state"], &job["trigger"]),
        (&json!("succeeded"), &json!("operator"))
    );
    let found = admin.get(&doubt).await.expect(200).json();
    assert_eq!(found["parts"][0]["certainty"], "sure", "{found}");
    assert_eq!(found["parts"][0]["current"]["origin"], "supplied");
    let list = admin.get("/doubts").await.expect(200).json();
    assert_eq!(list["items"], json!([]));
    system.add("root", "somebody-elses-2");
    world.clock.advance(Duration::from_hours(2));
    let body = json!({"action": "reset", "reason": "INC 8"});
    let job = admin.post(&path, &body).await.expect(202).json();
    assert_eq!(
        (&job["state"], &job["trigger"]),
        (&json!("succeeded"), &json!("mismatch"))
    );
    assert!(!system.accepts("root", "somebody-elses-2"));
    let audit = format!("/audit?subject=account%20{}", target.root);
    let audit = admin.get(&audit).await;
    let audit = audit.expect(200).body;
    assert!(
        audit.contains("INC 7") && audit.contains("INC 8"),
        "{audit}"
    );
    assert!(!audit.contains("somebody-elses"), "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_operators_settle_and_only_revealers_see_values() {
    let (world, _, target) = in_doubt().await;
    let (_, keys) = world.user("looker", &[Permission::AccountsRead]).await;
    let looker = world.native(&keys);
    let path = format!("/accounts/{}", target.root);
    looker.get(&format!("{path}/doubt")).await.expect(200);
    looker.get("/doubts").await.expect(200);
    let body = json!({"action": "probe", "reason": "r"});
    looker
        .post(&format!("{path}/resolve"), &body)
        .await
        .expect(403);
    let body = json!({"reason": "r"});
    looker
        .post(&format!("{path}/reveal"), &body)
        .await
        .expect(403);
}
