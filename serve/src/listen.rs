//! Binding listeners, with one clear message when that fails.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::net::{TcpListener, UdpSocket};

/// A listener that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "{what} wants to listen on {addr}, which is in use by another process: stop that one, or choose another address with {setting}"
    )]
    InUse { what: String, addr: SocketAddr, setting: String },
    #[error(
        "{what} wants to listen on {addr}, which is not an address of this host: choose one with {setting}"
    )]
    NotOurs { what: String, addr: SocketAddr, setting: String },
    #[error(
        "{what} may not listen on {addr}: ports below 1024 need a privilege; choose another with {setting}"
    )]
    Denied { what: String, addr: SocketAddr, setting: String },
    #[error("{what} cannot listen on {addr} (set by {setting}): {source}")]
    Other { what: String, addr: SocketAddr, setting: String, source: std::io::Error },
}

/// Binds `addr`. `what` wants it ("the diagnostics port"); `setting` is the flag or the
/// environment variable that changes it ("--diagnostics or HIGUMA_DIAGNOSTICS").
///
/// # Errors
/// One message that says all three.
pub async fn bind(addr: SocketAddr, what: &str, setting: &str) -> Result<TcpListener, ListenError> {
    let listener = TcpListener::bind(addr).await;
    listener.map_err(|source| explain(addr, what, setting, source))
}

/// As [`bind`], for datagrams.
///
/// # Errors
/// As [`bind`].
pub async fn bind_udp(
    addr: SocketAddr,
    what: &str,
    setting: &str,
) -> Result<UdpSocket, ListenError> {
    let socket = UdpSocket::bind(addr).await;
    socket.map_err(|source| explain(addr, what, setting, source))
}

fn explain(addr: SocketAddr, what: &str, setting: &str, source: std::io::Error) -> ListenError {
    let (what, setting) = (what.to_owned(), setting.to_owned());
    match source.kind() {
        ErrorKind::AddrInUse => ListenError::InUse { what, addr, setting },
        ErrorKind::AddrNotAvailable => ListenError::NotOurs { what, addr, setting },
        ErrorKind::PermissionDenied => ListenError::Denied { what, addr, setting },
        _ => ListenError::Other { what, addr, setting, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_in_use_is_explained() {
        let any = "127.0.0.1:0".parse().expect("address");
        let first = bind(any, "REST", "--rest").await.expect("a free port");
        let addr = first.local_addr().expect("address");
        let error = bind(addr, "REST", "--rest or HIGUMA_REST").await.expect_err("in use");
        assert_eq!(
            error.to_string(),
            format!(
                "REST wants to listen on {addr}, which is in use by another process: stop that \
                 one, or choose another address with --rest or HIGUMA_REST"
            )
        );
    }

    #[tokio::test]
    async fn a_udp_address_in_use_is_explained() {
        let any = "127.0.0.1:0".parse().expect("address");
        let first = bind_udp(any, "DNS", "--dns-port").await.expect("a free port");
        let addr = first.local_addr().expect("address");
        let error = bind_udp(addr, "DNS", "--dns-port").await.expect_err("in use");
        assert!(error.to_string().contains("which is in use by another process"), "{error}");
    }

    #[tokio::test]
    async fn an_address_of_another_host_is_explained() {
        let addr = "192.0.2.1:0".parse().expect("address");
        let error = bind(addr, "KDS", "--kds").await.expect_err("not ours");
        assert!(error.to_string().contains("not an address of this host"), "{error}");
    }
}
