//! What one control plane has of the keys.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Answer, Call, LOOKS, MESH, Values};
use crate::client::{self, Client};
use crate::history::Outcome;
use crate::workload::{Context, requests};

/// What the API gives at most on a page; there are never so many keys.
const PAGE: usize = 1000;

/// The service that carries a value.
pub(super) fn service(value: u64) -> String {
    format!("v{value}")
}

/// The keys that a node has, with its version. A mesh that is not there has no keys.
pub(super) async fn values(client: &mut Client, query: &str) -> Result<(u64, Values), String> {
    let path = format!("/meshes/{MESH}/traffic-permissions?size={PAGE}&{query}");
    let answer = client.call(client::Call::get(path)).await.map_err(|why| why.to_string())?;
    let version = answer.version.ok_or_else(|| answer.detail())?;
    if answer.status == 404 {
        return Ok((version, Values::new()));
    }
    if !answer.is_success() {
        return Err(answer.detail());
    }
    if !answer.body["next"].is_null() {
        return Err(format!("more than {PAGE} resources"));
    }
    let items = answer.body["items"].as_array().ok_or("a list without items")?;
    let values = items.iter().filter_map(key_and_value).collect();
    Ok((version, values))
}

/// The name that its owner gave a resource: in a zone its key is another one.
pub(super) fn display_name(item: &Value) -> Option<&str> {
    item["labels"]["kuma.io/display-name"].as_str().or_else(|| item["name"].as_str())
}

fn key_and_value(item: &Value) -> Option<(String, u64)> {
    let carried = item["sources"][0]["match"]["kuma.io/service"].as_str()?;
    let value = carried.strip_prefix('v')?.parse().ok()?;
    Some((display_name(item)?.to_owned(), value))
}

/// Looks at one zone, again and again.
pub(super) struct Reader {
    zone: String,
    client: Client,
    /// What it saw last.
    seen: Values,
}

impl Reader {
    pub(super) fn new(context: &Context, zone: String, node: String) -> Self {
        let client = Client::new(context.cluster.clone(), node);
        Self { zone, client, seen: BTreeMap::new() }
    }

    pub(super) async fn work(
        mut self,
        context: Context,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let millis = u64::try_from(LOOKS.as_millis()).unwrap_or(u64::MAX);
        while !stop.is_cancelled() {
            self.look(&context).await?;
            requests::pause(millis, &stop).await;
        }
        // Once more: what the last writes led to.
        self.look(&context).await
    }

    async fn look(&mut self, context: &Context) -> anyhow::Result<()> {
        let call = Call::View { zone: self.zone.clone() };
        let node = self.client.node().to_owned();
        let begun = context.recorder.begin(&self.zone, &node, call.class(), call);
        let outcome = match values(&mut self.client, "consistency=stale").await {
            Err(why) => Outcome::Refused { why },
            Ok((version, values)) => {
                let differs = |(key, value): &(&String, &u64)| self.seen.get(*key) != Some(value);
                let changed = values.iter().filter(differs);
                let changed = changed.map(|(key, value)| (key.clone(), *value)).collect();
                let missing = self.seen.keys().filter(|key| !values.contains_key(*key));
                let missing = missing.cloned().collect();
                self.seen = values;
                Outcome::Done { answer: Answer::Viewed { version, changed, missing } }
            }
        };
        context.recorder.end(begun, outcome)?;
        Ok(())
    }
}
