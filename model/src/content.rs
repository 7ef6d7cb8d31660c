//! A hash of all that a state says, by which nodes at one version find out that they differ.

use sha2::{Digest, Sha256};

use crate::resource::{Owner, Resource, Spec};
use crate::snapshot::ClusterId;

/// The part of one resource: 16 bytes of SHA-256, keyed with the cluster's id. The state's hash is
/// the sum of its resources' parts, modulo 2^128: the order does not matter, and a change costs what
/// changed. It finds errors, not forgers: whoever may write chooses what is summed.
///
/// Of what every copy of a resource shares: names, owner, the owner's version, labels and spec in
/// plain; not of local versions, times and status.
pub(crate) fn part(cluster: ClusterId, resource: &Resource) -> u128 {
    let mut hash = Sha256::new();
    hash.update(cluster.0.to_be_bytes());
    let mut add = |bytes: &[u8]| {
        // With its length: no two lists of texts are taken for one.
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    add(resource.key.kind().name().as_bytes());
    add(resource.key.mesh().as_bytes());
    add(resource.key.name().as_bytes());
    match &resource.owner {
        Owner::Global => add(b""),
        Owner::Zone(zone) => add(zone.as_bytes()),
    }
    add(&resource.version.to_be_bytes());
    add(&(resource.labels.len() as u64).to_be_bytes());
    for (label, value) in &resource.labels {
        add(label.as_bytes());
        add(value.as_bytes());
    }
    match &resource.spec {
        Spec::Json(json) => {
            add(b"json");
            add(json.as_bytes());
        }
        Spec::Secret(secret) => {
            add(b"secret");
            add(&secret.bytes);
        }
    }
    let bytes: [u8; 32] = hash.finalize().into();
    bytes[..16].iter().fold(0, |part, byte| part << 8 | u128::from(*byte))
}
