//! Loopback addresses that no other test process uses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

/// An address of this process alone, `127.x.y.z` made from the process id: all of 127.0.0.0/8 is
/// loopback on Linux, and process ids have at most 22 bits.
pub fn loopback() -> IpAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    // 127.0.… stays free for others; 22 bits leave 64 values for the second octet.
    IpAddr::V4(Ipv4Addr::new(127, 1 + (high & 0x3f), middle, low))
}

/// A free TCP port on [`loopback`], for a process that is told its address. Where the test binds
/// the listener itself, port 0 is better.
///
/// # Panics
/// No port is free.
pub fn free_addr() -> SocketAddr {
    let listener = TcpListener::bind((loopback(), 0)).expect("a free port on loopback");
    listener.local_addr().expect("a bound listener has an address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_loopback_and_can_be_bound() {
        let addr = free_addr();
        assert!(addr.ip().is_loopback() && addr.ip() != IpAddr::V4(Ipv4Addr::LOCALHOST), "{addr}");
        TcpListener::bind(addr).expect("still free");
    }
}
