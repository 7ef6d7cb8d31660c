//! How a cluster forms from a static list of empty nodes, once.
//!
//! A node with an empty folder asks every other member. If one of them belongs to a formed
//! cluster, this node was wiped, and it refuses to start: under its old id it would take part in
//! votes that it has forgotten. If all are empty, the lowest id draws the cluster's id, keeps it,
//! hands it to the others, and begins the log when every one of them has it on its disk.

use std::collections::BTreeMap;
use std::time::Duration;

use higuma_model::ClusterId;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use crate::codec::cluster_bytes;
use crate::identity::{DataFolder, FolderError, Identity};
use crate::proto;
use crate::raft::network::Links;
use crate::raft::types::NodeId;

/// Between two rounds of questions to the members that did not answer yet.
const ROUND: Duration = Duration::from_millis(200);

/// How long a member has to answer a question; it syncs one small file at most.
const CALL_LIMIT: Duration = Duration::from_secs(1);

/// How often it is said in the log who is still missing.
const ROUNDS_PER_LINE: u32 = 25;

/// Why a node does not take part in a cluster.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    #[error(
        "this node's data folder is empty, but node {peer} at {address} belongs to the formed \
         cluster {cluster}. A wiped node must not come back under its old id (it would vote \
         twice). Put its data folder back; or start it under a new id, with --join in place of \
         --members, and then `higuma cluster replace OLD --with NEW --address HOST:PORT`"
    )]
    Wiped { peer: NodeId, address: String, cluster: String },
    #[error(
        "node {peer} of cluster {cluster} calls this node, {node}, as a member, but its data folder \
         is empty: it was wiped. It must not come back under its old id (it would vote twice). Start \
         it with --join under a new id, and then `higuma cluster replace {node} --with NEW \
         --address HOST:PORT`"
    )]
    Called { node: NodeId, peer: NodeId, cluster: String },
    #[error("{address} answers as node {actual}, the member list says node {expected}")]
    WrongNode { address: String, expected: NodeId, actual: NodeId },
    #[error("node {peer} at {address} refused the cluster id: {why}")]
    Refused { peer: NodeId, address: String, why: String },
    #[error("the address {address} of node {peer} can't be used: {why}")]
    Address { peer: NodeId, address: String, why: String },
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("stopped before the cluster formed")]
    Stopped,
}

/// What a node knows of its cluster's id, and the only place that writes it down.
pub(crate) struct Founding {
    folder: DataFolder,
    node: NodeId,
    cluster: Mutex<Option<ClusterId>>,
    adopted: watch::Sender<Option<ClusterId>>,
    /// Who took this node for a member before it was one, and of which cluster.
    called: watch::Sender<Option<(NodeId, String)>>,
}

/// A node that belongs to another cluster already.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdoptError {
    #[error("it belongs to cluster {0}; remove its data folder only if that cluster is gone")]
    Other(ClusterId),
    #[error(transparent)]
    Folder(#[from] FolderError),
}

impl Founding {
    pub(crate) fn new(folder: DataFolder, node: NodeId, cluster: Option<ClusterId>) -> Self {
        let (adopted, called) = (watch::Sender::new(cluster), watch::Sender::new(None));
        Self { folder, node, cluster: Mutex::new(cluster), adopted, called }
    }

    pub(crate) async fn cluster(&self) -> Option<ClusterId> {
        *self.cluster.lock().await
    }

    /// A member's call came, before this node belongs to a cluster.
    pub(crate) fn is_called(&self, from: NodeId, cluster: &str) {
        if self.adopted.borrow().is_none() && !cluster.is_empty() {
            self.called.send_replace(Some((from, cluster.to_owned())));
        }
    }

    /// Takes on a cluster's id: when this returns, it is on the disk.
    pub(crate) async fn adopt(&self, cluster: ClusterId) -> Result<(), AdoptError> {
        let mut own = self.cluster.lock().await;
        match *own {
            Some(same) if same == cluster => return Ok(()),
            Some(other) => return Err(AdoptError::Other(other)),
            None => {}
        }
        // A lock of tokio's, held over one small synced write: nothing else happens meanwhile.
        self.folder.claim(&Identity { cluster, node: self.node })?;
        *own = Some(cluster);
        self.adopted.send_replace(Some(cluster));
        Ok(())
    }
}

/// The cluster's id, found out with the other members; this node keeps it from then on.
pub(crate) async fn join(
    founding: &Founding,
    links: &Links,
    stop: &CancellationToken,
) -> Result<ClusterId, FormError> {
    if links.members.len() == 1 {
        return found(founding).await;
    }
    let mut adopted = founding.adopted.subscribe();
    let is_founder = links.members.keys().next() == Some(&links.node);
    for round in 0_u32.. {
        let asked = ask_all(links, is_founder).await;
        // Looked at after the answers: a founder that says that its cluster has formed may have
        // handed the id to this very node a moment ago.
        if let Some(cluster) = *adopted.borrow_and_update() {
            return Ok(cluster);
        }
        let missing = asked?;
        if missing.is_empty() && is_founder {
            return found(founding).await;
        }
        if round % ROUNDS_PER_LINE == 0 && !missing.is_empty() {
            tracing::info!(missing = ?missing, "waiting for the other members to form a cluster");
        }
        tokio::select! {
            () = stop.cancelled() => return Err(FormError::Stopped),
            () = tokio::time::sleep(ROUND) => {}
            adopted = adopted.wait_for(Option::is_some) => {
                if let Some(cluster) = adopted.ok().and_then(|adopted| *adopted) {
                    return Ok(cluster);
                }
            }
        }
    }
    Err(FormError::Stopped)
}

/// Waits until a running cluster adds this node, and hands it its id. A cluster that calls it a
/// member without that knew it under this id before it was wiped.
pub(crate) async fn be_added(
    founding: &Founding,
    stop: &CancellationToken,
) -> Result<ClusterId, FormError> {
    let (mut adopted, mut called) = (founding.adopted.subscribe(), founding.called.subscribe());
    let node = founding.node;
    tracing::info!("waiting to be added: `higuma cluster add {node} --address HOST:PORT`");
    tokio::select! {
        // First: whoever added this node calls it next.
        biased;
        adopted = adopted.wait_for(Option::is_some) => {
            adopted.ok().and_then(|adopted| *adopted).ok_or(FormError::Stopped)
        }
        called = called.wait_for(Option::is_some) => {
            let called = called.ok().and_then(|called| called.clone());
            let (peer, cluster) = called.ok_or(FormError::Stopped)?;
            Err(FormError::Called { node, peer, cluster })
        }
        () = stop.cancelled() => Err(FormError::Stopped),
    }
}

/// The members that don't answer, and why; an error if one belongs to a cluster.
async fn ask_all(
    links: &Links,
    is_founder: bool,
) -> Result<BTreeMap<NodeId, (String, String)>, FormError> {
    let mut missing = BTreeMap::new();
    for (peer, address) in others(links) {
        if let Some(why) = ask(links, peer, &address, is_founder).await? {
            missing.insert(peer, (address, why));
        }
    }
    Ok(missing)
}

fn others(links: &Links) -> BTreeMap<NodeId, String> {
    let others = links.members.iter().filter(|(id, _)| **id != links.node);
    others.map(|(id, address)| (*id, address.clone())).collect()
}

/// A new cluster's id.
pub(crate) fn draw() -> ClusterId {
    let random = [(); 2].map(|()| getrandom::u64());
    let [high, low] = random.map(|r| r.expect("invariant: the kernel's random source answers"));
    ClusterId(u128::from(high) << 64 | u128::from(low))
}

async fn found(founding: &Founding) -> Result<ClusterId, FormError> {
    let cluster = draw();
    match founding.adopt(cluster).await {
        Ok(()) => Ok(cluster),
        // Somebody else was faster; its id counts.
        Err(AdoptError::Other(other)) => Ok(other),
        Err(AdoptError::Folder(error)) => Err(error.into()),
    }
}

/// Asks one member whether it belongs to a cluster. None: it is empty too, or waits as this node
/// does; some: it did not answer, and why.
async fn ask(
    links: &Links,
    peer: NodeId,
    address: &str,
    is_founder: bool,
) -> Result<Option<String>, FormError> {
    let mut client = client(links, peer, address)?;
    let hello = client.hello(proto::HelloRequest { from: links.node });
    let reply = match tokio::time::timeout(CALL_LIMIT, hello).await {
        Ok(Ok(reply)) => reply.into_inner(),
        Ok(Err(status)) => return Ok(Some(status.message().to_owned())),
        Err(_) => return Ok(Some("no answer".to_owned())),
    };
    if reply.node != peer {
        let address = address.to_owned();
        return Err(FormError::WrongNode { address, expected: peer, actual: reply.node });
    }
    // Only the founder hands ids out: where one is and this founder has none, its folder is gone.
    // (The member may be starting: it knows its cluster before it knows its log.)
    if reply.formed || is_founder && !reply.cluster.is_empty() {
        let cluster = hex::encode(&reply.cluster);
        return Err(FormError::Wiped { peer, address: address.to_owned(), cluster });
    }
    Ok(None)
}

fn client(
    links: &Links,
    peer: NodeId,
    address: &str,
) -> Result<crate::raft::network::Client, FormError> {
    links.client(peer, address, None).map_err(|error| FormError::Address {
        peer,
        address: address.to_owned(),
        why: error.to_string(),
    })
}

/// The founder's last step before the log begins, or goes on from a restored state: every member
/// has the id on its disk.
pub(crate) async fn hand_out(
    cluster: ClusterId,
    links: &Links,
    stop: &CancellationToken,
) -> Result<(), FormError> {
    for (peer, address) in others(links) {
        let mut client = client(links, peer, &address)?;
        loop {
            let form = proto::FormRequest { from: links.node, cluster: cluster_bytes(cluster) };
            let why = match tokio::time::timeout(CALL_LIMIT, client.form(form)).await {
                Ok(Ok(_)) => break,
                Ok(Err(status)) if status.code() == tonic::Code::FailedPrecondition => {
                    let why = status.message().to_owned();
                    return Err(FormError::Refused { peer, address, why });
                }
                Ok(Err(status)) => status.message().to_owned(),
                Err(_) => "no answer".to_owned(),
            };
            tracing::info!(peer, address, why, "waiting for a member");
            tokio::select! {
                () = stop.cancelled() => return Err(FormError::Stopped),
                () = tokio::time::sleep(ROUND) => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
