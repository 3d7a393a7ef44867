//! From a host that nobody knows to tested accounts, and not a step further.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::daemon::Home;
use crate::support::fleet::Sshd;

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_listed_its_accounts_are_imported_and_tested_and_none_is_rotated() {
    let settings = [("WRAPPER", "1"), ("SUDO", "none")];
    let sshd = Sshd::start_with("Functional-7kR-host", &settings);
    let home = Home::new();
    let daemon = home.serve();
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    let system = sshd.onboard(&client).await;
    let before = sshd.run("getent shadow kw_u0 kw_u1 kw_u2");

    let order = json!({"uid_min": 20_000, "uid_max": 20_999, "shells": ["/bin/bash"]});
    let path = format!("/api/v1/systems/{system}/discoveries?wait=60");
    let ended = client.order(&path, &order).await.expect(202).json();
    assert_eq!(ended["state"], "succeeded", "{ended}");
    let path = format!("/api/v1/systems/{system}/discovered");
    let found = client.native(&path).await.expect(200).json();
    let found: Vec<&Value> = found["items"].as_array().unwrap().iter().collect();
    let names: Vec<&str> = found
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["root", "kw_noise", "kw_u0", "kw_u1", "kw_u2"]);
    assert!(found.iter().all(|one| one["account_id"].is_null()));
    assert_eq!(found[2]["lock"], "open");
    assert!(found[2]["last_change"].is_string());

    // Two that were found, by their names alone, and one by a file.
    let row = |name: &str| json!({"system": system, "name": name, "password": Sshd::initial(name)});
    let rows = json!({"rows": [row("kw_u0"), row("kw_u1")]});
    let chosen = client
        .order("/api/v1/imports", &rows)
        .await
        .expect(200)
        .json();
    let file = format!(
        "system,name,password\r\n{system},kw_u2,{}\r\n",
        Sshd::initial("kw_u2")
    );
    let dry = client.import(&file, true).await.expect(200).json();
    let filed = client.import(&file, false).await.expect(200).json();
    assert_eq!(dry["counts"], filed["counts"]);
    assert_eq!(
        (&chosen["counts"]["created"], &filed["counts"]["created"]),
        (&json!(2), &json!(1))
    );
    let mut imported = chosen["rows"].as_array().unwrap().clone();
    imported.extend(filed["rows"].as_array().unwrap().clone());
    for row in &imported {
        let job = format!("/api/v1/jobs/{}", row["job_id"]);
        assert_eq!(
            client.await_job(&job, &["succeeded", "failed"]).await,
            "succeeded"
        );
        let path = format!("/api/v1/accounts/{}", row["account_id"]);
        let account = client.native(&path).await.expect(200).json();
        assert_eq!(account["last_test"], "passed", "{account}");
        assert_eq!(account["state"], "unmanaged");
        assert!(account["next_change"].is_null());
    }
    let known = client
        .native(&format!("{path}?managed=true"))
        .await
        .expect(200)
        .json();
    assert_eq!(known["items"].as_array().unwrap().len(), 3);
    // The same file again finds nothing to do.
    let again = client.import(&file, false).await.expect(200).json();
    assert_eq!(again["counts"]["exists"], 1);

    assert_eq!(sshd.run("getent shadow kw_u0 kw_u1 kw_u2"), before);
    assert_eq!(daemon.stop(), 0);
    let database = super::database(&home.data("keywheel.db")).await;
    let (rotations,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM rotations")
        .fetch_one(&database)
        .await
        .unwrap();
    let (others,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM job_history WHERE kind <> 'test'")
        .fetch_one(&database)
        .await
        .unwrap();
    assert_eq!((rotations, others), (0, 0));
}
