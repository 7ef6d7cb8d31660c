//! A zone's GlobalToZoneSync stream: what the global says goes to the inbox.

use std::sync::Arc;

use higuma_model::{ClusterId, Snapshot};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::{ClientState, Ended};
use crate::batch::Position;
use crate::hello::{self, Hello};
use crate::inbox::Inbox;
use crate::messages::Request;
use crate::wire::Direction;
use crate::{Action, Receiver};

/// Messages that wait for the connection. One answer is at most a subscription a kind and an ACK;
/// the sender waits for answers before it goes on.
pub(super) const QUEUED: usize = 64;

pub(super) struct Zone<'a> {
    pub(super) zone: &'a Arc<str>,
    pub(super) pinned: Option<ClusterId>,
    pub(super) snapshots: watch::Receiver<Arc<Snapshot>>,
    pub(super) inbox: &'a dyn Inbox,
    pub(super) state: &'a watch::Sender<ClientState>,
    /// Whether the global's history is the one that this zone follows.
    pub(super) accepted: watch::Sender<bool>,
}

pub(super) async fn run(
    zone: Zone<'_>,
    last: &mut Option<Position>,
    channel: Channel,
) -> Result<std::convert::Infallible, Ended> {
    let durable = zone.snapshots.borrow().upstream();
    let position = newest(*last, durable);
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
                Action::Fenced(fence) => {
                    drop(requests);
                    // The NACK is on its way when the global has closed, or the stream broke.
                    while let Ok(Some(_)) = responses.message().await {}
                    return Err(Ended::Fenced(fence.to_string()));
                }
            }
        }
    }
}

impl Zone<'_> {
    fn synced(&self, receiver: &Receiver, last: &mut Option<Position>) {
        *last = receiver.position();
        let version = last.map_or(0, |position| position.version);
        self.state.send_replace(ClientState::Synced { version });
    }
}

fn syncing(state: &mut ClientState) -> bool {
    let changes = !matches!(state, ClientState::Syncing | ClientState::Synced { .. });
    if changes {
        *state = ClientState::Syncing;
    }
    changes
}

/// A mark is newer than what the store says, an adopted history is not the one of the mark.
fn newest(last: Option<Position>, durable: Option<Position>) -> Option<Position> {
    match (last, durable) {
        (Some(last), Some(durable))
            if last.cluster == durable.cluster && last.version > durable.version =>
        {
            Some(last)
        }
        (_, durable) => durable,
    }
}

async fn queued(requests: &mpsc::Sender<Request>, request: Request) -> Result<(), Ended> {
    let sent = requests.send(request).await;
    sent.map_err(|_| Ended::Broken("the connection to the global is gone".to_owned()))
}
