//! The name server over real sockets, with another name server on the loopback address.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use higuma_dns::{
    Forwarder, IDLE_TIMEOUT, MAX_CONNECTIONS, NameTable, QueryCounts, ServeError, Sockets, serve,
};
use higuma_model::testing::{dataplane, snapshot, vip};
use higuma_model::{Owner, Snapshot};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Far above what an answer takes, the forwarder's own limit included.
const PATIENCE: Duration = Duration::from_secs(10);
const WEB: Ipv4Addr = Ipv4Addr::new(240, 1, 2, 3);

fn zone(services: &[&str]) -> Snapshot {
    let mut state = snapshot([]);
    for service in services {
        let proxy = dataplane(&format!("{service}-1")).tag("kuma.io/service", service).inbound(80);
        state.put(Arc::new(proxy.resource(Owner::zone("east"), 1)));
        state.put(Arc::new(vip(&format!("{service}.mesh"), WEB, "east", 2)));
    }
    state
}

/// A name server under test and a client of it.
struct World {
    client: UdpSocket,
    tables: watch::Sender<Arc<NameTable>>,
    registry: Registry,
    stop: CancellationToken,
    running: JoinSet<Result<(), ServeError>>,
}

async fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

/// A TCP and a UDP socket of one port.
async fn sockets() -> Sockets {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // Taken for UDP by someone else: another one.
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            return Sockets { udp, tcp };
        }
    }
}

impl World {
    async fn new(forwarder: Option<Forwarder>) -> Self {
        let (server, client) = (sockets().await, socket().await);
        client.connect(server.udp.local_addr().unwrap()).await.unwrap();
        let (tables, names) = watch::channel(Arc::new(NameTable::of(&zone(&["web"]))));
        let (counts, stop, mut registry) =
            (QueryCounts::default(), CancellationToken::new(), Registry::default());
        counts.register(&mut registry);
        let mut running = JoinSet::new();
        running.spawn(serve(server, names, forwarder, counts, stop.clone()));
        Self { client, tables, registry, stop, running }
    }

    async fn with_upstream() -> Self {
        let upstream = sockets().await;
        let forwarder = Forwarder::to(&[upstream.udp.local_addr().unwrap()]).unwrap();
        let mut world = Self::new(Some(forwarder)).await;
        world.running.spawn(upstream_serves(upstream.udp));
        world.running.spawn(upstream_serves_tcp(upstream.tcp));
        world
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.client.peer_addr().unwrap()).await.unwrap()
    }

    async fn ask_over_tcp(&self, query: &Message) -> Message {
        let mut stream = self.connect().await;
        send(&mut stream, query).await;
        received(&mut stream).await.unwrap()
    }

    async fn receive(&self) -> Message {
        let mut buffer = [0; 65_536];
        let length = timeout(PATIENCE, self.client.recv(&mut buffer)).await.unwrap().unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    }

    async fn ask(&self, query: &Message) -> Message {
        self.client.send(&query.to_vec().unwrap()).await.unwrap();
        let response = self.receive().await;
        assert_eq!(response.metadata.id, query.metadata.id);
        assert_eq!(response.metadata.message_type, MessageType::Response);
        response
    }

    fn count(&self, result: &str) -> usize {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = format!("higuma_dns_queries_total{{result=\"{result}\"}} ");
        text.lines().find_map(|at| at.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
    }
}

async fn send(stream: &mut TcpStream, message: &Message) {
    let message = message.to_vec().unwrap();
    let length = u16::try_from(message.len()).unwrap();
    stream.write_all(&[&length.to_be_bytes()[..], &message].concat()).await.unwrap();
}

/// The next message; `None` if the connection ended instead.
async fn received(stream: &mut TcpStream) -> Option<Message> {
    let length = timeout(IDLE_TIMEOUT + PATIENCE, stream.read_u16()).await.unwrap().ok()?;
    let mut message = vec![0; usize::from(length)];
    timeout(PATIENCE, stream.read_exact(&mut message)).await.unwrap().unwrap();
    Some(Message::from_vec(&message).unwrap())
}

fn query(id: u16, name: &str, record_type: RecordType) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
    message
}

fn with_edns(mut message: Message, payload: u16, version: u8) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload).set_version(version);
    message.edns = Some(edns);
    message
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), 60, data)
}

/// What the other name server knows; nothing for a name that it never answers.
fn upstream_answer(query: &Message) -> Option<Message> {
    let question = &query.queries[0];
    let name = question.name();
    let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata.recursion_available = true;
    answer.add_query(question.clone());
    let org = Name::from_ascii("example.org.").unwrap();
    let soa = SOA::new(org.clone(), org.clone(), 7, 1, 1, 1, 9);
    let address = |last| record(name, RData::A(A(Ipv4Addr::new(192, 0, 2, last))));
    match (name.to_ascii().to_lowercase().as_str(), question.query_type()) {
        ("one.example.org.", RecordType::A) => {
            answer.add_answer(address(1));
        }
        ("one.example.org.", _) => {
            answer.add_authority(record(&org, RData::SOA(soa)));
        }
        ("many.example.org.", _) => {
            answer.add_answers((1..=60).map(address));
        }
        ("huge.example.org.", _) => {
            answer.add_answers((1..=250).map(address));
        }
        ("refused.example.org.", _) => answer.metadata.response_code = ResponseCode::Refused,
        ("silent.example.org.", _) => return None,
        _ => {
            answer.metadata.response_code = ResponseCode::NXDomain;
            answer.add_authority(record(&org, RData::SOA(soa)));
        }
    }
    Some(answer)
}

async fn upstream_serves(socket: UdpSocket) -> Result<(), ServeError> {
    let mut buffer = [0; 4_096];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        let query = Message::from_vec(&buffer[..length]).unwrap();
        if let Some(mut answer) = upstream_answer(&query) {
            if answer.answers.len() > 100 {
                answer.answers.clear();
                answer.metadata.truncation = true;
            }
            socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
        }
    }
}

async fn upstream_serves_tcp(listener: TcpListener) -> Result<(), ServeError> {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        while let Some(query) = received(&mut stream).await {
            send(&mut stream, &upstream_answer(&query).unwrap()).await;
        }
    }
}

fn addresses(message: &Message) -> Vec<Ipv4Addr> {
    let address = |record: &Record| match &record.data {
        RData::A(address) => Some(address.0),
        _ => None,
    };
    message.answers.iter().filter_map(address).collect()
}

#[tokio::test]
async fn names_of_the_mesh() {
    let world = World::new(None).await;
    let answer = world.ask(&query(7, "Web.MESH.", RecordType::A)).await;
    assert_eq!(
        (answer.metadata.response_code, answer.metadata.authoritative),
        (ResponseCode::NoError, true)
    );
    assert!(answer.metadata.recursion_desired && !answer.metadata.recursion_available);
    assert_eq!(addresses(&answer), [WEB]);
    assert_eq!(answer.answers[0].ttl, 30);
    assert_eq!(answer.answers[0].name.to_ascii(), "Web.MESH.", "as it was asked for");
    assert_eq!(answer.queries[0].name().to_ascii(), "Web.MESH.");
    assert!(answer.edns.is_none(), "none was asked for");

    for (name, record_type, code) in [
        ("web.mesh.", RecordType::AAAA, ResponseCode::NoError),
        ("web.mesh.", RecordType::TXT, ResponseCode::NoError),
        ("mesh.", RecordType::NS, ResponseCode::NoError),
        ("nobody.mesh.", RecordType::A, ResponseCode::NXDomain),
        ("nobody.mesh.", RecordType::AAAA, ResponseCode::NXDomain),
    ] {
        let answer = world.ask(&query(8, name, record_type)).await;
        assert_eq!(answer.metadata.response_code, code, "{name} {record_type}");
        assert!(answer.answers.is_empty() && answer.metadata.authoritative, "{name}");
        let [soa] = &answer.authorities[..] else { panic!("{:?}", answer.authorities) };
        assert_eq!((soa.record_type(), soa.name.to_ascii().as_str()), (RecordType::SOA, "mesh."));
        let RData::SOA(times) = &soa.data else { panic!("{soa}") };
        assert_eq!((soa.ttl, times.minimum), (5, 5));
    }
    let counted = ["answered", "empty", "no_such_name", "forwarded"].map(|at| world.count(at));
    assert_eq!(counted, [1, 3, 2, 0]);
}

#[tokio::test]
async fn the_newest_table_answers_and_a_stop_ends_it() {
    let mut world = World::new(None).await;
    let asked = query(1, "late.mesh.", RecordType::A);
    assert_eq!(world.ask(&asked).await.metadata.response_code, ResponseCode::NXDomain);
    world.tables.send_replace(Arc::new(NameTable::of(&zone(&["web", "late"]))));
    assert_eq!(addresses(&world.ask(&asked).await), [WEB]);
    world.stop.cancel();
    let ended = timeout(PATIENCE, world.running.join_next()).await.unwrap();
    assert!(ended.unwrap().unwrap().is_ok());
}

#[tokio::test]
async fn what_is_not_done_here_is_refused() {
    let world = World::new(None).await;
    let mut notify = query(1, "web.mesh.", RecordType::SOA);
    notify.metadata.op_code = OpCode::Notify;
    let mut two = query(2, "web.mesh.", RecordType::A);
    two.add_query(two.queries[0].clone());
    let mut chaos = query(3, "web.mesh.", RecordType::A);
    chaos.queries[0].set_query_class(DNSClass::CH);
    let newer = with_edns(query(4, "web.mesh.", RecordType::A), 1_232, 1);
    for (message, code) in [
        (notify, ResponseCode::NotImp),
        (two, ResponseCode::FormErr),
        (chaos, ResponseCode::Refused),
        (newer, ResponseCode::BADVERS),
        (query(5, "web.mesh.", RecordType::AXFR), ResponseCode::Refused),
        (query(6, "one.example.org.", RecordType::A), ResponseCode::Refused),
    ] {
        let answer = world.ask(&message).await;
        // By number: BADVERS and BADSIG share one.
        let given = u16::from(answer.metadata.response_code);
        assert_eq!(given, u16::from(code), "{message}");
        assert!(answer.answers.is_empty(), "{message}");
    }
    assert_eq!(world.count("refused"), 6);
    // No query at all: nothing is said, and the next one is answered.
    world.client.send(b"hello").await.unwrap();
    assert_eq!(addresses(&world.ask(&query(9, "web.mesh.", RecordType::A)).await), [WEB]);
}

#[tokio::test]
async fn edns_is_answered_with_edns_and_a_size_that_both_take() {
    let world = World::new(None).await;
    for (asked, given) in [(4_096, 1_232), (900, 900), (512, 512)] {
        let answer = world.ask(&with_edns(query(1, "web.mesh.", RecordType::A), asked, 0)).await;
        let edns = answer.edns.as_ref().expect("an EDNS record");
        assert_eq!((edns.max_payload(), edns.version()), (given, 0));
        assert_eq!(addresses(&answer), [WEB]);
    }
}

#[tokio::test]
async fn other_names_are_forwarded() {
    let world = World::with_upstream().await;
    let org = |name: &str| format!("{name}.example.org.");
    for (name, record_type, code, answers, authorities) in [
        ("one", RecordType::A, ResponseCode::NoError, 1, 0),
        ("one", RecordType::AAAA, ResponseCode::NoError, 0, 1),
        ("nobody", RecordType::A, ResponseCode::NXDomain, 0, 1),
        ("refused", RecordType::A, ResponseCode::ServFail, 0, 0),
    ] {
        let answer = world.ask(&query(3, &org(name), record_type)).await;
        let numbers = (answer.answers.len(), answer.authorities.len());
        assert_eq!(answer.metadata.response_code, code, "{name} {record_type}");
        assert_eq!(numbers, (answers, authorities), "{name} {record_type}: {answer}");
        assert!(!answer.metadata.authoritative && answer.metadata.recursion_available, "{name}");
    }
    assert_eq!(addresses(&world.ask(&query(4, "web.mesh.", RecordType::A)).await), [WEB]);
    let counted = ["forwarded", "forward_failed", "answered"].map(|at| world.count(at));
    assert_eq!(counted, [3, 1, 1]);
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_cut_and_says_so() {
    let world = World::with_upstream().await;
    let many = query(1, "many.example.org.", RecordType::A);
    let whole = world.ask(&with_edns(many.clone(), 4_096, 0)).await;
    assert_eq!((addresses(&whole).len(), whole.metadata.truncation), (60, false));
    let cut = world.ask(&many).await;
    assert_eq!((addresses(&cut).len(), cut.metadata.truncation), (0, true));
    let cut = world.ask(&with_edns(many, 600, 0)).await;
    assert_eq!((addresses(&cut).len(), cut.metadata.truncation), (0, true));
    assert!(cut.edns.is_some(), "the EDNS record is not cut");
    assert!(cut.to_vec().unwrap().len() <= 600);
}

#[tokio::test]
async fn a_dead_name_server_is_a_failure_and_holds_up_nothing() {
    // Its socket is closed: nobody listens there.
    let gone: SocketAddr = socket().await.local_addr().unwrap();
    let world = World::new(Some(Forwarder::to(&[gone]).unwrap())).await;
    let silent = query(1, "silent.example.org.", RecordType::A);
    world.client.send(&silent.to_vec().unwrap()).await.unwrap();
    assert_eq!(addresses(&world.ask(&query(2, "web.mesh.", RecordType::A)).await), [WEB]);
    let failed = world.receive().await;
    let expected = (silent.metadata.id, ResponseCode::ServFail);
    assert_eq!((failed.metadata.id, failed.metadata.response_code), expected);
}

#[tokio::test]
async fn as_many_wait_for_others_as_may_and_no_more() {
    const MAX: u16 = 8;
    let upstream = socket().await;
    let forwarder = Forwarder::to(&[upstream.local_addr().unwrap()]).unwrap();
    let world = World::new(Some(forwarder.max_forwards(usize::from(MAX)))).await;
    for id in 0..MAX {
        let asked = query(id, &format!("n{id}.example.org."), RecordType::A);
        world.client.send(&asked.to_vec().unwrap()).await.unwrap();
    }
    // The other name server has them once they wait; repeats of earlier ones may come between.
    let (mut waiting, mut buffer) = (BTreeSet::new(), [0; 4_096]);
    while waiting.len() < usize::from(MAX) {
        let received = timeout(PATIENCE, upstream.recv(&mut buffer)).await.unwrap().unwrap();
        let query = Message::from_vec(&buffer[..received]).unwrap();
        waiting.insert(query.queries[0].name().to_ascii());
    }
    let more = world.ask(&query(60_000, "more.example.org.", RecordType::A)).await;
    assert_eq!(more.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(addresses(&world.ask(&query(60_001, "web.mesh.", RecordType::A)).await), [WEB]);
    assert_eq!(world.count("busy"), 1);
}

#[tokio::test]
async fn tcp_answers_what_udp_does() {
    let world = World::with_upstream().await;
    for asked in [
        query(1, "Web.MESH.", RecordType::A),
        query(2, "web.mesh.", RecordType::AAAA),
        query(3, "nobody.mesh.", RecordType::A),
        query(4, "web.mesh.", RecordType::AXFR),
        query(5, "one.example.org.", RecordType::A),
        query(6, "one.example.org.", RecordType::AAAA),
        with_edns(query(7, "web.mesh.", RecordType::A), 4_096, 0),
        with_edns(query(8, "web.mesh.", RecordType::A), 1_232, 1),
    ] {
        let (udp, tcp) = (world.ask(&asked).await, world.ask_over_tcp(&asked).await);
        assert_eq!((udp.metadata, udp.answers.len()), (tcp.metadata, tcp.answers.len()), "{asked}");
        assert_eq!(addresses(&udp), addresses(&tcp));
        assert_eq!((udp.queries, udp.edns), (tcp.queries, tcp.edns));
    }
}

#[tokio::test]
async fn what_is_cut_over_udp_is_whole_over_tcp() {
    let world = World::with_upstream().await;
    // The second one is cut by the other name server, too.
    for (name, addresses_of_it) in [("many.example.org.", 60), ("huge.example.org.", 250)] {
        for asked in
            [query(1, name, RecordType::A), with_edns(query(2, name, RecordType::A), 600, 0)]
        {
            let cut = world.ask(&asked).await;
            assert_eq!((addresses(&cut).len(), cut.metadata.truncation), (0, true), "{name}");
            let whole = world.ask_over_tcp(&asked).await;
            let got = (addresses(&whole).len(), whole.metadata.truncation);
            assert_eq!(got, (addresses_of_it, false), "{name}");
        }
    }
}

#[tokio::test]
async fn a_connection_serves_many_queries_in_order() {
    let world = World::new(None).await;
    let mut stream = world.connect().await;
    for id in 0..100 {
        send(&mut stream, &query(id, "web.mesh.", RecordType::A)).await;
    }
    for id in 0..100 {
        let answer = received(&mut stream).await.unwrap();
        assert_eq!((answer.metadata.id, addresses(&answer)), (id, vec![WEB]));
    }
    assert_eq!(world.count("answered"), 100);
}

#[tokio::test]
async fn what_is_no_query_ends_its_connection_alone() {
    let mut world = World::new(None).await;
    let mut response = query(1, "web.mesh.", RecordType::A);
    response.metadata.message_type = MessageType::Response;
    let (mut garbage, mut answering) = (world.connect().await, world.connect().await);
    garbage.write_all(b"\0\x05hello").await.unwrap();
    send(&mut answering, &response).await;
    assert!(received(&mut garbage).await.is_none() && received(&mut answering).await.is_none());
    let mut open = world.connect().await;
    send(&mut open, &query(2, "web.mesh.", RecordType::A)).await;
    assert_eq!(addresses(&received(&mut open).await.unwrap()), [WEB]);
    world.stop.cancel();
    let ended = timeout(PATIENCE, world.running.join_next()).await.unwrap();
    assert!(ended.unwrap().unwrap().is_ok());
    assert!(received(&mut open).await.is_none(), "a stop ends connections");
}

#[tokio::test]
async fn connections_are_bounded_and_silent_ones_end() {
    let world = World::new(None).await;
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        silent.push(world.connect().await);
    }
    // Half a query counts as silence.
    silent[0].write_all(&[0]).await.unwrap();
    let mut waiting = world.connect().await;
    send(&mut waiting, &query(1, "web.mesh.", RecordType::A)).await;
    let early = timeout(Duration::from_secs(1), received(&mut waiting)).await;
    assert!(early.is_err(), "it waits for one of the others to end");
    assert_eq!(addresses(&received(&mut waiting).await.unwrap()), [WEB]);
    assert!(received(&mut silent[0]).await.is_none());
    assert_eq!(addresses(&world.ask(&query(2, "web.mesh.", RecordType::A)).await), [WEB]);
}
