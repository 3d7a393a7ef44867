//! Addresses, and what answers mean.

use serde_json::json;

use super::*;

#[test]
fn a_server_is_a_bare_url() {
    for good in [
        "https://keywheel.example.com",
        "http://127.0.0.1:7420/",
        "https://[::1]:7420/below",
    ] {
        assert!(address(good).is_ok(), "{good}");
    }
    for bad in [
        "keywheel.example.com",
        "ftp://keywheel.example.com",
        "https://user:word@keywheel.example.com",
        "https://keywheel.example.com/?a=b",
        "https://keywheel.example.com/#a",
        "file:///etc/passwd",
        "",
    ] {
        let why = address(bad).unwrap_err();
        assert!(!why.contains("word@"), "{why}");
    }
}

#[test]
fn this_machine_is_known_by_its_addresses() {
    for (url, is_here) in [
        ("http://127.0.0.1:7420", true),
        ("http://127.0.0.9", true),
        ("http://[::1]:7420", true),
        ("http://localhost:7420", true),
        ("http://192.0.2.1", false),
        ("http://127.0.0.1.example.com", false),
        ("http://localhost.example.com", false),
    ] {
        assert_eq!(is_loopback(&address(url).unwrap()), is_here, "{url}");
    }
}

#[test]
fn a_listener_on_every_address_is_called_by_loopback() {
    let mut settings = Settings::default();
    for (listen, url) in [
        ("127.0.0.1:7420", "http://127.0.0.1:7420"),
        ("0.0.0.0:80", "http://127.0.0.1:80"),
        ("[::]:80", "http://[::1]:80"),
        ("192.0.2.1:80", "http://192.0.2.1:80"),
    ] {
        settings.server.listen = listen.parse().unwrap();
        assert_eq!(listener(&settings), url);
    }
}

#[test]
fn a_problem_is_one_line_and_has_its_exit_code() {
    let problem = json!({
        "code": "invalid", "detail": "Correct\u{1b}[2J\nit", "trace_id": "t1",
        "errors": [{"pointer": "/reason", "detail": "must not be empty"}],
    });
    let body = problem.to_string();
    for (status, exit) in [
        (400, Exit::Failed),
        (401, Exit::Denied),
        (403, Exit::Denied),
        (404, Exit::NotFound),
        (409, Exit::Conflict),
        (412, Exit::Conflict),
        (429, Exit::Unavailable),
        (500, Exit::Failed),
        (503, Exit::Unavailable),
        (507, Exit::Failed),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let (ended, line) = fault(status, body.as_bytes());
        assert_eq!(ended, exit, "{status}");
        assert!(line.contains("(invalid, trace t1); /reason must not be empty"));
        assert!(!line.chars().any(char::is_control), "{line}");
    }
}

#[test]
fn what_is_no_problem_of_ours_says_nothing_about_records() {
    for (status, exit) in [
        (404, Exit::Failed),
        (403, Exit::Failed),
        (302, Exit::Failed),
        (502, Exit::Unavailable),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let (ended, line) = fault(status, b"<html>Canary</html>");
        assert_eq!(ended, exit, "{status}");
        assert!(!line.contains("Canary"), "{line}");
    }
}
