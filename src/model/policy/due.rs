//! The next run of one account, and which setting decides it.
//!
//! Invariant: a run is never before now, never in a blackout, and never twice in one opening of a
//! window.

use std::time::Duration;

use super::window::{Blackout, Window};
use super::{Mode, Policy, VendorSchedule, share};
use crate::model::Timestamp;

/// Moves between windows and blackouts before the search gives up.
///
/// A policy is taken if 2,000 find a start, which may be the one night of a year in which the clocks
/// leave a gap between blackouts, ten weeks ahead. To the next it is a year: five times as far, and
/// as far again to be safe.
const MOVES_MAX: usize = 20_000;

/// When a change is to start, and whether that is soon enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Start of the change; never in the past.
    pub at: Timestamp,
    /// The last moment that the policy allows; for a vendor's schedule, `at`.
    pub latest: Timestamp,
    /// `at` lies after `latest`: say so, for nobody will make up for it.
    pub cannot_meet: bool,
}

/// Everything that decides when an account is due.
#[derive(Clone, Copy, Debug)]
pub struct DueInputs<'a> {
    /// The effective mode.
    pub mode: Mode,
    /// The vendor's schedule, if the account or its system has one; it counts in mode `auto`
    /// (`AutoManagementFlag`), and goes before the policy.
    pub vendor: Option<VendorSchedule>,
    /// The account's policy.
    pub policy: Option<&'a Policy>,
    /// A date that somebody set for this account. It goes before everything, ignores windows and
    /// blackouts, and counts only until the change has happened.
    pub override_next: Option<Timestamp>,
    /// When the current credential was set; `None` if Keywheel never did.
    pub last_change: Option<Timestamp>,
    /// When the account was taken in.
    pub created: Timestamp,
    /// A number that belongs to the account and never changes, its id for example.
    pub dice: u64,
    /// Wall time. After a failure hand in now plus the pause, else the answer may be now again.
    pub now: Timestamp,
}

/// When the account is due; `None` if nothing is ever to happen by itself (mode `manual`).
pub fn due(inputs: &DueInputs<'_>) -> Option<Due> {
    let DueInputs {
        mode,
        vendor,
        policy,
        override_next,
        last_change,
        created,
        dice,
        now,
    } = *inputs;
    let vendor = match mode {
        Mode::Manual => return None,
        Mode::Auto => vendor,
        Mode::Flag => None,
    };
    let builtin;
    let policy = if let Some(policy) = policy {
        policy
    } else {
        builtin = Policy::builtin();
        &builtin
    };
    let mut due = match vendor {
        Some(vendor) => {
            let at = vendor.next(last_change, created, now);
            Due {
                at,
                latest: at,
                cannot_meet: false,
            }
        }
        None => next_run(policy, last_change, created, dice, now),
    };
    // A date from before the last change has had its effect.
    if let Some(set) = override_next.filter(|set| last_change.is_none_or(|last| *set > last)) {
        due.at = set.max(now);
        due.cannot_meet = vendor.is_none() && due.at > due.latest;
    }
    Some(due)
}

/// The next run under a policy: the last change plus `max_age`, less the account's jitter, moved
/// back to the latest opening of a window; if none is left, forward to the next.
///
/// A window that is open now counts as the next, unless the last change fell into this opening.
pub fn next_run(
    policy: &Policy,
    last_change: Option<Timestamp>,
    created: Timestamp,
    dice: u64,
    now: Timestamp,
) -> Due {
    let base = last_change.unwrap_or(created);
    let early = share(policy.jitter.of(policy.max_age), dice);
    place(policy, base, early, now)
}

/// The next run after a change at `base`, that much `early`.
pub(super) fn place(policy: &Policy, base: Timestamp, early: Duration, now: Timestamp) -> Due {
    let latest = base.plus(policy.max_age);
    let target = latest.minus(early);
    // One millisecond later, so that a run never answers to itself.
    let lowest = now.max(Timestamp(base.0.saturating_add(1)));
    let at = back(policy, target, lowest)
        .unwrap_or_else(|| forward(&policy.windows, &policy.blackouts, base, lowest))
        .max(now);
    Due {
        at,
        latest,
        cannot_meet: at > latest,
    }
}

/// The latest permitted start from `lowest` to `target`.
fn back(policy: &Policy, target: Timestamp, lowest: Timestamp) -> Option<Timestamp> {
    let mut at = target;
    for _ in 0..MOVES_MAX {
        if !policy.windows.is_empty() {
            at = policy
                .windows
                .iter()
                .filter_map(|window| window.last_start(at))
                .max()?;
        }
        if at < lowest {
            return None;
        }
        let Some(blackout) = earliest_blackout(&policy.blackouts, at) else {
            return Some(at);
        };
        at = Timestamp(blackout.0.saturating_sub(1));
    }
    None
}

/// The earliest permitted start from `lowest` on. If the search finds none, the moment at which it
/// stopped, far ahead; [`Policy`] refuses settings under which that is bound to happen.
fn forward(
    windows: &[Window],
    blackouts: &[Blackout],
    base: Timestamp,
    lowest: Timestamp,
) -> Timestamp {
    search(windows, blackouts, base, lowest, MOVES_MAX).unwrap_or_else(|stopped| stopped)
}

/// The earliest permitted start from `lowest` on, or where `moves` ended.
pub(super) fn search(
    windows: &[Window],
    blackouts: &[Blackout],
    base: Timestamp,
    lowest: Timestamp,
    moves: usize,
) -> Result<Timestamp, Timestamp> {
    let mut at = lowest;
    for _ in 0..moves {
        if let Some(end) = latest_end(blackouts, at) {
            at = end;
            continue;
        }
        let open = |window: &Window| window.open_since(at).is_some_and(|start| start > base);
        if windows.is_empty() || windows.iter().any(open) {
            return Ok(at);
        }
        let after = Timestamp(at.0.saturating_add(1));
        match windows
            .iter()
            .filter_map(|window| window.next_start(after))
            .min()
        {
            Some(start) => at = start,
            // Past the calendar's end nothing opens any more.
            None => return Err(at),
        }
    }
    Err(at)
}

fn earliest_blackout(blackouts: &[Blackout], at: Timestamp) -> Option<Timestamp> {
    blackouts
        .iter()
        .filter_map(|blackout| blackout.around(at))
        .map(|(from, _)| from)
        .min()
}

fn latest_end(blackouts: &[Blackout], at: Timestamp) -> Option<Timestamp> {
    blackouts
        .iter()
        .filter_map(|blackout| blackout.around(at))
        .map(|(_, until)| until)
        .max()
}

/// Where a setting comes from, nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Set on the account.
    Account,
    /// Set on its system.
    System,
    /// Said by the policy.
    Policy,
    /// Nobody chose: flag, 90 days.
    Default,
}

/// What an account or a system sets for itself; `None` leaves it to the next in line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// What happens when the time has come.
    pub mode: Option<Mode>,
    /// The vendor's schedule.
    pub schedule: Option<VendorSchedule>,
}

/// What says when an account is due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule<'a> {
    /// The vendor's frequency and time.
    Vendor(VendorSchedule),
    /// A policy.
    Policy(&'a Policy),
    /// Ninety days.
    Default,
}

/// The settings that hold for one account, each with its origin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effective<'a> {
    /// What happens when the time has come.
    pub mode: Mode,
    /// Who said so.
    pub mode_from: Origin,
    /// What says when.
    pub schedule: Schedule<'a>,
    /// Who said so.
    pub schedule_from: Origin,
}

impl<'a> Effective<'a> {
    /// Settles each field by itself: account before system before policy before default.
    pub fn of(account: &Overrides, system: &Overrides, policy: Option<&'a Policy>) -> Self {
        let (mode, mode_from) = account
            .mode
            .map(|mode| (mode, Origin::Account))
            .or_else(|| system.mode.map(|mode| (mode, Origin::System)))
            .or_else(|| policy.map(|policy| (policy.mode, Origin::Policy)))
            .unwrap_or((Mode::Flag, Origin::Default));
        let vendor = |set: VendorSchedule, origin| (Schedule::Vendor(set), origin);
        let (schedule, schedule_from) = account
            .schedule
            .map(|set| vendor(set, Origin::Account))
            .or_else(|| system.schedule.map(|set| vendor(set, Origin::System)))
            .or_else(|| policy.map(|policy| (Schedule::Policy(policy), Origin::Policy)))
            .unwrap_or((Schedule::Default, Origin::Default));
        Self {
            mode,
            mode_from,
            schedule,
            schedule_from,
        }
    }

    /// The vendor's schedule, if that is what holds: the field of [`DueInputs`].
    pub fn vendor(&self) -> Option<VendorSchedule> {
        match self.schedule {
            Schedule::Vendor(set) => Some(set),
            Schedule::Policy(_) | Schedule::Default => None,
        }
    }
}
