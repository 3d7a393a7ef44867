//! The accounts of a host, as `getent` names them, and their states, as far as the functional
//! account may see them.
//!
//! Invariant: no hash of a password is read here: what the target prints are states and days.

use std::collections::HashMap;
use std::sync::Arc;

use super::exchange::only_checks;
use super::guard;
use super::link::{Order, Output, on_thread};
use super::reply;
use super::script;
use super::session::{SshSession, turn_did_not_come};
use super::talk::Lines;
use super::turn::Turn;
use crate::listing::{Collector, admit_moment, name, printable};
use crate::{Account, Class, Found, HostQuery, Listing, Lock, Reason};

/// The most that a listing may print: its rows, the states of twice as many accounts, and noise.
const OUTPUT_MAX_BYTES: usize = 2_097_152;

/// A day, in milliseconds.
const DAY_MS: i64 = 86_400_000;

impl SshSession {
    /// Lists the host's accounts.
    pub(super) async fn list_accounts(
        &self,
        query: &HostQuery,
        turn: &Arc<Turn>,
    ) -> Result<Listing, Reason> {
        let power = self.power.as_ref().ok_or_else(only_checks)?;
        let _place = self.command_place().await.ok_or_else(turn_did_not_come)?;
        let nonce = self.nonces.next();
        let order = Order {
            output_max_bytes: OUTPUT_MAX_BYTES,
            ..Order::new(script::list(&nonce, power.way, power.mode, query))
        };
        let talk = || {
            let asked = power.way.asked(&nonce, &power.functional, "", 2);
            Lines::new(String::new(), None, asked)
        };
        let (output, _) = self.command(power, order, talk, turn).await?;
        let query = query.clone();
        on_thread(move || read(&output, &nonce, &query)).await?
    }
}

/// What is known of an account's password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    lock: Lock,
    /// The day of the last change, since 1970; 0: it must be changed.
    changed: Option<i64>,
    /// The day from which on nobody logs in.
    end: Option<i64>,
}

fn read(output: &Output, nonce: &str, query: &HostQuery) -> Result<Listing, Reason> {
    if !reply::ended_well(output, nonce) {
        let text = "the list of accounts did not arrive whole";
        return Err(Reason::account(Class::Incompatible, text));
    }
    let mut today = None;
    let mut states = HashMap::new();
    for line in output.text.lines() {
        let state = if let Some(rest) = line.strip_prefix("KW:state:") {
            of_wrapper(rest)
        } else if let Some(rest) = line.strip_prefix("KW:passwd:") {
            of_passwd(rest)
        } else {
            today = today.or_else(|| line.strip_prefix("KW:today:")?.parse().ok());
            None
        };
        if let Some((login, state)) = state {
            states.entry(login).or_insert(state);
        }
    }
    let mut collector = Collector::default();
    for line in output.text.lines() {
        let Some(rest) = line.strip_prefix("KW:user:") else {
            continue;
        };
        let Some((uid, login, shell)) = of_user(rest) else {
            if collector.skip() {
                continue;
            }
            break;
        };
        if !is_asked(query, uid, shell) {
            continue;
        }
        if !collector.take(row(uid, login, shell, states.get(login), today)) {
            break;
        }
    }
    if reply::has_line(output, "KW:more") {
        collector.cut();
    }
    Ok(collector.end())
}

/// The range was the script's business, but the script ran elsewhere.
fn is_asked(query: &HostQuery, uid: u32, shell: &str) -> bool {
    let in_range = (query.uid_min..=query.uid_max).contains(&uid);
    let of_shell = query.shells.is_empty() || query.shells.iter().any(|one| one == shell);
    (in_range || (query.with_root && uid == 0)) && of_shell
}

fn row(uid: u32, login: &str, shell: &str, state: Option<&State>, today: Option<i64>) -> Found {
    let (shown, parsed) = name(login);
    let account = parsed.map(|login| Account::named(login, None));
    let changed = state.and_then(|state| state.changed);
    let ended = state.and_then(|state| Some(state.end? <= today?));
    Found {
        name: shown,
        importable: account.is_some_and(|account| guard::admit(&account, None).is_ok()),
        dn: None,
        id: Some(uid.to_string()),
        shell: Some(printable(shell).0).filter(|shell| !shell.is_empty()),
        lock: state.map_or(Lock::Unknown, |state| state.lock),
        changed_at: changed
            .filter(|day| *day > 0)
            .and_then(|day| admit_moment(day.checked_mul(DAY_MS)?)),
        expired: state.map(|_| changed == Some(0) || ended.unwrap_or(false)),
    }
}

/// `<uid>:<name>:<shell>`.
fn of_user(line: &str) -> Option<(u32, &str, &str)> {
    let (uid, rest) = line.split_once(':')?;
    let (login, shell) = rest.split_once(':')?;
    let uid = uid.parse().ok()?;
    (!login.is_empty()).then_some((uid, login, shell))
}

/// `<name>:<L, NP or P>:<day of the change>:<day of the end>`.
fn of_wrapper(line: &str) -> Option<(&str, State)> {
    let mut fields = line.split(':');
    let login = fields.next()?;
    let lock = lock(fields.next()?)?;
    let mut day = || fields.next().and_then(|day| day.parse().ok());
    let (changed, end) = (day(), day());
    Some((login, State { lock, changed, end }))
}

/// `<name> <L, NP or P> <date of the change> …`. Source: `passwd(1)`, of shadow and of others.
fn of_passwd(line: &str) -> Option<(&str, State)> {
    let mut fields = line.split(' ');
    let login = fields.next()?;
    let lock = lock(fields.next()?)?;
    let state = State {
        lock,
        changed: fields.next().and_then(day),
        end: None,
    };
    Some((login, state))
}

fn lock(word: &str) -> Option<Lock> {
    Some(match word {
        "L" | "LK" => Lock::Locked,
        "NP" => Lock::NoPassword,
        "P" | "PS" => Lock::Open,
        _ => return None,
    })
}

/// Reads `11/21/2026` or `2026-11-21`; days since 1970.
fn day(date: &str) -> Option<i64> {
    let mut parts = date.split(['/', '-']);
    let mut part = || parts.next()?.parse::<i64>().ok();
    let (first, second, third) = (part()?, part()?, part()?);
    let (year, month, day) = if date.contains('/') {
        (third, first, second)
    } else {
        (first, second, third)
    };
    let fits = (1_970..=9_999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && parts.next().is_none();
    // Before anything is computed: a host may write any number.
    if !fits {
        return None;
    }
    // The year begins in March, so that the odd day comes last.
    let year = year - i64::from(month < 3);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(365 * year + year / 4 - year / 100 + year / 400 + of_year - 719_468)
}

#[cfg(test)]
mod tests {
    mod fuzz;

    use super::*;
    use zeroize::Zeroizing;

    const NONCE: &str = "00c0ffee00c0ffee";

    fn listed(text: &str, query: &HostQuery) -> Result<Listing, Reason> {
        let text = format!("{text}KW{NONCE}:0\n");
        let output = Output {
            bytes: Zeroizing::new(text.clone().into_bytes()),
            text: Zeroizing::new(text),
            status: Some(0),
        };
        read(&output, NONCE, query)
    }

    #[test]
    fn dates_of_either_form_are_days() {
        for (date, days) in [
            ("01/01/1970", Some(0)),
            ("1970-01-02", Some(1)),
            ("11/21/2026", Some(20_778)),
            ("2026-11-21", Some(20_778)),
            ("02/29/2024", Some(19_782)),
            ("never", None),
            ("13/01/2026", None),
            ("2026-11-21-1", None),
            ("9999999999999-11-21", None),
            ("2026-9223372036854775807-21", None),
            ("", None),
        ] {
            assert_eq!(day(date), days, "{date}");
        }
    }

    #[test]
    fn states_belong_to_their_accounts() {
        let text = "noise\nKW:today:20779\nKW:state:a:P:20000:\nKW:state:b:L:0:\n\
                    KW:passwd:c NP 11/21/2026 0 99999 7 -1\nKW:state:d:P::20779\n\
                    KW:state:a:L:1:1\nKW:state:e:hash:1:1\n\
                    KW:user:1000:a:/bin/sh\nKW:user:1001:b:/bin/sh\nKW:user:1002:c:\n\
                    KW:user:1003:d:/bin/sh\nKW:user:1004:e:/bin/sh\n";
        let listing = listed(text, &HostQuery::default()).unwrap();
        let seen: Vec<_> = listing
            .found
            .iter()
            .map(|row| (row.name.as_str(), row.lock, row.changed_at, row.expired))
            .collect();
        let days = |days: i64| Some(days * DAY_MS);
        assert_eq!(
            seen,
            [
                ("a", Lock::Open, days(20_000), Some(false)),
                ("b", Lock::Locked, None, Some(true)),
                ("c", Lock::NoPassword, days(20_778), Some(false)),
                ("d", Lock::Open, None, Some(true)),
                ("e", Lock::Unknown, None, None),
            ]
        );
        assert_eq!((listing.truncated, listing.unreadable), (false, 0));
    }

    #[test]
    fn only_what_was_asked_for_is_listed_whatever_the_host_sends() {
        let text = "KW:user:0:root:/bin/bash\nKW:user:999:low:/bin/bash\n\
                    KW:user:1000:in:/bin/bash\nKW:user:1001:closed:/usr/sbin/nologin\n\
                    KW:user:60000:high:/bin/bash\nKW:user:x:y:z\nKW:user:4294967296:a:b\n\
                    KW:user:1002::/bin/bash\nKW:user:1003\n";
        let query = HostQuery {
            shells: vec!["/bin/bash".to_owned()],
            ..HostQuery::default()
        };
        let names = |listing: Listing| -> Vec<String> {
            listing.found.into_iter().map(|row| row.name).collect()
        };
        let listing = listed(text, &query).unwrap();
        assert_eq!(listing.unreadable, 4);
        assert_eq!(names(listing), ["root", "in"]);
        let query = HostQuery {
            with_root: false,
            ..HostQuery::default()
        };
        assert_eq!(names(listed(text, &query).unwrap()), ["in", "closed"]);
    }

    #[test]
    fn a_name_that_is_none_is_shown_and_not_importable() {
        let text = "KW:user:1000:a\u{1b}[31m:/bin/\u{7}sh\nKW:user:1001:-R:/bin/sh\n\
                    KW:user:1002:Upper:/bin/sh\nKW:user:1003:fine:/bin/sh\nKW:more\n";
        let listing = listed(text, &HostQuery::default()).unwrap();
        assert!(listing.truncated);
        let seen: Vec<_> = listing
            .found
            .iter()
            .map(|row| (row.name.as_str(), row.importable))
            .collect();
        assert_eq!(
            seen,
            [
                ("a\\u{1b}[31m", false),
                ("-R", false),
                ("Upper", false),
                ("fine", true)
            ]
        );
        assert_eq!(listing.found[0].shell.as_deref(), Some("/bin/\\u{7}sh"));
    }

    #[test]
    fn a_list_without_its_end_is_none() {
        let text = "KW:user:1000:a:/bin/sh\n";
        let output = Output {
            bytes: Zeroizing::new(text.into()),
            text: Zeroizing::new(text.into()),
            status: Some(0),
        };
        let reason = read(&output, NONCE, &HostQuery::default()).unwrap_err();
        assert_eq!(reason.class, Class::Incompatible);
    }
}
