//! Nodes that are asked, or called, at the worst moment.

use std::sync::{Arc, OnceLock};

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;

use super::*;
use crate::proto::raft_server::RaftServer;
use crate::raft::service::Service;

const CLUSTER: ClusterId = ClusterId(7);
const PATIENCE: Duration = Duration::from_secs(20);

fn founding(folder: &tempfile::TempDir, node: NodeId, cluster: Option<ClusterId>) -> Founding {
    Founding::new(DataFolder::lock(folder.path()).unwrap(), node, cluster)
}

fn links(node: NodeId, others: &[(NodeId, String)]) -> Links {
    let own = (node, "127.0.0.1:1".to_owned());
    Links { node, members: others.iter().cloned().chain([own]).collect(), tls: None }
}

#[tokio::test]
async fn a_wiped_founder_does_not_found_anew_while_the_others_start() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // It knows its cluster, and is still reading its log.
    let starting = Arc::new(founding(&folders[0], 2, Some(CLUSTER)));
    let running = Arc::new(OnceLock::new());
    let service = Service { node: 2, founding: starting, joins: false, running };
    let server = tonic::transport::Server::builder().add_service(RaftServer::new(service));
    let mut tasks = JoinSet::new();
    tasks.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    let empty = founding(&folders[1], 1, None);
    let links = links(1, &[(2, address)]);
    let stop = CancellationToken::new();
    let joined = tokio::time::timeout(PATIENCE, join(&empty, &links, &stop)).await.unwrap();
    assert!(matches!(joined, Err(FormError::Wiped { peer: 2, .. })), "{joined:?}");
    assert_eq!(empty.cluster().await, None, "nothing is written");
}

#[tokio::test]
async fn an_id_that_was_handed_out_before_anybody_listened_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let own = founding(&folder, 2, None);
    own.adopt(CLUSTER).await.unwrap();
    let links = links(2, &[(1, "127.0.0.1:1".to_owned())]);
    let stop = CancellationToken::new();
    let joined = tokio::time::timeout(PATIENCE, join(&own, &links, &stop)).await;
    assert_eq!(joined.expect("it hears of the id").unwrap(), CLUSTER);
}
