//! Who asks for a write, from where and why, as it is kept beside it.

use higuma_model::{Origin, Violation};
use higuma_serve::Peer;
use http::HeaderName;
use http::request::Parts;

use crate::api::Api;
use crate::caller::Caller;
use crate::error::{ApiError, Doing};

/// The caller's reason, UTF-8.
const REASON: HeaderName = HeaderName::from_static("higuma-reason");

/// What this server itself knows of the caller; a request can't say who it is.
pub(crate) fn of(api: &Api, doing: Doing, request: &Parts) -> Result<Origin, ApiError> {
    let reason = match request.headers.get(REASON) {
        None => None,
        Some(value) => {
            let wrong = |reason: String| {
                let field = "Higuma-Reason".to_owned();
                ApiError::invalid(doing, vec![Violation { field, reason }])
            };
            let text = std::str::from_utf8(value.as_bytes());
            let text = text.map_err(|_| wrong("must be UTF-8".to_owned()))?;
            Origin::reason(text).map_err(|bad| wrong(bad.to_string()))?
        }
    };
    let peer = request.extensions.get::<Peer>().map(|peer| peer.addr);
    Ok(Origin {
        who: Some(Caller::of(request).shown().into()),
        from: peer.map(|addr| addr.to_string().into()),
        node: api.store.node(),
        reason,
    })
}
