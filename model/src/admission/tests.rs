mod ca;
mod delete;

use serde_json::{Value, json};

use super::*;
use crate::resource::{Audience, labels};
use crate::spec::{DataplaneInsight, DiscoverySubscription, KdsSubscription, Zone, ZoneInsight};
use crate::testing::{self, Builder};
use crate::{Document, Draft, Kind, Resource, Spec};

const ID: RequestId = RequestId { at: Timestamp(5), random: 9 };

fn admission<'a>(snapshot: &'a Snapshot, place: &'a Place) -> Admission<'a> {
    Admission { snapshot, place, id: ID, now: Timestamp(7), strict: false }
}

fn east() -> Place {
    Place::Zone("east".into())
}

fn put(snapshot: &Snapshot, place: &Place, document: Document) -> Result<Admitted, Rejection> {
    admission(snapshot, place).put(document, None)
}

fn draft(admitted: &Admitted) -> &Draft {
    match &admitted.transaction.as_ref().unwrap().operations[0] {
        Operation::Put(draft) => draft,
        other => panic!("{other:?}"),
    }
}

fn spec(admitted: &Admitted) -> Value {
    match &draft(admitted).spec {
        Spec::Json(json) => serde_json::from_str(json).unwrap(),
        Spec::Secret(_) => panic!("secret"),
    }
}

fn checks(admitted: &Admitted) -> &[Check] {
    &admitted.transaction.as_ref().unwrap().checks
}

fn web() -> Builder<crate::spec::Dataplane> {
    testing::dataplane("web-1").tag("kuma.io/service", "web").inbound(8080)
}

fn allow_all() -> Builder<crate::spec::TrafficPermission> {
    testing::traffic_permission("allow")
        .source(&[("kuma.io/service", "*")])
        .destination(&[("kuma.io/service", "*")])
}

fn default_mesh() -> Resource {
    testing::mesh("default").resource(Owner::Global, 1)
}

fn invalid(rejection: Rejection) -> Vec<(String, String)> {
    match rejection {
        Rejection::Invalid(violations) => {
            violations.into_iter().map(|v| (v.field, v.reason)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_policy_needs_its_mesh_and_goes_to_all_zones() {
    let empty = testing::snapshot([]);
    let refused = put(&empty, &Place::Global, allow_all().document()).unwrap_err();
    assert_eq!(refused, Rejection::MeshNotFound("default".to_owned()));

    let snapshot = testing::snapshot([default_mesh()]);
    let admitted = put(&snapshot, &Place::Global, allow_all().document()).unwrap();
    assert!(admitted.created);
    assert_eq!(checks(&admitted), [Check::Exists(Key::mesh_resource("default"))]);
    let transaction = admitted.transaction.as_ref().unwrap();
    assert_eq!((transaction.id, transaction.at), (ID, Timestamp(7)));
    assert_eq!(transaction.writer, Owner::Global);
    assert_eq!(transaction.demands, []);
    assert_eq!(draft(&admitted).audience, Audience::AllZones);
    assert_eq!(draft(&admitted).labels, testing::tags(&[(labels::MESH, "default")]));
}

#[test]
fn an_identical_write_is_no_entry() {
    let stored = allow_all().resource(Owner::Global, 2);
    let snapshot = testing::snapshot([default_mesh(), stored]);
    let admitted = put(&snapshot, &Place::Global, allow_all().document()).unwrap();
    assert_eq!(admitted.transaction, None);
    assert!(!admitted.created);
    let changed = put(&snapshot, &Place::Global, allow_all().label("a", "b").document()).unwrap();
    assert!(changed.transaction.is_some());
    assert!(!changed.created);
}

#[test]
fn kinds_have_their_places() {
    let zone = east();
    let alone = Place::Standalone("east".into());
    let from = |kind: &str| Document::parse(json!({"type": kind, "name": "n"})).unwrap();
    struct Case<'a>(&'a Place, &'a str, &'a str);
    for Case(place, kind, detail) in [
        Case(
            &Place::Global,
            "Dataplane",
            "Dataplane belongs to a zone: a Dataplane comes with its proxy (`higuma dp run \
             --dataplane-file …`) at the zone's control plane",
        ),
        Case(
            &Place::Global,
            "ZoneIngress",
            "ZoneIngress belongs to a zone: it comes with its proxy (`higuma ingress run`) at the \
             zone's control plane",
        ),
        Case(
            &zone,
            "Mesh",
            "Mesh is written at the global control plane: apply it there, and zone east gets it \
             from there",
        ),
        Case(
            &zone,
            "TrafficPermission",
            "TrafficPermission is written at the global control plane: apply it there, and zone \
             east gets it from there",
        ),
        Case(&alone, "Zone", "a zone without a global control plane has no Zone resources"),
        Case(
            &Place::Global,
            "Secret",
            "Secret is written by the control plane itself, on no one's request",
        ),
        Case(
            &zone,
            "DataplaneInsight",
            "DataplaneInsight is written by the control plane itself, on no one's request",
        ),
    ] {
        let snapshot = testing::snapshot([default_mesh()]);
        let expected = Rejection::NotHere { detail: detail.to_owned() };
        assert_eq!(put(&snapshot, place, from(kind)).unwrap_err(), expected);
        let key = from(kind).key();
        assert_eq!(admission(&snapshot, place).delete(&key, None).unwrap_err(), expected);
    }
}

#[test]
fn a_standalone_zone_takes_operators_and_proxies() {
    let place = Place::Standalone("east".into());
    let admitted =
        put(&testing::snapshot([]), &place, testing::mesh("default").document()).unwrap();
    let transaction = admitted.transaction.as_ref().unwrap();
    assert_eq!(transaction.writer, Owner::zone("east"));
    let snapshot = testing::snapshot([default_mesh()]);
    assert!(put(&snapshot, &place, web().document()).is_ok());
    assert!(put(&snapshot, &place, allow_all().document()).is_ok());
}

#[test]
fn a_zone_stamps_its_proxies() {
    let snapshot = testing::snapshot([default_mesh()]);
    let document = web().tag("kuma.io/zone", "lie").document();
    let admitted = admission(&snapshot, &east()).register(document).unwrap();
    let inbound = &spec(&admitted)["networking"]["inbound"][0];
    assert_eq!(inbound["tags"], json!({"kuma.io/service": "web", "kuma.io/zone": "east"}));
    let draft = draft(&admitted);
    assert_eq!(draft.audience, Audience::None);
    let expected = [
        (labels::ENV, "universal"),
        (labels::MESH, "default"),
        (labels::ORIGIN, "zone"),
        (labels::PROXY_TYPE, "sidecar"),
        (labels::ZONE, "east"),
    ];
    assert_eq!(draft.labels, testing::tags(&expected));

    let gateway = testing::dataplane("gw").tag("kuma.io/service", "gw").gateway();
    let admitted = put(&snapshot, &east(), gateway.document()).unwrap();
    assert_eq!(spec(&admitted)["networking"]["gateway"]["tags"]["kuma.io/zone"], "east");
    assert_eq!(self::draft(&admitted).labels[labels::PROXY_TYPE], "gateway");
}

#[test]
fn only_a_proxy_registers() {
    let snapshot = testing::snapshot([default_mesh()]);
    let refused = admission(&snapshot, &Place::Standalone("e".into()))
        .register(testing::mesh("m").document())
        .unwrap_err();
    assert_eq!(refused.to_string(), "a proxy comes with a Dataplane or ZoneIngress, not a Mesh");
}

#[test]
fn an_ingress_keeps_what_was_computed_about_it() {
    let ingress = || testing::zone_ingress("in").zone("lie").advertised("10.0.0.1", 10001);
    let admitted = put(&testing::snapshot([]), &east(), ingress().document()).unwrap();
    assert_eq!(spec(&admitted)["zone"], "east");
    assert_eq!(draft(&admitted).audience, Audience::AllBut(Owner::zone("east")));
    assert_eq!(draft(&admitted).labels[labels::PROXY_TYPE], "zoneingress");
    let key = ingress().document().key();
    assert_eq!(checks(&admitted), [Check::Absent(key.clone())]);

    let stored = ingress().zone("east").available("m", &[("kuma.io/service", "web")], 2);
    let snapshot = testing::snapshot([stored.resource(Owner::zone("east"), 4)]);
    let moved = ingress().address("192.168.0.2", 10001).available("m", &[("x", "y")], 9);
    let admitted = put(&snapshot, &east(), moved.document()).unwrap();
    assert_eq!(
        spec(&admitted)["availableServices"],
        json!([{"tags": {"kuma.io/service": "web"}, "instances": 2, "mesh": "m"}])
    );
    assert_eq!(checks(&admitted), [Check::Unchanged { key, modified_at: 4 }]);
    assert_eq!(
        admitted.warnings,
        ["availableServices: is computed by the control plane; what was sent is left out"]
    );
}

#[test]
fn labels_follow_the_place() {
    struct Case<'a> {
        place: Place,
        label: (&'a str, &'a str),
        finding: Option<(&'a str, &'a str)>,
    }
    let case = |place, label, finding| Case { place, label, finding };
    let origin = "labels[\"kuma.io/origin\"]";
    let zone = "labels[\"kuma.io/zone\"]";
    for Case { place, label, finding } in [
        case(Place::Global, (labels::ORIGIN, "global"), None),
        case(
            Place::Global,
            (labels::ORIGIN, "zone"),
            Some((origin, "the origin label must be set to 'global'")),
        ),
        case(
            Place::Global,
            (labels::ZONE, "east"),
            Some((zone, "is set by the zone that a resource comes from")),
        ),
        case(
            Place::Global,
            (labels::MESH, "x"),
            Some(("labels[\"kuma.io/mesh\"]", "must be default, its mesh")),
        ),
        case(east(), (labels::ORIGIN, "zone"), None),
        case(
            east(),
            (labels::ORIGIN, "global"),
            Some((origin, "the origin label must be set to 'zone'")),
        ),
        case(east(), (labels::ZONE, "east"), None),
        case(east(), (labels::ZONE, "west"), Some((zone, "must be east, the zone it is in"))),
    ] {
        let snapshot = testing::snapshot([default_mesh()]);
        let document = match place {
            Place::Global => allow_all().label(label.0, label.1).document(),
            _ => web().label(label.0, label.1).document(),
        };
        let result = put(&snapshot, &place, document).map_err(invalid).map(|_| ());
        let expected = finding.map(|(field, reason)| vec![(field.to_owned(), reason.to_owned())]);
        assert_eq!(result.err(), expected, "{label:?} at {place:?}");
    }
}

#[test]
fn what_names_a_resource_elsewhere_is_fixed() {
    let named = |name: &str| allow_all().label(labels::DISPLAY_NAME, name);
    let snapshot = testing::snapshot([default_mesh(), named("a").resource(Owner::Global, 2)]);
    let expected =
        [("labels[\"kuma.io/display-name\"]".to_owned(), "cannot be changed".to_owned())];
    for changed in [named("b"), allow_all()] {
        let refused = put(&snapshot, &Place::Global, changed.document()).unwrap_err();
        assert_eq!(invalid(refused), expected);
    }
    let admitted = put(&snapshot, &Place::Global, named("a").label("x", "y").document()).unwrap();
    let key = allow_all().document().key();
    assert!(checks(&admitted).contains(&Check::Unchanged { key, modified_at: 2 }));
}

#[test]
fn all_findings_at_once() {
    let document = Document::parse(json!({
        "type": "TrafficPermission", "name": "Bad", "mesh": "default",
        "labels": {"kuma.io/origin": "zone"}, "sources": 5, "destinations": [],
    }));
    let snapshot = testing::snapshot([default_mesh()]);
    let found = invalid(put(&snapshot, &Place::Global, document.unwrap()).unwrap_err());
    let fields: Vec<_> = found.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(fields, ["name", "sources", "destinations", "labels[\"kuma.io/origin\"]"]);
}

#[test]
fn unknown_fields_warn_or_are_refused() {
    let document = Document::parse(json!({
        "type": "Mesh", "name": "m", "mtls": {"colour": 1}, "shape": 2,
    }));
    let document = document.unwrap();
    let snapshot = testing::snapshot([]);
    let admitted = put(&snapshot, &Place::Global, document.clone()).unwrap();
    assert_eq!(
        admitted.warnings,
        [
            "shape: is no field of Mesh; it was left out",
            "mtls.colour: is no field of Mesh; it was left out",
        ]
    );
    let strict = Admission { strict: true, ..admission(&snapshot, &Place::Global) };
    let found = invalid(strict.put(document, None).unwrap_err());
    assert_eq!(
        found,
        [
            ("shape".to_owned(), "is no field of Mesh".to_owned()),
            ("mtls.colour".to_owned(), "is no field of Mesh".to_owned()),
        ]
    );
}

#[test]
fn preconditions() {
    let stored = allow_all().resource(Owner::Global, 2);
    let key = stored.key.clone();
    let with = testing::snapshot([default_mesh(), stored]);
    let without = testing::snapshot([default_mesh()]);
    let changed = || allow_all().label("a", "b").document();
    let unchanged = |modified_at| Check::Unchanged { key: key.clone(), modified_at };
    struct Case<'a> {
        snapshot: &'a Snapshot,
        precondition: Precondition,
        expected: Result<Check, Option<u64>>,
    }
    let case = |snapshot, precondition, expected| Case { snapshot, precondition, expected };
    for Case { snapshot, precondition, expected } in [
        case(&with, Precondition::Version(2), Ok(unchanged(2))),
        case(&with, Precondition::Version(1), Err(Some(2))),
        // This node is behind what the caller has seen: the state machine decides.
        case(&with, Precondition::Version(3), Ok(unchanged(3))),
        case(&with, Precondition::Exists, Ok(Check::Exists(key.clone()))),
        case(&with, Precondition::Absent, Err(Some(2))),
        case(&without, Precondition::Version(1), Err(None)),
        case(&without, Precondition::Exists, Err(None)),
        case(&without, Precondition::Absent, Ok(Check::Absent(key.clone()))),
    ] {
        let result = admission(snapshot, &Place::Global).put(changed(), Some(precondition));
        let shown = format!("{precondition:?}, {} resources", snapshot.len());
        match expected {
            Ok(demand) => {
                assert_eq!(result.unwrap().transaction.unwrap().demands, [demand], "{shown}");
            }
            Err(have) => {
                let expected = Rejection::Precondition { key: key.clone(), have };
                assert_eq!(result.unwrap_err(), expected, "{shown}");
            }
        }
    }
    // Identical, but the demand is not decided yet.
    let ahead = Some(Precondition::Version(3));
    let admitted = admission(&with, &Place::Global).put(allow_all().document(), ahead).unwrap();
    assert!(admitted.transaction.is_some());
}

#[test]
fn a_resource_of_another_owner_is_left_alone() {
    let stored = web().resource(Owner::zone("west"), 2);
    let key = stored.key.clone();
    let snapshot = testing::snapshot([default_mesh(), stored]);
    let foreign = Rejection::Foreign { key: key.clone(), owner: Owner::zone("west") };
    assert_eq!(put(&snapshot, &east(), web().document()).unwrap_err(), foreign);
    assert_eq!(admission(&snapshot, &east()).delete(&key, None).unwrap_err(), foreign);
}

#[test]
fn a_name_leaves_room_for_its_zone() {
    let name = "a".repeat(248);
    let snapshot = testing::snapshot([default_mesh()]);
    let document = testing::dataplane(&name).tag("kuma.io/service", "web").inbound(8080);
    let found = invalid(put(&snapshot, &east(), document.document()).unwrap_err());
    let reason = "the length of the name must be shorter";
    assert_eq!(found, [("name".to_owned(), reason.to_owned())]);
}

#[test]
fn a_resource_fits_one_entry() {
    let mut policy = allow_all();
    let long = "v".repeat(60_000);
    for index in 0..18 {
        policy = policy.source(&[(&index.to_string(), &long)]);
    }
    let snapshot = testing::snapshot([default_mesh()]);
    let found = invalid(put(&snapshot, &Place::Global, policy.document()).unwrap_err());
    assert_eq!(found.len(), 1);
    assert!(found[0].1.ends_with("at most 1048576 are taken"), "{found:?}");
}

#[test]
fn what_the_control_plane_writes_itself() {
    let subscription = DiscoverySubscription {
        id: "1".to_owned(),
        connect_time: Some("2026-01-01T00:00:00Z".to_owned()),
        ..DiscoverySubscription::default()
    };
    let mut insight = DataplaneInsight { subscriptions: vec![subscription], mtls: None };
    insight.subscriptions[0].status.total.responses_sent = 3;
    assert!(insight.is_online());
    let draft = east().draft("default", "web-1", &insight).unwrap();
    let Spec::Json(json) = &draft.spec else { panic!("secret") };
    assert_eq!(
        &**json,
        r#"{"subscriptions":[{"id":"1","connectTime":"2026-01-01T00:00:00Z","status":{"total":{"responsesSent":"3"},"cds":{},"eds":{},"lds":{},"rds":{}}}]}"#
    );
    assert_eq!(serde_json::from_str::<DataplaneInsight>(json).unwrap(), insight);
    assert_eq!(draft.labels[labels::ORIGIN], "zone");
    assert_eq!(draft.audience, Audience::None);

    let zone = Place::Global.draft("", "east", &Zone { enabled: Some(true) }).unwrap();
    assert_eq!(zone.spec, Spec::Json(r#"{"enabled":true}"#.into()));
}
