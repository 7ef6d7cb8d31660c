//! TLS connections of a listener as a stream, for servers that do not take handshakes themselves.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use futures::stream;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::http::{ACCEPT_PAUSE, FIRST_BYTES_TIMEOUT};

/// Handshakes under way at a time. Each takes a millisecond of CPU; callers above it wait in the
/// kernel's backlog, which strangers who say nothing can make them do for
/// [`FIRST_BYTES_TIMEOUT`] at most.
const MAX_HANDSHAKES: usize = 256;

/// The listener's connections whose handshake succeeded, in the order in which they did. One that
/// fails is that caller's problem; the stream has no end.
pub fn incoming(
    listener: TcpListener,
    config: Arc<ServerConfig>,
) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> + Send + 'static {
    let acceptor = TlsAcceptor::from(config);
    let state =
        Handshakes { listener, acceptor, limit: FIRST_BYTES_TIMEOUT, under_way: JoinSet::new() };
    stream::unfold(state, |mut state| async move {
        let stream = state.next().await;
        Some((Ok(stream), state))
    })
}

struct Handshakes {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    limit: Duration,
    under_way: JoinSet<Option<TlsStream<TcpStream>>>,
}

impl Handshakes {
    async fn next(&mut self) -> TlsStream<TcpStream> {
        loop {
            tokio::select! {
                Some(ended) = self.under_way.join_next() => match ended {
                    Ok(Some(stream)) => return stream,
                    Ok(None) => {}
                    Err(error) => tracing::error!(%error, "a handshake's task panicked"),
                },
                accepted = self.listener.accept(), if self.under_way.len() < MAX_HANDSHAKES => {
                    match accepted {
                        Ok((stream, _)) => {
                            let handshake = shake(self.acceptor.clone(), stream, self.limit);
                            self.under_way.spawn(handshake);
                        }
                        Err(error) => {
                            tracing::warn!(%error, "cannot accept a connection");
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                    }
                }
            }
        }
    }
}

async fn shake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    limit: Duration,
) -> Option<TlsStream<TcpStream>> {
    let peer = stream.peer_addr().ok()?;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "a connection ended before its handshake");
        return None;
    }
    match timeout(limit, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!(%peer, "a TLS handshake took too long");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use rustls_pki_types::ServerName;
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::pki::{Authority, Subject};
    use crate::{ClientAuth, Transport};

    const DAY: Duration = Duration::from_hours(24);
    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn one_who_says_nothing_holds_nobody_back() {
        let ca = Authority::generate("ca", DAY).expect("ca");
        let subject = Subject { dns: vec!["server.test".into()], ..Subject::default() };
        let own = ca.issue(&subject, DAY).expect("issue");
        let own = Transport::from_pem(ca.certificate_pem(), &own.certificate_pem, &own.key_pem);
        let own = own.expect("good");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let addr = listener.local_addr().expect("address");
        let mut connections = Box::pin(incoming(listener, own.grpc_server(ClientAuth::Required)));

        let silent = TcpStream::connect(addr).await.expect("connect");
        let mut garbage = TcpStream::connect(addr).await.expect("connect");
        tokio::io::AsyncWriteExt::write_all(&mut garbage, b"GET / HTTP/1.1\r\n\r\n")
            .await
            .expect("write");
        let connect = async {
            let stream = TcpStream::connect(addr).await.expect("connect");
            let name = ServerName::try_from("server.test").expect("name");
            TlsConnector::from(own.grpc_client()).connect(name, stream).await.expect("handshake")
        };
        let (_, accepted) = timeout(LONG, async { tokio::join!(connect, connections.next()) })
            .await
            .expect("in time");
        let accepted = accepted.expect("no end").expect("a connection");
        let shown = accepted.get_ref().1.peer_certificates().map(<[_]>::len);
        assert_eq!(shown, Some(1), "the caller's certificate was verified");
        drop(silent);
    }
}
