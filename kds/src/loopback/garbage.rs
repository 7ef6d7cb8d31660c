//! Peers that do not speak KDS, or not in order: nothing changes, the stream ends, life goes on.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, BufMut, Bytes};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use higuma_testkit::poll_until;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tonic::Status;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::*;
use crate::MAX_MESSAGE_BYTES;
use crate::hello::Hello;
use crate::proto::higuma::Commit;
use crate::proto::higuma::commit::{Course, Step};

const UP: &str = "/kuma.mesh.v1alpha1.KDSSyncService/ZoneToGlobalSync";
const DOWN: &str = "/kuma.mesh.v1alpha1.KDSSyncService/GlobalToZoneSync";

/// Bytes as they are, in both directions.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let all = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(all)))
    }
}

/// Bytes that are no message, the same in each run.
fn noise(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect::<Vec<_>>().into()
}

/// Sends messages as they are, until the other end has enough of them.
async fn send_raw(node: &Node, path: &'static str, messages: Vec<Bytes>) -> Status {
    let mut grpc = Grpc::new(kuma_zone(node).await).max_encoding_message_size(usize::MAX);
    grpc.ready().await.unwrap();
    let (sender, queue) = mpsc::channel(1);
    let mut call = tonic::Request::new(ReceiverStream::new(queue));
    let own = Position { cluster: ZONE_STORE, epoch: 1, version: 2 };
    Hello::write("west", Some(own), call.metadata_mut());
    let path = path.parse().unwrap();
    let mut answers = match grpc.streaming(call, path, Raw).await {
        Ok(answers) => answers.into_inner(),
        Err(status) => return status,
    };
    let sending = async {
        for message in messages {
            if sender.send(message).await.is_err() {
                break;
            }
        }
        // That the stream ends, and with which status, is up to the other end.
        futures::future::pending::<()>().await;
    };
    let reading = async {
        loop {
            match answers.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok("it ended the stream"),
                Err(status) => return status,
            }
        }
    };
    tokio::select! {
        () = sending => panic!("the queue is gone"),
        status = tokio::time::timeout(PATIENCE, reading) => status.expect("it goes on for ever"),
    }
}

fn commit(step: Step, version: u64) -> Response {
    let at = Position { cluster: ZONE_STORE, epoch: 1, version };
    let commit = Commit { course: Course::List.into(), ..Commit::at(at, step) };
    messages::commit_response(&up(), &commit, "1".to_owned())
}

fn encoded(response: &Response) -> Bytes {
    prost::Message::encode_to_vec(response).into()
}

#[tokio::test]
async fn a_zone_that_speaks_garbage_changes_nothing_and_stops_nobody() {
    let (global, _) = Store::new(global().now());
    let before = global.state.borrow().clone();
    let node = Node::serve(&global, ANY).await;

    let mut stranger = TcpStream::connect(&node.address).await.unwrap();
    // The other end may close before it has read all.
    stranger.write_all(&noise(100_000)).await.ok();
    let large = Response {
        type_url: "Dataplane".to_owned(),
        removed_resources: vec!["x".repeat(500_000)],
        ..Default::default()
    };
    let unknown = Response { type_url: "Nothing".to_owned(), ..Default::default() };
    let lost = Commit { entries: 7, ..Commit::default() };
    let at = Position { cluster: ZONE_STORE, epoch: 1, version: 3 };
    let lost = Commit { entries: lost.entries, ..Commit::at(at, Step::Batch) };
    let lost = messages::commit_response(&up(), &lost, "2".to_owned());
    for (what, path, messages, says) in [
        ("noise up", UP, vec![noise(1000)], ""),
        ("noise down", DOWN, vec![noise(1000)], ""),
        ("a huge message up", UP, vec![noise(MAX_MESSAGE_BYTES + 1)], "too large"),
        ("a huge message down", DOWN, vec![noise(MAX_MESSAGE_BYTES + 1)], "too large"),
        ("a batch before its opening", UP, vec![encoded(&commit(Step::Batch, 3))], "protocol"),
        ("a mark before its opening", UP, vec![encoded(&commit(Step::Mark, 3))], "protocol"),
        ("a commit of no kind", UP, vec![encoded(&commit(Step::Unspecified, 3))], "protocol"),
        (
            "a batch that lost what it counts",
            UP,
            [commit(Step::Opening, 2), unknown, lost].iter().map(encoded).collect(),
            "lacks what its commit counts",
        ),
        ("a batch that never ends", UP, vec![encoded(&large); 50], "grew past"),
    ] {
        let status = send_raw(&node, path, messages).await;
        assert_ne!(status.code(), tonic::Code::Ok, "{what}: {status}");
        assert!(status.message().contains(says), "{what}: {status}");
        assert_eq!(*global.state.borrow(), before, "{what}");
    }

    let mut tasks = JoinSet::new();
    let (west, _) = Store::new(zone().now());
    let mut states = follow(&mut tasks, &west, &[&node], no_reports());
    until_state(&mut states, |state| matches!(state, ClientState::Synced { .. })).await;
}

/// A global that answers every stream with these messages, again and again.
struct Stranger {
    responses: Vec<Response>,
    calls: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl kuma::kds_sync_service_server::KdsSyncService for Stranger {
    type GlobalToZoneSyncStream = BoxStream<'static, Result<Response, Status>>;
    type ZoneToGlobalSyncStream = BoxStream<'static, Result<Request, Status>>;

    async fn global_to_zone_sync(
        &self,
        call: tonic::Request<tonic::Streaming<Request>>,
    ) -> Result<tonic::Response<Self::GlobalToZoneSyncStream>, Status> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        // What the zone says is not read, and the stream of it stays open.
        let state = (call.into_inner(), self.responses.clone().into_iter().cycle());
        let endless = futures::stream::unfold(state, |(unread, mut responses)| async move {
            let response = responses.next()?;
            Some((Ok(response), (unread, responses)))
        });
        let mut response = tonic::Response::new(endless.boxed());
        crate::hello::agree(None, response.metadata_mut());
        Ok(response)
    }

    async fn zone_to_global_sync(
        &self,
        _: tonic::Request<tonic::Streaming<Response>>,
    ) -> Result<tonic::Response<Self::ZoneToGlobalSyncStream>, Status> {
        panic!("a zone sends nothing up before it accepts its global")
    }
}

async fn serve_stranger(
    tasks: &mut JoinSet<()>,
    responses: Vec<Response>,
) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(ANY).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let calls = Arc::new(AtomicUsize::new(0));
    let stranger = Stranger { responses, calls: calls.clone() };
    let service = kuma::kds_sync_service_server::KdsSyncServiceServer::new(stranger)
        .accept_compressed(CompressionEncoding::Gzip)
        .max_encoding_message_size(usize::MAX);
    tasks.spawn(async move {
        let server = tonic::transport::Server::builder().add_service(service);
        server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
    });
    (address, calls)
}

/// A zone that has followed the global of these tests.
async fn followed() -> Arc<Store> {
    let mut tasks = JoinSet::new();
    let (store, _) = Store::new(global().now());
    let (west, _) = Store::new(zone().now());
    let node = Node::serve(&store, ANY).await;
    let mut states = follow(&mut tasks, &west, &[&node], no_reports());
    until_state(&mut states, |state| matches!(state, ClientState::Synced { .. })).await;
    tasks.shutdown().await;
    west
}

async fn until_error(config: Client, tasks: &mut JoinSet<()>, says: &str) {
    let (adoption, running) = client(config).unwrap();
    tasks.spawn(running);
    let mut states = adoption.states();
    until_state(&mut states, |state| {
        matches!(state, ClientState::Connecting { last_error: Some(e) } if e.contains(says))
    })
    .await;
}

#[tokio::test]
async fn a_global_that_speaks_garbage_changes_nothing_in_a_zone() {
    let stranger = |entry: &str, name: &str| Response {
        type_url: entry.to_owned(),
        removed_resources: vec![name.to_owned()],
        nonce: "1".to_owned(),
        ..Default::default()
    };
    let broken = Response { type_url: Commit::TYPE.to_owned(), ..Default::default() };
    for (what, responses, says) in [
        ("a commit that is none", vec![broken], "cannot be read"),
        ("a batch before its opening", vec![commit(Step::Batch, 9)], "protocol"),
        ("removals without end", vec![stranger("Mesh", &"x".repeat(200_000))], "grew past"),
        ("a huge message", vec![stranger("Mesh", &"x".repeat(MAX_MESSAGE_BYTES))], "too large"),
    ] {
        let west = followed().await;
        let before = west.state.borrow().clone();
        let mut tasks = JoinSet::new();
        let (address, calls) = serve_stranger(&mut tasks, responses).await;
        let config = Client { globals: vec![address], ..client_of(&west, &[], no_reports()) };
        until_error(config, &mut tasks, says).await;
        assert_eq!(*west.state.borrow(), before, "{what}");
        let again = async || calls.load(Ordering::Relaxed);
        poll_until("it is tried again", PATIENCE, again, |calls| *calls > 1).await.unwrap();
        assert_eq!(*west.state.borrow(), before, "{what}");
    }
}

#[tokio::test]
async fn a_global_that_is_no_grpc_server_changes_nothing_in_a_zone() {
    let west = followed().await;
    let before = west.state.borrow().clone();
    let mut tasks = JoinSet::new();
    let listener = TcpListener::bind(ANY).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The other end may close before it has read all.
            stream.write_all(&noise(100_000)).await.ok();
        }
    });
    let config = Client { globals: vec![address], ..client_of(&west, &[], no_reports()) };
    until_error(config, &mut tasks, "").await;
    assert_eq!(*west.state.borrow(), before);
}

#[tokio::test]
async fn an_inventory_is_bounded_however_often_it_is_sent() {
    let mut sender = crate::Sender::new(to_west(), global().now(), None);
    sender.advance().unwrap();
    let names = |n: usize| {
        let mut request = messages::subscription(&to_west(), "Mesh");
        request.initial_resource_versions =
            (0..1000).map(|i| (format!("m{n}-{i}."), "1".to_owned())).collect();
        request
    };
    for n in 0..50 {
        sender.receive(&names(n)).unwrap();
    }
    assert_eq!(sender.inventory_len(), 1000, "the last one of a kind counts");
}
