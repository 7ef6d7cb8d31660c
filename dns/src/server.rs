//! The name server: queries over UDP and TCP, answered from the table or by other name servers.

use std::sync::Arc;

use hickory_proto::op::{
    Edns, Header, HeaderCounts, Metadata, OpCode, Query as Question, ResponseCode,
};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{MessageResponse, MessageResponseBuilder};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, Query, QueryType, answer};
use crate::forward::Forwarder;
use crate::metrics::{QueryCounts, QueryResult};
use crate::names::NameTable;
use crate::reply::{self, Reply};
use crate::tcp;

/// A socket is lost.
#[derive(Debug, thiserror::Error)]
#[error("DNS can't go on: {0}")]
pub struct ServeError(String);

/// Where a name server listens: one address and port for both.
#[derive(Debug)]
pub struct Sockets {
    pub udp: UdpSocket,
    pub tcp: TcpListener,
}

/// Serves both sockets until `stop` is cancelled. Each query is answered from the newest table.
/// Without a forwarder, names of other domains are refused.
///
/// # Errors
/// A socket fails.
pub async fn serve(
    sockets: Sockets,
    names: watch::Receiver<Arc<NameTable>>,
    forwarder: Option<Forwarder>,
    counts: QueryCounts,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let name_server = Arc::new(NameServer { names, forwarder, counts });
    let mut server = Server::new(Datagrams(name_server.clone()));
    server.register_socket(sockets.udp);
    let served = tokio::select! {
        served = server.block_until_done() => served,
        never = tcp::serve(sockets.tcp, name_server) => match never {},
        () = stop.cancelled() => server.shutdown_gracefully().await,
    };
    served.map_err(|error| ServeError(error.to_string()))
}

pub(crate) struct NameServer {
    names: watch::Receiver<Arc<NameTable>>,
    forwarder: Option<Forwarder>,
    counts: QueryCounts,
}

/// The name server behind a UDP socket.
struct Datagrams(Arc<NameServer>);

#[async_trait::async_trait]
impl RequestHandler for Datagrams {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response: R,
    ) -> ResponseInfo {
        let said = self.0.respond(request).await;
        match response.send_response(said.message(request)).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, to = %request.src(), "a response was not sent");
                ResponseInfo::from(Header {
                    metadata: said.metadata,
                    counts: HeaderCounts::default(),
                })
            }
        }
    }
}

/// All of a response but the question, which is repeated from the request.
pub(crate) struct Response {
    metadata: Metadata,
    edns: Option<Edns>,
    reply: Reply,
}

impl Response {
    pub(crate) fn message<'a>(
        &'a self,
        request: &'a Request,
    ) -> MessageResponse<'a, 'a, Records<'a>, Records<'a>, Records<'a>, Records<'a>> {
        let mut message = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &self.edns {
            message.edns(edns);
        }
        let Reply { answers, authorities, .. } = &self.reply;
        message.build(self.metadata, answers, authorities, &[], &[])
    }
}

type Records<'a> = std::slice::Iter<'a, Record>;

/// The one question of a request that asks for what is done here; else what to say.
fn refused<'a>(
    request: &Metadata,
    edns: Option<&Edns>,
    question: Option<&'a Question>,
) -> Result<&'a Question, ResponseCode> {
    if edns.is_some_and(|edns| edns.version() > 0) {
        return Err(ResponseCode::BADVERS);
    }
    if request.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    let question = question.ok_or(ResponseCode::FormErr)?;
    let transfer = matches!(question.query_type(), RecordType::AXFR | RecordType::IXFR);
    if question.query_class() != DNSClass::IN || transfer {
        return Err(ResponseCode::Refused);
    }
    Ok(question)
}

impl NameServer {
    /// What is said to a request, and counts it.
    pub(crate) async fn respond(&self, request: &Request) -> Response {
        let edns = reply::edns(request.edns.as_ref());
        let question = match request.queries.queries() {
            [question] => Some(question.original()),
            _ => None,
        };
        let mut reply = match refused(&request.metadata, request.edns.as_ref(), question) {
            Err(code) => Reply::failure(QueryResult::Refused, code),
            Ok(question) => self.reply(question).await,
        };
        let room = match request.protocol() {
            Protocol::Udp => reply::datagram(edns.as_ref()),
            _ => u16::MAX,
        };
        reply.fit(question, edns.as_ref(), room);
        self.counts.count(reply.result);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = reply.code;
        metadata.authoritative = reply.authoritative;
        metadata.truncation = reply.truncated;
        metadata.recursion_available = self.forwarder.is_some();
        Response { metadata, edns, reply }
    }

    async fn reply(&self, question: &Question) -> Reply {
        let query_type = match question.query_type() {
            RecordType::A | RecordType::ANY => QueryType::A,
            RecordType::AAAA => QueryType::Aaaa,
            _ => QueryType::Other,
        };
        // Its `Display` would turn `xn--` labels into other letters.
        let name = question.name().to_ascii();
        let answer = answer(&self.names.borrow(), &Query { name: &name, query_type });
        match answer {
            Answer::Address(address) => Reply::address(question.name().clone(), address),
            Answer::Empty => Reply::empty(),
            Answer::NoSuchName => Reply::no_such_name(),
            Answer::Forward => self.forward(question.name(), question.query_type()).await,
        }
    }

    async fn forward(&self, name: &Name, record_type: RecordType) -> Reply {
        let Some(forwarder) = &self.forwarder else {
            return Reply::failure(QueryResult::Refused, ResponseCode::Refused);
        };
        let Some(_room) = forwarder.room() else {
            return Reply::failure(QueryResult::Busy, ResponseCode::ServFail);
        };
        match forwarder.lookup(name.clone(), record_type).await {
            Some(forwarded) => Reply::forwarded(forwarded),
            None => Reply::failure(QueryResult::ForwardFailed, ResponseCode::ServFail),
        }
    }
}
