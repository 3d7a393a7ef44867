//! A definition on its way to the process that speaks with the system: its text, parsed anew.
//!
//! Invariant: what does not parse there is no definition; nothing else of it crosses.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serializer, de};

use super::Dialogue;

pub(crate) fn serialize<S: Serializer>(platform: &Arc<Dialogue>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(platform.text())
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Dialogue>, D::Error> {
    let text = String::deserialize(from)?;
    Dialogue::parse("the definition", &text)
        .map(Arc::new)
        .map_err(|_| de::Error::custom("no definition of a platform"))
}
