//! Workflows: reveals become deliveries, and deliveries are sent.

pub(crate) mod fire;
mod key_warning;
mod mail;
mod send;
mod stage;

use std::sync::Arc;

use keywheel::clock::SharedClock;
use keywheel::generate::SeededDice;
use keywheel::metrics::Metrics;
use keywheel::notify::{Notifier, NotifyOptions};
use keywheel::store::Store;
use keywheel::vault::{Kek, Vault};
use keywheel::workflow::Parts;

/// What notices are made and sent with.
fn parts(store: &Store, clock: SharedClock, options: NotifyOptions) -> Parts {
    let dice = Arc::new(SeededDice::new(3));
    let kek = Kek::from_bytes([7; Kek::LEN]);
    let key = Vault::new_data_key(&kek, dice.as_ref()).unwrap();
    Parts {
        store: store.clone(),
        vault: Arc::new(Vault::new(kek, vec![key]).unwrap()),
        notifier: Notifier::new(options, clock.clone()).unwrap(),
        clock,
        dice,
        metrics: Arc::new(Metrics::new().unwrap()),
    }
}
