//! What goes with what, and what must go first.

use super::*;

#[test]
fn a_mesh_is_deleted_without_dataplanes() {
    let key = Key::mesh_resource("default");
    let empty = testing::snapshot([default_mesh()]);
    let admitted = admission(&empty, &Place::Global).delete(&key, None).unwrap();
    let transaction = admitted.transaction.unwrap();
    let check = Check::Empty { kind: Kind::Dataplane, mesh: "default".into() };
    assert_eq!(transaction.checks, [check]);
    assert_eq!(transaction.operations, [Operation::DeleteMesh("default".into())]);

    let used = testing::snapshot([default_mesh(), web().resource(Owner::zone("east"), 2)]);
    let refused = admission(&used, &Place::Global).delete(&key, None).unwrap_err();
    let reason = "unable to delete mesh, there are still some dataplanes attached";
    assert_eq!(invalid(refused), [("mesh".to_owned(), reason.to_owned())]);
}

#[test]
fn a_zone_is_deleted_when_it_is_gone() {
    let zone = || testing::zone("east").resource(Owner::Global, 1);
    let insight = |connected: bool| {
        let subscription = KdsSubscription {
            connect_time: Some("2026-01-01T00:00:00Z".to_owned()),
            disconnect_time: (!connected).then(|| "2026-01-01T00:00:01Z".to_owned()),
            ..KdsSubscription::default()
        };
        let insight = ZoneInsight { subscriptions: vec![subscription] };
        let draft = Place::Global.draft("", "east", &insight).unwrap();
        assert_eq!((&draft.audience, draft.labels.len()), (&Audience::None, 0));
        Resource { key: draft.key, spec: draft.spec, ..zone() }
    };
    let delete = |resources: Vec<Resource>| {
        let key = Key::new(Kind::Zone, "", "east");
        admission(&testing::snapshot(resources), &Place::Global).delete(&key, None)
    };
    let admitted = delete(vec![zone(), insight(false)]).unwrap();
    assert_eq!(admitted.transaction.unwrap().operations.len(), 2);
    let reason = "unable to delete Zone, Zone CP is still connected, please shut it down first";
    let refused = invalid(delete(vec![zone(), insight(true)]).unwrap_err());
    assert_eq!(refused, [("zone".to_owned(), reason.to_owned())]);
    let owned = web().resource(Owner::zone("east"), 2);
    let refused = invalid(delete(vec![zone(), owned]).unwrap_err());
    assert!(refused[0].1.starts_with("1 resources of this zone are still here"), "{refused:?}");
}

#[test]
fn a_dataplane_goes_with_its_insight() {
    let stored = web().resource(Owner::zone("east"), 2);
    let key = stored.key.clone();
    let snapshot = testing::snapshot([default_mesh(), stored]);
    let admitted = admission(&snapshot, &east()).delete(&key, None).unwrap();
    let insight = Key::new(Kind::DataplaneInsight, "default", "web-1");
    let expected = [key.clone(), insight].map(Operation::Delete);
    assert_eq!(admitted.transaction.unwrap().operations, expected);

    let absent = Key::new(Kind::Dataplane, "default", "nobody");
    let refused = admission(&snapshot, &east()).delete(&absent, None).unwrap_err();
    assert_eq!(refused, Rejection::NotFound(absent));
    let stale = Some(Precondition::Version(1));
    let refused = admission(&snapshot, &east()).delete(&key, stale).unwrap_err();
    assert_eq!(refused, Rejection::Precondition { key, have: Some(2) });
}
