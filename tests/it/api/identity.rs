//! The same target, and the same account on it, under another name: refused, with a link to the
//! first.

use serde_json::{Value, json};

use super::world::{Answer, Client, World};

const ANY: [(&str, &str); 1] = [("if-match", "*")];

struct Here {
    world: World,
    /// Password Safe.
    safe: Client,
    native: Client,
}

async fn here() -> Here {
    let world = World::new().await;
    let (_, keys) = world.administrator().await;
    let safe = world.session(&keys).await;
    let native = world.native(&keys);
    let workgroup = json!({"Name": "Default"});
    safe.post("/Workgroups", &workgroup).await.expect(201);
    Here {
        world,
        safe,
        native,
    }
}

impl Here {
    async fn system(&self, fields: Value) -> Answer {
        let mut body = json!({"EntityTypeID": 1, "PlatformID": 2});
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        self.safe.post("/Workgroups/1/ManagedSystems", &body).await
    }

    async fn asset(&self, workgroup: &str, fields: Value) -> i64 {
        let path = format!("/Workgroups/{workgroup}/Assets");
        let made = self.safe.post(&path, &fields).await.expect(201);
        made.json()["AssetID"].as_i64().unwrap()
    }

    async fn of_asset(&self, asset: i64, fields: Value) -> Answer {
        let path = format!("/Assets/{asset}/ManagedSystems");
        self.safe.post(&path, &fields).await
    }

    async fn account(&self, system: i64, fields: Value) -> Answer {
        let path = format!("/ManagedSystems/{system}/ManagedAccounts");
        let mut body = json!({"Password": "Given-secret-7731"});
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        self.safe.post(&path, &body).await
    }

    /// A directory below `dc=example,dc=com`.
    async fn directory(&self) -> i64 {
        let body = json!({"EntityTypeID": 3, "PlatformID": 32, "HostName": "ldap1"});
        let made = self.system(body).await.expect(201);
        let id = made.json()["ManagedSystemID"].as_i64().unwrap();
        let patch = json!({"base_dn": "dc=example,dc=com"});
        let path = format!("/systems/{id}");
        let patched = self.native.call("PATCH", &path, Some(&patch), &ANY).await;
        patched.expect(200);
        id
    }
}

fn id_of(answer: Answer, field: &str) -> i64 {
    answer.expect(201).json()[field].as_i64().unwrap()
}

#[tokio::test]
async fn a_host_by_another_spelling_is_refused_with_the_id_of_the_first() {
    let here = here().await;
    let asset = here
        .asset(
            "Default",
            json!({"IPAddress": "10.0.0.1", "AssetName": "web1", "DnsName": "web1.example.com"}),
        )
        .await;
    let first = here.of_asset(asset, json!({"PlatformID": 2})).await;
    assert_eq!(id_of(first, "ManagedSystemID"), 1);
    for host in [
        "10.0.0.1",
        "WEB1.example.com.",
        "web1",
        "::ffff:10.0.0.1",
        "[::ffff:a00:1]",
    ] {
        let refused = here.system(json!({"HostName": host})).await.expect(409);
        let text = refused.json();
        let text = text.as_str().unwrap();
        assert!(
            text.starts_with("This is Managed System 1 already:"),
            "{host}: {text}"
        );
    }
    let other = here
        .asset(
            "Default",
            json!({"IPAddress": "10.0.0.1", "AssetName": "alias"}),
        )
        .await;
    here.of_asset(other, json!({"PlatformID": 2}))
        .await
        .expect(409);
    let count = "SELECT COUNT(*) FROM system_details";
    assert_eq!(here.world.number(count).await, 1);
}

#[tokio::test]
async fn one_asset_is_managed_by_several_ports_and_platforms_and_names_repeat_elsewhere() {
    let here = here().await;
    here.system(json!({"HostName": "10.0.0.1"}))
        .await
        .expect(201);
    // Another port, another kind of target, another machine of the same name.
    for fields in [
        json!({"HostName": "10.0.0.1", "Port": 2222}),
        json!({"HostName": "10.0.0.1", "PlatformID": 32, "EntityTypeID": 3}),
        json!({"HostName": "10.0.0.1", "PlatformID": 1001}),
    ] {
        here.system(fields).await.expect(201);
    }
    let other = json!({"Name": "Other"});
    here.safe.post("/Workgroups", &other).await.expect(201);
    for (workgroup, address) in [("Default", "10.1.0.1"), ("Other", "10.2.0.1")] {
        let fields = json!({"IPAddress": address, "AssetName": "db1"});
        let asset = here.asset(workgroup, fields).await;
        here.of_asset(asset, json!({"PlatformID": 2}))
            .await
            .expect(201);
    }
}

#[tokio::test]
async fn a_system_may_not_be_moved_to_where_another_answers_and_a_removed_one_is_in_nobodys_way() {
    let here = here().await;
    for host in ["web1", "web2"] {
        here.system(json!({"HostName": host})).await.expect(201);
    }
    let moved = json!({"HostName": "WEB1"});
    let refused = here.safe.put("/ManagedSystems/2", &moved).await.expect(409);
    assert!(
        refused.body.contains("Managed System 1"),
        "{}",
        refused.body
    );
    // Whatever else is edited.
    let edit = json!({"Description": "the second"});
    here.safe.put("/ManagedSystems/2", &edit).await.expect(200);
    here.safe
        .call("DELETE", "/ManagedSystems/1", None, &[])
        .await
        .expect(200);
    here.safe.put("/ManagedSystems/2", &moved).await.expect(200);
}

#[tokio::test]
async fn every_name_of_one_account_of_a_directory_leads_to_the_first() {
    let here = here().await;
    let system = here.directory().await;
    let first = json!({
        "AccountName": "ann", "DistinguishedName": "CN=Ann,OU=people,DC=example,DC=com",
        "UserPrincipalName": "ann@example.com", "SAMAccountName": "ann",
    });
    let first = id_of(here.account(system, first).await, "ManagedAccountID");
    for fields in [
        json!({"AccountName": "ANN"}),
        json!({"AccountName": "CORP\\ann"}),
        json!({"AccountName": "Ann@Example.com"}),
        json!({"AccountName": "cn=ann, ou=People,dc=example,dc=com"}),
        json!({"AccountName": "a", "UserPrincipalName": "ANN@example.com"}),
        json!({"AccountName": "a", "SAMAccountName": "Ann"}),
        json!({"AccountName": "a", "DistinguishedName": "cn=ann, ou=People; dc=example,dc=com"}),
    ] {
        let refused = here.account(system, fields.clone()).await.expect(409);
        let want = format!("This is Managed Account {first} already:");
        assert!(refused.body.contains(&want), "{fields}: {}", refused.body);
    }
    // Somebody of that name elsewhere in the directory is another one.
    let other = json!({
        "AccountName": "ann", "DistinguishedName": "CN=Ann,OU=partners,DC=example,DC=com",
    });
    let other = id_of(here.account(system, other).await, "ManagedAccountID");
    let renamed = json!({"DistinguishedName": "CN=Ann, OU=people,DC=example,DC=com"});
    let path = format!("/ManagedAccounts/{other}");
    here.safe.put(&path, &renamed).await.expect(409);
    here.safe
        .call("DELETE", &format!("/ManagedAccounts/{first}"), None, &[])
        .await
        .expect(200);
    here.safe.put(&path, &renamed).await.expect(200);
}

#[tokio::test]
async fn an_import_finds_the_account_under_its_other_names_and_says_which_row_was_first() {
    let here = here().await;
    let system = here.directory().await;
    let known = json!({"AccountName": "bob", "UserPrincipalName": "bob@example.com"});
    let known = id_of(here.account(system, known).await, "ManagedAccountID");
    let rows = json!([
        {"system": "ldap1", "name": "ann", "user_principal_name": "ann@example.com"},
        {"system": "ldap1", "name": "CORP\\ann"},
        {"system": "ldap1", "name": "BOB@example.com"},
        {"system": "ldap1", "name": "eve", "distinguished_name": "uid=eve,ou=a,dc=example,dc=com"},
        {"system": "ldap1", "name": "e", "distinguished_name": "UID=Eve, ou=a,dc=example,dc=com"},
    ]);
    for (query, second) in [("?dry_run=true", "duplicate"), ("", "exists")] {
        let answer = here
            .native
            .post(&format!("/imports{query}"), &json!({"rows": rows}))
            .await
            .expect(200)
            .json();
        let seen: Vec<&str> = answer["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["status"].as_str().unwrap())
            .collect();
        assert_eq!(seen, ["created", second, "exists", "created", second]);
        assert_eq!(answer["rows"][2]["account_id"], known);
    }
}

#[tokio::test]
async fn the_native_interface_links_to_the_first() {
    let here = here().await;
    let system = here.directory().await;
    let starttls = json!({
        "EntityTypeID": 3, "PlatformID": 32, "HostName": "LDAP1", "Port": 389,
    });
    here.system(starttls).await.expect(201);
    // The first one moves to the other's port.
    let path = format!("/systems/{system}");
    let patch = json!({"starttls": true});
    let refused = here.native.call("PATCH", &path, Some(&patch), &ANY).await;
    let problem = refused.expect(409).json();
    assert_eq!(problem["code"], "conflict");
    assert_eq!(
        problem["existing"],
        json!({"id": system + 1, "href": format!("/api/v1/systems/{}", system + 1)})
    );
}
