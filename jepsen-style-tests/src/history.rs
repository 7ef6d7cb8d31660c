//! What clients did and what they were told: the only thing that checkers see.
//!
//! A history is a file of JSON lines, one operation each, in the order in which they ended. Every
//! workload has its own calls and answers; whoever only draws or counts reads them as
//! `serde_json::Value`.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

/// Microseconds since the run began, on the harness's monotonic clock: the one clock of a run.
pub(crate) type Micros = u64;

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub(crate) enum Outcome<A = Value> {
    /// It was done, and this is what it answered.
    Done { answer: A },
    /// It certainly had no effect.
    Refused { why: String },
    /// It may have had its effect, have it later, or never.
    Unknown { why: String },
}

impl<A> Outcome<A> {
    fn place(&self) -> usize {
        match self {
            Self::Done { .. } => 0,
            Self::Refused { .. } => 1,
            Self::Unknown { .. } => 2,
        }
    }

    pub(crate) fn answer(&self) -> Option<&A> {
        match self {
            Self::Done { answer } => Some(answer),
            Self::Refused { .. } | Self::Unknown { .. } => None,
        }
    }
}

/// One call of one client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Operation<C = Value, A = Value> {
    /// In the order of the starts, from 0.
    pub(crate) id: u64,
    /// The lane in the timeline. A client has one call at a time.
    pub(crate) client: String,
    /// Which node was asked.
    pub(crate) node: String,
    /// Calls that are measured together: `read`, `write`, `request east-west`.
    pub(crate) class: String,
    pub(crate) start: Micros,
    pub(crate) end: Micros,
    pub(crate) call: C,
    pub(crate) outcome: Outcome<A>,
}

/// The clock of a run, and where its history goes. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    began: Instant,
    next: AtomicU64,
    ended: [AtomicU64; 3],
    file: Mutex<BufWriter<File>>,
    path: PathBuf,
}

/// How many calls ended in each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) done: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
}

/// A call that has begun. Its outcome must be given to [`Recorder::end`].
#[derive(Debug)]
#[must_use]
pub(crate) struct Begun<C> {
    id: u64,
    client: String,
    node: String,
    class: String,
    start: Micros,
    call: C,
}

impl Recorder {
    /// A new history at `path`; the run begins now.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            shared: Arc::new(Shared {
                began: Instant::now(),
                next: AtomicU64::new(0),
                ended: Default::default(),
                file: Mutex::new(BufWriter::new(file)),
                path: path.to_owned(),
            }),
        })
    }

    pub(crate) fn now(&self) -> Micros {
        u64::try_from(self.shared.began.elapsed().as_micros()).unwrap_or(Micros::MAX)
    }

    pub(crate) fn begin<C>(&self, client: &str, node: &str, class: &str, call: C) -> Begun<C> {
        Begun {
            id: self.shared.next.fetch_add(1, Ordering::Relaxed),
            client: client.to_owned(),
            node: node.to_owned(),
            class: class.to_owned(),
            start: self.now(),
            call,
        }
    }

    /// Records how a call ended, and returns it.
    pub(crate) fn end<C: Serialize, A: Serialize>(
        &self,
        begun: Begun<C>,
        outcome: Outcome<A>,
    ) -> anyhow::Result<Operation<C, A>> {
        let Begun { id, client, node, class, start, call } = begun;
        let operation =
            Operation { id, client, node, class, start, end: self.now(), call, outcome };
        self.shared.ended[operation.outcome.place()].fetch_add(1, Ordering::Relaxed);
        let mut line = serde_json::to_vec(&operation)?;
        line.push(b'\n');
        let mut file = self.shared.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(&line)
            .with_context(|| format!("cannot write {}", self.shared.path.display()))?;
        Ok(operation)
    }

    /// How calls have ended so far.
    pub(crate) fn counts(&self) -> Counts {
        let [done, refused, unknown] = &self.shared.ended;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts { done: count(done), refused: count(refused), unknown: count(unknown) }
    }

    /// Everything recorded so far is in the file afterwards.
    pub(crate) fn flush(&self) -> anyhow::Result<()> {
        let mut file = self.shared.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.flush().with_context(|| format!("cannot write {}", self.shared.path.display()))
    }
}

fn read_lines<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut operations = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {}", path.display()))?;
        let operation = serde_json::from_str(&line)
            .with_context(|| format!("{}:{}: not an operation", path.display(), number + 1))?;
        operations.push(operation);
    }
    Ok(operations)
}

/// The operations of these classes: those of one workload, whose calls and answers are known.
pub(crate) fn read_classes<C: DeserializeOwned, A: DeserializeOwned>(
    path: &Path,
    classes: &[&str],
) -> anyhow::Result<Vec<Operation<C, A>>> {
    let all: Vec<Value> = read_lines(path)?;
    let chosen = all.into_iter().filter(|operation| {
        operation["class"].as_str().is_some_and(|class| classes.contains(&class))
    });
    let known = chosen.map(|operation| {
        let id = operation["id"].clone();
        serde_json::from_value(operation)
            .with_context(|| format!("{}: operation {id} is of another form", path.display()))
    });
    known.collect()
}
