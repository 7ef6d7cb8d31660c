//! Addresses.

use std::net::IpAddr;

use super::Findings;

/// An IP address or a DNS name that others can reach.
pub(super) fn reachable(address: &str, at: &str, findings: &mut Findings) {
    match address.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => {
            findings.refuse(at, "must not be 0.0.0.0 or ::");
        }
        Ok(_) => {}
        Err(_) if is_host_name(address) => {}
        Err(_) => findings.refuse(at, "address has to be valid IP address or domain name"),
    }
}

/// An IP address, or empty for its default.
pub(super) fn ip_or_default(address: &str, at: &str, findings: &mut Findings) {
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        findings.refuse(at, "has to be a valid IP address");
    }
}

/// Whether text is a DNS name; underscores occur in container names. A last label of digits only
/// is a mistyped IP address.
fn is_host_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        let legal = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(legal)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(label) && !last.bytes().all(|c| c.is_ascii_digit())
}
