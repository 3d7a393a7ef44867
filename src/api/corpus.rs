//! A file of hashes of breached passwords: lines `SHA1HEX:count`, sorted, as the public corpora are
//! distributed. It may have any length: it is searched where it lies.
//!
//! Invariant: memory is bounded whatever the file holds, and a file out of order is told, as far as
//! the search comes across it, and never answers "not found" in its place.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::api::error::ApiError;

/// Read at once; below this a range is searched line by line.
const BLOCK_BYTES: usize = 4_096;
/// Longest line: a hash, a colon, a count of 19 digits, CR and LF.
const LINE_MAX_BYTES: usize = 64;
/// Lines that are looked at when the file is opened, evenly spread.
const SAMPLES: u64 = 1_000;

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum CorpusError {
    /// Set it.
    #[error("set reports.breached_file: the file of hashes of breached passwords")]
    NotSet,
    /// Correct the setting, or the file's mode.
    #[error("the file of reports.breached_file cannot be read: {0}")]
    Unreadable(std::io::ErrorKind),
    /// Get another file.
    #[error(
        "the file of reports.breached_file is no list of SHA1HEX:count lines: look near byte {at}"
    )]
    Malformed {
        /// Where.
        at: u64,
    },
    /// Sort it by its hashes.
    #[error("the file of reports.breached_file is not sorted by hash: look near byte {at}")]
    Unsorted {
        /// Where.
        at: u64,
    },
}

impl From<CorpusError> for ApiError {
    fn from(error: CorpusError) -> Self {
        Self::conflict(error.to_string())
    }
}

type Hash = [u8; 20];

/// The file, open.
#[derive(Debug)]
pub(super) struct Corpus {
    file: File,
    bytes: u64,
}

/// A line: where it begins, its hash, and how often that was seen.
struct Line {
    at: u64,
    hash: Hash,
    count: u64,
}

impl Corpus {
    /// Opens the file, and looks at some of its lines.
    ///
    /// # Errors
    /// [`CorpusError`].
    pub(super) fn open(path: Option<&Path>) -> Result<Self, CorpusError> {
        let path = path.ok_or(CorpusError::NotSet)?;
        let unreadable = |error: std::io::Error| CorpusError::Unreadable(error.kind());
        let file = File::open(path).map_err(unreadable)?;
        let about = file.metadata().map_err(unreadable)?;
        if !about.is_file() {
            return Err(CorpusError::Unreadable(std::io::ErrorKind::InvalidInput));
        }
        let corpus = Self {
            file,
            bytes: about.len(),
        };
        corpus.sample()?;
        Ok(corpus)
    }

    fn sample(&self) -> Result<(), CorpusError> {
        let step = (self.bytes / SAMPLES).max(1);
        let mut last: Option<Line> = None;
        let mut at = 0;
        while at < self.bytes {
            let Some(line) = self.line_from(at)? else {
                break;
            };
            if last.is_some_and(|last| last.at < line.at && last.hash >= line.hash) {
                return Err(CorpusError::Unsorted { at: line.at });
            }
            at = (at + step).max(line.at + 1);
            last = Some(line);
        }
        Ok(())
    }

    /// How often a hash was seen; `None`: the file has it not.
    ///
    /// # Errors
    /// [`CorpusError`].
    pub(super) fn find(&self, wanted: &Hash) -> Result<Option<u64>, CorpusError> {
        // The wanted line begins in `least..most`, if there is one.
        let (mut least, mut most) = (0, self.bytes);
        let (mut lowest, mut highest): (Option<Hash>, Option<Hash>) = (None, None);
        while most - least > BLOCK_BYTES as u64 {
            let middle = least + (most - least) / 2;
            let Some(line) = self.line_from(middle)?.filter(|line| line.at < most) else {
                most = middle;
                continue;
            };
            let ordered = lowest.is_none_or(|lowest| lowest < line.hash)
                && highest.is_none_or(|highest| line.hash < highest);
            if !ordered {
                return Err(CorpusError::Unsorted { at: line.at });
            }
            match line.hash.cmp(wanted) {
                std::cmp::Ordering::Equal => return Ok(Some(line.count)),
                std::cmp::Ordering::Less => {
                    least = line.at;
                    lowest = Some(line.hash);
                }
                std::cmp::Ordering::Greater => {
                    most = line.at;
                    highest = Some(line.hash);
                }
            }
        }
        self.scan((least, most), wanted)
    }

    /// Looks at each line that begins in a short range.
    fn scan(&self, (least, most): (u64, u64), wanted: &Hash) -> Result<Option<u64>, CorpusError> {
        let mut at = least;
        let mut before: Option<Hash> = None;
        while at < most {
            let Some(line) = self.line_from(at)?.filter(|line| line.at < most) else {
                break;
            };
            if before.is_some_and(|before| before >= line.hash) {
                return Err(CorpusError::Unsorted { at: line.at });
            }
            if line.hash == *wanted {
                return Ok(Some(line.count));
            }
            at = line.at + 1;
            before = Some(line.hash);
        }
        Ok(None)
    }

    /// The first line that begins at `from` or after it.
    fn line_from(&self, from: u64) -> Result<Option<Line>, CorpusError> {
        // One byte back: a line begins where another has ended.
        let start = from.saturating_sub(1);
        let mut block = [0; 3 * LINE_MAX_BYTES];
        let read = self.read(start, &mut block)?;
        let bytes = block.get(..read).unwrap_or_default();
        let skipped = if from == 0 {
            0
        } else {
            match bytes.iter().position(|byte| *byte == b'\n') {
                Some(end) => end + 1,
                None if self.bytes - start <= LINE_MAX_BYTES as u64 => return Ok(None),
                None => return Err(CorpusError::Malformed { at: start }),
            }
        };
        let at = start + skipped as u64;
        let rest = bytes.get(skipped..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let end = rest.iter().position(|byte| *byte == b'\n');
        let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() && at + rest.len() as u64 == self.bytes {
            return Ok(None); // an empty line at the end
        }
        let (hash, count) = parsed(line).ok_or(CorpusError::Malformed { at })?;
        Ok(Some(Line { at, hash, count }))
    }

    fn read(&self, at: u64, block: &mut [u8]) -> Result<usize, CorpusError> {
        let mut done = 0;
        while let Some(rest) = block.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, at + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(CorpusError::Unreadable(error.kind())),
            }
        }
        Ok(done)
    }
}

/// `SHA1HEX:count`.
fn parsed(line: &[u8]) -> Option<(Hash, u64)> {
    let (hex, rest) = line.split_at_checked(40)?;
    let mut hash = [0; 20];
    for (byte, two) in hash.iter_mut().zip(hex.chunks_exact(2)) {
        let [high, low] = two else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        *byte = u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?;
    }
    let count = std::str::from_utf8(rest.strip_prefix(b":")?).ok()?;
    Some((hash, count.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn hash(number: u32) -> Hash {
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        hash
    }

    fn line(number: u32) -> String {
        let digits = u128::from(number) << 96;
        format!("{digits:032X}00000000:{}", u64::from(number) + 7)
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn of(text: &str) -> Result<Corpus, CorpusError> {
        Corpus::open(Some(file(text).path()))
    }

    #[test]
    fn every_line_is_found_and_nothing_between_them() {
        for (count, end) in [
            (1, "\n"),
            (2, "\r\n"),
            (100, "\n"),
            (5_000, "\r\n"),
            (5_000, "\n"),
        ] {
            let lines: Vec<String> = (0..count).map(|nth| line(nth * 2 + 1)).collect();
            for tail in [end, ""] {
                let corpus = of(&(lines.join(end) + tail)).unwrap();
                for nth in 0..count {
                    let there = u64::from(nth * 2 + 1) + 7;
                    assert_eq!(corpus.find(&hash(nth * 2 + 1)).unwrap(), Some(there));
                    assert_eq!(corpus.find(&hash(nth * 2)).unwrap(), None, "{count} {nth}");
                }
                assert_eq!(corpus.find(&[0xff; 20]).unwrap(), None);
            }
        }
        assert_eq!(of("").unwrap().find(&hash(1)).unwrap(), None);
        let small = line(9).to_lowercase();
        assert_eq!(of(&small).unwrap().find(&hash(9)).unwrap(), Some(16));
    }

    #[test]
    fn what_is_no_sorted_list_says_so() {
        let turned = [line(2), line(1), String::new()].join("\n");
        assert!(matches!(of(&turned), Err(CorpusError::Unsorted { .. })));
        let twice = [line(2), line(2)].join("\n");
        assert!(matches!(of(&twice), Err(CorpusError::Unsorted { .. })));
        for text in ["hello\n", "A:1\n", &line(1)[..41], &"0".repeat(100_000)] {
            assert!(
                matches!(of(text), Err(CorpusError::Malformed { .. })),
                "{text:.50}"
            );
        }
        let missing = Corpus::open(Some(Path::new("/nowhere/at/all")));
        assert!(matches!(missing, Err(CorpusError::Unreadable(_))));
        assert!(matches!(Corpus::open(None), Err(CorpusError::NotSet)));
        let folder = tempfile::tempdir().unwrap();
        assert!(Corpus::open(Some(folder.path())).is_err());
    }

    #[test]
    fn a_line_out_of_place_in_a_long_file_is_met_by_whoever_looks_there() {
        let mut lines: Vec<String> = (0..5_000).map(|nth| line(nth * 2)).collect();
        lines.swap(2_500, 2_501);
        let text = lines.join("\n");
        let found = of(&text).and_then(|corpus| corpus.find(&hash(5_000)).map(drop));
        assert!(
            matches!(found, Err(CorpusError::Unsorted { .. })),
            "{found:?}"
        );
    }
}
