//! Names of synced copies, so that equal names of two zones never collide.

use crate::resource::{Labels, labels};

/// Bytes of the display name that a hashed name keeps; with the suffix it stays within 253.
const KEPT_BYTES: usize = 236;

/// Letters of the suffix: what Kubernetes calls safe-encoded.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The name of a synced copy, as Kuma computes it (KDS, name hashing): the display name, a dash
/// and 16 letters of a hash over mesh, display name, zone and Kubernetes namespace.
pub fn hashed_name(mesh: &str, name: &str, labels: &Labels) -> String {
    let label = |key: &str| labels.get(key).map(String::as_str);
    let base = label(labels::DISPLAY_NAME).unwrap_or(name);
    let zone = label(labels::ZONE).unwrap_or_default();
    let namespace = label("k8s.kuma.io/namespace").unwrap_or_default();
    let hash = fnv1a([mesh, base, zone, namespace].iter().flat_map(|part| part.bytes()));
    let hex = format!("{hash:016x}");
    let suffix = hex.bytes().map(|c| char::from(ALPHABET[usize::from(c) % ALPHABET.len()]));
    let kept = base.char_indices().map(|(at, c)| at + c.len_utf8());
    let kept = kept.take_while(|end| *end <= KEPT_BYTES).last().unwrap_or(0);
    base[..kept].chars().chain(['-']).chain(suffix).collect()
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a, 64 bits: the same on every machine and in every version.
pub(crate) fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
    bytes.into_iter().fold(FNV_OFFSET, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of Kuma's own implementation.
    #[test]
    fn hashed_names_are_kumas() {
        for (mesh, name, zone, expected) in [
            ("default", "redis-zone-1", Some("zone-1"), "redis-zone-1-2v6wfvvcvbc9f55d"),
            ("default", "redis-zone-2", Some("zone-2"), "redis-zone-2-ff29vc4685c6f594"),
            (
                "default",
                "default-timeout-zone-1",
                Some("zone-1"),
                "default-timeout-zone-1-c58w24w4vw27f454",
            ),
            ("default", "default-timeout-global", None, "default-timeout-global-54dbd4c66zwbcf9c"),
            ("default", "allow-all-default", None, "allow-all-default-4cddx424d4b7x82f"),
            (
                "default",
                "mesh-timeout-all-default",
                None,
                "mesh-timeout-all-default-bv8z44b7bzb99xc7",
            ),
            ("default", "dp-1", Some("zone-1"), "dp-1-dff6z597w47d46xx"),
            ("", "zi-1", Some("zone-1"), "zi-1-2d8w9vd5b9fd9xbv"),
        ] {
            let mut labels = Labels::new();
            labels.extend(zone.map(|zone| (labels::ZONE.to_owned(), zone.to_owned())));
            assert_eq!(hashed_name(mesh, name, &labels), expected);
            let renamed = hashed_name(mesh, expected, &{
                labels.insert(labels::DISPLAY_NAME.to_owned(), name.to_owned());
                labels
            });
            assert_eq!(renamed, expected, "hashing a copy again gives the same name");
        }
    }

    #[test]
    fn long_names_keep_whole_characters() {
        let name = "é".repeat(200);
        let hashed = hashed_name("m", &name, &Labels::new());
        assert!(hashed.len() <= 253, "{} bytes", hashed.len());
        assert!(hashed.starts_with("éé"));
    }
}
