//! Ownership of every task of a process.
//!
//! A detached task that dies leaves a process that looks alive and does nothing. Here each task
//! has a name and an owner; one that ends before the process was told to stop ends the process.
//! This is not a supervisor: nothing is restarted in place, the process manager does that.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// Tasks of one process, and the token that tells them to stop.
///
/// A task must end soon after its token is cancelled; whatever it owns (connections, child
/// processes, its own `JoinSet`) ends with it.
#[derive(Default)]
pub struct Tasks {
    running: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, String>,
    stop: CancellationToken,
}

impl Tasks {
    /// No tasks, and a token that nobody has cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// The token that is cancelled when the process must stop. Cancelling a clone of it stops the
    /// process in order, as a signal does.
    pub fn token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// A token that follows [`Tasks::token`] and can be cancelled alone.
    pub fn child_token(&self) -> CancellationToken {
        self.stop.child_token()
    }

    /// Starts `task` and owns it. It is expected to run until the token is cancelled: ending
    /// before, even with `Ok`, ends the process. `name` appears in that message.
    pub fn spawn<F>(&mut self, name: impl Into<String>, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let id = self.running.spawn(task).id();
        self.names.insert(id, name.into());
    }

    /// Runs until SIGTERM or SIGINT, until the token is cancelled, or until a task ends.
    ///
    /// Then the token is cancelled and tasks get `drain` to end by themselves; those that do not
    /// are aborted. A second signal aborts at once.
    ///
    /// # Errors
    /// A task that ended before it was told to, that failed or panicked while it stopped, or that
    /// had to be aborted: the message names the task and the reason.
    pub async fn run_until_signal(mut self, drain: Duration) -> anyhow::Result<()> {
        let mut signals = Signals::listen()?;
        let stop = self.stop.clone();
        let reason = tokio::select! {
            name = signals.next() => {
                tracing::info!(signal = name, "stopping");
                Ok(())
            }
            () = stop.cancelled() => Ok(()),
            Some(ended) = self.running.join_next_with_id() => Err(self.unexpected(ended)),
        };
        self.stop.cancel();
        let drained = tokio::select! {
            drained = self.drain(drain) => drained,
            name = signals.next() => Err(anyhow!("stopped by a second {name} before the tasks had ended")),
        };
        // The first reason is what the operator needs; what followed from it is only logged.
        match (reason, drained) {
            (Err(reason), Err(after)) => {
                tracing::warn!(error = format!("{after:#}"), "while stopping");
                Err(reason)
            }
            (reason, drained) => reason.and(drained),
        }
    }

    /// Waits for all tasks, at most `limit`, and aborts the rest.
    async fn drain(&mut self, limit: Duration) -> anyhow::Result<()> {
        let mut first = Ok(());
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            match tokio::time::timeout_at(deadline, self.running.join_next_with_id()).await {
                Ok(None) => return first,
                Ok(Some(ended)) => {
                    let (name, ended) = self.named(ended);
                    if let Err(error) = ended {
                        tracing::warn!(task = name, error = format!("{error:#}"), "failed to stop");
                        first = first.and(Err(error.context(format!("task `{name}`"))));
                    }
                }
                Err(_) => {
                    let mut late: Vec<_> = self.names.values().cloned().collect();
                    late.sort();
                    self.running.shutdown().await;
                    return first.and(Err(anyhow!(
                        "aborted tasks that had not stopped after {limit:?}: {}",
                        late.join(", ")
                    )));
                }
            }
        }
    }

    fn unexpected(&mut self, ended: Ended) -> anyhow::Error {
        match self.named(ended) {
            (name, Ok(())) => {
                anyhow!("task `{name}` ended unexpectedly: it returned while it was still needed")
            }
            (name, Err(error)) => error.context(format!("task `{name}` ended unexpectedly")),
        }
    }

    fn named(&mut self, ended: Ended) -> (String, anyhow::Result<()>) {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(panicked(error))),
        };
        let name = self.names.remove(&id).expect("invariant: every spawned task has a name");
        (name, result)
    }
}

type Ended = Result<(Id, anyhow::Result<()>), JoinError>;

fn panicked(error: JoinError) -> anyhow::Error {
    match error.try_into_panic() {
        Ok(panic) => {
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned());
            anyhow!("panicked: {}", text.as_deref().unwrap_or("no message"))
        }
        Err(error) => anyhow!(error),
    }
}

/// The signals that ask a process to stop.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for SIGTERM and SIGINT");
        Ok(Self { term: listen(SignalKind::terminate())?, int: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests;
