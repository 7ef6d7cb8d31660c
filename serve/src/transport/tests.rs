use std::time::Duration;

use prometheus_client::registry::Registry;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject as _;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::expiry::collector;
use super::reload::{Found, Watcher};
use super::*;
use crate::pki::{Authority, Issued, Subject, write_certificate, write_key};

const DAY: Duration = Duration::from_hours(24);

fn issued(ca: &Authority) -> Issued {
    let subject = Subject { dns: vec!["global".into()], ..Subject::default() };
    ca.issue(&subject, DAY).expect("issue")
}

#[test]
fn material_is_validated_with_the_file_named() {
    let folder = tempfile::tempdir().expect("tempdir");
    let ca = Authority::generate("ca", DAY).expect("ca");
    let (own, other) = (issued(&ca), issued(&ca));
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("write");
        path
    };
    let paths = TransportPaths {
        ca: file("ca.pem", ca.certificate_pem()),
        cert: file("cert.pem", &own.certificate_pem),
        key: file("key.pem", &own.key_pem),
    };
    Transport::load(&paths).expect("good material");

    struct Case {
        paths: TransportPaths,
        want: &'static [&'static str],
    }
    let cases = [
        Case {
            paths: TransportPaths { ca: folder.path().join("gone.pem"), ..paths.clone() },
            want: &["cannot read the CA file", "gone.pem", "No such file"],
        },
        Case {
            paths: TransportPaths { ca: file("empty.pem", ""), ..paths.clone() },
            want: &["the CA file", "empty.pem", "-----BEGIN CERTIFICATE-----"],
        },
        Case {
            paths: TransportPaths { cert: paths.key.clone(), ..paths.clone() },
            want: &["the certificate file", "key.pem", "-----BEGIN CERTIFICATE-----"],
        },
        Case {
            paths: TransportPaths { key: paths.cert.clone(), ..paths.clone() },
            want: &["the key file", "cert.pem", "-----BEGIN PRIVATE KEY-----"],
        },
        Case {
            paths: TransportPaths { key: file("other.pem", &other.key_pem), ..paths.clone() },
            want: &["cert.pem", "other.pem", "the key must be the one"],
        },
    ];
    for case in cases {
        let error = Transport::load(&case.paths).expect_err(case.want[0]).to_string();
        for want in case.want {
            assert!(error.contains(want), "`{error}` lacks `{want}`");
        }
    }
}

#[test]
fn debug_shows_no_key() {
    let ca = Authority::generate("ca", DAY).expect("ca");
    let own = issued(&ca);
    let transport = Transport::from_pem(ca.certificate_pem(), &own.certificate_pem, &own.key_pem);
    assert_eq!(format!("{:?}", transport.expect("good")), "Transport { certificates: 1, .. }");
}

#[test]
fn plaintext_needs_loopback() {
    let addr = |text: &str| text.parse::<SocketAddr>().expect("address");
    let loopback = [addr("127.0.0.1:1"), addr("127.4.5.6:2"), addr("[::1]:3")];
    assert!(plaintext_allowed(&loopback).is_ok());
    assert!(plaintext_allowed(&[addr("[::ffff:127.0.0.1]:1")]).is_ok());
    for other in ["0.0.0.0:5681", "10.0.0.1:5681", "[::]:5681"] {
        let error = plaintext_allowed(&[loopback[0], addr(other)]).expect_err(other).to_string();
        assert!(error.starts_with(&format!("{other} is not a loopback address")), "{error}");
    }
}

/// A process's three files.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new(ca: &Authority, own: &Issued) -> Self {
        let files = Self { folder: tempfile::tempdir().expect("tempdir") };
        files.put_ca(ca.certificate_pem());
        files.put_own(own);
        files
    }

    fn paths(&self) -> TransportPaths {
        let file = |name: &str| self.folder.path().join(name);
        TransportPaths { ca: file("ca.pem"), cert: file("cert.pem"), key: file("key.pem") }
    }

    fn put_ca(&self, pem: &str) {
        write_certificate(&self.paths().ca, pem).expect("write");
    }

    fn put_own(&self, own: &Issued) {
        write_certificate(&self.paths().cert, &own.certificate_pem).expect("write");
        write_key(&self.paths().key, &own.key_pem).expect("write");
    }
}

fn der(own: &Issued) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(own.certificate_pem.as_bytes()).expect("pem")
}

/// A handshake over a pipe: what each side saw of the other.
async fn handshake(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
) -> Result<[CertificateDer<'static>; 2], String> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let name = ServerName::try_from("global").expect("name");
    let connect = TlsConnector::from(client).connect(name, near);
    let accept = TlsAcceptor::from(server).accept(far);
    let (near, far) = tokio::join!(connect, accept);
    let near = near.map_err(|error| format!("client: {error}"))?;
    let far = far.map_err(|error| format!("server: {error}"))?;
    let seen = |shown: Option<&[CertificateDer<'static>]>| shown.expect("shown")[0].clone();
    Ok([seen(near.get_ref().1.peer_certificates()), seen(far.get_ref().1.peer_certificates())])
}

#[tokio::test]
async fn configurations_that_were_made_before_show_and_trust_what_the_files_hold_now() {
    let (old, new) = (Authority::generate("old", DAY), Authority::generate("new", DAY));
    let (old, new) = (old.expect("ca"), new.expect("ca"));
    let (before, after) = (issued(&old), issued(&new));
    let (ours, theirs) = (Files::new(&old, &before), Files::new(&old, &before));
    let transport = |files: &Files| Transport::load(&files.paths()).expect("good");
    let (ours_in_use, theirs_in_use) = (transport(&ours), transport(&theirs));
    let (server, client) =
        (ours_in_use.grpc_server(ClientAuth::Required), theirs_in_use.grpc_client());
    let mut watchers = [Watcher::new(ours_in_use.current), Watcher::new(theirs_in_use.current)];
    let seen = async || handshake(client.clone(), server.clone()).await;
    assert_eq!(seen().await, Ok([der(&before), der(&before)]));

    let both = format!("{}{}", old.certificate_pem(), new.certificate_pem());
    for (files, watcher) in [&ours, &theirs].into_iter().zip(&mut watchers) {
        assert_eq!(watcher.look(), Found::Same);
        files.put_ca(&both);
        assert_eq!(watcher.look(), Found::New);
    }
    assert_eq!(seen().await, Ok([der(&before), der(&before)]), "both are trusted");
    ours.put_own(&after);
    assert_eq!(watchers[0].look(), Found::New);
    assert_eq!(seen().await, Ok([der(&after), der(&before)]));
    theirs.put_own(&after);
    assert_eq!(watchers[1].look(), Found::New);
    for (files, watcher) in [&ours, &theirs].into_iter().zip(&mut watchers) {
        files.put_ca(new.certificate_pem());
        assert_eq!(watcher.look(), Found::New);
    }
    assert_eq!(seen().await, Ok([der(&after), der(&after)]));

    let stranger = Transport::load(&Files::new(&old, &before).paths()).expect("good");
    let refused = handshake(stranger.grpc_client(), server.clone()).await.expect_err("of the old");
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    let refused = handshake(client.clone(), stranger.grpc_server(ClientAuth::Required)).await;
    let refused = refused.expect_err("of the old");
    assert!(refused.contains("UnknownIssuer"), "{refused}");
}

#[tokio::test]
async fn a_session_is_never_resumed() {
    let ca = Authority::generate("ca", DAY).expect("ca");
    let own = issued(&ca);
    let own = Transport::from_pem(ca.certificate_pem(), &own.certificate_pem, &own.key_pem);
    let own = own.expect("good");
    let (client, server) = (own.rustls_client(), own.rustls_server(ClientAuth::Required));
    for _ in 0..2 {
        let (near, far) = tokio::io::duplex(1 << 16);
        let name = ServerName::try_from("global").expect("name");
        let connect = TlsConnector::from(client.clone()).connect(name, near);
        let accept = TlsAcceptor::from(server.clone()).accept(far);
        let (near, _) = tokio::try_join!(connect, accept).expect("handshake");
        assert_eq!(near.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}

fn scraped(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("encode");
    text
}

#[test]
fn files_that_cannot_be_used_are_left_aside_until_they_can() {
    let (ca, other) = (Authority::generate("ca", DAY), Authority::generate("other", DAY));
    let (ca, other) = (ca.expect("ca"), other.expect("ca"));
    let subject = |uris: &[&str]| Subject {
        dns: vec!["global".into()],
        uris: uris.iter().map(|uri| (*uri).to_owned()).collect(),
        ..Subject::default()
    };
    let named = subject(&["higuma://cluster/a/node/1"]);
    let (own, renewed) = (ca.issue(&named, DAY), ca.issue(&named, DAY));
    let (own, renewed) = (own.expect("issue"), renewed.expect("issue"));
    let files = Files::new(&ca, &own);
    let transport = Transport::load(&files.paths()).expect("good");
    let transport = transport.held_by("higuma://cluster/a/node/1").expect("it names its holder");
    let mut watcher = Watcher::new(transport.current.clone());
    let mut registry = Registry::default();
    registry.register_collector(collector(std::slice::from_ref(&transport)));
    let metrics = || scraped(&registry);
    assert!(metrics().contains("higuma_tls_files_refused 0"), "{}", metrics());

    let expectations: [(&str, &dyn Fn(), &str); 6] = [
        (
            "half a renewal",
            &|| write_key(&files.paths().key, &renewed.key_pem).expect("write"),
            "the key must be the one",
        ),
        ("half a file", &|| files.put_ca(&ca.certificate_pem()[..100]), "holds no CERTIFICATE"),
        (
            "no file",
            &|| std::fs::remove_file(files.paths().cert).expect("remove"),
            "cannot read the certificate",
        ),
        (
            "another CA's",
            &|| files.put_own(&other.issue(&named, DAY).expect("issue")),
            "not accepted by this process's own CA file",
        ),
        (
            "another CA",
            &|| files.put_ca(other.certificate_pem()),
            "not accepted by this process's own CA file",
        ),
        (
            "another node's",
            &|| {
                files.put_own(
                    &ca.issue(&subject(&["higuma://cluster/a/node/2"]), DAY).expect("issue"),
                )
            },
            "must name its holder by the URI higuma://cluster/a/node/1, and has higuma://cluster/a/node/2",
        ),
    ];
    for (what, put, want) in expectations {
        put();
        assert_eq!(watcher.look(), Found::Doubtful, "{what}: it may be about to be replaced");
        let Found::Refused(why) = watcher.look() else { panic!("{what} was taken") };
        assert!(why.contains(want), "{what}: {why}");
        assert!(!why.contains("PRIVATE KEY"), "{what}: {why}");
        assert!(metrics().contains("higuma_tls_files_refused 1"), "{what}: {}", metrics());
        let used = transport.current.now();
        assert_eq!(used.certified.cert[0], der(&own), "{what}: the old ones stay in use");
        files.put_ca(ca.certificate_pem());
        files.put_own(&own);
        assert_eq!(watcher.look(), Found::Same, "{what}");
    }
    files.put_own(&renewed);
    assert_eq!(watcher.look(), Found::New);
    assert_eq!(transport.current.now().certified.cert[0], der(&renewed));
    let text = metrics();
    let line = text.lines().find(|line| line.contains("cert.pem")).expect("a line");
    let seconds: i64 = line.rsplit(' ').next().expect("value").parse().expect("a number");
    assert!((86_000..=86_400).contains(&seconds), "{line}");
}

#[test]
fn a_certificate_that_has_ended_or_not_begun_is_not_accepted_by_its_own_ca() {
    let ca = Authority::generate("ca", DAY).expect("ca");
    let own = issued(&ca);
    let own = Transport::from_pem(ca.certificate_pem(), &own.certificate_pem, &own.key_pem);
    let own = own.expect("good");
    assert!(own.check_own().is_ok());
    let now = UnixTime::now().as_secs();
    for (at, want) in [(now + 2 * DAY.as_secs(), "expired"), (now - DAY.as_secs(), "not valid yet")]
    {
        let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
        let why = own.current.now().trusts_itself(&own.current.paths, at).expect_err(want);
        assert!(why.to_string().contains(want), "{why}");
    }
}

#[test]
fn a_servers_own_certificate_is_followed_without_a_ca_file() {
    let ca = Authority::generate("public", DAY).expect("ca");
    let (own, renewed) = (issued(&ca), issued(&ca));
    let files = Files::new(&ca, &own);
    let TransportPaths { cert, key, .. } = files.paths();
    let transport = Transport::load_server(cert, key).expect("good");
    assert!(transport.check_own().is_ok(), "it is not its own CA's, and that is no fault");
    let mut watcher = Watcher::new(transport.current.clone());
    assert_eq!(watcher.look(), Found::Same);
    files.put_own(&renewed);
    assert_eq!(watcher.look(), Found::New);
    assert_eq!(transport.current.now().certified.cert[0], der(&renewed));
    let later = UnixTime::since_unix_epoch(Duration::from_secs(
        UnixTime::now().as_secs() + 2 * DAY.as_secs(),
    ));
    let why = transport.current.now().trusts_itself(&transport.current.paths, later);
    assert!(why.expect_err("ended").to_string().contains("put a new one in its place"));

    let mut registry = Registry::default();
    registry.register_collector(collector(&[transport]));
    let text = scraped(&registry);
    let lines = text.lines().filter(|line| line.contains("expiry_seconds{")).count();
    assert_eq!(lines, 1, "one file, one line: {text}");
}
