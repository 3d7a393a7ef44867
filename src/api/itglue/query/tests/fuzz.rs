//! Whatever query strings come.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::fuzz::{check, mutant_texts, text};

const SEEDS: [&str; 4] = [
    "filter%5Borganization_id%5D=2&filter%5Bname%5D=A%20B&filter%5Barchived%5D=false",
    "page[number]=3&page[size]=25&sort=-name,updated_at&include=password-category",
    "filter[updated_at]=2026-01-01,*&filter[created-at][gt]=2026-01-01T00:00:00Z",
    "filter[name]=a\\,b,c&show-password=true&&x",
];

const TOKENS: &[&str] = &[
    "&", "=", "%zz", "%5B", "[", "]", "\\,", ",", "+", "*", "-", "_",
];

#[test]
fn a_query_is_read_whatever_it_holds_and_keeps_its_limits() {
    let queries = prop_oneof![4 => mutant_texts(&SEEDS, TOKENS), 1 => text(12)];
    check("itglue::query", &queries, |raw| {
        let Ok(query) = Query::parse(&raw) else {
            let nul = raw.contains('\0') || raw.contains("%00");
            prop_assert!(nul, "{}", raw);
            return Ok(());
        };
        let page = query.page();
        prop_assert!((1..=NUMBER_MAX).contains(&page.number));
        prop_assert!((1..=SIZE_MAX).contains(&page.size) && page.offset() >= 0);
        for name in ["filter[name]", "filter[id]", "filter[organization_id]"] {
            if let Ok(Some(values)) = query.any_of(name) {
                prop_assert!(!values.is_empty() && values.len() <= VALUES_MAX);
                prop_assert!(values.iter().all(|value| !value.is_empty()));
            }
        }
        if let Ok(Some(span)) = query.span("filter[updated_at]") {
            prop_assert!(span.from.is_some() || span.to.is_some());
        }
        prop_assert!(query.includes().iter().all(|name| !name.contains('-')));
        // A link leads to the page that it names, and says the rest again.
        let next = Page { number: 7, ..page };
        let again = Query::parse(&query.with_page(next)).unwrap();
        prop_assert_eq!(again.page(), next);
        let rest = |query: &Query| -> Vec<Pair> {
            let pairs = query.0.iter().cloned();
            pairs
                .filter(|pair| !pair.name.starts_with("page["))
                .collect()
        };
        prop_assert_eq!(rest(&again), rest(&query));
        Ok(())
    });
}

#[test]
fn a_parameter_says_the_same_in_every_spelling() {
    let words = text(4).prop_map(|word| word.replace('\0', ""));
    let spelled = (
        words,
        any::<bool>(),
        any::<bool>(),
        vec(select(vec!["&", "x&"]), 0..3),
    );
    check(
        "itglue::query spelled",
        &spelled,
        |(value, hyphen, encoded, stray)| {
            let name = if hyphen {
                "filter[organization-id]"
            } else {
                "filter[organization_id]"
            };
            let pair = serde_urlencoded::to_string([(name, value.as_str())]).unwrap();
            let pair = if encoded {
                pair
            } else {
                pair.replace("%5B", "[").replace("%5D", "]")
            };
            // Brackets of the value are its own either way.
            let query = Query::parse(&format!("{}{pair}", stray.concat())).unwrap();
            let found = query.text("filter[organization_id]");
            prop_assert_eq!(
                found,
                Some(value.as_str()).filter(|value| !value.is_empty())
            );
            Ok(())
        },
    );
}

#[test]
fn values_are_parted_at_commas_and_put_together_again() {
    let words = vec(
        "[a-z\\\\ ]{1,6}".prop_filter("no escape at an end", |word: &String| !word.ends_with('\\')),
        1..5,
    );
    check("itglue::query split", &words, |words| {
        let with_commas: Vec<String> = words.iter().map(|word| format!("{word},x")).collect();
        let raw: Vec<String> = with_commas
            .iter()
            .map(|word| word.replace(',', "\\,"))
            .collect();
        prop_assert_eq!(split(&raw.join(",")), with_commas);
        Ok(())
    });
}
