//! The real Envoy reads each golden file.

use std::path::{Path, PathBuf};
use std::process::Command;

use higuma_xds::{BootstrapRequest, ProxyKind};
use serde_json::{Map, Value as Json, json};

use crate::cases::{self, Case};
use crate::reflect;

const HCM: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.\
                   HttpConnectionManager";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";

/// Envoy 1.40.0, where the set-up script puts it or `HIGUMA_ENVOY` says.
pub(crate) fn envoy() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let path = std::env::var_os("HIGUMA_ENVOY")
        .map_or_else(|| root.join(".tools/envoy-1.40.0/envoy"), PathBuf::from);
    assert!(path.is_file(), "no Envoy at {}: run `make setup`", path.display());
    path
}

/// Fails with what Envoy says if it does not take the bootstrap.
fn validate(what: &str, bootstrap: &Json) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("bootstrap.json");
    std::fs::write(&path, bootstrap.to_string()).expect("the bootstrap is written");
    let output = Command::new(envoy())
        .args(["--mode", "validate", "--use-dynamic-base-id", "-l", "error", "-c"])
        .arg(&path)
        .output()
        .expect("Envoy runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "Envoy refuses {what}:\n{said}");
}

/// A golden file as a static bootstrap. What comes by EDS and RDS stands beside it as a static
/// cluster and a listener, so that Envoy reads it too.
fn bootstrap(golden: &Json, secrets: Vec<Json>) -> Json {
    let part = |name: &str| golden[name].as_object().cloned().unwrap_or_default();
    let endpoints = part("endpoints").into_iter().map(|(name, assignment)| {
        json!({"name": format!("{name} by EDS"), "type": "STATIC", "connectTimeout": "1s",
               "loadAssignment": assignment})
    });
    let routes = part("routes").into_iter().enumerate().map(|(at, (name, route))| {
        let manager = json!({"@type": HCM, "statPrefix": "rds", "routeConfig": route,
            "httpFilters": [{"name": "envoy.filters.http.router", "typedConfig": {"@type": ROUTER}}]});
        json!({"name": format!("{name} by RDS"),
            "address": {"socketAddress": {"address": "127.0.0.1", "portValue": 40_000 + at}},
            "filterChains": [{"filters": [
                {"name": "envoy.filters.network.http_connection_manager", "typedConfig": manager}]}]})
    });
    let values = |map: Map<String, Json>| map.into_iter().map(|(_, value)| value);
    let ads = json!({"name": "ads", "type": "STATIC", "connectTimeout": "1s"});
    let clusters: Vec<Json> =
        values(part("clusters")).chain(endpoints).chain(std::iter::once(ads)).collect();
    let listeners: Vec<Json> = values(part("listeners")).chain(routes).collect();
    json!({
        "node": {"id": "default.test", "cluster": "test"},
        "dynamicResources": {"adsConfig": {"apiType": "DELTA_GRPC", "transportApiVersion": "V3",
            "grpcServices": [{"envoyGrpc": {"clusterName": "ads"}}]}},
        "staticResources": {"clusters": clusters, "listeners": listeners, "secrets": secrets},
    })
}

fn golden(case: &Case, name: &str) -> Json {
    let path = case.folder.join(format!("{name}.golden.yaml"));
    let yaml = std::fs::read_to_string(&path).expect("the golden file of a proxy");
    serde_saphyr::from_str(&yaml).expect("a golden file is YAML")
}

#[test]
fn envoy_takes_every_golden() {
    for case in cases::all() {
        for proxy in case.proxies() {
            let (config, _) = case.config(&proxy);
            let secret = |any: &envoy_types::pb::google::protobuf::Any| {
                let mut json = reflect::json(&any.type_url, &any.value);
                json.as_object_mut().unwrap().shift_remove("@type");
                json
            };
            let secrets = config.secrets.values().map(|encoded| secret(encoded.any())).collect();
            let name = proxy.key.name();
            let bootstrap = bootstrap(&golden(&case, name), secrets);
            validate(&format!("{}/{name}", case.name()), &bootstrap);
        }
    }
}

#[test]
fn envoy_takes_every_bootstrap() {
    let ca_pem = String::from_utf8(cases::identity().ca_pem.to_vec()).unwrap();
    let sidecar = BootstrapRequest {
        kind: ProxyKind::Sidecar,
        mesh: "default".to_owned(),
        name: "web-1".to_owned(),
        service: "web".to_owned(),
        zone: cases::ZONE.to_owned(),
        admin: ([127, 0, 0, 1].into(), 9901),
        control_planes: vec![("127.0.0.1".to_owned(), 5678), ("::1".to_owned(), 5678)],
        ca_pem,
        token: Some("secret-token".to_owned()),
        metadata: [("dataplane.resource".to_owned(), "{}".to_owned())].into(),
    };
    assert!(!format!("{sidecar:?}").contains("secret-token"));
    let names = vec![("localhost".to_owned(), 5678), ("127.0.0.1".to_owned(), 5679)];
    let ingress = BootstrapRequest {
        kind: ProxyKind::Ingress,
        mesh: String::new(),
        service: String::new(),
        control_planes: names,
        token: None,
        ..sidecar.clone()
    };
    for (request, id) in [(sidecar, "default.web-1"), (ingress, ".web-1")] {
        let bootstrap = higuma_xds::bootstrap(&request);
        assert_eq!(bootstrap["node"]["id"], id);
        validate(id, &bootstrap);
    }
}

/// The check above can fail: Envoy refuses what its rules forbid.
#[test]
#[should_panic(expected = "Envoy refuses two chains of one SNI")]
fn envoy_refuses_what_it_should() {
    let chain = json!({"filterChainMatch": {"serverNames": ["a"]}, "filters": []});
    let listener = json!({"name": "l", "filterChains": [chain, chain],
        "address": {"socketAddress": {"address": "127.0.0.1", "portValue": 40_000}}});
    let golden = json!({"listeners": {"l": listener}});
    validate("two chains of one SNI", &bootstrap(&golden, Vec::new()));
}
