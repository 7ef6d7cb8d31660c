//! A store that is enough of one for batches.

use std::sync::Arc;
use std::time::Duration;

use higuma_model::{Audience, Kind, Owner, Snapshot};
use tokio::sync::{mpsc, watch};

use crate::Hello;
use crate::batch::Batch;
use crate::inbox::{Denied, Flow, Inbox, InboxError, ZoneEvent, ZoneReport, Zones};
use crate::testing::{History, write};

/// Far longer than anything here takes on a busy machine; a failure shows the last state.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A control plane's store, and what it is told about streams.
pub(super) struct Store {
    pub(super) state: watch::Sender<Arc<Snapshot>>,
    pub(super) events: mpsc::UnboundedSender<ZoneEvent>,
    pub(super) reports: watch::Sender<Option<ZoneReport>>,
    pub(super) denies: bool,
    /// Whether it reaches its cluster.
    pub(super) proves: bool,
}

impl Store {
    pub(super) fn new(state: Arc<Snapshot>) -> (Arc<Self>, mpsc::UnboundedReceiver<ZoneEvent>) {
        let (events, happened) = mpsc::unbounded_channel();
        let store = Self {
            state: watch::channel(state).0,
            events,
            reports: watch::channel(None).0,
            denies: false,
            proves: true,
        };
        (Arc::new(store), happened)
    }

    pub(super) fn put(&self, kind: Kind, name: &str, owner: Owner, audience: Audience) {
        self.state.send_modify(|state| {
            let mut history = History::continuing(state.clone());
            history.put(kind, name, owner, audience);
            *state = history.now();
        });
    }

    fn contents(&self) -> Vec<Arc<higuma_model::Resource>> {
        self.state.borrow().iter().cloned().collect()
    }

    pub(super) async fn until(&self, what: &str, done: impl Fn(&Snapshot) -> bool) {
        let mut states = self.state.subscribe();
        let waited = tokio::time::timeout(PATIENCE, states.wait_for(|state| done(state)));
        assert!(waited.await.is_ok(), "{what}: {:?}", self.contents());
    }
}

#[tonic::async_trait]
impl Inbox for Store {
    async fn apply(&self, batch: Batch) -> Result<(), InboxError> {
        self.state.send_modify(|state| *state = Arc::new(write(state, &batch)));
        Ok(())
    }

    async fn proof(&self) -> Option<u64> {
        self.proves.then(|| self.state.borrow().version())
    }
}

#[tonic::async_trait]
impl Zones for Store {
    async fn admit(&self, _: Flow, hello: &Hello) -> Result<(), Denied> {
        if self.denies {
            return Err(Denied { zone: hello.zone.clone(), why: "it is disabled".to_owned() });
        }
        Ok(())
    }

    fn observe(&self, event: ZoneEvent) {
        self.events.send(event).ok();
    }

    fn report(&self, report: ZoneReport) {
        self.reports.send_replace(Some(report));
    }
}
