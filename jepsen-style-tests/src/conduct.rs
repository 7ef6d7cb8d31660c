//! One run, from an empty folder to a report.
//!
//! up → prepare → clients beside the nemesis → all faults healed → finish → every process alive? →
//! down → check → report. Whatever fails, the cluster goes down and the record says why.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::args::Database;
use crate::cluster::Cluster;
use crate::cluster::compose::Compose;
use crate::cluster::processes::{Plan, Processes, Shape};
use crate::history::Recorder;
use crate::run::{FaultEvent, Folder, RunRecord};
use crate::verdict::Ended;
use crate::workload::{Context, Workload, recovery};
use crate::{judge, nemesis, notice, output};

/// What is run.
pub(crate) struct Run {
    pub(crate) workload: Arc<dyn Workload>,
    pub(crate) nemesis: String,
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    pub(crate) database: Database,
    pub(crate) mutant: Option<String>,
    pub(crate) out: PathBuf,
    pub(crate) keep: bool,
    pub(crate) binary: PathBuf,
    pub(crate) envoy: Option<PathBuf>,
    pub(crate) replay: String,
}

/// How long clients have to end once they are told to: each has one call under way, and a call
/// has its own limit.
const CLIENTS_END: Duration = Duration::from_secs(30);

/// All faults are healed one after the other, each within its own limit.
const HEAL_LIMIT: Duration = Duration::from_secs(180);

/// What a workload may take to look at everything at the end, twice its wait for recovery.
const FINISH_LIMIT: Duration = Duration::from_secs(150);

/// Between two lines that say how far a run is.
const PROGRESS: Duration = Duration::from_secs(5);

/// What went wrong in the harness itself, as it goes along.
#[derive(Default)]
struct Failures(Vec<String>);

impl Failures {
    fn note<T>(&mut self, done: anyhow::Result<T>) -> Option<T> {
        done.map_err(|why| self.0.push(format!("{why:#}"))).ok()
    }
}

/// Runs it, and returns its folder and how it ended.
///
/// # Errors
/// Only what leaves no folder to look at: all else is in the record.
pub(crate) async fn conduct(run: &Run, stop: CancellationToken) -> anyhow::Result<(Folder, Ended)> {
    let id = id()?;
    let out = std::path::absolute(&run.out)?;
    let folder = Folder::create(&out.join(&id))?;
    let mut record = record(run, id).await?;
    folder.write_record(&record)?;
    folder.write_faults(&[])?;
    output::note(format!("run {}, seed {}: {}", record.id, run.seed, folder.path().display()));
    let mut failures = Failures::default();
    if let Some(cluster) = failures.note(up(run, &record.id, &folder, &stop).await) {
        failures.note(with_cluster(run, &folder, &cluster, &stop, &mut record).await);
        if run.keep && !stop.is_cancelled() {
            output::note(format!("the cluster of run {} stays until Ctrl-C", record.id));
            stop.cancelled().await;
        }
        failures.note(cluster.down().await.context("cannot take the cluster down"));
    }
    if stop.is_cancelled() && !run.keep {
        failures.0.push("ended by a signal".to_owned());
    }
    // A history that cannot be judged gets its report all the same, which says why.
    let verdicts = record.ended.and_then(|_| {
        failures.note(judge::judge(&*run.workload, &folder).context("cannot judge the run"))
    });
    let verdicts = verdicts.unwrap_or_default();
    record.harness_failures.extend(failures.0);
    folder.write_record(&record)?;
    folder.write_verdicts(&verdicts)?;
    let ended = Ended::of(&verdicts, record.harness_failures.len());
    Ok((folder, ended))
}

/// The record of a run that begins.
async fn record(run: &Run, id: String) -> anyhow::Result<RunRecord> {
    Ok(RunRecord {
        id,
        test: run.workload.name().to_owned(),
        nemesis: run.nemesis.clone(),
        database: run.database.name().to_owned(),
        seed: run.seed,
        seconds: run.time.as_secs(),
        mutant: run.mutant.clone(),
        version: version(&run.binary).await?,
        started_at: OffsetDateTime::now_utc().format(&Rfc3339)?,
        replay: run.replay.clone(),
        ended: None,
        healed: None,
        harness_failures: Vec::new(),
    })
}

/// Up to 12 letters and digits; two runs do not begin in one millisecond.
fn id() -> anyhow::Result<String> {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let millis = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    let mut left = u64::try_from(millis).context("the clock is before 1970")?;
    let mut id = Vec::new();
    while left > 0 {
        id.push(DIGITS[usize::try_from(left % 36)?]);
        left /= 36;
    }
    id.reverse();
    Ok(String::from_utf8(id)?)
}

async fn version(binary: &Path) -> anyhow::Result<String> {
    let asked = tokio::process::Command::new(binary).arg("--version").output();
    let told = timeout(Duration::from_secs(10), asked).await.context("no answer in 10 s")?;
    let told = told.with_context(|| format!("cannot start {}", binary.display()))?;
    Ok(String::from_utf8_lossy(&told.stdout).trim().to_owned())
}

async fn up(
    run: &Run,
    id: &str,
    folder: &Folder,
    stop: &CancellationToken,
) -> anyhow::Result<Arc<dyn Cluster>> {
    let shape = match run.workload.needs_zones() {
        true => Shape::Whole { west_ingresses: 1 },
        false => Shape::Globals,
    };
    let plan = Plan {
        id: id.to_owned(),
        folder: folder.path().to_owned(),
        binary: run.binary.clone(),
        envoy: run.envoy.clone(),
        mutant: run.mutant.clone(),
        shape,
        clocks: nemesis::jumps_clocks(&run.nemesis),
        traces: nemesis::touches_syncs(&run.nemesis),
    };
    output::note("the cluster comes up");
    let up = async {
        Ok::<Arc<dyn Cluster>, anyhow::Error>(match run.database {
            Database::Processes => Arc::new(Processes::up(plan).await?),
            Database::Compose => Arc::new(Compose::up(plan).await?),
        })
    };
    tokio::select! {
        cluster = up => cluster.context("no cluster"),
        () = stop.cancelled() => bail!("stopped while the cluster came up"),
    }
}

/// Everything that is done while the cluster is up.
async fn with_cluster(
    run: &Run,
    folder: &Folder,
    cluster: &Arc<dyn Cluster>,
    stop: &CancellationToken,
    record: &mut RunRecord,
) -> anyhow::Result<()> {
    let context = |recorder| Context { cluster: cluster.clone(), recorder, seed: run.seed };
    let schedule = nemesis::schedule(run.seed, &run.nemesis, run.time, cluster.nodes())?;
    if let Some(planned) = schedule.iter().find(|planned| !cluster.supports(&planned.fault)) {
        bail!("{} has no means for `{}`", run.database.name(), planned.fault);
    }
    // What is recorded until all is prepared is no part of the run, nor is the time it takes.
    let before = context(Recorder::create(&folder.history())?);
    tokio::select! {
        prepared = run.workload.prepare(&before) => prepared.context("cannot prepare")?,
        () = stop.cancelled() => return Ok(()),
    }
    // Written out before its file begins anew.
    drop(before);
    let context = context(Recorder::create(&folder.history())?);
    let mut failures = Failures::default();
    let phases = Phases { run, folder, context: &context, stop };
    let events = failures.note(phases.under_faults(&schedule).await);
    record.healed = Some(context.recorder.now());
    failures.note(recovery::record_load(&context));
    let went_on = events.is_some();
    failures.0.extend(events.iter().flatten().filter_map(|event| event.failure.clone()));
    if !stop.is_cancelled() && went_on {
        failures.note(phases.finish().await);
    }
    failures.note(recovery::record_alive(&context).await);
    record.ended = Some(context.recorder.now());
    context.recorder.flush()?;
    record.harness_failures.extend(failures.0);
    Ok(())
}

struct Phases<'a> {
    run: &'a Run,
    folder: &'a Folder,
    context: &'a Context,
    stop: &'a CancellationToken,
}

/// What a task of the phase under faults came to.
enum Task {
    Clients,
    Witnesses,
    Nemesis(Vec<FaultEvent>),
}

impl Phases<'_> {
    /// Clients and nemesis side by side; when it returns, all faults are healed.
    async fn under_faults(&self, schedule: &[nemesis::Planned]) -> anyhow::Result<Vec<FaultEvent>> {
        let over = self.stop.child_token();
        let mut tasks: JoinSet<anyhow::Result<Task>> = JoinSet::new();
        let (workload, context) = (self.run.workload.clone(), self.context.clone());
        let token = over.clone();
        tasks.spawn(async move {
            workload.run(&context, token).await.context("clients cannot go on")?;
            Ok(Task::Clients)
        });
        let (schedule, context) = (schedule.to_vec(), self.context.clone());
        let (folder, token) = (self.folder.clone(), over.clone());
        tasks.spawn(async move {
            let (cluster, recorder) = (&*context.cluster, &context.recorder);
            let events = nemesis::drive(cluster, &schedule, recorder, &folder, token).await?;
            Ok(Task::Nemesis(events))
        });
        let (context, token) = (self.context.clone(), over.clone());
        tasks.spawn(async move {
            notice::watch(&context, token).await.context("nobody looks at the control planes")?;
            Ok(Task::Witnesses)
        });
        let ended = tokio::select! {
            // Neither ends by itself before its time, but the nemesis when all is healed.
            ended = self.both(&mut tasks) => Some(ended),
            () = tokio::time::sleep(self.run.time) => None,
            () = self.stop.cancelled() => None,
        };
        over.cancel();
        match ended {
            Some(Err(why)) => {
                // The nemesis still has to heal what holds.
                let _ = timeout(HEAL_LIMIT, self.both(&mut tasks)).await;
                Err(why)
            }
            Some(Ok(events)) => Ok(events),
            None => timeout(CLIENTS_END + HEAL_LIMIT, self.both(&mut tasks))
                .await
                .context("clients or the nemesis did not end when they were told to")?,
        }
    }

    /// Waits for both; the events are in the folder too, for whoever only gets one of them.
    async fn both(
        &self,
        tasks: &mut JoinSet<anyhow::Result<Task>>,
    ) -> anyhow::Result<Vec<FaultEvent>> {
        let mut ticks = tokio::time::interval(PROGRESS);
        ticks.tick().await;
        loop {
            tokio::select! {
                ended = tasks.join_next() => match ended {
                    None => return self.folder.faults(),
                    Some(ended) => match ended.context("a task panicked")?? {
                        Task::Clients | Task::Witnesses => {}
                        Task::Nemesis(events) => {
                            tracing::debug!(faults = events.len(), "all faults are healed");
                        }
                    },
                },
                _ = ticks.tick() => self.progress(),
            }
        }
    }

    fn progress(&self) {
        let counts = self.context.recorder.counts();
        let faults = self.folder.faults().unwrap_or_default();
        let holding: Vec<String> = faults
            .iter()
            .filter(|event| event.installed.is_some() && event.healed.is_none())
            .map(|event| event.fault.to_string())
            .collect();
        output::note(format!(
            "{:>4} s: {} done, {} refused, {} unknown; {}",
            self.context.recorder.now() / 1_000_000,
            counts.done,
            counts.refused,
            counts.unknown,
            if holding.is_empty() { "no fault".to_owned() } else { holding.join(", ") }
        ));
    }

    async fn finish(&self) -> anyhow::Result<()> {
        output::note("all faults are healed; waiting for the system to be whole");
        let (workload, context) = (self.run.workload.clone(), self.context.clone());
        let mut task = JoinSet::new();
        task.spawn(async move { workload.finish(&context).await });
        tokio::select! {
            ended = timeout(FINISH_LIMIT, task.join_next()) => {
                let ended = ended.context("the workload did not finish in its time")?;
                ended.context("nothing to finish")?.context("the workload panicked")?
            }
            () = self.stop.cancelled() => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_fits_into_the_names_of_what_is_made() {
        let id = id().unwrap();
        assert!((1..=12).contains(&id.len()), "{id}");
        assert!(id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{id}");
    }
}
