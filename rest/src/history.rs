//! What was: the changes of a resource, a mesh or of all; a resource as it was; what differs.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use higuma_model::{
    Key, Kind, Resource, Scope, Timestamp, Violation, parse_rfc3339, render, rfc3339,
};
use higuma_serve::Peer;
use higuma_store::{Change, Consistency, Edit, Filter, History, HistoryError};
use http::request::Parts;
use http::{Method, StatusCode, Uri, header};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::api::{Api, Shared};
use crate::error::{ApiError, Doing};
use crate::path::Target;

/// What ends the path of a history.
const SUFFIX: &str = "/_history";
/// Changes on a page, unless asked for, and at most.
const DEFAULT_SIZE: usize = 100;
const MAX_SIZE: usize = 1000;

/// What a history is asked of; none: the path asks for no history.
pub(crate) fn target(path: &str) -> Option<Filter> {
    let path = path.trim_end_matches('/').strip_suffix(SUFFIX)?;
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts[..] {
        [""] => Some(Filter::default()),
        ["meshes", mesh] => Some(Filter { mesh: Some(mesh.to_owned()), ..Filter::default() }),
        _ => match Target::parse(path)? {
            Target::One(key) => Some(Filter::of(&key)),
            Target::All { kind, mesh } => Some(Filter { kind: Some(kind), mesh, name: None }),
        },
    }
}

/// Answers a request for a history.
pub(crate) async fn answer(api: &Api, filter: Filter, request: &Parts) -> Result<Answer, ApiError> {
    if request.method != Method::GET {
        return Err(ApiError::not_allowed("the history is read only: use GET"));
    }
    let mut asked = Asked::parse(&request.uri, &["type", "size", "before"])?;
    asked.filter.kind = asked.filter.kind.or(filter.kind);
    let filter = Filter { kind: asked.filter.kind, ..filter };
    let version = current(api, asked.consistency).await?;
    let page = api.store.history().page(filter, asked.before, asked.size).await?;
    let items: Vec<Value> = page.changes.iter().map(change).collect();
    let next = page.before.map(|before| next_page(request, before));
    let body = json!({"items": items, "next": next, "compacted": page.compacted});
    Ok(Answer { status: StatusCode::OK, version, modified_at: None, body, replayed: false })
}

/// Whether a resource is asked for as it was.
pub(crate) fn asks_at(uri: &Uri) -> bool {
    let pairs = uri.query().unwrap_or_default().split('&');
    pairs.into_iter().any(|pair| pair.split('=').next() == Some("at"))
}

/// `GET …?at=VERSION|TIME`: a resource as it was.
pub(crate) async fn at(api: &Api, key: &Key, request: &Parts) -> Result<Answer, ApiError> {
    let asked = Asked::parse(&request.uri, &["at"])?;
    let now = current(api, asked.consistency).await?;
    let history = api.store.history();
    let moment = asked.at.unwrap_or(Moment::Version(now));
    let version = moment.version(history).await?;
    let resource = history.at(key, version).await?.ok_or_else(|| {
        let detail = format!("{key} did not exist at version {version}");
        ApiError::new(StatusCode::NOT_FOUND, Doing::Get.title(), detail)
    })?;
    Ok(Answer {
        status: StatusCode::OK,
        version,
        modified_at: None,
        body: render(&resource),
        replayed: false,
    })
}

/// `GET /_diff?from=&to=`: what leads from one version to another.
pub(crate) async fn diff(State(api): Shared, request: Request) -> Response {
    difference(&api, &request.into_parts().0).await.into_response()
}

async fn difference(api: &Api, request: &Parts) -> Result<Answer, ApiError> {
    let asked = Asked::parse(&request.uri, &["from", "to", "type", "mesh", "name"])?;
    let now = current(api, asked.consistency).await?;
    let history = api.store.history();
    let from = asked.from.unwrap_or(Moment::Version(now)).version(history).await?;
    let to = asked.to.unwrap_or(Moment::Version(now)).version(history).await?;
    let edits = history.diff(from, to, asked.filter).await?;
    let changes: Vec<Value> = edits.iter().map(edit).collect();
    let body = json!({"from": from, "to": to, "changes": changes});
    Ok(Answer { status: StatusCode::OK, version: now, modified_at: None, body, replayed: false })
}

/// The version of the state, once the history has all of it.
async fn current(api: &Api, consistency: Consistency) -> Result<u64, ApiError> {
    let read = api.store.read(consistency).await;
    let version = read.map_err(|error| (Doing::List, error))?.version();
    api.store.history().reaches(version).await?;
    Ok(version)
}

/// One version as JSON: what it changed, who asked for it, when, from where and why.
pub(crate) fn change(change: &Change) -> Value {
    let origin = &change.origin;
    json!({
        "version": change.version,
        "at": rfc3339(change.at),
        "who": origin.who.as_deref(),
        "from": origin.from.as_deref(),
        "node": (origin.node != 0).then_some(origin.node),
        "reason": origin.reason.as_deref(),
        "changes": change.edits.iter().map(edit).collect::<Vec<_>>(),
    })
}

fn edit(edit: &Edit) -> Value {
    let operation = match (&edit.before, &edit.after) {
        (None, _) => "created",
        (Some(_), Some(_)) => "updated",
        (Some(_), None) => "deleted",
    };
    let value = |resource: &Option<std::sync::Arc<Resource>>| {
        resource.as_ref().map(|resource| render(resource))
    };
    let mut shown = json!({"operation": operation, "type": edit.key.kind().name()});
    if edit.key.kind().scope() == Scope::Mesh {
        shown["mesh"] = edit.key.mesh().into();
    }
    shown["name"] = edit.key.name().into();
    shown["value"] = value(&edit.after).into();
    shown["previous"] = value(&edit.before).into();
    shown["previousVersion"] = edit.before.as_ref().map(|before| before.modified_at).into();
    shown
}

/// A version, or the newest one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Version(u64),
    Time(Timestamp),
}

impl Moment {
    fn parse(text: &str) -> Option<Self> {
        let version = text.parse().ok().map(Self::Version);
        version.or_else(|| parse_rfc3339(text).map(Self::Time))
    }

    async fn version(self, history: &History) -> Result<u64, HistoryError> {
        match self {
            Self::Version(version) => Ok(version),
            Self::Time(at) => history.version_at(at).await,
        }
    }
}

/// What a URL asks of the history; anything else is refused.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) filter: Filter,
    consistency: Consistency,
    size: usize,
    before: Option<u64>,
    at: Option<Moment>,
    from: Option<Moment>,
    to: Option<Moment>,
}

impl Asked {
    /// Reads the parameters named in `taken`, and how fresh the answer must be.
    pub(crate) fn parse(uri: &Uri, taken: &[&str]) -> Result<Self, ApiError> {
        let invalid = |wrong: Vec<Violation>| ApiError::invalid(Doing::History, wrong);
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| invalid(vec![violation("", error.to_string())]))?;
        let mut asked = Self {
            filter: Filter::default(),
            consistency: Consistency::Linearizable,
            size: DEFAULT_SIZE,
            before: None,
            at: None,
            from: None,
            to: None,
        };
        let mut wrong = Vec::new();
        for (key, value) in &pairs.0 {
            let known = taken.contains(&&**key) || key == "consistency";
            let set =
                if known { asked.set(key, value) } else { Err("is not supported here".into()) };
            wrong.extend(set.err().map(|reason: String| violation(key, reason)));
        }
        if wrong.is_empty() { Ok(asked) } else { Err(invalid(wrong)) }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let moment = || {
            Moment::parse(value).map(Some).ok_or_else(|| {
                "must be a version, or a time such as 2026-01-31T14:00:00Z".to_owned()
            })
        };
        match key {
            "consistency" => match value {
                "linearizable" => self.consistency = Consistency::Linearizable,
                "stale" => self.consistency = Consistency::Stale,
                _ => return Err("must be \"linearizable\" or \"stale\"".to_owned()),
            },
            "size" => match value.parse() {
                Ok(size) if (1..=MAX_SIZE).contains(&size) => self.size = size,
                _ => return Err(format!("must be a number from 1 to {MAX_SIZE}")),
            },
            "before" => {
                let before = value.parse().map_err(|_| "must be a version".to_owned())?;
                self.before = Some(before);
            }
            "at" => self.at = moment()?,
            "from" => self.from = moment()?,
            "to" => self.to = moment()?,
            "type" => {
                let kind: Kind = value.parse().map_err(|error| format!("{error}"))?;
                self.filter.kind = Some(kind);
            }
            "mesh" => self.filter.mesh = Some(value.to_owned()),
            _ => self.filter.name = Some(value.to_owned()),
        }
        Ok(())
    }

    /// The version that a watch begins after.
    pub(crate) fn begins_after(&self) -> Result<Option<u64>, ApiError> {
        match self.from {
            None => Ok(None),
            Some(Moment::Version(version)) => Ok(Some(version)),
            Some(Moment::Time(_)) => {
                let wrong = vec![violation("from", "must be a version")];
                Err(ApiError::invalid(Doing::History, wrong))
            }
        }
    }
}

fn violation(field: &str, reason: impl Into<String>) -> Violation {
    Violation { field: field.to_owned(), reason: reason.into() }
}

fn next_page(request: &Parts, before: u64) -> String {
    let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let is_tls = request.extensions.get::<Peer>().is_some_and(|peer| peer.tls);
    let scheme = if is_tls { "https" } else { "http" };
    let (host, path) = (host.unwrap_or("localhost"), request.uri.path());
    let mut url = format!("{scheme}://{host}{path}?before={before}");
    for pair in request.uri.query().unwrap_or_default().split('&') {
        if !pair.is_empty() && pair.split('=').next() != Some("before") {
            url.push('&');
            url.push_str(pair);
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_what_a_history_is_of() {
        let mesh = |name: &str| Some(name.to_owned());
        for (path, expected) in [
            ("/_history", Some(Filter::default())),
            ("/meshes/m/_history", Some(Filter { mesh: mesh("m"), ..Filter::default() })),
            (
                "/meshes/m/traffic-routes/r/_history",
                Some(Filter::of(&Key::new(Kind::TrafficRoute, "m", "r"))),
            ),
            ("/zones/east/_history", Some(Filter::of(&Key::new(Kind::Zone, "", "east")))),
            ("/meshes/m/traffic-routes/r", None),
            ("/nothing/_history", None),
        ] {
            assert_eq!(target(path), expected, "{path}");
        }
    }

    #[test]
    fn moments_are_versions_or_times() {
        assert_eq!(Moment::parse("12"), Some(Moment::Version(12)));
        let time = Moment::parse("1970-01-01T00:00:01.5Z");
        assert_eq!(time, Some(Moment::Time(Timestamp(1_500))));
        for wrong in ["", "-1", "yesterday", "2026-01-31"] {
            assert_eq!(Moment::parse(wrong), None, "{wrong}");
        }
    }
}
