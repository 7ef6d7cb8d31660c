//! What calls a cluster: one client has one call under way.

use crate::load::{Asks, KEYS};

/// Bytes of a value.
pub(crate) const VALUE_BYTES: usize = 256;

/// Connections that gRPC clients share, as etcd's own clients do.
pub(crate) const CHANNELS: usize = 4;

/// A client of one system by one interface.
pub(crate) trait Client: Send + 'static {
    /// Calls once, and fails unless the call did what it should.
    fn call(&mut self, asks: Asks, key: u32) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// A key of [`KEYS`] as both systems get it: `bench-0042`.
pub(crate) fn name(key: u32) -> String {
    debug_assert!(key < KEYS);
    format!("bench-{key:04}")
}

/// A specification of [`VALUE_BYTES`] bytes that no other has: a TrafficPermission's, which names
/// sources nobody has.
pub(crate) fn value(unique: u64) -> Vec<u8> {
    let begin = format!(
        r#"{{"sources":[{{"match":{{"kuma.io/service":"{unique:020}"}}}}],"destinations":[{{"match":{{"kuma.io/service":""#
    );
    let end = r#""}}]}"#;
    let filler = VALUE_BYTES - begin.len() - end.len();
    format!("{begin}{}{end}", "x".repeat(filler)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_documents_of_the_size_that_is_told() {
        for unique in [0, u64::MAX] {
            let value = value(unique);
            assert_eq!(value.len(), VALUE_BYTES);
            let json: serde_json::Value = serde_json::from_slice(&value).unwrap();
            assert!(json["destinations"][0]["match"]["kuma.io/service"].is_string());
        }
        assert_ne!(value(1), value(2));
    }
}
