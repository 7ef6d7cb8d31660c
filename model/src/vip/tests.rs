use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::Author;
use crate::resource::{Audience, Labels, Owner};
use crate::testing::{self, dataplane, zone_ingress};

fn resource(hostname: &str, address: Ipv4Addr) -> Resource {
    testing::vip(hostname, address, "east", 1)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_vip_is_the_zones_alone_and_nobody_writes_it_by_hand() {
    let vip = resource("web.mesh", Ipv4Addr::new(240, 0, 0, 7));
    assert_eq!((vip.audience.clone(), vip.labels.clone()), (Audience::None, Labels::new()));
    assert_eq!(vip.spec, crate::Spec::Json(r#"{"address":"240.0.0.7"}"#.into()));
    let info = Kind::Vip.info();
    assert_eq!((info.path, info.author, info.hashed), ("vips", Author::ControlPlane, false));
}

#[test]
fn host_names_of_services() {
    let long = "a".repeat(64);
    let deep = "abc.".repeat(63) + "a";
    for (service, expected, other) in [
        ("backend", Some("backend.mesh"), None),
        ("Backend-2", Some("backend-2.mesh"), None),
        ("back.end", Some("back.end.mesh"), None),
        ("demo_default_svc_80", Some("demo_default_svc_80.mesh"), Some("demo.default.svc.80.mesh")),
        ("_a", Some("_a.mesh"), None),
        ("a__b", Some("a__b.mesh"), None),
        ("a:b", None, None),
        ("", None, None),
        ("a..b", None, None),
        (".a", None, None),
        (&long, None, None),
        (&deep, None, None),
    ] {
        let name = hostname(service);
        assert_eq!(name.as_deref(), expected, "{service}");
        assert_eq!(name.and_then(|name| dotted(&name)).as_deref(), other, "{service}");
    }
}

#[test]
fn the_zone_knows_its_own_services_and_those_behind_every_ingress() {
    let tag = "kuma.io/service";
    let state = testing::snapshot([
        dataplane("web-1").tag(tag, "web").inbound(80).resource(Owner::zone("east"), 1),
        dataplane("edge").mesh("other").tag(tag, "edge").gateway().resource(Owner::zone("east"), 2),
        zone_ingress("west-1")
            .available("default", &[(tag, "billing")], 1)
            .available("other", &[(tag, "no:name")], 1)
            .resource(Owner::zone("west"), 3),
    ]);
    assert_eq!(Vec::from_iter(hostnames(&state)), ["billing.mesh", "edge.mesh", "web.mesh"]);
}

/// Written down: a later version must not move them.
#[test]
fn addresses_follow_from_the_name() {
    let state = testing::snapshot([]);
    let given = allocate(&state, names(&["web.mesh", "backend.mesh", "web.mesh"]));
    let given: Vec<_> = given.iter().map(|(name, vip)| format!("{name} {vip}")).collect();
    assert_eq!(given, ["backend.mesh 244.248.112.215", "web.mesh 240.101.68.141"]);
}

#[test]
fn a_taken_address_is_passed_over_for_the_next() {
    let [(name, first)] = &allocate(&testing::snapshot([]), names(&["web.mesh"]))[..] else {
        panic!("one name, one address");
    };
    let state = testing::snapshot([resource("other.mesh", *first)]);
    let moved = allocate(&state, [name.clone()]);
    let at =
        (0..ADDRESSES).find(|at| address((fnv1a(name.bytes()) + at) % ADDRESSES) == moved[0].1);
    assert_eq!(at, Some(1), "{first} {moved:?}");
}

#[test]
fn the_range_has_no_edges_and_no_one_elses_part() {
    let ends = [0, LAST_OCTETS - 1, LAST_OCTETS, (LAST_OCTETS << 16) - 1, LAST_OCTETS << 16];
    let ends: Vec<_> = ends.map(|at| address(at).to_string()).to_vec();
    assert_eq!(ends, ["240.0.0.1", "240.0.0.254", "240.0.1.1", "240.255.255.254", "244.0.0.1"]);
    assert_eq!(address(ADDRESSES - 1).to_string(), "255.255.255.254");
}

#[test]
fn a_full_zone_gives_no_more() {
    let full = (0..MAX_VIPS as u64).map(|at| resource(&format!("s{at}.mesh"), address(at)));
    let state = testing::snapshot(full);
    assert_eq!(allocate(&state, names(&["web.mesh", "s1.mesh"])), []);
}

proptest! {
    /// Names arrive in any order and any number of times: an address, once given, stays; no two
    /// names share one; and what is given follows from the state and the set of names alone.
    #[test]
    fn once_given_never_changed(rounds in prop::collection::vec(
        prop::collection::vec("[ab]{1,3}", 0..6), 1..8,
    )) {
        let (mut state, mut known) = (testing::snapshot([]), BTreeMap::<String, Ipv4Addr>::new());
        for round in rounds {
            let round: Vec<String> = round.iter().filter_map(|name| hostname(name)).collect();
            let given = allocate(&state, round.clone());
            let reversed = round.iter().rev().chain(&round).cloned();
            prop_assert_eq!(&given, &allocate(&state, reversed));
            for (name, vip) in given {
                prop_assert!(!known.contains_key(&name), "{} again", name);
                prop_assert!(known.values().all(|other| *other != vip), "{} shared", vip);
                prop_assert!(vip.octets()[0] >= 240 && !(241..=243).contains(&vip.octets()[0]));
                prop_assert!(!matches!(vip.octets()[3], 0 | 255));
                state.put(Arc::new(resource(&name, vip)));
                known.insert(name, vip);
            }
            prop_assert!(round.iter().all(|name| known.contains_key(name)));
            let stored: BTreeMap<_, _> =
                addresses(&state).map(|(name, vip)| (name.to_owned(), vip)).collect();
            prop_assert_eq!(&stored, &known);
        }
    }
}
