//! Opens the escrow journal, and brings it up to the database.
//!
//! Invariant: once the service works, every value that the database keeps is in the journal.

use std::sync::Arc;

use super::error::AppError;
use super::{Base, database};
use crate::clock::SharedClock;
use crate::config::Settings;
use crate::escrow::{Held, Journal, Owner, Print};
use crate::store::{KEPT_KINDS, KeptValue};
use crate::vault::Place;

/// Values that are read at once.
const PAGE: i64 = 500;

/// Opens the journal, if one is set: from now on nothing is committed without it. Answers whether
/// it was this database's before.
pub(super) async fn keep(
    settings: &Settings,
    base: &mut Base,
    (store, clock): (&str, &SharedClock),
) -> Result<Option<Kept>, AppError> {
    let escrow = &settings.escrow;
    if escrow.recipient.is_empty() {
        return Ok(None);
    }
    let clock = clock.clone();
    let now = Box::new(move || clock.now());
    let (journal, held) = Journal::open(&escrow.journal, &escrow.recipient, now)?;
    let is_old = held.store.is_some();
    if let Some(found) = held.store.as_deref().filter(|found| *found != store) {
        return Err(AppError::OtherStore {
            path: escrow.journal.clone(),
            found: found.to_owned(),
            here: store.to_owned(),
        });
    }
    if !is_old {
        journal.begin(store);
    }
    let journal = Arc::new(journal);
    base.vault.keep_in(journal.clone());
    base.store = base.store.clone().escrowing(journal.clone());
    let added = catch_up(settings, base, &journal, &held).await?;
    journal.flush().await?;
    tracing::info!(path = %escrow.journal.display(), added, "the escrow journal is kept");
    Ok(Some(Kept { journal, is_old }))
}

/// A journal that is kept.
pub(super) struct Kept {
    pub(super) journal: Arc<Journal>,
    /// True: it has said before what this database has committed.
    pub(super) is_old: bool,
}

/// Hands over what the database keeps and the journal does not have: all of it, the first time. What
/// it has, and was not known to be committed, is now.
async fn catch_up(
    settings: &Settings,
    base: &Base,
    journal: &Journal,
    held: &Held,
) -> Result<usize, AppError> {
    let place = database::place(settings);
    let fault = AppError::store(&place);
    let mut added = 0;
    for kind in &KEPT_KINDS {
        let mut after = (0, -1);
        loop {
            let page = base.store.kept_values(kind, after, PAGE).await;
            let page = page.map_err(&fault)?;
            let Some(last) = page.last() else { break };
            after = (last.owner.word().1, last.version);
            let mut tx = base.store.begin().await.map_err(&fault)?;
            let mut committed = Vec::new();
            for value in &page {
                let print = Print::of(&value.sealed);
                if held.known.contains(&print) {
                    if !held.is_committed(value.owner, value.part, print) {
                        committed.push(print);
                    }
                    continue;
                }
                let place = place_of(value);
                let opened = base.vault.open(&place, &value.sealed)?;
                base.vault.escrow(&place, &opened, &value.sealed)?;
                tx.holds(&value.sealed);
                added += 1;
            }
            // Its commit writes the journal, names included.
            tx.commit().await.map_err(&fault)?;
            journal.acknowledge(&committed, &[]);
        }
    }
    Ok(added)
}

fn place_of(value: &KeptValue) -> Place {
    let (table, row) = match value.owner {
        Owner::Account(id) => ("credential_versions", id),
        Owner::FunctionalAccount(id) => ("functional_accounts", id),
        Owner::PasswordRecord(id) if value.part == "otp" => ("password_texts", id),
        Owner::PasswordRecord(id) => ("password_versions", id),
    };
    Place {
        table,
        row,
        column: value.part,
        version: value.version,
    }
}
