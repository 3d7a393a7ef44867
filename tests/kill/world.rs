//! One service with its database, its targets and their accounts.
//!
//! Invariant: every account was tested with the password that its target began with.

use std::ops::Range;
use std::sync::Arc;

use age::x25519::Identity;
use keywheel::generate::{SystemDice, key_pair};
use keywheel::model::key_rule::KeyRule;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::base::{Base, Tables};
use crate::client::Client;
use crate::dice::Draws;
use crate::directory::Directory;
use crate::fleet::{Sshd, onboard_host};
use crate::kept::Kept;
use crate::line::Line;
use crate::node::Node;
use crate::postgres::Postgres;
use crate::tally::{THRESHOLD, Tally};
use crate::target::{Domain, FUNCTIONAL, Target};
use crate::wait::until;

/// A managed system, and the line to it.
pub(crate) struct System {
    pub(crate) id: i64,
    pub(crate) target: Target,
    pub(crate) line: Line,
    /// How much of its log has been read.
    pub(crate) log_read: u64,
}

/// A managed account.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) id: i64,
    /// Which of the systems.
    pub(crate) system: usize,
    pub(crate) name: String,
    pub(crate) is_functional: bool,
    pub(crate) has_key: bool,
}

/// What a world is made of.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// False: a file of SQLite's and one node; true: PostgreSQL and two nodes.
    pub(crate) shares: bool,
    /// Accounts of the host; the first has a key. 0: there is no host.
    pub(crate) host: usize,
    /// Settings of the host.
    pub(crate) host_settings: &'static [(&'static str, &'static str)],
    /// Accounts of the directory. 0: there is none.
    pub(crate) directory: usize,
}

/// One service under test.
pub(crate) struct World {
    pub(crate) base: Base,
    pub(crate) nodes: Vec<Node>,
    pub(crate) systems: Vec<System>,
    pub(crate) accounts: Vec<Account>,
    pub(crate) native: String,
    pub(crate) draws: Draws,
    pub(crate) tally: Tally,
    /// Opens the escrow journals.
    pub(crate) identity: Identity,
    /// Jobs that were accepted.
    pub(crate) accepted: Vec<i64>,
    /// Secrets of the clients that log in.
    pub(crate) folder: TempDir,
}

const SETTINGS: [(&str, &str); 8] = [
    // Peers learn by a silence that a node is dead.
    ("KEYWHEEL_QUEUE__BEAT_EVERY_S", "1"),
    ("KEYWHEEL_QUEUE__DEAD_AFTER_S", "5"),
    ("KEYWHEEL_SCHEDULER__REAP_EVERY_S", "1"),
    ("KEYWHEEL_QUEUE__RETRY_FIRST_S", "1"),
    ("KEYWHEEL_QUEUE__RETRY_MAX_S", "2"),
    ("KEYWHEEL_QUEUE__POLL_MS", "200"),
    ("KEYWHEEL_CONNECTORS__TIMEOUT_S", "8"),
    ("KEYWHEEL_AUTH__REVEALS_PER_MINUTE", "1000000"),
];

impl World {
    pub(crate) async fn begin(plan: Plan) -> Self {
        let draws = Draws::new(plan.seed);
        let identity = Identity::generate();
        let recipient = identity.to_public().to_string();
        let started = || service(plan.shares, &recipient);
        let (base, nodes) = tokio::task::block_in_place(started);
        let keys = nodes[0].keys();
        let client = Client::signed_in(nodes[0].url(), &keys).await;
        let mut world = Self {
            tally: Tally {
                name: base.name(),
                ..Tally::default()
            },
            base,
            nodes,
            systems: Vec::new(),
            accounts: Vec::new(),
            native: keys.0,
            draws,
            identity,
            accepted: Vec::new(),
            folder: tempfile::tempdir().unwrap(),
        };
        if plan.host > 0 {
            world.host(&client, plan.host, plan.host_settings).await;
        }
        if plan.directory > 0 {
            world.directory(&client, plan.directory).await;
        }
        world.test_all(&client).await;
        for (at, system) in world.systems.iter().enumerate() {
            let mut accounts = world.accounts.iter();
            let own = accounts.find(|one| one.system == at && one.is_functional);
            if let Some(own) = own {
                client.link(system.id, own.id).await;
            }
        }
        world
    }

    async fn test_all(&self, client: &Client) {
        for account in &self.accounts {
            let path = format!("/api/v1/accounts/{}/test", account.id);
            // A machine that is busy elsewhere may let a login's time run out.
            until(&format!("{} is tested", account.name), async || {
                let tested = client.order(&path, &json!({})).await.expect(200);
                (tested.json()["passed"] == true).then_some(())
            })
            .await;
        }
    }

    pub(crate) fn client(&self) -> Client {
        let up = self.nodes.iter().find(|node| node.is_up());
        up.expect("a node is up").client(&self.native)
    }

    pub(crate) async fn tables(&self) -> Tables {
        self.base.tables().await
    }

    pub(crate) async fn kept(&self) -> Kept {
        Kept::open(&self.base.url(), &self.nodes[0].kek()).await
    }

    pub(crate) fn account(&self, id: i64) -> &Account {
        self.accounts.iter().find(|one| one.id == id).unwrap()
    }

    /// Counts what was done, and ends the service in good order.
    pub(crate) async fn end(mut self) -> Tally {
        self.audit_books().await;
        let tables = self.tables().await;
        let committed = "SELECT COUNT(*) FROM rotations WHERE phase = 'committed'";
        self.tally.committed = tables.number(committed).await;
        let abandoned = "SELECT COUNT(*) FROM rotations WHERE phase = 'abandoned'";
        self.tally.abandoned = tables.number(abandoned).await;
        tables.close().await;
        tokio::task::block_in_place(|| {
            for node in self.nodes.drain(..) {
                node.stop();
            }
        });
        self.tally
    }

    async fn host(&mut self, client: &Client, accounts: usize, settings: &[(&str, &str)]) {
        let users = accounts.to_string();
        let deny = THRESHOLD.to_string();
        let mut all = vec![
            ("USERS", users.as_str()),
            ("FAILLOCK", &deny),
            ("HISTORY", "3"),
            ("KEYS", "1"),
        ];
        all.extend_from_slice(settings);
        let functional = Sshd::initial("kw_func");
        let sshd = tokio::task::block_in_place(|| Sshd::start_with(&functional, &all));
        let mut names: Vec<String> = (0..accounts).map(|nth| format!("kw_u{nth}")).collect();
        names.push("kw_func".to_owned());
        let target = Target::Host(sshd);
        let line = Line::to(target.address()).await;
        let near = std::net::Ipv4Addr::LOCALHOST;
        let id = onboard_host(client, near, line.port, &functional).await;
        // RSA's keys would take seconds each to draw.
        let path = format!("ManagedSystems/{id}");
        let mut system = client.get(&path).await.expect(200).json();
        system["DSSKeyRuleID"] = json!(1);
        client.put(&path, &system).await.expect(200);
        let at = self.add(client, id, target, line).await;
        let Target::Host(sshd) = &self.systems[at].target else {
            unreachable!()
        };
        for (nth, name) in names.into_iter().enumerate() {
            let account = sshd.onboard_account(client, id, &name).await;
            let is_functional = name == "kw_func";
            let has_key = nth == 0;
            if has_key {
                give_key(client, account).await;
            }
            self.accounts.push(Account {
                id: account,
                system: at,
                name,
                is_functional,
                has_key,
            });
        }
    }

    async fn directory(&mut self, client: &Client, accounts: usize) {
        let directory = tokio::task::block_in_place(Directory::openldap);
        let target = Target::Directory(directory);
        let line = Line::to(target.address()).await;
        let Target::Directory(directory) = &target else {
            unreachable!()
        };
        let id = directory.onboard(client, Some(line.port)).await;
        let mut found = vec![(
            directory.onboard_functional(client, id).await,
            FUNCTIONAL.to_owned(),
        )];
        for nth in 0..accounts {
            let name = format!("u{nth}");
            found.push((directory.onboard_account(client, id, &name).await, name));
        }
        let at = self.add(client, id, target, line).await;
        self.accounts
            .extend(found.into_iter().map(|(id, name)| Account {
                id,
                system: at,
                is_functional: name == FUNCTIONAL,
                name,
                has_key: false,
            }));
    }

    /// Brings some of a domain's accounts in.
    pub(crate) async fn join(&mut self, domain: Arc<Domain>, which: Range<usize>) {
        let keys = self.nodes[0].keys();
        let client = &Client::signed_in(self.nodes[0].url(), &keys).await;
        let target = Target::Domain(domain.clone());
        let line = Line::to(target.address()).await;
        let id = domain.directory.onboard(client, Some(line.port)).await;
        let at = self.add(client, id, target, line).await;
        for nth in which {
            let name = format!("u{nth}");
            let id = domain.directory.onboard_account(client, id, &name).await;
            self.accounts.push(Account {
                id,
                system: at,
                name,
                is_functional: false,
                has_key: false,
            });
        }
        self.test_all(client).await;
    }

    async fn add(&mut self, client: &Client, id: i64, target: Target, line: Line) -> usize {
        let locks = json!({"lockout_threshold": THRESHOLD});
        client.edit(&format!("/api/v1/systems/{id}"), &locks).await;
        self.systems.push(System {
            id,
            target,
            line,
            log_read: 0,
        });
        self.systems.len() - 1
    }
}

fn service(shares: bool, recipient: &str) -> (Base, Vec<Node>) {
    if !shares {
        let node = Node::start(&SETTINGS, recipient, None);
        return (Base::Sqlite(node.data("keywheel.db")), vec![node]);
    }
    let server = Postgres::start();
    let url = server.url();
    let mut settings = SETTINGS.to_vec();
    settings.push(("KEYWHEEL_DATABASE__URL", &url));
    settings.push(("KEYWHEEL_DATABASE__AUTO_MIGRATE", "true"));
    let first = Node::start(&settings, recipient, None);
    let second = Node::start(&settings, recipient, Some(&first));
    (Base::Postgres(server), vec![first, second])
}

/// An account's first key, which the service installs.
async fn give_key(client: &Client, account: i64) {
    let pair = key_pair(&KeyRule::all()[1], &SystemDice).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the harness gives it")]
    let private = pair.given.private.expose_secret();
    let given: Value = json!({"PublicKey": pair.public, "PrivateKey": private});
    let path = format!("ManagedAccounts/{account}/Credentials");
    client.put(&path, &given).await.expect(204);
}
