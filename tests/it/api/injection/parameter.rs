//! The same in paths and query strings; and filters, which know no wildcards.
//!
//! Invariant: what is asked for is sent percent-encoded, byte by byte.

use keywheel::api::{Dialect, declared};
use keywheel::store::Backend;
use serde_json::json;

use super::{HOSTILE, MARK, Stage, fault};
use crate::api::world::Answer;

/// Percent-encoded, every byte of it.
fn encoded(text: &str) -> String {
    let bytes: Vec<_> = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    bytes.concat()
}

/// Names of parameters that some route knows.
const PARAMETERS: [&str; 28] = [
    "name",
    "systemName",
    "accountName",
    "workgroupName",
    "assetName",
    "applicationDisplayName",
    "type",
    "title",
    "limit",
    "offset",
    "cursor",
    "status",
    "queue",
    "state",
    "subject",
    "system_name",
    "shell",
    "lock",
    "from",
    "to",
    "wait",
    "version",
    "server",
    "days",
    "organization_id",
    "user_id",
    "tab",
    "format",
];

async fn parameters(backend: Backend) {
    let stage = Stage::on(backend).await;
    let before = stage.bystanders().await;
    let mut asked = 0;
    for route in declared()
        .into_iter()
        .filter(|route| !matches!(route.path, "/metrics" | "/healthz" | "/readyz"))
    {
        let client = match route.dialect {
            Dialect::Native => &stage.native,
            Dialect::PasswordSafe => &stage.session,
            Dialect::ItGlue => &stage.itglue,
        };
        for hostile in HOSTILE {
            let text = encoded(&format!("{MARK}{hostile}"));
            let mut paths = Vec::new();
            if route.path.contains('{') {
                let segments = route.path.split('/').map(|part| {
                    if part.starts_with('{') {
                        text.as_str()
                    } else {
                        part
                    }
                });
                paths.push(segments.collect::<Vec<_>>().join("/"));
            }
            if route.method == "GET" {
                let path = route
                    .path
                    .split('/')
                    .map(|part| if part.starts_with('{') { "1" } else { part });
                let path = path.collect::<Vec<_>>().join("/");
                paths.extend(PARAMETERS.map(|name| format!("{path}?{name}={text}")));
            }
            for path in paths {
                let answer = client.call(route.method, &path, None, &[]).await;
                asked += 1;
                assert_eq!(fault(&answer), None, "{} {path}: {answer:?}", route.method);
            }
        }
    }
    assert!(asked > 1_000, "only {asked} were asked");
    assert_eq!(stage.bystanders().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_of_paths_and_queries_are_texts_on_sqlite() {
    Box::pin(parameters(Backend::Sqlite)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_of_paths_and_queries_are_texts_on_postgresql() {
    Box::pin(parameters(Backend::Postgres)).await;
}

async fn wildcards(backend: Backend) {
    let stage = Stage::on(backend).await;
    for name in ["a%", "a_", "a'b", "a\\b"] {
        let asset = json!({"AssetName": name, "IPAddress": "10.0.0.7"});
        stage
            .session
            .post("/workgroups/Default/assets", &asset)
            .await
            .expect(201);
        let account = json!({"AccountName": name, "Password": "pw-canary"});
        stage
            .session
            .post("/managedsystems/1/managedaccounts", &account)
            .await
            .expect(201);
    }
    let found = |answer: Answer, field: &str| -> Vec<String> {
        let all = answer.expect(200).json();
        let rows = all
            .as_array()
            .or(all["Data"].as_array())
            .or(all["items"].as_array())
            .unwrap();
        rows.iter()
            .map(|row| row[field].as_str().unwrap().to_owned())
            .collect()
    };
    for (asked, meant) in [
        ("%", vec![]),
        ("_", vec![]),
        ("a%", vec!["a%"]),
        ("a_", vec!["a_"]),
        ("a'b", vec!["a'b"]),
        ("a\\b", vec!["a\\b"]),
    ] {
        let text = encoded(asked);
        let answer = stage
            .session
            .post("/assets/search", &json!({"AssetName": asked}))
            .await;
        assert_eq!(found(answer, "AssetName"), meant, "assets {asked}");
        let answer = stage
            .native
            .get(&format!("/api/v1/accounts?name={text}"))
            .await;
        assert_eq!(found(answer, "name"), meant, "accounts {asked}");
        let path = format!("/workgroups/Default/assets?name={text}");
        let answer = stage.session.get(&path).await;
        assert_eq!(answer.status == 404, meant.is_empty(), "{path}: {answer:?}");
        let answer = stage
            .native
            .get(&format!("/api/v1/systems?name={text}"))
            .await;
        assert!(found(answer, "name").is_empty(), "systems {asked}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_has_no_wildcards_on_sqlite() {
    Box::pin(wildcards(Backend::Sqlite)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_has_no_wildcards_on_postgresql() {
    Box::pin(wildcards(Backend::Postgres)).await;
}
