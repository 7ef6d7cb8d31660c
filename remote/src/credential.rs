//! The certificates of the zone's proxies, issued here from their meshes' CAs, so that new ones
//! are had while the global is gone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use higuma_model::spec::{Dataplane, Mesh, SERVICE_TAG};
use higuma_model::{Key, Snapshot, Spec, ca_certificate_key, ca_private_key_key};
use higuma_serve::pki::{Authority, Subject};
use higuma_xds::Identity;
use tokio::time::Instant;

/// Lifetime of a workload's certificate unless the mesh says another (Kuma's default).
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Between attempts to renew a certificate while none can be issued.
const RENEWAL_RETRY: Duration = Duration::from_secs(30);

/// A proxy's certificate, what it was issued for, and when it is renewed.
#[derive(Clone)]
pub(crate) struct Credential {
    pub(crate) identity: Identity,
    uris: BTreeSet<String>,
    renew_at: Instant,
}

/// Why a proxy has no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unissued {
    #[error("the CA {backend} of mesh {mesh} has not arrived: its {missing} is not here")]
    NoCa { mesh: String, backend: String, missing: Key },
    #[error("the CA {backend} of mesh {mesh} can't be used: {why}")]
    BadCa { mesh: String, backend: String, why: String },
}

impl Credential {
    /// When to ask for a renewal next. An old one that could not be renewed just now waits: its
    /// time has passed already, and would pass again at once.
    pub(crate) fn renewal(&self, now: Instant) -> Instant {
        self.renew_at.max(now + RENEWAL_RETRY)
    }

    /// The certificate that a proxy is to have now: `before` as long as it fits, else a new one.
    /// None where its mesh has no mTLS.
    pub(crate) fn for_proxy(
        snapshot: &Snapshot,
        key: &Key,
        before: Option<&Self>,
        now: Instant,
    ) -> Result<Option<Self>, Unissued> {
        let mesh_name = key.mesh();
        let mesh = snapshot.get(&Key::mesh_resource(mesh_name));
        let mesh = mesh.and_then(|resource| resource.decode::<Mesh>().ok());
        let dataplane = snapshot.get(key).and_then(|resource| resource.decode::<Dataplane>().ok());
        let (Some(mesh), Some(dataplane)) = (mesh, dataplane) else { return Ok(None) };
        let Some(backend) = mesh.enabled_backend() else { return Ok(None) };
        let ca_pem =
            secret(snapshot, &ca_certificate_key(mesh_name, &backend.name), &backend.name)?;
        let uris = uris(mesh_name, &dataplane);
        if let Some(before) = before
            && before.uris == uris
            && before.identity.ca_pem == ca_pem
            && now < before.renew_at
        {
            return Ok(Some(before.clone()));
        }
        let ca_key =
            secret(snapshot, &ca_private_key_key(mesh_name, &backend.name), &backend.name)?;
        let bad = |why: String| {
            let (mesh, backend) = (mesh_name.to_owned(), backend.name.clone());
            Unissued::BadCa { mesh, backend, why }
        };
        let lifetime = backend.certificate_lifetime().unwrap_or(LIFETIME);
        let issued = issue(&ca_pem, &ca_key, &uris, lifetime).map_err(bad)?;
        let identity = Identity {
            cert_chain_pem: issued.0.into_bytes().into(),
            key_pem: issued.1.into_bytes().into(),
            ca_pem,
        };
        Ok(Some(Self { identity, uris, renew_at: now + lifetime.mul_f64(0.8) }))
    }
}

fn secret(snapshot: &Snapshot, key: &Key, backend: &str) -> Result<Arc<[u8]>, Unissued> {
    match snapshot.get(key).map(|resource| &resource.spec) {
        Some(Spec::Secret(secret)) => Ok(secret.bytes.clone()),
        _ => Err(Unissued::NoCa {
            mesh: key.mesh().to_owned(),
            backend: backend.to_owned(),
            missing: key.clone(),
        }),
    }
}

/// `spiffe://<mesh>/<service>` for each service and `kuma://<tag>/<value>` for each tag.
fn uris(mesh: &str, dataplane: &Dataplane) -> BTreeSet<String> {
    let services = dataplane.services().map(|service| format!("spiffe://{mesh}/{service}"));
    let inbound = dataplane.networking.inbound.iter().map(|inbound| &inbound.tags);
    let gateway = dataplane.networking.gateway.iter().map(|gateway| &gateway.tags);
    let tags = inbound.chain(gateway).flatten().filter(|(tag, _)| *tag != SERVICE_TAG);
    let services: BTreeSet<String> = services.collect();
    tags.map(|(tag, value)| format!("kuma://{tag}/{value}")).chain(services).collect()
}

fn issue(
    ca_pem: &[u8],
    ca_key: &[u8],
    uris: &BTreeSet<String>,
    lifetime: Duration,
) -> Result<(String, String), String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string());
    let authority = Authority::from_pem(&text(ca_pem)?, &text(ca_key)?);
    let authority = authority.map_err(|error| error.to_string())?;
    let subject = Subject { uris: uris.iter().cloned().collect(), ..Subject::default() };
    let issued = authority.issue(&subject, lifetime).map_err(|error| error.to_string())?;
    Ok((issued.certificate_pem, issued.key_pem))
}

#[cfg(test)]
mod tests {
    use higuma_model::Owner;
    use higuma_model::testing::{dataplane, mesh, secret, snapshot};
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn a_certificate_is_kept_until_what_it_says_changes_or_it_grows_old() {
        let ca = Authority::generate("default", LIFETIME).unwrap();
        let web = dataplane("web-1").tag("kuma.io/service", "web").tag("version", "v1");
        let key = web.clone().document().key();
        let stored = |key: &Key, pem: &str, version| {
            secret(key.mesh(), key.name(), pem.as_bytes(), Owner::Global, version)
        };
        let state = |ca: Option<&Authority>| {
            let mut resources = vec![
                mesh("default").mtls("ca-1").resource(Owner::Global, 1),
                web.clone().inbound(8080).resource(Owner::zone("east"), 2),
            ];
            if let Some(ca) = ca {
                let certificate = ca_certificate_key("default", "ca-1");
                let private = ca_private_key_key("default", "ca-1");
                let pem = ca.certificate_pem();
                resources.push(stored(&certificate, pem, 3));
                resources.push(stored(&private, &ca.key_pem(), 4));
            }
            snapshot(resources)
        };
        let now = Instant::now();
        let Err(missing) = Credential::for_proxy(&state(None), &key, None, now) else {
            panic!("no CA, and a certificate")
        };
        assert!(missing.to_string().contains("has not arrived"), "{missing}");

        let with_ca = state(Some(&ca));
        let get =
            |before, now| Credential::for_proxy(&with_ca, &key, before, now).unwrap().unwrap();
        let first = get(None, now);
        assert!(first.uris.contains("spiffe://default/web"), "{:?}", first.uris);
        assert!(first.uris.contains("kuma://version/v1"), "{:?}", first.uris);
        let der = CertificateDer::from_pem_slice(&first.identity.cert_chain_pem).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        assert_eq!(parsed.subject().iter().count(), 0, "Envoy refuses an empty common name");
        assert_eq!(get(Some(&first), now).identity, first.identity);
        assert_ne!(get(Some(&first), first.renew_at).identity, first.identity);
        assert_eq!(first.renewal(now), first.renew_at);
        let late = first.renew_at + LIFETIME;
        assert_eq!(first.renewal(late), late + RENEWAL_RETRY, "not at once, over and over");
        let other = state(Some(&Authority::generate("default", LIFETIME).unwrap()));
        let renewed = Credential::for_proxy(&other, &key, Some(&first), now).unwrap().unwrap();
        assert_ne!(renewed.identity.ca_pem, first.identity.ca_pem);
    }
}
