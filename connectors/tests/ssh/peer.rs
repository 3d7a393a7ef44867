//! Peers that are no honest server, and a wire that can be cut.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::fleet::place;

#[expect(
    clippy::disallowed_methods,
    reason = "the tests' peers need threads of their own"
)]
fn thread(work: impl FnOnce() + Send + 'static) {
    std::thread::spawn(work);
}

/// A listener that does something odd with each connection.
pub(crate) struct Peer {
    pub(crate) address: Ipv4Addr,
    pub(crate) port: u16,
    /// Gets a word whenever a connection has ended.
    pub(crate) ended: Receiver<()>,
}

impl Peer {
    fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let (address, port) = place();
        let listener = TcpListener::bind((address, port)).unwrap();
        let (tell, ended) = mpsc::channel();
        let serve = Arc::new(serve);
        thread(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (serve, tell): (_, Sender<()>) = (Arc::clone(&serve), tell.clone());
                thread(move || {
                    serve(stream);
                    tell.send(()).ok();
                });
            }
        });
        Self {
            address,
            port,
            ended,
        }
    }

    /// Takes connections and never says a word.
    pub(crate) fn mute() -> Self {
        Self::listen(|mut stream| {
            std::io::copy(&mut stream, &mut std::io::sink()).ok();
        })
    }

    /// Sends one byte of an endless greeting every 20 ms.
    pub(crate) fn dripping() -> Self {
        Self::listen(|mut stream| {
            let (_keep, pace) = mpsc::channel::<()>();
            stream.write_all(b"SSH-2.0-").ok();
            while stream.write_all(b"x").is_ok() {
                pace.recv_timeout(Duration::from_millis(20)).ok();
            }
        })
    }

    /// Speaks another protocol.
    pub(crate) fn web() -> Self {
        Self::listen(|mut stream| {
            stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").ok();
        })
    }
}

/// A wire to a server that is cut on demand, or after so many bytes from the client.
pub(crate) struct Wire {
    pub(crate) address: Ipv4Addr,
    pub(crate) port: u16,
    state: Arc<WireState>,
}

struct WireState {
    to_server_bytes: AtomicUsize,
    limit_bytes: AtomicUsize,
    is_cut: AtomicBool,
    is_stalled: AtomicBool,
    ends: Mutex<Vec<TcpStream>>,
}

impl WireState {
    fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        for end in self.ends.lock().unwrap().drain(..) {
            end.shutdown(Shutdown::Both).ok();
        }
    }
}

impl Wire {
    pub(crate) fn to(server: (Ipv4Addr, u16)) -> Self {
        let (address, port) = place();
        let listener = TcpListener::bind((address, port)).unwrap();
        let state = Arc::new(WireState {
            to_server_bytes: AtomicUsize::new(0),
            limit_bytes: AtomicUsize::new(usize::MAX),
            is_cut: AtomicBool::new(false),
            is_stalled: AtomicBool::new(false),
            ends: Mutex::default(),
        });
        let held = Arc::clone(&state);
        thread(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if held.is_cut.load(Ordering::SeqCst) {
                    continue;
                }
                let server = TcpStream::connect(server).unwrap();
                let mut ends = held.ends.lock().unwrap();
                ends.push(client.try_clone().unwrap());
                ends.push(server.try_clone().unwrap());
                drop(ends);
                let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread(move || {
                    std::io::copy(&mut from, &mut to).ok();
                    to.shutdown(Shutdown::Both).ok();
                });
                let held = Arc::clone(&held);
                thread(move || forward(client, server, &held));
            }
        });
        Self {
            address,
            port,
            state,
        }
    }

    /// Cuts every connection, and those to come.
    pub(crate) fn cut(&self) {
        self.state.cut();
    }

    /// Cuts every connection, and lets new ones through.
    pub(crate) fn mend(&self) {
        self.state.cut();
        self.state.limit_bytes.store(usize::MAX, Ordering::SeqCst);
        self.state.is_cut.store(false, Ordering::SeqCst);
    }

    /// Lets so many more bytes through to the server, then cuts in the middle of whatever it is.
    pub(crate) fn allow(&self, bytes: usize) {
        let passed = self.state.to_server_bytes.load(Ordering::SeqCst);
        self.state
            .limit_bytes
            .store(passed.saturating_add(bytes), Ordering::SeqCst);
    }

    /// Keeps every connection open and carries nothing more to the server.
    pub(crate) fn stall(&self) {
        self.state.is_stalled.store(true, Ordering::SeqCst);
    }

    /// How many bytes went to the server.
    pub(crate) fn to_server_bytes(&self) -> usize {
        self.state.to_server_bytes.load(Ordering::SeqCst)
    }
}

fn forward(mut client: TcpStream, mut server: TcpStream, state: &WireState) {
    let mut piece = [0; 4096];
    while let Ok(count) = client.read(&mut piece) {
        if count > 0 && state.is_stalled.load(Ordering::SeqCst) {
            continue;
        }
        let passed = state.to_server_bytes.load(Ordering::SeqCst);
        let left = state
            .limit_bytes
            .load(Ordering::SeqCst)
            .saturating_sub(passed);
        let count_now = count.min(left);
        if count == 0 || server.write_all(&piece[..count_now]).is_err() {
            break;
        }
        state.to_server_bytes.fetch_add(count_now, Ordering::SeqCst);
        if count_now < count {
            state.cut();
        }
    }
    server.shutdown(Shutdown::Both).ok();
}
