//! A machine's state as the sections of a snapshot file, and back.

use std::sync::Arc;

use bytes::Bytes;
use higuma_model::{
    ClusterId, Contents, Epoch, Key, Keyed, Outcome, RequestId, Resource, Snapshot, Timestamp,
    Tombstone, Upstream,
};
use prost::Message;

use super::error::Broken;
use super::frame::{Digest, Header, Reader, Sink, Writer};
use crate::codec::{
    all, cluster_bytes, cluster_id, digest, digest_bytes, request_id, some_position,
};
use crate::machine::Machine;
use crate::proto;

/// The kinds of sections that this version knows. Numbers are never reused.
mod section {
    pub(super) const STATE: u32 = 1;
    pub(super) const EPOCHS: u32 = 2;
    pub(super) const CURSORS: u32 = 3;
    pub(super) const RESOURCES: u32 = 4;
    pub(super) const TOMBSTONES: u32 = 5;
    pub(super) const RESULTS: u32 = 6;
    pub(super) const KEYED: u32 = 7;
    pub(super) const PREDECESSORS: u32 = 8;

    pub(super) const ALL: [u32; 8] =
        [STATE, EPOCHS, CURSORS, RESOURCES, TOMBSTONES, RESULTS, KEYED, PREDECESSORS];
}

/// Where in the log a state stands, and who the members were.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Place {
    pub(crate) last: proto::LogId,
    pub(crate) membership_at: Option<proto::LogId>,
    pub(crate) membership: proto::Membership,
}

/// All that a node needs to go on from an entry of the log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    pub(crate) place: Place,
    pub(crate) machine: Machine,
}

impl State {
    /// The bytes of its file, in pieces. The same state has the same bytes.
    pub(super) fn encode<'a>(&self, sink: &'a mut Sink<'a>) -> std::io::Result<Digest> {
        let mut out = Writer::begin(sink, &self.header())?;
        write(self.machine.snapshot(), &mut out)?;
        out.end()
    }

    fn header(&self) -> proto::SnapshotHeader {
        let snapshot = self.machine.snapshot();
        proto::SnapshotHeader {
            cluster: cluster_bytes(snapshot.cluster()),
            last: Some(self.place.last),
            membership_at: self.place.membership_at,
            membership: Some(self.place.membership.clone()),
            base: self.machine.base(),
            epoch_term: self.machine.epoch_term(),
            compacted: self.machine.compacted(),
            sections: sections(snapshot),
        }
    }

    /// The state in the bytes of a file of `cluster`, checked as a whole, and their digest.
    pub(super) fn decode(bytes: Bytes, cluster: ClusterId) -> Result<(Self, Digest), Broken> {
        let reader = Reader::<proto::SnapshotHeader>::open(bytes)?;
        let header = reader.header.clone();
        let found = cluster_of(&header.cluster)?;
        if found != cluster {
            return Err(Broken::Foreign { found, expected: cluster });
        }
        let (snapshot, digest) = read(reader, cluster)?;
        let last = || Broken::NotUnderstood("no last entry in its header".to_owned());
        let place = Place {
            last: header.last.ok_or_else(last)?,
            membership_at: header.membership_at,
            membership: header.membership.unwrap_or_default(),
        };
        let machine = Machine::restored(snapshot, header.base, header.epoch_term)
            .compacted_to(header.compacted);
        Ok((Self { place, machine }, digest))
    }
}

/// What a snapshot consists of, as records; in the order in which [`sections`] counts them.
pub(super) fn write(snapshot: &Snapshot, out: &mut Writer<'_>) -> std::io::Result<()> {
    let state = proto::SnapshotState {
        version: snapshot.version(),
        horizon: snapshot.horizon(),
        upstream: snapshot.upstream().map(Into::into),
        results_horizon_ms: snapshot.results_horizon().0,
    };
    out.record(section::STATE, &state)?;
    for Epoch { nonce, since } in snapshot.epochs().copied() {
        out.record(section::EPOCHS, &proto::SnapshotEpoch { nonce, since })?;
    }
    for (zone, position) in snapshot.cursors() {
        let (zone, position) = (zone.to_string(), Some((*position).into()));
        out.record(section::CURSORS, &proto::SnapshotCursor { zone, position })?;
    }
    for resource in snapshot.iter() {
        out.record(section::RESOURCES, &proto::Resource::from(&**resource))?;
    }
    for (key, Tombstone { owner, version }) in snapshot.tombstones() {
        let (key, owner) = (Some(key.into()), Some(owner.into()));
        let record = proto::SnapshotTombstone { key, owner, version: *version };
        out.record(section::TOMBSTONES, &record)?;
    }
    for (id, outcome) in snapshot.results() {
        let (id, outcome) = (Some(id.into()), Some(outcome.into()));
        out.record(section::RESULTS, &proto::SnapshotResult { id, outcome })?;
    }
    for (key, first) in snapshot.keyed_requests() {
        let record = proto::SnapshotKeyed {
            key: digest_bytes(*key),
            id: Some((&first.id).into()),
            request: digest_bytes(first.request),
            version: first.version,
            effects: first.effects.iter().map(Into::into).collect(),
        };
        out.record(section::KEYED, &record)?;
    }
    for position in snapshot.predecessors() {
        out.record(section::PREDECESSORS, &proto::Position::from(*position))?;
    }
    Ok(())
}

pub(super) fn sections(snapshot: &Snapshot) -> Vec<proto::SnapshotSection> {
    let mut counts = vec![
        (section::STATE, 1),
        (section::EPOCHS, snapshot.epochs().count()),
        (section::CURSORS, snapshot.cursors().len()),
        (section::RESOURCES, snapshot.len()),
        (section::TOMBSTONES, snapshot.tombstones().len()),
        (section::RESULTS, snapshot.results().len()),
        (section::KEYED, snapshot.keyed_requests().len()),
    ];
    // Only where there are any: a version that does not know them reads all other states.
    let predecessors = snapshot.predecessors().len();
    counts.extend((predecessors > 0).then_some((section::PREDECESSORS, predecessors)));
    let section = |(kind, records)| proto::SnapshotSection { kind, records: records as u64 };
    counts.into_iter().map(section).collect()
}

/// The snapshot in the sections of a file of `cluster`, and the file's digest.
pub(super) fn read<H: Header>(
    reader: Reader<H>,
    cluster: ClusterId,
) -> Result<(Snapshot, Digest), Broken> {
    let unknown = reader.header.sections().iter().find(|s| !section::ALL.contains(&s.kind));
    if let Some(unknown) = unknown {
        return Err(Broken::Section(unknown.kind));
    }
    let mut contents = Contents::new(cluster);
    let digest = reader.read(&mut |kind, record| {
        take(&mut contents, kind, record).map_err(|what| format!("{what} in section {kind}"))
    })?;
    Ok((Snapshot::from(contents), digest))
}

pub(super) fn cluster_of(bytes: &Bytes) -> Result<ClusterId, Broken> {
    cluster_id(bytes).map_err(|_| Broken::NotUnderstood("cluster id in its header".to_owned()))
}

/// Adds one record to what was read; says what is not understood.
fn take(contents: &mut Contents, kind: u32, record: Bytes) -> Result<(), String> {
    match kind {
        section::STATE => {
            let state: proto::SnapshotState = decoded(record)?;
            contents.version = state.version;
            contents.horizon = state.horizon;
            contents.upstream = state.upstream.map(|at| position(Some(at))).transpose()?;
            contents.results_horizon = Timestamp(state.results_horizon_ms);
        }
        section::EPOCHS => {
            let proto::SnapshotEpoch { nonce, since } = decoded(record)?;
            contents.epochs.push(Epoch { nonce, since });
        }
        section::CURSORS => {
            let cursor: proto::SnapshotCursor = decoded(record)?;
            contents.cursors.push((cursor.zone.into(), position(cursor.position)?));
        }
        section::RESOURCES => {
            let resource: proto::Resource = decoded(record)?;
            let resource = Resource::try_from(resource).map_err(|e| e.to_string())?;
            contents.resources.push(Arc::new(resource));
        }
        section::TOMBSTONES => {
            let tombstone: proto::SnapshotTombstone = decoded(record)?;
            let key: Key = tombstone.key.ok_or("no key")?.try_into().map_err(describe)?;
            let owner = tombstone.owner.ok_or("no owner")?.into();
            contents.tombstones.push((key, Tombstone { owner, version: tombstone.version }));
        }
        section::RESULTS => {
            let result: proto::SnapshotResult = decoded(record)?;
            let id: RequestId = request_id(result.id).map_err(describe)?;
            let outcome: Outcome =
                result.outcome.ok_or("no outcome")?.try_into().map_err(describe)?;
            contents.results.push((id, outcome));
        }
        section::KEYED => {
            let keyed: proto::SnapshotKeyed = decoded(record)?;
            let first = Keyed {
                id: request_id(keyed.id).map_err(describe)?,
                request: digest(&keyed.request).map_err(describe)?,
                version: keyed.version,
                effects: all(keyed.effects).map_err(describe)?.into(),
            };
            contents.keyed.push((digest(&keyed.key).map_err(describe)?, first));
        }
        section::PREDECESSORS => {
            let predecessor: proto::Position = decoded(record)?;
            contents.predecessors.push(position(Some(predecessor))?);
        }
        unknown => return Err(format!("records of kind {unknown}")),
    }
    Ok(())
}

fn decoded<M: Message + Default>(record: Bytes) -> Result<M, String> {
    M::decode(record).map_err(|error| error.to_string())
}

fn position(wire: Option<proto::Position>) -> Result<Upstream, String> {
    some_position(wire).map_err(describe)
}

fn describe(error: impl std::fmt::Display) -> String {
    error.to_string()
}
