//! What may never break, as far as it concerns the generators.

use std::sync::Arc;

use higuma_model::{Key, Kind};
use higuma_xds::{Config, Index, Problem, Proxy, ProxyKind, ResourceType};

use crate::cases;

/// Invariant 1: no IO, no clock, no random number: the same snapshot gives the same bytes.
#[test]
fn config_is_a_function() {
    for case in cases::all() {
        for proxy in case.proxies() {
            let (first, first_problems) = case.config(&proxy);
            let (again, problems): (_, Vec<Problem>) = case.config(&proxy);
            for kind in ResourceType::ALL {
                let bytes = |config: &Config| -> Vec<Vec<u8>> {
                    config.of(kind).values().map(|encoded| encoded.any().value.clone()).collect()
                };
                assert_eq!(bytes(&first), bytes(&again), "{} {kind:?}", case.name());
            }
            assert_eq!(first, again);
            assert_eq!(first_problems, problems);
        }
    }
}

/// However the index came to a snapshot, it generates the same.
#[test]
fn an_updated_index_equals_a_new_one() {
    let cases = cases::all();
    for from in &cases {
        let index = Index::new(cases::ZONE, &from.snapshot);
        for to in &cases {
            let mut followed = index.clone();
            followed.update(&to.snapshot, &to.snapshot.since(&from.snapshot));
            let fresh = Index::new(cases::ZONE, &to.snapshot);
            for proxy in to.proxies() {
                let generate = |index| higuma_xds::config(index, &proxy, cases::identity());
                let what = format!("{} to {}: {}", from.name(), to.name(), proxy.key);
                assert_eq!(generate(&followed), generate(&fresh), "{what}");
            }
            let offered = higuma_xds::available_services;
            assert_eq!(offered(&followed), offered(&fresh), "{} to {}", from.name(), to.name());
            assert!(followed.problems().eq(fresh.problems()), "{} to {}", from.name(), to.name());
        }
    }
}

/// Proxies share what is the same for them, and a change leaves alone what it does not concern.
#[test]
fn a_change_touches_what_it_concerns() {
    let dataplane = |name: &str, at: u8, service: &str| {
        format!(
            "type: Dataplane\nname: {name}\nmesh: default\nnetworking:\n  address: 10.0.0.{at}\n  \
             inbound: [{{port: 80, servicePort: 81, tags: {{kuma.io/service: {service}}}}}]\n  \
             outbound:\n  - {{port: 1, tags: {{kuma.io/service: a}}}}\n  \
             - {{port: 2, tags: {{kuma.io/service: b}}}}\n"
        )
    };
    let mesh = "type: Mesh\nname: default\n".to_owned();
    let mut documents =
        vec![mesh, dataplane("a-1", 1, "a"), dataplane("b-1", 2, "b"), dataplane("c-1", 3, "c")];
    let before = cases::snapshot(&cases::resources(&documents.join("---\n")));
    documents.push(dataplane("b-2", 4, "b"));
    let after = cases::snapshot(&cases::resources(&documents.join("---\n")));
    let config = |index: &Index, name: &str| -> Config {
        let key = Key::new(Kind::Dataplane, "default", name);
        let zone = cases::ZONE.into();
        let proxy = Proxy { key, kind: ProxyKind::Sidecar, zone, bind_outbounds: true };
        higuma_xds::config(index, &proxy, cases::identity()).0
    };
    let mut index = Index::new(cases::ZONE, &before);
    let (first, second) = (config(&index, "a-1"), config(&index, "c-1"));
    index.update(&after, &after.since(&before));
    let changed = config(&index, "c-1");
    for service in ["a", "b"] {
        let same = Arc::ptr_eq(&first.clusters[service], &second.clusters[service]);
        assert!(same, "cluster {service} is shared");
        let same = Arc::ptr_eq(&first.endpoints[service], &second.endpoints[service]);
        assert!(same, "endpoints of {service} are shared");
    }
    assert!(Arc::ptr_eq(&second.endpoints["a"], &changed.endpoints["a"]), "a did not change");
    assert_ne!(second.endpoints["b"], changed.endpoints["b"]);
    assert_eq!(second.clusters, changed.clusters);
    assert_eq!((second.listeners, second.routes), (changed.listeners, changed.routes));
}
