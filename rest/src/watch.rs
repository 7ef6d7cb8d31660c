//! `GET /_watch`: every change of what operators write, as server-sent events.
//!
//! ```text
//! id: 12                     all of version 12 was told
//! event: change              one version, never split: as in a history
//! data: {"version":12,…}
//!
//! id: 40
//! event: progress            nothing else that is asked for changed up to version 40
//! data: {"version":40}
//!
//! event: compacted           the watch was too slow: begin again at that version
//! data: {"compacted":30}
//!
//! : heartbeat
//! ```

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::stream;
use higuma_model::Violation;
use higuma_store::{Change, HistoryError, Seen, Watcher};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::api::{Api, Shared};
use crate::error::{ApiError, Doing};
use crate::history::{self, Asked};
use crate::mutant::Mutant;

/// Watches of one node. Each holds at most a megabyte of what it reads from disk and a connection.
const MAX_WATCHES: usize = 512;
static WATCHES: Semaphore = Semaphore::const_new(MAX_WATCHES);

/// After this long without an event a comment shows that the connection lives; shorter than the
/// idle limits of usual proxies (60 s).
const HEARTBEAT: Duration = Duration::from_secs(10);
const HEARTBEAT_TEXT: &str = ": heartbeat\n\n";

/// One that is broken on purpose leaves out every so many-th version.
const SKIPPED: u64 = 16;

struct Open {
    watcher: Watcher,
    /// A deliberate defect: some versions are left out.
    skips: bool,
    _permit: SemaphorePermit<'static>,
}

pub(crate) async fn watch(State(api): Shared, request: Request) -> Response {
    match open(&api, &request) {
        Ok(open) => {
            let events = stream::unfold(Some(open), next);
            let kind = (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            let fresh = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            (StatusCode::OK, [kind, fresh], Body::from_stream(events)).into_response()
        }
        Err(error) => error.into_response(),
    }
}

fn open(api: &Api, request: &Request) -> Result<Open, ApiError> {
    if request.method() != Method::GET {
        return Err(ApiError::not_allowed("a watch is read: use GET"));
    }
    let asked = Asked::parse(request.uri(), &["from", "type", "mesh", "name"])?;
    // What a browser sends when it connects again; it is newer than what the URL says.
    let last = match request.headers().get("last-event-id") {
        None => None,
        Some(id) => Some(id.to_str().ok().and_then(|id| id.parse().ok()).ok_or_else(|| {
            let reason = "must be the id of an event of this watch".to_owned();
            let wrong = Violation { field: "Last-Event-ID".to_owned(), reason };
            ApiError::invalid(Doing::History, vec![wrong])
        })?),
    };
    let from = match last {
        Some(last) => last,
        None => asked.begins_after()?.unwrap_or_else(|| api.store.snapshot().version()),
    };
    let permit = WATCHES.try_acquire().map_err(|_| {
        let detail = format!("{MAX_WATCHES} watches are open at this node; use another one");
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, Doing::History.title(), detail)
    })?;
    let watcher = api.store.history().watch(from, asked.filter)?;
    let skips = api.mutant == Some(Mutant::SkipVersions);
    Ok(Open { watcher, skips, _permit: permit })
}

async fn next(open: Option<Open>) -> Option<(Result<String, Infallible>, Option<Open>)> {
    let mut open = open?;
    let text = match timeout(HEARTBEAT, open.watcher.next()).await {
        Err(_) => HEARTBEAT_TEXT.to_owned(),
        Ok(Ok(Seen::Change(change))) if open.skips && is_skipped(&change) => {
            HEARTBEAT_TEXT.to_owned()
        }
        Ok(Ok(Seen::Change(change))) => changed(&change),
        Ok(Ok(Seen::Mark(version))) => {
            event(Some(version), "progress", &json!({"version": version}))
        }
        Ok(Err(HistoryError::Compacted { compacted })) => {
            let text = event(None, "compacted", &json!({"compacted": compacted}));
            return Some((Ok(text), None));
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "a watch ends");
            return None;
        }
    };
    Some((Ok(text), Some(open)))
}

/// Never one that only creates: somebody may wait for the last of them.
fn is_skipped(change: &Change) -> bool {
    change.version.is_multiple_of(SKIPPED) && change.edits.iter().any(|edit| edit.before.is_some())
}

fn changed(change: &Change) -> String {
    event(Some(change.version), "change", &history::change(change))
}

/// JSON holds no line ends, so its text is one line of data.
fn event(id: Option<u64>, name: &str, data: &Value) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("{id}event: {name}\ndata: {data}\n\n")
}
