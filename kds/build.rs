//! Generates the messages of `proto/` without a protoc. Discovery messages are envoy-types'.
use std::path::PathBuf;

use prost_reflect::prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(
        [
            "kuma/mesh/v1alpha1/kds.proto",
            "kuma/mesh/v1alpha1/dataplane.proto",
            "kuma/mesh/v1alpha1/dataplane_insight.proto",
            "kuma/mesh/v1alpha1/mesh.proto",
            "kuma/mesh/v1alpha1/policy.proto",
            "kuma/system/v1alpha1/system.proto",
            "higuma/commit.proto",
            "higuma/report.proto",
        ],
        ["proto"],
    )?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("kds.fds"), files.encode_to_vec())?;
    tonic_prost_build::configure()
        // Maps in the order of their keys: equal resources have equal bytes.
        .btree_map(".")
        .extern_path(
            ".envoy.service.discovery.v3",
            "::envoy_types::pb::envoy::service::discovery::v3",
        )
        .include_file("proto.rs")
        .compile_fds(files)?;
    Ok(())
}
