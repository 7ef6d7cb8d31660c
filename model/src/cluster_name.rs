//! The name of a cluster in its nodes' certificates.

use std::fmt;
use std::str::FromStr;

/// Letters of a cluster's name: those of a DNS label.
const MAX_LENGTH: usize = 63;

/// A name that an operator gives a cluster, and that its nodes' certificates carry. The cluster's
/// id is drawn when it forms, so no certificate can know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClusterName(String);

/// A text that cannot name a cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot name a cluster: use 1 to {MAX_LENGTH} of a-z, 0-9 and -, with a letter or digit \
     first and last"
)]
pub struct BadClusterName(String);

impl FromStr for ClusterName {
    type Err = BadClusterName;

    fn from_str(text: &str) -> Result<Self, BadClusterName> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let inner = text.bytes().all(|c| plain(c) || c == b'-');
        let ends = text.bytes().next().is_some_and(plain) && text.bytes().last().is_some_and(plain);
        if inner && ends && text.len() <= MAX_LENGTH {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadClusterName(text.to_owned()))
        }
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ClusterName {
    /// What the certificate of a node carries: `higuma://cluster/NAME/node/N`.
    pub fn node_uri(&self, node: u64) -> String {
        format!("higuma://cluster/{self}/node/{node}")
    }

    /// What the certificate of a zone's control plane carries: `higuma://cluster/NAME/zone/ZONE`.
    pub fn zone_uri(&self, zone: &str) -> String {
        format!("higuma://cluster/{self}/zone/{zone}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels_and_make_uris() {
        for good in ["prod", "a", "7", "eu-1", &"a".repeat(63)] {
            assert_eq!(good.parse::<ClusterName>().map(|name| name.to_string()), Ok(good.into()));
        }
        for wrong in ["", "-a", "a-", "A", "a/b", "a.b", "ä", "a b", &"a".repeat(64)] {
            let error = wrong.parse::<ClusterName>().expect_err(wrong).to_string();
            assert!(error.contains("cannot name a cluster"), "{error}");
        }
        let name: ClusterName = "prod".parse().expect("a name");
        assert_eq!(name.node_uri(3), "higuma://cluster/prod/node/3");
        assert_eq!(name.zone_uri("east"), "higuma://cluster/prod/zone/east");
    }
}
