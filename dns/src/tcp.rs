//! Queries over TCP: each message after its length in two bytes (RFC 1035, section 4.2.2).
//!
//! The library's own listener bounds neither connections nor how long a client may take to read,
//! hence this one.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::MessageType;
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::server::{NameServer, Response};

/// Connections at one time; callers above it wait in the kernel's backlog. Only answers that do
/// not fit a datagram need one, and each costs at most a query and an answer: 128 KiB.
pub const MAX_CONNECTIONS: usize = 256;

/// How long a client may take to send its next query whole, and to take an answer. Resolvers reuse
/// a connection within a few seconds or not at all (RFC 7766, section 6.2.3).
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after a failed accept (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections for as long as it is polled; dropping it cuts them.
pub(crate) async fn serve(listener: TcpListener, name_server: Arc<NameServer>) -> Infallible {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let permit = permits.clone().acquire_owned().await;
        let permit = permit.expect("invariant: nobody closes the semaphore");
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a DNS connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let name_server = name_server.clone();
        connections.spawn(async move {
            let ended = connection(stream, from, &name_server).await;
            tracing::trace!(%from, ?ended, "a DNS connection ended");
            drop(permit);
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the client was silent, or did not read")]
    Idle,
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("what it sent is no query")]
    NoQuery,
    #[error("the response is not encoded: {0}")]
    Encode(#[from] hickory_proto::ProtoError),
}

/// Answers one query after the other. A client that sends several before it reads gets their
/// answers in order, and waits in its own socket's buffer, not here.
async fn connection(
    mut stream: TcpStream,
    from: SocketAddr,
    name_server: &NameServer,
) -> Result<(), End> {
    // The answer goes out at once: the client waits for nothing else.
    stream.set_nodelay(true)?;
    loop {
        let query = timeout(IDLE_TIMEOUT, receive(&mut stream)).await.map_err(|_| End::Idle)??;
        let request = Request::from_bytes(query, from, Protocol::Tcp).map_err(|_| End::NoQuery)?;
        if request.metadata.message_type != MessageType::Query {
            return Err(End::NoQuery);
        }
        let response = name_server.respond(&request).await;
        let framed = framed(&response, &request)?;
        timeout(IDLE_TIMEOUT, stream.write_all(&framed)).await.map_err(|_| End::Idle)??;
    }
}

/// A response after its length, to be written at once: a segment of two bytes would wait.
fn framed(response: &Response, request: &Request) -> Result<Vec<u8>, End> {
    let mut message = Vec::new();
    let mut encoder = BinEncoder::new(&mut message);
    response.message(request).destructive_emit(&mut encoder)?;
    let length = u16::try_from(message.len()).expect("invariant: the encoder's own bound");
    Ok([&length.to_be_bytes()[..], &message].concat())
}

async fn receive(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut query = vec![0; usize::from(length)];
    stream.read_exact(&mut query).await?;
    Ok(query)
}
