//! One connector process, as the service sees it: the calls that it owes an answer.
//!
//! Invariant: a process that breaks the format, falls silent or leaves a call unanswered is
//! killed, and from then on takes no call.

use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keywheel_connectors::wire::{
    self, Answer, Call, Confinement, FromProcess, ToProcess, WireError,
};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::lease::{Suspects, System};
use crate::clock::SharedClock;

/// What a call may take beyond its target's time-out. Less than the engine's own margin, so that
/// the process is judged before the engine gives the call up.
const GRACE: Duration = Duration::from_secs(4);
/// How long a process has to end by itself.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// Why a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was told to.
    Stopped,
    /// By itself.
    Exited,
    /// By a signal of somebody else's.
    Killed,
    /// Killed here: it fell silent, or left a call unanswered.
    Hung,
    /// Killed here: it broke the format.
    Malformed,
    /// It never served.
    NotStarted,
}

impl End {
    /// The end as the metrics call it; `None` if it was meant.
    pub(super) const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Stopped => None,
            Self::Exited => Some("exited"),
            Self::Killed => Some("killed"),
            Self::Hung => Some("hung"),
            Self::Malformed => Some("malformed"),
            Self::NotStarted => Some("not_started"),
        }
    }
}

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The process had ended, and heard nothing of it.
    Before,
    /// It is longer than a message may be; nothing was sent.
    TooLong,
    /// The process may have done it.
    After,
}

/// One connector process.
#[derive(Debug)]
pub(super) struct Process {
    /// Its id.
    pub(super) id: u32,
    /// How it is confined.
    pub(super) confinement: Confinement,
    /// Ends it at leisure.
    pub(super) stop: CancellationToken,
    calls: Mutex<Calls>,
    frames: mpsc::UnboundedSender<Zeroizing<Vec<u8>>>,
    /// Whom it speaks with, by session.
    systems: Mutex<HashMap<u64, System>>,
    condemned: CancellationToken,
    verdict: Mutex<Option<End>>,
    pinged: AtomicU64,
    ponged: AtomicU64,
}

#[derive(Debug, Default)]
struct Calls {
    closed: bool,
    /// The next call's id, and the next session's number.
    next: u64,
    /// `None`: nobody waits for it any more.
    waiting: HashMap<u64, Option<oneshot::Sender<Answer>>>,
}

/// What drives a process.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) child: Child,
    pub(super) reads: OwnedReadHalf,
    pub(super) writes: OwnedWriteHalf,
    pub(super) queued: mpsc::UnboundedReceiver<Zeroizing<Vec<u8>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    /// A process that has introduced itself, and where its messages queue up.
    pub(super) fn new(
        id: u32,
        confinement: Confinement,
        frames: mpsc::UnboundedSender<Zeroizing<Vec<u8>>>,
    ) -> Self {
        Self {
            id,
            confinement,
            stop: CancellationToken::new(),
            calls: Mutex::default(),
            frames,
            systems: Mutex::default(),
            condemned: CancellationToken::new(),
            verdict: Mutex::default(),
            pinged: AtomicU64::new(0),
            ponged: AtomicU64::new(0),
        }
    }

    /// True while it takes calls.
    pub(super) fn lives(&self) -> bool {
        !locked(&self.calls).closed
    }

    /// Sessions that it has.
    pub(super) fn load(&self) -> usize {
        locked(&self.systems).len()
    }

    /// Begins a session with this system: its number.
    pub(super) fn enter(&self, system: &System) -> u64 {
        let session = self.number();
        locked(&self.systems).insert(session, system.clone());
        session
    }

    /// Ends a session, without a farewell if it is still there.
    pub(super) fn leave(&self, session: u64) {
        locked(&self.systems).remove(&session);
        self.send(&ToProcess::Forget { session });
    }

    fn number(&self) -> u64 {
        let mut calls = locked(&self.calls);
        calls.next += 1;
        calls.next
    }

    fn send(&self, message: &ToProcess) {
        // Short ones always fit; where the process is gone, nobody needs to hear it.
        if let Ok(frame) = wire::encode(message) {
            drop(self.frames.send(frame));
        }
    }

    /// Asks the process, and waits for the answer. `limit` is the target's time-out.
    ///
    /// A caller that stops waiting stops the call.
    pub(super) async fn call(&self, call: Call, limit: Duration) -> Result<Answer, Lost> {
        let id = self.number();
        let call = Box::new(call);
        let frame = wire::encode(&ToProcess::Call { id, call }).map_err(|_| Lost::TooLong)?;
        let (sender, answer) = oneshot::channel();
        {
            let mut calls = locked(&self.calls);
            if calls.closed {
                return Err(Lost::Before);
            }
            calls.waiting.insert(id, Some(sender));
            drop(self.frames.send(frame));
        }
        let waiting = Waiting { process: self, id };
        let answer = timeout(limit + GRACE, answer).await;
        drop(waiting);
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Lost::After),
            Err(_) => {
                self.condemn(End::Hung);
                Err(Lost::After)
            }
        }
    }

    /// Has it killed.
    pub(super) fn condemn(&self, end: End) {
        locked(&self.verdict).get_or_insert(end);
        self.condemned.cancel();
    }

    /// Takes an answer; false if none was owed.
    fn answered(&self, id: u64, answer: Answer) -> bool {
        let Some(caller) = locked(&self.calls).waiting.remove(&id) else {
            return false;
        };
        if let Some(caller) = caller {
            // The caller may have gone this very moment.
            drop(caller.send(answer));
        }
        true
    }

    /// Drives the process to its end, and remembers in `suspects` whom it spoke with if the end
    /// was not meant.
    pub(super) async fn drive(
        &self,
        line: Line,
        suspects: &Suspects,
        clock: &SharedClock,
        (every, beats_max): (Duration, u64),
    ) -> End {
        let Line {
            mut child,
            reads,
            writes,
            queued,
        } = line;
        let end = tokio::select! {
            () = self.stop.cancelled() => End::Stopped,
            () = self.condemned.cancelled() => End::Hung,
            end = self.hear(reads) => end,
            () = write(writes, queued) => End::Exited,
            () = self.beat(clock, every, beats_max) => End::Hung,
        };
        let mut end = locked(&self.verdict).unwrap_or(end);
        if matches!(end, End::Hung | End::Malformed) {
            // At once: what it was asked may still reach the target.
            drop(child.start_kill());
        }
        if end.reason().is_some() {
            // Before its callers hear of it, who may open their next session at once.
            suspects.add(locked(&self.systems).values().cloned());
        }
        self.close();
        let status = if let Ok(status) = timeout(FAREWELL_MAX, child.wait()).await {
            status
        } else {
            drop(child.start_kill());
            child.wait().await
        };
        let signal = status.ok().and_then(|status| status.signal());
        if end == End::Exited && signal.is_some() {
            end = End::Killed;
        }
        end
    }

    /// Takes no call any more; whoever waits hears so.
    fn close(&self) {
        let mut calls = locked(&self.calls);
        calls.closed = true;
        calls.waiting.clear();
    }

    async fn hear(&self, mut from: OwnedReadHalf) -> End {
        loop {
            let kept = match wire::read(&mut from).await {
                Ok(Some(FromProcess::Answer { id, answer })) => self.answered(id, answer),
                Ok(Some(FromProcess::Pong { number })) => {
                    let last = self.ponged.swap(number, Ordering::SeqCst);
                    number > last && number <= self.pinged.load(Ordering::SeqCst)
                }
                Ok(None) | Err(WireError::Lost(_)) => return End::Exited,
                Ok(Some(FromProcess::Hello(_)))
                | Err(WireError::TooLong { .. } | WireError::Malformed) => false,
            };
            if !kept {
                return End::Malformed;
            }
        }
    }

    /// Asks for a sign of life again and again; returns once too many are owed. Counted in beats,
    /// not in time: a service that was stopped itself must not blame its processes.
    async fn beat(&self, clock: &SharedClock, every: Duration, beats_max: u64) {
        loop {
            clock.sleep(every).await;
            let sent = self.pinged.load(Ordering::SeqCst);
            if sent.saturating_sub(self.ponged.load(Ordering::SeqCst)) >= beats_max {
                return;
            }
            self.pinged.store(sent + 1, Ordering::SeqCst);
            self.send(&ToProcess::Ping { number: sent + 1 });
        }
    }
}

async fn write(mut to: OwnedWriteHalf, mut queued: mpsc::UnboundedReceiver<Zeroizing<Vec<u8>>>) {
    while let Some(frame) = queued.recv().await {
        if to.write_all(&frame).await.is_err() {
            return;
        }
    }
}

/// A call whose caller waits. Dropped before the answer, it stops the call.
struct Waiting<'a> {
    process: &'a Process,
    id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let owed = {
            let mut calls = locked(&self.process.calls);
            calls.waiting.get_mut(&self.id).map(Option::take).is_some()
        };
        if owed {
            self.process.send(&ToProcess::Cancel { id: self.id });
        }
    }
}
