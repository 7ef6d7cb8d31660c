//! Transactions and outcomes as bytes: prost in a frame with a format byte and a CRC.

mod request;
mod resource;

pub(crate) use request::{digest, digest_bytes};
pub(crate) use resource::some_position;

use bytes::{BufMut, Bytes, BytesMut};
use higuma_model::{
    Check, ClusterId, Key, Kind, MAX_ENTRY_BYTES, Operation, Origin, Outcome, Owner, Refusal,
    RequestId, Terms, Timestamp, Transaction,
};
use prost::Message;

use crate::proto;

/// The format of a framed command. A node refuses a format that it does not know.
const FORMAT: u8 = 1;

/// Format byte and CRC-32 (IEEE, little endian) of what follows.
const FRAME_BYTES: usize = 5;

/// A transaction that is too large for one entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the change takes {bytes} bytes, more than the {MAX_ENTRY_BYTES} that one transaction may \
     take; split it"
)]
pub struct TooLarge {
    pub bytes: usize,
}

/// Bytes that are no command of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    #[error("format {0} is not known to this version; upgrade this node")]
    Format(u8),
    #[error("its checksum is wrong: the bytes are damaged")]
    Damaged,
    #[error("unknown command or field value ({0}); upgrade this node")]
    Unknown(&'static str),
}

/// The highest field of `Command.kind` that this version applies. A leader proposes one above 1
/// only where every member says that it applies it: an unknown committed command stops a node.
pub(crate) const COMMANDS: u32 = 2;

/// What an entry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Transaction(Box<Transaction>, Origin),
    /// The history before this version is given up.
    Compact(u64),
}

/// A transaction and where it came from.
pub(crate) fn encode_from(transaction: &Transaction, origin: &Origin) -> Result<Bytes, TooLarge> {
    let kind = proto::command::Kind::Transaction(transaction.into());
    let known = (*origin != Origin::default()).then(|| origin.into());
    framed(&proto::Command { kind: Some(kind), origin: known })
}

pub(crate) fn encode_compact(version: u64) -> Result<Bytes, TooLarge> {
    let kind = proto::command::Kind::Compact(proto::Compact { version });
    framed(&proto::Command { kind: Some(kind), origin: None })
}

fn framed(command: &proto::Command) -> Result<Bytes, TooLarge> {
    let length = command.encoded_len();
    if length > MAX_ENTRY_BYTES {
        return Err(TooLarge { bytes: length });
    }
    let body = command.encode_to_vec();
    let mut framed = BytesMut::with_capacity(FRAME_BYTES + length);
    framed.put_u8(FORMAT);
    framed.put_u32_le(crc32fast::hash(&body));
    framed.put_slice(&body);
    Ok(framed.freeze())
}

/// As [`encode_from`], of an unknown origin.
#[cfg(test)]
pub(crate) fn encode(transaction: &Transaction) -> Result<Bytes, TooLarge> {
    encode_from(transaction, &Origin::default())
}

/// The transaction of a command.
#[cfg(test)]
pub(crate) fn decode(framed: &Bytes) -> Result<Transaction, Undecodable> {
    match decode_command(framed)? {
        Command::Transaction(transaction, _) => Ok(*transaction),
        Command::Compact(_) => Err(Undecodable::Unknown("transaction")),
    }
}

pub(crate) fn decode_command(framed: &Bytes) -> Result<Command, Undecodable> {
    match framed.first() {
        Some(&FORMAT) if framed.len() >= FRAME_BYTES => {}
        Some(&format) if format != FORMAT => return Err(Undecodable::Format(format)),
        _ => return Err(Undecodable::Damaged),
    }
    let body = framed.slice(FRAME_BYTES..);
    if crc32fast::hash(&body).to_le_bytes() != framed[1..FRAME_BYTES] {
        return Err(Undecodable::Damaged);
    }
    let command = proto::Command::decode(body).map_err(|_| Undecodable::Unknown("message"))?;
    match command.kind {
        Some(proto::command::Kind::Transaction(transaction)) => {
            let origin = command.origin.map(Into::into).unwrap_or_default();
            Ok(Command::Transaction(Box::new(transaction.try_into()?), origin))
        }
        Some(proto::command::Kind::Compact(compact)) => Ok(Command::Compact(compact.version)),
        None => Err(Undecodable::Unknown("command")),
    }
}

/// Whether a command only removes resources: taken even where the disk is nearly full.
pub(crate) fn only_frees(framed: &Bytes) -> bool {
    let transaction = match decode_command(framed) {
        Ok(Command::Transaction(transaction, _)) => transaction,
        Ok(Command::Compact(_)) => return true,
        Err(_) => return false,
    };
    transaction.operations.iter().all(|operation| match operation {
        Operation::Delete(_) | Operation::DeleteMesh(_) => true,
        Operation::Receive(received) => received.upserts.is_empty(),
        Operation::Put(_) | Operation::Adopt(_) => false,
    })
}

/// A cluster's id as it is kept and sent: 16 bytes, big endian.
pub(crate) fn cluster_bytes(cluster: ClusterId) -> Bytes {
    Bytes::copy_from_slice(&cluster.0.to_be_bytes())
}

pub(crate) fn cluster_id(bytes: &Bytes) -> Result<ClusterId, Undecodable> {
    let bytes = bytes.as_ref().try_into().map_err(|_| Undecodable::Unknown("cluster id"))?;
    Ok(ClusterId(u128::from_be_bytes(bytes)))
}

impl From<&Transaction> for proto::Transaction {
    fn from(transaction: &Transaction) -> Self {
        Self {
            id: Some((&transaction.id).into()),
            at_ms: transaction.at.0,
            writer: Some((&transaction.writer).into()),
            demands: transaction.demands.iter().map(Into::into).collect(),
            checks: transaction.checks.iter().map(Into::into).collect(),
            operations: transaction.operations.iter().map(Into::into).collect(),
            idempotency: transaction.terms.idempotency.as_ref().map(Into::into),
            quota: transaction.terms.quota,
        }
    }
}

impl TryFrom<proto::Transaction> for Transaction {
    type Error = Undecodable;

    fn try_from(wire: proto::Transaction) -> Result<Self, Undecodable> {
        Ok(Self {
            id: request_id(wire.id)?,
            at: Timestamp(wire.at_ms),
            writer: wire.writer.ok_or(Undecodable::Unknown("writer"))?.into(),
            demands: all(wire.demands)?,
            checks: all(wire.checks)?,
            operations: all(wire.operations)?,
            terms: Terms {
                idempotency: wire.idempotency.map(TryInto::try_into).transpose()?,
                quota: wire.quota,
            },
        })
    }
}

impl From<&RequestId> for proto::RequestId {
    fn from(id: &RequestId) -> Self {
        Self { at_ms: id.at.0, random: id.random }
    }
}

pub(crate) fn request_id(wire: Option<proto::RequestId>) -> Result<RequestId, Undecodable> {
    let id = wire.ok_or(Undecodable::Unknown("request id"))?;
    Ok(RequestId { at: Timestamp(id.at_ms), random: id.random })
}

pub(crate) fn all<W, T: TryFrom<W, Error = Undecodable>>(
    wire: Vec<W>,
) -> Result<Vec<T>, Undecodable> {
    wire.into_iter().map(T::try_from).collect()
}

impl From<&Key> for proto::Key {
    fn from(key: &Key) -> Self {
        Self {
            kind: key.kind().name().to_owned(),
            mesh: key.mesh().to_owned(),
            name: key.name().to_owned(),
        }
    }
}

impl TryFrom<proto::Key> for Key {
    type Error = Undecodable;

    fn try_from(wire: proto::Key) -> Result<Self, Undecodable> {
        Ok(Self::new(kind(&wire.kind)?, &wire.mesh, &wire.name))
    }
}

pub(crate) fn kind(name: &str) -> Result<Kind, Undecodable> {
    name.parse().map_err(|_| Undecodable::Unknown("kind"))
}

impl From<&Owner> for proto::Owner {
    fn from(owner: &Owner) -> Self {
        let zone = match owner {
            Owner::Global => String::new(),
            Owner::Zone(name) => name.to_string(),
        };
        Self { zone }
    }
}

impl From<proto::Owner> for Owner {
    fn from(wire: proto::Owner) -> Self {
        if wire.zone.is_empty() { Self::Global } else { Self::Zone(wire.zone.into()) }
    }
}

impl From<&Check> for proto::Check {
    fn from(check: &Check) -> Self {
        use proto::check::{Empty, Kind as Wire, Unchanged};
        let kind = match check {
            Check::Unchanged { key, modified_at } => {
                Wire::Unchanged(Unchanged { key: Some(key.into()), modified_at: *modified_at })
            }
            Check::Absent(key) => Wire::Absent(key.into()),
            Check::Exists(key) => Wire::Exists(key.into()),
            Check::Empty { kind, mesh } => {
                Wire::Empty(Empty { kind: kind.name().to_owned(), mesh: mesh.to_string() })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<proto::Check> for Check {
    type Error = Undecodable;

    fn try_from(wire: proto::Check) -> Result<Self, Undecodable> {
        use proto::check::Kind as Wire;
        Ok(match wire.kind.ok_or(Undecodable::Unknown("check"))? {
            Wire::Unchanged(unchanged) => Self::Unchanged {
                key: some_key(unchanged.key)?,
                modified_at: unchanged.modified_at,
            },
            Wire::Absent(key) => Self::Absent(key.try_into()?),
            Wire::Exists(key) => Self::Exists(key.try_into()?),
            Wire::Empty(empty) => Self::Empty { kind: kind(&empty.kind)?, mesh: empty.mesh.into() },
        })
    }
}

fn some_key(wire: Option<proto::Key>) -> Result<Key, Undecodable> {
    wire.ok_or(Undecodable::Unknown("key"))?.try_into()
}

impl From<&Operation> for proto::Operation {
    fn from(operation: &Operation) -> Self {
        use proto::operation::Kind as Wire;
        let kind = match operation {
            Operation::Put(draft) => Wire::Put(draft.into()),
            Operation::Delete(key) => Wire::Delete(key.into()),
            Operation::DeleteMesh(mesh) => Wire::DeleteMesh(mesh.to_string()),
            Operation::Receive(received) => Wire::Receive(received.into()),
            Operation::Adopt(adopted) => Wire::Adopt(adopted.into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<proto::Operation> for Operation {
    type Error = Undecodable;

    fn try_from(wire: proto::Operation) -> Result<Self, Undecodable> {
        use proto::operation::Kind as Wire;
        Ok(match wire.kind.ok_or(Undecodable::Unknown("operation"))? {
            Wire::Put(draft) => Self::Put(draft.try_into()?),
            Wire::Delete(key) => Self::Delete(key.try_into()?),
            Wire::DeleteMesh(mesh) => Self::DeleteMesh(mesh.into()),
            Wire::Receive(received) => Self::Receive(received.try_into()?),
            Wire::Adopt(adopted) => Self::Adopt(adopted.try_into()?),
        })
    }
}

impl From<&Outcome> for proto::Outcome {
    fn from(outcome: &Outcome) -> Self {
        use proto::outcome::refused::Why;
        use proto::outcome::{Demand, Foreign, Full, Kind as Wire, OtherStore, Refused};
        let refused = |why| Wire::Refused(Refused { why: Some(why) });
        let kind = match outcome {
            Outcome::Done { version } => Wire::Done(*version),
            Outcome::Refused(Refusal::Demand { key, have }) => {
                refused(Why::Demand(Demand { key: Some(key.into()), have: *have }))
            }
            Outcome::Refused(Refusal::Stale { what }) => refused(Why::Stale(what.clone())),
            Outcome::Refused(Refusal::Foreign { key, owner }) => {
                refused(Why::Foreign(Foreign { key: Some(key.into()), owner: Some(owner.into()) }))
            }
            Outcome::Refused(Refusal::OtherStore { sent, bound }) => {
                refused(Why::OtherStore(OtherStore {
                    sent: cluster_bytes(*sent),
                    bound: cluster_bytes(*bound),
                }))
            }
            Outcome::Refused(Refusal::Expired) => refused(Why::Expired(true)),
            Outcome::Refused(Refusal::KeyReused) => refused(Why::KeyReused(true)),
            Outcome::Refused(Refusal::Full { bytes, quota }) => {
                refused(Why::Full(Full { bytes: *bytes, quota: *quota }))
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<proto::Outcome> for Outcome {
    type Error = Undecodable;

    fn try_from(wire: proto::Outcome) -> Result<Self, Undecodable> {
        use proto::outcome::Kind as Wire;
        use proto::outcome::refused::Why;
        let refused = match wire.kind.ok_or(Undecodable::Unknown("outcome"))? {
            Wire::Done(version) => return Ok(Self::Done { version }),
            Wire::Refused(refused) => refused.why.ok_or(Undecodable::Unknown("refusal"))?,
        };
        Ok(Self::Refused(match refused {
            Why::Demand(demand) => {
                Refusal::Demand { key: some_key(demand.key)?, have: demand.have }
            }
            Why::Stale(what) => Refusal::Stale { what },
            Why::Foreign(foreign) => Refusal::Foreign {
                key: some_key(foreign.key)?,
                owner: foreign.owner.ok_or(Undecodable::Unknown("owner"))?.into(),
            },
            Why::OtherStore(other) => Refusal::OtherStore {
                sent: cluster_id(&other.sent)?,
                bound: cluster_id(&other.bound)?,
            },
            Why::Expired(_) => Refusal::Expired,
            Why::KeyReused(_) => Refusal::KeyReused,
            Why::Full(full) => Refusal::Full { bytes: full.bytes, quota: full.quota },
        }))
    }
}
