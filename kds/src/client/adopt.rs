//! What an operator asks of a zone that does not follow its global: to look at what the global has,
//! and to follow it from there.
//!
//! Looking is a stream of its own, which takes the list and leaves. Adopting goes by way of the
//! zone's own connection: the zone says that it stands where the offer was made; only when the
//! global answers that this is in its history the offer is written, in one transaction, and the
//! stream goes on from it.

use std::sync::Arc;
use std::time::Duration;

use higuma_model::{ClusterId, Snapshot};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::ClientState;
use super::dial::Dialer;
use super::down::QUEUED;
use crate::adoption::Offer;
use crate::batch::Position;
use crate::hello::{self, Hello};
use crate::wire::Direction;
use crate::{Action, Receiver};

/// How long one node may take to list what it has: one batch.
const LOOK_PATIENCE: Duration = Duration::from_secs(5);

/// How long an adoption may take: every node tried once, and the zone's own disk.
const ADOPT_PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no offer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookError {
    #[error("this zone has followed no global yet: it takes the first that it reaches")]
    Nothing,
    #[error("no node of the global says what it has:{}", list(.0))]
    Unreachable(Vec<String>),
}

/// Why an offer was not adopted. Nothing was changed, unless it says that this is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdoptError {
    #[error(
        "what was looked at last is not what is to be adopted: look at the difference again and \
         decide anew"
    )]
    NotShown,
    #[error("the global is no longer the one that was shown: {0}. Look at the difference again")]
    Another(String),
    #[error("the zone can't write it: {0}")]
    Unwritten(String),
    #[error("no node of the global goes on from what was shown: {0}")]
    Unreachable(String),
    #[error("it is not known yet whether it is adopted: look at the zone's state")]
    Unknown,
}

fn list(whys: &[String]) -> String {
    whys.iter().map(|why| format!("\n  {why}")).collect()
}

/// What is asked of the zone's own connection.
pub(super) struct Order {
    pub(super) offer: Arc<Offer>,
    pub(super) answer: oneshot::Sender<Result<(), AdoptError>>,
    /// Connections that did not get as far as writing it.
    pub(super) tries: usize,
}

impl Order {
    pub(super) fn new(offer: Arc<Offer>) -> (Self, oneshot::Receiver<Result<(), AdoptError>>) {
        let (answer, answered) = oneshot::channel();
        (Self { offer, answer, tries: 0 }, answered)
    }

    /// Whoever asked may be gone: then the log says it.
    pub(super) fn refuse(self, why: AdoptError) {
        tracing::warn!(%why, "the global is not adopted");
        self.answer.send(Err(why)).ok();
    }
}

/// Who looks, and what a look needs.
#[derive(Clone)]
pub(super) struct Looker {
    pub(super) zone: Arc<str>,
    pub(super) pinned: Option<ClusterId>,
    pub(super) snapshots: watch::Receiver<Arc<Snapshot>>,
}

/// The operator's end of a zone's client.
pub struct Adoption {
    looker: Looker,
    states: watch::Receiver<ClientState>,
    orders: mpsc::Sender<Order>,
    /// One operator at a time.
    desk: Mutex<Desk>,
}

struct Desk {
    dialer: Dialer,
    /// What was offered last: it alone can be adopted.
    offered: Option<Arc<Offer>>,
    /// What was adopted last, for whoever asks again because the answer was lost.
    adopted: Option<Arc<Offer>>,
}

impl Adoption {
    pub(super) fn new(
        looker: Looker,
        states: watch::Receiver<ClientState>,
        dialer: Dialer,
    ) -> (Self, mpsc::Receiver<Order>) {
        let (orders, queue) = mpsc::channel(1);
        let desk = Mutex::new(Desk { dialer, offered: None, adopted: None });
        (Self { looker, states, orders, desk }, queue)
    }

    /// How the zone stands to its global.
    pub fn state(&self) -> ClientState {
        self.states.borrow().clone()
    }

    /// Asks the global what it has, and says what would change here.
    ///
    /// # Errors
    /// No node answers, or there is nothing to compare with.
    pub async fn look(&self) -> Result<Arc<Offer>, LookError> {
        let mut desk = self.desk.lock().await;
        desk.offered = None;
        // What a followed global lacks is gone; a refused one may just not know it.
        let keeps = matches!(self.state(), ClientState::Fenced { .. });
        let offer = Arc::new(self.looker.look(&mut desk.dialer, keeps).await?);
        desk.offered = Some(offer.clone());
        Ok(offer)
    }

    /// How the zone stands to its global, as it changes.
    pub fn states(&self) -> watch::Receiver<ClientState> {
        self.states.clone()
    }

    /// Follows the global from where it stood at the last look, which must be `named`.
    ///
    /// # Errors
    /// Another look was taken since, the global is another one by now, or nothing can be written.
    pub async fn adopt(&self, named: Position) -> Result<Arc<Offer>, AdoptError> {
        let mut desk = self.desk.lock().await;
        let is_named = |offer: &&Arc<Offer>| offer.position == named;
        let Some(offer) = desk.offered.as_ref().filter(is_named).cloned() else {
            let done = desk.adopted.as_ref().filter(is_named);
            return done.cloned().ok_or(AdoptError::NotShown);
        };
        let (order, answered) = Order::new(offer.clone());
        if self.orders.send(order).await.is_err() {
            return Err(AdoptError::Unwritten("it is stopping".to_owned()));
        }
        let answered = tokio::time::timeout(ADOPT_PATIENCE, answered).await;
        answered.map_err(|_| AdoptError::Unknown)?.map_err(|_| AdoptError::Unknown)??;
        desk.offered = None;
        desk.adopted = Some(offer.clone());
        Ok(offer)
    }
}

impl Looker {
    /// Asks one node after the other.
    pub(super) async fn look(&self, dialer: &mut Dialer, keeps: bool) -> Result<Offer, LookError> {
        if self.snapshots.borrow().upstream().is_none() {
            return Err(LookError::Nothing);
        }
        let mut whys = Vec::new();
        for _ in 0..dialer.len() {
            let address = dialer.next();
            let why = match tokio::time::timeout(LOOK_PATIENCE, self.ask(dialer, keeps)).await {
                Ok(Ok(offer)) => return Ok(offer),
                Ok(Err(why)) => why,
                Err(_) => format!("no answer within {} s", LOOK_PATIENCE.as_secs()),
            };
            whys.push(format!("{address}: {why}"));
        }
        Err(LookError::Unreachable(whys))
    }

    async fn ask(&self, dialer: &Dialer, keeps: bool) -> Result<Offer, String> {
        let channel = dialer.connect().await.map_err(|ended| ended.to_string())?;
        let mut receiver = Receiver::looking(Direction::ToZone(self.zone.clone()), self.pinned);
        let (requests, queue) = mpsc::channel(QUEUED);
        let gone = |_| "the connection is gone".to_owned();
        for request in receiver.subscriptions() {
            requests.send(request).await.map_err(gone)?;
        }
        let mut call = tonic::Request::new(ReceiverStream::new(queue));
        Hello::write(&self.zone, None, call.metadata_mut());
        let said = |status: tonic::Status| format!("{}: {}", status.code(), status.message());
        let answer = super::sync_service(channel).global_to_zone_sync(call).await.map_err(said)?;
        let (commits, _) = hello::peer(answer.metadata()).map_err(said)?;
        if !commits {
            return Err("it is no global of Higuma: it offers no higuma-commit".to_owned());
        }
        let mut responses = answer.into_inner();
        while let Some(response) = responses.message().await.map_err(said)? {
            let local = self.snapshots.borrow().clone();
            let actions = receiver.receive(response, &local).map_err(|error| error.to_string())?;
            for action in actions {
                match action {
                    Action::Reply(request) => requests.send(*request).await.map_err(gone)?,
                    Action::Apply(batch) => {
                        let offer = Offer::new(batch, &local, keeps);
                        return offer.ok_or_else(|| "it names no position".to_owned());
                    }
                    Action::Fenced(fence) => return Err(fence.to_string()),
                    Action::Accepted | Action::Moved(_) => {}
                }
            }
        }
        Err("it closed the stream".to_owned())
    }
}
