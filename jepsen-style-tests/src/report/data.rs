//! What a run's folder holds. Only `run.json` is needed: a run that broke off is worth a page too,
//! and the page says what is missing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::history::{Micros, Operation, Outcome};
use crate::run::{FaultEvent, RunRecord};
use crate::verdict::{Ended, Finding, Verdict};

/// Bytes shown of all logs together, and at most of one: what a browser opens without pausing.
const LOGS_BYTES: u64 = 6 << 20;
const LOG_BYTES: u64 = 256 << 10;

pub(super) struct Run {
    pub(super) record: RunRecord,
    /// By their start.
    pub(super) operations: Vec<Operation>,
    pub(super) faults: Vec<FaultEvent>,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) logs: Vec<Log>,
    /// What the harness could not do: as the record says, and as its faults show.
    pub(super) harness_failures: Vec<String>,
    /// What the folder lacks, so that this page does too.
    pub(super) lacks: Vec<String>,
    /// Where the time axis ends.
    pub(super) end: Micros,
}

/// The end of a process's log.
pub(super) struct Log {
    pub(super) node: String,
    pub(super) size: u64,
    /// Bytes at its begin that are not in `text`.
    pub(super) cut: u64,
    pub(super) text: String,
}

/// What became of an operation, without its answer. The order is that in which one hides another
/// in a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Is {
    Done,
    Refused,
    Unknown,
}

impl Is {
    pub(super) const ALL: [Self; 3] = [Self::Done, Self::Refused, Self::Unknown];

    pub(super) fn of(outcome: &Outcome<Value>) -> Self {
        match outcome {
            Outcome::Done { .. } => Self::Done,
            Outcome::Refused { .. } => Self::Refused,
            Outcome::Unknown { .. } => Self::Unknown,
        }
    }

    /// Also the name of its style.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

impl Run {
    pub(super) fn load(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("run.json");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{} is not a run's folder: no run.json", folder.display()))?;
        let record: RunRecord = serde_json::from_str(&text)
            .with_context(|| format!("{} is not the record of a run", path.display()))?;
        let mut lacks = Vec::new();
        let mut operations: Vec<Operation> = lines(&folder.join("history.jsonl"), &mut lacks);
        operations.sort_by_key(|operation| (operation.start, operation.id));
        let faults: Vec<FaultEvent> = lines(&folder.join("faults.jsonl"), &mut lacks);
        let verdicts = verdicts(&folder.join("verdicts.json"), &mut lacks);
        let logs = logs(&folder.join("logs"), &mut lacks);
        let mut harness_failures = record.harness_failures.clone();
        harness_failures.extend(unheeded(&record, &faults));
        let end = end(&record, &operations, &faults);
        Ok(Self { record, operations, faults, verdicts, logs, harness_failures, lacks, end })
    }

    /// How the run ended, by the same rule as its exit code.
    pub(super) fn ended(&self) -> Ended {
        Ended::of(&self.verdicts, self.harness_failures.len())
    }

    /// Operations by a name of theirs, the names in a reader's order.
    pub(super) fn by<'a>(
        &'a self,
        name: impl Fn(&'a Operation) -> &'a str,
    ) -> Vec<(&'a str, Vec<&'a Operation>)> {
        let mut groups: BTreeMap<Natural<'a>, Vec<&'a Operation>> = BTreeMap::new();
        for operation in &self.operations {
            groups.entry(Natural(name(operation))).or_default().push(operation);
        }
        groups.into_iter().map(|(Natural(name), operations)| (name, operations)).collect()
    }

    /// The operations that some checker names.
    pub(super) fn named(&self) -> Vec<u64> {
        let mut named: Vec<u64> = self
            .verdicts
            .iter()
            .filter_map(|verdict| match &verdict.finding {
                Finding::Violated { operations, .. } => Some(operations),
                Finding::Held | Finding::Undecided { .. } => None,
            })
            .flatten()
            .copied()
            .collect();
        named.sort_unstable();
        named.dedup();
        named
    }
}

/// Faults that failed and are not in the record's list, and a run without an end.
fn unheeded(record: &RunRecord, faults: &[FaultEvent]) -> Vec<String> {
    let mut found = Vec::new();
    if record.harness_failures.is_empty() {
        found.extend(faults.iter().filter_map(|event| {
            let failure = event.failure.as_ref()?;
            Some(format!("{}: {failure}", event.fault))
        }));
        if record.ended.is_none() {
            found.push("the record has no end: the harness stopped before the run did".to_owned());
        }
    }
    found
}

fn end(record: &RunRecord, operations: &[Operation], faults: &[FaultEvent]) -> Micros {
    let operations = operations.iter().map(|operation| operation.end);
    let faults = faults.iter().flat_map(|event| {
        [Some(event.installing), event.installed, event.healing, event.healed].into_iter().flatten()
    });
    let record = record.ended.into_iter().chain(record.healed);
    record.chain(operations).chain(faults).max().unwrap_or(0).max(1)
}

/// A file of JSON lines. Lines that cannot be read are counted, not fatal: a harness that was killed
/// leaves half a line.
fn lines<T: DeserializeOwned>(path: &Path, lacks: &mut Vec<String>) -> Vec<T> {
    let name = shown(path);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => {
            lacks.push(format!("{name} cannot be read: {error}"));
            return Vec::new();
        }
    };
    let mut items = Vec::new();
    let mut first_bad = None;
    let mut bad = 0_usize;
    for (index, line) in BufReader::new(file).split(b'\n').enumerate() {
        let item = line
            .map_err(anyhow::Error::from)
            .and_then(|line| serde_json::from_slice(&line).map_err(anyhow::Error::from));
        match item {
            Ok(item) => items.push(item),
            Err(error) => {
                bad += 1;
                first_bad.get_or_insert_with(|| format!("{name}:{}: {error}", index + 1));
            }
        }
    }
    if let Some(first) = first_bad {
        lacks.push(format!("{} of {name} cannot be read; {first}", counted_lines(bad)));
    }
    items
}

fn counted_lines(number: usize) -> String {
    super::markup::counted(number, "line")
}

fn verdicts(path: &Path, lacks: &mut Vec<String>) -> Vec<Verdict> {
    let read = std::fs::read(path)
        .map_err(anyhow::Error::from)
        .and_then(|text| serde_json::from_slice(&text).map_err(anyhow::Error::from));
    read.unwrap_or_else(|error| {
        lacks.push(format!("{} cannot be read: {error}", shown(path)));
        Vec::new()
    })
}

fn logs(folder: &Path, lacks: &mut Vec<String>) -> Vec<Log> {
    let found = || -> std::io::Result<Vec<_>> {
        let mut paths = std::fs::read_dir(folder)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<Vec<_>>>()?;
        paths.retain(|path| path.is_file());
        paths.sort_by(|a, b| Natural(&shown(a)).cmp(&Natural(&shown(b))));
        Ok(paths)
    };
    let paths = match found() {
        Ok(paths) => paths,
        Err(error) => {
            lacks.push(format!("the folder logs cannot be read: {error}"));
            return Vec::new();
        }
    };
    let each = (LOGS_BYTES / (paths.len() as u64).max(1)).min(LOG_BYTES);
    let mut logs = Vec::new();
    for path in paths {
        match log(&path, each) {
            Ok(log) => logs.push(log),
            Err(error) => lacks.push(format!("the log {} cannot be read: {error}", shown(&path))),
        }
    }
    logs
}

/// The last `most` bytes of a log, from the begin of a line.
fn log(path: &Path, most: u64) -> std::io::Result<Log> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut cut = size.saturating_sub(most);
    file.seek(SeekFrom::Start(cut))?;
    let mut text = Vec::new();
    file.take(most).read_to_end(&mut text)?;
    if cut > 0
        && let Some(newline) = text.iter().position(|byte| *byte == b'\n')
    {
        text.drain(..=newline);
        cut += newline as u64 + 1;
    }
    let node = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(Log { node: node.unwrap_or_default(), size, cut, text })
}

fn shown(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Names in the order in which people count: `client-2` before `client-10`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Natural<'a>(pub(super) &'a str);

impl Natural<'_> {
    fn parts(&self) -> impl Iterator<Item = (u64, &str)> {
        self.0.split_inclusive(|c: char| !c.is_ascii_digit()).flat_map(|part| {
            let digits = part.trim_end_matches(|c: char| !c.is_ascii_digit());
            [(digits.parse().unwrap_or(0), ""), (0, &part[digits.len()..])]
        })
    }
}

impl Ord for Natural<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.parts().cmp(other.parts()).then_with(|| self.0.cmp(other.0))
    }
}

impl PartialOrd for Natural<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
