//! Keys and values of the history on disk.
//!
//! ```text
//! k kind mesh name version part   a resource's value from that version on
//! v version part                  what a version changed, and who asked for it
//! t time version                  versions by their time
//! m                               how far the history goes
//! ```
//! Numbers are big endian, texts have their length before them, so that keys sort as they are read.
//! A value is a frame in parts: sled writes what is large into files of its own, and never syncs
//! those.

use higuma_model::{Key, Origin, Owner, Resource, Timestamp};
use prost::Message;

use super::change::{Change, Edit};
use crate::codec;
use crate::proto;

pub(super) const FORMAT: u8 = 1;

/// Format byte and CRC-32 (IEEE, little endian) of what follows.
const FRAME_BYTES: usize = 5;

/// Bytes of a part. A leaf of sled's tree has at most 16 items, so it stays below the 2 MiB that
/// segments of 8 MiB hold within.
const PART_BYTES: usize = 60 << 10;

pub(super) const MARK_KEY: &[u8] = b"m";

/// Why a record can't be used.
#[derive(Debug, thiserror::Error)]
#[error("a record of the history is damaged: {0}")]
pub(super) struct BadRecord(pub(super) &'static str);

/// What a version changed, without the values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) version: u64,
    pub(super) at: Timestamp,
    pub(super) writer: Owner,
    pub(super) origin: Origin,
    pub(super) edits: Vec<Touched>,
}

/// An edit by where its values stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Touched {
    pub(super) key: Key,
    /// 0: there was none.
    pub(super) before: u64,
    pub(super) removed: bool,
}

impl Summary {
    pub(super) fn of(change: &Change) -> Self {
        let touched = |edit: &Edit| Touched {
            key: edit.key.clone(),
            before: edit.before.as_ref().map_or(0, |before| before.modified_at),
            removed: edit.after.is_none(),
        };
        Self {
            version: change.version,
            at: change.at,
            writer: change.writer.clone(),
            origin: change.origin.clone(),
            edits: change.edits.iter().map(touched).collect(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let edit = |touched: &Touched| proto::HistoryEdit {
            key: Some((&touched.key).into()),
            before: touched.before,
            removed: touched.removed,
        };
        frame(&proto::HistoryChange {
            version: self.version,
            at_ms: self.at.0,
            writer: Some((&self.writer).into()),
            origin: Some((&self.origin).into()),
            edits: self.edits.iter().map(edit).collect(),
        })
    }

    pub(super) fn decode(framed: &[u8]) -> Result<Self, BadRecord> {
        let wire: proto::HistoryChange = unframe(framed)?;
        let touched = |edit: proto::HistoryEdit| {
            let key = edit.key.ok_or(BadRecord("no key"))?;
            let kind = codec::kind(&key.kind).map_err(|_| BadRecord("unknown kind"))?;
            let key = Key::new(kind, &key.mesh, &key.name);
            Ok(Touched { key, before: edit.before, removed: edit.removed })
        };
        Ok(Self {
            version: wire.version,
            at: Timestamp(wire.at_ms),
            writer: wire.writer.ok_or(BadRecord("no writer"))?.into(),
            origin: wire.origin.map(Into::into).unwrap_or_default(),
            edits: wire.edits.into_iter().map(touched).collect::<Result<_, _>>()?,
        })
    }
}

pub(super) fn encode_value(resource: Option<&Resource>) -> Vec<u8> {
    frame(&proto::HistoryValue { resource: resource.map(Into::into) })
}

pub(super) fn decode_value(framed: &[u8]) -> Result<Option<Resource>, BadRecord> {
    let value: proto::HistoryValue = unframe(framed)?;
    let resource = value.resource.map(Resource::try_from).transpose();
    resource.map_err(|_| BadRecord("unknown resource"))
}

pub(super) fn frame(message: &impl Message) -> Vec<u8> {
    let body = message.encode_to_vec();
    let mut framed = Vec::with_capacity(FRAME_BYTES + body.len());
    framed.push(FORMAT);
    framed.extend(crc32fast::hash(&body).to_le_bytes());
    framed.extend(body);
    framed
}

pub(super) fn unframe<M: Message + Default>(framed: &[u8]) -> Result<M, BadRecord> {
    let Some((head, body)) = framed.split_at_checked(FRAME_BYTES) else {
        return Err(BadRecord("cut short"));
    };
    if head[0] != FORMAT {
        return Err(BadRecord("unknown format"));
    }
    if crc32fast::hash(body).to_le_bytes() != head[1..] {
        return Err(BadRecord("wrong checksum"));
    }
    M::decode(body).map_err(|_| BadRecord("unreadable"))
}

/// The parts of a value, each with its number.
pub(super) fn parts(framed: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    // A frame of 65,536 parts would have 3.7 GiB; an entry of the log has 2 MiB at most.
    (0..).zip(framed.chunks(PART_BYTES))
}

/// All versions of a resource.
pub(super) fn of_resource(key: &Key) -> Vec<u8> {
    let mut bytes = vec![b'k'];
    for text in [key.kind().name(), key.mesh(), key.name()] {
        // Names have at most 253 bytes.
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        bytes.extend(length.to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes
}

pub(super) fn of_version(version: u64) -> Vec<u8> {
    let mut bytes = vec![b'v'];
    bytes.extend(version.to_be_bytes());
    bytes
}

pub(super) fn of_time(at: Timestamp, version: u64) -> Vec<u8> {
    // With the sign's bit turned, earlier sorts first.
    let at = at.0.cast_unsigned() ^ (1 << 63);
    let mut bytes = vec![b't'];
    bytes.extend(at.to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes
}

pub(super) fn with(mut prefix: Vec<u8>, version: u64) -> Vec<u8> {
    prefix.extend(version.to_be_bytes());
    prefix
}

pub(super) fn part(mut prefix: Vec<u8>, part: u16) -> Vec<u8> {
    prefix.extend(part.to_be_bytes());
    prefix
}

/// The version at the end of a key, where `after` bytes stand behind it.
pub(super) fn version_in(key: &[u8], after: usize) -> Result<u64, BadRecord> {
    let end = key.len().checked_sub(after).ok_or(BadRecord("short key"))?;
    let bytes = end.checked_sub(8).and_then(|from| key[from..end].try_into().ok());
    bytes.map(u64::from_be_bytes).ok_or(BadRecord("short key"))
}
