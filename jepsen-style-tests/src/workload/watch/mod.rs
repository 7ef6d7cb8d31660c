//! `watch`: clients at every global write, delete, and write several resources at once; others watch
//! every change, and go on from the last version that they were told after each break: at the same
//! global, or, those that roam, at any.

mod check;
mod follow;
mod streams;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Context, Workload, globals, mesh, recovery, service, together, understood};
use crate::client::{self, Client};
use crate::history::{Micros, Operation, Outcome};
use crate::verdict::Verdict;
use follow::Follower;
use writer::Writer;

/// Its resources are in a mesh without proxies: they change no traffic.
const MESH: &str = "watch";
/// What is in this one is not asked for.
const ELSEWHERE: &str = "unwatched";

const WRITERS_PER_NODE: usize = 2;
/// Watches that go on at any global.
const ROAMING: usize = 2;

/// Resources that come and go.
const KEYS: u64 = 8;
/// What the harness itself writes into the mesh at the end begins so (`recovery::globals_agree`).
const HARNESS: &str = "recovered-";

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
enum Call {
    Put {
        key: String,
        value: String,
    },
    Delete {
        key: String,
    },
    /// In one transaction, values by key.
    PutAll {
        values: BTreeMap<String, String>,
    },
    /// In another mesh, of which no watch is told but by marks.
    PutElsewhere {
        value: String,
    },
    /// All changes after a version.
    Watch {
        from: u64,
    },
    /// All resources, linearizable, at the end.
    List,
}

impl Call {
    fn class(&self) -> &'static str {
        match self {
            Self::Put { .. } => PUT,
            Self::Delete { .. } => DELETE,
            Self::PutAll { .. } => PUT_ALL,
            Self::PutElsewhere { .. } => PUT_ELSEWHERE,
            Self::Watch { .. } => WATCH,
            Self::List => LIST,
        }
    }

    /// What it would make of each key; none: it is gone.
    fn edits(&self) -> Vec<(&str, Option<&str>)> {
        match self {
            Self::Put { key, value } => vec![(key, Some(value))],
            Self::Delete { key } => vec![(key, None)],
            Self::PutAll { values } => {
                values.iter().map(|(key, value)| (&**key, Some(&**value))).collect()
            }
            Self::PutElsewhere { .. } | Self::Watch { .. } | Self::List => Vec::new(),
        }
    }
}

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
enum Answer {
    Written {
        version: u64,
    },
    /// What a watch said, and why it ended, if it did.
    Told {
        events: Vec<Told>,
        ended: Option<String>,
    },
    /// Values by key.
    Listed {
        version: u64,
        values: BTreeMap<String, String>,
    },
}

/// An event of a watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
enum Told {
    /// A version and all that it changed; `at`: when it came.
    Change { version: u64, at: Micros, edits: Vec<Edit> },
    /// Nothing else up to this version.
    Progress { version: u64 },
    /// What was up to this version is no longer kept.
    Compacted { version: u64 },
}

impl Told {
    fn version(&self) -> u64 {
        let (Self::Change { version, .. }
        | Self::Progress { version }
        | Self::Compacted { version }) = self;
        *version
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Edit {
    /// The resource's name; of one that was not asked for its type and mesh too.
    key: String,
    operation: String,
    value: Option<String>,
    previous: Option<String>,
    previous_version: Option<u64>,
}

type Op = Operation<Call, Answer>;

/// Their classes.
const PUT: &str = "put";
const DELETE: &str = "delete";
const PUT_ALL: &str = "put several";
const PUT_ELSEWHERE: &str = "put elsewhere";
const WATCH: &str = "watch";
const LIST: &str = "list";
const CLASSES: [&str; 6] = [PUT, DELETE, PUT_ALL, PUT_ELSEWHERE, WATCH, LIST];

/// The workload.
#[derive(Default)]
pub(crate) struct Watch {
    /// Who goes on with each watch once all is healed.
    followers: Mutex<Vec<Follower>>,
}

#[async_trait]
impl Workload for Watch {
    fn name(&self) -> &'static str {
        "watch"
    }

    fn needs_zones(&self) -> bool {
        false
    }

    async fn prepare(&self, context: &Context) -> anyhow::Result<()> {
        mesh(context, ELSEWHERE).await?;
        mesh(context, MESH).await
    }

    async fn run(&self, context: &Context, stop: CancellationToken) -> anyhow::Result<()> {
        let nodes = globals(&*context.cluster);
        // The mesh is there, and empty.
        let (from, _) = listed(context, nodes.first().context("there is no global")?).await?;
        let mut writers = Vec::new();
        for node in &nodes {
            for number in 1..=WRITERS_PER_NODE {
                let writer = Writer::new(context, node, number);
                writers.push(writer.work(stop.clone()));
            }
        }
        let fixed = nodes.iter().map(|node| (format!("watch-{node}"), vec![node.clone()]));
        let roaming = (1..=ROAMING).map(|number| (format!("watch-any-{number}"), nodes.clone()));
        let mut watches: JoinSet<anyhow::Result<Follower>> = JoinSet::new();
        for (name, nodes) in fixed.chain(roaming) {
            watches.spawn(Follower::new(context, name, nodes, from).follow(stop.clone(), None));
        }
        let watching = async {
            while let Some(ended) = watches.join_next().await {
                let follower = ended.context("a watch panicked")??;
                self.followers.lock().unwrap_or_else(PoisonError::into_inner).push(follower);
            }
            Ok::<(), anyhow::Error>(())
        };
        tokio::try_join!(together(writers), watching).map(drop)
    }

    async fn finish(&self, context: &Context) -> anyhow::Result<()> {
        recovery::globals_agree(context, MESH).await?;
        let mut last = 0;
        for node in globals(&*context.cluster) {
            let begun = context.recorder.begin("harness", &node, LIST, Call::List);
            let outcome = match listed(context, &node).await {
                Ok((version, values)) => {
                    last = version.max(last);
                    Outcome::Done { answer: Answer::Listed { version, values } }
                }
                Err(why) => Outcome::Refused { why: format!("{why:#}") },
            };
            context.recorder.end(begun, outcome)?;
        }
        let followers = {
            let mut kept = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *kept)
        };
        follow::to_the_end(context, followers, last).await
    }

    fn check(&self, folder: &Path) -> anyhow::Result<Vec<Verdict>> {
        check::check(folder)
    }
}

/// All resources of the mesh as a global has them, and the version.
async fn listed(context: &Context, node: &str) -> anyhow::Result<(u64, BTreeMap<String, String>)> {
    let mut client = Client::new(context.cluster.clone(), node);
    let path = format!("/meshes/{MESH}/traffic-permissions?size=1000");
    let answer = client.call(client::Call::get(path)).await?;
    anyhow::ensure!(answer.is_success(), "{node} does not list: {}", answer.detail());
    let items = answer.body["items"].as_array().context("a list without items")?;
    let value = |item: &Value| {
        let name = item["name"].as_str().context("an item without a name")?;
        let value = service(item).with_context(|| format!("no value in {item}"))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    let values = items.iter().map(value).collect::<anyhow::Result<_>>()?;
    Ok((answer.version.context("a list without a version")?, values))
}
