//! Reaches a directory: TCP, perhaps StartTLS, always TLS.
//!
//! Invariant: a stream leaves this file only after its certificate was verified against the
//! system's own authorities; before that, nothing but StartTLS is sent.

use std::io;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{ber, guard};
use crate::{Class, LdapTarget, Reason, Target};

/// The extended request StartTLS with message id 1. Source: RFC 4511 4.14.1.
const STARTTLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
/// The longest answer to StartTLS that is read, in bytes. slapd's has 14.
const STARTTLS_ANSWER_MAX_BYTES: usize = 4_096;

/// Where a directory is and how it proves itself.
pub(super) struct Endpoint {
    host: String,
    port: u16,
    starttls: bool,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
}

impl Endpoint {
    /// Reads the authorities and the name that the certificate must carry.
    ///
    /// # Errors
    /// [`Class::IdentityMismatch`] if nothing could be trusted.
    pub(super) fn new(target: &Target, ldap: &LdapTarget) -> Result<Self, Reason> {
        let name = ldap.server_name.as_deref().unwrap_or(&target.host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| untrusted("the name to verify is neither a host name nor an address"))?;
        let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|_| untrusted("this build offers no usable TLS version"))?
            .with_root_certificates(authorities(&ldap.ca_pem)?)
            .with_no_client_auth();
        // A session resumed after the authorities changed would skip their verdict.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self {
            host: target.host.clone(),
            port: target.port,
            starttls: ldap.starttls,
            name,
            config: Arc::new(config),
        })
    }

    /// Connects and completes the handshake. The caller sets the time limit.
    ///
    /// # Errors
    /// A reason of the system's scope; nothing secret was sent.
    pub(super) async fn connect(&self) -> Result<TlsStream<TcpStream>, Reason> {
        let mut stream = dial(&self.host, self.port).await?;
        if self.starttls {
            ask_for_tls(&mut stream).await?;
        }
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector
            .connect(self.name.clone(), stream)
            .await
            .map_err(|error| refused(&error))
    }
}

/// The certificates of a bundle.
///
/// # Errors
/// [`Class::IdentityMismatch`] if one cannot be read.
pub(super) fn trust(pem: &str) -> Result<Vec<CertificateDer<'static>>, Reason> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        // One bad certificate spoils the bundle: half a bundle is not what was configured.
        .map_err(|_| untrusted("tls_ca holds unreadable PEM text"))
}

fn authorities(pem: &str) -> Result<RootCertStore, Reason> {
    let mut roots = RootCertStore::empty();
    for certificate in trust(pem)? {
        roots
            .add(certificate)
            .map_err(|_| untrusted("tls_ca holds an unusable certificate"))?;
    }
    if roots.is_empty() {
        return Err(untrusted(
            "set tls_ca: without an authority no directory can be trusted",
        ));
    }
    Ok(roots)
}

async fn dial(host: &str, port: u16) -> Result<TcpStream, Reason> {
    let stream = TcpStream::connect((host, port)).await.map_err(|error| {
        let text = match error.kind() {
            io::ErrorKind::ConnectionRefused => "the directory's port refuses connections",
            io::ErrorKind::ConnectionReset => "the directory reset the connection",
            _ => "the directory cannot be reached",
        };
        Reason::system(Class::Unreachable, text)
    })?;
    // Without this, each small request waits for the acknowledgement of the last: some 40 ms.
    stream.set_nodelay(true).map_err(|_| closed())?;
    Ok(stream)
}

/// Asks for TLS in the clear. Reads exactly the answer, so that nothing sent along with it in the
/// clear is later taken for a protected byte.
async fn ask_for_tls(stream: &mut TcpStream) -> Result<(), Reason> {
    stream.write_all(STARTTLS).await.map_err(|_| closed())?;
    let mut answer = Vec::with_capacity(64);
    let size = loop {
        answer.push(stream.read_u8().await.map_err(|_| closed())?);
        match guard::message_size(&answer) {
            Ok(None) => {}
            Ok(Some(size)) if size <= STARTTLS_ANSWER_MAX_BYTES => break size,
            Ok(Some(_)) | Err(_) => return Err(no_starttls()),
        }
    };
    let head = answer.len();
    answer.resize(size.max(head), 0);
    if let Some(rest) = answer.get_mut(head..) {
        stream.read_exact(rest).await.map_err(|_| closed())?;
    }
    guard::inspect(&answer).map_err(|_| no_starttls())?;
    if accepts(&answer) {
        Ok(())
    } else {
        Err(no_starttls())
    }
}

/// True for an extended response to message 1 with result 0.
fn accepts(answer: &[u8]) -> bool {
    let Some(envelope) = ber::expect(0x30, answer) else {
        return false;
    };
    let Some(id) = ber::expect(0x02, envelope.body) else {
        return false;
    };
    let Some(operation) = ber::expect(0x78, id.rest) else {
        return false;
    };
    let Some(code) = ber::expect(0x0a, operation.body) else {
        return false;
    };
    ber::number(id.body) == Some(1) && ber::number(code.body) == Some(0)
}

fn closed() -> Reason {
    Reason::system(
        Class::Unreachable,
        "the directory closed the connection before TLS was up",
    )
}

fn no_starttls() -> Reason {
    Reason::system(
        Class::Incompatible,
        "the directory refuses StartTLS; nothing secret was sent",
    )
}

fn untrusted(text: &'static str) -> Reason {
    Reason::system(Class::IdentityMismatch, text)
}

/// Decodes a failed handshake. Never the error's own text: it may quote the certificate.
fn refused(error: &io::Error) -> Reason {
    let Some(error) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    else {
        return closed();
    };
    let rustls::Error::InvalidCertificate(fault) = error else {
        return match error {
            rustls::Error::NoCertificatesPresented => {
                untrusted("the directory presents no certificate")
            }
            _ => Reason::system(
                Class::Incompatible,
                "the directory does not speak TLS as we do",
            ),
        };
    };
    untrusted(match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the directory's certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the directory's certificate is not valid yet"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the directory's certificate is for another name"
        }
        CertificateError::UnknownIssuer => {
            "the directory's certificate is signed by no authority in tls_ca"
        }
        _ => "the directory's certificate is not acceptable",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn small_requests_leave_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.39:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = dial("127.0.0.39", port).await.unwrap();
        assert!(stream.nodelay().unwrap());
    }

    #[test]
    fn an_empty_or_broken_bundle_trusts_nobody() {
        for pem in [
            "",
            "no certificate here",
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
        ] {
            assert_eq!(authorities(pem).unwrap_err().class, Class::IdentityMismatch);
        }
    }

    #[test]
    fn only_a_plain_yes_to_starttls_counts() {
        let yes = [0x30, 12, 2, 1, 1, 0x78, 7, 0x0a, 1, 0, 4, 0, 4, 0];
        assert!(accepts(&yes));
        for (at, byte) in [(4, 2), (5, 0x61), (9, 2)] {
            let mut other = yes;
            other[at] = byte;
            assert!(!accepts(&other));
        }
    }
}
