//! Keeps the ZoneInsights true to the streams that are open at this node.
//!
//! Each node writes of its own streams only: it adds a subscription when a zone connects, which
//! ends what the insight says of others, and ends its own when the stream is gone. Whether a node
//! that is dead held a stream, no one says yet: that needs leases. A node that starts ends what
//! an earlier process of it left open.

use std::collections::BTreeSet;
use std::time::Duration;

use higuma_model::spec::{CpVersion, KdsSubscription, ZoneInsight, ZoneVersion};
use higuma_model::{
    Check, Key, Kind, MAX_OPERATIONS, Operation, Owner, Place, Snapshot, Terms, Timestamp,
    Transaction, rfc3339,
};
use higuma_store::{Consistency, Store, WriteError};
use tokio_util::sync::CancellationToken;

use super::streams::{Open, Stream, connection};
use super::{Endpoint, now, request_id};

/// Subscriptions that an insight keeps; Kuma's number.
const KEPT: usize = 10;

/// Pauses between tries while the store takes no writes: the first is short, since most often an
/// election is under way; the last bounds how late an insight is once there is a leader.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// Writes until `stop`; one transaction for all zones that changed.
pub(crate) async fn keep(endpoint: Endpoint, stop: CancellationToken) -> anyhow::Result<()> {
    let store = &endpoint.store;
    let node = store.node().to_string();
    let (mut streams, mut snapshots) = (endpoint.streams.watch(), store.watch());
    let mut pause = FIRST_PAUSE;
    loop {
        let open = streams.borrow_and_update().clone();
        let snapshot = snapshots.borrow_and_update().clone();
        let plan = plan(&snapshot, &open, &node, now());
        let written = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            written = write(store, plan) => written,
        };
        if let Err(error) = written {
            tracing::debug!(%error, "insights of zones are not written yet");
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LAST_PAUSE);
            continue;
        }
        pause = FIRST_PAUSE;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = streams.changed() => changed?,
            changed = snapshots.changed() => if changed.is_err() {
                // The store has stopped; its own task says why.
                stop.cancelled().await;
                return Ok(());
            }
        }
    }
}

/// What is to be written.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    checks: Vec<Check>,
    operations: Vec<Operation>,
}

async fn write(store: &Store, plan: Plan) -> Result<(), WriteError> {
    if plan.operations.is_empty() {
        return Ok(());
    }
    let (id, at) = request_id(&store.snapshot());
    let (checks, operations) = (plan.checks, plan.operations);
    let writer = Owner::Global;
    let transaction = Transaction {
        id,
        at,
        writer,
        demands: Vec::new(),
        checks,
        operations,
        terms: Terms::default(),
    };
    let written = store.write(&transaction).await;
    if matches!(written, Err(WriteError::Refused(_))) {
        // This node's state was old: what refused it is there before the next try.
        drop(store.read(Consistency::Linearizable).await);
    }
    written.map(drop)
}

/// What differs between the insights and this node's streams. The rest follows with the next
/// state.
fn plan(snapshot: &Snapshot, open: &Open, node: &str, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let insights = snapshot.of_kind(Kind::ZoneInsight).map(|insight| insight.key.name());
    let zones: BTreeSet<&str> = insights.chain(open.keys().map(|zone| &**zone)).collect();
    for zone in zones {
        let resource = Key::new(Kind::Zone, "", zone);
        if plan.operations.len() == MAX_OPERATIONS || snapshot.get(&resource).is_none() {
            continue;
        }
        let key = Key::new(Kind::ZoneInsight, "", zone);
        let stored = snapshot.get(&key);
        let before: ZoneInsight = stored.and_then(|s| s.decode().ok()).unwrap_or_default();
        let Some(after) = follow(before, connection(open, zone), node, now) else { continue };
        match Place::Global.draft("", zone, &after) {
            Ok(draft) => plan.operations.push(Operation::Put(draft)),
            Err(violations) => {
                tracing::error!(zone, ?violations, "an insight is not valid");
                continue;
            }
        }
        plan.checks.push(Check::Exists(resource));
        plan.checks.push(match stored {
            Some(stored) => Check::Unchanged { key, modified_at: stored.modified_at },
            None => Check::Absent(key),
        });
    }
    plan
}

/// The insight that is true of a zone; none: it is already.
fn follow(
    mut insight: ZoneInsight,
    stream: Option<&Stream>,
    node: &str,
    now: Timestamp,
) -> Option<ZoneInsight> {
    let all = &mut insight.subscriptions;
    let Some(stream) = stream else {
        let ended = end(all.iter_mut().filter(|s| s.global_instance_id == node), now);
        return ended.then_some(insight);
    };
    if let Some(known) = all.iter().position(|s| s.id == stream.id) {
        // The zone's newer stream at another node ended this one here: it counts again only when
        // that one is gone.
        if all.iter().any(KdsSubscription::is_open) {
            return None;
        }
        all.remove(known);
    }
    end(all.iter_mut(), now);
    all.push(subscription(stream, node));
    all.drain(..all.len().saturating_sub(KEPT));
    Some(insight)
}

fn end<'a>(subscriptions: impl Iterator<Item = &'a mut KdsSubscription>, now: Timestamp) -> bool {
    let mut ended = false;
    for subscription in subscriptions.filter(|s| s.is_open()) {
        subscription.disconnect_time = Some(rfc3339(now));
        ended = true;
    }
    ended
}

fn subscription(stream: &Stream, node: &str) -> KdsSubscription {
    let program = CpVersion { version: stream.version.clone(), kuma_cp_global_compatible: true };
    KdsSubscription {
        id: stream.id.clone(),
        global_instance_id: node.to_owned(),
        connect_time: Some(rfc3339(stream.connected)),
        version: Some(ZoneVersion { kuma_cp: program }),
        ..KdsSubscription::default()
    }
}

#[cfg(test)]
mod tests;
