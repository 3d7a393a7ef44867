//! Both sides keep to the format, and end whoever does not.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use keywheel::worker::Options;
use keywheel_connectors::fake::Fake;
use keywheel_connectors::wire::{
    self, Answer, Confinement, Enforced, FRAME_MAX_BYTES, FromProcess, Hello, ToProcess,
};
use keywheel_connectors::{Class, Connector, LdapTarget, TargetKind};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::{Stage, options, target};
use crate::support::program::command;
use crate::support::wait::{eventually, until};

fn hello(connector: &str) -> Vec<u8> {
    let hello = Hello {
        connector: connector.to_owned(),
        confinement: Confinement {
            user: 1,
            landlock: Enforced::No,
            seccomp: false,
            reads_files: false,
            writes_files: false,
            starts_programs: false,
            capable: false,
        },
    };
    wire::encode(&FromProcess::Hello(hello)).unwrap().to_vec()
}

fn length(bytes: usize) -> Vec<u8> {
    u32::try_from(bytes).unwrap().to_be_bytes().to_vec()
}

fn message(message: &FromProcess) -> Vec<u8> {
    wire::encode(message).unwrap().to_vec()
}

/// A process that says this and then waits.
fn says(folder: &std::path::Path, words: &[u8]) -> Options {
    let (script, said) = (folder.join("process"), folder.join("said"));
    std::fs::write(&said, words).unwrap();
    let text = format!(
        "#!/bin/sh\n/bin/cat {} >&0\nexec /bin/sleep 60\n",
        said.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    Options {
        program: script,
        ..options(1)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_breaks_the_format_is_killed() {
    let answer = Answer::Closed;
    for (what, breach) in [
        ("an oversized frame", length(FRAME_MAX_BYTES + 1)),
        ("four gigabytes", length(u32::MAX as usize)),
        ("no message", [length(2), vec![9, 9]].concat()),
        ("a message and a half", [length(3), vec![2, 1, 0]].concat()),
        ("a second greeting", hello("fake")),
        (
            "an answer nobody asked for",
            message(&FromProcess::Answer { id: 1, answer }),
        ),
        (
            "a sign of life nobody asked for",
            message(&FromProcess::Pong { number: 9 }),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let words = [hello("fake"), breach].concat();
        let options = says(folder.path(), &words);
        let stage = Stage::idle("fake", Arc::new(Fake::default()), options);
        until(what, async || {
            let ended = "connector_process_exits_total{connector=\"other\",reason=\"malformed\"}";
            (stage.series(ended) > 0).then_some(())
        })
        .await;
        stage.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_does_not_serve() {
    let folder = tempfile::tempdir().unwrap();
    let options = says(folder.path(), &hello("ldap"));
    let stage = Stage::idle("fake", Arc::new(Fake::default()), options);
    until("it is turned away", async || {
        let ended = "connector_process_exits_total{connector=\"other\",reason=\"not_started\"}";
        (stage.series(ended) > 0).then_some(())
    })
    .await;
    assert!(!stage.pool.ready());
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_beyond_the_limit_is_refused_and_harms_nobody() {
    let stage = Stage::fake(1).await;
    let before = stage.pool.processes();
    let mut large = target("good", Duration::from_secs(5));
    large.kind = TargetKind::Ldap(LdapTarget {
        starttls: false,
        ca_pem: "x".repeat(FRAME_MAX_BYTES),
        server_name: None,
        base_dn: String::new(),
        flavour: None,
        key_attribute: None,
    });
    let reason = stage.remote.open(&large, None).await.map(drop).unwrap_err();
    assert_eq!(reason.class, Class::Incompatible);
    assert!(reason.text.contains("certificate bundle"), "{reason}");
    assert_eq!(stage.pool.processes(), before);
    stage.end().await;
}

#[tokio::test]
async fn a_process_ends_on_a_frame_that_is_none() {
    let cut = wire::encode(&ToProcess::Ping { number: 1 }).unwrap();
    for (what, words) in [
        ("an oversized frame", length(FRAME_MAX_BYTES + 1)),
        ("no message", [length(1), vec![9]].concat()),
        ("half a message", cut[..cut.len() - 1].to_vec()),
    ] {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut program = command(env!("CARGO_BIN_EXE_keywheel"));
        program.env_clear().args(["connector-worker", "ssh"]);
        program.stdin(Stdio::from(OwnedFd::from(theirs)));
        let mut process = program.stderr(Stdio::null()).spawn().unwrap();
        // Holds the other end of the socket.
        drop(program);
        ours.set_nonblocking(true).unwrap();
        let mut ours = UnixStream::from_std(ours).unwrap();
        let greeting = wire::read::<FromProcess>(&mut ours).await;
        assert!(
            matches!(greeting, Ok(Some(FromProcess::Hello(_)))),
            "{what}"
        );
        ours.write_all(&words).await.unwrap();
        ours.shutdown().await.unwrap();
        let status = eventually(what, || process.try_wait().unwrap());
        assert_eq!(status.code(), Some(1), "{what}");
    }
}
