//! Names, filters, listings and key lines.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::fuzz::{check, mutant_texts, share, text};
use crate::listing::{Collector, name, printable};
use crate::{Filter, FilterError, Found, KeyPair, Listing, Lock, Login, Secret};

#[test]
fn a_login_is_one_field_of_one_line() {
    let names = prop_oneof![text(12), mutant_texts(&["kw_u0", "CORP\\ada", "u@h"], &[])];
    check("connectors::Login::parse", &names, |raw| {
        let fits = (1..=Login::MAX_CHARS).contains(&raw.chars().count())
            && !raw.contains(':')
            && !raw.chars().any(char::is_control);
        match Login::parse(&raw) {
            Ok(login) => {
                prop_assert!(fits);
                prop_assert_eq!(login.as_str(), &raw, "as it was given");
                prop_assert_eq!(format!("{raw}:x").lines().count(), 1);
            }
            Err(error) => {
                prop_assert!(!fits);
                prop_assert!(error.to_string().len() < 80);
            }
        }
        Ok(())
    });
}

#[test]
fn a_key_line_lets_one_key_in() {
    let public = mutant_texts(
        &[
            "ssh-ed25519 AAAA",
            "ecdsa-sha2-nistp256 AB+/=",
            "sk-ssh-ed25519@openssh.com AA==",
        ],
        &["ssh-rsa ", "command=\"", "\nssh-rsa BBBB"],
    );
    let marker = mutant_texts(&["keywheel:7:1"], &[]);
    check(
        "connectors::KeyPair::admit",
        &(public, marker),
        |(public, marker)| {
            let pair = KeyPair {
                private: Secret::from("-"),
                public,
                marker,
            };
            if pair.admit().is_ok() {
                let line = format!("{} {}", pair.public, pair.marker);
                prop_assert_eq!(line.split([' ', '\t']).count(), 3, "{}", line);
                prop_assert!(
                    line.bytes()
                        .all(|byte| byte == b' ' || byte.is_ascii_graphic())
                );
                prop_assert!(!line.starts_with('#') && line.len() <= 4_097);
            }
            Ok(())
        },
    );
}

/// Attributes, and whether they may be compared.
const ATTRIBUTES: [(&str, bool); 12] = [
    ("cn", true),
    ("memberOf", true),
    ("pwdLastSet", true),
    ("badPwdCount", true),
    ("x-a1", true),
    ("userPassword", false),
    ("UNICODEPWD", false),
    ("sambaNTPassword", false),
    ("ms-Mcs-AdmPwd", false),
    ("ipaNTHash", false),
    ("2.5.4.35", false),
    ("cn;lang-de", false),
];

/// A filter, whether it may be asked, and how deep it is.
fn filters() -> impl Strategy<Value = (String, bool, usize)> {
    let value = select(vec![
        "a",
        "",
        "*",
        "a*b",
        "\\2a",
        "Fred Flintstone",
        "ü",
        "\\28x\\29",
    ]);
    let item = (
        select(ATTRIBUTES.to_vec()),
        select(vec!["=", "=", ">=", "~=", ":caseExactMatch:="]),
        value,
    )
        .prop_map(|((name, open), sign, value)| {
            // Wildcards belong to equality alone.
            let value = if sign == "=" {
                value.to_owned()
            } else {
                value.replace('*', "x")
            };
            (format!("({name}{sign}{value})"), open, 1)
        });
    item.prop_recursive(9, 24, 3, |inner| {
        (select(vec!["&", "|", "!"]), vec(inner, 1..3)).prop_map(|(sign, parts)| {
            let parts = if sign == "!" {
                parts[..1].to_vec()
            } else {
                parts
            };
            let texts: String = parts.iter().map(|(text, ..)| text.as_str()).collect();
            let deepest = parts.iter().map(|(.., depth)| depth).max().unwrap();
            (
                format!("({sign}{texts})"),
                parts.iter().all(|(_, open, _)| *open),
                deepest + 1,
            )
        })
    })
}

#[test]
fn a_filter_of_the_grammar_is_judged_by_its_attributes_and_depth() {
    check(
        "connectors::Filter::parse of the grammar",
        &filters(),
        |(text, open, depth)| {
            let parsed = Filter::parse(&text);
            let fits = open && depth <= 8 && text.len() <= Filter::MAX_BYTES;
            prop_assert_eq!(parsed.is_ok(), fits, "{}: {:?}", text, parsed);
            if depth > 8 && open && text.len() <= Filter::MAX_BYTES {
                prop_assert_eq!(parsed, Err(FilterError::TooDeep));
            }
            Ok(())
        },
    );
}

#[test]
fn a_filter_that_passes_is_one_filter_to_the_library_too() {
    let seeds = [
        "(&(objectClass=Person)(|(sn=Jensen)(cn=Babs J*)))",
        "(memberOf:1.2.840.113556.1.4.1941:=cn=a,dc=b)",
        "(!(sn=Lu\\c4\\8di\\c4\\87))",
        "(pwdLastSet<=133000000000000000)",
    ];
    let tokens = &[
        "(userPassword=a*)",
        "unicodePwd",
        ")(",
        "(&",
        "(|",
        "(!",
        ":dn:",
        "~=",
        "\\2a",
    ];
    let texts = prop_oneof![3 => mutant_texts(&seeds, tokens), 1 => text(20)];
    check("connectors::Filter::parse of mutants", &texts, |raw| {
        let Ok(filter) = Filter::parse(&raw) else {
            return Ok(());
        };
        prop_assert_eq!(filter.as_str(), &raw);
        prop_assert!(raw.len() <= Filter::MAX_BYTES && !raw.chars().any(char::is_control));
        let lower = raw.to_ascii_lowercase();
        for left in lower
            .split('(')
            .filter_map(|part| part.split_once('='))
            .map(|(left, _)| left)
        {
            let attribute = left
                .split(':')
                .next()
                .unwrap()
                .trim_end_matches(['<', '>', '~']);
            prop_assert!(
                !["userpassword", "unicodepwd", "2.5.4.35"].contains(&attribute),
                "{}",
                raw
            );
        }
        #[cfg(feature = "ldap")]
        prop_assert!(ldap3::parse_filter(&raw).is_ok(), "{}", raw);
        Ok(())
    });
}

#[test]
fn what_is_shown_is_bounded_and_moves_nothing() {
    let long = (text(8), 0_usize..400).prop_map(|(piece, times)| piece.repeat(times));
    check(
        "connectors::listing::printable",
        &prop_oneof![text(40), long],
        |raw| {
            let (shown, same) = printable(&raw);
            prop_assert!(shown.len() <= 1_024);
            prop_assert_eq!(same, shown == raw);
            prop_assert!(
                !shown.contains(['\u{1b}', '\n', '\0', '\u{202e}', '\u{200b}', '\u{feff}']),
                "does not hold"
            );
            prop_assert_eq!(
                printable(&shown),
                (shown.clone(), true),
                "shown once is shown for good"
            );
            let (again, login) = name(&raw);
            prop_assert_eq!(&again, &shown);
            prop_assert!(login.is_none_or(|login| same && login.as_str() == raw));
            Ok(())
        },
    );
}

#[test]
fn a_listing_keeps_its_limits_whatever_its_rows_are() {
    let row = (text(6), proptest::option::of(text(30)), 1_usize..120);
    share(
        "connectors::listing::Collector",
        16,
        &vec(row, 0..60),
        |rows| {
            let mut collector = Collector::default();
            for (nth, (raw, dn, times)) in rows.iter().enumerate() {
                let found = Found {
                    name: format!("{nth}_{}", printable(raw).0),
                    importable: false,
                    dn: dn.as_ref().map(|dn| printable(&dn.repeat(*times)).0),
                    id: None,
                    shell: None,
                    lock: Lock::Unknown,
                    changed_at: None,
                    expired: None,
                };
                if !collector.take(found) {
                    break;
                }
            }
            let listing = collector.end();
            prop_assert!(listing.found.len() <= Listing::ROWS_MAX);
            prop_assert!(listing.truncated || listing.found.len() == rows.len());
            Ok(())
        },
    );
}
