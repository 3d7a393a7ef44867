//! Reads what a KeePass file holds: its entries as rows.
//!
//! Groups become folders, without the topmost one; earlier values and what is in the recycle bin are
//! left out.
//!
//! Invariant: the XML is walked without recursion, whatever is nested in it, and every protected value
//! is uncovered in its order, wanted or not, since the next one depends on it.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{COLUMNS_MAX, Sheet, few, told};
use crate::api::error::{ApiError, Refusal};
use crate::api::record::import::ImportRow;
use crate::vault::{KdbxError, Unlocked, unlock};

/// Deepest nesting of elements.
const DEPTH_MAX: usize = 200;

/// Why a file is not read.
fn refused(why: impl Into<String>) -> ApiError {
    Refusal::unprocessable("KeePass file", why).into()
}

impl From<KdbxError> for ApiError {
    fn from(error: KdbxError) -> Self {
        refused(error.to_string())
    }
}

/// The rows of a file.
///
/// # Errors
/// [`ApiError::Refused`]: the password is wrong, or the file broken or too costly.
pub(super) fn sheet(file: &[u8], password: &SecretString) -> Result<Sheet, ApiError> {
    let mut unlocked = unlock(file, password)?;
    let xml = std::mem::take(&mut unlocked.xml);
    let text = std::str::from_utf8(&xml).map_err(|_| broken())?;
    walked(text, unlocked)
}

fn walked(text: &str, unlocked: Unlocked) -> Result<Sheet, ApiError> {
    let mut walk = Walk::new(unlocked);
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    loop {
        match reader.read_event().map_err(|_| broken())? {
            Event::Start(element) => walk.begin(&element)?,
            Event::End(_) => walk.end()?,
            Event::Text(text) => walk.text.push_str(&text.into_inner()),
            Event::CData(text) => walk.text.push_str(&text.into_inner()),
            Event::GeneralRef(name) => walk.text.push(referred(&name.into_inner())?),
            Event::DocType(_) => return Err(refused("the file's XML has a document type")),
            Event::Eof => break,
            Event::Empty(_) | Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
        }
    }
    if !walk.open.is_empty() {
        return Err(broken());
    }
    few(walk.rows.len())?;
    Ok(Sheet {
        rows: walk.rows,
        unknown: walk.unknown,
    })
}

fn broken() -> ApiError {
    KdbxError::Broken("XML").into()
}

/// The character that `&name;` stands for.
fn referred(name: &str) -> Result<char, ApiError> {
    let number = |text: &str, radix| {
        let number = u32::from_str_radix(text, radix).ok();
        number.and_then(char::from_u32).ok_or_else(broken)
    };
    match name {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => match (name.strip_prefix("#x"), name.strip_prefix('#')) {
            (Some(digits), _) => number(digits, 16),
            (None, Some(digits)) => number(digits, 10),
            (None, None) => Err(broken()),
        },
    }
}

/// An element that is open.
struct Open {
    name: String,
    protected: bool,
}

/// A group that is open.
#[derive(Default)]
struct Group {
    name: String,
    uuid: String,
}

/// The way through a document.
struct Walk {
    unlocked: Unlocked,
    open: Vec<Open>,
    /// The text of the element that is open.
    text: Zeroizing<String>,
    recycled: String,
    groups: Vec<Group>,
    entry: Option<ImportRow>,
    /// How many `History` are open: entries in there are earlier states.
    history: usize,
    key: String,
    value: Zeroizing<String>,
    rows: Vec<ImportRow>,
    unknown: BTreeSet<String>,
}

impl Walk {
    fn new(unlocked: Unlocked) -> Self {
        Self {
            unlocked,
            open: Vec::new(),
            text: Zeroizing::default(),
            recycled: String::new(),
            groups: Vec::new(),
            entry: None,
            history: 0,
            key: String::new(),
            value: Zeroizing::default(),
            rows: Vec::new(),
            unknown: BTreeSet::new(),
        }
    }

    fn begin(&mut self, element: &BytesStart<'_>) -> Result<(), ApiError> {
        if self.open.len() == DEPTH_MAX {
            return Err(refused("the file's XML is nested too deeply"));
        }
        let name = element.name().0.to_owned();
        let protected = element.try_get_attribute("Protected");
        let protected = protected.map_err(|_| broken())?;
        let protected = protected.is_some_and(|one| one.value.eq_ignore_ascii_case("true"));
        match name.as_str() {
            "Group" => self.groups.push(Group::default()),
            "History" => self.history += 1,
            "Entry" if self.history == 0 => {
                let number = u64::try_from(self.rows.len()).unwrap_or(u64::MAX);
                self.entry = Some(ImportRow::new(number.saturating_add(1)));
            }
            "String" => {
                self.key.clear();
                self.value = Zeroizing::default();
            }
            _ => {}
        }
        self.open.push(Open { name, protected });
        self.text = Zeroizing::default();
        Ok(())
    }

    fn end(&mut self) -> Result<(), ApiError> {
        let Some(Open { name, protected }) = self.open.pop() else {
            return Err(broken());
        };
        let mut text = std::mem::take(&mut self.text);
        if protected {
            let bytes = STANDARD.decode(text.trim().as_bytes());
            let mut bytes = Zeroizing::new(bytes.map_err(|_| broken())?);
            self.unlocked.uncover(&mut bytes);
            // An attachment need be no text.
            text = Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
        }
        let above = self.open.last().map(|open| open.name.clone());
        match (above.as_deref().unwrap_or_default(), name.as_str()) {
            ("Meta", "RecycleBinUUID") => text.trim().clone_into(&mut self.recycled),
            ("Group", "Name") => self.named(|group| &mut group.name, &text),
            ("Group", "UUID") => self.named(|group| &mut group.uuid, text.trim()),
            ("String", "Key") => text.as_str().clone_into(&mut self.key),
            ("String", "Value") => self.value = text,
            ("Entry", "String") if self.history == 0 => self.field(),
            (_, "History") => self.history = self.history.saturating_sub(1),
            (_, "Group") => drop(self.groups.pop()),
            (_, "Entry") if self.history == 0 => self.take()?,
            _ => {}
        }
        Ok(())
    }

    fn named(&mut self, field: impl Fn(&mut Group) -> &mut String, text: &str) {
        if let Some(group) = self.groups.last_mut() {
            text.clone_into(field(group));
        }
    }

    /// A field of the entry that is open.
    fn field(&mut self) {
        let Some(entry) = &mut self.entry else { return };
        match self.key.as_str() {
            "Title" => entry.set("name", &self.value),
            "UserName" => entry.set("username", &self.value),
            "Password" => entry.set("password", &self.value),
            "URL" => entry.set("url", &self.value),
            "Notes" => entry.set("notes", &self.value),
            "TimeOtp-Secret-Base32" => entry.set("otp_secret", &self.value),
            "otp" => {
                // `otpauth://totp/name?secret=…&…`
                let mut query = self.value.split(['?', '&']).skip(1);
                let secret = query.find_map(|pair| pair.strip_prefix("secret="));
                entry.set("otp_secret", secret.unwrap_or(""));
            }
            _ if self.value.is_empty() => {}
            other => {
                if self.unknown.len() < COLUMNS_MAX {
                    self.unknown.insert(told(other));
                }
            }
        }
    }

    /// The entry has ended.
    fn take(&mut self) -> Result<(), ApiError> {
        let Some(mut entry) = self.entry.take() else {
            return Ok(());
        };
        let recycled = |group: &Group| !group.uuid.is_empty() && group.uuid == self.recycled;
        if self.groups.iter().any(recycled) {
            return Ok(());
        }
        // A folder's name has no slash: it parts them.
        let names = self.groups.iter().skip(1);
        let names: Vec<String> = names.map(|group| group.name.replace('/', "-")).collect();
        entry.set("password_folder", &names.join("/"));
        self.rows.push(entry);
        few(self.rows.len())
    }
}
