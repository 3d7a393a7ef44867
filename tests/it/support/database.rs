//! A fresh database for every test: a file of SQLite's, or one of a PostgreSQL that the tests
//! start themselves.
//!
//! Invariant: no two tests share a database, and PostgreSQL ends when the test process does.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use keywheel::store::{Backend, Store, StoreOptions};
use tempfile::TempDir;

use super::program::{command, find, is_root, run};
use super::queue::Queue;

/// A database of one test's own.
pub(crate) struct Database {
    pub(crate) backend: Backend,
    pub(crate) url: String,
    /// The folder of SQLite's file; gone with the test.
    _folder: TempDir,
}

impl Database {
    pub(crate) async fn new(backend: Backend) -> Self {
        Self::at(backend, Disk::Hurried).await
    }

    /// One that keeps every acknowledged write, on the disk that also holds the build.
    pub(crate) async fn durable(backend: Backend) -> Self {
        Self::at(backend, Disk::Durable).await
    }

    async fn at(backend: Backend, disk: Disk) -> Self {
        let folder = disk.folder();
        let url = match backend {
            Backend::Sqlite => {
                format!(
                    "sqlite://{}?mode=rwc",
                    folder.path().join("keywheel.db").display()
                )
            }
            Backend::Postgres => {
                tokio::task::spawn_blocking(move || server(disk).create("template0"))
                    .await
                    .expect("a database")
            }
        };
        Self {
            backend,
            url,
            _folder: folder,
        }
    }

    pub(crate) fn options(&self) -> StoreOptions {
        StoreOptions {
            url: self.url.clone(),
            readers: 4,
            writers: 4,
            acquire_timeout: Duration::from_secs(30),
        }
    }

    /// The URL of a copy of PostgreSQL's database, to which nobody may be connected.
    pub(crate) fn copy(&self) -> String {
        let name = self.url.rsplit('/').next();
        server(Disk::Hurried).create(name.expect("a URL ends with the name"))
    }

    /// A queue with one node and no system yet.
    pub(crate) async fn queue(&self) -> Queue {
        Queue::new(self.store().await, &self.url).await
    }

    /// A store with the current schema.
    pub(crate) async fn store(&self) -> Store {
        let store = Store::connect(&self.options())
            .await
            .expect("the database answers");
        store.migrate(None).await.expect("the migrations run");
        store
    }
}

/// One test on both databases: `on_both!(a_sentence, |db| { … });`
macro_rules! on_both {
    ($name:ident, |$db:ident| $body:block) => {
        async fn $name($db: $crate::support::database::Database) $body

        mod $name {
            use keywheel::store::Backend;

            use $crate::support::database::Database;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                super::$name(Database::new(Backend::Sqlite).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                super::$name(Database::new(Backend::Postgres).await).await;
            }
        }
    };
}
pub(crate) use on_both;

/// What a database may lose should the machine stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disk {
    /// All: PostgreSQL does not wait for the disk.
    Hurried,
    /// Nothing.
    Durable,
}

impl Disk {
    fn folder(self) -> TempDir {
        let folder = match self {
            Self::Hurried => tempfile::tempdir(),
            Self::Durable => tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")),
        };
        folder.expect("a temporary folder")
    }
}

/// A PostgreSQL server on a unix socket.
struct Server {
    socket: PathBuf,
    made: AtomicU32,
    /// A shell that stops the server when its standard input closes: when this process ends.
    _keeper: Child,
}

fn server(disk: Disk) -> &'static Server {
    static HURRIED: OnceLock<Server> = OnceLock::new();
    static DURABLE: OnceLock<Server> = OnceLock::new();
    let server = match disk {
        Disk::Hurried => &HURRIED,
        Disk::Durable => &DURABLE,
    };
    server.get_or_init(|| Server::start(disk))
}

impl Server {
    fn start(disk: Disk) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("kwpg")
            .tempdir()
            .expect("a folder")
            .keep();
        let initdb = find("initdb", "postgresql");
        // /usr/local/bin may hold a wrapper: ask it where its siblings are.
        let bin = std::fs::canonicalize(&initdb).expect("initdb is there");
        let postgres = bin.with_file_name("postgres");
        // A socket's path must be short, the data's need not.
        let home = disk.folder().keep();
        let data = home.join("data");
        if is_root() {
            // PostgreSQL refuses to run as root.
            run(command("chown").arg("postgres:").args([&folder, &home]));
        }
        run(as_postgres(&initdb).args(["-D"]).arg(&data).args([
            "--no-sync",
            "-A",
            "trust",
            "-U",
            "postgres",
            "--locale=C",
            "-E",
            "UTF8",
        ]));
        let mut keeper = as_postgres("/bin/sh".as_ref());
        keeper
            .args([
                "-c",
                "\"$@\" & pid=$!; read -r _; kill -INT $pid; wait $pid; rm -rf \"$KEEP\" \"$HOME\"",
                "keeper",
            ])
            .arg(&postgres)
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(&folder)
            .args([
                "-c",
                "listen_addresses=",
                "-c",
                match disk {
                    Disk::Hurried => "fsync=off",
                    Disk::Durable => "fsync=on",
                },
                "-c",
                "max_connections=400",
            ])
            .env("KEEP", &folder)
            .env("HOME", &home)
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = keeper.spawn().expect("the server starts");
        let server = Self {
            socket: folder,
            made: AtomicU32::new(0),
            _keeper: child,
        };
        for _ in 0..600 {
            if server.psql("SELECT 1").is_ok() {
                return server;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(50));
        }
        panic!("PostgreSQL did not answer within 30 s");
    }

    fn psql(&self, sql: &str) -> Result<(), String> {
        let output = command(find("psql", "postgresql-client"))
            .args(["-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"])
            .arg(&self.socket)
            .args(["-c", sql, "postgres"])
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// The URL of a new database, a copy of this one.
    fn create(&self, template: &str) -> String {
        let name = format!("kw{}", self.made.fetch_add(1, Ordering::Relaxed));
        self.psql(&format!("CREATE DATABASE {name} TEMPLATE {template}"))
            .expect("a new database");
        let socket = self.socket.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{socket}/{name}")
    }
}

/// A command that runs as the user `postgres` where this process is root.
fn as_postgres(program: &std::path::Path) -> std::process::Command {
    if is_root() {
        let mut command = command("setpriv");
        command
            .args(["--reuid=postgres", "--regid=postgres", "--init-groups"])
            .arg(program);
        command
    } else {
        command(program)
    }
}
