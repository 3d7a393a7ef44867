//! The log of the real service, while clients send what would be lines of it.
//!
//! Invariant: every line of the log is the service's own.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Home};
use crate::support::wait::LIMIT;

/// What would be a line of either form, with what a terminal obeys.
const FORGED: &str =
    "Kw7Forged\r\n2026-01-01T00:00:00Z  WARN keywheel: Kw7Forged\n{\"level\":\"WARN\"}\u{1b}[2J";

/// Sends bytes that no honest client would, and reads what comes.
fn raw(daemon: &Daemon, bytes: &[u8]) -> String {
    let (_, address) = daemon.url.split_once("://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut said = Vec::new();
    // The service may end the connection before it has read everything.
    drop(stream.read_to_end(&mut said));
    String::from_utf8_lossy(&said).into_owned()
}

/// Asks for all that comes into a log, with hostile texts in it.
async fn ask(daemon: &Daemon, home: &Home) {
    let keys = home.keys();
    let http = reqwest::Client::new();
    let bearer = format!("Bearer {}", keys.0);
    for (path, body) in [
        ("users", json!({"name": FORGED})),
        (
            "users",
            json!({"name": "Kw7Forged\u{202e}", "display_name": FORGED, "email": FORGED}),
        ),
        ("groups", json!({"name": FORGED, "description": FORGED})),
        (
            "quarantines",
            json!({"system_id": 77, "reason": FORGED, "incident": FORGED}),
        ),
        (
            "imports",
            json!({"rows": [{"system": FORGED, "name": FORGED}]}),
        ),
        (
            "policies",
            json!({"name": FORGED, "max_age": FORGED, FORGED: 1}),
        ),
        ("keys", json!({"kind": FORGED, "name": FORGED})),
    ] {
        let sent = http
            .post(format!("{}/api/v1/{path}", daemon.url))
            .header("Authorization", &bearer)
            .json(&body);
        let status = sent.send().await.unwrap().status();
        assert!(
            status.is_success() || status.is_client_error(),
            "{path}: {status}"
        );
    }
    let forged: Vec<_> = FORGED.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let forged = forged.concat();
    for path in [
        format!("/{forged}"),
        format!("/api/v1/accounts?name={forged}"),
        format!("/api/v1/audit?subject={forged}"),
    ] {
        let sent = http
            .get(format!("{}{path}", daemon.url))
            .header("Authorization", &bearer);
        let status = sent.send().await.unwrap().status();
        assert!(
            status.is_success() || status.is_client_error(),
            "{path}: {status}"
        );
    }
    let sign_in = "POST /BeyondTrust/api/public/v3/Auth/SignAppin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    for headers in [
        "Authorization: PS-Auth key=Kw7Forged; runas=\u{1b}[2JKw7Forged;\r\n".to_owned(),
        "Authorization: PS-Auth key=Kw7Forged; runas=\u{e9}\u{202e}Kw7Forged;\r\n".to_owned(),
        "User-Agent: Kw7Forged\u{1b}[2J\r\n".to_owned(),
        "User-Agent: Kw7Forged\n2026-01-01T00:00:00Z  WARN keywheel: Kw7Forged\r\n".to_owned(),
        "X-Forwarded-For: Kw7Forged\u{85}, 1.2.3.4\r\n".to_owned(),
        "Cookie: ASP.NET_SessionId=Kw7Forged\u{1b}\r\n".to_owned(),
    ] {
        let answer = raw(
            daemon,
            format!("{sign_in}{headers}Content-Length: 0\r\n\r\n").as_bytes(),
        );
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
        assert!(!answer.contains("Kw7Forged"), "{answer}");
    }
    let answer = raw(
        daemon,
        b"GET /Kw7Forged\x1b[2J HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert!(!answer.contains("Kw7Forged"), "{answer}");
}

/// The log of a service that was asked, at its most talkative, and ended.
async fn log_of(format: &str) -> String {
    let home = Home::new();
    let daemon = home.serve_with(&[
        ("KEYWHEEL_LOG__FORMAT", format),
        ("KEYWHEEL_LOG__LEVEL", "trace"),
    ]);
    ask(&daemon, &home).await;
    assert_eq!(daemon.stop(), 0);
    let logs: Vec<String> = home
        .logs()
        .iter()
        .map(|log| std::fs::read_to_string(log).unwrap())
        .collect();
    assert!(
        logs.concat().contains("answered"),
        "the calls are in the log"
    );
    logs.concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_the_log_is_one_record_of_json() {
    let log = log_of("json").await;
    for line in log.lines() {
        let record: Value =
            serde_json::from_str(line).unwrap_or_else(|fault| panic!("{fault}: {line:?}"));
        assert!(
            record["timestamp"].is_string() && record["target"].is_string(),
            "{line}"
        );
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(
            !line.contains("Kw7Forged"),
            "no text of a client's is logged: {line}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_the_log_begins_with_its_own_time() {
    let log = log_of("text").await;
    for line in log.lines() {
        let begins = line
            .get(..11)
            .is_some_and(|day| day.ends_with('T') && day.starts_with("20"));
        assert!(begins && line.contains("keywheel"), "{line:?}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(
            !line.contains("Kw7Forged"),
            "no text of a client's is logged: {line}"
        );
    }
}
