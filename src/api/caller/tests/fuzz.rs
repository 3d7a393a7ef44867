//! Whatever stands in the headers that say who calls.

use axum::http::{HeaderMap, HeaderValue, header};
use proptest::collection::vec;
use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::super::{SESSION_COOKIE, bearer, cookie};
use crate::fuzz::{check, mutants, noise};
use crate::generate::native_key_is_wellformed;

fn headers(name: &header::HeaderName, lines: &[Vec<u8>]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        // What no server would have let in is not looked at here either.
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(name.clone(), value);
        }
    }
    headers
}

#[test]
fn a_bearer_s_token_is_the_rest_of_the_header() {
    let seeds = vec![
        b"Bearer kw_live_0123456789abcdef".to_vec(),
        b"bearer  x".to_vec(),
        b"Basic a2V5OnNlY3JldA==".to_vec(),
    ];
    let lines = prop_oneof![4 => mutants(seeds, &["Bearer ", "kw_live_"]), 1 => noise(40)];
    check("api::bearer", &lines, |line| {
        let headers = headers(&header::AUTHORIZATION, std::slice::from_ref(&line));
        let Some(token) = bearer(&headers) else {
            return Ok(());
        };
        let text = String::from_utf8(line).unwrap();
        prop_assert!(
            text.trim()
                .get(..7)
                .unwrap()
                .eq_ignore_ascii_case("bearer ")
        );
        prop_assert!(text.trim().ends_with(token) && token.trim() == token);
        prop_assert!(
            !native_key_is_wellformed(token)
                || token
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        );
        Ok(())
    });
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test compares made-up cookies"
)]
fn a_session_s_cookie_is_found_among_all_others() {
    let value = "[a-zA-Z0-9]{1,43}";
    let others = vec("[a-z]{1,6}=[a-zA-Z0-9=]{0,8}", 0..4);
    let cookies = (others, value, any::<bool>(), any::<bool>());
    check(
        "api::cookie among others",
        &cookies,
        |(others, value, lower, apart)| {
            let name = if lower {
                SESSION_COOKIE.to_lowercase()
            } else {
                SESSION_COOKIE.to_owned()
            };
            let mut all = others;
            all.push(format!("{name}={value}"));
            all.push(format!("{name}=later"));
            let lines = if apart { all } else { vec![all.join("; ")] };
            let lines: Vec<Vec<u8>> = lines.into_iter().map(String::into_bytes).collect();
            let found = cookie(&headers(&header::COOKIE, &lines), SESSION_COOKIE);
            prop_assert_eq!(
                found.as_ref().map(ExposeSecret::expose_secret),
                Some(value.as_str())
            );
            Ok(())
        },
    );
    let seeds = vec![
        b"ASP.NET_SessionId=abc; a=b".to_vec(),
        b"a=b;asp.net_sessionid = x".to_vec(),
    ];
    let lines = vec(
        prop_oneof![4 => mutants(seeds, &["ASP.NET_SessionId", "="]), 1 => noise(40)],
        0..3,
    );
    check("api::cookie of mutants", &lines, |lines| {
        if let Some(found) = cookie(&headers(&header::COOKIE, &lines), SESSION_COOKIE) {
            let found = found.expose_secret();
            prop_assert!(!found.contains(';') && found.trim() == found);
            let text = |line: &Vec<u8>| String::from_utf8_lossy(line).into_owned();
            prop_assert!(lines.iter().any(|line| text(line).contains(found)));
        }
        Ok(())
    });
}
