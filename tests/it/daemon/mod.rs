//! The real program: its first start, its refusals, its signals, its end.

mod address;
mod audit;
mod audit_export;
mod checkout;
mod command;
mod connector;
mod directories;
mod disconnect;
mod disk;
mod doubt;
mod drain;
mod escrow;
mod first_run;
mod functional;
mod identity;
mod key;
mod listener;
mod log;
mod onboard;
mod password;
mod platform;
mod refusal;
mod regression;
mod reveal_kill;
mod signal;
mod tls;
mod user;
mod workflow;

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{Pool, Sqlite};

/// Opens a database file beside the service.
pub(crate) async fn database(path: &Path) -> Pool<Sqlite> {
    let options = SqliteConnectOptions::new().filename(path);
    SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await
        .unwrap()
}

/// Runs a statement on a database file that no service uses.
async fn tamper(path: &Path, statement: &'static str) {
    let database = database(path).await;
    let done = sqlx::query(statement).execute(&database).await.unwrap();
    assert!(done.rows_affected() > 0, "{statement} changed nothing");
    database.close().await;
}
