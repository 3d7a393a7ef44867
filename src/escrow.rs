//! The escrow journal: every credential, sealed to a key that is not here, on a disk of its own
//! before the database has it.
//!
//! A file of lines, JSON each. A value is a file of age (age-encryption.org/v1) for the recipient
//! that the settings name, and holds what it belongs to beside the value: `keywheel recover` opens
//! it, and so does `age` itself. Whoever has the file and the recipient's identity has every
//! credential that was staged or stored, whatever became of the database.
//!
//! Invariant: what was handed over before a flush began is on disk once it has succeeded, and
//! nothing in the service opens what it wrote here.

mod echo;
mod line;
mod read;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use age::x25519::Recipient;
use serde_json::Value;

use crate::model::Timestamp;

pub use echo::{Echo, EchoError, Echoed};
pub use line::{Kept, Owner, Print};
pub use read::{Belongs, Held, Known, Opened, Recovered, recover};

/// Owners whose rows have not come by then never do: their transactions were rolled back.
const NAMED_WITHIN: Duration = Duration::from_mins(15);

/// What waits for a disk that takes nothing.
const WAITING_MAX_BYTES: usize = 16 << 20;

/// Versions that are remembered until somebody has asked whether the database still has them.
const RECENT_MAX: usize = 10_000;

/// Why the journal cannot be kept. Nothing was stored, and no target heard of it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EscrowError {
    /// Correct the setting.
    #[error(
        "escrow.recipient is no public key of age; one begins with age1. Make a pair with: age-keygen"
    )]
    Recipient,
    /// Make room, or repair the disk; nothing is changed until then.
    #[error(
        "the escrow journal {path} cannot be {what}: {cause}. Nothing is stored or sent without it"
    )]
    File {
        /// Which.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why not.
        cause: Arc<io::Error>,
    },
    /// A defect, or the journal's disk took nothing for long.
    #[error("a value is not in the escrow journal; nothing was stored, try again")]
    Unknown,
    /// A defect of the library's.
    #[error("a value could not be sealed for the escrow journal")]
    Seal,
}

/// What waits to be written.
#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    /// Lines ever queued.
    queued: u64,
    /// Values among the lines that wait.
    waiting: Vec<Print>,
    /// Values that are on disk.
    kept: Known,
    /// Whose values were queued, and are not named in the file as they are now called.
    unnamed: BTreeMap<Owner, Timestamp>,
    /// How each was last named.
    named: BTreeMap<Owner, Value>,
    /// Values of accounts that are queued or written, and of which no commit is known: whose, which
    /// version, since when.
    pending: HashMap<Print, (i64, i64, Timestamp)>,
    /// Versions that the database has committed lately.
    recent: VecDeque<(i64, i64)>,
}

/// What time it is.
pub type Now = Box<dyn Fn() -> Timestamp + Send + Sync>;

/// The journal of this node.
pub struct Journal {
    recipient: Recipient,
    path: PathBuf,
    now: Now,
    queue: Mutex<Queue>,
    file: tokio::sync::Mutex<Lines>,
}

/// The journal's file.
struct Lines {
    file: Arc<File>,
    /// How many of the lines ever queued are on disk for certain.
    durable: u64,
    /// True: a write failed, and its last line may have been cut short.
    is_torn: bool,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens the journal, or begins it: for its owner alone, only ever appended to. Beside it, what it
    /// holds.
    ///
    /// # Errors
    /// [`EscrowError::Recipient`], [`EscrowError::File`].
    pub fn open(path: &Path, recipient: &str, now: Now) -> Result<(Self, Held), EscrowError> {
        let recipient: Recipient = recipient.parse().map_err(|_| EscrowError::Recipient)?;
        let failed = |what| {
            move |cause: io::Error| EscrowError::File {
                path: path.to_owned(),
                what,
                cause: Arc::new(cause),
            }
        };
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(failed("opened"))?;
        // A line that was cut short by a crash ends here; the next one begins anew.
        if !ends_whole(&mut file).map_err(failed("read"))? {
            file.write_all(b"\n").map_err(failed("written"))?;
        }
        file.rewind().map_err(failed("read"))?;
        let held = read::held(BufReader::new(&file), &recipient).map_err(failed("read"))?;
        // What a crash left may have been written and not synced: it counts from here on.
        file.sync_data().map_err(failed("made durable"))?;
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new(".")));
        folder
            .and_then(|it| it.sync_all())
            .map_err(failed("made durable"))?;
        let journal = Self {
            recipient,
            path: path.to_owned(),
            now,
            queue: Mutex::new(Queue {
                kept: held.known.clone(),
                ..Queue::default()
            }),
            file: tokio::sync::Mutex::new(Lines {
                file: Arc::new(file),
                durable: 0,
                is_torn: false,
            }),
        };
        Ok((journal, held))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seals a value that is about to be stored and queues it.
    ///
    /// # Errors
    /// [`EscrowError::Seal`].
    pub fn keep(&self, kept: Kept, value: &str) -> Result<(), EscrowError> {
        let now = (self.now)();
        let line = line::value(&self.recipient, kept, value, now)?;
        let mut queue = self.queue();
        queue.lines.extend_from_slice(&line);
        queue.queued += 1;
        queue.waiting.push(kept.print);
        queue.unnamed.insert(kept.owner, now);
        if let Owner::Account(id) = kept.owner {
            queue.pending.insert(kept.print, (id, kept.version, now));
        }
        Ok(())
    }

    /// Says whose journal it is from here on.
    pub fn begin(&self, store: &str) {
        self.push(line::Note {
            store: Some(store.to_owned()),
            ..line::Note::default()
        });
    }

    /// Notes what the database has committed: values, and versions (whose, which) that a target may
    /// hear of from now on. On disk with the next flush.
    pub fn acknowledge(&self, values: &[Print], sent: &[(i64, i64)]) {
        if values.is_empty() && sent.is_empty() {
            return;
        }
        self.push(line::Note {
            committed: values.iter().map(|print| print.text()).collect(),
            sent: sent.to_vec(),
            ..line::Note::default()
        });
        let mut queue = self.queue();
        for print in values {
            if let Some((account, version, _)) = queue.pending.remove(print) {
                queue.recent.push_back((account, version));
            }
        }
        while queue.recent.len() > RECENT_MAX {
            queue.recent.pop_front();
        }
    }

    fn push(&self, mut note: line::Note) {
        note.at = (self.now)().to_string();
        let mut queue = self.queue();
        queue.lines.extend_from_slice(&note.line());
        queue.queued += 1;
    }

    /// Versions (whose, which) that the database has committed since the last time.
    pub fn take_recent(&self) -> Vec<(i64, i64)> {
        let now = (self.now)();
        let mut queue = self.queue();
        queue
            .pending
            .retain(|_, (_, _, since)| now.since(*since) < NAMED_WITHIN);
        queue.recent.drain(..).collect()
    }

    /// What the file holds now, as its lines say.
    ///
    /// # Errors
    /// [`EscrowError::File`].
    pub async fn held(&self) -> Result<Held, EscrowError> {
        let recipient = self.recipient.clone();
        self.read(move |file| read::held(file, &recipient)).await
    }

    /// Where these values of accounts belong.
    ///
    /// # Errors
    /// [`EscrowError::File`].
    pub async fn places(&self, values: Known) -> Result<Vec<Belongs>, EscrowError> {
        self.read(move |file| read::places(file, &values)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        with: impl FnOnce(BufReader<File>) -> io::Result<T> + Send + 'static,
    ) -> Result<T, EscrowError> {
        let path = self.path.clone();
        let done = tokio::task::spawn_blocking(move || {
            File::open(path).map(BufReader::new).and_then(with)
        })
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the read did not end")));
        done.map_err(|cause| EscrowError::File {
            path: self.path.clone(),
            what: "read",
            cause: Arc::new(cause),
        })
    }

    /// Whose names are to be looked up before the next flush.
    pub fn unnamed(&self) -> Vec<Owner> {
        let now = (self.now)();
        let mut queue = self.queue();
        queue
            .unnamed
            .retain(|_, since| now.since(*since) < NAMED_WITHIN);
        queue.unnamed.keys().copied().collect()
    }

    /// Queues how an owner is called now, if that is new; a database that is lost names nobody.
    ///
    /// # Errors
    /// [`EscrowError::Seal`].
    pub fn name(&self, owner: Owner, name: Value) -> Result<(), EscrowError> {
        if self.queue().named.get(&owner) == Some(&name) {
            self.queue().unnamed.remove(&owner);
            return Ok(());
        }
        let line = line::name(&self.recipient, owner, &name, (self.now)())?;
        let mut queue = self.queue();
        queue.lines.extend_from_slice(&line);
        queue.queued += 1;
        queue.unnamed.remove(&owner);
        queue.named.insert(owner, name);
        Ok(())
    }

    /// Answers once these values are on disk, and whatever was queued before.
    ///
    /// # Errors
    /// [`EscrowError::File`]: what was queued stays so, and the next flush tries again;
    /// [`EscrowError::Unknown`].
    pub async fn hold(&self, values: &[Print]) -> Result<(), EscrowError> {
        self.flush().await?;
        let queue = self.queue();
        if values.iter().all(|value| queue.kept.contains(value)) {
            Ok(())
        } else {
            Err(EscrowError::Unknown)
        }
    }

    /// Answers once all that was queued is on disk.
    ///
    /// # Errors
    /// [`EscrowError::File`]: it stays queued, and the next flush tries again.
    pub async fn flush(&self) -> Result<(), EscrowError> {
        let wanted = self.queue().queued;
        let mut to = self.file.lock().await;
        if to.durable >= wanted {
            return Ok(());
        }
        let (mut lines, queued, values) = {
            let queue = self.queue();
            (queue.lines.clone(), queue.queued, queue.waiting.len())
        };
        let written = lines.len();
        if to.is_torn {
            // Or the first line would be part of what was cut short, and be lost with it.
            lines.insert(0, b'\n');
        }
        let file = to.file.clone();
        // Until this has succeeded; whoever hangs up meanwhile leaves the same doubt behind.
        to.is_torn = true;
        let done = tokio::task::spawn_blocking(move || {
            let mut file = file.as_ref();
            file.write_all(&lines).and_then(|()| file.sync_data())
        })
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the write did not end")));
        let mut queue = self.queue();
        if let Err(cause) = done {
            if queue.lines.len() > WAITING_MAX_BYTES {
                // Whoever still wants one of these to be held is refused.
                queue.lines.clear();
                queue.waiting.clear();
            }
            return Err(EscrowError::File {
                path: self.path.clone(),
                what: "written",
                cause: Arc::new(cause),
            });
        }
        queue.lines.drain(..written);
        let kept: Vec<Print> = queue.waiting.drain(..values).collect();
        queue.kept.extend(kept);
        to.is_torn = false;
        to.durable = queued;
        Ok(())
    }
}

/// True if a file is empty or its last line is whole.
fn ends_whole(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests;
