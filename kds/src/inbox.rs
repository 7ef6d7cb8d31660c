//! What the ends of a stream ask of the program that they are part of.

use std::sync::Arc;

use crate::Standing;
use crate::batch::{Batch, Verdict};
use crate::hello::Hello;
pub use crate::proto::higuma::kds::v1::{Laggard, ZoneReport};

/// Why a batch was not written. Either ends the stream; it is opened again with back-off, and
/// goes on from what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InboxError {
    /// For now: no leader, no quorum, a full queue.
    #[error("the batch cannot be written now: {0}")]
    Unavailable(String),
    /// The store stands elsewhere than the batch assumes, or does not take it.
    #[error("the batch was refused: {0}")]
    Refused(String),
}

/// Where batches go.
#[tonic::async_trait]
pub trait Inbox: Send + Sync + 'static {
    /// Writes a batch durably, in one transaction with its position. A batch whose position is
    /// not above the stored one is a replay and changes nothing. The call is dropped where the
    /// stream ends meanwhile; the batch may still be written, and comes again if it was not.
    async fn apply(&self, batch: Batch) -> Result<(), InboxError>;

    /// Waits until this node has everything that its cluster had committed when this was called,
    /// and tells the version of its state then; none where that cannot be known now. It must
    /// answer within a few seconds.
    async fn proof(&self) -> Option<u64>;
}

/// What a global knows of its zones.
#[tonic::async_trait]
pub trait Zones: Inbox {
    /// Lets a zone in, or says why not. Called for every stream before anything is sent. Of the
    /// upward stream `hello.position` is where the zone's own store stands; it names that store.
    async fn admit(&self, flow: Flow, hello: &Hello) -> Result<(), Denied>;

    /// Something happened to a stream. Called from the stream's task: it must not block.
    fn observe(&self, event: ZoneEvent);

    /// How far a zone says it is. Zones are not admitted for it: one that is not known is to be
    /// passed over. To be held in memory; it must not block.
    fn report(&self, report: ZoneReport);
}

/// Why a zone is not let in; shown to its operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("zone {zone} is not let in: {why}")]
pub struct Denied {
    pub zone: Arc<str>,
    pub why: String,
}

/// Which of a zone's two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flow {
    ToZone,
    ToGlobal,
}

/// An event of a zone's stream.
#[derive(Debug, Clone, PartialEq)]
pub struct ZoneEvent {
    pub zone: Arc<str>,
    pub flow: Flow,
    /// Tells apart streams of one zone at this node: an older one may close after a newer opened.
    pub stream: u64,
    pub what: ZoneStream,
}

/// What happened to a zone's stream.
#[derive(Debug, Clone, PartialEq)]
pub enum ZoneStream {
    Opened(Hello),
    /// How far the zone has acknowledged, or that it fenced.
    Standing(Standing),
    /// The zone refused resources; empty: it refuses none of the last batch.
    Refused(Vec<Verdict>),
    Closed,
}
