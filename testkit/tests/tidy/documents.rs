//! Rules for documents: what they name exists, and they name nobody's machine.

use std::path::Path;

use crate::{assert_none, read, root, shown, with_extension};

/// First parts of things that look like a path and are none of the repository's: media types, and
/// folders that exist only on a machine that has run something.
const NOT_OURS: [&str; 5] = ["application", "text", "target", ".tools", ".lab"];

#[test]
fn paths_in_documents_exist() {
    let mut problems = Vec::new();
    for document in with_extension("md") {
        // History may name what is gone.
        if document.ends_with("CHANGELOG.md") {
            continue;
        }
        let folder = document.parent().expect("a file has a folder").to_owned();
        let text = read(&document);
        for path in quoted_paths(&text) {
            if !root().join(path).exists() && !folder.join(path).exists() {
                problems.push(format!("{}: `{path}`", shown(&document)));
            }
        }
        for path in linked_paths(&text) {
            if !folder.join(path).exists() {
                problems.push(format!("{}: ]({path})", shown(&document)));
            }
        }
    }
    assert_none(&problems, "paths that documents name and that do not exist");
}

#[test]
fn documents_name_no_machine() {
    let machine = [concat!("/wo", "rk"), concat!("/ro", "ot"), concat!("/ho", "me")];
    let mut problems = Vec::new();
    let scripts = crate::files(&root().join("scripts"));
    let others = ["Makefile", ".ci/run"].map(|name| root().join(name));
    for path in with_extension("md").into_iter().chain(scripts).chain(others) {
        for line in read(&path).lines().filter(|line| machine.iter().any(|m| names(line, m))) {
            problems.push(format!("{}: {}", shown(&path), line.trim()));
        }
    }
    assert_none(&problems, "absolute paths of somebody's machine");
}

/// Whether `line` holds the absolute path `folder` or something below it.
fn names(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + folder.len()..].chars().next();
        let part = |c: char| c.is_alphanumeric() || "_-./}".contains(c);
        !before.is_some_and(part) && !after.is_some_and(|c| c != '/' && part(c))
    })
}

/// What stands in backticks and looks like a path of the repository.
fn quoted_paths(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(line.split('`').skip(1).step_by(2).filter(|word| is_path(word)));
        }
    }
    found
}

fn is_path(word: &str) -> bool {
    let Some((first, rest)) = word.split_once('/') else {
        return Path::new(word).extension().is_some_and(|e| e == "rs" || e == "md");
    };
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    // `kuma.io/zone` is a label, `240.0.0.0/4` a network, `5681/5682` two ports.
    let foreign = first.trim_start_matches('.').contains('.')
        || first.chars().all(|c| c.is_ascii_digit())
        || NOT_OURS.contains(&first);
    plain && !first.is_empty() && !foreign && !rest.starts_with('/')
}

/// Targets of links within the repository, without their `#anchor`.
fn linked_paths(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .map(|target| target.split('#').next().unwrap_or(target))
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.contains(' '))
        .collect()
}

#[test]
fn the_rules_can_fail() {
    let text = "see `store/src/gone.rs`, `kuma.io/zone`, `5681/5682`, `/meshes/a`, `Cargo.toml`\n\
                ```\n`in/a/fence`\n```\n[x](docs/y.md#z) [web](https://example.com/a)";
    assert_eq!(quoted_paths(text), ["store/src/gone.rs"]);
    assert_eq!(linked_paths(text), ["docs/y.md"]);

    let folder = concat!("/ro", "ot");
    assert!(names(&format!("cd {folder}/x"), folder));
    assert!(names(&format!("`{folder}`"), folder));
    assert!(!names("pki/root.pem and ${DIR}/root and /rooted", folder));
}
