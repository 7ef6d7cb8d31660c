//! `transaction`: a bank. Clients at every global move money between accounts, both sides in one
//! transaction and only if they are as they were read, and put a stamp on several plates at once,
//! without a condition. Everything carries an `Idempotency-Key`: what is of unknown fate is sent again
//! to another global until it is known, and some of what was acknowledged is sent again on purpose.
//!
//! Each transaction has a token that is in all it writes, so that whoever looks sees whose it is.

mod actor;
mod applied;
mod check;
mod looks;

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{
    Context, Workload, apply, everywhere, globals, mesh, permission, plain_mesh, recovery, together,
};
use crate::history::Operation;
use crate::verdict::Verdict;
use actor::Actor;

/// Its resources are in a mesh without proxies: they change no traffic.
const MESH: &str = "bank";

/// More contend for the same resources until most are refused.
const CLIENTS_PER_NODE: usize = 2;

const ACCOUNTS: usize = 6;
/// What each has at first.
const OPENING: u64 = 1000;
/// Plates are stamped together.
const PLATES: usize = 3;
/// The token of what was there before all transactions.
const FIRST: &str = "opening";

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
enum Call {
    /// One account, before money is moved.
    Read { account: String },
    /// Puts both sides, each only if it is as it was read.
    Transfer { token: String, sides: [Side; 2] },
    /// Puts its token on every plate.
    Stamp { token: String },
    /// All accounts and plates, of one version; `stale`: as the node has them.
    Look { stale: bool },
}

/// One side of a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Side {
    account: String,
    /// The token that is replaced, and its ETag.
    replaces: String,
    tag: u64,
    /// The balance afterwards.
    balance: u64,
}

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
enum Answer {
    Account {
        version: u64,
        balance: u64,
        token: String,
        tag: u64,
    },
    /// `replayed`: by an earlier request under the same key.
    Applied {
        version: u64,
        replayed: bool,
    },
    /// A side was not as it was read (412): nothing was changed.
    Mismatch,
    All {
        version: u64,
        /// Balance and token by name.
        accounts: BTreeMap<String, (u64, String)>,
        plates: BTreeMap<String, String>,
    },
}

impl Call {
    fn token(&self) -> Option<&str> {
        match self {
            Self::Transfer { token, .. } | Self::Stamp { token } => Some(token),
            Self::Read { .. } | Self::Look { .. } => None,
        }
    }

    fn sides(&self) -> &[Side] {
        match self {
            Self::Transfer { sides, .. } => sides,
            Self::Read { .. } | Self::Stamp { .. } | Self::Look { .. } => &[],
        }
    }
}

type Op = Operation<Call, Answer>;

/// Their classes; a repeated one has its own.
const READ: &str = "read";
const LOOK: &str = "look";
const STALE_LOOK: &str = "stale look";
const TRANSFER: &str = "transfer";
const STAMP: &str = "stamp";
const AGAIN: &str = "again";
const CLASSES: [&str; 6] = [READ, LOOK, STALE_LOOK, TRANSFER, STAMP, AGAIN];

fn accounts() -> impl Iterator<Item = String> {
    (0..ACCOUNTS).map(|number| format!("account-{number}"))
}

fn plates() -> impl Iterator<Item = String> {
    (0..PLATES).map(|number| format!("plate-{number}"))
}

/// As an account's value: `997-global-1-2-17`.
fn value(balance: u64, token: &str) -> String {
    format!("{balance}-{token}")
}

fn parsed(value: &str) -> Option<(u64, String)> {
    let (balance, token) = value.split_once('-')?;
    Some((balance.parse().ok()?, token.to_owned()))
}

/// The workload.
pub(crate) struct Transaction;

#[async_trait]
impl Workload for Transaction {
    fn name(&self) -> &'static str {
        "transaction"
    }

    fn needs_zones(&self) -> bool {
        false
    }

    async fn prepare(&self, context: &Context) -> anyhow::Result<()> {
        mesh(context, MESH).await?;
        for account in accounts() {
            let (path, body) = permission(MESH, &account, "account", &value(OPENING, FIRST));
            apply(context, &path, body).await?;
        }
        for plate in plates() {
            let (path, body) = permission(MESH, &plate, "plate", FIRST);
            apply(context, &path, body).await?;
        }
        everywhere(context, &plain_mesh(MESH).0).await
    }

    async fn run(&self, context: &Context, stop: CancellationToken) -> anyhow::Result<()> {
        let mut clients = Vec::new();
        for node in globals(&*context.cluster) {
            for number in 1..=CLIENTS_PER_NODE {
                let actor = Actor::new(context, &node, number);
                clients.push(actor.work(stop.clone()));
            }
        }
        together(clients).await
    }

    async fn finish(&self, context: &Context) -> anyhow::Result<()> {
        recovery::globals_agree(context, MESH).await?;
        for node in globals(&*context.cluster) {
            Actor::new(context, &node, 0).look(false).await?;
        }
        Ok(())
    }

    fn check(&self, folder: &Path) -> anyhow::Result<Vec<Verdict>> {
        check::check(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accounts_value_is_read_as_it_was_written() {
        assert_eq!(parsed(&value(997, "global-1-2-17")), Some((997, "global-1-2-17".to_owned())));
        for wrong in ["", "997", "-a", "x-a"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
