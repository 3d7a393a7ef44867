//! What a certificate says: its names, and until when it holds.
//!
//! Invariant: it reads and decides nothing; whoever trusts a certificate asks the TLS library.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use der::asn1::{AnyRef, GeneralizedTime, ObjectIdentifier, OctetStringRef, UtcTime};
use der::{Decode, Reader, Tag, TagNumber, Tagged};

use crate::model::Timestamp;

/// The extension with the names. Source: RFC 5280 4.2.1.6.
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
/// Names that are kept of one certificate.
const NAMES_MAX: usize = 100;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Host names and addresses that it stands for.
    pub(crate) names: Vec<String>,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

impl Facts {
    /// Reads them out of a certificate, DER; `None` if it has another shape.
    ///
    /// Source: RFC 5280 4.1.
    pub(crate) fn read(certificate: &[u8]) -> Option<Self> {
        let outer = fields(AnyRef::from_der(certificate).ok()?)?;
        let mut fields_left = fields(*outer.first()?)?.into_iter().peekable();
        // The version stands in front where it is not the first one.
        fields_left.next_if(|field| is_context(field.tag(), 0));
        // Serial number, signature's algorithm, issuer.
        let validity = fields(fields_left.nth(3)?)?;
        let [not_before, not_after] = validity.as_slice() else {
            return None;
        };
        let extensions = fields_left.find(|field| is_context(field.tag(), 3));
        let names = extensions.map_or(Some(Vec::new()), names)?;
        Some(Self {
            names,
            not_before: time(*not_before)?,
            not_after: time(*not_after)?,
        })
    }
}

/// The values of a sequence.
fn fields(sequence: AnyRef<'_>) -> Option<Vec<AnyRef<'_>>> {
    let all = sequence.sequence(|inside| {
        let mut all = Vec::new();
        while !inside.is_finished() {
            all.push(AnyRef::decode(inside)?);
        }
        Ok(all)
    });
    all.ok()
}

fn is_context(tag: Tag, number: u8) -> bool {
    matches!(tag, Tag::ContextSpecific { number: found, .. } if found == TagNumber::new(number))
}

fn time(value: AnyRef<'_>) -> Option<Timestamp> {
    let since_1970: Duration = match value.tag() {
        Tag::UtcTime => value.decode_as::<UtcTime>().ok()?.to_unix_duration(),
        _ => value
            .decode_as::<GeneralizedTime>()
            .ok()?
            .to_unix_duration(),
    };
    i64::try_from(since_1970.as_millis()).ok().map(Timestamp)
}

/// The names in the extension for them; none if it is not there.
fn names(extensions: AnyRef<'_>) -> Option<Vec<String>> {
    let all = fields(AnyRef::from_der(extensions.value()).ok()?)?;
    for extension in all {
        let parts = fields(extension)?;
        let id = parts.first()?.decode_as::<ObjectIdentifier>().ok()?;
        if id == SUBJECT_ALT_NAME {
            // A flag may stand between id and value.
            let value = parts.last()?.decode_as::<OctetStringRef<'_>>().ok()?;
            let names = fields(AnyRef::from_der(value.as_bytes()).ok()?)?;
            return Some(names.into_iter().filter_map(name).take(NAMES_MAX).collect());
        }
    }
    Some(Vec::new())
}

/// A host name or an address; other kinds of names mean nothing to clients of HTTPS.
fn name(value: AnyRef<'_>) -> Option<String> {
    if is_context(value.tag(), 2) {
        let name = std::str::from_utf8(value.value()).ok()?;
        let printable = name.bytes().all(|byte| byte.is_ascii_graphic());
        return printable.then(|| name.to_owned());
    }
    if !is_context(value.tag(), 7) {
        return None;
    }
    let bytes = value.value();
    let four = <[u8; 4]>::try_from(bytes).map(|four| IpAddr::from(Ipv4Addr::from(four)));
    let address = four.or_else(|_| {
        <[u8; 16]>::try_from(bytes).map(|sixteen| IpAddr::from(Ipv6Addr::from(sixteen)))
    });
    Some(address.ok()?.to_string())
}

#[cfg(test)]
mod tests {
    mod fuzz;

    use rustls::pki_types::{CertificateDer, pem::PemObject};

    use super::*;

    /// Made by OpenSSL: begins in the years that have two digits, ends in those that have four.
    const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBqDCCAU6gAwIBAgIUSVgO8TsaqigVmhQ7IodZf2Nc3zEwCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKdmF1bHQudGVzdDAgFw0yMDAxMDEwMDAwMDBaGA8yMDYwMDEw
MjAzMDQwNVowFTETMBEGA1UEAwwKdmF1bHQudGVzdDBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABPgqUewChTdSYcpLKaoAvQP+bO6+glAHFARKS87knAyP4LXXRraa
C0aNPWMV8s70z95TGoBOIf1tFBURZNmoP4CjejB4MAwGA1UdEwEB/wQCMAAwSQYD
VR0RBEIwQIIKdmF1bHQudGVzdIIMKi52YXVsdC50ZXN0gQxhQHZhdWx0LnRlc3SH
BMAAAgGHECABDbgAAAAAAAAAAAAAAAEwHQYDVR0OBBYEFGxoRTx2C6D3CRQIugFP
l4JWfdzeMAoGCCqGSM49BAMCA0gAMEUCIQCuUmjc6iVBtp6YX66YRbNRcYqMMMoC
8C7oCePcqnZlUAIgMliw9q7+Nli4/GhIDgnQ6Oykm4ZSC/Nj/flsr2oAS5U=
-----END CERTIFICATE-----
";

    #[test]
    fn names_and_end_are_read_from_what_openssl_makes() {
        let der = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
        let facts = Facts::read(&der).unwrap();
        let names = ["vault.test", "*.vault.test", "192.0.2.1", "2001:db8::1"];
        assert_eq!(facts.names, names);
        assert_eq!(facts.not_before.rfc3339(), "2020-01-01T00:00:00Z");
        assert_eq!(facts.not_after.rfc3339(), "2060-01-02T03:04:05Z");
    }

    #[test]
    fn no_prefix_and_no_changed_byte_ends_in_a_panic() {
        let der = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
        for at in 0..der.len() {
            assert_eq!(Facts::read(&der[..at]), None, "{at}");
            for flip in [0x01, 0x20, 0x80, 0xff] {
                let mut other = der.to_vec();
                other[at] ^= flip;
                drop(Facts::read(&other));
            }
        }
    }
}
