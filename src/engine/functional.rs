//! Opens what a functional account logs in with, for the length of one session.
//!
//! Invariant: a key wins over a password, and neither leaves here but as a connector takes it.

use keywheel_connectors::{Credential, KeyPair};

use super::{Engine, EngineError};
use crate::generate::{GivenKey, KeyError};
use crate::model::id::FunctionalAccountId;
use crate::store::SealedKey;
use crate::vault::Place;

impl Engine {
    /// What a functional account logs in with: its key if it has one, else this sealed password.
    pub(super) async fn functional_credential(
        &self,
        id: FunctionalAccountId,
        password: Option<Vec<u8>>,
    ) -> Result<Option<Credential>, EngineError> {
        if let Some(key) = self.store.functional_key(id).await? {
            return self.functional_key(id, key).await.map(Some);
        }
        let place = Place::functional_account(id);
        let opened = password.map(|sealed| self.vault.open(&place, &sealed));
        Ok(opened.transpose()?.map(Credential::from))
    }

    async fn functional_key(
        &self,
        id: FunctionalAccountId,
        key: SealedKey,
    ) -> Result<Credential, EngineError> {
        let place = Place::functional_passphrase(id);
        let passphrase = key
            .passphrase
            .map(|sealed| self.vault.open(&place, &sealed))
            .transpose()?;
        let given = GivenKey {
            private: self.vault.open(&Place::functional_key(id), &key.private)?,
            passphrase,
        };
        unlocked(given, key.public, format!("keywheel:functional:{}", id.0)).await
    }
}

/// A key pair as connectors take it, opened on a thread of its own: a passphrase's key takes long
/// to derive.
pub(super) async fn unlocked(
    given: GivenKey,
    public: String,
    marker: String,
) -> Result<Credential, EngineError> {
    let unlocked = tokio::task::spawn_blocking(move || given.unlock())
        .await
        .map_err(|_| EngineError::Key(KeyError::Unreadable))??;
    Ok(Credential::Key(KeyPair {
        private: unlocked.private,
        public,
        marker,
    }))
}
