//! What a proxy's process asks over HTTP: the bootstrap of its Envoy, and to leave the mesh.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use higuma_model::spec::SERVICE_TAG;
use higuma_model::{Document, MAX_RESOURCE_BYTES, Rejection, Violation};
use higuma_rest::{ApiError, Doing};
use higuma_serve::axum::Router;
use higuma_serve::axum::extract::rejection::JsonRejection;
use higuma_serve::axum::extract::{DefaultBodyLimit, Json, Request, State};
use higuma_serve::axum::http::StatusCode;
use higuma_serve::axum::middleware::{self, Next};
use higuma_serve::axum::response::{IntoResponse, Response};
use higuma_serve::axum::routing::post;
use higuma_xds::{BootstrapRequest, ProxyKind, bootstrap};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::stream::{BIND_OUTBOUNDS_KEY, DOCUMENT_KEY, INSTANCE_KEY, admissible, proxy_key};
use crate::zone::Zone;

/// A document of the largest size as a JSON string, which may double it, and what is around it.
const MAX_BODY: usize = 2 * MAX_RESOURCE_BYTES + (64 << 10);

/// How long a request may take, its body included. Longer than [`LEAVE_LIMIT`].
const REQUEST_LIMIT: Duration = Duration::from_secs(15);

/// How long a leaving proxy waits until the others have stopped calling it.
const LEAVE_LIMIT: Duration = Duration::from_millis(4500);

pub(crate) fn router(zone: Arc<Zone>) -> Router {
    Router::new()
        .route("/bootstrap", post(answer))
        .route("/leave", post(leave))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(in_time))
        .with_state(zone)
}

/// Gives up on a caller that sends its body forever.
async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!("the request took longer than {} s", REQUEST_LIMIT.as_secs());
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "Request timeout", detail).into_response()
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    instance: String,
    dataplane: Option<Value>,
    zone_ingress: Option<Value>,
    admin_address: IpAddr,
    admin_port: u16,
    /// As the proxy reaches them.
    control_planes: Vec<String>,
    /// The addresses of `.mesh` names lead to the proxy's host itself.
    #[serde(default)]
    bind_outbounds: bool,
    #[serde(default)]
    version: Value,
}

async fn answer(
    State(zone): State<Arc<Zone>>,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let Json(asked) = asked.map_err(|why| ApiError::bad_request(why.body_text()))?;
    let (kind, value) = match (asked.dataplane, asked.zone_ingress) {
        (Some(value), None) => (ProxyKind::Sidecar, value),
        (None, Some(value)) => (ProxyKind::Ingress, value),
        _ => {
            return Err(ApiError::bad_request(
                "exactly one of dataplane and zoneIngress is needed",
            ));
        }
    };
    let text = value.to_string();
    let document = Document::parse(value).map_err(|wrong| ApiError::invalid(Doing::Put, wrong))?;
    admissible(&zone, &document).map_err(|why| match why {
        // The proxy waits for its mesh, told by this title.
        Rejection::MeshNotFound(_) => {
            ApiError::new(StatusCode::NOT_FOUND, "Mesh not found", why.to_string())
        }
        why => ApiError::rejected(Doing::Put, why),
    })?;
    let key = document.key();
    if zone.live.is_taken(&key, &asked.instance) {
        let detail = crate::live::Taken(key).to_string();
        return Err(ApiError::new(StatusCode::CONFLICT, "Conflict", detail));
    }
    let control_planes: Vec<(String, u16)> = asked
        .control_planes
        .iter()
        .map(|address| host_and_port(address))
        .collect::<Result<_, _>>()?;
    if control_planes.is_empty() {
        return Err(ApiError::bad_request("controlPlanes is empty"));
    }
    let mut metadata = BTreeMap::from([
        (DOCUMENT_KEY.to_owned(), text),
        (INSTANCE_KEY.to_owned(), asked.instance),
        ("version".to_owned(), asked.version.to_string()),
    ]);
    if asked.bind_outbounds {
        metadata.insert(BIND_OUTBOUNDS_KEY.to_owned(), "true".to_owned());
    }
    let service = service_of(&document);
    Ok(Json(bootstrap(&BootstrapRequest {
        kind,
        mesh: document.mesh,
        name: document.name,
        service,
        zone: zone.name.to_string(),
        admin: (asked.admin_address, asked.admin_port),
        control_planes,
        ca_pem: (zone.ca_pem)(),
        token: None,
        metadata,
    })))
}

/// The first service that the proxy stands for.
fn service_of(document: &Document) -> String {
    let networking = document.spec.get("networking");
    let inbound = networking.and_then(|networking| networking["inbound"].get(0));
    let gateway = networking.and_then(|networking| networking.get("gateway"));
    let tags = inbound.or(gateway).and_then(|place| place.get("tags"));
    let service = tags.and_then(|tags| tags[SERVICE_TAG].as_str());
    service.unwrap_or_default().to_owned()
}

fn host_and_port(address: &str) -> Result<(String, u16), ApiError> {
    let wrong = || {
        let reason = format!("{address:?} is not HOST:PORT");
        let violation = Violation { field: "controlPlanes".to_owned(), reason };
        ApiError::invalid(Doing::Put, vec![violation])
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}

#[derive(Deserialize)]
struct Leaving {
    mesh: String,
    name: String,
    instance: String,
}

/// Takes a proxy out of the mesh and answers when its peers in the zone have followed.
async fn leave(
    State(zone): State<Arc<Zone>>,
    leaving: Result<Json<Leaving>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let Json(leaving) = leaving.map_err(|why| ApiError::bad_request(why.body_text()))?;
    let key = proxy_key(&leaving.mesh, &leaving.name);
    if !zone.live.leave(&key, &leaving.instance) {
        let detail = format!("no stream of this process holds {key}");
        return Err(ApiError::new(StatusCode::NOT_FOUND, "Not found", detail));
    }
    let gone = async {
        let mut snapshots = zone.store.watch();
        let gone = snapshots.wait_for(|snapshot| snapshot.get(&key).is_none()).await;
        let version = gone.map(|snapshot| snapshot.version());
        if let Ok(version) = version {
            zone.books.all_at_but(version, &key).await;
        }
    };
    let confirmed = tokio::time::timeout(LEAVE_LIMIT, gone).await.is_ok();
    tracing::info!(proxy = %key, confirmed, "proxy leaves");
    Ok(Json(json!({"confirmed": confirmed})))
}
