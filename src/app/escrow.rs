//! Opens the escrow journal, and brings it up to the database.
//!
//! Invariant: once the service works, every value that the database keeps is in the journal.

use std::sync::Arc;

use super::error::AppError;
use super::{Base, database};
use crate::clock::SharedClock;
use crate::config::Settings;
use crate::escrow::{Journal, Known, Owner, Print};
use crate::store::{KEPT_KINDS, KeptValue};
use crate::vault::Place;

/// Values that are read at once.
const PAGE: i64 = 500;

/// Opens the journal, if one is set: from now on nothing is committed without it.
pub(super) async fn keep(
    settings: &Settings,
    base: &mut Base,
    clock: &SharedClock,
) -> Result<(), AppError> {
    let escrow = &settings.escrow;
    if escrow.recipient.is_empty() {
        return Ok(());
    }
    let clock = clock.clone();
    let now = Box::new(move || clock.now());
    let (journal, known) = Journal::open(&escrow.journal, &escrow.recipient, now)?;
    let journal = Arc::new(journal);
    base.vault.keep_in(journal.clone());
    base.store = base.store.clone().escrowing(journal);
    let added = catch_up(settings, base, &known).await?;
    tracing::info!(path = %escrow.journal.display(), added, "the escrow journal is kept");
    Ok(())
}

/// Hands over what the database keeps and the journal does not have: all of it, the first time.
async fn catch_up(settings: &Settings, base: &Base, known: &Known) -> Result<usize, AppError> {
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
            for value in &page {
                if known.contains(&Print::of(&value.sealed)) {
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
