//! What a request needs its caller to be allowed, by its method and URL alone.
//!
//! What is not listed here is for administrators: a route that is added is closed until it is
//! opened.

use higuma_model::{Author, Key, Kind, Scope};
use higuma_store::Filter;
use http::{Method, Uri};

use crate::caller::Caller;
use crate::history::{self, Asked};
use crate::overview;
use crate::path::Target;
use crate::roles::{Right, Within};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nobody has to be known.
    Nothing,
    Admin,
    /// All of these.
    Rights(Vec<(Right, Kind, Within)>),
    /// To read something, whatever it is.
    Something,
    /// To write something; what, the body says.
    Operations,
}

impl Needs {
    pub(crate) fn of(method: &Method, uri: &Uri) -> Self {
        let path = uri.path();
        let reads = *method == Method::GET;
        match path {
            "/" | "/who-am-i" if reads => return Self::Nothing,
            // They tell of nodes and zones, which are in no mesh.
            "/_cluster" | "/_progress" if reads => return Self::read(Kind::Zone, Within::All),
            "/_transactions" => return Self::Operations,
            "/_diff" | "/_watch" if reads => return Self::past(Filter::default(), uri),
            _ => {}
        }
        if let Some(target) = overview::target(path) {
            return Self::target(method, target);
        }
        if let Some(filter) = history::target(path) {
            return if reads { Self::past(filter, uri) } else { Self::Admin };
        }
        Target::parse(path).map_or(Self::Admin, |target| Self::target(method, target))
    }

    fn read(kind: Kind, within: Within) -> Self {
        Self::Rights(vec![(Right::Read, kind, within)])
    }

    fn target(method: &Method, target: Target) -> Self {
        match (method.clone(), target) {
            (_, target) if matches!(target.kind(), Kind::Secret | Kind::GlobalSecret) => {
                Self::Admin
            }
            (Method::GET, Target::One(key)) => Self::read(key.kind(), Within::of(&key)),
            (Method::GET, Target::All { kind, mesh: Some(mesh) }) => {
                Self::read(kind, Within::Mesh(mesh))
            }
            (Method::GET, Target::All { kind, mesh: None }) => Self::read(kind, anywhere(kind)),
            (Method::PUT, Target::One(key)) => Self::Rights(to_write(&key, false)),
            (Method::DELETE, Target::One(key)) => Self::Rights(to_write(&key, true)),
            _ => Self::Admin,
        }
    }

    /// All that a history, a difference or a watch may show.
    fn past(filter: Filter, uri: &Uri) -> Self {
        let taken = ["from", "to", "type", "mesh", "name", "size", "before"];
        let Ok(Asked { filter: asked, .. }) = Asked::parse(uri, &taken) else {
            // Nothing is shown for what can't be read; whoever answers says what is wrong with it.
            return Self::Something;
        };
        let kind = asked.kind.or(filter.kind);
        let (mesh, name) = (filter.mesh.or(asked.mesh), filter.name.or(asked.name));
        let kept = Kind::ALL.into_iter().filter(|kind| kind.info().author == Author::Operator);
        let kinds = kept.filter(|one| kind.is_none_or(|kind| kind == *one));
        let within = |kind: Kind| match (kind, &mesh, &name) {
            (Kind::Mesh, Some(mesh), _) | (Kind::Mesh, None, Some(mesh)) => {
                Some(Within::Mesh(mesh.clone()))
            }
            (kind, Some(mesh), _) if kind.scope() == Scope::Mesh => {
                Some(Within::Mesh(mesh.clone()))
            }
            (kind, Some(_), _) if kind.scope() == Scope::Global => None,
            _ => Some(Within::All),
        };
        let rights: Vec<_> =
            kinds.filter_map(|kind| Some((Right::Read, kind, within(kind)?))).collect();
        // Of kinds whose history is not kept.
        if rights.is_empty() { Self::Admin } else { Self::Rights(rights) }
    }

    /// Why the caller may not; none: they may.
    pub(crate) fn missing(&self, caller: &Caller) -> Option<String> {
        if caller.is_admin() {
            return None;
        }
        match self {
            Self::Nothing => None,
            Self::Admin => {
                Some("may not do this: it is for administrators, of mesh-system:admin".to_owned())
            }
            Self::Rights(rights) => caller.lacks(rights),
            Self::Something if caller.may_something(Right::Read) => None,
            Self::Something => Some("may not read anything".to_owned()),
            Self::Operations if caller.may_something(Right::Write) => None,
            Self::Operations => Some("may not write anything".to_owned()),
        }
    }
}

/// Where a list of a kind is from that names no mesh.
fn anywhere(kind: Kind) -> Within {
    match (kind, kind.scope()) {
        (Kind::Mesh, _) | (_, Scope::Mesh) => Within::Any,
        (_, Scope::Global) => Within::All,
    }
}

/// To change a resource; whoever deletes a Mesh deletes what is in it.
pub(crate) fn to_write(key: &Key, deletes: bool) -> Vec<(Right, Kind, Within)> {
    let within = Within::of(key);
    let mut rights = vec![(Right::Write, key.kind(), within.clone())];
    if deletes && key.kind() == Kind::Mesh {
        let in_meshes = Kind::ALL
            .into_iter()
            .filter(|kind| kind.scope() == Scope::Mesh && kind.info().author == Author::Operator);
        rights.extend(in_meshes.map(|kind| (Right::Write, kind, within.clone())));
    }
    rights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn every_route_needs_something_and_what_is_unknown_an_administrator() {
        use Right::{Read, Write};
        let mesh = |name: &str| Within::Mesh(name.to_owned());
        let rights = |list: &[(Right, Kind, Within)]| Needs::Rights(list.to_vec());
        let read = |kind, within: Within| rights(&[(Read, kind, within)]);
        let all_of_mesh = |right, name: &str| {
            [Kind::Mesh, Kind::TrafficPermission, Kind::TrafficRoute]
                .map(|kind| (right, kind, mesh(name)))
                .to_vec()
        };
        let everything = rights(&[
            (Read, Kind::Mesh, Within::All),
            (Read, Kind::Zone, Within::All),
            (Read, Kind::TrafficPermission, Within::All),
            (Read, Kind::TrafficRoute, Within::All),
        ]);
        let route = "/meshes/m/traffic-routes";
        for (method, path, expected) in [
            ("GET", "/", Needs::Nothing),
            ("GET", "/who-am-i", Needs::Nothing),
            ("POST", "/", Needs::Admin),
            ("GET", "/_cluster", read(Kind::Zone, Within::All)),
            ("GET", "/_progress", read(Kind::Zone, Within::All)),
            ("POST", "/_transactions", Needs::Operations),
            ("GET", "/_watch", everything.clone()),
            ("GET", "/_diff?from=1", everything.clone()),
            ("GET", "/_history", everything),
            ("POST", "/_watch", Needs::Admin),
            ("GET", "/_watch?mesh=m", Needs::Rights(all_of_mesh(Read, "m"))),
            ("GET", "/meshes/m/_history", Needs::Rights(all_of_mesh(Read, "m"))),
            // What the URL's path says is not widened by its query.
            ("GET", "/meshes/m/_history?mesh=other", Needs::Rights(all_of_mesh(Read, "m"))),
            ("GET", "/meshes/m/_history?type=TrafficRoute", read(Kind::TrafficRoute, mesh("m"))),
            ("GET", "/_watch?type=Mesh&name=m", read(Kind::Mesh, mesh("m"))),
            ("GET", "/_watch?type=TrafficRoute&name=r", read(Kind::TrafficRoute, Within::All)),
            ("GET", "/_watch?type=Zone", read(Kind::Zone, Within::All)),
            ("GET", "/_watch?type=Secret", Needs::Admin),
            ("GET", "/_diff?from=0&type=GlobalSecret", Needs::Admin),
            ("GET", "/meshes/m/_history?type=Zone", Needs::Admin),
            ("GET", "/_watch?type=Pod", Needs::Something),
            ("GET", "/zones/east/_history", read(Kind::Zone, Within::All)),
            ("GET", "/meshes", read(Kind::Mesh, Within::Any)),
            ("GET", "/meshes/m", read(Kind::Mesh, mesh("m"))),
            ("GET", "/meshes/m?at=7", read(Kind::Mesh, mesh("m"))),
            ("PUT", "/meshes/m", rights(&[(Write, Kind::Mesh, mesh("m"))])),
            ("DELETE", "/meshes/m", Needs::Rights(all_of_mesh(Write, "m"))),
            ("GET", "/traffic-routes", read(Kind::TrafficRoute, Within::Any)),
            ("GET", route, read(Kind::TrafficRoute, mesh("m"))),
            (
                "PUT",
                "/meshes/m/traffic-routes/r",
                rights(&[(Write, Kind::TrafficRoute, mesh("m"))]),
            ),
            ("POST", route, Needs::Admin),
            ("GET", "/zones", read(Kind::Zone, Within::All)),
            ("PUT", "/zones/east", rights(&[(Write, Kind::Zone, Within::All)])),
            ("GET", "/zones/_overview", read(Kind::Zone, Within::All)),
            ("GET", "/zones+insights", read(Kind::Zone, Within::All)),
            ("GET", "/dataplanes/_overview", read(Kind::Dataplane, Within::Any)),
            ("GET", "/meshes/m/dataplanes/_overview", read(Kind::Dataplane, mesh("m"))),
            ("GET", "/meshes/m/dataplanes/d/_overview", read(Kind::Dataplane, mesh("m"))),
            ("GET", "/meshes/m/dataplane-insights/d", read(Kind::DataplaneInsight, mesh("m"))),
            ("GET", "/meshes/m/secrets", Needs::Admin),
            ("GET", "/secrets", Needs::Admin),
            ("GET", "/globalsecrets/user-token-signing-key-1", Needs::Admin),
            ("POST", "/tokens/user", Needs::Admin),
            ("GET", "/tokens/user/signing-keys", Needs::Admin),
            ("GET", "/_kds", Needs::Admin),
            ("POST", "/_kds/adopt", Needs::Admin),
            ("GET", "/what-ever", Needs::Admin),
            ("GET", "/meshes/m/what-ever", Needs::Admin),
        ] {
            let needs = Needs::of(&method.parse().unwrap(), &path.parse().unwrap());
            assert_eq!(needs, expected, "{method} {path}");
        }
    }
}
