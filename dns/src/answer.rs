//! What a query is answered. Pure.

use std::net::Ipv4Addr;

use higuma_model::vip::DOMAIN;

use crate::NameTable;

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    /// In any case, with or without the last dot.
    pub name: &'a str,
    pub query_type: QueryType,
}

/// What of a name is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryType {
    /// IPv4 addresses, or anything there is (`ANY`).
    A,
    /// IPv6 addresses.
    Aaaa,
    /// What no name of `.mesh` has.
    Other,
}

/// What to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Address(Ipv4Addr),
    /// The name exists and has nothing of the type asked for: `NOERROR`, no records. An `NXDOMAIN`
    /// to an AAAA query would make resolvers drop the A of the same name too.
    Empty,
    /// `NXDOMAIN`.
    NoSuchName,
    /// Not of `.mesh`: other name servers know.
    Forward,
}

/// Answers one question.
///
/// ```
/// use higuma_dns::{Answer, NameTable, Query, QueryType, answer};
///
/// let query = |name| Query { name, query_type: QueryType::A };
/// assert_eq!(answer(&NameTable::default(), &query("web.mesh")), Answer::NoSuchName);
/// assert_eq!(answer(&NameTable::default(), &query("example.org.")), Answer::Forward);
/// ```
pub fn answer(names: &NameTable, query: &Query<'_>) -> Answer {
    let name = query.name.strip_suffix('.').unwrap_or(query.name).to_ascii_lowercase();
    if name != DOMAIN && !name.strip_suffix(DOMAIN).is_some_and(|above| above.ends_with('.')) {
        return Answer::Forward;
    }
    match names.address(&name) {
        Some(address) if query.query_type == QueryType::A => Answer::Address(address),
        _ if names.exists(&name) => Answer::Empty,
        _ => Answer::NoSuchName,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use higuma_model::spec::SERVICE_TAG;
    use higuma_model::testing::{self, dataplane, snapshot, zone_ingress};
    use higuma_model::{Owner, Snapshot, vip};

    use super::*;

    /// A state with these services in the zone, the last in another; with their addresses.
    fn state(services: &[&str]) -> Snapshot {
        let (there, here) = services.split_last().unwrap();
        let mut state = snapshot([zone_ingress("west-1")
            .available("default", &[(SERVICE_TAG, there)], 1)
            .resource(Owner::zone("west"), 1)]);
        for service in here {
            let proxy = dataplane(&format!("{}-1", service.to_ascii_lowercase()));
            let proxy = proxy.tag(SERVICE_TAG, service).inbound(80);
            state.put(Arc::new(proxy.resource(Owner::zone("east"), 2)));
        }
        for (hostname, address) in vip::allocate(&state, vip::hostnames(&state)) {
            state.put(Arc::new(testing::vip(&hostname, address, "east", 3)));
        }
        state
    }

    #[test]
    fn answers() {
        struct Case(&'static str, QueryType, &'static str);
        let state = state(&["web", "Shop", "demo_default_svc_80", "a_b.c", "a.b_c", "billing"]);
        let names = NameTable::of(&state);
        for Case(name, query_type, expected) in [
            Case("web.mesh", QueryType::A, "address of web.mesh"),
            Case("web.mesh.", QueryType::A, "address of web.mesh"),
            Case("WEB.Mesh.", QueryType::A, "address of web.mesh"),
            Case("shop.mesh", QueryType::A, "address of shop.mesh"),
            Case("billing.mesh", QueryType::A, "address of billing.mesh"),
            Case("web.mesh", QueryType::Aaaa, "empty"),
            Case("web.mesh.", QueryType::Other, "empty"),
            Case("demo_default_svc_80.mesh", QueryType::A, "address of demo_default_svc_80.mesh"),
            Case("demo.default.svc.80.mesh", QueryType::A, "address of demo_default_svc_80.mesh"),
            Case("default.svc.80.mesh", QueryType::A, "empty"),
            Case("80.mesh", QueryType::Aaaa, "empty"),
            Case("default.svc.mesh", QueryType::A, "no such name"),
            // Two services want it: the first in order has it, whoever came first.
            Case("a.b.c.mesh", QueryType::A, "address of a.b_c.mesh"),
            Case("mesh", QueryType::A, "empty"),
            Case("mesh.", QueryType::Other, "empty"),
            Case("nobody.mesh", QueryType::A, "no such name"),
            Case("nobody.mesh.", QueryType::Aaaa, "no such name"),
            Case("x.web.mesh", QueryType::A, "no such name"),
            Case(".mesh", QueryType::A, "no such name"),
            Case("web", QueryType::A, "forward"),
            Case("", QueryType::A, "forward"),
            Case(".", QueryType::Other, "forward"),
            Case("web.mesh.org", QueryType::A, "forward"),
            Case("webmesh", QueryType::Aaaa, "forward"),
            Case("web.mesh..", QueryType::A, "forward"),
        ] {
            let given = match answer(&names, &Query { name, query_type }) {
                Answer::Address(address) => {
                    let of = vip::addresses(&state).find(|(_, vip)| *vip == address);
                    format!("address of {}", of.map_or("nobody", |(name, _)| name))
                }
                Answer::Empty => "empty".to_owned(),
                Answer::NoSuchName => "no such name".to_owned(),
                Answer::Forward => "forward".to_owned(),
            };
            assert_eq!(given, expected, "{name} {query_type:?}");
        }
    }

    #[test]
    fn a_service_that_is_gone_has_no_name_and_keeps_its_address() {
        let mut state = state(&["web", "billing"]);
        let before = NameTable::of(&state);
        assert_eq!((before.len(), NameTable::of(&state.clone()) == before), (2, true));
        let web = dataplane("web-1").document().key();
        let back = state.remove(&web, 9).unwrap();
        let after = NameTable::of(&state);
        assert_eq!((after.len(), after.address("web.mesh")), (1, None));
        state.put(back);
        assert_eq!(NameTable::of(&state), before, "it comes back to the same address");
    }

    #[test]
    fn a_service_without_an_address_has_no_name_yet() {
        let web = dataplane("web-1").tag(SERVICE_TAG, "web").inbound(80);
        let state = snapshot([web.resource(Owner::zone("east"), 1)]);
        assert!(NameTable::of(&state).is_empty());
    }
}
