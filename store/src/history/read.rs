//! What is asked of the history.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use higuma_model::{Key, Kind, Resource, Timestamp};

use super::change::{Change, Edit, keeps};
use super::record::Summary;
use super::ring::Pushed;
use super::shelf::{Shelf, ShelfError};
use super::{History, State};

/// Bytes of values on one page, and versions looked at for it: a page never holds up a node.
const PAGE_BYTES: usize = 4 << 20;
const PAGE_SCAN: usize = 20_000;
/// Resources that a difference may have, and versions that it may span.
const MAX_DIFFERENT: usize = 10_000;
const DIFF_SCAN: usize = 200_000;
/// How long a reader waits for what is still to be written: some milliseconds, but on a busy disk.
const PATIENCE: Duration = Duration::from_secs(3);
/// Bytes that a watch reads at once.
const READ_BYTES: usize = 1 << 20;

/// Why the history does not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// Changes up to this version are no longer kept; the state at it is.
    #[error(
        "the history up to version {compacted} is compacted: ask for version {compacted} or later"
    )]
    Compacted { compacted: u64 },
    #[error("version {want} is not there: the state is at version {have}")]
    NotYet { have: u64, want: u64 },
    #[error("versions of {0} are not kept; those of {kept} are", kept = kept())]
    NotKept(Kind),
    #[error("more than {0} between these versions; ask for less: one mesh, or one resource")]
    TooMuch(&'static str),
    #[error("the history of this node is at version {have} of {want}: try again, or another node")]
    Filling { have: u64, want: u64 },
    #[error("the history of this node can't be used now: {0}; try another node")]
    Unusable(String),
}

fn kept() -> String {
    let kept = Kind::ALL.into_iter().filter(|kind| keeps(*kind));
    kept.map(Kind::name).collect::<Vec<_>>().join(", ")
}

/// Which resources are meant; nothing given means all that are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub kind: Option<Kind>,
    /// What is in the mesh, and the Mesh itself.
    pub mesh: Option<String>,
    pub name: Option<String>,
}

/// Changes, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub changes: Vec<Change>,
    /// Ask for what is before this version to go on; none: that was all.
    pub before: Option<u64>,
    /// Changes up to this version are no longer kept.
    pub compacted: u64,
}

impl Filter {
    pub fn of(key: &Key) -> Self {
        let mesh = Some(key.mesh().to_owned()).filter(|mesh| !mesh.is_empty());
        Self { kind: Some(key.kind()), mesh, name: Some(key.name().to_owned()) }
    }

    pub fn matches(&self, key: &Key) -> bool {
        let in_mesh =
            |mesh: &String| key.mesh() == mesh || (key.kind() == Kind::Mesh && key.name() == mesh);
        keeps(key.kind())
            && self.kind.is_none_or(|kind| key.kind() == kind)
            && self.mesh.as_ref().is_none_or(in_mesh)
            && self.name.as_ref().is_none_or(|name| key.name() == name)
    }

    /// The one resource that is meant.
    fn one(&self) -> Option<Key> {
        let (kind, name) = (self.kind?, self.name.as_deref()?);
        match (kind.scope(), &self.mesh) {
            (higuma_model::Scope::Mesh, Some(mesh)) => Some(Key::new(kind, mesh, name)),
            (higuma_model::Scope::Mesh, None) => None,
            (higuma_model::Scope::Global, _) => Some(Key::new(kind, "", name)),
        }
    }

    fn check(&self) -> Result<(), HistoryError> {
        match self.kind {
            Some(kind) if !keeps(kind) => Err(HistoryError::NotKept(kind)),
            _ => Ok(()),
        }
    }
}

impl History {
    /// A page of the changes before a version, of all that `filter` means.
    pub async fn page(
        &self,
        filter: Filter,
        before: Option<u64>,
        size: usize,
    ) -> Result<Page, HistoryError> {
        filter.check()?;
        let compacted = self.compacted();
        // What is given up may be on disk until it is swept.
        let range = compacted..before.unwrap_or(u64::MAX);
        let read = move |shelf: &Shelf| page(shelf, &filter, range, size);
        let (changes, before) = self.read(read).await?;
        Ok(Page { changes, before, compacted })
    }

    /// A resource as it was at a version, if it was there.
    pub async fn at(&self, key: &Key, version: u64) -> Result<Option<Arc<Resource>>, HistoryError> {
        Filter::of(key).check()?;
        self.has(version)?;
        let key = key.clone();
        self.read(move |shelf| shelf.at(&key, version)).await
    }

    /// The version of the newest change at a time or before it; 0: there was none yet.
    pub async fn version_at(&self, at: Timestamp) -> Result<u64, HistoryError> {
        let compacted = self.compacted();
        match self.read(move |shelf| shelf.version_at(at)).await? {
            Some(version) => Ok(version),
            None if compacted > 0 => Err(HistoryError::Compacted { compacted }),
            None => Ok(0),
        }
    }

    /// What differs between two versions, by kind, mesh and name.
    pub async fn diff(
        &self,
        from: u64,
        to: u64,
        filter: Filter,
    ) -> Result<Vec<Edit>, HistoryError> {
        filter.check()?;
        self.has(from)?;
        self.has(to)?;
        let read = move |shelf: &Shelf| diff(shelf, from, to, &filter);
        self.read(read).await?.map_err(HistoryError::TooMuch)
    }

    /// Whether the state at a version can be told.
    pub(super) fn has(&self, version: u64) -> Result<(), HistoryError> {
        let state = self.shared.lock();
        let (compacted, have) = (state.compacted(), state.ring.version());
        if version < compacted {
            return Err(HistoryError::Compacted { compacted });
        }
        if version > have {
            return Err(HistoryError::NotYet { have, want: version });
        }
        Ok(())
    }

    /// Waits until all up to a version can be read.
    ///
    /// # Errors
    /// It is not written in time.
    pub async fn reaches(&self, version: u64) -> Result<(), HistoryError> {
        let mut written = self.shared.written.subscribe();
        self.shared.want(version);
        let reached = written.wait_for(|written| written.is_some_and(|at| at >= version));
        if let Ok(Ok(_)) = tokio::time::timeout(PATIENCE, reached).await {
            return Ok(());
        }
        Err(self.shared.lock().filling(version))
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shelf) -> Result<T, ShelfError> + Send + 'static,
    ) -> Result<T, HistoryError> {
        let shelf = {
            let state = self.shared.lock();
            let Some((shelf, _)) = &state.shelf else {
                return Err(state.filling(state.ring.version()));
            };
            shelf.clone()
        };
        let done = tokio::task::spawn_blocking(move || read(&shelf)).await;
        let error = match done {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => error,
            Err(ended) => ShelfError::Panicked(ended.to_string()),
        };
        let unusable = HistoryError::Unusable(error.to_string());
        // A version that was swept away under a reader is no damage.
        if !error.may_pass() && !matches!(error, ShelfError::Missing(v) if v <= self.compacted()) {
            self.shared.lock().doubt = Some(error);
            self.shared.wake.notify_one();
        }
        Err(unusable)
    }

    /// The next changes after a version, whoever has them, and how far they lead.
    pub(super) async fn after(
        &self,
        version: u64,
    ) -> Result<(Vec<Arc<Change>>, u64), HistoryError> {
        let floor = {
            let state = self.shared.lock();
            if let Some((changes, mark)) = state.ring.after(version, READ_BYTES) {
                let changes = changes.into_iter().map(|(_, change): Pushed| change);
                return Ok((changes.collect(), mark.version));
            }
            let compacted = state.compacted();
            if version < compacted {
                return Err(HistoryError::Compacted { compacted });
            }
            state.ring.floor()
        };
        self.reaches(floor).await?;
        let until = self.shared.written.borrow().unwrap_or(0);
        let changes = self.read(move |shelf| changes(shelf, version, until)).await?;
        let compacted = self.compacted();
        if version < compacted {
            // Swept while it was read.
            return Err(HistoryError::Compacted { compacted });
        }
        Ok(changes)
    }
}

impl State {
    fn filling(&self, want: u64) -> HistoryError {
        match (&self.trouble, &self.shelf) {
            (Some(trouble), _) => HistoryError::Unusable(trouble.clone()),
            (None, shelf) => {
                let have = shelf.as_ref().map_or(0, |(_, standing)| standing.mark.version);
                HistoryError::Filling { have, want }
            }
        }
    }
}

/// The newest changes after the begin of `range` and before its end, and where the next page goes on.
fn page(
    shelf: &Shelf,
    filter: &Filter,
    range: Range<u64>,
    size: usize,
) -> Result<(Vec<Change>, Option<u64>), ShelfError> {
    let before = range.end;
    let summaries: Box<dyn Iterator<Item = Result<Summary, ShelfError>>> = match filter.one() {
        Some(key) => Box::new(shelf.versions_of(&key, before).filter_map(|version| {
            // What the state at the compacted version keeps has a value and no change.
            version.and_then(|version| shelf.summary(version)).transpose()
        })),
        None => Box::new(shelf.summaries_back(before)),
    };
    let (mut changes, mut bytes) = (Vec::new(), 0);
    for (scanned, summary) in summaries.enumerate() {
        let summary = summary?;
        let version = summary.version;
        if version <= range.start {
            break;
        }
        let change = shelf.change(summary, |key| filter.matches(key))?;
        if !change.edits.is_empty() {
            bytes += change.size();
            changes.push(change);
        }
        if changes.len() >= size || bytes >= PAGE_BYTES || scanned >= PAGE_SCAN {
            return Ok((changes, Some(version)));
        }
    }
    Ok((changes, None))
}

fn changes(shelf: &Shelf, after: u64, until: u64) -> Result<(Vec<Arc<Change>>, u64), ShelfError> {
    let (mut changes, mut bytes) = (Vec::new(), 0);
    for summary in shelf.summaries(after, until) {
        let change = shelf.change(summary?, |_| true)?;
        let version = change.version;
        bytes += change.size();
        changes.push(Arc::new(change));
        if bytes >= READ_BYTES {
            return Ok((changes, version));
        }
    }
    Ok((changes, until))
}

/// Where a resource's values stand at both ends.
struct Ends {
    /// The version of the value before the first change; 0: none.
    before: u64,
    /// The version of the last change, unless that removed it.
    after: Option<u64>,
}

/// The difference, or what it has too many of.
fn diff(
    shelf: &Shelf,
    from: u64,
    to: u64,
    filter: &Filter,
) -> Result<Result<Vec<Edit>, &'static str>, ShelfError> {
    let (low, high) = (from.min(to), from.max(to));
    let mut ends: BTreeMap<Key, Ends> = BTreeMap::new();
    for (scanned, summary) in shelf.summaries(low, high).enumerate() {
        let summary = summary?;
        if scanned >= DIFF_SCAN {
            return Ok(Err("200,000 changes"));
        }
        for touched in summary.edits.iter().filter(|touched| filter.matches(&touched.key)) {
            let first = Ends { before: touched.before, after: None };
            let ends = ends.entry(touched.key.clone()).or_insert(first);
            ends.after = (!touched.removed).then_some(summary.version);
        }
        if ends.len() > MAX_DIFFERENT {
            return Ok(Err("10,000 resources that changed"));
        }
    }
    let mut edits = Vec::new();
    for (key, ends) in ends {
        let old = match ends.before {
            0 => None,
            version => shelf.at(&key, version)?,
        };
        let new = match ends.after {
            None => None,
            Some(version) => shelf.at(&key, version)?,
        };
        if same(old.as_deref(), new.as_deref()) {
            continue;
        }
        let (before, after) = if from <= to { (old, new) } else { (new, old) };
        edits.push(Edit { key, before, after });
    }
    Ok(Ok(edits))
}

/// Whether two values say the same, whenever they were written.
fn same(a: Option<&Resource>, b: Option<&Resource>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => {
            a.spec == b.spec && a.labels == b.labels && a.status == b.status && a.owner == b.owner
        }
        (None, None) => true,
        _ => false,
    }
}
