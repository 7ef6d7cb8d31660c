//! Receives a snapshot file: onto the disk as it comes, into openraft when it is there whole.

use std::sync::Arc;

use bytes::Bytes;
use openraft::alias::SnapshotOf;
use tokio::sync::{OwnedMutexGuard, mpsc};
use tonic::{Status, Streaming};

use super::running::Running;
use super::state_machine::{Files, SnapshotData, blocking};
use super::types::{Types, Vote};
use super::wire;
use crate::log::disk::Folder;
use crate::proto;
use crate::snapshot::{CHUNK_BYTES_MAX, Digest, Part, SNAPSHOT_BYTES_MAX, SnapshotError};

/// Chunks that wait for the disk.
const CHUNKS_WAITING: usize = 4;

/// What a sender announced.
struct Offer {
    vote: Vote,
    last: proto::LogId,
    digest: Digest,
    bytes: u64,
}

impl TryFrom<proto::SnapshotOffer> for Offer {
    type Error = Status;

    fn try_from(wire: proto::SnapshotOffer) -> Result<Self, Status> {
        let malformed = |what: &str| Status::invalid_argument(format!("malformed {what}"));
        let vote: Vote = wire.vote.ok_or_else(|| malformed("vote"))?.into();
        let last = wire.last.ok_or_else(|| malformed("last entry"))?;
        if last.term > vote.leader_id.term {
            return Err(malformed("snapshot: it ends in a term after its sender's"));
        }
        if wire.bytes > SNAPSHOT_BYTES_MAX {
            return Err(Status::resource_exhausted(format!(
                "a snapshot of {} bytes is larger than the {SNAPSHOT_BYTES_MAX} that are taken",
                wire.bytes
            )));
        }
        let digest = wire.digest.as_ref().try_into().map_err(|_| malformed("digest"))?;
        Ok(Self { vote, last, digest, bytes: wire.bytes })
    }
}

/// How much of a file is here.
pub(super) async fn wanted(
    running: &Running,
    offer: proto::SnapshotOffer,
) -> Result<proto::SnapshotWanted, Status> {
    let offer = Offer::try_from(offer)?;
    let part = open(&running.files, &offer).await?;
    Ok(proto::SnapshotWanted { offset: part.length() })
}

/// Takes a file and installs it.
pub(super) async fn receive(
    running: &Running,
    mut stream: Streaming<proto::SnapshotChunk>,
) -> Result<proto::SnapshotReply, Status> {
    let first = stream.message().await?.ok_or_else(|| Status::invalid_argument("no chunk"))?;
    let offer = first.offer.clone().ok_or_else(|| Status::invalid_argument("no offer"))?;
    let offer = Offer::try_from(offer)?;
    let part = open(&running.files, &offer).await?;
    let mut at = part.length();
    let (chunks, waiting) = mpsc::channel(CHUNKS_WAITING);
    let writing = tokio::task::spawn_blocking(move || write(part, waiting));
    let mut next = Some(first);
    while let Some(chunk) = next {
        let length = chunk.data.len() as u64;
        check(&chunk, at, offer.bytes)?;
        // It ends early only where the disk fails: `write` says how.
        if chunks.send(chunk.data).await.is_err() {
            break;
        }
        at += length;
        next = stream.message().await?;
    }
    drop(chunks);
    let part = writing.await.map_err(|error| Status::internal(error.to_string()))?;
    let part = part.map_err(|error| Status::internal(format!("can't keep a snapshot: {error}")))?;
    if part.length() != offer.bytes {
        let (have, bytes) = (part.length(), offer.bytes);
        return Err(Status::aborted(format!("{have} of {bytes} bytes of the snapshot came")));
    }
    install(running, offer, part).await
}

fn check(chunk: &proto::SnapshotChunk, at: u64, bytes: u64) -> Result<(), Status> {
    let length = chunk.data.len();
    if chunk.offset != at {
        return Err(Status::aborted(format!("a chunk at {} where {at} must follow", chunk.offset)));
    }
    if length > CHUNK_BYTES_MAX || at + length as u64 > bytes {
        return Err(Status::invalid_argument("a chunk is too long"));
    }
    if crc32fast::hash(&chunk.data) != chunk.crc {
        return Err(Status::data_loss(format!("the chunk at {at} was damaged on its way")));
    }
    Ok(())
}

/// What is here of the offered file. One is received at a time.
async fn open(files: &Arc<Files>, offer: &Offer) -> Result<Part<Folder>, Status> {
    let busy = || Status::aborted("another snapshot is being received");
    let receiving: OwnedMutexGuard<()> =
        files.receiving.clone().try_lock_owned().map_err(|_| busy())?;
    let (files, digest, bytes) = (files.clone(), offer.digest, offer.bytes);
    let opened = tokio::task::spawn_blocking(move || files.part(receiving, digest, bytes));
    blocking(opened).await.map_err(|error| Status::internal(error.to_string()))
}

/// Appends what comes, and goes on holding the part until all senders are gone: what was under way
/// when a connection broke is on disk before the next one asks.
fn write(
    mut part: Part<Folder>,
    mut waiting: mpsc::Receiver<Bytes>,
) -> std::io::Result<Part<Folder>> {
    while let Some(bytes) = waiting.blocking_recv() {
        part.append(&bytes)?;
    }
    Ok(part)
}

async fn install(
    running: &Running,
    offer: Offer,
    part: Part<Folder>,
) -> Result<proto::SnapshotReply, Status> {
    let files = running.files.clone();
    let checked = tokio::task::spawn_blocking(move || files.check(part));
    let received = match blocking(checked).await {
        Ok(received) => received,
        Err(error @ SnapshotError::Damaged { .. }) => {
            return Err(Status::data_loss(format!("the snapshot did not arrive whole: {error}")));
        }
        Err(error) => return Err(Status::internal(error.to_string())),
    };
    if received.state.place.last != offer.last {
        return Err(Status::invalid_argument("the snapshot ends at another entry than announced"));
    }
    let meta = wire::meta(received.state.place.clone());
    let meta = meta.map_err(|error| Status::invalid_argument(error.to_string()))?;
    let snapshot = SnapshotData::Received(Box::new(received));
    let snapshot = SnapshotOf::<Types, SnapshotData> { meta, snapshot };
    let answer = running.raft.install_full_snapshot(offer.vote, snapshot).await;
    let answer = answer.map_err(|error| Status::internal(error.to_string()))?;
    Ok(proto::SnapshotReply { vote: Some(answer.vote.into()) })
}
