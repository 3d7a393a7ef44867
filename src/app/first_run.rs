//! The first start on a fresh store: KEK, data key, identity and administrator.
//!
//! Invariant: the administrator's keys are complete and fsynced in their file before their rows
//! commit; the log names the file, never what it holds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::database::place;
use super::error::AppError;
use super::{files, key_ring};
use crate::config::Settings;
use crate::generate::{self, Dice};
use crate::model::Timestamp;
use crate::model::audit::Event;
use crate::model::id::WorkgroupId;
use crate::model::key::{Addresses, KeyHash, KeyKind, NewKey, Reach};
use crate::model::principal::NewUser;
use crate::model::workgroup::Workgroup;
use crate::store::{Store, StoreError};
use crate::vault::{Vault, WrappedKey};

/// The first administrator's keys, in the data folder.
pub const CREDENTIALS_FILE: &str = "admin-credentials.toml";
/// The first administrator's sign-in name.
pub(super) const ADMINISTRATOR: &str = "admin";

/// What the administrator signs in with.
struct Keys {
    native: SecretString,
    password_safe: SecretString,
    /// Not secret.
    client_id: String,
    client_secret: SecretString,
    itglue: SecretString,
}

/// Makes everything that a fresh store needs; the path is that of the administrator's keys.
pub(super) async fn make(
    settings: &Settings,
    store: &Store,
    url: &str,
    dice: &dyn Dice,
    now: Timestamp,
) -> Result<(Vault, PathBuf), AppError> {
    let path = settings.kek_file();
    let (kek, made) = match key_ring::read(&path)? {
        // From a start that was cut short, from `init`, or the operator's own.
        Some(kek) => (kek, false),
        None => (key_ring::make(&path, dice)?, true),
    };
    let data_key = Vault::new_data_key(&kek, dice)?;
    let vault = Vault::new(kek, vec![data_key.clone()])?;
    let keys = Keys {
        native: generate::native_key(dice),
        password_safe: generate::password_safe_key(dice),
        client_id: generate::oauth_client_id(dice).to_string(),
        client_secret: generate::oauth_client_secret(dice),
        itglue: generate::itglue_key(dice),
    };
    let credentials = settings.data_file(CREDENTIALS_FILE);
    if credentials.exists() {
        // Of a start that was cut short, or of another store: its keys may still be of use there.
        let aside = files::set_aside(&credentials, now.0)?;
        tracing::warn!(path = %aside.display(), "keys that are not this store's were set aside");
    }
    files::write_new(&credentials, text(url, &keys).as_bytes())?;
    match record(store, &data_key, &vault, &keys, dice, now).await {
        Ok(()) => Ok((vault, credentials)),
        Err(Failure::Vault(error)) => Err(error.into()),
        Err(Failure::Store(StoreError::Conflict { .. })) => {
            // Nothing was recorded, so these files are good for nothing.
            files::discard(&credentials);
            if made {
                files::discard(&path);
            }
            Err(AppError::AnotherNode { path })
        }
        // The commit may have happened: the files stay.
        Err(Failure::Store(error)) => Err(AppError::store(&place(settings))(error)),
    }
}

enum Failure {
    Store(StoreError),
    Vault(crate::vault::VaultError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

async fn record(
    store: &Store,
    data_key: &WrappedKey,
    vault: &Vault,
    keys: &Keys,
    dice: &dyn Dice,
    now: Timestamp,
) -> Result<(), Failure> {
    let uuid = generate::oauth_client_id(dice).to_string();
    let probe = vault
        .seal(&key_ring::PROBE, &key_ring::probe_text(&uuid), dice)
        .map_err(Failure::Vault)?;
    let mut tx = store.begin().await?;
    tx.insert_data_key(data_key.id, &data_key.kek_id, &data_key.wrapped, now)
        .await?;
    tx.insert_identity(&uuid, &probe.0, now).await?;
    let body = serde_json::json!({"uuid": uuid, "kek": data_key.kek_id});
    tx.audit(&Event::by_service("store.made", &uuid, body), now)
        .await?;
    let workgroup = Workgroup {
        id: tx.id(WorkgroupId::KIND).await?,
        name: Workgroup::DEFAULT_NAME.to_owned(),
        organization_id: Workgroup::ORGANIZATION_DEFAULT.to_owned(),
    };
    tx.insert_workgroup(&workgroup).await?;
    let body = serde_json::json!({"name": workgroup.name});
    tx.audit(
        &Event::by_service("workgroup.added", workgroup.id, body),
        now,
    )
    .await?;
    let administrator = NewUser {
        name: ADMINISTRATOR.to_owned(),
        display_name: "Administrator".to_owned(),
        email: String::new(),
        administrator: true,
        granted: BTreeSet::new(),
    };
    let user_id = tx.insert_user(&administrator, now).await?;
    let body = serde_json::json!({"name": ADMINISTRATOR, "administrator": true});
    tx.audit(&Event::by_service("user.created", user_id, body), now)
        .await?;
    for (kind, key) in [
        (KeyKind::Native, &keys.native),
        (KeyKind::PasswordSafe, &keys.password_safe),
        (KeyKind::OAuth, &keys.client_secret),
        (KeyKind::ItGlue, &keys.itglue),
    ] {
        let prefix = match kind {
            KeyKind::OAuth => keys.client_id.clone(),
            KeyKind::Native | KeyKind::PasswordSafe | KeyKind::ItGlue => KeyHash::prefix(key),
        };
        let new = NewKey {
            kind,
            user_id,
            name: "first run".to_owned(),
            hash: KeyHash::of(key),
            prefix,
            addresses: Addresses::default(),
            expires_at: None,
            password_required: false,
            reach: match kind {
                KeyKind::ItGlue => Reach::whole(),
                KeyKind::Native | KeyKind::PasswordSafe | KeyKind::OAuth => Reach::default(),
            },
        };
        let id = tx.insert_key(&new, now).await?;
        let body = serde_json::json!({"kind": kind.as_str(), "user": user_id.0});
        tx.audit(&Event::by_service("key.created", id, body), now)
            .await?;
    }
    tx.commit().await?;
    Ok(())
}

/// The credentials file. Keys are letters, digits, `_` and `-`, so nothing needs to be escaped.
#[expect(
    clippy::disallowed_methods,
    reason = "the keys are handed to the first administrator once, in a file with mode 0600"
)]
fn text(url: &str, keys: &Keys) -> Zeroizing<String> {
    let (native, password_safe, client_secret, itglue) = (
        keys.native.expose_secret(),
        keys.password_safe.expose_secret(),
        keys.client_secret.expose_secret(),
        keys.itglue.expose_secret(),
    );
    // Room for all of it: a string that grows leaves its old bytes behind.
    let mut text = Zeroizing::new(String::with_capacity(1_024 + url.len()));
    for part in [
        "# The first administrator of Keywheel. Move these keys to where you keep secrets, then\n\
         # delete this file: Keywheel does not need it, and keeps only hashes of the keys.\n\
         url = \"",
        url,
        "\"\nuser = \"",
        ADMINISTRATOR,
        "\"\n# For /api/v1: Authorization: Bearer …\napi_key = \"",
        native,
        "\"\n# For /BeyondTrust/api/public/v3: Authorization: PS-Auth key=…; runas=admin;\n\
         passwordsafe_key = \"",
        password_safe,
        "\"\n# For the same by OAuth client credentials: POST Auth/connect/token.\n\
         oauth_client_id = \"",
        &keys.client_id,
        "\"\noauth_client_secret = \"",
        client_secret,
        "\"\n# For /itglue: x-api-key: …, with password access.\nitglue_key = \"",
        itglue,
        "\"\n",
    ] {
        text.push_str(part);
    }
    text
}

/// Files of keys that are still in the data folder: this store's, and those set aside.
pub(super) fn left_behind(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(CREDENTIALS_FILE))
        })
        .collect();
    found.sort();
    found
}
