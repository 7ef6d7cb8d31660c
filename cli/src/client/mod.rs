//! Calls to the REST API of a cluster: any of its nodes will do, so they are tried in order.
//!
//! ```text
//! not connected, 503 ─► nothing happened there: the next server
//! an answer          ─► done, whatever it says
//! a write that broke ─► its fate is unknown: said aloud, and repeated under the same
//! off, or 504           Idempotency-Key, so that it is applied once and answered as the first was
//! ```

pub(crate) mod address;
pub(crate) mod call;
pub(crate) mod context;
pub(crate) mod trust;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use serde_json::Value;
use tokio::time::Instant;

use crate::output;
use trust::{Token, Trust};

pub(crate) use call::{Answer, Attempt, CallError, Refused, Request};

/// A connection over a network, not over a busy disk; the next server is tried after it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long servers that are there but cannot do it are asked again. An election takes about one
/// second; a cluster without a majority takes longer than anyone waits.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two rounds, unless the server asks for more: elections end in hundreds of milliseconds.
const PAUSE: Duration = Duration::from_millis(100);
/// The largest answer that is read: a page of 1,000 resources is some megabytes.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A cluster's servers.
pub(crate) struct Client {
    http: reqwest::Client,
    servers: Vec<Url>,
    /// For one request, over all servers.
    timeout: Duration,
    /// The server that answered last; the next request begins there.
    last: AtomicUsize,
}

/// What became of a request at one server.
enum Outcome {
    Answered(Answer),
    Refused(Refused),
    /// Nothing happened there.
    Failed(String),
    /// It is there and cannot do it now; nothing happened.
    Busy(String, Option<Duration>),
    /// It may have happened.
    Unknown(String),
}

impl Client {
    pub(crate) fn new(servers: Vec<Url>, timeout: Duration, trust: &Trust) -> Result<Self, String> {
        let mut http = reqwest::Client::builder();
        if let Some(token) = &trust.token {
            Token::may_go_to(&servers)?;
            http = http.default_headers([(AUTHORIZATION, token.header())].into_iter().collect());
        }
        if let Some(file) = &trust.ca_file {
            http = http.tls_certs_only(trust::certificates(file)?);
        }
        let http = http
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("higuma/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| format!("cannot make an HTTP client: {error}"))?;
        Ok(Self { http, servers, timeout, last: AtomicUsize::new(0) })
    }

    pub(crate) fn servers(&self) -> &[Url] {
        &self.servers
    }

    /// Asks one server after the other until one answers.
    pub(crate) async fn send(&self, request: &Request) -> Result<Answer, CallError> {
        let started = Instant::now();
        let mut attempts: Vec<Attempt> = Vec::new();
        let mut unknown = false;
        loop {
            attempts.clear();
            let mut again: Option<Duration> = None;
            for server in self.in_order() {
                let share = self.share(started);
                let why = match self.attempt(&self.servers[server], request, share).await {
                    Outcome::Answered(mut answer) => {
                        self.last.store(server, Ordering::Relaxed);
                        answer.repeated = unknown;
                        return Ok(answer);
                    }
                    Outcome::Refused(mut refused) => {
                        self.last.store(server, Ordering::Relaxed);
                        refused.repeated = unknown;
                        return Err(CallError::Refused(refused));
                    }
                    Outcome::Failed(why) => why,
                    Outcome::Busy(why, pause) => {
                        again = again.max(Some(pause.unwrap_or(PAUSE)));
                        why
                    }
                    Outcome::Unknown(why) => {
                        unknown = true;
                        again = again.max(Some(PAUSE));
                        let server = address::shown(&self.servers[server]);
                        output::note(format!(
                            "warning: {} at {server}: it is not known whether it was done ({why}); \
                             repeating it, which changes nothing if it was",
                            request.shown()
                        ));
                        why
                    }
                };
                let server = address::shown(&self.servers[server]);
                attempts.push(Attempt { server, why });
            }
            let pause = again.unwrap_or(PATIENCE).min(Duration::from_secs(1));
            let patience = PATIENCE.min(self.timeout);
            if again.is_none() || started.elapsed() + pause > patience {
                let request = request.shown();
                return Err(match unknown {
                    true => CallError::FateUnknown { request, attempts },
                    false => CallError::Unavailable { request, attempts },
                });
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks one server, once: for what each server says of itself.
    pub(crate) async fn ask(&self, server: &Url, request: &Request) -> Result<Answer, String> {
        match self.attempt(server, request, self.timeout).await {
            Outcome::Answered(answer) => Ok(answer),
            Outcome::Refused(refused) => Err(refused.to_string()),
            Outcome::Failed(why) | Outcome::Busy(why, _) | Outcome::Unknown(why) => Err(why),
        }
    }

    fn in_order(&self) -> impl Iterator<Item = usize> {
        let (first, n) = (self.last.load(Ordering::Relaxed), self.servers.len());
        (0..n).map(move |i| (first + i) % n)
    }

    /// What one attempt may take: its part of the whole, and no more than is left, so that one
    /// server that hangs leaves time for the others.
    fn share(&self, started: Instant) -> Duration {
        let part = self.timeout / u32::try_from(self.servers.len()).unwrap_or(1);
        let left = self.timeout.saturating_sub(started.elapsed());
        part.min(left).max(PAUSE)
    }

    fn call(&self, server: &Url, request: &Request) -> reqwest::RequestBuilder {
        let mut call = self.http.request(request.method.clone(), request.url(server));
        for (name, value) in &request.headers {
            // As bytes: a reason may be of any language.
            call = call.header(*name, value.as_bytes());
        }
        if let Some(key) = &request.key {
            call = call.header("idempotency-key", key);
        }
        match &request.body {
            Some(body) => call.json(body),
            None => call,
        }
    }

    /// Begins an answer without an end at the first server that gives one; with it the version
    /// that it said it is at. Each call begins with the next server.
    pub(crate) async fn open(
        &self,
        request: &Request,
    ) -> Result<(Response, Option<u64>), CallError> {
        let mut attempts = Vec::new();
        for server in self.in_order() {
            self.last.store((server + 1) % self.servers.len(), Ordering::Relaxed);
            let url = &self.servers[server];
            let begun = tokio::time::timeout(self.timeout, self.call(url, request).send()).await;
            let why = match begun {
                Ok(Ok(response)) => {
                    let head = Head::of(&response);
                    if head.status.is_success() {
                        return Ok((response, head.version));
                    }
                    let body = whole(response).await.unwrap_or_default();
                    match head.outcome(url, body) {
                        Outcome::Refused(refused) => return Err(CallError::Refused(refused)),
                        Outcome::Busy(why, _) | Outcome::Failed(why) | Outcome::Unknown(why) => why,
                        Outcome::Answered(_) => "its answer ended".to_owned(),
                    }
                }
                Ok(Err(error)) => not_reached(&error),
                Err(_) => format!("no answer within {:.1?}", self.timeout),
            };
            attempts.push(Attempt { server: address::shown(url), why });
        }
        Err(CallError::Unavailable { request: request.shown(), attempts })
    }

    async fn attempt(&self, server: &Url, request: &Request, timeout: Duration) -> Outcome {
        let call = self.call(server, request);
        let writes = request.method != Method::GET;
        let broken =
            |why: String| if writes { Outcome::Unknown(why) } else { Outcome::Failed(why) };
        let response = match call.timeout(timeout).send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Outcome::Failed(not_reached(&error)),
            Err(error) if error.is_timeout() => {
                return broken(format!("no answer within {timeout:.1?}"));
            }
            Err(error) => return broken(call::reason(&error)),
        };
        let head = Head::of(&response);
        let body = match whole(response).await {
            Ok(body) => body,
            Err(why) => return broken(why),
        };
        head.outcome(server, body)
    }
}

/// Why there is no connection, and what to do about it where that is known.
fn not_reached(error: &reqwest::Error) -> String {
    let why = call::reason(error);
    match trust::advice(&why) {
        Some(advice) => format!("{advice} ({why})"),
        None => why,
    }
}

/// What an answer's status line and headers say.
struct Head {
    status: StatusCode,
    version: Option<u64>,
    modified_at: Option<u64>,
    retry_after: Option<Duration>,
    is_text: bool,
}

impl Head {
    fn of(response: &Response) -> Self {
        let text = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let number = |text: String| text.trim_matches('"').parse().ok();
        Self {
            status: response.status(),
            version: text("x-higuma-version").and_then(number),
            modified_at: text(ETAG.as_str()).and_then(number),
            retry_after: text(RETRY_AFTER.as_str()).and_then(number).map(Duration::from_secs),
            is_text: text(CONTENT_TYPE.as_str()).is_some_and(|kind| kind.starts_with("text/plain")),
        }
    }

    fn outcome(self, server: &Url, body: Vec<u8>) -> Outcome {
        let text = String::from_utf8_lossy(&body);
        let json: Option<Value> = serde_json::from_slice(&body).ok();
        if self.status.is_success() {
            let plain = || self.is_text.then(|| Value::from(&*text));
            let Some(body) = json.or_else(plain) else {
                return Outcome::Failed(
                    "its answer is not JSON: is it a control plane?".to_owned(),
                );
            };
            let (version, modified_at) = (self.version, self.modified_at);
            let created = self.status == StatusCode::CREATED;
            return Outcome::Answered(Answer {
                created,
                version,
                modified_at,
                body,
                repeated: false,
            });
        }
        let refused = Refused::read(self.status, json.as_ref(), &text, address::shown(server));
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => Outcome::Busy(refused.detail, self.retry_after),
            StatusCode::GATEWAY_TIMEOUT => Outcome::Unknown(refused.detail),
            _ => Outcome::Refused(refused),
        }
    }
}

async fn whole(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(body),
            Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_ANSWER_BYTES => {
                body.extend_from_slice(&chunk);
            }
            Ok(Some(_)) => return Err(format!("its answer is over {MAX_ANSWER_BYTES} bytes")),
            Err(error) => return Err(call::reason(&error)),
        }
    }
}

#[cfg(test)]
mod tests;
