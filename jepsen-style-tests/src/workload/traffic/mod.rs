//! `traffic`: steady requests within and across zones, on connections that stay open and on new
//! ones, and questions for names, while an operator changes who may call and where requests go.

mod check;
mod names;
mod operator;
mod policy;
mod timeline;

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::requests::{self, Lane, Pair, ZoneProgress, all_answer, pause, progress, remotes};
use super::{Context, Workload, apply, globals, recovery, restore, together};
use crate::client::Client;
use crate::history::{Operation, Outcome};
use crate::verdict::Verdict;
use names::Resolver;
use operator::Operator;
use policy::{Kind, Policy};

/// Milliseconds between two requests of a lane: six lanes make some 25 requests a second.
const APART: (u64, u64) = (180, 280);
/// Milliseconds between two looks at a control plane's progress.
const WATCH: u64 = 250;
/// At the end every lane makes so many requests more.
const LAST: usize = 5;

/// What a control plane says of each zone.
type Said = BTreeMap<String, ZoneProgress>;
type ProgressOp = Operation<Value, Said>;
/// The class of looks at progress.
const PROGRESS: &str = "progress";

/// The workload.
pub(crate) struct Traffic;

fn pairs() -> Vec<Pair> {
    requests::pairs(|workload| !workload.spare)
}

#[async_trait]
impl Workload for Traffic {
    fn name(&self) -> &'static str {
        "traffic"
    }

    async fn prepare(&self, context: &Context) -> anyhow::Result<()> {
        let (path, body) = requests::mesh();
        apply(context, &path, body).await?;
        for kind in Kind::ALL {
            apply(context, &kind.path(), Policy::open(kind).resource(0)).await?;
        }
        requests::ready(context, &pairs()).await?;
        for mut resolver in resolvers(context) {
            resolver.ready(context).await?;
        }
        Ok(())
    }

    async fn run(&self, context: &Context, stop: CancellationToken) -> anyhow::Result<()> {
        requests::record_nodes(context)?;
        let mut clients: Vec<BoxFuture<'static, anyhow::Result<()>>> = Vec::new();
        for lane in Lane::both(context, &pairs()) {
            clients.push(Box::pin(lane.run(context.clone(), APART, stop.clone())));
        }
        for resolver in resolvers(context) {
            clients.push(Box::pin(resolver.run(context.clone(), stop.clone())));
        }
        let remotes = remotes(context).into_iter().map(|(_, node)| node.name);
        for node in remotes.chain(globals(&*context.cluster)) {
            clients.push(Box::pin(watch(context.clone(), node, stop.clone())));
        }
        let operator = Operator::new(context, 1)?;
        clients.push(Box::pin(operator.run(context.clone(), stop)));
        together(clients).await
    }

    async fn finish(&self, context: &Context) -> anyhow::Result<()> {
        let open = Kind::ALL.map(|kind| (kind.path(), Policy::open(kind).resource(0)));
        restore(context, &[&[requests::mesh()], &open[..]].concat()).await?;
        // Numbers of their own, far from those of the run.
        let operator = tokio::sync::Mutex::new(Operator::new(context, 1_000_000)?);
        recovery::wait_until(context, "all policies are open again", || async {
            let mut operator = operator.lock().await;
            for kind in Kind::ALL {
                let changed = operator.step(context, Policy::open(kind)).await;
                let changed = changed.map_err(|why| format!("{why:#}"))?;
                changed.ok_or_else(|| format!("{} is not written", kind.class()))?;
            }
            Ok(())
        })
        .await?;
        let pairs = pairs();
        recovery::wait_until(context, "every pair of workloads is served", || {
            all_answer(context, &pairs)
        })
        .await?;
        for mut lane in Lane::both(context, &pairs) {
            for _ in 0..LAST {
                lane.request(context).await?;
            }
        }
        for mut resolver in resolvers(context) {
            for _ in 0..4 {
                resolver.ask(context).await?;
            }
        }
        Ok(())
    }

    fn check(&self, folder: &Path) -> anyhow::Result<Vec<Verdict>> {
        check::check(folder)
    }
}

/// One in each zone, at the first workload that calls others.
fn resolvers(context: &Context) -> Vec<Resolver> {
    let at = |zone: &str| {
        let here = |pair: &Pair| {
            let mut nodes = context.cluster.nodes().iter();
            nodes.any(|node| node.name == pair.from && node.zone.as_deref() == Some(zone))
        };
        pairs().into_iter().find(here)
    };
    let each = remotes(context).into_iter().filter_map(|(zone, remote)| {
        at(&zone).map(|pair| Resolver::new(context, pair.from, &remote))
    });
    each.collect()
}

/// Records what a control plane says of the zones' progress.
async fn watch(context: Context, node: String, stop: CancellationToken) -> anyhow::Result<()> {
    let mut client = Client::new(context.cluster.clone(), node.clone());
    let name = format!("progress at {node}");
    while !stop.is_cancelled() {
        let begun = context.recorder.begin(&name, &node, PROGRESS, Value::Null);
        let outcome = match progress(&mut client).await {
            Ok(zones) => Outcome::Done { answer: zones.into_iter().collect::<Said>() },
            Err(why) => Outcome::Refused { why },
        };
        context.recorder.end(begun, outcome)?;
        pause(WATCH, &stop).await;
    }
    Ok(())
}
