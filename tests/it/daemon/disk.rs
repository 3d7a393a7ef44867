//! A disk that fills up: what was acknowledged stays, what follows is refused.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::daemon::{Daemon, Home, read_keys};
use crate::support::program::{command, find, is_root};
use crate::support::wait::{eventually, until};

/// A small disk at a folder, in a mount namespace of its own.
pub(super) struct SmallDisk {
    pub(super) home: Home,
    folder: PathBuf,
    keeper: Child,
}

impl SmallDisk {
    /// At the data folder.
    fn new() -> Self {
        Self::at("keywheel-data")
    }

    /// At a folder of the service's home.
    pub(super) fn at(folder: &str) -> Self {
        assert!(
            is_root(),
            "this test needs root: it mounts a small disk for itself"
        );
        find("unshare", "util-linux");
        let home = Home::new();
        let folder = home.path().join(folder);
        std::fs::create_dir(&folder).unwrap();
        let mut keeper = command("unshare");
        keeper
            .args(["-m", "--propagation", "private", "sh", "-c"])
            .arg("mount -t tmpfs -o size=6m,mode=700 small \"$0\" && touch \"$0/there\" && read -r _")
            .arg(&folder)
            .stdin(Stdio::piped());
        let disk = Self {
            keeper: keeper.spawn().unwrap(),
            home,
            folder,
        };
        eventually("the disk is mounted", || {
            disk.inside("there").exists().then_some(())
        });
        disk
    }

    /// A file of the disk, as other processes reach it.
    pub(super) fn inside(&self, name: &str) -> PathBuf {
        PathBuf::from(format!(
            "/proc/{}/root{}",
            self.keeper.id(),
            self.folder.join(name).display()
        ))
    }

    fn serve(&self) -> Daemon {
        self.serve_with(&[])
    }

    pub(super) fn serve_with(&self, variables: &[(&str, &str)]) -> Daemon {
        let mut enter = command("nsenter");
        enter.envs(variables.iter().copied());
        // Entered last: the folder as it was before shows the large disk.
        enter
            .args(["-m", "-t", &self.keeper.id().to_string()])
            .arg(format!("--wdns={}", self.home.path().display()))
            .arg("--");
        self.home.serve_through(&mut enter)
    }

    /// Writes a file until not one byte fits.
    pub(super) fn fill(&self) {
        let mut ballast = std::fs::File::create(self.inside("ballast")).unwrap();
        for size in [65_536, 4_096, 1] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
    }

    pub(super) fn make_room(&self) {
        std::fs::remove_file(self.inside("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Its shell ends with its standard input, and the disk with it.
        drop(self.keeper.stdin.take());
        drop(self.keeper.wait());
    }
}

async fn order(client: &Client, account: i64) -> (u16, Option<String>, String) {
    let path = format!("ManagedAccounts/{account}/Credentials/Change");
    let answer = client.post(&path, &json!({"Queue": true})).await;
    (answer.status, answer.location, answer.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_no_acknowledged_order() {
    let disk = SmallDisk::new();
    let daemon = disk.serve();
    let keys = read_keys(&disk.inside("admin-credentials.toml"));
    let client = Client::signed_in(&daemon.url, &keys).await;
    let accounts = accounts(&client).await;
    let (first, rest) = accounts.split_first().unwrap();
    let before = order(&client, *first).await;
    assert_eq!(before.0, 204, "{before:?}");

    disk.fill();
    // The log may still have room in its pages; it is used up by what is acknowledged.
    let mut groups = Vec::new();
    let refusal = until("the disk is full", async || {
        let name = format!("group {:060}", groups.len());
        let answer = client.post("Workgroups", &json!({"Name": name})).await;
        if answer.status == 201 {
            groups.push((answer.id("ID"), name));
            return None;
        }
        Some(answer)
    })
    .await;
    assert_eq!(refusal.status, 507, "{refusal:?}");
    assert!(refusal.body.contains("out of space"), "{refusal:?}");
    let mut taken = vec![before.1.unwrap()];
    let mut refused = Vec::new();
    for account in rest {
        let (status, location, body) = order(&client, *account).await;
        match status {
            204 => taken.push(location.unwrap()),
            507 => refused.push(*account),
            other => panic!("{other} {body}"),
        }
    }
    assert!(!refused.is_empty(), "the disk was not full");

    daemon.kill();
    disk.make_room();
    let daemon = disk.serve();
    let client = Client::signed_in(&daemon.url, &keys).await;
    for location in &taken {
        client.native(location).await.expect(200);
    }
    for (id, name) in &groups {
        let found = client.get(&format!("Workgroups/{id}")).await.expect(200);
        assert_eq!(found.json()["Name"], name.as_str());
    }
    for account in refused {
        let jobs = client
            .native(&format!("/api/v1/jobs?account_id={account}"))
            .await
            .expect(200);
        let found = jobs.json();
        let jobs = found["items"].as_array().map_or(0, Vec::len);
        assert_eq!(jobs, 0, "a refused order was taken: {found}");
        let (status, _, body) = order(&client, account).await;
        assert_eq!(status, 204, "{body}");
    }
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_goes_on_once_there_is_room_again() {
    let disk = SmallDisk::new();
    let daemon = disk.serve();
    let keys = read_keys(&disk.inside("admin-credentials.toml"));
    let client = Client::signed_in(&daemon.url, &keys).await;
    disk.fill();
    let mut count = 0;
    let mut add = async || {
        count += 1;
        let name = format!("group {count:060}");
        client
            .post("Workgroups", &json!({"Name": name}))
            .await
            .status
    };
    until("the disk is full", async || {
        (add().await == 507).then_some(())
    })
    .await;
    disk.make_room();
    until("orders are taken again", async || {
        (add().await == 201).then_some(())
    })
    .await;
    assert_eq!(daemon.stop(), 0);
}

/// Accounts on a directory that nobody reaches.
async fn accounts(client: &Client) -> Vec<i64> {
    let group = client
        .post("Workgroups", &json!({"Name": "far away"}))
        .await
        .expect(201)
        .id("ID");
    let functional = json!({
        "PlatformID": 32,
        "AccountName": "cn=keywheel",
        "DisplayName": "far away",
        "Password": "not used",
    });
    let functional = client
        .post("FunctionalAccounts", &functional)
        .await
        .expect(201);
    let system = json!({
        "PlatformID": 32,
        "EntityTypeID": 3,
        "HostName": "far-away",
        "IPAddress": "127.0.0.1",
        "Port": 1,
        "FunctionalAccountID": functional.id("FunctionalAccountID"),
    });
    let path = format!("Workgroups/{group}/ManagedSystems");
    let system = client
        .post(&path, &system)
        .await
        .expect(201)
        .id("ManagedSystemID");
    let mut accounts = Vec::new();
    for number in 0..8 {
        let name = format!("u{number}");
        let account: Value = json!({
            "AccountName": name,
            "DistinguishedName": format!("uid={name},dc=far"),
            "Password": "at the start",
        });
        let path = format!("ManagedSystems/{system}/ManagedAccounts");
        accounts.push(
            client
                .post(&path, &account)
                .await
                .expect(201)
                .id("ManagedAccountID"),
        );
    }
    accounts
}
