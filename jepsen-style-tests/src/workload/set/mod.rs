//! `set`: clients at every global add resources, each once, and remove some of theirs. At the end
//! every global lists them all: what was acknowledged is there, what was refused is not.

mod check;

use std::path::Path;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Context, Workload, globals, mesh, pace, permission, recovery, together};
use crate::client::{self, Client};
use crate::draw::Draw;
use crate::history::{Operation, Outcome};
use crate::verdict::Verdict;

/// Its resources are in a mesh without proxies: they change no traffic.
const MESH: &str = "set";

const CLIENTS_PER_NODE: usize = 2;

/// What the API gives at most on a page.
const PAGE: usize = 1000;

/// What a client asks. An element is the name of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
enum Call {
    Add {
        element: String,
    },
    /// Of one whose adding was acknowledged to the same client.
    Remove {
        element: String,
    },
    /// At the end, linearizable.
    List,
}

impl Call {
    fn class(&self) -> &'static str {
        match self {
            Self::Add { .. } => "add",
            Self::Remove { .. } => "remove",
            Self::List => "list",
        }
    }
}

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
enum Answer {
    Written { version: Option<u64> },
    Listed { elements: Vec<String> },
}

type Op = Operation<Call, Answer>;

/// The workload.
pub(crate) struct Set;

#[async_trait]
impl Workload for Set {
    fn name(&self) -> &'static str {
        "set"
    }

    fn needs_zones(&self) -> bool {
        false
    }

    async fn prepare(&self, context: &Context) -> anyhow::Result<()> {
        mesh(context, MESH).await
    }

    async fn run(&self, context: &Context, stop: CancellationToken) -> anyhow::Result<()> {
        let mut clients = Vec::new();
        for node in globals(&*context.cluster) {
            for number in 1..=CLIENTS_PER_NODE {
                let name = format!("{node}/{number}");
                let draw = Draw::new(context.seed, &format!("set {name}"));
                let client = Client::new(context.cluster.clone(), node.clone());
                let actor = Actor { name, draw, client, added: 0, mine: Vec::new() };
                clients.push(actor.work(context.clone(), stop.clone()));
            }
        }
        together(clients).await
    }

    async fn finish(&self, context: &Context) -> anyhow::Result<()> {
        recovery::globals_agree(context, MESH).await?;
        for node in globals(&*context.cluster) {
            let begun = context.recorder.begin("harness", &node, Call::List.class(), Call::List);
            let outcome = match list(context, &node).await {
                Ok(elements) => Outcome::Done { answer: Answer::Listed { elements } },
                Err(why) => Outcome::Refused { why: format!("{why:#}") },
            };
            context.recorder.end(begun, outcome)?;
        }
        Ok(())
    }

    fn check(&self, folder: &Path) -> anyhow::Result<Vec<Verdict>> {
        check::check(folder)
    }
}

struct Actor {
    name: String,
    draw: Draw,
    client: Client,
    added: u64,
    /// Acknowledged, and not removed.
    mine: Vec<String>,
}

impl Actor {
    async fn work(mut self, context: Context, stop: CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            let call = self.choose();
            let begun =
                context.recorder.begin(&self.name, self.client.node(), call.class(), call.clone());
            let outcome = self.ask(&call).await;
            let done = matches!(outcome, Outcome::Done { .. });
            if let (Call::Add { element }, true) = (call, done) {
                self.mine.push(element);
            }
            context.recorder.end(begun, outcome)?;
            pace(&mut self.draw, done, &stop).await;
        }
        Ok(())
    }

    fn choose(&mut self) -> Call {
        if self.draw.percent(20) && !self.mine.is_empty() {
            let at = self.draw.below(self.mine.len() as u64);
            let element = self.mine.swap_remove(usize::try_from(at).unwrap_or_default());
            return Call::Remove { element };
        }
        self.added += 1;
        Call::Add { element: format!("{}-{}", self.name.replace('/', "-"), self.added) }
    }

    async fn ask(&mut self, call: &Call) -> Outcome<Answer> {
        let http = match call {
            Call::Add { element } => {
                let (path, body) = permission(MESH, element, "set", element);
                client::Call::put(path, body)
            }
            Call::Remove { element } => client::Call::delete(permission(MESH, element, "", "").0),
            Call::List => return Outcome::Refused { why: "lists are asked at the end".to_owned() },
        };
        match client::of_write(self.client.call(http).await) {
            Outcome::Done { answer } => {
                Outcome::Done { answer: Answer::Written { version: answer.version } }
            }
            Outcome::Refused { why } => Outcome::Refused { why },
            Outcome::Unknown { why } => Outcome::Unknown { why },
        }
    }
}

/// All elements, as one node lists them.
async fn list(context: &Context, node: &str) -> anyhow::Result<Vec<String>> {
    let mut client = Client::new(context.cluster.clone(), node);
    let mut elements = Vec::new();
    let mut version = None;
    loop {
        let path =
            format!("/meshes/{MESH}/traffic-permissions?size={PAGE}&offset={}", elements.len());
        let answer = client.call(client::Call::get(path)).await?;
        if !answer.is_success() {
            bail!("{node} does not list: {}", answer.detail());
        }
        let items = answer.body["items"].as_array().context("a list without items")?;
        let names = items.iter().map(|item| item["name"].as_str().map(str::to_owned));
        elements.extend(names.collect::<Option<Vec<_>>>().context("an item without a name")?);
        // Nothing writes to this mesh any more, but zones write to the same state.
        version = version.max(answer.version);
        if answer.body["next"].is_null() {
            tracing::debug!(node, elements = elements.len(), ?version, "listed");
            elements.retain(|name| !name.starts_with("recovered-"));
            return Ok(elements);
        }
    }
}
