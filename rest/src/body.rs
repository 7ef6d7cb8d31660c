//! What comes with a writing request: a bounded body, and headers that say how it is meant.

use std::time::Duration;

use axum::body::{Body, Bytes};
use higuma_model::{MAX_TRANSACTION_BYTES, Precondition, Violation};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;
use tokio::time::timeout;

use crate::error::{ApiError, Doing};

/// Of a resource too: its canonical form is what is bounded by 1 MiB, and a body may be indented.
const MAX_BODY: usize = MAX_TRANSACTION_BYTES;

/// How long a body may take to arrive: a megabyte over a slow link.
const BODY_LIMIT: Duration = Duration::from_secs(30);

pub(crate) async fn read(body: Body) -> Result<Bytes, ApiError> {
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
    Ok(collected.to_bytes())
}

pub(crate) fn json(body: &Bytes) -> Result<Value, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("the body is not JSON: {error}")))
}

pub(crate) fn only_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(content) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let content = content.to_str().unwrap_or_default();
    if content.split(';').next().is_some_and(|kind| kind.trim() == "application/json") {
        return Ok(());
    }
    let detail = format!("Content-Type is {content:?}; send application/json");
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Bad Request", detail))
}

/// `If-Match: "V"`, `If-Match: *` or `If-None-Match: *`.
pub(crate) fn precondition(headers: &HeaderMap) -> Result<Option<Precondition>, ApiError> {
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
