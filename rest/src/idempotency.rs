//! `Idempotency-Key`: a caller's own name for a writing request, so that a retry of it is applied
//! once, through whichever node, and answered as the first was.
//!
//! The key leads to what was applied under it (`Snapshot::keyed`), which is remembered with the
//! request's id and forgotten with it. A request that was refused is not remembered: it changed
//! nothing, and may be sent again.

use higuma_model::{Effect, Idempotency, Key, Keyed, Refusal, Snapshot, Violation};
use http::request::Parts;
use http::{HeaderName, header};
use sha2::{Digest, Sha256};

use crate::error::{ApiError, Doing};

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// A key is a UUID or a hash; a digest of it is what is kept.
const MAX_KEY_BYTES: usize = 255;

/// A request that its caller named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) key: u128,
    request: u128,
}

impl Named {
    /// By its header; none without one.
    pub(crate) fn read(doing: Doing, parts: &Parts, body: &[u8]) -> Result<Option<Self>, ApiError> {
        let mut given = parts.headers.get_all(&HEADER).iter();
        let Some(value) = given.next() else { return Ok(None) };
        let text = value.to_str().unwrap_or_default();
        // A quoted string, as the IETF's draft writes it, or bare, as most send it.
        let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        let plain = bare.bytes().all(|c| c.is_ascii_graphic() && c != b'"' && c != b',');
        if bare.is_empty() || bare.len() > MAX_KEY_BYTES || !plain || given.next().is_some() {
            let reason = format!(
                "must be one key of 1 to {MAX_KEY_BYTES} visible ASCII characters without quotes \
                 and commas, such as a UUID"
            );
            let violation = Violation { field: "Idempotency-Key".to_owned(), reason };
            return Err(ApiError::invalid(doing, vec![violation]));
        }
        let header = |name| parts.headers.get(name).map_or(&b""[..], |value| value.as_bytes());
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
        let request = digest(&[
            parts.method.as_str().as_bytes(),
            target.as_bytes(),
            header(header::IF_MATCH),
            header(header::IF_NONE_MATCH),
            body,
        ]);
        Ok(Some(Self { key: digest(&[bare.as_bytes()]), request }))
    }

    /// What was applied under this key, if anything was.
    pub(crate) fn first<'a>(
        &self,
        doing: Doing,
        snapshot: &'a Snapshot,
    ) -> Result<Option<&'a Keyed>, ApiError> {
        match snapshot.keyed(self.key) {
            Some(first) if first.request != self.request => {
                Err(ApiError::refused(doing, &Refusal::KeyReused))
            }
            first => Ok(first),
        }
    }

    /// With what is answered.
    pub(crate) fn with(&self, effects: &[Effect]) -> Idempotency {
        Idempotency { key: self.key, request: self.request, effects: effects.into() }
    }
}

/// What a change of `key` does, by the state before and after it.
pub(crate) fn effect(key: &Key, before: &Snapshot, after: &Snapshot) -> Effect {
    let (before, after) = (before.get(key), after.get(key));
    match (before.map(|r| r.modified_at), after.map(|r| r.modified_at)) {
        (_, None) => Effect::Deleted,
        (None, Some(_)) => Effect::Created,
        (Some(before), Some(after)) if before == after => Effect::Unchanged { modified_at: before },
        (Some(_), Some(_)) => Effect::Updated,
    }
}

/// The version that a resource has after an effect of a write at `version`; none once it is gone.
pub(crate) fn modified_at(effect: Effect, version: u64) -> Option<u64> {
    match effect {
        Effect::Created | Effect::Updated => Some(version),
        Effect::Unchanged { modified_at } => Some(modified_at),
        Effect::Deleted => None,
    }
}

/// 16 bytes of SHA-256 over the parts, each with its length: no two requests are taken for one.
fn digest(parts: &[&[u8]]) -> u128 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let bytes: [u8; 32] = hash.finalize().into();
    bytes[..16].iter().fold(0, |digest, byte| digest << 8 | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn named(keys: &[&str], path: &str, body: &str) -> Result<Option<Named>, ApiError> {
        let mut request = Request::put(path);
        for key in keys {
            request = request.header(HEADER, *key);
        }
        let parts = request.body(()).expect("a request").into_parts().0;
        Named::read(Doing::Put, &parts, body.as_bytes())
    }

    #[test]
    fn keys_are_bounded_and_quotes_are_no_part_of_them() {
        assert_eq!(named(&[], "/a", "").unwrap(), None);
        let plain = named(&["0b7f-1"], "/a", "x").unwrap().unwrap();
        assert_eq!(named(&["\"0b7f-1\""], "/a", "x").unwrap(), Some(plain));
        let longest = "k".repeat(MAX_KEY_BYTES);
        assert!(named(&[&longest], "/a", "").is_ok());
        let long = "k".repeat(MAX_KEY_BYTES + 1);
        for wrong in [&[""][..], &["\"\""], &["a b"], &["\"a"], &["a,b"], &["a", "a"], &[&long]] {
            assert!(named(wrong, "/a", "").is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_request_is_told_from_another_by_all_that_decides_it() {
        let first = named(&["k"], "/a", "x").unwrap().unwrap();
        for (path, body) in [("/a", "y"), ("/b", "x"), ("/a?strict=true", "x"), ("/ax", "")] {
            let other = named(&["k"], path, body).unwrap().unwrap();
            assert_eq!(other.key, first.key);
            assert_ne!(other.request, first.request, "{path} {body}");
        }
    }
}
