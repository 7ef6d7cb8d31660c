//! What the control plane says of itself.

use axum::extract::State;
use higuma_store::{Cluster, Member};
use http::StatusCode;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::api::Shared;

/// `GET /`: who answers. Kuma's fields.
pub(crate) async fn index(State(api): Shared) -> Answer {
    let body = json!({
        "product": "Higuma",
        "version": api.version,
        "instanceId": api.store.node().to_string(),
        "clusterId": api.store.cluster_id().to_string(),
        "basedOnKuma": "2.13.10",
    });
    answer(&api, body)
}

/// `GET /_cluster`: every member as it says it is.
pub(crate) async fn cluster(State(api): Shared) -> Answer {
    let cluster = api.store.cluster().await;
    let ahead = cluster.last_index();
    let members: Vec<Value> =
        cluster.members.iter().map(|member| described(&cluster, member, ahead)).collect();
    let diverged = cluster.divergences();
    let diverged: Vec<Value> =
        diverged.iter().map(|d| json!({"version": d.version, "members": d.members})).collect();
    let snapshot = api.store.snapshot();
    let body = json!({
        "clusterId": cluster.id.to_string(),
        "node": cluster.node,
        "leader": cluster.leader,
        "term": cluster.term,
        "version": snapshot.version(),
        "epoch": format!("{:016x}", api.store.own_state().epoch),
        "members": members,
        "diverged": diverged,
    });
    answer(&api, body)
}

fn described(cluster: &Cluster, member: &Member, ahead: u64) -> Value {
    match &member.state {
        Ok(state) => json!({
            "id": member.id,
            "address": member.address,
            "votes": member.votes,
            "role": role(cluster, member),
            "term": state.term,
            "version": state.version,
            "epoch": format!("{:016x}", state.epoch),
            "lag": ahead.saturating_sub(state.applied_index),
            "resources": state.resources,
            "hash": state.content.map(|content| format!("{content:032x}")),
            "snapshot": (state.snapshot_bytes > 0)
                .then(|| json!({"version": state.snapshot_version, "bytes": state.snapshot_bytes})),
            "disk": {"free": state.disk_free, "low": state.disk_low},
            "error": null,
        }),
        Err(why) => json!({
            "id": member.id,
            "address": member.address,
            "votes": member.votes,
            "role": "unreachable",
            "error": why,
        }),
    }
}

fn role(cluster: &Cluster, member: &Member) -> &'static str {
    match member {
        _ if cluster.leader == Some(member.id) => "leader",
        Member { votes: true, .. } => "follower",
        Member { votes: false, .. } => "learner",
    }
}

pub(crate) fn answer(api: &crate::Api, body: Value) -> Answer {
    let version = api.store.snapshot().version();
    Answer { status: StatusCode::OK, version, modified_at: None, body, replayed: false }
}
