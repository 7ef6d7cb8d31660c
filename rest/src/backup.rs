//! `GET /_backup`: the whole state, at the version that the answer says, as the file that
//! `higuma restore` reads. It holds secrets: keys of CAs, and of whatever else signs.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::stream;
use higuma_model::{Place, Violation};
use higuma_store::{Stamp, write_backup};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::timeout;

use crate::answer::VERSION_HEADER;
use crate::api::{Api, Shared, now};
use crate::error::{ApiError, Doing};
use crate::query::Query;

/// Backups under way at one node. Each holds a thread, and a state that may be an old one by its end.
const MAX_BACKUPS: usize = 2;
static BACKUPS: Semaphore = Semaphore::const_new(MAX_BACKUPS);

/// Pieces, of at most 256 KiB, that wait for the connection.
const QUEUED: usize = 8;
/// How long the other end may take none of them.
const STALL: Duration = Duration::from_secs(30);

pub(crate) async fn backup(State(api): Shared, request: Request) -> Response {
    match begin(&api, request.method(), request.uri()).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn begin(api: &Api, method: &Method, uri: &Uri) -> Result<Response, ApiError> {
    if method != Method::GET {
        return Err(ApiError::not_allowed("a backup is read: use GET"));
    }
    if api.place != Place::Global {
        let detail = "what a zone has comes back from its global, and from its proxies: back up the \
                      global";
        return Err(ApiError::not_allowed(detail));
    }
    let query = asked(uri)?;
    let permit = BACKUPS.try_acquire().map_err(|_| {
        let detail = format!("{MAX_BACKUPS} backups are under way at this node; use another one");
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, Doing::Backup.title(), detail)
    })?;
    let read = api.store.read(query.consistency).await;
    let state = read.map_err(|error| (Doing::Backup, error))?;
    let stamp = Stamp { made: now(), node: api.store.node(), program: api.version.to_owned() };
    let version = HeaderValue::from(state.version());
    let (pieces, queue) = mpsc::channel(QUEUED);
    let sender = Sender { pieces, runtime: Handle::current(), _permit: permit };
    // Ends with the connection, or after a stall: then nobody takes the pieces.
    tokio::task::spawn_blocking(move || {
        let written = write_backup(&state, &stamp, &mut |bytes| sender.send(bytes));
        if let Err(error) = written {
            tracing::warn!(%error, "a backup broke off");
            sender.break_off(error);
        }
    });
    let pieces = stream::unfold(queue, |mut queue| async { Some((queue.recv().await?, queue)) });
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let fresh = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let headers = [kind, fresh, (VERSION_HEADER, version)];
    Ok((StatusCode::OK, headers, Body::from_stream(pieces)).into_response())
}

/// How fresh it is to be; nothing else can be asked for.
fn asked(uri: &Uri) -> Result<Query, ApiError> {
    let wrong = |wrong| ApiError::invalid(Doing::Backup, wrong);
    let query = Query::parse(uri).map_err(wrong)?;
    let nothing = Query::parse(&Uri::from_static("/")).map_err(wrong)?;
    if query == (Query { consistency: query.consistency, ..nothing }) {
        return Ok(query);
    }
    let reason = "a backup takes `consistency` and `min-version` only".to_owned();
    Err(wrong(vec![Violation { field: String::new(), reason }]))
}

/// The writing end of a body.
struct Sender {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    runtime: Handle,
    _permit: SemaphorePermit<'static>,
}

impl Sender {
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let sent = self.pieces.send(Ok(Bytes::copy_from_slice(bytes)));
        match self.runtime.block_on(timeout(STALL, sent)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::other("its reader is gone")),
            Err(_) => {
                Err(io::Error::other(format!("its reader took nothing for {} s", STALL.as_secs())))
            }
        }
    }

    /// An error in the body cuts the connection: its reader sees that the answer is not whole.
    fn break_off(&self, error: io::Error) {
        // One that takes nothing sees it by the missing end.
        self.pieces.try_send(Err(error)).ok();
    }
}
