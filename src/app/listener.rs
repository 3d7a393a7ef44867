//! The HTTP listener: accepts connections, and gives each a seat and a task.
//!
//! Order of what a connection costs: a seat, a handshake, a request's head, a handler with its body.
//! Each has a limit of time, but for what a handler waits for, and a connection that has asked for nothing yet makes room for a new
//! one when the seats are taken. So silent clients cost others nothing, however many they are.
//!
//! Invariant: the socket is bound before anything else is touched, and answers only once
//! everything behind it stands.

mod body;
mod connection;
mod seat;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::connection::Answers;
use self::seat::{Seat, Seats};
use super::error::AppError;
use super::tls::Current;
use crate::clock::SharedClock;

/// Pause before a socket is accepted again that the machine had no means for.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);
/// Pause before one more connection is told to leave for one that waits.
const ROOM_AGAIN: Duration = Duration::from_millis(100);

/// A bound socket, and the address it got.
#[derive(Debug)]
pub(super) struct Bound {
    socket: TcpListener,
    /// The real address, if port 0 was asked for.
    pub(super) address: SocketAddr,
}

pub(super) async fn bind(address: SocketAddr) -> Result<Bound, AppError> {
    let failed = |source| AppError::Listen { address, source };
    let socket = TcpListener::bind(address).await.map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    Ok(Bound { socket, address })
}

impl Bound {
    /// Answers until `drain` is cancelled and every open request has been answered. With `tls`,
    /// nothing but TLS is spoken. A body has to be whole within `body_max`.
    pub(super) async fn serve(
        self,
        router: Router,
        tls: Option<Current>,
        body_max: Duration,
        drain: CancellationToken,
        clock: SharedClock,
    ) {
        let seats = Seats::new();
        let answers = Answers {
            router,
            body_max,
            clock,
            drain,
        };
        let (drain, clock) = (&answers.drain, &answers.clock);
        let mut tasks = JoinSet::new();
        while let Some(stream) = self.accept(&mut tasks, &seats, drain, clock).await {
            let Some(seat) = room(&seats, drain, clock).await else {
                break;
            };
            // Without this, each small answer may wait for the acknowledgement of the last.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection was lost at once");
                continue;
            }
            let tls = tls.as_ref().map(Current::config);
            tasks.spawn(connection::serve(stream, seat, tls, answers.clone()));
        }
        drop(self.socket);
        while tasks.join_next().await.is_some() {}
    }

    /// The next connection; `None` once the service drains.
    async fn accept(
        &self,
        tasks: &mut JoinSet<()>,
        seats: &Seats,
        drain: &CancellationToken,
        clock: &SharedClock,
    ) -> Option<TcpStream> {
        loop {
            let accepted = tokio::select! {
                () = drain.cancelled() => return None,
                Some(_) = tasks.join_next() => continue,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => return Some(stream),
                Err(error) if is_clients(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted; trying again");
                    seats.make_room();
                    clock.sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }
}

/// A seat, if need be that of the connection that has waited longest without asking for anything.
async fn room(seats: &Seats, drain: &CancellationToken, clock: &SharedClock) -> Option<Seat> {
    loop {
        if let Some(seat) = seats.take() {
            return Some(seat);
        }
        seats.make_room();
        tokio::select! {
            () = drain.cancelled() => return None,
            () = seats.freed() => {}
            () = clock.sleep(ROOM_AGAIN) => {}
        }
    }
}

/// The client left before it was let in.
fn is_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}
