//! What a world of the engine is made of: systems with accounts, the targets behind them, engines,
//! workers and whoever takes orders.
//!
//! Invariant: every account that is made here was verified at onboarding.

use std::sync::Arc;
use std::time::Duration;

use keywheel::clock::SharedClock;
use keywheel::engine::{Connectors, Engine, Limits};
use keywheel::generate::Dice;
use keywheel::metrics::Metrics;
use keywheel::model::Timestamp;
use keywheel::model::account::{AccountSettings, NewAccount};
use keywheel::model::credential::Part;
use keywheel::model::functional_account::{Elevation, FunctionalSettings};
use keywheel::model::id::{
    AccountId, FunctionalAccountId, NodeId, PlatformId, RuleId, SystemId, WorkgroupId,
};
use keywheel::model::key_rule::KeyRule;
use keywheel::model::platform::Platforms;
use keywheel::model::system::{EntityType, NewSystem, SystemPlace, SystemSettings};
use keywheel::model::workgroup::Workgroup;
use keywheel::queue::{Orders, Worker, WorkerOptions};
use keywheel::store::{SealedSecret, Store};
use keywheel::vault::{Kek, Place, Vault};
use keywheel_connectors::fake::{FakeSystem, FakeWorld};
use keywheel_connectors::{Connector, Secret, TargetKind};
use sqlx::AnyPool;

/// When every world begins.
pub(crate) const NOON: Timestamp = Timestamp(1_780_000_000_000);
/// The functional account's name and password on every system.
pub(crate) const FUNC: &str = "func";
const FUNC_PASSWORD: &str = "Func-vLm9Q";
/// A key of somebody else's on every account with a key.
pub(crate) const FOREIGN: &str = "ssh-ed25519 somebody-elses";

/// What a system is like.
#[expect(clippy::struct_excessive_bools, reason = "each tells one thing")]
pub(crate) struct Like {
    pub(crate) accounts: usize,
    pub(crate) lockout_threshold: Option<i64>,
    /// False: the target can only be asked by logging in.
    pub(crate) evidence: bool,
    pub(crate) max_batch: i64,
    /// False: no credential is stored for its accounts.
    pub(crate) stored: bool,
    /// The longest that a call may take, in real time. A busy machine needs many seconds for
    /// what takes milliseconds, so only tests of silent targets make it short.
    pub(crate) timeout_s: i64,
    /// True: its accounts have a key pair as well, and a key of somebody else's beside it.
    pub(crate) key: bool,
    /// True: its accounts change themselves, and it has no functional account.
    pub(crate) own: bool,
}

impl Default for Like {
    fn default() -> Self {
        Self {
            accounts: 1,
            lockout_threshold: Some(0),
            evidence: true,
            max_batch: 100,
            stored: true,
            key: false,
            own: false,
            timeout_s: 30,
        }
    }
}

impl Like {
    /// With so many accounts.
    pub(crate) fn many(accounts: usize) -> Self {
        Self {
            accounts,
            ..Self::default()
        }
    }

    /// With a time limit that a test can await.
    pub(crate) fn hasty(self) -> Self {
        Self {
            timeout_s: 1,
            ..self
        }
    }

    /// With or without evidence.
    pub(crate) fn showing(evidence: bool) -> Self {
        Self {
            evidence,
            ..Self::default()
        }
    }
}

/// A system with its accounts, and the target behind it.
pub(crate) struct Site {
    pub(crate) id: SystemId,
    pub(crate) target: FakeSystem,
    pub(crate) accounts: Vec<AccountId>,
}

impl Site {
    /// Its only account, or its first.
    pub(crate) fn account(&self) -> AccountId {
        self.accounts[0]
    }

    /// Waits until the target has been sent so many changes.
    pub(crate) async fn changed(&self, times: usize) {
        while self.target.counts().changes < times {
            tokio::task::yield_now().await;
        }
    }

    /// That account's login.
    pub(crate) fn login(&self) -> String {
        login(self.account())
    }
}

pub(crate) fn login(account: AccountId) -> String {
    format!("u{}", account.0)
}

/// All that makes systems, engines and workers on one store.
#[derive(Clone)]
pub(crate) struct Plant {
    pub(crate) store: Store,
    pub(crate) clock: SharedClock,
    pub(crate) dice: Arc<dyn Dice>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) fake: FakeWorld,
    /// What engines reach the targets by.
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
}

impl Plant {
    /// The key ring of every world.
    pub(crate) fn vault(dice: &dyn Dice) -> Arc<Vault> {
        let kek = Kek::from_bytes([9; Kek::LEN]);
        let key = Vault::new_data_key(&kek, dice).unwrap();
        Arc::new(Vault::new(kek, vec![key]).unwrap())
    }

    /// What every world has: a workgroup, and functional account 1.
    pub(crate) async fn furnish(&self) {
        let mut tx = self.store.begin().await.unwrap();
        tx.insert_workgroup(&Workgroup {
            id: WorkgroupId(1),
            name: "Default".to_owned(),
            organization_id: Workgroup::ORGANIZATION_DEFAULT.to_owned(),
        })
        .await
        .unwrap();
        let place = Place::functional_account(FunctionalAccountId(1));
        let password = Secret::from(FUNC_PASSWORD);
        let sealed = self.vault.seal(&place, &password, &*self.dice).unwrap();
        let functional = functional(FUNC);
        tx.insert_functional_account(FunctionalAccountId(1), &functional, Some(sealed.0), NOON)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    /// System `id` with its accounts, numbered from `first` on.
    pub(crate) async fn site(&self, id: i64, first: i64, like: &Like) -> Site {
        let host = format!("host{id}");
        let target = self.fake.system(&host);
        target.add(FUNC, FUNC_PASSWORD);
        target.offer_evidence(like.evidence);
        let mut settings = SystemSettings::of_host(&host);
        settings.functional_account_id = (!like.own).then_some(FunctionalAccountId(1));
        settings.lockout_threshold = like.lockout_threshold;
        settings.max_batch = like.max_batch;
        settings.timeout_s = like.timeout_s;
        let system = NewSystem {
            id: SystemId(id),
            place: SystemPlace {
                entity_type: EntityType::Asset,
                asset_id: None,
                workgroup_id: WorkgroupId(1),
                platform_id: PlatformId(1001),
            },
            settings,
        };
        let mut tx = self.store.begin().await.unwrap();
        tx.insert_system(&system, NOON).await.unwrap();
        let count = i64::try_from(like.accounts).unwrap();
        let accounts: Vec<AccountId> = (first..first + count).map(AccountId).collect();
        for &account in &accounts {
            let mut settings = AccountSettings::named(login(account));
            settings.key_rule_id = RuleId(1);
            settings.use_own_credentials = like.own;
            let new = NewAccount {
                id: account,
                system_id: SystemId(id),
                target_id: settings.target_id(Platforms::default().find(PlatformId(1001)).unwrap()),
                settings,
            };
            tx.insert_account(&new, NOON).await.unwrap();
            let secret = format!("Start-{}-vLm9Q", account.0);
            target.add(&login(account), &secret);
            if like.stored {
                let sealed = self.seal(account, 1, &secret);
                tx.add_stored_version(account, 1, sealed, NOON)
                    .await
                    .unwrap();
                tx.record_test(account, Part::Password, 1, "passed", NOON)
                    .await
                    .unwrap();
            }
            if like.key {
                let (secret, public) = self.draw_key(account, 2);
                target.add_key(&login(account), FOREIGN);
                target.add_key(&login(account), &public);
                tx.add_stored_version(account, 2, secret, NOON)
                    .await
                    .unwrap();
                tx.record_test(account, Part::Key, 2, "passed", NOON)
                    .await
                    .unwrap();
            }
        }
        tx.commit().await.unwrap();
        Site {
            id: SystemId(id),
            target,
            accounts,
        }
    }

    /// Makes an account the login of the systems that log in by functional account 1.
    pub(crate) async fn link(&self, raw: &AnyPool, account: AccountId) {
        self.link_to(raw, account, FunctionalAccountId(1)).await;
    }

    /// The same with another functional account, which comes to be.
    pub(crate) async fn link_another(&self, raw: &AnyPool, account: AccountId, id: i64) {
        let id = FunctionalAccountId(id);
        let mut tx = self.store.begin().await.unwrap();
        tx.insert_functional_account(id, &functional(&login(account)), None, NOON)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        self.link_to(raw, account, id).await;
    }

    async fn link_to(&self, raw: &AnyPool, account: AccountId, id: FunctionalAccountId) {
        sqlx::query("UPDATE functional_accounts SET account_name = $2 WHERE id = $1")
            .bind(id.0)
            .bind(login(account))
            .execute(raw)
            .await
            .unwrap();
        let orders = self.orders();
        orders.link_functional(id, account, "ada").await.unwrap();
    }

    pub(crate) fn seal(&self, account: AccountId, version: i64, secret: &str) -> SealedSecret {
        let place = Place::credential(account, version);
        let secret = Secret::from(secret);
        SealedSecret::Password(self.vault.seal(&place, &secret, &*self.dice).unwrap().0)
    }

    /// A key pair for a version's place: sealed, and its public half.
    pub(crate) fn draw_key(&self, account: AccountId, version: i64) -> (SealedSecret, String) {
        let rule = KeyRule::built_in(RuleId(1)).unwrap();
        let drawn = keywheel::generate::key_pair(&rule, &*self.dice).unwrap();
        let place = Place::credential(account, version);
        let sealed = self.vault.seal(&place, &drawn.given.private, &*self.dice);
        let secret = SealedSecret::Key {
            private: sealed.unwrap().0,
            passphrase: None,
            public: drawn.public.clone(),
        };
        (secret, drawn.public)
    }

    pub(crate) fn engine(&self) -> Engine {
        let connectors = Connectors {
            ssh: None,
            ldap: None,
            fake: Some(Arc::clone(&self.connector)),
            fixed: Some(TargetKind::Fake),
            ..Connectors::default()
        };
        Engine::new(
            self.store.clone(),
            self.vault.clone(),
            self.clock.clone(),
            self.dice.clone(),
            connectors,
            self.limits.clone(),
        )
    }

    pub(crate) fn orders(&self) -> Orders {
        Orders::new(
            self.store.clone(),
            self.vault.clone(),
            self.clock.clone(),
            self.dice.clone(),
            self.engine(),
            self.metrics.clone(),
        )
    }

    /// The worker of a registered node.
    pub(crate) fn worker(&self, node: NodeId, batch_max: i64) -> Worker {
        Worker::new(
            self.store.clone(),
            self.engine(),
            self.clock.clone(),
            self.dice.clone(),
            self.metrics.clone(),
            node,
            WorkerOptions {
                sessions: 100,
                batch_max,
                poll: Duration::from_secs(1),
            },
        )
    }

    pub(crate) async fn register(&self) -> NodeId {
        let mut tx = self.store.begin().await.unwrap();
        let node = tx.register_node("node", NOON).await.unwrap();
        tx.commit().await.unwrap();
        node
    }
}

fn functional(name: &str) -> FunctionalSettings {
    FunctionalSettings {
        platform_id: PlatformId(1001),
        domain_name: None,
        account_name: name.to_owned(),
        display_name: name.to_owned(),
        description: None,
        elevation: Elevation::None,
    }
}
