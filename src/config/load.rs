//! Finds the layers, checks each value by itself, and merges what is sound.
//!
//! Invariant: a start with faulty settings does not happen; a fault never repeats a secret.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use config::{Config, Value, ValueKind};

use super::layer::{Layer, alone};
use super::{DatabaseUrl, Settings, read_secret_file};

/// Where an installed service keeps its settings.
const SYSTEM_DIR: &str = "/etc/keywheel";
const FILE_NAME: &str = "keywheel.toml";
/// Largest settings file: a mistyped path must not fill the memory.
const FILE_MAX_BYTES: u64 = 1_048_576;

/// Service credentials that stay files, and the settings that they take the place of.
const CREDENTIAL_FILES: [(&str, &str); 3] = [
    ("keyring.kek", "keyring.kek_file"),
    ("server.tls_key", "server.tls_key_file"),
    ("smtp.password", "smtp.password_file"),
];

/// What is wrong with one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The setting's path, for example `queue.poll_ms`.
    pub key: String,
    /// The layer that set it.
    pub origin: String,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// Everything that is wrong with the settings; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the settings have {} fault(s); nothing was started",
            self.0.len()
        )?;
        for Fault { key, origin, what } in &self.0 {
            write!(f, "\n  {key} ({origin}): {what}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// What settings are read from.
#[derive(Clone, Default)]
pub struct Inputs {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// Flags, by the paths of the settings they override.
    pub flags: Vec<(String, String)>,
    /// Variables that begin with `KEYWHEEL_`.
    pub environment: HashMap<String, String>,
    /// `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
    /// Where an installed service keeps its settings, if not in `/etc/keywheel`.
    pub system_dir: Option<PathBuf>,
}

impl fmt::Debug for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.environment.keys().collect();
        names.sort();
        let mut shown = f.debug_struct("Inputs");
        shown
            .field("file", &self.file)
            .field("environment", &names)
            .finish_non_exhaustive()
    }
}

impl Inputs {
    /// The process's own: its environment, and the flags it was given.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads it"
    )]
    pub fn of_process(file: Option<PathBuf>, flags: Vec<(String, String)>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| name.to_uppercase().starts_with("KEYWHEEL_"))
            // Bytes that are no text turn into replacement marks, which the fault then shows.
            .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
            .collect();
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        Self {
            file,
            flags,
            environment,
            credentials,
            system_dir: None,
        }
    }
}

/// One setting as `config show` prints it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Shown {
    /// Its path.
    pub key: String,
    /// Its value in TOML; passwords are `***`.
    pub value: String,
    /// The layer it came from.
    pub origin: String,
}

/// Settings, and how they came about.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What works and should not stay so.
    pub warnings: Vec<String>,
    /// The layer of every setting that is not a default, by its path.
    pub origins: BTreeMap<String, String>,
}

impl Loaded {
    /// Every setting with its value and its layer, in the order of their paths.
    pub fn shown(&self) -> Vec<Shown> {
        let mut shown = Vec::new();
        for (section, keys) in toml::Table::try_from(&self.settings).unwrap_or_default() {
            let toml::Value::Table(keys) = keys else {
                continue;
            };
            for (key, value) in keys {
                let key = format!("{section}.{key}");
                let origin = self
                    .origins
                    .get(&key)
                    .map_or("default", String::as_str)
                    .to_owned();
                shown.push(Shown {
                    key,
                    value: value.to_string(),
                    origin,
                });
            }
        }
        shown.sort_by(|a, b| a.key.cmp(&b.key));
        shown
    }
}

/// Reads all layers.
///
/// # Errors
/// [`Faults`] holds everything that is wrong, in the order of layers, then of paths.
pub fn load(inputs: &Inputs) -> Result<Loaded, Faults> {
    let mut faults = Vec::new();
    let environment = Layer::environment(&inputs.environment, &mut faults);
    let flags = Layer::flags(&inputs.flags);
    let mut layers = files(inputs, &data_dir(&environment, &flags), &mut faults);
    layers.extend([environment, flags]);
    for layer in &mut layers {
        let origin = layer.origin.clone();
        layer.values.retain(|key, value| match check(key, value) {
            Ok(()) => true,
            Err(what) => {
                faults.push(Fault {
                    key: key.clone(),
                    origin: origin.clone(),
                    what,
                });
                false
            }
        });
    }
    let secrets = secrets(inputs, &layers, &mut faults);
    let warnings = warnings(&layers, &secrets);
    layers.push(secrets);

    let mut origins = BTreeMap::new();
    for layer in &layers {
        let named = layer
            .values
            .keys()
            .map(|key| (key.clone(), layer.origin.clone()));
        origins.extend(named);
    }
    let mut builder = Config::builder();
    for layer in layers {
        builder = builder.add_source(layer);
    }
    let merged = builder
        .build()
        .and_then(Config::try_deserialize::<Settings>);
    match merged {
        Ok(settings) => {
            let broken = settings.rules().into_iter().map(|(key, what)| {
                let origin = origins
                    .get(key)
                    .map_or("default", String::as_str)
                    .to_owned();
                Fault {
                    key: key.to_owned(),
                    origin,
                    what,
                }
            });
            faults.extend(broken);
            if faults.is_empty() {
                return Ok(Loaded {
                    settings,
                    warnings,
                    origins,
                });
            }
        }
        // Each value alone was sound, so this is a fault of ours; say so all the same.
        Err(fault) => faults.push(Fault {
            key: "(all)".to_owned(),
            origin: "merged".to_owned(),
            what: fault.to_string(),
        }),
    }
    Err(Faults(faults))
}

/// Whether one value by itself is a setting's.
fn check(key: &str, value: &Value) -> Result<(), String> {
    if key == "keyring.kek" {
        return Err(
            "the key is never read from settings: write its 32 bytes to a file with mode \
                    0600 and name that in keyring.kek_file"
                .to_owned(),
        );
    }
    let Some((section, rest)) = key.split_once('.') else {
        return Err(format!(
            "is no setting of its own: settings stand in sections, below [{key}]"
        ));
    };
    let alone = alone(section, rest, value.clone());
    alone
        .try_deserialize::<Settings>()
        .map(drop)
        .map_err(|fault| {
            let fault = fault.to_string();
            // The crate adds the path again, for some faults and not for others.
            fault
                .split(" for key `")
                .next()
                .unwrap_or_default()
                .to_owned()
        })
}

/// The data folder, as far as it is known before any file is read.
fn data_dir(environment: &Layer, flags: &Layer) -> PathBuf {
    [flags, environment]
        .into_iter()
        .find_map(|layer| layer.values.get("data.dir")?.clone().into_string().ok())
        .map_or_else(|| Settings::default().data.dir, PathBuf::from)
}

/// The settings file and `conf.d/*.toml` beside it.
fn files(inputs: &Inputs, data_dir: &Path, faults: &mut Vec<Fault>) -> Vec<Layer> {
    let system_dir = inputs
        .system_dir
        .clone()
        .unwrap_or_else(|| SYSTEM_DIR.into());
    let mut found = Vec::new();
    let folder = if let Some(file) = &inputs.file {
        found.push(file.clone());
        file.parent().map(Path::to_owned)
    } else {
        let folders = [system_dir, data_dir.to_owned()];
        let folder = folders
            .into_iter()
            .find(|folder| folder.join(FILE_NAME).exists() || folder.join("conf.d").is_dir());
        found.extend(
            folder
                .iter()
                .map(|folder| folder.join(FILE_NAME))
                .filter(|f| f.exists()),
        );
        folder
    };
    let parts = folder
        .map(|folder| folder.join("conf.d"))
        .filter(|parts| parts.is_dir());
    let mut parts: Vec<PathBuf> = match parts.as_deref().map(fs::read_dir).transpose() {
        Ok(None) => Vec::new(),
        Ok(Some(entries)) => entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect(),
        Err(fault) => {
            faults.push(unreadable(&parts.unwrap_or_default(), &fault.to_string()));
            Vec::new()
        }
    };
    parts.retain(|part| part.extension().is_some_and(|ending| ending == "toml"));
    parts.sort();
    found.extend(parts);
    found
        .iter()
        .filter_map(|path| file(path).map_err(|fault| faults.push(fault)).ok())
        .collect()
}

fn file(path: &Path) -> Result<Layer, Fault> {
    let about = fs::metadata(path).map_err(|fault| unreadable(path, &fault.to_string()))?;
    if !about.is_file() || about.len() > FILE_MAX_BYTES {
        let what = format!("is no regular file of at most {FILE_MAX_BYTES} bytes");
        return Err(unreadable(path, &what));
    }
    let text = fs::read_to_string(path).map_err(|fault| unreadable(path, &fault.to_string()))?;
    let layer = Layer::file(path.display().to_string(), &text)?;
    let exposed = std::os::unix::fs::MetadataExt::mode(&about) & 0o007 != 0;
    if exposed && layer.values.get("database.url").is_some_and(is_secret_url) {
        let what = "holds a password, but every user of this machine may read the file: run \
                    `chmod 0600` on it, or move the URL to a file of its own, database.url_file";
        let origin = layer.origin;
        return Err(Fault {
            key: "database.url".to_owned(),
            origin,
            what: what.to_owned(),
        });
    }
    Ok(layer)
}

fn unreadable(path: &Path, what: &str) -> Fault {
    let origin = path.display().to_string();
    Fault {
        key: "(whole file)".to_owned(),
        origin,
        what: format!("cannot be read: {what}"),
    }
}

fn is_secret_url(value: &Value) -> bool {
    let text = value.clone().into_string().unwrap_or_default();
    DatabaseUrl::parse(&text).is_ok_and(|url| url.holds_password())
}

/// Secrets that stand in files of their own: they win over plain ones.
fn secrets(inputs: &Inputs, layers: &[Layer], faults: &mut Vec<Fault>) -> Layer {
    let credential = |key: &str| {
        let path = inputs.credentials.as_ref()?.join(key);
        path.exists().then_some(path)
    };
    let mut all = Layer::empty("secret file");
    for (name, key) in CREDENTIAL_FILES {
        if let Some(path) = credential(name) {
            let path = ValueKind::String(path.display().to_string());
            all.put(key.to_owned(), Value::new(None, path));
        }
    }
    let named = layers
        .iter()
        .rev()
        .find_map(|layer| {
            layer
                .values
                .get("database.url_file")?
                .clone()
                .into_string()
                .ok()
        })
        .map(PathBuf::from);
    if let Some(path) = credential("database.url").or(named) {
        let read = read_secret_file(&path)
            .map_err(|fault| fault.to_string())
            .and_then(|bytes| {
                let text = std::str::from_utf8(&bytes)
                    .map_err(|_| "is no UTF-8 text")?
                    .trim();
                DatabaseUrl::parse(text)?;
                Ok(Value::new(None, ValueKind::String(text.to_owned())))
            });
        match read {
            Ok(value) => all.put("database.url".to_owned(), value),
            Err(what) => faults.push(Fault {
                key: "database.url".to_owned(),
                origin: path.display().to_string(),
                what,
            }),
        }
    }
    all
}

fn warnings(layers: &[Layer], secrets: &Layer) -> Vec<String> {
    let plain = layers
        .iter()
        .filter(|_| !secrets.values.contains_key("database.url"))
        .filter(|layer| layer.values.get("database.url").is_some_and(is_secret_url));
    plain
        .map(|layer| {
            format!(
                "database.url in {} holds a password in the clear; better: write the URL to a \
                 file with mode 0600 and name it in database.url_file",
                layer.origin
            )
        })
        .collect()
}
