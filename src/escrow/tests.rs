use age::x25519::Identity;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::*;

fn journal(path: &Path, identity: &Identity) -> (Journal, Held) {
    let recipient = identity.to_public().to_string();
    Journal::open(path, &recipient, Box::new(|| Timestamp(0))).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "tests compare what comes out")]
fn read_out(secret: &SecretString) -> &str {
    secret.expose_secret()
}

fn kept(id: i64, version: i64) -> Kept {
    Kept {
        owner: Owner::Account(id),
        part: "sealed",
        version,
        print: Print::of(&[1, 2, version.to_be_bytes()[7]]),
    }
}

fn read(path: &Path, identity: &Identity) -> Recovered {
    recover(BufReader::new(File::open(path).unwrap()), identity).unwrap()
}

#[tokio::test]
async fn what_was_kept_and_flushed_is_recovered_and_known() {
    let folder = tempfile::tempdir().unwrap();
    let (path, identity) = (folder.path().join("journal"), Identity::generate());
    let (first, held) = journal(&path, &identity);
    assert!(held.known.is_empty());
    first.keep(kept(7, 1), "one").unwrap();
    first.keep(kept(7, 2), "two").unwrap();
    assert_eq!(
        read(&path, &identity).values.len(),
        0,
        "nothing was flushed"
    );
    assert_eq!(first.unnamed(), [Owner::Account(7)]);
    first
        .name(Owner::Account(7), json!({"name": "web1/root"}))
        .unwrap();
    assert_eq!(first.unnamed(), []);
    first.hold(&[]).await.unwrap();
    first.hold(&[]).await.unwrap();
    first.keep(kept(7, 3), "three").unwrap();
    first
        .name(Owner::Account(7), json!({"name": "web1/root"}))
        .unwrap();
    first.hold(&[]).await.unwrap();
    let found = read(&path, &identity);
    assert_eq!((&found.torn[..], &found.foreign[..]), (&[][..], &[][..]));
    assert_eq!(
        found.names[&Owner::Account(7)],
        json!({"name": "web1/root"})
    );
    let values = &found.values[&Owner::Account(7)];
    let versions: Vec<_> = values.iter().map(|one| one.version).collect();
    assert_eq!(versions, [1, 2, 3]);
    let document: Value = serde_json::from_str(read_out(&found.document())).unwrap();
    let shown = document[0]["values"].as_array().unwrap().iter();
    let shown: Vec<_> = shown.map(|one| one["value"].as_str().unwrap()).collect();
    assert_eq!(shown, ["three", "two", "one"]);
    assert_eq!(document[0]["is"]["name"], "web1/root");
    let lines = std::fs::read_to_string(&path).unwrap();
    assert_eq!(lines.lines().count(), 4, "the name is written once");
    assert!(!lines.contains("web1"));
    let (_, held) = journal(&path, &identity);
    let known = held.known;
    assert!((1..4).all(|version| known.contains(&kept(7, version).print)));
    assert_eq!(known.len(), 3);
}

#[tokio::test]
async fn lines_that_were_cut_edited_or_moved_are_named_and_the_others_read() {
    let folder = tempfile::tempdir().unwrap();
    let (path, identity) = (folder.path().join("journal"), Identity::generate());
    let (first, _) = journal(&path, &identity);
    for version in 1..=4 {
        first.keep(kept(7, version), "value").unwrap();
    }
    first.hold(&[]).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // Of another version, of another account; and the last is cut short by a crash.
    lines[0] = lines[0].replace("\"version\":1", "\"version\":9");
    lines[1] = lines[1].replace("\"id\":7", "\"id\":8");
    lines[3].truncate(40);
    std::fs::write(&path, lines.join("\n")).unwrap();
    let (second, _) = journal(&path, &identity);
    second.keep(kept(7, 5), "last").unwrap();
    second.hold(&[]).await.unwrap();
    let found = read(&path, &identity);
    assert_eq!(found.foreign, [1, 2]);
    assert_eq!(found.torn, [4]);
    let values = &found.values[&Owner::Account(7)];
    let versions: Vec<_> = values.iter().map(|one| one.version).collect();
    assert_eq!(versions, [3, 5]);
    let stranger = read(&path, &Identity::generate());
    assert_eq!(stranger.foreign.len(), 4);
    assert!(stranger.values.is_empty());
}

#[tokio::test]
async fn a_line_after_one_that_was_cut_short_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (path, identity) = (folder.path().join("journal"), Identity::generate());
    let (journal, _) = journal(&path, &identity);
    // As a disk that was full leaves it.
    journal.file.lock().await.is_torn = true;
    std::fs::write(&path, "{\"at\":\"20").unwrap();
    journal.keep(kept(7, 1), "one").unwrap();
    journal.hold(&[kept(7, 1).print]).await.unwrap();
    journal.keep(kept(7, 2), "two").unwrap();
    journal.hold(&[kept(7, 2).print]).await.unwrap();
    let found = read(&path, &identity);
    assert_eq!(found.torn, [1]);
    assert_eq!(found.values[&Owner::Account(7)].len(), 2);
}

#[tokio::test]
async fn what_another_recipient_has_is_not_known() {
    let folder = tempfile::tempdir().unwrap();
    let (path, before) = (folder.path().join("journal"), Identity::generate());
    let (first, _) = journal(&path, &before);
    first.keep(kept(7, 1), "one").unwrap();
    first.hold(&[]).await.unwrap();
    assert!(journal(&path, &Identity::generate()).1.known.is_empty());
    assert_eq!(journal(&path, &before).1.known.len(), 1);
}

#[test]
fn a_journal_is_its_owners_alone_and_needs_a_public_key() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (path, identity) = (folder.path().join("journal"), Identity::generate());
    drop(journal(&path, &identity));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let now = || Box::new(|| Timestamp(0));
    let secret = identity.to_string();
    let refused = Journal::open(&path, read_out(&secret), now()).unwrap_err();
    assert!(matches!(refused, EscrowError::Recipient));
    let nowhere = folder.path().join("not/there");
    let public = identity.to_public().to_string();
    let refused = Journal::open(&nowhere, &public, now()).unwrap_err();
    assert!(matches!(refused, EscrowError::File { what: "opened", .. }));
}

#[tokio::test]
async fn what_was_committed_and_sent_is_noted_and_by_which_database() {
    let folder = tempfile::tempdir().unwrap();
    let (path, identity) = (folder.path().join("journal"), Identity::generate());
    let (first, held) = journal(&path, &identity);
    assert_eq!(held.store, None);
    first.begin("one");
    for version in 1..4 {
        first.keep(kept(7, version), "secret").unwrap();
    }
    let prints: Vec<_> = (1..3).map(|version| kept(7, version).print).collect();
    first.acknowledge(&prints, &[(7, 2)]);
    first.acknowledge(&[], &[]);
    assert_eq!(first.take_recent(), [(7, 1), (7, 2)]);
    assert_eq!(first.take_recent(), []);
    first.flush().await.unwrap();
    let mut held = first.held().await.unwrap();
    assert_eq!(held.store.as_deref(), Some("one"));
    assert_eq!(held.committed, prints.iter().copied().collect());
    assert_eq!(held.sent[&7].0, 2);
    assert!(held.is_committed(kept(7, 1).owner, "sealed", prints[0]));
    assert!(!held.is_committed(kept(7, 3).owner, "sealed", kept(7, 3).print));
    held.suppose_committed();
    assert_eq!(held.committed.len(), 3);
    let places = first.places(held.committed.clone()).await.unwrap();
    let places: Vec<_> = places
        .iter()
        .map(|one| (one.account, one.version))
        .collect();
    assert_eq!(places, [(7, 1), (7, 2), (7, 3)]);
    // What another database has committed says nothing of this one.
    first.begin("two");
    first.acknowledge(&[kept(7, 3).print], &[]);
    first.flush().await.unwrap();
    let (_, held) = journal(&path, &identity);
    assert_eq!(held.store.as_deref(), Some("two"));
    assert!(held.committed.is_empty() && held.sent.is_empty());
    assert_eq!(held.known.len(), 3);
    let recovered = read(&path, &identity);
    assert!(recovered.torn.is_empty() && recovered.foreign.is_empty());
    assert!(recovered.sent.contains(&(7, 2)));
}
