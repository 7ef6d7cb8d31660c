//! The streams of zones that are open at this node.

use std::collections::BTreeMap;
use std::sync::Arc;

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
        let opened = match what {
            ZoneStream::Opened(hello) => {
                let id = format!("{}-{:016x}", self.node, random());
                Some(Stream { flow, id, connected: now(), version: hello.version })
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

    /// Whether a zone has a stream here.
    pub(super) fn any(&self, zone: &str) -> bool {
        self.open.borrow().contains_key(zone)
    }
}

/// The stream by which a zone counts as online: its newest one to the zone.
pub(super) fn connection<'a>(open: &'a Open, zone: &str) -> Option<&'a Stream> {
    open.get(zone)?.values().rev().find(|stream| stream.flow == Flow::ToZone)
}
