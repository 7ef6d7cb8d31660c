//! Does what is planned, when it is planned, and writes down what became of it.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{Fault, Planned};
use crate::cluster::{Cluster, FaultError};
use crate::history::Recorder;
use crate::run::{FaultEvent, Folder};

/// A fault that takes longer to install or to heal has failed.
const LIMIT: Duration = Duration::from_secs(60);

/// What is done at a time, by the fault's place in the schedule. Healing comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Heal(usize),
    /// Data folders are copied, for a later roll-back.
    Copy,
    Install(usize),
}

/// Installs and heals `schedule`'s faults, which is over when all are healed, or soon after
/// `stop`, when those that hold are healed too. Everything is in `folder`'s `faults.jsonl` as soon
/// as it has happened. What could not be done is in its event's `failure`.
///
/// # Errors
/// The events could not be written, or the globals' data could not be copied.
pub(crate) async fn drive(
    cluster: &dyn Cluster,
    schedule: &[Planned],
    recorder: &Recorder,
    folder: &Folder,
    stop: CancellationToken,
) -> anyhow::Result<Vec<FaultEvent>> {
    let begin = Instant::now();
    let mut nemesis = Nemesis { cluster, recorder, folder, events: Vec::new(), open: Vec::new() };
    folder.write_faults(&[])?;
    for (at, step) in steps(schedule) {
        tokio::select! {
            () = sleep_until(begin + at) => {}
            () = stop.cancelled() => break,
        }
        match step {
            Step::Copy => cluster.keep_copy().await.context("cannot copy for a roll-back")?,
            Step::Install(number) => nemesis.install(number, &schedule[number].fault).await?,
            Step::Heal(number) => nemesis.heal(number).await?,
        }
    }
    for (number, _) in nemesis.open.clone() {
        nemesis.heal(number).await?;
    }
    Ok(nemesis.events)
}

fn steps(schedule: &[Planned]) -> Vec<(Duration, Step)> {
    let mut steps = Vec::new();
    for (number, planned) in schedule.iter().enumerate() {
        steps.push((planned.at, Step::Install(number)));
        steps.push((planned.until, Step::Heal(number)));
        if matches!(planned.fault, Fault::Rollback { .. }) {
            // Half of what was done until then is lost.
            steps.push((planned.at / 2, Step::Copy));
        }
    }
    steps.sort();
    steps
}

struct Nemesis<'a> {
    cluster: &'a dyn Cluster,
    recorder: &'a Recorder,
    folder: &'a Folder,
    events: Vec<FaultEvent>,
    /// Places in the schedule of those that hold, and in `events`.
    open: Vec<(usize, usize)>,
}

impl Nemesis<'_> {
    async fn install(&mut self, number: usize, fault: &Fault) -> anyhow::Result<()> {
        let installing = self.recorder.now();
        let done = within(self.cluster.install(fault)).await;
        let (refusal, failure) = match done {
            Ok(refusal) => (refusal, None),
            Err(error) => (None, Some(format!("cannot install: {error}"))),
        };
        if failure.is_none() {
            self.open.push((number, self.events.len()));
        }
        self.events.push(FaultEvent {
            fault: fault.clone(),
            installing,
            installed: failure.is_none().then(|| self.recorder.now()),
            healing: None,
            healed: None,
            failure,
            refusal,
        });
        self.folder.write_faults(&self.events)
    }

    /// Does nothing for one that does not hold.
    async fn heal(&mut self, number: usize) -> anyhow::Result<()> {
        let Some(at) = self.open.iter().position(|(open, _)| *open == number) else {
            return Ok(());
        };
        let (_, event) = self.open.remove(at);
        let event = &mut self.events[event];
        event.healing = Some(self.recorder.now());
        match within(self.cluster.heal(&event.fault)).await {
            Ok(()) => event.healed = Some(self.recorder.now()),
            Err(error) => event.failure = Some(format!("cannot heal: {error}")),
        }
        self.folder.write_faults(&self.events)
    }
}

async fn within<T>(done: impl Future<Output = Result<T, FaultError>>) -> Result<T, FaultError> {
    timeout(LIMIT, done)
        .await
        .unwrap_or_else(|_| Err(FaultError::Failed(anyhow::anyhow!("not done after {LIMIT:?}"))))
}
