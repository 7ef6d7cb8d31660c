//! The cases of `testdata/`: resources as YAML documents, seen from zone `east`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use higuma_model::resource::Timestamp;
use higuma_model::{
    Audience, ClusterId, Key, Kind, Labels, Owner, Resource, Scope, Snapshot, Spec,
};
use higuma_xds::{Config, Identity, Index, Problem, Proxy, ProxyKind};
use serde_json::Value as Json;

pub(crate) const ZONE: &str = "east";

pub(crate) struct Case {
    pub(crate) folder: PathBuf,
    pub(crate) snapshot: Snapshot,
}

/// All cases, in order.
pub(crate) fn all() -> Vec<Case> {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let entries = std::fs::read_dir(&testdata).expect("testdata");
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 10, "cases are missing in {}", testdata.display());
    folders.into_iter().map(Case::read).collect()
}

impl Case {
    fn read(folder: PathBuf) -> Self {
        let yaml = std::fs::read_to_string(folder.join("in.yaml")).expect("in.yaml of a case");
        Self { folder, snapshot: snapshot(&resources(&yaml)) }
    }

    pub(crate) fn name(&self) -> String {
        self.folder.file_name().unwrap().to_string_lossy().into_owned()
    }

    /// The proxies of the zone, by key.
    pub(crate) fn proxies(&self) -> Vec<Proxy> {
        let proxy = |resource: &Arc<Resource>, kind| Proxy {
            key: resource.key.clone(),
            kind,
            zone: ZONE.into(),
            // Cases with addresses are about them.
            bind_outbounds: self.snapshot.of_kind(Kind::Vip).next().is_some(),
        };
        let here = |resource: &&Arc<Resource>| resource.owner == Owner::zone(ZONE);
        let sidecars = self.snapshot.of_kind(Kind::Dataplane).filter(here);
        let ingresses = self.snapshot.of_kind(Kind::ZoneIngress).filter(here);
        let sidecars = sidecars.map(|resource| proxy(resource, ProxyKind::Sidecar));
        sidecars.chain(ingresses.map(|resource| proxy(resource, ProxyKind::Ingress))).collect()
    }

    pub(crate) fn config(&self, proxy: &Proxy) -> (Config, Vec<Problem>) {
        higuma_xds::config(&Index::new(ZONE, &self.snapshot), proxy, identity())
    }
}

/// Documents `type, name, mesh` and the fields of the spec; a `zone` of a ZoneIngress owns it.
pub(crate) fn resources(yaml: &str) -> Vec<Resource> {
    let documents: Vec<Json> = serde_saphyr::from_multiple(yaml).expect("YAML documents");
    documents.into_iter().enumerate().map(|(at, document)| resource(at, document)).collect()
}

fn resource(at: usize, document: Json) -> Resource {
    let Json::Object(mut fields) = document else { panic!("document {at} is no object") };
    let mut text = |field: &str| match fields.shift_remove(field) {
        Some(Json::String(text)) => text,
        None => String::new(),
        Some(other) => panic!("{field} is {other}"),
    };
    let (kind, name, mesh) = (text("type"), text("name"), text("mesh"));
    let kind: Kind = kind.parse().expect("a kind");
    assert_eq!(kind.scope() == Scope::Mesh, !mesh.is_empty(), "mesh of {name}");
    let owner = match (kind, fields.get("zone").and_then(Json::as_str)) {
        (Kind::ZoneIngress, Some(zone)) => Owner::zone(zone),
        (Kind::ZoneIngress | Kind::Dataplane | Kind::Vip, _) => Owner::zone(ZONE),
        _ => Owner::Global,
    };
    let version = at as u64 + 1;
    Resource {
        key: Key::new(kind, &mesh, &name),
        owner,
        version,
        modified_at: version,
        created: Timestamp(at as i64),
        modified: Timestamp(at as i64),
        audience: Audience::AllZones,
        labels: Labels::new(),
        spec: Spec::Json(Json::Object(fields).to_string().into()),
        status: None,
    }
}

pub(crate) fn snapshot(resources: &[Resource]) -> Snapshot {
    let mut snapshot = Snapshot::new(ClusterId(1));
    for resource in resources {
        snapshot.put(Arc::new(resource.clone()));
    }
    snapshot
}

/// A certificate that Envoy takes, drawn once.
pub(crate) fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let uri = "spiffe://default/web".try_into().expect("ASCII");
        params.subject_alt_names = vec![rcgen::SanType::URI(uri)];
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        Identity {
            cert_chain_pem: certificate.as_bytes().into(),
            key_pem: key.serialize_pem().as_bytes().into(),
            ca_pem: certificate.as_bytes().into(),
        }
    })
}
