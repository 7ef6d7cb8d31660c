//! Who may depend on whom (ARCHITECTURE, `docs/adr/0001-crates-and-arrows.md`).

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

use crate::{assert_none, root};

/// Crate → the workspace crates it may use. A new line needs an ADR that names the dependency the
/// new crate forbids.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("store", &["model"]),
    ("kds", &["model"]),
    ("xds", &["model"]),
    ("dns", &["model"]),
    ("serve", &[]),
    ("rest", &["model", "store", "serve"]),
    ("global", &["model", "store", "rest", "kds", "serve"]),
    ("remote", &["model", "store", "rest", "kds", "xds", "dns", "serve"]),
    ("dp", &["model", "dns", "serve"]),
    ("ingress", &["model", "dp"]),
    ("cli", &["model", "global", "remote", "dp", "ingress", "serve"]),
    ("testkit", &["model"]),
    ("jepsen-style-tests", &[]),
    ("bench", &[]),
    (
        "simulation",
        &[
            "model", "store", "kds", "xds", "dns", "serve", "rest", "global", "remote", "dp",
            "ingress",
        ],
    ),
];

/// Foreign crate (or prefix, with `*`) → its only users.
const EXCLUSIVE: &[(&str, &[&str])] = &[
    ("openraft", &["store"]),
    ("sled", &["store"]),
    ("hickory*", &["dns"]),
    // remote implements the ADS service's trait; it moves Envoy's messages and builds none.
    ("envoy-types", &["xds", "kds", "remote", "testkit"]),
    // Others mount routers through `serve::axum`.
    ("axum", &["serve", "rest"]),
];

/// Crates that may not be in the graph at all, and why.
const BANNED: &[(&str, &str)] = &[
    ("aws-lc-sys", "TLS is rustls with ring: one provider, no C toolchain"),
    ("openssl-sys", "TLS is rustls with ring: one provider, no C toolchain"),
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned(), "--locked".to_owned()])
        .exec()
        .expect("cargo metadata")
}

fn short(name: &str) -> &str {
    name.strip_prefix("higuma-").unwrap_or(name)
}

#[test]
fn only_the_allowed_arrows_exist() {
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let metadata = metadata();
    let mut problems = Vec::new();
    for package in metadata.workspace_packages() {
        let Some(mine) = allowed.get(short(&package.name)) else {
            problems.push(format!("{} is not in the table", package.name));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| d.path.is_some()) {
            let (to, dev) =
                (short(&dependency.name), dependency.kind == DependencyKind::Development);
            // A crate's tests may use its own builders (a feature) and testkit.
            let for_tests = dev && (to == "testkit" || to == short(&package.name));
            if !for_tests && !mine.contains(&to) {
                problems.push(format!("{} -> {} ({})", package.name, to, dependency.kind));
            }
        }
    }
    assert_none(&problems, "arrows that ARROWS does not allow");
}

#[test]
fn exclusive_crates_have_one_home() {
    let metadata = metadata();
    let mut problems = Vec::new();
    for package in metadata.workspace_packages() {
        for dependency in &package.dependencies {
            for (name, users) in EXCLUSIVE {
                let same = match name.strip_suffix('*') {
                    Some(prefix) => dependency.name.starts_with(prefix),
                    None => dependency.name == *name,
                };
                if same && !users.contains(&short(&package.name)) {
                    problems.push(format!(
                        "{} uses {}, which is for {} only",
                        package.name,
                        dependency.name,
                        users.join(", ")
                    ));
                }
            }
        }
    }
    assert_none(&problems, "crates outside their home");
}

#[test]
fn banned_crates_are_not_locked() {
    let lock = crate::read(&root().join("Cargo.lock"));
    let problems: Vec<_> = BANNED
        .iter()
        .filter(|(name, _)| lock.lines().any(|line| line == format!("name = \"{name}\"")))
        .map(|(name, why)| format!("{name}: {why}"))
        .collect();
    assert_none(&problems, "banned crates (see who with `cargo tree -i NAME`)");
}

/// A crate's own clippy.toml replaces the root's, it is not merged.
#[test]
fn crates_repeat_the_common_lints() {
    let common = crate::read(&root().join("clippy.toml"));
    let mut problems = Vec::new();
    for name in ["model", "xds"] {
        let own = crate::read(&root().join(name).join("clippy.toml"));
        for line in common.lines().filter(|line| !own.contains(line)) {
            problems.push(format!("{name}/clippy.toml lacks `{line}`"));
        }
        for clock in ["std::time::Instant::now", "std::time::SystemTime::now"] {
            if !own.contains(clock) {
                problems.push(format!("{name}/clippy.toml allows {clock}"));
            }
        }
    }
    assert_none(&problems, "lints that a crate lost");
}
