//! What a run needs, from the flags and the document together, checked before anything starts.

use std::net::{Ipv4Addr, SocketAddr};

use crate::{ControlPlane, ProxyArgs, ProxyDocument};

/// Envoy's admin port where nobody says otherwise (Kuma's default).
const DEFAULT_ADMIN_PORT: u16 = 9901;

/// Checked settings of one run.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) control_plane: ControlPlane,
    pub(crate) admin: SocketAddr,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error(
        "--admin: {0} is not a loopback address, and Envoy's admin interface asks nobody for a password: give 127.0.0.1:PORT"
    )]
    NotLoopback(SocketAddr),
    #[error("--admin: {0} has no port; the control plane must know it: give 127.0.0.1:PORT")]
    NoPort(SocketAddr),
    #[error(
        "--admin says port {flag} and the document's networking.admin.port says {document}: leave one out"
    )]
    Disagree { flag: u16, document: u16 },
}

impl Settings {
    pub(crate) fn new(args: &ProxyArgs, document: &ProxyDocument) -> anyhow::Result<Self> {
        let admin = admin(args.admin, document.admin_port())?;
        let control_plane = ControlPlane::new(&args.cp, args.tls_ca.as_ref(), args.plaintext)?;
        Ok(Self { control_plane, admin })
    }
}

fn admin(flag: Option<SocketAddr>, document: Option<u16>) -> Result<SocketAddr, AdminError> {
    match (flag, document) {
        (Some(flag), _) if !flag.ip().to_canonical().is_loopback() => {
            Err(AdminError::NotLoopback(flag))
        }
        (Some(flag), _) if flag.port() == 0 => Err(AdminError::NoPort(flag)),
        (Some(flag), Some(document)) if flag.port() != document => {
            Err(AdminError::Disagree { flag: flag.port(), document })
        }
        (Some(flag), _) => Ok(flag),
        (None, port) => {
            Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap_or(DEFAULT_ADMIN_PORT))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_address_is_one_and_local() {
        struct Case {
            flag: Option<&'static str>,
            document: Option<u16>,
            want: &'static str,
        }
        let case = |flag, document, want| Case { flag, document, want };
        for case in [
            case(None, None, "127.0.0.1:9901"),
            case(None, Some(9910), "127.0.0.1:9910"),
            case(Some("127.0.0.5:9902"), None, "127.0.0.5:9902"),
            case(Some("127.0.0.5:9902"), Some(9902), "127.0.0.5:9902"),
            case(Some("[::1]:9902"), None, "[::1]:9902"),
            case(
                Some("127.0.0.1:9902"),
                Some(9901),
                "--admin says port 9902 and the document's networking.admin.port says 9901: leave one out",
            ),
            case(
                Some("0.0.0.0:9901"),
                None,
                "--admin: 0.0.0.0:9901 is not a loopback address, and Envoy's admin interface asks nobody for a password: give 127.0.0.1:PORT",
            ),
            case(
                Some("127.0.0.1:0"),
                None,
                "--admin: 127.0.0.1:0 has no port; the control plane must know it: give 127.0.0.1:PORT",
            ),
        ] {
            let flag = case.flag.map(|flag| flag.parse().expect("address"));
            let got = match admin(flag, case.document) {
                Ok(address) => address.to_string(),
                Err(error) => error.to_string(),
            };
            assert_eq!(got, case.want);
        }
    }
}
