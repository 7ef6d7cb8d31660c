//! `register`: a few resources that clients at every global read, write and compare-and-set. Each
//! value is written once, so that a read says which write it saw.
//!
//! Clients are pinned to a node: one that hangs at a paused global does not hide that others are
//! served. Keys are replaced by fresh ones after [`OPERATIONS_PER_KEY`] operations, so that the
//! search of the linearizability checker stays small however long the run is.

mod check;
mod linear;
mod shrink;
mod versions;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{
    Context, Workload, globals, mesh, pace, permission, recovery, service, together, understood,
};
use crate::client::{self, Client};
use crate::draw::Draw;
use crate::history::{Operation, Outcome};
use crate::verdict::Verdict;

/// Its resources are in a mesh without proxies: they change no traffic.
const MESH: &str = "register";

/// Times 3 globals: below the 10 concurrent clients for which the search is quick.
const CLIENTS_PER_NODE: usize = 3;

const KEYS: u64 = 4;

/// Well below the 10,000 that the checker does in half a second.
const OPERATIONS_PER_KEY: u64 = 3000;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
enum Call {
    Read {
        key: String,
    },
    /// Whatever the node has.
    StaleRead {
        key: String,
    },
    /// At least as new as `version`, which was acknowledged somewhere.
    ReadSince {
        key: String,
        version: u64,
    },
    Write {
        key: String,
        value: String,
    },
    /// Replaces `from`, whose ETag is `tag`, by `value`.
    Swap {
        key: String,
        from: String,
        tag: u64,
        value: String,
    },
}

impl Call {
    fn key(&self) -> &str {
        match self {
            Self::Read { key }
            | Self::StaleRead { key }
            | Self::ReadSince { key, .. }
            | Self::Write { key, .. }
            | Self::Swap { key, .. } => key,
        }
    }

    fn class(&self) -> &'static str {
        match self {
            Self::Read { .. } => "read",
            Self::StaleRead { .. } => "stale read",
            Self::ReadSince { .. } => "read since",
            Self::Write { .. } => "write",
            Self::Swap { .. } => "swap",
        }
    }

    /// What it would write.
    fn value(&self) -> Option<&str> {
        match self {
            Self::Write { value, .. } | Self::Swap { value, .. } => Some(value),
            Self::Read { .. } | Self::StaleRead { .. } | Self::ReadSince { .. } => None,
        }
    }
}

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
enum Answer {
    /// The value with its ETag, none if there is no such resource, at a version of the state.
    Value { version: u64, found: Option<Found> },
    /// Written with this ETag, at this version.
    Written { version: u64, tag: u64 },
    /// The ETag was not the one that was asked for (412): nothing was changed.
    Mismatch,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    value: String,
    tag: u64,
}

type Op = Operation<Call, Answer>;

/// The workload.
pub(crate) struct Register;

/// What clients know of each other's: the version to read since, and tags to swap.
#[derive(Debug, Default)]
struct Known {
    acknowledged: u64,
    /// By key.
    last: BTreeMap<String, Found>,
    /// Operations begun on each slot's keys.
    begun: BTreeMap<u64, u64>,
}

#[async_trait]
impl Workload for Register {
    fn name(&self) -> &'static str {
        "register"
    }

    fn needs_zones(&self) -> bool {
        false
    }

    async fn prepare(&self, context: &Context) -> anyhow::Result<()> {
        mesh(context, MESH).await
    }

    async fn run(&self, context: &Context, stop: CancellationToken) -> anyhow::Result<()> {
        let known = Arc::new(Mutex::new(Known::default()));
        let mut clients = Vec::new();
        for node in globals(&*context.cluster) {
            for number in 1..=CLIENTS_PER_NODE {
                let name = format!("{node}/{number}");
                let draw = Draw::new(context.seed, &format!("register {name}"));
                let client = Client::new(context.cluster.clone(), node.clone());
                let actor = Actor { name, written: 0, draw, client, known: known.clone() };
                clients.push(actor.work(context.clone(), stop.clone()));
            }
        }
        together(clients).await
    }

    async fn finish(&self, context: &Context) -> anyhow::Result<()> {
        recovery::globals_agree(context, MESH).await
    }

    fn check(&self, folder: &Path) -> anyhow::Result<Vec<Verdict>> {
        check::check(folder)
    }
}

/// One client.
struct Actor {
    name: String,
    written: u64,
    draw: Draw,
    client: Client,
    known: Arc<Mutex<Known>>,
}

impl Actor {
    async fn work(mut self, context: Context, stop: CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            let call = self.choose();
            let begun =
                context.recorder.begin(&self.name, self.client.node(), call.class(), call.clone());
            let outcome = self.ask(&call).await;
            self.learn(&call, &outcome);
            let done = matches!(outcome, Outcome::Done { .. });
            context.recorder.end(begun, outcome)?;
            pace(&mut self.draw, done, &stop).await;
        }
        Ok(())
    }

    fn choose(&mut self) -> Call {
        let slot = self.draw.below(KEYS);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = known.begun.entry(slot).or_default();
        let key = format!("r{slot}-{}", *begun / OPERATIONS_PER_KEY);
        *begun += 1;
        let version = known.acknowledged;
        let last = known.last.get(&key).cloned();
        drop(known);
        match (self.draw.below(100), last) {
            (0..40, _) => Call::Read { key },
            (40..48, _) => Call::StaleRead { key },
            (48..55, _) => Call::ReadSince { key, version },
            (55..75, Some(Found { value: from, tag })) => {
                Call::Swap { key, from, tag, value: self.fresh() }
            }
            _ => Call::Write { key, value: self.fresh() },
        }
    }

    /// A value that nobody wrote before, as the value of a tag.
    fn fresh(&mut self) -> String {
        self.written += 1;
        format!("{}-{}", self.name.replace('/', "-"), self.written)
    }

    async fn ask(&mut self, call: &Call) -> Outcome<Answer> {
        let key = call.key();
        let (path, body) = permission(MESH, key, key, call.value().unwrap_or_default());
        let http = match call {
            Call::Read { .. } => client::Call::get(path),
            Call::StaleRead { .. } => client::Call::get(path + "?consistency=stale"),
            Call::ReadSince { version, .. } => {
                client::Call::get(format!("{path}?min-version={version}"))
            }
            Call::Write { .. } => client::Call::put(path, body),
            Call::Swap { tag, .. } => client::Call::put(path, body).if_match(*tag),
        };
        let answered = self.client.call(http).await;
        if call.value().is_none() {
            return understood(client::of_read(answered), found);
        }
        match answered {
            Ok(answer) if answer.status == 412 && matches!(call, Call::Swap { .. }) => {
                Outcome::Done { answer: Answer::Mismatch }
            }
            answered => understood(client::of_write(answered), written),
        }
    }

    fn learn(&self, call: &Call, outcome: &Outcome<Answer>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (version, found) = match outcome.answer() {
            Some(Answer::Value { version, found }) if matches!(call, Call::Read { .. }) => {
                (*version, found.clone())
            }
            Some(Answer::Written { version, tag }) => {
                let value = call.value().unwrap_or_default().to_owned();
                (*version, Some(Found { value, tag: *tag }))
            }
            _ => return,
        };
        known.acknowledged = known.acknowledged.max(version);
        let Some(found) = found else { return };
        let last = known.last.entry(call.key().to_owned()).or_insert_with(|| found.clone());
        if last.tag < found.tag {
            *last = found;
        }
    }
}

fn found(answer: &client::Answer) -> anyhow::Result<Answer> {
    let version = answer.version.context("no version")?;
    if answer.status == 404 {
        return Ok(Answer::Value { version, found: None });
    }
    let value = service(&answer.body);
    let value = value.with_context(|| format!("no value in {}", answer.body))?.to_owned();
    let tag = answer.tag.context("no ETag")?;
    Ok(Answer::Value { version, found: Some(Found { value, tag }) })
}

fn written(answer: &client::Answer) -> anyhow::Result<Answer> {
    let version = answer.version.context("no version")?;
    Ok(Answer::Written { version, tag: answer.tag.context("no ETag")? })
}
