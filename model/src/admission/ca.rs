//! The builtin CA of a mesh: which secrets it needs, and that it never changes while in use.

use super::{Admission, Rejection};
use crate::resource::{Audience, Labels, labels};
use crate::spec::Mesh;
use crate::transaction::{Check, Draft};
use crate::{Key, Kind, Resource, SecretBytes, Spec};

/// What only the caller can make: admission draws no random numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// A CA certificate and its key; see [`Admitted::provide_ca`](super::Admitted::provide_ca).
    BuiltinCa { mesh: String, backend: String },
}

/// The secret that holds the certificate of a builtin CA, as PEM (Kuma's name).
pub fn ca_certificate_key(mesh: &str, backend: &str) -> Key {
    Key::new(Kind::Secret, mesh, &format!("{mesh}.ca-builtin-cert-{backend}"))
}

/// The secret that holds the private key of a builtin CA, as PEM (Kuma's name).
pub fn ca_private_key_key(mesh: &str, backend: &str) -> Key {
    Key::new(Kind::Secret, mesh, &format!("{mesh}.ca-builtin-key-{backend}"))
}

pub(super) fn secrets(mesh: &str, backend: &str, cert: &[u8], key: &[u8]) -> [Draft; 2] {
    let secret = |key: Key, bytes: &[u8]| Draft {
        labels: Labels::from([(labels::MESH.to_owned(), key.mesh().to_owned())]),
        key,
        audience: Audience::AllZones,
        spec: Spec::Secret(SecretBytes::plain(bytes)),
        status: None,
    };
    [
        secret(ca_certificate_key(mesh, backend), cert),
        secret(ca_private_key_key(mesh, backend), key),
    ]
}

/// What a mesh's CA rests on and asks for.
#[derive(Default)]
pub(super) struct Certification {
    pub(super) checks: Vec<Check>,
    pub(super) needs: Vec<Need>,
}

impl Admission<'_> {
    pub(super) fn certify(
        &self,
        name: &str,
        mesh: &Mesh,
        stored: Option<&Resource>,
    ) -> Result<Certification, Rejection> {
        let mut certification = Certification::default();
        let Some(mtls) = &mesh.mtls else { return Ok(certification) };
        if !mtls.enabled_backend.is_empty() {
            let before = stored.map(|stored| stored.decode::<Mesh>()).transpose();
            let before = before.map_err(|error| Rejection::invalid("", error.to_string()))?;
            let before = before.as_ref().and_then(Mesh::enabled_backend);
            if before.is_some_and(|before| before.name != mtls.enabled_backend) {
                let reason = "Changing CA when mTLS is enabled is forbidden. Disable mTLS first \
                              and then change the CA";
                return Err(Rejection::invalid("mtls.enabledBackend", reason));
            }
            certification.checks.push(self.as_seen(&Key::mesh_resource(name)));
        }
        for backend in &mtls.backends {
            let keys =
                [ca_certificate_key(name, &backend.name), ca_private_key_key(name, &backend.name)];
            if keys.iter().all(|key| self.snapshot.get(key).is_some()) {
                certification.checks.extend(keys.map(Check::Exists));
            } else {
                // Two admissions at once must not make two CAs.
                certification.checks.extend(keys.iter().map(|key| self.as_seen(key)));
                let (mesh, backend) = (name.to_owned(), backend.name.clone());
                certification.needs.push(Need::BuiltinCa { mesh, backend });
            }
        }
        Ok(certification)
    }
}
