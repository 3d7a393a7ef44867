//! The definitions: those that come with Keywheel, and an operator's own.
//!
//! Invariant: no id and no platform's number stands for two definitions, and none is without.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use super::definition::Dialogue;
use super::parse::Fault;

/// The shipped definitions, by the names of their files.
const SHIPPED: [(&str, &str); 4] = [
    (
        "config/platforms/cisco_ios.toml",
        include_str!("../../../config/platforms/cisco_ios.toml"),
    ),
    (
        "config/platforms/junos.toml",
        include_str!("../../../config/platforms/junos.toml"),
    ),
    (
        "config/platforms/linux.toml",
        include_str!("../../../config/platforms/linux.toml"),
    ),
    (
        "config/platforms/mikrotik.toml",
        include_str!("../../../config/platforms/mikrotik.toml"),
    ),
];

/// The numbers of shipped platforms, and those of an operator's own. Source: decision record 0011.
const OURS: RangeInclusive<i64> = 1_002..=1_999;
const THEIRS: RangeInclusive<i64> = 10_000..=19_999;

/// The most definitions in a folder.
const FILES_MAX: usize = 500;

/// The JSON schema of a definition, for editors.
pub const SCHEMA: &str = include_str!("schema.json");

/// Definitions by id.
#[derive(Clone, Debug, Default)]
pub struct Library {
    known: BTreeMap<String, Known>,
}

#[derive(Clone, Debug)]
struct Known {
    file: String,
    dialogue: Arc<Dialogue>,
}

impl Library {
    /// The definitions that come with Keywheel.
    ///
    /// # Errors
    /// Their faults; a test keeps them without.
    pub fn shipped() -> Result<Self, Vec<Fault>> {
        let mut library = Self::default();
        let mut faults = Vec::new();
        for (file, text) in SHIPPED {
            let added = library.insert(file, text, &OURS);
            faults.extend(added.err().into_iter().flatten());
        }
        if faults.is_empty() {
            Ok(library)
        } else {
            Err(faults)
        }
    }

    /// Adds a definition. The very text that is known already is no second one.
    ///
    /// # Errors
    /// What is wrong with it. One fault names both files if its id or its number is taken.
    pub fn add(&mut self, file: &str, text: &str) -> Result<Arc<Dialogue>, Vec<Fault>> {
        self.insert(file, text, &THEIRS)
    }

    fn insert(
        &mut self,
        file: &str,
        text: &str,
        numbers: &RangeInclusive<i64>,
    ) -> Result<Arc<Dialogue>, Vec<Fault>> {
        let dialogue = Arc::new(Dialogue::parse(file, text)?);
        let id = dialogue.id().to_owned();
        if let Some(known) = self.known.get(&id) {
            if known.dialogue.text() == text {
                return Ok(Arc::clone(&known.dialogue));
            }
            let why = format!("the id {id} is taken by {}", known.file);
            return Err(vec![at_key(file, text, "id", why)]);
        }
        self.is_numbered(file, text, &dialogue, numbers)?;
        let known = Known {
            file: file.to_owned(),
            dialogue: Arc::clone(&dialogue),
        };
        self.known.insert(id, known);
        Ok(dialogue)
    }

    /// Whether its number is of these, and nobody else's.
    fn is_numbered(
        &self,
        file: &str,
        text: &str,
        dialogue: &Dialogue,
        numbers: &RangeInclusive<i64>,
    ) -> Result<(), Vec<Fault>> {
        let (low, high) = (numbers.start(), numbers.end());
        let number = dialogue.platform_id();
        let taken = self
            .known
            .values()
            .find(|known| known.dialogue.platform_id() == number);
        let why = match (number, taken) {
            (None, _) => format!(
                "platform_id is missing: give the platform a number of its own from {low} to {high}"
            ),
            (Some(number), _) if !numbers.contains(&number) => {
                format!("platform_id must be from {low} to {high}")
            }
            (Some(number), Some(known)) => {
                format!("the platform_id {number} is taken by {}", known.file)
            }
            (Some(_), None) if dialogue.name.is_none() => {
                "name is missing: say what people call the platform".to_owned()
            }
            (Some(_), None) => return Ok(()),
        };
        Err(vec![at_key(file, text, "platform_id", why)])
    }

    /// Adds every `*.toml` of a folder, in the order of their names. A folder that is not there
    /// holds none.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn add_folder(&mut self, folder: &Path) -> Result<(), Vec<Fault>> {
        let unreadable = |error: std::io::Error| Fault {
            file: folder.display().to_string(),
            line: 1,
            column: 1,
            text: format!("could not be read: {}", error.kind()),
        };
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(vec![unreadable(error)]),
        };
        let mut faults = Vec::new();
        let mut files = Vec::new();
        for entry in entries.take(FILES_MAX) {
            match entry {
                Ok(entry) => files.push(entry.path()),
                Err(error) => faults.push(unreadable(error)),
            }
        }
        files.retain(|file| file.extension().is_some_and(|end| end == "toml"));
        files.sort();
        for file in files {
            faults.extend(self.add_file(&file).err().into_iter().flatten());
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }

    /// Adds the definition in a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn add_file(&mut self, file: &Path) -> Result<Arc<Dialogue>, Vec<Fault>> {
        let name = file.display().to_string();
        match fs::read_to_string(file) {
            Ok(text) => self.add(&name, &text),
            Err(error) => Err(vec![Fault {
                file: name,
                line: 1,
                column: 1,
                text: format!("could not be read: {}", error.kind()),
            }]),
        }
    }

    /// The definition with this id.
    pub fn find(&self, id: &str) -> Option<Arc<Dialogue>> {
        self.known.get(id).map(|known| Arc::clone(&known.dialogue))
    }

    /// Every definition, in the order of their ids.
    pub fn dialogues(&self) -> impl Iterator<Item = &Arc<Dialogue>> {
        self.known.values().map(|known| &known.dialogue)
    }

    /// Every id, in order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(String::as_str)
    }
}

/// A fault at the line of a key, or at the first.
fn at_key(file: &str, text: &str, key: &str, why: String) -> Fault {
    let is_key = |line: &str| {
        let rest = line.trim_start().strip_prefix(key);
        rest.is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    Fault {
        file: file.to_owned(),
        line: text.lines().position(is_key).map_or(1, |at| at + 1),
        column: 1,
        text: why,
    }
}
