//! From a URL to the resource or the list that it names.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use higuma_model::{Author, Key, Kind, Resource, Scope, Snapshot, render};
use http::Method;

use crate::api::Shared;
use crate::error::ApiError;
use crate::{history, overview, read, write};

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    One(Key),
    /// All of a kind; in one mesh if it is given.
    All {
        kind: Kind,
        mesh: Option<String>,
    },
}

impl Target {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::One(key) => key.kind(),
            Self::All { kind, .. } => *kind,
        }
    }

    /// Kuma's paths: `/P`, `/P/{name}`, `/meshes/{mesh}/P`, `/meshes/{mesh}/P/{name}`.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let global = |kind: &Kind| kind.scope() == Scope::Global;
        let in_mesh = |kind: &Kind| kind.scope() == Scope::Mesh;
        Some(match parts[..] {
            [kind] => Self::All { kind: Kind::from_path(kind)?, mesh: None },
            [kind, name] => Self::One(Key::new(Kind::from_path(kind).filter(global)?, "", name)),
            ["meshes", mesh, kind] => {
                let kind = Kind::from_path(kind).filter(in_mesh)?;
                Self::All { kind, mesh: Some(mesh.to_owned()) }
            }
            ["meshes", mesh, kind, name] => {
                Self::One(Key::new(Kind::from_path(kind).filter(in_mesh)?, mesh, name))
            }
            _ => return None,
        })
    }
}

const SECRETS_STAY: &str = "Secrets are kept inside the control plane in this version";

const fn is_secret(kind: Kind) -> bool {
    matches!(kind, Kind::Secret | Kind::GlobalSecret)
}

/// Why nobody writes a kind over REST, wherever that is; none of what operators write.
pub(crate) fn not_written_here(kind: Kind) -> Option<String> {
    match kind {
        Kind::Secret | Kind::GlobalSecret => Some(SECRETS_STAY.to_owned()),
        Kind::ZoneIngress => Some(
            "a ZoneIngress comes and goes with its proxy, in its zone: `higuma ingress run \
             --ingress-file …`"
                .to_owned(),
        ),
        kind if kind.info().author == Author::ControlPlane => {
            Some(format!("{kind} is written by the control plane itself"))
        }
        _ => None,
    }
}

/// Any request about resources.
pub(crate) async fn resource(State(api): Shared, request: Request) -> Response {
    if let Some(target) = overview::target(request.uri().path()) {
        let parts = request.into_parts().0;
        return overview::answer(&api, target, &parts).await.into_response();
    }
    if let Some(filter) = history::target(request.uri().path()) {
        let parts = request.into_parts().0;
        return history::answer(&api, filter, &parts).await.into_response();
    }
    let Some(target) = Target::parse(request.uri().path()) else {
        return ApiError::no_route(request.uri().path()).into_response();
    };
    if is_secret(target.kind()) {
        return ApiError::not_allowed(SECRETS_STAY).into_response();
    }
    let (parts, body) = request.into_parts();
    let answered = match (parts.method.clone(), target) {
        (Method::GET, Target::One(key)) if history::asks_at(&parts.uri) => {
            history::at(&api, &key, &parts).await
        }
        (Method::GET, Target::One(key)) => read::one(&api, &key, &parts.uri).await,
        (Method::GET, Target::All { kind, mesh }) => {
            let show = |_: &Snapshot, resource: &Resource| render(resource);
            read::list(&api, kind, mesh.as_deref(), &parts, show).await
        }
        (method @ (Method::PUT | Method::DELETE), Target::One(key)) => {
            if let Some(why) = not_written_here(key.kind()) {
                Err(ApiError::not_allowed(why))
            } else if method == Method::PUT {
                write::put(&api, &key, &parts, body).await
            } else {
                write::delete(&api, &key, &parts).await
            }
        }
        (method, target) => {
            Err(ApiError::not_allowed(format!("{method} is not served for {}", target.kind())))
        }
    };
    answered.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_what_kumas_name() {
        let one = |kind, mesh, name| Some(Target::One(Key::new(kind, mesh, name)));
        let all =
            |kind, mesh: Option<&str>| Some(Target::All { kind, mesh: mesh.map(str::to_owned) });
        for (path, expected) in [
            ("/meshes", all(Kind::Mesh, None)),
            ("/meshes/default", one(Kind::Mesh, "", "default")),
            ("/traffic-permissions", all(Kind::TrafficPermission, None)),
            ("/meshes/m/traffic-permissions", all(Kind::TrafficPermission, Some("m"))),
            ("/meshes/m/traffic-permissions/t", one(Kind::TrafficPermission, "m", "t")),
            ("/zones/east", one(Kind::Zone, "", "east")),
            ("/traffic-permissions/t", None),
            ("/meshes/m/zones/east", None),
            ("/meshes/m/unknown", None),
            ("/a/b/c/d/e", None),
        ] {
            assert_eq!(Target::parse(path), expected, "{path}");
        }
    }
}
