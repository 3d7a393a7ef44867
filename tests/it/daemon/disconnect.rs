//! Clients that leave in the middle of a change that they wait for: the real listener, a real
//! directory, and a socket that is closed or reset.
//!
//! Invariant: the change goes on as though somebody still waited, and is made once.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::json;
use sqlx::{Pool, Sqlite};

use crate::support::client::Client;
use crate::support::daemon::{Daemon, Home};
use crate::support::directory::{Directory, LDAP_INITIAL};
use crate::support::proxy::Proxy;
use crate::support::wait::until;

/// How long the line holds back each of the directory's answers.
const HOLD: Duration = Duration::from_millis(50);
const BASE: &str = "/BeyondTrust/api/public/v3";

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// It closes the socket in good order: FIN.
    Closing,
    /// It closes it with an answer unread, and the machine resets the connection: RST.
    Resetting,
}

/// A client with a socket of its own.
struct Raw {
    stream: TcpStream,
    cookie: String,
}

impl Raw {
    fn signed_in(daemon: &Daemon, key: &str) -> Self {
        let address = daemon.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "POST {BASE}/Auth/SignAppin HTTP/1.1\r\nHost: kw\r\n\
             Authorization: PS-Auth key={key}; runas=admin;\r\nContent-Length: 0\r\n\r\n"
        )
        .unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut cookie, mut length) = (String::new(), 0);
        for (nth, line) in reader.by_ref().lines().map(Result::unwrap).enumerate() {
            assert!(nth > 0 || line.contains(" 200 "), "{line}");
            let (name, value) = line.split_once(": ").unwrap_or_default();
            match name.to_lowercase().as_str() {
                "set-cookie" => cookie = value.split(';').next().unwrap().to_owned(),
                "content-length" => length = value.parse().unwrap(),
                _ if line.is_empty() => break,
                _ => {}
            }
        }
        reader.read_exact(&mut vec![0; length]).unwrap();
        Self { stream, cookie }
    }

    fn send(&mut self, method: &str, path: &str, body: &str) {
        write!(
            self.stream,
            "{method} {BASE}/{path} HTTP/1.1\r\nHost: kw\r\nCookie: {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.cookie,
            body.len()
        )
        .unwrap();
    }

    /// Leaves, once the answer that is to stay unread has come.
    async fn leave(self, how: Leaves) {
        if matches!(how, Leaves::Resetting) {
            until("an answer waits", async || {
                (self.stream.peek(&mut [0]).unwrap() > 0).then_some(())
            })
            .await;
        }
        drop(self.stream);
    }
}

/// Sockets that the service holds now, of connections to its port.
fn connections(daemon: &Daemon) -> usize {
    let port = daemon.url.rsplit(':').next().unwrap();
    let port = format!(":{:04X} ", port.parse::<u16>().unwrap());
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", daemon.pid())).unwrap();
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            Some((format!("{} ", fields.next()?), fields.nth(1)?.to_owned()))
        })
        // 01 established, 08 closed by the other side alone.
        .filter(|(local, state)| local.ends_with(&port) && ["01", "08"].contains(&state.as_str()))
        .count()
}

async fn count(database: &Pool<Sqlite>, sql: &'static str) -> i64 {
    let (count,): (i64,) = sqlx::query_as(sql).fetch_one(database).await.unwrap();
    count
}

async fn left_in_the_middle(how: Leaves) {
    let slapd = Directory::openldap();
    let proxy = Proxy::start(SocketAddr::from((slapd.ip, slapd.port)), HOLD).await;
    let home = Home::new();
    let daemon = home.serve();
    let client = Client::signed_in(&daemon.url, &home.keys()).await;
    let system = slapd.onboard(&client, Some(proxy.port)).await;
    let account = slapd.onboard_account(&client, system, "u2").await;
    let database = super::database(&home.data("keywheel.db")).await;
    let path = format!("ManagedAccounts/{account}/Credentials/Change");
    let set = format!("ManagedAccounts/{account}/Credentials");
    let mut raw = Raw::signed_in(&daemon, &home.keys().1);
    let before = connections(&daemon);

    raw.send("GET", "Configuration/Version", "");
    let body = r#"{"Queue":false}"#;
    raw.send("POST", &path, body);
    until("the change is intended", async || {
        let applying = "SELECT COUNT(*) FROM rotations WHERE phase = 'applying'";
        (count(&database, applying).await == 1).then_some(())
    })
    .await;
    proxy.silence(true);
    let (job,): (i64,) = sqlx::query_as("SELECT id FROM jobs WHERE state = 'running'")
        .fetch_one(&database)
        .await
        .unwrap();
    raw.leave(how).await;
    until("the service has let the connection go", async || {
        (connections(&daemon) < before).then_some(())
    })
    .await;

    // The same order joins it, another one is told of it.
    let other = json!({"Password": "Other-5tQ-word"});
    for answer in [
        client.post(&path, &other).await,
        client.put(&set, &other).await,
    ] {
        assert_eq!(answer.expect(409).json(), "A change is already running");
    }
    let queued = client.post(&path, &json!({"Queue": true})).await;
    let location = format!("/api/v1/jobs/{job}");
    assert_eq!(queued.expect(204).location.as_deref(), Some(&*location));
    let again = json!({"Queue": false});
    let repeat = client.post(&path, &again);
    let (repeat, ()) = tokio::join!(repeat, async {
        let joined = "keywheel_jobs_joined_total{kind=\"rotate\"} 2";
        until("the repeat waits too", async || {
            let metrics = client.nobody("/metrics").await.expect(200).body;
            metrics.contains(joined).then_some(())
        })
        .await;
        proxy.silence(false);
    });
    assert_eq!(repeat.expect(204).location.as_deref(), Some(&*location));

    let current = client.reveal(account).await;
    assert_ne!(current, LDAP_INITIAL);
    assert!(slapd.accepts("u2", &current));
    assert!(!slapd.accepts("u2", LDAP_INITIAL));
    assert_eq!(client.job_state(&location).await, "succeeded");
    // One change on the target, one attempt, and nothing left of it.
    for (sql, meant) in [
        ("SELECT COUNT(*) FROM rotations", 1),
        (
            "SELECT COUNT(*) FROM rotations WHERE phase = 'committed'",
            1,
        ),
        (
            "SELECT COUNT(*) FROM job_history WHERE kind = 'rotate' AND outcome = 'succeeded'",
            1,
        ),
        (
            "SELECT COUNT(*) FROM job_history WHERE kind = 'rotate' AND outcome <> 'succeeded'",
            0,
        ),
        ("SELECT COUNT(*) FROM jobs", 0),
        ("SELECT COUNT(*) FROM claims", 0),
    ] {
        assert_eq!(count(&database, sql).await, meant, "{sql}");
    }
    // A handler that still waited would hold up the end.
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_in_the_middle_of_a_change_stops_nothing() {
    left_in_the_middle(Leaves::Closing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resets_in_the_middle_of_a_change_stops_nothing() {
    left_in_the_middle(Leaves::Resetting).await;
}
