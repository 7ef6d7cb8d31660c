//! After all faults: every zone is to have what the global has.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::clients::{self, FENCED};
use super::{Answer, Call, Context, MESH, Sort, globals, lists, remotes};
use crate::client::{self, Client};
use crate::history::Outcome;
use crate::workload::recovery;

/// Meshes that stand in every zone's proxies' documents, beside this workload's own.
const MESHES: [&str; 2] = ["default", MESH];
/// Differences that are told.
const TOLD: usize = 3;

pub(super) async fn finish(context: &Context) -> anyhow::Result<()> {
    recovery::wait_until(context, "the globals have the meshes", || restored(context)).await?;
    recovery::globals_agree(context, MESH).await?;
    recovery::wait_until(context, "each zone has what the global has, and the other way", || {
        equal(context)
    })
    .await?;
    let mut nodes: Vec<(String, Option<String>)> =
        remotes(&*context.cluster).into_iter().map(|(node, zone)| (node, Some(zone))).collect();
    for (node, _) in &nodes {
        let mut client = Client::new(context.cluster.clone(), node.clone());
        clients::stand(context, "harness", &mut client).await?;
        for sort in Sort::ALL {
            clients::look(context, "harness", &mut client, sort).await?;
        }
    }
    nodes.extend(globals(&*context.cluster).into_iter().take(1).map(|node| (node, None)));
    for (node, zone) in nodes {
        let mut client = Client::new(context.cluster.clone(), node.clone());
        let begun = context.recorder.begin("harness", &node, Call::List.class(), Call::List);
        let outcome = match lists::resources(&mut client, zone.as_deref()).await {
            Ok(resources) => Outcome::Done { answer: Answer::Listed { resources } },
            Err(why) => Outcome::Refused { why },
        };
        context.recorder.end(begun, outcome)?;
    }
    Ok(())
}

/// Puts meshes back that all globals have lost, as their operator would from his manifests.
async fn restored(context: &Context) -> Result<(), String> {
    let node = globals(&*context.cluster).into_iter().next().ok_or("there is no global")?;
    let mut client = Client::new(context.cluster.clone(), node);
    for mesh in MESHES {
        let path = format!("/meshes/{mesh}");
        match client::of_read(client.call(client::Call::get(path.clone())).await) {
            Outcome::Done { answer } if answer.is_success() => {}
            Outcome::Done { .. } => {
                let body = json!({"type": "Mesh", "name": mesh});
                let put = client::of_write(client.call(client::Call::put(path, body)).await);
                put.answer().ok_or_else(|| format!("mesh {mesh}: {put:?}"))?;
            }
            Outcome::Refused { why } | Outcome::Unknown { why } => return Err(why),
        }
    }
    Ok(())
}

/// Lets fenced zones follow, and compares each with the global.
async fn equal(context: &Context) -> Result<(), String> {
    let node = globals(&*context.cluster).into_iter().next().ok_or("there is no global")?;
    let mut client = Client::new(context.cluster.clone(), node);
    let global = lists::resources(&mut client, None).await?;
    for (node, zone) in remotes(&*context.cluster) {
        let mut client = Client::new(context.cluster.clone(), node.clone());
        let name = format!("operate-{node}");
        let here: BTreeMap<String, Value> = lists::resources(&mut client, Some(&zone)).await?;
        let different = lists::differences(&zone, &global, &here);
        let state = clients::stand(context, &name, &mut client).await;
        let state = state.map_err(|why| format!("{why:#}"))?;
        if state.as_deref() == Some(FENCED) {
            let adopted = clients::adopt(context, &name, &mut client).await;
            adopted.map_err(|why| format!("{why:#}"))?;
            return Err(format!("{node} is fenced"));
        }
        if !different.is_empty() {
            let told = different.iter().take(TOLD).cloned().collect::<Vec<_>>().join("; ");
            return Err(format!("{} differences in {node} ({state:?}): {told}", different.len()));
        }
    }
    Ok(())
}
