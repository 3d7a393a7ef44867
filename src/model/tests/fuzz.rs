//! Networks, host keys, lengths of time, the vendor's schedule, and the audit trail's files.

use std::net::IpAddr;

use keywheel_connectors::HostKey;
use proptest::collection::vec;
use proptest::prelude::*;
use zeroize::Zeroizing;

use crate::fuzz::{canary, check, mutant_texts, text};
use crate::model::audit::AuditRow;
use crate::model::audit_chain::{
    Anchor, AnchorKey, AuditKeys, AuditorKey, ChainKey, Line, Link, Mac, SealedRow, Verifier,
};
use crate::model::id::AuditId;
use crate::model::key::Addresses;
use crate::model::policy::{ChangeTime, VendorSchedule, parse_span, span_text};
use crate::model::{Timestamp, host_key, schedule};

/// A network's first bits, compared one by one.
fn holds(network: (IpAddr, u8), address: IpAddr) -> bool {
    let bits = |address: IpAddr| match address.to_canonical() {
        IpAddr::V4(four) => (32, u128::from(u32::from(four)) << 96),
        IpAddr::V6(six) => (128, u128::from(six)),
    };
    let ((length, own), (other_length, other)) = (bits(network.0), bits(address));
    let same = (0..u32::from(network.1)).all(|bit| own << bit >> 127 == other << bit >> 127);
    length == other_length && same
}

#[test]
fn a_network_holds_the_addresses_that_share_its_first_bits() {
    let v4 = (any::<[u8; 4]>(), 0_u8..=32).prop_map(|(four, length)| (IpAddr::from(four), length));
    let v6 = (any::<[u8; 16]>(), 0_u8..=128).prop_map(|(six, length)| (IpAddr::from(six), length));
    let networks = prop_oneof![v4, v6].prop_filter("written as it is", |(address, _)| {
        address.to_canonical() == *address
    });
    // The same address with one bit turned is in the network or just beside it.
    let inputs = (networks, 0_u8..128, any::<IpAddr>());
    check(
        "model::Addresses of networks",
        &inputs,
        |((address, length), bit, other)| {
            let parsed = Addresses::parse(&format!("{address}/{length}"));
            let parsed = parsed.ok_or_else(|| TestCaseError::fail("not read"))?;
            let near = match address {
                IpAddr::V4(four) => {
                    IpAddr::from((u32::from(four) ^ (1 << (bit % 32))).to_be_bytes())
                }
                IpAddr::V6(six) => IpAddr::from((u128::from(six) ^ (1 << bit)).to_be_bytes()),
            };
            for asked in [near, address, other] {
                prop_assert_eq!(
                    parsed.name(asked),
                    holds((address, length), asked),
                    "{}",
                    asked
                );
            }
            prop_assert_eq!(Addresses::parse(&parsed.to_string()), Some(parsed));
            Ok(())
        },
    );
}

#[test]
fn a_list_of_networks_is_read_back_as_it_is_written() {
    let seeds = [
        "10.0.0.0/8,192.0.2.7",
        "2001:db8::/32, ::1",
        "::ffff:10.0.0.1",
        "10.1.2.3/8",
    ];
    let lists = mutant_texts(&seeds, &[",", "/", "::", "/129", "0x", "010."]);
    check("model::Addresses of mutants", &lists, |raw| {
        if let Some(parsed) = Addresses::parse(&raw) {
            let written = parsed.to_string();
            prop_assert_eq!(Addresses::parse(&written), Some(parsed.clone()));
            prop_assert!(parsed.allow(None) == parsed.networks().is_empty());
            prop_assert!(
                parsed
                    .networks()
                    .iter()
                    .all(|network| network.trunc() == *network)
            );
        }
        Ok(())
    });
}

#[test]
fn a_host_key_is_read_back_as_it_is_written() {
    let keys = ("[!-~]{1,64}", any::<[u8; 32]>());
    check("model::host_key of keys", &keys, |(algorithm, sha256)| {
        let key = HostKey { algorithm, sha256 };
        prop_assert_eq!(host_key::parse(&host_key::text(&key)), Some(key));
        Ok(())
    });
    let seed = "ssh-ed25519 SHA256:jZyC8IbfBQaHmZjJbEwdMJ2zjUhAAAAAAAAAAAAAAAA";
    check(
        "model::host_key of mutants",
        &mutant_texts(&[seed], &["SHA256:", "MD5:", "="]),
        |raw| {
            if let Some(key) = host_key::parse(&raw) {
                prop_assert!(
                    key.algorithm.len() <= 64
                        && key.algorithm.bytes().all(|byte| byte.is_ascii_graphic())
                );
                prop_assert_eq!(host_key::parse(&host_key::text(&key)), Some(key));
            }
            Ok(())
        },
    );
}

#[test]
fn a_length_of_time_is_the_sum_of_its_parts() {
    let parts = vec((0_u64..4_000, 0_usize..5), 0..5);
    check("model::parse_span of parts", &parts, |parts| {
        let units = [
            ("w", 604_800),
            ("d", 86_400),
            ("h", 3_600),
            ("m", 60),
            ("s", 1),
        ];
        let written: Vec<String> = parts
            .iter()
            .map(|(count, unit)| format!("{count}{}", units[*unit].0))
            .collect();
        let written = written.concat();
        let seconds: u64 = parts
            .iter()
            .map(|(count, unit)| count * units[*unit].1)
            .sum();
        let fits = (1..=3_660 * 86_400).contains(&seconds);
        let parsed = parse_span(&written).ok();
        prop_assert_eq!(parsed.map(|span| span.as_secs()), fits.then_some(seconds));
        if let Some(span) = parsed {
            prop_assert_eq!(parse_span(&span_text(span)), Ok(span));
        }
        Ok(())
    });
    let spans = mutant_texts(
        &["90d", "1d12h", "4h30m"],
        &["w", "d", "99999999999999999999"],
    );
    check("model::parse_span of mutants", &spans, |raw| {
        if let Ok(span) = parse_span(&raw) {
            prop_assert_eq!(parse_span(&span_text(span)), Ok(span));
        }
        Ok(())
    });
}

#[test]
fn the_vendor_s_schedule_keeps_its_words() {
    let words = (
        mutant_texts(&["first", "last", "xdays"], &[]),
        proptest::option::of(prop_oneof![0_i64..1_200, any::<i64>()]),
        prop_oneof![
            mutant_texts(&["23:30", "00:00"], &[":"]),
            "[0-9]{2}:[0-9]{2}"
        ],
    );
    check(
        "model::VendorSchedule",
        &words,
        |(frequency, days, time)| {
            let Ok(schedule) = VendorSchedule::parse(&frequency, days, &time) else {
                return Ok(());
            };
            let (frequency, days, time) = schedule::vendor_words(&schedule);
            prop_assert_eq!(VendorSchedule::parse(frequency, days, &time), Ok(schedule));
            prop_assert_eq!(ChangeTime::parse(&time), Ok(schedule.change_time));
            let now = Timestamp(1_750_000_000_000);
            prop_assert!(schedule.next(None, now, now) >= now);
            Ok(())
        },
    );
}

fn keys() -> AuditKeys {
    AuditKeys {
        store: "7b0c9a52".to_owned(),
        chain: ChainKey::from_bytes([9; 32]),
        anchor: AnchorKey::from_seed(&Zeroizing::new([7; 32])).unwrap(),
    }
}

/// A row as it would be sealed behind another one.
fn sealed(seq: i64, previous: &Mac, texts: [String; 4]) -> SealedRow {
    let [actor, event, subject, body] = texts;
    let row = AuditRow {
        id: AuditId(seq),
        at: Timestamp(seq),
        actor,
        event,
        subject,
        body,
        seq: Some(seq),
    };
    let mac = keys().chain.mac(previous, seq, &row);
    SealedRow {
        link: Link { seq, mac },
        row,
    }
}

#[test]
fn a_line_of_an_export_holds_its_row_byte_for_byte() {
    let texts = [text(6), text(6), text(6), text(12)];
    check(
        "audit::Line of rows",
        &(any::<i64>(), texts),
        |(seq, texts)| {
            let line = Line::of(sealed(seq, &Mac::NONE, texts), Some(Mac::NONE));
            let written = line.to_text().unwrap();
            prop_assert_eq!(written.lines().count(), 1, "{}", written);
            prop_assert!(!written.chars().any(|sign| sign < ' '));
            prop_assert_eq!(Line::parse(&written), Ok(line));
            Ok(())
        },
    );
}

#[test]
fn no_row_that_was_changed_is_found_sound() {
    let chain: Vec<String> = {
        let mut previous = Mac::NONE;
        let rows = (1..=3).map(|seq| {
            let texts = ["ada", "account.created", "account 7", "{}"].map(str::to_owned);
            let row = sealed(seq, &previous, texts);
            previous = row.link.mac;
            Line::of(row, None).to_text().unwrap()
        });
        rows.collect()
    };
    let whole: Vec<Line> = chain
        .iter()
        .map(|line| Line::parse(line).unwrap())
        .collect();
    let lines: Vec<&str> = chain.iter().map(String::as_str).collect();
    let places = prop_oneof![any::<i64>(), -2_i64..5, Just(i64::MAX), Just(i64::MIN)];
    let changed = vec(
        mutant_texts(
            &lines,
            &["\"seq\":", "9223372036854775807", "\"previous\":"],
        ),
        1..4,
    );
    check(
        "audit::Verifier of mutants",
        &(changed, places),
        |(lines, from)| {
            let keys = keys();
            for start in [
                Link::START,
                Link {
                    seq: from,
                    mac: Mac::NONE,
                },
            ] {
                let mut verifier = Verifier::new(&keys.chain, start);
                for line in &lines {
                    let Ok(line) = Line::parse(line) else {
                        continue;
                    };
                    let known = whole
                        .iter()
                        .any(|one| one.clone().sealed() == line.clone().sealed());
                    let before = verifier.rows();
                    if verifier.row(&line.sealed()).is_err() {
                        break;
                    }
                    prop_assert!(known || verifier.rows() == before);
                }
                let _: (bool, bool) = (
                    verifier.end().is_ok(),
                    verifier
                        .end_at(Link {
                            seq: from,
                            mac: Mac::NONE,
                        })
                        .is_ok(),
                );
            }
            Ok(())
        },
    );
}

#[test]
fn an_anchor_counts_as_it_was_signed_or_not_at_all() {
    let keys = keys();
    let signed = Anchor::sign(
        &keys.anchor,
        &keys.store,
        Link {
            seq: 4,
            mac: Mac([5; 32]),
        },
        Timestamp(6),
    );
    let line = signed.to_line().unwrap();
    check(
        "audit::Anchor",
        &mutant_texts(&[&line], &["\"seq\":", "00"]),
        |raw| {
            if let Ok(anchor) = Anchor::parse(&raw) {
                let counts = anchor.check(&keys.store, &keys.anchor.public()).is_ok();
                let same = anchor.link() == signed.link()
                    && anchor.at == signed.at
                    && anchor.store == signed.store;
                prop_assert!(!counts || same, "{}", raw);
            }
            Ok(())
        },
    );
}

#[test]
fn a_file_that_is_no_auditor_s_key_is_refused_without_its_bytes() {
    let written =
        String::from_utf8(keys().auditor().to_text().unwrap().as_bytes().to_vec()).unwrap();
    let files = (
        mutant_texts(&[&written], &["\"store\":", "\"chain_key\":"]),
        canary(),
    );
    check("audit::AuditorKey", &files, |(file, canary)| {
        let file = file.replace("7b0c", &canary);
        match AuditorKey::parse(file.as_bytes()) {
            Ok(key) => {
                let again = AuditorKey::parse(key.to_text().unwrap().as_bytes()).unwrap();
                prop_assert_eq!(again.store, key.store);
            }
            Err(error) => prop_assert!(
                !format!("{error} {error:?}").contains(&canary),
                "does not hold"
            ),
        }
        Ok(())
    });
}
