//! One client of the bank.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    AGAIN, Answer, Call, LOOK, MESH, READ, STALE_LOOK, STAMP, Side, TRANSFER, accounts, parsed,
    permission, plates, value,
};
use crate::client::{self, Client};
use crate::draw::Draw;
use crate::history::Outcome;
use crate::workload::{Context, globals, pace, service, understood};

/// How often one of unknown fate is sent at most. Each attempt may take as long as a write is tried.
const ATTEMPTS: u32 = 4;
/// Of 100 that were acknowledged, so many are sent once more.
const REPEATED: u64 = 20;
/// The most that a transfer moves.
const MOST: u64 = 50;
/// What a page holds at most; there are far fewer resources.
const PAGE: usize = 1000;

pub(super) struct Actor {
    context: Context,
    name: String,
    sent: u64,
    draw: Draw,
    client: Client,
    others: Vec<String>,
}

impl Actor {
    pub(super) fn new(context: &Context, node: &str, number: usize) -> Self {
        let name = format!("{node}/{number}");
        let mut others = globals(&*context.cluster);
        others.retain(|other| other != node);
        Self {
            draw: Draw::new(context.seed, &format!("transaction {name}")),
            client: Client::new(context.cluster.clone(), node),
            context: context.clone(),
            name,
            sent: 0,
            others,
        }
    }

    pub(super) async fn work(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            let done = match self.draw.below(100) {
                0..22 => self.look(false).await?,
                22..30 => self.look(true).await?,
                30..50 => {
                    let token = self.token();
                    self.transact(Call::Stamp { token }, &stop).await?
                }
                _ => match self.transfer().await? {
                    Some(transfer) => self.transact(transfer, &stop).await?,
                    None => false,
                },
            };
            pace(&mut self.draw, done, &stop).await;
        }
        Ok(())
    }

    /// A token that nobody used before.
    fn token(&mut self) -> String {
        self.sent += 1;
        format!("{}-{}", self.name.replace('/', "-"), self.sent)
    }

    /// Looks at everything; whether that was answered.
    pub(super) async fn look(&mut self, stale: bool) -> anyhow::Result<bool> {
        let class = if stale { STALE_LOOK } else { LOOK };
        let fresh = if stale { "&consistency=stale" } else { "" };
        let path = format!("/meshes/{MESH}/traffic-permissions?size={PAGE}{fresh}");
        let begun = self.context.recorder.begin(
            &self.name,
            self.client.node(),
            class,
            Call::Look { stale },
        );
        let read = client::of_read(self.client.call(client::Call::get(path)).await);
        let ended = self.context.recorder.end(begun, understood(read, all))?;
        Ok(ended.outcome.answer().is_some())
    }

    /// Reads two accounts: what would move money from the richer to the poorer.
    async fn transfer(&mut self) -> anyhow::Result<Option<Call>> {
        let mut names: Vec<String> = accounts().collect();
        let mut sides = Vec::new();
        for _ in 0..2 {
            let at = usize::try_from(self.draw.below(names.len() as u64))?;
            let Some(side) = self.read(names.swap_remove(at)).await? else { return Ok(None) };
            sides.push(side);
        }
        sides.sort_by_key(|side| side.balance);
        let Ok([mut poorer, mut richer]) = <[Side; 2]>::try_from(sides) else { return Ok(None) };
        let amount = self.draw.between(1, MOST).min(richer.balance);
        richer.balance -= amount;
        poorer.balance += amount;
        Ok(Some(Call::Transfer { token: self.token(), sides: [richer, poorer] }))
    }

    /// An account as it is now.
    async fn read(&mut self, account: String) -> anyhow::Result<Option<Side>> {
        let path = permission(MESH, &account, "", "").0;
        let call = Call::Read { account: account.clone() };
        let begun = self.context.recorder.begin(&self.name, self.client.node(), READ, call);
        let read = client::of_read(self.client.call(client::Call::get(path)).await);
        let ended = self.context.recorder.end(begun, understood(read, one))?;
        Ok(match ended.outcome {
            Outcome::Done { answer: Answer::Account { balance, token, tag, .. } } => {
                Some(Side { account, replaces: token, tag, balance })
            }
            _ => None,
        })
    }

    /// Sends a transaction until its fate is known, and at times once more. Whether it was
    /// answered.
    async fn transact(&mut self, call: Call, stop: &CancellationToken) -> anyhow::Result<bool> {
        let class = if matches!(call, Call::Stamp { .. }) { STAMP } else { TRANSFER };
        let first = (class, &call);
        let mut outcome = attempt(&self.context, &self.name, &mut self.client, first).await?;
        if matches!(outcome, Outcome::Unknown { .. }) {
            // That a later attempt is refused says nothing of this one.
            for _ in 1..ATTEMPTS {
                pace(&mut self.draw, false, stop).await;
                if stop.is_cancelled() || matches!(outcome, Outcome::Done { .. }) {
                    break;
                }
                outcome = self.again(&call).await?;
            }
        }
        let applied = matches!(outcome, Outcome::Done { answer: Answer::Applied { .. } });
        if applied && self.draw.percent(REPEATED) {
            self.again(&call).await?;
        }
        Ok(matches!(outcome, Outcome::Done { .. }))
    }

    /// The same request under the same key, at another global.
    async fn again(&mut self, call: &Call) -> anyhow::Result<Outcome<Answer>> {
        let node = self.draw.one(&self.others).context("there is one global only")?;
        let mut client = Client::new(self.context.cluster.clone(), node.clone());
        attempt(&self.context, &self.name, &mut client, (AGAIN, call)).await
    }
}

async fn attempt(
    context: &Context,
    name: &str,
    client: &mut Client,
    (class, call): (&str, &Call),
) -> anyhow::Result<Outcome<Answer>> {
    let begun = context.recorder.begin(name, client.node(), class, call.clone());
    let http = client::Call::post("/_transactions", json!({"operations": operations(call)}));
    let outcome = match client.call(http.once(call.token().unwrap_or_default())).await {
        Ok(answer) if answer.status == 412 => Outcome::Done { answer: Answer::Mismatch },
        answered => understood(client::of_write(answered), applied),
    };
    Ok(context.recorder.end(begun, outcome)?.outcome)
}

fn operations(call: &Call) -> Vec<Value> {
    match call {
        Call::Transfer { token, sides } => {
            let put = |side: &Side| {
                let value = value(side.balance, token);
                let (_, body) = permission(MESH, &side.account, "account", &value);
                json!({"put": body, "ifMatch": side.tag})
            };
            sides.iter().map(put).collect()
        }
        Call::Stamp { token } => {
            let put = |plate: String| json!({"put": permission(MESH, &plate, "plate", token).1});
            plates().map(put).collect()
        }
        Call::Read { .. } | Call::Look { .. } => Vec::new(),
    }
}

fn applied(answer: &client::Answer) -> anyhow::Result<Answer> {
    let version = answer.version.context("no version")?;
    anyhow::ensure!(answer.body["version"] == version, "two versions: {}", answer.body);
    Ok(Answer::Applied { version, replayed: answer.replayed })
}

fn one(answer: &client::Answer) -> anyhow::Result<Answer> {
    let version = answer.version.context("no version")?;
    let (balance, token) = balance(&answer.body)?;
    Ok(Answer::Account { version, balance, token, tag: answer.tag.context("no ETag")? })
}

fn balance(item: &Value) -> anyhow::Result<(u64, String)> {
    service(item).and_then(parsed).with_context(|| format!("no balance in {item}"))
}

fn all(answer: &client::Answer) -> anyhow::Result<Answer> {
    let version = answer.version.context("no version")?;
    let items = answer.body["items"].as_array().context("no items")?;
    let (mut in_accounts, mut on_plates) = (BTreeMap::new(), BTreeMap::new());
    let (is_account, is_plate): (Vec<String>, Vec<String>) =
        (accounts().collect(), plates().collect());
    for item in items {
        let name = item["name"].as_str().context("an item without a name")?.to_owned();
        if is_account.contains(&name) {
            in_accounts.insert(name, balance(item)?);
        } else if is_plate.contains(&name) {
            let token = service(item).with_context(|| format!("no token in {item}"))?;
            on_plates.insert(name, token.to_owned());
        }
    }
    Ok(Answer::All { version, accounts: in_accounts, plates: on_plates })
}
