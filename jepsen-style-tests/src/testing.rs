//! A cluster of one listener, for tests of what talks to clusters.

use std::net::SocketAddr;

use async_trait::async_trait;
use tokio::net::{TcpStream, UdpSocket};

use crate::cluster::{Alive, Cluster, FaultError, Node, Role};
use crate::nemesis::{Fault, Refusal};

/// Every node's every address is this one.
pub(crate) struct Alone {
    at: SocketAddr,
    nodes: Vec<Node>,
}

impl Alone {
    pub(crate) fn at(at: SocketAddr) -> Self {
        let name = "global-1".to_owned();
        let node = Node { name, role: Role::Global, zone: None, address: at.ip() };
        Self { at, nodes: vec![node] }
    }
}

#[async_trait]
impl Cluster for Alone {
    fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    async fn connect(&self, _: &str, _: SocketAddr) -> std::io::Result<TcpStream> {
        TcpStream::connect(self.at).await
    }

    async fn udp(&self, _: &str, _: SocketAddr) -> std::io::Result<UdpSocket> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn supports(&self, _: &Fault) -> bool {
        false
    }

    async fn install(&self, fault: &Fault) -> Result<Option<Refusal>, FaultError> {
        Err(FaultError::Unsupported(format!("{fault:?}")))
    }

    async fn heal(&self, _: &Fault) -> Result<(), FaultError> {
        Ok(())
    }

    async fn keep_copy(&self) -> anyhow::Result<()> {
        Ok(())
    }

    async fn join(&self, _: &str) -> anyhow::Result<()> {
        Ok(())
    }

    async fn leave(&self, _: &str) -> anyhow::Result<()> {
        Ok(())
    }

    async fn alive(&self) -> anyhow::Result<Vec<Alive>> {
        Ok(Vec::new())
    }

    async fn down(&self) -> anyhow::Result<()> {
        Ok(())
    }
}
