//! Requests of applications through their proxies, which `traffic` and `churn` have in common.

pub(crate) mod check;
pub(crate) mod path;

use std::time::{Duration, Instant};

use anyhow::bail;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::client::request::{Caller, Connections};
use crate::client::{self, CallError, Client};
use crate::cluster::Role;
use crate::draw::Draw;
use crate::history::{Operation, Outcome};
use path::Place;

/// The mesh of all workloads.
pub(crate) const MESH: &str = "default";

/// A proxy starts, waits for its mesh, and gets its first configuration.
const READY: Duration = Duration::from_secs(60);

/// A workload and what it is, as both databases have them.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) service: &'static str,
    /// Does not run until it joins.
    pub(crate) spare: bool,
    /// What it calls, by the ports of its outbounds.
    pub(crate) calls: &'static [(&'static str, u16)],
}

pub(crate) const WORKLOADS: [Workload; 8] = {
    const FROM_WEB: &[(&str, u16)] = &[("backend", 10001), ("billing", 10002)];
    const FROM_BILLING: &[(&str, u16)] = &[("backend", 10001)];
    [
        Workload { name: "web", service: "web", spare: false, calls: FROM_WEB },
        Workload { name: "backend-v1", service: "backend", spare: false, calls: &[] },
        Workload { name: "backend-v2", service: "backend", spare: false, calls: &[] },
        Workload { name: "billing", service: "billing", spare: false, calls: FROM_BILLING },
        Workload { name: "web-2", service: "web", spare: true, calls: FROM_WEB },
        Workload { name: "backend-v1-2", service: "backend", spare: true, calls: &[] },
        Workload { name: "backend-v2-2", service: "backend", spare: true, calls: &[] },
        Workload { name: "billing-2", service: "billing", spare: true, calls: FROM_BILLING },
    ]
};

/// Who calls what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) from: &'static str,
    pub(crate) service: &'static str,
    port: u16,
}

/// What these workloads call.
pub(crate) fn pairs(chosen: impl Fn(&Workload) -> bool) -> Vec<Pair> {
    let chosen = WORKLOADS.iter().filter(|workload| chosen(workload));
    let calls = chosen.flat_map(|workload| {
        workload.calls.iter().map(|&(service, port)| Pair { from: workload.name, service, port })
    });
    calls.collect()
}

/// Calls of all workloads to a service are measured together.
const CLASSES: [(&str, &str); 2] =
    [("backend", "request to backend"), ("billing", "request to billing")];

fn class(service: &str) -> &'static str {
    let found = CLASSES.iter().find(|(name, _)| *name == service);
    found.map_or("request", |(_, class)| class)
}

/// The classes of all requests.
pub(crate) fn classes() -> Vec<&'static str> {
    CLASSES.iter().map(|(_, class)| *class).collect()
}

/// One request. Whose it is, the operation's node says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request {
    pub(crate) service: String,
    /// On a connection that stays open, or on a new one.
    pub(crate) open: bool,
}

/// An answer of HTTP. Who gave it is empty where it was a proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Response {
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) instance: String,
    #[serde(default)]
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) zone: String,
}

pub(crate) type RequestOp = Operation<Request, Response>;

/// One caller of one service.
pub(crate) struct Lane {
    pub(crate) pair: Pair,
    connections: Connections,
    client: String,
    caller: Caller,
    draw: Draw,
}

impl Lane {
    pub(crate) fn new(context: &Context, pair: Pair, connections: Connections) -> Self {
        let kind = if connections == Connections::StayOpen { "open" } else { "new" };
        let client = format!("{} to {} ({kind})", pair.from, pair.service);
        let caller = Caller::new(context.cluster.clone(), pair.from, pair.port, connections);
        let draw = Draw::new(context.seed, &client);
        Self { pair, connections, client, caller, draw }
    }

    /// For each pair one with a connection that stays open, and one with new ones.
    pub(crate) fn both(context: &Context, pairs: &[Pair]) -> Vec<Self> {
        let kinds = [Connections::StayOpen, Connections::New];
        let lanes = pairs.iter().flat_map(|pair| kinds.map(|kind| Self::new(context, *pair, kind)));
        lanes.collect()
    }

    /// One request, recorded.
    pub(crate) async fn request(&mut self, context: &Context) -> anyhow::Result<RequestOp> {
        let service = self.pair.service.to_owned();
        let call = Request { service, open: self.connections == Connections::StayOpen };
        let (class, recorder) = (class(self.pair.service), &context.recorder);
        let begun = recorder.begin(&self.client, self.pair.from, class, call);
        let outcome = match self.caller.get().await {
            Ok(answer) => Outcome::Done { answer: response(&answer) },
            Err(CallError::NotSent(why)) => Outcome::Refused { why },
            Err(CallError::Broken(why)) => Outcome::Unknown { why },
        };
        recorder.end(begun, outcome)
    }

    /// Requests until `stop`, so many milliseconds apart.
    pub(crate) async fn run(
        mut self,
        context: Context,
        apart: (u64, u64),
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            self.request(&context).await?;
            pause(self.draw.between(apart.0, apart.1), &stop).await;
        }
        Ok(())
    }
}

/// So many milliseconds, or until `stop`.
pub(crate) async fn pause(millis: u64, stop: &CancellationToken) {
    let pause = tokio::time::sleep(Duration::from_millis(millis));
    tokio::select! {
        () = pause => {}
        () = stop.cancelled() => {}
    }
}

fn response(answer: &client::Answer) -> Response {
    let text = |field: &str| answer.body[field].as_str().unwrap_or_default().to_owned();
    Response {
        status: answer.status,
        instance: text("instance"),
        version: text("version"),
        zone: text("zone"),
    }
}

/// Whether each pair is answered now, on a new connection; says which is not.
pub(crate) async fn all_answer(context: &Context, pairs: &[Pair]) -> Result<(), String> {
    for pair in pairs {
        let cluster = context.cluster.clone();
        let mut caller = Caller::new(cluster, pair.from, pair.port, Connections::New);
        let seen = match caller.get().await {
            Ok(answer) if answer.status == 200 => continue,
            Ok(answer) => answer.status.to_string(),
            Err(why) => why.to_string(),
        };
        return Err(format!("{} calls {}: {seen}", pair.from, pair.service));
    }
    Ok(())
}

/// The mesh with mTLS.
pub(crate) fn mesh() -> (String, Value) {
    let body = json!({
        "type": "Mesh", "name": MESH,
        "mtls": {"enabledBackend": "ca-1", "backends": [{"name": "ca-1", "type": "builtin"}]},
    });
    (format!("/meshes/{MESH}"), body)
}

/// The permission of everybody to call everything.
pub(crate) fn allow_all() -> (String, Value) {
    let any = json!([{"match": {"kuma.io/service": "*"}}]);
    let body = json!({
        "type": "TrafficPermission", "mesh": MESH, "name": "who-may-call",
        "sources": any, "destinations": any,
    });
    (format!("/meshes/{MESH}/traffic-permissions/who-may-call"), body)
}

/// Before any fault: waits until all proxies are there and every pair is served.
pub(crate) async fn ready(context: &Context, pairs: &[Pair]) -> anyhow::Result<()> {
    let began = Instant::now();
    while let Err(why) = all_answer(context, pairs).await {
        if began.elapsed() > READY {
            bail!("not within {} s: {why}", READY.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Ok(())
}

/// The class of the nodes of a run, which its checkers have to know.
const NODES: &str = "nodes";

/// Records which nodes there are.
pub(crate) fn record_nodes(context: &Context) -> anyhow::Result<()> {
    let begun = context.recorder.begin("harness", "all", NODES, Value::Null);
    let places: Vec<Place> = context.cluster.nodes().iter().map(Place::of).collect();
    context.recorder.end(begun, Outcome::Done { answer: places })?;
    Ok(())
}

/// How far a zone is, as a control plane says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ZoneProgress {
    /// Every proxy that is connected runs all up to here.
    pub(crate) version: u64,
    pub(crate) proxies: usize,
}

/// What `GET /_progress` of a control plane says of each zone.
pub(crate) async fn progress(client: &mut Client) -> Result<Vec<(String, ZoneProgress)>, String> {
    let answer = client.call(client::Call::get("/_progress")).await.map_err(|e| e.to_string())?;
    if !answer.is_success() {
        return Err(answer.detail());
    }
    let zones = answer.body["zones"].as_object().ok_or("no zones in the answer")?;
    let each = zones.iter().map(|(zone, said)| {
        let number =
            |field: &str| said[field].as_u64().ok_or_else(|| format!("{field} is no number"));
        let proxies = usize::try_from(number("proxies")?).map_err(|e| e.to_string())?;
        Ok((zone.clone(), ZoneProgress { version: number("version")?, proxies }))
    });
    each.collect()
}

/// The control plane of each zone: zone and node.
pub(crate) fn remotes(context: &Context) -> Vec<(String, crate::cluster::Node)> {
    let nodes = context.cluster.nodes().iter();
    let remotes = nodes.filter(|node| node.role == Role::Remote);
    remotes.filter_map(|node| Some((node.zone.clone()?, node.clone()))).collect()
}
