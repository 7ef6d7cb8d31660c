//! Who is at the other end of a connection between members, by its certificate.
//!
//! Where the cluster has a name, a node's certificate carries `higuma://cluster/NAME/node/N`. The
//! called node compares that with who the caller says it is, on each call ([`Gate`]); the calling
//! node with whom it dialled, on each connection ([`Dial`]).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use higuma_model::ClusterName;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as ClientStream;
use tokio_rustls::server::TlsStream as ServerStream;
use tonic::service::Interceptor;
use tonic::transport::Uri;
use tonic::transport::server::Connected;
use tonic::{Request, Status};
use x509_parser::extensions::GeneralName;

use super::network::FROM_KEY;
use super::types::NodeId;

/// Where an address names no port.
const HTTPS: u16 = 443;

/// The URIs that the verified certificate of a connection's other end carries.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holder(Arc<[String]>);

impl Holder {
    /// Of the first certificate of a chain. One that names nobody, or is not readable, is nobody's.
    fn of(chain: Option<&[CertificateDer<'_>]>) -> Self {
        chain.and_then(<[_]>::first).map_or_else(Self::default, |leaf| Self(uris(leaf).into()))
    }

    fn is(&self, uri: &str) -> bool {
        self.0.iter().any(|has| has == uri)
    }

    /// For messages.
    fn carries(&self) -> String {
        if self.0.is_empty() { "no URI".to_owned() } else { self.0.join(", ") }
    }
}

fn uris(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return Vec::new();
    };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return Vec::new() };
    let names = names.value.general_names.iter();
    let uris = names.filter_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    });
    uris.collect()
}

/// Lets in only callers whose certificate names the node that they say they are.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    pub(crate) node: NodeId,
    /// None: whoever has a certificate of the CA.
    pub(crate) cluster_name: Option<ClusterName>,
}

impl Interceptor for Gate {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(name) = &self.cluster_name else { return Ok(request) };
        let from = request.metadata().get(FROM_KEY).and_then(|from| from.to_str().ok());
        let Some(from) = from.and_then(|from| from.parse::<NodeId>().ok()) else {
            return Err(Status::failed_precondition("the caller does not say which node it is"));
        };
        let (uri, nobody) = (name.node_uri(from), Holder::default());
        let holder = request.extensions().get().unwrap_or(&nobody);
        if holder.is(&uri) {
            return Ok(request);
        }
        // Nothing was done, which this code says to those who forward writes.
        Err(Status::failed_precondition(format!(
            "node {} lets in nodes of cluster {name} only: the caller says that it is node {from}, \
             so its certificate must carry {uri}, and it carries {}. {}",
            self.node,
            holder.carries(),
            to_do(name, from)
        )))
    }
}

fn to_do(name: &ClusterName, node: NodeId) -> String {
    format!(
        "Give node {node} a certificate from `higuma generate cluster-tls --cluster-name {name}`"
    )
}

/// How a connection to one member is made.
#[derive(Debug, Clone)]
pub(crate) struct Dial {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) to: NodeId,
    /// None: whoever has a certificate of the CA for the address.
    pub(crate) cluster_name: Option<ClusterName>,
}

impl Dial {
    pub(crate) async fn connect(self, uri: Uri) -> io::Result<TokioIo<ClientStream<TcpStream>>> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let server = ServerName::try_from(host.clone()).map_err(|why| invalid(why.to_string()))?;
        let port = uri.port_u16().unwrap_or(HTTPS);
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(self.config).connect(server, stream).await?;
        if let Some(name) = &self.cluster_name {
            let (holder, to) = (Holder::of(stream.get_ref().1.peer_certificates()), self.to);
            let wanted = name.node_uri(to);
            if !holder.is(&wanted) {
                let carries = holder.carries();
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    format!(
                        "the certificate at {host}:{port} must carry {wanted}, and it carries \
                         {carries}. Check the members' addresses. {}",
                        to_do(name, to)
                    ),
                ));
            }
        }
        Ok(TokioIo::new(stream))
    }
}

/// A caller's connection, which tells each call's handler whose it is.
pub(crate) struct Known {
    stream: ServerStream<TcpStream>,
    holder: Holder,
}

impl From<ServerStream<TcpStream>> for Known {
    fn from(stream: ServerStream<TcpStream>) -> Self {
        let holder = Holder::of(stream.get_ref().1.peer_certificates());
        Self { stream, holder }
    }
}

impl Connected for Known {
    type ConnectInfo = Holder;

    fn connect_info(&self) -> Holder {
        self.holder.clone()
    }
}

impl AsyncRead for Known {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Known {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataValue;

    use super::*;

    #[test]
    fn a_caller_is_the_node_that_its_certificate_names() {
        let name: ClusterName = "prod".parse().unwrap();
        let other: ClusterName = "stage".parse().unwrap();
        let mut gate = Gate { node: 1, cluster_name: Some(name.clone()) };
        let mut call = |from: Option<&str>, uris: &[String]| {
            let mut request = Request::new(());
            request.extensions_mut().insert(Holder(uris.into()));
            if let Some(from) = from {
                let from: MetadataValue<_> = from.parse().unwrap();
                request.metadata_mut().insert(FROM_KEY, from);
            }
            gate.call(request).map(|_| ()).map_err(|status| status.message().to_owned())
        };
        assert_eq!(call(Some("2"), &[name.node_uri(2)]), Ok(()));
        assert_eq!(call(Some("2"), &["spiffe://a/b".into(), name.node_uri(2)]), Ok(()));
        for (from, uris, want) in [
            (None, vec![name.node_uri(2)], "does not say which node"),
            (Some("two"), vec![name.node_uri(2)], "does not say which node"),
            (Some("3"), vec![name.node_uri(2)], "it carries higuma://cluster/prod/node/2"),
            (Some("2"), vec![other.node_uri(2)], "must carry higuma://cluster/prod/node/2"),
            (Some("2"), vec![name.zone_uri("2")], "node 1 lets in nodes of cluster prod only"),
            (Some("2"), vec![format!("{}1", name.node_uri(2))], "must carry"),
            (Some("2"), vec![], "it carries no URI. Give node 2 a certificate from `higuma"),
        ] {
            let why = call(from, &uris).unwrap_err();
            assert!(why.contains(want), "{why}");
        }
        let mut open = Gate { node: 1, cluster_name: None };
        assert!(open.call(Request::new(())).is_ok(), "any certificate of the CA");
        assert!(gate.call(Request::new(())).is_err(), "plaintext with a name lets nobody in");
    }

    #[test]
    fn what_is_no_certificate_names_nobody() {
        let garbage = CertificateDer::from(vec![0x30, 0x03, 1, 2, 3]);
        assert!(Holder::of(Some(&[garbage])).0.is_empty());
        assert!(Holder::of(None).0.is_empty());
    }
}
