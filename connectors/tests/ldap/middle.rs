//! Servers that stand between the connector and a directory and misbehave as told.
//!
//! Invariant: they end with the test's runtime, and touch no stream but their own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::slapd::Slapd;

/// What a middle server does and has seen.
#[derive(Default)]
pub(crate) struct Middle {
    /// True: answers are swallowed.
    pub(crate) swallow: AtomicBool,
    /// True: requests are swallowed, and the server never sees them.
    pub(crate) deaf: AtomicBool,
    /// With the request of this number from now on, answers are swallowed; 0: never.
    pub(crate) swallow_at: AtomicUsize,
    /// With the request of this number from now on, requests are; 0: never.
    pub(crate) deaf_at: AtomicUsize,
    /// Sent instead of the next answers.
    pub(crate) poison: Mutex<Option<Vec<u8>>>,
    /// Connections taken so far.
    pub(crate) taken: AtomicUsize,
    /// Every byte that clients sent, as it came.
    pub(crate) heard: Mutex<Vec<u8>>,
}

impl Middle {
    pub(crate) fn heard(&self) -> Vec<u8> {
        self.heard.lock().unwrap().clone()
    }

    /// Notes that a request came, and turns mute or deaf if it was to be the last.
    fn count_request(&self) {
        for (left, flag) in [
            (&self.swallow_at, &self.swallow),
            (&self.deaf_at, &self.deaf),
        ] {
            let one_less = |left: usize| left.checked_sub(1);
            if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less) == Ok(1) {
                flag.store(true, Ordering::SeqCst);
            }
        }
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }
}

async fn listen(ip: Ipv4Addr) -> (TcpListener, u16) {
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Passes TCP bytes on; they are encrypted, or should be.
#[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
pub(crate) async fn proxy(to: SocketAddr, ip: Ipv4Addr) -> (Arc<Middle>, u16) {
    let (listener, port) = listen(ip).await;
    let middle = Arc::new(Middle::default());
    let shared = Arc::clone(&middle);
    tokio::task::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            shared.taken.fetch_add(1, Ordering::SeqCst);
            let middle = Arc::clone(&shared);
            tokio::task::spawn(async move {
                let server = TcpStream::connect(to).await.unwrap();
                carry(client, server, &middle).await;
            });
        }
    });
    (middle, port)
}

/// Ends TLS in the middle, with a certificate that the connector trusts, so that answers can be
/// replaced.
#[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
pub(crate) async fn impostor(slapd: &Slapd) -> (Arc<Middle>, u16) {
    let (listener, port) = listen(slapd.ip).await;
    let (certificate, key) = slapd.issue("impostor", slapd.ip);
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(certificate.as_bytes())
            .map(Result::unwrap)
            .collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let acceptor = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    let mut target = slapd.ldaps();
    let ca = super::slapd::ldap_mut(&mut target).ca_pem.clone();
    for root in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    let connector = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(acceptor));
    let connector = TlsConnector::from(Arc::new(connector));
    let to = SocketAddr::from((slapd.ip, slapd.tls_port));
    let name = ServerName::from(std::net::IpAddr::from(slapd.ip));
    let middle = Arc::new(Middle::default());
    let shared = Arc::clone(&middle);
    tokio::task::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            shared.taken.fetch_add(1, Ordering::SeqCst);
            let (middle, acceptor) = (Arc::clone(&shared), acceptor.clone());
            let (connector, name) = (connector.clone(), name.clone());
            tokio::task::spawn(async move {
                let Ok(client) = acceptor.accept(client).await else {
                    return;
                };
                let server = TcpStream::connect(to).await.unwrap();
                let server = connector.connect(name, server).await.unwrap();
                carry(client, server, &middle).await;
            });
        }
    });
    (middle, port)
}

/// A server that answers the first bytes of every client with `answer`, in the clear, and waits.
#[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
pub(crate) async fn plain_server(ip: Ipv4Addr, answer: &'static [u8]) -> (Arc<Middle>, u16) {
    let (listener, port) = listen(ip).await;
    let middle = Arc::new(Middle::default());
    let shared = Arc::clone(&middle);
    tokio::task::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            shared.taken.fetch_add(1, Ordering::SeqCst);
            let middle = Arc::clone(&shared);
            tokio::task::spawn(async move {
                let mut chunk = [0; 4_096];
                let mut answer = Some(answer).filter(|answer| !answer.is_empty());
                while let Ok(size @ 1..) = client.read(&mut chunk).await {
                    middle.heard.lock().unwrap().extend(&chunk[..size]);
                    if let Some(answer) = answer.take() {
                        client.write_all(answer).await.unwrap();
                    }
                }
            });
        }
    });
    (middle, port)
}

async fn carry<C, S>(client: C, server: S, middle: &Middle)
where
    C: AsyncRead + AsyncWrite,
    S: AsyncRead + AsyncWrite,
{
    let (mut client_read, mut client_write) = tokio::io::split(client);
    let (mut server_read, mut server_write) = tokio::io::split(server);
    let up = async {
        let mut chunk = vec![0; 16 << 10];
        while let Ok(size @ 1..) = client_read.read(&mut chunk).await {
            middle.heard.lock().unwrap().extend(&chunk[..size]);
            middle.count_request();
            if middle.deaf.load(Ordering::SeqCst) {
                continue;
            }
            server_write.write_all(&chunk[..size]).await?;
            server_write.flush().await?;
        }
        std::io::Result::Ok(())
    };
    let down = async {
        let mut chunk = vec![0; 16 << 10];
        while let Ok(size @ 1..) = server_read.read(&mut chunk).await {
            if middle.swallow.load(Ordering::SeqCst) {
                continue;
            }
            let poison = middle.poison.lock().unwrap().clone();
            match poison {
                None => client_write.write_all(&chunk[..size]).await?,
                Some(poison) => client_write.write_all(&poison).await?,
            }
            client_write.flush().await?;
        }
        std::io::Result::Ok(())
    };
    tokio::select! {
        _ = up => {}
        _ = down => {}
    }
}
