//! Permissions as Envoy's RBAC: who may call an inbound, by the URIs of certificates.

use envoy_types::pb::envoy::config::rbac::v3 as pb;
use envoy_types::pb::envoy::config::rbac::v3::principal::{Authenticated, Identifier, Set};
use higuma_model::spec::{SERVICE_TAG, Selector, TrafficPermission};

use crate::envoy::exact;
use crate::index::matching::Policy;
use crate::names;

/// Rules that allow nobody.
pub(crate) fn deny_all() -> pb::Rbac {
    pb::Rbac { action: pb::rbac::Action::Allow.into(), ..Default::default() }
}

/// Rules that allow the sources of a permission, and nobody without one. One policy at most, since
/// a map of several has no order.
pub(crate) fn rules(mesh: &str, permission: Option<&Policy<TrafficPermission>>) -> pb::Rbac {
    let Some(permission) = permission else { return deny_all() };
    let anything = pb::Permission { rule: Some(pb::permission::Rule::Any(true)) };
    let policy = pb::Policy {
        permissions: vec![anything],
        principals: permission.spec.sources.iter().map(|source| principal(mesh, source)).collect(),
        ..Default::default()
    };
    if policy.principals.is_empty() {
        return deny_all();
    }
    pb::Rbac {
        action: pb::rbac::Action::Allow.into(),
        policies: [(permission.name.to_string(), policy)].into(),
        ..Default::default()
    }
}

/// All tags of a source together; `*` asks for nothing, the certificate is of the mesh anyway.
fn principal(mesh: &str, source: &Selector) -> pb::Principal {
    let asked = source.tags.iter().filter(|(_, value)| *value != "*");
    let mut all: Vec<pb::Principal> = asked.map(|(key, value)| tag(mesh, key, value)).collect();
    match all.len() {
        0 => pb::Principal { identifier: Some(Identifier::Any(true)) },
        1 => all.remove(0),
        _ => pb::Principal { identifier: Some(Identifier::AndIds(Set { ids: all })) },
    }
}

fn tag(mesh: &str, key: &str, value: &str) -> pb::Principal {
    let uri = if key == SERVICE_TAG {
        names::spiffe_id(mesh, value)
    } else {
        format!("kuma://{key}/{value}")
    };
    let peer = Authenticated { principal_name: Some(exact(uri)) };
    pb::Principal { identifier: Some(Identifier::Authenticated(peer)) }
}
