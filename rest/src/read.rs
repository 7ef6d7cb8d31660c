//! GET of one resource and of lists.

use std::sync::Arc;

use higuma_model::{Key, Kind, Resource, Scope, Snapshot, render};
use higuma_serve::Peer;
use http::request::Parts;
use http::{StatusCode, Uri, header};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::api::Api;
use crate::caller::Caller;
use crate::error::{ApiError, Doing};
use crate::query::Query;

pub(crate) async fn one(api: &Api, key: &Key, uri: &Uri) -> Result<Answer, ApiError> {
    let (snapshot, _) = snapshot(api, Doing::Get, uri).await?;
    let resource = found(&snapshot, key)?;
    Ok(Answer {
        status: StatusCode::OK,
        version: snapshot.version(),
        modified_at: Some(resource.modified_at),
        body: render(resource),
        replayed: false,
    })
}

pub(crate) fn found<'a>(snapshot: &'a Snapshot, key: &Key) -> Result<&'a Arc<Resource>, ApiError> {
    let missing = || {
        ApiError::new(StatusCode::NOT_FOUND, "Could not retrieve a resource", "Not found")
            .at(snapshot.version())
    };
    snapshot.get(key).ok_or_else(missing)
}

/// A page of a kind's resources, each as `show` shows it.
pub(crate) async fn list(
    api: &Api,
    kind: Kind,
    mesh: Option<&str>,
    request: &Parts,
    show: impl Fn(&Snapshot, &Resource) -> Value,
) -> Result<Answer, ApiError> {
    let (snapshot, query) = snapshot(api, Doing::List, &request.uri).await?;
    if let Some(mesh) = mesh
        && kind.scope() == Scope::Mesh
        && snapshot.get(&Key::mesh_resource(mesh)).is_none()
    {
        let detail = format!("mesh {mesh:?} is not found");
        let missing = ApiError::new(StatusCode::NOT_FOUND, "Failed to retrieve Mesh", detail);
        return Err(missing.at(snapshot.version()));
    }
    let caller = Caller::of(request);
    let matching: Vec<&Arc<Resource>> = snapshot
        .of_kind(kind)
        .filter(|resource| caller.sees(&resource.key))
        .filter(|resource| mesh.is_none_or(|mesh| resource.key.mesh() == mesh))
        .filter(|resource| resource.display_name().contains(&query.name))
        .collect();
    let total = matching.len();
    let page = matching.into_iter().skip(query.offset).take(query.size);
    let items: Vec<Value> = page.map(|resource| show(&snapshot, resource)).collect();
    let after = query.offset + items.len();
    let next = (after < total).then(|| next_page(request, &query, after));
    Ok(Answer {
        status: StatusCode::OK,
        version: snapshot.version(),
        modified_at: None,
        body: json!({"total": total, "items": items, "next": next}),
        replayed: false,
    })
}

pub(crate) async fn snapshot(
    api: &Api,
    doing: Doing,
    uri: &Uri,
) -> Result<(Arc<Snapshot>, Query), ApiError> {
    let query = Query::parse(uri).map_err(|wrong| ApiError::invalid(doing, wrong))?;
    let read = api.store.read(query.consistency).await;
    Ok((read.map_err(|error| (doing, error))?, query))
}

/// The absolute URL of the next page, as Kuma's clients expect it.
fn next_page(request: &Parts, query: &Query, offset: usize) -> String {
    let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let is_tls = request.extensions.get::<Peer>().is_some_and(|peer| peer.tls);
    let scheme = if is_tls { "https" } else { "http" };
    let (host, path) = (host.unwrap_or("localhost"), request.uri.path());
    let mut url = format!("{scheme}://{host}{path}?size={}&offset={offset}", query.size);
    for pair in request.uri.query().unwrap_or_default().split('&') {
        let key = pair.split('=').next().unwrap_or_default();
        if !key.is_empty() && key != "size" && key != "offset" {
            url.push('&');
            url.push_str(pair);
        }
    }
    url
}
#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;
    use higuma_model::Owner;
    use higuma_model::testing::{snapshot, zone};

    use super::*;
    use crate::answer::VERSION_HEADER;

    /// The state may have the resource by the time at which the answer is stamped.
    #[test]
    fn what_is_not_there_is_told_with_the_version_that_was_read() {
        let read = snapshot([zone("east").resource(Owner::Global, 14)]);
        assert_eq!(read.version(), 14);
        let missing = found(&read, &Key::new(Kind::Zone, "", "west")).unwrap_err();
        let response = missing.into_response();
        assert_eq!(response.headers()[VERSION_HEADER], "14");
    }
}
