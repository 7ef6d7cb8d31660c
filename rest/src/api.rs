//! The API of one control plane, and its routes.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use higuma_model::{Place, Timestamp};
use higuma_store::Store;
use http::HeaderValue;
use tokio::sync::watch::Receiver;

use crate::answer::VERSION_HEADER;
use crate::error::ApiError;
use crate::mutant::Mutant;
use crate::progress::{self, Progress};
use crate::roles::Roles;
use crate::{backup, cluster, guard, history, orders, path, tokens, transaction, watch};

/// What draws the keys that admission asks for; randomness is not the model's.
pub trait Authority: Send + Sync {
    /// A new builtin CA for a mesh's backend.
    ///
    /// # Errors
    /// In words, when none can be made.
    fn builtin_ca(&self, mesh: &str, backend: &str) -> Result<CaPair, String>;
}

/// A CA's certificate and private key, PEM.
pub struct CaPair {
    pub certificate_pem: String,
    pub key_pem: String,
}

/// What the API serves.
pub struct Api {
    pub store: Store,
    pub place: Place,
    pub authority: Arc<dyn Authority>,
    /// What this node knows of its zones or proxies.
    pub progress: Arc<dyn Progress>,
    /// Bytes that the resources here may take; an operator's write that grows them beyond is
    /// refused.
    pub quota: u64,
    /// Whether callers on the loopback of this host need no token.
    pub localhost_is_admin: bool,
    /// What users may do who are no administrators.
    pub roles: Receiver<Arc<Roles>>,
    /// The version of this program.
    pub version: &'static str,
    /// None, but in a process that is broken on purpose.
    pub mutant: Option<Mutant>,
}

pub(crate) type Shared = State<Arc<Api>>;

/// All routes, and those that only one kind of control plane has.
pub fn router(api: Arc<Api>, own: Router) -> Router {
    Router::new()
        .route("/", get(cluster::index))
        .route("/who-am-i", get(guard::who_am_i))
        .route("/_backup", any(backup::backup))
        .route("/_cluster", get(cluster::cluster))
        .route("/_cluster/leader", any(orders::leader))
        .route("/_cluster/members", any(orders::members))
        .route("/_cluster/members/{id}", any(orders::member))
        .route("/_cluster/members/{id}/vote", any(orders::vote))
        .route("/_diff", get(history::diff))
        .route("/_watch", any(watch::watch))
        .route("/_progress", get(progress::progress))
        .route("/_transactions", any(transaction::transactions))
        .route("/{*path}", any(path::resource))
        .fallback(|request: Request| async move { ApiError::no_route(request.uri().path()) })
        .with_state(api.clone())
        .merge(own)
        .merge(tokens::router(api.clone()))
        .layer(middleware::from_fn_with_state(api.clone(), guard::guard))
        .layer(middleware::from_fn_with_state(api, stamp_version))
}

/// Every answer says a version: its own, or the state's.
async fn stamp_version(State(api): Shared, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await.into_response();
    let version = api.store.snapshot().version();
    response.headers_mut().entry(VERSION_HEADER).or_insert_with(|| HeaderValue::from(version));
    response
}

/// This node's clock, at the edge: stamps transactions, decides nothing.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
