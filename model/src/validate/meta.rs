//! Names, mesh names and labels (Kuma's meta rules).

use crate::Kind;
use crate::document::Document;
use crate::kind::Scope;
use crate::resource::labels;
use crate::violation::{Violations, path};

/// A DNS subdomain's length; Kubernetes' bound for names, so Kuma's.
const MAX_NAME_BYTES: usize = 253;

/// A mesh's name is a label of host names and of SNIs.
const MAX_MESH_NAME_BYTES: usize = 63;

/// Kubernetes' bound for the name part of a label's key and for its value.
const MAX_LABEL_BYTES: usize = 63;

pub(super) fn check(document: &Document, violations: &mut Violations) {
    name(document, violations);
    if document.kind.scope() == Scope::Mesh {
        mesh(&document.mesh, violations);
    }
    for (key, value) in &document.labels {
        let field = path::key("labels", key);
        if !is_label_key(key) {
            let reason = "is no label key: an optional DNS prefix and a slash, then up to 63 \
                          letters, digits, '-', '_' or '.', with a letter or digit at both ends";
            violations.add(&field, reason);
        }
        if !value.is_empty() && !is_label_name(value) {
            let reason = "is no label value: up to 63 letters, digits, '-', '_' or '.', with a \
                          letter or digit at both ends";
            violations.add(&field, reason);
        }
    }
    let display_name = document.labels.get(labels::DISPLAY_NAME);
    if display_name.is_some_and(String::is_empty) {
        violations.add(path::key("labels", labels::DISPLAY_NAME), "cannot be empty");
    }
}

fn name(document: &Document, violations: &mut Violations) {
    let name = &document.name;
    if name.is_empty() {
        violations.add("name", "cannot be empty");
    } else if name.len() > MAX_NAME_BYTES {
        violations.add("name", format!("value length must less or equal {MAX_NAME_BYTES}"));
    } else if !is_dns_subdomain(name) {
        let reason = "invalid characters. A lowercase RFC 1123 subdomain has lowercase letters, \
                      digits, '-' or '.', with a letter or digit at both ends of each part";
        violations.add("name", reason);
    } else if document.kind == Kind::Mesh && name.len() > MAX_MESH_NAME_BYTES {
        violations.add("name", format!("cannot be longer than {MAX_MESH_NAME_BYTES} characters"));
    }
}

fn mesh(mesh: &str, violations: &mut Violations) {
    let legal = |c: u8| c.is_ascii_digit() || c.is_ascii_lowercase() || b"-_.".contains(&c);
    if mesh.is_empty() {
        violations.add("mesh", "cannot be empty");
    } else if mesh.len() > MAX_NAME_BYTES {
        violations.add("mesh", format!("value length must less or equal {MAX_NAME_BYTES}"));
    } else if !mesh.bytes().all(legal) {
        let reason = "invalid characters. Valid characters are numbers, lowercase latin letters \
                      and '-', '_', '.' symbols.";
        violations.add("mesh", reason);
    }
}

/// Whether a name is one label of a DNS name, in lower case.
pub(crate) fn is_dns_label(label: &str) -> bool {
    let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    !label.is_empty()
        && label.len() <= 63
        && label.bytes().all(legal)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_dns_subdomain(name: &str) -> bool {
    // Kuma bounds the whole, not each part.
    let part = |part: &str| {
        let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        !part.is_empty()
            && part.bytes().all(legal)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    name.split('.').all(part)
}

fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => {
            prefix.len() <= MAX_NAME_BYTES && is_dns_subdomain(prefix) && is_label_name(name)
        }
        None => is_label_name(key),
    }
}

fn is_label_name(name: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    name.len() <= MAX_LABEL_BYTES
        && name.bytes().all(inner)
        && edge(name.bytes().next())
        && edge(name.bytes().last())
}
