//! The flags of `remote run`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use higuma_model::Place;
use higuma_serve::flags::{RestFlags, TlsFlags, byte_size, plaintext_ip};

/// Runs the control plane of one zone.
///
/// It follows the global control plane while it can be reached, and goes on with what it has on
/// its disk while it can't. Without a global it is a mesh of one zone.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// The zone's name: 1 to 63 of a-z, 0-9 and '-'.
    #[arg(long, env = "HIGUMA_ZONE", value_name = "NAME")]
    pub zone: String,
    /// Where the zone keeps its data; created if it is not there.
    #[arg(long, env = "HIGUMA_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// The KDS addresses of all nodes of the global. Without it the zone is on its own: meshes and
    /// policies are written at its own REST, and there are no other zones.
    #[arg(long, env = "HIGUMA_GLOBAL", value_name = "HOST:PORT,…", value_delimiter = ',')]
    pub global: Vec<String>,
    /// The address to listen on. Plain REST and diagnostics listen on it only if it is loopback, else
    /// on 127.0.0.1.
    #[arg(long, env = "HIGUMA_BIND", value_name = "IP", default_value = "127.0.0.1")]
    pub bind: IpAddr,
    /// Bootstrap and ADS.
    #[arg(long, env = "HIGUMA_PROXY_PORT", value_name = "PORT", default_value_t = 5678)]
    pub proxy_port: u16,
    /// DNS of the domain `mesh`, over UDP and TCP. What is asked of other domains goes to the name servers
    /// of /etc/resolv.conf.
    #[arg(long, env = "HIGUMA_DNS_PORT", value_name = "PORT", default_value_t = 5653)]
    pub dns_port: u16,
    /// REST without TLS, for this host.
    #[arg(long, env = "HIGUMA_REST_PORT", value_name = "PORT", default_value_t = 5681)]
    pub rest_port: u16,
    #[arg(long, env = "HIGUMA_DIAGNOSTICS_PORT", value_name = "PORT", default_value_t = 5680)]
    pub diagnostics_port: u16,
    /// Where diagnostics listen in place of --bind or 127.0.0.1: an address of this host that whoever
    /// scrapes /metrics reaches, or 0.0.0.0. They are plaintext and ask nobody for a name; they tell
    /// numbers and states, nothing of what the mesh holds.
    #[arg(long, env = "HIGUMA_DIAGNOSTICS_BIND", value_name = "IP")]
    pub diagnostics_bind: Option<IpAddr>,
    #[command(flatten)]
    pub tls: TlsFlags,
    /// What all resources may take together, such as 512MiB. They are kept in memory; what operators write
    /// beyond this is refused, deletions are taken.
    #[arg(long, env = "HIGUMA_STATE_QUOTA", value_name = "SIZE", default_value = "512MiB", value_parser = byte_size)]
    pub state_quota: u64,
    #[command(flatten)]
    pub rest: RestFlags,
}

const EXAMPLES: &str = "\
Examples:
  Zone east beside a global of three nodes:
    higuma remote run --zone east --data-dir /var/lib/higuma --bind 10.1.0.1 \\
      --global 10.0.0.1:5685,10.0.0.2:5685,10.0.0.3:5685 \\
      --tls-ca ca.pem --tls-cert east.pem --tls-key east.key

  A zone on its own, without a global:
    higuma remote run --zone solo --data-dir /var/lib/higuma --bind 10.1.0.1 \\
      --tls-ca ca.pem --tls-cert solo.pem --tls-key solo.key";

impl RunArgs {
    /// Whether the zone follows a global.
    pub(crate) fn place(&self) -> Place {
        let zone = self.zone.as_str().into();
        if self.global.is_empty() { Place::Standalone(zone) } else { Place::Zone(zone) }
    }

    pub(crate) fn proxy_address(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.proxy_port)
    }

    pub(crate) fn dns_address(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.dns_port)
    }

    pub(crate) fn rest_address(&self) -> SocketAddr {
        SocketAddr::new(plaintext_ip(self.bind), self.rest_port)
    }

    pub(crate) fn diagnostics_address(&self) -> SocketAddr {
        let ip = self.diagnostics_bind.unwrap_or_else(|| plaintext_ip(self.bind));
        SocketAddr::new(ip, self.diagnostics_port)
    }

    /// Checks the zone's name: it becomes a DNS label and a part of names.
    ///
    /// # Errors
    /// What a name may be.
    pub(crate) fn check_zone(&self) -> anyhow::Result<()> {
        let letter = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if self.zone.is_empty() || self.zone.len() > 63 || !self.zone.bytes().all(letter) {
            anyhow::bail!(
                "--zone {:?} can't be a zone's name: give 1 to 63 of a-z, 0-9 and '-'",
                self.zone
            );
        }
        Ok(())
    }
}
