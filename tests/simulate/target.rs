//! Targets that misbehave by the seed, and tell the witness what they saw.
//!
//! Invariant: before a call and before its answer there is a gate; in between nothing else happens.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use keywheel::clock::Clock;
use keywheel::model::credential::Part;
use keywheel::model::id::AccountId;
use keywheel::store::SealedSecret;
use keywheel::vault::{Place, Vault};
use keywheel_connectors::fake::{Fake, FakeSystem, FakeWorld, OnChange, OnCheck, OnOpen};
use keywheel_connectors::{
    Account, Changed, Checked, Class, Connector, Credential, Evidence, Functional, Identity,
    Listing, Query, Reason, Session, Target,
};
use secrecy::ExposeSecret;
use sqlx::AnyPool;

use crate::clock::JumpingClock;
use crate::plant::FUNC;
use crate::stage::{Stage, Wait};
use crate::tally::Hit;
use crate::witness::Witness;

/// How long a silent target takes to be given up.
const SILENCE: Duration = Duration::from_secs(30);

/// What all targets of a world share.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) stage: Stage,
    pub(crate) clock: Arc<JumpingClock>,
    pub(crate) witness: Mutex<Witness>,
    pub(crate) fake: FakeWorld,
    pub(crate) vault: Arc<Vault>,
    pub(crate) raw: AnyPool,
    /// Passwords that were used before are refused.
    pub(crate) remembers: bool,
    /// Calls of a hundred that go wrong.
    pub(crate) wild: Mutex<usize>,
}

impl Scene {
    fn goes_wrong(&self) -> bool {
        let chance = *self.wild.lock().unwrap();
        self.stage.lock().die.percent(chance)
    }

    fn draw<T: Clone>(&self, from: &[T]) -> T {
        self.stage.lock().die.pick(from)
    }

    fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// I1 of one system.
    pub(crate) fn look(&self, host: &str) {
        let target = self.fake.system(host);
        self.witness.lock().unwrap().look(&target, host);
    }

    /// I2 and I7: what comes is durable, and so is each intent to send it.
    async fn is_durable(&self, account: AccountId, part: Part, secret: &str) {
        let found = self.durable_version(account, part, secret).await;
        let Some(version) = found else {
            let text = format!("I2: {account}: a secret came that the store does not have");
            self.witness.lock().unwrap().fault(text);
            return;
        };
        let (intents,): (i64,) = sqlx::query_as(
            "SELECT COUNT(*) FROM audit WHERE subject = $1 AND event = 'rotation.intended'
               AND body LIKE $2",
        )
        .bind(account.to_string())
        .bind(format!("%\"version\":{version},%"))
        .fetch_one(&self.raw)
        .await
        .unwrap();
        let mut witness = self.witness.lock().unwrap();
        witness.know(account, part, secret);
        let Some(seen) = witness.accounts.get_mut(&account) else {
            return;
        };
        let sent = seen.sent.entry(version).or_default();
        *sent += 1;
        let overwrites = seen.neither.as_deref() == Some(secret);
        if *sent > intents {
            let text = format!("I7: {account}: version {version} came {sent} times of {intents}");
            witness.fault(text);
        }
        if overwrites {
            let text =
                format!("A1: {account}: version {version} overwrites what it was seen not to be");
            witness.fault(text);
        }
    }

    /// The version that a secret has in the store.
    pub(crate) async fn durable_version(
        &self,
        account: AccountId,
        part: Part,
        secret: &str,
    ) -> Option<i64> {
        let rows: Vec<(i64, Vec<u8>, Option<String>)> = sqlx::query_as(
            "SELECT version, sealed, public_key FROM credential_versions
             WHERE account_id = $1 AND part = $2 ORDER BY version DESC",
        )
        .bind(account.0)
        .bind(part.as_str())
        .fetch_all(&self.raw)
        .await
        .unwrap();
        rows.into_iter().find_map(|(version, sealed, public)| {
            let kept = match public {
                Some(public) => public,
                None => self.open(account, version, &sealed),
            };
            (kept == secret).then_some(version)
        })
    }

    pub(crate) fn open(&self, account: AccountId, version: i64, sealed: &[u8]) -> String {
        let place = Place::credential(account, version);
        let opened = self.vault.open(&place, sealed).unwrap();
        clear(&opened)
    }

    /// A kept version, as the target would hold it.
    pub(crate) fn kept(&self, account: AccountId, version: i64, secret: &SealedSecret) -> String {
        match secret {
            SealedSecret::Password(sealed) => self.open(account, version, sealed),
            SealedSecret::Key { public, .. } => public.clone(),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "compared with what the target holds"
)]
fn clear(secret: &secrecy::SecretString) -> String {
    secret.expose_secret().to_owned()
}

fn shown(credential: &Credential) -> (Part, String) {
    match credential {
        Credential::Password(password) => (Part::Password, clear(password)),
        Credential::Key(pair) => (Part::Key, pair.public.clone()),
    }
}

/// The account behind a login.
fn account_of(login: &str) -> Option<AccountId> {
    let number = login.strip_prefix('u')?;
    number.parse().ok().map(AccountId)
}

/// The connector of a world.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) scene: Arc<Scene>,
}

impl Wire {
    fn fake(&self) -> Fake {
        Fake::new(&self.scene.fake)
    }
}

#[async_trait]
impl Connector for Wire {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn admit(&self, account: &Account, credential: Option<&Credential>) -> Result<(), Reason> {
        self.fake().admit(account, credential)
    }

    async fn identify(&self, target: &Target) -> Result<Identity, Reason> {
        self.fake().identify(target).await
    }

    async fn open(
        &self,
        target: &Target,
        functional: Option<&Functional>,
    ) -> Result<Arc<dyn Session>, Reason> {
        let scene = &self.scene;
        let login = functional.map(|one| one.account.login.as_str().to_owned());
        let host = target.host.clone();
        scene
            .stage
            .gate(Wait::Target(format!("open {host} {login:?}")))
            .await;
        let system = scene.fake.system(&host);
        let (does, hit) = scene.open_does(login.is_some());
        let linked = login.as_deref().and_then(account_of);
        if let Some(account) = linked
            && scene.is_locked(account)
        {
            return Err(Reason::system(
                Class::Locked,
                "the functional account is locked",
            ));
        }
        system.next_open(does);
        let before = login.as_deref().map(|login| system.failed_logins(login));
        let opened = {
            let _busy = scene.stage.busy(false);
            self.fake().open(target, functional).await
        };
        if let Some(hit) = hit {
            scene.stage.hit(hit);
        }
        if let (Some(functional), Some(login), Some(before)) = (functional, &login, before) {
            let failed = system.failed_logins(login) > before;
            let mut witness = scene.witness.lock().unwrap();
            match (linked, failed) {
                (Some(account), true) => witness.failed_for_others(account, scene.now()),
                (Some(account), false) if opened.is_ok() => {
                    witness.logged_in(account, &shown(&functional.credential).1);
                }
                (None, true) if login == FUNC => {
                    *witness.functional.entry(host.clone()).or_default() += 1;
                }
                (_, _) => {}
            }
        }
        scene
            .stage
            .note(format!("  opened: {}", outcome(opened.as_ref().err())));
        scene
            .stage
            .gate(Wait::Target(format!("opened {host}")))
            .await;
        opened.map(|inner| {
            Arc::new(Line {
                scene: Arc::clone(scene),
                inner,
                system,
                host,
            }) as Arc<dyn Session>
        })
    }
}

fn outcome(reason: Option<&Reason>) -> String {
    reason.map_or_else(|| "yes".to_owned(), ToString::to_string)
}

impl Scene {
    fn is_locked(&self, account: AccountId) -> bool {
        let mut witness = self.witness.lock().unwrap();
        let is_locked = witness.is_locked(account, self.now());
        if is_locked {
            witness.overruns += 1;
            witness.fault(format!("I6: {account}: the target has locked it"));
        }
        is_locked
    }

    fn open_does(&self, functional: bool) -> (OnOpen, Option<Hit>) {
        if !self.goes_wrong() {
            return (OnOpen::Judge, None);
        }
        let mut all = vec![
            (OnOpen::Unreachable, Some(Hit::Unreachable)),
            (OnOpen::WrongIdentity, Some(Hit::OtherIdentity)),
        ];
        if functional {
            all.push((OnOpen::Reject, Some(Hit::FunctionalRejected)));
            all.push((OnOpen::NoPrivilege, Some(Hit::NoPrivilege)));
        }
        self.draw(&all)
    }

    fn change_does(&self) -> Does {
        if !self.goes_wrong() {
            return Does::Simply(OnChange::Obey, Hit::Obeyed);
        }
        self.draw(&[
            Does::Simply(OnChange::Refuse, Hit::Refused),
            Does::Simply(OnChange::NotNow, Hit::NotNow),
            Does::Simply(OnChange::LoseReply, Hit::LostReply),
            Does::Simply(OnChange::LoseReply, Hit::LostReply),
            Does::Simply(OnChange::LoseOrder, Hit::LostOrder),
            Does::Simply(OnChange::ObeyLate, Hit::ObeysLate),
            Does::Simply(OnChange::ObeyLate, Hit::ObeysLate),
            Does::Simply(OnChange::Lie, Hit::Lied),
            Does::Silent(OnChange::LoseReply),
            Does::Silent(OnChange::LoseOrder),
            Does::Twice,
        ])
    }
}

#[derive(Clone, Copy, Debug)]
enum Does {
    Simply(OnChange, Hit),
    Silent(OnChange),
    Twice,
}

/// One session.
struct Line {
    scene: Arc<Scene>,
    inner: Arc<dyn Session>,
    system: FakeSystem,
    host: String,
}

impl Line {
    /// Tells the witness of failing logins that a call has caused.
    fn count(&self, login: &str, before: usize) -> bool {
        let failed = self.system.failed_logins(login) > before;
        if let Some(account) = account_of(login)
            && failed
        {
            let mut witness = self.scene.witness.lock().unwrap();
            witness.failed(account, self.scene.now());
        }
        failed
    }

    async fn before(&self, what: &str, login: &str) {
        let wait = Wait::Target(format!("{what} {}/{login}", self.host));
        self.scene.stage.gate(wait).await;
    }

    async fn after(&self, what: &str) {
        self.scene.look(&self.host);
        self.scene.stage.note(format!("  {what}"));
        self.scene
            .stage
            .gate(Wait::Target("answer".to_owned()))
            .await;
    }

    async fn misbehave(
        &self,
        does: Does,
        account: &Account,
        new: &Credential,
        current: Option<&Credential>,
    ) -> Changed {
        let login = account.login.as_str();
        let (_, secret) = shown(new);
        let (script, hit) = match does {
            Does::Simply(script, hit) => (script, hit),
            Does::Silent(script) => {
                self.scene.clock.advance(SILENCE);
                (script, Hit::Silent)
            }
            Does::Twice => (OnChange::Obey, Hit::Twice),
        };
        // What it has had it refuses, what it has included: a refusal proves nothing then.
        let is_used = self.scene.remembers && self.system.history(login).contains(&secret);
        let (script, hit) = if is_used {
            (OnChange::Refuse, Hit::AlreadyUsed)
        } else {
            (script, hit)
        };
        self.system.every_change(login, script);
        let changed = self.inner.change(account, new, current).await;
        self.scene.stage.hit(hit);
        if matches!(does, Does::Twice) && changed == Changed::Done {
            // The same order is under way a second time.
            self.system.every_change(login, OnChange::ObeyLate);
            let again = self.inner.change(account, new, Some(new)).await;
            assert!(matches!(again, Changed::Unknown(_)), "{again:?}");
        }
        self.system.every_change(login, OnChange::Obey);
        changed
    }
}

#[async_trait]
impl Session for Line {
    async fn change(
        &self,
        account: &Account,
        new: &Credential,
        current: Option<&Credential>,
    ) -> Changed {
        let login = account.login.as_str();
        self.before("change", login).await;
        let before = self.system.failed_logins(login);
        let changed = {
            let _busy = self.scene.stage.busy(false);
            if let Some(id) = account_of(login) {
                if account.uses_own && self.scene.is_locked(id) {
                    return Changed::NotNow(Reason::account(Class::Locked, "locked"));
                }
                let (part, secret) = shown(new);
                self.scene.is_durable(id, part, &secret).await;
            }
            self.scene.stage.lock().tally.sends += 1;
            let does = self.scene.change_does();
            self.misbehave(does, account, new, current).await
        };
        if account.uses_own
            && !self.count(login, before)
            && let (Some(id), Some(current)) = (account_of(login), current)
            && matches!(changed, Changed::Done)
        {
            let mut witness = self.scene.witness.lock().unwrap();
            witness.logged_in(id, &shown(current).1);
        }
        let said = match &changed {
            Changed::Done => "done".to_owned(),
            Changed::Refused(reason) | Changed::NotNow(reason) | Changed::Unknown(reason) => {
                format!("not done: {reason}")
            }
        };
        self.after(&said).await;
        changed
    }

    async fn check(&self, account: &Account, credential: &Credential) -> Checked {
        let login = account.login.as_str();
        self.before("check", login).await;
        if let Some(id) = account_of(login)
            && self.scene.is_locked(id)
        {
            return Checked::NotNow(Reason::account(Class::Locked, "the account is locked"));
        }
        let before = self.system.failed_logins(login);
        let mut hit = None;
        if self.scene.goes_wrong() {
            let (does, met) = self.scene.draw(&[
                (OnCheck::Drop, Hit::LoginDropped),
                (OnCheck::Locked, Hit::LoginLocked),
                (OnCheck::Reject, Hit::LoginRejected),
            ]);
            self.system.every_check(login, does);
            hit = Some(met);
        }
        let checked = {
            let _busy = self.scene.stage.busy(false);
            self.inner.check(account, credential).await
        };
        self.system.every_check(login, OnCheck::Judge);
        let failed = self.count(login, before);
        if failed && hit.is_none() {
            hit = Some(Hit::LoginWrong);
        }
        if let Some(hit) = hit {
            self.scene.stage.hit(hit);
        }
        if let (Checked::Accepted, Some(id)) = (&checked, account_of(login)) {
            let mut witness = self.scene.witness.lock().unwrap();
            witness.logged_in(id, &shown(credential).1);
        }
        let said = match &checked {
            Checked::Accepted => "accepted",
            Checked::Rejected(_) => "rejected",
            Checked::NotNow(_) => "not judged",
        };
        self.after(said).await;
        checked
    }

    async fn evidence(
        &self,
        account: &Account,
        candidate: &Credential,
        current: Option<&Credential>,
    ) -> Evidence {
        let login = account.login.as_str();
        self.before("look", login).await;
        let found = {
            let _busy = self.scene.stage.busy(false);
            self.inner.evidence(account, candidate, current).await
        };
        if let Some(id) = account_of(login) {
            let mut witness = self.scene.witness.lock().unwrap();
            if let Some(seen) = witness.accounts.get_mut(&id) {
                let is_foreign = found == Evidence::Neither && seen.is_drifted && current.is_some();
                seen.neither = is_foreign.then(|| shown(candidate).1);
            }
        }
        let said = match &found {
            Evidence::Candidate => "the candidate",
            Evidence::Current => "the current one",
            Evidence::Neither => "neither",
            Evidence::Undecided(_) => "no look",
        };
        self.after(said).await;
        found
    }

    async fn retire(&self, account: &Account, old: &Credential) -> Changed {
        let login = account.login.as_str();
        self.before("retire", login).await;
        if self.scene.goes_wrong() {
            let does = self.scene.draw(&[
                OnChange::Refuse,
                OnChange::NotNow,
                OnChange::LoseReply,
                OnChange::LoseOrder,
                OnChange::Lie,
            ]);
            self.system.every_retire(login, does);
            self.scene.stage.hit(Hit::NotRemoved);
        }
        let retired = {
            let _busy = self.scene.stage.busy(false);
            self.inner.retire(account, old).await
        };
        self.system.every_retire(login, OnChange::Obey);
        self.after("retired").await;
        retired
    }

    async fn list(&self, query: &Query) -> Result<Listing, Reason> {
        self.inner.list(query).await
    }

    async fn close(&self) {
        let _busy = self.scene.stage.busy(false);
        self.inner.close().await;
    }
}
