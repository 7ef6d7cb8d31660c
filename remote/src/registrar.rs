//! Keeps what the store says of the zone's proxies true: the live ones are in it, the gone ones
//! leave it. The only writer of Dataplanes and ingresses that come with a stream, and of their
//! insights; one transaction a flush, not one a proxy.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use higuma_model::{Check, MAX_OPERATIONS, Operation};
use higuma_store::WriteError;
use tokio::time::Instant;

use crate::zone::{Zone, now};
use plan::{Absences, Moment, plan};

/// After a start, proxies get this long to come back before one is called gone. Longer than
/// Envoy's reconnect back-off (at most 2 s), many times over.
pub(crate) const START_GRACE: Duration = Duration::from_secs(30);

/// Between attempts while the store takes no writes.
const RETRY: Duration = Duration::from_millis(200);

/// Runs until the zone stops.
pub(crate) async fn run(zone: Arc<Zone>) -> anyhow::Result<()> {
    let (mut live, mut views) = (zone.live.watch(), zone.views.clone());
    let started = Instant::now();
    let mut absences = Absences::default();
    loop {
        let (now_live, view) =
            (live.borrow_and_update().clone(), views.borrow_and_update().clone());
        let moment = Moment {
            now: Instant::now(),
            settled_at: started + START_GRACE,
            time: now(),
            instance: &zone.instance,
        };
        let mut plan = plan(&zone.place, &view, &now_live, &mut absences, &moment);
        plan.operations.truncate(MAX_OPERATIONS);
        let failed = match write(&zone, &plan.checks, plan.operations).await {
            Ok(Some(version)) if version > view.snapshot.version() => {
                // The next plan sees what this one wrote; else it would write that again.
                tokio::select! {
                    biased;
                    () = zone.stop.cancelled() => return Ok(()),
                    seen = views.wait_for(|view| view.snapshot.version() >= version) => drop(seen?),
                }
                continue;
            }
            Ok(_) => false,
            Err(error) => {
                tracing::warn!(%error, "the zone's proxies are not written yet");
                true
            }
        };
        let wake = if failed { Some(Instant::now() + RETRY) } else { plan.wake_at };
        tokio::select! {
            // First: the views end when the zone stops, which is no failure.
            biased;
            () = zone.stop.cancelled() => return Ok(()),
            changed = live.changed(), if !failed => changed?,
            changed = views.changed(), if !failed => changed?,
            () = until(wake) => {}
        }
    }
}

/// Writes operations in as few transactions as they fit in, and returns the last one's version. One
/// that alone is too large is left out: it must not keep the other proxies from being written.
async fn write(
    zone: &Zone,
    checks: &[Check],
    operations: Vec<Operation>,
) -> Result<Option<u64>, WriteError> {
    let mut version = None;
    let mut parts = vec![operations];
    while let Some(mut part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        match zone.write(checks.to_vec(), part.clone()).await {
            Ok(written) => version = Some(written),
            Err(WriteError::TooLarge(_)) if part.len() > 1 => {
                let rest = part.split_off(part.len() / 2);
                parts.extend([rest, part]);
            }
            Err(WriteError::TooLarge(why)) => {
                let key = part.first().map(|operation| format!("{operation:.120?}"));
                tracing::error!(operation = key, %why, "left out: its document must be made smaller");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(version)
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
