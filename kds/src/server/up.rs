//! A ZoneToGlobalSync stream: the receiver's core between a zone's batches and the inbox.

use std::collections::VecDeque;

use futures::stream::{self, BoxStream, StreamExt};
use tonic::{Status, Streaming};

use super::{Global, Presence, stopping, unwritten};
use crate::batch::{Batch, Position};
use crate::hello::Hello;
use crate::messages::{Request, Response};
use crate::plain::PlainReceiver;
use crate::wire::Direction;
use crate::{Action, ReceiveError, Receiver};

struct Up {
    global: Global,
    presence: Presence,
    responses: Streaming<Response>,
    end: End,
    out: VecDeque<Request>,
    /// Ends the stream once `out` is sent.
    last: Option<Status>,
    over: bool,
}

enum End {
    Higuma(Receiver),
    Kuma(PlainReceiver),
}

pub(super) fn stream(
    global: Global,
    hello: Hello,
    cursor: Option<Position>,
    presence: Presence,
    responses: Streaming<Response>,
) -> BoxStream<'static, Result<Request, Status>> {
    let direction = Direction::ToGlobal(hello.zone);
    let (end, out) = if hello.commits {
        let receiver = Receiver::new(direction, cursor, None);
        let out = receiver.subscriptions();
        (End::Higuma(receiver), out)
    } else {
        let receiver = PlainReceiver::new(direction);
        let out = receiver.subscriptions();
        (End::Kuma(receiver), out)
    };
    let out = out.into();
    let up = Up { global, presence, responses, end, out, last: None, over: false };
    stream::unfold(up, Up::next).boxed()
}

impl Up {
    async fn next(mut self) -> Option<(Result<Request, Status>, Self)> {
        while !self.over {
            if let Some(request) = self.out.pop_front() {
                return Some((Ok(request), self));
            }
            let status = match self.last.take() {
                Some(status) => status,
                None => match self.step().await {
                    Ok(true) => continue,
                    Ok(false) => return None,
                    Err(status) => status,
                },
            };
            self.over = true;
            self.global.complaints.say(&self.presence.zone, &status, "stream from zone ends");
            return Some((Err(status), self));
        }
        None
    }

    /// Takes one message, and writes the batch that it completes. False: the zone has left.
    async fn step(&mut self) -> Result<bool, Status> {
        let response = tokio::select! {
            () = self.global.stop.cancelled() => return Err(stopping()),
            response = self.responses.message() => response?,
        };
        let Some(response) = response else { return Ok(false) };
        let local = self.global.snapshots.borrow().clone();
        match &mut self.end {
            End::Kuma(receiver) => {
                let batch = receiver.receive(response, &local)?;
                write(&self.global, batch).await?;
                self.out.extend(receiver.applied());
            }
            End::Higuma(receiver) => {
                for action in receiver.receive(response, &local)? {
                    match action {
                        Action::Reply(request) => self.out.push_back(*request),
                        Action::Apply(batch) => {
                            write(&self.global, batch).await?;
                            self.out.extend(receiver.applied());
                        }
                        Action::Fenced(fence) => {
                            self.last = Some(Status::failed_precondition(fence.to_string()));
                        }
                        Action::Accepted | Action::Moved(_) => {}
                    }
                }
            }
        }
        Ok(true)
    }
}

async fn write(global: &Global, batch: Batch) -> Result<(), Status> {
    global.zones.apply(batch).await.map_err(|error| unwritten(&error))
}

impl From<ReceiveError> for Status {
    fn from(error: ReceiveError) -> Self {
        Self::invalid_argument(error.to_string())
    }
}
