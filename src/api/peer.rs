//! From where a call comes.
//!
//! Invariant: what a client says of its own address counts only where a trusted proxy says it.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};

use super::Api;
use crate::model::key::Addresses;

/// What proxies call the address that they forward for.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The caller's address; `None` if the listener does not know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer(pub(crate) Option<IpAddr>);

impl Peer {
    pub(crate) fn of(api: &Api, extensions: &Extensions, headers: &HeaderMap) -> Self {
        let connected = extensions.get::<ConnectInfo<SocketAddr>>();
        Self(connected.map(|ConnectInfo(address)| {
            behind(&api.settings.trusted_proxies, address.ip(), headers)
        }))
    }
}

impl FromRequestParts<Api> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Infallible> {
        Ok(Self::of(api, &parts.extensions, &parts.headers))
    }
}

/// The address behind the proxies: each adds the one that it was asked from at the end, so the
/// last that is no trusted proxy's is the caller's; what stands before it is hearsay.
fn behind(proxies: &Addresses, connected: IpAddr, headers: &HeaderMap) -> IpAddr {
    let mut address = connected.to_canonical();
    let lines: Vec<&str> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .collect();
    let mut hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
    while proxies.name(address) {
        let Some(hop) = hops.next().and_then(|hop| read(hop.trim())) else {
            break;
        };
        address = hop;
    }
    address
}

/// An address, perhaps with a port.
fn read(hop: &str) -> Option<IpAddr> {
    let with_port = || Some(hop.parse::<SocketAddr>().ok()?.ip());
    let address = hop.parse().ok().or_else(with_port)?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    mod fuzz;

    use super::*;

    fn seen(connected: &str, lines: &[&str]) -> String {
        let proxies = Addresses::parse("127.0.0.1,10.0.0.0/8").unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        behind(&proxies, connected.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_nobody_else() {
        for (connected, lines, meant) in [
            ("192.0.2.1", &["198.51.100.9"][..], "192.0.2.1"),
            ("127.0.0.1", &[], "127.0.0.1"),
            ("127.0.0.1", &["198.51.100.9"], "198.51.100.9"),
            ("::ffff:127.0.0.1", &["198.51.100.9:443"], "198.51.100.9"),
            ("127.0.0.1", &["[2001:db8::5]:443"], "2001:db8::5"),
            // The client's own invention stands first.
            (
                "127.0.0.1",
                &["1.1.1.1, 198.51.100.9, 10.0.0.3"],
                "198.51.100.9",
            ),
            ("127.0.0.1", &["1.1.1.1", "198.51.100.9"], "198.51.100.9"),
            ("127.0.0.1", &["1.1.1.1, nonsense"], "127.0.0.1"),
        ] {
            assert_eq!(seen(connected, lines), meant, "{connected} {lines:?}");
        }
    }
}
