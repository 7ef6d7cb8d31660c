//! From the leader's SIGKILL to the next acknowledged write.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::client::Client as _;
use crate::cluster::{Cluster, NODES};
use crate::load::Asks;
use crate::{higuma, output};

/// After a restart all is as before within this; a cluster that does not lead then is not measured.
const SETTLE: Duration = Duration::from_secs(30);

/// Kills the leader `kills` times; what each took, shortest first.
pub(crate) async fn higuma(cluster: &mut Cluster, kills: u16) -> anyhow::Result<Vec<Duration>> {
    let mut took = Vec::new();
    for number in 1..=kills {
        output::progress(format!("leader killed: {number} of {kills}"));
        let leader = higuma::leader().await?;
        cluster.kill(leader)?;
        took.push(next_write(leader).await?);
        cluster.restart(leader)?;
        caught_up(leader).await?;
    }
    took.sort_unstable();
    Ok(took)
}

/// Writes at whoever leads now, until it is done.
async fn next_write(dead: u16) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let others = (1..=NODES).filter(|node| *node != dead);
    let mut clients = Vec::new();
    for node in others {
        clients.extend(higuma::rpc_clients(node, 1).await?);
    }
    while began.elapsed() < SETTLE {
        for client in &mut clients {
            // One that does not lead proposes nothing, and says so at once.
            if client.call(Asks::Write, 0).await.is_ok() {
                return Ok(began.elapsed());
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    anyhow::bail!("no write within {} s after the leader was killed", SETTLE.as_secs())
}

/// Waits until a node that was started again has applied what the others have.
async fn caught_up(node: u16) -> anyhow::Result<()> {
    let name = "higuma_store_raft_applied_index";
    let leader = higuma::leader().await?;
    let began = Instant::now();
    while began.elapsed() < SETTLE {
        let there = higuma::metric(leader, name).await?;
        if higuma::metric(node, name).await.is_ok_and(|here| here >= there) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None.with_context(|| format!("node {node} did not catch up in {} s", SETTLE.as_secs()))
}
