//! The bare loop of the SSH library's calls: everything that reaches the host, and nothing else.
//!
//! Invariant: its functional sessions are opened once each, as Keywheel's are; every login test has
//! a connection of its own.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ssh2::Session;
use tokio::task::JoinSet;

use super::support::{Pace, clear, fresh_secret, paced};
use super::{ACCOUNTS, CONCURRENCY, FUNCTIONAL_PASSWORD, IP, Peer, Sshd, name};

pub(crate) struct BareLoop;

impl Peer for BareLoop {
    const NAME: &'static str = "ssh2 loop";

    async fn rotate(&self, sshd: &Sshd) -> Pace {
        let (port, next) = (sshd.port, Arc::new(AtomicUsize::new(0)));
        let work = async {
            let mut threads = JoinSet::new();
            for _ in 0..CONCURRENCY {
                let next = Arc::clone(&next);
                threads.spawn_blocking(move || rotate_some(port, &next));
            }
            while let Some(ended) = threads.join_next().await {
                ended.unwrap();
            }
        };
        paced(sshd.process, ACCOUNTS, work).await
    }
}

fn rotate_some(port: u16, next: &AtomicUsize) {
    let functional = logged_in(port, "kw_func", FUNCTIONAL_PASSWORD);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= ACCOUNTS {
            return;
        }
        let (user, secret) = (name(number), fresh_secret());
        let line = format!("{user}:{}\n", clear(&secret));
        assert_eq!(said(&functional, "sudo -n /usr/sbin/chpasswd", &line), "");
        let own = logged_in(port, &user, clear(&secret));
        assert_eq!(said(&own, "id -un", "").trim(), user);
    }
}

fn logged_in(port: u16, user: &str, password: &str) -> Session {
    let tcp = TcpStream::connect((IP, port)).unwrap();
    tcp.set_nodelay(true).unwrap();
    let mut session = Session::new().unwrap();
    session.set_tcp_stream(tcp);
    session.handshake().unwrap();
    session.userauth_password(user, password).unwrap();
    session
}

/// Runs a program with this input; what it printed.
fn said(session: &Session, program: &str, input: &str) -> String {
    let mut channel = session.channel_session().unwrap();
    channel.exec(program).unwrap();
    channel.write_all(input.as_bytes()).unwrap();
    channel.send_eof().unwrap();
    let mut printed = String::new();
    channel.read_to_string(&mut printed).unwrap();
    channel.wait_close().unwrap();
    assert_eq!(channel.exit_status().unwrap(), 0, "{program}");
    printed
}
