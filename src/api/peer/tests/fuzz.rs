//! Whatever proxies and clients say of addresses.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::fuzz::{check, mutant_texts};

#[test]
fn a_caller_is_who_connected_or_the_last_that_no_trusted_proxy_is() {
    let hop = prop_oneof![
        3 => select(vec!["10.0.0.3", "127.0.0.1", "198.51.100.9", "::ffff:10.1.2.3", "2001:db8::5"]).prop_map(str::to_owned),
        2 => any::<std::net::IpAddr>().prop_map(|address| address.to_string()),
        2 => mutant_texts(&["[2001:db8::5]:443", "198.51.100.9:80", "unknown", "_hidden"], &["[", "]", ":", "."]),
    ];
    let lines = vec(vec(hop, 1..4), 0..3);
    let connected = select(vec!["127.0.0.1", "10.9.9.9", "192.0.2.1"]);
    check("api::peer", &(connected, lines), |(connected, lines)| {
        let proxies = Addresses::parse("127.0.0.1,10.0.0.0/8").unwrap();
        let connected: IpAddr = connected.parse().unwrap();
        let mut headers = HeaderMap::new();
        let mut hops = Vec::new();
        for line in &lines {
            let Ok(value) = axum::http::HeaderValue::from_str(&line.join(",")) else {
                return Ok(());
            };
            if value.to_str().is_ok() {
                hops.extend(line.join(",").split(',').map(|hop| read(hop.trim())));
            }
            headers.append(FORWARDED_FOR, value);
        }
        // Walked from the other side: all from the end that are proxies, then one more.
        let trusted = hops
            .iter()
            .rev()
            .take_while(|hop| hop.is_some_and(|hop| proxies.name(hop)))
            .count();
        let last = hops.len().checked_sub(trusted + 1).and_then(|at| hops[at]);
        let meant = if !proxies.name(connected) {
            connected
        } else if let Some(last) = last {
            last
        } else if trusted > 0 {
            hops[hops.len() - trusted].unwrap()
        } else {
            connected
        };
        prop_assert_eq!(behind(&proxies, connected, &headers), meant, "{:?}", lines);
        Ok(())
    });
}
