//! The sending end of a stream between two Higuma control planes, without IO.
//!
//! ```text
//! Deciding ──► Opening ──ACK──► Following ──change──► InFlight ──ACK──► Following ...
//!  (held while this node lags)     NACK of an opening or "fenced" ──► Fenced
//! ```
//!
//! One batch is in flight at a time: the types' responses, closed by a Commit. Where nothing that
//! concerns the receiver changed, a mark moves its position instead.

mod contents;

use std::collections::BTreeSet;
use std::sync::Arc;

use higuma_model::{Kind, Snapshot};
use prost::Message;

use crate::batch::{MAX_BATCH_BYTES, Position, Verdict, epoch_at, position_of};
use crate::messages::{self, FENCED, Request, Response};
use crate::proto::higuma::Commit;
use crate::proto::higuma::commit::{Course, Step};
use crate::wire::Direction;
use contents::{Contents, Inventory};

/// Characters kept of why a receiver fenced: Higuma's own reasons are shorter.
const MAX_FENCE_CHARS: usize = 1000;

/// See the module.
#[derive(Debug)]
pub struct Sender {
    direction: Direction,
    /// The newest state here; its view is what the receiver converges to.
    snapshot: Arc<Snapshot>,
    /// Where the receiver stood when the stream opened.
    peer: Option<Position>,
    /// A version of the cluster that a read index proved after the stream opened.
    proved: Option<u64>,
    kinds: BTreeSet<Kind>,
    phase: Phase,
    nonces: u64,
    verdicts: Vec<Verdict>,
}

#[derive(Debug)]
enum Phase {
    Deciding,
    Opening {
        nonce: String,
        course: Course,
        inventory: Inventory,
    },
    Listing {
        from: u64,
        inventory: Option<Inventory>,
    },
    /// `told`: the receiver knows its position on this stream. `before`: what it has, exactly.
    Following {
        at: u64,
        told: bool,
        before: Option<Arc<Snapshot>>,
    },
    InFlight {
        nonce: String,
        to: Arc<Snapshot>,
    },
    Fenced {
        reason: String,
    },
}

/// How far a stream is, for whoever shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// This node lags behind the receiver and waits to catch up.
    Held,
    Opening,
    Sending,
    /// Everything up to here is acknowledged: durably applied.
    Applied(u64),
    /// The receiver follows another history and says so.
    Fenced(String),
}

/// Why a stream ends at this end. Reopening it is always safe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error(
        "the changes up to version {version} take {bytes} bytes in {entries} entries, but a batch \
         holds {MAX_BATCH_BYTES}: shrink what was written, or delete what is not needed"
    )]
    TooLarge { version: u64, bytes: usize, entries: u32 },
    #[error("this node's history was replaced while the stream was open: open it anew")]
    Replaced,
    #[error("the peer broke the protocol: {0}")]
    Protocol(&'static str),
}

impl Sender {
    /// `peer` is what the receiver said of itself when it opened the stream.
    pub fn new(direction: Direction, snapshot: Arc<Snapshot>, peer: Option<Position>) -> Self {
        Self {
            direction,
            snapshot,
            peer,
            proved: None,
            kinds: BTreeSet::new(),
            phase: Phase::Deciding,
            nonces: 0,
            verdicts: Vec::new(),
        }
    }

    /// A newer state of this node. Older ones change nothing.
    pub fn offer(&mut self, snapshot: Arc<Snapshot>) -> Result<(), SendError> {
        if snapshot.cluster() != self.snapshot.cluster() {
            return Err(SendError::Replaced);
        }
        let version = self.snapshot.version();
        if snapshot.version() < version {
            return Ok(());
        }
        if epoch_at(&snapshot, version) != epoch_at(&self.snapshot, version) {
            return Err(SendError::Replaced);
        }
        self.snapshot = snapshot;
        Ok(())
    }

    /// A read index taken after the stream opened proved that the cluster's last version is this.
    pub fn proved(&mut self, version: u64) {
        self.proved = Some(version);
    }

    /// Whether only a proof tells a lagging node from a cluster that was rolled back.
    pub fn wants_proof(&self) -> bool {
        self.standing() == Standing::Held && self.proved.is_none()
    }

    pub fn standing(&self) -> Standing {
        match &self.phase {
            Phase::Deciding => Standing::Held,
            Phase::Opening { .. } => Standing::Opening,
            Phase::Following { at, .. } => Standing::Applied(*at),
            Phase::Listing { .. } | Phase::InFlight { .. } => Standing::Sending,
            Phase::Fenced { reason } => Standing::Fenced(reason.clone()),
        }
    }

    /// What the receiver refused in the last batch.
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    #[cfg(test)]
    pub(crate) fn inventory_len(&self) -> usize {
        match &self.phase {
            Phase::Opening { inventory, .. } => inventory.len(),
            _ => 0,
        }
    }

    /// What there is to send now. To be asked after each input.
    pub fn advance(&mut self) -> Result<Vec<Response>, SendError> {
        match &self.phase {
            Phase::Deciding => Ok(self.decide()),
            Phase::Listing { .. } => self.list(),
            Phase::Following { .. } => self.follow(),
            Phase::Opening { .. } | Phase::InFlight { .. } | Phase::Fenced { .. } => Ok(Vec::new()),
        }
    }

    /// A subscription, an inventory, an ACK or a NACK.
    pub fn receive(&mut self, request: &Request) -> Result<(), SendError> {
        if request.type_url == Commit::TYPE {
            return self.answered(request);
        }
        let Ok(kind) = request.type_url.parse::<Kind>() else { return Ok(()) };
        if !self.direction.kinds().contains(&kind) {
            return Ok(());
        }
        if request.response_nonce.is_empty() {
            self.kinds.insert(kind);
        }
        if let Phase::Opening { inventory, .. } = &mut self.phase {
            inventory.add(kind, &request.initial_resource_versions);
        }
        Ok(())
    }

    fn decide(&mut self) -> Vec<Response> {
        let Some(course) = course(&self.snapshot, self.peer, self.proved) else {
            return Vec::new();
        };
        vec![self.open(course)]
    }

    fn open(&mut self, course: Course) -> Response {
        let nonce = self.nonce();
        let mut commit = Commit::at(position_of(&self.snapshot), Step::Opening);
        commit.course = course.into();
        if let Some(known) = self.peer.and_then(|peer| predecessor(&self.snapshot, peer)) {
            commit.predecessor = known.cluster.to_string();
            commit.predecessor_version = known.version;
        }
        self.phase =
            Phase::Opening { nonce: nonce.clone(), course, inventory: Inventory::default() };
        messages::commit_response(&self.direction, &commit, nonce)
    }

    /// The answer to a Commit; one to an older nonce says nothing new.
    fn answered(&mut self, request: &Request) -> Result<(), SendError> {
        let (Phase::Opening { nonce, .. } | Phase::InFlight { nonce, .. }) = &self.phase else {
            return Ok(());
        };
        if request.response_nonce != *nonce {
            return Ok(());
        }
        if let Some(error) = request.error_detail.as_ref().filter(|error| error.code == FENCED) {
            let reason = error.message.chars().take(MAX_FENCE_CHARS).collect();
            self.phase = Phase::Fenced { reason };
            return Ok(());
        }
        match std::mem::replace(&mut self.phase, Phase::Deciding) {
            Phase::Opening { course, inventory, .. } => self.opened(course, inventory),
            Phase::InFlight { to, .. } => {
                self.verdicts =
                    request.error_detail.as_ref().map(messages::verdicts_of).unwrap_or_default();
                self.phase = Phase::Following { at: to.version(), told: true, before: Some(to) };
                Ok(())
            }
            other => {
                self.phase = other;
                Ok(())
            }
        }
    }

    fn opened(&mut self, course: Course, inventory: Inventory) -> Result<(), SendError> {
        let at = self.peer.map_or(0, |peer| peer.version);
        self.phase = match course {
            Course::Resume => Phase::Following { at, told: false, before: None },
            Course::List => Phase::Listing { from: 0, inventory: None },
            Course::Inventory => Phase::Listing { from: at, inventory: Some(inventory) },
            Course::None | Course::Foreign | Course::RolledBack => {
                return Err(SendError::Protocol("it accepted a history that is not its own"));
            }
        };
        Ok(())
    }

    /// The whole view, or what of it an inventory lacks.
    fn list(&mut self) -> Result<Vec<Response>, SendError> {
        let Phase::Listing { from, inventory } = &mut self.phase else { return Ok(Vec::new()) };
        let (from, inventory) = (*from, inventory.take().unwrap_or_default());
        let scope = contents::Scope { direction: &self.direction, kinds: &self.kinds };
        let contents = scope.lacking(&self.snapshot, inventory);
        self.batch(from, contents)
    }

    /// What changed since the receiver's version: a batch, a mark, or nothing.
    fn follow(&mut self) -> Result<Vec<Response>, SendError> {
        let Phase::Following { at, told, before } = &self.phase else { return Ok(Vec::new()) };
        let (at, told) = (*at, *told);
        if told && at == self.snapshot.version() {
            return Ok(Vec::new());
        }
        let Ok(changes) = self.snapshot.changes_since(at) else {
            // The receiver's position is what it acknowledged last: it lists what it has of that.
            self.peer = Some(Position {
                cluster: self.snapshot.cluster(),
                epoch: epoch_at(&self.snapshot, at),
                version: at,
            });
            return Ok(vec![self.open(Course::Inventory)]);
        };
        let scope = contents::Scope { direction: &self.direction, kinds: &self.kinds };
        let contents = scope.changed(&changes, before.as_deref());
        if contents.entries() > 0 {
            return self.batch(at, contents);
        }
        let mark = Commit::at(position_of(&self.snapshot), Step::Mark);
        Ok(vec![self.close(&mark)])
    }

    fn batch(&mut self, from: u64, contents: Contents) -> Result<Vec<Response>, SendError> {
        let (entries, bytes) = (contents.entries(), contents.bytes);
        let mut responses = Vec::new();
        for (kind, (resources, removed_resources)) in contents.by_kind {
            let nonce = self.nonce();
            responses.push(Response {
                resources,
                removed_resources,
                ..messages::response(&self.direction, kind.name(), nonce)
            });
        }
        let encoded: usize = responses.iter().map(Message::encoded_len).sum();
        let bytes = bytes.max(encoded);
        if bytes > MAX_BATCH_BYTES {
            let version = self.snapshot.version();
            return Err(SendError::TooLarge { version, bytes, entries });
        }
        let mut commit = Commit::at(position_of(&self.snapshot), Step::Batch);
        (commit.from, commit.entries) = (from, entries);
        responses.push(self.close(&commit));
        Ok(responses)
    }

    fn close(&mut self, commit: &Commit) -> Response {
        let nonce = self.nonce();
        self.phase = Phase::InFlight { nonce: nonce.clone(), to: self.snapshot.clone() };
        messages::commit_response(&self.direction, commit, nonce)
    }

    fn nonce(&mut self) -> String {
        self.nonces += 1;
        self.nonces.to_string()
    }
}

/// The cluster that a receiver followed, where this one goes on from it and the receiver has seen
/// nothing that is not part of this history.
fn predecessor(snapshot: &Snapshot, peer: Position) -> Option<Position> {
    let followed = Some(peer).filter(|peer| peer.cluster != snapshot.cluster());
    followed.and_then(|peer| snapshot.predecessor_at(peer))
}

/// How to go on with a receiver that stands at `peer`; absent: not to be told yet, this node lags
/// behind it. What is proved here is proved by this node's history alone, but for a rollback.
fn course(snapshot: &Snapshot, peer: Option<Position>, proved: Option<u64>) -> Option<Course> {
    let Some(peer) = peer else { return Some(Course::List) };
    if peer.cluster != snapshot.cluster() && predecessor(snapshot, peer).is_none() {
        // A node that has applied nothing knows of no predecessor either.
        return snapshot.epochs().next().map(|_| Course::Foreign);
    }
    if peer.version > snapshot.version() {
        // An epoch that ended here cannot have gone on to the receiver's version.
        let ended = snapshot.epochs().rev().skip(1).any(|epoch| epoch.nonce == peer.epoch);
        let rolled_back = proved.is_some_and(|proved| proved < peer.version);
        return match (ended, rolled_back) {
            (true, _) => Some(Course::Foreign),
            (false, true) => Some(Course::RolledBack),
            (false, false) => None,
        };
    }
    if epoch_at(snapshot, peer.version) != peer.epoch {
        return Some(Course::Foreign);
    }
    if peer.version < snapshot.horizon() {
        return Some(Course::Inventory);
    }
    Some(Course::Resume)
}

#[cfg(test)]
mod tests;
