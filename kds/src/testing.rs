//! States for this crate's tests: a history to send, and a copy that follows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use higuma_model::{
    Audience, ClusterId, Epoch, Key, Kind, Labels, Owner, Resource, Scope, Snapshot, Spec,
    Timestamp,
};

use crate::batch::Batch;
use crate::wire::{Direction, encode, split_entry_name};

pub(crate) const CLUSTER: ClusterId = ClusterId(0xabc);

pub(crate) fn to_west() -> Direction {
    Direction::ToZone("west".into())
}

/// A control plane's state and every state that it had.
#[derive(Clone)]
pub(crate) struct History {
    pub(crate) states: Vec<Arc<Snapshot>>,
    /// The last log index: epochs take one each, as blank entries do.
    index: u64,
}

impl History {
    pub(crate) fn new(cluster: ClusterId) -> Self {
        let mut first = Snapshot::new(cluster);
        first.begin_epoch(Epoch { nonce: 1, since: 1 });
        Self { states: vec![Arc::new(first)], index: 1 }
    }

    /// Goes on from a state that came from elsewhere.
    pub(crate) fn continuing(state: Arc<Snapshot>) -> Self {
        let index = state.version().max(1);
        Self { states: vec![state], index }
    }

    pub(crate) fn now(&self) -> Arc<Snapshot> {
        self.states.last().unwrap().clone()
    }

    /// The state as it was at a version.
    pub(crate) fn at(&self, version: u64) -> Arc<Snapshot> {
        self.states.iter().rev().find(|state| state.version() == version).unwrap().clone()
    }

    pub(crate) fn epoch(&mut self, nonce: u64) {
        let since = self.next();
        self.change(|state| state.begin_epoch(Epoch { nonce, since }));
    }

    /// Puts a resource whose spec is its version. `name` stands for itself.
    pub(crate) fn put(&mut self, kind: Kind, name: &str, owner: Owner, audience: Audience) {
        let at = self.next();
        let key = key(kind, name);
        let spec = match kind {
            Kind::Mesh => format!(r#"{{"skipCreatingInitialPolicies":["{at}"]}}"#),
            Kind::ZoneIngress => format!(r#"{{"networking":{{"address":"10.0.0.{at}"}}}}"#),
            Kind::Dataplane => format!(r#"{{"networking":{{"address":"10.0.0.{at}"}}}}"#),
            _ => format!(r#"{{"sources":[{{"match":{{"v":"{at}"}}}}]}}"#),
        };
        self.change(|state| state.put(Arc::new(resource(key, owner, at, audience, &spec))));
    }

    pub(crate) fn policy(&mut self, name: &str) {
        self.put(Kind::TrafficPermission, name, Owner::Global, Audience::AllZones);
    }

    /// A policy that a receiver cannot read: admission would not let it in.
    pub(crate) fn bad_mesh(&mut self, name: &str) {
        let (at, key) = (self.next(), key(Kind::Mesh, name));
        let spec = r#"{"mtls":{"backends":[{"name":"v","type":"vault"}]}}"#;
        let bad = resource(key, Owner::Global, at, Audience::AllZones, spec);
        self.change(|state| state.put(Arc::new(bad)));
    }

    pub(crate) fn delete(&mut self, kind: Kind, name: &str) {
        let at = self.next();
        self.change(|state| drop(state.remove(&key(kind, name), at)));
    }

    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Snapshot)) {
        let mut state = (*self.now()).clone();
        change(&mut state);
        self.states.push(Arc::new(state));
    }

    /// Writes and deletes until the horizon is above every version so far.
    pub(crate) fn pass_horizon(&mut self) {
        let passed = self.now().version();
        let mut at = self.index;
        self.change(|state| {
            let any =
                resource(key(Kind::Dataplane, "any"), Owner::zone("x"), 0, Audience::None, "");
            while state.horizon() <= passed {
                let key = key(Kind::Dataplane, &at.to_string());
                at += 2;
                let one = Resource { key: key.clone(), modified_at: at - 1, ..any.clone() };
                state.put(Arc::new(one));
                state.remove(&key, at);
            }
        });
        self.index = at;
    }

    fn next(&mut self) -> u64 {
        self.index += 1;
        self.index
    }
}

pub(crate) fn key(kind: Kind, name: &str) -> Key {
    let mesh = if kind.scope() == Scope::Mesh { "default" } else { "" };
    Key::new(kind, mesh, name)
}

fn resource(key: Key, owner: Owner, at: u64, audience: Audience, spec: &str) -> Resource {
    Resource {
        key,
        owner,
        version: at,
        modified_at: at,
        created: Timestamp(1),
        modified: Timestamp(2),
        audience,
        labels: Labels::new(),
        spec: Spec::Json(spec.into()),
        status: None,
    }
}

/// What the receiver of a direction is to have of a state: by key, the owner's version.
pub(crate) fn view(direction: &Direction, state: &Snapshot) -> BTreeMap<Key, u64> {
    let sent = state.iter().filter(|resource| direction.sends(resource));
    let named = sent.map(|resource| {
        let entry = encode(direction, resource).unwrap();
        (split_entry_name(resource.key.kind(), &entry.name).unwrap(), resource.version)
    });
    named.collect()
}

/// What came from the sender's end, by key.
pub(crate) fn copy(direction: &Direction, state: &Snapshot) -> BTreeMap<Key, u64> {
    let synced = state.iter().filter(|resource| direction.may_write(&resource.owner));
    let synced = synced.filter(|r| direction.kinds().contains(&r.key.kind()));
    synced.map(|resource| (resource.key.clone(), resource.version)).collect()
}

/// Writes a batch as a store does: all of it at one version, with the position.
pub(crate) fn write(local: &Snapshot, batch: &Batch) -> Snapshot {
    let mut state = local.clone();
    let at = state.version() + 1;
    for resource in &batch.upserts {
        state.put(Arc::new(Resource { modified_at: at, ..resource.clone() }));
    }
    for key in &batch.removed {
        state.remove(key, at);
    }
    let written = match &batch.direction {
        Direction::ToZone(_) => local.upstream(),
        Direction::ToGlobal(zone) => local.cursor(zone),
    };
    let stands = written.map_or(0, |position| position.version);
    if let Some(replaces) = batch.replaces {
        assert_eq!(written, Some(replaces), "it replaces what is not here");
    }
    assert!(batch.from.unwrap_or(0) <= stands, "it builds on {:?}, {stands} is here", batch.from);
    match (&batch.direction, batch.position) {
        (_, None) => {}
        (Direction::ToZone(_), Some(position)) => state.set_upstream(position, at),
        (Direction::ToGlobal(zone), Some(position)) => state.set_cursor(zone.clone(), position, at),
    }
    state
}
