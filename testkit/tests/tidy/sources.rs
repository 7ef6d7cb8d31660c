//! Rules for `.rs` files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cargo_metadata::MetadataCommand;

use crate::{assert_none, read, root, shown, with_extension};

const MAX_LINES: usize = 400;

/// `text`, and why it may not stand in code. Written in two parts, so that this file passes.
const NOWHERE: &[(&str, &str)] = &[
    (concat!("#[ig", "nore"), "a test that does not run proves nothing"),
    (concat!("```ig", "nore"), "a doctest that does not run proves nothing"),
    (concat!("to", "do!("), "finish it, or leave it out and say so"),
    (concat!("unimple", "mented!("), "finish it, or leave it out and say so"),
    (concat!("#[al", "low("), "use #[expect(.., reason = \"..\")]"),
];
const NOT_IN_TESTS: &[(&str, &str)] =
    &[(concat!("sl", "eep("), "wait for a condition: testkit::wait_for or poll_until")];

#[test]
fn every_source_file_is_reachable() {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned(), "--locked".to_owned()])
        .exec()
        .expect("cargo metadata");
    let mut reached = BTreeSet::new();
    for package in metadata.workspace_packages() {
        for target in &package.targets {
            reach(target.src_path.as_std_path(), true, &mut reached);
        }
    }
    let orphans: Vec<_> = with_extension("rs")
        .iter()
        .filter(|path| !reached.contains(*path))
        .map(|path| shown(path))
        .collect();
    assert_none(&orphans, "files that no `mod` declares: nobody compiles them");
}

/// Adds `file` and the files of its modules. `is_root`: modules lie beside it.
fn reach(file: &Path, is_root: bool, reached: &mut BTreeSet<PathBuf>) {
    if !file.exists() || !reached.insert(file.to_owned()) {
        return;
    }
    let parent = file.parent().expect("a file has a folder");
    let beside = is_root || file.ends_with("mod.rs");
    let folder = if beside { parent.to_owned() } else { file.with_extension("") };
    let mut moved = None;
    for line in read(file).lines().map(str::trim) {
        if let Some(path) = line.strip_prefix("#[path = \"").and_then(|p| p.strip_suffix("\"]")) {
            moved = Some(parent.join(path));
        } else if let Some(name) = declared(line) {
            let places = match moved.take() {
                Some(path) => vec![path],
                None => vec![folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")],
            };
            for place in places {
                reach(&place, false, reached);
            }
        }
    }
}

/// The name in `mod name;`, with any visibility.
fn declared(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("pub") {
        Some(rest) => rest.trim_start_matches(|c| c != ' ').trim_start(),
        None => line,
    };
    line.strip_prefix("mod ")?.strip_suffix(';')
}

#[test]
fn source_files_are_short() {
    let long: Vec<_> = with_extension("rs")
        .iter()
        .filter(|path| !is_test(path))
        .map(|path| (path, code_and_tests(&read(path)).0.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(path, lines)| format!("{}: {lines} lines without tests", shown(path)))
        .collect();
    assert_none(&long, &format!("files of more than {MAX_LINES} lines: split by idea"));
}

#[test]
fn sources_hold_nothing_unfinished_and_tests_do_not_wait_for_time() {
    let mut problems = Vec::new();
    for path in with_extension("rs") {
        let text = read(&path);
        let tests = if is_test(&path) { &text } else { code_and_tests(&text).1 };
        for (part, rules) in [(text.as_str(), NOWHERE), (tests, NOT_IN_TESTS)] {
            for line in part.lines().map(str::trim).filter(|line| !line.starts_with("// ")) {
                for (word, why) in rules.iter().filter(|(word, _)| line.contains(word)) {
                    problems.push(format!("{}: `{word}` in `{line}`: {why}", shown(&path)));
                }
            }
        }
    }
    assert_none(&problems, "words that may not stand in code");
}

/// Files that hold nothing but tests.
fn is_test(path: &Path) -> bool {
    path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests")
}

/// A file's code, and its inline test module (empty where there is none).
fn code_and_tests(text: &str) -> (&str, &str) {
    match text.find("\n#[cfg(test)]\nmod ") {
        Some(at) => text.split_at(at),
        None => (text, ""),
    }
}

#[test]
fn the_rules_can_fail() {
    assert_eq!(declared("mod a;"), Some("a"));
    assert_eq!(declared("pub(crate) mod b;"), Some("b"));
    assert_eq!(declared("pub mod c;"), Some("c"));
    assert_eq!(declared("mod d {"), None);
    assert_eq!(declared("use e;"), None);
    assert_eq!(code_and_tests("a\n#[cfg(test)]\nmod tests {}").0, "a");
    assert!(is_test(Path::new("x/src/foo/tests.rs")) && !is_test(Path::new("testkit/src/lib.rs")));

    let folder = tempfile::tempdir().expect("tempdir");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        std::fs::write(&path, text).expect("write");
        path
    };
    let lib = file("lib.rs", "mod a;\n#[path = \"z/other.rs\"]\nmod moved;\n");
    let declared =
        [lib.clone(), file("a.rs", "pub mod b;\n"), file("a/b.rs", ""), file("z/other.rs", "")];
    file("a/orphan.rs", "");
    file("moved.rs", "");
    let mut reached = BTreeSet::new();
    reach(&lib, true, &mut reached);
    assert_eq!(reached, declared.into_iter().collect());
}
