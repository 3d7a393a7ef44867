//! What a connector process cannot do, asked of the kernel and not of our own words.

use std::net::Ipv4Addr;
use std::time::Duration;

use keywheel_connectors::wire::Enforced;
use keywheel_connectors::{
    Account, Connector, Credential, Elevation, Functional, SshTarget, TargetKind,
};
use tokio::net::TcpListener;

use super::{Stage, account, children, status, target};
use crate::support::daemon::Home;
use crate::support::program::is_root;

/// Handed to the process as its functional account's password.
const CANARY: &str = "Canary-wall-4Hs8-qTb2";

#[tokio::test(flavor = "multi_thread")]
async fn a_process_holds_nothing_and_may_do_nothing_else() {
    let stage = Stage::real("ssh", 1).await;
    let [id] = stage.pool.processes()[..] else {
        panic!("not one process");
    };
    assert_eq!(status(id, "NoNewPrivs"), "1");
    assert_eq!(status(id, "Seccomp"), "2");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status(id, set), "0000000000000000", "{set}");
    }
    if is_root() {
        let user = status(id, "Uid");
        assert!(user.split('\t').all(|id| id != "0"), "{user}");
        assert_eq!(status(id, "Groups"), "");
    }
    // Ctrl-C in the service's terminal goes to the service's own group.
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let group = stat.rsplit(')').next().unwrap().split_whitespace().nth(2);
    assert_eq!(group, Some(id.to_string().as_str()));
    let limits = std::fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    assert!(
        core.unwrap().split_whitespace().nth(4) == Some("0"),
        "{core:?}"
    );
    // What it tried itself, after it was confined.
    let [found] = stage.pool.confinements()[..] else {
        panic!("not one process");
    };
    assert_eq!(found.landlock, Enforced::Fully, "this kernel has Landlock");
    assert!(found.seccomp && !found.capable);
    assert!(!found.reads_files && !found.writes_files && !found.starts_programs);
    stage.end().await;
    assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_inherits_its_socket_and_the_log_alone() {
    let stage = Stage::fake(1).await;
    let canary = Credential::from(CANARY);
    let functional = Functional {
        account: account("changer"),
        credential: canary.clone(),
    };
    let target = target("good", Duration::from_secs(5));
    // Refused there, so it has crossed the wall.
    let opened = stage.remote.open(&target, Some(&functional)).await;
    assert!(opened.is_err_and(|reason| !reason.text.contains(CANARY)));
    let session = stage.remote.open(&target, None).await.unwrap();
    let u1: Account = account("u1");
    drop(session.check(&u1, &canary).await);
    let [id] = stage.pool.processes()[..] else {
        panic!("not one process");
    };
    assert_eq!(std::fs::read(format!("/proc/{id}/environ")).unwrap(), b"");
    let arguments = std::fs::read(format!("/proc/{id}/cmdline")).unwrap();
    assert!(arguments.starts_with(b"keywheel\0connector-worker\0fake\0"));
    let arguments = String::from_utf8(arguments).unwrap();
    assert!(!arguments.contains("Canary") && !arguments.contains("good"));
    for entry in std::fs::read_dir(format!("/proc/{id}/fd")).unwrap() {
        let entry = entry.unwrap();
        let number: u32 = entry.file_name().to_str().unwrap().parse().unwrap();
        let leads = std::fs::read_link(entry.path()).unwrap();
        let leads = leads.to_str().unwrap();
        let own = leads.starts_with("socket:") || leads.starts_with("anon_inode:[event");
        assert!(own || number == 1 || number == 2, "{number}: {leads}");
        assert!(number != 1 || leads == "/dev/null", "{leads}");
    }
    stage.end().await;
}

#[test]
fn processes_end_with_a_service_that_is_killed() {
    let home = Home::new();
    let daemon = home.serve();
    let before = children(daemon.pid());
    assert_eq!(before.len(), 3, "{before:?}");
    daemon.kill();
    crate::support::wait::eventually("the processes are gone", || {
        let gone = |(id, _): &(u32, String)| {
            let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            !String::from_utf8_lossy(&line).contains("connector-worker")
        };
        before.iter().all(gone).then_some(())
    });
}

#[test]
fn a_user_that_is_not_there_is_said_and_nothing_serves() {
    assert!(
        is_root(),
        "this test needs root: only root's processes become somebody else"
    );
    let home = Home::new();
    assert_eq!(home.run(&["init"]).code, Some(0));
    let user = ("KEYWHEEL_CONNECTORS__USER", "nobody-by-that-name");
    let ended = home.run_with(&["doctor"], &[user]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.err.contains("name one in connectors.user"),
        "{ended:?}"
    );
    let root = ("KEYWHEEL_CONNECTORS__USER", "root");
    let ended = home.run_with(&["doctor"], &[root]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.err.contains("a user other than root"), "{ended:?}");
    let fine = home.run(&["doctor"]);
    assert!(fine.out.contains("connector processes"), "{fine:?}");
    assert!(fine.out.contains("confined"), "{fine:?}");
}

#[test]
fn the_command_serves_nobody_but_the_service() {
    let home = Home::new();
    let ended = home.run(&["connector-worker", "ssh"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("is no socket"), "{ended:?}");
    let help = home.run(&["--help"]);
    assert!(!help.out.contains("connector-worker"), "it is hidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_still_finds_systems_by_their_names() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let stage = Stage::real("ssh", 1).await;
    let mut named = target("localhost", Duration::from_secs(1));
    named.port = listener.local_addr().unwrap().port();
    named.kind = TargetKind::Ssh(SshTarget {
        host_key: None,
        elevation: Elevation::None,
    });
    // It says nothing, so what was reached is told from what was not.
    let reached = stage.remote.identify(&named).await.unwrap_err();
    assert!(reached.text.contains("did not answer in time"), "{reached}");
    named.host = "no-such-host.invalid".to_owned();
    let missed = stage.remote.identify(&named).await.unwrap_err();
    assert!(missed.text.contains("takes no connection"), "{missed}");
    stage.end().await;
}
