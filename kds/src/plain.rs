//! Both ends of a stream to one of Kuma's own control planes, without IO: no commits, no resume.
//!
//! Each type is on its own: the sender answers a subscription with the whole list, and after each
//! answer sends what differs from what it sent. The receiver takes each response for a batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use higuma_model::{Kind, Snapshot};

use crate::batch::{Batch, Verdict};
use crate::messages::{self, APPLIED_BUT, Request, Response};
use crate::receiver::{Absence, Judged, ReceiveError, Staged};
use crate::wire::{self, Direction, entry_name};

/// Types that one stream may ask for. Kuma has 45 that travel; more is no peer of ours.
const MAX_TYPES: usize = 128;

/// Kuma's bound on a message: without batches of ours, a list comes in one.
const MAX_RESPONSE_BYTES: usize = 10 << 20;

/// What a Kuma peer gets.
#[derive(Debug)]
pub struct PlainSender {
    direction: Direction,
    snapshot: Arc<Snapshot>,
    types: BTreeMap<String, Subscription>,
    nonces: u64,
}

#[derive(Debug, Default)]
struct Subscription {
    /// Waits for the answer to this; a type has one response in flight.
    in_flight: Option<String>,
    /// The state that was sent last; none: nothing was, and even an empty list is due.
    sent_at: Option<u64>,
    /// `modified_at` by entry name of what was sent.
    sent: BTreeMap<String, u64>,
}

impl PlainSender {
    pub fn new(direction: Direction, snapshot: Arc<Snapshot>) -> Self {
        Self { direction, snapshot, types: BTreeMap::new(), nonces: 0 }
    }

    /// A newer state of this node. Older ones change nothing.
    pub fn offer(&mut self, snapshot: Arc<Snapshot>) {
        if snapshot.version() >= self.snapshot.version() {
            self.snapshot = snapshot;
        }
    }

    /// A subscription, an ACK or a NACK. A NACKed response is not sent again until it changes.
    pub fn receive(&mut self, request: &Request) -> Result<(), ReceiveError> {
        let room = self.types.len() < MAX_TYPES;
        if !room && !self.types.contains_key(&request.type_url) {
            return Err(ReceiveError::Protocol("it asks for more types than there are"));
        }
        let subscription = self.types.entry(request.type_url.clone()).or_default();
        if subscription.in_flight.as_deref() != Some(&request.response_nonce) {
            return Ok(());
        }
        subscription.in_flight = None;
        if let Some(error) = &request.error_detail {
            let (zone, message) = (self.direction.zone(), &error.message);
            tracing::warn!(%zone, kind = %request.type_url, %message, "the peer refused resources");
        }
        Ok(())
    }

    /// What there is to send now. To be asked after each input.
    pub fn advance(&mut self) -> Vec<Response> {
        let version = self.snapshot.version();
        let mut responses = Vec::new();
        for (type_url, subscription) in &mut self.types {
            if subscription.in_flight.is_some() || subscription.sent_at == Some(version) {
                continue;
            }
            let first = subscription.sent_at.replace(version).is_none();
            let kind = type_url.parse::<Kind>().ok();
            let kind = kind.filter(|kind| self.direction.kinds().contains(kind));
            let (resources, removed_resources) = kind
                .map(|k| subscription.change(&self.direction, k, &self.snapshot))
                .unwrap_or_default();
            if !first && resources.is_empty() && removed_resources.is_empty() {
                continue;
            }
            self.nonces += 1;
            let nonce = self.nonces.to_string();
            subscription.in_flight = Some(nonce.clone());
            let response = messages::response(&self.direction, type_url, nonce);
            responses.push(Response { resources, removed_resources, ..response });
        }
        responses
    }
}

type Entries = Vec<envoy_types::pb::envoy::service::discovery::v3::Resource>;

impl Subscription {
    /// What turns what was sent into the view of `snapshot`; from now on it counts as sent.
    fn change(
        &mut self,
        direction: &Direction,
        kind: Kind,
        snapshot: &Snapshot,
    ) -> (Entries, Vec<String>) {
        let mut gone = std::mem::take(&mut self.sent);
        let mut entries = Entries::new();
        for resource in snapshot.of_kind(kind).filter(|resource| direction.sends(resource)) {
            let name = entry_name(direction, &resource.key, &resource.owner);
            let before = gone.remove(&name);
            if before != Some(resource.modified_at) {
                match wire::encode(direction, resource) {
                    Ok(entry) => entries.push(entry),
                    Err(error) => {
                        tracing::error!(key = %resource.key, %error, "resource cannot be sent");
                        continue;
                    }
                }
            }
            self.sent.insert(name, resource.modified_at);
        }
        (entries, gone.into_keys().collect())
    }
}

/// What comes from a Kuma peer. Its batches have no position.
#[derive(Debug)]
pub struct PlainReceiver {
    direction: Direction,
    /// Kinds of which this stream has seen the list.
    listed: Vec<Kind>,
    pending: Option<Pending>,
}

/// A response whose batch is being written.
#[derive(Debug)]
struct Pending {
    type_url: String,
    nonce: String,
    refused: Vec<Verdict>,
}

impl PlainReceiver {
    pub fn new(direction: Direction) -> Self {
        Self { direction, listed: Vec::new(), pending: None }
    }

    /// The subscriptions that open the stream, one a kind.
    pub fn subscriptions(&self) -> Vec<Request> {
        let kinds = self.direction.kinds().iter();
        kinds.map(|kind| messages::subscription(&self.direction, kind.name())).collect()
    }

    /// One response as a batch. The first of a kind is its list: what it lacks is removed, unless
    /// it is empty (a restarted peer has nothing yet, and absence is not deletion).
    pub fn receive(&mut self, response: Response, local: &Snapshot) -> Result<Batch, ReceiveError> {
        let kind = response.type_url.parse::<Kind>().ok();
        let first = kind.is_some_and(|kind| !self.listed.contains(&kind));
        self.listed.extend(kind.filter(|_| first));
        let (type_url, nonce) = (response.type_url.clone(), response.nonce.clone());
        let mut staged = Staged::default();
        staged.add_within(response, MAX_RESPONSE_BYTES)?;
        let absence = if first { Absence::Removes } else { Absence::SaysNothing };
        let Judged { upserts, removed, refused } = staged.judge(&self.direction, local, absence);
        self.pending = Some(Pending { type_url, nonce, refused: refused.clone() });
        let direction = self.direction.clone();
        let (position, from, replaces) = (None, None, None);
        Ok(Batch { direction, position, from, replaces, upserts, removed, refused })
    }

    /// The batch that was handed on is durable: what to answer.
    pub fn applied(&mut self) -> Option<Request> {
        let Pending { type_url, nonce, refused } = self.pending.take()?;
        let ack = messages::ack(&self.direction, &type_url, &nonce);
        if refused.is_empty() {
            return Some(ack);
        }
        // Kuma tells classes of errors apart by how the message begins.
        let message = format!("user error: {}", messages::summary(&refused));
        Some(messages::nack(ack, APPLIED_BUT, message, &refused))
    }
}

#[cfg(test)]
mod tests;
