//! What clients do to the system, and how what they saw is judged.

mod append;
pub(crate) mod availability;
mod churn;
mod order;
pub(crate) mod recovery;
mod register;
mod requests;
mod set;
mod traffic;
mod transaction;
mod watch;
mod zones;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::{self, Client};
use crate::cluster::{Cluster, Role};
use crate::draw::Draw;
use crate::history::{Operation, Outcome, Recorder};
use crate::verdict::{Finding, Verdict};

/// What a workload works with.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) recorder: Recorder,
    pub(crate) seed: u64,
}

/// One of `register`, `set`, `transaction`, `append`, `watch`, `zones`, `traffic`, `churn`.
#[async_trait]
pub(crate) trait Workload: Send + Sync {
    fn name(&self) -> &'static str;

    /// Whether it needs zones with proxies, or only globals.
    fn needs_zones(&self) -> bool {
        true
    }

    /// Before any fault: what must be there for it to run. An error is a harness failure.
    async fn prepare(&self, context: &Context) -> anyhow::Result<()>;

    /// Until `stop`: what clients do while faults come and go. An error is a harness failure.
    async fn run(&self, context: &Context, stop: CancellationToken) -> anyhow::Result<()>;

    /// All faults are healed: waits for quiescence, within a bound that it records as an operation
    /// of class `recovery`, and reads what must be there at the end.
    async fn finish(&self, context: &Context) -> anyhow::Result<()>;

    /// Judges a run's folder (`crate::run`); reads files, asks nobody.
    fn check(&self, folder: &Path) -> anyhow::Result<Vec<Verdict>>;
}

/// Every workload, by name.
pub(crate) fn all() -> Vec<Box<dyn Workload>> {
    vec![
        Box::new(register::Register),
        Box::new(set::Set),
        Box::new(transaction::Transaction),
        Box::new(append::Append),
        Box::new(watch::Watch::default()),
        Box::new(zones::Zones),
        Box::new(traffic::Traffic),
        Box::new(churn::Churn::default()),
    ]
}

/// How long a cluster that nothing was done to may take to accept what a workload needs.
const PREPARE_LIMIT: Duration = Duration::from_secs(30);

/// The names of the globals.
pub(crate) fn globals(cluster: &dyn Cluster) -> Vec<String> {
    let globals = cluster.nodes().iter().filter(|node| node.role == Role::Global);
    globals.map(|node| node.name.clone()).collect()
}

/// Applies a resource at the first global that takes it, before any fault.
pub(crate) async fn apply(context: &Context, path: &str, body: Value) -> anyhow::Result<()> {
    let began = Instant::now();
    while let Err(last) = apply_once(context, path, &body).await {
        if began.elapsed() > PREPARE_LIMIT {
            bail!("{path} was not accepted within {} s: {last}", PREPARE_LIMIT.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Asks each global in turn; what the last one said if none takes it.
async fn apply_once(context: &Context, path: &str, body: &Value) -> Result<(), String> {
    one_global_does(context, client::Call::put(path, body.clone())).await.map(drop)
}

async fn one_global_does(context: &Context, call: client::Call) -> Result<u16, String> {
    let mut last = "there is no global".to_owned();
    for node in globals(&*context.cluster) {
        let mut client = Client::new(context.cluster.clone(), node.clone());
        let answered = client.call(call.clone()).await;
        // Of a read, that there is nothing is an answer.
        let outcome = match call.is_read() {
            true => client::of_read(answered),
            false => client::of_write(answered),
        };
        match outcome {
            Outcome::Done { answer } => return Ok(answer.status),
            Outcome::Refused { why } | Outcome::Unknown { why } => last = format!("{node}: {why}"),
        }
    }
    Err(last)
}

/// After healing: what globals that were rolled back or emptied lost of `needed`, each a path with
/// its body, is applied again, and zones that refuse them are made to follow.
async fn restore(context: &Context, needed: &[(String, Value)]) -> anyhow::Result<()> {
    recovery::wait_until(context, "the globals take what is needed", || async {
        for (path, body) in needed {
            if one_global_does(context, client::Call::get(path)).await? == 404 {
                apply_once(context, path, body).await?;
            }
        }
        Ok(())
    })
    .await?;
    zones::adopt_where_fenced(context).await
}

/// A mesh for resources that are about no proxy.
async fn mesh(context: &Context, name: &str) -> anyhow::Result<()> {
    let (path, body) = plain_mesh(name);
    apply(context, &path, body).await
}

/// Waits until every global shows what was applied before, to those too who ask it for what it has.
async fn everywhere(context: &Context, path: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    for node in globals(&*context.cluster) {
        let mut client = Client::new(context.cluster.clone(), node.clone());
        // A read that asks the leader waits until the node has what it is told.
        while !client.call(client::Call::get(path)).await.is_ok_and(|answer| answer.is_success()) {
            if began.elapsed() > PREPARE_LIMIT {
                bail!("{node} does not show {path} within {} s", PREPARE_LIMIT.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    Ok(())
}

fn plain_mesh(name: &str) -> (String, Value) {
    (format!("/meshes/{name}"), json!({"type": "Mesh", "name": name}))
}

/// The path and body of a TrafficPermission that is about no proxy and carries a value, as the
/// service of its source.
fn permission(mesh: &str, name: &str, key: &str, value: &str) -> (String, Value) {
    let body = json!({
        "type": "TrafficPermission", "mesh": mesh, "name": name,
        "sources": [{"match": {"kuma.io/service": value}}],
        "destinations": [{"match": {"kuma.io/service": key}}],
    });
    (format!("/meshes/{mesh}/traffic-permissions/{name}"), body)
}

/// The value that a TrafficPermission carries ([`permission`]).
fn service(item: &Value) -> Option<&str> {
    item["sources"][0]["match"]["kuma.io/service"].as_str()
}

/// How the reason begins when an answer misses something.
const MALFORMED: &str = "malformed answer";

/// An answer that misses what every answer has is a violation of the API, and no outcome: the run
/// has to see it, so it is recorded as unknown with the reason ([`whole`]).
fn understood<A>(
    outcome: Outcome<client::Answer>,
    understand: fn(&client::Answer) -> anyhow::Result<A>,
) -> Outcome<A> {
    match outcome {
        Outcome::Done { answer } => match understand(&answer) {
            Ok(answer) => Outcome::Done { answer },
            Err(why) => Outcome::Unknown { why: format!("{MALFORMED}: {why:#}") },
        },
        Outcome::Refused { why } => Outcome::Refused { why },
        Outcome::Unknown { why } => Outcome::Unknown { why },
    }
}

/// Every answer has what the API says that it has.
fn whole<C, A>(ops: &[Operation<C, A>]) -> Verdict {
    let malformed = ops.iter().find_map(|op| match &op.outcome {
        Outcome::Unknown { why } if why.starts_with(MALFORMED) => Some((op.id, why)),
        _ => None,
    });
    let finding = match malformed {
        None => Finding::Held,
        Some((id, why)) => Finding::Violated { why: why.clone(), operations: vec![id] },
    };
    Verdict { checker: "answers are whole".to_owned(), finding, figures: Vec::new() }
}

/// What a checker found that cannot be, and the operations that show it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wrong {
    why: String,
    operations: Vec<u64>,
}

/// What all that is wrong makes of a verdict; the first has its operations shown.
fn finding(wrong: &[Wrong]) -> Finding {
    /// More say nothing new.
    const TOLD: usize = 5;
    match wrong.first() {
        None => Finding::Held,
        Some(first) => Finding::Violated {
            why: wrong.iter().take(TOLD).map(|one| &*one.why).collect::<Vec<_>>().join(". "),
            operations: first.operations.clone(),
        },
    }
}

/// Between two calls of a client: short after one that was done; after one that was not, long
/// enough that a refusing node is not flooded.
async fn pace(draw: &mut Draw, done: bool, stop: &CancellationToken) {
    let millis = if done { draw.between(5, 25) } else { draw.between(50, 150) };
    let pause = tokio::time::sleep(Duration::from_millis(millis));
    tokio::select! {
        () = pause => {}
        () = stop.cancelled() => {}
    }
}

/// Runs all of them to their ends; the first that fails or panics ends the others.
pub(crate) async fn together<F>(clients: Vec<F>) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut tasks: JoinSet<anyhow::Result<()>> = clients.into_iter().collect();
    while let Some(ended) = tasks.join_next().await {
        ended.context("a client panicked")??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_panics_or_fails_ends_the_others_with_an_error() {
        async fn client(number: u8) -> anyhow::Result<()> {
            match number {
                0 => std::future::pending().await,
                1 => panic!("a bug of the harness"),
                _ => bail!("no connection"),
            }
        }
        let error = together(vec![client(0), client(1)]).await.unwrap_err().to_string();
        assert!(error.contains("panicked"), "{error}");
        let error = together(vec![client(0), client(2)]).await.unwrap_err().to_string();
        assert_eq!(error, "no connection");
        together(Vec::<std::future::Ready<anyhow::Result<()>>>::new()).await.unwrap();
    }
}
