//! What is wrong with a document: every finding at once, each with the field it is about.

use std::fmt;

/// Findings kept of one document; a generated file can be wrong in thousands of places, and an
/// answer that lists them all helps nobody.
pub const MAX_VIOLATIONS: usize = 100;

/// One thing wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Kuma's path form: `mtls.backends[0].type`, `labels["team"]`; empty: the whole document.
    pub field: String,
    pub reason: String,
}

impl Violation {
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }

    /// Whether this is about the field that the other is about, or a part of it.
    fn is_within(&self, other: &Self) -> bool {
        let rest = self.field.strip_prefix(&other.field);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.reason),
            field => write!(f, "{field}: {}", self.reason),
        }
    }
}

/// Collects findings up to [`MAX_VIOLATIONS`].
#[derive(Debug, Default)]
pub(crate) struct Violations {
    found: Vec<Violation>,
    left_out: usize,
}

impl Violations {
    pub(crate) fn add(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        if self.found.len() < MAX_VIOLATIONS {
            self.found.push(Violation::new(field, reason));
        } else {
            self.left_out += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn add_all(&mut self, other: Self) {
        for violation in other.found {
            self.add(violation.field, violation.reason);
        }
        self.left_out += other.left_out;
    }

    /// Adds what a later pass found, less what only follows from an earlier finding.
    pub(crate) fn add_independent(&mut self, later: Self) {
        let earlier = self.found.clone();
        for violation in later.found {
            if !earlier.iter().any(|known| violation.is_within(known)) {
                self.add(violation.field, violation.reason);
            }
        }
        self.left_out += later.left_out;
    }

    pub(crate) fn into_result(self) -> Result<(), Vec<Violation>> {
        if self.found.is_empty() { Ok(()) } else { Err(self.into_vec()) }
    }

    pub(crate) fn into_vec(mut self) -> Vec<Violation> {
        if self.left_out > 0 {
            let reason = format!("{} more problems are not listed", self.left_out);
            self.found.push(Violation::new("", reason));
        }
        self.found
    }
}

/// Characters of a user's own text that a path or message repeats.
const MAX_QUOTED: usize = 64;

/// A user's text as a message repeats it: bounded, without control characters.
pub(crate) fn quoted(text: &str) -> String {
    let shown: String =
        text.chars().take(MAX_QUOTED).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().count() > MAX_QUOTED { format!("{shown}…") } else { shown }
}

/// Paths in Kuma's form.
pub(crate) mod path {
    use super::quoted;

    pub(crate) fn field(path: &str, name: &str) -> String {
        if path.is_empty() { quoted(name) } else { format!("{path}.{}", quoted(name)) }
    }

    pub(crate) fn index(path: &str, index: usize) -> String {
        format!("{path}[{index}]")
    }

    pub(crate) fn key(path: &str, key: &str) -> String {
        format!("{path}[\"{}\"]", quoted(key))
    }
}
