//! The listener's certificate: read from its files, handed to handshakes, and changed under them.
//!
//! Invariant: what handshakes use was read whole and fits together; a set of files that does not
//! replaces nothing. Connections under way keep what they began with.

mod x509;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::clock::SharedClock;
use crate::config::{SecretFileError, Server, read_secret_file};

pub(super) use x509::Facts;

/// How often the files are looked at. A change is taken once two looks saw the same.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// Largest file of certificates.
const FILE_MAX_BYTES: u64 = 1_048_576;
const CERTIFICATE: &str = "server.tls_certificate_file";
const CLIENT_CA: &str = "server.tls_client_ca_file";
/// The one protocol inside TLS.
const HTTP_1_1: &[u8] = b"http/1.1";

/// Why a certificate cannot be used. Every text says what to do; none holds a byte of a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Correct path or rights.
    #[error("{} cannot be read: {source}. Correct {setting}, or the file's rights", path.display())]
    Unreadable {
        setting: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// As the secret file says.
    #[error("server.tls_key_file does not fit: {0}")]
    KeyFile(#[from] SecretFileError),
    /// Put certificates there.
    #[error(
        "{} holds no certificates that can be used: {setting} names a file of them in PEM form, \
         `-----BEGIN CERTIFICATE-----`",
        path.display()
    )]
    NoCertificate {
        setting: &'static str,
        path: PathBuf,
    },
    /// Put a key there.
    #[error(
        "{} holds no private key that can be used: server.tls_key_file names one in PEM form \
         (PKCS #8, PKCS #1 or SEC 1) without a passphrase",
        path.display()
    )]
    NoKey { path: PathBuf },
    /// Put both files of one issue there.
    #[error(
        "the key in {} does not belong to the certificate in {}, which must come first in its \
         file: put both files of the same issue there",
        key.display(), certificate.display()
    )]
    Mismatch { certificate: PathBuf, key: PathBuf },
    /// A defect of the build.
    #[error("this build offers no usable TLS: {0}")]
    Build(rustls::Error),
}

/// Where certificate, key and the clients' authorities are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) client_ca: Option<PathBuf>,
}

/// What the files hold, ready for handshakes.
#[derive(Debug)]
pub(super) struct Certificate {
    config: Arc<ServerConfig>,
    /// The certificate itself, DER.
    pub(super) leaf: CertificateDer<'static>,
    /// What it says; `None` if only the TLS library understands it.
    pub(super) facts: Option<Facts>,
}

impl Files {
    /// The files that the settings name; `None` for plain HTTP.
    pub(super) fn of(server: &Server) -> Option<Self> {
        Some(Self {
            certificate: server.tls_certificate_file.clone()?,
            key: server.tls_key_file.clone()?,
            client_ca: server.tls_client_ca_file.clone(),
        })
    }

    /// Reads all of them.
    ///
    /// # Errors
    /// [`TlsError`]: one of them is not what it should be, or they do not belong together.
    pub(super) fn read(&self) -> Result<Certificate, TlsError> {
        let chain = certificates(CERTIFICATE, &self.certificate)?;
        let key = read_secret_file(&self.key)?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| self.no_key())?;
        let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .map_err(TlsError::Build)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let authorities = Arc::new(authorities(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(authorities, provider);
                let verifier = verifier.build().map_err(|_| unusable(CLIENT_CA, path))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let leaf = chain.first().cloned();
        let leaf = leaf.ok_or_else(|| unusable(CERTIFICATE, &self.certificate))?;
        let fits = builder.with_single_cert(chain, key);
        let mut config = fits.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch {
                certificate: self.certificate.clone(),
                key: self.key.clone(),
            },
            rustls::Error::InvalidCertificate(_) => unusable(CERTIFICATE, &self.certificate),
            _ => self.no_key(),
        })?;
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Certificate {
            config: Arc::new(config),
            facts: Facts::read(&leaf),
            leaf,
        })
    }

    fn no_key(&self) -> TlsError {
        TlsError::NoKey {
            path: self.key.clone(),
        }
    }

    /// How the files look from outside. Names are followed: certificates are often swapped by a
    /// link.
    fn print(&self) -> Print {
        let paths = [
            Some(&self.certificate),
            Some(&self.key),
            self.client_ca.as_ref(),
        ];
        paths.map(|path| {
            let about = std::fs::metadata(path?).ok()?;
            let changed = (about.mtime(), about.mtime_nsec(), about.ctime_nsec());
            Some((about.dev(), about.ino(), about.size(), changed))
        })
    }
}

type Print = [Option<(u64, u64, u64, (i64, i64, i64))>; 3];

fn unusable(setting: &'static str, path: &Path) -> TlsError {
    TlsError::NoCertificate {
        setting,
        path: path.to_owned(),
    }
}

/// The certificates of a PEM file; at least one.
fn certificates(
    setting: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::Unreadable {
        setting,
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    let mut text = Vec::new();
    // A folder, a pipe or a huge file holds none either.
    if about.is_file() && about.len() <= FILE_MAX_BYTES {
        let read = file.take(FILE_MAX_BYTES).read_to_end(&mut text);
        read.map_err(unreadable)?;
    }
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    // One bad certificate spoils the file: half of it is not what was meant.
    let all = all.map_err(|_| unusable(setting, path))?;
    if all.is_empty() {
        return Err(unusable(setting, path));
    }
    Ok(all)
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(CLIENT_CA, path)? {
        roots
            .add(certificate)
            .map_err(|_| unusable(CLIENT_CA, path))?;
    }
    Ok(roots)
}

/// What handshakes use at the moment; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Current(Arc<RwLock<Arc<ServerConfig>>>);

impl Current {
    /// For one handshake.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Watches the files, and changes what handshakes use.
#[derive(Debug)]
pub(super) struct Keeper {
    files: Files,
    current: Current,
    /// How the files looked when they were read last, well or not.
    taken: Print,
    /// How they looked at the last look.
    seen: Print,
}

impl Keeper {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// [`TlsError`].
    pub(super) fn open(files: Files, clock: &SharedClock) -> Result<Self, TlsError> {
        // Before they are read: a change meanwhile is one that is still to come.
        let print = files.print();
        let certificate = files.read()?;
        certificate.tell(clock);
        Ok(Self {
            files,
            current: Current(Arc::new(RwLock::new(certificate.config))),
            taken: print,
            seen: print,
        })
    }

    /// What handshakes use.
    pub(super) fn current(&self) -> Current {
        self.current.clone()
    }

    /// The files that are watched.
    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// Waits until the files have changed and stand still.
    pub(super) async fn changed(&mut self, clock: &SharedClock) {
        loop {
            clock.sleep(LOOK_EVERY).await;
            let print = self.files.print();
            if print != self.taken && print == self.seen {
                return;
            }
            self.seen = print;
        }
    }

    /// Reads these files and hands them to the handshakes to come, unless they have a fault.
    ///
    /// # Errors
    /// [`TlsError`]: everything is as before, and nothing is tried until the files change again.
    pub(super) fn take(&mut self, files: Files, clock: &SharedClock) -> Result<(), TlsError> {
        let print = files.print();
        if files == self.files {
            self.taken = print;
        }
        let certificate = files.read()?;
        certificate.tell(clock);
        let mut current = self
            .current
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = certificate.config;
        drop(current);
        (self.files, self.taken, self.seen) = (files, print, print);
        Ok(())
    }
}

impl Certificate {
    /// Says what was taken, and whether clients will refuse it.
    fn tell(&self, clock: &SharedClock) {
        let Some(facts) = &self.facts else {
            tracing::info!("a certificate was taken");
            return;
        };
        let (names, until) = (facts.names.join(", "), facts.not_after.rfc3339());
        let now = clock.now();
        if now < facts.not_before || now >= facts.not_after {
            let from = facts.not_before.rfc3339();
            tracing::warn!(
                names,
                from,
                until,
                "a certificate was taken that does not hold now"
            );
        } else {
            tracing::info!(names, until, "a certificate was taken");
        }
    }
}
