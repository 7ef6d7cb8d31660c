//! Sends a snapshot file to a member that is behind the log: from where it has it, not faster than
//! a disk and a network bear beside everything else.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use openraft::alias::VoteOf;
use openraft::errors::{NetworkError, RPCError, Timeout};
use openraft::network::{RPCOption, RPCTypes};
use openraft::raft::SnapshotResponse;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::network::{Link, failed, malformed};
use super::state_machine::SnapshotData;
use super::types::Types;
use crate::log::disk::{Disk, DiskFile as _, Folder};
use crate::proto;
use crate::snapshot::{CHUNK_BYTES_MAX, Kept};

/// Of file a second: 100,000 resources take under a second, and a gigabit network keeps more than
/// half for everything else.
const BYTES_PER_SECOND: u64 = 50 << 20;
/// Below this a transfer is given up and made anew, from where the receiver has it.
const SLOWEST_BYTES_PER_SECOND: u64 = 2 << 20;
/// Chunks read ahead of the network.
const CHUNKS_AHEAD: usize = 4;

type File = Kept<<Folder as Disk>::File>;

impl Link {
    /// Sends a snapshot and answers what its receiver answers once it is installed.
    pub(super) async fn send_snapshot(
        &self,
        vote: VoteOf<Types>,
        snapshot: SnapshotData,
        option: &RPCOption,
    ) -> Result<SnapshotResponse<Types>, RPCError<Types>> {
        let SnapshotData::Kept(kept) = snapshot else {
            let why = "a snapshot that was received is not kept yet";
            return Err(NetworkError::from_string(why).into());
        };
        let offer = proto::SnapshotOffer {
            vote: Some(vote.into()),
            last: Some(kept.place.last),
            digest: Bytes::copy_from_slice(&kept.digest),
            bytes: kept.bytes,
        };
        let asked = offer.clone();
        let wanted = self
            .call(RPCTypes::InstallSnapshot, option, |mut client| async move {
                client.offer_snapshot(asked).await
            })
            .await?;
        if wanted.offset > kept.bytes {
            return Err(malformed("offset of a snapshot"));
        }
        let left = kept.bytes - wanted.offset;
        tracing::info!(to = self.to, index = kept.place.last.index, left, "sending a snapshot");
        let limit = option.soft_ttl() + Duration::from_secs(left / SLOWEST_BYTES_PER_SECOND);
        let (chunks, stream) = mpsc::channel(CHUNKS_AHEAD);
        let mut client = self.client.clone().map_err(NetworkError::from_string)?;
        let sent = async {
            let read = produce(offer, kept, wanted.offset, chunks);
            let (read, reply) =
                tokio::join!(read, client.send_snapshot(ReceiverStream::new(stream)));
            read.map_err(|error| RPCError::from(NetworkError::new(&error)))?;
            reply.map_err(|status| failed(&status))
        };
        let Ok(reply) = tokio::time::timeout(limit, sent).await else {
            let action = RPCTypes::InstallSnapshot;
            return Err(Timeout { action, id: self.from, target: self.to, timeout: limit }.into());
        };
        let vote = reply?.into_inner().vote.ok_or_else(|| malformed("snapshot reply"))?;
        Ok(SnapshotResponse { vote: vote.into() })
    }
}

/// Reads the file from `offset` into `chunks`, at its pace. Ends early where nobody takes them.
async fn produce(
    offer: proto::SnapshotOffer,
    kept: Arc<File>,
    offset: u64,
    chunks: mpsc::Sender<proto::SnapshotChunk>,
) -> std::io::Result<()> {
    let started = Instant::now();
    let (mut at, mut offer) = (offset, Some(offer));
    // The first chunk goes even where all is there: it says which file the answer is about.
    while offer.is_some() || at < kept.bytes {
        let left = usize::try_from(kept.bytes - at).unwrap_or(CHUNK_BYTES_MAX);
        let mut data = BytesMut::zeroed(left.min(CHUNK_BYTES_MAX));
        let file = kept.clone();
        let read = tokio::task::spawn_blocking(move || {
            file.file.read_at(&mut data, at).map(|()| data.freeze())
        });
        let data = read.await.map_err(std::io::Error::other)??;
        let (crc, length) = (crc32fast::hash(&data), data.len() as u64);
        let chunk = proto::SnapshotChunk { offer: offer.take(), offset: at, crc, data };
        if chunks.send(chunk).await.is_err() {
            return Ok(());
        }
        at += length;
        let pace = Duration::from_millis((at - offset) * 1000 / BYTES_PER_SECOND);
        tokio::time::sleep_until(started + pace).await;
    }
    Ok(())
}
