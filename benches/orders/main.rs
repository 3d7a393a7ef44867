//! Orders over HTTP on both databases, with every write durable: accepted orders beside bare
//! transactions of the same number of connections, their latency at half that load, reads, and what
//! idle sessions cost.
//!
//! Invariant: every figure is the median of rounds in one run, both sides in turns; a missed target
//! fails the run.
#![cfg(test)]

mod bare;
#[path = "../../tests/it/support/daemon.rs"]
#[expect(dead_code, reason = "made for the tests")]
mod daemon;
#[path = "../../tests/it/support/database.rs"]
#[expect(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "made for the tests"
)]
mod database;
mod load;
#[path = "../../tests/it/support/program.rs"]
#[expect(dead_code, reason = "made for the tests")]
mod program;
#[path = "../../tests/it/support/queue.rs"]
#[expect(dead_code, reason = "made for the tests")]
mod queue;
mod site;
#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "only the machine is shared")]
mod support;
#[path = "../../tests/it/support/wait.rs"]
#[expect(dead_code, reason = "made for the tests")]
mod wait;

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keywheel::store::Backend;

use bare::Bare;
use load::{Line, Lines, Work, request};
use site::{READS, Site, order};
use support::{introduce, show_load};

const ROUNDS: usize = 5;
/// Connections of either side.
const CONNECTIONS: u32 = 16;
const WARM_UP: Duration = Duration::from_millis(500);
const SPAN: Duration = Duration::from_millis(1_500);
const READ_SPAN: Duration = Duration::from_millis(700);
const PACED_SPAN: Duration = Duration::from_secs(8);
/// Of the bare transactions' rate.
const ORDERS_TARGET: f64 = 0.6;
/// p99 over p50.
const TAIL_TARGET: f64 = 10.0;
/// Of the orders' rate.
const READS_TARGET: f64 = 10.0;
const SESSIONS: u32 = 1_000;
const SESSIONS_TARGET_KIB: i64 = 10_240;

/// The verdicts so far.
struct Verdicts(bool);

impl Verdicts {
    fn give(&mut self, met: bool) -> &'static str {
        self.0 &= met;
        if met { "met" } else { "MISSED" }
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn listed(figures: &[f64]) -> String {
    let figures: Vec<_> = figures
        .iter()
        .map(|figure| format!("{figure:.0}"))
        .collect();
    figures.join(", ")
}

/// What sessions cost that nobody uses, and connections.
fn idle(site: &Site, verdicts: &mut Verdicts) {
    let call = |line: &mut Line, cookie: &str| {
        line.expect(200, &request("GET", "Configuration/Version", cookie, ""));
    };
    let mut line = Line::open(site.address);
    for _ in 0..100 {
        let cookie = site.sign_in(&mut line);
        call(&mut line, &cookie); // code and caches are warm from here on
    }
    let before = site.memory_kib();
    let cookies: Vec<String> = (0..SESSIONS)
        .map(|_| {
            let cookie = site.sign_in(&mut line);
            call(&mut line, &cookie);
            cookie
        })
        .collect();
    let signed_in = site.memory_kib();
    let lines: Vec<Line> = cookies
        .iter()
        .map(|cookie| {
            let mut line = Line::open(site.address);
            call(&mut line, cookie);
            line
        })
        .collect();
    let connected = site.memory_kib();
    let cost = signed_in - before;
    println!(
        "  {SESSIONS} idle sessions: {cost} KiB of {before} KiB before; target {SESSIONS_TARGET_KIB} \
         KiB: {}",
        verdicts.give(cost <= SESSIONS_TARGET_KIB)
    );
    println!(
        "  {} idle kept connections, one for each: {} KiB more",
        lines.len(),
        connected - signed_in
    );
}

/// Orders and bare transactions, in turns: the orders' rate.
async fn orders(
    site: &Site,
    bare: &Bare,
    lines: &mut Lines,
    work: &Work<'_>,
    verdicts: &mut Verdicts,
) -> f64 {
    bare.rate(WARM_UP).await;
    lines.rate(work, WARM_UP);
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut cost = Vec::new();
    for round in 0..ROUNDS {
        let mut bare_rate = 0.0;
        if round % 2 == 0 {
            bare_rate = bare.rate(SPAN).await;
        }
        let (sent, before_s) = (work.sent.load(Ordering::SeqCst), site.processor_s());
        let rate = lines.rate(work, SPAN);
        let sent = u32::try_from(work.sent.load(Ordering::SeqCst) - sent).unwrap();
        cost.push((site.processor_s() - before_s) * 1e6 / f64::from(sent));
        if round % 2 == 1 {
            bare_rate = bare.rate(SPAN).await;
        }
        ours.push(rate);
        theirs.push(bare_rate);
        ratios.push(rate / bare_rate);
    }
    let ratio = median(&ratios);
    println!(
        "  accepted orders: median {:.0} a second ({}); bare transactions {:.0} a second ({}); \
         ratio {ratio:.2}, target {ORDERS_TARGET}: {}; {:.0} us of the service's processor time each",
        median(&ours),
        listed(&ours),
        median(&theirs),
        listed(&theirs),
        verdicts.give(ratio >= ORDERS_TARGET),
        median(&cost),
    );
    median(&ours)
}

/// How long orders take at half their rate.
fn latency(lines: &mut Lines, work: &Work<'_>, rate: f64, verdicts: &mut Verdicts) {
    let took = lines.paced(work, rate, PACED_SPAN);
    let at = |share: usize| took[(took.len() * share / 1_000).min(took.len() - 1)];
    let (middle, tail) = (at(500), at(990));
    println!(
        "  {} orders at {rate:.0} a second: p50 {middle:.2} ms, p99 {tail:.2} ms, p99.9 {:.2} ms; \
         p99 is {:.1} x p50, target {TAIL_TARGET:.0}: {}",
        took.len(),
        at(999),
        tail / middle,
        verdicts.give(tail <= TAIL_TARGET * middle),
    );
}

fn reads(lines: &mut Lines, ordered: f64, verdicts: &mut Verdicts) {
    for (what, nth) in READS {
        let sent = AtomicUsize::new(0);
        let work = Work {
            nth: &nth,
            status: 200,
            sent: &sent,
        };
        lines.rate(&work, WARM_UP);
        let rates: Vec<f64> = (0..ROUNDS).map(|_| lines.rate(&work, READ_SPAN)).collect();
        let rate = median(&rates);
        println!(
            "  {what}: median {rate:.0} a second ({}); {:.1} x the orders, target {READS_TARGET:.0}: {}",
            listed(&rates),
            rate / ordered,
            verdicts.give(rate >= READS_TARGET * ordered),
        );
    }
}

async fn measure(backend: Backend, verdicts: &mut Verdicts) {
    println!("{backend:?}");
    let bare = Bare::open(backend, CONNECTIONS).await;
    let site = Site::open(backend).await;
    idle(&site, verdicts);
    let mut line = Line::open(site.address);
    let cookies: Vec<String> = (0..CONNECTIONS).map(|_| site.sign_in(&mut line)).collect();
    let mut lines = Lines::open(site.address, &cookies);
    let sent = AtomicUsize::new(0);
    let work = Work {
        nth: &order,
        status: 204,
        sent: &sent,
    };
    let rate = orders(&site, &bare, &mut lines, &work, verdicts).await;
    latency(&mut lines, &work, rate / 2.0, verdicts);
    // Each answer stands for a job and an audit row of its own.
    let sent = i64::try_from(sent.load(Ordering::SeqCst)).unwrap();
    assert_eq!(site.recorded().await, (sent, sent));
    reads(&mut lines, rate, verdicts);
    drop(lines);
    show_load("after it");
    site.stop();
}

fn main() -> ExitCode {
    introduce(&format!(
        "Orders over HTTP, synchronous = FULL and fsync = on: {CONNECTIONS} kept connections, each \
         with a session of its own, beside {CONNECTIONS} that commit an order's and an audit row"
    ));
    println!(
        "the service is a process of its own, the load and the bare transactions another; both \
         share the processors"
    );
    rlimit::increase_nofile_limit(8_192).unwrap();
    // `cargo bench --bench orders -- sqlite` measures that one alone.
    let asked: Vec<String> = std::env::args().collect();
    let asks = |name: &str| asked.iter().any(|word| word == name);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut verdicts = Verdicts(true);
    for (backend, other) in [(Backend::Sqlite, "postgres"), (Backend::Postgres, "sqlite")] {
        if !asks(other) {
            runtime.block_on(measure(backend, &mut verdicts));
        }
    }
    if verdicts.0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
