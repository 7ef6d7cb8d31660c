//! The streams of zones that are open at this node.

use std::collections::BTreeMap;
use std::sync::Arc;

use higuma_kds::Standing;
use higuma_kds::inbox::{Flow, ZoneEvent, ZoneStream};
use higuma_model::Timestamp;
use higuma_store::NodeId;
use tokio::sync::watch;

use super::{now, random};

/// An open stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) flow: Flow,
    /// Names it in the zone's insight, among the streams of all nodes.
    pub(super) id: String,
    pub(super) connected: Timestamp,
    /// The version of the zone's program.
    pub(super) version: String,
    /// Why the zone does not follow this global.
    pub(super) fenced: Option<String>,
}

/// By zone, and by the stream's number at this node: a higher one opened later.
pub(super) type Open = BTreeMap<Arc<str>, BTreeMap<u64, Stream>>;

/// The open streams as they change.
#[derive(Clone)]
pub(super) struct Streams {
    node: NodeId,
    open: Arc<watch::Sender<Open>>,
}

impl Streams {
    pub(super) fn new(node: NodeId) -> Self {
        Self { node, open: Arc::new(watch::Sender::new(Open::new())) }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Open> {
        self.open.subscribe()
    }

    /// Notes what opens and closes. True: the zone has no stream here any more.
    pub(super) fn observe(&self, event: ZoneEvent) -> bool {
        let ZoneEvent { zone, flow, stream, what } = event;
        if let ZoneStream::Standing(standing) = &what {
            self.stands(&zone, stream, standing);
        }
        let opened = match what {
            ZoneStream::Opened(hello) => {
                let id = format!("{}-{:016x}", self.node, random());
                let (connected, version) = (now(), hello.version);
                Some(Stream { flow, id, connected, version, fenced: None })
            }
            ZoneStream::Closed => None,
            ZoneStream::Standing(_) | ZoneStream::Refused(_) => return false,
        };
        let mut gone = false;
        self.open.send_modify(|open| {
            let streams = open.entry(zone.clone()).or_default();
            match opened {
                Some(opened) => drop(streams.insert(stream, opened)),
                None => drop(streams.remove(&stream)),
            }
            gone = streams.is_empty();
            if gone {
                open.remove(&zone);
            }
        });
        gone
    }

    fn stands(&self, zone: &Arc<str>, stream: u64, standing: &Standing) {
        let fenced = match standing {
            Standing::Fenced(reason) => Some(reason.clone()),
            Standing::Held | Standing::Opening | Standing::Sending | Standing::Applied(_) => None,
        };
        self.open.send_if_modified(|open| {
            let stream = open.get_mut(zone).and_then(|streams| streams.get_mut(&stream));
            let Some(stream) = stream.filter(|stream| stream.fenced != fenced) else {
                return false;
            };
            stream.fenced = fenced;
            true
        });
    }

    /// Why a zone that is connected here does not follow this global.
    pub(super) fn fenced(&self, zone: &str) -> Option<String> {
        connection(&self.open.borrow(), zone)?.fenced.clone()
    }

    /// Whether a zone has a stream here.
    pub(super) fn any(&self, zone: &str) -> bool {
        self.open.borrow().contains_key(zone)
    }
}

/// The stream by which a zone counts as online: its newest one to the zone.
pub(super) fn connection<'a>(open: &'a Open, zone: &str) -> Option<&'a Stream> {
    open.get(zone)?.values().rev().find(|stream| stream.flow == Flow::ToZone)
}
