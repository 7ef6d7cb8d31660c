//! What an operator orders of the cluster itself. The leader does it, whichever node is asked.

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use higuma_model::Place;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::api::{Api, Shared};
use crate::body;
use crate::error::{ApiError, Doing};

/// `POST /_cluster/leader`: hands leadership over.
pub(crate) async fn leader(State(api): Shared, request: Request) -> Response {
    if request.method() != Method::POST {
        return not_served(request.method(), "POST").into_response();
    }
    transfer(&api, request).await.into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transfer {
    /// None: whichever node is furthest.
    to: Option<u64>,
}

async fn transfer(api: &Api, request: Request) -> Result<Answer, ApiError> {
    let Transfer { to } = read(request).await?;
    let before = api.store.leader();
    let leader = api.store.transfer_leader(to).await?;
    Ok(answer(api, json!({"leader": leader, "before": before})))
}

/// `POST /_cluster/members`: takes a node in that waits to be added. It has no vote yet.
pub(crate) async fn members(State(api): Shared, request: Request) -> Response {
    if request.method() != Method::POST {
        return not_served(request.method(), "POST").into_response();
    }
    add(&api, request).await.into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Added {
    id: u64,
    /// `host:port` of its Raft endpoint.
    address: String,
    /// The member that it is to replace: it may have its address.
    replaces: Option<u64>,
}

async fn add(api: &Api, request: Request) -> Result<Answer, ApiError> {
    of_the_global(api)?;
    let Added { id, address, replaces } = read(request).await?;
    api.store.add_learner(id, &address, replaces).await?;
    Ok(answer(api, json!({"id": id, "address": address, "role": "learner"})))
}

/// `POST /_cluster/members/N/vote`: gives a learner that has caught up its vote.
pub(crate) async fn vote(State(api): Shared, Path(id): Path<String>, request: Request) -> Response {
    if request.method() != Method::POST {
        return not_served(request.method(), "POST").into_response();
    }
    give_vote(&api, &id, request).await.into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vote {
    /// The member that goes in the same change.
    replaces: Option<u64>,
}

async fn give_vote(api: &Api, id: &str, request: Request) -> Result<Answer, ApiError> {
    let id = number(id)?;
    let Vote { replaces } = read(request).await?;
    api.store.promote(id, replaces).await?;
    Ok(answer(api, json!({"id": id, "replaced": replaces})))
}

/// `DELETE /_cluster/members/N`: lets a member go.
pub(crate) async fn member(
    State(api): Shared,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    if request.method() != Method::DELETE {
        return not_served(request.method(), "DELETE").into_response();
    }
    remove(&api, &id).await.into_response()
}

async fn remove(api: &Api, id: &str) -> Result<Answer, ApiError> {
    let id = number(id)?;
    api.store.remove(id).await?;
    Ok(answer(api, json!({"id": id})))
}

fn number(id: &str) -> Result<u64, ApiError> {
    id.parse().map_err(|_| ApiError::bad_request(format!("{id:?} is no node's number")))
}

fn of_the_global(api: &Api) -> Result<(), ApiError> {
    match api.place {
        Place::Global => Ok(()),
        _ => Err(ApiError::not_allowed("the control plane of a zone has one node in this version")),
    }
}

/// A small body that says what is ordered.
async fn read<T: DeserializeOwned>(request: Request) -> Result<T, ApiError> {
    let (parts, body) = request.into_parts();
    body::only_json(&parts.headers)?;
    let body = body::json(&body::read(body).await?)?;
    serde_json::from_value(body)
        .map_err(|error| ApiError::bad_request(format!("the body is not understood: {error}")))
}

fn not_served(method: &Method, served: &str) -> ApiError {
    ApiError::not_allowed(format!("{method} is not served here; {served} is"))
}

fn answer(api: &Api, body: Value) -> Answer {
    let version = api.store.snapshot().version();
    Answer { status: StatusCode::OK, version, modified_at: None, body, replayed: false }
}

impl From<higuma_store::OrderError> for ApiError {
    fn from(error: higuma_store::OrderError) -> Self {
        use higuma_store::OrderError;
        let status = match error {
            OrderError::Refused(_) => StatusCode::CONFLICT,
            OrderError::NoLeader(_) => StatusCode::SERVICE_UNAVAILABLE,
            OrderError::Unknown(_) => StatusCode::GATEWAY_TIMEOUT,
        };
        Self::new(status, Doing::Order.title(), error.to_string())
    }
}
