//! The thread that writes the history behind what is applied.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::aside::put_aside;
use super::change::{Change, apply_command};
use super::ring::{Mark, Pushed};
use super::shelf::{Shelf, ShelfError, Standing};
use super::{Base, History, Shared, Source};
use crate::machine::Machine;
use crate::raft::types::{Entry, Payload};

/// Bytes of changes written at once.
const BATCH_BYTES: usize = 1 << 20;
/// Between two batches, where nobody waits for the second: sled's work is per batch as much as per
/// change, and under load each would hold a few changes only.
const PACE: Duration = Duration::from_millis(200);
/// How far the mark on disk may lag behind where nothing was to be written: what is read again of
/// the log after a start.
const MARK_EVERY: u64 = 1_000;
/// After this long without anything to write the mark is brought up to date.
const IDLE: Duration = Duration::from_millis(200);
/// Before a disk that was full, say, is tried again: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// Damages in the life of a process after which it is the disk, or a defect, and not an accident.
const MAX_DAMAGES: u32 = 8;

const NO_PANIC: &str = "invariant: nothing panics while it holds this lock";

type Result<T> = std::result::Result<T, ShelfError>;

/// Writes the history until it is joined.
pub(crate) struct HistoryWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Writer {
    shared: Arc<Shared>,
    source: Box<dyn Source>,
}

enum Step {
    Stop,
    Doubt(ShelfError),
    /// Changes, how far they lead, and whether that is all there is.
    Write(Vec<Pushed>, Mark, bool),
    /// The ring no longer has what is next.
    Refill,
    Sweep(u64),
    /// Nothing to do but to say how far it is.
    Mark,
}

impl HistoryWriter {
    /// Starts the thread. What of the log is committed is said by the history.
    pub(crate) fn start(history: &History, source: Box<dyn Source>) -> std::io::Result<Self> {
        let writer = Writer { shared: history.shared.clone(), source };
        let thread = thread::Builder::new().name("history".to_owned());
        let thread = thread.spawn(move || writer.run())?;
        Ok(Self { shared: history.shared.clone(), thread: Some(thread) })
    }

    /// Writes what was applied and ends.
    pub(crate) fn join(mut self) {
        self.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the history's thread panicked");
        }
    }

    fn stop(&self) {
        self.shared.lock().stopping = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for HistoryWriter {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Writer {
    fn run(self) {
        let (mut damages, mut pause) = (0, FIRST_PAUSE);
        loop {
            let ended = panic::catch_unwind(AssertUnwindSafe(|| self.session()));
            let error = match ended {
                Ok(Ok(())) => return self.close(None),
                Ok(Err(error)) => error,
                Err(panic) => ShelfError::Panicked(words(&*panic)),
            };
            let mut trouble = error.to_string();
            if !error.may_pass() {
                damages += 1;
                trouble = self.put_aside(&error);
            }
            self.close(Some(trouble.clone()));
            if damages >= MAX_DAMAGES {
                tracing::error!(trouble, "the history is off until this node is restarted");
                // The log must not grow for it.
                self.source.written(u64::MAX);
                return;
            }
            if error.may_pass() {
                tracing::warn!(trouble, "the history can't be written; trying again in a moment");
                if self.stops_within(pause) {
                    return;
                }
                pause = LAST_PAUSE.min(pause * 2);
            }
        }
    }

    fn put_aside(&self, error: &ShelfError) -> String {
        let path = self.shared.path.display();
        match put_aside(&self.shared.path) {
            Ok(aside) => {
                let aside = aside.display();
                tracing::warn!(%error, "the history in {path} can't be used: it is kept as {aside}, and refilled from the log");
                format!("it is being refilled from the log: {error}")
            }
            Err(why) => format!("{error}; {path} can't be renamed: {why}"),
        }
    }

    fn close(&self, trouble: Option<String>) {
        let mut state = self.shared.lock();
        (state.shelf, state.doubt, state.trouble) = (None, None, trouble);
        drop(state);
        self.shared.written.send_replace(None);
    }

    /// Waits a moment; whether it is time to stop.
    fn stops_within(&self, moment: Duration) -> bool {
        let state = self.shared.lock();
        let waited = self.shared.wake.wait_timeout_while(state, moment, |state| !state.stopping);
        waited.is_ok_and(|(state, _)| state.stopping)
    }

    /// Writes until it is stopped.
    fn session(&self) -> Result<()> {
        let (shelf, standing) = Shelf::open(&self.shared.path, self.shared.cluster)?;
        let shelf = Arc::new(shelf);
        let mut standing = standing.unwrap_or_else(Standing::empty);
        self.check(&standing)?;
        let mut on_disk = standing.mark;
        let mut swept = 0;
        let mut paced = Instant::now();
        self.source.written(on_disk.last.index);
        self.wrote(&shelf, standing);
        loop {
            match self.next(&standing, (swept, paced), standing.mark != on_disk) {
                Step::Stop => {
                    shelf.write(&[], &mut standing)?;
                    return shelf.flush();
                }
                Step::Doubt(error) => return Err(error),
                Step::Write(changes, mark, all) => {
                    standing.mark = mark;
                    if all {
                        paced = Instant::now() + PACE;
                    }
                    let lags = mark.last.index.saturating_sub(on_disk.last.index) > MARK_EVERY;
                    if !changes.is_empty() || lags {
                        shelf.write(&changes, &mut standing)?;
                        on_disk = mark;
                        self.source.written(mark.last.index);
                    }
                }
                Step::Refill => {
                    self.refill(&shelf, &mut standing)?;
                    on_disk = standing.mark;
                    self.source.written(on_disk.last.index);
                }
                Step::Mark => {
                    shelf.write(&[], &mut standing)?;
                    on_disk = standing.mark;
                    self.source.written(on_disk.last.index);
                }
                Step::Sweep(until) => {
                    if !shelf.sweep(until, &mut standing)? {
                        swept = until;
                    }
                }
            }
            self.wrote(&shelf, standing);
        }
    }

    /// The history and the log must agree on the entry up to which it was written: a log that lost
    /// its end, to a disk that lied, has other entries under the same numbers by now.
    fn check(&self, standing: &Standing) -> Result<()> {
        let kept = standing.mark.last;
        if standing.mark.version == 0 {
            return Ok(());
        }
        let entry = self.source.entries(kept.index, kept.index + 1).pop();
        let same = match entry {
            Some(entry) => entry.log_id == kept,
            // Purged, if something follows; else lost.
            None => !self.source.entries(kept.index, u64::MAX).is_empty(),
        };
        if same {
            return Ok(());
        }
        let (version, kept) = (standing.mark.version, kept.leader_id.term);
        Err(ShelfError::OtherHistory { version, kept })
    }

    fn wrote(&self, shelf: &Arc<Shelf>, standing: Standing) {
        let mut state = self.shared.lock();
        state.shelf = Some((shelf.clone(), standing));
        state.trouble = None;
        drop(state);
        self.shared.written.send_replace(Some(standing.mark.version));
    }

    fn next(&self, standing: &Standing, (swept, paced): (u64, Instant), lags: bool) -> Step {
        let mut state = self.shared.lock();
        loop {
            if let Some(doubt) = state.doubt.take() {
                return Step::Doubt(doubt);
            }
            let version = standing.mark.version;
            let kept = standing.mark.last.index;
            if state.ring.head().is_some_and(|head| head.last.index > kept) {
                state.rests = state.rests.or_else(|| Some(state.ring.pushed()));
                let pause = paced.saturating_duration_since(Instant::now());
                if !pause.is_zero() && state.may_rest() {
                    state = self.shared.wake.wait_timeout(state, pause).expect(NO_PANIC).0;
                    continue;
                }
                state.rests = None;
                return match state.ring.after(version, BATCH_BYTES) {
                    Some((changes, mark)) => {
                        let all = state.ring.head() == Some(mark);
                        Step::Write(changes, mark, all)
                    }
                    // The log still has it after the next start.
                    None if state.stopping => Step::Stop,
                    None => Step::Refill,
                };
            }
            if state.stopping {
                return Step::Stop;
            }
            let until = state.ring.compacted().max(standing.compacted);
            if until > swept && until <= version {
                return Step::Sweep(until);
            }
            let wake = &self.shared.wake;
            if !lags {
                state = wake.wait(state).expect(NO_PANIC);
                continue;
            }
            let (next, waited) = wake.wait_timeout(state, IDLE).expect(NO_PANIC);
            if waited.timed_out() {
                return Step::Mark;
            }
            state = next;
        }
    }

    /// Replays the log until the ring has all that follows.
    fn refill(&self, shelf: &Arc<Shelf>, standing: &mut Standing) -> Result<()> {
        let version = standing.mark.version;
        tracing::info!(version, "the history is filled from the log");
        let base = self.source.base(version).map_err(ShelfError::Base)?;
        let (mut machine, mut next) = match base {
            None => (Machine::new(self.shared.cluster), 0),
            Some(base) => {
                self.begin(shelf, standing, &base)?;
                (base.machine, base.last.index + 1)
            }
        };
        loop {
            let state = self.shared.lock();
            let known = state.ring.after(standing.mark.version, 0).is_some();
            if known || state.stopping || state.doubt.is_some() {
                return Ok(());
            }
            let end = state.ring.head().map_or(0, |head| head.last.index + 1);
            drop(state);
            let entries = self.source.entries(next, end);
            let Some(first) = entries.first() else { return Ok(()) };
            // The first entry of a log is 0, or 1.
            if first.log_id.index > next.max(1) {
                return Err(ShelfError::Gap { from: next, to: first.log_id.index });
            }
            let mut changes = Vec::new();
            let mut mark = standing.mark;
            for entry in entries {
                next = entry.log_id.index + 1;
                let change = replay(&mut machine, &entry)?;
                let version = machine.snapshot().version();
                if version > standing.mark.version {
                    mark = Mark { last: entry.log_id, version };
                    changes.extend(change.map(|change| (entry.log_id, Arc::new(change))));
                }
            }
            if mark != standing.mark {
                standing.mark = mark;
                shelf.write(&changes, standing)?;
                self.wrote(shelf, *standing);
            }
        }
    }
}

impl Writer {
    /// What led to a state above all that was written is in no log any more: the history begins
    /// with that state.
    fn begin(&self, shelf: &Arc<Shelf>, standing: &mut Standing, base: &Base) -> Result<()> {
        let version = base.machine.snapshot().version();
        if version <= standing.mark.version {
            return Ok(());
        }
        if standing.mark.version > 0 {
            tracing::warn!(
                version,
                "the history begins anew: what led here is no longer in the log"
            );
        }
        let mark = Mark { last: base.last, version };
        *standing = shelf.begin(base.machine.snapshot(), mark)?;
        self.wrote(shelf, *standing);
        Ok(())
    }
}

fn replay(machine: &mut Machine, entry: &Entry) -> Result<Option<Change>> {
    let id = entry.log_id;
    match &entry.payload {
        Payload::Blank { nonce } => {
            machine.begin_term(id.leader_id.term, id.index, *nonce);
            Ok(None)
        }
        Payload::Membership(_) => Ok(None),
        Payload::Command(command) => match apply_command(machine, id.index, &command.0) {
            Ok((_, change)) => Ok(change),
            Err(error) => Err(ShelfError::Undecodable { index: id.index, why: error.to_string() }),
        },
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
