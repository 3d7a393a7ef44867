//! A dialogue written down, for whoever writes a definition on a device of the laboratory.
//!
//! Invariant: no dialogue is written down unless the connector's owner asked for it; what a system
//! has said goes to no log.

use std::fmt;
use std::sync::Arc;

/// Who gets each line.
type Reader = Arc<dyn Fn(&str) + Send + Sync>;

/// Where a dialogue is written down, if anywhere.
#[derive(Clone, Default)]
pub(super) struct Transcript(Option<Reader>);

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Transcript")
            .field(&self.0.is_some())
            .finish()
    }
}

impl Transcript {
    pub(super) fn to(read: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(read)))
    }

    /// Writes down what this makes; nothing is made if nobody reads.
    pub(super) fn write(&self, text: impl FnOnce() -> String) {
        if let Some(read) = &self.0 {
            read(&text());
        }
    }
}
