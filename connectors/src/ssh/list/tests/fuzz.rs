//! Whatever a host prints as the list of its accounts.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::fuzz::{check, mutant_texts, text};

/// Lines of a listing, whole and broken, in any order.
fn outputs() -> impl Strategy<Value = String> {
    let seeds = [
        "KW:user:1000:kw_u0:/bin/sh\n",
        "KW:user:0:root:/bin/bash\n",
        "KW:state:kw_u0:P:20000:20779\n",
        "KW:passwd:kw_u0 L 11/21/2026 0 99999 7 -1\n",
        "KW:today:20779\n",
        "KW:more\n",
    ];
    let line = prop_oneof![
        3 => select(seeds.to_vec()).prop_map(str::to_owned),
        3 => mutant_texts(&seeds, &["KW:user:", "4294967296", "-1", ":", "\n", "KW:state:"]),
        1 => text(9),
    ];
    vec(line, 0..12).prop_map(|lines| lines.concat())
}

#[test]
fn a_listing_holds_only_what_can_be_shown() {
    check(
        "ssh::list of accounts",
        &(outputs(), any::<bool>()),
        |(text, whole)| {
            let query = HostQuery::default();
            let text = if whole {
                text
            } else {
                text.replace("KW", "kw")
            };
            let Ok(listing) = listed(&text, &query) else {
                return Ok(());
            };
            let shown: usize = listing.found.len();
            prop_assert!(shown + listing.unreadable as usize <= text.matches("KW:user:").count());
            for row in &listing.found {
                prop_assert_eq!(&printable(&row.name).0, &row.name);
                let uid: u32 = row.id.as_ref().unwrap().parse().unwrap();
                prop_assert!(uid == 0 || (query.uid_min..=query.uid_max).contains(&uid));
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
                prop_assert!(
                    !row.importable || row.name.bytes().all(plain),
                    "{}",
                    row.name
                );
                prop_assert!(!row.importable || !row.name.starts_with('-'));
            }
            Ok(())
        },
    );
}

#[test]
fn dates_are_read_as_a_calendar_has_them() {
    let seeds = ["11/21/2026", "2026-11-21", "02/29/2024", "1970-01-01"];
    check(
        "ssh::list of dates",
        &mutant_texts(&seeds, &["/", "-"]),
        |date| {
            let Some(days) = day(&date) else {
                return Ok(());
            };
            prop_assert!((0..=2_932_896 + 3).contains(&days), "{}: {}", date, days);
            let next = days + 1;
            prop_assert!(next.checked_mul(DAY_MS).is_some());
            Ok(())
        },
    );
}
