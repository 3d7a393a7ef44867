//! One node of the service under test: started, killed, stopped, continued.
//!
//! Invariant: only the service's process and its own children are signalled, by their ids.

use std::os::unix::process::ExitStatusExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::Client;
use crate::daemon::{Daemon, Home};

/// What a supervisor tries before it gives up.
const STARTS_MAX: usize = 3;
/// Each node's own, in its folder.
const JOURNAL: &str = "escrow";

/// A node and its files.
pub(crate) struct Node {
    home: Home,
    variables: Vec<(String, String)>,
    daemon: Option<Daemon>,
}

impl Node {
    /// The first node of a database, or a peer of one that is there.
    pub(crate) fn start(variables: &[(&str, &str)], recipient: &str, peer: Option<&Self>) -> Self {
        let mut variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        if let Some(peer) = peer {
            let kek = peer.kek().display().to_string();
            variables.push(("KEYWHEEL_KEYRING__KEK_FILE".to_owned(), kek));
        }
        let home = Home::new();
        for (name, value) in [
            ("KEYWHEEL_ESCROW__RECIPIENT", recipient.to_owned()),
            (
                "KEYWHEEL_ESCROW__JOURNAL",
                home.path().join(JOURNAL).display().to_string(),
            ),
        ] {
            variables.push((name.to_owned(), value));
        }
        let mut node = Self {
            home,
            variables,
            daemon: None,
        };
        node.resume();
        node
    }

    /// Starts it anew, and waits until it is ready. On a machine that has no time for it, its peers
    /// may take it for dead before it has shown that it lives: then it is started once more.
    pub(crate) fn resume(&mut self) {
        let variables = self.variables.iter();
        let variables: Vec<_> = variables
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        for _ in 1..STARTS_MAX {
            let start = AssertUnwindSafe(|| self.home.serve_with(&variables));
            if let Ok(daemon) = catch_unwind(start) {
                self.daemon = Some(daemon);
                return;
            }
        }
        self.daemon = Some(self.home.serve_with(&variables));
    }

    pub(crate) fn kek(&self) -> PathBuf {
        self.home.data("kek.key")
    }

    /// What it has escrowed.
    pub(crate) fn journal(&self) -> PathBuf {
        self.home.path().join(JOURNAL)
    }

    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.home.data(name)
    }

    pub(crate) fn keys(&self) -> (String, String) {
        self.home.keys()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.daemon.is_some()
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> &str {
        &self.running().url
    }

    /// What it is in the database.
    pub(crate) fn id(&self) -> i64 {
        let said = self.running().said();
        let (_, after) = said.split_once(" node=").expect("it says which node it is");
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    }

    /// A caller of it, with the administrator's key of the first node.
    pub(crate) fn client(&self, native: &str) -> Client {
        Client::new(self.url(), native)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.running().pid()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// SIGKILL, and its end. False: it had ended by itself.
    pub(crate) fn kill(&mut self) -> bool {
        self.signal(Signal::SIGKILL);
        let ended = self.daemon.take().unwrap().ended();
        ended.signal() == Some(9)
    }

    /// True if it has ended by itself; then it is down.
    pub(crate) fn has_ended(&mut self) -> bool {
        let pid = self.running().pid();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map_or("Z", |(_, after)| after);
        if !state.starts_with('Z') {
            return false;
        }
        let ended = self.daemon.take().unwrap().ended();
        assert!(ended.code().is_some(), "it ended by a signal: {ended}");
        true
    }

    pub(crate) fn stop(mut self) {
        let daemon = self.daemon.take().unwrap();
        assert_eq!(daemon.stop(), 0);
    }

    /// Its connector processes.
    pub(crate) fn workers(&self) -> Vec<Pid> {
        let parent = self.running().pid();
        let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).unwrap();
        let children = tasks.flatten().filter_map(|task| {
            let children = std::fs::read_to_string(task.path().join("children")).ok()?;
            let ids = children.split_whitespace().map(|id| id.parse().unwrap());
            Some(ids.map(Pid::from_raw).collect::<Vec<_>>())
        });
        children.flatten().collect()
    }

    fn running(&self) -> &Daemon {
        self.daemon.as_ref().expect("the node runs")
    }
}
