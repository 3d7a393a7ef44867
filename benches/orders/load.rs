//! The load: kept connections that send prepared requests, as fast as they are answered or at a
//! fixed pace.
//!
//! One thread a connection, HTTP/1.1 by hand: an answer is read as far as its status and its length.
//! So the load takes little of the processors that it shares with the service.
//!
//! Invariant: an answer that was not meant ends the run; a paced request counts from the moment it
//! was due, also where the one before it was late.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keywheel::clock::{SharedClock, SystemClock};

/// Where the dialect answers.
pub(crate) const BASE: &str = "/BeyondTrust/api/public/v3";
/// Longer than any head or body that is asked for here.
const ANSWER_MAX_BYTES: usize = 65_536;

/// One kept connection.
pub(crate) struct Line {
    stream: TcpStream,
    read: Box<[u8]>,
}

/// What came back.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) head: &'a str,
}

impl Line {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        // Small at first: a thousand of these wait at once.
        let read = vec![0; 4_096].into();
        Self { stream, read }
    }

    /// Sends a request and reads its whole answer.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Answer<'_> {
        self.stream.write_all(request).unwrap();
        let mut filled = 0;
        loop {
            if filled == self.read.len() {
                assert!(filled < ANSWER_MAX_BYTES, "an answer is too long");
                let mut wider = vec![0; filled * 2];
                wider[..filled].copy_from_slice(&self.read);
                self.read = wider.into();
            }
            let more = self.stream.read(&mut self.read[filled..]).unwrap();
            assert!(more > 0, "the service hung up");
            filled += more;
            if let Some(head) = whole(&self.read[..filled]) {
                let head = std::str::from_utf8(&self.read[..head]).unwrap();
                let status = head[9..12].parse().unwrap();
                return Answer { status, head };
            }
        }
    }

    /// The same, of which one status alone is meant.
    pub(crate) fn expect(&mut self, status: u16, request: &[u8]) {
        let answer = self.ask(request);
        assert_eq!(
            answer.status,
            status,
            "{}\n{}",
            String::from_utf8_lossy(request).lines().next().unwrap(),
            answer.head
        );
    }
}

/// Where an answer's head ends, once all of the answer is there.
fn whole(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&answer[..head]).unwrap();
    let length = header(text, "content-length").map_or(0, |length| length.parse().unwrap());
    (answer.len() >= head + 4 + length).then_some(head)
}

/// A header's value.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// A request of the dialect; the cookie alone says who asks.
pub(crate) fn request(method: &str, path: &str, cookie: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {BASE}/{path} HTTP/1.1\r\nHost: bench\r\nCookie: {cookie}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// What the connections ask for: the nth request, and the status that is meant.
pub(crate) struct Work<'a> {
    pub(crate) nth: &'a (dyn Fn(usize, &str) -> Vec<u8> + Sync),
    pub(crate) status: u16,
    /// Counts requests over all connections and rounds.
    pub(crate) sent: &'a AtomicUsize,
}

/// Kept connections, each with a session of its own.
pub(crate) struct Lines {
    clock: SharedClock,
    lines: Vec<(Line, String)>,
}

impl Lines {
    pub(crate) fn open(address: SocketAddr, cookies: &[String]) -> Self {
        let lines = cookies
            .iter()
            .map(|cookie| (Line::open(address), cookie.clone()));
        Self {
            clock: SystemClock::shared(),
            lines: lines.collect(),
        }
    }

    /// Each connection asks again once it is answered, for so long: answers a second.
    pub(crate) fn rate(&mut self, work: &Work<'_>, span: Duration) -> f64 {
        let clock = &self.clock;
        let start = clock.monotonic();
        let answered: usize = std::thread::scope(|scope| {
            let each = |(line, cookie): &mut (Line, String)| {
                let mut answered = 0;
                while clock.monotonic().saturating_sub(start) < span {
                    let nth = work.sent.fetch_add(1, Ordering::Relaxed);
                    line.expect(work.status, &(work.nth)(nth, cookie));
                    answered += 1;
                }
                answered
            };
            let threads: Vec<_> = self
                .lines
                .iter_mut()
                .map(|line| scope.spawn(move || each(line)))
                .collect();
            threads.into_iter().map(|one| one.join().unwrap()).sum()
        });
        let seconds = clock.monotonic().saturating_sub(start).as_secs_f64();
        f64::from(u32::try_from(answered).unwrap()) / seconds
    }

    /// Requests at a pace, whatever the answers do, for so long: how long each took from the
    /// moment it was due, in milliseconds, sorted.
    pub(crate) fn paced(&mut self, work: &Work<'_>, rate: f64, span: Duration) -> Vec<f64> {
        let clock = &self.clock;
        let count = u32::try_from(self.lines.len()).unwrap();
        let step = Duration::from_secs_f64(f64::from(count) / rate);
        let start = clock.monotonic();
        let mut all: Vec<f64> = std::thread::scope(|scope| {
            let each = |first: u32, (line, cookie): &mut (Line, String)| {
                let mut took = Vec::new();
                // The connections take turns.
                let mut due = step * first / count;
                while due < span {
                    while let Some(left) = (start + due).checked_sub(clock.monotonic()) {
                        std::thread::park_timeout(left.max(Duration::from_nanos(1)));
                    }
                    let nth = work.sent.fetch_add(1, Ordering::Relaxed);
                    line.expect(work.status, &(work.nth)(nth, cookie));
                    let late = clock.monotonic().saturating_sub(start + due);
                    took.push(late.as_secs_f64() * 1e3);
                    due += step;
                }
                took
            };
            let threads: Vec<_> = (0..)
                .zip(self.lines.iter_mut())
                .map(|(first, line)| scope.spawn(move || each(first, line)))
                .collect();
            threads
                .into_iter()
                .flat_map(|one| one.join().unwrap())
                .collect()
        });
        all.sort_by(f64::total_cmp);
        all
    }
}
