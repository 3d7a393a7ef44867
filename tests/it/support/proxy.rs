//! A slow line: passes bytes on, and holds back whatever the target answers.
//!
//! Invariant: it changes no byte, and ends with the test.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use keywheel::clock::{SharedClock, SystemClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A slow line to a target.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    silent: watch::Sender<bool>,
    _lines: JoinSet<()>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1; every answer is held back for so long.
    pub(crate) async fn start(target: SocketAddr, hold: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (silent, silence) = watch::channel(false);
        let mut lines = JoinSet::new();
        lines.spawn(async move {
            let clock = SystemClock::shared();
            let mut open = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let far = TcpStream::connect(target).await.unwrap();
                open.spawn(line(near, far, hold, silence.clone(), clock.clone()));
            }
        });
        Self {
            port,
            silent,
            _lines: lines,
        }
    }

    /// Holds every answer back from now on, one under way included; or no longer.
    pub(crate) fn silence(&self, silent: bool) {
        self.silent.send_replace(silent);
    }
}

async fn line(
    near: TcpStream,
    far: TcpStream,
    hold: Duration,
    mut silence: watch::Receiver<bool>,
    clock: SharedClock,
) {
    let (mut near_reads, mut near_writes) = near.into_split();
    let (mut far_reads, mut far_writes) = far.into_split();
    let there = async {
        drop(tokio::io::copy(&mut near_reads, &mut far_writes).await);
        drop(far_writes.shutdown().await);
    };
    let back = async {
        let mut chunk = vec![0; 65_536];
        while let Ok(length @ 1..) = far_reads.read(&mut chunk).await {
            clock.sleep(hold).await;
            if silence.wait_for(|silent| !silent).await.is_err() {
                break;
            }
            if near_writes.write_all(&chunk[..length]).await.is_err() {
                break;
            }
        }
        drop(near_writes.shutdown().await);
    };
    tokio::join!(there, back);
}
