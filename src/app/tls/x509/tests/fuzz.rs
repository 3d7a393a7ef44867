//! Whatever is given as a certificate.

use proptest::prelude::*;
use rustls::pki_types::pem::PemObject;

use super::*;
use crate::fuzz::{check, mutants, noise};

#[test]
fn facts_are_read_within_limits_or_not_at_all() {
    let der = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let certificates = prop_oneof![9 => mutants(vec![der.to_vec()], &[]), 1 => noise(80)];
    check("app::x509", &certificates, |bytes| {
        if let Some(facts) = Facts::read(&bytes) {
            prop_assert!(facts.names.len() <= NAMES_MAX);
            prop_assert!(
                facts
                    .names
                    .iter()
                    .all(|name| name.bytes().all(|byte| byte.is_ascii_graphic()))
            );
        }
        Ok(())
    });
}
