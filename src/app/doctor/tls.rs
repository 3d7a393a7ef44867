//! Examines the listener's certificate.
//!
//! Invariant: what is fine here is what the service would take at its next start.

use std::time::Duration;

use super::super::tls::{Facts, Files};
use super::{Check, mode};
use crate::clock::SharedClock;
use crate::config::Settings;
use crate::model::Timestamp;

/// Less than this, and somebody has to act: the next one is not there by itself.
const LEFT_MIN: Duration = Duration::from_hours(24 * 30);
const NAME: &str = "certificate";

/// Files, key, names and end of the listener's certificate; or that there is none.
pub(super) fn certificate(settings: &Settings, clock: &SharedClock) -> Vec<Check> {
    let server = &settings.server;
    let Some(files) = Files::of(server) else {
        return vec![plain(server.listen.ip().is_loopback())];
    };
    let shown = files.certificate.display();
    let mut checks = match files.read() {
        Err(error) => vec![Check::fault(NAME, error.to_string(), "")],
        Ok(certificate) => match certificate.facts {
            None => {
                let found = format!("{shown} fits its key; its names cannot be read");
                let fix = "have it issued anew as X.509 version 3 with a subjectAltName";
                vec![Check::warning(NAME, found, fix)]
            }
            Some(facts) => judge(&shown.to_string(), &facts, clock.now()),
        },
    };
    if files.key.exists() {
        checks.push(mode("certificate's key", &files.key, 0o600));
    }
    checks
}

fn plain(loopback: bool) -> Check {
    if loopback {
        return Check::fine(NAME, "none is needed: plain HTTP on loopback");
    }
    let found = "none: server.allow_plain_http lets passwords cross the network in the clear";
    let fix = "set server.tls_certificate_file and server.tls_key_file, unless a proxy in front of \
               this machine does TLS";
    Check::warning(NAME, found, fix)
}

/// What a certificate that fits its key says of itself.
fn judge(shown: &str, facts: &Facts, now: Timestamp) -> Vec<Check> {
    let (from, until) = (facts.not_before.rfc3339(), facts.not_after.rfc3339());
    let renew = "have a new one issued and put it in place of this one: the service takes it over \
                 by itself";
    let mut checks = vec![if now >= facts.not_after {
        Check::fault(NAME, format!("{shown} ended at {until}"), renew)
    } else if now < facts.not_before {
        let fix = "wait, correct this machine's clock, or have one issued that holds today";
        Check::fault(NAME, format!("{shown} begins to hold at {from}"), fix)
    } else if now.plus(LEFT_MIN) >= facts.not_after {
        Check::warning(NAME, format!("{shown} ends soon, at {until}"), renew)
    } else {
        Check::fine(NAME, format!("{shown} fits its key and ends at {until}"))
    }];
    checks.push(if facts.names.is_empty() {
        let fix = "have it issued with a subjectAltName: clients look for names nowhere else";
        Check::fault("certificate's names", format!("{shown} has none"), fix)
    } else {
        Check::fine("certificate's names", facts.names.join(", "))
    });
    checks
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn an_end_is_told_thirty_days_before() {
        let day = |count: i64| Timestamp(count * 24 * 60 * 60 * 1_000);
        let facts = |names: &[&str]| Facts {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            not_before: day(100),
            not_after: day(200),
        };
        let verdicts = |names: &[&str], now| {
            let checks = judge("c", &facts(names), day(now));
            checks.iter().map(|check| check.verdict).collect::<Vec<_>>()
        };
        for (now, verdict) in [
            (99, Verdict::Fault),
            (100, Verdict::Fine),
            (169, Verdict::Fine),
            (170, Verdict::Warning),
            (199, Verdict::Warning),
            (200, Verdict::Fault),
        ] {
            assert_eq!(
                verdicts(&["a.test"], now),
                [verdict, Verdict::Fine],
                "{now}"
            );
        }
        assert_eq!(verdicts(&[], 100), [Verdict::Fine, Verdict::Fault]);
    }
}
