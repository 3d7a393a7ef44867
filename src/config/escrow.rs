//! `[escrow]`: the journal that outlives the database.
//!
//! Invariant: what names a recipient names a file, and the other way round.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// `[escrow]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Escrow {
    /// The public key of age to which every credential is sealed; empty: no journal is kept.
    pub recipient: String,
    /// The journal's file, on another disk than the database; each node has its own.
    pub journal: PathBuf,
    /// The file that echoes how old the database is. Empty: beside the journal, or in `data.dir`.
    pub echo: PathBuf,
}

impl Escrow {
    /// What contradicts itself.
    pub(super) fn rules(&self) -> Vec<(&'static str, String)> {
        let mut broken = Vec::new();
        let named = self.journal != Path::new("");
        if named && self.recipient.is_empty() {
            let what = "is empty, but escrow.journal names a file: make a pair of keys with \
                        age-keygen, name the public one here, and keep the other elsewhere";
            broken.push(("escrow.recipient", what.to_owned()));
        } else if !self.recipient.is_empty() && !self.recipient.starts_with("age1") {
            let what = "is no public key of age: one begins with age1. The secret one must not be \
                        here";
            broken.push(("escrow.recipient", what.to_owned()));
        }
        if !named && !self.recipient.is_empty() {
            let what = "is empty: name a file on another disk than the database";
            broken.push(("escrow.journal", what.to_owned()));
        }
        broken
    }
}
