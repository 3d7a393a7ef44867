//! One layer of settings: where it came from, and what it says.
//!
//! Invariant: a layer holds values, key by key, in the order of their paths; it prints none.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use config::{ConfigError, Environment, Map, Source, Value, ValueKind};

use super::SECTIONS;
use super::load::Fault;

/// Values by their path, for example `server.listen`.
#[derive(Clone)]
pub(super) struct Layer {
    pub(super) origin: String,
    pub(super) values: BTreeMap<String, Value>,
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Layer({}, {} values)", self.origin, self.values.len())
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.values.clone().into_iter().collect())
    }
}

impl Layer {
    pub(super) fn empty(origin: impl Into<String>) -> Self {
        Self {
            origin: origin.into(),
            values: BTreeMap::new(),
        }
    }

    /// Parses a file. A fault names line and column, and does not quote the file.
    pub(super) fn file(origin: String, text: &str) -> Result<Self, Fault> {
        let table: toml::Table = toml::from_str(text).map_err(|fault: toml::de::Error| {
            let before = text
                .get(..fault.span().map_or(0, |span| span.start))
                .unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let what = format!("line {line} is no TOML: {}", fault.message());
            Fault {
                key: "(whole file)".to_owned(),
                origin: origin.clone(),
                what,
            }
        })?;
        let mut layer = Self::empty(origin);
        for (section, value) in table {
            match value {
                toml::Value::Table(keys) => {
                    for (key, value) in keys {
                        layer.put(format!("{section}.{key}"), value_of(value));
                    }
                }
                other => layer.put(section, value_of(other)),
            }
        }
        Ok(layer)
    }

    /// Reads `KEYWHEEL_SECTION__KEY` from variables.
    pub(super) fn environment(
        variables: &HashMap<String, String>,
        faults: &mut Vec<Fault>,
    ) -> Self {
        let mut layer = Self::empty("environment");
        let source = Environment::with_prefix("KEYWHEEL")
            // Without this one, the prefix would have to end in two underscores as well.
            .prefix_separator("_")
            .separator("__")
            .ignore_empty(true)
            .source(Some(variables.clone().into_iter().collect()));
        for (key, value) in source.collect().unwrap_or_default() {
            if key.contains('.') {
                let text = value.into_string().unwrap_or_default();
                layer.put_text(key, &text);
            } else if let Some((section, rest)) = SECTIONS
                .iter()
                .find_map(|name| Some((name, key.strip_prefix(name)?)))
                && let Some(rest) = rest.strip_prefix('_')
            {
                // Silence here would leave a setting at its default.
                let (section, rest) = (section.to_uppercase(), rest.to_uppercase());
                faults.push(Fault {
                    key,
                    origin: layer.origin.clone(),
                    what: format!(
                        "KEYWHEEL_{section}_{rest} is not read: two underscores part section \
                         and key, KEYWHEEL_{section}__{rest}"
                    ),
                });
            }
        }
        layer
    }

    /// Takes flags that were parsed elsewhere.
    pub(super) fn flags(flags: &[(String, String)]) -> Self {
        let mut layer = Self::empty("command line");
        for (key, value) in flags {
            layer.put_text(key.clone(), value);
        }
        layer
    }

    /// A variable or a flag.
    fn put_text(&mut self, key: String, text: &str) {
        self.put(key, Value::new(None, ValueKind::String(text.to_owned())));
    }

    pub(super) fn put(&mut self, key: String, value: Value) {
        self.values.insert(key, value);
    }
}

/// A value of a TOML file, for the crate that merges. Dates are texts; no setting is one.
fn value_of(value: toml::Value) -> Value {
    let kind = match value {
        toml::Value::String(text) => ValueKind::String(text),
        toml::Value::Integer(number) => ValueKind::I64(number),
        toml::Value::Float(number) => ValueKind::Float(number),
        toml::Value::Boolean(flag) => ValueKind::Boolean(flag),
        toml::Value::Datetime(date) => ValueKind::String(date.to_string()),
        toml::Value::Array(list) => ValueKind::Array(list.into_iter().map(value_of).collect()),
        toml::Value::Table(table) => ValueKind::Table(
            table
                .into_iter()
                .map(|(key, value)| (key, value_of(value)))
                .collect(),
        ),
    };
    Value::new(None, kind)
}

/// One value alone, as the settings' types want it: `{section: {key: value}}`.
pub(super) fn alone(section: &str, key: &str, value: Value) -> Value {
    let inner = Map::from_iter([(key.to_owned(), value)]);
    let outer = Map::from_iter([(
        section.to_owned(),
        Value::new(None, ValueKind::Table(inner)),
    )]);
    Value::new(None, ValueKind::Table(outer))
}
