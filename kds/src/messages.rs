//! The discovery messages of both cores, and the fields of them that KDS uses.

use envoy_types::pb::envoy::config::core::v3::{ControlPlane, Node};
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
pub(crate) use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest as Request, DeltaDiscoveryResponse as Response,
};
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::google::rpc::Status;
use prost::Message;

use crate::batch::{MAX_VERDICTS, Verdict};
use crate::proto::higuma::Commit;
use crate::wire::Direction;

/// gRPC codes in a NACK of a Commit: refused as a whole, or applied but for what it names.
pub(crate) const FENCED: i32 = 9;
pub(crate) const APPLIED_BUT: i32 = 3;

const COMMIT: &str = "type.googleapis.com/higuma.Commit";
const VERDICT: &str = "type.googleapis.com/higuma.Verdict";

/// The wildcard of a type's one subscription.
const EVERYTHING: &str = "*";

/// A type's subscription; `node` is the zone in both directions.
pub(crate) fn subscription(direction: &Direction, type_url: &str) -> Request {
    Request {
        node: node(direction),
        type_url: type_url.to_owned(),
        resource_names_subscribe: vec![EVERYTHING.to_owned()],
        ..Default::default()
    }
}

pub(crate) fn ack(direction: &Direction, type_url: &str, nonce: &str) -> Request {
    Request {
        node: node(direction),
        type_url: type_url.to_owned(),
        response_nonce: nonce.to_owned(),
        ..Default::default()
    }
}

/// A NACK. Kuma's peers expect the subscription again, and read only the message.
pub(crate) fn nack(ack: Request, code: i32, message: String, verdicts: &[Verdict]) -> Request {
    let detail =
        |verdict: &Verdict| Any { type_url: VERDICT.to_owned(), value: verdict.encode_to_vec() };
    let details = verdicts.iter().take(MAX_VERDICTS).map(detail).collect();
    Request {
        resource_names_subscribe: vec![EVERYTHING.to_owned()],
        error_detail: Some(Status { code, message, details }),
        ..ack
    }
}

/// What refused resources are called in one line.
pub(crate) fn summary(verdicts: &[Verdict]) -> String {
    let first = verdicts.iter().take(3);
    let named = first.map(|v| format!("{} {}.{}: {}", v.r#type, v.name, v.mesh, v.reason));
    format!("{} refused: {}", verdicts.len(), named.collect::<Vec<_>>().join("; "))
}

pub(crate) fn verdicts_of(status: &Status) -> Vec<Verdict> {
    let details = status.details.iter().take(MAX_VERDICTS);
    details
        .filter(|any| any.type_url == VERDICT)
        .filter_map(|any| Verdict::decode(&*any.value).ok())
        .collect()
}

pub(crate) fn response(direction: &Direction, type_url: &str, nonce: String) -> Response {
    let identifier = match direction {
        Direction::ToZone(_) => "global".to_owned(),
        Direction::ToGlobal(zone) => zone.to_string(),
    };
    Response {
        type_url: type_url.to_owned(),
        nonce,
        control_plane: Some(ControlPlane { identifier }),
        ..Default::default()
    }
}

pub(crate) fn commit_response(direction: &Direction, commit: &Commit, nonce: String) -> Response {
    let resource = discovery::Resource {
        name: Commit::TYPE.to_owned(),
        version: commit.version.to_string(),
        resource: Some(Any { type_url: COMMIT.to_owned(), value: commit.encode_to_vec() }),
        ..Default::default()
    };
    Response { resources: vec![resource], ..response(direction, Commit::TYPE, nonce) }
}

/// The commit that a response of its type carries.
pub(crate) fn commit_of(response: &Response) -> Option<Commit> {
    let [resource] = response.resources.as_slice() else { return None };
    Commit::decode(&*resource.resource.as_ref()?.value).ok()
}

fn node(direction: &Direction) -> Option<Node> {
    Some(Node { id: direction.zone().to_string(), ..Default::default() })
}
