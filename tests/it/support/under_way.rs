//! A change of a real service that is under way on a real directory, over a slow line.
//!
//! Invariant: it has been intended, and nobody has heard of its end.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use sqlx::{Pool, Sqlite};

use super::client::Client;
use super::daemon::{Daemon, Home};
use super::directory::Directory;
use super::proxy::Proxy;
use super::wait::until;

/// How long the line holds back each of the directory's answers.
pub(crate) const HOLD: Duration = Duration::from_millis(400);

/// The change of account `u0`.
pub(crate) struct UnderWay {
    pub(crate) home: Home,
    pub(crate) slapd: Directory,
    pub(crate) daemon: Daemon,
    pub(crate) database: Pool<Sqlite>,
    pub(crate) account: i64,
    pub(crate) location: String,
    pub(crate) proxy: Proxy,
}

impl UnderWay {
    /// Orders a change, and waits until it has been intended.
    pub(crate) async fn begin() -> Self {
        Self::begin_with(&[]).await
    }

    /// The same, with settings of the service.
    pub(crate) async fn begin_with(settings: &[(&str, &str)]) -> Self {
        let slapd = Directory::openldap();
        let proxy = Proxy::start(SocketAddr::from((slapd.ip, slapd.port)), HOLD).await;
        let home = Home::new();
        let daemon = home.serve_with(settings);
        let client = Client::signed_in(&daemon.url, &home.keys()).await;
        let system = slapd.onboard(&client, Some(proxy.port)).await;
        // The directory locks after five: a probe may ask with both passwords in one window.
        let locks = json!({"lockout_threshold": 5});
        client
            .edit(&format!("/api/v1/systems/{system}"), &locks)
            .await;
        let account = slapd.onboard_account(&client, system, "u0").await;
        let path = format!("ManagedAccounts/{account}/Credentials/Change");
        let ordered = client
            .post(&path, &json!({"Queue": true}))
            .await
            .expect(204);
        let database = crate::daemon::database(&home.data("keywheel.db")).await;
        let under_way = Self {
            home,
            slapd,
            daemon,
            database,
            account,
            location: ordered.location.expect("a Location"),
            proxy,
        };
        until("the change is intended", async || {
            (under_way.phase().await.as_deref() == Some("applying")).then_some(())
        })
        .await;
        under_way
    }

    pub(crate) async fn phase(&self) -> Option<String> {
        let phase: Option<(String,)> =
            sqlx::query_as("SELECT phase FROM rotations WHERE account_id = $1 ORDER BY id DESC")
                .bind(self.account)
                .fetch_optional(&self.database)
                .await
                .unwrap();
        phase.map(|(phase,)| phase)
    }
}
