//! The definitions: those that come with Keywheel, and an operator's own.
//!
//! Invariant: no id stands for two definitions.

use std::collections::BTreeMap;
use std::fs;
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
            faults.extend(library.add(file, text).err().into_iter().flatten());
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
    /// What is wrong with it. One fault names both files if its id is taken.
    pub fn add(&mut self, file: &str, text: &str) -> Result<Arc<Dialogue>, Vec<Fault>> {
        let dialogue = Arc::new(Dialogue::parse(file, text)?);
        let id = dialogue.id().to_owned();
        if let Some(known) = self.known.get(&id) {
            if known.dialogue.text() == text {
                return Ok(Arc::clone(&known.dialogue));
            }
            return Err(vec![Fault {
                file: file.to_owned(),
                line: line_of_id(text),
                column: 1,
                text: format!("the id {id} is taken by {}", known.file),
            }]);
        }
        let known = Known {
            file: file.to_owned(),
            dialogue: Arc::clone(&dialogue),
        };
        self.known.insert(id, known);
        Ok(dialogue)
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

    /// Every id, in order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(String::as_str)
    }
}

fn line_of_id(text: &str) -> usize {
    let is_id = |line: &str| {
        let rest = line.trim_start().strip_prefix("id");
        rest.is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    text.lines().position(is_id).map_or(1, |at| at + 1)
}
