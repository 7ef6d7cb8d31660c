//! Connections that lead nowhere.

use std::sync::{Arc, OnceLock};

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::forming::Founding;
use crate::identity::DataFolder;
use crate::proto::raft_server::RaftServer;
use crate::raft::service::Service;

fn links(address: &str) -> Links {
    let members = [(1, "127.0.0.1:1"), (2, address)];
    let members = members.map(|(id, address)| (id, address.to_owned()));
    Links { node: 1, members: members.into(), tls: None }
}

#[tokio::test]
async fn a_connection_that_went_silent_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let founding = Founding::new(DataFolder::lock(folder.path()).unwrap(), 2, None);
    let founding = Arc::new(founding);
    let service = Service { node: 2, founding, joins: false, running: Arc::new(OnceLock::new()) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        // As after a partition: what is sent on it is neither answered nor refused.
        let silent = listener.accept().await;
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = tonic::transport::Server::builder().add_service(RaftServer::new(service));
        let served = server.serve_with_incoming(incoming).await;
        drop(silent);
        served
    });
    let client = links(&address).client(2, &address, None).unwrap();
    let answered = async {
        loop {
            let mut client = client.clone();
            let hello = client.hello(proto::HelloRequest { from: 1 });
            if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_millis(500), hello).await {
                return;
            }
        }
    };
    let limit = 4 * (PING_INTERVAL + PING_TIMEOUT);
    tokio::time::timeout(limit, answered).await.expect("it connects again");
}

#[tokio::test]
async fn a_member_that_moved_is_called_where_the_list_says() {
    let mut network = Network { links: links("127.0.0.1:2"), cluster: ClusterId(1) };
    let formed_with = Peer { address: "no address".to_owned() };
    assert!(network.new_client(2, &formed_with).await.client.is_ok());
}
