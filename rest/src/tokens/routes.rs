//! What administrators do with user tokens.
//!
//! ```text
//! POST   /tokens/user                      {"name", "groups", "validFor"} → the token, as text
//! GET    /tokens/user/signing-keys         their numbers, and which one signs
//! POST   /tokens/user/signing-keys         a new one, which signs from now on
//! DELETE /tokens/user/signing-keys/{kid}   an old one: its tokens are worth nothing any more
//! GET    /tokens/user/revocations          ids of tokens
//! PUT    /tokens/user/revocations/{id}     the token is worth nothing any more
//! DELETE /tokens/user/revocations/{id}
//! ```

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use higuma_model::{Operation, Origin, Refusal, Snapshot, Terms, Transaction, Violation};
use higuma_store::{Consistency, WriteError};
use http::request::Parts;
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::state::{self, MAX_REVOKED};
use super::{CLOCK_SLACK, Claims, MAX_TOKEN_BYTES, key, shown};
use crate::answer::Answer;
use crate::api::{Api, Shared, now};
use crate::body;
use crate::caller::Caller;
use crate::error::{ApiError, Doing};
use crate::origin;
use crate::write::{MAX_ROUNDS, random};

const DOING: Doing = Doing::Tokens;

/// A name stands in the history and in log lines; a group in files.
const MAX_NAME_BYTES: usize = 253;
const MAX_GROUPS: usize = 64;
/// Kuma's default for what does not end.
const MAX_VALIDITY_SECONDS: i64 = 10 * 365 * 24 * 60 * 60;
/// Of a token's identity: a UUID has 36.
const MAX_ID_BYTES: usize = 64;

pub(crate) fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/tokens/user", post(issue))
        .route("/tokens/user/signing-keys", get(signing_keys).post(rotate))
        .route("/tokens/user/signing-keys/{kid}", delete(delete_key))
        .route("/tokens/user/revocations", get(revocations))
        .route("/tokens/user/revocations/{id}", put(revoke).delete(restore))
        .with_state(api)
}

/// What a token is asked for with; Kuma's fields.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    name: String,
    #[serde(default)]
    groups: Option<Vec<String>>,
    #[serde(default)]
    valid_for: String,
}

async fn issue(State(api): Shared, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let issued = async {
        body::only_json(&parts.headers)?;
        let wanted = body::json(&body::read(body).await?)?;
        let wanted: Wanted = serde_json::from_value(wanted)
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        token(&api, &parts, wanted).await
    };
    match issued.await {
        Ok(token) => ([(header::CONTENT_TYPE, "text/plain")], token).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn token(api: &Api, parts: &Parts, wanted: Wanted) -> Result<String, ApiError> {
    let seconds = checked(&wanted).map_err(|wrong| ApiError::invalid(DOING, wrong))?;
    let (kid, pem) = signing_key(api, parts).await?;
    let at = now().0.div_euclid(1000);
    let claims = Claims {
        name: wanted.name,
        groups: wanted.groups,
        exp: at + seconds,
        nbf: at - CLOCK_SLACK,
        iat: at,
        jti: identity()?,
    };
    let signed = key::sign(&claims, &kid.to_string(), &pem).map_err(internal)?;
    if signed.len() > MAX_TOKEN_BYTES {
        let reason = format!("make a token of more than {MAX_TOKEN_BYTES} bytes: give fewer");
        return Err(ApiError::invalid(DOING, vec![violation("groups", &reason)]));
    }
    let (name, groups, by) = (&claims.name, &claims.groups, Caller::of(parts));
    let (id, until) = (&claims.jti, shown(claims.exp));
    tracing::info!(name, ?groups, id, until, kid, by = by.shown(), "issued a user token");
    Ok(signed)
}

/// How long it is to be valid, in seconds.
fn checked(wanted: &Wanted) -> Result<i64, Vec<Violation>> {
    let mut wrong = Vec::new();
    let mut name = |field: &str, text: &str| {
        let plain = !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace());
        if !plain || text.len() > MAX_NAME_BYTES {
            let reason = format!("must be 1 to {MAX_NAME_BYTES} bytes without spaces");
            wrong.push(violation(field, &reason));
        }
    };
    name("name", &wanted.name);
    let groups = wanted.groups.as_deref().unwrap_or_default();
    for (at, group) in groups.iter().enumerate().take(MAX_GROUPS) {
        name(&format!("groups[{at}]"), group);
    }
    if groups.len() > MAX_GROUPS {
        wrong.push(violation("groups", &format!("are more than {MAX_GROUPS}")));
    }
    let seconds = seconds(&wanted.valid_for).filter(|n| (1..=MAX_VALIDITY_SECONDS).contains(n));
    match seconds {
        Some(seconds) if wrong.is_empty() => return Ok(seconds),
        Some(_) => {}
        None => wrong.push(violation("validFor", "must be a time such as 24h, from 1s to 87600h")),
    }
    Err(wrong)
}

/// A duration as Go writes it, in hours, minutes and seconds.
fn seconds(text: &str) -> Option<i64> {
    let (mut sum, mut rest) = (0_i64, text);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..end].parse().ok()?;
        let unit = match rest.as_bytes()[end] {
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        rest = &rest[end + 1..];
        sum = sum.checked_add(number.checked_mul(unit)?)?;
    }
    Some(sum).filter(|_| !text.is_empty())
}

/// A UUID of random bits.
fn identity() -> Result<String, ApiError> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| internal(error.to_string()))?;
    bits[6] = bits[6] & 0x0f | 0x40;
    bits[8] = bits[8] & 0x3f | 0x80;
    let text: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]];
    Ok(parts.join("-"))
}

/// The key that signs; the first is drawn when it is needed for the first time.
async fn signing_key(api: &Api, parts: &Parts) -> Result<(u32, Vec<u8>), ApiError> {
    let newest = |snapshot: &Snapshot| {
        let kid = state::signing_keys(snapshot).pop()?;
        Some((kid, state::signing_key(snapshot, &kid.to_string())?.to_vec()))
    };
    let snapshot = api.store.read(Consistency::Linearizable).await.map_err(|e| (DOING, e))?;
    if let Some(found) = newest(&snapshot) {
        return Ok(found);
    }
    new_key(api, parts, |keys| keys.is_empty()).await?;
    let missing = || internal("the signing key was deleted meanwhile".to_owned());
    newest(&api.store.snapshot()).ok_or_else(missing)
}

/// Draws the next key if the ones that there are ask for it.
async fn new_key(
    api: &Api,
    parts: &Parts,
    wanted: impl Fn(&[u32]) -> bool,
) -> Result<Answer, ApiError> {
    let pem = tokio::task::spawn_blocking(key::generate).await;
    let pem = pem.map_err(|error| internal(error.to_string()))?.map_err(internal)?;
    change(api, parts, |snapshot| {
        let keys = state::signing_keys(snapshot);
        if !wanted(&keys) {
            return Ok(Change::none(json!({"kid": keys.last().map(u32::to_string)})));
        }
        let kid = keys.last().map_or(Some(1), |newest| newest.checked_add(1));
        let kid = kid.ok_or_else(|| ApiError::bad_request("there are too many signing keys"))?;
        let key = state::signing_key_key(&kid.to_string());
        let operation = Operation::Put(state::draft(key, pem.as_bytes()));
        Ok(Change::of(operation, StatusCode::CREATED, json!({"kid": kid.to_string()})))
    })
    .await
}

async fn signing_keys(State(api): Shared) -> Result<Answer, ApiError> {
    let snapshot = api.store.read(Consistency::Linearizable).await.map_err(|e| (DOING, e))?;
    let keys = state::signing_keys(&snapshot);
    let newest = keys.last().copied();
    let one = |kid: &u32| json!({"kid": kid.to_string(), "signs": Some(*kid) == newest});
    Ok(listed(&snapshot, keys.iter().map(one).collect()))
}

async fn rotate(State(api): Shared, request: Request) -> Result<Answer, ApiError> {
    new_key(&api, &request.into_parts().0, |_| true).await
}

async fn delete_key(
    State(api): Shared,
    Path(kid): Path<String>,
    request: Request,
) -> Result<Answer, ApiError> {
    let parts = request.into_parts().0;
    change(&api, &parts, |snapshot| {
        if state::signing_key(snapshot, &kid).is_none() {
            let detail = "Signing Key not found";
            return Err(ApiError::new(StatusCode::NOT_FOUND, DOING.title(), detail));
        }
        if state::signing_keys(snapshot).last().is_some_and(|newest| newest.to_string() == kid) {
            let detail = format!("signing key {kid} is the one that signs: make a new one first");
            return Err(ApiError::new(StatusCode::CONFLICT, DOING.title(), detail));
        }
        let operation = Operation::Delete(state::signing_key_key(&kid));
        Ok(Change::of(operation, StatusCode::OK, json!({})))
    })
    .await
}

async fn revocations(State(api): Shared) -> Result<Answer, ApiError> {
    let snapshot = api.store.read(Consistency::Linearizable).await.map_err(|e| (DOING, e))?;
    Ok(listed(&snapshot, state::revoked(&snapshot).map(Value::from).collect()))
}

async fn revoke(
    State(api): Shared,
    Path(id): Path<String>,
    request: Request,
) -> Result<Answer, ApiError> {
    let plain = id.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    if id.is_empty() || id.len() > MAX_ID_BYTES || !plain {
        let reason = format!("must be 1 to {MAX_ID_BYTES} of a-z, A-Z, 0-9 and '-'");
        return Err(ApiError::invalid(DOING, vec![violation("id", &reason)]));
    }
    list(&api, &request.into_parts().0, |mut ids| {
        if ids.contains(&id) {
            return Ok(None);
        }
        if ids.len() >= MAX_REVOKED {
            let detail = format!(
                "{MAX_REVOKED} tokens are revoked: make a new signing key, and delete the old one"
            );
            return Err(ApiError::new(StatusCode::CONFLICT, DOING.title(), detail));
        }
        ids.push(id.clone());
        Ok(Some(ids.join(",")))
    })
    .await
}

async fn restore(
    State(api): Shared,
    Path(id): Path<String>,
    request: Request,
) -> Result<Answer, ApiError> {
    list(&api, &request.into_parts().0, |mut ids| {
        let before = ids.len();
        ids.retain(|known| *known != id);
        Ok((ids.len() < before).then(|| ids.join(",")))
    })
    .await
}

/// Changes the list of revoked tokens, if it is to be another.
async fn list(
    api: &Api,
    parts: &Parts,
    make: impl Fn(Vec<String>) -> Result<Option<String>, ApiError>,
) -> Result<Answer, ApiError> {
    change(api, parts, |snapshot| {
        match make(state::revoked(snapshot).map(str::to_owned).collect())? {
            None => Ok(Change::none(json!({}))),
            Some(list) => {
                let draft = state::draft(state::revocations_key(), list.as_bytes());
                Ok(Change::of(Operation::Put(draft), StatusCode::OK, json!({})))
            }
        }
    })
    .await
}

/// What is to be done, and what is answered then.
struct Change {
    operation: Option<Operation>,
    status: StatusCode,
    body: Value,
}

impl Change {
    fn of(operation: Operation, status: StatusCode, body: Value) -> Self {
        Self { operation: Some(operation), status, body }
    }

    fn none(body: Value) -> Self {
        Self { operation: None, status: StatusCode::OK, body }
    }
}

/// One change of one secret, made on the state as it is.
async fn change(
    api: &Api,
    parts: &Parts,
    make: impl Fn(&Snapshot) -> Result<Change, ApiError>,
) -> Result<Answer, ApiError> {
    let origin: Origin = origin::of(api, DOING, parts)?;
    for round in 1.. {
        let read = api.store.read(Consistency::Linearizable).await;
        let snapshot = read.map_err(|error| (DOING, error))?;
        let Change { operation, status, body } = make(&snapshot)?;
        let answer = |version| Answer { status, version, modified_at: None, body, replayed: false };
        let key = match &operation {
            Some(Operation::Put(draft)) => draft.key.clone(),
            Some(Operation::Delete(key)) => key.clone(),
            _ => return Ok(answer(snapshot.version())),
        };
        let transaction = Transaction {
            id: snapshot.request_id(now(), random()),
            at: now(),
            writer: api.place.owner(),
            demands: Vec::new(),
            checks: vec![state::as_seen(&snapshot, &key)],
            operations: operation.into_iter().collect(),
            terms: Terms { quota: Some(api.quota), ..Terms::default() },
        };
        match api.store.write_from(&transaction, &origin).await {
            Ok(version) => return Ok(answer(version)),
            Err(WriteError::Refused(Refusal::Stale { what })) if round < MAX_ROUNDS => {
                tracing::debug!(%key, what, "made again: the state changed");
            }
            Err(error) => return Err((DOING, error).into()),
        }
    }
    unreachable!("the last round returns")
}

fn listed(snapshot: &Snapshot, items: Vec<Value>) -> Answer {
    let body = json!({"total": items.len(), "items": items});
    let (status, version) = (StatusCode::OK, snapshot.version());
    Answer { status, version, modified_at: None, body, replayed: false }
}

fn internal(why: String) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error", why)
}

fn violation(field: &str, reason: &str) -> Violation {
    Violation { field: field.to_owned(), reason: reason.to_owned() }
}
