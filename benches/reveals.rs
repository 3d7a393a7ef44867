//! Reveals with a workflow on, on both databases, by the service as it is shipped and with every write
//! durable: how many a second are answered, and how soon after its answer each is told.
//!
//! Invariant: every reveal that was answered is told once before a figure of it is printed, and a
//! missed target fails the run.
#![cfg(test)]

#[path = "../tests/it/support/client.rs"]
#[expect(dead_code, reason = "made for the tests")]
mod client;
#[path = "../tests/it/support/daemon.rs"]
#[expect(dead_code, reason = "made for the tests")]
mod daemon;
#[path = "../tests/it/support/database.rs"]
#[expect(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "made for the tests"
)]
mod database;
#[path = "../tests/it/support/program.rs"]
#[expect(dead_code, reason = "made for the tests")]
mod program;
#[path = "../tests/it/support/queue.rs"]
#[expect(dead_code, reason = "made for the tests")]
mod queue;
#[path = "../tests/it/support/receiver.rs"]
#[expect(dead_code, reason = "made for the tests")]
mod receiver;
#[path = "../tests/it/support/reveal.rs"]
#[expect(dead_code, reason = "made for the tests")]
mod reveal;
#[expect(dead_code, unused_imports, reason = "only the machine is shared")]
mod support;
#[path = "../tests/it/support/wait.rs"]
mod wait;

use std::process::ExitCode;
use std::time::Duration;

use keywheel::store::Backend;

use database::Database;
use reveal::{CALLERS, Crowd, Scene, Told, agree, furnish, rate};
use support::{introduce, show_load};

/// Reveals one after another, each told before the next.
const ALONE: usize = 200;
const LASTS: Duration = Duration::from_secs(10);
const RATE_TARGET: f64 = 200.0;
const TOLD_TARGET: Duration = Duration::from_millis(200);

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

/// True if both targets were met.
async fn measure(backend: Backend) -> bool {
    let scene = Scene::on(Database::durable(backend).await).await;
    let daemon = scene.serve();
    let asked = furnish(&scene, &daemon, "/quick").await;
    let (glue, record) = (&asked.glue, &asked.records[0]);
    let mut took = Vec::new();
    for nth in 0..ALONE {
        let began = scene.clock.monotonic();
        assert!(glue.reveals(&daemon.url, record).await);
        while scene.receiver.received().len() == nth {
            scene.clock.sleep(Duration::from_micros(200)).await;
        }
        took.push(scene.clock.monotonic().saturating_sub(began));
    }
    took.sort();
    let median = took[ALONE / 2];
    let (began, crowd) = (scene.clock.monotonic(), Crowd::start(&asked, &daemon));
    scene.clock.sleep(LASTS).await;
    let mut answered = crowd.end().await;
    let ended = scene.clock.monotonic();
    *answered.entry(record.0).or_default() += ALONE;
    scene.sent().await;
    let drained = scene.clock.monotonic().saturating_sub(ended);
    assert_eq!(daemon.stop(), 0);
    let told = Told::read(&scene.receiver, &asked.signing_key);
    agree(&scene, &answered, &told).await;
    let count = answered.values().sum::<usize>();
    assert_eq!((count, told.came), (told.reveals(), told.reveals()));
    let each_second = rate(count - ALONE, ended.saturating_sub(began));
    let (fast, soon) = (each_second >= RATE_TARGET, median <= TOLD_TARGET);
    println!("{backend:?}: one workflow with a webhook; {count} reveals, each told once");
    println!(
        "  from the request to its notice: median {median:.1?}, p95 {:.1?}, longest {:.1?} of \
         {ALONE}; target {TOLD_TARGET:?}: {}",
        took[ALONE * 95 / 100],
        took[ALONE - 1],
        verdict(soon)
    );
    println!(
        "  {CALLERS} callers: {each_second:.0} reveals a second, all told {drained:.1?} after the \
         last; target {RATE_TARGET:.0}: {}",
        verdict(fast)
    );
    fast && soon
}

#[tokio::main]
async fn main() -> ExitCode {
    introduce("reveals with a workflow on");
    let mut met = true;
    for backend in [Backend::Sqlite, Backend::Postgres] {
        met &= measure(backend).await;
    }
    show_load("at the end");
    if met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
