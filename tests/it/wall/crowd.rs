//! Many sessions at once with hosts that take a connection and say nothing.

use std::net::Ipv4Addr;
use std::time::Duration;

use keywheel::clock::SystemClock;
use keywheel_connectors::{
    Class, Connector, Credential, Elevation, Functional, HostKey, SshTarget, Target, TargetKind,
};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Stage, account, status};

const SESSIONS: usize = 256;
/// Each host's time-out.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The time-out, and what starting 256 threads takes on a busy machine.
const ALL_MAX: Duration = Duration::from_secs(20);
/// Of the process: 200 KiB for each session in flight, at most.
const SESSION_MAX_KIB: u64 = 200;

fn kib(text: &str) -> u64 {
    text.trim_end_matches(" kB").trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_mute_hosts_hold_up_nobody() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut hosts = JoinSet::new();
    hosts.spawn(async move {
        let mut held = Vec::new();
        while let Ok((wire, _)) = listener.accept().await {
            held.push(wire);
        }
    });
    let stage = Stage::real("ssh", 1).await;
    let before = stage.pool.processes();
    let own = |field| kib(&status(before[0], field));
    let idle = own("RssAnon");
    let target = Target {
        host: "127.0.0.1".to_owned(),
        port,
        timeout: TIMEOUT,
        in_flight: 1,
        kind: TargetKind::Ssh(SshTarget {
            host_key: Some(HostKey {
                algorithm: "ssh-ed25519".to_owned(),
                sha256: [1; 32],
            }),
            elevation: Elevation::None,
        }),
    };
    let functional = Functional {
        account: account("root"),
        credential: Credential::from("never-sent"),
    };
    let clock = SystemClock::shared();
    let mut opens = JoinSet::new();
    for _ in 0..SESSIONS {
        let (remote, target) = (stage.remote.clone(), target.clone());
        let functional = functional.clone();
        opens.spawn(async move { remote.open(&target, Some(&functional)).await.map(drop) });
    }
    clock.sleep(TIMEOUT / 2).await;
    let busy = own("RssAnon");
    while let Some(opened) = opens.join_next().await {
        let reason = opened.unwrap().unwrap_err();
        assert_eq!(reason.class, Class::Unreachable, "{reason}");
        assert!(reason.text.contains("in time"), "{reason}");
    }
    let took = clock.monotonic();
    println!("{SESSIONS} mute hosts: {took:?}, {idle} KiB idle, {busy} KiB with all of them");
    assert!(took < ALL_MAX, "{took:?}");
    assert!(
        busy - idle < SESSION_MAX_KIB * SESSIONS as u64,
        "{idle} {busy}"
    );
    assert_eq!(
        stage.pool.processes(),
        before,
        "no process was killed for it"
    );
    stage.end().await;
}
