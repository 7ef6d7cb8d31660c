//! One type of one stream: what is asked for, what the client has, what is on its way, what it refused.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use crate::config::{Encoded, ResourceType, Resources};

/// Names that one stream may ask for, of each type: far more than a proxy has services.
pub const MAX_NAMES: usize = 65_536;

/// Refusals kept besides those of what is to be sent: a proxy that refuses more has one cause for all.
pub(super) const MAX_REFUSED: usize = 1024;

/// Bytes kept of what a client says about a refusal.
const MAX_ERROR_BYTES: usize = 4096;

/// A name and its bytes.
pub(super) type Named = (Arc<str>, Arc<Encoded>);

#[derive(Debug, Default)]
pub(super) struct Subscription {
    /// The first request of the type has come.
    asked: bool,
    wildcard: bool,
    names: BTreeSet<Arc<str>>,
    has: BTreeMap<Arc<str>, Had>,
    flight: Option<Flight>,
    /// Asked for again, or needed again: sent even if the client has it.
    again: BTreeSet<Arc<str>>,
    /// The client knows that these do not exist.
    told_missing: BTreeSet<Arc<str>>,
    /// By name and version, the client's words: a resource may go to and fro between versions that are refused.
    refused: BTreeMap<Arc<str>, BTreeMap<String, String>>,
    /// Parts of refused responses, to be sent one after another until the guilty are found.
    suspects: VecDeque<Vec<Named>>,
    /// A response has gone out, so that the client does not wait for a first one.
    responded: bool,
}

/// What a client has: the bytes, or from a reconnect only their version.
#[derive(Debug)]
struct Had {
    version: String,
    encoded: Option<Arc<Encoded>>,
}

/// A response that is not answered yet.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) nonce: String,
    pub(super) upserts: Vec<Named>,
    pub(super) removed: Vec<Arc<str>>,
}

/// What a request says about the response in flight.
pub(super) enum Answer {
    /// It is about none, or an older one.
    None,
    /// `changed` replaced something that the client had.
    Accepted {
        changed: Vec<Arc<str>>,
        removed: bool,
    },
    Refused,
}

impl Subscription {
    /// Takes in the answer to the response in flight.
    pub(super) fn answered(&mut self, request: &DeltaDiscoveryRequest) -> Answer {
        let current = |flight: &mut Flight| flight.nonce == request.response_nonce;
        let Some(flight) = self.flight.take_if(current) else { return Answer::None };
        match &request.error_detail {
            None => self.accept(flight),
            Some(error) => {
                self.refuse(flight, &error.message);
                Answer::Refused
            }
        }
    }

    fn accept(&mut self, flight: Flight) -> Answer {
        let mut changed = Vec::new();
        for (name, encoded) in flight.upserts {
            if !self.wants(&name) {
                continue;
            }
            let had = Had { version: encoded.version().to_owned(), encoded: Some(encoded) };
            if self.has.insert(name.clone(), had).is_some() {
                changed.push(name);
            }
        }
        let removed = !flight.removed.is_empty();
        for name in flight.removed {
            self.has.remove(&name);
        }
        Answer::Accepted { changed, removed }
    }

    fn refuse(&mut self, mut flight: Flight, error: &str) {
        // A removal cannot be refused for its content: it is not repeated.
        for name in &flight.removed {
            self.has.remove(name);
        }
        match flight.upserts.len() {
            0 => {}
            1 => {
                let (name, encoded) = flight.upserts.remove(0);
                let error = error.chars().take(MAX_ERROR_BYTES / 4).collect();
                self.refused.entry(name).or_default().insert(encoded.version().to_owned(), error);
            }
            several => {
                let second = flight.upserts.split_off(several / 2);
                self.suspects.push_front(second);
                self.suspects.push_front(flight.upserts);
            }
        }
    }

    /// Takes in what is asked for; false: it is too much.
    pub(super) fn subscribe(
        &mut self,
        kind: ResourceType,
        request: &DeltaDiscoveryRequest,
    ) -> bool {
        let first = !std::mem::replace(&mut self.asked, true);
        if first {
            let by_wildcard = matches!(kind, ResourceType::Cluster | ResourceType::Listener);
            self.wildcard = by_wildcard && request.resource_names_subscribe.is_empty();
            let known = request.initial_resource_versions.iter().take(MAX_NAMES);
            self.has = known
                .map(|(name, version)| {
                    (Arc::from(&**name), Had { version: version.clone(), encoded: None })
                })
                .collect();
        }
        for name in &request.resource_names_subscribe {
            if name == "*" {
                self.wildcard = true;
                continue;
            }
            let name = Arc::<str>::from(&**name);
            if !first && (self.has.contains_key(&name) || self.is_in_flight(&name)) {
                self.again.insert(name.clone());
            }
            self.told_missing.remove(&name);
            self.names.insert(name);
        }
        for name in &request.resource_names_unsubscribe {
            if name == "*" {
                self.wildcard = false;
            }
            self.names.remove(&**name);
        }
        self.drop_unwanted();
        self.names.len() <= MAX_NAMES
    }

    fn drop_unwanted(&mut self) {
        if self.wildcard {
            return;
        }
        let names = &self.names;
        self.has.retain(|name, _| names.contains(name));
        self.again.retain(|name| names.contains(name));
        self.told_missing.retain(|name| names.contains(name));
    }

    pub(super) fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    pub(super) fn may_send(&self) -> bool {
        self.asked && self.flight.is_none()
    }

    pub(super) fn is_asked(&self) -> bool {
        self.asked
    }

    /// Whether the client has some version of it, and will keep it.
    pub(super) fn has(&self, name: &str) -> bool {
        self.has.contains_key(name) && !self.is_leaving(name)
    }

    pub(super) fn has_version(&self, name: &str, version: &str) -> bool {
        let same = self.has.get(name).is_some_and(|had| had.version == version);
        same && !self.is_leaving(name)
    }

    fn is_leaving(&self, name: &str) -> bool {
        self.flight.iter().any(|flight| flight.removed.iter().any(|removed| **removed == *name))
    }

    /// Whether these bytes were refused.
    pub(super) fn has_refused(&self, name: &str, version: &str) -> bool {
        self.refused.get(name).is_some_and(|versions| versions.contains_key(version))
    }

    fn is_in_flight(&self, name: &str) -> bool {
        self.in_flight().any(|(sent, _)| **sent == *name)
    }

    /// Whether the client has yet to say that it runs what it was sent.
    pub(super) fn awaits_answer(&self) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.removed.is_empty())
    }

    /// What is on its way to the client.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Encoded>)> {
        let upserts = self.flight.iter().flat_map(|flight| &flight.upserts);
        upserts.map(|(name, encoded)| (name, encoded))
    }

    /// Everything the client has, with its bytes where they are known: it may have told only the
    /// version, which then may be that of `target`.
    pub(super) fn all<'a>(
        &'a self,
        target: &'a Resources,
    ) -> impl Iterator<Item = (&'a Arc<str>, Option<&'a Arc<Encoded>>)> {
        self.has.iter().map(|(name, had)| {
            let same = || target.get(name).filter(|encoded| encoded.version() == had.version);
            (name, had.encoded.as_ref().or_else(same))
        })
    }

    /// What the client lacks of `target`, in order: asked for, not refused, not there or wanted again.
    pub(super) fn lacks<'a>(&'a self, target: &'a Resources) -> impl Iterator<Item = Named> + 'a {
        let lacking = |(name, encoded): &(&Arc<str>, &Arc<Encoded>)| {
            self.asked
                && self.wants(name)
                && !self.has_refused(name, encoded.version())
                && (self.again.contains(*name) || !self.has_version(name, encoded.version()))
        };
        target.iter().filter(lacking).map(|(name, encoded)| (name.clone(), encoded.clone()))
    }

    /// The part of a refused response that is to be tried next, as far as it is still wanted.
    pub(super) fn next_suspects(&mut self, target: &Resources) -> Option<Vec<Named>> {
        while let Some(mut group) = self.suspects.pop_front() {
            group.retain(|(name, encoded)| target.get(name) == Some(encoded) && self.wants(name));
            if !group.is_empty() {
                return Some(group);
            }
        }
        None
    }

    /// Names asked for that do not exist, and of which the client does not know it yet.
    pub(super) fn missing(&self, target: &Resources) -> Vec<Arc<str>> {
        let unknown = |name: &&Arc<str>| {
            !target.contains_key(*name) && !self.has(name) && !self.told_missing.contains(*name)
        };
        self.names.iter().filter(unknown).cloned().collect()
    }

    /// Whether the client waits for a first response even if it is empty.
    pub(super) fn awaits_first(&self) -> bool {
        self.wildcard && !self.responded
    }

    pub(super) fn sent(&mut self, flight: Flight) {
        for (name, _) in &flight.upserts {
            self.again.remove(name);
            self.told_missing.remove(name);
        }
        let missing = flight.removed.iter().filter(|name| self.names.contains(*name));
        self.told_missing.extend(missing.cloned());
        self.responded = true;
        self.flight = Some(flight);
    }

    pub(super) fn send_again(&mut self, names: Vec<Arc<str>>) {
        for name in names {
            if self.has(&name) || self.is_in_flight(&name) {
                self.again.insert(name);
            }
        }
    }

    pub(super) fn refusals(&self) -> usize {
        self.refused.values().map(BTreeMap::len).sum()
    }

    /// Forgets refusals of what is not to be sent, if they are too many to keep for when it is again.
    pub(super) fn forgive(&mut self, target: &Resources) {
        if self.refusals() > MAX_REFUSED {
            self.refused.retain(|name, versions| {
                let Some(encoded) = target.get(name) else { return false };
                versions.retain(|version, _| version == encoded.version());
                !versions.is_empty()
            });
        }
    }

    pub(super) fn retry_refused(&mut self) {
        self.refused.clear();
    }

    /// What of `target` the client refused: name, version and the client's words.
    pub(super) fn refused<'a>(
        &'a self,
        target: &'a Resources,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a str, &'a str)> {
        self.refused.iter().filter_map(|(name, versions)| {
            let (version, error) = versions.get_key_value(target.get(name)?.version())?;
            Some((name, &**version, &**error))
        })
    }
}
