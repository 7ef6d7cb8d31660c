//! A state with one of everything, for the tests of what later versions must read.

use std::sync::Arc;

use bytes::Bytes;
use higuma_model::{
    Audience, ClusterId, Contents, Effect, Epoch, Key, Keyed, Kind, Labels, Outcome, Owner,
    Refusal, RequestId, Resource, SecretBytes, SecretScheme, Snapshot, Spec, Timestamp, Tombstone,
    Upstream,
};

use super::state::{Place, State};
use crate::machine::Machine;
use crate::proto;

pub(crate) const CLUSTER: ClusterId = ClusterId(7);

pub(crate) fn file() -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    state().encode(&mut |more| {
        bytes.extend_from_slice(more);
        Ok(())
    })?;
    Ok(bytes)
}

pub(crate) fn reads(bytes: &[u8]) -> Result<bool, String> {
    let decoded = State::decode(Bytes::copy_from_slice(bytes), CLUSTER);
    decoded.map(|(found, _)| found == state()).map_err(|broken| format!("{broken:?}"))
}

pub(crate) fn state() -> State {
    let mut contents = Contents::new(CLUSTER);
    contents.version = 41;
    contents.horizon = 3;
    contents.epochs = vec![Epoch { nonce: 11, since: 1 }, Epoch { nonce: 12, since: 30 }];
    contents.upstream = Some(Upstream { cluster: ClusterId(9), epoch: 5, version: 17 });
    let position = Upstream { cluster: ClusterId(10), epoch: 6, version: 18 };
    contents.cursors = vec![("east".into(), position)];
    let policy = Key::new(Kind::TrafficPermission, "default", "web-to-api");
    let secret = Key::new(Kind::Secret, "default", "ca");
    let bytes =
        SecretBytes { scheme: SecretScheme::Plain, key_id: String::new(), bytes: (*b"s").into() };
    // In the order of their keys, as a snapshot yields them.
    let mut resources = vec![
        resource(policy, Spec::Json("{}".into()), 40),
        resource(secret, Spec::Secret(bytes), 41),
    ];
    resources.sort_by(|a, b| a.key.cmp(&b.key));
    contents.resources = resources.into_iter().map(Arc::new).collect();
    let gone = Tombstone { owner: Owner::zone("east"), version: 35 };
    contents.tombstones = vec![(Key::new(Kind::Dataplane, "default", "web-1"), gone)];
    let id = |random| RequestId { at: Timestamp(1_000), random };
    let stale = Refusal::Stale { what: "it changed".to_owned() };
    contents.results =
        vec![(id(1), Outcome::Done { version: 40 }), (id(2), Outcome::Refused(stale))];
    let effects = Arc::new([Effect::Created, Effect::Unchanged { modified_at: 7 }]);
    contents.keyed = vec![(77, Keyed { id: id(1), request: 78, version: 40, effects })];
    contents.results_horizon = Timestamp(900);
    let member = |id: u64| proto::membership::Member { id, address: format!("10.0.0.{id}:5684") };
    let place = Place {
        last: proto::LogId { term: 4, index: 41 },
        membership_at: Some(proto::LogId { term: 0, index: 0 }),
        membership: proto::Membership {
            configs: vec![proto::membership::Voters { id: vec![1, 2, 3] }],
            members: (1..=3).map(member).collect(),
            highest: 0,
        },
    };
    State { place, machine: Machine::restored(Snapshot::from(contents), 0, 4) }
}

fn resource(key: Key, spec: Spec, version: u64) -> Resource {
    Resource {
        key,
        owner: Owner::Global,
        version,
        modified_at: version,
        created: Timestamp(1),
        modified: Timestamp(2),
        audience: Audience::AllZones,
        labels: Labels::from([("team".to_owned(), "web".to_owned())]),
        spec,
        status: Some("{\"ok\":true}".into()),
    }
}
