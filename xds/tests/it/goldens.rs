//! Each case's configurations are those of its golden files. `UPDATE_GOLDEN=1` writes them anew: read the diff.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use higuma_xds::{Config, Index, Problem, ProxyKind, ResourceType, Resources};
use serde_json::{Map, Value as Json, json};

use crate::cases::{self, Case};
use crate::reflect;

/// The configuration as it is written to a golden file; secrets by name only.
pub(crate) fn document(config: &Config, problems: &[Problem]) -> Json {
    let decoded = |resources: &Resources| -> Json {
        let one = |any: &envoy_types::pb::google::protobuf::Any| {
            let mut json = reflect::json(&any.type_url, &any.value);
            json.as_object_mut().unwrap().shift_remove("@type");
            json
        };
        resources.iter().map(|(name, encoded)| (name.to_string(), one(encoded.any()))).collect()
    };
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let secrets: Vec<&str> = config.secrets.keys().map(|name| &**name).collect();
    let mut document = Map::new();
    if !problems.is_empty() {
        document.insert("problems".to_owned(), json!(problems));
    }
    for (name, resources) in [
        ("clusters", &config.clusters),
        ("endpoints", &config.endpoints),
        ("listeners", &config.listeners),
        ("routes", &config.routes),
    ] {
        if !resources.is_empty() {
            document.insert(name.to_owned(), decoded(resources));
        }
    }
    if !secrets.is_empty() {
        document.insert("secrets".to_owned(), json!(secrets));
    }
    Json::Object(document)
}

fn golden_path(case: &Case, name: &str) -> PathBuf {
    case.folder.join(format!("{name}.golden.yaml"))
}

fn check(path: &Path, yaml: &str, failures: &mut Vec<String>) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, yaml).expect("a golden file is written");
        return;
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    if golden != yaml {
        let line = golden.lines().zip(yaml.lines()).position(|(a, b)| a != b).unwrap_or(0);
        let at = |text: &str| text.lines().nth(line).unwrap_or("(end)").to_owned();
        failures.push(format!(
            "{} differs at line {}:\n  golden: {}\n  now:    {}",
            path.display(),
            line + 1,
            at(&golden),
            at(yaml)
        ));
    }
}

#[test]
fn configurations_are_the_golden_ones() {
    let mut failures = Vec::new();
    for case in cases::all() {
        let mut expected = BTreeSet::new();
        for proxy in case.proxies() {
            let (config, problems) = case.config(&proxy);
            let mut document = document(&config, &problems);
            if proxy.kind == ProxyKind::Ingress {
                let offered =
                    higuma_xds::available_services(&Index::new(cases::ZONE, &case.snapshot));
                document["availableServices"] = json!(offered);
            }
            let path = golden_path(&case, proxy.key.name());
            let yaml = serde_saphyr::to_string(&document).expect("YAML");
            check(&path, &yaml, &mut failures);
            expected.insert(path);
        }
        let files = std::fs::read_dir(&case.folder).unwrap().map(|entry| entry.unwrap().path());
        for path in files.filter(|path| !path.ends_with("in.yaml") && !expected.contains(path)) {
            failures.push(format!("{}: no proxy of the case has this name", path.display()));
        }
    }
    assert!(failures.is_empty(), "UPDATE_GOLDEN=1 rewrites:\n{}", failures.join("\n"));
}

/// Maps of protobuf have no order: with two entries equal configurations could differ in bytes.
#[test]
fn no_map_has_two_entries() {
    for case in cases::all() {
        for proxy in case.proxies() {
            let (config, _) = case.config(&proxy);
            for kind in ResourceType::ALL {
                for (name, encoded) in config.of(kind) {
                    let message = reflect::message(&encoded.any().type_url, &encoded.any().value);
                    let widest = reflect::widest_map(&message);
                    assert!(widest <= 1, "{}: {kind:?} {name}: {widest} entries", case.name());
                }
            }
        }
    }
}
