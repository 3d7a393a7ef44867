//! Unpacks ZIP files with a program that is not ours: Debian's 7-Zip.
//!
//! Invariant: what it refuses is an error, and never an empty file.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use super::program::{command, find};

/// The files of a ZIP by name, or what the program said. The password goes in by standard input.
pub(crate) fn unpacked(bytes: &[u8], password: &str) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let folder = tempfile::tempdir().unwrap();
    let (file, into) = (folder.path().join("export.zip"), folder.path().join("into"));
    std::fs::write(&file, bytes).unwrap();
    let into_switch = format!("-o{}", into.display());
    ran(&["x", "-y", &into_switch], &file, password)?;
    let found = std::fs::read_dir(&into).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, std::fs::read(entry.path()).unwrap())
    });
    Ok(found.collect())
}

/// What the program says of each entry, without a password.
pub(crate) fn described(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("export.zip");
    std::fs::write(&file, bytes).unwrap();
    ran(&["l", "-slt"], &file, "").unwrap()
}

fn ran(order: &[&str], file: &Path, password: &str) -> Result<String, String> {
    let mut child = command(find("7zz", "7zip"))
        .args(order)
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without having asked.
    drop(writeln!(child.stdin.take().unwrap(), "{password}"));
    let output = child.wait_with_output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(said(&output.stdout))
    } else {
        Err(said(&output.stderr))
    }
}
