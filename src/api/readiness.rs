//! Whether the service can do its work, component by component.
//!
//! Invariant: a component that nobody has reported on is not ready.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Reports of the components; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, Result<(), String>>>>);

impl Readiness {
    /// Expects a report of each of these components.
    pub fn expecting(components: &[&'static str]) -> Self {
        let waiting = components
            .iter()
            .map(|name| (*name, Err("has not started yet".to_owned())));
        Self(Arc::new(Mutex::new(waiting.collect())))
    }

    /// Records how a component is. The reason is shown to anybody: no secret, no address.
    pub fn report(&self, component: &'static str, state: Result<(), String>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(component, state);
    }

    /// Every component and how it is.
    pub fn components(&self) -> BTreeMap<&'static str, Result<(), String>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
