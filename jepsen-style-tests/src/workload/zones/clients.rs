//! Who writes at the globals, and who watches and operates the zones.

use std::pin::Pin;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Answer, Call, Context, MESH, Sort, lists};
use crate::client::{self, Client};
use crate::draw::Draw;
use crate::history::Outcome;
use crate::workload::pace;

/// Policies that a writer changes in turn.
const POLICIES: usize = 4;
/// Between two looks at a zone: some are between any two changes that are seconds apart, and a
/// zone that goes back for a moment is caught at it.
const LOOK_EVERY: Duration = Duration::from_millis(150);
const STANDING_EVERY: Duration = Duration::from_secs(1);
/// How often an operator sees a zone fenced before he acts.
const PATIENCE: u32 = 4;

/// A client at work.
pub(super) type Running = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// Changes policies of its own through any global, until `stop`.
pub(super) fn writer(
    context: Context,
    globals: Vec<String>,
    number: u64,
    stop: CancellationToken,
) -> Running {
    let name = format!("writer-{number}");
    let draw = Draw::new(context.seed, &format!("zones {name}"));
    let clients =
        globals.iter().map(|node| Client::new(context.cluster.clone(), node.clone())).collect();
    let mut writer = Writer { name, draw, clients, made: 0, policies: Vec::new() };
    Box::pin(async move {
        while !stop.is_cancelled() {
            let done = writer.once(&context).await?;
            pace(&mut writer.draw, done, &stop).await;
        }
        Ok(())
    })
}

struct Writer {
    name: String,
    draw: Draw,
    /// One for each global.
    clients: Vec<Client>,
    made: u64,
    policies: Vec<Policy>,
}

struct Policy {
    sort: Sort,
    name: String,
    /// The next value; each is used once, whatever became of its write.
    next: u64,
    exists: bool,
}

impl Writer {
    /// One write. Its policy is given up if what became of it is not known.
    async fn once(&mut self, context: &Context) -> anyhow::Result<bool> {
        while self.policies.len() < POLICIES {
            self.made += 1;
            let sort = Sort::ALL[usize::from(self.made.is_multiple_of(2))];
            let name = format!("{}-{}", self.name, self.made);
            self.policies.push(Policy { sort, name, next: 1, exists: false });
        }
        let at = usize::try_from(self.draw.below(POLICIES as u64)).unwrap_or_default();
        let node = usize::try_from(self.draw.below(self.clients.len() as u64)).unwrap_or_default();
        let delete = self.draw.percent(20);
        let (policy, client) = (&mut self.policies[at], &mut self.clients[node]);
        let call = policy.call(delete);
        let begun = context.recorder.begin(&self.name, client.node(), call.class(), call.clone());
        let outcome = client::of_write(client.call(policy.http(&call)).await);
        match &outcome {
            Outcome::Done { .. } => policy.exists = matches!(call, Call::Put { .. }),
            Outcome::Refused { why } => {
                // After a roll-back what was deleted may be there, and the other way round.
                policy.exists &= !(why.starts_with("404") && matches!(call, Call::Delete { .. }));
            }
            Outcome::Unknown { .. } => drop(self.policies.swap_remove(at)),
        }
        let mesh_is_gone = matches!(&outcome, Outcome::Refused { why } if why.contains("mesh"));
        let done = matches!(outcome, Outcome::Done { .. });
        context.recorder.end(begun, written(outcome))?;
        if mesh_is_gone {
            restore(context, &self.name, &mut self.clients[node]).await?;
        }
        Ok(done)
    }
}

impl Policy {
    fn call(&mut self, delete: bool) -> Call {
        let (sort, policy) = (self.sort, self.name.clone());
        if delete && self.exists {
            return Call::Delete { sort, policy };
        }
        self.next += 1;
        Call::Put { sort, policy, value: self.next - 1 }
    }

    fn http(&self, call: &Call) -> client::Call {
        let path = format!("/meshes/{MESH}/{}/{}", self.sort.path(), self.name);
        match call {
            Call::Put { value, .. } => client::Call::put(path, body(self.sort, &self.name, *value)),
            _ => client::Call::delete(path),
        }
    }
}

/// A policy that is about no proxy.
fn body(sort: Sort, name: &str, value: u64) -> Value {
    let selector = |service: &str| json!([{"match": {"kuma.io/service": service}}]);
    let mut body = json!({
        "type": "TrafficPermission", "mesh": MESH, "name": name,
        "sources": selector(&lists::service(value)), "destinations": selector(name),
    });
    if sort == Sort::TrafficRoutes {
        body["type"] = "TrafficRoute".into();
        body["conf"] = json!({"destination": {"kuma.io/service": name}});
    }
    body
}

/// Puts this workload's mesh back after all globals were emptied.
async fn restore(context: &Context, name: &str, client: &mut Client) -> anyhow::Result<()> {
    let call = Call::Restore { mesh: MESH.to_owned() };
    let begun = context.recorder.begin(name, client.node(), call.class(), call);
    let mesh = json!({"type": "Mesh", "name": MESH});
    let answered = client.call(client::Call::put(format!("/meshes/{MESH}"), mesh)).await;
    context.recorder.end(begun, written(client::of_write(answered)))?;
    Ok(())
}

fn written(outcome: Outcome<client::Answer>) -> Outcome<Answer> {
    match outcome {
        Outcome::Done { answer } => {
            Outcome::Done { answer: Answer::Written { version: answer.version } }
        }
        Outcome::Refused { why } => Outcome::Refused { why },
        Outcome::Unknown { why } => Outcome::Unknown { why },
    }
}

/// Looks at what a zone has, again and again, until `stop`.
pub(super) fn watcher(context: Context, node: String, stop: CancellationToken) -> Running {
    Box::pin(async move {
        let mut client = Client::new(context.cluster.clone(), node.clone());
        while !stop.is_cancelled() {
            for sort in Sort::ALL {
                look(&context, &format!("watch-{node}"), &mut client, sort).await?;
            }
            pause(LOOK_EVERY, &stop).await;
        }
        Ok(())
    })
}

/// One look, recorded.
pub(super) async fn look(
    context: &Context,
    name: &str,
    client: &mut Client,
    sort: Sort,
) -> anyhow::Result<()> {
    let call = Call::Look { sort };
    let begun = context.recorder.begin(name, client.node(), call.class(), call);
    let outcome = match lists::policies(client, sort).await {
        Ok((version, policies)) => Outcome::Done { answer: Answer::Seen { version, policies } },
        Err(why) => Outcome::Refused { why },
    };
    context.recorder.end(begun, outcome)?;
    Ok(())
}

/// Asks a zone how it stands, and lets it follow again once it has been fenced for a while.
pub(super) fn operator(context: Context, node: String, stop: CancellationToken) -> Running {
    Box::pin(async move {
        let name = format!("operate-{node}");
        let mut client = Client::new(context.cluster.clone(), node);
        let mut fenced = 0;
        while !stop.is_cancelled() {
            let state = stand(&context, &name, &mut client).await?;
            fenced = if state.as_deref() == Some(FENCED) { fenced + 1 } else { 0 };
            if fenced > PATIENCE {
                adopt(&context, &name, &mut client).await?;
                fenced = 0;
            }
            pause(STANDING_EVERY, &stop).await;
        }
        Ok(())
    })
}

/// The state of a zone that refuses its global, as its control plane names it.
pub(super) const FENCED: &str = "Fenced";

/// How a zone stands to its global, recorded.
pub(super) async fn stand(
    context: &Context,
    name: &str,
    client: &mut Client,
) -> anyhow::Result<Option<String>> {
    let begun = context.recorder.begin(name, client.node(), Call::Stand.class(), Call::Stand);
    let outcome = match client::of_read(client.call(client::Call::get("/_kds")).await) {
        Outcome::Done { answer } if answer.is_success() => {
            let text = |field: &str| answer.body[field].as_str().map(str::to_owned);
            let (state, reason) = (text("state").unwrap_or_default(), text("reason"));
            Outcome::Done { answer: Answer::Stands { state, reason } }
        }
        Outcome::Done { answer } => Outcome::Refused { why: answer.detail() },
        Outcome::Refused { why } | Outcome::Unknown { why } => Outcome::Refused { why },
    };
    let ended = context.recorder.end(begun, outcome)?;
    Ok(match ended.outcome {
        Outcome::Done { answer: Answer::Stands { state, .. } } => Some(state),
        _ => None,
    })
}

/// What `higuma zone adopt` does: shows the difference, then follows from exactly there.
pub(super) async fn adopt(context: &Context, name: &str, client: &mut Client) -> anyhow::Result<()> {
    let begun = context.recorder.begin(name, client.node(), Call::Adopt.class(), Call::Adopt);
    let outcome = match client.call(client::Call::get("/_kds/difference")).await {
        Ok(answer) if answer.is_success() => {
            let removed = answer.body["difference"]["removed"]["total"].as_u64();
            let call = client::Call::post("/_kds/adopt", answer.body["offered"].clone());
            match client::of_write(client.call(call).await) {
                Outcome::Done { .. } => Outcome::Done { answer: Answer::Adopted { removed } },
                Outcome::Refused { why } => Outcome::Refused { why },
                Outcome::Unknown { why } => Outcome::Unknown { why },
            }
        }
        Ok(answer) => Outcome::Refused { why: answer.detail() },
        Err(why) => Outcome::Refused { why: why.to_string() },
    };
    context.recorder.end(begun, outcome)?;
    Ok(())
}

async fn pause(how_long: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(how_long) => {}
        () = stop.cancelled() => {}
    }
}
