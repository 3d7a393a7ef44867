//! Which addresses notices may be sent to.
//!
//! A workflow's author must not reach what only this machine or its network can: its own ports,
//! a cloud's metadata, an unguarded service. Names are resolved here, and the connection is made to
//! the very address that was checked, so a name that changes in between helps nobody.
//!
//! Invariant: every address that a connection is made to has passed [`Guard::allows`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::model::key::Addresses;

/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// Which addresses are allowed.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    named: Arc<Addresses>,
    /// True: public addresses too. What is not encrypted stays within the named networks.
    public: bool,
}

/// Why no connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Barred {
    /// Name its network in the settings, if it is meant.
    #[error(
        "its address is private, local or reserved: name it in notify.allow_addresses if it is meant"
    )]
    Private,
    /// Use HTTPS, or name its network in the settings.
    #[error("plain HTTP is spoken with the networks of notify.allow_addresses alone: use https")]
    Plain,
    /// Correct the name.
    #[error("its name has no address")]
    Nowhere,
}

impl Guard {
    pub(super) fn new(named: &Addresses, public: bool) -> Self {
        Self {
            named: Arc::new(named.clone()),
            public,
        }
    }

    /// Passes an address, or says why not.
    pub(super) fn allows(&self, address: IpAddr) -> Result<(), Barred> {
        if self.named.name(address) {
            return Ok(());
        }
        match (is_public(address), self.public) {
            (true, true) => Ok(()),
            (true, false) => Err(Barred::Plain),
            (false, _) => Err(Barred::Private),
        }
    }

    fn pick(&self, found: impl Iterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, Barred> {
        let mut barred = Barred::Nowhere;
        let mut allowed = Vec::new();
        for address in found.take(ADDRESSES_MAX) {
            match self.allows(address.ip()) {
                Ok(()) => allowed.push(address),
                Err(why) => barred = why,
            }
        }
        if allowed.is_empty() {
            Err(barred)
        } else {
            Ok(allowed)
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            // The port is the URL's; 0 leaves it to the client.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let found = found.map_err(|_| Barred::Nowhere)?;
            let allowed: Addrs = Box::new(guard.pick(found)?.into_iter());
            Ok(allowed)
        })
    }
}

/// True for addresses that are reached across the internet.
///
/// Source: the special-purpose registries of IANA, RFC 6890.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    match (a, b) {
        // NAT64 reaches what its last four bytes say.
        (0x64, 0xff9b) => {
            let within = u128::from(address).to_be_bytes();
            let last = within.last_chunk::<4>().copied().unwrap_or_default();
            address.segments().get(2..6) == Some(&[0; 4]) && is_public_v4(Ipv4Addr::from(last))
        }
        // Teredo, benchmarks, ORCHID and the like; documentation.
        (0x2001, 0x0..=0x1ff | 0xdb8) | (0x3fff, 0x0..=0xfff) => false,
        // 6to4 reaches what its next four bytes say.
        (0x2002, _) => {
            let within = address.octets();
            let next = within.get(2..).and_then(|rest| rest.first_chunk::<4>());
            is_public_v4(Ipv4Addr::from(next.copied().unwrap_or_default()))
        }
        (0x2000..=0x3fff, _) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(named: &str, public: bool) -> Guard {
        Guard::new(&Addresses::parse(named).unwrap(), public)
    }

    #[test]
    fn addresses_that_only_we_can_reach_are_barred_until_they_are_named() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "127.0.0.1",
            "100.64.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.168.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "::127.0.0.1",
        ] {
            let address: IpAddr = address.parse().unwrap();
            for public in [true, false] {
                assert_eq!(
                    guard("", public).allows(address),
                    Err(Barred::Private),
                    "{address}"
                );
            }
            let named = guard(&address.to_canonical().to_string(), false);
            assert_eq!(named.allows(address), Ok(()), "{address}");
        }
    }

    #[test]
    fn public_addresses_are_reached_by_https_alone() {
        for address in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "198.20.0.1",
            "2606:4700::1111",
            "64:ff9b::101:101",
            "2002:101:101::1",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(guard("", true).allows(address), Ok(()), "{address}");
            assert_eq!(
                guard("10.0.0.0/8", false).allows(address),
                Err(Barred::Plain)
            );
        }
    }

    #[test]
    fn of_a_names_addresses_only_allowed_ones_are_tried() {
        let of = |addresses: &[&str]| {
            let found = addresses
                .iter()
                .map(|one| SocketAddr::new(one.parse().unwrap(), 0));
            guard("", true).pick(found.collect::<Vec<_>>().into_iter())
        };
        let picked = of(&["127.0.0.1", "1.1.1.1"]).unwrap();
        assert_eq!(picked, ["1.1.1.1:0".parse().unwrap()]);
        assert_eq!(of(&["127.0.0.1"]), Err(Barred::Private));
        assert_eq!(of(&[]), Err(Barred::Nowhere));
        assert_eq!(of(&["1.1.1.1"; 20]).unwrap().len(), ADDRESSES_MAX);
    }
}
