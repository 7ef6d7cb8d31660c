use axum::Extension;
use axum::routing::get;
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio_rustls::TlsConnector;

use super::*;
use crate::pki::{Authority, Subject};
use crate::{ClientAuth, Transport};

const DAY: Duration = Duration::from_hours(24);
const LONG: Duration = Duration::from_secs(10);

struct Running {
    addr: SocketAddr,
    stop: CancellationToken,
    server: JoinSet<anyhow::Result<()>>,
}

async fn start(build: impl FnOnce(HttpServer) -> HttpServer) -> Running {
    let router = Router::new().route("/never", get(std::future::pending::<()>)).route(
        "/who",
        get(|Extension(peer): Extension<Peer>| async move {
            format!("{} {}", peer.addr.ip(), peer.certificate.is_some())
        }),
    );
    let any = "127.0.0.1:0".parse().expect("address");
    let listener = crate::listen::bind(any, "test", "nothing").await.expect("bind");
    let addr = listener.local_addr().expect("address");
    let stop = CancellationToken::new();
    let mut server = JoinSet::new();
    server.spawn(build(HttpServer::new(listener, router)).run(stop.clone()));
    Running { addr, stop, server }
}

/// One request, one answer, the whole exchange as text.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> anyhow::Result<String> {
    stream.write_all(b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    timeout(LONG, stream.read_to_string(&mut answer)).await??;
    Ok(answer)
}

fn transport(ca: &Authority) -> Transport {
    let subject = Subject { dns: vec!["server.test".into()], ..Subject::default() };
    let own = ca.issue(&subject, DAY).expect("issue");
    Transport::from_pem(ca.certificate_pem(), &own.certificate_pem, &own.key_pem).expect("good")
}

#[tokio::test]
async fn plain_requests_carry_their_peer_and_a_stop_ends_the_server() {
    let mut running = start(|server| server).await;
    let stream = TcpStream::connect(running.addr).await.expect("connect");
    let answer = exchange(stream).await.expect("answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with("127.0.0.1 false"), "{answer}");

    // An idle keep-alive connection must not hold the stop back.
    let mut idle = TcpStream::connect(running.addr).await.expect("connect");
    idle.write_all(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("write");
    idle.readable().await.expect("the first answer");
    running.stop.cancel();
    let ended = timeout(LONG, running.server.join_next()).await.expect("in time");
    ended.expect("one task").expect("no panic").expect("an orderly stop");
}

#[tokio::test]
async fn requests_that_never_end_are_cut_after_the_drain() {
    let mut running =
        start(|server| HttpServer { drain: Duration::from_millis(50), ..server }).await;
    let mut stream = TcpStream::connect(running.addr).await.expect("connect");
    stream.write_all(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("write");
    // A second, answered request on another connection: the first has been read by then or is
    // still in the backlog; either way the stop must end it.
    let other = TcpStream::connect(running.addr).await.expect("connect");
    exchange(other).await.expect("answer");
    running.stop.cancel();
    let ended = timeout(LONG, running.server.join_next()).await.expect("in time");
    ended.expect("one task").expect("no panic").expect("an orderly stop");
    let mut rest = Vec::new();
    // A reset is as good an end as a FIN.
    drop(timeout(LONG, stream.read_to_end(&mut rest)).await.expect("cut"));
    assert!(rest.is_empty(), "an answer that was never given: {rest:?}");
}

/// RFC 9113 section 3.4: a client with prior knowledge sends the preface and SETTINGS, and the
/// server's first frame is SETTINGS (type 4).
#[tokio::test]
async fn http2_is_recognised_without_tls() {
    let running = start(|server| server).await;
    let mut stream = TcpStream::connect(running.addr).await.expect("connect");
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("preface");
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.expect("settings");
    let mut head = [0; 9];
    timeout(LONG, stream.read_exact(&mut head)).await.expect("in time").expect("a frame");
    assert_eq!(head[3], 4, "{head:?}");
}

#[tokio::test]
async fn mutual_tls_shows_the_certificate_and_refuses_strangers() {
    let ca = Authority::generate("ca", DAY).expect("ca");
    let own = transport(&ca);
    let running = start(|server| server.tls(own.rustls_server(ClientAuth::Required))).await;
    let connect = async |client: Arc<rustls::ClientConfig>| {
        let stream = TcpStream::connect(running.addr).await?;
        let name = ServerName::try_from("server.test")?;
        exchange(TlsConnector::from(client).connect(name, stream).await?).await
    };
    let answer = connect(own.rustls_client()).await.expect("a client of our CA");
    assert!(answer.ends_with("127.0.0.1 true"), "{answer}");

    let other = transport(&Authority::generate("other", DAY).expect("ca"));
    assert!(connect(other.rustls_client()).await.is_err(), "a server of another CA");

    let mut roots = rustls::RootCertStore::empty();
    let trusted = CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes()).expect("pem");
    roots.add(trusted).expect("a root");
    let naked = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .expect("versions")
    .with_root_certificates(roots)
    .with_no_client_auth();
    let error = connect(Arc::new(naked)).await.expect_err("no certificate");
    assert!(format!("{error:#}").to_lowercase().contains("certificate"), "{error:#}");
}

#[tokio::test]
async fn connections_are_bounded() {
    let running = start(|server| server.max_connections(1)).await;
    let first = TcpStream::connect(running.addr).await.expect("connect");
    let mut second = TcpStream::connect(running.addr).await.expect("the backlog takes it");
    second.write_all(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("write");
    let early = timeout(Duration::from_millis(100), second.readable()).await;
    assert!(early.is_err(), "the second connection was served beside the first");
    drop(first);
    timeout(LONG, second.readable()).await.expect("served once the first is gone").expect("io");
}

#[tokio::test]
async fn a_silent_connection_is_cut() {
    for sent in [&b""[..], b"P"] {
        let (mut client, server): (DuplexStream, DuplexStream) = tokio::io::duplex(64);
        client.write_all(sent).await.expect("write");
        let connection = Connection {
            router: Router::new(),
            tls: None,
            addr: "127.0.0.1:1".parse().expect("address"),
            stop: CancellationToken::new(),
            first_bytes: Duration::from_millis(20),
        };
        let peer = Peer { addr: connection.addr, tls: false, certificate: None };
        let error = connection.http(server, peer).await.expect_err("cut");
        assert!(format!("{error:#}").contains("nothing was sent"), "{error:#}");
    }
}
