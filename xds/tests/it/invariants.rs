//! What may never break, as far as it concerns the generators.

use higuma_xds::{Index, Problem};

use crate::cases;

/// Invariant 1: no IO, no clock, no random number: the same snapshot gives the same bytes.
#[test]
fn config_is_a_function() {
    for case in cases::all() {
        for proxy in case.proxies() {
            let (first, first_problems) = case.config(&proxy);
            let (again, problems): (_, Vec<Problem>) = case.config(&proxy);
            for kind in higuma_xds::ResourceType::ALL {
                let bytes = |config: &higuma_xds::Config| -> Vec<Vec<u8>> {
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
