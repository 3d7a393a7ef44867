//! Logs in by a functional account that is linked to a managed account: with its current
//! version, and where that may have been replaced, with those that may have replaced it.
//!
//! Invariant: the version of a login is on record before it is sent, and so is its count where it
//! may fail; a version that was refused is not sent twice by one attempt.

use std::sync::Arc;

use keywheel_connectors::{
    Account, Class, Connector, Credential, Functional, Login, Reason, Session, Target,
};
use serde_json::json;

use super::{Engine, EngineError, Finished, Work};
use crate::model::account::LastTest;
use crate::model::audit::Event;
use crate::model::credential::Part;
use crate::model::functional_account::{LinkedLogin, LoginTry};
use crate::model::id::SystemId;
use crate::model::job::JobKind;
use crate::model::rotation::{HORIZON, Phase, lockout_budget};
use crate::store::{AccountRow, Claim, FunctionalLink, StoreError};

/// What a session is opened for.
pub(super) enum Purpose<'a> {
    /// The jobs of a claim.
    Work(&'a Claim, &'a mut [Work]),
    /// A look at a system, which is worth no login that may fail.
    Look(SystemId),
}

impl Purpose<'_> {
    fn note(&mut self, line: &str) {
        if let Self::Work(_, works) = self {
            for work in works.iter_mut() {
                work.log.note(line);
            }
        }
    }
}

impl Engine {
    /// Opens a session by a linked functional account; the inner error is the system's.
    pub(super) async fn open_linked(
        &self,
        link: FunctionalLink,
        (connector, target): (&dyn Connector, &Target),
        mut purpose: Purpose<'_>,
    ) -> Result<Result<Arc<dyn Session>, Reason>, EngineError> {
        let mut refused: Vec<i64> = Vec::new();
        let mut last = missing("the functional account's managed account has no credential");
        loop {
            // Read anew each time: what was current a moment ago may have been replaced.
            let Some(account) = self.store.account_row(link.account).await? else {
                return Ok(Err(missing(
                    "the functional account's managed account is gone",
                )));
            };
            let Some(row) = self.store.functional_row(link.functional).await? else {
                return Ok(Err(missing("the functional account is gone")));
            };
            let Ok(login) = Login::parse(&row.account_name) else {
                return Ok(Err(missing(
                    "the functional account's name holds a control character or a colon",
                )));
            };
            let part = part_of(&account);
            let Some(next) = self.next_try(&account, part, &refused).await? else {
                return Ok(Err(last));
            };
            if next.is_counted && matches!(purpose, Purpose::Look(_)) {
                return Ok(Err(Reason::system(
                    Class::Busy,
                    "the functional account's credential is in doubt or was refused; test it first",
                )));
            }
            let budget = self.budget_of(link).await?;
            if !self.pin(&purpose, link, &next, budget).await? {
                return Ok(Err(no_login_left(&account, part, &next)));
            }
            let credential = self.open_kept(link, next.version).await?;
            let dn = row.account_name.contains('=').then_some(row.account_name);
            let functional = Functional {
                account: Account::named(login, dn),
                credential,
            };
            let opened = self.connect((connector, target), Some(&functional)).await;
            let used = format!(
                "connect: functional account {} by {}, version {} of account {}",
                link.functional.0, next.which, next.version, link.account.0
            );
            match opened {
                Ok(session) => {
                    self.note_success(link, part, &account, &next).await?;
                    purpose.note(&used);
                    return Ok(Ok(session));
                }
                Err(reason) if reason.class == Class::Denied => {
                    self.note_refusal(link, part, &account, &next, budget)
                        .await?;
                    purpose.note(&format!("{used}: refused"));
                    refused.push(next.version);
                    last = reason;
                }
                Err(reason) => return Ok(Err(reason)),
            }
        }
    }

    /// The version to log in with next.
    async fn next_try(
        &self,
        account: &AccountRow,
        part: Part,
        refused: &[i64],
    ) -> Result<Option<LoginTry>, EngineError> {
        let id = account.id();
        let tested = self.store.account(id).await?;
        let sound = tested.is_some_and(|one| one.credential.last_test != LastTest::OutOfSync);
        let open = self.store.open_rotation_of(id, part).await?;
        let candidate = open.filter(|row| row.state.in_doubt());
        let now = self.clock.now();
        let window = self.lockout_window_ms();
        let spent = self.store.logins_spent(id, window, now).await?;
        let known = LinkedLogin {
            current: account.current(part),
            candidate: candidate.map(|row| (row.version, row.state.phase)),
            previous: self.previous(account, part).await?,
            // A login that is trusted is not counted, so it may not fail where others may have.
            is_trusted: sound && !account.in_doubt(part) && spent == 0,
            candidates_turn: self.is_odd_window(),
        };
        Ok(known.next(refused))
    }

    /// The version that was current before, while it may still be held somewhere.
    async fn previous(&self, account: &AccountRow, part: Part) -> Result<Option<i64>, EngineError> {
        let since = self.clock.now().minus(HORIZON);
        let last = self.store.last_rotation(account.id(), part).await?;
        let last = last.filter(|row| row.state.phase == Phase::Committed && row.moved_at > since);
        Ok(last.and_then(|row| row.base_version))
    }

    fn is_odd_window(&self) -> bool {
        let window = i64::try_from(self.limits.lockout_window.as_millis()).unwrap_or(i64::MAX);
        (self.clock.now().0 / window.max(1)) % 2 == 1
    }

    async fn budget_of(&self, link: FunctionalLink) -> Result<i64, EngineError> {
        let home = self.store.system_row(link.system).await?;
        Ok(lockout_budget(home.and_then(|row| row.lockout_threshold)))
    }

    /// Puts the version on record before it is sent, and counts a login that may fail. `false`:
    /// the budget is spent.
    async fn pin(
        &self,
        purpose: &Purpose<'_>,
        link: FunctionalLink,
        next: &LoginTry,
        budget: i64,
    ) -> Result<bool, EngineError> {
        let now = self.clock.now();
        let mut tx = self.store.begin().await?;
        let (system, claim) = match purpose {
            Purpose::Work(claim, _) => {
                tx.hold(claim.id, claim.node).await?;
                (claim.system, Some(claim.id.0))
            }
            Purpose::Look(system) => (*system, None),
        };
        if next.is_counted
            && !tx
                .spend_login(link.account, budget, self.lockout_window_ms(), now)
                .await?
        {
            tx.rollback().await?;
            return Ok(false);
        }
        let body = json!({
            "account": link.account.0,
            "version": next.version,
            "system": system.0,
            "claim": claim,
            "counted": next.is_counted,
        });
        let event = Event::by_service("functional_account.login", link.functional, body);
        tx.audit(&event, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// A login has succeeded: what was counted for it is taken back.
    async fn note_success(
        &self,
        link: FunctionalLink,
        part: Part,
        account: &AccountRow,
        next: &LoginTry,
    ) -> Result<(), EngineError> {
        if !next.is_counted {
            return Ok(());
        }
        let now = self.clock.now();
        let mut tx = self.store.begin().await?;
        tx.refund_login(link.account).await?;
        if account.current(part) == Some(next.version) && !account.in_doubt(part) {
            tx.record_test(link.account, part, next.version, "passed", now)
                .await?;
        }
        Ok(tx.commit().await?)
    }

    /// A login was refused. One that was trusted is counted now, and trusted no more.
    async fn note_refusal(
        &self,
        link: FunctionalLink,
        part: Part,
        account: &AccountRow,
        next: &LoginTry,
        budget: i64,
    ) -> Result<(), EngineError> {
        let now = self.clock.now();
        let mut tx = self.store.begin().await?;
        if !next.is_counted {
            tx.spend_login(link.account, budget.max(1), self.lockout_window_ms(), now)
                .await?;
        }
        if account.current(part) == Some(next.version) && !account.in_doubt(part) {
            tx.record_test(link.account, part, next.version, "out_of_sync", now)
                .await?;
        }
        let body = json!({"account": link.account.0, "version": next.version});
        let event = Event::by_service("functional_account.refused", link.functional, body);
        tx.audit(&event, now).await?;
        Ok(tx.commit().await?)
    }

    async fn open_kept(
        &self,
        link: FunctionalLink,
        version: i64,
    ) -> Result<Credential, EngineError> {
        let kept = self.store.sealed_version(link.account, version).await?;
        let secret = kept.ok_or(EngineError::Store(StoreError::Corrupt {
            table: "credential_versions",
            row: link.account.0,
            problem: "the version is missing",
        }))?;
        self.open_secret(link.account, version, &secret).await
    }

    /// A change of a linked functional account is not begun while another one of its system is in
    /// doubt and no job is left to end that doubt: its result.
    pub(super) async fn refuse_second_doubt(
        &self,
        claim: &Claim,
        mut work: Work,
    ) -> Result<Result<Work, Finished>, EngineError> {
        let alone = claim.jobs.len() == 1 && work.job.kind == JobKind::Rotate;
        if !alone || work.in_doubt() {
            return Ok(Ok(work));
        }
        let Some(peer) = self.store.doubtful_peer(work.id()).await? else {
            return Ok(Ok(work));
        };
        work.log.class = Class::Busy.name();
        work.log.note(format!(
            "another functional account of the system, account {}, is in doubt; probe or resolve \
             it first. Nothing was sent",
            peer.0
        ));
        self.give_up(claim, work).await.map(Err)
    }
}

/// What it logs in with: its password, or its key where it has none.
fn part_of(account: &AccountRow) -> Part {
    if account.current_version.is_none() && account.current_key_version.is_some() {
        Part::Key
    } else {
        Part::Password
    }
}

/// The login may fail, and none that may is left. Of a current version that nothing speaks against
/// the logins that are counted are mostly under way; they are taken back in a moment.
fn no_login_left(account: &AccountRow, part: Part, next: &LoginTry) -> Reason {
    if account.current(part) == Some(next.version) && !account.in_doubt(part) {
        return Reason::system(
            Class::Busy,
            "a login of the functional account was refused or is being tried; waiting for what \
             comes of it",
        );
    }
    Reason::system(
        Class::Locked,
        "the functional login may fail, and its lockout budget is spent; waiting for its window",
    )
}

fn missing(text: &'static str) -> Reason {
    Reason::system(Class::Privilege, text)
}
