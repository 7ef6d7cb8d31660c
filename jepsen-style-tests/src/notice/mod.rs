//! When the system itself shows that something is wrong: what every control plane says of its
//! peers is looked at all the time, and each change is recorded.

mod figures;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::client::{Call, Client};
use crate::cluster::Role;
use crate::history::Outcome;
use crate::workload::{Context, together};

pub(crate) use figures::figures;

/// The class of what is recorded here.
pub(crate) const CLASS: &str = "sight";

/// Between two looks at a node: the times are as exact as this.
const LOOKS: Duration = Duration::from_millis(100);

/// What a control plane says of the others. Nodes and zones by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sight {
    /// Of a global: who leads; none if it knows of nobody.
    leader: Option<String>,
    /// Of a global: the globals that do not answer it.
    missing: BTreeSet<String>,
    /// Of a global: the zones that are not connected.
    offline: BTreeSet<String>,
    /// Of a zone: how it stands to the global, `Synced` or otherwise.
    standing: Option<String>,
}

/// Looks at every control plane until `stop`.
///
/// # Errors
/// The history could not be written.
pub(crate) async fn watch(context: &Context, stop: CancellationToken) -> anyhow::Result<()> {
    let nodes = context.cluster.nodes();
    let zones = nodes.iter().any(|node| node.role == Role::Remote);
    let control_planes = nodes.iter().filter_map(|node| match node.role {
        Role::Global => Some((node.name.clone(), Asks::Global { zones })),
        Role::Remote => Some((node.name.clone(), Asks::Zone)),
        Role::Ingress | Role::Workload => None,
    });
    let witnesses = control_planes.map(|(node, asks)| witness(context.clone(), node, asks, &stop));
    together(witnesses.collect()).await
}

/// What a witness asks its node.
#[derive(Debug, Clone, Copy)]
enum Asks {
    Global { zones: bool },
    Zone,
}

fn witness(
    context: Context,
    node: String,
    asks: Asks,
    stop: &CancellationToken,
) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
    let stop = stop.clone();
    async move {
        let mut client = Client::new(context.cluster.clone(), node.clone());
        let mut last = None;
        while !stop.is_cancelled() {
            let looked = tokio::select! {
                looked = look(&mut client, asks) => looked,
                () = stop.cancelled() => break,
            };
            // A node that does not answer shows nothing.
            if let Some(sight) = looked
                && last.as_ref() != Some(&sight)
            {
                let begun = context.recorder.begin("witness", &node, CLASS, Value::Null);
                context.recorder.end(begun, Outcome::Done { answer: sight.clone() })?;
                last = Some(sight);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOKS) => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    }
}

async fn look(client: &mut Client, asks: Asks) -> Option<Sight> {
    let Asks::Global { zones } = asks else {
        let standing = body(client, "/_kds").await?;
        let standing = standing["state"].as_str()?.to_owned();
        return Some(Sight { standing: Some(standing), ..Sight::default() });
    };
    let cluster = body(client, "/_cluster").await?;
    let offline = match zones {
        true => offline(&body(client, "/zones/_overview?consistency=stale").await?)?,
        false => BTreeSet::new(),
    };
    let members = cluster["members"].as_array()?.iter();
    let missing = members.filter(|member| member["role"] == "unreachable");
    Some(Sight {
        leader: global(&cluster["leader"]),
        missing: missing.filter_map(|member| global(&member["id"])).collect(),
        offline,
        standing: None,
    })
}

async fn body(client: &mut Client, path: &str) -> Option<Value> {
    let answer = client.call(Call::get(path)).await.ok()?;
    answer.is_success().then_some(answer.body)
}

fn global(id: &Value) -> Option<String> {
    Some(format!("global-{}", id.as_u64()?))
}

/// The zones without an open stream in a list of overviews.
fn offline(overviews: &Value) -> Option<BTreeSet<String>> {
    let zones = overviews["items"].as_array()?.iter();
    let open = |subscription: &Value| subscription["disconnectTime"].is_null();
    let offline = zones.filter(|zone| {
        let streams = zone["zoneInsight"]["subscriptions"].as_array();
        !streams.is_some_and(|streams| streams.iter().any(open))
    });
    Some(offline.filter_map(|zone| Some(zone["name"].as_str()?.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_zone_is_offline_without_an_open_stream() {
        let closed = json!({"connectTime": "2026-01-02T03:04:05Z", "disconnectTime": "2026-01-02T03:04:06Z"});
        let open = json!({"connectTime": "2026-01-02T03:04:07Z"});
        let overviews = json!({"items": [
            {"name": "east", "zoneInsight": {"subscriptions": [closed, open]}},
            {"name": "west", "zoneInsight": {"subscriptions": [closed]}},
            {"name": "new", "zoneInsight": null},
        ]});
        assert_eq!(offline(&overviews), Some(["new".to_owned(), "west".to_owned()].into()));
        assert_eq!(offline(&json!({"detail": "no leader"})), None);
    }
}
