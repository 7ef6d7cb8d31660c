//! Generates the messages of `proto/` without a protoc.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["store.proto", "raft.proto", "history.proto"], ["proto"])?;
    // Sorted maps: equal messages have equal bytes.
    tonic_prost_build::configure().bytes(".").btree_map(".").compile_fds(files)?;
    Ok(())
}
