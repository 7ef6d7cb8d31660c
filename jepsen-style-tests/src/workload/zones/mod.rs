//! `zones`: operators change policies at the globals, readers look at what each zone has of them. A
//! zone never goes back, and loses nothing that was not deleted. Once all is healed it has what the
//! global has, and the global has what the zone owns.
//!
//! A key is a resource that one writer alone writes, with values that only rise, and that is never
//! made again once it is deleted. After a write whose fate is not known its key is left alone: it
//! may be done at any later time.

mod check;
mod heal;
mod view;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{
    Context, Workload, apply, globals, mesh, permission, plain_mesh, recovery, requests, restore,
    together,
};
use crate::client::{self, Client};
use crate::draw::Draw;
use crate::history::{Operation, Outcome};
use crate::verdict::Verdict;
pub(super) use heal::adopt_where_fenced;
use view::Reader;

/// Its resources are in a mesh without proxies: they change no traffic.
const MESH: &str = "zones";

/// A writer keeps about so many keys.
const KEYS: usize = 30;

/// Between two writes of a client.
const WRITES: (u64, u64) = (20, 80);

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
enum Call {
    Put {
        key: String,
        value: u64,
    },
    Delete {
        key: String,
    },
    /// Puts the mesh back that all globals have lost, so that there is something new that a zone
    /// must not take.
    Restore,
    /// What a zone's control plane has.
    View {
        zone: String,
    },
    /// The zone is fenced, and its operator lets it follow.
    Adopt {
        zone: String,
        reason: String,
    },
    /// At the end: what a zone and the global have of each other.
    Compare {
        zone: String,
    },
}

impl Call {
    const CLASSES: [&'static str; 6] = ["put", "delete", "restore", "view", "adopt", "compare"];

    fn class(&self) -> &'static str {
        match self {
            Self::Put { .. } => "put",
            Self::Delete { .. } => "delete",
            Self::Restore => "restore",
            Self::View { .. } => "view",
            Self::Adopt { .. } => "adopt",
            Self::Compare { .. } => "compare",
        }
    }
}

/// Keys and values.
type Values = BTreeMap<String, u64>;

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
enum Answer {
    Written {
        version: Option<u64>,
    },
    /// What differs from the same reader's last view of the zone.
    Viewed {
        /// The zone's own version of its state.
        version: u64,
        changed: Values,
        missing: Vec<String>,
    },
    Adopted,
    /// In words, what only one of both has, or has otherwise; empty if they are equal.
    Compared {
        resources: usize,
        differences: Vec<String>,
    },
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
        let (path, body) = requests::mesh();
        apply(context, &path, body).await?;
        mesh(context, MESH).await?;
        heal::await_equality(context, "the zones have what the global has, before any fault").await
    }

    async fn run(&self, context: &Context, stop: CancellationToken) -> anyhow::Result<()> {
        let mut clients: Vec<BoxFuture<'static, anyhow::Result<()>>> = Vec::new();
        for node in globals(&*context.cluster) {
            let draw = Draw::new(context.seed, &format!("zones {node}"));
            let client = Client::new(context.cluster.clone(), node);
            let writer =
                Writer { draw, client, made: 0, value: 0, keys: Vec::new(), mesh_is_lost: false };
            clients.push(Box::pin(writer.work(context.clone(), stop.clone())));
        }
        for (zone, node) in requests::remotes(context) {
            let reader = Reader::new(context, zone, node.name);
            clients.push(Box::pin(reader.work(context.clone(), stop.clone())));
        }
        together(clients).await
    }

    async fn finish(&self, context: &Context) -> anyhow::Result<()> {
        restore(context, &[requests::mesh(), plain_mesh(MESH)]).await?;
        recovery::globals_agree(context, MESH).await?;
        heal::await_equality(context, "each zone has what the global has, and it what they own")
            .await?;
        heal::compare_all(context).await
    }

    fn check(&self, folder: &Path) -> anyhow::Result<Vec<Verdict>> {
        check::check(folder)
    }
}

struct Writer {
    draw: Draw,
    client: Client,
    made: u64,
    value: u64,
    /// Those that are there, and whose every write has a known fate.
    keys: Vec<String>,
    mesh_is_lost: bool,
}

impl Writer {
    async fn work(mut self, context: Context, stop: CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            let (call, new) =
                if self.mesh_is_lost { (Call::Restore, false) } else { self.choose() };
            let node = self.client.node().to_owned();
            let begun = context.recorder.begin(&node, &node, call.class(), call.clone());
            let outcome = self.ask(&call).await;
            self.learn(&call, new, &outcome);
            context.recorder.end(begun, outcome)?;
            requests::pause(self.draw.between(WRITES.0, WRITES.1), &stop).await;
        }
        Ok(())
    }

    /// A call, and whether its key is new.
    fn choose(&mut self) -> (Call, bool) {
        let many = self.keys.len() > KEYS;
        if self.keys.is_empty() || (!many && self.draw.percent(30)) {
            self.made += 1;
            self.value += 1;
            let key = format!("{}-{}", self.client.node(), self.made);
            return (Call::Put { key, value: self.value }, true);
        }
        let at = usize::try_from(self.draw.below(self.keys.len() as u64)).unwrap_or_default();
        let key = self.keys[at].clone();
        if many || self.draw.percent(15) {
            return (Call::Delete { key }, false);
        }
        self.value += 1;
        (Call::Put { key, value: self.value }, false)
    }

    async fn ask(&mut self, call: &Call) -> Outcome<Answer> {
        let http = match call {
            Call::Put { key, value } => {
                let (path, body) = permission(MESH, key, "zones", &view::service(*value));
                client::Call::put(path, body)
            }
            Call::Delete { key } => client::Call::delete(permission(MESH, key, "", "").0),
            Call::Restore => {
                let (path, body) = plain_mesh(MESH);
                client::Call::put(path, body)
            }
            Call::View { .. } | Call::Adopt { .. } | Call::Compare { .. } => {
                return Outcome::Refused { why: "no writer asks that".to_owned() };
            }
        };
        match client::of_write(self.client.call(http).await) {
            Outcome::Done { answer } => {
                Outcome::Done { answer: Answer::Written { version: answer.version } }
            }
            Outcome::Refused { why } => Outcome::Refused { why },
            Outcome::Unknown { why } => Outcome::Unknown { why },
        }
    }

    /// What the outcome says about the key.
    fn learn(&mut self, call: &Call, new: bool, outcome: &Outcome<Answer>) {
        self.mesh_is_lost = match (call, outcome) {
            (Call::Put { .. }, Outcome::Refused { why }) => why.starts_with("404 mesh"),
            (Call::Restore, Outcome::Refused { .. }) => true,
            _ => false,
        };
        match (call, outcome) {
            (Call::Put { key, .. }, Outcome::Done { .. }) if new => self.keys.push(key.clone()),
            (Call::Delete { key }, Outcome::Done { .. } | Outcome::Unknown { .. })
            | (Call::Put { key, .. }, Outcome::Unknown { .. }) => {
                self.keys.retain(|kept| kept != key);
            }
            // Gone at globals that were rolled back: it stays away, since it may not come again.
            (Call::Delete { key }, Outcome::Refused { why }) if why.starts_with("404") => {
                self.keys.retain(|kept| kept != key);
            }
            _ => {}
        }
    }
}

/// Between two looks of a reader.
const LOOKS: Duration = Duration::from_millis(100);
