//! The line between the service and one target, which can be cut and can fall silent.
//!
//! Invariant: it changes no byte, and a target that is down is a connection that is closed.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Everything passes.
    Open,
    /// Nothing passes, and what was open is reset.
    Cut,
    /// Nothing passes, and nobody is told.
    Silent,
    /// What is asked passes, and what is answered does not.
    Deaf,
}

#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) port: u16,
    state: watch::Sender<State>,
    _lines: JoinSet<()>,
}

impl Line {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (state, seen) = watch::channel(State::Open);
        let mut lines = JoinSet::new();
        lines.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                open.spawn(serve(near, target, seen.clone()));
                while open.try_join_next().is_some() {}
            }
        });
        Self {
            port,
            state,
            _lines: lines,
        }
    }

    pub(crate) fn set(&self, state: State) {
        self.state.send_replace(state);
    }
}

async fn serve(near: TcpStream, target: SocketAddr, mut state: watch::Receiver<State>) {
    // Closed as by a reset: nobody waits for what was under way.
    near.set_zero_linger().unwrap_or_default();
    let opens = state.wait_for(|state| *state != State::Silent).await;
    let opens = opens.map(|state| *state);
    if !matches!(opens, Ok(State::Open | State::Deaf)) {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else {
        return;
    };
    far.set_zero_linger().unwrap_or_default();
    drop((near.set_nodelay(true), far.set_nodelay(true)));
    let (near_reads, near_writes) = near.into_split();
    let (far_reads, far_writes) = far.into_split();
    let mut watched = state.clone();
    let cut = async {
        drop(watched.wait_for(|state| *state == State::Cut).await);
    };
    let asked = pass(near_reads, far_writes, state.clone(), &[State::Silent]);
    let answers = &[State::Silent, State::Deaf];
    let answered = pass(far_reads, near_writes, state.clone(), answers);
    tokio::select! {
        () = cut => {}
        () = async { tokio::join!(asked, answered); } => {}
    }
}

/// Passes bytes on, except while the line is in one of these states.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    held: &[State],
) {
    let mut chunk = vec![0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        let held = state.wait_for(|state| !held.contains(state)).await.is_err();
        if held || to.write_all(&chunk[..length]).await.is_err() {
            break;
        }
    }
    // The other direction ends by itself, or with the connection.
    drop(tokio::time::timeout(Duration::from_secs(1), to.shutdown()).await);
}
