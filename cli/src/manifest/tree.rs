//! Where each field of a document stands, from the events of the same parser that reads it.

use serde_saphyr::granit_parser::{Event, Marker, Parser, Span};

use super::Place;

/// Levels of a document; a resource has about ten.
const MAX_DEPTH: usize = 128;

/// A value and its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Scalars and aliases.
    Leaf,
    List(Vec<Node>),
    /// Key, its place, its value.
    Map(Vec<(String, Place, Node)>),
}

/// One step of Kuma's field paths.
#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

impl Node {
    /// Reads one document; `lines_before` is how many lines of the file stand before `text`.
    /// None if this parser cannot.
    pub(super) fn read(text: &str, lines_before: usize) -> Option<Self> {
        let mut events = Events { parser: Parser::new_from_str(text), lines_before };
        loop {
            match events.next()? {
                (Event::StreamStart | Event::DocumentStart(..), _) => {}
                (event, span) => return events.node(event, span, 0),
            }
        }
    }

    /// The place of a field's key, and of its value. Of a field that is not there, its nearest
    /// parent that is.
    pub(super) fn locate(&self, field: &str) -> (Place, Place) {
        let (mut node, mut key_place, mut place) = (self, self.place, self.place);
        for step in steps(field) {
            let child = match (&node.content, step) {
                (Content::Map(entries), Step::Name(name)) => {
                    entries.iter().find(|(key, ..)| key == name).map(|(_, key, node)| (key, node))
                }
                (Content::List(items), Step::Index(index)) => {
                    items.get(index).map(|item| (&item.place, item))
                }
                _ => None,
            };
            let Some((at, child)) = child else { break };
            (node, key_place) = (child, *at);
            // Of a map or list, the key says more than its first line does.
            place = if node.content == Content::Leaf { node.place } else { *at };
        }
        (key_place, place)
    }

    /// A key that stands twice in one map.
    pub(super) fn repeated(&self) -> Option<(&str, Place)> {
        match &self.content {
            Content::Leaf => None,
            Content::List(items) => items.iter().find_map(Self::repeated),
            Content::Map(entries) => {
                let mut seen = std::collections::HashSet::new();
                let twice = entries.iter().find(|(key, ..)| !seen.insert(key));
                twice
                    .map(|(key, place, _)| (key.as_str(), *place))
                    .or_else(|| entries.iter().find_map(|(.., node)| node.repeated()))
            }
        }
    }
}

struct Events<'a> {
    parser: Parser<'a, serde_saphyr::granit_parser::StrInput<'a>>,
    lines_before: usize,
}

impl<'a> Events<'a> {
    fn next(&mut self) -> Option<(Event<'a>, Span)> {
        loop {
            match self.parser.next_event()?.ok()? {
                (Event::Comment(..), _) => {}
                event => return Some(event),
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Option<Node> {
        if depth > MAX_DEPTH {
            return None;
        }
        let place = self.place(span);
        let content = match event {
            Event::Scalar(..) | Event::Alias(_) => Content::Leaf,
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                }
                Content::List(items)
            }
            Event::MappingStart(..) => {
                let mut entries = Vec::new();
                loop {
                    let (key, at) = match self.next()? {
                        (Event::MappingEnd, _) => break,
                        (Event::Scalar(text, ..), span) => (text.into_owned(), self.place(span)),
                        _ => return None,
                    };
                    let (event, span) = self.next()?;
                    entries.push((key, at, self.node(event, span, depth + 1)?));
                }
                Content::Map(entries)
            }
            _ => return None,
        };
        Some(Node { place, content })
    }

    fn place(&self, span: Span) -> Place {
        let (start, end): (Marker, Marker) = (span.start, span.end);
        let width = if start.line() == end.line() {
            end.col().saturating_sub(start.col()).max(1)
        } else {
            1
        };
        Place { line: start.line() + self.lines_before, column: start.col() + 1, width }
    }
}

/// `mtls.backends[0].tags["a.b"]` in steps. What follows no form ends the path.
fn steps(field: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    let mut rest = field;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("[\"") {
            let Some((key, after)) = after.split_once("\"]") else { break };
            steps.push(Step::Name(key));
            rest = after;
        } else if let Some(after) = rest.strip_prefix('[') {
            let Some((index, after)) = after.split_once(']') else { break };
            let Ok(index) = index.parse() else { break };
            steps.push(Step::Index(index));
            rest = after;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            steps.push(Step::Name(&rest[..end]));
            rest = &rest[end..];
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
type: Mesh
name: default
mtls:
  enabledBackend: ca-1
  backends:
  - name: ca-1
    type: builtinn
labels:
  team.io/a: x
empty:
";

    #[test]
    fn fields_are_found_where_they_stand() {
        let tree = Node::read(TEXT, 10).expect("a tree");
        for (field, expected) in [
            ("", (11, 1, 1)),
            ("type", (11, 7, 4)),
            ("mtls", (13, 1, 4)),
            ("mtls.backends", (15, 3, 8)),
            ("mtls.backends[0]", (16, 5, 1)),
            ("mtls.backends[0].type", (17, 11, 8)),
            // What is missing is shown at what holds it.
            ("mtls.backends[0].conf.caCert", (16, 5, 1)),
            ("mtls.backends[7].type", (15, 3, 8)),
            ("labels[\"team.io/a\"]", (19, 14, 1)),
            ("routing.x", (11, 1, 1)),
            ("mtls.backends[x", (15, 3, 8)),
        ] {
            let (_, place) = tree.locate(field);
            assert_eq!((place.line, place.column, place.width), expected, "{field}");
        }
    }

    #[test]
    fn comments_move_nothing() {
        let text = "# a mesh\ntype: Mesh # its type\nmtls:\n  # none\n  enabledBackend: x\n";
        let (_, place) = Node::read(text, 0).expect("a tree").locate("mtls.enabledBackend");
        assert_eq!((place.line, place.column), (5, 19));
    }

    #[test]
    fn keys_are_found_beside_their_values() {
        let tree = Node::read(TEXT, 0).expect("a tree");
        let (key, value) = tree.locate("mtls.backends[0].type");
        assert_eq!((key.line, key.column, key.width), (7, 5, 4));
        assert_eq!((value.line, value.column, value.width), (7, 11, 8));
    }

    #[test]
    fn paths_are_read_in_steps() {
        use Step::{Index, Name};
        assert_eq!(steps("a.b[0].c"), [Name("a"), Name("b"), Index(0), Name("c")]);
        assert_eq!(steps("s[2].match[\"kuma.io/service\"].x").len(), 5);
        assert_eq!(steps("a[\"b"), [Name("a")]);
    }

    #[test]
    fn repeated_keys_are_found() {
        let tree = Node::read(r#"{"a": {"b": 1, "c": [{"x": 1, "x": 2}]}}"#, 0).unwrap();
        let (key, place) = tree.repeated().unwrap();
        assert_eq!((key, place.column), ("x", 31));
    }
}
