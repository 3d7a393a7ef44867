//! The real rooms on a database of their own: store, vault, queue, engine, connectors behind
//! their wall.
//!
//! Invariant: the store is a file with full durability, and a quarantine that did not give every
//! account a new credential is no measurement.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keywheel::clock::{SharedClock, SystemClock};
use keywheel::engine::{Connectors, Engine, Limits};
use keywheel::generate::SystemDice;
use keywheel::metrics::Metrics;
use keywheel::model::account::{AccountSettings, NewAccount};
use keywheel::model::functional_account::{Elevation, FunctionalSettings};
use keywheel::model::id::{AccountId, FunctionalAccountId, PlatformId, SystemId, WorkgroupId};
use keywheel::model::platform::Platforms;
use keywheel::model::system::{EntityType, NewSystem, SystemPlace, SystemSettings};
use keywheel::model::workgroup::Workgroup;
use keywheel::queue::{Orders, Worker, WorkerOptions};
use keywheel::store::{SealedSecret, Store, StoreOptions};
use keywheel::vault::{Kek, Place, Vault};
use keywheel::worker::{Options, Pool, Remote};
use keywheel_connectors::ldap::Ldap;
use keywheel_connectors::ssh::Ssh;
use keywheel_connectors::{Connector, Secret};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::folder;

/// The longest that one quarantine may take.
const ROUND_MAX: Duration = Duration::from_mins(5);
/// Of each connector, as on a machine with two processors.
const PROCESSES: usize = 2;
const SYSTEM: SystemId = SystemId(1);
const FUNCTIONAL: FunctionalAccountId = FunctionalAccountId(1);

/// One managed system with its accounts.
pub(crate) struct Site {
    /// 2 Linux, 32 LDAP.
    pub(crate) platform: PlatformId,
    pub(crate) settings: SystemSettings,
    /// Login or DN, and password.
    pub(crate) functional: (String, Secret),
    /// Each with the password that it has.
    pub(crate) accounts: Vec<(AccountSettings, Secret)>,
}

/// The rooms.
pub(crate) struct House {
    store: Store,
    orders: Orders,
    worker: Worker,
    accounts: usize,
    /// The connectors', behind their wall; they end with the house.
    _processes: JoinSet<()>,
    _folder: TempDir,
}

impl House {
    /// Stores the site in a new database and starts nothing yet.
    pub(crate) async fn with(site: Site) -> Self {
        let folder = folder();
        let file = folder.path().join("keywheel.db");
        let options = StoreOptions {
            url: format!("sqlite://{}?mode=rwc", file.display()),
            readers: 4,
            writers: 1,
            acquire_timeout: Duration::from_secs(30),
        };
        let store = Store::connect(&options).await.unwrap();
        store.migrate(None).await.unwrap();
        let clock = SystemClock::shared();
        let dice = Arc::new(SystemDice);
        let kek = Kek::from_bytes([7; Kek::LEN]);
        let key = Vault::new_data_key(&kek, &*dice).unwrap();
        let vault = Arc::new(Vault::new(kek, vec![key]).unwrap());
        let accounts = site.accounts.len();
        furnish(&store, &vault, &clock, site).await;
        let metrics = Arc::new(Metrics::new().unwrap());
        let mut processes = JoinSet::new();
        let mut remote = |near: Arc<dyn Connector>| -> Option<Arc<dyn Connector>> {
            let program = PathBuf::from(env!("CARGO_BIN_EXE_keywheel"));
            let pool = Pool::new(
                near.name(),
                Options::new(program, PROCESSES, "nobody"),
                clock.clone(),
                dice.clone(),
                metrics.clone(),
            );
            processes.spawn(pool.clone().run(CancellationToken::new()));
            Some(Arc::new(Remote::new(pool, near)))
        };
        let connectors = Connectors {
            ssh: remote(Arc::new(Ssh::new(1))),
            ldap: remote(Arc::new(Ldap::new())),
            ..Connectors::default()
        };
        let engine = Engine::new(
            store.clone(),
            vault.clone(),
            clock.clone(),
            dice.clone(),
            connectors,
            Limits::default(),
        );
        let orders = Orders::new(
            store.clone(),
            vault,
            clock.clone(),
            dice.clone(),
            engine.clone(),
            metrics.clone(),
        );
        let mut tx = store.begin().await.unwrap();
        let node = tx.register_node("bench", clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        let options = WorkerOptions {
            sessions: 16,
            batch_max: 1_000,
            poll: Duration::from_secs(1),
        };
        let worker = Worker::new(store.clone(), engine, clock, dice, metrics, node, options);
        Self {
            store,
            orders,
            worker,
            accounts,
            _processes: processes,
            _folder: folder,
        }
    }

    /// Gives every account a new credential: ordered, changed, proved, promoted and settled.
    pub(crate) async fn quarantine(&self) {
        let drain = CancellationToken::new();
        let order = async {
            let ordered = self.orders.quarantine(SYSTEM, "measured", None, "bench");
            let id = ordered.await.unwrap();
            let view = self.orders.wait_quarantine(id, ROUND_MAX).await.unwrap();
            drain.cancel();
            view.unwrap()
        };
        let (view, ()) = tokio::join!(order, self.worker.run(drain.clone()));
        let all = i64::try_from(self.accounts).unwrap();
        assert!(view.finished_at.is_some(), "not finished: {view:?}");
        assert_eq!(
            (view.accounts, view.counts.succeeded),
            (all, all),
            "{view:?}"
        );
    }

    /// Each account has `version` as its current credential, and no job is open.
    pub(crate) async fn assert_promoted(&self, version: i64) {
        for id in 1..=self.accounts {
            let id = AccountId(i64::try_from(id).unwrap());
            let row = self.store.account_row(id).await.unwrap().unwrap();
            assert_eq!((row.current_version, row.in_doubt), (Some(version), 0));
        }
        assert_eq!(self.store.jobs(true, None, None, 1).await.unwrap(), []);
    }

    pub(crate) async fn close(self) {
        self.store.close().await;
    }
}

async fn furnish(store: &Store, vault: &Vault, clock: &SharedClock, site: Site) {
    let now = clock.now();
    let platforms = Platforms::default();
    let platform = platforms.find(site.platform).unwrap();
    let (name, password) = site.functional;
    let functional = FunctionalSettings {
        platform_id: site.platform,
        domain_name: None,
        display_name: name.chars().take(100).collect(),
        account_name: name,
        description: None,
        elevation: Elevation::None,
    };
    let sealed = vault.seal(
        &Place::functional_account(FUNCTIONAL),
        &password,
        &SystemDice,
    );
    let mut settings = site.settings;
    settings.functional_account_id = Some(FUNCTIONAL);
    let system = NewSystem {
        id: SYSTEM,
        place: SystemPlace {
            entity_type: EntityType::from_number(platform.entity_type).unwrap(),
            asset_id: None,
            workgroup_id: WorkgroupId(1),
            platform_id: site.platform,
        },
        settings,
    };
    let workgroup = Workgroup {
        id: WorkgroupId(1),
        name: "bench".to_owned(),
        organization_id: Workgroup::ORGANIZATION_DEFAULT.to_owned(),
    };
    let mut tx = store.begin().await.unwrap();
    tx.insert_workgroup(&workgroup).await.unwrap();
    tx.insert_functional_account(FUNCTIONAL, &functional, Some(sealed.unwrap().0), now)
        .await
        .unwrap();
    tx.insert_system(&system, now).await.unwrap();
    for (at, (settings, password)) in site.accounts.into_iter().enumerate() {
        let id = AccountId(i64::try_from(at).unwrap() + 1);
        let account = NewAccount {
            id,
            system_id: SYSTEM,
            target_id: settings.target_id(platform),
            settings,
        };
        tx.insert_account(&account, now).await.unwrap();
        let sealed = vault.seal(&Place::credential(id, 1), &password, &SystemDice);
        let secret = SealedSecret::Password(sealed.unwrap().0);
        tx.add_stored_version(id, 1, secret, now).await.unwrap();
    }
    tx.commit().await.unwrap();
}
