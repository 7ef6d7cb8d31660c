//! The addresses of `.mesh` names on this host: one local route for their whole range, so that
//! connections to any of them come to Envoy, and services that come later need nothing here
//! (`docs/adr/0016-one-local-route.md`). Envoy's listeners are the control plane's.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

/// Where `model::vip` takes addresses from.
const RANGE: (Ipv4Addr, u8) = (Ipv4Addr::new(240, 0, 0, 0), 4);
/// In the range, and never given to a name: its last octet is 0.
const NO_NAMES_ADDRESS: Ipv4Addr = Ipv4Addr::new(240, 0, 0, 0);
/// Where Envoy listens on each address.
const PORT: u16 = 80;

/// The addresses of names lead to this host for as long as this lives.
#[derive(Debug)]
pub struct BoundOutbounds {
    /// Whether the route was made here, and so is to be removed.
    own: bool,
}

/// Why names can't lead to Envoy here.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "--bind-outbounds routes the addresses of .mesh names to `lo`, which needs CAP_NET_ADMIN: \
         run the container with `--cap-add NET_ADMIN` (as root, or with the capability on the \
         file), or leave the flag out and call the outbounds of the Dataplane"
    )]
    NotPermitted,
    #[error("--bind-outbounds: the interface `lo` is down: `ip link set lo up`")]
    LoopbackDown,
    #[error("--bind-outbounds: `ip route add local 240.0.0.0/4 dev lo` did not work: {0}")]
    Route(Errno),
    #[error(
        "--bind-outbounds: Envoy has to listen on port {PORT} of the addresses of .mesh names, and \
         another process of this network namespace has that port on all addresses: let it listen \
         on 127.0.0.1 or on another port"
    )]
    PortTaken,
    #[error(
        "--bind-outbounds: Envoy may not listen on port {PORT}: give it CAP_NET_BIND_SERVICE, or \
         set net.ipv4.ip_unprivileged_port_start=0"
    )]
    PortDenied,
    #[error("--bind-outbounds: port {PORT} of the addresses of .mesh names can't be had: {0}")]
    Port(std::io::Error),
}

impl BoundOutbounds {
    /// Makes the route, and sees whether Envoy will get its port.
    ///
    /// # Errors
    /// Says what is missing; nothing is left behind.
    pub fn bind() -> Result<Self, BindError> {
        let own = match route(Change::Add) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(Errno::PERM | Errno::ACCESS) => return Err(BindError::NotPermitted),
            Err(Errno::NETDOWN) => return Err(BindError::LoopbackDown),
            Err(error) => return Err(BindError::Route(error)),
        };
        let bound = Self { own };
        match TcpListener::bind((NO_NAMES_ADDRESS, PORT)) {
            Ok(_) => Ok(bound),
            Err(error) => Err(match error.kind() {
                ErrorKind::AddrInUse => BindError::PortTaken,
                ErrorKind::PermissionDenied => BindError::PortDenied,
                _ => BindError::Port(error),
            }),
        }
    }
}

impl Drop for BoundOutbounds {
    fn drop(&mut self) {
        if self.own
            && let Err(error) = route(Change::Remove)
        {
            let (range, length) = RANGE;
            tracing::warn!(%error, "the route `local {range}/{length} dev lo` is left behind");
        }
    }
}

#[derive(Clone, Copy)]
enum Change {
    /// Fails with `EXIST` if it is there.
    Add,
    Remove,
}

/// One request over rtnetlink (`linux/rtnetlink.h`): the same as `ip route add|del local
/// 240.0.0.0/4 dev lo`, without the program, which small images lack.
fn route(change: Change) -> Result<(), Errno> {
    let family = AddressFamily::NETLINK;
    // Protocol 0 is NETLINK_ROUTE.
    let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&socket, &request(change), SendFlags::empty(), &kernel)?;
    let mut answer = [0_u8; 1024];
    let (length, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    // An acknowledgement is an error message (type 2) with the number 0.
    let number = answer[..length].get(16..20).and_then(|bytes| bytes.try_into().ok());
    match number.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(Errno::from_raw_os_error(-error)),
        None => Err(Errno::PROTO),
    }
}

fn request(change: Change) -> Vec<u8> {
    const REQUEST_AND_ACK: u16 = 0x1 | 0x4;
    const CREATE_EXCLUSIVELY: u16 = 0x400 | 0x200;
    let (kind, flags): (u16, u16) = match change {
        Change::Add => (24, REQUEST_AND_ACK | CREATE_EXCLUSIVELY),
        Change::Remove => (25, REQUEST_AND_ACK),
    };
    let (range, prefix) = RANGE;
    // IPv4; table `local`, protocol `static`, scope host, type local.
    let route = [2, prefix, 0, 0, 255, 4, 254, 2, 0, 0, 0, 0];
    let attribute = |kind: u16, value: [u8; 4]| {
        [&8_u16.to_ne_bytes()[..], &kind.to_ne_bytes(), &value].concat()
    };
    // `lo` is interface 1 of every network namespace.
    let attributes = [attribute(1, range.octets()), attribute(4, 1_u32.to_ne_bytes())].concat();
    let length = u32::try_from(16 + route.len() + attributes.len()).expect("invariant: 44");
    let header = [
        &length.to_ne_bytes()[..],
        &kind.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &1_u32.to_ne_bytes(),
        &0_u32.to_ne_bytes(),
    ];
    [&header.concat()[..], &route, &attributes].concat()
}
