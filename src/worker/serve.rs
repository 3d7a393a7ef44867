//! The process's side: takes calls from the service, and lets the real connector answer.
//!
//! Invariant: every call has one answer; a session lives here alone, and ends with the socket.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::{Arc, Mutex, PoisonError};

use keywheel_connectors::wire::{self, Answer, Call, FromProcess, Hello, ToProcess, WireError};
use keywheel_connectors::{Changed, Checked, Class, Connector, Evidence, Reason, Session, by_name};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use zeroize::Zeroizing;

use super::confine::{ConfineError, close_descriptors, confine};

/// Threads that may wait for targets at once: SSH takes one for each exchange.
const THREADS_MAX: usize = 1_024;
/// Enough for a key exchange; a thousand of them fit the process's memory.
const STACK_BYTES: usize = 1024 * 1024;

/// What a connector process is to serve.
#[derive(Clone, Debug)]
pub struct Served {
    /// The connector's name.
    pub connector: String,
    /// Whom it becomes if it is started as root.
    pub user: String,
    /// Where SSH's sentinels start.
    pub seed: u64,
}

/// Why a connector process ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The service alone starts connector processes.
    #[error("standard input is no socket: the service starts this command, nobody else")]
    NoSocket(std::io::Error),
    /// Name one that is built in.
    #[error("there is no connector of this name")]
    NoConnector,
    /// As it says.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// A defect, or the service is gone.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A defect of the machine.
    #[error("the process could not be set up: {0}")]
    SetUp(std::io::Error),
}

/// Confines this process, which must have one thread, and serves until the service hangs up.
///
/// # Errors
/// [`ServeError`]: why it could not.
pub fn run(served: &Served) -> Result<(), ServeError> {
    close_descriptors();
    let stream = socket().map_err(ServeError::NoSocket)?;
    // Built first: libraries that it starts read their own settings.
    let connector = by_name(&served.connector, served.seed).ok_or(ServeError::NoConnector)?;
    let hello = Hello {
        connector: served.connector.clone(),
        confinement: confine(&served.user)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(THREADS_MAX)
        .thread_stack_size(STACK_BYTES)
        .build()
        .map_err(ServeError::SetUp)?;
    let ended = runtime.block_on(serve(stream, connector, hello));
    // Threads that still wait for a target end with the process.
    runtime.shutdown_background();
    ended
}

fn socket() -> std::io::Result<StdStream> {
    let descriptor: OwnedFd = rustix::io::dup(rustix::stdio::stdin())?;
    let stream = StdStream::from(descriptor);
    stream.peer_addr()?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// What the tasks of this process share.
#[derive(Clone)]
struct Desk {
    connector: Arc<dyn Connector>,
    sessions: Arc<Mutex<HashMap<u64, Arc<dyn Session>>>>,
    running: Arc<Mutex<HashMap<u64, AbortHandle>>>,
    frames: mpsc::UnboundedSender<Zeroizing<Vec<u8>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(
    stream: StdStream,
    connector: Arc<dyn Connector>,
    hello: Hello,
) -> Result<(), ServeError> {
    // A signal to every process of the service is the service's business: it drains, and hangs up.
    let _heard = [
        signal(SignalKind::terminate()).map_err(ServeError::SetUp)?,
        signal(SignalKind::interrupt()).map_err(ServeError::SetUp)?,
        signal(SignalKind::hangup()).map_err(ServeError::SetUp)?,
        signal(SignalKind::user_defined1()).map_err(ServeError::SetUp)?,
    ];
    let stream = UnixStream::from_std(stream).map_err(ServeError::SetUp)?;
    let (mut reads, writes) = stream.into_split();
    let (frames, queued) = mpsc::unbounded_channel();
    let desk = Desk {
        connector,
        sessions: Arc::default(),
        running: Arc::default(),
        frames,
    };
    desk.say(&FromProcess::Hello(hello))?;
    let take = async {
        let mut tasks = JoinSet::new();
        while let Some(message) = wire::read::<ToProcess>(&mut reads).await? {
            desk.take(message, &mut tasks)?;
            // Those that have ended need no more room.
            while tasks.try_join_next().is_some() {}
        }
        Ok(())
    };
    tokio::select! {
        ended = take => ended,
        ended = write(writes, queued) => Ok(ended?),
    }
}

async fn write(
    mut to: OwnedWriteHalf,
    mut queued: mpsc::UnboundedReceiver<Zeroizing<Vec<u8>>>,
) -> Result<(), WireError> {
    while let Some(frame) = queued.recv().await {
        to.write_all(&frame).await?;
    }
    Ok(())
}

impl Desk {
    fn say(&self, message: &FromProcess) -> Result<(), WireError> {
        // Fails only when the writer is gone, and with it the process.
        drop(self.frames.send(wire::encode(message)?));
        Ok(())
    }

    fn take(&self, message: ToProcess, tasks: &mut JoinSet<()>) -> Result<(), WireError> {
        match message {
            ToProcess::Ping { number } => self.say(&FromProcess::Pong { number })?,
            ToProcess::Forget { session } => drop(locked(&self.sessions).remove(&session)),
            ToProcess::Cancel { id } => {
                let running = locked(&self.running).remove(&id);
                if let Some(task) = running {
                    task.abort();
                    let answer = Answer::Cancelled;
                    self.say(&FromProcess::Answer { id, answer })?;
                }
            }
            ToProcess::Call { id, call } => {
                let desk = self.clone();
                let task = tasks.spawn(async move {
                    let answer = desk.answer(*call).await;
                    desk.finish(id, answer);
                });
                // One thread: the task has not begun yet.
                locked(&self.running).insert(id, task);
            }
        }
        Ok(())
    }

    fn finish(&self, id: u64, answer: Answer) {
        if locked(&self.running).remove(&id).is_none() {
            return;
        }
        // Too long a message is a defect here. Without its answer the service ends this process,
        // and takes every call of it for lost.
        if let Err(error) = self.say(&FromProcess::Answer { id, answer }) {
            tracing::error!(%error, "an answer could not be sent");
        }
    }

    async fn answer(&self, call: Call) -> Answer {
        match call {
            Call::Identify { target } => Answer::Identified(self.connector.identify(&target).await),
            Call::Open {
                session,
                target,
                functional,
            } => {
                let opened = self.connector.open(&target, functional.as_ref()).await;
                Answer::Opened(opened.map(|open| {
                    locked(&self.sessions).insert(session, open);
                }))
            }
            Call::Change {
                session,
                account,
                new,
                current,
            } => Answer::Changed(match self.session(session) {
                Some(open) => open.change(&account, &new, current.as_ref()).await,
                None => Changed::NotNow(no_session()),
            }),
            Call::Check {
                session,
                account,
                credential,
            } => Answer::Checked(match self.session(session) {
                Some(open) => open.check(&account, &credential).await,
                None => Checked::NotNow(no_session()),
            }),
            Call::Evidence {
                session,
                account,
                candidate,
                current,
            } => Answer::Evidence(match self.session(session) {
                Some(open) => open.evidence(&account, &candidate, current.as_ref()).await,
                None => Evidence::Undecided(no_session()),
            }),
            Call::Retire {
                session,
                account,
                old,
            } => Answer::Changed(match self.session(session) {
                Some(open) => open.retire(&account, &old).await,
                None => Changed::NotNow(no_session()),
            }),
            Call::List { session, query } => Answer::Listed(match self.session(session) {
                Some(open) => open.list(&query).await,
                None => Err(no_session()),
            }),
            Call::Identities { session, accounts } => {
                Answer::Identities(match self.session(session) {
                    Some(open) => open.identities(&accounts).await,
                    None => Err(no_session()),
                })
            }
            Call::Close { session } => {
                let open = locked(&self.sessions).remove(&session);
                if let Some(open) = open {
                    open.close().await;
                }
                Answer::Closed
            }
        }
    }

    fn session(&self, number: u64) -> Option<Arc<dyn Session>> {
        locked(&self.sessions).get(&number).cloned()
    }
}

fn no_session() -> Reason {
    Reason::account(
        Class::Unreachable,
        "the session had ended before the call came",
    )
}
