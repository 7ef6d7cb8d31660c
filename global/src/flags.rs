//! The flags of `global run`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use higuma_model::ClusterName;
use higuma_serve::Transport;
use higuma_serve::flags::{RestFlags, TlsFlags, byte_size, plaintext_ip};
use higuma_serve::transport::TransportError;
use higuma_store::{NodeId, Timers};

/// Runs one node of the global control plane.
///
/// The nodes of a new cluster are listed on each of them with the same list. The cluster forms by
/// itself once all of them are up for the first time. A node that is added to a running one has
/// --join in place of the list.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// This node's number: in the member list, or one that no node of the cluster ever had.
    #[arg(long, env = "HIGUMA_NODE_ID", value_name = "N")]
    pub node_id: NodeId,
    /// Where this node keeps its data; created if it is not there.
    #[arg(long, env = "HIGUMA_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// All nodes with their Raft addresses, this one included.
    #[arg(
        long,
        env = "HIGUMA_MEMBERS",
        value_name = "1=HOST:PORT,2=HOST:PORT,…",
        value_delimiter = ',',
        required_unless_present = "join"
    )]
    pub members: Vec<MemberFlag>,
    /// With an empty folder: wait until a running cluster adds this node (`higuma cluster add`, or
    /// `replace`). With a folder that belongs to a cluster: take part in it; who the others are is
    /// in the folder.
    #[arg(long, env = "HIGUMA_JOIN")]
    pub join: bool,
    /// The address to listen on. Plain REST and diagnostics listen on it only if it is loopback,
    /// else on 127.0.0.1.
    #[arg(long, env = "HIGUMA_BIND", value_name = "IP", default_value = "127.0.0.1")]
    pub bind: IpAddr,
    /// REST without TLS, for this host.
    #[arg(long, env = "HIGUMA_REST_PORT", value_name = "PORT", default_value_t = 5681)]
    pub rest_port: u16,
    /// The address to listen on for the other nodes, where they have a network of their own
    /// [default: that of --bind].
    #[arg(long, env = "HIGUMA_RAFT_BIND", value_name = "IP")]
    pub raft_bind: Option<IpAddr>,
    #[arg(long, env = "HIGUMA_RAFT_PORT", value_name = "PORT", default_value_t = 5684)]
    pub raft_port: u16,
    /// Where zones connect to.
    #[arg(long, env = "HIGUMA_KDS_PORT", value_name = "PORT", default_value_t = 5685)]
    pub kds_port: u16,
    #[arg(long, env = "HIGUMA_DIAGNOSTICS_PORT", value_name = "PORT", default_value_t = 5680)]
    pub diagnostics_port: u16,
    /// Where diagnostics listen in place of --bind or 127.0.0.1: an address of this host that whoever
    /// scrapes /metrics reaches, or 0.0.0.0. They are plaintext and ask nobody for a name; they tell
    /// numbers and states, nothing of what the mesh holds.
    #[arg(long, env = "HIGUMA_DIAGNOSTICS_BIND", value_name = "IP")]
    pub diagnostics_bind: Option<IpAddr>,
    #[command(flatten)]
    pub tls: TlsFlags,
    /// The cluster's name in its nodes' certificates. With it a node takes calls only from nodes,
    /// and calls only nodes, whose certificate carries higuma://cluster/NAME/node/N, and its own
    /// must do so too; without it any certificate of the CA is let in. `higuma generate
    /// cluster-tls` makes such certificates.
    #[arg(long, env = "HIGUMA_CLUSTER_NAME", value_name = "NAME", requires = "tls_ca")]
    pub cluster_name: Option<ClusterName>,
    /// What all resources may take together, such as 512MiB. They are kept in memory; what operators write
    /// beyond this is refused, deletions are taken.
    #[arg(long, env = "HIGUMA_STATE_QUOTA", value_name = "SIZE", default_value = "512MiB", value_parser = byte_size)]
    pub state_quota: u64,
    #[command(flatten)]
    pub rest: RestFlags,
    /// Time between heartbeats of the leader, in milliseconds.
    #[arg(long, env = "HIGUMA_HEARTBEAT_MS", value_name = "MS", default_value_t = 100)]
    pub heartbeat_ms: u64,
    /// Shortest election timeout, in milliseconds; several heartbeats.
    #[arg(long, env = "HIGUMA_ELECTION_MIN_MS", value_name = "MS", default_value_t = 300)]
    pub election_min_ms: u64,
    /// Longest election timeout, in milliseconds.
    #[arg(long, env = "HIGUMA_ELECTION_MAX_MS", value_name = "MS", default_value_t = 600)]
    pub election_max_ms: u64,
}

const EXAMPLES: &str = "\
Examples:
  One node on this machine, for a try:
    higuma global run --node-id 1 --data-dir ./global-1 --members 1=127.0.0.1:5684

  The first of three:
    higuma global run --node-id 1 --data-dir /var/lib/higuma --bind 10.0.0.1 \\
      --members 1=10.0.0.1:5684,2=10.0.0.2:5684,3=10.0.0.3:5684 \\
      --tls-ca pki/ca.pem --tls-cert pki/node-1.pem --tls-key pki/node-1-key.pem \\
      --cluster-name prod

  A fourth, for the running cluster, and what adds it:
    higuma global run --node-id 4 --data-dir /var/lib/higuma --bind 10.0.0.4 --join \
      --tls-ca pki/ca.pem --tls-cert pki/node-4.pem --tls-key pki/node-4-key.pem \
      --cluster-name prod
    higuma cluster add 4 --address 10.0.0.4:5684

  Its certificates (`higuma generate cluster-tls --help`):
    higuma generate cluster-tls --cluster-name prod --out pki \\
      --nodes 1=10.0.0.1,2=10.0.0.2,3=10.0.0.3";

/// `N=HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberFlag {
    pub id: NodeId,
    pub address: String,
}

impl FromStr for MemberFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not of the form N=HOST:PORT, such as 1=10.0.0.1:5684");
        let (id, address) = text.split_once('=').ok_or_else(wrong)?;
        let id = id.trim().parse().ok().filter(|id| *id > 0).ok_or_else(wrong)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(wrong());
        }
        Ok(Self { id, address: address.trim().to_owned() })
    }
}

/// The members by number.
///
/// # Errors
/// A number or an address that is given twice.
pub fn member_list(flags: &[MemberFlag]) -> anyhow::Result<BTreeMap<NodeId, String>> {
    let mut members = BTreeMap::new();
    for MemberFlag { id, address } in flags {
        if members.values().any(|known| known == address) {
            anyhow::bail!("--members names the address {address} twice");
        }
        if members.insert(*id, address.clone()).is_some() {
            anyhow::bail!("--members names node {id} twice");
        }
    }
    Ok(members)
}

impl RunArgs {
    pub(crate) fn members(&self) -> anyhow::Result<BTreeMap<NodeId, String>> {
        if self.members.is_empty() != self.join {
            anyhow::bail!(
                "--members lists the nodes of a new cluster; --join stands in its place and lets a \
                 running one add this node: give one of them"
            );
        }
        member_list(&self.members)
    }

    /// The TLS of Raft and KDS, checked to be this node's where the cluster has a name.
    ///
    /// # Errors
    /// Files that can't be used, plaintext off loopback, or another's certificate.
    pub(crate) fn transport(&self) -> Result<Option<Transport>, TransportError> {
        let transport = self.tls.transport(&[self.raft_address(), self.kds_address()])?;
        match (transport, &self.cluster_name) {
            (Some(transport), Some(name)) => {
                transport.held_by(&name.node_uri(self.node_id)).map(Some)
            }
            (transport, _) => Ok(transport),
        }
    }

    pub(crate) fn timers(&self) -> anyhow::Result<Timers> {
        if self.heartbeat_ms == 0
            || self.heartbeat_ms * 2 > self.election_min_ms
            || self.election_min_ms >= self.election_max_ms
        {
            anyhow::bail!(
                "the timers must satisfy 0 < 2 × --heartbeat-ms ≤ --election-min-ms < \
                 --election-max-ms; given are {}, {} and {}",
                self.heartbeat_ms,
                self.election_min_ms,
                self.election_max_ms
            );
        }
        Ok(Timers {
            heartbeat: Duration::from_millis(self.heartbeat_ms),
            election_min: Duration::from_millis(self.election_min_ms),
            election_max: Duration::from_millis(self.election_max_ms),
        })
    }

    pub(crate) fn raft_address(&self) -> SocketAddr {
        SocketAddr::new(self.raft_bind.unwrap_or(self.bind), self.raft_port)
    }

    pub(crate) fn kds_address(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.kds_port)
    }

    pub(crate) fn rest_address(&self) -> SocketAddr {
        SocketAddr::new(plaintext_ip(self.bind), self.rest_port)
    }

    pub(crate) fn diagnostics_address(&self) -> SocketAddr {
        let ip = self.diagnostics_bind.unwrap_or_else(|| plaintext_ip(self.bind));
        SocketAddr::new(ip, self.diagnostics_port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Global {
        #[command(flatten)]
        run: RunArgs,
    }

    #[test]
    fn diagnostics_leave_the_loopback_only_when_asked_to() {
        use clap::Parser as _;
        let given = ["global", "--node-id", "1", "--data-dir", "x", "--members", "1=a:5684"];
        let listens = |more: &[&str]| {
            let args = Global::try_parse_from(given.iter().chain(more)).unwrap().run;
            (args.diagnostics_address().to_string(), args.rest_address().to_string())
        };
        let expected = |diagnostics: &str, rest: &str| (diagnostics.to_owned(), rest.to_owned());
        let loopback = expected("127.0.0.1:5680", "127.0.0.1:5681");
        assert_eq!(listens(&[]), loopback);
        assert_eq!(listens(&["--bind", "10.0.0.1"]), loopback);
        let asked = ["--bind", "10.0.0.1", "--diagnostics-bind", "0.0.0.0"];
        assert_eq!(listens(&asked), expected("0.0.0.0:5680", "127.0.0.1:5681"));
    }

    #[test]
    fn members_are_numbers_with_addresses() {
        let parse = str::parse::<MemberFlag>;
        let member = parse("2=10.0.0.2:5684").unwrap();
        assert_eq!((member.id, member.address.as_str()), (2, "10.0.0.2:5684"));
        for wrong in ["", "2", "x=a:1", "0=a:1", "1=a", "1=:5684", "1=a:99999"] {
            assert!(parse(wrong).unwrap_err().contains("N=HOST:PORT"), "{wrong}");
        }
    }

    #[test]
    fn a_node_is_listed_or_joins() {
        let parse = |words: &[&str]| {
            let words = ["global", "--node-id=4", "--data-dir=d"].iter().chain(words).copied();
            let Global { run } = clap::Parser::try_parse_from(words)?;
            run.members()
        };
        assert!(parse(&["--join"]).unwrap().is_empty());
        assert_eq!(parse(&["--members=4=a:1"]).unwrap().len(), 1);
        for wrong in [&[][..], &["--join", "--members=4=a:1"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn raft_may_have_an_address_of_its_own() {
        let parse = |more: &[&str]| {
            let needed =
                ["global", "--node-id=1", "--data-dir=d", "--members=1=a:1", "--bind=0.0.0.0"];
            let words = needed.iter().chain(more);
            let Global { run } = clap::Parser::try_parse_from(words).expect("valid");
            (run.raft_address().to_string(), run.kds_address().to_string())
        };
        assert_eq!(parse(&[]), ("0.0.0.0:5684".to_owned(), "0.0.0.0:5685".to_owned()));
        assert_eq!(parse(&["--raft-bind=10.0.0.1"]).0, "10.0.0.1:5684");
    }
}
