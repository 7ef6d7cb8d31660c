//! Requests of an application to a service of its mesh, through the proxy beside it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Answer, Call, CallError, Connection, exchange, request};
use crate::cluster::Cluster;

/// An application that waits longer has lost its user.
pub(crate) const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// Whether a connection serves one request or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connections {
    StayOpen,
    New,
}

/// Calls one outbound of one workload.
pub(crate) struct Caller {
    cluster: Arc<dyn Cluster>,
    node: String,
    outbound: SocketAddr,
    connections: Connections,
    kept: Option<Connection>,
}

impl Caller {
    /// Calls from `node` through the outbound at `port` of its loopback.
    pub(crate) fn new(
        cluster: Arc<dyn Cluster>,
        node: &str,
        port: u16,
        connections: Connections,
    ) -> Self {
        let outbound = (Ipv4Addr::LOCALHOST, port).into();
        Self { cluster, node: node.to_owned(), outbound, connections, kept: None }
    }

    /// One request, with any answer of HTTP. As every HTTP client does, it sends the request on a
    /// new connection if the other side has closed the open one before a byte of it was sent.
    pub(crate) async fn get(&mut self) -> Result<Answer, CallError> {
        let answered = timeout(REQUEST_LIMIT, self.ask()).await;
        answered.unwrap_or_else(|_| {
            Err(CallError::Broken(format!("nothing within {} s", REQUEST_LIMIT.as_secs())))
        })
    }

    async fn ask(&mut self) -> Result<Answer, CallError> {
        if let Some(mut kept) = self.kept.take() {
            match exchange(&mut kept.sender, request(&Call::get("/"))?).await {
                Err(CallError::NotSent(_)) => {}
                Err(broken) => return Err(broken),
                Ok(answer) => {
                    self.keep(kept);
                    return Ok(answer);
                }
            }
        }
        let mut connection = self.connect().await?;
        let answer = exchange(&mut connection.sender, request(&Call::get("/"))?).await?;
        self.keep(connection);
        Ok(answer)
    }

    fn keep(&mut self, connection: Connection) {
        if self.connections == Connections::StayOpen {
            self.kept = Some(connection);
        }
    }

    async fn connect(&self) -> Result<Connection, CallError> {
        let not_sent = |why: String| CallError::NotSent(format!("{}: {why}", self.outbound));
        let stream = self.cluster.connect(&self.node, self.outbound).await;
        let stream = stream.map_err(|error| not_sent(error.to_string()))?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| not_sent(error.to_string()))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Why it broke is told to the request that was on it.
            let _ = driver.await;
        });
        Ok(Connection { sender, _driver: tasks })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::testing::Alone;

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n{\"instance\":\"web\"}";

    /// Answers so many requests on each connection in turn, then closes it. Tells how many
    /// connections there were.
    async fn serve(each: Vec<usize>) -> (Arc<Alone>, JoinSet<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let count = each.len();
            for requests in each {
                let (mut stream, _) = listener.accept().await.unwrap();
                for _ in 0..requests {
                    let mut bytes = [0; 1024];
                    if stream.read(&mut bytes).await.unwrap() > 0 {
                        stream.write_all(OK.as_bytes()).await.unwrap();
                    }
                }
            }
            count
        });
        (Arc::new(Alone::at(at)), tasks)
    }

    #[tokio::test]
    async fn an_open_connection_serves_all_requests_and_is_replaced_when_it_was_closed() {
        let (cluster, mut tasks) = serve(vec![2, 1]).await;
        let mut caller = Caller::new(cluster, "web", 10001, Connections::StayOpen);
        for _ in 0..2 {
            assert_eq!(caller.get().await.unwrap().body["instance"], "web");
        }
        // The listener closes it now; the client has to see that before its next request.
        while !caller.kept.as_ref().unwrap().sender.is_closed() {
            tokio::task::yield_now().await;
        }
        assert_eq!(caller.get().await.unwrap().status, 200);
        assert_eq!(tasks.join_next().await.unwrap().unwrap(), 2);
    }

    #[tokio::test]
    async fn a_new_connection_serves_one_request_and_one_that_breaks_is_told() {
        let (cluster, mut tasks) = serve(vec![1, 1, 0]).await;
        let mut caller = Caller::new(cluster, "web", 10001, Connections::New);
        for _ in 0..2 {
            assert_eq!(caller.get().await.unwrap().status, 200);
        }
        // Closed by the listener before it answers; nothing accepts the next one.
        assert!(caller.get().await.is_err());
        assert_eq!(tasks.join_next().await.unwrap().unwrap(), 3);
        assert!(matches!(caller.get().await, Err(CallError::NotSent(_))));
    }
}
