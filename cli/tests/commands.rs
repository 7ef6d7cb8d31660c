//! The binary as a shell sees it: exit codes, messages, pipes.

use std::io::Read as _;
use std::process::{Command, Output, Stdio};

fn higuma(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_higuma"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HIGUMA_") {
            command.env_remove(name);
        }
    }
    command.env("HIGUMA_CONFIG", "/nonexistent/config.yaml").stdin(Stdio::null());
    command.args(words).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn exit_codes_say_what_kind_of_failure_it_was() {
    struct Case {
        words: Vec<String>,
        code: i32,
        stderr: &'static str,
    }
    let folder = tempfile::tempdir().expect("tempdir");
    let manifest = folder.path().join("m.yaml");
    std::fs::write(&manifest, "type: Mesh\nname: Default\n").expect("write");
    let good = folder.path().join("good.yaml");
    std::fs::write(&good, "type: Mesh\nname: default\n").expect("write");
    let dead = higuma_testkit::free_addr().to_string();
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let apply = |file: &std::path::Path| {
        [words("apply --server"), vec![dead.clone(), "-f".into(), file.display().to_string()]]
            .concat()
    };
    for Case { words, code, stderr } in [
        Case { words: words("version --client"), code: 0, stderr: "" },
        Case { words: apply(&manifest), code: 1, stderr: "m.yaml:2:7: name: invalid characters" },
        Case { words: words("apply -f /nonexistent"), code: 1, stderr: "No such file" },
        Case { words: words("get pods"), code: 2, stderr: "unknown type; use one of meshes" },
        Case { words: words("get"), code: 2, stderr: "Usage: higuma get" },
        Case { words: words("get meshes --context x"), code: 2, stderr: "no context \"x\"" },
        Case {
            words: words("get meshes --server https://127.0.0.1 --ca-file /nonexistent"),
            code: 2,
            stderr: "cannot read the CA file /nonexistent",
        },
        Case {
            words: [
                words("get meshes --server https://127.0.0.1 --ca-file"),
                vec![manifest.display().to_string()],
            ]
            .concat(),
            code: 2,
            stderr: "holds no certificate",
        },
        Case { words: apply(&good), code: 3, stderr: "nothing was changed" },
        Case {
            words: [words("inspect cluster --server"), vec![dead.clone()]].concat(),
            code: 3,
            stderr: "connection refused",
        },
    ] {
        let output = higuma(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let seen = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {seen}");
        assert!(seen.contains(stderr), "{words:?}: {stderr:?} is not in:\n{seen}");
        assert!(!seen.contains("panicked"), "{seen}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_higuma"))
        .args(["version", "--client"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut stderr).expect("text");
    let status = child.wait().expect("it ends");
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn contexts_are_set_used_and_shown() {
    let folder = tempfile::tempdir().expect("tempdir");
    let path = folder.path().join("c.yaml");
    let path = path.to_str().expect("text");
    let config = |words: &[&str]| higuma(&[&["config", "--config", path], words].concat());
    assert!(config(&["set-context", "lab", "--server", "a,b:1", "-m", "shop"]).status.success());
    assert_eq!(config(&["use-context", "prod"]).status.code(), Some(1));
    assert!(config(&["use-context", "lab"]).status.success());
    let view = text(&config(&["view"]).stdout);
    for line in ["currentContext: lab", "name: lab", "mesh: shop", "a:5681", "b:1"] {
        assert!(view.contains(line), "{line:?} is not in:\n{view}");
    }
    assert!(config(&["delete-context", "lab"]).status.success());
    assert!(!text(&config(&["view"]).stdout).contains("lab"));
}
