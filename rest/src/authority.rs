//! Builtin CAs of meshes: ECDSA P-256.

use std::time::Duration;

use higuma_serve::pki;

use crate::api::{Authority, CaPair};

/// How long a mesh's builtin CA lives (Kuma's default: ten years).
const CA_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Draws the keys of builtin CAs on this node: for a control plane where meshes are written.
pub struct BuiltinAuthority;

impl Authority for BuiltinAuthority {
    fn builtin_ca(&self, mesh: &str, backend: &str) -> Result<CaPair, String> {
        let name = format!("{mesh} {backend}");
        let ca = pki::Authority::generate(&name, CA_VALIDITY).map_err(|error| error.to_string())?;
        Ok(CaPair { certificate_pem: ca.certificate_pem().to_owned(), key_pem: ca.key_pem() })
    }
}
