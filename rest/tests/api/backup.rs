//! `GET /_backup`.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::Request;
use higuma_model::Place;
use higuma_rest::{Api, NoProgress, router};
use higuma_store::{Backup, Passing};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::{Keys, PERMISSION, QUOTA, Server, here, mesh, permission};

async fn body(server: &Server, path: &str) -> (u16, u64, Bytes) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = server.router.clone().oneshot(here(request)).await.unwrap();
    let version = response.headers()["x-higuma-version"].to_str().unwrap().parse().unwrap();
    let status = response.status().as_u16();
    (status, version, response.into_body().collect().await.unwrap().to_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_the_state_at_the_version_that_it_says() {
    let server = Server::start().await;
    server.put("/meshes/default", mesh()).await;
    for number in 0..200 {
        let path = format!("{PERMISSION}-{number}");
        let mut permission = permission(&"long".repeat(100 + number));
        permission["name"] = format!("p-{number}").into();
        assert_eq!(server.put(&path, permission).await.status.as_u16(), 201);
    }
    for path in ["/_backup", "/_backup?consistency=stale", "/_backup?min-version=3"] {
        let (status, version, bytes) = body(&server, path).await;
        assert_eq!(status, 200, "{path}");
        let mut passing = Passing::default();
        passing.take(&bytes);
        assert!(passing.is_whole(), "{path}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let backup = Backup::read(file.path()).unwrap();
        assert_eq!(backup.state, *server.store.snapshot(), "{path}");
        assert_eq!((backup.state.version(), backup.stamp.node), (version, 1));
        assert_eq!(backup.stamp.program, "0.0.0-test");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_refused_with_a_reason() {
    let server = Server::start().await;
    for (method, path, status, expected) in [
        ("POST", "/_backup", 405, "a backup is read: use GET"),
        ("GET", "/_backup?size=5", 400, "takes `consistency` and `min-version` only"),
        ("GET", "/_backup?colour=red", 400, "is not supported here"),
        ("GET", "/_backup?min-version=99999", 503, "99999"),
    ] {
        let answer = server.call(method, path, &[], "").await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.body);
        assert!(answer.body.to_string().contains(expected), "{path}: {}", answer.body);
    }
    let api = Api {
        store: server.store.clone(),
        place: Place::Zone("east".into()),
        authority: Arc::new(Keys),
        progress: Arc::new(NoProgress),
        quota: QUOTA,
        localhost_is_admin: true,
        roles: tokio::sync::watch::channel(Arc::default()).1,
        version: "0.0.0-test",
        mutant: None,
    };
    let router = router(Arc::new(api), axum::Router::new());
    let zone = Server { _folder: None, store: server.store.clone(), router };
    let answer = zone.get("/_backup").await;
    assert_eq!(answer.status.as_u16(), 405);
    assert!(answer.body["detail"].as_str().unwrap().contains("back up the global"));
}

/// Who reads a little and then stays away holds nothing for ever; who leaves frees it at once.
#[tokio::test(flavor = "multi_thread")]
async fn backups_under_way_are_bounded_and_end_with_their_readers() {
    let server = Server::start().await;
    server.put("/meshes/default", mesh()).await;
    for number in 0..60 {
        let path = format!("{PERMISSION}-{number}");
        let mut permission = permission(&"x".repeat(60_000));
        permission["name"] = format!("p-{number}").into();
        let put = server.put(&path, permission).await;
        assert_eq!(put.status.as_u16(), 201, "{}", put.body);
    }
    let begin = async || {
        let request = Request::get("/_backup").body(Body::empty()).unwrap();
        server.router.clone().oneshot(here(request)).await.unwrap()
    };
    let (first, second) = (begin().await, begin().await);
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    assert_eq!(begin().await.status().as_u16(), 503);
    drop(first);
    let limit = std::time::Duration::from_secs(20);
    let again = higuma_testkit::poll_until("a place", limit, begin, |r| r.status() == 200).await;
    drop((again.unwrap(), second));
}
