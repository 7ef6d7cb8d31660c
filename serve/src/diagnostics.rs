//! The diagnostics port: `/healthy`, `/ready` and `/metrics`. For probes and scrapers; it shows
//! nothing of the mesh's content and takes no input.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::HttpServer;

/// Probes and scrapers of one process: a few of each.
const MAX_CONNECTIONS: usize = 64;
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a process still waits for before it can do its work. Ready when nothing is left.
///
/// One `watch::Sender<Readiness>` belongs to the process; its parts call `send_modify` with
/// [`Readiness::wait`] and [`Readiness::done`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Part of the process → why it is not ready.
    waiting: BTreeMap<&'static str, String>,
    /// Part of the process → what is not as it should be, and keeps nothing from being ready.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    notes: BTreeMap<&'static str, String>,
}

impl Readiness {
    /// `part` is not ready, because of `reason`.
    pub fn wait(&mut self, part: &'static str, reason: impl Into<String>) {
        self.waiting.insert(part, reason.into());
    }

    /// `part` is ready, but not as it should be, because of `reason`.
    pub fn note(&mut self, part: &'static str, reason: impl Into<String>) {
        self.waiting.remove(part);
        self.notes.insert(part, reason.into());
    }

    /// `part` is ready.
    pub fn done(&mut self, part: &'static str) {
        self.waiting.remove(part);
        self.notes.remove(part);
    }

    /// Whether nothing is waited for.
    pub fn is_ready(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// The process's metrics, shared by those who register and the one who encodes.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// No metrics yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers metrics; the closure must only register, since a scrape waits for it.
    pub fn register<R>(&self, register: impl FnOnce(&mut Registry) -> R) -> R {
        // A panic while registering leaves a registry that is still whole.
        register(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The OpenMetrics text.
    ///
    /// # Errors
    /// A metric that fails to encode itself.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// Serves the port until `stop` is cancelled. Readiness without a sender stays what it last was.
///
/// # Errors
/// As [`HttpServer::run`].
pub async fn run(
    listener: TcpListener,
    readiness: watch::Receiver<Readiness>,
    metrics: Metrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    HttpServer::new(listener, router(readiness, metrics))
        .max_connections(MAX_CONNECTIONS)
        .run(stop)
        .await
}

/// The three routes.
pub fn router(readiness: watch::Receiver<Readiness>, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthy", get(|| async { "healthy\n" }))
        .route("/ready", get(ready).with_state(readiness))
        .route("/metrics", get(scrape).with_state(metrics))
}

#[derive(Serialize)]
struct ReadyAnswer {
    ready: bool,
    #[serde(flatten)]
    readiness: Readiness,
}

async fn ready(State(readiness): State<watch::Receiver<Readiness>>) -> impl IntoResponse {
    let readiness = readiness.borrow().clone();
    let ready = readiness.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(ReadyAnswer { ready, readiness }))
}

async fn scrape(State(metrics): State<Metrics>) -> impl IntoResponse {
    match metrics.encode() {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, OPEN_METRICS)], text),
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain")],
            "a metric could not be encoded\n".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use prometheus_client::metrics::counter::Counter;
    use tower::ServiceExt as _;

    use super::*;

    async fn call(router: &Router, path: &str) -> (StatusCode, String, String) {
        let request = Request::get(path).body(Body::empty()).expect("request");
        let answer = router.clone().oneshot(request).await.expect("infallible");
        let status = answer.status();
        let kind = answer.headers()[header::CONTENT_TYPE].to_str().expect("text").to_owned();
        let body = to_bytes(answer.into_body(), 64 * 1024).await.expect("body");
        (status, kind, String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn ready_says_what_is_waited_for() {
        let (readiness, watched) = watch::channel(Readiness::default());
        let router = router(watched, Metrics::new());
        readiness.send_modify(|r| r.wait("store", "no leader is known"));
        let (status, _, body) = call(&router, "/ready").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body, r#"{"ready":false,"waiting":{"store":"no leader is known"}}"#);

        readiness.send_modify(|r| r.done("store"));
        let (status, _, body) = call(&router, "/ready").await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, r#"{"ready":true,"waiting":{}}"#));
        assert_eq!(call(&router, "/healthy").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn metrics_are_open_metrics() {
        let metrics = Metrics::new();
        let writes = Counter::<u64>::default();
        metrics.register(|registry| registry.register("writes", "Entries", writes.clone()));
        writes.inc();
        let (_, watched) = watch::channel(Readiness::default());
        let (status, kind, body) = call(&router(watched, metrics), "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(kind, OPEN_METRICS);
        assert!(body.contains("writes_total 1\n") && body.ends_with("# EOF\n"), "{body}");
    }
}
