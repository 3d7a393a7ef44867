//! Why the service does not start, or stopped.
//!
//! Invariant: every text says what to do next, and none holds a secret.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::files::FileError;
use super::tls::TlsError;
use crate::config::SecretFileError;
use crate::escrow::{EchoError, EscrowError};
use crate::metrics::MetricsError;
use crate::notify::NotifyError;
use crate::scheduler::SchedulerError;
use crate::store::StoreError;
use crate::vault::VaultError;

/// Why the service does not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Correct the folder or the file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Correct the key file.
    #[error("the key file does not fit: {0}")]
    KekFile(#[from] SecretFileError),
    /// Correct `smtp.password_file`, or the file.
    #[error("the mail server's password cannot be read: {0}")]
    SmtpPassword(SecretFileError),
    /// Write the password to it as text.
    #[error("the file of smtp.password_file holds no UTF-8 text: write the password to it")]
    SmtpPasswordText,
    /// As it says.
    #[error(transparent)]
    Notify(#[from] NotifyError),
    /// As the certificate's error says.
    #[error("the listener's certificate cannot be used: {0}")]
    Tls(#[from] TlsError),
    /// Put the key file back.
    #[error(
        "the database was sealed with a key that is gone: {} does not exist. Put the key file \
         back there from its backup, or name its place in keyring.kek_file. No new key was made: \
         it could not open a single stored credential",
        path.display()
    )]
    KekGone { path: PathBuf },
    /// Put the right key file there.
    #[error(
        "{} holds {found} bytes, but a key-encryption key has {needed}: put the right file there",
        path.display()
    )]
    KekLength {
        path: PathBuf,
        found: usize,
        needed: usize,
    },
    /// As the vault says.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Restore the key ring's rows.
    #[error(
        "the key ring in the database is damaged: {0}. Restore the database from its last backup; \
         nothing was started or changed"
    )]
    KeyRing(&'static str),
    /// Restore the row, and find out who wrote it.
    #[error(
        "the sealed probe that proves the key ring does not open: {0}. Restore the row of \
         store_identity from the last backup; nothing was started or changed"
    )]
    Probe(VaultError),
    /// Restore the file, or name the right one.
    #[error(
        "{} is not a database: restore it from its last backup, or name the right file in \
         database.url",
        path.display()
    )]
    NoDatabase { path: PathBuf },
    /// Copy the other node's key file.
    #[error(
        "another node has just made this database's first key: copy its key file to {} (mode \
         0600), and start again",
        path.display()
    )]
    AnotherNode { path: PathBuf },
    /// As the store says.
    #[error("the database {place} does not fit: {source}")]
    Store { place: String, source: StoreError },
    /// Choose another address, or end what holds it.
    #[error(
        "{address} cannot be listened on: {source}. End what uses it, or choose another address \
         in server.listen"
    )]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    /// A defect, or a machine without `/proc`.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Start the process again.
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
    /// Start the process again; the log says more.
    #[error("{0} ended by itself: start the service again, and look at its log")]
    TaskEnded(&'static str),
    /// Nothing to do: the next start probes what was cut short.
    #[error(
        "changes were still running after {waited_s} s (server.drain_timeout_s): no credential is \
         lost, and the next start asks the targets which one they hold"
    )]
    DrainOverran { waited_s: u32 },
    /// A defect of the machine.
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
    /// Mend the definitions.
    #[error(
        "{faults}\nthe platforms cannot be offered: mend what is told, or take the file out of {} \
         (connectors.platforms_dir); `keywheel connector check` tells the same",
        folder.display()
    )]
    Platforms { faults: String, folder: PathBuf },
    /// Name the right database, or accept this one.
    #[error(
        "the database is another one than {} was kept for: it is store {here}, and that file is of \
         store {found}. Name the right database in database.url, or restore it. If this one is to \
         take its place, accept it with `keywheel regression accept`. Nothing runs on it until then",
        path.display()
    )]
    OtherStore {
        path: PathBuf,
        found: String,
        here: String,
    },
    /// As the echo says.
    #[error(transparent)]
    Echo(#[from] EchoError),
    /// The escrow journal cannot be kept.
    #[error(transparent)]
    Escrow(#[from] EscrowError),
    /// A defect: the log was set up twice.
    #[error("the log could not be set up twice")]
    Log,
}

impl AppError {
    /// Names the database in an error of the store.
    pub(super) fn store(place: &str) -> impl Fn(StoreError) -> Self + use<'_> {
        move |source| Self::Store {
            place: place.to_owned(),
            source,
        }
    }

    /// True if the same start may succeed a little later.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Store {
                source: StoreError::Busy | StoreError::Full(_) | StoreError::Escrow(_),
                ..
            }
        )
    }
}
