//! What each live proxy runs, and what the zone reports of it to the global. Held in memory:
//! acknowledged versions never enter a log, which would feed itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use higuma_kds::ClientState;
use higuma_kds::inbox::{Laggard, ZoneReport};
use higuma_model::{Key, Place, Snapshot};
use higuma_rest::{self as rest, ProxyProgress, ZoneProgress};
use higuma_xds::Versions;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Laggards that a report names; the rest are counted.
const MAX_LAGGARDS: usize = 16;

/// What one proxy runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) stream: u64,
    /// The last versions that it runs in full; none: it has not got its first configuration.
    pub(crate) acked: Option<Versions>,
    /// What it refused, and what was left out of its configuration.
    pub(crate) faults: Vec<String>,
}

/// All live proxies' progress.
#[derive(Clone)]
pub(crate) struct Books(Arc<watch::Sender<BTreeMap<Key, Progress>>>);

impl Books {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(BTreeMap::new())))
    }

    pub(crate) fn watch(&self) -> watch::Receiver<BTreeMap<Key, Progress>> {
        self.0.subscribe()
    }

    /// Notes what a proxy's stream says.
    pub(crate) fn note(&self, key: &Key, progress: Progress) {
        self.0.send_if_modified(|books| {
            let differs = books.get(key) != Some(&progress);
            if differs {
                books.insert(key.clone(), progress);
            }
            differs
        });
    }

    /// Forgets a proxy whose stream has ended, unless a newer stream has written since.
    pub(crate) fn forget(&self, key: &Key, stream: u64) {
        self.0.send_if_modified(|books| {
            let own = books.get(key).is_some_and(|progress| progress.stream == stream);
            own && books.remove(key).is_some()
        });
    }

    /// Resolves when no live proxy but one lags behind a local version.
    pub(crate) async fn all_at_but(&self, local: u64, but: &Key) {
        let at = |progress: &Progress| progress.acked.is_some_and(|acked| acked.local >= local);
        let all = |books: &BTreeMap<Key, Progress>| {
            books.iter().all(|(key, progress)| key == but || at(progress))
        };
        // The sender is this value's own: it can't be gone.
        let _ = self.watch().wait_for(all).await;
    }
}

/// What the zone's own REST shows of its proxies.
pub(crate) struct OwnProgress {
    pub(crate) place: Place,
    pub(crate) books: Books,
    pub(crate) snapshots: watch::Receiver<Arc<Snapshot>>,
    /// How the zone stands to its global, if it has one.
    pub(crate) global: Option<watch::Receiver<ClientState>>,
}

impl rest::Progress for OwnProgress {
    fn zone(&self, zone: &str) -> Option<ZoneProgress> {
        if self.place.zone().is_none_or(|own| **own != *zone) {
            return None;
        }
        let report = report(&self.place, &self.snapshots.borrow(), &self.books.0.borrow());
        let laggards = report.laggards.into_iter().map(|laggard| rest::Laggard {
            mesh: laggard.mesh,
            name: laggard.name,
            version: laggard.version,
            reason: laggard.reason,
        });
        Some(ZoneProgress {
            received: report.received,
            version: report.version,
            proxies: report.proxies,
            laggards: laggards.collect(),
            age_ms: 0,
            up_to_date: report.version == report.received,
            fenced: self.global.as_ref().and_then(|state| match &*state.borrow() {
                ClientState::Fenced { reason } => Some(reason.clone()),
                _ => None,
            }),
        })
    }

    fn proxy(&self, key: &Key, _: &str) -> Option<ProxyProgress> {
        let books = self.books.0.borrow();
        let progress = books.get(key)?;
        let local = self.snapshots.borrow().version();
        Some(ProxyProgress {
            version: progress.acked.map_or(0, |acked| counted(&self.place, acked)),
            up_to_date: progress.acked.is_some_and(|acked| acked.local >= local),
            reason: progress.faults.first().cloned(),
        })
    }
}

/// The version of those who write meshes and policies: the global's, or a standalone zone's own.
fn counted(place: &Place, versions: Versions) -> u64 {
    match place {
        Place::Standalone(_) => versions.local,
        Place::Zone(_) | Place::Global => versions.owner,
    }
}

/// The zone's report: how far it has followed the global, and the proxy furthest behind.
pub(crate) fn report(
    place: &Place,
    snapshot: &Snapshot,
    books: &BTreeMap<Key, Progress>,
) -> ZoneReport {
    let upstream = snapshot.upstream();
    let received = counted(place, Versions::of(snapshot));
    let owner = |progress: &Progress| progress.acked.map_or(0, |acked| counted(place, acked));
    let mut behind: Vec<(&Key, &Progress)> =
        books.iter().filter(|(_, progress)| owner(progress) < received).collect();
    behind.sort_by_key(|(_, progress)| owner(progress));
    let laggards = behind.iter().take(MAX_LAGGARDS).map(|(key, progress)| Laggard {
        mesh: key.mesh().to_owned(),
        name: key.name().to_owned(),
        version: owner(progress),
        reason: progress.faults.first().cloned().unwrap_or_default(),
    });
    ZoneReport {
        zone: place.zone().map_or_else(String::new, |zone| zone.to_string()),
        cluster_id: upstream.map_or_else(String::new, |upstream| upstream.cluster.to_string()),
        received,
        version: behind.first().map_or(received, |(_, progress)| owner(progress)),
        proxies: u32::try_from(books.len()).unwrap_or(u32::MAX),
        laggards: laggards.collect(),
    }
}

/// Keeps the report up with the proxies and the state.
pub(crate) async fn follow(
    place: Place,
    books: Books,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    reports: watch::Sender<ZoneReport>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut books = books.watch();
    loop {
        let report = {
            let (snapshot, books) = (snapshots.borrow_and_update(), books.borrow_and_update());
            report(&place, &snapshot, &books)
        };
        reports.send_if_modified(|last| {
            let differs = *last != report;
            *last = report;
            differs
        });
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = books.changed() => {}
            changed = snapshots.changed() => if changed.is_err() {
                stop.cancelled().await;
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use higuma_model::testing::mesh;
    use higuma_model::{ClusterId, Kind, Owner, Upstream};

    use super::*;

    #[test]
    fn the_report_names_the_proxy_furthest_behind() {
        let mut snapshot = Snapshot::new(ClusterId(1));
        snapshot.set_upstream(Upstream { cluster: ClusterId(7), epoch: 1, version: 40 }, 9);
        let key = |name| Key::new(Kind::Dataplane, "default", name);
        let at = |owner| Progress {
            stream: 1,
            acked: Some(Versions { owner, local: owner }),
            faults: vec![format!("refused at {owner}")],
        };
        let east = Place::Zone("east".into());
        let none = report(&east, &snapshot, &BTreeMap::new());
        assert_eq!((none.received, none.version, none.proxies), (40, 40, 0));
        let books = BTreeMap::from([(key("a"), at(40)), (key("b"), at(31)), (key("c"), at(38))]);
        let some = report(&east, &snapshot, &books);
        assert_eq!((some.received, some.version, some.proxies), (40, 31, 3));
        let named: Vec<_> = some.laggards.iter().map(|l| (l.name.as_str(), l.version)).collect();
        assert_eq!(named, [("b", 31), ("c", 38)]);
        let fresh = BTreeMap::from([(key("d"), Progress::default())]);
        assert_eq!(report(&east, &snapshot, &fresh).version, 0, "nothing acknowledged yet");

        let alone = Place::Standalone("east".into());
        let mut own = Snapshot::new(ClusterId(1));
        own.put(Arc::new(mesh("default").resource(Owner::zone("east"), 12)));
        let at = |local| Progress { acked: Some(Versions { owner: 0, local }), ..at(0) };
        let books = BTreeMap::from([(key("a"), at(12)), (key("b"), at(11))]);
        let report = report(&alone, &own, &books);
        assert_eq!((report.received, report.version), (12, 11), "its own versions");
    }
}
