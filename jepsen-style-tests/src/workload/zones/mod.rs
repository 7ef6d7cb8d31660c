//! `zones`: policies change at the global, and each zone's control plane is watched.
//!
//! Every policy has one writer, and a writer that does not know what became of a write never writes
//! that policy again. So the states of a policy have one order, and a zone that shows an older one
//! after a younger went backwards, whatever its versions say. Zones that fence because all globals
//! were rolled back or emptied are right to; an operator lets them follow again (`zone adopt`).

mod check;
mod clients;
mod course;
mod finish;
mod lists;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::bail;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Context, Workload, globals, mesh, together};
use crate::cluster::{Cluster, Role};
use crate::history::Operation;
use crate::verdict::Verdict;

/// Where its policies are: a mesh without proxies, so that they change no traffic.
const MESH: &str = "zones";

const WRITERS: u64 = 4;

/// The classes of its operations.
const WRITE: &str = "write";
const LOOK: &str = "look";
const STANDING: &str = "standing";
const ADOPT: &str = "adopt";
const LIST: &str = "list";
/// An operator puts a mesh back that the globals have lost.
const RESTORE: &str = "restore";

/// A sort of policy that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Sort {
    TrafficPermissions,
    TrafficRoutes,
}

impl Sort {
    const ALL: [Self; 2] = [Self::TrafficPermissions, Self::TrafficRoutes];

    /// As paths name it.
    fn path(self) -> &'static str {
        match self {
            Self::TrafficPermissions => "traffic-permissions",
            Self::TrafficRoutes => "traffic-routes",
        }
    }
}

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
enum Call {
    /// Gives a policy a value that it has never had.
    Put { sort: Sort, policy: String, value: u64 },
    Delete { sort: Sort, policy: String },
    /// What a zone has of this workload's policies.
    Look { sort: Sort },
    /// How a zone stands to its global.
    Stand,
    /// Lets a fenced zone follow its global again.
    Adopt,
    /// At the end: what a node has that should be the same at others.
    List,
    Restore { mesh: String },
}

impl Call {
    fn class(&self) -> &'static str {
        match self {
            Self::Put { .. } | Self::Delete { .. } => WRITE,
            Self::Look { .. } => LOOK,
            Self::Stand => STANDING,
            Self::Adopt => ADOPT,
            Self::List => LIST,
            Self::Restore { .. } => RESTORE,
        }
    }
}

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
enum Answer {
    Written { version: Option<u64> },
    /// The policies that are there, with their values.
    Seen { version: Option<u64>, policies: BTreeMap<String, u64> },
    Stands { state: String, reason: Option<String> },
    Adopted { removed: Option<u64> },
    /// Resources by kind, mesh, owner and name, without what differs by design.
    Listed { resources: BTreeMap<String, Value> },
}

type Op = Operation<Call, Answer>;

/// The workload.
pub(crate) struct Zones;

#[async_trait]
impl Workload for Zones {
    fn name(&self) -> &'static str {
        "zones"
    }

    async fn prepare(&self, context: &Context) -> anyhow::Result<()> {
        if remotes(&*context.cluster).is_empty() {
            bail!("the test zones needs a cluster with zones");
        }
        mesh(context, MESH).await
    }

    async fn run(&self, context: &Context, stop: CancellationToken) -> anyhow::Result<()> {
        let globals = globals(&*context.cluster);
        let writers = (1..=WRITERS)
            .map(|number| clients::writer(context.clone(), globals.clone(), number, stop.clone()));
        let mut all: Vec<clients::Running> = writers.collect();
        for (node, _) in remotes(&*context.cluster) {
            all.push(clients::watcher(context.clone(), node.clone(), stop.clone()));
            all.push(clients::operator(context.clone(), node, stop.clone()));
        }
        together(all).await
    }

    async fn finish(&self, context: &Context) -> anyhow::Result<()> {
        finish::finish(context).await
    }

    fn check(&self, folder: &Path) -> anyhow::Result<Vec<Verdict>> {
        check::check(folder)
    }
}

/// The zones' control planes: node and zone.
fn remotes(cluster: &dyn Cluster) -> Vec<(String, String)> {
    let remotes = cluster.nodes().iter().filter(|node| node.role == Role::Remote);
    remotes.filter_map(|node| Some((node.name.clone(), node.zone.clone()?))).collect()
}
