//! PUT and DELETE: admission against a fresh snapshot, then one transaction.

use std::time::Duration;

use axum::body::Body;
use higuma_model::{
    Admission, Admitted, Document, Expected, Key, Need, Origin, Precondition, Refusal, Rejection,
    Violation,
};
use higuma_store::{Consistency, WriteError};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::answer::Answer;
use crate::api::{Api, now};
use crate::error::{ApiError, Doing};
use crate::origin;
use crate::query::Query;

/// A body; what an entry of the log may take at most.
const MAX_BODY: usize = 1 << 20;

/// How long a body may take to arrive: a megabyte over a slow link.
const BODY_LIMIT: Duration = Duration::from_secs(30);

/// Rounds of admission when the state changes under it.
const MAX_ROUNDS: u32 = 3;

pub(crate) async fn put(
    api: &Api,
    key: &Key,
    request: &Parts,
    body: Body,
) -> Result<Answer, ApiError> {
    let doing = Doing::Put;
    let query = Query::parse(&request.uri).map_err(|wrong| ApiError::invalid(doing, wrong))?;
    let precondition = precondition(&request.headers)?;
    only_json(&request.headers)?;
    let value = read_body(body).await?;
    let expected = Expected { kind: key.kind(), mesh: key.mesh(), name: key.name() };
    let document =
        Document::parse_at(value, expected).map_err(|wrong| ApiError::invalid(doing, wrong))?;
    let wish = Wish { doing, key, strict: query.strict, origin: origin::of(api, doing, request)? };
    admitted(api, &wish, |admission| admission.put(document.clone(), precondition)).await
}

pub(crate) async fn delete(api: &Api, key: &Key, request: &Parts) -> Result<Answer, ApiError> {
    let doing = Doing::Delete;
    let precondition = precondition(&request.headers)?;
    let wish = Wish { doing, key, strict: false, origin: origin::of(api, doing, request)? };
    admitted(api, &wish, |admission| admission.delete(key, precondition)).await
}

/// One change that is asked for.
struct Wish<'a> {
    doing: Doing,
    key: &'a Key,
    strict: bool,
    origin: Origin,
}

/// Admits against what is known for certain, and again when that changed meanwhile.
async fn admitted(
    api: &Api,
    wish: &Wish<'_>,
    admit: impl Fn(&Admission<'_>) -> Result<Admitted, Rejection>,
) -> Result<Answer, ApiError> {
    let Wish { doing, key, strict, ref origin } = *wish;
    for round in 1.. {
        // Not a stale one: a mesh that was acknowledged on another node is there, and "nothing
        // to change" is said of the state as it is.
        let read = api.store.read(Consistency::Linearizable).await;
        let snapshot = read.map_err(|error| (doing, error))?;
        let now = now();
        let id = snapshot.request_id(now, random());
        let admission = Admission { snapshot: &snapshot, place: &api.place, id, now, strict };
        let mut admitted = admit(&admission).map_err(|why| ApiError::rejected(doing, why))?;
        provide(api, &mut admitted)?;
        let Some(transaction) = &admitted.transaction else {
            let have = snapshot.get(key).map(|resource| resource.modified_at);
            return Ok(answer(&admitted, snapshot.version(), have));
        };
        match api.store.write_from(transaction, origin).await {
            Ok(version) => {
                let have = api.store.snapshot();
                let have = have.get(key).map(|resource| resource.modified_at);
                return Ok(answer(&admitted, version, have.map(|have| tag(version, have))));
            }
            Err(WriteError::Refused(Refusal::Stale { what })) if round < MAX_ROUNDS => {
                tracing::debug!(%key, what, "admitted again: the state changed");
            }
            Err(error) => return Err((doing, error).into()),
        }
    }
    unreachable!("the last round returns")
}

/// The ETag of what was written at `version` where the state now has `have`. A later one is
/// somebody else's: whoever got it would replace, by `If-Match`, what they never saw. (An earlier
/// one: the write was equal to what was there.)
fn tag(version: u64, have: u64) -> u64 {
    have.min(version)
}

fn provide(api: &Api, admitted: &mut Admitted) -> Result<(), ApiError> {
    for need in admitted.needs.clone() {
        let Need::BuiltinCa { mesh, backend } = need;
        let pair = api.authority.builtin_ca(&mesh, &backend).map_err(|why| {
            let detail = format!("no CA could be made for mesh {mesh}: {why}");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error", detail)
        })?;
        let (certificate, key) = (pair.certificate_pem.as_bytes(), pair.key_pem.as_bytes());
        admitted.provide_ca(&mesh, &backend, certificate, key);
    }
    Ok(())
}

fn answer(admitted: &Admitted, version: u64, modified_at: Option<u64>) -> Answer {
    let status = if admitted.created { StatusCode::CREATED } else { StatusCode::OK };
    let body = match admitted.warnings.is_empty() {
        true => json!({}),
        false => json!({"warnings": admitted.warnings}),
    };
    Answer { status, version, modified_at, body }
}

/// Tells requests of one millisecond apart; std's hasher keys come from the system.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(now().0)
}

async fn read_body(body: Body) -> Result<Value, ApiError> {
    let collected = timeout(BODY_LIMIT, Limited::new(body, MAX_BODY).collect()).await;
    let collected = collected.map_err(|_| {
        let detail = format!("the body did not arrive within {} s", BODY_LIMIT.as_secs());
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "Request timeout", detail)
    })?;
    let collected = collected.map_err(|error| {
        if error.is::<LengthLimitError>() {
            let detail = format!("the body is larger than {MAX_BODY} bytes");
            return ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "Bad Request", detail);
        }
        ApiError::bad_request(format!("the body did not arrive whole: {error}"))
    })?;
    serde_json::from_slice(&collected.to_bytes())
        .map_err(|error| ApiError::bad_request(format!("the body is not JSON: {error}")))
}

fn only_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(content) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let content = content.to_str().unwrap_or_default();
    if content.split(';').next().is_some_and(|kind| kind.trim() == "application/json") {
        return Ok(());
    }
    let detail = format!("Content-Type is {content:?}; send application/json");
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Bad Request", detail))
}

/// `If-Match: "V"`, `If-Match: *` or `If-None-Match: *`.
fn precondition(headers: &HeaderMap) -> Result<Option<Precondition>, ApiError> {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().trim().to_owned();
    let wrong = |field: &str, reason: &str| {
        let violation = Violation { field: field.to_owned(), reason: reason.to_owned() };
        Err(ApiError::invalid(Doing::Put, vec![violation]))
    };
    let (matches, none) = (headers.get(header::IF_MATCH), headers.get(header::IF_NONE_MATCH));
    match (matches.map(text).as_deref(), none.map(text).as_deref()) {
        (None, None) => Ok(None),
        (Some("*"), None) => Ok(Some(Precondition::Exists)),
        (None, Some("*")) => Ok(Some(Precondition::Absent)),
        (Some(tag), None) => match tag.trim_matches('"').parse() {
            Ok(version) => Ok(Some(Precondition::Version(version))),
            Err(_) => wrong("If-Match", "must be an ETag that was answered, or *"),
        },
        (None, Some(_)) => wrong("If-None-Match", "only * is supported"),
        (Some(_), Some(_)) => wrong("If-Match", "can't be given together with If-None-Match"),
    }
}
