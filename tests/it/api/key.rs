//! SSH key pairs through the interfaces, on a target in memory.

use keywheel::generate::{GivenKey, Pair, SystemDice, key_pair};
use keywheel::model::credential::Part;
use keywheel::model::id::AccountId;
use keywheel::model::key_rule::KeyRule;
use keywheel::store::SealedSecret;
use serde_json::{Value, json};

use super::world::{Client, HOST, Keys, Target, World, text};

async fn ready() -> (World, Client, Keys, Target) {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let admin = world.session(&keys).await;
    let target = world.target(&admin).await;
    (world, admin, keys, target)
}

/// A pair by a rule: 1 is ED25519, 6 the same under a passphrase.
fn drawn(rule: usize) -> Pair {
    key_pair(&KeyRule::all()[rule], &SystemDice).unwrap()
}

fn private(given: &GivenKey) -> &str {
    text(&given.private)
}

/// The fields that give a pair.
fn body(pair: &Pair) -> Value {
    let passphrase = pair.given.passphrase.as_ref().map(text);
    json!({
        "PublicKey": format!("{} ada@example.net", pair.public),
        "PrivateKey": private(&pair.given),
        "Passphrase": passphrase,
    })
}

/// The account's current password and key pair.
async fn versions(world: &World, id: i64) -> (Option<i64>, Option<i64>) {
    let account = world.store.account(AccountId(id)).await.unwrap().unwrap();
    let credential = account.credential;
    (credential.current_version, credential.current_key_version)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_given_key_pair_is_set_whatever_way_the_account_is_named() {
    let (world, admin, _, target) = ready().await;
    world.work();
    let system = world.targets.system(HOST);
    system.add_key("root", "ssh-ed25519 somebody-elses");
    let by_path = "/Workgroups/Default/Assets/web1/ManagedSystems/ManagedAccounts/root/Credentials";
    for path in [
        format!("/ManagedAccounts/{}/Credentials", target.root),
        "/Credentials?workgroupName=Default&assetName=web1&accountName=root".to_owned(),
        by_path.to_owned(),
    ] {
        let pair = drawn(6);
        admin.put(&path, &body(&pair)).await.expect(204);
        let held = system.keys("root");
        assert_eq!(held, ["ssh-ed25519 somebody-elses".to_owned(), pair.public]);
    }
    assert!(system.accepts("root", "old-root"), "the password stays");
    let pair = drawn(1);
    let mut both = body(&pair);
    both["Password"] = json!("new-root");
    let path = format!("/ManagedAccounts/{}/Credentials/Change", target.root);
    admin.post(&path, &both).await.expect(204);
    assert!(system.accepts("root", "new-root"));
    assert!(system.keys("root").contains(&pair.public));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_pair_is_stored_without_the_target_and_its_public_half_derived() {
    let (world, admin, keys, target) = ready().await;
    let path = format!("/ManagedAccounts/{}/Credentials", target.root);
    let pair = drawn(6);
    let mut stored = body(&pair);
    stored["PublicKey"] = json!("");
    let needed = admin.put(&path, &stored).await.expect(400).json();
    assert!(
        needed.as_str().unwrap().starts_with("PublicKey"),
        "{needed}"
    );
    stored["UpdateSystem"] = json!(false);
    admin.put(&path, &stored).await.expect(204);
    assert_eq!(versions(&world, target.root).await, (Some(1), Some(2)));
    let id = AccountId(target.root);
    let listed = world.store.versions_of_part(id, Part::Key, 9).await;
    assert_eq!(listed.unwrap()[0].public_key.as_ref(), Some(&pair.public));
    assert_eq!(world.targets.system(HOST).counts().opens, 0);
    // Nothing stands in clear.
    let kept = world.store.sealed_version(id, 2).await.unwrap().unwrap();
    let SealedSecret::Key {
        private: sealed,
        passphrase: Some(passphrase),
        ..
    } = kept
    else {
        panic!("no key with a passphrase")
    };
    let holds = |bytes: &[u8], word: &str| {
        bytes
            .windows(word.len())
            .any(|part| part == word.as_bytes())
    };
    let words = text(pair.given.passphrase.as_ref().unwrap());
    assert!(!holds(&sealed, "PRIVATE KEY") && !holds(&passphrase, words));
    // A reveal hands over each half of it, on record.
    let native = world.native(&keys);
    let path = format!("/accounts/{}/reveal", target.root);
    for (kind, value) in [
        ("password", "old-root"),
        ("key", private(&pair.given)),
        ("passphrase", words),
    ] {
        let order = json!({"reason": "break-glass", "kind": kind});
        let found = native.post(&path, &order).await.expect(200).json();
        assert_eq!(found["value"], value, "{kind}");
        let rows = world.store.audit_of(&id.to_string(), 1).await.unwrap();
        assert!(rows[0].body.contains(kind), "{}", rows[0].body);
    }
    let path = format!("/accounts/{}", target.root);
    let account = native.get(&path).await.expect(200).json();
    assert_eq!(account["current_key_version"], 2);
    assert_eq!(account["key_in_doubt"], false);
    assert!(account["last_key_change"].is_string());
    let order = json!({"reason": "break-glass", "kind": "key"});
    let path = format!("/accounts/{}/reveal", target.ann);
    native.post(&path, &order).await.expect(404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_that_are_no_pair_are_refused_before_anything_is_stored() {
    let (world, admin, _, target) = ready().await;
    let path = format!("/ManagedAccounts/{}/Credentials", target.root);
    let mut mixed = body(&drawn(1));
    mixed["PublicKey"] = json!(drawn(1).public);
    let mut wrong = body(&drawn(6));
    wrong["Passphrase"] = json!("wrong");
    for (body, says) in [(mixed, "PublicKey"), (wrong, "Passphrase")] {
        let refused = admin.put(&path, &body).await.expect(400).json();
        assert!(refused.as_str().unwrap().starts_with(says), "{refused}");
    }
    assert_eq!(versions(&world, target.root).await, (Some(1), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_made_with_a_key_that_is_given_or_drawn_at_once() {
    let (world, admin, _, target) = ready().await;
    let path = format!("/ManagedSystems/{}", target.system);
    let mut system = admin.get(&path).await.expect(200).json();
    system["DSSKeyRuleID"] = json!(1);
    admin.put(&path, &system).await.expect(200);
    let fake = world.targets.system(HOST);
    fake.add("bob", "old-bob").add("eve", "old-eve");
    let pair = drawn(1);
    let accounts = format!("{path}/ManagedAccounts");
    let bob = json!({
        "AccountName": "bob", "PrivateKey": private(&pair.given), "DSSAutoManagementFlag": true,
    });
    let bob = admin.post(&accounts, &bob).await.expect(201).json();
    let bob = bob["ManagedAccountID"].as_i64().unwrap();
    assert_eq!(versions(&world, bob).await, (None, Some(1)));
    assert_eq!(fake.counts().opens, 0, "what is given is believed");
    let eve = json!({
        "AccountName": "eve", "Password": "old-eve", "DSSAutoManagementFlag": true,
    });
    let eve = admin.post(&accounts, &eve).await.expect(201).json();
    assert_eq!(eve["DSSAutoManagementFlag"], true);
    let eve = eve["ManagedAccountID"].as_i64().unwrap();
    world.work();
    let job = world
        .store
        .jobs(true, Some(AccountId(eve)), None, 1)
        .await
        .unwrap()
        .remove(0);
    let wait = std::time::Duration::from_mins(1);
    world.api.orders.wait_end(job.id, wait).await.unwrap();
    assert_eq!(versions(&world, eve).await, (Some(1), Some(2)));
    let held = fake.keys("eve");
    assert!(
        held.len() == 1 && held[0].starts_with("ssh-ed25519 "),
        "{held:?}"
    );
}
