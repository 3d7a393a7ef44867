//! ECDSA keys in OpenSSH's own format whose private number is short.
//!
//! OpenSSH writes that number without leading zeros, and `ssh-key` 0.6 reads it only in full length:
//! it refuses every second key on P-521. Source: PROTOCOL.key and RFC 4251 section 5 (`mpint`).
//!
//! Invariant: every length that is read is checked against what is there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh_key::private::KeypairData;
use ssh_key::{EcdsaCurve, PrivateKey};
use zeroize::Zeroizing;

use super::pem;

const MAGIC: &[u8] = b"openssh-key-v1\0";
const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";

/// The pair of an ECDSA key that is not encrypted.
pub(super) fn plain(text: &str) -> Option<KeypairData> {
    let (_, rest) = text.split_once(BEGIN)?;
    let (body, _) = rest.split_once(END)?;
    let body: Zeroizing<String> = Zeroizing::new(body.split_whitespace().collect());
    let bytes = Zeroizing::new(STANDARD.decode(body.as_bytes()).ok()?);
    let mut reader = Reader(bytes.strip_prefix(MAGIC)?);
    if (reader.string()?, reader.string()?, reader.string()?)
        != (&b"none"[..], &b"none"[..], &b""[..])
    {
        return None;
    }
    if reader.number()? != 1 {
        return None;
    }
    reader.string()?; // the public half, which the private section repeats
    section(reader.string()?)
}

/// The pair of an ECDSA key that is encrypted; how long that takes was looked at before.
pub(super) fn locked(key: &PrivateKey, passphrase: &[u8]) -> Option<KeypairData> {
    let (secret, vector) = key.kdf().derive_key_and_iv(key.cipher(), passphrase).ok()?;
    let mut bytes = Zeroizing::new(key.key_data().encrypted()?.to_vec());
    key.cipher()
        .decrypt(&secret, &vector, bytes.as_mut_slice(), None)
        .ok()?;
    section(&bytes)
}

/// The private section: two equal numbers, then the key.
fn section(bytes: &[u8]) -> Option<KeypairData> {
    let mut reader = Reader(bytes);
    if reader.number()? != reader.number()? {
        return None;
    }
    let curve = match reader.string()? {
        b"ecdsa-sha2-nistp256" => EcdsaCurve::NistP256,
        b"ecdsa-sha2-nistp384" => EcdsaCurve::NistP384,
        b"ecdsa-sha2-nistp521" => EcdsaCurve::NistP521,
        _ => return None,
    };
    reader.string()?; // the curve once more
    let public = reader.string()?;
    let number = reader.string()?;
    let number = number.strip_prefix(&[0]).unwrap_or(number);
    let pair = pem::ecdsa(curve, number).ok()?;
    (pair.public_key_bytes() == public).then(|| KeypairData::from(pair))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*number))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }
}
