//! Reads a definition and checks it; says what is wrong by file, line and column.
//!
//! Invariant: what cannot be decided safely while a secret is on its way is refused here.

mod operation;

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use regex::{Regex, RegexBuilder};
use toml::Spanned;

use super::definition::{Complaint, Dialogue, Limits, Pager, Pty, SecretRule, Template};
use super::format::{self, ClassName, ScopeName};
use crate::{Class, Scope};

/// The most that one compiled expression may take.
const REGEX_MAX_BYTES: usize = 1 << 20;

/// The longest definition.
const FILE_MAX_BYTES: usize = 256 << 10;

/// The most `errors` of a definition.
const ERRORS_MAX: usize = 64;

/// The longest step and the longest dialogue, in seconds.
const STEP_MAX_S: i64 = 300;
const TOTAL_MAX_S: i64 = 900;

/// The numbers that a platform may have. Source: `docs/platforms.md`.
const PLATFORM_MIN: i64 = 1_002;
const PLATFORM_MAX: i64 = 19_999;

/// The longest name of a platform, in characters.
const NAME_MAX_CHARS: usize = 64;

/// Where systems answer that name no port.
const SSH_PORT: u16 = 22;

/// The most that a system may say in one dialogue, in KiB.
const BUFFER_MAX_KIB: i64 = 256;

/// The longest password that any platform is handed, in characters.
const SECRET_MAX_CHARS: i64 = 255;

/// One thing that is wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// What is wrong there.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            text,
        } = self;
        write!(f, "{file}:{line}:{column}: {text}")
    }
}

impl Dialogue {
    /// Reads a definition. `file` is what faults call it.
    ///
    /// # Errors
    /// Everything that is wrong with it; of its form, the first thing only.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Fault>> {
        let mut reader = Reader {
            file,
            text,
            faults: Vec::new(),
        };
        if text.len() > FILE_MAX_BYTES {
            reader.fault(0..0, format!("longer than {FILE_MAX_BYTES} bytes"));
            return Err(reader.faults);
        }
        let definition: format::Definition = match toml::from_str(text) {
            Ok(definition) => definition,
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                reader.fault(span, error.message().trim().to_owned());
                return Err(reader.faults);
            }
        };
        let dialogue = reader.dialogue(definition);
        match dialogue {
            Some(dialogue) if reader.faults.is_empty() => Ok(dialogue),
            _ => Err(reader.faults),
        }
    }
}

/// Whether it is 1 to 32 of `a-z`, `0-9`, `_`.
fn is_id(id: &str) -> bool {
    (1..=32).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Checks one file and keeps what is wrong with it.
struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn fault(&mut self, span: Range<usize>, text: impl Into<String>) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let in_line = before.get(line_start..).unwrap_or_default();
        self.faults.push(Fault {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: in_line.chars().count() + 1,
            text: text.into(),
        });
    }

    fn dialogue(&mut self, raw: format::Definition) -> Option<Dialogue> {
        if *raw.schema.get_ref() != 1 {
            self.fault(raw.schema.span(), "schema must be 1");
        }
        if !is_id(raw.id.get_ref()) {
            self.fault(raw.id.span(), "id must be 1 to 32 of a-z, 0-9 and _");
        }
        if raw.errors.len() > ERRORS_MAX
            && let Some(one) = raw.errors.get(ERRORS_MAX)
        {
            self.fault(one.pattern.span(), format!("more than {ERRORS_MAX} errors"));
        }
        let port = self.offer(&raw);
        let eol = raw.eol.as_ref().map_or("\n", |eol| eol.get_ref());
        if let Some(eol) = &raw.eol
            && !["\n", "\r", "\r\n"].contains(&eol.get_ref().as_str())
        {
            self.fault(eol.span(), r#"eol must be "\n", "\r" or "\r\n""#);
        }
        let eol = eol.to_owned();
        let limits = self.limits(&raw.limits);
        let prompt = raw.prompt.as_ref().map(|prompt| self.regex(prompt));
        let pager = raw.pager.as_ref().map(|pager| self.pager(pager));
        let suffix = raw.login_suffix.as_ref();
        if let Some(suffix) = suffix
            && !suffix.get_ref().bytes().all(|byte| byte.is_ascii_graphic())
        {
            let text = "login_suffix takes visible ASCII characters only";
            self.fault(suffix.span(), text);
        }
        let login_suffix = suffix.map_or(String::new(), |suffix| suffix.get_ref().clone());
        let errors = raw.errors.iter().map(|one| self.complaint(one));
        let errors: Vec<_> = errors.collect();
        let pty = self.pty(raw.pty.as_ref());
        let secret = self.secret_rule(&raw.secret);
        // A prompt that does not compile is one fault, not one for each step that waits for it.
        let prompt_is_given = prompt.is_some();
        let prompt = prompt.flatten();
        let operations = self.operations(&raw.op, prompt.as_ref(), prompt_is_given, limits);
        let (set_password, change_own, check) = operations?;
        Some(Dialogue {
            text: self.text.to_owned(),
            id: raw.id.into_inner(),
            platform_id: raw.platform_id.map(Spanned::into_inner),
            name: raw.name.map(Spanned::into_inner),
            port,
            eol,
            pty,
            prompt,
            pager: pager.flatten(),
            login_suffix,
            limits: limits?,
            secret: secret?,
            errors: errors.into_iter().collect::<Option<_>>()?,
            set_password,
            change_own,
            check,
        })
    }

    /// How the platform is offered; its port.
    fn offer(&mut self, raw: &format::Definition) -> u16 {
        if let Some(number) = &raw.platform_id {
            self.number(number, "platform_id", PLATFORM_MIN, PLATFORM_MAX);
        }
        if let Some(name) = &raw.name {
            let text = name.get_ref();
            let is_name = !text.trim().is_empty() && !text.chars().any(char::is_control);
            if !is_name || text.chars().count() > NAME_MAX_CHARS {
                let text = format!("name must have 1 to {NAME_MAX_CHARS} characters, on one line");
                self.fault(name.span(), text);
            }
        }
        let port = raw.port.as_ref();
        let port = port.and_then(|port| self.number(port, "port", 1, 65_535));
        port.map_or(SSH_PORT, |port| u16::try_from(port).unwrap_or(SSH_PORT))
    }

    /// A number between these two.
    fn number(&mut self, number: &Spanned<i64>, name: &str, low: i64, high: i64) -> Option<u32> {
        let value = *number.get_ref();
        if !(low..=high).contains(&value) {
            let text = format!("{name} must be from {low} to {high}");
            self.fault(number.span(), text);
            return None;
        }
        u32::try_from(value).ok()
    }

    fn seconds(&mut self, number: &Spanned<i64>, name: &str, high: i64) -> Option<Duration> {
        let seconds = self.number(number, name, 1, high)?;
        Some(Duration::from_secs(seconds.into()))
    }

    fn limits(&mut self, raw: &format::Limits) -> Option<Limits> {
        let step = self.seconds(&raw.step_s, "step_s", STEP_MAX_S);
        let total = self.seconds(&raw.total_s, "total_s", TOTAL_MAX_S);
        let kib = self.number(&raw.buffer_kib, "buffer_kib", 1, BUFFER_MAX_KIB);
        let (step, total) = (step?, total?);
        if step > total {
            self.fault(raw.step_s.span(), "step_s must not be above total_s");
        }
        Some(Limits {
            step,
            total,
            buffer_bytes: usize::try_from(kib?).ok()? << 10,
        })
    }

    fn pty(&mut self, raw: Option<&format::Pty>) -> Pty {
        // Wide, so that an echoed line is not wrapped.
        let mut pty = Pty {
            term: "dumb".into(),
            cols: 511,
            rows: 24,
        };
        let Some(raw) = raw else {
            return pty;
        };
        let term = raw.term.get_ref();
        let is_term = (1..=32).contains(&term.len())
            && term
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-+.".contains(&byte));
        if !is_term {
            let text = "term must be 1 to 32 letters, digits, -, + or .";
            self.fault(raw.term.span(), text);
        }
        pty.term.clone_from(term);
        pty.cols = self.number(&raw.cols, "cols", 80, 4096).unwrap_or(80);
        pty.rows = self.number(&raw.rows, "rows", 8, 1024).unwrap_or(24);
        pty
    }

    fn pager(&mut self, raw: &format::Pager) -> Option<Pager> {
        if raw.send.get_ref().contains(['{', '}']) {
            self.fault(raw.send.span(), "a pager's answer has no placeholders");
        }
        Some(Pager {
            pattern: self.regex(&raw.pattern)?,
            send: raw.send.get_ref().clone(),
        })
    }

    fn secret_rule(&mut self, raw: &format::SecretRule) -> Option<SecretRule> {
        let min = self.number(&raw.min, "min", 1, SECRET_MAX_CHARS);
        let max = self.number(&raw.max, "max", 1, SECRET_MAX_CHARS);
        let forbid = raw.forbid.as_ref().map(|forbid| self.regex(forbid));
        let (min, max) = (min?, max?);
        if min > max {
            self.fault(raw.min.span(), "min must not be above max");
        }
        Some(SecretRule {
            min_chars: usize::try_from(min).ok()?,
            max_chars: usize::try_from(max).ok()?,
            forbid: forbid.flatten(),
        })
    }

    fn complaint(&mut self, raw: &format::Complaint) -> Option<Complaint> {
        let class = match raw.class {
            ClassName::Incompatible => Class::Incompatible,
            ClassName::Denied => Class::Denied,
            ClassName::Locked => Class::Locked,
            ClassName::Expired => Class::Expired,
            ClassName::Privilege => Class::Privilege,
            ClassName::Refused => Class::Refused,
            ClassName::Busy => Class::Busy,
            ClassName::NoAccount => Class::NoAccount,
            ClassName::Unknown => Class::Unknown,
        };
        let scope = match raw.scope {
            ScopeName::Account => Scope::Account,
            ScopeName::System => Scope::System,
        };
        Some(Complaint {
            pattern: self.regex(&raw.pattern)?,
            class,
            scope,
        })
    }

    /// An expression that searches in linear time and costs little to compile.
    fn regex(&mut self, raw: &Spanned<String>) -> Option<Regex> {
        let text = raw.get_ref();
        if text.contains("{secret:") || text.contains("{account}") {
            self.fault(raw.span(), "an expression has no placeholders");
            return None;
        }
        let built = RegexBuilder::new(text)
            .size_limit(REGEX_MAX_BYTES)
            .dfa_size_limit(REGEX_MAX_BYTES)
            .build();
        match built {
            Ok(regex) if regex.is_match("") => {
                self.fault(raw.span(), "the expression matches an empty text");
                None
            }
            Ok(regex) => Some(regex),
            Err(regex::Error::CompiledTooBig(_)) => {
                let text = format!("the expression takes more than {REGEX_MAX_BYTES} bytes");
                self.fault(raw.span(), text);
                None
            }
            Err(error) => {
                let last = error.to_string();
                let last = last.lines().last().unwrap_or_default();
                let last = last.trim_start_matches("error: ");
                self.fault(raw.span(), format!("no regular expression: {last}"));
                None
            }
        }
    }

    fn template(&mut self, raw: &Spanned<String>) -> Option<Template> {
        match Template::parse(raw.get_ref()) {
            Ok(template) => Some(template),
            Err(text) => {
                self.fault(raw.span(), text);
                None
            }
        }
    }

    /// A text that must not hold a secret; `what` says where it stands.
    fn open_template(&mut self, raw: &Spanned<String>, what: &str) -> Option<Template> {
        let template = self.template(raw)?;
        if template.secrets().next().is_some() {
            self.fault(raw.span(), format!("{what} must not hold a secret"));
        }
        Some(template)
    }
}
