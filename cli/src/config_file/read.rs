//! The file's keys and values, as they are written there.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, StrInput};

/// Far more than all flags take; a bound for a wrong path.
const MAX_BYTES: u64 = 1 << 20;

/// A key of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// `FILE:LINE`.
    pub(super) place: String,
    pub(super) line: usize,
    pub(super) values: Vec<String>,
}

/// What an entry is on the command line.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) words: Vec<OsString>,
}

/// Reads a file.
///
/// # Errors
/// What is wrong, and where.
pub(super) fn file(path: &Path) -> Result<Vec<Entry>, String> {
    let name = path.display().to_string();
    let cannot = |why: String| format!("{name}: cannot be read: {why} (it is named by --config)");
    let mut text = String::new();
    let file = File::open(path).map_err(|error| cannot(error.to_string()))?;
    file.take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| cannot(error.to_string()))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(cannot(format!("it is over {MAX_BYTES} bytes")));
    }
    entries(&name, &text)
}

/// The entries of a text: a map of scalars, and of lists of scalars.
pub(super) fn entries(name: &str, text: &str) -> Result<Vec<Entry>, String> {
    let mut reader = Reader { name, parser: Parser::new_from_str(text) };
    loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(..), _) => {}
            (Event::StreamEnd, _) => return Ok(Vec::new()),
            (Event::MappingStart(..), _) => break,
            // An empty document, or one of comments only.
            (Event::Scalar(text, ScalarStyle::Plain, ..), _) if is_nothing(&text) => {
                return Ok(Vec::new());
            }
            (_, span) => {
                let what = "it must be a map of flags and their values, such as `bind: 10.0.0.1`";
                return Err(reader.at(span, what));
            }
        }
    }
    let entries = reader.map()?;
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(entries),
            (Event::DocumentStart(..), span) => {
                return Err(reader.at(span, "a second document; the flags are one"));
            }
            _ => {}
        }
    }
}

struct Reader<'a> {
    name: &'a str,
    parser: Parser<'a, StrInput<'a>>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), String> {
        let name = self.name;
        loop {
            return match self.parser.next_event() {
                Some(Ok((Event::Comment(..), _))) => continue,
                Some(Ok(event)) => Ok(event),
                Some(Err(error)) => {
                    Err(format!("{name}:{}: {}", error.marker().line(), error.info()))
                }
                None => Err(format!("{name}: it ends too early")),
            };
        }
    }

    fn at(&self, span: Span, what: &str) -> String {
        format!("{}:{}: {what}", self.name, span.start.line())
    }

    fn map(&mut self) -> Result<Vec<Entry>, String> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (key, span) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(entries),
                (Event::Scalar(key, ..), span) => (key.into_owned(), span),
                (_, span) => return Err(self.at(span, "a key must be a flag's name")),
            };
            if let Some(before) = entries.iter().find(|entry| entry.key == key) {
                let what = format!("{key:?} stands in line {} already", before.line);
                return Err(self.at(span, &what));
            }
            let values = self.values(&key)?;
            let line = span.start.line();
            entries.push(Entry { key, place: format!("{}:{line}", self.name), line, values });
        }
    }

    fn values(&mut self, key: &str) -> Result<Vec<String>, String> {
        let wrong = format!("{key} takes a value or a list of values");
        match self.next()? {
            (Event::Scalar(text, style, ..), span) => {
                Ok(vec![self.value(key, &text, style, span)?])
            }
            (Event::SequenceStart(..), _) => {
                let mut values = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => return Ok(values),
                        (Event::Scalar(text, style, ..), span) => {
                            values.push(self.value(key, &text, style, span)?);
                        }
                        (_, span) => return Err(self.at(span, &wrong)),
                    }
                }
            }
            (_, span) => Err(self.at(span, &wrong)),
        }
    }

    /// A value's text as it is written: `1.10` is a version, not a number.
    fn value(
        &self,
        key: &str,
        text: &str,
        style: ScalarStyle,
        span: Span,
    ) -> Result<String, String> {
        if style == ScalarStyle::Plain && is_nothing(text) {
            let what = format!("{key} has no value: give one, or leave the key out");
            return Err(self.at(span, &what));
        }
        Ok(text.to_owned())
    }
}

fn is_nothing(text: &str) -> bool {
    matches!(text, "" | "~" | "null")
}
