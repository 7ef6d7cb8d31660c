//! Manifests: from files, folders or standard input to documents that are ready to be sent, each
//! with the places of its fields, so that a finding about a field shows the line it stands on.
//!
//! Everything that can be said without a server is said here, about all documents at once.

mod fetch;
mod parse;
mod place;
mod read;
mod split;
mod tree;

use std::collections::HashMap;
use std::sync::Arc;

use higuma_model::{Document, Key, Scope, Violation, check};
use serde_json::Value;

pub(crate) use fetch::{Input, inputs};
pub(crate) use place::{Place, Source};
use tree::Node;

/// Documents of one command. A bound for typing errors such as `-f /`.
const MAX_DOCUMENTS: usize = 10_000;

/// How the model's finding about a field that does not exist begins: its name is what is wrong.
const UNKNOWN_FIELD: &str = "is no field of";

/// A document that breaks no rule that this program knows.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) key: Key,
    pub(crate) body: Value,
    pub(crate) warnings: Vec<String>,
    origin: Origin,
}

/// Where a document came from.
#[derive(Debug)]
struct Origin {
    source: Arc<Source>,
    /// Of the document's first character.
    start: Place,
    /// None for JSON that is no YAML (tabs); findings then show the document's first line.
    tree: Option<Node>,
}

/// How documents are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'a> {
    /// `--mesh`: for documents that name none; others must agree with it.
    pub(crate) mesh_flag: Option<&'a str>,
    /// The mesh of documents that name none, without the flag.
    pub(crate) default_mesh: &'a str,
    /// Unknown fields are findings, not warnings.
    pub(crate) strict: bool,
}

impl Loaded {
    /// A finding about `field` (Kuma's form, `mtls.backends[0].type`), with its line.
    pub(crate) fn finding(&self, field: &str, reason: &str) -> String {
        self.origin.finding(field, reason)
    }

    /// Where the document begins, `file:line:column`.
    pub(crate) fn shown(&self) -> String {
        self.origin.source.shown(self.origin.start)
    }
}

impl Origin {
    fn finding(&self, field: &str, reason: &str) -> String {
        let place = self.tree.as_ref().map_or(self.start, |tree| {
            let (key, value) = tree.locate(field);
            if reason.starts_with(UNKNOWN_FIELD) { key } else { value }
        });
        let text = if field.is_empty() { reason.to_owned() } else { format!("{field}: {reason}") };
        self.source.snippet(place, &text)
    }
}

/// Reads everything, or says all that is wrong with it.
pub(crate) fn load(inputs: Vec<Input>, reading: Reading<'_>) -> Result<Vec<Loaded>, Vec<String>> {
    load_sources(read::sources(inputs)?, reading)
}

fn load_sources(sources: Vec<Source>, reading: Reading<'_>) -> Result<Vec<Loaded>, Vec<String>> {
    let mut loaded: Vec<Loaded> = Vec::new();
    let mut wrong = Vec::new();
    for source in sources {
        let source = Arc::new(source);
        for part in split::documents(&source) {
            match parse::document(&source, part) {
                Ok(None) => {}
                Ok(Some((value, start, tree))) => {
                    let origin = Origin { source: source.clone(), start, tree };
                    match admit(value, origin, reading) {
                        Ok(document) => loaded.push(document),
                        Err(findings) => wrong.extend(findings),
                    }
                }
                Err(finding) => wrong.push(finding),
            }
        }
        if loaded.len() > MAX_DOCUMENTS {
            return Err(vec![format!("there are more than {MAX_DOCUMENTS} documents")]);
        }
    }
    wrong.extend(repeated(&loaded));
    match (wrong.is_empty(), loaded.is_empty()) {
        (true, false) => Ok(loaded),
        (true, true) => Err(vec!["there is no document to apply".to_owned()]),
        (false, _) => Err(wrong),
    }
}

/// Checks a document by the rules that need no server.
fn admit(value: Value, origin: Origin, reading: Reading<'_>) -> Result<Loaded, Vec<String>> {
    let shown = |found: Vec<Violation>| {
        found.iter().map(|v| origin.finding(&v.field, &v.reason)).collect::<Vec<_>>()
    };
    let mut body = value;
    let mut document = Document::parse(body.clone()).map_err(shown)?;
    let mut wrong = Vec::new();
    if document.kind.scope() == Scope::Mesh {
        let named = body.get("mesh").and_then(Value::as_str).filter(|mesh| !mesh.is_empty());
        match (named, reading.mesh_flag) {
            (Some(mesh), Some(flag)) if mesh != flag => {
                let reason = format!("is {mesh:?}, but --mesh says {flag:?}");
                wrong.push(Violation::new("mesh", reason));
            }
            (Some(_), _) => {}
            (None, flag) => {
                let mesh = flag.unwrap_or(reading.default_mesh);
                document.mesh = mesh.to_owned();
                body["mesh"] = mesh.into();
            }
        }
    }
    let warnings = match check(&document, reading.strict) {
        Ok(checked) => checked.warnings,
        Err(violations) => {
            wrong.extend(violations);
            Vec::new()
        }
    };
    if !wrong.is_empty() {
        return Err(shown(wrong));
    }
    Ok(Loaded { key: document.key(), body, warnings, origin })
}

/// The same resource twice: the last would win, and nobody means that.
fn repeated(loaded: &[Loaded]) -> Vec<String> {
    let mut first: HashMap<&Key, &Loaded> = HashMap::new();
    let mut wrong = Vec::new();
    for document in loaded {
        if let Some(earlier) = first.get(&document.key) {
            let (key, earlier) = (&document.key, earlier.shown());
            let reason = format!("{} {} stands at {earlier} too", key.kind(), key.name());
            wrong.push(document.finding("name", &reason));
        } else {
            first.insert(&document.key, document);
        }
    }
    wrong
}

#[cfg(test)]
pub(crate) mod tests;
