//! Where anchors go: outside of the database, where whoever changes it does not reach.
//!
//! Invariant: an anchor is on disk before it counts as written.

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// Facility 10 (security), severity 5 (notice). Source: RFC 5424, 6.2.1.
const PRIORITY: u8 = 10 * 8 + 5;
/// Mode of the file: anchors are no secret, but only the service writes them.
const FILE_MODE: u32 = 0o640;

/// Where anchors go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorSink {
    /// A file to which lines are appended.
    pub file: PathBuf,
    /// The socket of the system's log, if it takes them too.
    pub syslog: Option<PathBuf>,
}

/// An anchor was not written.
#[derive(Debug, thiserror::Error)]
#[error("an anchor could not be written to {}: {source}; correct its path or rights (section audit of the settings)", path.display())]
pub struct SinkError {
    path: PathBuf,
    source: io::Error,
}

impl SinkError {
    /// The thread that wrote has panicked.
    pub(super) fn panicked(error: tokio::task::JoinError) -> Self {
        Self {
            path: PathBuf::new(),
            source: io::Error::other(error),
        }
    }
}

impl AnchorSink {
    /// Appends a line to the file, durably, and tells the system's log.
    ///
    /// # Errors
    /// [`SinkError`]; the line may be in the file all the same.
    pub(super) fn write(&self, line: &str) -> Result<(), SinkError> {
        append(&self.file, line).map_err(failed(&self.file))?;
        match &self.syslog {
            Some(socket) => tell(socket, line).map_err(failed(socket)),
            None => Ok(()),
        }
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> SinkError + use<'_> {
    move |source| SinkError {
        path: path.to_owned(),
        source,
    }
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(FILE_MODE)
        .open(path)?;
    // A line that a full disk cut short must not swallow this one.
    let mut last = [b'\n'];
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let before = if last == *b"\n" { "" } else { "\n" };
    file.write_all(format!("{before}{line}\n").as_bytes())?;
    file.sync_all()
}

fn tell(socket: &Path, line: &str) -> io::Result<()> {
    let message = format!("<{PRIORITY}>keywheel: audit anchor {line}");
    let ours = UnixDatagram::unbound()?;
    // A log that does not read must not hold the tick.
    ours.set_nonblocking(true)?;
    ours.send_to(message.as_bytes(), socket).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_to_the_file_and_to_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("log");
        let log = UnixDatagram::bind(&socket).unwrap();
        let sink = AnchorSink {
            file: folder.path().join("anchors.jsonl"),
            syslog: Some(socket.clone()),
        };
        for line in ["{\"seq\":1}", "{\"seq\":2}"] {
            sink.write(line).unwrap();
            let mut told = [0; 256];
            let length = log.recv(&mut told).unwrap();
            let wanted = format!("<85>keywheel: audit anchor {line}");
            assert_eq!(&told[..length], wanted.as_bytes());
        }
        let written = std::fs::read_to_string(&sink.file).unwrap();
        assert_eq!(written, "{\"seq\":1}\n{\"seq\":2}\n");
        std::fs::write(&sink.file, "{\"se").unwrap();
        sink.write("{\"seq\":3}").unwrap();
        let written = std::fs::read_to_string(&sink.file).unwrap();
        assert_eq!(written, "{\"se\n{\"seq\":3}\n");
        drop(log);
        let refused = sink.write("{}").unwrap_err().to_string();
        assert!(refused.contains("log"), "{refused}");
    }
}
