//! How far zones and their proxies are, as whoever holds their streams knows it.
//!
//! Held in memory by those who know, never in the store: acknowledged versions would feed
//! themselves. A node that holds no stream of a zone knows nothing of it and says so.

use std::collections::BTreeSet;

use axum::extract::State;
use higuma_model::{Key, Kind, Snapshot};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::answer::Answer;
use crate::api::{Api, Shared};

/// What this node knows of progress. Its answers are immediate.
pub trait Progress: Send + Sync {
    /// How far a zone is; none where this node does not hold its streams.
    fn zone(&self, zone: &str) -> Option<ZoneProgress>;

    /// What a proxy of a zone runs, by the key under which it is stored here; none where that is
    /// not known here.
    fn proxy(&self, key: &Key, zone: &str) -> Option<ProxyProgress>;
}

/// How far a zone is. Versions are the global's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ZoneProgress {
    /// The zone's control plane has every change up to here.
    pub received: u64,
    /// So has every proxy of the zone.
    pub version: u64,
    /// Proxies whose streams are open.
    pub proxies: u32,
    /// The proxies furthest behind; bounded by whoever reports.
    pub laggards: Vec<Laggard>,
    /// How old this knowledge is.
    pub age_ms: u64,
    /// Whether nothing that concerns the zone's proxies was written since.
    pub up_to_date: bool,
    /// Why the zone does not follow the global; none: it does.
    pub fenced: Option<String>,
}

/// A proxy that has not confirmed the newest version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Laggard {
    pub mesh: String,
    /// The name that the zone gave it.
    pub name: String,
    pub version: u64,
    /// Empty: it takes its time.
    pub reason: String,
}

/// What a proxy runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyProgress {
    /// It runs every change up to here, at least.
    pub version: u64,
    pub up_to_date: bool,
    /// Why it is not, or what it refused.
    pub reason: Option<String>,
}

/// Knows nothing: for a control plane that holds no streams.
pub struct NoProgress;

impl Progress for NoProgress {
    fn zone(&self, _: &str) -> Option<ZoneProgress> {
        None
    }

    fn proxy(&self, _: &Key, _: &str) -> Option<ProxyProgress> {
        None
    }
}

/// `GET /_progress`: the zones that this node knows about. A client that waits for a version asks
/// all nodes, and takes the youngest answer about each zone.
pub(crate) async fn progress(State(api): Shared) -> Answer {
    let snapshot = api.store.snapshot();
    let known = zones(&api, &snapshot).into_iter().filter_map(|zone| {
        let progress = api.progress.zone(&zone)?;
        Some((zone, json!(progress)))
    });
    let zones: Map<String, Value> = known.collect();
    let version = snapshot.version();
    let body = json!({"version": version, "zones": zones});
    Answer { status: StatusCode::OK, version, modified_at: None, body, replayed: false }
}

fn zones(api: &Api, snapshot: &Snapshot) -> BTreeSet<String> {
    let stored = snapshot.of_kind(Kind::Zone).map(|zone| zone.key.name().to_owned());
    stored.chain(api.place.zone().map(ToString::to_string)).collect()
}
