use std::path::PathBuf;

use higuma_model::resource::labels;
use higuma_model::{
    Audience, Key, Kind, Labels, Owner, Resource, Scope, SecretBytes, Spec, Timestamp,
};
use prost::Message;

use super::*;
use crate::proto::kuma::mesh::v1alpha1::KumaResource;

fn to_zone() -> Direction {
    Direction::ToZone("west".into())
}

fn to_global() -> Direction {
    Direction::ToGlobal("east".into())
}

fn resource(kind: Kind, name: &str, owner: Owner, json: &str) -> Resource {
    let mesh = if kind.scope() == Scope::Mesh { "default" } else { "" };
    Resource {
        key: Key::new(kind, mesh, name),
        owner,
        version: 42,
        modified_at: 7,
        created: Timestamp(1_787_000_000_123),
        modified: Timestamp(1_787_000_999_456),
        audience: Audience::AllZones,
        labels: Labels::new(),
        spec: Spec::Json(json.into()),
        status: None,
    }
}

/// Each kind's spec stands beside the bytes of its `KumaResource`; `UPDATE_GOLDEN=1` rewrites.
#[test]
fn every_kind_has_its_golden_both_ways() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata");
    for (kind, case) in [
        (Kind::Mesh, "mesh"),
        (Kind::Secret, "secret"),
        (Kind::Zone, "zone"),
        (Kind::ZoneInsight, "zone-insight"),
        (Kind::ZoneIngress, "zone-ingress"),
        (Kind::Dataplane, "dataplane"),
        (Kind::DataplaneInsight, "dataplane-insight"),
        (Kind::TrafficPermission, "traffic-permission"),
        (Kind::TrafficRoute, "traffic-route"),
    ] {
        let text = std::fs::read_to_string(root.join(case).join("spec.json")).unwrap();
        let json = text.trim();
        let owner =
            if to_global().kinds().contains(&kind) { Owner::zone("east") } else { Owner::Global };
        let mut sent = resource(kind, "one", owner.clone(), json);
        if kind == Kind::Secret {
            sent.spec = Spec::Secret(SecretBytes::plain(b"secret bytes"));
        }
        let direction = if owner == Owner::Global { to_zone() } else { to_global() };
        let entry = encode(&direction, &sent).unwrap();
        let bytes = &entry.resource.as_ref().unwrap().value;
        let golden = root.join(case).join("resource.hex");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, hex::encode(bytes) + "\n").unwrap();
            if let Spec::Json(json) = decode(&direction, kind, &entry).unwrap().spec {
                std::fs::write(root.join(case).join("spec.json"), format!("{json}\n")).unwrap();
            }
            continue;
        }
        let expected = std::fs::read_to_string(&golden).unwrap();
        assert_eq!(hex::encode(bytes), expected.trim(), "{case}: bytes of {json}");

        let received = decode(&direction, kind, &entry).unwrap();
        assert_eq!(received.spec, sent.spec, "{case}: spec");
        assert_eq!((received.version, received.modified_at), (42, 0), "{case}: versions");
        assert_eq!(received.created, sent.created, "{case}: created");
        assert_eq!(received.modified, sent.modified, "{case}: modified");
        assert_eq!(received.owner, owner, "{case}: owner");
        let again = encode(&direction, &Resource { key: sent.key.clone(), ..received }).unwrap();
        assert_eq!(again.resource, entry.resource, "{case}: encoded again");
    }
}

#[test]
fn names_and_labels_are_kumas() {
    let own = Owner::zone("east");
    let dataplane =
        r#"{"networking":{"inbound":[{"tags":{"kuma.io/service":"a","kuma.io/zone":"x"}}]}}"#;
    struct Case {
        direction: Direction,
        resource: Resource,
        name: &'static str,
        labels: &'static [(&'static str, &'static str)],
    }
    for case in [
        Case {
            direction: to_zone(),
            resource: resource(Kind::TrafficPermission, "allow-all-default", Owner::Global, "{}"),
            name: "allow-all-default-4cddx424d4b7x82f.default",
            labels: &[(labels::DISPLAY_NAME, "allow-all-default"), (labels::ORIGIN, "global")],
        },
        Case {
            direction: to_zone(),
            resource: resource(Kind::Mesh, "default", Owner::Global, "{}"),
            name: "default.",
            labels: &[(labels::ORIGIN, "global")],
        },
        Case {
            direction: Direction::ToGlobal("zone-1".into()),
            resource: resource(Kind::Dataplane, "dp-1", Owner::zone("zone-1"), dataplane),
            name: "dp-1-dff6z597w47d46xx.default",
            labels: &[
                (labels::DISPLAY_NAME, "dp-1"),
                (labels::ORIGIN, "zone"),
                (labels::ZONE, "zone-1"),
            ],
        },
        Case {
            direction: to_zone(),
            resource: resource(Kind::ZoneIngress, "zi-1-2d8w9vd5b9fd9xbv", own, "{}"),
            name: "zi-1-2d8w9vd5b9fd9xbv.",
            labels: &[(labels::ORIGIN, "global"), (labels::ZONE, "east")],
        },
    ] {
        let entry = encode(&case.direction, &case.resource).unwrap();
        assert_eq!(entry.name, case.name);
        let kuma = KumaResource::decode(&*entry.resource.unwrap().value).unwrap();
        let found: Vec<(&str, &str)> = kuma
            .meta
            .as_ref()
            .unwrap()
            .labels
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(found, case.labels, "{}", case.name);
        let key = split_entry_name(case.resource.key.kind(), case.name).unwrap();
        assert_eq!(key.name(), kuma.meta.unwrap().name);
    }
}

#[test]
fn what_a_zone_sends_is_of_that_zone() {
    let ingress = r#"{"availableServices":[{"tags":{"kuma.io/zone":"liar"}},{"tags":{"a":"b"}}]}"#;
    let dataplane = concat!(
        r#"{"networking":{"gateway":{"tags":{"kuma.io/zone":"liar"}},"#,
        r#""inbound":[{"port":1,"tags":{"kuma.io/zone":"liar"}}]}}"#
    );
    for (kind, json, expected) in [
        (
            Kind::ZoneIngress,
            ingress,
            r#"{"zone":"east","availableServices":[{"tags":{"kuma.io/zone":"east"}},{"tags":{"a":"b"}}]}"#,
        ),
        (
            Kind::Dataplane,
            dataplane,
            concat!(
                r#"{"networking":{"inbound":[{"tags":{"kuma.io/zone":"east"},"port":1}],"#,
                r#""gateway":{"tags":{"kuma.io/zone":"east"}}}}"#
            ),
        ),
    ] {
        let sent = resource(kind, "one", Owner::zone("liar"), json);
        let entry = encode(&Direction::ToGlobal("liar".into()), &sent).unwrap();
        let received = decode(&to_global(), kind, &entry).unwrap();
        assert_eq!(received.spec, Spec::Json(expected.into()));
        assert_eq!(received.owner, Owner::zone("east"));
        assert_eq!(received.labels.get(labels::ZONE).map(String::as_str), Some("east"));
        let shared = matches!(received.audience, Audience::AllBut(_));
        assert_eq!(shared, kind == Kind::ZoneIngress, "only ingresses go on to other zones");
    }
}

#[test]
fn what_is_sent_to_whom() {
    let sent = |direction: &Direction, kind, owner, audience, label: Option<&str>| {
        let mut resource = resource(kind, "one", owner, "{}");
        resource.audience = audience;
        resource.labels.extend(label.map(|v| ("kuma.io/kds-sync".to_owned(), v.to_owned())));
        direction.sends(&resource)
    };
    let (all, none) = (|| Audience::AllZones, || Audience::None);
    let but = |zone| Audience::AllBut(Owner::zone(zone));
    let down = to_zone();
    assert!(sent(&down, Kind::Mesh, Owner::Global, all(), None));
    assert!(!sent(&down, Kind::Mesh, Owner::Global, none(), None));
    assert!(!sent(&down, Kind::Mesh, Owner::Global, all(), Some("disabled")));
    assert!(sent(&down, Kind::ZoneIngress, Owner::zone("east"), but("east"), None));
    assert!(!sent(&down, Kind::ZoneIngress, Owner::zone("west"), but("west"), None));
    assert!(!sent(&down, Kind::ZoneIngress, Owner::zone("west"), all(), None), "never back");
    assert!(!sent(&down, Kind::Zone, Owner::Global, all(), None), "this kind never travels");
    let up = to_global();
    assert!(sent(&up, Kind::Dataplane, Owner::zone("east"), none(), None));
    assert!(!sent(&up, Kind::ZoneIngress, Owner::zone("west"), none(), None), "a copy");
    assert!(!sent(&up, Kind::Mesh, Owner::Global, all(), None));
}

#[test]
fn refusals_say_why() {
    let entry = |kind, json: &str| {
        let mut entry = encode(&to_zone(), &resource(kind, "one", Owner::Global, json)).unwrap();
        entry.version = "hash".to_owned();
        entry
    };
    let refused = |kind, entry: &_| decode(&to_zone(), kind, entry).unwrap_err();

    let vault = r#"{"mtls":{"backends":[{"name":"v","type":"vault"}]}}"#;
    let why = refused(Kind::Mesh, &entry(Kind::Mesh, vault));
    assert!(why.contains("mtls.backends[0].type"), "{why}");

    let why = refused(Kind::TrafficRoute, &entry(Kind::Mesh, "{}"));
    assert_eq!(why, r#"mesh "" is not 1 to 253 of a-z, 0-9, '-', '_' and '.'"#);

    let mut broken = entry(Kind::Mesh, "{}");
    broken.resource.as_mut().unwrap().value = vec![0xff];
    assert!(refused(Kind::Mesh, &broken).contains("decode"), "{}", refused(Kind::Mesh, &broken));
    broken.resource = None;
    assert_eq!(refused(Kind::Mesh, &broken), "the entry is empty");

    let own = resource(Kind::ZoneIngress, "zi", Owner::zone("west"), "{}");
    let entry = encode(&to_zone(), &own).unwrap();
    assert_eq!(refused(Kind::ZoneIngress, &entry), "it belongs to zone west, which is this one");
    assert!(split_entry_name(Kind::Mesh, "default").unwrap_err().contains("<name>.<mesh>"));
}

/// A newer sender's fields are no reason to refuse.
#[test]
fn unknown_fields_pass() {
    let mut entry = encode(&to_zone(), &resource(Kind::Mesh, "m", Owner::Global, "{}")).unwrap();
    let any = entry.resource.as_mut().unwrap();
    let mut kuma = KumaResource::decode(&*any.value).unwrap();
    // Field 900, a varint: of no message here.
    kuma.spec.as_mut().unwrap().value = vec![0xa0, 0x38, 0x01];
    any.value = kuma.encode_to_vec();
    any.value.extend([0xa0, 0x38, 0x01]);
    assert_eq!(decode(&to_zone(), Kind::Mesh, &entry).unwrap().spec, Spec::Json("{}".into()));
}
