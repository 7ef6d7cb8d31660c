//! Three globals of Higuma, with default timers and without TLS, and two ways to call them: the
//! RPC by which followers hand writes to their leader, and REST as users call it.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};

use crate::client::{self, CHANNELS, Client};
use crate::cluster::{Cluster, NODES, until};
use crate::load::Asks;

#[expect(unreachable_pub, unused_qualifications, clippy::large_enum_variant, reason = "generated")]
mod proto {
    tonic::include_proto!("higuma.store.v1");
}

use proto::raft_client::RaftClient;

const MESH: &str = "bench";

fn host(node: u16) -> String {
    format!("127.90.0.{node}")
}

fn rest(node: u16) -> String {
    format!("{}:5681", host(node))
}

/// Raft's timers, as flags have them, in milliseconds: heartbeat, shortest and longest election.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timers(pub(crate) [u32; 3]);

pub(crate) fn start(
    binary: &Path,
    folder: &Path,
    timers: Option<Timers>,
) -> anyhow::Result<Cluster> {
    let members: Vec<String> =
        (1..=NODES).map(|node| format!("{node}={}:5684", host(node))).collect();
    let command = |node: u16| {
        let mut command = Command::new(binary);
        command
            .args(["global", "run", "--node-id", &node.to_string(), "--bind", &host(node)])
            .args(["--members", &members.join(","), "--data-dir"])
            .arg(folder.join(format!("higuma-{node}")));
        if let Some(Timers(millis)) = timers {
            let names = ["--heartbeat-ms", "--election-min-ms", "--election-max-ms"];
            for (name, millis) in names.iter().zip(millis) {
                command.args([name, &*millis.to_string()]);
            }
        }
        command
    };
    Cluster::start("higuma", folder, (1..=NODES).map(command).collect())
}

/// Waits until the cluster leads, writes what is needed, and says who leads.
pub(crate) async fn ready() -> anyhow::Result<u16> {
    until("the globals take a mesh", || async {
        let mut rest = Rest::connect(1).await?;
        let body = format!(r#"{{"type":"Mesh","name":"{MESH}"}}"#);
        rest.put(&format!("/meshes/{MESH}"), body.into_bytes()).await
    })
    .await?;
    leader().await
}

/// Who leads, as any global that answers says.
pub(crate) async fn leader() -> anyhow::Result<u16> {
    Ok(cluster().await?.1)
}

/// The cluster's id and who leads it.
async fn cluster() -> anyhow::Result<(String, u16)> {
    until("a leader is known", || async {
        let mut last = anyhow::anyhow!("no global answers");
        for node in 1..=NODES {
            match described(node).await {
                Ok(known) => return Ok(known),
                Err(why) => last = why,
            }
        }
        Err(last)
    })
    .await
}

async fn described(node: u16) -> anyhow::Result<(String, u16)> {
    let body = Rest::connect(node).await?.get("/_cluster").await?;
    let id = body["clusterId"].as_str().context("a cluster without an id")?.to_owned();
    let leader = body["leader"].as_u64().context("nobody leads")?;
    Ok((id, u16::try_from(leader)?))
}

/// A number out of a node's metrics.
pub(crate) async fn metric(node: u16, name: &str) -> anyhow::Result<f64> {
    let stream = TcpStream::connect((host(node), 5680)).await?;
    let text = Rest::over(stream).await?.text(Method::GET, "/metrics", Bytes::new()).await?.1;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("there is no metric {name}"))?.trim().parse()?)
}

/// A client of the RPC at one node.
#[derive(Clone)]
pub(crate) struct Rpc {
    raft: RaftClient<Channel>,
    cluster: MetadataValue<tonic::metadata::Ascii>,
    node: u16,
    unique: u64,
}

/// `count` clients of one node, over [`CHANNELS`] connections.
pub(crate) async fn rpc_clients(node: u16, count: usize) -> anyhow::Result<Vec<Rpc>> {
    let cluster = cluster().await?.0.parse()?;
    let mut channels = Vec::new();
    for _ in 0..CHANNELS.min(count) {
        let endpoint = Endpoint::from_shared(format!("http://{}:5684", host(node)))?;
        channels.push(endpoint.connect().await?);
    }
    let clients = (0..count).map(|number| Rpc {
        raft: RaftClient::new(channels[number % channels.len()].clone()),
        cluster: MetadataValue::clone(&cluster),
        node,
        unique: u64::try_from(number).unwrap_or_default() << 32,
    });
    Ok(clients.collect())
}

impl Rpc {
    /// A call as another member makes it.
    fn stamped<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert("higuma-cluster", self.cluster.clone());
        metadata.insert("higuma-from", MetadataValue::from(self.node % NODES + 1));
        metadata.insert("higuma-to", MetadataValue::from(self.node));
        request
    }
}

impl Client for Rpc {
    async fn call(&mut self, asks: Asks, key: u32) -> anyhow::Result<()> {
        match asks {
            Asks::Write => {
                self.unique += 1;
                let command = command(key, self.unique)?;
                let request = self.stamped(proto::ProposeRequest { command });
                match self.raft.propose(request).await?.into_inner().result {
                    Some(proto::propose_reply::Result::Applied(applied)) => {
                        let outcome = applied.outcome.and_then(|outcome| outcome.kind);
                        let done = matches!(outcome, Some(proto::outcome::Kind::Done(_)));
                        anyhow::ensure!(done, "a write was refused: {outcome:?}");
                    }
                    other => bail!("a write was not done: {other:?}"),
                }
            }
            // What a follower asks for before it reads in its own memory.
            Asks::Read => {
                let request = self.stamped(proto::ReadIndexRequest {});
                let reply = self.raft.read_index(request).await?.into_inner();
                let index = matches!(reply.result, Some(proto::read_index_reply::Result::Index(_)));
                anyhow::ensure!(index, "no index: {reply:?}");
            }
        }
        Ok(())
    }
}

/// A transaction that puts one TrafficPermission, framed as the store frames it.
fn command(key: u32, unique: u64) -> anyhow::Result<Bytes> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let at_ms = i64::try_from(now)?;
    let draft = proto::Draft {
        key: Some(proto::Key {
            kind: "TrafficPermission".to_owned(),
            mesh: MESH.to_owned(),
            name: client::name(key),
        }),
        audience: Some(proto::Audience { kind: proto::audience::Kind::AllZones.into(), but: None }),
        spec: Some(proto::draft::Spec::Json(client::value(unique).into())),
        ..Default::default()
    };
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|why| anyhow::anyhow!("no random numbers: {why}"))?;
    let transaction = proto::Transaction {
        id: Some(proto::RequestId { at_ms, random: u64::from_le_bytes(random) }),
        at_ms,
        writer: Some(proto::Owner::default()),
        operations: vec![proto::Operation { kind: Some(proto::operation::Kind::Put(draft)) }],
        ..Default::default()
    };
    let kind = Some(proto::command::Kind::Transaction(transaction));
    let body = proto::Command { kind, origin: None }.encode_to_vec();
    let mut framed = BytesMut::with_capacity(5 + body.len());
    framed.put_u8(1);
    framed.put_u32_le(crc32fast::hash(&body));
    framed.put_slice(&body);
    Ok(framed.freeze())
}

/// A client of REST at one node, over a connection of its own.
pub(crate) struct Rest {
    sender: http1::SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
    unique: u64,
}

/// `count` clients, shared out over all nodes as users' are.
pub(crate) async fn rest_clients(count: usize) -> anyhow::Result<Vec<Rest>> {
    let mut clients = Vec::new();
    for (node, number) in (1..=NODES).cycle().zip(0..count) {
        let mut client = Rest::connect(node).await?;
        client.unique = (1 << 62) | (u64::try_from(number)? << 32);
        clients.push(client);
    }
    Ok(clients)
}

impl Rest {
    async fn connect(node: u16) -> anyhow::Result<Self> {
        Self::over(TcpStream::connect(rest(node)).await?).await
    }

    async fn over(stream: TcpStream) -> anyhow::Result<Self> {
        stream.set_nodelay(true)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Why it broke is told to the call that was on it.
            let _ = driver.await;
        });
        Ok(Self { sender, _driver: tasks, unique: 0 })
    }

    async fn text(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<(StatusCode, String)> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        let bytes = body.collect().await?.to_bytes();
        Ok((head.status, String::from_utf8_lossy(&bytes).into_owned()))
    }

    async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        let (status, text) = self.text(Method::GET, path, Bytes::new()).await?;
        anyhow::ensure!(status.is_success(), "GET {path}: {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    async fn put(&mut self, path: &str, body: Vec<u8>) -> anyhow::Result<()> {
        let (status, text) = self.text(Method::PUT, path, body.into()).await?;
        anyhow::ensure!(status.is_success(), "PUT {path}: {status}: {text}");
        Ok(())
    }
}

impl Client for Rest {
    async fn call(&mut self, asks: Asks, key: u32) -> anyhow::Result<()> {
        let name = client::name(key);
        let path = format!("/meshes/{MESH}/traffic-permissions/{name}");
        match asks {
            Asks::Write => {
                self.unique += 1;
                let head =
                    format!(r#"{{"type":"TrafficPermission","mesh":"{MESH}","name":"{name}","#);
                let spec = client::value(self.unique);
                self.put(&path, [head.as_bytes(), &spec[1..]].concat()).await
            }
            Asks::Read => self.get(&path).await.map(|_| ()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_framed_as_the_store_frames_it() {
        let framed = command(7, 1).unwrap();
        assert_eq!(framed[0], 1);
        let body = framed.slice(5..);
        assert_eq!(framed[1..5], crc32fast::hash(&body).to_le_bytes());
        let command = proto::Command::decode(body).unwrap();
        let Some(proto::command::Kind::Transaction(transaction)) = command.kind else {
            panic!("no transaction: {command:?}");
        };
        assert_eq!(transaction.operations.len(), 1);
    }
}
