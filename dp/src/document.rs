//! The file that describes a proxy: read, and checked as far as that goes without the control
//! plane, so that a mistake shows before anything is started.

use std::path::{Path, PathBuf};

use higuma_model::{Document, Kind, MAX_RESOURCE_BYTES, Violation, check};
use serde_json::Value;

/// The resource of the proxy that is to run: a Dataplane or a ZoneIngress that breaks no rule of
/// its kind.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxyDocument {
    pub kind: Kind,
    /// Empty for a ZoneIngress.
    pub mesh: String,
    pub name: String,
    /// The document as JSON, as it was written; a Dataplane that names no mesh has Kuma's default.
    pub value: Value,
}

/// What is wrong with the file. Every message begins with its path.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("cannot read {}: {source}; give the path of a YAML or JSON file that holds one {kind}", path.display())]
    Read { path: PathBuf, kind: Kind, source: std::io::Error },
    #[error("{}: {bytes} bytes are more than a resource may have ({MAX_RESOURCE_BYTES})", path.display())]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error(
        "{}, line {line}: `{text}` looks like a variable; variables are not supported, write the value itself",
        path.display()
    )]
    Variable { path: PathBuf, line: usize, text: String },
    #[error("{}: not valid YAML or JSON: {reason}", path.display())]
    Syntax { path: PathBuf, reason: String },
    #[error("{}: holds {found} documents; write one {kind}", path.display())]
    Count { path: PathBuf, kind: Kind, found: usize },
    #[error("{}: type: is {found}, and {kind} is what runs here", path.display())]
    Kind { path: PathBuf, kind: Kind, found: Kind },
    #[error("{}: {}", path.display(), list(violations))]
    Invalid { path: PathBuf, violations: Vec<Violation> },
}

fn list(violations: &[Violation]) -> String {
    let lines: Vec<_> = violations.iter().map(Violation::to_string).collect();
    lines.join("\n  ")
}

impl ProxyDocument {
    /// Reads the file, which must hold one `kind`, and logs what the user should know about it.
    ///
    /// # Errors
    /// Names the file, and the field or the line.
    pub fn read(path: &Path, kind: Kind) -> Result<Self, DocumentError> {
        let unreadable = |source| DocumentError::Read { path: path.to_owned(), kind, source };
        let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
        if bytes > MAX_RESOURCE_BYTES as u64 {
            return Err(DocumentError::TooLarge { path: path.to_owned(), bytes });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::parse(&text, path, kind)
    }

    fn parse(text: &str, path: &Path, kind: Kind) -> Result<Self, DocumentError> {
        let path = path.to_owned();
        if let Some((line, text)) = variable(text) {
            return Err(DocumentError::Variable { path, line, text });
        }
        let mut value = match one_value(text) {
            Ok(Ok(value)) => value,
            Ok(Err(found)) => return Err(DocumentError::Count { path, kind, found }),
            Err(reason) => return Err(DocumentError::Syntax { path, reason }),
        };
        let document = match Document::parse(value.clone()) {
            Ok(document) => document,
            Err(violations) => return Err(DocumentError::Invalid { path, violations }),
        };
        if document.kind != kind {
            return Err(DocumentError::Kind { path, kind, found: document.kind });
        }
        // Strict: a field that nobody knows is a typing error, and this is where it is cheap.
        match check(&document, true) {
            Ok(checked) => {
                for warning in checked.warnings {
                    tracing::warn!(file = %path.display(), "{warning}");
                }
            }
            Err(violations) => return Err(DocumentError::Invalid { path, violations }),
        }
        if !document.mesh.is_empty()
            && let Value::Object(fields) = &mut value
        {
            fields.insert("mesh".to_owned(), document.mesh.clone().into());
        }
        Ok(Self { kind, mesh: document.mesh, name: document.name, value })
    }

    /// `networking.admin.port`, if the document sets it.
    pub fn admin_port(&self) -> Option<u16> {
        let port = self.value.pointer("/networking/admin/port")?.as_u64()?;
        u16::try_from(port).ok().filter(|port| *port != 0)
    }
}

/// The one document of a file, or how many there are.
fn one_value(text: &str) -> Result<Result<Value, usize>, String> {
    // Unquoted `no` and `off` are text, as in YAML 1.2 and in Kuma.
    let options = serde_saphyr::options! { strict_booleans: true };
    let mut values: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| error.to_string())?;
    match (values.pop(), values.len()) {
        (Some(value), 0) => Ok(Ok(value)),
        (None, _) => Ok(Err(0)),
        (Some(_), others) => Ok(Err(others + 1)),
    }
}

/// The first thing outside comments that looks like Kuma's `{{ name }}`, with its line.
fn variable(text: &str) -> Option<(usize, String)> {
    text.lines().enumerate().find_map(|(index, line)| {
        let code = if line.trim_start().starts_with('#') { "" } else { line };
        let (_, rest) = code.split_once("{{")?;
        let (name, _) = rest.split_once("}}")?;
        Some((index + 1, format!("{{{{{name}}}}}")))
    })
}

#[cfg(test)]
mod tests;
