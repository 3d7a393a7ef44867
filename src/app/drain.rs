//! The end of the service: work comes to a safe point, callers get their answers.
//!
//! Order: no new claim and no new connection; the worker's claims end; callers who are still
//! there get a moment; notices under way end; the ticks stop, since peers would take the work over without this node's
//! beat; the node signs off.
//!
//! Invariant: what was intended is brought to its recorded result, unless that takes longer than
//! `server.drain_timeout_s`. A second signal shortens the wait for targets, never the order; so does
//! a node's own death in the eyes of its peers, which have taken its work and would refuse its record.

use std::time::Duration;

use sd_notify::NotifyState;

use super::error::AppError;
use super::health::tell;
use super::service::Running;
use super::signal::{Asked, Signals};

/// How long callers have to take their answers once all work has ended.
const CALLERS_MAX: Duration = Duration::from_secs(5);
/// How long the ticks have to end.
const TICKS_MAX: Duration = Duration::from_secs(10);

/// How long notices under way have: a little longer than one attempt.
const NOTICES_MAX: Duration = Duration::from_secs(15);

/// How long connector processes have to end; their sockets are closed.
const PROCESSES_MAX: Duration = Duration::from_secs(5);

/// Drains, and signs the node off.
pub(super) async fn drain(
    mut running: Running,
    signals: &mut Signals,
    limit_s: u32,
    is_disowned: bool,
) -> Result<(), AppError> {
    tracing::info!("draining: nothing new is begun, and what was begun is brought to its end");
    tell(&[NotifyState::Stopping]);
    running.drain.cancel();
    let clock = running.clock.clone();
    let limit = clock.sleep(Duration::from_secs(limit_s.into()));
    tokio::pin!(limit);

    let mut hurry = is_disowned;
    if is_disowned {
        running.engine.hurry();
    }
    let mut overran = false;
    while !running.worker.is_finished() && !overran {
        tokio::select! {
            _ = &mut running.worker => break,
            () = &mut limit => overran = true,
            asked = signals.next() => if asked == Asked::Stop {
                hurry = true;
                running.engine.hurry();
                tracing::info!(
                    "callers are not waited for, and a target's answer for five seconds at most"
                );
            },
        }
    }
    let moment = clock.sleep(CALLERS_MAX);
    tokio::pin!(moment);
    while !hurry && !overran && !running.api.is_finished() {
        tokio::select! {
            _ = &mut running.api => break,
            () = &mut moment => break,
            () = &mut limit => break,
            asked = signals.next() => hurry = asked == Asked::Stop,
        }
    }
    running.api.abort();
    // Each attempt has a limit, so this has one; what is cut short is sent again with the same id.
    if !running.sender.is_finished() {
        tokio::select! {
            _ = &mut running.sender => {}
            () = clock.sleep(NOTICES_MAX) => running.sender.abort(),
        }
    }
    running.stop.cancel();
    let ticks = async {
        if !running.scheduler.is_finished()
            && let Ok(Err(error)) = (&mut running.scheduler).await
        {
            tracing::warn!(%error, "the scheduler did not end well");
        }
    };
    tokio::select! {
        () = ticks => {}
        () = clock.sleep(TICKS_MAX) => tracing::warn!("the ticks did not end"),
    }
    running.raze.cancel();
    if !running.wall.is_finished() {
        tokio::select! {
            _ = &mut running.wall => {}
            () = clock.sleep(PROCESSES_MAX) => running.wall.abort(),
        }
    }
    running.health.abort();
    running.peers.abort();
    if overran {
        return Err(AppError::DrainOverran { waited_s: limit_s });
    }
    let sign_off = async {
        let mut tx = running.store.begin().await?;
        tx.sign_off(running.node).await?;
        tx.commit().await
    };
    if let Err(error) = sign_off.await {
        tracing::warn!(%error, "the node could not sign off; peers will notice");
    }
    running.store.close().await;
    tracing::info!("drained");
    Ok(())
}
