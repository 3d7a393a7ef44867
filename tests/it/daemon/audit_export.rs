//! The audit trail handed out by the running service: exported by the API, followed on the command
//! line, anchored in a system's log.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use keywheel::model::audit_chain::{Anchor, Line};
use serde_json::json;
use tempfile::TempDir;

use super::audit::{HURRIED, anchors, edited, handed_over};
use crate::support::client::Client;
use crate::support::daemon::{Daemon, Home};
use crate::support::program::{command, find};
use crate::support::wait::eventually;

/// A service whose first rows are anchored.
fn anchored(settings: &[(&str, &str)]) -> (Home, Daemon) {
    let home = Home::new();
    let daemon = home.serve_with(&[&HURRIED, settings].concat());
    let file = home.data("audit-anchors.jsonl");
    eventually("the first rows are anchored", || {
        let anchors = anchors(&file);
        let last = anchors.last()?;
        (last.seq >= 6).then_some(())
    });
    (home, daemon)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_by_the_api_is_verified_offline_and_its_first_broken_row_is_named() {
    let (home, daemon) = anchored(&[]);
    let client = Client::new(&daemon.url, &home.keys().0);
    let auditor = handed_over(&home);
    let export = client.native("/api/v1/audit/export").await.expect(200);
    let beside = auditor.lines();
    let rows: Vec<String> = export.body.lines().map(str::to_owned).collect();
    assert_eq!(
        rows[..beside.len()],
        beside,
        "as the command line exports it"
    );
    let sound = auditor.verify_rows(&rows);
    assert_eq!(sound.code, Some(0), "{sound:?}");
    assert!(!sound.out.contains("; 0 anchors"), "{sound:?}");
    let mut changed = rows.clone();
    changed[3] = edited(&rows[3], |line| line.actor = "eve".to_owned());
    changed[5] = edited(&rows[5], |line| line.actor = "eve".to_owned());
    let id = Line::parse(&rows[3]).unwrap().id;
    auditor.broken(&changed, &[&format!("seq 4 (id {id}): mac")]);
    changed.truncate(3);
    auditor.broken(&changed, &["truncated", "rows end at seq 3"]);

    // A part is verified as a part.
    let part = client
        .native("/api/v1/audit/export?from=2&to=4")
        .await
        .expect(200);
    let file = auditor.file("part.jsonl");
    std::fs::write(&file, &part.body).unwrap();
    let anchors = ["part.jsonl", "--anchors", "anchors.jsonl"];
    let verify = |more: &[&str]| auditor.verify(&[&anchors, more].concat());
    let sound = verify(&["--from", "2", "--to", "4"]);
    assert_eq!(sound.code, Some(0), "{sound:?}");
    assert!(sound.out.contains("3 rows up to seq 4"), "{sound:?}");
    assert_eq!(verify(&["--from", "2"]).code, Some(1));
    let short: Vec<&str> = part.body.lines().take(2).collect();
    std::fs::write(&file, short.join("\n")).unwrap();
    let cut = verify(&["--from", "2", "--to", "4"]);
    assert_eq!(cut.code, Some(1), "{cut:?}");
    assert!(cut.out.contains("rows end at seq 3"), "{cut:?}");
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_is_followed_while_the_service_writes_it() {
    let (home, daemon) = anchored(&[]);
    let client = Client::new(&daemon.url, &home.keys().0);
    let newest = home.run(&["audit", "tail", "-n", "3", "--json"]);
    assert_eq!(newest.code, Some(0), "{newest:?}");
    let export = home.run(&["audit", "export"]);
    let rows: Vec<&str> = export.out.lines().collect();
    assert_eq!(
        newest.out.lines().collect::<Vec<_>>(),
        rows[rows.len() - 3..]
    );
    let words = home.run(&["audit", "tail", "--act", "audit.keys_made"]);
    assert_eq!(words.out.lines().count(), 1, "{words:?}");
    assert!(
        words.out.contains(" keywheel audit.keys_made "),
        "{words:?}"
    );

    let mut all = home.follow(&["audit", "tail", "--follow", "-n", "0", "--json"]);
    let before: i64 = i64::try_from(rows.len()).unwrap();
    for name in ["ada", "bob"] {
        let order = json!({"name": name, "display_name": name, "email": ""});
        client.order("/api/v1/users", &order).await.expect(201);
    }
    let order = json!({"name": "Night"});
    client.order("/api/v1/groups", &order).await.expect(201);
    let shown = eventually("the rows are followed", || {
        let shown: Vec<Line> = all
            .lines()
            .iter()
            .map(|line| Line::parse(line).unwrap())
            .collect();
        let made = shown.iter().any(|line| line.event == "group.created");
        made.then_some(shown)
    });
    let places: Vec<i64> = shown.iter().map(|line| line.seq).collect();
    let from_the_first: Vec<i64> = (before + 1..).take(places.len()).collect();
    assert_eq!(places, from_the_first, "each once, without gaps");
    let users = shown.iter().filter(|line| line.event == "user.created");
    assert_eq!(users.count(), 2);
    drop(all);
    let mut users = home.follow(&["audit", "tail", "-f", "--act", "user", "--actor", "ADMIN"]);
    let order = json!({"name": "carl", "display_name": "Carl", "email": ""});
    client.order("/api/v1/users", &order).await.expect(201);
    let shown = eventually("the filtered rows are followed", || {
        let shown = users.lines();
        (shown.len() == 3).then_some(shown)
    });
    assert!(
        shown
            .iter()
            .all(|line| line.contains(" admin user.created ")),
        "{shown:?}"
    );
    drop(users);
    assert_eq!(daemon.stop(), 0);
}

/// rsyslog, with settings of its own, in a folder of its own.
struct Rsyslog {
    child: Child,
    folder: TempDir,
}

impl Rsyslog {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("kwl").tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let settings = format!(
            "module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
             input(type=\"imuxsock\" Socket=\"{}\")\n\
             template(name=\"seen\" type=\"string\" string=\"{}\")\n\
             action(type=\"omfile\" file=\"{}\" template=\"seen\")\n",
            at("socket"),
            "%syslogfacility-text%.%syslogseverity-text% %programname%:%msg%\\n",
            at("log"),
        );
        std::fs::write(folder.path().join("rsyslog.conf"), settings).unwrap();
        let mut program = command(find("rsyslogd", "rsyslog"));
        program
            .args(["-n", "-f", &at("rsyslog.conf"), "-i", &at("pid")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("stderr")).unwrap());
        let child = program.spawn().unwrap();
        let mut started = Self { child, folder };
        eventually("rsyslog listens", || {
            let ended = started.child.try_wait().unwrap();
            assert_eq!(ended, None, "{}", started.read("stderr"));
            started.socket().exists().then_some(())
        });
        started
    }

    fn socket(&self) -> PathBuf {
        self.path("socket")
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        drop(self.child.wait());
    }
}

#[test]
fn a_systems_log_takes_the_anchors_whole() {
    let log = Rsyslog::start();
    let socket = log.socket().display().to_string();
    let (home, daemon) = anchored(&[
        ("KEYWHEEL_AUDIT__ANCHOR_SYSLOG", "true"),
        ("KEYWHEEL_AUDIT__ANCHOR_SYSLOG_SOCKET", &socket),
    ]);
    let logged = eventually("an anchor is logged", || {
        let text = log.read("log");
        let (whole, _) = text.rsplit_once('\n')?;
        let whole: Vec<String> = whole.lines().map(str::to_owned).collect();
        (!whole.is_empty()).then_some(whole)
    });
    assert_eq!(daemon.stop(), 0);
    let in_file = anchors(&home.data("audit-anchors.jsonl"));
    for line in logged {
        let anchor = line
            .strip_prefix("authpriv.notice keywheel: audit anchor ")
            .unwrap_or_else(|| panic!("{line}"));
        let anchor = Anchor::parse(anchor).unwrap();
        assert!(in_file.contains(&anchor), "{anchor:?}");
    }
    // The log's copy is as good a witness as the file.
    let auditor = handed_over(&home);
    let anchors: Vec<String> = log
        .read("log")
        .lines()
        .filter_map(|line| line.split_once("audit anchor "))
        .map(|(_, anchor)| anchor.to_owned())
        .collect();
    std::fs::write(auditor.file("anchors.jsonl"), anchors.join("\n")).unwrap();
    let sound = auditor.verify_rows(&auditor.lines());
    assert_eq!(sound.code, Some(0), "{sound:?}");
    assert!(!sound.out.contains("; 0 anchors"), "{sound:?}");
}
