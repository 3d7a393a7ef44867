//! What holds between settings, and the limits of every number.
//!
//! Invariant: every numeric setting has limits, and its default keeps them.

use std::path::Path;

use super::{Auth, Settings};

impl Settings {
    /// What no single layer can know: limits, and settings that contradict each other.
    pub(super) fn rules(&self) -> Vec<(&'static str, String)> {
        let mut broken: Vec<_> = self
            .limits()
            .into_iter()
            .filter(|(_, value, least, most)| value < least || value > most)
            .map(|(key, value, least, most)| {
                (
                    key,
                    format!("is {value}, but must be from {least} to {most}"),
                )
            })
            .collect();
        broken.extend(self.listener());
        broken.extend(self.smtp.rules());
        broken.extend(self.escrow.rules());
        if self.queue.dead_after_s < self.queue.beat_every_s.saturating_mul(3) {
            let what = "must be at least three times queue.beat_every_s, or a busy node loses \
                        its work to its peers";
            broken.push(("queue.dead_after_s", what.to_owned()));
        }
        if self.queue.retry_max_s < self.queue.retry_first_s {
            broken.push((
                "queue.retry_max_s",
                "is less than queue.retry_first_s".to_owned(),
            ));
        }
        if ["", "root"].contains(&self.connectors.user.as_str()) {
            let what = "must name a user other than root: connector processes parse what targets \
                        send";
            broken.push(("connectors.user", what.to_owned()));
        }
        if self.data.dir == Path::new("") {
            broken.push(("data.dir", "is empty: name a folder".to_owned()));
        }
        broken
    }

    /// What the listener's settings ask of each other.
    fn listener(&self) -> Vec<(&'static str, String)> {
        let server = &self.server;
        let mut broken = Vec::new();
        let (certificate, key) = (&server.tls_certificate_file, &server.tls_key_file);
        if key.is_some() && certificate.is_none() {
            let what = "needs server.tls_certificate_file: the certificate that belongs to the key";
            broken.push(("server.tls_key_file", what.to_owned()));
        }
        if certificate.is_some() && key.is_none() {
            let what = "needs server.tls_key_file: the private key of the certificate, mode 0600";
            broken.push(("server.tls_certificate_file", what.to_owned()));
        }
        if server.tls_client_ca_file.is_some() && !server.speaks_tls() {
            let what = "needs server.tls_certificate_file and server.tls_key_file: clients show \
                        certificates to a listener that has one itself";
            broken.push(("server.tls_client_ca_file", what.to_owned()));
        }
        if let Some(url) = &server.public_url
            && !url::Url::parse(url).is_ok_and(|url| is_base(&url))
        {
            let what = "must be where people reach the service, such as \
                        https://keywheel.example.com: http or https, without user, query and \
                        fragment";
            broken.push(("server.public_url", what.to_owned()));
        }
        let listen = server.listen;
        if !listen.ip().is_loopback() && !server.speaks_tls() && !server.allow_plain_http {
            broken.push((
                "server.listen",
                format!(
                    "{listen} can be reached from other machines, but the service speaks plain \
                     HTTP: set server.tls_certificate_file and server.tls_key_file, or listen on \
                     127.0.0.1 behind a proxy that does TLS, or set server.allow_plain_http = \
                     true if the network protects every byte"
                ),
            ));
        }
        broken
    }

    /// Key, value, least and greatest of every number.
    pub(super) fn limits(&self) -> Vec<(&'static str, u32, u32, u32)> {
        let (server, database, queue) = (&self.server, &self.database, &self.queue);
        let (scheduler, audit, connectors) = (&self.scheduler, &self.audit, &self.connectors);
        let (auth, itglue, smtp) = (&self.auth, &self.itglue, &self.smtp);
        let all = [
            (
                "server.body_max_bytes",
                server.body_max_bytes,
                65_536,
                67_108_864,
            ),
            (
                "server.request_timeout_s",
                server.request_timeout_s,
                1,
                3_600,
            ),
            ("server.drain_timeout_s", server.drain_timeout_s, 1, 3_600),
            ("database.connections", database.connections, 2, 1_000),
            (
                "database.acquire_timeout_s",
                database.acquire_timeout_s,
                1,
                300,
            ),
            ("queue.sessions", queue.sessions, 1, 10_000),
            ("queue.batch_max", queue.batch_max, 1, 1_000),
            ("queue.poll_ms", queue.poll_ms, 10, 60_000),
            ("queue.attempts_max", queue.attempts_max, 1, 100),
            ("queue.retry_first_s", queue.retry_first_s, 1, 86_400),
            ("queue.retry_max_s", queue.retry_max_s, 1, 86_400),
            ("queue.beat_every_s", queue.beat_every_s, 1, 60),
            ("queue.dead_after_s", queue.dead_after_s, 3, 3_600),
            ("scheduler.scan_every_s", scheduler.scan_every_s, 1, 86_400),
            (
                "scheduler.scan_max_accounts",
                scheduler.scan_max_accounts,
                1,
                100_000,
            ),
            ("scheduler.reap_every_s", scheduler.reap_every_s, 1, 3_600),
            (
                "scheduler.housekeeping_every_s",
                scheduler.housekeeping_every_s,
                1,
                86_400,
            ),
            (
                "scheduler.generation_every_s",
                scheduler.generation_every_s,
                1,
                3_600,
            ),
            (
                "scheduler.recoveries_per_minute",
                scheduler.recoveries_per_minute,
                1,
                100_000,
            ),
            (
                "audit.anchor_interval_s",
                audit.anchor_interval_s,
                1,
                86_400,
            ),
            ("connectors.timeout_s", connectors.timeout_s, 1, 3_600),
            ("connectors.ssh_in_flight", connectors.ssh_in_flight, 1, 64),
            (
                "connectors.ldap_in_flight",
                connectors.ldap_in_flight,
                1,
                1_000,
            ),
            ("connectors.processes", connectors.processes, 0, 64),
            ("smtp.port", smtp.port, 1, 65_535),
            ("smtp.timeout_s", smtp.timeout_s, 1, 60),
        ];
        let dialect = (
            "itglue.requests_per_5_minutes",
            itglue.requests_per_5_minutes,
            1,
            1_000_000,
        );
        let rest = auth_limits(auth).into_iter().chain([dialect]);
        all.into_iter().chain(rest).collect()
    }
}

/// True if paths can be appended to it.
fn is_base(url: &url::Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
}

/// The same of `[auth]`.
fn auth_limits(auth: &Auth) -> [(&'static str, u32, u32, u32); 8] {
    [
        (
            "auth.session_idle_minutes",
            auth.session_idle_minutes,
            1,
            1_440,
        ),
        ("auth.session_max_hours", auth.session_max_hours, 1, 720),
        (
            "auth.failures_by_address",
            auth.failures_by_address,
            1,
            1_000_000,
        ),
        ("auth.failures_by_name", auth.failures_by_name, 1, 1_000_000),
        ("auth.failures_window_s", auth.failures_window_s, 1, 86_400),
        (
            "auth.requests_per_minute",
            auth.requests_per_minute,
            1,
            1_000_000,
        ),
        (
            "auth.reveals_per_minute",
            auth.reveals_per_minute,
            1,
            1_000_000,
        ),
        (
            "auth.quarantines_per_minute",
            auth.quarantines_per_minute,
            1,
            1_000_000,
        ),
    ]
}
