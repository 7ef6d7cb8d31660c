//! What the history is made from: the log of this node, and the snapshots that it goes on from.

use std::sync::Arc;

use super::log_storage::LogReader;
use super::retention::Watermarks;
use super::state_machine::Files;
use super::types::{Entry, LogId};
use crate::history::{Base, Source};

/// Its name among those who need the log.
const WHO: &str = "history";

pub(crate) struct HistorySource {
    log: LogReader,
    files: Arc<Files>,
    watermarks: Watermarks,
}

impl HistorySource {
    /// Until it is said what is written, all of the log is needed.
    pub(crate) fn new(log: LogReader, files: Arc<Files>, watermarks: Watermarks) -> Self {
        watermarks.set(WHO, 0);
        Self { log, files, watermarks }
    }
}

impl Source for HistorySource {
    fn entries(&self, from: u64, to: u64) -> Vec<Entry> {
        self.log.some(from, to)
    }

    fn base(&self, version: u64) -> Result<Option<Base>, String> {
        let first = self.log.some(0, u64::MAX).first().map(|entry| entry.log_id.index);
        let Some(newest) = self.files.newest() else { return Ok(None) };
        let goes_on = |index: u64| first.is_some_and(|first| first <= index + 1);
        // A file that was replaced meanwhile is gone: whoever asked asks again.
        let base = |kept| -> Result<Base, String> {
            let state = self.files.state(kept).map_err(|error| error.to_string())?;
            Ok(Base { last: LogId::from(state.place.last), machine: state.machine })
        };
        let newest = base(&newest)?;
        let reached = newest.machine.snapshot().version() <= version;
        match self.files.older() {
            _ if reached => Ok(Some(newest)),
            Some(older) if goes_on(older.place.last.index) => {
                let older = base(&older)?;
                let reached = older.machine.snapshot().version() <= version;
                Ok(if !reached && goes_on(0) { None } else { Some(older) })
            }
            _ if goes_on(0) => Ok(None),
            _ => Ok(Some(newest)),
        }
    }

    fn written(&self, index: u64) {
        self.watermarks.set(WHO, index);
    }
}
