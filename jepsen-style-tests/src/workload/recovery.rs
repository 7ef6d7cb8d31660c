//! What must be back once all faults are healed.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{Context, globals, permission};
use crate::client::{self, Client};
use crate::history::{self, Operation, Outcome};
use crate::notice;
use crate::run::Folder;
use crate::verdict::{Finding, Verdict};

/// The class of what waits for the system to be whole again.
pub(crate) const CLASS: &str = "recovery";

/// How long that may take: processes start, elect and catch up within seconds; this is for a
/// machine that does much else.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// After this nobody waits for a system in which a process that should live is dead: nothing
/// starts it again.
const DEATH_LIMIT: Duration = Duration::from_secs(5);

/// Between two looks.
const AGAIN: Duration = Duration::from_millis(200);

/// Waits until `look` finds that all is well, at most [`LIMIT`], and records it as an operation
/// of class [`CLASS`]. `look` says what is still missing.
pub(crate) async fn wait_until<F>(
    context: &Context,
    what: &str,
    mut look: impl FnMut() -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = Result<(), String>>,
{
    let began = Instant::now();
    let begun = context.recorder.begin("harness", "all", CLASS, what.to_owned());
    let outcome = loop {
        match look().await {
            Ok(()) => break Outcome::Done { answer: Value::Null },
            Err(why) if began.elapsed() > LIMIT => break Outcome::Refused { why },
            Err(why) if began.elapsed() > DEATH_LIMIT => match dead(context).await?.first() {
                Some(dead) => break Outcome::Refused { why: format!("{why}; dead: {dead}") },
                None => tokio::time::sleep(AGAIN).await,
            },
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    };
    context.recorder.end(begun, outcome)?;
    Ok(())
}

/// Waits until every global takes a write, and has seen those of the others.
pub(crate) async fn globals_agree(context: &Context, mesh: &str) -> anyhow::Result<()> {
    wait_until(context, "every global writes, and sees what the others wrote", || async {
        let nodes = globals(&*context.cluster);
        let mut newest = 0;
        for (number, node) in nodes.iter().enumerate() {
            let mut client = Client::new(context.cluster.clone(), node.clone());
            let name = format!("recovered-{number}");
            let (path, body) = permission(mesh, &name, "recovered", node);
            let answered = client.call(client::Call::put(path, body)).await;
            let written = client::of_write(answered);
            let version = written.answer().and_then(|answer| answer.version);
            newest = version.ok_or_else(|| format!("{node}: {written:?}"))?.max(newest);
        }
        for node in &nodes {
            let mut client = Client::new(context.cluster.clone(), node.clone());
            let path = format!("/meshes/{mesh}?consistency=stale");
            let read = client::of_read(client.call(client::Call::get(path)).await);
            let version = read.answer().and_then(|answer| answer.version);
            if version.is_none_or(|version| version < newest) {
                return Err(format!("{node} is at {version:?}, others at {newest}"));
            }
        }
        Ok(())
    })
    .await
}

/// Judges the waits of a run.
pub(crate) fn verdict(folder: &Path) -> anyhow::Result<Verdict> {
    let waits: Vec<Operation> = history::read_classes(&Folder::open(folder).history(), &[CLASS])?;
    let mut finding = Finding::Held;
    if waits.is_empty() {
        finding = Finding::Undecided { why: "nothing waited for recovery".to_owned() };
    }
    let mut figures = Vec::new();
    for wait in &waits {
        let what = wait.call.as_str().unwrap_or_default();
        let took = (wait.end - wait.start) / 1000;
        figures.push((what.to_owned(), format!("{}.{:03} s", took / 1000, took % 1000)));
        if let Outcome::Refused { why } | Outcome::Unknown { why } = &wait.outcome {
            let why = format!("not within {took} ms after healing: {what}: {why}");
            finding = Finding::Violated { why, operations: vec![wait.id] };
        }
    }
    figures.extend(notice::figures(&Folder::open(folder))?);
    Ok(Verdict { checker: "recovers".to_owned(), finding, figures })
}

/// The class of the last look at the processes.
const ALIVE: &str = "alive";

/// Records which processes should run and do not.
pub(crate) async fn record_alive(context: &Context) -> anyhow::Result<()> {
    let begun = context.recorder.begin("harness", "all", ALIVE, Value::Null);
    let answer = dead(context).await?;
    context.recorder.end(begun, Outcome::Done { answer })?;
    Ok(())
}

/// The class of how busy the machine was.
const LOAD: &str = "load";

/// Processes that want to run, for each core. Beyond this elections fail for want of time to run,
/// which says nothing about who should lead; a run alone on two cores stays below half of it.
const OVERLOADED: f64 = 4.0;

/// Records how busy the machine was in the last minute.
pub(crate) fn record_load(context: &Context) -> anyhow::Result<()> {
    let begun = context.recorder.begin("harness", "all", LOAD, Value::Null);
    let text = std::fs::read_to_string("/proc/loadavg").context("cannot read /proc/loadavg")?;
    let load: f64 = text.split(' ').next().unwrap_or_default().parse()?;
    let cores = std::thread::available_parallelism()?.get();
    let answer = json!({"load": load, "cores": cores});
    context.recorder.end(begun, Outcome::Done { answer })?;
    Ok(())
}

/// How busy the machine was, if it was too busy for times to mean something.
pub(crate) fn overload(folder: &Folder) -> anyhow::Result<Option<String>> {
    let loads: Vec<Operation> = history::read_classes(&folder.history(), &[LOAD])?;
    let known = loads.last().and_then(|op| op.outcome.answer());
    let Some(known) = known else { return Ok(None) };
    let (load, cores) = (known["load"].as_f64(), known["cores"].as_f64());
    let (Some(load), Some(cores)) = (load, cores) else { return Ok(None) };
    Ok((load > OVERLOADED * cores).then(|| format!("a load of {load} on {cores} cores")))
}

/// The nodes with dead processes, and their last words.
async fn dead(context: &Context) -> anyhow::Result<Vec<Value>> {
    let alive = context.cluster.alive().await?;
    let dead = alive.iter().filter(|node| !node.dead.is_empty());
    Ok(dead.map(|node| json!({"node": node.node, "dead": node.dead})).collect())
}

/// Every process that should live, lives.
pub(crate) fn alive(folder: &Path) -> anyhow::Result<Verdict> {
    let looks: Vec<Operation> = history::read_classes(&Folder::open(folder).history(), &[ALIVE])?;
    let finding = match looks.last().map(|look| (look, look.outcome.answer())) {
        Some((_, Some(Value::Array(dead)))) if dead.is_empty() => Finding::Held,
        Some((look, Some(Value::Array(dead)))) => {
            let named: Vec<String> = dead.iter().map(ToString::to_string).collect();
            let why = format!("dead at the end: {}", named.join("; "));
            Finding::Violated { why, operations: vec![look.id] }
        }
        _ => Finding::Undecided { why: "the processes were not looked at".to_owned() },
    };
    Ok(Verdict { checker: "processes live".to_owned(), finding, figures: Vec::new() })
}
