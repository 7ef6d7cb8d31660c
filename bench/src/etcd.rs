//! Three members of etcd, with its default timers and without TLS.

use std::path::Path;
use std::process::Command;

use tonic::transport::{Channel, Endpoint};

use crate::client::{self, CHANNELS, Client};
use crate::cluster::{Cluster, NODES, until};
use crate::load::Asks;

#[expect(unreachable_pub, unused_qualifications, reason = "generated")]
mod proto {
    tonic::include_proto!("etcdserverpb");
}

use proto::kv_client::KvClient;

fn client_port(node: u16) -> u16 {
    23790 + node
}

fn peer_url(node: u16) -> String {
    format!("http://127.0.0.1:{}", 23800 + node)
}

pub(crate) fn start(binary: &Path, folder: &Path) -> anyhow::Result<Cluster> {
    let all: Vec<String> = (1..=NODES).map(|node| format!("n{node}={}", peer_url(node))).collect();
    let command = |node| {
        let client = format!("http://127.0.0.1:{}", client_port(node));
        let mut command = Command::new(binary);
        command
            .args(["--name", &format!("n{node}"), "--data-dir"])
            .arg(folder.join(format!("etcd-{node}")))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer_url(node)])
            .args(["--initial-advertise-peer-urls", &peer_url(node)])
            .args(["--initial-cluster", &all.join(","), "--initial-cluster-state", "new"]);
        command
    };
    Cluster::start("etcd", folder, (1..=NODES).map(command).collect())
}

/// A client of any member that answers.
#[derive(Clone)]
pub(crate) struct Etcd {
    kv: KvClient<Channel>,
    unique: u64,
}

/// `count` clients of one member, over [`CHANNELS`] connections.
pub(crate) async fn clients(node: u16, count: usize) -> anyhow::Result<Vec<Etcd>> {
    let url = format!("http://127.0.0.1:{}", client_port(node));
    let mut channels = Vec::new();
    for _ in 0..CHANNELS.min(count) {
        channels.push(until("a connection to etcd", || connect(&url)).await?);
    }
    let clients = (0..count).map(|number| Etcd {
        kv: KvClient::new(channels[number % channels.len()].clone()),
        unique: u64::try_from(number).unwrap_or_default() << 32,
    });
    Ok(clients.collect())
}

async fn connect(url: &str) -> anyhow::Result<Channel> {
    Ok(Endpoint::from_shared(url.to_owned())?.connect().await?)
}

impl Client for Etcd {
    async fn call(&mut self, asks: Asks, key: u32) -> anyhow::Result<()> {
        let key = client::name(key).into_bytes().into();
        match asks {
            Asks::Write => {
                self.unique += 1;
                let value = client::value(self.unique).into();
                self.kv.put(proto::PutRequest { key, value }).await?;
            }
            Asks::Read => {
                let found = self.kv.range(proto::RangeRequest { key }).await?.into_inner();
                anyhow::ensure!(found.count == 1, "a key that was written is not there");
            }
        }
        Ok(())
    }
}
