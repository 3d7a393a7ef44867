//! What the settings mean for the rooms.
//!
//! Invariant: every setting of a room reaches it here, and nothing else decides for it.

use std::sync::Arc;
use std::time::Duration;

use super::Base;
use crate::api;
use crate::config::Settings;
use crate::engine::Limits;
use crate::model::platform::Platforms;
use crate::model::session::SessionLife;
use crate::queue::WorkerOptions;
use crate::scheduler::{AnchorSink, Auditing, Memory, SchedulerOptions};

pub(super) fn limits(settings: &Settings) -> Limits {
    Limits {
        attempts_max: settings.queue.attempts_max.into(),
        retry_base: seconds(settings.queue.retry_first_s),
        retry_max: seconds(settings.queue.retry_max_s),
        ssh_in_flight: settings.connectors.ssh_in_flight as usize,
        ldap_in_flight: settings.connectors.ldap_in_flight as usize,
        ..Limits::default()
    }
}

pub(super) fn share(settings: &Settings) -> WorkerOptions {
    WorkerOptions {
        sessions: settings.queue.sessions as usize,
        batch_max: settings.queue.batch_max.into(),
        poll: Duration::from_millis(settings.queue.poll_ms.into()),
    }
}

pub(super) fn ticks(settings: &Settings, platforms: &Arc<Platforms>) -> SchedulerOptions {
    SchedulerOptions {
        platforms: platforms.clone(),
        scan_every: seconds(settings.scheduler.scan_every_s),
        scan_max: settings.scheduler.scan_max_accounts.into(),
        beat_every: seconds(settings.queue.beat_every_s),
        reap_every: seconds(settings.scheduler.reap_every_s),
        dead_after: seconds(settings.queue.dead_after_s),
        housekeeping_every: seconds(settings.scheduler.housekeeping_every_s),
        sessions: sessions(settings),
        anchor_every: seconds(settings.audit.anchor_interval_s),
        generation_every: seconds(settings.scheduler.generation_every_s),
        recoveries_per_minute: settings.scheduler.recoveries_per_minute.into(),
        ..SchedulerOptions::default()
    }
}

/// What comes again and again, the audit trail's work included.
pub(super) fn audited_ticks(
    settings: &Settings,
    base: &Base,
    platforms: &Arc<Platforms>,
    (memory, generation): (Memory, i64),
) -> SchedulerOptions {
    SchedulerOptions {
        audit: Some(auditing(settings, base)),
        memory: Some(memory),
        generation,
        ..ticks(settings, platforms)
    }
}

/// What seals the audit trail, and where its anchors go.
pub(super) fn auditing(settings: &Settings, base: &Base) -> Auditing {
    let audit = &settings.audit;
    let syslog = audit
        .anchor_syslog
        .then(|| audit.anchor_syslog_socket.clone());
    Auditing {
        keys: base.audit.clone(),
        sink: AnchorSink {
            file: settings.anchor_file(),
            syslog,
        },
    }
}

pub(super) fn interface(settings: &Settings, loopback: bool) -> api::Settings {
    let failures = |most| api::Rate {
        most,
        window: seconds(settings.auth.failures_window_s),
    };
    api::Settings {
        tls: settings.server.speaks_tls(),
        loopback: loopback || settings.metrics.open,
        wait_max: seconds(settings.server.request_timeout_s),
        body_max_bytes: settings.server.body_max_bytes as usize,
        sessions: sessions(settings),
        target_timeout_s: settings.connectors.timeout_s.into(),
        trusted_proxies: settings.server.trusted_proxies.clone(),
        failures_by_address: failures(settings.auth.failures_by_address),
        failures_by_name: failures(settings.auth.failures_by_name),
        requests_per_minute: settings.auth.requests_per_minute,
        reveals_per_minute: settings.auth.reveals_per_minute,
        quarantines_per_minute: settings.auth.quarantines_per_minute,
        public_url: settings.server.public_base(),
        itglue_per_5_minutes: settings.itglue.requests_per_5_minutes,
        itglue_shows: settings.itglue.show_password_default,
        breached_file: settings.reports.breached_file.clone(),
    }
}

/// Silence of the ticks after which they count as stalled.
pub(super) fn health_patience(settings: &Settings) -> Duration {
    seconds(settings.queue.beat_every_s) * 3 + Duration::from_secs(10)
}

pub(super) fn sessions(settings: &Settings) -> SessionLife {
    SessionLife {
        idle: Duration::from_mins(settings.auth.session_idle_minutes.into()),
        most: Duration::from_hours(settings.auth.session_max_hours.into()),
    }
}

pub(super) fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key::Addresses;

    #[test]
    fn what_was_set_reaches_the_rooms() {
        let mut settings = Settings::default();
        settings.queue.batch_max = 11;
        settings.queue.retry_max_s = 12;
        settings.auth.session_idle_minutes = 13;
        settings.auth.session_max_hours = 22;
        settings.server.body_max_bytes = 70_000;
        settings.connectors.timeout_s = 14;
        settings.scheduler.housekeeping_every_s = 15;
        settings.server.trusted_proxies = Addresses::parse("10.0.0.0/8").unwrap();
        settings.auth.failures_by_address = 16;
        settings.auth.failures_by_name = 17;
        settings.auth.failures_window_s = 18;
        settings.auth.requests_per_minute = 19;
        settings.auth.reveals_per_minute = 20;
        settings.auth.quarantines_per_minute = 21;
        settings.itglue.requests_per_5_minutes = 23;
        settings.server.public_url = Some("https://vault.example/".into());
        settings.itglue.show_password_default = true;
        assert_eq!(share(&settings).batch_max, 11);
        assert_eq!(limits(&settings).retry_max, Duration::from_secs(12));
        let ticks = ticks(&settings, &Arc::default());
        let life = SessionLife {
            idle: Duration::from_mins(13),
            most: Duration::from_hours(22),
        };
        assert_eq!(ticks.sessions, life);
        assert_eq!(ticks.housekeeping_every, Duration::from_secs(15));
        let interface = interface(&settings, true);
        assert_eq!(interface.sessions, life);
        assert_eq!(interface.body_max_bytes, 70_000);
        assert_eq!(interface.target_timeout_s, 14);
        assert_eq!(interface.trusted_proxies, settings.server.trusted_proxies);
        assert_eq!(interface.failures_by_address.most, 16);
        assert_eq!(interface.failures_by_name.most, 17);
        let window = interface.failures_by_name.window;
        assert_eq!(window, Duration::from_secs(18));
        assert_eq!(interface.requests_per_minute, 19);
        assert_eq!(interface.reveals_per_minute, 20);
        assert_eq!(interface.quarantines_per_minute, 21);
        assert_eq!(interface.itglue_per_5_minutes, 23);
        let url = interface.public_url.as_deref();
        assert_eq!(url, Some("https://vault.example"));
        assert!(interface.itglue_shows);
    }
}
