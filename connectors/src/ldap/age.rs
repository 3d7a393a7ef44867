//! Whether a domain refused a password because the present one is too young.
//!
//! Windows says so by the same number as for every other rule, so the times are compared: the
//! domain's own clock, never ours.
//!
//! Invariant: what cannot be read is no reason to wait.

use ldap3::Scope;

use super::entry::Entry;
use super::link::Link;

/// 100 ns intervals in a second, the unit of a domain's times.
const INTERVALS_A_SECOND: i64 = 10_000_000;
/// From the beginning of 1601, where a domain's times begin, to the one of 1970, in days.
const DAYS_TO_1970: i64 = 134_774;

/// True if the password of `dn` may not be changed yet.
pub(super) async fn is_too_young(link: &Link, context: &str, dn: &str) -> bool {
    let read = async |base: &str, attribute: &str| {
        let searched = link
            .search(base, Scope::Base, "(objectClass=*)", &[attribute])
            .await;
        let (entries, _) = searched.ok()?;
        let text = entries
            .first()
            .and_then(|entry: &Entry| entry.text(attribute));
        text.map(str::to_owned)
    };
    let now = read("", "currentTime").await;
    let last = read(dn, "pwdLastSet").await;
    let age = read(context, "minPwdAge").await;
    match (now, last, age) {
        (Some(now), Some(last), Some(age)) => holds(&now, &last, &age).unwrap_or(false),
        _ => false,
    }
}

/// Compares the domain's time, when the password was set, and how long it must stay: the last two
/// in intervals, the very last one negative.
fn holds(now: &str, last: &str, age: &str) -> Option<bool> {
    let (last, age): (i64, i64) = (last.parse().ok()?, age.parse().ok()?);
    Some(last.checked_sub(age)? > intervals(now)?)
}

/// Reads `20261121232754.0Z`. Source: RFC 4517 3.3.13, as domains write it: UTC, with seconds.
fn intervals(time: &str) -> Option<i64> {
    let digits = time.strip_suffix('Z')?.split('.').next()?;
    let part = |from: usize, to: usize| digits.get(from..to)?.parse::<i64>().ok();
    let fits = digits.len() == 14 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let (month, day) = (part(4, 6)?, part(6, 8)?);
    if !fits || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // The year begins in March, so that the odd day comes last.
    let year = part(0, 4)? - i64::from(month < 3);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + of_year - 719_468;
    let seconds = part(8, 10)? * 3_600 + part(10, 12)? * 60 + part(12, 14)?;
    Some(((days + DAYS_TO_1970) * 86_400 + seconds) * INTERVALS_A_SECOND)
}

/// Reads such a time in milliseconds since 1970.
pub(super) fn millis(time: &str) -> Option<i64> {
    millis_of(intervals(time)?)
}

/// A domain's time in milliseconds since 1970.
pub(super) fn millis_of(intervals: i64) -> Option<i64> {
    let to_1970 = DAYS_TO_1970 * 86_400 * 1_000;
    (intervals / (INTERVALS_A_SECOND / 1_000)).checked_sub(to_1970)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_s_times_are_read() {
        for (text, seconds) in [
            ("16010101000000.0Z", 0),
            ("19700101000000.0Z", 11_644_473_600),
            ("20000229235959.0Z", 11_644_473_600 + 951_868_799),
            ("20261121232754.0Z", 11_644_473_600 + 1_795_303_674),
            ("20280301000000Z", 11_644_473_600 + 1_835_481_600),
        ] {
            assert_eq!(
                intervals(text),
                Some(seconds * INTERVALS_A_SECOND),
                "{text}"
            );
        }
        for text in [
            "",
            "Z",
            "20261321000000.0Z",
            "2026112123275.0Z",
            "2026112123275üZ",
            "2026",
        ] {
            assert_eq!(intervals(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_milliseconds_since_1970() {
        assert_eq!(millis("19700101000000Z"), Some(0));
        assert_eq!(millis("20261121232754Z"), Some(1_795_303_674_000));
        assert_eq!(millis("20261121232754.123Z"), Some(1_795_303_674_000));
        assert_eq!(millis_of(116_444_736_000_010_000), Some(1));
        assert_eq!(
            millis_of(i64::MIN),
            Some(-922_337_203_685_477 - 11_644_473_600_000)
        );
    }

    #[test]
    fn only_a_time_to_come_is_waited_for() {
        let set = intervals("20261121000000.0Z").unwrap().to_string();
        let day = (-86_400 * INTERVALS_A_SECOND).to_string();
        for (now, age, young) in [
            ("20261121235959.0Z", day.as_str(), Some(true)),
            ("20261122000000.0Z", &day, Some(false)),
            ("20261121000001.0Z", "0", Some(false)),
            ("20261121000001.0Z", "never", None),
            ("20261121000001.0Z", "-9223372036854775808", None),
        ] {
            assert_eq!(holds(now, &set, age), young, "{now} {age}");
        }
    }
}
