//! The platforms that a service offers: read once, at the start.
//!
//! Invariant: a definition with a fault, or a number that is taken, keeps the service from
//! starting: half a catalogue would leave systems without a connector.

use keywheel_connectors::dialogue::{Fault, Library};

use super::error::AppError;
use crate::config::Settings;
use crate::model::platform::Platforms;

/// Those that are built in, the shipped definitions, and those of `connectors.platforms_dir`.
///
/// # Errors
/// [`AppError::Platforms`] tells every fault by file, line and column.
pub fn platforms(settings: &Settings) -> Result<Platforms, AppError> {
    let folder = settings.platforms_dir();
    let read = Library::shipped().and_then(|mut library| {
        library.add_folder(&folder)?;
        Ok(library)
    });
    match read {
        Ok(library) => Ok(Platforms::with(&library)),
        Err(faults) => Err(AppError::Platforms {
            faults: told(&faults),
            folder,
        }),
    }
}

fn told(faults: &[Fault]) -> String {
    let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
