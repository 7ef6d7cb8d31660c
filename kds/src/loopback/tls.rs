//! TLS to the global.

use tonic::transport::{Identity, ServerTlsConfig};

use super::*;

#[tokio::test]
async fn zones_verify_the_global_by_its_ca() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (issued.cert.pem(), issued.signing_key.serialize_pem());
    let (global, _) = Store::new(global().now());
    let listener = TcpListener::bind(ANY).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let routes = server(global.state.subscribe(), global.clone(), CancellationToken::new());
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(&cert, key));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut server = tuned(tonic::transport::Server::builder()).tls_config(tls).unwrap();
        let incoming = TcpListenerStream::new(listener);
        server.add_routes(routes).serve_with_incoming(incoming).await.unwrap();
    });
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for (ca, trusted) in [(&issued, true), (&other, false)] {
        let (west, _) = Store::new(zone().now());
        let tls = trusting(ca.cert.der());
        let (adoption, running) = client(Client {
            globals: vec![format!("grpcs://localhost:{port}")],
            tls: Some(tls),
            ..client_of(&west, &[], no_reports())
        })
        .unwrap();
        tasks.spawn(running);
        let mut states = adoption.states();
        until_state(&mut states, |state| match state {
            ClientState::Synced { .. } => trusted,
            ClientState::Connecting { last_error: Some(error) } => {
                !trusted && error.contains("certificate")
            }
            _ => false,
        })
        .await;
    }
}

/// TLS that trusts one certificate.
fn trusting(ca: &rustls::pki_types::CertificateDer<'static>) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.clone()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots);
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}
