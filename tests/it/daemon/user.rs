//! An administrator who is locked out, and a password that survives the service.

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::support::daemon::Home;

const PASSWORD: &str = "Canary-reset-7731 with space";

async fn sign_in(client: &Client, url: &str, password: &str) -> (StatusCode, Value) {
    let order = json!({"name": "admin", "password": password});
    let sent = client.post(format!("{url}/api/v1/sessions")).json(&order);
    let answer = sent.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_out_administrator_gets_a_new_password_and_sessions_survive_a_restart() {
    let home = Home::new();
    let reset = ["user", "reset-admin"];
    let early = home.run_fed(&reset, PASSWORD);
    assert_eq!(early.code, Some(1), "there is no database: {early:?}");
    let daemon = home.serve();
    let beside = home.run_fed(&reset, PASSWORD);
    assert_eq!(beside.code, Some(1), "the service runs: {beside:?}");
    let client = Client::builder().cookie_store(true).build().unwrap();
    let (status, _) = sign_in(&client, &daemon.url, PASSWORD).await;
    assert_eq!(status, 401);
    assert_eq!(daemon.stop(), 0);
    for (input, reason) in [("short\n", "at least 12"), ("", "at least 12")] {
        let refused = home.run_fed(&reset, input);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.err.contains(reason), "{refused:?}");
    }
    let stranger = ["user", "reset-admin", "--name", "eve"];
    let refused = home.run_fed(&stranger, PASSWORD);
    assert!(
        refused.err.contains("eve is no administrator"),
        "{refused:?}"
    );
    let done = home.run_fed(&reset, &format!("{PASSWORD}\nnot this\n"));
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(!format!("{done:?}").contains("Canary"), "{done:?}");
    let daemon = home.serve();
    let (status, session) = sign_in(&client, &daemon.url, PASSWORD).await;
    assert_eq!(status, 201, "{session}");
    let get = async |url: &str, path: &str| {
        let sent = client.get(format!("{url}/api/v1{path}")).send().await;
        let answer = sent.unwrap();
        (answer.status(), answer.json::<Value>().await.unwrap())
    };
    let (status, found) = get(&daemon.url, "/audit?limit=200").await;
    assert_eq!(status, 200);
    let rows = found["items"].as_array().unwrap();
    let row = rows
        .iter()
        .find(|row| row["event"] == "user.password_reset");
    assert!(row.is_some(), "{found}");
    assert!(!found.to_string().contains("Canary"));
    assert_eq!(daemon.stop(), 0);
    // The port is another, which no cookie minds.
    let daemon = home.serve();
    let (status, own) = get(&daemon.url, "/sessions").await;
    assert_eq!(
        (status, &own["items"][0]["id"]),
        (StatusCode::OK, &session["id"])
    );
    let path = format!("{}/api/v1/users/1/sessions", daemon.url);
    let without = client.delete(&path).send().await.unwrap();
    assert_eq!(without.status(), 403, "the token is missing");
    let token = session["csrf_token"].as_str().unwrap();
    let with = client
        .delete(&path)
        .header("x-csrf-token", token)
        .send()
        .await;
    assert_eq!(with.unwrap().status(), 204);
    assert_eq!(get(&daemon.url, "/sessions").await.0, 401);
    assert_eq!(daemon.stop(), 0);
}
