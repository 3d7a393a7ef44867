//! What a run has done and found: the table, and the line that ends it.
//!
//! Invariant: whatever was done is counted once, by what it came to.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use keywheel::model::rotation::lockout_budget;

/// The steps of a rotation at which a kill is counted.
pub(crate) const STEPS: [&str; 6] = [
    "ready",
    "staged",
    "applying",
    "applied",
    "verified",
    "committed",
];
/// Failed logins that lock an account, on every target of the harness.
pub(crate) const THRESHOLD: i64 = 5;

/// What befalls a service, a target or what is between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Blow {
    /// SIGKILL of the service.
    Kill,
    /// SIGSTOP past the lease, then SIGCONT.
    Stop,
    /// SIGKILL of a connector process.
    Worker,
    /// A target ends, and comes back.
    Target,
    /// The line to a target is reset.
    Cut,
    /// The line to a target swallows everything, or every answer.
    Silence,
    /// The database ends at once, and comes back.
    Database,
}

impl Blow {
    const ALL: [Self; 7] = [
        Self::Kill,
        Self::Stop,
        Self::Worker,
        Self::Target,
        Self::Cut,
        Self::Silence,
        Self::Database,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Kill => "kills of the service",
            Self::Stop => "stops past the lease",
            Self::Worker => "kills of a connector process",
            Self::Target => "restarts of a target",
            Self::Cut => "lines cut",
            Self::Silence => "lines black-holed",
            Self::Database => "kills of the database",
        }
    }
}

/// What one world came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Whose it is.
    pub(crate) name: &'static str,
    pub(crate) rounds: u64,
    pub(crate) blows: BTreeMap<Blow, u64>,
    /// Kills that found work at a step; one kill finds the accounts of a batch at several.
    pub(crate) landed: BTreeMap<&'static str, u64>,
    /// Kills that found nothing under way.
    pub(crate) idle: u64,
    /// Nodes that found their work taken over when they went on.
    pub(crate) declared_dead: u64,
    /// Nodes that ended by themselves, and were started anew.
    pub(crate) ended: u64,
    pub(crate) committed: i64,
    pub(crate) abandoned: i64,
    /// Logins of the harness with what the store calls current, and with what it holds in doubt.
    pub(crate) by_current: u64,
    pub(crate) by_doubtful: u64,
    pub(crate) versions_opened: u64,
    /// Rows of the audit trail, all of them verified, and values in the escrow journals.
    pub(crate) audited: u64,
    pub(crate) journaled: u64,
    /// Lines of the journals that a kill has cut short.
    pub(crate) torn: u64,
    /// Accounts that came to need an operator, by reason.
    pub(crate) needs_operator: BTreeMap<String, u64>,
    /// What helped them: a probe, or an override.
    pub(crate) probed: u64,
    pub(crate) overridden: u64,
    /// Hours that were let pass, because something waited for nothing but time.
    pub(crate) hours: u64,
    pub(crate) lost: u64,
    /// The most failed logins that a target has counted on one account, by target.
    pub(crate) worst: BTreeMap<&'static str, u32>,
    /// Whatever else must not be, said once.
    pub(crate) faults: BTreeMap<String, u64>,
}

fn add<K: Ord + Clone>(to: &mut BTreeMap<K, u64>, from: &BTreeMap<K, u64>) {
    for (key, count) in from {
        *to.entry(key.clone()).or_default() += count;
    }
}

impl Tally {
    pub(crate) fn count(&mut self, blow: Blow) {
        *self.blows.entry(blow).or_default() += 1;
    }

    pub(crate) fn of(&self, blow: Blow) -> u64 {
        self.blows.get(&blow).copied().unwrap_or_default()
    }

    pub(crate) fn fault(&mut self, what: impl Into<String>) {
        let what = what.into();
        println!("{} fault: {what}", self.name);
        *self.faults.entry(what).or_default() += 1;
    }

    pub(crate) fn saw_failed(&mut self, target: &'static str, name: &str, failed: u32) {
        let worst = self.worst.entry(target).or_default();
        *worst = (*worst).max(failed);
        if i64::from(failed) > budget() {
            self.fault(format!(
                "{name} on {target}: more logins failed than the budget allows"
            ));
        }
    }

    pub(crate) fn partitions(&self) -> u64 {
        self.of(Blow::Cut) + self.of(Blow::Silence)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.rounds += other.rounds;
        add(&mut self.blows, &other.blows);
        add(&mut self.landed, &other.landed);
        self.idle += other.idle;
        self.declared_dead += other.declared_dead;
        self.ended += other.ended;
        self.committed += other.committed;
        self.abandoned += other.abandoned;
        self.by_current += other.by_current;
        self.by_doubtful += other.by_doubtful;
        self.versions_opened += other.versions_opened;
        self.audited += other.audited;
        self.journaled += other.journaled;
        self.torn += other.torn;
        add(&mut self.needs_operator, &other.needs_operator);
        self.probed += other.probed;
        self.overridden += other.overridden;
        self.hours += other.hours;
        self.lost += other.lost;
        for (target, worst) in &other.worst {
            let mine = self.worst.entry(target).or_default();
            *mine = (*mine).max(*worst);
        }
        add(&mut self.faults, &other.faults);
    }

    fn worst(&self) -> u32 {
        self.worst.values().copied().max().unwrap_or_default()
    }

    fn summary(&self) -> String {
        let needs_operator: u64 = self.needs_operator.values().sum();
        format!(
            "rotations {} · kills {} · stops {} · kills of connector processes {} · restarts of \
             targets {} · partitions {} · kills of the database {} · lost {} · needs operator \
             {needs_operator} · failed logins at worst {} of {} · other faults {}",
            self.committed,
            self.of(Blow::Kill),
            self.of(Blow::Stop),
            self.of(Blow::Worker),
            self.of(Blow::Target),
            self.partitions(),
            self.of(Blow::Database),
            self.lost,
            self.worst(),
            budget(),
            self.faults.values().sum::<u64>(),
        )
    }
}

/// Failed logins that the service may cause on an account within an hour.
pub(crate) fn budget() -> i64 {
    lockout_budget(Some(THRESHOLD))
}

/// The line that ends a run of several worlds.
pub(crate) fn summary_of(worlds: &[(&'static str, Tally)]) -> String {
    let mut sum = Tally::default();
    for (_, tally) in worlds {
        sum.add(tally);
    }
    sum.summary()
}

/// Columns of figures, the last of them the sum.
pub(crate) fn table(worlds: &[(&'static str, Tally)]) -> String {
    let mut sum = Tally::default();
    for (_, tally) in worlds {
        sum.add(tally);
    }
    let tallies = worlds.iter().map(|(_, tally)| tally).chain([&sum]);
    let columns: Vec<_> = tallies.map(Tally::figures).collect();
    let names = worlds.iter().map(|(name, _)| *name).chain(["both"]);
    let mut text = format!("{:<52}", "");
    for name in names {
        write!(text, "{name:>12}").unwrap();
    }
    text.push('\n');
    for (at, (name, _)) in columns[0].iter().enumerate() {
        write!(text, "{name:<52}").unwrap();
        for column in &columns {
            write!(text, "{:>12}", column[at].1).unwrap();
        }
        text.push('\n');
    }
    for (reason, count) in &sum.needs_operator {
        writeln!(text, "needed an operator, {count} times: {reason}").unwrap();
    }
    for (what, count) in &sum.faults {
        writeln!(text, "fault, {count} times: {what}").unwrap();
    }
    text
}

impl Tally {
    /// What was done.
    fn figures(&self) -> Vec<(String, String)> {
        let mut figures = vec![("rounds".to_owned(), self.rounds.to_string())];
        for blow in Blow::ALL {
            figures.push((blow.name().to_owned(), self.of(blow).to_string()));
        }
        for step in STEPS {
            let landed = self.landed.get(step).copied().unwrap_or_default();
            let name = format!("  kills that found work {step}");
            figures.push((name, landed.to_string()));
        }
        let idle = "  kills that found nothing under way".to_owned();
        figures.push((idle, self.idle.to_string()));
        figures.extend(self.findings());
        figures
    }

    /// What was found.
    fn findings(&self) -> Vec<(String, String)> {
        let needs_operator: u64 = self.needs_operator.values().sum();
        let faults: u64 = self.faults.values().sum();
        let mut figures: Vec<_> = [
            (
                "stopped nodes that found themselves taken for dead",
                self.declared_dead,
            ),
            ("nodes that ended by themselves, and came back", self.ended),
            ("rotations committed", self.committed.unsigned_abs()),
            ("rotations abandoned", self.abandoned.unsigned_abs()),
            ("kept versions opened", self.versions_opened),
            ("logins with current that worked", self.by_current),
            ("logins with one in doubt that worked", self.by_doubtful),
            ("audit rows verified at the end", self.audited),
            ("values in escrow journals", self.journaled),
            ("  lines that were cut short", self.torn),
            ("accounts that came to need an operator", needs_operator),
            ("  settled by another probe", self.probed),
            ("  settled by an override", self.overridden),
            ("hours let pass in the store", self.hours),
            ("other faults", faults),
            ("lost", self.lost),
        ]
        .into_iter()
        .map(|(name, figure)| (name.to_owned(), figure.to_string()))
        .collect();
        for target in ["OpenSSH", "OpenLDAP", "Samba AD"] {
            let worst = self.worst.get(target).copied().unwrap_or_default();
            let name = format!("worst failed logins, {target}");
            figures.push((name, format!("{worst} of {}", budget())));
        }
        figures
    }
}
