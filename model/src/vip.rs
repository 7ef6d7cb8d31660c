//! Host names of `.mesh` and their addresses.
//!
//! A host name gets its address once: it is never freed and never moved, since clients keep what
//! DNS told them for longer than anyone knows. Each zone allocates for itself, and hashing makes a
//! zone that lost its disk come to the same addresses but for collisions. Not here: who writes
//! them (the zone's registrar) and who answers for them (`dns`).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::names::fnv1a;
use crate::resource::Resource;
use crate::spec::{Dataplane, SERVICE_TAG, Vip, ZoneIngress};
use crate::{Key, Kind, Snapshot};

/// The domain of all host names, without dots.
pub const DOMAIN: &str = "mesh";

/// Host names that a zone ever gives an address. Addresses are not freed, so this also bounds what
/// they cost: some 200 bytes each in memory, 13 MB in all.
pub const MAX_VIPS: usize = 65_536;

/// Bounds of DNS (RFC 1035, section 2.3.4): a label, and a name in text without the last dot.
const MAX_LABEL_BYTES: usize = 63;
const MAX_HOSTNAME_BYTES: usize = 253;

/// Kuma's range is 240.0.0.0/4, of which 241/8, 242/8 and 243/8 are for other kinds of services
/// (its `ipam` ranges); the rest is 240/8 and 244/8 to 255/8.
const FIRST_OCTETS: u64 = 13;
/// Of the last octet, 0 and 255 are left out: some systems take them for a network's own.
const LAST_OCTETS: u64 = 254;
const ADDRESSES: u64 = FIRST_OCTETS * (1 << 16) * LAST_OCTETS;

/// The host name of a service: `<service>.mesh` in lower case. None for a service whose name is no
/// DNS name (`a:b`, an empty label, one over 63 bytes).
pub fn hostname(service: &str) -> Option<String> {
    let hostname = format!("{}.{DOMAIN}", service.to_ascii_lowercase());
    let legal = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    let label = |label: &str| {
        !label.is_empty() && label.len() <= MAX_LABEL_BYTES && label.bytes().all(legal)
    };
    (hostname.len() <= MAX_HOSTNAME_BYTES && hostname.split('.').all(label)).then_some(hostname)
}

/// The other name of a host name that has underscores: with dots in their place, as Kuma does.
pub fn dotted(hostname: &str) -> Option<String> {
    let dotted = hostname.contains('_').then(|| hostname.replace('_', "."))?;
    dotted.split('.').all(|label| !label.is_empty()).then_some(dotted)
}

/// The host names of all services that the zone knows: its own proxies' and what any zone's
/// ingresses lead to, of every mesh.
pub fn hostnames(snapshot: &Snapshot) -> BTreeSet<String> {
    let kinds = [Kind::Dataplane, Kind::ZoneIngress].into_iter();
    let resources = kinds.flat_map(|kind| snapshot.of_kind(kind));
    let services = resources.flat_map(|resource| services(resource));
    services.filter_map(|service| hostname(&service)).collect()
}

/// Addresses for those of the host names that have none yet, in their order. Deterministic: the
/// same state and the same set of names give the same addresses.
///
/// Shorter than asked for once [`MAX_VIPS`] are given.
pub fn allocate(
    snapshot: &Snapshot,
    hostnames: impl IntoIterator<Item = String>,
) -> Vec<(String, Ipv4Addr)> {
    let absent = |hostname: &String| snapshot.get(&key(hostname)).is_none();
    let wanted: BTreeSet<String> = hostnames.into_iter().filter(absent).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let room = MAX_VIPS.saturating_sub(snapshot.of_kind(Kind::Vip).count());
    let mut used: BTreeSet<Ipv4Addr> = addresses(snapshot).map(|(_, address)| address).collect();
    let mut allocated = Vec::with_capacity(wanted.len().min(room));
    for hostname in wanted.into_iter().take(room) {
        let first = fnv1a(hostname.bytes()) % ADDRESSES;
        // Ends: fewer addresses are used than there are.
        let address = (0..ADDRESSES)
            .map(|step| address((first + step) % ADDRESSES))
            .find(|address| !used.contains(address))
            .expect("invariant: MAX_VIPS is far below the number of addresses");
        used.insert(address);
        allocated.push((hostname, address));
    }
    allocated
}

/// All host names that have an address, in their order. One whose record can't be read has none.
pub fn addresses(snapshot: &Snapshot) -> impl Iterator<Item = (&str, Ipv4Addr)> {
    let vips = snapshot.of_kind(Kind::Vip);
    vips.filter_map(|vip| Some((vip.key.name(), vip.decode::<Vip>().ok()?.address)))
}

/// The key of a host name's address.
pub fn key(hostname: &str) -> Key {
    Key::new(Kind::Vip, "", hostname)
}

/// The services that a Dataplane or ZoneIngress stands for.
fn services(resource: &Resource) -> Vec<String> {
    if resource.key.kind() == Kind::Dataplane {
        let dataplane = resource.decode::<Dataplane>();
        return dataplane
            .map_or_else(|_| Vec::new(), |d| d.services().map(str::to_owned).collect());
    }
    let available = resource.decode::<ZoneIngress>().map(|ingress| ingress.available_services);
    let available = available.unwrap_or_default().into_iter();
    available.filter_map(|mut service| service.tags.remove(SERVICE_TAG)).collect()
}

/// The address at a place in the range.
fn address(at: u64) -> Ipv4Addr {
    let (rest, last) = (at / LAST_OCTETS, at % LAST_OCTETS + 1);
    let first = match rest >> 16 {
        0 => 240,
        octet => 243 + octet,
    };
    let octets = (first << 24) | ((rest & 0xffff) << 8) | last;
    Ipv4Addr::from(u32::try_from(octets).expect("invariant: the range ends below 2^32"))
}

#[cfg(test)]
mod tests;
