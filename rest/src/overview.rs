//! Overviews: a zone or a proxy with its insight, as Kuma shows them, and in `higuma` what it
//! runs.

use std::sync::Arc;

use higuma_model::resource::labels;
use higuma_model::spec::{DataplaneInsight, Zone, ZoneInsight};
use higuma_model::{Key, Kind, KindSpec, Resource, Snapshot, Spec, render};
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::answer::Answer;
use crate::api::Api;
use crate::error::{ApiError, Doing};
use crate::path::Target;
use crate::progress::{Laggard, ProxyProgress, ZoneProgress};
use crate::read;

/// What ends the path of an overview, and Kuma's older form of it within the path.
const SUFFIX: &str = "/_overview";
const OLD_SUFFIX: &str = "+insights";

/// The resource or list that an overview is asked of; none: the path asks for no overview.
pub(crate) fn target(path: &str) -> Option<Target> {
    let path = path.trim_end_matches('/');
    let plain = match path.strip_suffix(SUFFIX) {
        Some(plain) => plain.to_owned(),
        None if path.contains(OLD_SUFFIX) => path.replacen(OLD_SUFFIX, "", 1),
        None => return None,
    };
    Target::parse(&plain).filter(|target| names(target.kind()).is_some())
}

/// Answers a request for an overview.
pub(crate) async fn answer(api: &Api, target: Target, request: &Parts) -> Result<Answer, ApiError> {
    if request.method != Method::GET {
        return Err(ApiError::not_allowed("overviews are read only: use GET"));
    }
    match target {
        Target::All { kind, mesh } => {
            let show = |snapshot: &Snapshot, resource: &Resource| view(api, snapshot, resource);
            read::list(api, kind, mesh.as_deref(), request, show).await
        }
        Target::One(key) => {
            let snapshot = read::snapshot(api, Doing::Get, &request.uri).await?.0;
            let resource = read::found(&snapshot, &key)?;
            Ok(Answer {
                status: StatusCode::OK,
                version: snapshot.version(),
                modified_at: Some(resource.modified_at),
                body: view(api, &snapshot, resource),
                replayed: false,
            })
        }
    }
}

/// Kuma's names for a kind's overview: its type, the field of the spec, and that of the insight.
fn names(kind: Kind) -> Option<[&'static str; 3]> {
    match kind {
        Kind::Zone => Some(["ZoneOverview", "zone", "zoneInsight"]),
        Kind::Dataplane => Some(["DataplaneOverview", "dataplane", "dataplaneInsight"]),
        Kind::ZoneIngress => Some(["ZoneIngressOverview", "zoneIngress", "zoneIngressInsight"]),
        _ => None,
    }
}

fn view(api: &Api, snapshot: &Snapshot, resource: &Resource) -> Value {
    let key = &resource.key;
    let Some([overview, spec, insight]) = names(key.kind()) else { return render(resource) };
    let bare = Resource { spec: Spec::Json("{}".into()), ..resource.clone() };
    let mut view = render(&bare);
    view["type"] = overview.into();
    view[spec] = plain(resource);
    let stored = insight_key(key).and_then(|key| snapshot.get(&key));
    if let Some(stored) = stored {
        view[insight] = plain(stored);
    }
    let state = match key.kind() {
        Kind::Zone => zone_state(api, snapshot, resource, api.progress.zone(key.name()).as_ref()),
        _ => proxy_state(api, snapshot, resource, stored),
    };
    view["higuma"] = json!({
        "version": state.version,
        "upToDate": state.up_to_date,
        "status": match (state.fenced, state.online) {
            (true, _) => "Fenced",
            (false, true) => "Online",
            (false, false) => "Offline",
        },
        "reason": state.reason,
    });
    view
}

/// What `higuma` says of a zone or a proxy.
#[derive(Debug, Default, PartialEq, Eq)]
struct State {
    online: bool,
    /// Connected, but it does not follow this global.
    fenced: bool,
    version: Option<u64>,
    up_to_date: Option<bool>,
    reason: Option<String>,
}

fn zone_state(
    api: &Api,
    snapshot: &Snapshot,
    zone: &Resource,
    progress: Option<&ZoneProgress>,
) -> State {
    let offline = |reason: &str| State { reason: Some(reason.to_owned()), ..State::default() };
    let enabled = zone.decode::<Zone>().is_ok_and(|zone| zone.enabled.unwrap_or(true));
    if !enabled {
        return offline("the zone is disabled");
    }
    let Some(holder) = holder(snapshot, zone.key.name()) else {
        return offline("its control plane is not connected");
    };
    let online = State { online: true, ..State::default() };
    match progress {
        Some(ZoneProgress { fenced: Some(why), .. }) => {
            let reason = format!("it does not follow this global: {why}");
            State { fenced: true, up_to_date: Some(false), reason: Some(reason), ..online }
        }
        Some(progress) => State {
            version: Some(progress.version),
            up_to_date: Some(progress.up_to_date),
            reason: (!progress.up_to_date).then(|| behind(progress)),
            ..online
        },
        None if holder == api.store.node().to_string() => {
            State { reason: Some("it has not reported yet".to_owned()), ..online }
        }
        None => State { reason: Some(elsewhere(&holder)), ..online },
    }
}

fn proxy_state(
    api: &Api,
    snapshot: &Snapshot,
    proxy: &Resource,
    insight: Option<&Arc<Resource>>,
) -> State {
    let own = api.place.zone().map(ToString::to_string);
    let zone = proxy.labels.get(labels::ZONE).cloned().or_else(|| own.clone()).unwrap_or_default();
    let progress = api.progress.proxy(&proxy.key, &zone);
    // A zone knows its own; elsewhere what the zone wrote last counts as long as it is there.
    let holder = holder(snapshot, &zone);
    let zone_is_here = own.as_ref() == Some(&zone);
    let zone_is_online = zone_is_here || holder.is_some();
    let online = match (proxy.key.kind(), insight) {
        // An ingress leaves the store with its stream: it has no insight of its own.
        (Kind::ZoneIngress, _) if zone_is_here => progress.is_some(),
        (Kind::ZoneIngress, _) => zone_is_online,
        (_, Some(insight)) => insight.decode::<DataplaneInsight>().is_ok_and(|i| i.is_online()),
        (_, None) => false,
    };
    if !online {
        let reason = "its proxy is not connected to the zone".to_owned();
        return State { reason: Some(reason), ..State::default() };
    }
    match (progress, holder) {
        (Some(ProxyProgress { version, up_to_date, reason }), _) => {
            let (version, up_to_date) = (Some(version), Some(up_to_date));
            State { online, version, up_to_date, reason, ..State::default() }
        }
        (None, _) if !zone_is_online => {
            let reason = format!("zone {zone} is offline; this is what it said last");
            State { online, reason: Some(reason), ..State::default() }
        }
        (None, Some(holder)) if !zone_is_here && holder != api.store.node().to_string() => {
            State { online, reason: Some(elsewhere(&holder)), ..State::default() }
        }
        (None, _) => {
            let reason = "what it runs is not reported yet".to_owned();
            State { online, reason: Some(reason), ..State::default() }
        }
    }
}

/// Which node of the global holds a zone's stream; none: the zone is offline.
fn holder(snapshot: &Snapshot, zone: &str) -> Option<String> {
    let insight = snapshot.get(&Key::new(Kind::ZoneInsight, "", zone))?;
    let insight: ZoneInsight = insight.decode().ok()?;
    let open = insight.subscriptions.into_iter().rev().find(|s| s.is_open())?;
    Some(open.global_instance_id)
}

fn elsewhere(node: &str) -> String {
    format!("node {node} of the global holds the zone's stream: ask it")
}

fn behind(progress: &ZoneProgress) -> String {
    let Some(Laggard { mesh, name, version, reason }) = progress.laggards.first() else {
        return format!("what was written after version {} is on its way", progress.received);
    };
    let why = if reason.is_empty() { "it has not confirmed yet" } else { reason };
    let mesh = if mesh.is_empty() { String::new() } else { format!(" of mesh {mesh}") };
    format!("the proxy furthest behind, {name}{mesh}, runs version {version}: {why}")
}

fn insight_key(key: &Key) -> Option<Key> {
    match key.kind() {
        Kind::Zone => Some(Key::new(ZoneInsight::KIND, "", key.name())),
        Kind::Dataplane => Some(Key::new(DataplaneInsight::KIND, key.mesh(), key.name())),
        _ => None,
    }
}

/// The spec alone. One that can't be read shows as an empty one, as everywhere.
fn plain(resource: &Resource) -> Value {
    let Spec::Json(json) = &resource.spec else { return Value::Object(Map::new()) };
    serde_json::from_str(json).unwrap_or_else(|_| Value::Object(Map::new()))
}

#[cfg(test)]
mod tests;
