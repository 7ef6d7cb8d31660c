//! What those saw who looked: all of a transaction or nothing of it, and every account's money.

use std::collections::{BTreeMap, BTreeSet};

use super::applied::Fates;
use super::{ACCOUNTS, Answer, Call, FIRST, OPENING, Op, accounts, plates};
use crate::workload::Wrong;
use crate::workload::order::{self, Moment};

/// All of one version, as somebody saw it.
struct Seen<'a> {
    op: &'a Op,
    version: u64,
    accounts: &'a BTreeMap<String, (u64, String)>,
    plates: &'a BTreeMap<String, String>,
}

fn seen(ops: &[Op]) -> impl Iterator<Item = Seen<'_>> {
    ops.iter().filter_map(|op| match op.outcome.answer()? {
        Answer::All { version, accounts, plates } => {
            Some(Seen { op, version: *version, accounts, plates })
        }
        _ => None,
    })
}

/// Something that is missing, or a sum that is not what it was at first.
pub(super) fn sum(ops: &[Op]) -> Option<Wrong> {
    seen(ops).find_map(|seen| {
        let wrong = |why: String| Some(Wrong { why, operations: vec![seen.op.id] });
        let (at, version) = (&seen.op.node, seen.version);
        let there =
            |name: &String| seen.accounts.contains_key(name) || seen.plates.contains_key(name);
        if let Some(name) = accounts().chain(plates()).find(|name| !there(name)) {
            return wrong(format!("{name} is not there at version {version} ({at})"));
        }
        let sum: u64 = seen.accounts.values().map(|(balance, _)| balance).sum();
        let expected = OPENING * ACCOUNTS as u64;
        if sum != expected {
            return wrong(format!(
                "the accounts hold {sum}, not {expected}, at version {version} ({at})"
            ));
        }
        None
    })
}

/// How many transfers an account has behind it once it shows a token.
struct Depths<'a>(BTreeMap<(&'a str, &'a str), u64>);

impl<'a> Depths<'a> {
    /// What replaced something has a later ETag than that, so that in their order what a transfer
    /// replaced is known before it.
    fn of(fates: &'a Fates<'a>) -> Self {
        let sides = fates.iter().flat_map(|(token, fate)| {
            let possible = fate.impossible().is_none();
            let sides = fate.call.sides().iter().filter(move |_| possible);
            sides.map(move |side| (side.tag, side.account.as_str(), side.replaces.as_str(), *token))
        });
        let mut sides: Vec<_> = sides.collect();
        sides.sort_unstable();
        let mut depths = BTreeMap::new();
        for (_, account, replaces, token) in sides {
            let before =
                if replaces == FIRST { Some(0) } else { depths.get(&(account, replaces)).copied() };
            depths.extend(before.map(|before| ((account, token), before + 1)));
        }
        Self(depths)
    }

    fn get(&self, account: &str, token: &str) -> Option<u64> {
        if token == FIRST { Some(0) } else { self.0.get(&(account, token)).copied() }
    }
}

/// A transaction of which somebody saw a part.
pub(super) fn part(ops: &[Op], fates: &Fates<'_>) -> Option<Wrong> {
    let depths = Depths::of(fates);
    seen(ops).find_map(|seen| {
        part_of_transfer(&seen, fates, &depths).or_else(|| part_of_stamp(&seen, fates))
    })
}

fn part_of_transfer(seen: &Seen<'_>, fates: &Fates<'_>, depths: &Depths<'_>) -> Option<Wrong> {
    for (account, (_, token)) in seen.accounts {
        let Some(fate) = fates.get(token.as_str()) else { continue };
        for side in fate.call.sides().iter().filter(|side| side.account != *account) {
            let Some((_, shown)) = seen.accounts.get(&side.account) else { continue };
            let (has, needs) = (depths.get(&side.account, shown), depths.get(&side.account, token));
            if let (Some(has), Some(needs)) = (has, needs)
                && has < needs
            {
                let other = &side.account;
                let why = format!(
                    "{token} is seen on {account} and not on {other}, which still shows {shown}, at \
                     version {} ({})",
                    seen.version, seen.op.node
                );
                return Some(Wrong { why, operations: vec![fate.first(), seen.op.id] });
            }
        }
    }
    None
}

fn part_of_stamp(seen: &Seen<'_>, fates: &Fates<'_>) -> Option<Wrong> {
    let tokens: BTreeSet<&String> = seen.plates.values().collect();
    if tokens.len() < 2 {
        return None;
    }
    let named: Vec<&str> = tokens.iter().map(|token| token.as_str()).collect();
    let why = format!(
        "the plates show {} at version {} ({})",
        named.join(" and "),
        seen.version,
        seen.op.node
    );
    let writers = named.iter().filter_map(|token| fates.get(token)).map(|fate| fate.first());
    Some(Wrong { why, operations: writers.chain([seen.op.id]).collect() })
}

/// What one resource showed at a version: each account and plate that somebody saw.
fn shown(ops: &[Op]) -> impl Iterator<Item = (&Op, u64, &str, &str)> {
    let all = seen(ops).flat_map(|seen| {
        let (op, version) = (seen.op, seen.version);
        let accounts = seen.accounts.iter().map(|(name, (_, token))| (name, token));
        let both = accounts.chain(seen.plates);
        both.map(move |(name, token)| (op, version, name.as_str(), token.as_str()))
    });
    let single = ops.iter().filter_map(|op| match (&op.call, op.outcome.answer()?) {
        (Call::Read { account }, Answer::Account { version, token, .. }) => {
            Some((op, *version, account.as_str(), token.as_str()))
        }
        _ => None,
    });
    all.chain(single)
}

/// A token that nobody sent, or whose transaction was refused.
pub(super) fn from_nowhere(ops: &[Op], fates: &Fates<'_>) -> Option<Wrong> {
    shown(ops).filter(|(_, _, _, token)| *token != FIRST).find_map(|(op, _, name, token)| {
        let Some(fate) = fates.get(token) else {
            let why = format!("{name} shows {token}, which nobody sent");
            return Some(Wrong { why, operations: vec![op.id] });
        };
        let (how, id) = fate.impossible()?;
        let why = format!("{name} shows {token}, which was {how}");
        Some(Wrong { why, operations: vec![id, op.id] })
    })
}

/// At a version each resource shows the last transaction up to it, by all whose version is known.
pub(super) fn lost(ops: &[Op], fates: &Fates<'_>) -> Option<Wrong> {
    let plates: Vec<String> = plates().collect();
    let mut written: BTreeMap<&str, BTreeMap<u64, (&str, u64)>> = BTreeMap::new();
    for (token, fate) in fates {
        let Some((version, told)) = fate.applied else { continue };
        let stamped = plates.iter().filter(|_| matches!(fate.call, Call::Stamp { .. }));
        let names = fate.call.sides().iter().map(|side| &side.account).chain(stamped);
        for name in names {
            written.entry(name).or_default().insert(version, (token, told));
        }
    }
    shown(ops).find_map(|(op, version, name, token)| {
        let versions = written.get(name)?;
        let own = match fates.get(token) {
            Some(fate) => fate.applied?.0,
            None => 0,
        };
        if own > version {
            let why = format!("{name} shows {token} at version {version}, which is of {own}");
            return Some(Wrong { why, operations: vec![op.id] });
        }
        let (between, (missed, told)) =
            versions.range(own + 1..).next().filter(|(at, _)| **at <= version)?;
        let why = format!(
            "{name} shows {token} of version {own} at version {version} ({}), and {missed} of \
             {between} was acknowledged",
            op.node
        );
        Some(Wrong { why, operations: vec![*told, op.id] })
    })
}

/// Two transfers that both replaced the same.
pub(super) fn replaced_twice(fates: &Fates<'_>) -> Option<Wrong> {
    let mut replaced: BTreeMap<(&str, &str), (&str, u64)> = BTreeMap::new();
    for (token, fate) in fates {
        let Some((_, told)) = fate.applied else { continue };
        for side in accounts().filter_map(|account| fate.side(&account)) {
            let what = (side.account.as_str(), side.replaces.as_str());
            if let Some((other, witness)) = replaced.insert(what, (token, told)) {
                let why = format!("{other} and {token} both replaced {} on {}", what.1, what.0);
                return Some(Wrong { why, operations: vec![witness, told] });
            }
        }
    }
    None
}

/// Somebody was answered of a version, and who began after that of an older one.
pub(super) fn back_in_time(ops: &[Op]) -> Option<Wrong> {
    let moments = ops.iter().filter_map(|op| {
        let (version, writes) = match (&op.call, op.outcome.answer()?) {
            (Call::Look { stale: false }, Answer::All { version, .. })
            | (Call::Read { .. }, Answer::Account { version, .. }) => (*version, false),
            (_, Answer::Applied { version, replayed: false }) => (*version, true),
            _ => return None,
        };
        Some(Moment { id: op.id, start: op.start, end: op.end, version, writes })
    });
    let (before, after) = order::back_in_time(&moments.collect::<Vec<_>>())?;
    let why = format!(
        "what is of version {} began after version {} was answered",
        after.version, before.version
    );
    Some(Wrong { why, operations: vec![before.id, after.id] })
}
