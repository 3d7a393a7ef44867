//! Signatures of webhooks, by the Standard Webhooks scheme.
//!
//! Invariant: the key is what stands behind `whsec_`, decoded; it is wiped after use.
//!
//! Source: the Standard Webhooks specification, "Signature scheme".

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::model::Timestamp;

const PREFIX: &str = "whsec_";

/// Signs `id.timestamp.body`: the header's value; `None` if the secret is none.
pub(super) fn sign(secret: &SecretString, id: &str, at: Timestamp, body: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the key of the signature")]
    let raw = secret.expose_secret().strip_prefix(PREFIX)?;
    let key = Zeroizing::new(STANDARD.decode(raw).ok()?);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signed = format!("{id}.{}.{body}", seconds(at));
    let tag = hmac::sign(&key, signed.as_bytes());
    Some(format!("v1,{}", STANDARD.encode(tag.as_ref())))
}

/// As `webhook-timestamp` carries it: seconds since 1970.
pub(super) fn seconds(at: Timestamp) -> i64 {
    at.0.div_euclid(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_own_example_gives_its_signature() {
        let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signed = sign(
            &secret,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            Timestamp(1_614_265_330_000),
            r#"{"test": 2432232314}"#,
        );
        let wanted = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signed.as_deref(), Some(wanted));
    }

    #[test]
    fn what_is_no_secret_signs_nothing() {
        for secret in ["", "whsec_*", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            let secret = SecretString::from(secret);
            assert_eq!(sign(&secret, "1", Timestamp(0), "{}"), None);
        }
    }
}
