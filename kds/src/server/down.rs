//! A GlobalToZoneSync stream: the sender's core between a zone's requests and this node's state.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use higuma_model::Snapshot;
use tonic::{Status, Streaming};

use super::{Global, Presence, stopping};
use crate::hello::Hello;
use crate::inbox::{ZoneStream, Zones};
use crate::messages::{Request, Response};
use crate::plain::PlainSender;
use crate::wire::Direction;
use crate::{SendError, Sender, Standing};

/// How long after a failed proof the next is asked for, while a stream is held.
const PROOF_RETRY: Duration = Duration::from_secs(2);

struct Down {
    global: Global,
    presence: Presence,
    requests: Streaming<Request>,
    end: End,
    out: VecDeque<Response>,
    told: Option<Standing>,
    over: bool,
}

enum End {
    Higuma(Sender),
    Kuma(PlainSender),
}

pub(super) fn stream(
    mut global: Global,
    hello: Hello,
    presence: Presence,
    requests: Streaming<Request>,
) -> BoxStream<'static, Result<Response, Status>> {
    let direction = Direction::ToZone(hello.zone);
    let snapshot = global.snapshots.borrow_and_update().clone();
    let end = if hello.commits {
        End::Higuma(Sender::new(direction, snapshot, hello.position))
    } else {
        End::Kuma(PlainSender::new(direction, snapshot))
    };
    let out = VecDeque::new();
    let down = Down { global, presence, requests, end, out, told: None, over: false };
    stream::unfold(down, Down::next).boxed()
}

impl Down {
    async fn next(mut self) -> Option<(Result<Response, Status>, Self)> {
        while !self.over {
            if let Some(response) = self.out.pop_front() {
                return Some((Ok(response), self));
            }
            match self.step().await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(status) => {
                    self.over = true;
                    self.global.complaints.say(&self.presence.zone, &status, "stream to zone ends");
                    return Some((Err(status), self));
                }
            }
        }
        None
    }

    /// Sends what there is to send, or waits for an input. False: the zone has left.
    async fn step(&mut self) -> Result<bool, Status> {
        self.out.extend(self.end.advance()?);
        self.tell();
        if !self.out.is_empty() {
            return Ok(true);
        }
        let (held, zones) = (self.end.wants_proof(), self.global.zones.clone());
        tokio::select! {
            () = self.global.stop.cancelled() => return Err(stopping()),
            request = self.requests.message() => match request? {
                Some(request) => self.end.receive(&request)?,
                None => return Ok(false),
            },
            changed = self.global.snapshots.changed() => {
                changed.map_err(|_| stopping())?;
                let snapshot = self.global.snapshots.borrow_and_update().clone();
                self.end.offer(snapshot)?;
            }
            proved = prove(&*zones), if held => {
                if let (End::Higuma(sender), Some(version)) = (&mut self.end, proved) {
                    sender.proved(version);
                }
            }
        }
        Ok(true)
    }

    /// What is new about how far the zone is.
    fn tell(&mut self) {
        let End::Higuma(sender) = &self.end else { return };
        let standing = sender.standing();
        if self.told.as_ref() == Some(&standing) {
            return;
        }
        if matches!(standing, Standing::Applied(_)) {
            self.presence.tell(ZoneStream::Refused(sender.verdicts().to_vec()));
        }
        self.presence.tell(ZoneStream::Standing(standing.clone()));
        self.told = Some(standing);
    }
}

/// A proof, or a pause before the next try.
async fn prove(zones: &dyn Zones) -> Option<u64> {
    let proved = zones.proof().await;
    if proved.is_none() {
        tokio::time::sleep(PROOF_RETRY).await;
    }
    proved
}

impl End {
    fn advance(&mut self) -> Result<Vec<Response>, Status> {
        match self {
            Self::Higuma(sender) => Ok(sender.advance()?),
            Self::Kuma(sender) => Ok(sender.advance()),
        }
    }

    fn receive(&mut self, request: &Request) -> Result<(), Status> {
        match self {
            Self::Higuma(sender) => Ok(sender.receive(request)?),
            Self::Kuma(sender) => Ok(sender.receive(request)?),
        }
    }

    fn offer(&mut self, snapshot: Arc<Snapshot>) -> Result<(), Status> {
        match self {
            Self::Higuma(sender) => sender.offer(snapshot)?,
            Self::Kuma(sender) => sender.offer(snapshot),
        }
        Ok(())
    }

    fn wants_proof(&self) -> bool {
        matches!(self, Self::Higuma(sender) if sender.wants_proof())
    }
}

impl From<SendError> for Status {
    fn from(error: SendError) -> Self {
        match error {
            SendError::TooLarge { .. } => Self::resource_exhausted(error.to_string()),
            SendError::Replaced => Self::aborted(error.to_string()),
            SendError::Protocol(_) => Self::invalid_argument(error.to_string()),
        }
    }
}
