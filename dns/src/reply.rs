//! A response as records, and what of it fits.

use std::net::Ipv4Addr;
use std::sync::LazyLock;

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record};
use higuma_model::vip::DOMAIN;

use crate::forward::Forwarded;
use crate::metrics::QueryResult;

/// How long clients may keep an address. Addresses never move, so this decides only how long the
/// name of a service that is gone still leads somewhere; Kuma's proxies say the same.
const TTL_S: u32 = 30;

/// How long clients may keep that there is no such name: it may be asked for just before its
/// service starts.
const NEGATIVE_TTL_S: u32 = 5;

/// Bytes of a datagram without EDNS (RFC 1035, section 2.3.4).
const PLAIN_PAYLOAD: u16 = 512;

/// Bytes of a datagram that pass any network unfragmented (DNS flag day 2020).
const MAX_PAYLOAD: u16 = 1_232;

/// A response to a query, without what the query itself decides.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) result: QueryResult,
    pub(crate) code: ResponseCode,
    pub(crate) authoritative: bool,
    pub(crate) truncated: bool,
    pub(crate) answers: Vec<Record>,
    pub(crate) authorities: Vec<Record>,
}

impl Reply {
    fn of_mesh(result: QueryResult, code: ResponseCode) -> Self {
        Self { authoritative: true, ..Self::failure(result, code) }
    }

    /// No records.
    pub(crate) fn failure(result: QueryResult, code: ResponseCode) -> Self {
        let (answers, authorities) = (Vec::new(), Vec::new());
        Self { result, code, authoritative: false, truncated: false, answers, authorities }
    }

    pub(crate) fn address(name: Name, address: Ipv4Addr) -> Self {
        let answers = vec![Record::from_rdata(name, TTL_S, RData::A(A(address)))];
        Self { answers, ..Self::of_mesh(QueryResult::Answered, ResponseCode::NoError) }
    }

    pub(crate) fn empty() -> Self {
        let authorities = vec![SOA_OF_MESH.clone()];
        Self { authorities, ..Self::of_mesh(QueryResult::Empty, ResponseCode::NoError) }
    }

    pub(crate) fn no_such_name() -> Self {
        let authorities = vec![SOA_OF_MESH.clone()];
        Self { authorities, ..Self::of_mesh(QueryResult::NoSuchName, ResponseCode::NXDomain) }
    }

    pub(crate) fn forwarded(forwarded: Forwarded) -> Self {
        let Forwarded { code, answers, authorities } = forwarded;
        Self { answers, authorities, ..Self::failure(QueryResult::Forwarded, code) }
    }

    /// Drops all records if the response would be over `room` bytes: the client learns that there
    /// is more than it gets, and asks over TCP. Part of them would leave no room for the EDNS record.
    pub(crate) fn fit(&mut self, query: Option<&Query>, edns: Option<&Edns>, room: u16) {
        let mut message = Message::new(0, MessageType::Response, hickory_proto::op::OpCode::Query);
        message.queries.extend(query.cloned());
        message.answers.clone_from(&self.answers);
        message.authorities.clone_from(&self.authorities);
        message.edns = edns.cloned();
        if message.to_vec().is_ok_and(|bytes| bytes.len() <= usize::from(room)) {
            return;
        }
        self.truncated = true;
        self.answers.clear();
        self.authorities.clear();
    }
}

/// The EDNS record of the response to a query that has one: version 0, the size of a response
/// that both ends take, no options.
pub(crate) fn edns(asked: Option<&Edns>) -> Option<Edns> {
    asked.map(|asked| {
        let mut edns = Edns::new();
        edns.set_max_payload(asked.max_payload().min(MAX_PAYLOAD));
        edns
    })
}

/// Bytes of a response that fit a datagram, by the EDNS record of the response.
pub(crate) fn datagram(edns: Option<&Edns>) -> u16 {
    edns.map_or(PLAIN_PAYLOAD, Edns::max_payload)
}

/// Tells for how long a negative answer holds (RFC 2308). The rest means nothing: nobody copies
/// the zone.
static SOA_OF_MESH: LazyLock<Record> = LazyLock::new(|| {
    let name = |labels: &[&str]| {
        let mut name = Name::from_labels(labels.iter().map(|label| label.as_bytes()))
            .expect("invariant: these labels are short");
        name.set_fqdn(true);
        name
    };
    let mesh = name(&[DOMAIN]);
    let soa = SOA::new(
        mesh.clone(),
        name(&["hostmaster", DOMAIN]),
        1,
        3_600,
        600,
        86_400,
        NEGATIVE_TTL_S,
    );
    Record::from_rdata(mesh, NEGATIVE_TTL_S, RData::SOA(soa))
});
