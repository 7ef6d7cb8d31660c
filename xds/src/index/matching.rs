//! Which policy applies: the most specific that matches (Kuma, legacy selectors).

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use higuma_model::spec::{SERVICE_TAG, Tags};
use higuma_model::spec::{Selector, TrafficPermission, TrafficRoute};
use higuma_model::{Key, Timestamp};

/// A policy with what decides between equally specific ones.
#[derive(Debug)]
pub(crate) struct Policy<T> {
    pub(crate) key: Key,
    /// The name that its owner gave it; equal in every zone.
    pub(crate) name: Arc<str>,
    pub(crate) created: Timestamp,
    pub(crate) spec: T,
}

/// How specific a match is: all tags count first, then those that ask for an exact value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    tags: usize,
    exact: usize,
}

impl Rank {
    fn of(selector: &Selector) -> Self {
        let exact = selector.tags.values().filter(|value| *value != "*").count();
        Self { tags: selector.tags.len(), exact }
    }

    fn plus(self, other: Self) -> Self {
        Self { tags: self.tags + other.tags, exact: self.exact + other.exact }
    }
}

/// The best selector that matches any of the tag sets.
fn best<'a>(
    selectors: &[Selector],
    mut tags: impl Iterator<Item = &'a Tags> + Clone,
) -> Option<Rank> {
    let matching = selectors.iter().filter(|s| tags.clone().any(|tags| s.matches(tags)));
    let rank = matching.map(Rank::of).max();
    debug_assert!(rank.is_none() || tags.next().is_some());
    rank
}

/// Most specific, then youngest, then first by name.
fn order<T>(a: &(Rank, &Arc<Policy<T>>), b: &(Rank, &Arc<Policy<T>>)) -> Ordering {
    let weight = |(rank, policy): &(Rank, &Arc<Policy<T>>)| {
        (*rank, policy.created, Reverse((policy.name.clone(), policy.key.clone())))
    };
    weight(a).cmp(&weight(b))
}

/// The one permission that rules an inbound with these tags: the permission whose destinations fit best.
pub(crate) fn permission<'a>(
    policies: impl Iterator<Item = &'a Arc<Policy<TrafficPermission>>>,
    inbound: &Tags,
) -> Option<&'a Arc<Policy<TrafficPermission>>> {
    let ranked = policies.filter_map(|policy| {
        let rank = best(&policy.spec.destinations, std::iter::once(inbound))?;
        Some((rank, policy))
    });
    ranked.max_by(order).map(|(_, policy)| policy)
}

/// The one route that rules what a proxy with these tag sets sends to a service.
pub(crate) fn route<'a>(
    policies: impl Iterator<Item = &'a Arc<Policy<TrafficRoute>>>,
    sources: &[&Tags],
    service: &str,
) -> Option<&'a Arc<Policy<TrafficRoute>>> {
    let destination = Tags::from([(SERVICE_TAG.to_owned(), service.to_owned())]);
    let ranked = policies.filter_map(|policy| {
        let source = best(&policy.spec.sources, sources.iter().copied())?;
        let rank = best(&policy.spec.destinations, std::iter::once(&destination))?;
        Some((rank.plus(source), policy))
    });
    ranked.max_by(order).map(|(_, policy)| policy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use higuma_model::Kind;

    fn selector(text: &str) -> Selector {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        let tags =
            pairs.map(|(key, value)| (key.replace("service", SERVICE_TAG), value.to_owned()));
        Selector { tags: tags.collect() }
    }

    fn policy(name: &str, created: i64, destination: &str) -> Arc<Policy<TrafficPermission>> {
        Arc::new(Policy {
            key: Key::new(Kind::TrafficPermission, "default", name),
            name: name.into(),
            created: Timestamp(created),
            spec: TrafficPermission {
                sources: vec![selector("service=*")],
                destinations: vec![selector(destination)],
            },
        })
    }

    #[test]
    fn the_most_specific_permission_rules() {
        struct Case {
            what: &'static str,
            policies: Vec<Arc<Policy<TrafficPermission>>>,
            winner: Option<&'static str>,
        }
        let cases = [
            Case {
                what: "none matches",
                policies: vec![policy("a", 1, "service=api")],
                winner: None,
            },
            Case {
                what: "an exact value beats a wildcard",
                policies: vec![policy("a", 2, "service=*"), policy("b", 1, "service=web")],
                winner: Some("b"),
            },
            Case {
                what: "more tags beat an exact value",
                policies: vec![
                    policy("a", 1, "service=*,version=*"),
                    policy("b", 1, "service=web"),
                ],
                winner: Some("a"),
            },
            Case {
                what: "the younger wins a tie",
                policies: vec![policy("a", 1, "service=web"), policy("b", 2, "service=web")],
                winner: Some("b"),
            },
            Case {
                what: "the first name wins a full tie",
                policies: vec![policy("b", 1, "service=web"), policy("a", 1, "service=web")],
                winner: Some("a"),
            },
            Case {
                what: "a wildcard asks for the tag",
                policies: vec![policy("a", 1, "service=web,team=*")],
                winner: None,
            },
        ];
        let inbound = selector("service=web,version=v1").tags;
        for case in cases {
            let won = permission(case.policies.iter(), &inbound).map(|policy| &*policy.name);
            assert_eq!(won, case.winner, "{}", case.what);
        }
    }

    #[test]
    fn a_route_needs_both_ends() {
        let route_of = |name: &str, source: &str, destination: &str| {
            Arc::new(Policy {
                key: Key::new(Kind::TrafficRoute, "default", name),
                name: name.into(),
                created: Timestamp(1),
                spec: TrafficRoute {
                    sources: vec![selector(source)],
                    destinations: vec![selector(destination)],
                    ..TrafficRoute::default()
                },
            })
        };
        let routes = [
            route_of("all", "service=*", "service=*"),
            route_of("from-web", "service=web", "service=*"),
            route_of("to-api", "service=*", "service=api"),
            route_of("other", "service=db", "service=api"),
        ];
        let source = selector("service=web").tags;
        let won = |sources: &[&Tags], service: &str| {
            route(routes.iter(), sources, service).map(|policy| policy.name.to_string())
        };
        assert_eq!(won(&[&source], "db").as_deref(), Some("from-web"));
        assert_eq!(won(&[&source], "api").as_deref(), Some("from-web"), "a tie: first by name");
        assert_eq!(won(&[&selector("service=x").tags], "api").as_deref(), Some("to-api"));
        assert_eq!(won(&[], "api"), None, "a proxy without tags is no source");
    }
}
