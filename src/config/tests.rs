//! What settings refuse, and which layer wins.
//!
//! Invariant: no test reads the environment of the process.

mod fuzz;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use secrecy::ExposeSecret;

use super::*;

/// A folder that holds every file of a test, and the inputs that read it.
struct World {
    folder: tempfile::TempDir,
    inputs: Inputs,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let system_dir = Some(folder.path().join("etc"));
        Self {
            inputs: Inputs {
                system_dir,
                ..Inputs::default()
            },
            folder,
        }
    }

    fn file(self, name: &str, mode: u32, text: &str) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.inputs
            .environment
            .insert(name.to_owned(), value.to_owned());
        self
    }

    fn flag(mut self, key: &str, value: &str) -> Self {
        self.inputs.flags.push((key.to_owned(), value.to_owned()));
        self
    }

    fn credentials(mut self) -> Self {
        self.inputs.credentials = Some(self.path("credentials"));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn load(&self) -> Loaded {
        load(&self.inputs).unwrap()
    }

    /// The faults, as `key: what`.
    fn faults(&self) -> Vec<String> {
        let faults = load(&self.inputs).unwrap_err();
        faults
            .0
            .iter()
            .map(|fault| format!("{}: {}", fault.key, fault.what))
            .collect()
    }
}

fn url_of(settings: &Settings) -> String {
    match settings.database_target() {
        #[expect(clippy::disallowed_methods, reason = "the test compares it")]
        DatabaseTarget::Postgres(url) => url.expose_secret().to_owned(),
        DatabaseTarget::Sqlite(file) => file.display().to_string(),
    }
}

#[test]
fn without_anything_the_defaults_hold() {
    let loaded = World::new().load();
    assert_eq!(loaded.settings, Settings::default());
    assert!(loaded.warnings.is_empty() && loaded.origins.is_empty());
    assert_eq!(url_of(&loaded.settings), "./keywheel-data/keywheel.db");
    assert_eq!(
        loaded.settings.kek_file(),
        Path::new("./keywheel-data/kek.key")
    );
}

#[test]
fn the_shipped_file_says_every_default_and_nothing_else() {
    let shipped = include_str!("../../config/keywheel.toml");
    let parsed: Settings = toml::from_str(shipped).unwrap();
    assert_eq!(parsed, Settings::default());
    // With the commented settings too, every key of every section is there.
    let whole = shipped
        .replace("# url_file =", "url_file =")
        .replace("# kek_file =", "kek_file =")
        .replace("# tls_", "tls_")
        .replace("# platforms_dir =", "platforms_dir =");
    let whole: toml::Table = toml::from_str(&whole).unwrap();
    let mut settings = Settings::default();
    settings.database.url_file = Some(PathBuf::from("x"));
    settings.keyring.kek_file = Some(PathBuf::from("x"));
    settings.server.tls_certificate_file = Some(PathBuf::from("x"));
    settings.server.tls_key_file = Some(PathBuf::from("x"));
    settings.server.tls_client_ca_file = Some(PathBuf::from("x"));
    settings.connectors.platforms_dir = Some(PathBuf::from("x"));
    let known = toml::Table::try_from(&settings).unwrap();
    let keys = |table: &toml::Table| -> Vec<String> {
        let sections = table
            .iter()
            .map(|(name, keys)| (name, keys.as_table().unwrap()));
        sections
            .flat_map(|(name, keys)| keys.keys().map(move |k| format!("{name}.{k}")))
            .collect()
    };
    assert_eq!(keys(&whole), keys(&known));
    let mut sections: Vec<&str> = known.keys().map(String::as_str).collect();
    let mut listed = SECTIONS.to_vec();
    sections.sort_unstable();
    listed.sort_unstable();
    assert_eq!(sections, listed);
}

#[test]
fn every_number_has_limits_and_every_list_is_known_as_one() {
    let known = toml::Table::try_from(Settings::default()).unwrap();
    let defaults = Settings::default();
    let limited: HashMap<_, _> = defaults
        .limits()
        .into_iter()
        .map(|(key, value, ..)| (key.to_owned(), value))
        .collect();
    let mut numbers = HashMap::new();
    for (section, keys) in &known {
        for (key, value) in keys.as_table().unwrap() {
            // A variable or a flag is one text: there is no way to write a list.
            assert!(!value.is_array(), "{section}.{key}");
            if let Some(number) = value.as_integer() {
                numbers.insert(format!("{section}.{key}"), u32::try_from(number).unwrap());
            }
        }
    }
    assert_eq!(limited, numbers);
    assert_eq!(defaults.rules(), []);
}

#[test]
fn a_later_layer_wins_and_is_named() {
    let mut world = World::new().file("etc/keywheel.toml", 0o644, "[queue]\npoll_ms = 11\n");
    let poll = |world: &World| world.load().settings.queue.poll_ms;
    assert_eq!(poll(&world), 11);
    world = world.file("etc/conf.d/20.toml", 0o644, "queue.poll_ms = 13");
    world = world.file("etc/conf.d/10.toml", 0o644, "queue.poll_ms = 12");
    world = world.file("etc/conf.d/30.toml.bak", 0o644, "nonsense");
    assert_eq!(poll(&world), 13);
    assert!(world.load().origins["queue.poll_ms"].ends_with("conf.d/20.toml"));
    world = world.env("KEYWHEEL_QUEUE__POLL_MS", "14");
    assert_eq!(poll(&world), 14);
    assert_eq!(world.load().origins["queue.poll_ms"], "environment");
    world = world.flag("queue.poll_ms", "15");
    assert_eq!(poll(&world), 15);
    assert_eq!(world.load().origins["queue.poll_ms"], "command line");
}

#[test]
fn variables_reach_settings_of_every_type() {
    let world = World::new()
        .env("KEYWHEEL_SERVER__LISTEN", "127.0.0.2:1")
        .env("KEYWHEEL_SERVER__ALLOW_PLAIN_HTTP", "true")
        .env("KEYWHEEL_SERVER__TRUSTED_PROXIES", "192.0.2.7, 10.0.0.0/8")
        .env("KEYWHEEL_DATA__DIR", "/srv/1")
        .env("KEYWHEEL_LOG__LEVEL", "debug")
        .env("KEYWHEEL_LOG__FORMAT", "")
        .env("KEYWHEEL_KEYRING__KEK_FILE", "/k");
    let settings = world.load().settings;
    assert_eq!(settings.server.listen, "127.0.0.2:1".parse().unwrap());
    assert!(settings.server.allow_plain_http);
    let proxies = settings.server.trusted_proxies.to_string();
    assert_eq!(proxies, "192.0.2.7/32,10.0.0.0/8");
    let world = World::new().env("KEYWHEEL_SERVER__TRUSTED_PROXIES", "proxy.example.org");
    let faults = world.faults();
    assert!(faults[0].contains("must be networks"), "{faults:?}");
    assert_eq!(settings.data.dir, Path::new("/srv/1"));
    assert_eq!(settings.log.level, LogLevel::Debug);
    assert_eq!(settings.log.format, LogFormat::Text);
    assert_eq!(settings.kek_file(), Path::new("/k"));
}

#[test]
fn a_variable_with_one_underscore_too_few_is_a_fault_and_not_silence() {
    let world = World::new().env("KEYWHEEL_SERVER_LISTEN", "127.0.0.1:1");
    let faults = world.faults();
    assert!(faults[0].contains("KEYWHEEL_SERVER__LISTEN"), "{faults:?}");
    World::new()
        .env("KEYWHEEL_SERVERS", "x")
        .env("KEYWHEEL_OTHER_THING", "x")
        .load();
}

#[test]
fn the_file_is_found_in_the_data_folder_where_the_system_has_none() {
    let world = World::new().file("data/keywheel.toml", 0o600, "queue.poll_ms = 21");
    let dir = world.path("data").display().to_string();
    let world = world.flag("data.dir", &dir);
    assert_eq!(world.load().settings.queue.poll_ms, 21);
    let world = world.file("etc/keywheel.toml", 0o600, "");
    assert_eq!(world.load().settings.queue.poll_ms, 1_000);
}

#[test]
fn a_named_file_that_is_missing_is_a_fault() {
    let mut world = World::new();
    world.inputs.file = Some(world.path("none.toml"));
    assert!(world.faults()[0].contains("cannot be read"));
}

#[test]
fn every_fault_of_every_layer_is_reported_at_once() {
    let text = "stray = 1\n[server]\nlisten = \"nowhere\"\ntypo = 1\n[nosection]\nx = 1\n\
                [queue]\npoll_ms = \"soon\"\nbatch_max = 0\nsessions = -1\n[log]\nlevel = \"loud\"\n";
    let world = World::new()
        .file("etc/keywheel.toml", 0o644, text)
        .file("etc/conf.d/broken.toml", 0o644, "[queue\n")
        .env("KEYWHEEL_AUTH__SESSION_IDLE_MINUTES", "never")
        .env("KEYWHEEL_KEYRING__KEK", "c2VjcmV0")
        .flag("scheduler.scan_every_s", "0");
    let faults = world.faults();
    for (key, what) in [
        ("(whole file)", "line 1 is no TOML"),
        ("stray", "sections"),
        ("server.listen", "socket address"),
        ("server.typo", "unknown field `typo`"),
        ("nosection.x", "unknown field `nosection`"),
        ("queue.poll_ms", "expected an integer"),
        ("queue.batch_max", "is 0, but must be from 1 to 1000"),
        ("queue.sessions", "-1"),
        ("log.level", "must be error, warn"),
        ("auth.session_idle_minutes", "integer"),
        ("keyring.kek", "never read from settings"),
        ("scheduler.scan_every_s", "is 0, but must be from 1"),
    ] {
        let told = faults
            .iter()
            .any(|f| f.starts_with(&format!("{key}: ")) && f.contains(what));
        assert!(told, "{key}: {what} is not in {faults:#?}");
    }
    assert_eq!(faults.len(), 12, "{faults:#?}");
    assert!(
        !load(&world.inputs)
            .unwrap_err()
            .to_string()
            .contains("c2VjcmV0")
    );
}

#[test]
fn an_address_beyond_loopback_needs_a_word() {
    for listen in ["0.0.0.0:7420", "192.0.2.1:1", "[::]:7420"] {
        let world = World::new().flag("server.listen", listen);
        let faults = world.faults();
        for way in ["tls_certificate_file", "127.0.0.1", "allow_plain_http"] {
            assert!(faults.len() == 1 && faults[0].contains(way), "{faults:?}");
        }
        let allowed = world.flag("server.allow_plain_http", "true").load();
        assert_eq!(allowed.settings.server.listen, listen.parse().unwrap());
        let encrypted = World::new()
            .flag("server.listen", listen)
            .flag("server.tls_certificate_file", "/c")
            .flag("server.tls_key_file", "/k")
            .load();
        let url = format!("https://{listen}");
        assert_eq!(encrypted.settings.server.url(listen.parse().unwrap()), url);
    }
    World::new().flag("server.listen", "[::1]:7420").load();
}

#[test]
fn a_certificate_needs_its_key_and_client_authorities_need_both() {
    for (given, missing) in [
        ("tls_certificate_file", "server.tls_key_file"),
        ("tls_key_file", "server.tls_certificate_file"),
        ("tls_client_ca_file", "server.tls_certificate_file"),
    ] {
        let key = format!("server.{given}");
        let faults = World::new().flag(&key, "/x").faults();
        let told = faults.len() == 1 && faults[0].starts_with(&key) && faults[0].contains(missing);
        assert!(told, "{faults:?}");
    }
}

#[test]
fn a_credential_takes_the_place_of_the_listeners_key() {
    let world = World::new()
        .file("credentials/server.tls_key", 0o400, "x")
        .credentials()
        .flag("server.tls_certificate_file", "/c");
    let settings = world.load().settings;
    assert!(settings.server.speaks_tls());
    let key = world.path("credentials/server.tls_key");
    assert_eq!(settings.server.tls_key_file, Some(key));
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let faults = World::new().flag("queue.dead_after_s", "14").faults();
    assert!(faults[0].contains("three times"), "{faults:?}");
    let faults = World::new().flag("queue.retry_max_s", "59").faults();
    assert!(faults[0].contains("retry_first_s"), "{faults:?}");
}

#[test]
fn a_url_without_its_host_shows_no_password_where_the_port_would_be() {
    for (text, shown) in [
        ("postgres://db:5432/kw", "postgres://db:5432/kw"),
        ("postgres://[::1]:5432/kw", "postgres://[::1]:5432/kw"),
        ("postgres:///kw?host=/run/db", "postgres:///kw?host=/run/db"),
        ("postgres://kw:s3cret/kw", "postgres://***"),
        ("postgres://kw:s3/cret/kw", "postgres://***"),
    ] {
        let url = DatabaseUrl::parse(text).unwrap();
        assert_eq!(format!("{url:?}"), shown);
    }
}

#[test]
fn a_mail_server_that_cannot_work_is_refused() {
    let base = || {
        World::new()
            .flag("smtp.host", "mail.example.com")
            .flag("smtp.from", "keywheel@example.com")
    };
    assert_eq!(base().load().settings.smtp.port, 587);
    for (key, value, at, says) in [
        ("smtp.from", "nobody", "smtp.from", "mail address"),
        (
            "smtp.security",
            "ssl",
            "smtp.security",
            "starttls, tls or none",
        ),
        ("smtp.port", "70000", "smtp.port", "65535"),
        ("smtp.timeout_s", "0", "smtp.timeout_s", "1 to 60"),
        ("smtp.user", "kw", "smtp.user", "both, or neither"),
        ("smtp.password_file", "/p", "smtp.user", "both, or neither"),
        ("smtp.password", "s3cret", "smtp.password", "unknown field"),
        (
            "notify.allow_addresses",
            "lan",
            "notify.allow_addresses",
            "networks",
        ),
        (
            "server.public_url",
            "kw.example.com",
            "server.public_url",
            "https://",
        ),
        (
            "server.public_url",
            "https://u:p@kw",
            "server.public_url",
            "without user",
        ),
        (
            "server.public_url",
            "https://kw/?a",
            "server.public_url",
            "without user",
        ),
    ] {
        let faults = base().flag(key, value).faults();
        let found = faults[0].contains(at) && faults[0].contains(says);
        assert!(found && !faults[0].contains("s3cret"), "{key}: {faults:?}");
    }
    let clear = base()
        .flag("smtp.user", "kw")
        .flag("smtp.password_file", "/p")
        .flag("smtp.security", "none");
    let faults = clear.faults();
    assert!(faults[0].contains("in the clear"), "{faults:?}");
}

#[test]
fn a_credential_takes_the_place_of_the_mail_servers_password_file() {
    let world = World::new()
        .flag("smtp.host", "mail.example.com")
        .flag("smtp.from", "keywheel@example.com")
        .flag("smtp.user", "kw")
        .file("credentials/smtp.password", 0o400, "s3cret")
        .credentials();
    let wanted = world.path("credentials/smtp.password");
    assert_eq!(world.load().settings.smtp.password_file, Some(wanted));
}

#[test]
fn links_lead_to_the_public_url_or_else_to_the_listener() {
    let listening = "http://127.0.0.1:7420";
    let mut server = super::Server::default();
    assert_eq!(server.public_url(listening), listening);
    server.public_url = Some("https://kw.example.com/".to_owned());
    assert_eq!(server.public_url(listening), "https://kw.example.com");
}

const URL: &str = "postgres://kw:s3cret@db/kw";

#[test]
fn a_plain_password_works_with_a_warning_and_is_never_shown() {
    let text = format!("[database]\nurl = \"{URL}\"\n");
    let world = World::new().file("etc/keywheel.toml", 0o600, &text);
    let loaded = world.load();
    assert_eq!(url_of(&loaded.settings), URL);
    assert!(loaded.warnings[0].contains("database.url_file"));
    let shown = loaded.shown();
    let url = shown.iter().find(|one| one.key == "database.url").unwrap();
    assert_eq!(url.value, "\"postgres://kw:***@db/kw\"");
    assert!(!format!("{loaded:?} {shown:?} {:?}", world.inputs).contains("s3cret"));
}

#[test]
fn a_plain_password_in_a_file_that_everybody_reads_is_refused() {
    let text = format!("[database]\nurl = \"{URL}\"\n");
    let world = World::new().file("etc/keywheel.toml", 0o644, &text);
    let faults = world.faults();
    assert!(
        faults[0].contains("chmod 0600") && !faults[0].contains("s3cret"),
        "{faults:?}"
    );
}

#[test]
fn a_broken_line_with_a_password_is_not_quoted() {
    let text = format!("[database]\nurl = {URL}\n");
    let faults = World::new()
        .file("etc/keywheel.toml", 0o600, &text)
        .faults();
    assert!(
        faults[0].contains("line 2") && !faults[0].contains("s3cret"),
        "{faults:?}"
    );
    let faults = World::new()
        .env("KEYWHEEL_DATABASE__URL", "mysql://kw:s3cret@db")
        .faults();
    assert!(
        faults[0].contains("postgres://") && !faults[0].contains("s3cret"),
        "{faults:?}"
    );
    let faults = World::new()
        .file("etc/keywheel.toml", 0o600, "keyring = \"s3cret\"")
        .faults();
    assert!(
        faults[0].contains("sections") && !faults[0].contains("s3cret"),
        "{faults:?}"
    );
}

#[test]
fn a_url_file_wins_over_the_plain_url_and_a_credential_over_both() {
    let mut world = World::new().env("KEYWHEEL_DATABASE__URL", URL);
    let path = world.path("url").display().to_string();
    world = world
        .file("url", 0o600, "postgres://file@db/kw\n")
        .flag("database.url_file", &path);
    let loaded = world.load();
    assert_eq!(url_of(&loaded.settings), "postgres://file@db/kw");
    assert!(loaded.warnings.is_empty());
    world = world
        .file("credentials/database.url", 0o400, "postgres://c@db/kw")
        .credentials();
    assert_eq!(url_of(&world.load().settings), "postgres://c@db/kw");
}

#[test]
fn a_secret_file_that_everybody_reads_is_refused() {
    let world = World::new().file("url", 0o644, "postgres://kw:s3cret@db/kw");
    let path = world.path("url").display().to_string();
    let faults = world.flag("database.url_file", &path).faults();
    assert!(
        faults[0].contains("chmod 0600") && !faults[0].contains("s3cret"),
        "{faults:?}"
    );
}

#[test]
fn a_credential_takes_the_place_of_the_key_file() {
    let world = World::new()
        .file("credentials/keyring.kek", 0o400, "x")
        .credentials();
    assert_eq!(
        world.load().settings.kek_file(),
        world.path("credentials/keyring.kek")
    );
}
