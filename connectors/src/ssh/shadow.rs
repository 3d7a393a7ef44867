//! Compares passwords with a shadow field, here, so that no login is spent.
//!
//! Invariant: the field comes from the target; what it may cost us is bounded before we begin.

use secrecy::ExposeSecret;
use yescrypt::PasswordVerifier;

use crate::{Class, Evidence, Reason, Secret};

/// The most memory that one yescrypt may take: 64 MiB, sixteen times Debian's default.
const YESCRYPT_MAX_BYTES: u64 = 64 << 20;

/// The rounds of a SHA-crypt field that names none. Source: Drepper, "Unix crypt using SHA".
const SHA_CRYPT_ROUNDS: u32 = 5_000;

/// The most rounds of SHA-crypt: 40 times the default.
const SHA_CRYPT_MAX_ROUNDS: u32 = 200_000;

/// Says which of the two the field was made from.
pub(super) fn judge(field: &str, candidate: &Secret, current: Option<&Secret>) -> Evidence {
    if field.is_empty() || field.starts_with(['!', '*']) {
        let text = "the account is locked or has no password";
        return Evidence::Undecided(Reason::account(Class::Locked, text));
    }
    let Some(scheme) = scheme(field) else {
        let text = "the target hashes passwords in a way that is not known here, or too costly";
        return Evidence::Undecided(Reason::account(Class::Incompatible, text));
    };
    if matches(scheme, field, candidate) {
        Evidence::Candidate
    } else if current.is_some_and(|current| matches(scheme, field, current)) {
        Evidence::Current
    } else {
        Evidence::Neither
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Yescrypt,
    ShaCrypt,
}

#[expect(clippy::disallowed_methods, reason = "hashes it")]
fn matches(scheme: Scheme, field: &str, secret: &Secret) -> bool {
    let secret = secret.expose_secret().as_bytes();
    match scheme {
        Scheme::Yescrypt => yescrypt::Yescrypt::default()
            .verify_password(secret, field)
            .is_ok(),
        // Without rounds in the field crypt(3) means 5,000, and so does the crate.
        Scheme::ShaCrypt => sha_crypt::ShaCrypt::default()
            .verify_password(secret, field)
            .is_ok(),
    }
}

/// The scheme of a field that is well formed and not too costly.
fn scheme(field: &str) -> Option<Scheme> {
    let mut parts = field.strip_prefix('$')?.split('$');
    let id = parts.next()?;
    let parts: Vec<&str> = parts.collect();
    match (id, parts.as_slice()) {
        ("y", [params, salt, hash]) => {
            // Three characters: flavour, N and r, as crypt_gensalt writes them. Longer ones add
            // what can multiply the cost.
            let is_short = params.len() == 3 && params.starts_with('j');
            let parsed: yescrypt::Params = is_short.then(|| params.parse().ok())??;
            let bytes = parsed
                .n()
                .checked_mul(u64::from(parsed.r()))?
                .checked_mul(128)?;
            let fits = bytes <= YESCRYPT_MAX_BYTES && is_base64(salt, 86) && is_base64(hash, 43);
            (fits && hash.len() == 43).then_some(Scheme::Yescrypt)
        }
        ("5" | "6", [rest @ .., salt, hash]) => {
            let rounds = match rest {
                [] => Some(SHA_CRYPT_ROUNDS),
                [rounds] => rounds.strip_prefix("rounds=")?.parse().ok(),
                _ => None,
            }?;
            let length = if id == "5" { 43 } else { 86 };
            let fits = rounds <= SHA_CRYPT_MAX_ROUNDS && is_base64(salt, 16);
            (fits && is_base64(hash, length) && hash.len() == length).then_some(Scheme::ShaCrypt)
        }
        _ => None,
    }
}

/// The alphabet of `crypt(3)`, no longer than this.
fn is_base64(text: &str, chars_max: usize) -> bool {
    text.len() <= chars_max
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"./".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by chpasswd on Debian 12 from `Fresh-1-vLm9Q`.
    const YESCRYPT: &str =
        "$y$j9T$3LplTlDYYUSSaFcQv0Rxk.$Ou.Yg1nzVcPaj49H6.JkrGzzY.WRgDNiKgtD6im8e95";
    // Made by chpasswd -c SHA512 -s 5000 from `Start-kw_u47-vLm9`.
    const SHA512: &str = "$6$y6QRbxKpKo4rG06f$VYhZHS.6yaOeNPYibS.0uYgBNW1iDqyH8qhyooVoadVvwu5z7P8HZd4yfkqPvnKxImasKdluUgbHj5lUfHb4//";

    fn seen(field: &str, candidate: &str, current: Option<&str>) -> Evidence {
        judge(
            field,
            &Secret::from(candidate),
            current.map(Secret::from).as_ref(),
        )
    }

    #[test]
    fn a_field_tells_candidate_current_and_neither() {
        let spelled = SHA512.replace("$6$", "$6$rounds=5000$");
        let (fresh, start) = ("Fresh-1-vLm9Q", "Start-kw_u47-vLm9");
        for (field, right) in [(YESCRYPT, fresh), (SHA512, start), (&spelled, start)] {
            assert_eq!(seen(field, right, Some("x")), Evidence::Candidate);
            assert_eq!(seen(field, "x", Some(right)), Evidence::Current);
            assert_eq!(seen(field, "x", Some("y")), Evidence::Neither);
            assert_eq!(seen(field, "x", None), Evidence::Neither);
        }
    }

    #[test]
    fn a_field_that_is_not_a_known_hash_decides_nothing() {
        let locked = format!("!{YESCRYPT}");
        let dear = YESCRYPT.replace("j9T", "jXT");
        let costly = YESCRYPT.replace("$j9T$", "$j9T/////$");
        let rounds = SHA512.replace("$6$", "$6$rounds=999999999$");
        let hash = "$y$j9T$3LplTlDYYUSSaFcQv0Rxk.$";
        let odd = [
            "",
            "!",
            "*",
            "x",
            "$",
            "$1$a$b",
            "$y$$$",
            "$6$rounds=$a$b",
            hash,
        ];
        for field in odd
            .into_iter()
            .chain([&*locked, &*dear, &*costly, &*rounds])
        {
            let seen = seen(field, "x", Some("y"));
            assert!(matches!(seen, Evidence::Undecided(_)), "{field}: {seen:?}");
        }
    }
}
