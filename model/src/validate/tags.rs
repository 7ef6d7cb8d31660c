//! Tags of proxies and the tags that selectors ask for.

use super::Findings;
use crate::spec::{PROTOCOL_TAG, SERVICE_TAG, Selector, Tags};
use crate::violation::path;

/// Where tags stand decides what their values may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// They describe a proxy.
    Proxy,
    /// They select proxies: a `/` is legal in a value, and `*` stands for any.
    Selector,
}

/// Kuma's protocols.
const PROTOCOLS: [&str; 5] = ["grpc", "http", "http2", "kafka", "tcp"];

/// Checks the text of tags.
pub(super) fn check(tags: &Tags, used: Use, at: &str, findings: &mut Findings) {
    let common = |c: u8| c.is_ascii_alphanumeric() || b".-_:".contains(&c);
    for (key, value) in tags {
        let field = path::key(at, key);
        if key.is_empty() {
            findings.refuse(&field, "tag name cannot be empty");
        } else if !key.bytes().all(|c| common(c) || c == b'/') {
            findings.refuse(&field, "tag name may have letters, digits and . - _ : / only");
        }
        let selector = used == Use::Selector;
        if value.is_empty() {
            findings.refuse(&field, "tag value cannot be empty");
        } else if selector && value != "*" && !value.bytes().all(|c| common(c) || c == b'/') {
            let reason = "tag value may have letters, digits and . - _ : / only, or be just *";
            findings.refuse(&field, reason);
        } else if !selector && !value.bytes().all(common) {
            findings.refuse(&field, "tag value may have letters, digits and . - _ : only");
        }
    }
}

/// Checks that tags name a service, and their text.
pub(super) fn with_service(tags: &Tags, used: Use, at: &str, findings: &mut Findings) {
    check(tags, used, at, findings);
    if !tags.contains_key(SERVICE_TAG) {
        findings.refuse(path::key(at, SERVICE_TAG), "tag has to exist");
    }
}

/// Checks a proxy's protocol tag, if there is one.
pub(super) fn protocol(tags: &Tags, at: &str, findings: &mut Findings) {
    let Some(protocol) = tags.get(PROTOCOL_TAG) else { return };
    let field = path::key(at, PROTOCOL_TAG);
    if !PROTOCOLS.contains(&protocol.as_str()) {
        findings.refuse(&field, format!("must be one of {}", PROTOCOLS.join(", ")));
    } else if !["http", "tcp"].contains(&protocol.as_str()) {
        let text = format!("this version of Higuma carries {protocol} as plain TCP");
        findings.warn(&field, &text);
    }
}

/// Checks that there are selectors, and that each asks for something.
pub(super) fn selectors(selectors: &[Selector], at: &str, findings: &mut Findings) {
    if selectors.is_empty() {
        findings.refuse(at, "must have at least one element");
    }
    for (index, selector) in selectors.iter().enumerate() {
        let field = path::field(&path::index(at, index), "match");
        if selector.tags.is_empty() {
            findings.refuse(&field, "must have at least one tag");
        }
        check(&selector.tags, Use::Selector, &field, findings);
    }
}
