//! Password rules: what a generated password looks like.
//!
//! Invariant: a rule that [`PasswordRule::alphabet`] accepts can be met, and quickly: see the
//! bound there.

use serde::{Deserialize, Serialize};

use super::id::RuleId;

/// Longest password, in characters. PAM cuts answers at 511 bytes; BeyondTrust ends at 255.
pub const LENGTH_MAX_CHARS: u16 = 255;

/// How a password is to be generated. Source: BeyondTrust Password Safe, `PasswordRules`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordRule {
    /// Its id; 0 is the default rule.
    pub id: RuleId,
    /// What people call it.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Shortest password that counts as following the rule, in characters.
    pub minimum_length: u16,
    /// Length of every generated password, in characters.
    pub maximum_length: u16,
    /// What a password may begin with.
    pub first_character_requirement: FirstCharacter,
    /// Lower-case letters.
    pub lowercase_requirement: Requirement,
    /// Upper-case letters.
    pub uppercase_requirement: Requirement,
    /// The digits `0` to `9`.
    pub numeric_requirement: Requirement,
    /// Symbols.
    pub symbol_requirement: Requirement,
    /// The lower-case letters to choose from.
    pub valid_lowercase_characters: Vec<char>,
    /// The upper-case letters to choose from.
    pub valid_uppercase_characters: Vec<char>,
    /// The symbols to choose from.
    pub valid_symbols: Vec<char>,
}

/// What a password may begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FirstCharacter {
    /// A letter.
    #[serde(rename = "C")]
    Letter,
    /// A letter or a digit.
    #[serde(rename = "N")]
    Alphanumeric,
    /// Anything.
    #[serde(rename = "A")]
    Any,
}

impl FirstCharacter {
    /// The vendor's letter: `C`, `N` or `A`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Letter => "C",
            Self::Alphanumeric => "N",
            Self::Any => "A",
        }
    }

    /// Whether a password may begin with it.
    pub fn admits(self, c: char) -> bool {
        match self {
            Self::Letter => c.is_ascii_alphabetic(),
            Self::Alphanumeric => c.is_ascii_alphanumeric(),
            Self::Any => true,
        }
    }
}

/// Whether a class of characters occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Requirement {
    /// Never.
    #[serde(rename = "N")]
    Never,
    /// Perhaps.
    #[serde(rename = "P")]
    Permitted,
    /// At least once.
    #[serde(rename = "R")]
    Required,
}

impl Requirement {
    /// The vendor's letter: `N`, `P` or `R`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Never => "N",
            Self::Permitted => "P",
            Self::Required => "R",
        }
    }
}

/// Why no password can follow a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Lengths out of bounds.
    #[error("lengths must be 1 to {LENGTH_MAX_CHARS}, and the minimum no more than the maximum")]
    Length,
    /// Nothing may occur.
    #[error("the rule permits no character at all")]
    NoCharacters,
    /// A required class has nothing to choose from.
    #[error("the rule requires a {class}, but lists none")]
    EmptyClass { class: &'static str },
    /// A list holds what it cannot.
    #[error("the list of {class}s holds {found:?}, which is none that every target understands")]
    WrongClass { class: &'static str, found: char },
    /// Nothing permitted may come first.
    #[error("no permitted character may come first")]
    NoFirstCharacter,
    /// Too short for what is required.
    #[error("the rule needs {needed} characters, but its maximum length is {maximum}")]
    TooShort { needed: u16, maximum: u16 },
}

/// Whether a character belongs to a class.
type Fits = fn(char) -> bool;

/// A rule that can be met, ready to draw from. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alphabet {
    /// Everything that may occur, each once.
    pub any: Vec<char>,
    /// What may come first.
    pub first: Vec<char>,
    /// The classes of which at least one character occurs.
    pub required: Vec<Vec<char>>,
    /// Length of the password, in characters.
    pub length: u16,
}

impl PasswordRule {
    /// The rules there are, the default first.
    pub fn all() -> Vec<Self> {
        vec![Self::default_rule()]
    }

    /// One of them; 0 is the default.
    pub fn built_in(id: i64) -> Option<Self> {
        Self::all().into_iter().find(|rule| rule.id.0 == id)
    }

    /// The built-in rule, id 0: 32 characters of all four classes, beginning with a letter.
    ///
    /// Behind a letter, its symbols mean nothing to shells, `chpasswd` or router consoles.
    /// Drawn from 68 characters, it holds 194 bits.
    pub fn default_rule() -> Self {
        Self {
            id: RuleId(0),
            name: "Default".to_owned(),
            description: "32 letters, digits and symbols that every target takes".to_owned(),
            minimum_length: 32,
            maximum_length: 32,
            first_character_requirement: FirstCharacter::Letter,
            lowercase_requirement: Requirement::Required,
            uppercase_requirement: Requirement::Required,
            numeric_requirement: Requirement::Required,
            symbol_requirement: Requirement::Required,
            valid_lowercase_characters: ('a'..='z').collect(),
            valid_uppercase_characters: ('A'..='Z').collect(),
            valid_symbols: "+-._=,".chars().collect(),
        }
    }

    /// What passwords by this rule are drawn from.
    ///
    /// All characters are printable ASCII, since targets disagree about everything else. So an
    /// alphabet has at most 95, and of all texts of the right length and a right beginning at
    /// least one in 2,000 holds every required class: drawing until one fits is quick.
    ///
    /// # Errors
    /// [`RuleError`] if no password can follow the rule.
    pub fn alphabet(&self) -> Result<Alphabet, RuleError> {
        let lengths = self.minimum_length..=self.maximum_length;
        if lengths.is_empty() || *lengths.start() < 1 || *lengths.end() > LENGTH_MAX_CHARS {
            return Err(RuleError::Length);
        }
        let digits: Vec<char> = ('0'..='9').collect();
        let mut alphabet = Alphabet {
            any: Vec::new(),
            first: Vec::new(),
            required: Vec::new(),
            length: self.maximum_length,
        };
        let classes: [(&'static str, Requirement, &[char], Fits); 4] = [
            (
                "lower-case letter",
                self.lowercase_requirement,
                &self.valid_lowercase_characters,
                |c| c.is_ascii_lowercase(),
            ),
            (
                "upper-case letter",
                self.uppercase_requirement,
                &self.valid_uppercase_characters,
                |c| c.is_ascii_uppercase(),
            ),
            ("digit", self.numeric_requirement, &digits, |c| {
                c.is_ascii_digit()
            }),
            (
                "symbol",
                self.symbol_requirement,
                &self.valid_symbols,
                |c| c == ' ' || c.is_ascii_punctuation(),
            ),
        ];
        for (class, requirement, listed, fits) in classes {
            if let Some(&found) = listed.iter().find(|&&c| !fits(c)) {
                return Err(RuleError::WrongClass { class, found });
            }
            let mut distinct = listed.to_vec();
            distinct.sort_unstable();
            distinct.dedup();
            match requirement {
                Requirement::Never => continue,
                Requirement::Permitted => {}
                Requirement::Required if distinct.is_empty() => {
                    return Err(RuleError::EmptyClass { class });
                }
                Requirement::Required => alphabet.required.push(distinct.clone()),
            }
            alphabet.any.append(&mut distinct);
        }
        self.completed(alphabet)
    }

    /// Finds what may come first, and whether everything fits into the length.
    fn completed(&self, mut alphabet: Alphabet) -> Result<Alphabet, RuleError> {
        if alphabet.any.is_empty() {
            return Err(RuleError::NoCharacters);
        }
        let admits = |c: &char| self.first_character_requirement.admits(*c);
        alphabet.first = alphabet.any.iter().copied().filter(|c| admits(c)).collect();
        if alphabet.first.is_empty() {
            return Err(RuleError::NoFirstCharacter);
        }
        // If no required class may come first, the first character serves none of them.
        let leads = alphabet.required.is_empty() || alphabet.required.iter().flatten().any(admits);
        let classes = u16::try_from(alphabet.required.len()).unwrap_or(u16::MAX);
        let needed = classes.saturating_add(u16::from(!leads));
        if self.maximum_length < needed {
            return Err(RuleError::TooShort {
                needed,
                maximum: self.maximum_length,
            });
        }
        Ok(alphabet)
    }
}
