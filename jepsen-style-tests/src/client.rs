//! A client of a control plane's REST API, and what its answers mean for a history.
//!
//! The API says (docs/operating.md): 503 means that nothing was changed, 504 that the fate of a
//! write is not known, every 4xx that it was refused. What broke after it was sent may have been
//! done; what never left the client was not.

pub(crate) mod dns;
pub(crate) mod events;
pub(crate) mod request;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::history::Outcome;

/// Where a control plane's REST is on its own host.
pub(crate) const REST: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5681);

/// How long a call may take: what a control plane takes before it says that a fate is unknown.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(5);

/// A list of 1000 resources takes some 400 KiB.
const MAX_ANSWER: usize = 32 << 20;

pub(crate) use hyper::Method;

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    method: Method,
    path: String,
    body: Option<Value>,
    if_match: Option<u64>,
    idempotency_key: Option<String>,
}

impl Call {
    fn new(method: Method, path: String, body: Option<Value>) -> Self {
        Self { method, path, body, if_match: None, idempotency_key: None }
    }

    /// `path` with its query.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path.into(), None)
    }

    pub(crate) fn put(path: impl Into<String>, body: Value) -> Self {
        Self::new(Method::PUT, path.into(), Some(body))
    }

    pub(crate) fn post(path: impl Into<String>, body: Value) -> Self {
        Self::new(Method::POST, path.into(), Some(body))
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path.into(), None)
    }

    pub(crate) fn is_read(&self) -> bool {
        self.method == Method::GET
    }

    /// Only if the resource is still the one with this `ETag`.
    pub(crate) fn if_match(mut self, tag: u64) -> Self {
        self.if_match = Some(tag);
        self
    }

    /// Sent again under the same key, it is applied once.
    pub(crate) fn once(mut self, key: &str) -> Self {
        self.idempotency_key = Some(key.to_owned());
        self
    }
}

/// What a control plane answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `X-Higuma-Version`.
    pub(crate) version: Option<u64>,
    /// `ETag`, without its quotes.
    pub(crate) tag: Option<u64>,
    /// `Idempotent-Replayed`: an earlier request under the same key was answered so.
    pub(crate) replayed: bool,
    /// `null` where the answer is no JSON.
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The status and what the control plane says of it.
    pub(crate) fn detail(&self) -> String {
        format!("{} {}", self.status, self.body["detail"].as_str().unwrap_or_default())
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    #[error("not sent: {0}")]
    NotSent(String),
    #[error("no answer: {0}")]
    Broken(String),
}

/// What became of a write, as the API promises it.
pub(crate) fn of_write(answered: Result<Answer, CallError>) -> Outcome<Answer> {
    match answered {
        Ok(answer) if answer.is_success() => Outcome::Done { answer },
        Ok(answer) if answer.status == 503 || (400..500).contains(&answer.status) => {
            Outcome::Refused { why: answer.detail() }
        }
        Ok(answer) => Outcome::Unknown { why: answer.detail() },
        Err(CallError::NotSent(why)) => Outcome::Refused { why: format!("not sent: {why}") },
        Err(CallError::Broken(why)) => Outcome::Unknown { why },
    }
}

/// What became of a read: without an answer nothing was done either way. That a resource is not
/// there (404) is an answer.
pub(crate) fn of_read(answered: Result<Answer, CallError>) -> Outcome<Answer> {
    match answered {
        Ok(answer) if answer.is_success() || answer.status == 404 => Outcome::Done { answer },
        Ok(answer) => Outcome::Refused { why: answer.detail() },
        Err(why) => Outcome::Refused { why: why.to_string() },
    }
}

/// A client that stands at one node: one connection, one call at a time.
pub(crate) struct Client {
    cluster: Arc<dyn Cluster>,
    node: String,
    limit: Duration,
    connection: Option<Connection>,
}

struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    /// Moves the bytes; ends with the connection.
    _driver: JoinSet<()>,
}

impl Client {
    pub(crate) fn new(cluster: Arc<dyn Cluster>, node: impl Into<String>) -> Self {
        Self { cluster, node: node.into(), limit: CALL_LIMIT, connection: None }
    }

    /// With another limit for a call than [`CALL_LIMIT`].
    #[cfg(test)]
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// Calls the node's REST; a connection is kept until a call fails on it.
    pub(crate) async fn call(&mut self, call: Call) -> Result<Answer, CallError> {
        let request = request(&call)?;
        let mut connection = match self.connection.take().filter(|c| !c.sender.is_closed()) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let exchanged = timeout(self.limit, exchange(&mut connection.sender, request)).await;
        let broken = || {
            let why = format!("nothing within {} s from {}", self.limit.as_secs_f32(), self.node);
            CallError::Broken(why)
        };
        let answer = exchanged.map_err(|_| broken())??;
        self.connection = Some(connection);
        Ok(answer)
    }

    async fn connect(&self) -> Result<Connection, CallError> {
        let not_sent = |why: String| CallError::NotSent(format!("{}: {why}", self.node));
        let stream = timeout(self.limit, self.cluster.connect(&self.node, REST)).await;
        let stream = stream
            .map_err(|_| not_sent(format!("no connection in {} s", self.limit.as_secs_f32())))?
            .map_err(|error| not_sent(error.to_string()))?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| not_sent(error.to_string()))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Why it broke is told to the call that was on it.
            let _ = driver.await;
        });
        Ok(Connection { sender, _driver: tasks })
    }
}

fn request(call: &Call) -> Result<Request<Full<Bytes>>, CallError> {
    let mut request = Request::builder()
        .method(call.method.clone())
        .uri(&call.path)
        .header(header::HOST, REST.to_string());
    if let Some(tag) = call.if_match {
        request = request.header(header::IF_MATCH, format!("\"{tag}\""));
    }
    if let Some(key) = &call.idempotency_key {
        request = request.header("idempotency-key", key);
    }
    let body = match &call.body {
        Some(body) => {
            request = request.header(header::CONTENT_TYPE, "application/json");
            Bytes::from(body.to_string())
        }
        None => Bytes::new(),
    };
    request.body(Full::new(body)).map_err(|error| CallError::NotSent(error.to_string()))
}

async fn exchange(
    sender: &mut http1::SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, CallError> {
    sender.ready().await.map_err(|error| CallError::NotSent(error.to_string()))?;
    let sent = sender.try_send_request(request).await;
    let response = sent.map_err(|mut error| match error.take_message() {
        // It comes back only if not a byte of it was written.
        Some(_) => CallError::NotSent(error.into_error().to_string()),
        None => CallError::Broken(error.into_error().to_string()),
    })?;
    answer(response).await
}

async fn answer(response: Response<Incoming>) -> Result<Answer, CallError> {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await;
    let body = body.map_err(|error| CallError::Broken(format!("the answer broke off: {error}")))?;
    Ok(Answer {
        status: parts.status.as_u16(),
        version: number(&parts.headers, "x-higuma-version"),
        tag: number(&parts.headers, "etag"),
        replayed: parts.headers.contains_key("idempotent-replayed"),
        body: serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null),
    })
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim_matches('"').parse().ok()
}

#[cfg(test)]
mod tests;
