//! Keeps what the store says of the zone's proxies true: the live ones are in it, the gone ones
//! leave it. The only writer of Dataplanes and ingresses that come with a stream, and of their
//! insights; one transaction a flush, not one a proxy.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use higuma_model::MAX_OPERATIONS;
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
        let more = plan.operations.len() > MAX_OPERATIONS;
        plan.operations.truncate(MAX_OPERATIONS);
        let wrote = !plan.operations.is_empty();
        let failed = match wrote {
            true => failed(zone.write(plan.checks, plan.operations).await),
            false => false,
        };
        if more && !failed {
            continue;
        }
        let wake = if failed { Some(Instant::now() + RETRY) } else { plan.wake_at };
        tokio::select! {
            () = zone.stop.cancelled() => return Ok(()),
            changed = live.changed(), if !failed => changed?,
            changed = views.changed(), if !failed => changed?,
            () = until(wake) => {}
        }
    }
}

fn failed(written: Result<u64, WriteError>) -> bool {
    match written {
        Ok(_) => false,
        Err(error) => {
            tracing::warn!(%error, "the zone's proxies are not written yet");
            true
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
