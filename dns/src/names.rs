//! Which host names there are, and their addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use higuma_model::{Snapshot, vip};

/// The host names of a zone's services, in lower case and without the last dot.
///
/// Derived from the state alone, so equal states have equal tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameTable {
    addresses: BTreeMap<String, Ipv4Addr>,
    /// Names with others below them and no address of their own (`b.mesh` of `a.b.mesh`): they
    /// exist, and denying them would deny what is below (RFC 8020).
    parents: BTreeSet<String>,
}

impl NameTable {
    /// The services that are known now and have an address. One with underscores has a second
    /// name, with dots in their place, unless another service has that name itself.
    pub fn of(snapshot: &Snapshot) -> Self {
        let known = vip::hostnames(snapshot);
        let given = vip::addresses(snapshot).filter(|(name, _)| known.contains(*name));
        let given: BTreeMap<String, Ipv4Addr> =
            given.map(|(name, address)| (name.to_owned(), address)).collect();
        let mut addresses = given.clone();
        for (hostname, address) in &given {
            if let Some(other) = vip::dotted(hostname) {
                addresses.entry(other).or_insert(*address);
            }
        }
        Self { parents: parents(&addresses), addresses }
    }

    /// The address of a name in lower case, without the last dot.
    pub fn address(&self, name: &str) -> Option<Ipv4Addr> {
        self.addresses.get(name).copied()
    }

    /// Whether a name has an address, or names below it, or is the domain itself.
    pub(crate) fn exists(&self, name: &str) -> bool {
        name == vip::DOMAIN || self.addresses.contains_key(name) || self.parents.contains(name)
    }

    /// How many names have an address.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether no name has an address.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }
}

fn parents(addresses: &BTreeMap<String, Ipv4Addr>) -> BTreeSet<String> {
    let above = |name: &str| name.split_once('.').map(|(_, parent)| parent.to_owned());
    let mut parents = BTreeSet::new();
    for name in addresses.keys() {
        let mut next = above(name);
        while let Some(parent) = next.filter(|parent| parents.insert(parent.clone())) {
            next = above(&parent);
        }
    }
    parents.retain(|name| !addresses.contains_key(name));
    parents
}
