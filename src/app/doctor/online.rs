//! Asks the running service how it is.
//!
//! Invariant: the answer is read up to a limit and within a time.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::tls::Files;
use super::Check;
use crate::config::Settings;

/// Longest wait for the answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Longest answer.
const ANSWER_MAX_BYTES: u64 = 65_536;

/// `GET /readyz` of the service that listens there.
pub(super) async fn service(settings: &Settings) -> Check {
    let listen = settings.server.listen;
    let name = "service";
    // An address for everybody is asked at this machine's own.
    let address = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, listen.port()))
        }
        IpAddr::V6(ip) if ip.is_unspecified() => {
            SocketAddr::from((Ipv6Addr::LOCALHOST, listen.port()))
        }
        _ => listen,
    };
    let fix = "start the service, or look at its log";
    let answer = match Files::of(&settings.server).map(|files| (files.read(), files.client_ca)) {
        None => within(plain(address)).await,
        Some((Err(error), _)) => return Check::fault(name, error.to_string(), ""),
        Some((Ok(certificate), None)) => within(encrypted(address, certificate.leaf)).await,
        Some((Ok(_), Some(_))) => {
            let found = format!("{address} asks for a client's certificate, and none is at hand");
            let fix = "ask /readyz with one, by curl and its options --cacert, --cert and --key";
            return Check::warning(name, found, fix);
        }
    };
    let Some(answer) = answer else {
        let found = format!(
            "{address} does not answer {}",
            if settings.server.speaks_tls() {
                "with the certificate in server.tls_certificate_file"
            } else {
                "by plain HTTP"
            }
        );
        return Check::fault(name, found, fix);
    };
    let status = answer.split(' ').nth(1).unwrap_or_default();
    if status == "200" {
        return Check::fine(name, format!("{address} is ready"));
    }
    let body = answer
        .split_once("\r\n\r\n")
        .map_or("", |(_, body)| body)
        .trim();
    Check::fault(
        name,
        format!("{address} is not ready: {status} {body}"),
        fix,
    )
}

/// The answer, if there is one in time.
async fn within(asked: impl Future<Output = io::Result<String>>) -> Option<String> {
    tokio::time::timeout(ANSWER_MAX, asked).await.ok()?.ok()
}

async fn plain(address: SocketAddr) -> io::Result<String> {
    ask(TcpStream::connect(address).await?, address).await
}

async fn encrypted(address: SocketAddr, leaf: CertificateDer<'static>) -> io::Result<String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ThisOne { leaf, provider }))
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::IpAddress(address.ip().into());
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream);
    ask(stream.await?, address).await
}

async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    address: SocketAddr,
) -> io::Result<String> {
    let request = format!("GET /readyz HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_MAX_BYTES)
        .read_to_end(&mut answer)
        .await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Trusts one certificate, that of the settings' own file, whatever names it has: the service is
/// asked by its address, and whether it shows this very certificate is the question.
#[derive(Debug)]
struct ThisOne {
    leaf: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ThisOne {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *shown == self.leaf {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
