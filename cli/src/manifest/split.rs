//! A file's documents, as parts of its text, so that one that cannot be read hides no other.

use std::ops::Range;

use serde_json::Deserializer;
use serde_json::de::IoRead;

use super::Source;

/// One document of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// In bytes.
    pub(super) range: Range<usize>,
    pub(super) json: bool,
}

/// Splits a file. JSON documents follow each other; YAML documents are parted by `---`, which at
/// the beginning of a line can be nothing else (YAML 1.2.2, section 9.1.4).
pub(super) fn documents(source: &Source) -> Vec<Part> {
    let text = &source.text;
    let must = source.name.ends_with(".json");
    if (must || text.trim_start().starts_with('{'))
        && let Some(parts) = json(text, must)
    {
        return parts;
    }
    yaml(text)
}

/// None if this is no JSON, unless it must be.
fn json(text: &str, must: bool) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut stream =
        Deserializer::new(IoRead::new(text.as_bytes())).into_iter::<serde::de::IgnoredAny>();
    loop {
        let start = stream.byte_offset();
        let next = stream.next();
        let part = |end| Part { range: start..end, json: true };
        match next {
            None => return Some(parts),
            Some(Ok(_)) => parts.push(part(stream.byte_offset())),
            Some(Err(_)) if must => {
                // The rest is one part, whose parsing says what is wrong.
                parts.push(part(text.len()));
                return Some(parts);
            }
            Some(Err(_)) => return None,
        }
    }
}

fn yaml(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let (mut start, mut at, mut content) = (0, 0, false);
    let mut push = |range: Range<usize>| parts.push(Part { range, json: false });
    for line in text.split_inclusive('\n') {
        let marker = |mark: &str| {
            line.strip_prefix(mark)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
        };
        let after = at + line.len();
        if marker("---") {
            if content {
                push(start..at);
                start = at;
            }
            content = true;
        } else if marker("...") {
            if content {
                push(start..after);
            }
            (start, content) = (after, false);
        } else if !line.trim().is_empty() && !line.starts_with(['#', '%']) {
            content = true;
        }
        at = after;
    }
    if content {
        push(start..text.len());
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(name: &str, text: &str) -> Vec<String> {
        let source = Source { name: name.to_owned(), text: text.to_owned() };
        documents(&source).into_iter().map(|part| text[part.range].to_owned()).collect()
    }

    #[test]
    fn yaml_is_parted_by_markers_at_the_beginning_of_a_line() {
        for (text, expected) in [
            ("a: 1\n", vec!["a: 1\n"]),
            ("a: 1\n---\nb: 2", vec!["a: 1\n", "---\nb: 2"]),
            ("---\na: 1\n--- # x\nb: 2\n", vec!["---\na: 1\n", "--- # x\nb: 2\n"]),
            ("# c\n%YAML 1.2\n---\na: 1\n", vec!["# c\n%YAML 1.2\n---\na: 1\n"]),
            ("a: 1\n...\n# c\n---\nb: 2\n", vec!["a: 1\n...\n", "# c\n---\nb: 2\n"]),
            ("a: |\n  ---\n  x\n", vec!["a: |\n  ---\n  x\n"]),
            ("a: ---x\n---y\n", vec!["a: ---x\n---y\n"]),
            ("\n# only a comment\n", vec![]),
            ("a: 1\r\n---\r\nb: 2\r\n", vec!["a: 1\r\n", "---\r\nb: 2\r\n"]),
        ] {
            assert_eq!(split("f.yaml", text), expected, "{text:?}");
        }
    }

    #[test]
    fn json_documents_follow_each_other() {
        assert_eq!(split("f.json", "{\"a\":1}\n {\"b\":2}\n"), ["{\"a\":1}", "\n {\"b\":2}"]);
        assert_eq!(split("-", "{\"a\":1}{\"b\":2}").len(), 2);
        // Flow style, which is YAML alone.
        assert_eq!(split("f.yaml", "{a: 1}\n"), ["{a: 1}\n"]);
        assert_eq!(split("f.json", "{\"a\":1}\n{\"b\"\n"), ["{\"a\":1}", "\n{\"b\"\n"]);
    }
}
