//! Names of services are resolved in each zone, to one address for good.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::bail;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::client::dns::{self, Resolved, Transport};
use crate::cluster::Node;
use crate::draw::Draw;
use crate::history::{Operation, Outcome};
use crate::run::FaultEvent;
use crate::verdict::{Finding, Verdict};
use crate::workload::requests::check::seconds;
use crate::workload::requests::path::{Excuses, Topology};
use crate::workload::requests::pause;
use crate::workload::{Context, PREPARE_LIMIT};

const NAMES: [&str; 2] = ["billing.mesh", "backend.mesh"];
const PORT: u16 = 5653;
/// Milliseconds between two questions of a resolver.
const APART: (u64, u64) = (400, 800);
/// Violations that are named; the rest are counted.
const NAMED: usize = 10;

/// The classes of questions.
pub(super) const CLASSES: [&str; 2] = ["name over udp", "name over tcp"];

/// Who asks, the operation's node says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Question {
    pub(super) name: String,
    pub(super) transport: Transport,
}

pub(super) type QuestionOp = Operation<Question, Resolved>;

/// What is done with names in the network of one workload.
pub(super) struct Resolver {
    /// The workload, and the control plane of its zone.
    node: String,
    server: SocketAddr,
    draw: Draw,
    next: usize,
}

impl Resolver {
    pub(super) fn new(context: &Context, node: &str, remote: &Node) -> Self {
        let draw = Draw::new(context.seed, &format!("resolver {node}"));
        Self { node: node.to_owned(), server: (remote.address, PORT).into(), draw, next: 0 }
    }

    pub(super) async fn run(
        mut self,
        context: Context,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            self.ask(&context).await?;
            pause(self.draw.between(APART.0, APART.1), &stop).await;
        }
        Ok(())
    }

    /// Before any fault: waits until every name is resolved over both transports. A service has its
    /// name a moment after its first instance.
    pub(super) async fn ready(&mut self, context: &Context) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut resolved = 0;
        while resolved < NAMES.len() * CLASSES.len() {
            let question = self.ask(context).await?;
            let known = question.outcome.answer().is_some_and(Resolved::is_one_address);
            resolved = if known { resolved + 1 } else { 0 };
            if began.elapsed() > PREPARE_LIMIT {
                bail!("{} is not resolved at {}", question.call.name, self.node);
            }
        }
        Ok(())
    }

    /// The next question: each name over each transport in turn.
    pub(super) async fn ask(&mut self, context: &Context) -> anyhow::Result<QuestionOp> {
        let name = NAMES[self.next / 2 % 2];
        let transport = [Transport::Udp, Transport::Tcp][self.next % 2];
        let class = CLASSES[self.next % 2];
        self.next += 1;
        let client = format!("resolver of {}", self.node);
        let call = Question { name: name.to_owned(), transport };
        let begun = context.recorder.begin(&client, &self.node, class, call);
        let id = u16::try_from(self.draw.below(1 << 16))?;
        let (cluster, server) = (&context.cluster, self.server);
        let asked = dns::resolve(cluster, &self.node, server, transport, (name, id)).await;
        let outcome = match asked {
            Ok(answer) => Outcome::Done { answer },
            Err(why) => Outcome::Refused { why: format!("{why:#}") },
        };
        context.recorder.end(begun, outcome)
    }
}

/// A name has one address in a zone, throughout, and is resolved whenever the zone's control plane
/// lives and can be reached.
pub(super) fn verdict(
    questions: &[QuestionOp],
    topology: &Topology,
    faults: &[FaultEvent],
) -> Verdict {
    let mut excuses: BTreeMap<&str, Excuses> = BTreeMap::new();
    let mut known: BTreeMap<(Option<&str>, &str), &QuestionOp> = BTreeMap::new();
    let mut wrong: Vec<(String, Vec<u64>)> = Vec::new();
    let (mut resolved, mut excused) = (0, 0);
    for question in questions {
        let (node, name) = (question.node.as_str(), question.call.name.as_str());
        let why = match &question.outcome {
            Outcome::Done { answer } if answer.is_one_address() => {
                resolved += 1;
                let first = *known.entry((topology.zone(node), name)).or_insert(question);
                if let Some(before) = first.outcome.answer()
                    && before.addresses != answer.addresses
                {
                    let (was, is) = (&before.addresses, &answer.addresses);
                    let why = format!("{name} was {was:?} at {node}, and then {is:?}");
                    wrong.push((why, vec![first.id, question.id]));
                }
                continue;
            }
            Outcome::Done { answer } => {
                format!("code {}, addresses {:?}", answer.code, answer.addresses)
            }
            Outcome::Refused { why } | Outcome::Unknown { why } => why.clone(),
        };
        let excuses = excuses
            .entry(node)
            .or_insert_with(|| topology.excuses(&topology.control(node), faults));
        if excuses.cover(question.start, question.end) {
            excused += 1;
        } else {
            let why = format!("{name} at {node} at {}: {why}", seconds(question.start));
            wrong.push((why, vec![question.id]));
        }
    }
    let figures = vec![
        ("questions resolved".to_owned(), resolved.to_string()),
        ("not resolved while the zone's control plane was down".to_owned(), excused.to_string()),
    ];
    Verdict { checker: "names resolve".to_owned(), finding: finding(&wrong, resolved), figures }
}

fn finding(wrong: &[(String, Vec<u64>)], resolved: usize) -> Finding {
    match wrong {
        [] if resolved < 10 => Finding::Undecided { why: format!("only {resolved} were resolved") },
        [] => Finding::Held,
        [(why, _), ..] => {
            let operations = wrong.iter().flat_map(|(_, ids)| ids.iter().copied()).take(NAMED);
            let why = format!("{} questions; the first: {why}", wrong.len());
            Finding::Violated { why, operations: operations.collect() }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::workload::requests::path::tests::{both_zones, kill};

    fn question(id: u64, node: &str, last: u8) -> QuestionOp {
        let answer = Resolved { code: 0, addresses: vec![Ipv4Addr::new(240, 0, 0, last)] };
        Operation {
            id,
            client: format!("resolver of {node}"),
            node: node.to_owned(),
            class: CLASSES[0].to_owned(),
            start: id * 1_000_000,
            end: id * 1_000_000 + 1000,
            call: Question { name: "billing.mesh".to_owned(), transport: Transport::Udp },
            outcome: Outcome::Done { answer },
        }
    }

    /// Twenty good ones in each zone, whose addresses differ, and one more.
    fn judged(more: QuestionOp, faults: &[FaultEvent]) -> Finding {
        let mut all: Vec<_> =
            (0..20).flat_map(|n| [question(n, "web", 1), question(n, "billing", 2)]).collect();
        all.push(more);
        verdict(&all, &both_zones(), faults).finding
    }

    #[test]
    fn the_same_address_throughout_holds() {
        assert_eq!(judged(question(30, "web", 1), &[]), Finding::Held);
    }

    #[test]
    fn another_address_is_a_violation_whatever_was_broken() {
        let moved = judged(question(30, "web", 9), &[kill(&["east"], 29, 31)]);
        assert!(matches!(moved, Finding::Violated { operations, .. } if operations == [0, 30]));
    }

    #[test]
    fn no_address_is_excused_only_by_the_zone_s_own_control_plane() {
        let mut unknown = question(30, "web", 1);
        unknown.outcome = Outcome::Done { answer: Resolved { code: 3, addresses: Vec::new() } };
        let mut silent = question(30, "web", 1);
        silent.outcome = Outcome::Refused { why: "no answer".to_owned() };
        for failed in [unknown, silent] {
            assert_eq!(judged(failed.clone(), &[kill(&["east"], 29, 31)]), Finding::Held);
            for other in ["west", "global-1"] {
                let found = judged(failed.clone(), &[kill(&[other], 29, 31)]);
                assert!(
                    matches!(&found, Finding::Violated { operations, .. } if operations == &[30]),
                    "{other}: {found:?}"
                );
            }
        }
    }
}
