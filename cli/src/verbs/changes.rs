//! Changes as tables and as differences of text.

use serde_json::Value;

use crate::failure::Failure;
use crate::output::{self, Format};

pub(super) const HEADING: [&str; 7] =
    ["VERSION", "TIME", "WHO", "FROM", "OPERATION", "RESOURCE", "REASON"];

/// Lines of a document that are compared one by one; a longer one is shown as replaced.
const MAX_LINES: usize = 3_000;

/// One row for each resource that a version changed.
pub(super) fn rows(change: &Value) -> Vec<Vec<String>> {
    let text = |name: &str| change[name].as_str().unwrap_or("-").to_owned();
    let from = match (change["from"].as_str(), change["node"].as_u64()) {
        (Some(from), Some(node)) => format!("{from} at node {node}"),
        (None, Some(node)) => format!("node {node}"),
        _ => "-".to_owned(),
    };
    let edits = change["changes"].as_array().into_iter().flatten();
    edits
        .map(|edit| {
            let who = text("who");
            let version = change["version"].to_string();
            let operation = edit["operation"].as_str().unwrap_or("-").to_owned();
            vec![version, text("at"), who, from.clone(), operation, named(edit), text("reason")]
        })
        .collect()
}

/// `TrafficPermission allow-all in mesh default`.
pub(super) fn named(edit: &Value) -> String {
    let text = |name: &str| edit[name].as_str();
    let (kind, name) = (text("type").unwrap_or("-"), text("name").unwrap_or("-"));
    match text("mesh") {
        Some(mesh) => format!("{kind} {name} in mesh {mesh}"),
        None => format!("{kind} {name}"),
    }
}

/// What differs, as people read it: each resource with the lines that go and come.
pub(super) fn difference(changes: &[Value]) -> Result<String, Failure> {
    let mut text = Vec::new();
    for edit in changes {
        let operation = edit["operation"].as_str().unwrap_or("-");
        text.push(format!("{operation} {}", named(edit)));
        let (before, after) = (document(&edit["previous"])?, document(&edit["value"])?);
        text.extend(lines(&before, &after).into_iter().map(|line| format!("  {line}")));
        text.push(String::new());
    }
    Ok(text.join("\n"))
}

/// A resource as YAML, without what every write changes.
fn document(value: &Value) -> Result<String, Failure> {
    if value.is_null() {
        return Ok(String::new());
    }
    output::value(&plain(value), Format::Yaml)
}

/// A resource without its times, which are the server's.
pub(super) fn plain(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|name, _| !matches!(&**name, "creationTime" | "modificationTime"));
    }
    value
}

/// The lines of both, each with `-`, `+` or a space before it; of what is the same, only what
/// stands near to what differs.
fn lines(before: &str, after: &str) -> Vec<String> {
    const NEAR: usize = 3;
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let signed = |sign: char, lines: &[&str]| -> Vec<String> {
        lines.iter().map(|line| format!("{sign} {line}")).collect()
    };
    if old.len().max(new.len()) > MAX_LINES {
        return [signed('-', &old), signed('+', &new)].concat();
    }
    let all = common(&old, &new);
    let differs: Vec<usize> = (0..all.len()).filter(|at| all[*at].0 != ' ').collect();
    let mut shown = Vec::new();
    let mut gap = false;
    for (at, (sign, line)) in all.iter().enumerate() {
        let after = differs.partition_point(|differs| *differs < at);
        let near = |at_differs: Option<&usize>| {
            at_differs.is_some_and(|differs| differs.abs_diff(at) <= NEAR)
        };
        if near(differs.get(after)) || near(after.checked_sub(1).and_then(|b| differs.get(b))) {
            shown.push(format!("{sign} {line}"));
            gap = false;
        } else if !gap {
            shown.push("  …".to_owned());
            gap = true;
        }
    }
    shown
}

/// Both texts in one, along their longest common subsequence.
fn common<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(char, &'a str)> {
    let width = new.len() + 1;
    let mut longest = vec![0_u16; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            longest[i * width + j] = if old[i] == new[j] {
                longest[(i + 1) * width + j + 1] + 1
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut all = Vec::with_capacity(old.len() + new.len());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            all.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len()
            || (i < old.len() && longest[(i + 1) * width + j] >= longest[i * width + j + 1])
        {
            all.push(('-', old[i]));
            i += 1;
        } else {
            all.push(('+', new[j]));
            j += 1;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_shows_the_lines_that_go_and_come() {
        let before = "a\nb\nc\nd\ne\nf\ng\nh";
        assert_eq!(lines(before, before), ["  …"]);
        assert_eq!(
            lines(before, "a\nb\nc\nd\ne\nX\ng\nh"),
            ["  …", "  c", "  d", "  e", "- f", "+ X", "  g", "  h"]
        );
        assert_eq!(lines("", "a\nb"), ["+ a", "+ b"]);
        assert_eq!(lines("a", ""), ["- a"]);
    }

    #[test]
    fn a_change_has_a_row_for_each_resource() {
        let change = json!({
            "version": 7, "at": "2026-01-31T14:00:00.000Z", "who": "localhost admin",
            "from": "127.0.0.1:4", "node": 2, "reason": null,
            "changes": [
                {"operation": "updated", "type": "Mesh", "name": "default"},
                {"operation": "deleted", "type": "TrafficRoute", "mesh": "default", "name": "r"},
            ],
        });
        let rows = rows(&change);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0][3..6], ["127.0.0.1:4 at node 2", "updated", "Mesh default"]);
        assert_eq!(rows[1][4..], ["deleted", "TrafficRoute r in mesh default", "-"]);
    }
}
