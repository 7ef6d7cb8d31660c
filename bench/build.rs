//! Generates the messages of both systems without a protoc: Higuma's from its own files, and the
//! few that are used here of etcd's.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=../store/proto");
    let mut files = protox::compile(["raft.proto", "etcd.proto"], ["../store/proto", "proto"])?;
    // What stands in snapshot files is nobody's to send.
    for file in files.file.iter_mut().filter(|file| file.name() == "store.proto") {
        file.message_type.retain(|message| !message.name().starts_with("Snapshot"));
    }
    tonic_prost_build::configure().build_server(false).bytes(".").compile_fds(files)?;
    Ok(())
}
