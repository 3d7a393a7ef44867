//! Pinned SSH host keys as people write them: `ssh-ed25519 SHA256:…`, as `ssh-keygen -lf` prints.
//!
//! Invariant: what [`text`] writes, [`parse`] reads back.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use keywheel_connectors::HostKey;

/// Writes without padding, reads with and without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// The longest algorithm name. Source: RFC 4250, 4.6.1.
const ALGORITHM_MAX_BYTES: usize = 64;

/// Writes a host key: algorithm, space, `SHA256:` and the digest in base64.
pub fn text(key: &HostKey) -> String {
    format!("{} SHA256:{}", key.algorithm, BASE64.encode(key.sha256))
}

/// Reads a host key; `SHA256:` may be left out. `None` if it is none.
pub fn parse(text: &str) -> Option<HostKey> {
    let (algorithm, digest) = text.split_once(' ')?;
    let fits = !algorithm.is_empty() && algorithm.len() <= ALGORITHM_MAX_BYTES;
    if !fits || !algorithm.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let digest = digest.strip_prefix("SHA256:").unwrap_or(digest);
    let sha256 = BASE64.decode(digest).ok()?.try_into().ok()?;
    Some(HostKey {
        algorithm: algorithm.to_owned(),
        sha256,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_key_is_read_back_as_it_was_written() {
        let key = HostKey {
            algorithm: "ssh-ed25519".into(),
            sha256: [7; 32],
        };
        assert_eq!(parse(&text(&key)), Some(key));
    }

    #[test]
    fn padding_and_prefix_may_be_left_out() {
        let digest = "A".repeat(43);
        for written in [
            digest.clone(),
            format!("{digest}="),
            format!("SHA256:{digest}"),
        ] {
            assert!(
                parse(&format!("ssh-ed25519 {written}")).is_some(),
                "{written}"
            );
        }
    }

    #[test]
    fn what_is_no_host_key_is_not_read() {
        let digest = "A".repeat(43);
        for wrong in [
            "",
            "ssh-ed25519",
            &digest,
            "ssh-ed25519 AAAA",
            "ssh\ned25519 SHA256:AAAA",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
