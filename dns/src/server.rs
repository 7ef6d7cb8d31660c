//! The name server: queries from a UDP socket, answered from the table or by other name servers.

use std::sync::Arc;

use hickory_proto::op::{
    Edns, Header, HeaderCounts, Metadata, OpCode, Query as Question, ResponseCode,
};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, Query, QueryType, answer};
use crate::forward::Forwarder;
use crate::metrics::{QueryCounts, QueryResult};
use crate::names::NameTable;
use crate::reply::{self, Reply};

/// Queries that wait for other name servers at one time. With the 4 s that each waits at most,
/// a dead upstream leaves room for 128 new ones a second; more are told `SERVFAIL` at once. Queries
/// for `.mesh` wait for nothing and are not bounded.
pub const MAX_FORWARDS: usize = 512;

/// The socket is lost.
#[derive(Debug, thiserror::Error)]
#[error("DNS can't go on: {0}")]
pub struct ServeError(String);

/// Serves a UDP socket until `stop` is cancelled. Each query is answered from the newest table.
/// Without a forwarder, names of other domains are refused.
///
/// # Errors
/// The socket fails.
pub async fn serve(
    socket: UdpSocket,
    names: watch::Receiver<Arc<NameTable>>,
    forwarder: Option<Forwarder>,
    counts: QueryCounts,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let forwards = Semaphore::new(MAX_FORWARDS);
    let mut server = Server::new(NameServer { names, forwarder, forwards, counts });
    server.register_socket(socket);
    let served = tokio::select! {
        served = server.block_until_done() => served,
        () = stop.cancelled() => server.shutdown_gracefully().await,
    };
    served.map_err(|error| ServeError(error.to_string()))
}

struct NameServer {
    names: watch::Receiver<Arc<NameTable>>,
    forwarder: Option<Forwarder>,
    forwards: Semaphore,
    counts: QueryCounts,
}

#[async_trait::async_trait]
impl RequestHandler for NameServer {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response: R,
    ) -> ResponseInfo {
        let edns = reply::edns(request.edns.as_ref());
        let question = match request.queries.queries() {
            [question] => Some(question.original()),
            _ => None,
        };
        let mut reply = match refused(&request.metadata, request.edns.as_ref(), question) {
            Err(code) => Reply::failure(QueryResult::Refused, code),
            Ok(question) => self.reply(question).await,
        };
        reply.fit(question, edns.as_ref());
        self.counts.count(reply.result);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = reply.code;
        metadata.authoritative = reply.authoritative;
        metadata.truncation = reply.truncated;
        metadata.recursion_available = self.forwarder.is_some();
        let mut message = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &edns {
            message.edns(edns);
        }
        let none: [&Record; 0] = [];
        let message = message.build(metadata, &reply.answers, &reply.authorities, none, none);
        match response.send_response(message).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, to = %request.src(), "a response was not sent");
                ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
            }
        }
    }
}

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
        let Ok(_permit) = self.forwards.try_acquire() else {
            return Reply::failure(QueryResult::Busy, ResponseCode::ServFail);
        };
        match forwarder.lookup(name.clone(), record_type).await {
            Some(forwarded) => Reply::forwarded(forwarded),
            None => Reply::failure(QueryResult::ForwardFailed, ResponseCode::ServFail),
        }
    }
}
