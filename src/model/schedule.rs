//! When an account changes and is tested by itself.
//!
//! Invariant: an account that is suspended, deleted or managed by nobody is never due.

use std::time::Duration;

use super::Timestamp;
use super::account::Account;
use super::policy::{ChangeTime, DueInputs, Mode, Policy, VendorFrequency, VendorSchedule, due};
use super::rotation::HORIZON;
use super::system::System;

/// How often a stored credential is tested where no policy says.
const CHECK_EVERY_DEFAULT: Duration = Duration::from_hours(24);

/// What is to happen by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// When the account changes; `None`: never by itself.
    pub next_change_at: Option<Timestamp>,
    /// When it is tested; `None`: never by itself.
    pub next_test_at: Option<Timestamp>,
    /// When it is flagged stale, where nothing changes it by itself; `None`: never.
    pub flag_at: Option<Timestamp>,
}

impl Planned {
    /// The same, with no change and no test before `earliest`.
    #[must_use]
    pub fn not_before(self, earliest: Timestamp) -> Self {
        let later = |at: Option<Timestamp>| at.map(|at| at.max(earliest));
        Self {
            next_change_at: later(self.next_change_at),
            next_test_at: later(self.next_test_at),
            ..self
        }
    }
}

/// The vendor's schedule where nobody gave one: first of the month, 23:30 UTC.
pub fn vendor_default() -> VendorSchedule {
    VendorSchedule {
        frequency: VendorFrequency::First,
        change_time: ChangeTime::default(),
    }
}

/// A vendor's schedule in its words: `ChangeFrequencyType`, `ChangeFrequencyDays`, `ChangeTime`.
///
/// The days are there with `xdays` alone.
pub fn vendor_words(schedule: &VendorSchedule) -> (&'static str, Option<i64>, String) {
    let (frequency, days) = match schedule.frequency {
        VendorFrequency::First => ("first", None),
        VendorFrequency::Last => ("last", None),
        VendorFrequency::XDays(days) => ("xdays", Some(i64::from(days))),
    };
    (frequency, days, schedule.change_time.to_string())
}

/// Plans an account. `policy` is the account's own policy, or else its system's.
///
/// A policy rules where there is one, whatever the account's vendor fields say; without one,
/// only accounts with `auto_management` change by themselves. A subscriber changes with its parent,
/// whose plan counts for both; it is tested by its own.
pub fn plan(
    account: &Account,
    system: &System,
    policy: Option<&Policy>,
    now: Timestamp,
) -> Planned {
    if !account.active || account.deleted_at.is_some() || system.deleted_at.is_some() {
        return Planned::default();
    }
    let (mode, vendor) = if let Some(policy) = policy {
        (policy.mode(), None)
    } else {
        let mode = Mode::from_auto_management(account.settings.auto_management);
        (mode, Some(account.settings.schedule))
    };
    let due = due(&DueInputs {
        mode,
        vendor,
        policy,
        override_next: account.settings.next_override_at,
        last_change: account.credential.oldest_change_at(),
        created: account.created_at,
        dice: account.id.0.unsigned_abs(),
        now,
    });
    let next_test_at = next_test(account, policy, now);
    if account.parent_id.is_some() {
        return Planned {
            next_test_at,
            ..Planned::default()
        };
    }
    match mode {
        Mode::Auto => Planned {
            next_change_at: due.map(|due| due.at),
            next_test_at,
            flag_at: None,
        },
        // What is only flagged is flagged when it is too old, not when a change would start.
        Mode::Flag => Planned {
            next_change_at: None,
            next_test_at,
            flag_at: due.map(|due| due.latest),
        },
        Mode::Manual => Planned {
            next_change_at: None,
            next_test_at,
            flag_at: None,
        },
    }
}

/// A test follows the last one after the policy's interval, in doubt after a horizon at the latest,
/// whatever the account says of tests. It comes a little early by the account's own
/// share, so that accounts that came in together are not tested together for ever.
fn next_test(account: &Account, policy: Option<&Policy>, now: Timestamp) -> Option<Timestamp> {
    let in_doubt = account.credential.in_doubt || account.credential.key_in_doubt;
    if !(account.settings.check_password || in_doubt) || !account.credential.is_held() {
        return None;
    }
    let every = policy.map_or(CHECK_EVERY_DEFAULT, Policy::check_every);
    // Once the horizon of what may land has passed, a test ends the doubt or finds what landed.
    let every = if in_doubt { every.min(HORIZON) } else { every };
    // Up to a tenth, in thousandths; the multiplier scatters neighbouring ids.
    let share = account
        .id
        .0
        .unsigned_abs()
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        >> 32;
    let early = every / 10 * u32::try_from(share % 1_000).unwrap_or(0) / 1_000;
    let base = account
        .credential
        .tested_at
        .max(account.credential.last_change_at());
    let at = base.unwrap_or(account.created_at).plus(every).minus(early);
    Some(at.max(now))
}

#[cfg(test)]
mod tests {
    use super::super::account::{AccountSettings, CredentialState, DueState, LastTest};
    use super::super::id::{AccountId, PlatformId, SystemId, WorkgroupId};
    use super::super::system::{EntityType, SystemPlace, SystemSettings};
    use super::*;

    const DAY_MS: i64 = 86_400_000;
    const NOW: Timestamp = Timestamp(1_750_000_000_000); // 2025-06-15T15:06:40Z

    fn system() -> System {
        System {
            id: SystemId(1),
            place: SystemPlace {
                entity_type: EntityType::Asset,
                asset_id: None,
                workgroup_id: WorkgroupId(1),
                platform_id: PlatformId(2),
            },
            settings: SystemSettings::of_host("web1"),
            revision: 1,
            created_at: NOW,
            deleted_at: None,
        }
    }

    fn account() -> Account {
        Account {
            id: AccountId(7),
            system_id: SystemId(1),
            settings: AccountSettings::named("root"),
            active: true,
            credential: CredentialState {
                epoch: 0,
                current_version: Some(1),
                current_key_version: None,
                last_version: 1,
                changed_at: Some(NOW),
                key_changed_at: None,
                tested_at: None,
                last_test: LastTest::NeverTested,
                in_doubt: false,
                key_in_doubt: false,
            },
            due: DueState::default(),
            parent_id: None,
            work: None,
            revision: 1,
            created_at: NOW,
            deleted_at: None,
        }
    }

    fn policy(mode: &str) -> Policy {
        let json = serde_json::json!({"name": "p", "mode": mode, "max_age": "10d", "jitter": 0.0});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_vendors_schedule_survives_its_words() {
        for (frequency, days) in [("first", None), ("last", None), ("xdays", Some(30))] {
            let schedule = VendorSchedule::parse(frequency, days, "01:05").unwrap();
            let words = vendor_words(&schedule);
            assert_eq!(
                (words.0, words.1, words.2.as_str()),
                (frequency, days, "01:05")
            );
        }
    }

    #[test]
    fn an_unmanaged_account_is_flagged_after_90_days_and_never_changes_by_itself() {
        let planned = plan(&account(), &system(), None, NOW);
        let flag_at = Some(Timestamp(NOW.0 + 90 * DAY_MS));
        assert_eq!(
            planned,
            Planned {
                flag_at,
                ..Planned::default()
            }
        );
    }

    #[test]
    fn a_managed_account_follows_the_vendors_schedule() {
        let mut account = account();
        account.settings.auto_management = true;
        let planned = plan(&account, &system(), None, NOW);
        // 2025-07-01T23:30:00Z
        assert_eq!(planned.next_change_at, Some(Timestamp(1_751_412_600_000)));
    }

    #[test]
    fn a_policy_rules_over_the_vendors_fields() {
        let planned = plan(&account(), &system(), Some(&policy("auto")), NOW);
        assert_eq!(planned.next_change_at, Some(Timestamp(NOW.0 + 10 * DAY_MS)));
        let mut managed = account();
        managed.settings.auto_management = true;
        let planned = plan(&managed, &system(), Some(&policy("flag")), NOW);
        assert_eq!(planned.next_change_at, None);
        assert_eq!(planned.flag_at, Some(Timestamp(NOW.0 + 10 * DAY_MS)));
        let planned = plan(&managed, &system(), Some(&policy("manual")), NOW);
        assert_eq!(planned, Planned::default());
    }

    #[test]
    fn suspended_and_deleted_accounts_are_never_due() {
        let mut account = account();
        account.settings.auto_management = true;
        account.settings.check_password = true;
        account.active = false;
        assert_eq!(plan(&account, &system(), None, NOW), Planned::default());
        account.active = true;
        account.deleted_at = Some(NOW);
        assert_eq!(plan(&account, &system(), None, NOW), Planned::default());
    }

    #[test]
    fn a_checked_account_is_tested_within_a_day_of_its_last_change() {
        let mut account = account();
        account.settings.check_password = true;
        let at = plan(&account, &system(), None, NOW).next_test_at.unwrap();
        assert!(at.0 > NOW.0 + DAY_MS * 8 / 10 && at.0 <= NOW.0 + DAY_MS);
        let later = Timestamp(NOW.0 + 5 * DAY_MS);
        assert_eq!(
            plan(&account, &system(), None, later).next_test_at,
            Some(later)
        );
        account.credential.current_version = None;
        assert_eq!(plan(&account, &system(), None, NOW).next_test_at, None);
    }

    #[test]
    fn an_account_in_doubt_is_tested_within_a_horizon_whether_it_is_checked_or_not() {
        let mut account = account();
        let rare = serde_json::json!({
            "name": "p", "mode": "manual", "max_age": "90d", "check_every": "30d",
        });
        let rare: Policy = serde_json::from_value(rare).unwrap();
        let test = |account: &Account| plan(account, &system(), Some(&rare), NOW).next_test_at;
        assert_eq!(test(&account), None);
        account.credential.key_in_doubt = true;
        let horizon = NOW.plus(HORIZON);
        assert!(test(&account).is_some_and(|at| at > NOW && at <= horizon));
        account.settings.check_password = true;
        assert!(test(&account).is_some_and(|at| at > NOW && at <= horizon));
    }
}
