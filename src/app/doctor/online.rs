//! Asks the running service how it is.
//!
//! Invariant: the answer is read up to a limit and within a time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Check;

/// Longest wait for the answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Longest answer.
const ANSWER_MAX_BYTES: u64 = 65_536;

/// `GET /readyz` of the service that listens there.
pub(super) async fn service(listen: SocketAddr) -> Check {
    let name = "service";
    // An address for everybody is asked at this machine's own.
    let address = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, listen.port()))
        }
        IpAddr::V6(ip) if ip.is_unspecified() => {
            SocketAddr::from((Ipv6Addr::LOCALHOST, listen.port()))
        }
        _ => listen,
    };
    let fix = "start the service, or look at its log";
    let answer = tokio::time::timeout(ANSWER_MAX, ask(address)).await;
    let Ok(Ok(answer)) = answer else {
        return Check::fault(name, format!("{address} does not answer"), fix);
    };
    let status = answer.split(' ').nth(1).unwrap_or_default();
    if status == "200" {
        return Check::fine(name, format!("{address} is ready"));
    }
    let body = answer
        .split_once("\r\n\r\n")
        .map_or("", |(_, body)| body)
        .trim();
    Check::fault(
        name,
        format!("{address} is not ready: {status} {body}"),
        fix,
    )
}

async fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_MAX_BYTES)
        .read_to_end(&mut answer)
        .await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
