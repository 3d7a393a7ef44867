//! Edits and deletes records, and rotates their values.
//!
//! Invariant: a value that is sent back as it was read changes nothing, and a linked record's value
//! is changed on its target before anything of the edit is stored.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;

use super::show::{Gives, opens, sets};
use super::value::{is_current, is_echo, set, set_otp};
use super::{Asker, RecordError, referred, visible, writer};
use crate::api::error::ApiError;
use crate::api::{Api, detached};
use crate::model::Timestamp;
use crate::model::id::{AccountId, JobId, OrganizationId, PasswordRecordId};
use crate::model::job::{JobState, JobView};
use crate::model::password_record::{Accessed, PasswordFields, PasswordRecord, Readers};
use crate::queue::{ChangeOrder, Orders};
use crate::store::{StoreError, Tx};

/// How long a rotation is waited for: clients give up after ten seconds.
const WAIT: Duration = Duration::from_secs(8);

/// What becomes of a record's secret of one-time codes.
#[derive(Debug)]
pub(crate) enum Otp {
    /// Nothing was sent of it.
    Stays,
    /// It goes.
    Removed,
    /// It becomes this one.
    Set(SecretString),
}

impl Otp {
    const fn changes(&self) -> bool {
        !matches!(self, Self::Stays)
    }

    const fn secret(&self) -> Option<&SecretString> {
        match self {
            Self::Set(secret) => Some(secret),
            Self::Stays | Self::Removed => None,
        }
    }
}

/// An edit of one record.
#[derive(Debug)]
pub(crate) struct Change {
    /// The record, as the edit was based on it.
    pub(crate) record: PasswordRecord,
    /// Whose it becomes.
    pub(crate) organization_id: OrganizationId,
    /// What it becomes.
    pub(crate) fields: PasswordFields,
    /// A value, if one was sent.
    pub(crate) value: Option<SecretString>,
    /// The value is drawn by the rule, and nobody has seen it.
    pub(crate) drawn: bool,
    /// What becomes of the secret of one-time codes.
    pub(crate) otp: Otp,
    /// When the value changed, as the sender says: it tells an echo from a change.
    pub(crate) said_changed_at: Option<Timestamp>,
    /// Why the value changes.
    pub(crate) reason: Option<String>,
    /// Who sees the record from now on, filled in when the edit is checked: whoever restricts it,
    /// beside those who are named already.
    pub(crate) named: Option<Readers>,
}

impl Change {
    /// An edit of nothing yet.
    pub(crate) fn of(record: PasswordRecord) -> Self {
        Self {
            organization_id: record.organization_id,
            fields: record.fields.clone(),
            record,
            value: None,
            drawn: false,
            otp: Otp::Stays,
            said_changed_at: None,
            reason: None,
            named: None,
        }
    }

    fn edits(&self) -> bool {
        self.fields != self.record.fields
            || self.organization_id != self.record.organization_id
            || self.otp.changes()
    }
}

/// Edits one record.
///
/// # Errors
/// [`RecordError`]; then nothing was changed, but for [`RecordError::RotationPending`].
pub(crate) async fn change(
    api: &Api,
    asker: Asker<'_>,
    change: Change,
) -> Result<PasswordRecord, RecordError> {
    let id = change.record.id;
    let mut outcomes = change_all(api, asker, vec![change])
        .await
        .map_err(|(_, error)| error)?;
    if let Some((_, error)) = outcomes.pop() {
        return Err(error);
    }
    Ok(visible(api, asker, id).await?)
}

/// Edits records. Those that are no account's change in one transaction; those that are rotate each
/// by itself.
///
/// # Errors
/// Which change, and [`RecordError`], if one of them is at fault: then none is made. Otherwise the
/// rotations that failed or are pending.
pub(crate) async fn change_all(
    api: &Api,
    asker: Asker<'_>,
    mut changes: Vec<Change>,
) -> Result<Vec<(usize, RecordError)>, (usize, RecordError)> {
    for (nth, change) in changes.iter_mut().enumerate() {
        prepare(api, asker, change)
            .await
            .map_err(|error| (nth, error))?;
    }
    let whole = |error: StoreError| (0, RecordError::from(error));
    let mut tx = api.store.begin().await.map_err(whole)?;
    for (nth, change) in changes.iter().enumerate() {
        if change.rotates().is_none() {
            let written = write(api, asker, &mut tx, change).await;
            written.map_err(|error| (nth, error))?;
        }
    }
    tx.commit().await.map_err(whole)?;
    let until = api.clock.monotonic() + WAIT;
    let mut failed = Vec::new();
    for (nth, change) in changes.into_iter().enumerate() {
        if change.rotates().is_some() {
            let left = until.saturating_sub(api.clock.monotonic());
            let rotated = rotate(api, asker, change, left).await;
            failed.extend(rotated.err().map(|error| (nth, error)));
        }
    }
    Ok(failed)
}

/// Checks an edit, and drops a value that would change nothing.
async fn prepare(api: &Api, asker: Asker<'_>, change: &mut Change) -> Result<(), RecordError> {
    let record = &change.record;
    writer(asker, record.organization_id)?;
    writer(asker, change.organization_id)?;
    if let Some(account) = &record.account {
        let sent = change.fields.username.as_deref();
        if sent.is_some_and(|sent| sent != account.login) {
            return Err(RecordError::Linked("username"));
        }
        change.fields.username = None;
    }
    referred(api, asker, change.organization_id, &change.fields).await?;
    if change.fields.restricted && !record.fields.restricted {
        let mut named = api.store.readers_of_record(record.id).await?;
        named.users.insert(asker.caller.user.id);
        change.named = Some(named);
    }
    if change.otp.changes() {
        sets(asker, Gives::Own)?;
    }
    let Some(sent) = &change.value else {
        return Ok(());
    };
    let what = match (&record.account, change.drawn) {
        (None, _) => Gives::Own,
        (Some(_), true) => Gives::Drawn,
        (Some(_), false) => Gives::Account,
    };
    let may_set = sets(asker, what);
    // Whoever neither sets nor sees the value learns not whether they have guessed it.
    if may_set.is_err() && !matches!(opens(api, asker, record).await, Ok(true)) {
        return may_set;
    }
    let same = is_current(api, record, sent).await?
        || is_echo(api, record, sent, change.said_changed_at).await?;
    if same {
        change.value = None;
    } else {
        may_set?;
    }
    if change.value.is_some()
        && let Some(reason) = &change.reason
    {
        let notes = change.fields.notes.take().unwrap_or_default();
        let date = api.clock.now().rfc3339();
        let date = date.get(..10).unwrap_or_default();
        let reason = escaped(reason);
        change.fields.notes = Some(format!(
            "{notes}<p><strong>Rotated:</strong> {date}</p><p><strong>Reason:</strong> {reason}</p>"
        ));
        let faults = change.fields.faults();
        if !faults.is_empty() {
            return Err(RecordError::Fields(faults));
        }
    }
    Ok(())
}

/// A text as HTML shows it.
pub(crate) fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}

impl Change {
    /// The account whose credential the value changes.
    fn rotates(&self) -> Option<AccountId> {
        let account = self.record.account.as_ref()?;
        (self.value.is_some() && !account.deleted).then_some(account.id)
    }
}

/// Writes an edit, in the caller's transaction.
async fn write(
    api: &Api,
    asker: Asker<'_>,
    tx: &mut Tx,
    change: &Change,
) -> Result<(), RecordError> {
    let own = change
        .value
        .as_ref()
        .filter(|_| change.record.account.is_none());
    if !change.edits() && own.is_none() {
        return Ok(());
    }
    let now = api.clock.now();
    let by = asker.caller.user.id;
    let record = &change.record;
    let to = (change.organization_id, &change.fields);
    tx.update_password_record((record.id, record.revision), to, (Some(by), now))
        .await?;
    if let Some(named) = &change.named {
        tx.set_readers_of_record(record.id, named).await?;
    }
    if let Some(value) = own {
        set(api, tx, record.id, value, (by, now)).await?;
        if !change.drawn {
            tx.note_access(by, Accessed::Record(record.id), ("updated", now))
                .await?;
        }
    }
    if change.otp.changes() {
        set_otp(api, tx, record.id, change.otp.secret()).await?;
    }
    audit(api, asker, tx, change).await
}

async fn audit(
    api: &Api,
    asker: Asker<'_>,
    tx: &mut Tx,
    change: &Change,
) -> Result<(), RecordError> {
    let rotated = change.reason.is_some() && change.value.is_some();
    let name = if rotated {
        "password.rotated"
    } else {
        "password.updated"
    };
    let body = json!({
        "name": change.fields.name,
        "organization": change.organization_id.0,
        "fields": change.fields.differing(&change.record.fields),
        "value": change.value.is_some(),
        "otp": change.otp.changes(),
        "reason": change.reason.as_deref().filter(|_| rotated),
        "account": change.record.account.as_ref().map(|account| account.id.0),
    });
    let event = asker.event(name, change.record.id, body);
    Ok(tx.audit(&event, api.clock.now()).await?)
}

/// Changes a linked record's value on its target, then stores the rest of the edit. Whoever hangs up
/// stops neither, and what goes on for longer is stored when it ends.
async fn rotate(
    api: &Api,
    asker: Asker<'_>,
    change: Change,
    left: Duration,
) -> Result<(), RecordError> {
    let Some(account) = change.rotates() else {
        return Ok(());
    };
    let mut order = ChangeOrder::random(account, true);
    if !change.drawn {
        order.password.clone_from(&change.value);
    }
    let job = api.orders.change(order, asker.caller.actor()).await?;
    let task = {
        let (api, caller) = (api.clone(), asker.caller.clone());
        let from = asker.from;
        async move {
            let ended = settled(&api.orders, job).await?;
            if ended.state != JobState::Succeeded {
                return Err(RecordError::RotationFailed {
                    log: log_of(&ended),
                });
            }
            let asker = Asker::anywhere(&caller, from);
            finish(&api, asker, change).await
        }
    };
    tokio::select! {
        // In this order: with no time left, the work must have begun all the same.
        biased;
        done = detached(task) => done?,
        () = api.clock.sleep(left) => Err(RecordError::RotationPending(job)),
    }
}

/// Stores what an edit says beside the value, once the target has that.
async fn finish(api: &Api, asker: Asker<'_>, mut change: Change) -> Result<(), RecordError> {
    let now = api.clock.now();
    let by = asker.caller.user.id;
    // Others may have edited the record meanwhile: what this edit does not name is theirs.
    let Some(found) = api.store.password_record(change.record.id).await? else {
        return Ok(());
    };
    let theirs = found.organization_id;
    change.fields = change.fields.onto(&change.record.fields, &found.fields);
    if change.organization_id == change.record.organization_id {
        change.organization_id = theirs;
    }
    change.record = found;
    let id = change.record.id;
    let mut tx = api.store.begin().await?;
    if change.edits() {
        let to = (change.organization_id, &change.fields);
        tx.update_password_record((id, change.record.revision), to, (Some(by), now))
            .await?;
    }
    if let Some(named) = &change.named {
        tx.set_readers_of_record(id, named).await?;
    }
    if change.otp.changes() {
        set_otp(api, &mut tx, id, change.otp.secret()).await?;
    }
    if !change.drawn {
        let accessed = change.record.accessed_as();
        tx.note_access(by, accessed, ("updated", now)).await?;
    }
    audit(api, asker, &mut tx, &change).await?;
    Ok(tx.commit().await?)
}

/// Waits until a change has ended, or an attempt of it has failed.
async fn settled(orders: &Orders, job: JobId) -> Result<JobView, RecordError> {
    const LONGEST: Duration = Duration::from_mins(10);
    let view = orders.wait_job(job, LONGEST).await?;
    view.ok_or(ApiError::Internal("an ordered job has vanished").into())
}

/// The attempts' reasons, without secrets.
fn log_of(view: &JobView) -> String {
    let lines: Vec<&str> = view.attempts.iter().map(|one| one.log.as_str()).collect();
    lines.join("; ")
}

/// Deletes records, in one transaction; managed accounts that they document stay.
///
/// # Errors
/// Which record, and [`RecordError`]; then none is deleted.
pub(crate) async fn delete_all(
    api: &Api,
    asker: Asker<'_>,
    ids: &[PasswordRecordId],
) -> Result<Vec<PasswordRecord>, (usize, RecordError)> {
    let mut gone = Vec::with_capacity(ids.len());
    for (nth, id) in ids.iter().enumerate() {
        let found = visible(api, asker, *id).await;
        let found = found.map_err(|error| (nth, error.into()))?;
        writer(asker, found.organization_id).map_err(|error| (nth, error.into()))?;
        gone.push(found);
    }
    let whole = |error: StoreError| (0, RecordError::from(error));
    let now = api.clock.now();
    let mut tx = api.store.begin().await.map_err(whole)?;
    for (nth, record) in gone.iter().enumerate() {
        let body = json!({
            "name": record.fields.name,
            "organization": record.organization_id.0,
        });
        let event = asker.event("password.deleted", record.id, body);
        let deleted = tx.delete_password_record(record.id).await;
        deleted.map_err(|error| (nth, error.into()))?;
        tx.audit(&event, now).await.map_err(whole)?;
    }
    tx.commit().await.map_err(whole)?;
    Ok(gone)
}
