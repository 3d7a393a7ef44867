//! How much a key may ask for, and how often anybody may fail to prove who they are.
//!
//! A count slides: what happened in the window before this one counts by the share of it that
//! still lies within one window's length. Each node counts for itself.
//!
//! Invariant: memory is bounded, whoever calls from wherever; nothing here waits.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::model::id::{KeyId, UserId};

/// Keys, addresses or names that are counted at once.
const SUBJECTS_MAX: usize = 10_000;
/// Characters of a name that tell it from others.
const NAME_MAX_CHARS: usize = 100;
/// A network that one caller of IPv6 has to itself.
const IPV6_NETWORK: u128 = u128::MAX << 64;

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At most so often …
    pub most: u32,
    /// … in a time of this length.
    pub window: Duration,
}

impl Rate {
    /// So often in a minute.
    pub const fn per_minute(most: u32) -> Self {
        Self {
            most,
            window: Duration::from_mins(1),
        }
    }
}

/// Who has a budget: a key; of sessions that were opened with a password all of a user's together,
/// since another sign-in is soon made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Spender {
    /// A key, with its tokens and sessions.
    Key(KeyId),
    /// A user.
    User(UserId),
}

/// What each has so much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Budget {
    /// Calls of any kind.
    Requests,
    /// Calls of the IT Glue dialect, over a longer time.
    ItGlue,
    /// Secrets in the clear.
    Reveals,
    /// Orders that change a whole system.
    Quarantines,
}

impl Budget {
    /// As the metrics call it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::ItGlue => "itglue",
            Self::Reveals => "reveals",
            Self::Quarantines => "quarantines",
        }
    }
}

/// What was asked for, and what failed, of late.
#[derive(Debug, Default)]
pub struct Limits {
    requests: Counts<Spender>,
    itglue: Counts<Spender>,
    reveals: Counts<Spender>,
    quarantines: Counts<Spender>,
    failed_addresses: Counts<IpAddr>,
    failed_names: Counts<String>,
}

impl Limits {
    /// Takes one from a budget, or says how long to wait for it.
    pub(crate) fn take(
        &self,
        budget: Budget,
        spender: Spender,
        rate: Rate,
        now: Duration,
    ) -> Result<(), Duration> {
        let counts = match budget {
            Budget::Requests => &self.requests,
            Budget::ItGlue => &self.itglue,
            Budget::Reveals => &self.reveals,
            Budget::Quarantines => &self.quarantines,
        };
        counts.room(&spender, rate, now)?;
        counts.add(spender, rate, now);
        Ok(())
    }

    /// How long nobody may try to sign in from this address, or by one of these names.
    pub(crate) fn may_try(
        &self,
        address: Option<IpAddr>,
        names: &[String],
        (by_address, by_name): (Rate, Rate),
        now: Duration,
    ) -> Result<(), Duration> {
        if let Some(address) = address {
            self.failed_addresses
                .room(&network(address), by_address, now)?;
        }
        let mut rooms = names
            .iter()
            .map(|name| self.failed_names.room(&told(name), by_name, now));
        rooms.try_for_each(|room| room)
    }

    /// Somebody failed to prove who they are.
    pub(crate) fn failed(
        &self,
        address: Option<IpAddr>,
        names: &[String],
        (by_address, by_name): (Rate, Rate),
        now: Duration,
    ) {
        if let Some(address) = address {
            self.failed_addresses.add(network(address), by_address, now);
        }
        for name in names {
            self.failed_names.add(told(name), by_name, now);
        }
    }

    /// Somebody has proven who they are: earlier mistakes by these names are forgiven.
    pub(crate) fn succeeded(&self, names: &[String]) {
        for name in names {
            self.failed_names.forget(&told(name));
        }
    }
}

/// What one caller can choose addresses from counts as one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & IPV6_NETWORK).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn told(name: &str) -> String {
    name.to_lowercase().chars().take(NAME_MAX_CHARS).collect()
}

/// One subject's count in this window and in the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// Which window, from the clock's start.
    window: u128,
    before: u32,
    current: u32,
}

impl Count {
    fn at(self, window: u128) -> Self {
        match window.saturating_sub(self.window) {
            0 => self,
            1 => Self {
                window,
                before: self.current,
                current: 0,
            },
            _ => Self {
                window,
                ..Self::default()
            },
        }
    }
}

#[derive(Debug)]
struct Counts<K>(Mutex<HashMap<K, Count>>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash> Counts<K> {
    /// Whether one more fits, or after how long it will.
    fn room(&self, subject: &K, rate: Rate, now: Duration) -> Result<(), Duration> {
        let (window, spent, whole) = place(rate, now);
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = seen.get(subject).map(|count| count.at(window)) else {
            return Ok(());
        };
        let (before, current) = (u128::from(count.before), u128::from(count.current));
        let most = u128::from(rate.most);
        if before * (whole - spent) + (current + 1) * whole <= most * whole {
            return Ok(());
        }
        // What must still slide out for one more to fit, at the earlier window's pace …
        let (fading, left, from) = if current < most {
            (before, most - 1 - current, spent)
        } else {
            // … or, once this window is over, at this one's.
            (current, most.saturating_sub(1), 0)
        };
        let until = whole.saturating_sub((left * whole).checked_div(fading).unwrap_or(0));
        let wait = if current < most {
            until.saturating_sub(from)
        } else {
            whole - spent + until
        };
        Err(Duration::from_millis(
            u64::try_from(wait).unwrap_or(u64::MAX),
        ))
    }

    fn add(&self, subject: K, rate: Rate, now: Duration) {
        let (window, ..) = place(rate, now);
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= SUBJECTS_MAX && !seen.contains_key(&subject) {
            seen.retain(|_, count| window.saturating_sub(count.window) < 2);
            // Still full: whoever did least is forgotten.
            let least = seen
                .iter()
                .min_by_key(|(_, count)| u64::from(count.before) + u64::from(count.current))
                .map(|(subject, _)| subject.clone());
            if let Some(least) = least.filter(|_| seen.len() >= SUBJECTS_MAX) {
                seen.remove(&least);
            }
        }
        let count = seen.entry(subject).or_default();
        *count = count.at(window);
        count.current = count.current.saturating_add(1);
    }

    fn forget(&self, subject: &K) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.remove(subject);
    }
}

/// Which window it is, how much of it is spent, and its length: milliseconds.
fn place(rate: Rate, now: Duration) -> (u128, u128, u128) {
    let whole = rate.window.as_millis().max(1);
    (now.as_millis() / whole, now.as_millis() % whole, whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::per_minute(10);

    fn take(limits: &Limits, now_ms: u64) -> Result<(), Duration> {
        limits.take(
            Budget::Requests,
            Spender::Key(KeyId(1)),
            RATE,
            Duration::from_millis(now_ms),
        )
    }

    #[test]
    fn a_budget_is_spent_and_slides_back() {
        let limits = Limits::default();
        for _ in 0..10 {
            take(&limits, 90_000).unwrap();
        }
        let wait = take(&limits, 90_000).unwrap_err();
        // Half of this window is left, and a tenth of the next must have passed.
        assert_eq!(wait, Duration::from_secs(36));
        assert!(take(&limits, 90_000 + 35_900).is_err());
        take(&limits, 90_000 + 36_000).unwrap();
        let wait = take(&limits, 90_000 + 36_000).unwrap_err();
        assert_eq!(wait, Duration::from_secs(6));
        take(&limits, 90_000 + 42_000).unwrap();
        // Another key, or a user, has a budget of its own, and so has another kind of call.
        let now = Duration::from_secs(90);
        limits
            .take(Budget::Requests, Spender::Key(KeyId(2)), RATE, now)
            .unwrap();
        let user = Spender::User(UserId(1));
        limits.take(Budget::Requests, user, RATE, now).unwrap();
        limits
            .take(Budget::Reveals, Spender::Key(KeyId(1)), RATE, now)
            .unwrap();
    }

    #[test]
    fn the_wait_that_is_told_is_enough_and_none_too_long() {
        for start in [0, 1, 29_000, 59_999] {
            for most in [1, 2, 7] {
                let limits = Limits::default();
                let rate = Rate::per_minute(most);
                let mut now = Duration::from_millis(600_000 + start);
                for _ in 0..50 {
                    match limits.take(Budget::Requests, Spender::Key(KeyId(1)), rate, now) {
                        Ok(()) => now += Duration::from_millis(100),
                        Err(wait) => {
                            assert!(wait > Duration::ZERO && wait <= Duration::from_mins(2));
                            let early = (now + wait).checked_sub(Duration::from_millis(2));
                            let early =
                                limits
                                    .requests
                                    .room(&Spender::Key(KeyId(1)), rate, early.unwrap());
                            assert!(early.is_err(), "{wait:?} is too long");
                            now += wait;
                            limits
                                .take(Budget::Requests, Spender::Key(KeyId(1)), rate, now)
                                .unwrap_or_else(|more| panic!("{wait:?} and {more:?}"));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn however_many_fail_memory_stays_bounded_and_the_busiest_stay_counted() {
        let limits = Limits::default();
        let now = Duration::from_secs(1);
        let rates = (RATE, RATE);
        for _ in 0..10 {
            limits.failed(None, &["victim".to_owned()], rates, now);
        }
        for nth in 0..SUBJECTS_MAX + 500 {
            limits.failed(None, &[nth.to_string()], rates, now);
        }
        assert_eq!(limits.failed_names.0.lock().unwrap().len(), SUBJECTS_MAX);
        let tries = |name: &str| limits.may_try(None, &[name.to_owned()], rates, now);
        tries("VICTIM").unwrap_err();
        tries("somebody").unwrap();
        limits.succeeded(&["Victim".to_owned()]);
        tries("victim").unwrap();
    }

    #[test]
    fn addresses_of_one_network_of_ipv6_count_as_one() {
        let limits = Limits::default();
        let now = Duration::from_secs(1);
        let rates = (RATE, RATE);
        for nth in 0..10 {
            let from = format!("2001:db8:0:1::{nth:x}").parse().ok();
            limits.failed(from, &[], rates, now);
        }
        let tries = |from: &str| limits.may_try(from.parse().ok(), &[], rates, now);
        tries("2001:db8:0:1:ffff::1").unwrap_err();
        tries("2001:db8:0:2::1").unwrap();
        tries("192.0.2.1").unwrap();
        limits.may_try(None, &[], rates, now).unwrap();
    }
}
