//! When the history is compacted: the leader proposes it, every node then does it.

use std::sync::Weak;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use higuma_model::Timestamp;
use tokio_util::sync::CancellationToken;

use super::History;
use crate::codec;
use crate::store::{Inner, Store};

/// How long a version is kept: as long as an audit is likely to ask.
const MAX_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// What the history takes on disk at most, keys and values, before its oldest part is given up;
/// sled needs some more. A million small changes.
const MAX_BYTES: u64 = 256 << 20;
/// How often the leader looks.
const EVERY: Duration = Duration::from_secs(60);

/// What of the history is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) age: Duration,
    pub(super) bytes: u64,
}

const KEPT: Kept = Kept { age: MAX_AGE, bytes: MAX_BYTES };

impl History {
    /// The version up to which the history is to be given up now, if there is one.
    pub(super) async fn due(&self, kept: Kept, now: Timestamp) -> Option<u64> {
        let (shelf, standing) = self.shared.lock().shelf.clone()?;
        let age = i64::try_from(kept.age.as_millis()).unwrap_or(i64::MAX);
        let oldest = Timestamp(now.0.saturating_sub(age));
        let compacted = self.compacted();
        let until = standing.mark.version;
        // To three quarters, so that it is not due again with the next write.
        let excess = match standing.bytes > kept.bytes {
            true => standing.bytes.saturating_sub(kept.bytes / 4 * 3),
            false => 0,
        };
        let due = tokio::task::spawn_blocking(move || {
            let old = shelf.version_at(oldest)?;
            let large = match excess {
                0 => None,
                excess => shelf.frees(excess, until)?,
            };
            Ok::<_, super::ShelfError>(old.max(large))
        });
        match due.await {
            Ok(Ok(due)) => due.filter(|version| *version > compacted),
            // The next reader finds it too, and has it mended.
            Ok(Err(error)) => {
                tracing::debug!(%error, "the history was not looked through");
                None
            }
            Err(_) => None,
        }
    }
}

/// Proposes compactions while this node leads.
pub(crate) struct Compactor {
    pub(crate) store: Weak<Inner>,
    pub(crate) stop: CancellationToken,
}

impl Compactor {
    pub(crate) async fn run(self) {
        while self.stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            let Some(inner) = self.store.upgrade() else { return };
            let store = Store { inner };
            self.stop.run_until_cancelled(compact(&store)).await;
        }
    }
}

async fn compact(store: &Store) {
    if store.leader() != Some(store.node()) {
        return;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    let Some(version) = store.history().due(KEPT, now).await else { return };
    // One that does not know the command would stop when it is committed.
    let members = store.cluster().await.members;
    let all = members
        .iter()
        .all(|member| member.state.as_ref().is_ok_and(|state| state.commands >= codec::COMMANDS));
    if !all {
        tracing::info!(version, "the history is compacted once every member answers and knows how");
        return;
    }
    match store.compact(version).await {
        Ok(()) => tracing::info!(version, "the history up to here is given up"),
        Err(why) => tracing::warn!(version, why, "the history was not compacted"),
    }
}
