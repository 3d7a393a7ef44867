//! What stands in the places of templates.
//!
//! Invariant: a text that is shown holds no secret; a line that is sent is wiped.

use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::definition::{Piece, Template, Which};
use super::screen::SENT;
use crate::Secret;

/// What stands in the places of templates.
#[derive(Clone, Debug)]
pub(super) struct Words {
    pub(super) account: String,
    pub(super) new: Option<Secret>,
    pub(super) old: Option<Secret>,
    pub(super) enable: Option<Secret>,
}

impl Words {
    fn secret(&self, which: Which) -> Option<&Secret> {
        match which {
            Which::New => self.new.as_ref(),
            Which::Old => self.old.as_ref(),
            Which::Enable => self.enable.as_ref(),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the system must learn it, or it is redacted"
    )]
    pub(super) fn plain(&self, which: Which) -> Option<&str> {
        self.secret(which).map(ExposeSecret::expose_secret)
    }

    /// The line that a template and what ends it make; the secret that is missing otherwise.
    pub(super) fn line(&self, template: &Template, end: &str) -> Result<Zeroizing<String>, Which> {
        let mut pieces = Vec::with_capacity(template.0.len() + 1);
        for piece in &template.0 {
            pieces.push(match piece {
                Piece::Text(text) => text.as_str(),
                Piece::Account => self.account.as_str(),
                Piece::Secret(which) => self.plain(*which).ok_or(*which)?,
            });
        }
        pieces.push(end);
        // Reserved first: a buffer that grows leaves copies behind.
        let bytes = pieces.iter().map(|piece| piece.len()).sum();
        let mut line = Zeroizing::new(String::with_capacity(bytes));
        for piece in pieces {
            line.push_str(piece);
        }
        Ok(line)
    }

    /// Every secret, the longest first: one may stand within another.
    pub(super) fn plains(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Which::ALL
            .into_iter()
            .filter_map(|which| self.plain(which))
            .collect();
        all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        all
    }
}

/// A template as it may be shown.
pub(super) fn shown(template: &Template, account: &str) -> String {
    let pieces = template.0.iter().map(|piece| match piece {
        Piece::Text(text) => text.as_str(),
        Piece::Account => account,
        Piece::Secret(_) => SENT,
    });
    pieces.collect()
}
