//! How far zones are, from their reports. In memory: versions that are acknowledged never enter
//! the log, which would feed itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use higuma_kds::inbox::ZoneReport;
use higuma_kds::wire::Direction;
use higuma_model::{Key, Kind, Snapshot};
use higuma_rest::{Laggard, Progress, ProxyProgress, ZoneProgress};
use higuma_store::Store;
use tokio::sync::watch;
use tokio::time::Instant;

use super::streams::Streams;

/// A report this old says nothing of now: three times as old as the next is due.
const STALE: Duration = Duration::from_secs(30);

/// Laggards that a report names at most; below it, whoever is not named does not lag.
const MAX_LAGGARDS: usize = 16;

/// A report, and when it came.
#[derive(Debug, Clone)]
struct Reported {
    report: ZoneReport,
    at: Instant,
    /// Nothing that concerns the zone was written after `report.received` up to here.
    reached: u64,
}

/// The last report of each zone whose streams are here.
#[derive(Clone)]
pub(crate) struct Reports {
    store: Store,
    streams: Streams,
    /// At most one for each Zone.
    by_zone: Arc<watch::Sender<BTreeMap<String, Reported>>>,
}

impl Reports {
    pub(super) fn new(store: Store, streams: Streams) -> Self {
        Self { store, streams, by_zone: Arc::new(watch::Sender::new(BTreeMap::new())) }
    }

    /// Takes a report of a zone that is known, in versions of this cluster.
    pub(super) fn take(&self, report: ZoneReport) {
        let snapshot = self.store.snapshot();
        let known = snapshot.get(&Key::new(Kind::Zone, "", &report.zone)).is_some();
        let ours = report.received == 0 || report.cluster_id == snapshot.cluster().to_string();
        if !known || !ours {
            tracing::debug!(zone = report.zone, known, ours, "a report is passed over");
            return;
        }
        let reached = reached(&snapshot, &report.zone, report.received);
        let reported = Reported { at: Instant::now(), reached, report };
        self.by_zone.send_modify(|by_zone| {
            by_zone.insert(reported.report.zone.clone(), reported);
        });
    }

    /// Forgets the zones without a stream here: another node knows more of them.
    pub(super) fn keep(&self, streams: &Streams) {
        self.by_zone.send_modify(|by_zone| by_zone.retain(|zone, _| streams.any(zone)));
    }

    fn fresh(&self, zone: &str) -> Option<Reported> {
        let reported = self.by_zone.borrow().get(zone).cloned();
        reported.filter(|reported| reported.at.elapsed() < STALE)
    }

    /// What a zone said, and up to which version that still holds, in this state.
    fn now(&self, zone: &str, snapshot: &Snapshot) -> Option<Reported> {
        let mut reported = self.fresh(zone)?;
        reported.reached = reached(snapshot, zone, reported.reached);
        Some(reported)
    }
}

impl Progress for Reports {
    fn zone(&self, zone: &str) -> Option<ZoneProgress> {
        if let Some(why) = self.streams.fenced(zone) {
            // Its versions are of another history than this one.
            return Some(ZoneProgress { fenced: Some(why), ..ZoneProgress::default() });
        }
        let snapshot = self.store.snapshot();
        let reported = self.now(zone, &snapshot)?;
        let (age, lowest) = (reported.at.elapsed(), reported.holds(reported.report.version));
        let laggards = reported.report.laggards.iter().map(|laggard| Laggard {
            mesh: laggard.mesh.clone(),
            name: laggard.name.clone(),
            version: reported.holds(laggard.version),
            reason: laggard.reason.clone(),
        });
        Some(ZoneProgress {
            received: reported.reached,
            version: lowest,
            proxies: reported.report.proxies,
            laggards: laggards.collect(),
            age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            up_to_date: lowest >= snapshot.version(),
            fenced: None,
        })
    }

    fn proxy(&self, key: &Key, zone: &str) -> Option<ProxyProgress> {
        let snapshot = self.store.snapshot();
        let reported = self.now(zone, &snapshot)?;
        // A laggard is named as in its zone; here it has a hashed name.
        let name = snapshot.get(key)?.display_name().to_owned();
        let laggards = &reported.report.laggards;
        let named = laggards.iter().find(|l| l.mesh == key.mesh() && l.name == name);
        let version = match named {
            Some(laggard) => laggard.version,
            None if laggards.len() < MAX_LAGGARDS => reported.report.received,
            None => reported.report.version,
        };
        let version = reported.holds(version);
        let up_to_date = version >= snapshot.version();
        let why = |text: &str| (!up_to_date).then(|| text.to_owned());
        let reason = match named.map(|laggard| laggard.reason.as_str()) {
            Some("") => why("it has not confirmed yet"),
            Some(reason) => Some(reason.to_owned()),
            None => why("what was written since is on its way"),
        };
        Some(ProxyProgress { version, up_to_date, reason })
    }
}

impl Reported {
    /// A version of the report, or the version up to which it is as good.
    fn holds(&self, version: u64) -> u64 {
        if version >= self.report.received { self.reached } else { version }
    }
}

/// The state's version, if nothing after `version` concerns the zone; else `version`.
///
/// A zone hears of no version in which nothing is for it, so that it would look behind while it
/// has all there is.
fn reached(snapshot: &Snapshot, zone: &str, version: u64) -> u64 {
    let direction = Direction::ToZone(zone.into());
    let Ok(changes) = snapshot.changes_since(version) else { return version };
    let concerned = changes.upserts.iter().any(|resource| direction.sends(resource))
        || changes.removed.iter().any(|(key, gone)| direction.concerns(key.kind(), &gone.owner));
    if concerned { version } else { version.max(snapshot.version()) }
}
