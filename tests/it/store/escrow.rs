//! The escrow journal beside the database: what is committed is in it.

use std::sync::Arc;

use age::x25519::Identity;
use keywheel::clock::SystemClock;
use keywheel::escrow::{EscrowError, Journal, Kept, Owner, Print, recover};
use keywheel::model::id::{AccountId, FunctionalAccountId, PasswordRecordId};
use keywheel::model::password_record::PasswordFields;
use keywheel::store::{KEPT_KINDS, NewVersion, SealedSecret, Store, StoreError};

use super::functional_account::settings;
use super::inventory::{THEN, one_account};
use super::password_folder::organization;
use super::password_record::new;
use crate::support::database::on_both;

/// A record with these values, at its place.
async fn record(store: &Store, values: &[&[u8]]) -> PasswordRecordId {
    let mut tx = store.begin().await.unwrap();
    let of = organization(&mut tx, "Acme").await;
    let id = tx.password_record_id().await.unwrap();
    let new = new(id, of, PasswordFields::named("Login"));
    tx.insert_password_record(&new, THEN).await.unwrap();
    for value in values {
        let version = tx.password_version_id().await.unwrap();
        tx.set_password_value((id, version), value, (None, THEN))
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    id
}

on_both!(every_value_that_is_kept_is_found, |db| {
    let store = db.store().await;
    one_account(&store).await;
    let id = record(&store, &[b"one", b"two", b"three"]).await;
    let mut tx = store.begin().await.unwrap();
    tx.set_password_otp(id, Some(b"otp")).await.unwrap();
    let account = AccountId(1);
    let password = SealedSecret::Password(b"password".to_vec());
    let key = SealedSecret::Key {
        private: b"private".to_vec(),
        passphrase: Some(b"passphrase".to_vec()),
        public: "ssh-ed25519 AAAA".into(),
    };
    for (version, secret) in [(1, password), (2, key)] {
        let new = NewVersion {
            account,
            version,
            secret,
            origin: "supplied",
        };
        tx.add_version(&new, THEN).await.unwrap();
    }
    let functional = FunctionalAccountId(1);
    tx.insert_functional_account(functional, &settings("fa"), Some(b"first".to_vec()), THEN)
        .await
        .unwrap();
    tx.set_functional_password(functional, b"login".to_vec())
        .await
        .unwrap();
    tx.set_functional_enable(functional, Some(b"enable".to_vec()))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let mut found = Vec::new();
    for kind in &KEPT_KINDS {
        let mut after = (0, -1);
        loop {
            let page = store.kept_values(kind, after, 2).await.unwrap();
            let Some(last) = page.last() else { break };
            after = (last.owner.word().1, last.version);
            found.extend(page);
        }
    }
    let (record, functional) = (Owner::PasswordRecord(id.0), Owner::FunctionalAccount(1));
    let account = Owner::Account(1);
    let wanted: [(Owner, &str, i64, &[u8]); 9] = [
        (account, "sealed", 1, b"password"),
        (account, "sealed", 2, b"private"),
        (account, "passphrase", 2, b"passphrase"),
        (functional, "password", 0, b"login"),
        (functional, "enable_secret", 0, b"enable"),
        (record, "sealed", 1, b"one"),
        (record, "sealed", 2, b"two"),
        (record, "sealed", 3, b"three"),
        (record, "otp", 0, b"otp"),
    ];
    let found = found.iter();
    let found: Vec<_> = found
        .map(|one| (one.owner, one.part, one.version, one.sealed.as_slice()))
        .collect();
    assert_eq!(found, wanted);
});

on_both!(nothing_commits_that_the_journal_does_not_have, |db| {
    let folder = tempfile::tempdir().unwrap();
    let (path, identity) = (folder.path().join("journal"), Identity::generate());
    let clock = SystemClock::shared();
    let now = Box::new(move || clock.now());
    let recipient = identity.to_public().to_string();
    let (journal, _) = Journal::open(&path, &recipient, now).unwrap();
    let journal = Arc::new(journal);
    let store = db.store().await.escrowing(journal.clone());
    let id = record(&store, &[]).await;
    let mut tx = store.begin().await.unwrap();
    let version = tx.password_version_id().await.unwrap();
    tx.set_password_value((id, version), b"sealed", (None, THEN))
        .await
        .unwrap();
    let refused = tx.commit().await.unwrap_err();
    assert!(matches!(refused, StoreError::Escrow(EscrowError::Unknown)));
    assert_eq!(store.sealed_password(id, version).await.unwrap(), None);

    let kept = Kept {
        owner: Owner::PasswordRecord(id.0),
        part: "sealed",
        version: version.0,
        print: Print::of(b"sealed"),
    };
    journal.keep(kept, "value").unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.set_password_value((id, version), b"sealed", (None, THEN))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
    let found = recover(file, &identity).unwrap();
    assert_eq!(found.names[&kept.owner]["name"], "Acme/Login");
    let values: Vec<_> = found.values[&kept.owner]
        .iter()
        .map(|one| (one.part.as_str(), one.version))
        .collect();
    assert_eq!(values, [("sealed", version.0)]);
});
