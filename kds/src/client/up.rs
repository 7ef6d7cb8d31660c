//! A zone's ZoneToGlobalSync stream: what the zone owns goes to the global.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use higuma_model::Snapshot;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::Ended;
use super::down::QUEUED;
use crate::hello::{self, Hello};
use crate::inbox::Inbox;
use crate::wire::Direction;
use crate::{SendError, Sender, Standing};

/// How long after a failed proof the next is asked for, while the stream is held.
const PROOF_RETRY: Duration = Duration::from_secs(2);

pub(super) async fn run(
    zone: &Arc<str>,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    inbox: &dyn Inbox,
    channel: Channel,
) -> Result<Infallible, Ended> {
    let (responses, queue) = mpsc::channel(QUEUED);
    let mut call = tonic::Request::new(ReceiverStream::new(queue));
    let snapshot = snapshots.borrow_and_update().clone();
    let own = crate::batch::position_of(&snapshot);
    Hello::write(zone, Some(own), call.metadata_mut());
    let answer = super::sync_service(channel).zone_to_global_sync(call).await?;
    let (_, cursor) = hello::peer(answer.metadata())?;
    let mut requests = answer.into_inner();
    let mut sender = Sender::new(Direction::ToGlobal(zone.clone()), snapshot, cursor);
    loop {
        if let Standing::Fenced(reason) = sender.standing() {
            return Err(Ended::Refused(format!("the global takes nothing from here: {reason}")));
        }
        for response in sender.advance()? {
            let sent = responses.send(response).await;
            sent.map_err(|_| Ended::Broken("the connection to the global is gone".to_owned()))?;
        }
        let held = sender.wants_proof();
        tokio::select! {
            request = requests.message() => match request? {
                Some(request) => sender.receive(&request)?,
                None => return Err(Ended::Broken("the global closed the stream".to_owned())),
            },
            changed = snapshots.changed() => {
                changed.map_err(|_| Ended::Broken("this zone is stopping".to_owned()))?;
                let snapshot = snapshots.borrow_and_update().clone();
                sender.offer(snapshot)?;
            }
            proved = prove(inbox), if held => {
                if let Some(version) = proved {
                    sender.proved(version);
                }
            }
        }
    }
}

/// A proof, or a pause before the next try.
async fn prove(inbox: &dyn Inbox) -> Option<u64> {
    let proved = inbox.proof().await;
    if proved.is_none() {
        tokio::time::sleep(PROOF_RETRY).await;
    }
    proved
}

impl From<SendError> for Ended {
    fn from(error: SendError) -> Self {
        Self::Broken(error.to_string())
    }
}
