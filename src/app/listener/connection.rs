//! One connection: its handshake, then its requests, one after the other.
//!
//! What a request is, hyper decides. It refuses one whose lengths disagree, and takes one with both a
//! length and chunks for the last of its connection (RFC 9112, 6.3); a test holds it to that.
//!
//! Invariant: no part of a request is waited for without a limit.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::body::TimedBody;
use super::seat::Seat;
use crate::clock::SharedClock;

/// Longest handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a whole head, the pause since the last answer included.
const HEAD_MAX: Duration = Duration::from_secs(20);
/// Longest head, its first line included.
const HEAD_MAX_BYTES: usize = 32_768;
/// What may wait in one connection to be read or written.
const BUFFER_MAX_BYTES: usize = 65_536;
/// What is read and dropped of a plain request.
const UNREAD_MAX_BYTES: u64 = 65_536;
/// The answer to plain HTTP where TLS is spoken. Nothing of the request was looked at.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
    Content-Type: text/plain\r\nContent-Length: 36\r\nCache-Control: no-store\r\n\
    Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n\
    Referrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n\r\n\
    This port speaks HTTPS: use https://";
/// How long an answer may take to leave that stands in another's way.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// What answers on every connection.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub(super) router: Router,
    /// Longest wait for a request's body.
    pub(super) body_max: Duration,
    pub(super) clock: SharedClock,
    /// Cancelled once nothing new is to be begun.
    pub(super) drain: CancellationToken,
}

/// Serves a connection to its end.
pub(super) async fn serve(
    stream: TcpStream,
    seat: Seat,
    tls: Option<Arc<ServerConfig>>,
    answers: Answers,
) {
    // Keys may be bound to addresses, and failed sign-ins are counted by them.
    let Ok(peer) = stream.peer_addr() else {
        return; // it has left already
    };
    let Some(config) = tls else {
        return requests(stream, peer, seat, answers).await;
    };
    let shaken = tokio::select! {
        shaken = timeout(HANDSHAKE_MAX, handshake(stream, config)) => shaken,
        () = seat.needed() => return,
        () = answers.drain.cancelled() => return,
    };
    match shaken {
        Ok(Ok(stream)) => requests(stream, peer, seat, answers).await,
        Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
        Err(_) => tracing::debug!("a handshake took too long"),
    }
}

/// TLS, or a word to those who speak plain HTTP: their own error would name neither port nor cause.
async fn handshake(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    stream.peek(&mut first).await?;
    // A method begins with a letter, a record of TLS never does.
    if !first[0].is_ascii_uppercase() {
        return TlsAcceptor::from(config).accept(stream).await;
    }
    stream.write_all(PLAIN_HTTP).await?;
    stream.shutdown().await?;
    // To close on unread bytes would take the answer back.
    let mut unread = stream.take(UNREAD_MAX_BYTES);
    tokio::io::copy(&mut unread, &mut tokio::io::sink()).await?;
    Err(io::Error::other("plain HTTP on the port for HTTPS"))
}

async fn requests<S>(stream: S, peer: SocketAddr, seat: Seat, answers: Answers)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = service_fn(|request| answer(request, peer, &seat, &answers));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_header_size(HEAD_MAX_BYTES)
        .max_buf_size(BUFFER_MAX_BYTES);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), answer));
    tokio::select! {
        ended = connection.as_mut() => return told(ended),
        () = answers.drain.cancelled() => {}
        () = seat.needed() => {
            if !seat.has_asked() {
                return;
            }
            // Its next request may have come in the same moment: then that one is answered first.
            if !seat.is_at_work() {
                connection.as_mut().graceful_shutdown();
                // The last answer may still be on its way out.
                if let Ok(ended) = timeout(ANSWER_MAX, connection).await {
                    told(ended);
                }
                return;
            }
        }
    }
    // What was asked is answered, and nothing after it.
    connection.as_mut().graceful_shutdown();
    told(connection.await);
}

fn told(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended in disorder");
    }
}

async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    seat: &Seat,
    answers: &Answers,
) -> Result<Response, Infallible> {
    seat.works();
    let timed = |body| TimedBody::new(body, answers.body_max, answers.clock.clone());
    let mut request = request.map(|body| Body::new(timed(body)));
    request.extensions_mut().insert(ConnectInfo(peer));
    let response = answers.router.clone().oneshot(request).await?;
    seat.waits();
    Ok(response)
}
