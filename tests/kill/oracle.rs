//! Whether every account can still be reached: the targets' counters, then a login to each.
//!
//! Invariant: counters are read before the harness logs in; what the store is believed to hold is
//! opened past the service.

use std::collections::BTreeMap;
use std::sync::Arc;

use keywheel::model::credential::Part;
use serde_json::json;

use crate::base::Standing;
use crate::kept::{Secret, Version};
use crate::target::{Domain, FUNCTIONAL, Said, Target};
use crate::world::{Account, World};

/// Logins that are tried on one account.
const TRIES_MAX: usize = 20;

/// What a look at one part of an account's credential came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// What the store calls current logs in.
    Current,
    /// Current does not, the store says that it may not, and another version does.
    Doubtful(i64),
    /// Current does not, the store says nothing of it, and another version does.
    Drifted(i64),
    /// No kept version logs in.
    Lost,
    /// The target would not say.
    Unclear(String),
}

/// A part of an account's credential, and what is kept of it.
struct Case<'a> {
    account: &'a Account,
    target: &'a Target,
    standing: &'a Standing,
    part: Part,
    versions: Vec<&'a Version>,
}

impl World {
    /// Reads the targets' counters of this world's accounts; `domains`: those of domains, too, which
    /// nobody may end meanwhile.
    pub(crate) fn read_counters(&mut self, domains: bool) {
        for (at, system) in self.systems.iter().enumerate() {
            if matches!(system.target, Target::Domain(_)) && !domains {
                continue;
            }
            for (name, failed) in system.target.failed_logins() {
                let mut accounts = self.accounts.iter();
                // In a domain there are others, too, whom another world looks after.
                if name == FUNCTIONAL || accounts.any(|one| one.system == at && one.name == name) {
                    self.tally.saw_failed(system.target.name(), &name, failed);
                }
            }
        }
    }

    /// The domains that others may end.
    pub(crate) fn domains(&self) -> Vec<Arc<Domain>> {
        let targets = self.systems.iter().map(|system| &system.target);
        let domains = targets.filter_map(|target| match target {
            Target::Domain(domain) => Some(domain.clone()),
            Target::Host(_) | Target::Directory(_) => None,
        });
        domains.collect()
    }

    /// Looks at every account; what must not be is counted.
    pub(crate) async fn check(&mut self) -> BTreeMap<(i64, Part), Verdict> {
        let gates = self.domains();
        let mut held = Vec::new();
        for domain in &gates {
            held.push(domain.gate.read().await);
        }
        tokio::task::block_in_place(|| self.read_counters(true));
        let tables = self.tables().await;
        let standings = tables.standings().await;
        tables.close().await;
        let kept = self.kept().await;
        let mut versions = BTreeMap::new();
        for account in &self.accounts {
            versions.insert(account.id, kept.versions(account.id).await);
        }
        kept.close().await;
        self.count_kept(&versions);
        let cases = self.cases(&standings, &versions);
        let folder = self.folder.path();
        let verdicts: Vec<_> = tokio::task::block_in_place(|| {
            std::thread::scope(|scope| {
                let looks: Vec<_> = cases
                    .chunks(cases.len().div_ceil(4).max(1))
                    .map(|cases| {
                        scope.spawn(move || {
                            let cases = cases.iter();
                            cases.map(|case| case.verdict(folder)).collect::<Vec<_>>()
                        })
                    })
                    .collect();
                looks
                    .into_iter()
                    .flat_map(|look| look.join().unwrap())
                    .collect()
            })
        });
        let keys = cases.iter().map(|case| (case.account.id, case.part));
        let found: BTreeMap<_, _> = keys.zip(verdicts).collect();
        drop(cases);
        self.revealed(&standings, &versions).await;
        self.judge(&found);
        self.forget_logins();
        found
    }

    fn cases<'a>(
        &'a self,
        standings: &'a [Standing],
        versions: &'a BTreeMap<i64, Vec<Version>>,
    ) -> Vec<Case<'a>> {
        let cases = standings.iter().map(|standing| {
            let account = self.account(standing.account_id);
            let part = Part::parse(&standing.part).unwrap();
            let versions = versions[&account.id].iter();
            Case {
                account,
                target: &self.systems[account.system].target,
                standing,
                part,
                versions: versions.filter(|version| version.part == part).collect(),
            }
        });
        cases.collect()
    }

    /// Every version that was ever staged is kept, and opens.
    fn count_kept(&mut self, versions: &BTreeMap<i64, Vec<Version>>) {
        for (account, versions) in versions {
            for version in versions {
                self.tally.versions_opened += 1;
                if version.secret.is_none() {
                    let (account, number) = (self.account(*account).name.clone(), version.number);
                    self.tally
                        .fault(format!("{account}: version {number} does not open"));
                }
            }
            let newest = versions.first().map_or(0, |version| version.number);
            if usize::try_from(newest).unwrap() != versions.len() {
                let name = self.account(*account).name.clone();
                self.tally.fault(format!("{name}: a version is not kept"));
            }
        }
    }

    /// What the service hands out as current is what the store holds.
    async fn revealed(&mut self, standings: &[Standing], versions: &BTreeMap<i64, Vec<Version>>) {
        let client = self.client();
        for standing in standings {
            let Some(current) = standing.current else {
                continue;
            };
            let kept = versions[&standing.account_id].iter();
            let kept = kept.filter(|version| version.number == current);
            let kept = kept.cloned().find_map(|version| version.secret);
            let path = format!("/api/v1/accounts/{}/reveal", standing.account_id);
            let order = json!({"kind": standing.part, "reason": "a round"});
            let answer = client.order(&path, &order).await;
            let value = (answer.status == 200).then(|| answer.json()["value"].clone());
            let value = value.and_then(|value| Some(Secret::new(value.as_str()?)));
            if value.is_none() || value != kept {
                let name = &self.account(standing.account_id).name;
                let what = format!(
                    "{name}: the current {} is not what is revealed",
                    standing.part
                );
                self.tally.fault(what);
            }
        }
    }

    fn judge(&mut self, found: &BTreeMap<(i64, Part), Verdict>) {
        for ((account, part), verdict) in found {
            let account = self.account(*account);
            let target = self.systems[account.system].target.name();
            let what = format!("{} on {target}, {}", account.name, part.as_str());
            match verdict {
                Verdict::Current => self.tally.by_current += 1,
                Verdict::Doubtful(_) => self.tally.by_doubtful += 1,
                Verdict::Drifted(version) => self.tally.fault(format!(
                    "{what}: current does not log in, nothing says so, and version {version} does"
                )),
                Verdict::Lost => {
                    self.tally.lost += 1;
                    println!("{} LOST: {what}: no kept version logs in", self.tally.name);
                }
                Verdict::Unclear(words) => self.tally.fault(format!("{what}: {words}")),
            }
        }
    }

    /// From here on the targets' logs tell of the service's logins again.
    pub(crate) fn forget_logins(&mut self) {
        for system in &mut self.systems {
            let length = system
                .target
                .log()
                .map(|log| std::fs::metadata(log).unwrap().len());
            system.log_read = length.unwrap_or_default();
        }
    }
}

impl Case<'_> {
    /// The likeliest first.
    fn verdict(&self, folder: &std::path::Path) -> Verdict {
        let current = self.standing.current;
        let applied = matches!(self.standing.phase.as_deref(), Some("applied" | "verified"));
        let candidate = self.standing.candidate;
        let mut order = if applied {
            vec![candidate, current]
        } else {
            vec![current, candidate]
        };
        let doubtful = self.versions.iter().filter(|version| version.is_doubtful);
        order.extend(doubtful.map(|version| Some(version.number)));
        order.extend(self.versions.iter().map(|version| Some(version.number)));
        let held = self.target.held(&self.account.name);
        let mut tried = Vec::new();
        for number in order.into_iter().flatten() {
            if tried.contains(&number) || tried.len() > TRIES_MAX {
                continue;
            }
            let secret = self
                .versions
                .iter()
                .find(|version| version.number == number);
            let Some(secret) = secret.and_then(|version| version.secret.as_ref()) else {
                continue;
            };
            if held.as_ref().is_some_and(|held| !held.is(secret)) {
                continue;
            }
            tried.push(number);
            match self
                .target
                .login(&self.account.name, self.part, secret, folder)
            {
                Said::In if Some(number) == current => return Verdict::Current,
                Said::In if self.may_differ() => return Verdict::Doubtful(number),
                Said::In => return Verdict::Drifted(number),
                // Directories are not asked in vain; hosts forget when they are told to.
                Said::Refused => self.target.forgive(&self.account.name),
                Said::Unclear(words) => return Verdict::Unclear(words),
            }
        }
        Verdict::Lost
    }

    /// True if the store says that current may have been replaced.
    fn may_differ(&self) -> bool {
        self.standing.in_doubt == 1
    }
}
