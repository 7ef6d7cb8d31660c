//! One document's text to JSON, with what is wrong about its syntax.

use serde_json::Value;

use super::split::Part;
use super::tree::Node;
use super::{Place, Source};

/// A value with its place and those of its fields; none for a document that says nothing.
type Parsed = Option<(Value, Place, Option<Node>)>;

/// Reads one document.
pub(super) fn document(source: &Source, part: Part) -> Result<Parsed, String> {
    let (before, text) = (&source.text[..part.range.start], &source.text[part.range]);
    let at = Lines { before: before.matches('\n').count(), column: column_after(before) };
    let value = if part.json { json(source, text, at)? } else { yaml(source, text, at)? };
    if value.is_null() {
        return Ok(None);
    }
    let tree = Node::read(text, at.before).map(|tree| at.shifted(tree));
    let start = tree.as_ref().map_or_else(|| at.first(text), |tree| tree.place);
    if let Some((key, place)) = tree.as_ref().and_then(Node::repeated) {
        return Err(source.snippet(place, &format!("key {key:?} stands twice")));
    }
    Ok(Some((value, start, tree)))
}

/// Where a document's text begins in its file.
#[derive(Clone, Copy)]
struct Lines {
    before: usize,
    /// Characters before it on its first line.
    column: usize,
}

fn column_after(before: &str) -> usize {
    before.rsplit('\n').next().unwrap_or_default().chars().count()
}

impl Lines {
    fn place(self, line: usize, column: usize, width: usize) -> Place {
        let shift = if line == 1 { self.column } else { 0 };
        Place { line: line.max(1) + self.before, column: column.max(1) + shift, width }
    }

    /// The first character that is no white space.
    fn first(self, text: &str) -> Place {
        let blank = &text[..text.len() - text.trim_start().len()];
        let (lines, column) = (blank.matches('\n').count(), column_after(blank));
        self.place(lines + 1, column + 1, 1)
    }

    /// Moves what stands on the first line, for a document that begins within one.
    fn shifted(self, mut node: Node) -> Node {
        fn shift(node: &mut Node, line: usize, by: usize) {
            let move_place = |place: &mut Place| {
                if place.line == line {
                    place.column += by;
                }
            };
            move_place(&mut node.place);
            match &mut node.content {
                super::tree::Content::Leaf => {}
                super::tree::Content::List(items) => {
                    items.iter_mut().for_each(|item| shift(item, line, by));
                }
                super::tree::Content::Map(entries) => {
                    for (_, place, child) in entries {
                        move_place(place);
                        shift(child, line, by);
                    }
                }
            }
        }
        if self.column > 0 {
            shift(&mut node, self.before + 1, self.column);
        }
        node
    }
}

fn json(source: &Source, text: &str, at: Lines) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| {
        let place = at.place(error.line(), error.column(), 1);
        let why = error.to_string();
        let why = why.split(" at line ").next().unwrap_or(&why).to_owned();
        source.snippet(place, &format!("this is not JSON: {why}"))
    })
}

fn yaml(source: &Source, text: &str, at: Lines) -> Result<Value, String> {
    // YAML 1.2: only `true` and `false` are booleans, so that `zone: no` is Norway.
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = match error.location() {
            Some(location) => {
                let number = |n: u64| usize::try_from(n).unwrap_or(1);
                at.place(number(location.line()), number(location.column()), 1)
            }
            None => at.first(text),
        };
        let why = error.to_string();
        source.snippet(place, &format!("this is not YAML: {}", without_place(&why)))
    })
}

/// A parser's message without its own idea of where: the snippet says that.
fn without_place(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    let end = [" at line ", " (line "].iter().filter_map(|mark| line.find(mark)).min();
    line[..end.unwrap_or(line.len())].trim().to_owned()
}
