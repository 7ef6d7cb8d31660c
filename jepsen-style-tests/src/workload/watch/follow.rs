//! A client that watches, and goes on from where it was after each break.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Answer, Call, Edit, MESH, Told, WATCH, service};
use crate::client::events::{self, Event, Events, Opened};
use crate::draw::Draw;
use crate::history::{Micros, Outcome};
use crate::workload::{Context, MALFORMED, recovery};

/// After this long without a word one that may go elsewhere does; there is always somebody who
/// writes, and a mark each second.
const ROAMING_PATIENCE: Duration = Duration::from_secs(3);
/// One that has only this node waits for the comment that comes every 10 s.
const PATIENCE: Duration = Duration::from_secs(15);
/// Events of one line of the history.
const EVENTS: usize = 200;
/// A line is written after this long at the latest.
const LINE: Duration = Duration::from_secs(2);
/// After so many of 100 lines the watch breaks off by itself.
const BROKEN: u64 = 25;
const AGAIN: Duration = Duration::from_millis(200);

/// One watch, over any number of connections.
pub(super) struct Follower {
    context: Context,
    name: String,
    /// Where it may go on.
    nodes: Vec<String>,
    draw: Draw,
    /// All up to here was told.
    last: u64,
}

impl Follower {
    pub(super) fn new(context: &Context, name: String, nodes: Vec<String>, from: u64) -> Self {
        let draw = Draw::new(context.seed, &format!("watch {name}"));
        Self { context: context.clone(), name, nodes, draw, last: from }
    }

    /// Watches until it is told to stop, or is at a version.
    pub(super) async fn follow(
        mut self,
        stop: CancellationToken,
        until: Option<u64>,
    ) -> anyhow::Result<Self> {
        let over = |last: u64| stop.is_cancelled() || until.is_some_and(|until| last >= until);
        while !over(self.last) {
            let node = self.draw.one(&self.nodes).cloned().unwrap_or_default();
            let mut open = None;
            while !over(self.last) {
                if !self.line(&node, &mut open, &stop, until).await? {
                    break;
                }
                if self.draw.percent(BROKEN) {
                    break;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(self)
    }

    /// A line of the history: whether the connection holds.
    async fn line(
        &mut self,
        node: &str,
        open: &mut Option<Events>,
        stop: &CancellationToken,
        until: Option<u64>,
    ) -> anyhow::Result<bool> {
        let call = Call::Watch { from: self.last };
        let begun = self.context.recorder.begin(&self.name, node, WATCH, call);
        let opened = match open.take() {
            Some(events) => Ok(events),
            None => self.open(node).await,
        };
        let outcome = match opened {
            Err(outcome) => outcome,
            Ok(mut events) => {
                let (told, ended) = self.listen(&mut events, stop, until).await;
                *open = ended.is_none().then_some(events);
                Outcome::Done { answer: Answer::Told { events: told, ended } }
            }
        };
        self.context.recorder.end(begun, outcome)?;
        Ok(open.is_some())
    }

    /// A stream, or what to write down where there is none.
    async fn open(&mut self, node: &str) -> Result<Events, Outcome<Answer>> {
        let path = format!("/_watch?from={}&type=TrafficPermission&mesh={MESH}", self.last);
        let answer = match events::open(&*self.context.cluster, node, path).await {
            Ok(Opened::Events(events)) => return Ok(events),
            Ok(Opened::Refused(answer)) => answer,
            Err(why) => return Err(Outcome::Refused { why: why.to_string() }),
        };
        let why = answer.detail();
        match answer.body["compacted"].as_u64().filter(|_| answer.status == 410) {
            None => Err(Outcome::Refused { why }),
            Some(version) => {
                self.last = version;
                let events = vec![Told::Compacted { version }];
                Err(Outcome::Done { answer: Answer::Told { events, ended: Some(why) } })
            }
        }
    }

    /// What comes until the line is full; and why the stream ended, if it did.
    async fn listen(
        &mut self,
        events: &mut Events,
        stop: &CancellationToken,
        until: Option<u64>,
    ) -> (Vec<Told>, Option<String>) {
        let patience = if self.nodes.len() > 1 { ROAMING_PATIENCE } else { PATIENCE };
        let end = Instant::now() + LINE;
        let mut told = Vec::new();
        while told.len() < EVENTS && until.is_none_or(|until| self.last < until) {
            let event = tokio::select! {
                event = events.next(patience) => event,
                () = tokio::time::sleep_until(end) => break,
                () = stop.cancelled() => break,
            };
            let one = match event {
                Err(why) => return (told, Some(why.to_string())),
                Ok(event) => understood(&event, self.context.recorder.now()),
            };
            match one {
                Err(why) => return (told, Some(format!("{MALFORMED}: {why:#}"))),
                Ok(one) => {
                    self.last = one.version();
                    let compacted = matches!(one, Told::Compacted { .. });
                    told.push(one);
                    if compacted {
                        return (told, Some("compacted".to_owned()));
                    }
                }
            }
        }
        (told, None)
    }
}

fn understood(event: &Event, at: Micros) -> anyhow::Result<Told> {
    let Event { id, name, data } = event;
    let number =
        |field: &str| data[field].as_u64().with_context(|| format!("no {field} in {data}"));
    if name == "compacted" {
        return Ok(Told::Compacted { version: number("compacted")? });
    }
    let version = number("version")?;
    anyhow::ensure!(*id == Some(version), "the id of version {version} is {id:?}");
    match &**name {
        "progress" => Ok(Told::Progress { version }),
        "change" => {
            let changes = data["changes"].as_array().context("a change without changes")?;
            let edits = changes.iter().map(edit).collect::<anyhow::Result<_>>()?;
            Ok(Told::Change { version, at, edits })
        }
        _ => anyhow::bail!("an event {name:?}"),
    }
}

fn edit(change: &Value) -> anyhow::Result<Edit> {
    let text = |field: &str| change[field].as_str().unwrap_or_default();
    let name = text("name");
    let asked = text("type") == "TrafficPermission" && text("mesh") == MESH;
    let key = match asked {
        true => name.to_owned(),
        false => format!("{}/{}/{name}", text("type"), text("mesh")),
    };
    let value = |field: &str| service(&change[field]).map(str::to_owned);
    anyhow::ensure!(!name.is_empty(), "no name in {change}");
    Ok(Edit {
        key,
        operation: text("operation").to_owned(),
        value: value("value"),
        previous: value("previous"),
        previous_version: change["previousVersion"].as_u64(),
    })
}

/// Goes on with all watches until each was told everything up to a version.
pub(super) async fn to_the_end(
    context: &Context,
    followers: Vec<Follower>,
    version: u64,
) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let waiting: BTreeSet<String> = followers.iter().map(|one| one.name.clone()).collect();
    let waiting = Arc::new(Mutex::new(waiting));
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    for follower in followers {
        let (stop, waiting) = (stop.clone(), waiting.clone());
        tasks.spawn(async move {
            let ended = follower.follow(stop, Some(version)).await?;
            if ended.last >= version {
                let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.remove(&ended.name);
            }
            Ok(())
        });
    }
    let what = "every watch is told all that was written";
    recovery::wait_until(context, what, || async {
        let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.first() {
            None => Ok(()),
            Some(first) => Err(format!("{} watches were not, {first} is one", waiting.len())),
        }
    })
    .await?;
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.context("a watch panicked")??;
    }
    Ok(())
}
