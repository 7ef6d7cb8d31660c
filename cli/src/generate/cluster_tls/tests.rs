use std::os::unix::fs::PermissionsExt as _;

use clap::Parser as _;
use higuma_serve::{Transport, TransportPaths};

use super::*;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: ClusterTlsArgs,
}

fn parse(folder: &Path, more: &[&str]) -> Result<ClusterTlsArgs, String> {
    let out = folder.display().to_string();
    let words = ["x", "--cluster-name", "prod", "--out", &out];
    let line = Line::try_parse_from(words.iter().chain(more));
    line.map(|line| line.args).map_err(|error| error.to_string())
}

fn run(folder: &Path, more: &[&str]) -> Result<(), String> {
    cluster_tls(&parse(folder, more)?).map_err(|failure| failure.to_string())
}

fn load(folder: &Path, name: &str) -> Transport {
    let (cert, key) = of(folder, name);
    let transport = Transport::load(&TransportPaths { ca: ca(folder), cert, key }).unwrap();
    transport.check_own().unwrap();
    transport
}

#[test]
fn a_folder_is_made_added_to_and_renewed() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("deep/pki");
    let made = ["--nodes", "1=10.0.0.1,2=two.internal,2=10.0.0.2", "--zones", "east=10.1.0.1"];
    run(&folder, &made).unwrap();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2 + 2 * 3);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for name in ["ca", "node-1", "node-2", "zone-east"] {
        assert_eq!(mode(&of(&folder, name).1), 0o600, "{name}");
    }
    load(&folder, "node-1").held_by("higuma://cluster/prod/node/1").unwrap();
    load(&folder, "zone-east").held_by("higuma://cluster/prod/zone/east").unwrap();
    let other = load(&folder, "node-2").held_by("higuma://cluster/prod/node/1").unwrap_err();
    assert!(other.to_string().contains("and has higuma://cluster/prod/node/2"), "{other}");

    let bytes = |name: &str| std::fs::read(of(&folder, name).0).unwrap();
    let (authority, node_1, node_2) = (bytes("ca"), bytes("node-1"), bytes("node-2"));
    let error = run(&folder, &["--nodes", "2=10.0.0.2,3=10.0.0.3"]).unwrap_err();
    assert!(error.contains("node-2-key.pem are there already: give --renew"), "{error}");
    assert!(!of(&folder, "node-3").0.exists(), "nothing is made by halves");
    run(&folder, &["--nodes", "3=10.0.0.3", "--names", "global.internal"]).unwrap();
    load(&folder, "node-3");

    let error = run(&folder, &["--renew", "--nodes", "2=10.0.0.2,4=10.0.0.4"]).unwrap_err();
    assert!(error.contains("node-4-key.pem are not there to be renewed"), "{error}");
    assert_eq!(bytes("node-2"), node_2, "nothing is made by halves");
    run(&folder, &["--renew", "--nodes", "2=10.0.0.2"]).unwrap();
    assert_ne!(bytes("node-2"), node_2);
    load(&folder, "node-2").held_by("higuma://cluster/prod/node/2").unwrap();
    assert_eq!((bytes("ca"), bytes("node-1")), (authority, node_1));
}

#[test]
fn a_ca_that_cannot_vouch_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let (ours, theirs) = (parent.path().join("ours"), parent.path().join("theirs"));
    run(&ours, &["--nodes", "1=a", "--ca-days", "30", "--days", "30"]).unwrap();
    run(&theirs, &["--nodes", "1=a"]).unwrap();
    let error = run(&ours, &["--nodes", "2=b"]).unwrap_err();
    assert!(error.contains("before certificates for 365 days would"), "{error}");

    std::fs::copy(ca(&theirs), ca(&ours)).unwrap();
    let error = run(&ours, &["--nodes", "2=b"]).unwrap_err();
    assert!(error.contains("cannot make a certificate for node-2"), "{error}");
    std::fs::remove_file(ca_key(&ours)).unwrap();
    let error = run(&ours, &["--nodes", "2=b"]).unwrap_err();
    assert!(error.contains("ca.pem is there without"), "{error}");
    std::fs::write(ca_key(&ours), "no key").unwrap();
    let error = run(&ours, &["--nodes", "2=b"]).unwrap_err();
    assert!(error.contains("ca-key.pem: the CA's certificate or key cannot be used"), "{error}");
    assert!(!of(&ours, "node-2").0.exists(), "nothing is made by halves");
}

#[test]
fn what_is_asked_for_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    for (line, want) in [
        (&[][..], "--nodes"),
        (&["--nodes", "1"], "N=ADDR"),
        (&["--nodes", "0=a"], "N=ADDR"),
        (&["--nodes", "a=b"], "N=ADDR"),
        (&["--nodes", "1=a/b"], "neither an IP address nor a DNS name"),
        (&["--nodes", "1="], "neither an IP address nor a DNS name"),
        (&["--zones", "../x=a"], "ZONE=ADDR"),
        (&["--nodes", "1=a", "--names", "a b"], "neither an IP address nor a DNS name"),
        (&["--nodes", "1=a", "--days", "0"], "--days"),
        (&["--nodes", "1=a", "--days", "4000"], "--days"),
        (&["--nodes", "1=a", "--cluster-name", "A"], "cannot be used multiple times"),
    ] {
        let error = run(folder.path(), line).unwrap_err();
        assert!(error.contains(want), "{line:?}: {error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
