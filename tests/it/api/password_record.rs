//! Password records, natively.

use keywheel::model::id::{AccountId, OrganizationId, PasswordRecordId};
use keywheel::model::organization::OrganizationFields;
use keywheel::model::password_record::Accessed;
use keywheel::model::principal::Permission;
use keywheel_connectors::fake::OnChange;
use serde_json::{Value, json};

use super::world::{Client, HOST, NOON, Target, World};

async fn ready() -> (World, Client, OrganizationId) {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let admin = world.native(&keys);
    let acme = OrganizationFields::named("Acme");
    let mut tx = world.store.begin().await.unwrap();
    let acme = tx.insert_organization(&acme, NOON).await.unwrap();
    tx.commit().await.unwrap();
    (world, admin, acme)
}

async fn made(client: &Client, of: OrganizationId, body: &Value) -> i64 {
    let path = format!("/organizations/{}/passwords", of.0);
    let answer = client.post(&path, body).await.expect(201);
    answer.json()["id"].as_i64().unwrap()
}

async fn shown(client: &Client, id: i64) -> Value {
    let why = json!({"reason": "test"});
    let answer = client.post(&format!("/passwords/{id}/reveal"), &why).await;
    answer.expect(200).json()["value"].clone()
}

/// The events about a record, oldest first, with their bodies.
async fn events(world: &World, id: i64) -> Vec<(String, Value)> {
    let subject = PasswordRecordId(id).to_string();
    let mut rows = world.store.audit_of(&subject, 50).await.unwrap();
    rows.reverse();
    let read = |text: &str| serde_json::from_str(text).unwrap();
    rows.into_iter()
        .map(|row| (row.event, read(&row.body)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_made_with_its_folders_and_shown_on_record() {
    let (world, admin, acme) = ready().await;
    let body = json!({
        "name": "Domain Admin", "username": "administrator", "password": "s3cret-one",
        "folder_path": "Infrastructure/Domain Controllers", "purpose": "a < b", "category_id": 1,
    });
    let id = made(&admin, acme, &body).await;
    let other = json!({"name": "Other", "folder_path": "infrastructure / DOMAIN controllers"});
    let other = made(&admin, acme, &other).await;
    let folder = |found: Value| found["folder_id"].as_i64();
    let first = admin
        .get(&format!("/passwords/{id}"))
        .await
        .expect(200)
        .json();
    let second = admin
        .get(&format!("/passwords/{other}"))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&first["state"], &first["category"]),
        (&json!("stored"), &json!("Administrative"))
    );
    assert_eq!(folder(first), folder(second));
    assert_eq!(
        world
            .store
            .password_folders(Some(acme))
            .await
            .unwrap()
            .len(),
        2
    );
    let record = world
        .store
        .password_record(PasswordRecordId(id))
        .await
        .unwrap()
        .unwrap();
    let notes = "<p>Created: 2026-05-28</p><p>Purpose: a &lt; b</p>";
    assert_eq!(record.fields.notes.as_deref(), Some(notes));
    assert_eq!(shown(&admin, id).await, json!("s3cret-one"));
    // A value that nobody gave was drawn by the rule.
    assert_eq!(shown(&admin, other).await.as_str().unwrap().len(), 32);
    let events = events(&world, id).await;
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["password.created", "password.viewed"]);
    let (_, viewed) = &events[1];
    assert_eq!(
        (&viewed["method"], &viewed["reason"]),
        (&json!("api_show"), &json!("test"))
    );
    let all = format!("{events:?}");
    assert!(!all.contains("s3cret"), "{all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_makes_or_sees_a_value_has_accessed_it_and_a_drawn_one_is_seen_by_nobody() {
    let (world, admin, acme) = ready().await;
    let id = made(&admin, acme, &json!({"name": "Web", "password": "one"})).await;
    let user = world.store.user_by_name("admin").await.unwrap().unwrap().id;
    let last = async || {
        let all = world.store.last_accesses(user, None, 10).await.unwrap();
        let one = all.into_iter().next().unwrap();
        assert_eq!(one.accessed, Accessed::Record(PasswordRecordId(id)));
        one.action
    };
    assert_eq!(last().await, "created");
    shown(&admin, id).await;
    assert_eq!(last().await, "api_show");
    let path = format!("/passwords/{id}/rotate");
    admin
        .post(&path, &json!({"reason": "left"}))
        .await
        .expect(200);
    assert_eq!(last().await, "api_show");
    let given = json!({"reason": "left", "value": "two"});
    admin.post(&path, &given).await.expect(200);
    assert_eq!(last().await, "updated");
    assert_eq!(shown(&admin, id).await, json!("two"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reason_stands_in_the_notes_and_earlier_values_stay() {
    let (world, admin, acme) = ready().await;
    let id = made(&admin, acme, &json!({"name": "Web", "password": "one"})).await;
    let order = json!({"reason": "left & gone", "value": "two"});
    admin
        .post(&format!("/passwords/{id}/rotate"), &order)
        .await
        .expect(200);
    let record = world
        .store
        .password_record(PasswordRecordId(id))
        .await
        .unwrap()
        .unwrap();
    let notes = "<p><strong>Rotated:</strong> 2026-05-28</p>\
                 <p><strong>Reason:</strong> left &amp; gone</p>";
    assert_eq!(record.fields.notes.as_deref(), Some(notes));
    let versions = world.store.password_versions(record.id, 10).await.unwrap();
    let earlier = json!({"reason": "test", "version": versions[1].id});
    let path = format!("/passwords/{id}/reveal");
    let answer = admin.post(&path, &earlier).await.expect(200).json();
    assert_eq!(answer["value"], "one");
    let none = json!({"reason": "test", "version": 99});
    admin.post(&path, &none).await.expect(404);
    let names: Vec<_> = events(&world, id)
        .await
        .into_iter()
        .map(|one| one.0)
        .collect();
    assert_eq!(
        names,
        ["password.created", "password.rotated", "password.viewed"]
    );
}

/// A record of the account `root` on a target in memory.
async fn linked() -> (World, Client, Target, i64) {
    let (world, admin, acme) = ready().await;
    let (_, keys) = world.user("setter", &Permission::ALL).await;
    let session = world.session(&keys).await;
    let target = world.target(&session).await;
    world.work();
    let body = json!({"name": "Web root", "account_id": target.root});
    let id = made(&admin, acme, &body).await;
    (world, admin, target, id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_linked_record_shows_its_account_and_rotates_it_on_the_target() {
    let (world, admin, target, id) = linked().await;
    let system = world.targets.system(HOST);
    assert_eq!(shown(&admin, id).await, json!("old-root"));
    let path = format!("/passwords/{id}/rotate");
    let order = json!({"reason": "left", "value": "New-root-77"});
    let answer = admin.post(&path, &order).await.expect(200).json();
    assert_eq!(
        (&answer["username"], &answer["state"]),
        (&json!("root"), &json!("current"))
    );
    assert!(system.accepts("root", "New-root-77") && !system.accepts("root", "old-root"));
    assert_eq!(shown(&admin, id).await, json!("New-root-77"));
    admin
        .post(&path, &json!({"reason": "drawn"}))
        .await
        .expect(200);
    assert!(!system.accepts("root", "New-root-77"));
    let drawn = shown(&admin, id).await;
    assert!(system.accepts("root", drawn.as_str().unwrap()));
    let record = world
        .store
        .password_record(PasswordRecordId(id))
        .await
        .unwrap()
        .unwrap();
    let notes = record.fields.notes.unwrap();
    assert!(notes.contains("left") && notes.contains("drawn"), "{notes}");
    let accessed = Accessed::Account(AccountId(target.root));
    let user = world.store.user_by_name("admin").await.unwrap().unwrap().id;
    let all = world.store.last_accesses(user, None, 10).await.unwrap();
    assert_eq!(all[0].accessed, accessed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_fails_changes_nothing_of_the_record() {
    let (world, admin, _, id) = linked().await;
    let before = world
        .store
        .password_record(PasswordRecordId(id))
        .await
        .unwrap();
    let system = world.targets.system(HOST);
    system.every_change("root", OnChange::Refuse);
    let order = json!({"reason": "left", "value": "New-root-77"});
    let path = format!("/passwords/{id}/rotate");
    let answer = admin.post(&path, &order).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(!answer.body.contains("New-root-77"), "{answer:?}");
    let after = world
        .store
        .password_record(PasswordRecordId(id))
        .await
        .unwrap();
    assert_eq!(before, after);
    assert!(system.accepts("root", "old-root"));
    // What the account's platform never takes is refused before anything is tried.
    let order = json!({"reason": "left", "value": "two\nlines"});
    admin.post(&path, &order).await.expect(400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_need_their_permission_and_those_of_accounts_another() {
    let (world, admin, _, id) = linked().await;
    let own = json!({"name": "Own", "password": "one"});
    let own = made(&admin, OrganizationId(1), &own).await;
    let read = Permission::PasswordsRead;
    let (_, keys) = world
        .user("records", &[read, Permission::PasswordsReveal])
        .await;
    let records = world.native(&keys);
    let (_, keys) = world
        .user("accounts", &[read, Permission::CredentialsReveal])
        .await;
    let accounts = world.native(&keys);
    let (_, keys) = world.user("reader", &[read]).await;
    let reader = world.native(&keys);
    let why = json!({"reason": "test"});
    for (client, record, status) in [
        (&records, own, 200),
        (&records, id, 403),
        (&accounts, own, 403),
        (&accounts, id, 200),
        (&reader, own, 403),
        (&reader, id, 403),
    ] {
        let path = format!("/passwords/{record}/reveal");
        client.post(&path, &why).await.expect(status);
    }
    for record in [own, id] {
        let found = reader
            .get(&format!("/passwords/{record}"))
            .await
            .expect(200);
        assert!(!found.body.contains("one") && !found.body.contains("old-root"));
        let order = json!({"reason": "test"});
        let path = format!("/passwords/{record}/rotate");
        reader.post(&path, &order).await.expect(403);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restricted_record_is_for_those_who_are_named() {
    let (world, admin, acme) = ready().await;
    let granted = [Permission::PasswordsWrite, Permission::PasswordsReveal];
    let (ada, keys) = world.user("ada", &granted).await;
    let ada_client = world.native(&keys);
    let (bob, keys) = world.user("bob", &granted).await;
    let bob_client = world.native(&keys);
    let body = json!({"name": "Web", "password": "one", "restricted": true});
    let id = made(&ada_client, acme, &body).await;
    assert_eq!(shown(&ada_client, id).await, json!("one"));
    assert_eq!(shown(&admin, id).await, json!("one"));
    let why = json!({"reason": "test"});
    let (path, reveal) = (
        format!("/passwords/{id}"),
        format!("/passwords/{id}/reveal"),
    );
    bob_client.get(&path).await.expect(403);
    bob_client.post(&reveal, &why).await.expect(403);
    let readers = format!("{path}/readers");
    bob_client.get(&readers).await.expect(403);
    let both = json!({"user_ids": [ada.0, bob.0], "group_ids": []});
    ada_client.put(&readers, &both).await.expect(200);
    assert_eq!(ada_client.get(&readers).await.expect(200).json(), both);
    assert_eq!(shown(&bob_client, id).await, json!("one"));
    let nobody = json!({"user_ids": [999], "group_ids": []});
    let refused = admin.put(&readers, &nobody).await.expect(400);
    assert!(refused.body.contains("does not exist"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_time_codes_are_shown_and_their_secret_is_not() {
    let (world, admin, acme) = ready().await;
    let body = json!({
        "name": "Web", "password": "one", "otp_secret": "gezd gnbv gy3t qojq gezd gnbv gy3t qojq",
    });
    let id = made(&admin, acme, &body).await;
    let path = format!("/passwords/{id}/otp");
    let code = admin.get(&path).await.expect(200).json();
    let digits = code["code"].as_str().unwrap();
    assert!(digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_digit()));
    assert_eq!(code["seconds_left"], 20);
    let (_, viewed) = events(&world, id).await.pop().unwrap();
    assert_eq!(viewed["method"], "otp");
    let none = made(&admin, acme, &json!({"name": "None"})).await;
    admin
        .get(&format!("/passwords/{none}/otp"))
        .await
        .expect(404);
    let bad = json!({"name": "Bad", "otp_secret": "not base 32!"});
    let path = format!("/organizations/{}/passwords", acme.0);
    let refused = admin.post(&path, &bad).await.expect(400);
    assert!(refused.body.contains("otp_secret") && !refused.body.contains("not base"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_record_cannot_be_is_said_and_nothing_is_made() {
    let (world, admin, acme) = ready().await;
    let path = format!("/organizations/{}/passwords", acme.0);
    for (body, words) in [
        (json!({"name": " "}), "name"),
        (
            json!({"name": "a", "category_id": 99}),
            "password_category_id",
        ),
        (json!({"name": "a", "account_id": 99}), "account_id"),
        (json!({"name": "a", "colour": "red"}), "colour"),
        (
            json!({"name": "a", "account_id": 1, "password": "x"}),
            "password",
        ),
        (
            json!({"name": "a", "folder_path": "a/".repeat(40)}),
            "folder_path",
        ),
    ] {
        let refused = admin.post(&path, &body).await.expect(400);
        assert!(refused.body.contains(words), "{refused:?}");
    }
    admin
        .post("/organizations/9/passwords", &json!({"name": "a"}))
        .await
        .expect(404);
    assert_eq!(
        world.number("SELECT COUNT(*) FROM password_records").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_holds_the_values_that_the_caller_may_see_and_is_one_reveal() {
    let (world, admin, target, linked) = linked().await;
    let other = OrganizationFields::named("Other");
    let mut tx = world.store.begin().await.unwrap();
    let other = tx.insert_organization(&other, NOON).await.unwrap();
    tx.commit().await.unwrap();
    let value = json!({"name": "=cmd()", "password": "=1,\"two\"\nthree", "username": "u"});
    let own = made(&admin, OrganizationId(1), &value).await;
    made(
        &admin,
        other,
        &json!({"name": "Far", "password": "far-away"}),
    )
    .await;
    let of = |answer: &str| {
        let mut rows = csv::Reader::from_reader(answer.as_bytes());
        let rows = rows.records().map(|row| row.unwrap());
        rows.map(|row| (row[2].to_owned(), row[4].to_owned()))
            .collect::<Vec<_>>()
    };
    let path = "/organizations/1/passwords/export";
    let answer = admin.get(path).await.expect(200);
    let wanted = [("Web root", "old-root"), ("'=cmd()", "=1,\"two\"\nthree")];
    let wanted = wanted.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(of(&answer.body), wanted);
    for id in [linked, own] {
        let (_, viewed) = events(&world, id).await.pop().unwrap();
        assert_eq!(viewed["method"], "list_export");
    }
    let all = admin.get("/passwords/export").await.expect(200);
    assert_eq!(of(&all.body).len(), 3);
    // Whoever sees records' values and not those of accounts gets the former.
    let granted = [Permission::PasswordsRead, Permission::PasswordsReveal];
    let (_, keys) = world.user("records", &granted).await;
    let records = world.native(&keys);
    let answer = records.get(path).await.expect(200);
    assert_eq!(of(&answer.body)[0], ("Web root".to_owned(), String::new()));
    assert!(!answer.body.contains("old-root"), "{answer:?}");
    assert!(target.root > 0);
    let (_, keys) = world.user("reader", &[Permission::PasswordsRead]).await;
    world.native(&keys).get(path).await.expect(403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_restricts_a_record_sees_it_beside_those_who_are_named_already() {
    let (world, admin, acme) = ready().await;
    let id = made(&admin, acme, &json!({"name": "Web", "password": "one"})).await;
    let write = [Permission::PasswordsWrite];
    let (ada, _) = world.user("ada", &write).await;
    let (bob, keys) = world.user("bob", &write).await;
    let named = json!({"user_ids": [ada.0], "group_ids": []});
    let readers = format!("/passwords/{id}/readers");
    admin.put(&readers, &named).await.expect(200);
    let body = json!({"data": {"attributes": {"restricted": true}}});
    let bob_client = world.itglue(&keys);
    let path = format!("/passwords/{id}");
    bob_client
        .call("PATCH", &path, Some(&body), &[])
        .await
        .expect(200);
    let found = admin.get(&readers).await.expect(200).json();
    assert_eq!(found["user_ids"], json!([ada.0, bob.0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guess_of_a_linked_value_is_refused_alike_whether_right_or_wrong() {
    let (world, _, _, id) = linked().await;
    let (_, keys) = world.user("writer", &[Permission::PasswordsWrite]).await;
    let writer = world.itglue(&keys);
    let path = format!("/passwords/{id}");
    for guess in ["old-root", "wrong"] {
        let body = json!({"data": {"attributes": {"password": guess}}});
        let answer = writer.call("PATCH", &path, Some(&body), &[]).await;
        answer.expect(403);
    }
}
