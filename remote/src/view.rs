//! The state as configurations are generated from it: indexed once per change, for all proxies.

use std::sync::Arc;

use higuma_model::Snapshot;
use higuma_xds::Index;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A snapshot and its index.
pub(crate) struct View {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) index: Index,
}

impl View {
    pub(crate) fn new(zone: &str, snapshot: Arc<Snapshot>) -> Self {
        let index = Index::new(zone, &snapshot);
        Self { snapshot, index }
    }

    /// The view of a later snapshot; its cost follows the change.
    fn follow(&self, snapshot: Arc<Snapshot>) -> Self {
        let mut index = self.index.clone();
        index.update(&snapshot, &snapshot.since(&self.snapshot));
        Self { snapshot, index }
    }
}

/// Keeps the views up with the store.
pub(crate) async fn follow(
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    views: watch::Sender<Arc<View>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let view = views.borrow().clone();
        if view.snapshot.version() != snapshot.version() {
            views.send_replace(Arc::new(view.follow(snapshot)));
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = snapshots.changed() => if changed.is_err() {
                stop.cancelled().await;
                return Ok(());
            }
        }
    }
}
