//! Clusters of three stores in one process, over mutual TLS from files: who is let in, how a
//! running cluster moves over, and how its CA is replaced while it takes writes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use higuma_model::{
    Audience, ClusterName, Draft, Key, Operation, Owner, RequestId, Spec, Timestamp, Transaction,
};
use higuma_serve::pki::{Authority, Issued, Subject, write_certificate, write_key};
use higuma_serve::{ClientAuth, Transport, TransportPaths, incoming};
use higuma_store::{Cluster, Options, Store, Timers, Tls, WriteError};
use higuma_testkit::{loopback, poll_until};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const DAY: Duration = Duration::from_hours(24);
/// Elections on a machine that is busy, and files that are looked at every few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// No election but after a death, however busy the machine is.
const TIMERS: Timers = Timers {
    heartbeat: Duration::from_millis(200),
    election_min: Duration::from_secs(2),
    election_max: Duration::from_secs(3),
};

fn name() -> ClusterName {
    "prod".parse().unwrap()
}

fn put(random: u64, name: &str) -> Transaction {
    Transaction {
        id: RequestId { at: Timestamp(1_000), random },
        at: Timestamp(1_000),
        writer: Owner::Global,
        demands: vec![],
        checks: vec![],
        terms: higuma_model::Terms::default(),
        operations: vec![Operation::Put(Draft {
            key: Key::mesh_resource(name),
            audience: Audience::AllZones,
            labels: BTreeMap::new(),
            spec: Spec::Json("{}".into()),
            status: None,
        })],
    }
}

/// A certificate for every node's address, which says of its holder what `uris` do.
fn issue(ca: &Authority, uris: &[String]) -> Issued {
    let subject = Subject { ips: vec![loopback()], uris: uris.to_vec(), ..Subject::default() };
    ca.issue(&subject, DAY).unwrap()
}

fn der(issued: &Issued) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap()
}

/// Nodes, with their files, that are opened and closed one by one.
struct Lab {
    folder: tempfile::TempDir,
    members: BTreeMap<u64, String>,
    transports: BTreeMap<u64, Transport>,
    stores: BTreeMap<u64, Store>,
    following: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
    writes: AtomicU64,
}

impl Lab {
    /// Three nodes, each with the certificate that `issue` makes for it.
    async fn open(
        ca: &Authority,
        issue: impl Fn(u64) -> Issued,
        cluster_name: Option<ClusterName>,
    ) -> Self {
        higuma_serve::install_crypto_provider();
        let mut members = BTreeMap::new();
        for id in 1..=3 {
            let listener = TcpListener::bind((loopback(), 0)).await.unwrap();
            members.insert(id, listener.local_addr().unwrap().to_string());
        }
        let mut lab = Self {
            folder: tempfile::tempdir().unwrap(),
            members,
            transports: BTreeMap::new(),
            stores: BTreeMap::new(),
            following: JoinSet::new(),
            stop: CancellationToken::new(),
            writes: AtomicU64::new(1),
        };
        for id in 1..=3 {
            lab.put_ca(id, ca.certificate_pem());
            lab.put_own(id, &issue(id));
            let transport = Transport::load(&lab.paths(id)).unwrap();
            lab.following.spawn(transport.clone().follow(lab.stop.clone()));
            lab.transports.insert(id, transport);
        }
        let (one, two, three) = tokio::join!(
            lab.store(1, cluster_name.clone()),
            lab.store(2, cluster_name.clone()),
            lab.store(3, cluster_name.clone())
        );
        lab.stores = BTreeMap::from([(1, one), (2, two), (3, three)]);
        lab
    }

    fn paths(&self, id: u64) -> TransportPaths {
        let path = |what: &str| self.folder.path().join(format!("{what}-{id}.pem"));
        TransportPaths { ca: path("ca"), cert: path("cert"), key: path("key") }
    }

    fn put_ca(&self, id: u64, pem: &str) {
        write_certificate(&self.paths(id).ca, pem).unwrap();
    }

    fn put_own(&self, id: u64, own: &Issued) {
        write_certificate(&self.paths(id).cert, &own.certificate_pem).unwrap();
        write_key(&self.paths(id).key, &own.key_pem).unwrap();
    }

    async fn store(&self, id: u64, cluster_name: Option<ClusterName>) -> Store {
        let transport = &self.transports[&id];
        let (server, client) =
            (transport.grpc_server(ClientAuth::Required), transport.grpc_client());
        let bind = async || TcpListener::bind(&self.members[&id]).await;
        let listener = poll_until("the address is free", PATIENCE, bind, Result::is_ok).await;
        Store::open(Options {
            folder: self.folder.path().join(id.to_string()),
            node: id,
            members: self.members.clone(),
            listener: Some(listener.unwrap().unwrap()),
            tls: Some(Tls {
                accept: Box::new(|raft| Box::pin(incoming(raft, server))),
                client,
                cluster_name,
            }),
            timers: TIMERS,
            mutant: None,
        })
        .await
        .unwrap()
    }

    /// Ends a node in order, and opens it again.
    async fn restart(&mut self, id: u64, cluster_name: Option<ClusterName>) {
        self.stores.remove(&id).unwrap().shutdown().await;
        let opened = self.store(id, cluster_name).await;
        self.stores.insert(id, opened);
    }

    /// A write that is done in the end.
    async fn write(&self, through: u64) {
        let random = self.writes.fetch_add(1, Ordering::Relaxed);
        let transaction = put(random, &format!("m{random}"));
        let write = async || self.stores[&through].write(&transaction).await;
        let ended = |written: &Result<_, _>| {
            matches!(written, Ok(_) | Err(WriteError::Refused(_) | WriteError::TooLarge(_)))
        };
        poll_until("a write", PATIENCE, write, ended).await.unwrap().unwrap();
    }

    async fn leader(&self) -> u64 {
        let asked = async || self.stores[&1].cluster().await.leader;
        poll_until("a leader", PATIENCE, asked, Option::is_some).await.unwrap().unwrap()
    }

    /// What a node's Raft port shows to somebody with `client`'s certificate.
    async fn shown(&self, id: u64, client: &Transport) -> Result<CertificateDer<'static>, String> {
        shown(&self.members[&id], client).await.map_err(|error| error.to_string())
    }

    /// Waits until a node's Raft port shows `own`.
    async fn until_shown(&self, id: u64, own: &Issued, client: &Transport) {
        let what = format!("node {id} shows its new certificate");
        let is_it = |shown: &Result<_, _>| *shown == Ok(der(own));
        let shown = async || self.shown(id, client).await;
        poll_until(&what, PATIENCE, shown, is_it).await.unwrap().unwrap();
    }

    /// Gives every node another CA file, and waits until all of them use it.
    async fn trust(&self, pem: &str) {
        for id in 1..=3 {
            self.put_ca(id, pem);
        }
        for (id, transport) in &self.transports {
            let what = format!("node {id} takes its new CA file");
            let used = async || transport.ca_pem();
            poll_until(&what, PATIENCE, used, |used| used == pem).await.unwrap();
        }
    }

    /// Waits until every node says of every other that it answers.
    async fn all_well(&self) {
        let well = |cluster: &Cluster| cluster.members.iter().all(|member| member.state.is_ok());
        for (id, store) in &self.stores {
            let cluster = async || store.cluster().await;
            let what = format!("node {id} is answered by all");
            poll_until(&what, PATIENCE, cluster, well).await.unwrap();
        }
    }
}

async fn shown(address: &str, client: &Transport) -> std::io::Result<CertificateDer<'static>> {
    let stream = TcpStream::connect(address).await?;
    let connector = tokio_rustls::TlsConnector::from(client.grpc_client());
    let mut stream = connector.connect(ServerName::from(loopback()), stream).await?;
    // With TLS 1.3 the server judges our certificate when our side is done: it has to answer.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
    stream.read_u8().await?;
    Ok(stream.get_ref().1.peer_certificates().unwrap()[0].clone())
}

/// Writes through every node, again and again, each write once.
struct Load {
    stop: Arc<AtomicBool>,
    writers: JoinSet<(u64, Vec<String>)>,
}

impl Load {
    fn start(lab: &Lab) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = JoinSet::new();
        for (id, store) in &lab.stores {
            let (id, store, stop) = (*id, store.clone(), stop.clone());
            writers.spawn(async move {
                let (mut count, mut failed) = (0, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let transaction = put((id << 32) + count, &format!("load-{id}"));
                    if let Err(error) = store.write(&transaction).await {
                        failed.push(format!("node {id}: {error}"));
                    }
                    count += 1;
                }
                (count, failed)
            });
        }
        Self { stop, writers }
    }

    /// How many were written, none of which failed.
    async fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = 0;
        while let Some(ended) = self.writers.join_next().await {
            let (count, failed) = ended.unwrap();
            assert!(failed.is_empty(), "{} of {count} failed: {:?}", failed.len(), failed.first());
            all += count;
        }
        all
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_is_replaced_under_load_and_no_call_fails() {
    let (old, new) = (Authority::generate("old", DAY), Authority::generate("new", DAY));
    let (old, new) = (old.unwrap(), new.unwrap());
    let mut lab = Lab::open(&old, |id| issue(&old, &[name().node_uri(id)]), Some(name())).await;
    lab.write(lab.leader().await).await;
    lab.all_well().await;
    let load = Load::start(&lab);

    let both = format!("{}{}", old.certificate_pem(), new.certificate_pem());
    lab.trust(&both).await;
    let of_old = issue(&old, &[]);
    let of_old = Transport::from_pem(&both, &of_old.certificate_pem, &of_old.key_pem).unwrap();
    assert!(lab.shown(1, &of_old).await.is_ok(), "the old CA is trusted still");
    for id in 1..=3 {
        let renewed = issue(&new, &[name().node_uri(id)]);
        lab.put_own(id, &renewed);
        lab.until_shown(id, &renewed, &of_old).await;
    }
    lab.trust(new.certificate_pem()).await;
    let refused = lab.shown(2, &of_old).await.unwrap_err();
    assert!(refused.contains("UnknownCA"), "the old CA is not trusted any more: {refused}");
    let written = load.end().await;
    assert!(written > 30, "{written} writes");

    // The connections that were open through all that are made anew.
    for id in 1..=3 {
        lab.restart(id, Some(name())).await;
        lab.write(id % 3 + 1).await;
        lab.all_well().await;
    }
    lab.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_cluster_gets_a_name_node_by_node_in_any_order_and_loses_it_again() {
    let ca = Authority::generate("ca", DAY).unwrap();
    let mut lab = Lab::open(&ca, |_| issue(&ca, &[]), None).await;
    let leader = lab.leader().await;
    lab.write(leader).await;
    for id in 1..=3 {
        let renewed = issue(&ca, &[name().node_uri(id)]);
        lab.put_own(id, &renewed);
        lab.until_shown(id, &renewed, &lab.transports[&id]).await;
    }
    let followers: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    let leader_last = [followers[0], followers[1], leader];
    let leader_first = [leader, followers[1], followers[0]];
    for (order, to) in [(leader_last, Some(name())), (leader_first, None)] {
        for id in order {
            lab.restart(id, to.clone()).await;
            for through in 1..=3 {
                lab.write(through).await;
            }
            lab.all_well().await;
        }
    }
    lab.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_anothers_certificate_takes_no_part() {
    let ca = Authority::generate("ca", DAY).unwrap();
    let mut lab = Lab::open(&ca, |id| issue(&ca, &[name().node_uri(id)]), Some(name())).await;
    lab.write(lab.leader().await).await;
    lab.all_well().await;
    let other: ClusterName = "stage".parse().unwrap();
    for uris in
        [vec![], vec![name().node_uri(2)], vec![other.node_uri(3)], vec![name().zone_uri("3")]]
    {
        let carries = uris.first().map_or("no URI", String::as_str);
        let carries = format!("it carries {carries}");
        lab.stores.remove(&3).unwrap().shutdown().await;
        lab.put_own(3, &issue(&ca, &uris));
        // It would not start with its name given; this is one that wants to get around that.
        lab.transports.insert(3, Transport::load(&lab.paths(3)).unwrap());
        let opened = lab.store(3, None).await;
        lab.stores.insert(3, opened);
        let must = format!("must carry {}", name().node_uri(3));
        for (at, of) in [(3, 1), (3, 2), (1, 3), (2, 3)] {
            let state = async || {
                let cluster = lab.stores[&at].cluster().await;
                let member = cluster.members.into_iter().find(|member| member.id == of);
                member.unwrap().state
            };
            let is_refused = |state: &Result<_, String>| matches!(state, Err(why) if why.contains(&must) && why.contains(&carries));
            let what = format!("node {at} says why node {of} does not work with it");
            let why = poll_until(&what, PATIENCE, state, is_refused).await.unwrap().unwrap_err();
            assert!(why.contains("higuma generate cluster-tls --cluster-name prod"), "{why}");
        }
        lab.write(1).await;
        let version = lab.stores[&1].snapshot().version();
        assert!(lab.stores[&3].snapshot().version() < version, "it follows nobody");
        let refused = lab.stores[&3].write(&put(u64::MAX, "x")).await.unwrap_err();
        let nothing_done = matches!(refused, WriteError::NoLeader(_) | WriteError::Busy(_));
        assert!(nothing_done, "{refused}");
    }
    lab.put_own(3, &issue(&ca, &[name().node_uri(3)]));
    lab.transports.insert(3, Transport::load(&lab.paths(3)).unwrap());
    lab.restart(3, Some(name())).await;
    lab.all_well().await;
    lab.stop.cancel();
}
