//! A zone's GlobalToZoneSync stream: what the global says goes to the inbox.

use std::sync::Arc;

use higuma_model::{ClusterId, Snapshot};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::adopt::{AdoptError, Order};
use super::{ClientState, Ended, FENCED_PAUSE};
use crate::batch::Position;
use crate::hello::{self, Hello};
use crate::inbox::Inbox;
use crate::messages::Request;
use crate::wire::Direction;
use crate::{Action, Fence, Mutant, Receiver};

/// Messages that wait for the connection. One answer is at most a subscription a kind and an ACK;
/// the sender waits for answers before it goes on.
pub(super) const QUEUED: usize = 64;

/// A cluster that was restored knows nothing of the last marks of the one before it. They said that nothing that
/// concerns this zone had changed, so what is written here is the same as then, and may be followed from.
const MARKED_FURTHER: &str = "it is another cluster: asking whether it goes on from what is \
                              written here";

pub(super) struct Zone<'a> {
    pub(super) zone: &'a Arc<str>,
    pub(super) pinned: Option<ClusterId>,
    pub(super) snapshots: watch::Receiver<Arc<Snapshot>>,
    pub(super) inbox: &'a dyn Inbox,
    pub(super) state: &'a watch::Sender<ClientState>,
    /// Whether the global's history is the one that this zone follows.
    pub(super) accepted: watch::Sender<bool>,
    /// Told when this connection has brought the zone as far as it can.
    pub(super) settled: &'a CancellationToken,
    pub(super) mutant: Option<Mutant>,
}

pub(super) async fn run(
    zone: Zone<'_>,
    last: &mut Option<Marked>,
    order: &mut Option<Order>,
    channel: Channel,
) -> Result<std::convert::Infallible, Ended> {
    let durable = zone.snapshots.borrow().upstream();
    let adopted = order.as_ref().map(|order| order.offer.position);
    let position = adopted.or_else(|| newest(*last, durable));
    let direction = Direction::ToZone(zone.zone.clone());
    let mut receiver = Receiver::new(direction, position, zone.pinned);

    let (requests, queue) = mpsc::channel(QUEUED);
    for request in receiver.subscriptions() {
        queued(&requests, request).await?;
    }
    let mut call = tonic::Request::new(ReceiverStream::new(queue));
    Hello::write(zone.zone, position, call.metadata_mut());
    let answer = super::sync_service(channel).global_to_zone_sync(call).await?;
    let (commits, _) = hello::peer(answer.metadata())?;
    if !commits {
        return Err(Ended::Broken(
            "the peer is no global of Higuma: it offers no higuma-commit".to_owned(),
        ));
    }
    let mut responses = answer.into_inner();
    loop {
        let Some(response) = responses.message().await? else {
            return Err(Ended::Broken("the global closed the stream".to_owned()));
        };
        let local = zone.snapshots.borrow().clone();
        let actions = receiver.receive(response, &local);
        for action in actions.map_err(|error| Ended::Broken(error.to_string()))? {
            match action {
                Action::Reply(request) => queued(&requests, *request).await?,
                Action::Accepted => {
                    if let Some(order) = order.take() {
                        zone.adopt(order, last).await?;
                    }
                    zone.state.send_if_modified(syncing);
                    zone.accepted.send_replace(true);
                }
                Action::Apply(batch) => {
                    let applied = zone.inbox.apply(batch).await;
                    applied.map_err(|error| Ended::Broken(error.to_string()))?;
                    let answer = receiver.applied();
                    zone.synced(&receiver, last);
                    if let Some(request) = answer {
                        queued(&requests, request).await?;
                    }
                }
                Action::Moved(_) => zone.synced(&receiver, last),
                Action::Fenced(Fence::AnotherCluster { .. })
                    if order.is_none() && position != durable =>
                {
                    *last = None;
                    return Err(Ended::Broken(MARKED_FURTHER.to_owned()));
                }
                Action::Fenced(fence) => {
                    let leaves = zone.mutant.is_some_and(|mutant| mutant.leaves(&fence));
                    if order.is_none() && !leaves {
                        zone.fenced(&fence);
                        // The stream stays, so that the global shows why.
                        let idle = async { while let Ok(Some(_)) = responses.message().await {} };
                        drop(tokio::time::timeout(FENCED_PAUSE, idle).await);
                    }
                    return Err(Ended::Fenced(fence));
                }
            }
        }
    }
}

impl Zone<'_> {
    /// Writes what an operator chose, now that the global has it in its history.
    async fn adopt(&self, order: Order, last: &mut Option<Marked>) -> Result<(), Ended> {
        let batch = order.offer.batch(self.zone.clone());
        if let Err(error) = self.inbox.apply(batch).await {
            order.refuse(AdoptError::Unwritten(error.to_string()));
            return Err(Ended::Broken(error.to_string()));
        }
        self.note(Some(order.offer.position), last);
        let version = order.offer.position.version;
        tracing::warn!(version, "this zone follows its global anew, as its operator told it");
        order.answer.send(Ok(())).ok();
        Ok(())
    }

    fn fenced(&self, fence: &Fence) {
        let fenced = ClientState::Fenced { reason: fence.to_string() };
        self.state.send_if_modified(|state| {
            let differs = *state != fenced;
            *state = fenced;
            differs
        });
        self.settled.cancel();
    }

    fn note(&self, at: Option<Position>, last: &mut Option<Marked>) {
        let on = self.snapshots.borrow().upstream();
        *last = at.map(|at| Marked { on, at });
    }

    fn synced(&self, receiver: &Receiver, last: &mut Option<Marked>) {
        self.note(receiver.position(), last);
        let version = receiver.position().map_or(0, |position| position.version);
        self.state.send_replace(ClientState::Synced { version });
        self.settled.cancel();
    }
}

fn syncing(state: &mut ClientState) -> bool {
    let changes = !matches!(state, ClientState::Syncing | ClientState::Synced { .. });
    if changes {
        *state = ClientState::Syncing;
    }
    changes
}

/// The last position that the global told, which marks move beyond the one that is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marked {
    on: Option<Position>,
    at: Position,
}

/// A mark counts for as long as what it was made on is what is written.
fn newest(last: Option<Marked>, durable: Option<Position>) -> Option<Position> {
    last.filter(|last| last.on == durable).map(|last| last.at).or(durable)
}

async fn queued(requests: &mpsc::Sender<Request>, request: Request) -> Result<(), Ended> {
    let sent = requests.send(request).await;
    sent.map_err(|_| Ended::Broken("the connection to the global is gone".to_owned()))
}
