//! What makes zones and global equal again, and whether they are.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;

use serde_json::Value;

use super::{Answer, Call, Values, view};
use crate::client::{self, Client};
use crate::history::Outcome;
use crate::workload::{Context, globals, recovery, requests};

/// Differences that are named.
const NAMED: usize = 5;
/// An adoption asks the global, which may be electing.
const ATTEMPTS: usize = 20;
const AGAIN: Duration = Duration::from_millis(500);

/// Lets every zone that refuses its global follow it, as its operator would; the others follow by
/// themselves.
pub(in crate::workload) async fn adopt_where_fenced(context: &Context) -> anyhow::Result<()> {
    for (zone, node) in requests::remotes(context) {
        recovery::wait_until(context, &format!("{zone} follows, or says why not"), || async {
            match standing(context, &node.name).await? {
                (state, _) if state == "Synced" || state == "Fenced" => Ok(()),
                (state, reason) => Err(format!("{zone} is {state}: {reason}")),
            }
        })
        .await?;
        if let Ok((state, reason)) = standing(context, &node.name).await
            && state == "Fenced"
        {
            let call = Call::Adopt { zone: zone.clone(), reason };
            let begun = context.recorder.begin("operator", &node.name, call.class(), call);
            let outcome = adopt(context, &node.name).await;
            context.recorder.end(begun, outcome)?;
        }
    }
    Ok(())
}

/// How a zone stands to its global, and why.
async fn standing(context: &Context, node: &str) -> Result<(String, String), String> {
    let mut client = Client::new(context.cluster.clone(), node);
    let answer = client.call(client::Call::get("/_kds")).await.map_err(|why| why.to_string())?;
    let state = answer.body["state"].as_str().ok_or_else(|| answer.detail())?;
    Ok((state.to_owned(), answer.body["reason"].as_str().unwrap_or_default().to_owned()))
}

async fn adopt(context: &Context, node: &str) -> Outcome<Answer> {
    let mut client = Client::new(context.cluster.clone(), node);
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        match adopt_what_is_shown(&mut client).await {
            Ok(()) => return Outcome::Done { answer: Answer::Adopted },
            Err(why) => last = why,
        }
        tokio::time::sleep(AGAIN).await;
    }
    Outcome::Refused { why: last }
}

async fn adopt_what_is_shown(client: &mut Client) -> Result<(), String> {
    let shown = client.call(client::Call::get("/_kds/difference")).await;
    let shown = shown.map_err(|why| why.to_string())?;
    if !shown.is_success() {
        return Err(shown.detail());
    }
    let offered = shown.body["offered"].clone();
    let adopted = client.call(client::Call::post("/_kds/adopt", offered)).await;
    let adopted = adopted.map_err(|why| why.to_string())?;
    adopted.is_success().then_some(()).ok_or_else(|| adopted.detail())
}

/// Waits until every zone and the global have the same of each other.
pub(super) async fn await_equality(context: &Context, what: &str) -> anyhow::Result<()> {
    recovery::wait_until(context, what, || async {
        for (zone, node) in requests::remotes(context) {
            let (_, differences) = compare(context, &zone, &node.name).await?;
            if let Some(first) = differences.first() {
                return Err(format!("{zone}: {} differences: {first}", differences.len()));
            }
        }
        Ok(())
    })
    .await
}

/// Records how each zone compares in the end.
pub(super) async fn compare_all(context: &Context) -> anyhow::Result<()> {
    for (zone, node) in requests::remotes(context) {
        let call = Call::Compare { zone: zone.clone() };
        let begun = context.recorder.begin("harness", &node.name, call.class(), call);
        let outcome = match compare(context, &zone, &node.name).await {
            Ok((resources, differences)) => {
                Outcome::Done { answer: Answer::Compared { resources, differences } }
            }
            Err(why) => Outcome::Refused { why },
        };
        context.recorder.end(begun, outcome)?;
    }
    Ok(())
}

/// How many resources both have, and what only one has or has otherwise.
async fn compare(
    context: &Context,
    zone: &str,
    node: &str,
) -> Result<(usize, Vec<String>), String> {
    let global = globals(&*context.cluster).into_iter().next().ok_or("there is no global")?;
    let mut above = Client::new(context.cluster.clone(), global);
    let mut below = Client::new(context.cluster.clone(), node);
    let (_, there) = view::values(&mut above, "consistency=linearizable").await?;
    let (_, here) = view::values(&mut below, "consistency=linearizable").await?;
    let mut differences = values_that_differ(&there, &here);
    let mut count = there.len();
    for kind in ["dataplanes", "zoneingresses"] {
        let there = owned(&mut above, kind, zone).await?;
        let here = owned(&mut below, kind, zone).await?;
        if here.is_empty() {
            return Err(format!("{zone} has none of {kind}"));
        }
        count += here.len();
        let only = |name: &String, who: &str| format!("{kind} {name} is only {who}");
        differences.extend(there.difference(&here).map(|name| only(name, "at the global")));
        differences.extend(here.difference(&there).map(|name| only(name, "in the zone")));
    }
    differences.truncate(NAMED);
    Ok((count, differences))
}

fn values_that_differ(there: &Values, here: &Values) -> Vec<String> {
    let shown =
        |value: Option<&u64>| value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    let keys: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
    let differ = keys.into_iter().filter(|key| there.get(*key) != here.get(*key));
    let say = |key: &String| -> String {
        let (there, here) = (shown(there.get(key)), shown(here.get(key)));
        format!("{key}: the global has {there}, the zone {here}")
    };
    differ.map(say).collect()
}

/// Mesh and name of what the zone owns of a kind, as a control plane lists it.
async fn owned(client: &mut Client, kind: &str, zone: &str) -> Result<BTreeSet<String>, String> {
    let path = format!("/{kind}?size=1000");
    let answer = client.call(client::Call::get(path)).await.map_err(|why| why.to_string())?;
    let items = answer.body["items"].as_array().ok_or_else(|| answer.detail())?;
    let of_zone = |item: &&Value| item["labels"]["kuma.io/zone"].as_str() == Some(zone);
    let name = |item: &Value| {
        let part = |text: Option<&str>| text.unwrap_or_default().to_owned();
        join(part(item["mesh"].as_str()), part(view::display_name(item)))
    };
    Ok(items.iter().filter(of_zone).map(name).collect())
}

fn join(mesh: impl Display, name: impl Display) -> String {
    format!("{mesh}/{name}")
}
