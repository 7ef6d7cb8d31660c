//! The history: every version of what operators wrote, on the node's own disk. It is written
//! behind what is applied, by its own thread, and can be made again from the log: it is never the
//! truth.
//!
//! ```text
//! applied entries ──► Ring (bounded, in memory) ──► watches
//!                        └──► thread ──► Shelf (sled) ──► history, at, diff, older watches
//! log ── where the ring dropped what was not written ──► thread
//! ```

mod aside;
mod change;
mod compact;
mod read;
mod record;
mod ring;
mod shelf;
mod watch;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use higuma_model::ClusterId;
use tokio::sync::watch as channel;

use crate::machine::Machine;
use crate::raft::types::{Entry, LogId};

pub use change::{Change, Edit, keeps};
pub use read::{Filter, HistoryError, Page};
pub use watch::{Seen, Watcher};

pub(crate) use change::apply_command;
pub(crate) use compact::Compactor;
pub(crate) use ring::Mark;
pub(crate) use writer::HistoryWriter;

use ring::Ring;
use shelf::{Shelf, ShelfError, Standing};

/// Bytes that may wait for the thread while it rests; far less than the ring holds.
const REST_BYTES: u64 = 1 << 20;

/// What the history is made from.
pub(crate) trait Source: Send {
    /// Some entries of the log in `from..to`, the first of them first; none: it holds none.
    fn entries(&self, from: u64, to: u64) -> Vec<Entry>;

    /// A state that the log goes on from: the newest one that is not above `version`, else the
    /// oldest there is. None: the log begins with its first entry.
    fn base(&self, version: u64) -> Result<Option<Base>, String>;

    /// What is in the log up to an entry is no longer needed.
    fn written(&self, index: u64);
}

/// A state, and the last entry in it.
pub(crate) struct Base {
    pub(crate) last: LogId,
    pub(crate) machine: Machine,
}

/// The history of one node. Cheap to clone.
#[derive(Clone)]
pub struct History {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    cluster: ClusterId,
    state: Mutex<State>,
    /// Something for the thread to do.
    wake: Condvar,
    /// The newest version whose change, if it made one, is in the ring.
    head: channel::Sender<u64>,
    /// The newest version whose change is on the shelf, while there is one.
    written: channel::Sender<Option<u64>>,
}

struct State {
    ring: Ring,
    shelf: Option<(Arc<Shelf>, Standing)>,
    /// A reader found damage.
    doubt: Option<ShelfError>,
    /// Why there is no shelf.
    trouble: Option<String>,
    /// A reader waits for what is up to here.
    wanted: u64,
    /// While the thread rests between two batches: bytes that had been pushed when it began.
    rests: Option<u64>,
    stopping: bool,
}

impl History {
    pub(crate) fn new(path: PathBuf, cluster: ClusterId) -> Self {
        Self::with(path, cluster, Ring::new())
    }

    fn with(path: PathBuf, cluster: ClusterId, ring: Ring) -> Self {
        let state = State {
            ring,
            shelf: None,
            doubt: None,
            trouble: None,
            wanted: 0,
            rests: None,
            stopping: false,
        };
        let shared = Shared {
            path,
            cluster,
            state: Mutex::new(state),
            wake: Condvar::new(),
            head: channel::Sender::new(0),
            written: channel::Sender::new(None),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes what was applied, up to `head`; never waits for the disk.
    pub(crate) fn applied(
        &self,
        changes: impl IntoIterator<Item = (LogId, Change)>,
        head: Mark,
        compacted: u64,
    ) {
        let mut state = self.shared.lock();
        for (entry, change) in changes {
            state.ring.push(entry, change);
        }
        state.ring.reach(head, compacted);
        let wake = !state.may_rest();
        drop(state);
        if wake {
            self.shared.wake.notify_one();
        }
        self.shared.head.send_if_modified(|known| {
            let newer = *known != head.version;
            *known = head.version;
            newer
        });
    }

    /// Begins with a state as a whole: what led to it never comes by.
    pub(crate) fn begins(&self, at: Mark, compacted: u64) {
        self.shared.lock().ring.jump(at, compacted);
        self.shared.wake.notify_one();
        self.shared.head.send_replace(at.version);
    }

    /// Up to which version the history is given up.
    pub fn compacted(&self) -> u64 {
        self.shared.lock().compacted()
    }
}

impl Shared {
    /// Has the thread write what is up to `version` without rest.
    fn want(&self, version: u64) {
        let mut state = self.lock();
        state.wanted = state.wanted.max(version);
        drop(state);
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("invariant: nothing panics while it holds this lock")
    }
}

impl State {
    fn compacted(&self) -> u64 {
        let on_disk = self.shelf.as_ref().map_or(0, |(_, standing)| standing.compacted);
        self.ring.compacted().max(on_disk)
    }

    /// Whether the thread rests, and nothing is there that should end it.
    fn may_rest(&self) -> bool {
        let written = self.shelf.as_ref().map_or(0, |(_, standing)| standing.mark.version);
        let few = |pushed| self.ring.pushed() - pushed < REST_BYTES;
        let idle = !self.stopping && self.doubt.is_none() && self.wanted <= written;
        idle && self.rests.is_some_and(few)
    }
}

#[cfg(test)]
mod tests;
