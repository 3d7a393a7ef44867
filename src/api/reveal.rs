//! Values in the clear, for somebody who may see them.
//!
//! Invariant: a reveal is on record, noted as the reader's last access and handed to the workflows
//! before its answer is made; if that fails, there is no answer.

use std::collections::BTreeSet;

use secrecy::SecretString;
use serde_json::{Value, json};

use super::Api;
use super::caller::Caller;
use super::error::ApiError;
use super::peer::Peer;
use crate::model::audit::Event;
use crate::model::credential::{Kept, Part, candidates};
use crate::model::id::AccountId;
use crate::model::password_record::PasswordRecord;
use crate::model::reveal::{AccessMethod, Reader, Reveal, Subject};
use crate::store::{AccountRow, SealedSecret, Tx, VersionRow};
use crate::vault::Place;

/// Versions of a part that are looked at, the newest first.
pub(super) const KEPT_MAX: i64 = 100;

/// Which secret of an account is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Secret {
    /// The current password.
    #[default]
    Password,
    /// The current private key, as it was given or drawn; perhaps under its passphrase.
    Key,
    /// The current private key's passphrase.
    Passphrase,
}

impl Secret {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Key => "key",
            Self::Passphrase => "passphrase",
        }
    }

    const fn part(self) -> Part {
        match self {
            Self::Password => Part::Password,
            Self::Key | Self::Passphrase => Part::Key,
        }
    }
}

/// A credential in the clear.
pub(super) struct Revealed {
    /// Which version this is.
    pub(super) version: i64,
    /// True if it may have been replaced on the target.
    pub(super) in_doubt: bool,
    /// The secret.
    pub(super) value: SecretString,
    /// What the target may hold instead of the current one, the likeliest first.
    pub(super) candidates: Vec<Candidate>,
}

/// A kept version that the target may hold, in the clear.
pub(super) struct Candidate {
    /// Which version this is.
    pub(super) version: i64,
    /// The secret.
    pub(super) value: SecretString,
}

/// Which credential is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Whose.
    pub(super) account: AccountId,
    /// Which secret of it.
    pub(super) secret: Secret,
    /// Which version; `None`: the current one.
    pub(super) version: Option<i64>,
    /// True: in doubt, what the target may hold instead comes with it.
    pub(super) candidates: bool,
}

impl Wanted {
    /// The current one, and nothing with it.
    pub(super) fn current(account: AccountId, secret: Secret) -> Self {
        Self {
            account,
            secret,
            version: None,
            candidates: false,
        }
    }
}

/// Who sees a value, and by which way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seeing<'a> {
    /// Who.
    pub(super) caller: &'a Caller,
    /// From where.
    pub(super) from: Peer,
    /// By which way.
    pub(super) method: AccessMethod,
}

impl Seeing<'_> {
    /// The name under which it stands in the audit trail.
    pub(super) fn actor(&self) -> &str {
        self.caller.actor()
    }

    fn reader(&self) -> Reader {
        let user = &self.caller.user;
        Reader {
            user_id: user.id,
            name: user.name.clone(),
            email: user.email.clone(),
            address: self.from.0.map(|from| from.to_string()).unwrap_or_default(),
        }
    }
}

/// Records a reveal, with what is to be said of it: the caller's transaction must commit before
/// anything is shown.
///
/// # Errors
/// [`ApiError`]; then nothing may be shown.
pub(super) async fn on_record(
    api: &Api,
    tx: &mut Tx,
    seeing: Seeing<'_>,
    (version, seen, export): (Option<i64>, Vec<Subject>, bool),
    events: &[&Event],
) -> Result<(), ApiError> {
    let now = api.clock.now();
    let reveal = Reveal {
        method: seeing.method,
        at: now,
        by: seeing.reader(),
        version,
        seen,
        export,
    };
    // The report of passwords at risk holds no value: nobody has one before them by it.
    let values = reveal.method != AccessMethod::AtRiskExport;
    let accessed: BTreeSet<_> = reveal
        .seen
        .iter()
        .filter(|_| values)
        .filter_map(Subject::accessed_as)
        .collect();
    let how = (reveal.method.as_str(), now);
    tx.note_accesses(reveal.by.user_id, &accessed, how).await?;
    tx.audit_all(events, now).await?;
    api.workflows.fire(tx, &reveal).await?;
    Ok(())
}

/// What is known of an account: once for each record that documents it.
///
/// # Errors
/// [`ApiError`] of the database.
pub(super) async fn subjects(api: &Api, account: AccountId) -> Result<Vec<Subject>, ApiError> {
    let records = api.store.password_records_of(account).await?;
    if !records.is_empty() {
        return Ok(records.iter().map(PasswordRecord::subject).collect());
    }
    let Some(found) = api.store.account(account).await? else {
        return Ok(Vec::new());
    };
    let system = api.store.system(found.system_id).await?;
    let system = system
        .map(|system| system.settings.name)
        .unwrap_or_default();
    Ok(vec![Subject::of_account(
        account,
        &system,
        &found.settings.name,
    )])
}

/// Opens a credential, and records who saw it and why.
///
/// # Errors
/// [`ApiError::NotFound`] if there is no such account, or it has no such secret.
pub(super) async fn reveal(
    api: &Api,
    seeing: Seeing<'_>,
    wanted: Wanted,
    mut why: Value,
) -> Result<Revealed, ApiError> {
    const MISSING: ApiError = ApiError::NotFound {
        what: "Managed Account",
    };
    const EMPTY: ApiError = ApiError::NotFound { what: "Credential" };
    let Wanted {
        account, secret, ..
    } = wanted;
    let row = api.store.account_row(account).await?.ok_or(MISSING)?;
    let version = wanted.version.or(row.current(secret.part())).ok_or(EMPTY)?;
    let value = opened(api, account, version, secret).await?.ok_or(EMPTY)?;
    let mut others = Vec::new();
    if wanted.candidates && row.in_doubt(secret.part()) {
        for other in likely(api, &row, secret.part()).await? {
            let found = opened(api, account, other, secret).await?;
            others.extend(found.filter(|_| other != version).map(|value| Candidate {
                version: other,
                value,
            }));
        }
    }
    if let Some(details) = why.as_object_mut() {
        details.insert("kind".to_owned(), json!(secret.as_str()));
        details.insert("version".to_owned(), json!(version));
        if !others.is_empty() {
            let versions: Vec<i64> = others.iter().map(|other| other.version).collect();
            details.insert("candidates".to_owned(), json!(versions));
        }
        details.insert("method".to_owned(), json!(seeing.method.as_str()));
    }
    let seen = (None, subjects(api, account).await?, false);
    let event = Event::by(seeing.actor(), "credential.revealed", account, why);
    let mut tx = api.store.begin().await?;
    on_record(api, &mut tx, seeing, seen, &[&event]).await?;
    tx.commit().await?;
    Ok(Revealed {
        version,
        in_doubt: row.in_doubt(secret.part()),
        value,
        candidates: others,
    })
}

/// Versions that the target may hold instead of the current one, the likeliest first.
async fn likely(api: &Api, row: &AccountRow, part: Part) -> Result<Vec<i64>, ApiError> {
    let kept = api.store.versions_of_part(row.id(), part, KEPT_MAX).await?;
    let kept: Vec<Kept> = kept.iter().map(VersionRow::kept).collect();
    Ok(candidates(&kept, row.current(part)))
}

/// Opens one version of an account's credential. Whoever calls puts it on record, or compares it
/// and shows nothing.
///
/// # Errors
/// [`ApiError`] of the database or the vault.
pub(super) async fn opened(
    api: &Api,
    account: AccountId,
    version: i64,
    secret: Secret,
) -> Result<Option<SecretString>, ApiError> {
    let kept = api.store.sealed_version(account, version).await?;
    let (place, sealed) = match (secret, kept) {
        (Secret::Password, Some(SealedSecret::Password(sealed)))
        | (
            Secret::Key,
            Some(SealedSecret::Key {
                private: sealed, ..
            }),
        ) => (Place::credential(account, version), sealed),
        (
            Secret::Passphrase,
            Some(SealedSecret::Key {
                passphrase: Some(sealed),
                ..
            }),
        ) => (Place::passphrase(account, version), sealed),
        _ => return Ok(None),
    };
    Ok(Some(api.vault.open(&place, &sealed)?))
}
