//! Names that Envoy sees: clusters, SNIs, secrets, statistics. Kuma's (`names`, `SNI`), so that
//! dashboards and a Kuma zone on the other side understand them.

use higuma_model::spec::{SERVICE_TAG, Tags};
use sha2::{Digest, Sha256};

/// The most bytes of an SNI: what TLS clients send and what Envoy's validation lets pass.
pub(crate) const MAX_SNI_BYTES: usize = 255;

/// Bytes of the hash that tells clusters of one service apart.
const CLUSTER_HASH_BYTES: usize = 8;

/// The cluster of a service, narrowed by tags (`tags` without the service's own).
pub(crate) fn cluster(service: &str, tags: &Tags) -> String {
    if tags.is_empty() {
        return service.to_owned();
    }
    let mut all = tags.clone();
    all.insert(SERVICE_TAG.to_owned(), service.to_owned());
    let mut hash = Sha256::new();
    for (key, value) in &all {
        hash.update(key);
        hash.update(value);
    }
    format!("{service}-{}", hex::encode(&hash.finalize()[..CLUSTER_HASH_BYTES]))
}

/// What a client asks an ingress for: `service{mesh=m,tag=value}`, tags in the order of keys.
pub(crate) fn sni(mesh: &str, service: &str, tags: &Tags) -> String {
    let mut all = tags.clone();
    all.insert("mesh".to_owned(), mesh.to_owned());
    let pairs: Vec<String> = all.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{service}{{{}}}", pairs.join(","))
}

/// A name as a part of a statistic's name.
pub(crate) fn stat(name: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    name.chars().map(|c| if keep(c) { c } else { '_' }).collect()
}

/// The SDS secret with the certificate and the key of a proxy.
pub(crate) fn identity_secret(mesh: &str) -> String {
    format!("identity_cert:secret:{mesh}")
}

/// The SDS secret with the roots of trust of a mesh.
pub(crate) fn ca_secret(mesh: &str) -> String {
    format!("mesh_ca:secret:{mesh}")
}

/// The identity of a service, a URI of its proxies' certificates.
pub(crate) fn spiffe_id(mesh: &str, service: &str) -> String {
    format!("spiffe://{mesh}/{service}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn clusters_are_named_as_kumas() {
        assert_eq!(cluster("backend", &tags(&[])), "backend");
        assert_eq!(cluster("backend", &tags(&[("version", "v1")])), "backend-154693772bc47249");
    }

    #[test]
    fn snis_are_kumas() {
        assert_eq!(sni("default", "backend", &tags(&[])), "backend{mesh=default}");
        let narrowed = tags(&[("version", "v2"), ("kuma.io/zone", "east")]);
        assert_eq!(
            sni("default", "backend", &narrowed),
            "backend{kuma.io/zone=east,mesh=default,version=v2}"
        );
    }

    #[test]
    fn statistics_have_plain_names() {
        assert_eq!(stat("localhost:80"), "localhost_80");
        assert_eq!(stat("a-b_c.d"), "a-b_c_d");
    }
}
