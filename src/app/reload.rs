//! What is taken over while the service runs: the log level, and the listener's certificate.
//!
//! Invariant: everything is validated before anything is swapped; a fault keeps the old, and the
//! gauge `config_last_reload_successful` says so until the fault is mended.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::Arc;

use super::log::Log;
use super::tls::{Files, Keeper, TlsError};
use crate::clock::SharedClock;
use crate::config::{self, Inputs, Loaded};
use crate::metrics::Metrics;

/// Reloads, on demand or because files changed.
pub(super) struct Reload<'a> {
    inputs: &'a Inputs,
    /// The settings that the service was started with.
    before: &'a Loaded,
    pub(super) log: &'a Log,
    metrics: Arc<Metrics>,
    /// None for plain HTTP.
    keeper: Option<Keeper>,
    clock: SharedClock,
    /// The settings were sound when they were read last.
    settings_are_sound: bool,
    certificate_is_sound: bool,
}

impl<'a> Reload<'a> {
    pub(super) fn new(
        inputs: &'a Inputs,
        before: &'a Loaded,
        log: &'a Log,
        metrics: Arc<Metrics>,
        keeper: Option<Keeper>,
        clock: SharedClock,
    ) -> Self {
        Self {
            inputs,
            before,
            log,
            metrics,
            keeper,
            clock,
            settings_are_sound: true,
            certificate_is_sound: true,
        }
    }

    /// Waits until the certificate's files have changed; for ever without TLS.
    pub(super) async fn certificate_changed(&mut self) {
        match &mut self.keeper {
            Some(keeper) => keeper.changed(&self.clock).await,
            None => pending().await,
        }
    }

    /// Takes over the certificate's files, which have changed.
    pub(super) fn certificate(&mut self) {
        let files = self.keeper.as_ref().map(|keeper| keeper.files().clone());
        let taken = self.take(files);
        self.certificate_is_sound = taken.is_ok();
        self.report();
        if let Err(error) = taken {
            tracing::error!(%error, "the certificate was not reloaded; the old one holds");
        }
    }

    /// Validates the settings and the certificate anew, and takes over what can be changed while
    /// the service runs: the log level, the certificate and where it lies.
    pub(super) fn settings(&mut self) {
        let loaded = match config::load(self.inputs) {
            Ok(loaded) => loaded,
            Err(faults) => {
                self.settings_are_sound = false;
                self.report();
                tracing::error!(%faults, "the settings were not reloaded; the old ones hold");
                return;
            }
        };
        let files = Files::of(&loaded.settings.server);
        let takes_files = self.keeper.is_some() && files.is_some();
        let taken = self.take(files);
        (self.settings_are_sound, self.certificate_is_sound) = (true, taken.is_ok());
        self.report();
        if let Err(error) = taken {
            tracing::error!(%error, "the settings were not reloaded; the old ones hold");
            return;
        }
        self.log.set(loaded.settings.log.level);
        let taken_over =
            |key: &str| key == "log.level" || (takes_files && key.starts_with("server.tls_"));
        let mut waiting = changed(self.before, &loaded);
        waiting.retain(|key| !taken_over(key));
        tracing::info!(
            level = loaded.settings.log.level.name(),
            after_restart = waiting.join(", "),
            "the settings were reloaded"
        );
    }

    /// A service that was started without TLS speaks it after its next start, and the reverse.
    fn take(&mut self, files: Option<Files>) -> Result<(), TlsError> {
        match (&mut self.keeper, files) {
            (Some(keeper), Some(files)) => keeper.take(files, &self.clock),
            _ => Ok(()),
        }
    }

    fn report(&self) {
        let sound = self.settings_are_sound && self.certificate_is_sound;
        self.metrics.config_reloaded(sound);
    }
}

/// The settings that two loads disagree about, each once, in the order of their paths.
fn changed(before: &Loaded, now: &Loaded) -> Vec<String> {
    let pairs = |loaded: &Loaded| -> BTreeSet<(String, String)> {
        let shown = loaded.shown().into_iter();
        shown.map(|one| (one.key, one.value)).collect()
    };
    // What is not set at all is not shown: a key may be missing on either side.
    let (before, now) = (pairs(before), pairs(now));
    let differ = before.symmetric_difference(&now);
    let keys: BTreeSet<_> = differ.map(|(key, _)| key.clone()).collect();
    keys.into_iter().collect()
}
