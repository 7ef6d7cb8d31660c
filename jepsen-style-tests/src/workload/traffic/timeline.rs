//! Which policies may be in force in a zone, and when.
//!
//! A zone is never asked what it enforces; it says which version all its proxies have confirmed.
//! From that moment nothing older than that version may be in force there. Whatever was begun
//! later may be in force already. A zone that is cut off confirms nothing, so everything since its
//! last word may hold: it is frozen in policy, as the design has it.

use std::collections::BTreeMap;

use super::ProgressOp;
use super::operator::{Deed, DeedOp};
use super::policy::{Kind, Policy};
use crate::history::{Micros, Outcome};
use crate::workload::requests::path::Topology;

/// From a proxy's ACK until all of its threads do as it said.
const TAKES_HOLD: Micros = 500_000;

/// A policy of one kind, in the order in which they replaced each other.
#[derive(Debug, Clone)]
struct Epoch<'a> {
    policy: &'a Policy,
    number: u64,
    /// The operation that put it there; none is what was there before the run.
    by: Option<u64>,
    begun: Micros,
    /// None: nobody knows whether it ever was in force.
    version: Option<u64>,
}

/// One kind of policy, over a run.
#[derive(Debug)]
pub(super) struct Timeline<'a> {
    epochs: Vec<Epoch<'a>>,
    /// Each zone's words: when it had said them, the version, and the operation.
    said: BTreeMap<&'a str, Vec<(Micros, u64, u64)>>,
}

/// What may have been in force during a request, and what says so.
#[derive(Debug)]
pub(super) struct InForce<'a> {
    pub(super) policies: Vec<&'a Policy>,
    /// The change that was confirmed, and the word that confirmed it.
    pub(super) because: Vec<u64>,
}

impl<'a> Timeline<'a> {
    pub(super) fn new(
        kind: Kind,
        before: &'a Policy,
        deeds: &'a [DeedOp],
        progress: &'a [ProgressOp],
        topology: &Topology,
    ) -> Self {
        let first = Epoch { policy: before, number: 0, by: None, begun: 0, version: Some(0) };
        let mut epochs = vec![first];
        let mut deeds: Vec<&DeedOp> = deeds.iter().filter(|op| op.call.kind() == kind).collect();
        deeds.sort_by_key(|op| op.start);
        for deed in deeds {
            follow(&mut epochs, deed);
        }
        let mut said: BTreeMap<&str, Vec<(Micros, u64, u64)>> = BTreeMap::new();
        for op in progress {
            for (zone, progress) in op.outcome.answer().into_iter().flatten() {
                // A zone with a proxy away cannot speak for it.
                if progress.proxies >= topology.proxies(zone) {
                    said.entry(zone).or_default().push((op.end, progress.version, op.id));
                }
            }
        }
        for words in said.values_mut() {
            words.sort_unstable();
            // Only those that say more than all before.
            let mut newest = 0;
            words.retain(|&(_, version, _)| {
                let more = version > newest;
                newest = newest.max(version);
                more
            });
        }
        Self { epochs, said }
    }

    /// How many changes were acknowledged.
    pub(super) fn changes(&self) -> usize {
        self.epochs.iter().filter(|epoch| epoch.by.is_some() && epoch.version.is_some()).count()
    }

    /// What may be in force in a zone for a request from `start` to `end`.
    pub(super) fn in_force(&self, zone: &str, start: Micros, end: Micros) -> InForce<'a> {
        let words = self.said.get(zone).map_or(&[][..], Vec::as_slice);
        let heard = words.partition_point(|&(at, ..)| at.saturating_add(TAKES_HOLD) <= start);
        let word = heard.checked_sub(1).and_then(|last| words.get(last));
        let confirmed = word.map_or(0, |&(_, version, _)| version);
        let is_confirmed =
            |epoch: &Epoch<'_>| epoch.version.is_some_and(|version| version <= confirmed);
        let from = self.epochs.iter().rposition(is_confirmed).unwrap_or(0);
        let possible = self.epochs[from..].iter().filter(|epoch| epoch.begun < end);
        let because = [self.epochs[from].by, word.map(|&(_, _, id)| id)];
        InForce {
            policies: possible.map(|epoch| epoch.policy).collect(),
            because: because.into_iter().flatten().collect(),
        }
    }
}

/// What one deed of the operator says of the order of changes.
fn follow<'a>(epochs: &mut Vec<Epoch<'a>>, deed: &'a DeedOp) {
    match (&deed.call, &deed.outcome) {
        (Deed::Change { .. }, Outcome::Refused { .. }) => {}
        (Deed::Change { number, policy }, outcome) => {
            let version = outcome.answer().map(|standing| standing.version);
            if version.is_some() {
                // It replaced what was there at the last look, so what was unknown until now can
                // not come any more.
                epochs.retain(|epoch| epoch.version.is_some());
            }
            let by = Some(deed.id);
            epochs.push(Epoch { policy, number: *number, by, begun: deed.start, version });
        }
        (Deed::Look { .. }, Outcome::Done { answer: seen }) => {
            let found = epochs.iter_mut().find(|epoch| epoch.number == seen.number);
            if let Some(epoch) = found.filter(|epoch| epoch.version.is_none()) {
                epoch.version = Some(seen.version);
            }
        }
        (Deed::Look { .. }, _) => {}
    }
}
