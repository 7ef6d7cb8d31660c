//! mTLS between proxies: contexts that name SDS secrets, and the secrets.

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;

use crate::config::{Encoded, Resources, Uses};
use crate::envoy::{ads, exact, inline, pack, prefix, truth};
use crate::names;
use crate::proxy::Identity;

/// What Kuma's clients offer: a permissive Kuma inbound tells mesh traffic by it.
const CLIENT_ALPN: &str = "kuma";

/// Server side: a certificate of the mesh is required. It lists no ALPN: Envoy takes a negotiated protocol for
/// the codec's name and would read HTTP/2 as HTTP/1.
pub(crate) fn downstream(mesh: &str) -> core::TransportSocket {
    let peers = prefix(names::spiffe_id(mesh, ""));
    socket(pack(pb::DownstreamTlsContext {
        common_tls_context: Some(common(mesh, peers)),
        require_client_certificate: truth(true),
        ..Default::default()
    }))
}

/// Client side: the server must be of the service. `sni` is what an ingress on the way routes by; the
/// proxies of the service ignore it.
pub(crate) fn upstream(mesh: &str, service: &str, sni: Option<String>) -> core::TransportSocket {
    let mut common = common(mesh, exact(names::spiffe_id(mesh, service)));
    common.alpn_protocols = vec![CLIENT_ALPN.to_owned()];
    socket(pack(pb::UpstreamTlsContext {
        common_tls_context: Some(common),
        sni: sni.unwrap_or_default(),
        ..Default::default()
    }))
}

/// The secrets that the contexts of a mesh name.
pub(crate) fn secrets(mesh: &str, identity: &Identity) -> Resources {
    let certificate = pb::TlsCertificate {
        certificate_chain: Some(inline(&identity.cert_chain_pem)),
        private_key: Some(inline(&identity.key_pem)),
        ..Default::default()
    };
    let roots = pb::CertificateValidationContext {
        trusted_ca: Some(inline(&identity.ca_pem)),
        ..Default::default()
    };
    let secret = |name: String, content: pb::secret::Type| {
        let secret = pb::Secret { name: name.clone(), r#type: Some(content) };
        (Arc::<str>::from(name), Encoded::new(secret, Uses::default()))
    };
    Resources::from([
        secret(names::identity_secret(mesh), pb::secret::Type::TlsCertificate(certificate)),
        secret(names::ca_secret(mesh), pb::secret::Type::ValidationContext(roots)),
    ])
}

fn common(mesh: &str, peers: StringMatcher) -> pb::CommonTlsContext {
    use pb::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
    let by_sds = |name: String| pb::SdsSecretConfig { name, sds_config: Some(ads()) };
    let uri = pb::SubjectAltNameMatcher {
        san_type: pb::subject_alt_name_matcher::SanType::Uri.into(),
        matcher: Some(peers),
        ..Default::default()
    };
    let validation = CombinedCertificateValidationContext {
        default_validation_context: Some(pb::CertificateValidationContext {
            match_typed_subject_alt_names: vec![uri],
            ..Default::default()
        }),
        validation_context_sds_secret_config: Some(by_sds(names::ca_secret(mesh))),
        ..Default::default()
    };
    pb::CommonTlsContext {
        tls_certificate_sds_secret_configs: vec![by_sds(names::identity_secret(mesh))],
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
        ..Default::default()
    }
}

fn socket(context: envoy_types::pb::google::protobuf::Any) -> core::TransportSocket {
    core::TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(context)),
    }
}
