//! What the listener bears: silent, slow and crooked clients; and the headers of every answer.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use keywheel::clock::SystemClock;
use reqwest::Method;
use reqwest::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, SERVER,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

use crate::support::certificate::Authority;
use crate::support::daemon::{Daemon, Home};
use crate::support::program::command;
use crate::support::wait::{LIMIT, eventually};

/// What an honest client waits at most on a busy machine that has nothing else to do.
const PROMPT: Duration = Duration::from_secs(5);

fn connect(daemon: &Daemon) -> TcpStream {
    let (_, address) = daemon.url.split_once("://").unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Everything that comes until the other side ends the connection.
fn rest(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => {}
        // What it did not want to read was on its way when it ended.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    String::from_utf8(said).unwrap()
}

/// Sends these bytes and reads to the end of the connection.
fn exchange(daemon: &Daemon, bytes: &str) -> String {
    let mut stream = connect(daemon);
    stream.write_all(bytes.as_bytes()).unwrap();
    rest(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_strict_headers() {
    let home = Home::new();
    let daemon = home.serve();
    let keys = home.keys();
    let http = reqwest::Client::builder().build().unwrap();
    let dialect = "/BeyondTrust/api/public/v3";
    let strict = "default-src 'none'; frame-ancestors 'none'";
    for (method, path, status) in [
        (Method::GET, "/healthz".to_owned(), 200),
        (Method::GET, "/metrics".to_owned(), 200),
        (Method::GET, "/nowhere".to_owned(), 404),
        (Method::DELETE, "/healthz".to_owned(), 405),
        (Method::GET, "/api/v1/users".to_owned(), 200),
        (Method::GET, "/openapi.json".to_owned(), 200),
        (Method::GET, "/openapi-passwordsafe.json".to_owned(), 200),
        (Method::GET, "/openapi-itglue.json".to_owned(), 200),
        (Method::GET, "/docs/api/".to_owned(), 200),
        (Method::GET, "/docs/api/index.css".to_owned(), 200),
        (Method::POST, format!("{dialect}/Auth/SignAppin"), 200),
        (Method::GET, format!("{dialect}/ManagedAccounts"), 401),
        (Method::GET, format!("{dialect}/nowhere"), 401),
    ] {
        let authorization = if path.contains("Sign") {
            format!("PS-Auth key={}; runas=admin;", keys.1)
        } else {
            format!("Bearer {}", keys.0)
        };
        let answer = http
            .request(method, format!("{}{path}", daemon.url))
            .header("Authorization", authorization)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), status, "{path}");
        let header = |name: &HeaderName| {
            let values: Vec<_> = answer.headers().get_all(name).iter().collect();
            assert!(values.len() < 2, "{path}: {values:?}");
            values.first().map(|one| one.to_str().unwrap().to_owned())
        };
        for (name, value) in [
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            (REFERRER_POLICY, "no-referrer"),
            (CACHE_CONTROL, "no-store"),
        ] {
            assert_eq!(header(&name).as_deref(), Some(value), "{path}: {name}");
        }
        let policy = header(&CONTENT_SECURITY_POLICY).unwrap();
        let is_page = path.starts_with("/docs") || path.starts_with("/openapi");
        assert_eq!(policy != strict, is_page, "{path}: {policy}");
        assert!(
            policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert_eq!(header(&SERVER), None, "{path}");
        assert_eq!(header(&STRICT_TRANSPORT_SECURITY), None, "{path}");
    }
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_request_that_is_framed_in_two_ways_is_followed_by_nothing() {
    let home = Home::new();
    let daemon = home.serve();
    let hidden = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let head = "POST /healthz HTTP/1.1\r\nHost: x\r\n";
    let both = ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"];
    // A route that reads its body whole: after it the connection could be used again.
    let reads = format!(
        "POST /api/v1/imports HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: text/csv\r\n",
        home.keys().0
    );
    let once = format!(
        "{reads}{}\r\n0\r\n\r\n{hidden}GET / HTTP/1.0\r\n\r\n",
        both[0]
    );
    let said = exchange(&daemon, &once);
    assert_eq!(said.matches("HTTP/1.1 200").count(), 1, "{said}");
    for [first, second] in [both, [both[1], both[0]]] {
        let said = exchange(
            &daemon,
            &format!("{reads}{first}{second}\r\n0\r\n\r\n{hidden}"),
        );
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
        assert!(said.starts_with("HTTP/1.1 4"), "{said}");
    }
    for crooked in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding : chunked\r\n",
        "X: a\r\n Transfer-Encoding: chunked\r\n",
    ] {
        let said = exchange(&daemon, &format!("{head}{crooked}\r\n0\r\n\r\n{hidden}"));
        assert!(said.starts_with("HTTP/1.1 400 "), "{crooked}: {said}");
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{crooked}: {said}");
    }
    let old = format!("POST /healthz HTTP/1.0\r\n{}\r\n0\r\n\r\n{hidden}", both[1]);
    let said = exchange(&daemon, &old);
    assert!(
        said.starts_with("HTTP/1.1 400 ") || said.starts_with("HTTP/1.0 400 "),
        "{said}"
    );
    // What is framed once is followed by the next one.
    let said = exchange(
        &daemon,
        &format!("{hidden}{head}Content-Length: 0\r\n\r\n{hidden}GET / HTTP/1.0\r\n\r\n"),
    );
    assert_eq!(said.matches("HTTP/1.1 200").count(), 2, "{said}");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_head_has_a_limit() {
    let home = Home::new();
    let daemon = home.serve();
    let long = |count: usize| {
        let filler = "x".repeat(count);
        let head = format!("GET /healthz HTTP/1.0\r\nHost: x\r\nX: {filler}\r\n\r\n");
        exchange(&daemon, &head)
    };
    assert!(long(16_000).contains(" 200 OK"));
    assert!(long(40_000).contains(" 431 "));
    let many = "X: x\r\n".repeat(200);
    let said = exchange(&daemon, &format!("GET /healthz HTTP/1.1\r\n{many}\r\n"));
    assert!(said.contains(" 431 "), "{said}");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_client_that_drips_its_head_is_shown_out_and_others_do_not_wait() {
    let home = Home::new();
    let daemon = home.serve();
    let mut slow = connect(&daemon);
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        .unwrap();
    slow.set_nonblocking(true).unwrap();
    let clock = SystemClock::shared();
    eventually("the slow client is shown out", || {
        let began = clock.monotonic();
        let said = exchange(&daemon, "GET /healthz HTTP/1.0\r\n\r\n");
        assert!(said.contains(" 200 OK"), "{said}");
        assert!(clock.monotonic().saturating_sub(began) < PROMPT);
        // One more byte each time: a limit on silence alone would never end this.
        let dripped = slow.write_all(b"X");
        let mut byte = [0];
        let read = slow.read(&mut byte);
        let blocks = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        let is_open = dripped.is_ok() && read.as_ref().is_err_and(blocks);
        (!is_open).then_some(())
    });
    let took = clock.monotonic();
    assert!((18..28).contains(&took.as_secs()), "{took:?}");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let home = Home::new();
    let daemon = home.serve_with(&[("KEYWHEEL_SERVER__REQUEST_TIMEOUT_S", "1")]);
    let head = format!(
        "POST /api/v1/imports HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: text/csv\r\n",
        home.keys().0
    );
    let clock = SystemClock::shared();
    for framing in [
        "Content-Length: 100\r\n\r\nsystem",
        "Transfer-Encoding: chunked\r\n\r\n1\r\nx",
    ] {
        let said = exchange(&daemon, &format!("{head}{framing}"));
        assert!(said.starts_with("HTTP/1.1 4"), "{said}");
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
    }
    let took = clock.monotonic();
    assert!((2..20).contains(&took.as_secs()), "{took:?}");
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_silent_clients_keep_nobody_waiting() {
    let home = Home::new();
    let authority = Authority::new(home.path(), "ca");
    let issued = authority.service("service", 30);
    // A seat for half of the descriptors: fewer seats than silent clients.
    let mut poor = command("sh");
    poor.args(["-c", "ulimit -n 256; exec \"$@\"", "sh"])
        .env_clear()
        .env("KEYWHEEL_SERVER__TLS_CERTIFICATE_FILE", &issued.certificate)
        .env("KEYWHEEL_SERVER__TLS_KEY_FILE", &issued.key);
    let daemon = home.serve_through(&mut poor);
    let trusted = reqwest::Certificate::from_pem(&authority.pem()).unwrap();
    let alive = async || {
        let clock = SystemClock::shared();
        // A connection of its own each time.
        let http = reqwest::Client::builder().tls_certs_only([trusted.clone()]);
        let http = http.build().unwrap();
        let answer = http.get(format!("{}/healthz", daemon.url)).send().await;
        assert_eq!(answer.unwrap().status(), 200);
        assert!(clock.monotonic() < PROMPT, "{:?}", clock.monotonic());
        http
    };
    let mut silent = vec![connect(&daemon)];
    alive().await;
    // Others asked once, and keep what they have.
    let mut kept = Vec::new();
    for _ in 0..20 {
        kept.push(alive().await);
    }
    silent.extend((0..200).map(|_| connect(&daemon)));
    for _ in 0..10 {
        alive().await;
    }
    // The first ones had to go; the last ones did not.
    silent[0].set_nonblocking(true).unwrap();
    assert_eq!(silent[0].read(&mut [0]).unwrap(), 0);
    let last = silent.last_mut().unwrap();
    last.set_nonblocking(true).unwrap();
    let open = last.read(&mut [0]).unwrap_err();
    assert_eq!(open.kind(), std::io::ErrorKind::WouldBlock);
    drop(kept);
    assert_eq!(daemon.stop(), 0);
}
