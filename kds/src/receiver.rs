//! The receiving end of a stream between two Higuma control planes, without IO.
//!
//! It answers each type's response (received), collects a batch until its Commit, judges every
//! resource in it, and hands the batch on; only when that is written durably it answers the
//! Commit. It decides, too, whether the sender's history is the one it follows: where it is not,
//! it fences, says why, and changes nothing.

mod fence;
mod staging;

use higuma_model::{ClusterId, Snapshot};

use crate::batch::{Batch, Position, Verdict};
use crate::messages::{self, APPLIED_BUT, FENCED, Request, Response};
use crate::proto::higuma::Commit;
use crate::proto::higuma::commit::{Course, Step as CommitStep};
use crate::wire::Direction;
pub use fence::Fence;
pub(crate) use staging::{Absence, Judged, Staged, inventory};

/// See the module.
#[derive(Debug)]
pub struct Receiver {
    direction: Direction,
    position: Option<Position>,
    /// The only cluster that is accepted, where an operator named one.
    pinned: Option<ClusterId>,
    /// What a list's silence says here.
    absence: Absence,
    opened: Option<Opened>,
    staged: Staged,
    pending: Option<Pending>,
}

#[derive(Debug, Clone, Copy)]
struct Opened {
    cluster: ClusterId,
    course: Course,
}

/// A batch that is being written.
#[derive(Debug)]
struct Pending {
    nonce: String,
    position: Position,
    refused: Vec<Verdict>,
}

/// What is to be done next, in order.
#[derive(Debug, PartialEq)]
pub enum Action {
    Reply(Box<Request>),
    /// To be written in one transaction; then [`Receiver::applied`].
    Apply(Batch),
    /// The sender's history is the one followed here, and the stream goes on.
    Accepted,
    /// Nothing changed here up to this position; not to be logged.
    Moved(Position),
    /// The stream is of no use until the cause is mended. The reply before it tells the sender.
    Fenced(Fence),
}

impl Action {
    fn reply(request: Request) -> Self {
        Self::Reply(Box::new(request))
    }
}

/// The sender broke the protocol, or its stream lost something. Reopening is safe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    #[error("the sender broke the protocol: {0}")]
    Protocol(&'static str),
    #[error("a batch grew past {limit} bytes before its commit")]
    TooLarge { limit: usize },
}

impl Receiver {
    /// `position` is where this end stands; absent, the first sender is trusted, or the pinned.
    pub fn new(
        direction: Direction,
        position: Option<Position>,
        pinned: Option<ClusterId>,
    ) -> Self {
        let (absence, opened, staged, pending) = (Absence::Removes, None, Staged::default(), None);
        Self { direction, position, pinned, absence, opened, staged, pending }
    }

    /// Asks for all that the sender has, whatever is followed here: its batch is what would turn
    /// this end into the sender's view, and is not to be written without an operator's word.
    pub(crate) fn looking(direction: Direction, pinned: Option<ClusterId>) -> Self {
        Self { absence: Absence::RemovesAll, ..Self::new(direction, None, pinned) }
    }

    /// The subscriptions that open the stream, one a kind.
    pub fn subscriptions(&self) -> Vec<Request> {
        let kinds = self.direction.kinds().iter();
        kinds.map(|kind| messages::subscription(&self.direction, kind.name())).collect()
    }

    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// A message from the sender. `local` is the state of this end: names that others own here are
    /// not given away, and only what the sender's end may write is removed.
    pub fn receive(
        &mut self,
        response: Response,
        local: &Snapshot,
    ) -> Result<Vec<Action>, ReceiveError> {
        if self.pending.is_some() {
            return Err(ReceiveError::Protocol("it went on before its batch was answered"));
        }
        if response.type_url != Commit::TYPE {
            let ack = messages::ack(&self.direction, &response.type_url, &response.nonce);
            self.staged.add(response)?;
            return Ok(vec![Action::reply(ack)]);
        }
        let unreadable = ReceiveError::Protocol("it sent a commit that cannot be read");
        let commit = messages::commit_of(&response).ok_or_else(|| unreadable.clone())?;
        let at = commit.position().ok_or(unreadable)?;
        match commit.step() {
            CommitStep::Opening => self.opening(&commit, at, response.nonce, local),
            CommitStep::Batch => self.batch(&commit, at, response.nonce, local),
            CommitStep::Mark => self.mark(at, &response.nonce),
            CommitStep::Unspecified => {
                Err(ReceiveError::Protocol("it sent a commit of a kind that is not known here"))
            }
        }
    }

    /// The batch that was handed on is durable: what to answer.
    pub fn applied(&mut self) -> Option<Request> {
        let Pending { nonce, position, refused } = self.pending.take()?;
        self.position = Some(position);
        let ack = messages::ack(&self.direction, Commit::TYPE, &nonce);
        if refused.is_empty() {
            return Some(ack);
        }
        Some(messages::nack(ack, APPLIED_BUT, messages::summary(&refused), &refused))
    }

    fn opening(
        &mut self,
        commit: &Commit,
        at: Position,
        nonce: String,
        local: &Snapshot,
    ) -> Result<Vec<Action>, ReceiveError> {
        let course = commit.course();
        // A zone's own store is succeeded by none: another one is another zone's.
        let to_zone = matches!(self.direction, Direction::ToZone(_));
        let predecessor = commit.predecessor().filter(|_| to_zone);
        let opening = fence::Opening { at, course, predecessor };
        if let Some(fence) = fence::judge(self.position, self.pinned, opening) {
            return Ok(self.fence(fence, &nonce));
        }
        match (self.position, course) {
            (None, Course::List) => {}
            (Some(own), Course::Resume | Course::Inventory) if at.version >= own.version => {}
            _ => return Err(ReceiveError::Protocol("it opened a course that nobody asked for")),
        }
        self.opened = Some(Opened { cluster: at.cluster, course });
        self.staged = Staged::default();
        let mut actions = vec![Action::Accepted];
        if course == Course::Inventory {
            actions.extend(inventory(&self.direction, local).into_iter().map(Action::reply));
        }
        let ack = messages::ack(&self.direction, Commit::TYPE, &nonce);
        actions.push(Action::reply(ack));
        Ok(actions)
    }

    fn batch(
        &mut self,
        commit: &Commit,
        at: Position,
        nonce: String,
        local: &Snapshot,
    ) -> Result<Vec<Action>, ReceiveError> {
        let opened = self.same_history(at)?;
        let staged = std::mem::take(&mut self.staged);
        if staged.entries() != commit.entries {
            return Err(ReceiveError::Protocol("its batch lacks what its commit counts"));
        }
        let own = self.position.map_or(0, |position| position.version);
        if commit.from != own || at.version < own {
            return Err(ReceiveError::Protocol("its batch does not build on what is here"));
        }
        let absence = match opened.course {
            Course::List => self.absence,
            _ => Absence::SaysNothing,
        };
        let judged = staged.judge(&self.direction, local, absence);
        let lost = (opened.course == Course::Inventory)
            .then(|| fence::mass_removal(&self.direction, &judged.removed, local))
            .flatten();
        if let Some(fence) = lost {
            return Ok(self.fence(fence, &nonce));
        }
        self.opened = Some(Opened { course: Course::Resume, ..opened });
        let Judged { upserts, removed, refused } = judged;
        self.pending = Some(Pending { nonce, position: at, refused: refused.clone() });
        Ok(vec![Action::Apply(Batch {
            direction: self.direction.clone(),
            position: Some(at),
            from: self.written(local),
            replaces: self.succeeded(local, at),
            upserts,
            removed,
            refused,
        })])
    }

    /// The version that is written here: marks move the position, and are not logged.
    fn written(&self, local: &Snapshot) -> Option<u64> {
        let written = match &self.direction {
            Direction::ToZone(_) => local.upstream(),
            Direction::ToGlobal(zone) => local.cursor(zone),
        };
        written.map(|position| position.version)
    }

    /// What is written here of the cluster that the sender's goes on from; an opening said so.
    fn succeeded(&self, local: &Snapshot, at: Position) -> Option<Position> {
        let follows = matches!(self.direction, Direction::ToZone(_)) && self.position.is_some();
        local.upstream().filter(|written| follows && written.cluster != at.cluster)
    }

    fn mark(&mut self, at: Position, nonce: &str) -> Result<Vec<Action>, ReceiveError> {
        self.same_history(at)?;
        if self.staged.entries() > 0 {
            return Err(ReceiveError::Protocol("it moved a mark over an open batch"));
        }
        if self.position.is_none_or(|own| at.version < own.version) {
            return Err(ReceiveError::Protocol("it moved a mark backwards"));
        }
        self.position = Some(at);
        let ack = messages::ack(&self.direction, Commit::TYPE, nonce);
        Ok(vec![Action::Moved(at), Action::reply(ack)])
    }

    fn same_history(&self, at: Position) -> Result<Opened, ReceiveError> {
        let opened = self.opened.filter(|opened| opened.cluster == at.cluster);
        opened.ok_or(ReceiveError::Protocol("it sent what its opening does not cover"))
    }

    fn fence(&mut self, fence: Fence, nonce: &str) -> Vec<Action> {
        self.opened = None;
        let ack = messages::ack(&self.direction, Commit::TYPE, nonce);
        let nack = messages::nack(ack, FENCED, fence.to_string(), &[]);
        vec![Action::reply(nack), Action::Fenced(fence)]
    }
}

#[cfg(test)]
mod tests;
