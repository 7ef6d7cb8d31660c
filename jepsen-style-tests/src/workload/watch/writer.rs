//! A client that changes what others watch.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Answer, Call, ELSEWHERE, KEYS, MESH, understood};
use crate::client::{self, Client};
use crate::draw::Draw;
use crate::history::Micros;
use crate::workload::{Context, pace, permission};

/// Everybody writes what is watched, and then for two seconds only what is not, so that watches are told
/// by marks how far they are, in microseconds.
const CYCLE: Micros = 6_000_000;
const QUIET_FROM: Micros = 4_000_000;
/// The most resources in a transaction.
const MOST: u64 = 4;

pub(super) struct Writer {
    context: Context,
    name: String,
    written: u64,
    draw: Draw,
    client: Client,
}

impl Writer {
    pub(super) fn new(context: &Context, node: &str, number: usize) -> Self {
        let name = format!("{node}/{number}");
        Self {
            draw: Draw::new(context.seed, &format!("watch {name}")),
            client: Client::new(context.cluster.clone(), node),
            context: context.clone(),
            name,
            written: 0,
        }
    }

    pub(super) async fn work(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            let call = match self.context.recorder.now() % CYCLE {
                at if at < QUIET_FROM => self.choose(),
                _ => Call::PutElsewhere { value: self.fresh() },
            };
            let (recorder, node) = (&self.context.recorder, self.client.node());
            let begun = recorder.begin(&self.name, node, call.class(), call.clone());
            let answered = self.client.call(http(&call)).await;
            let outcome = understood(client::of_write(answered), |answer| {
                Ok(Answer::Written { version: answer.version.context("no version")? })
            });
            let ended = self.context.recorder.end(begun, outcome)?;
            let done = ended.outcome.answer().is_some();
            pace(&mut self.draw, done, &stop).await;
        }
        Ok(())
    }

    fn choose(&mut self) -> Call {
        let key = self.key();
        match self.draw.below(100) {
            0..20 => Call::Delete { key },
            20..40 => {
                let mut values = BTreeMap::from([(key, self.fresh())]);
                for _ in 1..self.draw.between(2, MOST) {
                    let key = self.key();
                    let value = self.fresh();
                    values.insert(key, value);
                }
                Call::PutAll { values }
            }
            _ => Call::Put { key, value: self.fresh() },
        }
    }

    fn key(&mut self) -> String {
        format!("key-{}", self.draw.below(KEYS))
    }

    /// A value that nobody wrote before.
    fn fresh(&mut self) -> String {
        self.written += 1;
        format!("{}-{}", self.name.replace('/', "-"), self.written)
    }
}

fn http(call: &Call) -> client::Call {
    match call {
        Call::Put { key, value } => {
            let (path, body) = permission(MESH, key, "watch", value);
            client::Call::put(path, body)
        }
        Call::Delete { key } => client::Call::delete(permission(MESH, key, "", "").0),
        Call::PutAll { values } => {
            let put = |(key, value): (&String, &String)| json!({"put": permission(MESH, key, "watch", value).1});
            let operations: Vec<Value> = values.iter().map(put).collect();
            client::Call::post("/_transactions", json!({"operations": operations}))
        }
        Call::PutElsewhere { value } => {
            let (path, body) = permission(ELSEWHERE, "any", "watch", value);
            client::Call::put(path, body)
        }
        Call::Watch { .. } | Call::List => client::Call::get("/"),
    }
}
