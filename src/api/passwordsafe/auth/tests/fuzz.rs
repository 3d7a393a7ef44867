//! Whatever stands in the header by which clients sign in.

use proptest::prelude::*;
use proptest::sample::select;
use secrecy::ExposeSecret;

use super::*;
use crate::fuzz::{check, mutant_texts, text};

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test compares made-up passwords"
)]
fn a_header_of_the_form_is_read_whatever_its_order_blanks_and_password() {
    let word = "[a-zA-Z0-9._\\\\@-]{1,20}";
    let parts = (
        (
            word,
            proptest::option::of(word),
            proptest::option::of(text(6)),
        ),
        Just(vec![0, 1, 2]).prop_shuffle(),
        (
            select(vec!["PS-Auth ", "ps-auth\t", " Ps-Auth  "]),
            select(vec!["", " ", "\t "]),
        ),
        any::<bool>(),
    );
    check(
        "passwordsafe::auth of parts",
        &parts,
        |((key, run_as, password), order, (scheme, blank), ends)| {
            let mut fields = Vec::new();
            for which in order {
                match which {
                    0 => fields.push(format!("{blank}kEy{blank}={blank}{key}{blank}")),
                    1 => fields.extend(run_as.as_ref().map(|user| format!("RunAs={user}"))),
                    _ => fields.extend(
                        password
                            .as_ref()
                            .map(|password| format!("pwd={blank}[{password}]")),
                    ),
                }
            }
            // Blanks around a name belong to nobody; what ends the header may be left out.
            let header = format!(
                "{scheme}{}{}",
                fields.join(";"),
                if ends { ";" } else { "" }
            );
            prop_assert_eq!(parsed(&header), Some((key, run_as)), "{}", header);
            let given = Presented::parse(&header).and_then(|presented| presented.password);
            let given = given.map(|given| given.expose_secret().to_owned());
            prop_assert_eq!(given, password);
            Ok(())
        },
    );
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test compares made-up keys")]
fn whatever_comes_a_key_is_a_part_of_it() {
    let seeds = [
        "PS-Auth key=c479a66f8e4d4a9b; runas=CORP\\ada; pwd=[un1x;]b0b];",
        "PS-Auth key=K;runas=ada",
        "PS-Auth pwd=[a]; key=K",
    ];
    let tokens = &["PS-Auth ", "key=", "runas=", "pwd=[", "];", "=", "Bearer "];
    let headers = prop_oneof![4 => mutant_texts(&seeds, tokens), 1 => text(12)];
    check("passwordsafe::auth of mutants", &headers, |header| {
        let Some(presented) = Presented::parse(&header) else {
            return Ok(());
        };
        let key = presented.key.expose_secret();
        prop_assert!(!key.is_empty() && !key.contains(';') && header.contains(key));
        if let Some(user) = &presented.run_as {
            prop_assert!(!user.is_empty() && !user.contains(';') && header.contains(user));
        }
        // What failures are counted by shows no key whole that is worth the name.
        let shown = presented.names().concat();
        prop_assert!(
            key.chars().count() <= 12
                || !shown.contains(key)
                || presented
                    .run_as
                    .as_deref()
                    .is_some_and(|user| user.contains(key))
        );
        Ok(())
    });
}
