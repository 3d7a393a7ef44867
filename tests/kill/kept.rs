//! Every version that the store keeps, opened by the library itself.
//!
//! Invariant: a secret leaves here in a [`Secret`] alone, which prints nothing of it.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use keywheel::model::credential::Part;
use keywheel::model::id::AccountId;
use keywheel::store::{SealedSecret, Store, StoreOptions};
use keywheel::vault::{Kek, Place, Vault, WrappedKey};
use secrecy::ExposeSecret as _;

/// Versions of one account that are looked at.
const VERSIONS_MAX: i64 = 10_000;

/// A password or a private key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// For the client that logs in with it.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

/// One kept version.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) number: i64,
    pub(crate) part: Part,
    /// True if it was on its way to the target, and no login with it has succeeded since.
    pub(crate) is_doubtful: bool,
    /// `None`: it does not open.
    pub(crate) secret: Option<Secret>,
}

/// The store and its key ring.
pub(crate) struct Kept {
    store: Store,
    vault: Vault,
}

impl Kept {
    pub(crate) async fn open(url: &str, kek: &Path) -> Self {
        let options = StoreOptions {
            url: url.to_owned(),
            readers: 2,
            writers: 1,
            acquire_timeout: Duration::from_secs(30),
        };
        let store = Store::connect(&options).await.unwrap();
        let keys = store.data_keys().await.unwrap().into_iter();
        let wrapped = keys.map(|row| WrappedKey {
            id: row.id,
            kek_id: row.kek_id,
            wrapped: row.wrapped,
            retired: row.retired_at.is_some(),
        });
        let kek = std::fs::read(kek).unwrap();
        let kek = Kek::from_bytes(kek.as_slice().try_into().unwrap());
        let vault = Vault::new(kek, wrapped.collect()).unwrap();
        Self { store, vault }
    }

    pub(crate) async fn close(self) {
        self.store.close().await;
    }

    /// Every version of an account, the newest first.
    pub(crate) async fn versions(&self, account: i64) -> Vec<Version> {
        let account = AccountId(account);
        let rows = self.store.versions(account, VERSIONS_MAX).await.unwrap();
        let mut versions = Vec::with_capacity(rows.len());
        for row in rows {
            let sealed = self.store.sealed_version(account, row.version).await;
            let secret = sealed.unwrap().and_then(|sealed| {
                let bytes = match &sealed {
                    SealedSecret::Password(bytes) => bytes,
                    SealedSecret::Key { private, .. } => private,
                };
                let place = Place::credential(account, row.version);
                let opened = self.vault.open(&place, bytes).ok()?;
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the harness logs in with it by another client"
                )]
                let text = opened.expose_secret().to_owned();
                Some(Secret(text))
            });
            versions.push(Version {
                number: row.version,
                part: row.part,
                is_doubtful: row.last_sent_at.is_some() && row.last_sent_at > row.accepted_at,
                secret,
            });
        }
        versions
    }
}
