//! Who may go on: everything that a world waits for is a gate, and one gate opens at a time.
//!
//! Whoever comes to the database, to a target, to the clock or to the end of its work waits at a
//! gate. The run opens one, and polls until all that follows from it stands at gates again: until no
//! statement is on its way and no thread owes an answer. So threads decide nothing, and a seed has
//! one history.
//!
//! Invariant: a gate is opened only while the world stands still.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::task::AtomicWaker;

use crate::die::Die;
use crate::tally::{Hit, Tally};

/// Whoever is polled by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ActorId(pub(crate) usize);

/// The process that an actor belongs to; callers are of none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process(pub(crate) usize);

/// What somebody waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// A read, or the begin of a transaction.
    Database(&'static str),
    /// A target, or its answer.
    Target(String),
    /// The clock.
    Until(Duration),
    /// A worker is idle, or a scheduler between its ticks.
    Idle,
}

impl Wait {
    pub(crate) fn is_target(&self) -> bool {
        matches!(self, Self::Target(_))
    }
}

struct Ticket {
    actor: ActorId,
    wait: Wait,
    is_open: bool,
    waker: Option<Waker>,
}

/// An actor, as gates know it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    pub(crate) actor: ActorId,
    pub(crate) process: Option<Process>,
    /// It may read while its own transaction is open.
    pub(crate) is_single: bool,
}

/// What the actors of one world share.
pub(crate) struct Inner {
    tickets: BTreeMap<u64, Ticket>,
    tickets_made: u64,
    in_flight: usize,
    holder: Option<ActorId>,
    current: Option<Who>,
    /// A process that dies at this very step.
    pub(crate) dies: Option<Process>,
    pub(crate) die: Die,
    pub(crate) tally: Tally,
    /// What the store is about to do, and after how many operations.
    pub(crate) armed: Option<(u32, crate::hurdle::Trouble)>,
    /// How many more writes a full or read-only disk refuses.
    pub(crate) lasting: u32,
    pub(crate) trace: Trace,
}

/// What has happened, as text or as a hash of it.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) lines: Option<Vec<String>>,
    pub(crate) hash: u64,
}

impl Trace {
    fn add(&mut self, line: &str) {
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(lines) = &mut self.lines {
            lines.push(line.to_owned());
        }
    }
}

#[derive(Clone)]
pub(crate) struct Stage(Arc<Mutex<Inner>>);

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stage")
    }
}

impl Stage {
    pub(crate) fn new(seed: u64, is_traced: bool) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            tickets: BTreeMap::new(),
            tickets_made: 0,
            in_flight: 0,
            holder: None,
            current: None,
            dies: None,
            die: Die::new(seed),
            tally: Tally::default(),
            armed: None,
            lasting: 0,
            trace: Trace {
                lines: is_traced.then(Vec::new),
                hash: 0xcbf2_9ce4_8422_2325,
            },
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// Puts down what has happened.
    pub(crate) fn note(&self, line: impl AsRef<str>) {
        self.lock().trace.add(line.as_ref());
    }

    pub(crate) fn hit(&self, hit: Hit) {
        self.lock().tally.hit(hit);
    }

    pub(crate) fn current(&self) -> Option<Who> {
        self.lock().current
    }

    /// Waits until the run opens it. What the run does itself goes through.
    pub(crate) async fn gate(&self, wait: Wait) {
        if self.current().is_none() {
            return;
        }
        Gate {
            stage: self.clone(),
            wait: Some(wait),
            ticket: None,
        }
        .await;
    }

    /// Something is on its way until this is dropped.
    pub(crate) fn busy(&self, holds: bool) -> Busy {
        let mut inner = self.lock();
        inner.in_flight += 1;
        let holder = inner.current.filter(|_| holds).map(|who| who.actor);
        if holder.is_some() {
            inner.holder = holder;
        }
        Busy {
            stage: self.clone(),
            holds: holder.is_some(),
        }
    }

    /// True if the actor that is polled has a transaction open, and does one thing at a time.
    pub(crate) fn is_inside(&self) -> bool {
        let inner = self.lock();
        inner
            .current
            .is_some_and(|who| who.is_single && inner.holder == Some(who.actor))
    }

    /// Ends the process that is polled, here and now.
    pub(crate) async fn die(&self) {
        {
            let mut inner = self.lock();
            inner.dies = inner.current.and_then(|who| who.process);
        }
        std::future::pending::<()>().await;
    }

    /// Who waits for what, in the order in which they came.
    pub(crate) fn waiting(&self) -> Vec<(u64, ActorId, Wait)> {
        let inner = self.lock();
        let waiting = inner.tickets.iter().filter(|(_, ticket)| !ticket.is_open);
        waiting
            .map(|(id, ticket)| (*id, ticket.actor, ticket.wait.clone()))
            .collect()
    }

    /// Opens one gate; tells what was waited for.
    pub(crate) fn open(&self, id: u64) -> Wait {
        let (waker, wait) = {
            let mut inner = self.lock();
            let ticket = inner.tickets.get_mut(&id).expect("somebody waits there");
            ticket.is_open = true;
            let (waker, wait) = (ticket.waker.take(), ticket.wait.clone());
            let line = format!("{:?} {wait:?}", ticket.actor);
            inner.trace.add(&line);
            (waker, wait)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        wait
    }
}

/// Something is on its way.
pub(crate) struct Busy {
    stage: Stage,
    holds: bool,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut inner = self.stage.lock();
        inner.in_flight -= 1;
        if self.holds {
            inner.holder = None;
        }
    }
}

struct Gate {
    stage: Stage,
    wait: Option<Wait>,
    ticket: Option<u64>,
}

impl Future for Gate {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let stage = self.stage.clone();
        let mut inner = stage.lock();
        let Some(id) = self.ticket else {
            let who = inner.current.expect("gates are polled by actors");
            let id = inner.tickets_made;
            inner.tickets_made += 1;
            let ticket = Ticket {
                actor: who.actor,
                wait: self.wait.take().expect("a gate is entered once"),
                is_open: false,
                waker: Some(context.waker().clone()),
            };
            inner.tickets.insert(id, ticket);
            self.ticket = Some(id);
            return Poll::Pending;
        };
        let ticket = inner.tickets.get_mut(&id).expect("its ticket is there");
        if ticket.is_open {
            inner.tickets.remove(&id);
            self.ticket = None;
            return Poll::Ready(());
        }
        ticket.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(id) = self.ticket {
            self.stage.lock().tickets.remove(&id);
        }
    }
}

#[derive(Default)]
struct Woken {
    is_woken: AtomicBool,
    driver: AtomicWaker,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        self.driver.wake();
    }
}

type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Actor {
    who: Who,
    work: Work,
    woken: Arc<Woken>,
}

/// The actors of one world.
pub(crate) struct Cast {
    stage: Stage,
    actors: BTreeMap<ActorId, Actor>,
    made: usize,
    /// Threads draw and open keys: they too must have answered before the world stands still.
    has_threads: bool,
}

impl Cast {
    pub(crate) fn new(stage: &Stage, has_threads: bool) -> Self {
        Self {
            stage: stage.clone(),
            actors: BTreeMap::new(),
            made: 0,
            has_threads,
        }
    }

    pub(crate) fn add(
        &mut self,
        process: Option<Process>,
        is_single: bool,
        work: impl Future<Output = ()> + 'static,
    ) -> ActorId {
        let actor = ActorId(self.made);
        self.made += 1;
        let woken = Arc::new(Woken::default());
        woken.is_woken.store(true, Ordering::SeqCst);
        let who = Who {
            actor,
            process,
            is_single,
        };
        let work = Box::pin(work);
        self.actors.insert(actor, Actor { who, work, woken });
        actor
    }

    pub(crate) fn is_there(&self, actor: ActorId) -> bool {
        self.actors.contains_key(&actor)
    }

    pub(crate) fn process_of(&self, actor: ActorId) -> Option<Process> {
        self.actors.get(&actor).and_then(|one| one.who.process)
    }

    /// Whoever belongs to no process.
    pub(crate) fn callers(&self) -> Vec<ActorId> {
        let callers = self.actors.values().filter(|one| one.who.process.is_none());
        callers.map(|one| one.who.actor).collect()
    }

    pub(crate) fn drop_caller(&mut self, actor: ActorId) {
        self.actors.remove(&actor);
    }

    pub(crate) fn drop_process(&mut self, process: Process) {
        self.actors
            .retain(|_, one| one.who.process != Some(process));
    }

    /// Polls until the world stands still, or a process has died.
    pub(crate) async fn settle(&mut self) -> Option<Process> {
        loop {
            let died = std::future::poll_fn(|context| self.poll_all(context)).await;
            if died.is_some() {
                return died;
            }
            // What was put off to the end of this turn of the runtime, such as a yield.
            tokio::task::yield_now().await;
            if self.has_threads {
                // There is one such thread: whatever it was given before is done by then.
                tokio::task::spawn_blocking(|| ()).await.unwrap();
            }
            if !self.is_anybody_woken() {
                return None;
            }
        }
    }

    fn is_anybody_woken(&self) -> bool {
        let mut actors = self.actors.values();
        actors.any(|one| one.woken.is_woken.load(Ordering::SeqCst))
    }

    fn poll_all(&mut self, context: &mut Context<'_>) -> Poll<Option<Process>> {
        for actor in self.actors.values() {
            actor.woken.driver.register(context.waker());
        }
        loop {
            let woken = self.actors.values().find_map(|one| {
                let is_woken = one.woken.is_woken.swap(false, Ordering::SeqCst);
                is_woken.then_some(one.who.actor)
            });
            let Some(id) = woken else {
                break;
            };
            let actor = self.actors.get_mut(&id).expect("it was found");
            self.stage.lock().current = Some(actor.who);
            let waker = Waker::from(Arc::clone(&actor.woken));
            let polled = actor.work.as_mut().poll(&mut Context::from_waker(&waker));
            let died = {
                let mut inner = self.stage.lock();
                inner.current = None;
                inner.dies.take()
            };
            if polled.is_ready() {
                self.actors.remove(&id);
            }
            if died.is_some() {
                return Poll::Ready(died);
            }
        }
        if self.stage.lock().in_flight == 0 {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }
}
