//! Changes the policies, one change at a time and each on top of the one before.
//!
//! Every change carries the `ETag` of what it replaces. So one whose fate is not known can only
//! still come until the next is acknowledged, and the checker knows the order of all.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::policy::{Kind, Policy, number};
use crate::client::{self, Call, Client};
use crate::cluster::Cluster;
use crate::draw::Draw;
use crate::history::{Operation, Outcome};
use crate::workload::requests::pause;
use crate::workload::{Context, globals};

/// Milliseconds between two changes, which a zone needs some of to follow.
const APART: (u64, u64) = (700, 2500);

/// What the operator asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub(super) enum Deed {
    /// Only if the resource is still what it was at its last look.
    Change { number: u64, policy: Policy },
    /// What is there, linearizable.
    Look { kind: Kind },
}

impl Deed {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Change { policy, .. } => policy.kind(),
            Self::Look { kind } => *kind,
        }
    }

    fn class(&self) -> &'static str {
        match self {
            Self::Change { policy, .. } => policy.kind().class(),
            Self::Look { .. } => LOOK,
        }
    }
}

const LOOK: &str = "look at policy";

/// The classes of all that the operator does.
pub(super) fn classes() -> Vec<&'static str> {
    Kind::ALL.map(Kind::class).into_iter().chain([LOOK]).collect()
}

/// The number that is there, and the version that put it there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Standing {
    pub(super) number: u64,
    pub(super) version: u64,
}

pub(super) type DeedOp = Operation<Deed, Standing>;

/// The one operator.
pub(super) struct Operator {
    cluster: Arc<dyn Cluster>,
    nodes: Vec<String>,
    client: Client,
    draw: Draw,
    next: u64,
    /// The `ETag` of each, where it is known.
    tags: [Option<u64>; 2],
}

impl Operator {
    /// Its first change has this number; 0 is what `prepare` applied.
    pub(super) fn new(context: &Context, first: u64) -> anyhow::Result<Self> {
        let nodes = globals(&*context.cluster);
        let node = nodes.first().ok_or_else(|| anyhow::anyhow!("there is no global"))?;
        Ok(Self {
            cluster: context.cluster.clone(),
            client: Client::new(context.cluster.clone(), node.clone()),
            draw: Draw::new(context.seed, "operator"),
            nodes,
            next: first,
            tags: [None; 2],
        })
    }

    pub(super) async fn run(
        mut self,
        context: Context,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            let kind = if self.draw.percent(60) { Kind::Permission } else { Kind::Route };
            let policy = Policy::draw(kind, &mut self.draw);
            let wait = self.draw.between(APART.0, APART.1);
            self.step(&context, policy).await?;
            pause(wait, &stop).await;
        }
        Ok(())
    }

    /// A change, after a look where it is not known what it would replace. The version at which
    /// it is in force, if it was acknowledged.
    pub(super) async fn step(
        &mut self,
        context: &Context,
        policy: Policy,
    ) -> anyhow::Result<Option<u64>> {
        let kind = policy.kind();
        let at = kind as usize;
        if self.tags[at].is_none() {
            let seen = self.record(context, Deed::Look { kind }).await?;
            self.tags[at] = seen.map(|standing| standing.version);
        }
        if self.tags[at].is_none() {
            return Ok(None);
        }
        let change = Deed::Change { number: self.next, policy };
        self.next += 1;
        let done = self.record(context, change).await?;
        self.tags[at] = done.as_ref().map(|standing| standing.version);
        Ok(self.tags[at])
    }

    /// Does it at one global and records it. After one that was not done, another is asked.
    async fn record(&mut self, context: &Context, deed: Deed) -> anyhow::Result<Option<Standing>> {
        let recorder = &context.recorder;
        let begun = recorder.begin("operator", self.client.node(), deed.class(), deed.clone());
        let outcome = self.ask(&deed).await;
        let standing = recorder.end(begun, outcome)?.outcome.answer().cloned();
        if standing.is_none()
            && let Some(node) = self.draw.one(&self.nodes)
        {
            self.client = Client::new(self.cluster.clone(), node.clone());
        }
        Ok(standing)
    }

    async fn ask(&mut self, deed: &Deed) -> Outcome<Standing> {
        let path = deed.kind().path();
        match deed {
            Deed::Change { number, policy } => {
                let mut call = Call::put(path, policy.resource(*number));
                if let Some(tag) = self.tags[deed.kind() as usize] {
                    call = call.if_match(tag);
                }
                outcome(client::of_write(self.client.call(call).await), |_| Some(*number))
            }
            Deed::Look { .. } => {
                let read = client::of_read(self.client.call(Call::get(path)).await);
                outcome(read, |answer| number(&answer.body))
            }
        }
    }
}

fn outcome(
    asked: Outcome<client::Answer>,
    number: impl Fn(&client::Answer) -> Option<u64>,
) -> Outcome<Standing> {
    match asked {
        Outcome::Done { answer } => match (number(&answer), answer.tag.or(answer.version)) {
            (Some(number), Some(version)) => Outcome::Done { answer: Standing { number, version } },
            _ => Outcome::Unknown { why: format!("{} without what it needs", answer.status) },
        },
        Outcome::Refused { why } => Outcome::Refused { why },
        Outcome::Unknown { why } => Outcome::Unknown { why },
    }
}
