//! One world: systems, processes that work on them, callers, and the clock.
//!
//! Invariant: what the run does itself happens while the world stands still.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use keywheel::clock::Clock;
use keywheel::metrics::Metrics;
use keywheel::model::Timestamp;
use keywheel::model::credential::Part;
use keywheel::model::id::{AccountId, NodeId};
use keywheel::scheduler::{Scheduler, SchedulerOptions, Tick, TickError};
use keywheel::store::{Store, StoreError};
use keywheel_connectors::fake::FakeWorld;
use sqlx::AnyPool;
use tokio_util::sync::CancellationToken;

use crate::clock::JumpingClock;
use crate::die::{Die, TwoDice};
use crate::place::{Ground, Place};
use crate::plant::{NOON, Plant, Site, login};
use crate::shape::Shape;
use crate::stage::{ActorId, Cast, Process, Stage, Wait};
use crate::tally::Hit;
use crate::target::{Scene, Wire};
use crate::witness::Witness;

/// One process of the service.
pub(crate) struct Node {
    pub(crate) process: Process,
    pub(crate) id: NodeId,
    pub(crate) drain: CancellationToken,
    worker: ActorId,
    ticker: ActorId,
    /// Stopped since then.
    pub(crate) stopped: Option<Duration>,
    ticked: Duration,
    is_half: bool,
}

pub(crate) struct World {
    pub(crate) stage: Stage,
    pub(crate) cast: Cast,
    pub(crate) clock: Arc<JumpingClock>,
    pub(crate) plant: Plant,
    pub(crate) scene: Arc<Scene>,
    pub(crate) sites: Vec<Site>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) raw: AnyPool,
    pub(crate) shape: Shape,
    processes: usize,
    stores: Vec<Store>,
    ground: Ground,
}

impl World {
    pub(crate) async fn new(place: &Place, seed: u64, is_traced: bool) -> Self {
        let stage = Stage::new(seed, is_traced);
        let shape = Shape::draw(&mut stage.lock().die);
        let ground = place.ground().await;
        let raw = sqlx::any::AnyPoolOptions::new()
            .max_connections(1)
            .connect(&ground.url)
            .await
            .unwrap();
        let clock = JumpingClock::at(NOON, &stage);
        let dice = Arc::new(TwoDice::new(seed));
        let vault = Plant::vault(&*dice);
        let fake = FakeWorld::new();
        let scene = Arc::new(Scene {
            stage: stage.clone(),
            clock: clock.clone(),
            witness: Mutex::new(Witness::default()),
            fake: fake.clone(),
            vault: vault.clone(),
            raw: raw.clone(),
            remembers: shape.remembers,
            wild: Mutex::new(shape.wild),
        });
        let plant = Plant {
            store: ground.store().await.behind(Arc::new(stage.clone())),
            clock: clock.clone(),
            dice,
            vault,
            fake,
            connector: Arc::new(Wire {
                scene: scene.clone(),
            }),
            limits: shape.limits.clone(),
            metrics: metrics(),
        };
        plant.furnish().await;
        let mut sites: Vec<Site> = Vec::new();
        for (nth, like) in (1..).zip(&shape.likes) {
            let first = sites.iter().map(|site| site.accounts.len()).sum::<usize>() + 1;
            let first = i64::try_from(first).unwrap();
            sites.push(plant.site(nth, first, like).await);
        }
        if shape.is_linked {
            plant.link(&raw, sites[0].account()).await;
        }
        let stores = vec![plant.store.clone()];
        let mut world = Self {
            cast: Cast::new(&stage, shape.has_keys),
            stage,
            clock,
            plant,
            scene,
            sites,
            nodes: Vec::new(),
            raw,
            shape,
            processes: 0,
            stores,
            ground,
        };
        world.introduce();
        for _ in 0..world.shape.nodes {
            world.start().await;
        }
        world
    }

    /// The witness knows what was verified at onboarding.
    fn introduce(&self) {
        let mut witness = self.scene.witness.lock().unwrap();
        for (site, like) in self.sites.iter().zip(&self.shape.likes) {
            let host = host(site);
            for account in &site.accounts {
                witness.meet(*account, &host, like.lockout_threshold);
                let name = login(*account);
                witness.know(*account, Part::Password, &site.target.accepted(&name)[0]);
                if let Some(key) = site.target.keys(&name).last() {
                    witness.know(*account, Part::Key, key);
                }
            }
        }
    }

    pub(crate) fn die<T>(&self, draw: impl FnOnce(&mut Die) -> T) -> T {
        draw(&mut self.stage.lock().die)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn accounts(&self) -> Vec<(AccountId, usize)> {
        let sites = self.sites.iter().enumerate();
        sites
            .flat_map(|(nth, site)| site.accounts.iter().map(move |account| (*account, nth)))
            .collect()
    }

    /// Starts a process: a node with a worker and its ticks.
    pub(crate) async fn start(&mut self) {
        let process = Process(self.processes);
        self.processes += 1;
        let mut plant = self.plant.clone();
        if process.0 > 0 {
            // A process has connections and reserved ids of its own.
            plant.store = self
                .ground
                .store()
                .await
                .behind(Arc::new(self.stage.clone()));
        }
        let living = plant.store.living_nodes().await.unwrap();
        let id = plant.register().await;
        for (other, _) in living {
            // With SQLite a node that starts takes all others for dead. Here two may live.
            sqlx::query("UPDATE nodes SET state = 'alive' WHERE id = $1")
                .bind(other.0)
                .execute(&self.raw)
                .await
                .unwrap();
        }
        let drain = CancellationToken::new();
        let work = plant.worker(id, self.shape.batch_max);
        let (stage, stop) = (self.stage.clone(), drain.clone());
        let worker = self.cast.add(Some(process), false, async move {
            while !stop.is_cancelled() {
                stage.gate(Wait::Idle).await;
                if let Err(error) = work.run_until_idle(&stop).await {
                    stage.note(format!("  worker: {error}"));
                }
            }
        });
        let scheduler = Scheduler::new(
            plant.store.clone(),
            plant.clock.clone(),
            plant.metrics.clone(),
            id,
            SchedulerOptions::default(),
        );
        let stage = self.stage.clone();
        let ticker = self.cast.add(Some(process), true, async move {
            loop {
                stage.gate(Wait::Idle).await;
                tick(&stage, &scheduler, &[Tick::Beat]).await;
                stage.gate(Wait::Idle).await;
                let mut rest = vec![Tick::LeaseReaper];
                for (tick, chance) in [(Tick::StaleScan, 50), (Tick::HeadRepair, 30)] {
                    if stage.lock().die.percent(chance) {
                        rest.push(tick);
                    }
                }
                tick(&stage, &scheduler, &rest).await;
            }
        });
        self.stage.note(format!("{process:?} starts"));
        self.nodes.push(Node {
            process,
            id,
            drain,
            worker,
            ticker,
            stopped: None,
            ticked: self.clock.monotonic(),
            is_half: false,
        });
    }

    /// A process is gone, and whatever it was doing.
    pub(crate) fn lose(&mut self, process: Process) {
        self.stage.note(format!("{process:?} is gone"));
        self.cast.drop_process(process);
        self.nodes.retain(|node| node.process != process);
    }

    /// Processes whose work has drained sign off.
    pub(crate) async fn sign_off(&mut self) {
        let nodes = self.nodes.iter();
        let drained = nodes.filter(|node| !self.cast.is_there(node.worker));
        let drained: Vec<(Process, NodeId)> = drained.map(|node| (node.process, node.id)).collect();
        for (process, id) in drained {
            let mut tx = self.plant.store.begin().await.unwrap();
            tx.sign_off(id).await.unwrap();
            tx.commit().await.unwrap();
            self.lose(process);
        }
    }

    pub(crate) fn is_stopped(&self, actor: ActorId) -> bool {
        let process = self.cast.process_of(actor);
        let mut nodes = self.nodes.iter();
        nodes.any(|node| Some(node.process) == process && node.stopped.is_some())
    }

    /// Gates of processes that run: what may go on now, and which of them are idle ones.
    pub(crate) fn gates(&self) -> (Vec<u64>, Vec<(u64, ActorId)>) {
        let now = self.clock.monotonic();
        let (mut open, mut idle) = (Vec::new(), Vec::new());
        for (id, actor, wait) in self.stage.waiting() {
            if self.is_stopped(actor) {
                continue;
            }
            match wait {
                Wait::Database(_) | Wait::Target(_) => open.push(id),
                Wait::Until(until) if until <= now => open.push(id),
                Wait::Until(_) => {}
                Wait::Idle => idle.push((id, actor)),
            }
        }
        (open, idle)
    }

    /// When the first of those wakes who sleep, and run.
    pub(crate) fn first_waker(&self) -> Option<Duration> {
        let waiting = self.stage.waiting().into_iter();
        waiting
            .filter(|(_, actor, _)| !self.is_stopped(*actor))
            .filter_map(|(_, _, wait)| match wait {
                Wait::Until(until) => Some(until),
                Wait::Database(_) | Wait::Target(_) | Wait::Idle => None,
            })
            .min()
    }

    /// Wakes the schedulers whose tick has come. False: it has come for none.
    pub(crate) fn tick(&mut self, idle: &[(u64, ActorId)], is_wanted: bool) -> bool {
        let now = self.clock.monotonic();
        let mut woken = false;
        for node in &mut self.nodes {
            let gate = idle.iter().find(|(_, actor)| *actor == node.ticker);
            let Some((gate, _)) = gate else { continue };
            let is_due = is_wanted && now.saturating_sub(node.ticked) >= TICK_EVERY;
            if node.is_half || is_due {
                self.stage.open(*gate);
                node.ticked = now;
                // All show that they live before anybody looks who does.
                node.is_half = !node.is_half;
                woken = true;
            }
        }
        woken
    }

    pub(crate) fn is_ticker(&self, actor: ActorId) -> bool {
        self.nodes.iter().any(|node| node.ticker == actor)
    }

    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        let (number,): (i64,) = sqlx::query_as(sql).fetch_one(&self.raw).await.unwrap();
        number
    }

    pub(crate) async fn close(self) {
        drop(self.cast);
        self.raw.close().await;
        for store in self.stores {
            store.close().await;
        }
        self.ground.leave().await;
    }

    pub(crate) fn hit(&self, hit: Hit) {
        self.stage.hit(hit);
    }
}

/// How often a node ticks.
const TICK_EVERY: Duration = Duration::from_secs(5);

async fn tick(stage: &Stage, scheduler: &Scheduler, ticks: &[Tick]) {
    for one in ticks {
        match scheduler.tick(*one).await {
            Ok(_) => {}
            Err(TickError::Store(StoreError::LeaseLost)) if *one == Tick::Beat => {
                stage.note("  declared dead");
                stage.die().await;
            }
            Err(error) => stage.note(format!("  {}: {error}", one.as_str())),
        }
    }
}

pub(crate) fn host(site: &Site) -> String {
    format!("host{}", site.id.0)
}

/// All worlds count in the same place; nobody looks there.
fn metrics() -> Arc<Metrics> {
    static METRICS: std::sync::OnceLock<Arc<Metrics>> = std::sync::OnceLock::new();
    Arc::clone(METRICS.get_or_init(|| Arc::new(Metrics::new().unwrap())))
}
