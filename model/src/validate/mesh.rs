//! The rules of a Mesh.

use std::collections::BTreeSet;

use super::{Findings, meta};
use crate::spec::{CaBackend, MAX_CERTIFICATE_HOURS, MIN_CERTIFICATE_HOURS, Mesh};
use crate::violation::path;

pub(super) fn check(mesh: &Mesh, findings: &mut Findings) {
    let Some(mtls) = &mesh.mtls else { return };
    if mtls.backends.len() > 1 {
        findings.refuse("mtls.backends", "cannot have more than 1 backends");
    }
    let mut names = BTreeSet::new();
    for (index, backend) in mtls.backends.iter().enumerate() {
        let at = path::index("mtls.backends", index);
        check_backend(backend, &at, findings);
        if !names.insert(&backend.name) {
            let reason = format!("{:?} name is already used for another backend", backend.name);
            findings.refuse(path::field(&at, "name"), reason);
        }
    }
    let enabled = &mtls.enabled_backend;
    if !enabled.is_empty() && !names.contains(enabled) {
        let reason = "has to be set to one of the backends in the mesh";
        findings.refuse("mtls.enabledBackend", reason);
    }
}

fn check_backend(backend: &CaBackend, at: &str, findings: &mut Findings) {
    if !meta::is_dns_label(&backend.name) {
        let reason = "must be a DNS label: up to 63 lowercase letters, digits or '-', with a \
                      letter or digit at both ends";
        findings.refuse(path::field(at, "name"), reason);
    }
    // Kuma's path for this one has neither the backend nor the camel case.
    let field = "mtls.dpcert.rotation.expiration";
    match backend.certificate_lifetime() {
        None => {
            let reason =
                "has to be a number and one of the units y, w, d, h, m, s, ms, such as 24h";
            findings.refuse(field, reason);
        }
        Some(lifetime) if lifetime.as_secs() < MIN_CERTIFICATE_HOURS * 3600 => {
            let reason = "this version of Higuma does not have certificates yet that live less \
                          than 24h";
            findings.refuse(field, reason);
        }
        Some(lifetime) if lifetime.as_secs() > MAX_CERTIFICATE_HOURS * 3600 => {
            findings.refuse(field, "cannot be longer than 10y, the life of the CA");
        }
        Some(_) => {}
    }
}
