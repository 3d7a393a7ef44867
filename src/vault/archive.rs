//! Packs files into a ZIP, encrypted where a password was given.
//!
//! Invariant: under a password every entry is encrypted; the names of entries never are, and so hold
//! nothing.

use std::fmt;
use std::io::Write;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;
use zip::write::SimpleFileOptions;
use zip::{AesMode, AesSalt, CompressionMethod, DateTime, ZipWriter};

use crate::generate::Dice;
use crate::model::Timestamp;

/// Bytes of the salt that each entry's key is derived with. Source: WinZip, "AES Encryption
/// Information", 4.1: half of the key.
const SALT_BYTES: usize = 16;
/// Rights of an entry where it is unpacked: its owner's alone.
const OWNER_ALONE: u32 = 0o600;

/// One file of the ZIP.
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What is in it; wiped on drop.
    pub bytes: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({}, {} bytes)", self.name, self.bytes.len())
    }
}

/// The library did not pack; nothing was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the files could not be packed")]
pub struct ArchiveError;

/// Packs entries, compressed, and under a password encrypted with AES-256 (WinZip's AE-2). This takes
/// a while of the processor: keep it off the threads that answer.
///
/// The key is derived by a thousand rounds of PBKDF2, which the format prescribes: how long a file
/// withstands is up to the password.
///
/// # Errors
/// [`ArchiveError`].
///
/// Source: WinZip, "AES Encryption Information: Encryption Specification AE-1 and AE-2".
pub fn packed(
    entries: &[Entry],
    password: Option<&SecretString>,
    (dice, now): (&dyn Dice, Timestamp),
) -> Result<Vec<u8>, ArchiveError> {
    // As a stream: a writer that can go back notes the checksum of the plain text beside each
    // entry (AE-1), which tells whoever guesses a short value whether they are right.
    let mut file = ZipWriter::new_stream(Vec::new());
    for entry in entries {
        let plain = SimpleFileOptions::DEFAULT
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(modified(now))
            .unix_permissions(OWNER_ALONE);
        let started = match password {
            None => file.start_file(entry.name, plain),
            Some(password) => {
                let mut salt = [0; SALT_BYTES];
                dice.fill(&mut salt);
                let salt = AesSalt::try_new(AesMode::Aes256, &salt).map_err(|_| ArchiveError)?;
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the file's key is derived from its password"
                )]
                let password = password.expose_secret().as_bytes();
                file.start_file(
                    entry.name,
                    plain.with_aes_encryption_and_salt(password, salt),
                )
            }
        };
        started.map_err(|_| ArchiveError)?;
        file.write_all(&entry.bytes).map_err(|_| ArchiveError)?;
    }
    let done = file.finish().map_err(|_| ArchiveError)?;
    Ok(done.into_inner())
}

/// The format knows the years 1980 to 2107; outside of them an entry has its first moment.
fn modified(now: Timestamp) -> DateTime {
    use chrono::{Datelike, Timelike};
    let fields = |now: chrono::DateTime<chrono::Utc>| {
        let part = |number: u32| u8::try_from(number).ok();
        let year = u16::try_from(now.year()).ok()?;
        let (month, day) = (part(now.month())?, part(now.day())?);
        let (hour, minute) = (part(now.hour())?, part(now.minute())?);
        DateTime::from_date_and_time(year, month, day, hour, minute, part(now.second())?).ok()
    };
    now.to_utc().and_then(fields).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_as_old_as_its_file_within_the_years_of_the_format() {
        let text = |at: i64| modified(Timestamp(at)).to_string();
        assert_eq!(text(1_780_000_000_999), "2026-05-28 20:26:40");
        for beyond in [0, -1, i64::MIN, i64::MAX, 5_000_000_000_000] {
            assert_eq!(text(beyond), "1980-01-01 00:00:00", "{beyond}");
        }
    }
}
