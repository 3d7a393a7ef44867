//! Brings records in, row by row.
//!
//! Invariant: an import rotates nothing and reveals nothing: a row that is an account's brings no
//! value. A dry run gives the same verdicts and writes nothing.

mod row;

use std::collections::HashMap;

use super::create::{Draft, create_all};
use super::folder::ensured;
use super::{Asker, RecordError, may_enter};
use crate::api::Api;
use crate::api::error::ApiError;
use crate::model::fault::Fault;
use crate::model::id::{AccountId, OrganizationId, PasswordCategoryId, PasswordRecordId};
use crate::model::password_record::{Embedded, PasswordFields, ResourceKind};
use crate::model::principal::Permission;
use crate::store::{Page, PasswordFilter, StoreError};

pub(crate) use row::{ImportRow, column};

/// Rows that are written in one transaction.
const CHUNK_ROWS: usize = 100;
/// Records of one name that a row is compared with.
const NAMESAKES_MAX: i64 = 1_000;

/// What came of a row, or would.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// A new record; `None` in a dry run.
    Created(Option<PasswordRecordId>),
    /// A record of its name and login name is there, of the same thing; nothing was changed.
    Exists(PasswordRecordId),
    /// An earlier row names the same record.
    Duplicate(u64),
    /// Correct the row.
    Invalid(Vec<Fault>),
    /// There is no such organization.
    UnknownOrganization,
    /// Import the row again.
    Failed(&'static str),
}

/// What makes two rows the same: organization, name, login name, and what it is embedded in.
type Identity = (OrganizationId, String, String, Option<(&'static str, i64)>);

/// A row that can be written.
struct Fit {
    /// Its place among the verdicts.
    nth: usize,
    draft: Draft,
    folder_path: Option<String>,
}

struct Import<'a> {
    api: &'a Api,
    asker: Asker<'a>,
    /// Where all rows go, whatever they say.
    into: Option<OrganizationId>,
    organizations: HashMap<String, Option<OrganizationId>>,
    categories: HashMap<String, PasswordCategoryId>,
    seen: HashMap<Identity, u64>,
}

/// Imports rows; one verdict for each, in their order. `into`: where all of them go; `None`: each
/// says it.
///
/// # Errors
/// [`ApiError::Store`] if the categories could not be read; nothing was written.
pub(crate) async fn import(
    api: &Api,
    asker: Asker<'_>,
    (into, dry_run): (Option<OrganizationId>, bool),
    rows: Vec<ImportRow>,
) -> Result<Vec<(u64, Verdict)>, ApiError> {
    let categories = api.store.password_categories().await?;
    let mut import = Import {
        api,
        asker,
        into,
        organizations: HashMap::new(),
        categories: categories
            .into_iter()
            .map(|one| (one.name.to_lowercase(), one.id))
            .collect(),
        seen: HashMap::new(),
    };
    let mut verdicts = Vec::with_capacity(rows.len());
    let mut fits = Vec::new();
    for row in rows {
        let number = row.number;
        let (nth, judged) = (verdicts.len(), import.judge(row).await);
        verdicts.push(match judged {
            Ok(Ok((draft, folder_path))) => {
                if !dry_run {
                    fits.push(Fit {
                        nth,
                        draft,
                        folder_path,
                    });
                }
                (number, Verdict::Created(None))
            }
            Ok(Err(verdict)) => (number, verdict),
            Err(error) => (number, failed(number, &error)),
        });
        if fits.len() == CHUNK_ROWS {
            import.write(std::mem::take(&mut fits), &mut verdicts).await;
        }
    }
    import.write(fits, &mut verdicts).await;
    Ok(verdicts)
}

fn failed(row: u64, error: &ApiError) -> Verdict {
    tracing::error!(row, %error, "a row could not be imported");
    Verdict::Failed("the database did not take the row; import it again")
}

impl Import<'_> {
    /// Judges a row by what is stored; writes nothing.
    async fn judge(
        &mut self,
        mut row: ImportRow,
    ) -> Result<Result<(Draft, Option<String>), Verdict>, ApiError> {
        let mut faults = row.faults();
        let (fields, account) = self.fields(&row, &mut faults);
        let said_changed_at = row.moment(&mut faults);
        if account.is_some() {
            self.account(account, &row, &mut faults).await?;
        }
        let organization = match self.into {
            Some(into) => Some(into),
            None => self.organization(&row, &mut faults).await?,
        };
        if !faults.is_empty() {
            return Ok(Err(Verdict::Invalid(faults)));
        }
        let Some(organization_id) = organization else {
            return Ok(Err(Verdict::UnknownOrganization));
        };
        let folder_path = row.text("password_folder");
        if let Some(fault) = self.folder(organization_id, folder_path.as_deref()).await? {
            return Ok(Err(Verdict::Invalid(vec![fault])));
        }
        let identity = (
            organization_id,
            fields.name.to_lowercase(),
            fields.username.as_deref().unwrap_or("").to_lowercase(),
            resource(fields.embedded.as_ref(), account),
        );
        if let Some(first) = self.seen.get(&identity) {
            return Ok(Err(Verdict::Duplicate(*first)));
        }
        let known = self.known(&identity, &fields.name).await?;
        self.seen.insert(identity, row.number);
        if let Some(known) = known {
            return Ok(Err(Verdict::Exists(known)));
        }
        let (value, otp) = row.secrets();
        let draft = Draft {
            organization_id,
            fields,
            value,
            otp,
            account_id: account,
            said_changed_at,
            action: "imported",
        };
        Ok(Ok((draft, folder_path)))
    }

    fn fields(
        &self,
        row: &ImportRow,
        faults: &mut Vec<Fault>,
    ) -> (PasswordFields, Option<AccountId>) {
        let mut fields = PasswordFields::named(row.text("name").unwrap_or_default());
        fields.username = row.text("username");
        fields.url = row.text("url");
        fields.notes = row.text("notes");
        fields.autofill_selectors = row.text("autofill_selectors");
        fields.archived = row.flag("archived", faults);
        fields.restricted = row.flag("restricted", faults);
        fields.shareable = row.flag("shareable", faults);
        if let Some(name) = row.text("password_category") {
            fields.category_id = self.categories.get(&name.to_lowercase()).copied();
            if fields.category_id.is_none() {
                let text = "is no category that exists: make it first";
                faults.push(Fault::new("password_category", text));
            }
        }
        let mut account = None;
        let id = row.number("resource_id", faults);
        match (row.text("resource_type"), id) {
            (None, None) => {}
            (Some(word), Some(id))
                if ResourceKind::is_spelled(ResourceKind::MANAGED_ACCOUNT, &word) =>
            {
                account = Some(AccountId(id));
            }
            (Some(word), Some(id)) => match ResourceKind::parse(&word) {
                Some(kind) => {
                    let name = row.text("resource_name");
                    fields.embedded = Some(Embedded { kind, id, name });
                }
                None => faults.push(Fault::new("resource_type", "is no type that is known here")),
            },
            (Some(_), None) => faults.push(Fault::new("resource_id", "is required with a type")),
            (None, Some(_)) => faults.push(Fault::new("resource_type", "is required with an id")),
        }
        faults.extend(fields.faults());
        (fields, account)
    }

    /// What a row that is an account's must be.
    async fn account(
        &self,
        account: Option<AccountId>,
        row: &ImportRow,
        faults: &mut Vec<Fault>,
    ) -> Result<(), ApiError> {
        let Some(id) = account else { return Ok(()) };
        if row.has_value() {
            let text = "is the managed account's: leave it out; an import rotates nothing";
            faults.push(Fault::new("password", text));
        }
        let found = if self.asker.caller.user.may(Permission::AccountsRead) {
            self.api.store.account(id).await?
        } else {
            None
        };
        if found.is_none_or(|found| found.deleted_at.is_some()) {
            let text = "is no managed account that exists";
            faults.push(Fault::new("resource_id", text));
        }
        Ok(())
    }

    /// Where a row goes; `None`: there is no such organization, or it is out of reach.
    async fn organization(
        &mut self,
        row: &ImportRow,
        faults: &mut Vec<Fault>,
    ) -> Result<Option<OrganizationId>, ApiError> {
        let store = &self.api.store;
        let (word, id) = match (row.text("organization"), row.text("organization_id")) {
            (Some(name), _) => (name.to_lowercase(), None),
            (None, Some(_)) => {
                let id = row.number("organization_id", faults);
                let Some(id) = id else { return Ok(None) };
                (id.to_string(), Some(OrganizationId(id)))
            }
            (None, None) => {
                faults.push(Fault::new("organization", "is required"));
                return Ok(None);
            }
        };
        // A name may be a number.
        let key = format!("{}{word}", if id.is_some() { "#" } else { "" });
        if let Some(found) = self.organizations.get(&key) {
            return Ok(*found);
        }
        let found = match id {
            Some(id) => store.organization(id).await?,
            None => store.organization_named(&word).await?,
        };
        let found = found.map(|found| found.id);
        let found = found.filter(|found| self.asker.reaches(*found));
        self.organizations.insert(key, found);
        Ok(found)
    }

    /// What is wrong with a folder's path; what is missing of it is made when the row is.
    async fn folder(
        &self,
        organization: OrganizationId,
        path: Option<&str>,
    ) -> Result<Option<Fault>, ApiError> {
        let Some(path) = path else { return Ok(None) };
        match may_enter(self.api, self.asker, organization, path).await {
            Ok(()) => Ok(None),
            Err(RecordError::Fields(mut faults)) => Ok(faults.pop().map(|fault| Fault {
                field: "password_folder",
                ..fault
            })),
            Err(RecordError::Api(ApiError::Forbidden)) => {
                Ok(Some(Fault::new("password_folder", "is not open to you")))
            }
            Err(other) => Err(other.into()),
        }
    }

    /// The record that a row would make once more.
    async fn known(
        &self,
        identity: &Identity,
        name: &str,
    ) -> Result<Option<PasswordRecordId>, ApiError> {
        let (organization, _, username, resource_of_row) = identity;
        let filter = PasswordFilter {
            organizations: vec![*organization],
            names: vec![name.to_owned()],
            ..self.asker.filter()
        };
        let page = Page::first(NAMESAKES_MAX);
        let (found, _) = self.api.store.password_records(&filter, &[], page).await?;
        let same = found.iter().find(|record| {
            let account = record.account.as_ref().map(|account| account.id);
            let theirs = resource(record.fields.embedded.as_ref(), account);
            // The login name of a linked record is its account's.
            let login = record.username().unwrap_or("").to_lowercase();
            theirs == *resource_of_row && (account.is_some() || login == *username)
        });
        Ok(same.map(|record| record.id))
    }

    /// Writes rows together. One that is refused after all is left out, and the others written.
    async fn write(&self, fits: Vec<Fit>, verdicts: &mut [(u64, Verdict)]) {
        let mut say = |nth: usize, verdict: Verdict| {
            if let Some((_, said)) = verdicts.get_mut(nth) {
                *said = verdict;
            }
        };
        let (mut places, mut drafts) = (Vec::new(), Vec::new());
        for mut fit in fits {
            let organization = fit.draft.organization_id;
            if let Some(path) = &fit.folder_path {
                match ensured(self.api, self.asker, organization, path).await {
                    Ok(folder) => fit.draft.fields.folder_id = folder,
                    Err(error) => {
                        say(fit.nth, refused(error));
                        continue;
                    }
                }
            }
            places.push(fit.nth);
            drafts.push(fit.draft);
        }
        while !drafts.is_empty() {
            match create_all(self.api, self.asker, &drafts).await {
                Ok(made) => {
                    for (nth, record) in places.iter().zip(made) {
                        say(*nth, Verdict::Created(Some(record.id)));
                    }
                    return;
                }
                Err((at, error)) if is_of_row(&error) && at < drafts.len() => {
                    drop(drafts.remove(at));
                    say(places.remove(at), refused(error));
                }
                Err((_, error)) => {
                    tracing::error!(%error, "rows could not be imported");
                    for nth in places {
                        let text = "the database did not take the rows; import them again";
                        say(nth, Verdict::Failed(text));
                    }
                    return;
                }
            }
        }
    }
}

/// What a record is of.
fn resource(
    embedded: Option<&Embedded>,
    account: Option<AccountId>,
) -> Option<(&'static str, i64)> {
    match (account, embedded) {
        (Some(account), _) => Some((ResourceKind::MANAGED_ACCOUNT, account.0)),
        (None, Some(embedded)) => Some((embedded.kind.as_str(), embedded.id)),
        (None, None) => None,
    }
}

/// True if one row is at fault, and the others are not.
fn is_of_row(error: &RecordError) -> bool {
    !matches!(
        error,
        RecordError::Api(
            ApiError::Internal(_)
                | ApiError::Vault(_)
                | ApiError::Store(
                    StoreError::Busy
                        | StoreError::Full(_)
                        | StoreError::Escrow(_)
                        | StoreError::CommitUnknown(_)
                        | StoreError::LeaseLost
                        | StoreError::Corrupt { .. }
                        | StoreError::Schema(_)
                        | StoreError::Database(_)
                )
        )
    )
}

fn refused(error: RecordError) -> Verdict {
    if !is_of_row(&error) {
        return failed(0, &error.into());
    }
    match ApiError::from(error) {
        ApiError::Invalid(faults) => {
            let fault = faults.into_iter().map(|fault| Fault::new("", fault.text));
            Verdict::Invalid(fault.collect())
        }
        other => Verdict::Invalid(vec![Fault::new("", other.to_string())]),
    }
}
