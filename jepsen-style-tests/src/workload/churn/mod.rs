//! `churn`: proxies join and leave in both zones while callers send requests to the services they
//! belong to.

mod check;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::requests::{self, Lane, Pair, WORKLOADS, all_answer, pause, remotes};
use super::{Context, Workload, apply, globals, recovery, restore, together};
use crate::client::{self, Client};
use crate::draw::Draw;
use crate::history::{Operation, Outcome};
use crate::verdict::Verdict;

/// Milliseconds between two requests of a lane.
const APART: (u64, u64) = (200, 320);
/// Milliseconds between two looks at the Dataplanes of a control plane.
const LOOK: u64 = 400;
/// Milliseconds for which a proxy stays: at times longer than what it has to be asked.
const STAYS: (u64, u64) = (6000, check::SERVED / 1000 + 3000);
/// Milliseconds until it joins again: longer than what its Dataplane has to go.
const AWAY: (u64, u64) = (500, check::GONE / 1000 + 3000);
/// At the end every lane makes so many requests more.
const LAST: usize = 5;

const CHANGE: [&str; 2] = ["join", "leave"];
const LIST: &str = "dataplanes";
const LIST_AT_END: &str = "dataplanes at the end";

/// A proxy joins or leaves; the operation's node is its workload.
type ChangeOp = Operation<bool, Value>;
/// The names of the Dataplanes that a control plane has; the call is what it should have, where
/// that is known.
type ListOp = Operation<Option<BTreeSet<String>>, BTreeSet<String>>;

/// The workload.
#[derive(Default)]
pub(crate) struct Churn {
    /// Spares that run.
    joined: Mutex<BTreeSet<&'static str>>,
    /// By zone, the Dataplanes that were there at the start and belong to no workload: the lab's
    /// gateway. They neither come nor go.
    others: OnceLock<BTreeMap<String, BTreeSet<String>>>,
}

impl Churn {
    fn joined(&self) -> BTreeSet<&'static str> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Joins and leaves, again and again, with one of the spares.
    async fn churn(
        &self,
        context: &Context,
        spare: &'static str,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut draw = Draw::new(context.seed, &format!("churn {spare}"));
        while !stop.is_cancelled() {
            pause(draw.between(AWAY.0, AWAY.1), stop).await;
            if stop.is_cancelled() {
                break;
            }
            self.change(context, spare, true).await?;
            let stays = stop.child_token();
            let calls = calls(context, spare, stays.clone());
            let waits = async {
                pause(draw.between(STAYS.0, STAYS.1), stop).await;
                stays.cancel();
                Ok(())
            };
            futures::try_join!(calls, waits)?;
            if stop.is_cancelled() {
                break;
            }
            self.change(context, spare, false).await?;
        }
        Ok(())
    }

    async fn change(
        &self,
        context: &Context,
        spare: &'static str,
        joins: bool,
    ) -> anyhow::Result<()> {
        let client = format!("churn {spare}");
        let begun = context.recorder.begin(&client, spare, CHANGE[usize::from(!joins)], joins);
        if joins {
            context.cluster.join(spare).await?;
        } else {
            context.cluster.leave(spare).await?;
        }
        let mut joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        if joins {
            joined.insert(spare);
        } else {
            joined.remove(spare);
        }
        drop(joined);
        context.recorder.end(begun, Outcome::Done { answer: Value::Null })?;
        Ok(())
    }

    /// All that run now and call something.
    fn pairs(&self) -> Vec<Pair> {
        let joined = self.joined();
        requests::pairs(|workload| !workload.spare || joined.contains(workload.name))
    }

    /// The Dataplanes that there should be: of one zone, or of all.
    fn running(&self, context: &Context, zone: Option<&str>) -> BTreeSet<String> {
        let joined = self.joined();
        let runs = |name: &str| {
            WORKLOADS.iter().any(|w| w.name == name && (!w.spare || joined.contains(w.name)))
        };
        let here =
            context.cluster.nodes().iter().filter(|node| {
                runs(&node.name) && (zone.is_none() || node.zone.as_deref() == zone)
            });
        let others = self.others.get().into_iter().flatten();
        let others = others.filter(|(of, _)| zone.is_none_or(|zone| zone == of.as_str()));
        let others = others.flat_map(|(_, names)| names.iter().cloned());
        here.map(|node| node.name.clone()).chain(others).collect()
    }

    /// Every control plane with what it should have.
    fn expected(&self, context: &Context) -> Vec<(String, BTreeSet<String>)> {
        let all = self.running(context, None);
        let zones = remotes(context).into_iter();
        let zones = zones.map(|(zone, node)| (node.name, self.running(context, Some(&zone))));
        let globals = globals(&*context.cluster).into_iter().map(|node| (node, all.clone()));
        zones.chain(globals).collect()
    }
}

#[async_trait]
impl Workload for Churn {
    fn name(&self) -> &'static str {
        "churn"
    }

    async fn prepare(&self, context: &Context) -> anyhow::Result<()> {
        let (path, body) = requests::mesh();
        apply(context, &path, body).await?;
        let (path, body) = requests::allow_all();
        apply(context, &path, body).await?;
        requests::ready(context, &self.pairs()).await?;
        let mut others = BTreeMap::new();
        for (zone, node) in remotes(context) {
            let listed = list(&mut Client::new(context.cluster.clone(), node.name.clone())).await;
            let mut names = listed.map_err(|why| anyhow::anyhow!("{}: {why}", node.name))?;
            names.retain(|name| WORKLOADS.iter().all(|workload| workload.name != name));
            others.insert(zone, names);
        }
        // It is prepared once.
        self.others.get_or_init(|| others);
        Ok(())
    }

    async fn run(&self, context: &Context, stop: CancellationToken) -> anyhow::Result<()> {
        requests::record_nodes(context)?;
        let mut clients: Vec<BoxFuture<'static, anyhow::Result<()>>> = Vec::new();
        for lane in Lane::both(context, &self.pairs()) {
            clients.push(Box::pin(lane.run(context.clone(), APART, stop.clone())));
        }
        let remotes = remotes(context).into_iter().map(|(_, node)| node.name);
        for node in remotes.chain(globals(&*context.cluster)) {
            clients.push(Box::pin(watch(context.clone(), node, stop.clone())));
        }
        let there = |name: &str| context.cluster.nodes().iter().any(|node| node.name == name);
        let spares = WORKLOADS.iter().filter(|w| w.spare && there(w.name));
        let churning = spares.map(|w| self.churn(context, w.name, &stop));
        futures::try_join!(together(clients), futures::future::try_join_all(churning))?;
        Ok(())
    }

    async fn finish(&self, context: &Context) -> anyhow::Result<()> {
        restore(context, &[requests::mesh(), requests::allow_all()]).await?;
        recovery::wait_until(context, "the Dataplanes are the running proxies", || async {
            for (node, expected) in self.expected(context) {
                let mut client = Client::new(context.cluster.clone(), node.clone());
                let listed = list(&mut client).await.map_err(|why| format!("{node}: {why}"))?;
                if listed != expected {
                    return Err(format!("{node} has {listed:?}, not {expected:?}"));
                }
            }
            Ok(())
        })
        .await?;
        let pairs = self.pairs();
        recovery::wait_until(context, "every pair of workloads is served", || {
            all_answer(context, &pairs)
        })
        .await?;
        for mut lane in Lane::both(context, &pairs) {
            for _ in 0..LAST {
                lane.request(context).await?;
            }
        }
        for (node, expected) in self.expected(context) {
            let mut client = Client::new(context.cluster.clone(), node.clone());
            record(context, &mut client, LIST_AT_END, Some(expected)).await?;
        }
        Ok(())
    }

    fn check(&self, folder: &Path) -> anyhow::Result<Vec<Verdict>> {
        check::check(folder)
    }
}

/// What a joined proxy's own application calls, from its first good answers until it leaves.
async fn calls(
    context: &Context,
    spare: &'static str,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let pairs = requests::pairs(|workload| workload.name == spare);
    if pairs.is_empty() {
        return Ok(());
    }
    while all_answer(context, &pairs).await.is_err() {
        if stop.is_cancelled() {
            return Ok(());
        }
        pause(LOOK, &stop).await;
    }
    let lanes = Lane::both(context, &pairs).into_iter();
    let running = lanes.map(|lane| lane.run(context.clone(), APART, stop.clone()));
    futures::future::try_join_all(running).await?;
    Ok(())
}

async fn watch(context: Context, node: String, stop: CancellationToken) -> anyhow::Result<()> {
    let mut client = Client::new(context.cluster.clone(), node);
    while !stop.is_cancelled() {
        record(&context, &mut client, LIST, None).await?;
        pause(LOOK, &stop).await;
    }
    Ok(())
}

async fn record(
    context: &Context,
    client: &mut Client,
    class: &str,
    expected: Option<BTreeSet<String>>,
) -> anyhow::Result<()> {
    let name = format!("dataplanes at {}", client.node());
    let begun = context.recorder.begin(&name, client.node(), class, expected);
    let outcome = match list(client).await {
        Ok(answer) => Outcome::Done { answer },
        Err(why) => Outcome::Refused { why },
    };
    context.recorder.end(begun, outcome)?;
    Ok(())
}

/// The Dataplanes that a control plane has, by the names that their zones gave them.
async fn list(client: &mut Client) -> Result<BTreeSet<String>, String> {
    let path = format!("/meshes/{}/dataplanes?size=1000&consistency=stale", requests::MESH);
    let answer = client.call(client::Call::get(path)).await.map_err(|why| why.to_string())?;
    if !answer.is_success() {
        return Err(answer.detail());
    }
    let items = answer.body["items"].as_array().ok_or("a list without items")?;
    let names = items.iter().map(|item| {
        let shown =
            item["labels"]["kuma.io/display-name"].as_str().or_else(|| item["name"].as_str());
        shown.map(str::to_owned).ok_or_else(|| "a Dataplane without a name".to_owned())
    });
    names.collect()
}
