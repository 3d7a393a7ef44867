//! The chain's rules: what every change of a row, of their order and of an anchor leads to.

use zeroize::Zeroizing;

use super::*;
use crate::model::Timestamp;
use crate::model::id::AuditId;

fn key() -> ChainKey {
    ChainKey::from_bytes([7; MAC_LEN])
}

fn row(nth: i64) -> AuditRow {
    AuditRow {
        // Ids have gaps, and one committed late.
        id: AuditId(if nth == 3 { 2 } else { nth * 10 }),
        at: Timestamp(1_000 + nth),
        actor: "ada".to_owned(),
        event: "job.ended".to_owned(),
        subject: format!("account {nth}"),
        body: format!("{{\"nth\":{nth}}}"),
        seq: None,
    }
}

fn chain(count: i64) -> Vec<SealedRow> {
    let key = key();
    let mut last = Link::START;
    let mut rows = Vec::new();
    for seq in 1..=count {
        let mac = key.mac(&last.mac, seq, &row(seq));
        last = Link { seq, mac };
        rows.push(SealedRow {
            link: last,
            row: row(seq),
        });
    }
    rows
}

fn verified_with(rows: &[SealedRow], anchors: &[Link]) -> Result<Link, Broken> {
    let key = key();
    let mut verifier = Verifier::new(&key, Link::START).anchored(anchors.iter().copied())?;
    for row in rows {
        verifier.row(row)?;
    }
    verifier.end()?;
    assert_eq!(verifier.rows(), rows.len() as u64);
    assert_eq!(verifier.anchors_met(), anchors.len() as u64);
    Ok(verifier.last())
}

fn verified(rows: &[SealedRow]) -> Result<Link, Broken> {
    verified_with(rows, &[])
}

#[track_caller]
fn breaks(rows: &[SealedRow], anchors: &[Link], seq: i64, flaw: Flaw) {
    let broken = verified_with(rows, anchors).unwrap_err();
    assert_eq!((broken.seq, broken.flaw), (seq, flaw), "{broken}");
    assert!(broken.to_string().contains(flaw.name()));
}

#[test]
fn an_untouched_chain_is_sound() {
    let rows = chain(9);
    assert_eq!(verified(&rows), Ok(rows[8].link));
    assert_eq!(verified(&[]), Ok(Link::START));
}

#[test]
fn the_mac_is_the_documented_one() {
    // Length and part: 8 zero bytes and a length each, made by hand once more.
    let row = row(1);
    let mut bytes = Vec::new();
    for part in [
        &[0; 32][..],
        &[0, 0, 0, 0, 0, 0, 0, 1],
        &[0, 0, 0, 0, 0, 0, 0, 10],
        &[0, 0, 0, 0, 0, 0, 0x03, 0xe9],
        b"ada",
        b"job.ended",
        b"account 1",
        b"{\"nth\":1}",
    ] {
        bytes.extend([0; 7]);
        bytes.push(u8::try_from(part.len()).unwrap());
        bytes.extend(part);
    }
    assert_eq!(encoded(&Mac::NONE, 1, &row), bytes);
    // Once worked out by another program over the same bytes.
    let mac = key().mac(&Mac::NONE, 1, &row);
    assert_eq!(
        mac.to_string(),
        "48651e81f1789cedefc2ddfdaa5ea4db55039d4d12e0aaaf890447000e552656"
    );
}

#[test]
fn every_field_is_under_the_mac() {
    type Change = (&'static str, fn(&mut SealedRow));
    let changes: [Change; 8] = [
        ("id", |one| one.row.id = AuditId(41)),
        ("at", |one| one.row.at = Timestamp(1)),
        ("actor", |one| one.row.actor = "eve".to_owned()),
        ("event", |one| one.row.event = "job.begun".to_owned()),
        ("subject", |one| one.row.subject = "account 5".to_owned()),
        ("body", |one| one.row.body.push(' ')),
        ("mac", |one| one.link.mac.0[31] ^= 1),
        ("all of it", |one| one.row = row(9)),
    ];
    for (what, change) in changes {
        let mut rows = chain(6);
        change(&mut rows[3]);
        let broken = verified(&rows).unwrap_err();
        assert_eq!((broken.seq, broken.flaw), (4, Flaw::Mac), "{what}");
    }
}

#[test]
fn a_byte_that_moves_to_the_next_field_changes_the_mac() {
    let mac = |actor: &str, event: &str, subject: &str, body: &str| {
        let row = AuditRow {
            actor: actor.to_owned(),
            event: event.to_owned(),
            subject: subject.to_owned(),
            body: body.to_owned(),
            ..row(1)
        };
        key().mac(&Mac::NONE, 1, &row)
    };
    let all = [
        mac("ab", "cd", "ef", "gh"),
        mac("abc", "d", "ef", "gh"),
        mac("a", "bcd", "ef", "gh"),
        mac("ab", "cde", "f", "gh"),
        mac("ab", "cd", "efg", "h"),
        mac("ab", "cd", "efgh", ""),
        mac("", "abcd", "ef", "gh"),
        mac("abcdefgh", "", "", ""),
    ];
    for (at, one) in all.iter().enumerate() {
        assert!(!all[at + 1..].contains(one), "{at}");
    }
}

#[test]
fn a_missing_row_a_swap_and_a_repeat_are_told_apart() {
    let mut rows = chain(6);
    rows.remove(2);
    breaks(&rows, &[], 4, Flaw::Gap { missing: 3 });
    let mut rows = chain(6);
    rows.swap(2, 3);
    breaks(&rows, &[], 4, Flaw::Order { wanted: 3 });
    let mut rows = chain(6);
    rows.insert(3, rows[2].clone());
    breaks(&rows, &[], 3, Flaw::Order { wanted: 4 });
    // The last but one is gone: no further row tells.
    let mut rows = chain(6);
    rows.remove(4);
    breaks(&rows, &[], 6, Flaw::Gap { missing: 5 });
    // Two rows swapped their places, macs and all.
    let mut rows = chain(6);
    let (third, fourth) = (rows[2].row.clone(), rows[3].row.clone());
    (rows[2].row, rows[3].row) = (fourth, third);
    breaks(&rows, &[], 3, Flaw::Mac);
}

#[test]
fn a_tail_below_an_anchor_is_missed_and_one_above_is_not() {
    let rows = chain(6);
    let anchors = [rows[2].link, rows[5].link];
    assert_eq!(verified_with(&rows, &anchors), Ok(rows[5].link));
    breaks(&rows[..5], &anchors, 6, Flaw::Truncated { newest: 5 });
    breaks(&[], &anchors, 3, Flaw::Truncated { newest: 0 });
    assert_eq!(verified_with(&rows[..4], &anchors[..1]), Ok(rows[3].link));
}

#[test]
fn a_chain_made_anew_contradicts_its_anchors() {
    let anchors = [chain(6)[3].link];
    let key = key();
    let mut last = Link::START;
    let mut rows = chain(6);
    rows[1].row.actor = "eve".to_owned();
    for one in &mut rows {
        one.link.mac = key.mac(&last.mac, one.link.seq, &one.row);
        last = one.link;
    }
    assert_eq!(verified(&rows), Ok(last), "the holder of the key can");
    breaks(&rows, &anchors, 4, Flaw::Anchor);
}

#[test]
fn the_head_must_be_the_newest_row() {
    let rows = chain(6);
    let key = key();
    let mut verifier = Verifier::new(&key, Link::START);
    for one in &rows {
        verifier.row(one).unwrap();
    }
    assert_eq!(verifier.end_at(rows[5].link), Ok(()));
    let flaw = |head| verifier.end_at(head).unwrap_err().flaw;
    assert_eq!(flaw(rows[4].link), Flaw::Head { newest: 6 });
    let (seq, mac) = (6, Mac::NONE);
    assert_eq!(flaw(Link { seq, mac }), Flaw::Head { newest: 6 });
    let (seq, mac) = (7, Mac::NONE);
    assert_eq!(flaw(Link { seq, mac }), Flaw::Truncated { newest: 6 });
}

#[test]
fn a_part_of_the_chain_is_verified_behind_the_mac_before_it() {
    let rows = chain(6);
    let key = key();
    let part = |from: Link, anchors: Vec<Link>| {
        let mut verifier = Verifier::new(&key, from).anchored(anchors)?;
        for one in &rows[3..] {
            verifier.row(one)?;
        }
        verifier.end().map(|()| verifier.last())
    };
    assert_eq!(part(rows[2].link, vec![rows[0].link]), Ok(rows[5].link));
    assert_eq!(part(rows[2].link, vec![rows[2].link]), Ok(rows[5].link));
    let mut other = rows[2].link;
    other.mac = rows[0].link.mac;
    assert_eq!(part(other, vec![]).unwrap_err().flaw, Flaw::Mac);
    let anchored = part(other, vec![rows[2].link]).unwrap_err();
    assert_eq!((anchored.seq, anchored.flaw), (3, Flaw::Anchor));
}

fn keys() -> AuditKeys {
    AuditKeys {
        store: "one".to_owned(),
        chain: key(),
        anchor: AnchorKey::from_seed(&Zeroizing::new([5; MAC_LEN])).unwrap(),
    }
}

#[test]
fn an_anchor_counts_for_its_store_and_as_it_was_signed() {
    let keys = keys();
    let public = keys.anchor.public();
    let link = chain(3)[2].link;
    let anchor = Anchor::sign(&keys.anchor, "one", link, Timestamp(5));
    assert_eq!(anchor.check("one", &public), Ok(()));
    let read = Anchor::parse(&anchor.to_line().unwrap()).unwrap();
    assert_eq!((&read, read.link()), (&anchor, link));
    assert_eq!(anchor.check("two", &public), Err(AnchorFault::OtherStore));
    let changes: [fn(&mut Anchor); 4] = [
        |one| one.seq += 1,
        |one| one.mac.0[0] ^= 1,
        |one| one.at = Timestamp(6),
        |one| one.signature.replace_range(0..2, "00"),
    ];
    for change in changes {
        let mut other = anchor.clone();
        change(&mut other);
        assert_eq!(other.check("one", &public), Err(AnchorFault::Signature));
    }
    let mut moved = anchor.clone();
    moved.store = "two".to_owned();
    assert_eq!(moved.check("two", &public), Err(AnchorFault::Signature));
    let mut short = anchor;
    short.signature.truncate(126);
    assert_eq!(short.check("one", &public), Err(AnchorFault::Malformed));
    assert_eq!(Anchor::parse("{}"), Err(AnchorFault::Malformed));
}

#[test]
fn an_auditors_key_verifies_and_its_debug_form_tells_nothing() {
    let keys = keys();
    let text = keys.auditor().to_text().unwrap();
    let read = AuditorKey::parse(text.as_bytes()).unwrap();
    assert_eq!(read.store, "one");
    assert_eq!(read.anchors, keys.anchor.public());
    let (one, other) = (&read.chain, &keys.chain);
    assert_eq!(
        one.mac(&Mac::NONE, 1, &row(1)),
        other.mac(&Mac::NONE, 1, &row(1))
    );
    let shown = format!("{read:?} {keys:?}");
    assert!(
        !shown.contains(&hex(&[7; 4])) && !shown.contains("7, 7"),
        "{shown}"
    );
    for wrong in [
        "",
        "{}",
        "[]",
        &text[..text.len() - 3],
        &text.replace("07", "7"),
    ] {
        assert_eq!(AuditorKey::parse(wrong.as_bytes()).err(), Some(KeyFault));
    }
}

#[test]
fn a_line_holds_the_row_byte_for_byte() {
    let mut rows = chain(2);
    rows[1].row.actor = "ä\u{1}\"\\\u{2028}".to_owned();
    let [first, second] = [0, 1].map(|at| {
        let mut sealed = rows[at].clone();
        sealed.row.seq = Some(sealed.link.seq);
        sealed
    });
    let line = Line::of(second.clone(), Some(first.link.mac));
    let text = line.to_text().unwrap();
    assert!(!text.contains('\n'));
    let read = Line::parse(&text).unwrap();
    assert_eq!(read.previous, Some(first.link.mac));
    assert_eq!(read.sealed(), second);
    let whole = Line::of(first, None).to_text().unwrap();
    assert!(!whole.contains("previous"));
    assert_eq!(Line::parse(&text[1..]), Err(LineFault));
}
