//! What is answered when all went well.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;

/// The version of the state that an answer is about.
pub(crate) const VERSION_HEADER: HeaderName = HeaderName::from_static("x-higuma-version");

/// A JSON answer at a version.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The version of the state that was read, or of the write.
    pub(crate) version: u64,
    /// The resource's `modified_at`, shown as `ETag`.
    pub(crate) modified_at: Option<u64>,
    pub(crate) body: Value,
    /// Answered before: nothing was done for this request.
    pub(crate) replayed: bool,
}

/// On an answer that an earlier request under the same `Idempotency-Key` got.
const REPLAYED_HEADER: HeaderName = HeaderName::from_static("idempotent-replayed");

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = json(self.status, &self.body);
        let headers = response.headers_mut();
        headers.insert(VERSION_HEADER, HeaderValue::from(self.version));
        if let Some(modified_at) = self.modified_at {
            let tag = HeaderValue::try_from(format!("\"{modified_at}\""));
            headers.insert(header::ETAG, tag.expect("invariant: a number is a valid header"));
        }
        if self.replayed {
            headers.insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
        }
        response
    }
}

/// JSON as Kuma writes it: indented by one space.
pub(crate) fn json(status: StatusCode, body: &Value) -> Response {
    let mut text = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, format);
    serde::Serialize::serialize(body, &mut serializer)
        .expect("invariant: a JSON value serializes into memory");
    text.push(b'\n');
    let content = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (status, content, text).into_response()
}
