//! Names of other domains: what other name servers say.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record, RecordType};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{Resolver, TokioResolver};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// How long one name server has to answer, and how often it is asked again.
const ATTEMPT: Duration = Duration::from_millis(1_500);
const REPEATS: usize = 1;

/// How long a query waits in all. Below the 5 s after which resolvers ask anew (glibc's default),
/// so that they get a `SERVFAIL` and queries do not pile up here.
const DEADLINE: Duration = Duration::from_secs(4);

/// Answers kept, each no longer than its TTL: some hundreds of bytes each.
const CACHED: u64 = 4_096;

/// Queries that wait for other name servers at one time. With the 4 s that each waits at most,
/// a dead upstream leaves room for 128 new ones a second; more are told `SERVFAIL` at once. Queries
/// for `.mesh` wait for nothing and are not bounded.
pub const MAX_FORWARDS: usize = 512;

/// Asks other name servers, and keeps their answers for as long as they allow.
#[derive(Clone)]
pub struct Forwarder {
    resolver: TokioResolver,
    room: Arc<Semaphore>,
}

/// There is nobody to forward to.
#[derive(Debug, thiserror::Error)]
pub enum NoResolver {
    #[error("/etc/resolv.conf: {0}")]
    Unreadable(String),
    #[error("/etc/resolv.conf names no other name server than this one, {0}")]
    OnlyOneself(SocketAddr),
    #[error("the name servers can't be used: {0}")]
    Unusable(String),
}

/// What a name server said.
#[derive(Debug, Default)]
pub(crate) struct Forwarded {
    pub(crate) code: ResponseCode,
    pub(crate) answers: Vec<Record>,
    pub(crate) authorities: Vec<Record>,
}

impl Forwarder {
    /// To the name servers of `/etc/resolv.conf`, but for `own`, this server itself.
    ///
    /// # Errors
    /// The file has none, or can't be read.
    pub fn system(own: SocketAddr) -> Result<Self, NoResolver> {
        let read = read_system_conf().map_err(|error| NoResolver::Unreadable(error.to_string()))?;
        let mut name_servers = read.0.name_servers;
        for server in &mut name_servers {
            let address = server.ip;
            server.connections.retain(|to| SocketAddr::new(address, to.port) != own);
        }
        name_servers.retain(|server| !server.connections.is_empty());
        if name_servers.is_empty() {
            return Err(NoResolver::OnlyOneself(own));
        }
        Self::with(name_servers)
    }

    /// To these name servers, over UDP, and over TCP where an answer does not fit a datagram.
    ///
    /// # Errors
    /// They can't be used.
    pub fn to(servers: &[SocketAddr]) -> Result<Self, NoResolver> {
        let server = |address: &SocketAddr| {
            let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
            connections.iter_mut().for_each(|to| to.port = address.port());
            NameServerConfig::new(address.ip(), true, connections)
        };
        Self::with(servers.iter().map(server).collect())
    }

    fn with(name_servers: Vec<NameServerConfig>) -> Result<Self, NoResolver> {
        let config = ResolverConfig::from_parts(None, Vec::new(), name_servers);
        let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.timeout = ATTEMPT;
        options.attempts = REPEATS;
        options.cache_size = CACHED;
        options.ndots = 0;
        // The host's own table is the host's: who asks here is another machine.
        options.use_hosts_file = ResolveHosts::Never;
        let resolver = builder.build();
        let resolver = resolver.map_err(|error| NoResolver::Unusable(error.to_string()))?;
        Ok(Self { resolver, room: Arc::new(Semaphore::new(MAX_FORWARDS)) })
    }

    /// Another bound than [`MAX_FORWARDS`].
    #[must_use]
    pub fn max_forwards(mut self, max: usize) -> Self {
        self.room = Arc::new(Semaphore::new(max));
        self
    }

    /// Room for one query, until it is dropped; none where as many wait as may.
    pub(crate) fn room(&self) -> Option<SemaphorePermit<'_>> {
        self.room.try_acquire().ok()
    }

    /// Looks up a full name; `None` without an answer in time.
    pub(crate) async fn lookup(&self, name: Name, record_type: RecordType) -> Option<Forwarded> {
        match timeout(DEADLINE, self.resolver.lookup(name.clone(), record_type)).await {
            Ok(Ok(lookup)) => Some(Forwarded {
                code: lookup.message().metadata.response_code,
                answers: lookup.answers().to_vec(),
                authorities: Vec::new(),
            }),
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(none)))) => Some(Forwarded {
                code: none.response_code,
                answers: Vec::new(),
                authorities: none.soa.map(|soa| soa.into_record_of_rdata()).into_iter().collect(),
            }),
            Ok(Err(error)) => {
                tracing::debug!(%name, %record_type, %error, "forwarding failed");
                None
            }
            Err(_) => {
                tracing::debug!(%name, %record_type, "forwarding took too long");
                None
            }
        }
    }
}
