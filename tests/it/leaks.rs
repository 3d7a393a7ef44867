//! Known secrets, sought wherever no secret may be.
//!
//! A service with trace logging brings in a real directory and a real host with canary
//! passwords, changes and tests them, and is asked many wrong things. Then every secret that came
//! up, in the forms in which one may leak, is sought in the database's bytes, the logs, the
//! metrics, the error bodies, the audit trail, its export and its anchors, the jobs, and the
//! arguments of every process.
//!
//! Invariant: a place that is empty, or a seeker that finds nothing, fails the test.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use keywheel::model::audit_chain::Anchor;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::daemon::{Daemon, Home, read_registration};
use crate::support::directory::{Directory, LDAP_FUNCTIONAL, LDAP_INITIAL};
use crate::support::fleet::Sshd;
use crate::support::wait::until;

/// Given to the host's functional account.
const SSH_FUNCTIONAL: &str = "Canary-func-7Qz4-kPw2";
/// Given through the interface as a new password.
const LDAP_GIVEN: &str = "Canary-ldap-9Rt5-mXc8";
/// Likewise.
const SSH_GIVEN: &str = "Canary-sshd-3Vb6-nHj1";
/// Stored without touching the target.
const STORED: &str = "Canary-kept-8Lf2-dYs7";
/// A person's.
const SIGN_IN: &str = "Canary-mine-4Hs6-tBw9";
/// Sent in calls that must fail.
const WRONG: [&str; 4] = [
    "Canary-line-1\nCanary-line-2",
    "Canary-json-5Gk3",
    "Canary-gone-6Wd9",
    "Canary-long-2Tn4",
];
/// Too short for the directory, which refuses it.
const SHORT: &str = "Zq7x!W";

/// A secret by what it is.
type Secrets = BTreeMap<String, Vec<u8>>;

/// Places that were searched, by their names.
type Places = BTreeMap<String, Vec<u8>>;

/// The forms in which a secret may turn up.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap();
    let digits = |byte: &u8| [digit(byte >> 4), digit(byte & 15)];
    let hex: String = secret.iter().flat_map(digits).collect();
    let mut forms = vec![
        secret.to_vec(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        STANDARD_NO_PAD.encode(secret).into_bytes(),
        secret.iter().rev().copied().collect(),
        secret.iter().flat_map(|byte| [*byte, 0]).collect(), // UTF-16LE
    ];
    if let Ok(text) = std::str::from_utf8(secret) {
        forms.push(format!("{text:?}").trim_matches('"').as_bytes().to_vec());
        forms.push(text.to_lowercase().into_bytes());
        // As a list of numbers, which `{:?}` of bytes prints.
        forms.push(
            format!("{secret:?}")
                .trim_matches(['[', ']'])
                .as_bytes()
                .to_vec(),
        );
    }
    forms
}

/// Where which secret was found.
fn leaks(places: &Places, secrets: &Secrets) -> Vec<String> {
    const HEAD: usize = 4;
    let mut by_head: HashMap<[u8; HEAD], Vec<(&str, Vec<u8>)>> = HashMap::new();
    for (what, secret) in secrets {
        for form in forms(secret) {
            let head = *form.first_chunk().expect("a secret of some length");
            by_head.entry(head).or_default().push((what, form));
        }
    }
    let mut found = BTreeSet::new();
    for (place, bytes) in places {
        for at in 0..bytes.len().saturating_sub(HEAD - 1) {
            let rest = &bytes[at..];
            let head: &[u8; HEAD] = rest.first_chunk().unwrap();
            for (what, form) in by_head.get(head).into_iter().flatten() {
                if rest.starts_with(form) {
                    found.insert(format!("{what} is in {place}"));
                }
            }
        }
    }
    found.into_iter().collect()
}

#[test]
fn the_seeker_finds_every_form() {
    let secret = b"Canary-self-4Mx1".to_vec();
    let secrets = Secrets::from([("canary".to_owned(), secret.clone())]);
    for form in forms(&secret) {
        let bytes = [b"before ", form.as_slice(), b" after"].concat();
        let places = Places::from([("here".to_owned(), bytes)]);
        assert_eq!(leaks(&places, &secrets), ["canary is in here"]);
    }
    let places = Places::from([("here".to_owned(), b"Canary-self-4Mx".to_vec())]);
    assert!(leaks(&places, &secrets).is_empty());
}

/// Reads the arguments and the environment's names of every process, again and again.
struct Arguments {
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<Vec<u8>>>,
}

impl Arguments {
    #[expect(clippy::disallowed_methods, reason = "a test's thread, joined below")]
    fn watch() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = stop.clone();
        let reader = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !until.load(Ordering::Relaxed) {
                for entry in std::fs::read_dir("/proc").unwrap().flatten() {
                    // A process may end while it is looked at.
                    if let Ok(arguments) = std::fs::read(entry.path().join("cmdline")) {
                        seen.insert(arguments);
                    }
                }
                std::thread::park_timeout(Duration::from_millis(1));
            }
            seen.into_iter().flatten().collect()
        });
        Self {
            stop,
            reader: Some(reader),
        }
    }

    fn seen(mut self) -> Vec<u8> {
        self.stop.store(true, Ordering::Relaxed);
        self.reader.take().unwrap().join().unwrap()
    }
}

/// A service at work on real targets.
struct World {
    slapd: Directory,
    sshd: Sshd,
    home: Home,
    client: Client,
    keys: (String, String),
    /// The systems: directory, host.
    systems: [i64; 2],
    /// Two accounts of each.
    accounts: [[i64; 2]; 2],
    secrets: Secrets,
}

impl World {
    async fn begin(daemon: &Daemon, home: Home) -> Self {
        let (slapd, sshd) = (Directory::openldap(), Sshd::start(SSH_FUNCTIONAL));
        let keys = home.keys();
        let client = Client::signed_in(&daemon.url, &keys).await;
        let directory = slapd.onboard(&client, None).await;
        let host = sshd.onboard(&client).await;
        let accounts = [
            [
                slapd.onboard_account(&client, directory, "u0").await,
                slapd.onboard_account(&client, directory, "u1").await,
            ],
            [
                sshd.onboard_account(&client, host, "kw_u0").await,
                sshd.onboard_account(&client, host, "kw_u1").await,
            ],
        ];
        let mut world = Self {
            slapd,
            sshd,
            home,
            client,
            keys,
            systems: [directory, host],
            accounts,
            secrets: Secrets::new(),
        };
        world.keep_known();
        world
    }

    fn keep(&mut self, what: &str, secret: &[u8]) {
        self.secrets.insert(what.to_owned(), secret.to_vec());
    }

    fn keep_known(&mut self) {
        let keys = self.keys.clone();
        for (what, secret) in [
            ("the directory's functional password", LDAP_FUNCTIONAL),
            ("the directory's first password", LDAP_INITIAL),
            ("the host's functional password", SSH_FUNCTIONAL),
            ("the host's first password", &Sshd::initial("kw_u0")),
            ("the password given for the directory", LDAP_GIVEN),
            ("the password given for the host", SSH_GIVEN),
            ("the stored password", STORED),
            ("the refused password", SHORT),
            ("a person's password", SIGN_IN),
            ("the native key", &keys.0),
            ("the Password Safe key", &keys.1),
        ] {
            self.keep(what, secret.as_bytes());
        }
        for (at, secret) in WRONG.iter().enumerate() {
            self.keep(&format!("wrong password {at}"), secret.as_bytes());
        }
        let kek = std::fs::read(self.home.data("kek.key")).unwrap();
        self.keep("the KEK", &kek);
    }

    async fn keep_generated(&mut self, which: &str, account: i64) {
        let password = self.client.reveal(account).await;
        let what = format!("the {which} generated password of {account}");
        self.keep(&what, password.as_bytes());
    }

    /// Changes, given passwords, tests that pass and fail, a bulk change.
    async fn work(&mut self) {
        for (accounts, given) in self.accounts.into_iter().zip([LDAP_GIVEN, SSH_GIVEN]) {
            for account in accounts {
                change(&self.client, account).await;
                self.keep_generated("first", account).await;
            }
            let path = format!("ManagedAccounts/{}/Credentials", accounts[0]);
            let body = json!({"Password": given});
            self.client.put(&path, &body).await.expect(204);
            assert_eq!(self.client.reveal(accounts[0]).await, given);
            test(&self.client, accounts[0], true).await;
        }
        assert!(self.slapd.accepts("u0", LDAP_GIVEN));
        assert!(self.sshd.accepts("kw_u0", SSH_GIVEN));
        // A password that the directory does not have.
        let [[refused, unknown], on_host] = self.accounts;
        let (id, secret) = read_registration(&self.home.data("admin-credentials.toml"));
        let issued = self.client.token(&id, &secret).await.expect(200).json();
        let token = issued["access_token"].as_str().expect("a token");
        self.client.sign_in_by_token(token).await.expect(200);
        self.keep("the client's secret", secret.as_bytes());
        self.keep("the access token", token.as_bytes());
        let path = format!("ManagedAccounts/{unknown}/Credentials");
        let stored = json!({"Password": STORED, "UpdateSystem": false});
        self.client.put(&path, &stored).await.expect(204);
        test(&self.client, unknown, false).await;
        change_all(&self.client, self.systems[1]).await;
        for account in on_host {
            self.keep_generated("second", account).await;
        }
        self.sign_in().await;
        ask_wrongly(&self.client, &self.keys, on_host[0]).await;
        let path = format!("ManagedAccounts/{refused}/Credentials");
        let short = self.client.put(&path, &json!({"Password": SHORT})).await;
        assert!(short.status >= 400, "{short:?}");
    }

    /// Somebody gets a password, signs in with it, and draws a second factor.
    async fn sign_in(&mut self) {
        let client = &self.client;
        let order = json!({"password": SIGN_IN});
        let path = "/api/v1/users/1/password";
        client.put_native(path, &order).await.expect(204);
        let order = json!({"name": "admin", "password": SIGN_IN});
        let opened = client.order("/api/v1/sessions", &order).await.expect(201);
        let wrong = json!({"password": "another, as long", "current": WRONG[2]});
        client.put_native(path, &wrong).await.expect(400);
        let drawn = client.order("/api/v1/users/1/totp", &json!({})).await;
        let drawn = drawn.expect(201).json();
        let url = drawn["otpauth_url"].as_str().unwrap();
        let secret = url.split(['=', '&']).nth(1).unwrap();
        let token = opened.json()["csrf_token"].as_str().unwrap().to_owned();
        self.keep("the session's token", token.as_bytes());
        self.keep("the second factor's secret", secret.as_bytes());
    }

    /// What the service answers, and what it has stored.
    async fn places(&self) -> Places {
        let client = &self.client;
        let mut places = Places::new();
        for path in ["audit", "systems", "accounts", "keys"] {
            let body = every_page(client, &format!("/api/v1/{path}")).await;
            places.insert(path.to_owned(), body.into_bytes());
        }
        let [directory, host] = self.systems;
        for path in [
            &format!("ManagedSystems/{directory}/ManagedAccounts"),
            &format!("ManagedSystems/{host}/ManagedAccounts"),
            "ManagedSystems",
            "FunctionalAccounts",
        ] {
            let body = client.get(path).await.expect(200).body;
            places.insert(path.to_owned(), body.into_bytes());
        }
        let mut jobs = String::new();
        let locations = client.locations.lock().unwrap().clone();
        for location in locations.iter().filter(|one| one.starts_with("/api/v1/")) {
            jobs.push_str(&client.native(location).await.expect(200).body);
        }
        let succeeded = jobs.matches("succeeded").count();
        assert!(succeeded >= 6, "too few jobs: {jobs}");
        places.insert("the jobs".to_owned(), jobs.into_bytes());
        let metrics = client.nobody("/metrics").await.expect(200).body;
        places.insert("the metrics".to_owned(), metrics.into_bytes());
        let errors = client.errors.lock().unwrap().join("\n");
        places.insert("the errors".to_owned(), errors.into_bytes());
        for name in ["keywheel.db", "keywheel.db-wal"] {
            let bytes = std::fs::read(self.home.data(name)).unwrap();
            places.insert(name.to_owned(), bytes);
        }
        places
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_anywhere_but_where_it_belongs() {
    let arguments = Arguments::watch();
    let home = Home::new();
    let daemon = home.serve_with(&[
        ("KEYWHEEL_LOG__LEVEL", "trace"),
        ("KEYWHEEL_AUDIT__ANCHOR_INTERVAL_S", "1"),
    ]);
    let mut world = World::begin(&daemon, home).await;
    world.work().await;
    let mut places = world.places().await;
    sealed_and_anchored(&world).await;
    assert_eq!(daemon.stop(), 0);
    let World {
        home, mut secrets, ..
    } = world;
    hand_over(&home, &mut places, &mut secrets);
    let database = std::fs::read(home.data("keywheel.db")).unwrap();
    places.insert("the database after the end".to_owned(), database);
    for log in home.logs() {
        let bytes = std::fs::read(&log).unwrap();
        places.insert(log.display().to_string(), bytes);
    }
    places.insert("the arguments of a process".to_owned(), arguments.seen());
    for (place, bytes) in &places {
        assert!(bytes.len() > 200, "{place} is empty");
    }
    assert!(places.len() >= 15, "{:?}", places.keys());
    assert!(secrets.len() >= 20, "{:?}", secrets.keys());

    let found = leaks(&places, &secrets);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    let credentials = std::fs::read(home.data("admin-credentials.toml")).unwrap();
    let control = Places::from([("their own file".to_owned(), credentials)]);
    assert_eq!(leaks(&control, &secrets).len(), 3, "the seeker is blind");
    // The places were the right ones: what is no secret is there.
    let all = places.values().flatten().copied().collect::<Vec<_>>();
    for name in ["kw_u0", "kw_func", "rotation.intended", "serve"] {
        assert!(
            all.windows(name.len())
                .any(|window| window == name.as_bytes()),
            "{name}"
        );
    }
}

/// Waits until the newest row has its place, and an anchor names it.
async fn sealed_and_anchored(world: &World) {
    until("every row is sealed and anchored", async || {
        let newest = world.client.native("/api/v1/audit?limit=1").await;
        let position = newest.expect(200).json()["items"][0]["position"].as_i64()?;
        let anchors = std::fs::read_to_string(world.home.data("audit-anchors.jsonl")).ok()?;
        let last = anchors
            .lines()
            .last()
            .map(|line| Anchor::parse(line).unwrap());
        (last?.seq >= position).then_some(())
    })
    .await;
}

/// What an auditor gets: rows and anchors are searched, the key is sought in everything else.
fn hand_over(home: &Home, places: &mut Places, secrets: &mut Secrets) {
    for (what, file) in [("export", "audit.jsonl"), ("key", "audit-key.json")] {
        let done = home.run(&["audit", what, "--out", file]);
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    let export = std::fs::read(home.path().join("audit.jsonl")).unwrap();
    let found = String::from_utf8_lossy(&export);
    for event in ["rotation.intended", "credential.revealed", "quarantine."] {
        assert!(found.contains(event), "{event} is not in the export");
    }
    places.insert("the export of the trail".to_owned(), export);
    let anchors = std::fs::read(home.data("audit-anchors.jsonl")).unwrap();
    places.insert("the anchors".to_owned(), anchors);
    let key = std::fs::read(home.path().join("audit-key.json")).unwrap();
    let key: Value = serde_json::from_slice(&key).unwrap();
    let digits = key["chain_key"].as_str().unwrap();
    let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..digits.len() / 2).map(byte).collect();
    secrets.insert("the audit trail's key".to_owned(), bytes);
}

/// A native list, to its end.
async fn every_page(client: &Client, path: &str) -> String {
    let mut all = String::new();
    let mut cursor = String::new();
    loop {
        let page = format!("{path}?limit=200{cursor}");
        let page = client.native(&page).await.expect(200);
        all.push_str(&page.body);
        match page.json()["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

async fn change(client: &Client, account: i64) {
    let path = format!("ManagedAccounts/{account}/Credentials/Change");
    client
        .post(&path, &json!({"Queue": false}))
        .await
        .expect(204);
}

async fn test(client: &Client, account: i64, works: bool) {
    let path = format!("ManagedAccounts/{account}/Credentials/Test");
    let tested = client.post(&path, &json!({})).await.expect(200);
    assert_eq!(tested.json()["Success"], works, "{tested:?}");
}

async fn change_all(client: &Client, system: i64) {
    let path = format!("ManagedSystems/{system}/ManagedAccounts/Credentials/Change");
    let ordered = client.post(&path, &json!({})).await;
    assert!(ordered.status < 300, "{ordered:?}");
    let location = ordered.location.expect("a Location");
    until("the quarantine has finished", async || {
        let answer = client.native(&location).await.expect(200).json();
        answer["finished_at"].is_string().then_some(())
    })
    .await;
}

/// Calls that must fail, each with a secret somewhere in it.
async fn ask_wrongly(client: &Client, keys: &(String, String), account: i64) {
    let credentials = format!("ManagedAccounts/{account}/Credentials");
    let [lines, json, gone, long] = WRONG;
    let two_lines = client.put(&credentials, &json!({"Password": lines})).await;
    assert!(two_lines.status >= 400, "{two_lines:?}");
    for body in [
        format!("{{\"Password\": \"{json}\""),
        format!("{{\"Password\": [\"{json}\"]}}"),
        format!("{{\"{json}\": \"{json}\"}}"),
        format!("\"{json}\""),
        json.to_owned(),
    ] {
        client.raw(Method::PUT, &credentials, body).await;
    }
    let nobody = client
        .put(
            "ManagedAccounts/99999/Credentials",
            &json!({"Password": gone}),
        )
        .await;
    assert!(nobody.status >= 400, "{nobody:?}");
    let long = long.repeat(200);
    let long = client.put(&credentials, &json!({"Password": long})).await;
    assert!(long.status >= 400, "{long:?}");
    // Keys in the wrong places.
    let half = &keys.1[..64];
    client.sign_in(&format!("{half}{half}")).await.expect(401);
    client
        .sign_in(&format!("{}; pwd=[{gone}]; x", keys.0))
        .await;
    client
        .with_key(&format!("{}0", keys.0))
        .native("/api/v1/users")
        .await
        .expect(401);
    client.nobody(&format!("/api/v1/{gone}")).await;
    let order = json!({"name": gone, "password": gone, "otp": gone});
    client.order("/api/v1/sessions", &order).await.expect(401);
    client
        .order("/api/v1/keys", &json!({"name": gone, "secret": gone}))
        .await;
}
