//! `append`: lists in resources. A transaction reads some of them and appends to others, each only if
//! it is as it was read, those that it only reads too. All that anybody read or wrote must be of one
//! order of all transactions: the one in which they happened, without a cycle (Elle's list-append,
//! Kingsbury and Alvaro 2020).
//!
//! Lists are replaced by fresh ones when they are long, so that a read stays small however long the
//! run is.

mod check;
mod cycle;
mod graph;
mod lists;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    Context, Workload, everywhere, globals, mesh, pace, permission, plain_mesh, recovery, together,
    understood,
};
use crate::client::{self, Client};
use crate::draw::Draw;
use crate::history::{Operation, Outcome};
use crate::verdict::Verdict;

/// Its resources are in a mesh without proxies: they change no traffic.
const MESH: &str = "append";

/// More contend for the same lists until most are refused.
const CLIENTS_PER_NODE: usize = 2;

/// Lists at a time.
const KEYS: u64 = 5;
/// Transactions begun on a set of lists, before the next set: some 20 values in each.
const TRANSACTIONS_PER_SET: u64 = 120;
/// The most lists in a transaction.
const MOST: u64 = 3;
/// Of 100 lists in a transaction, so many are appended to; the first always is.
const APPENDED: u64 = 50;
/// What a page holds at most; there are [`KEYS`].
const PAGE: u64 = 1000;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
enum Call {
    /// Appends, if all lists are as they were read.
    Commit { lists: Vec<List> },
    /// All lists of a set, of one version; `stale`: as the node has them.
    Look { set: u64, stale: bool },
}

/// A list in a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    key: String,
    /// As it was read; empty: there is none.
    read: Vec<String>,
    /// Its ETag.
    tag: Option<u64>,
    appends: Option<String>,
}

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
enum Answer {
    Applied {
        version: u64,
    },
    /// A list was not as it was read (412): nothing was changed.
    Mismatch,
    Lists {
        version: u64,
        /// Those that there are.
        lists: BTreeMap<String, Vec<String>>,
    },
}

type Op = Operation<Call, Answer>;

/// Their classes.
const LOOK: &str = "look";
const STALE_LOOK: &str = "stale look";
const COMMIT: &str = "commit";
const CLASSES: [&str; 3] = [LOOK, STALE_LOOK, COMMIT];

/// `s3-k1`. What is before the dash is in the names of this set only.
fn key(set: u64, number: u64) -> String {
    format!("s{set}-k{number}")
}

/// The workload.
pub(crate) struct Append;

#[async_trait]
impl Workload for Append {
    fn name(&self) -> &'static str {
        "append"
    }

    fn needs_zones(&self) -> bool {
        false
    }

    async fn prepare(&self, context: &Context) -> anyhow::Result<()> {
        mesh(context, MESH).await?;
        everywhere(context, &plain_mesh(MESH).0).await
    }

    async fn run(&self, context: &Context, stop: CancellationToken) -> anyhow::Result<()> {
        let begun = Arc::new(Mutex::new(0));
        let mut clients = Vec::new();
        for node in globals(&*context.cluster) {
            for number in 1..=CLIENTS_PER_NODE {
                let actor = Actor::new(context, &node, number, begun.clone());
                clients.push(actor.work(stop.clone()));
            }
        }
        together(clients).await
    }

    /// Every list is looked at once more, for what was appended and is not there.
    async fn finish(&self, context: &Context) -> anyhow::Result<()> {
        recovery::globals_agree(context, MESH).await?;
        let node = globals(&*context.cluster).into_iter().next().context("there is no global")?;
        let mut actor = Actor::new(context, &node, 0, Arc::default());
        let mut set = 0;
        while actor.look(set, false).await? > 0 {
            set += 1;
        }
        Ok(())
    }

    fn check(&self, folder: &Path) -> anyhow::Result<Vec<Verdict>> {
        check::check(folder)
    }
}

struct Actor {
    context: Context,
    name: String,
    appended: u64,
    draw: Draw,
    client: Client,
    /// Transactions that anybody began.
    begun: Arc<Mutex<u64>>,
}

impl Actor {
    fn new(context: &Context, node: &str, number: usize, begun: Arc<Mutex<u64>>) -> Self {
        let name = format!("{node}/{number}");
        Self {
            draw: Draw::new(context.seed, &format!("append {name}")),
            client: Client::new(context.cluster.clone(), node),
            context: context.clone(),
            name,
            appended: 0,
            begun,
        }
    }

    async fn work(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            let set = *self.begun() / TRANSACTIONS_PER_SET;
            let done = match self.draw.below(100) {
                0..25 => self.look(set, false).await? > 0,
                25..35 => self.look(set, true).await? > 0,
                _ => self.transact(set).await?,
            };
            pace(&mut self.draw, done, &stop).await;
        }
        Ok(())
    }

    fn begun(&self) -> std::sync::MutexGuard<'_, u64> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at all lists of a set; how many there are.
    async fn look(&mut self, set: u64, stale: bool) -> anyhow::Result<usize> {
        let class = if stale { STALE_LOOK } else { LOOK };
        let fresh = if stale { "&consistency=stale" } else { "" };
        let path = format!("/meshes/{MESH}/traffic-permissions?size={PAGE}&name=s{set}-{fresh}");
        let call = Call::Look { set, stale };
        let begun = self.context.recorder.begin(&self.name, self.client.node(), class, call);
        let read = client::of_read(self.client.call(client::Call::get(path)).await);
        let ended = self.context.recorder.end(begun, understood(read, lists))?;
        Ok(match ended.outcome.answer() {
            Some(Answer::Lists { lists, .. }) => lists.len(),
            _ => 0,
        })
    }

    /// Reads some lists and appends to some of them; whether that was answered.
    async fn transact(&mut self, set: u64) -> anyhow::Result<bool> {
        *self.begun() += 1;
        let mut numbers: Vec<u64> = (0..KEYS).collect();
        let mut lists = Vec::new();
        for place in 0..self.draw.between(1, MOST) {
            let at = usize::try_from(self.draw.below(numbers.len() as u64))?;
            let key = key(set, numbers.swap_remove(at));
            let path = permission(MESH, &key, "", "").0;
            let read = client::of_read(self.client.call(client::Call::get(path)).await);
            let Outcome::Done { answer } = read else { return Ok(false) };
            // What is not there can't be kept as it is but by making it.
            let appends = place == 0 || answer.status == 404 || self.draw.percent(APPENDED);
            let read = if answer.status == 404 { Vec::new() } else { values(&answer.body)? };
            let appends = appends.then(|| self.fresh());
            lists.push(List { key, read, tag: answer.tag, appends });
        }
        let operations: Vec<Value> = lists.iter().map(operation).collect();
        let http = client::Call::post("/_transactions", json!({"operations": operations}));
        let call = Call::Commit { lists };
        let begun = self.context.recorder.begin(&self.name, self.client.node(), COMMIT, call);
        let outcome = match self.client.call(http).await {
            Ok(answer) if answer.status == 412 => Outcome::Done { answer: Answer::Mismatch },
            answered => understood(client::of_write(answered), applied),
        };
        let ended = self.context.recorder.end(begun, outcome)?;
        Ok(ended.outcome.answer().is_some())
    }

    /// A value that nobody appended before.
    fn fresh(&mut self) -> String {
        self.appended += 1;
        format!("{}-{}", self.name.replace('/', "-"), self.appended)
    }
}

/// Puts a list as it is to be. One that is only read is put as it was: it is not changed, but has to
/// be as it was read.
fn operation(list: &List) -> Value {
    let (_, mut body) = permission(MESH, &list.key, "list", "");
    let values = list.read.iter().chain(&list.appends);
    body["sources"] = values.map(|value| json!({"match": {"kuma.io/service": value}})).collect();
    match list.tag {
        Some(tag) => json!({"put": body, "ifMatch": tag}),
        None => json!({"put": body, "ifAbsent": true}),
    }
}

fn values(item: &Value) -> anyhow::Result<Vec<String>> {
    let sources = item["sources"].as_array().with_context(|| format!("no list in {item}"))?;
    let value = |source: &Value| source["match"]["kuma.io/service"].as_str().map(str::to_owned);
    sources
        .iter()
        .map(value)
        .collect::<Option<Vec<_>>>()
        .with_context(|| format!("no list in {item}"))
}

fn applied(answer: &client::Answer) -> anyhow::Result<Answer> {
    Ok(Answer::Applied { version: answer.version.context("no version")? })
}

fn lists(answer: &client::Answer) -> anyhow::Result<Answer> {
    let version = answer.version.context("no version")?;
    let items = answer.body["items"].as_array().context("no items")?;
    let list = |item: &Value| {
        let name = item["name"].as_str().context("an item without a name")?;
        Ok((name.to_owned(), values(item)?))
    };
    let lists = items.iter().map(list).collect::<anyhow::Result<_>>()?;
    Ok(Answer::Lists { version, lists })
}
