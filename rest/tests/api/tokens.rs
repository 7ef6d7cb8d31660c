//! User tokens over REST: issued, shown, revoked; and what is answered to whom.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use higuma_serve::Peer;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::{Server, here};

/// A caller elsewhere, with or without a token.
pub(crate) fn from_afar(
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> Request<Body> {
    let peer = Peer { addr: "192.0.2.7:9".parse().unwrap(), tls: true, certificate: None };
    let mut request = Request::builder().method(method).uri(path).extension(peer);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

impl Server {
    pub(crate) async fn token(&self, name: &str, groups: &[&str]) -> String {
        let body = json!({"name": name, "groups": groups, "validFor": "1h"});
        let request = Request::post("/tokens/user").body(Body::from(body.to_string())).unwrap();
        let response = self.router.clone().oneshot(here(request)).await.unwrap();
        let status = response.status();
        assert_eq!(response.headers()["content-type"], "text/plain");
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert_eq!(status, StatusCode::OK, "{text}");
        text
    }

    /// The status, and the body of what is refused.
    pub(crate) async fn head(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        if !status.is_client_error() {
            return (status, Value::Null);
        }
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    pub(crate) async fn ask(&self, token: Option<&str>, method: &str, path: &str) -> (u16, Value) {
        let answered = self.send(from_afar(method, path, token, "")).await;
        (answered.status.as_u16(), answered.body)
    }
}

fn id(token: &str) -> String {
    use base64::Engine as _;
    let claims = token.split('.').nth(1).unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    claims["jti"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_is_known_by_a_token_and_nobody_gets_anything_without() {
    let server = Server::start().await;
    let (status, body) = server.ask(None, "GET", "/who-am-i").await;
    assert_eq!((status, &body["name"]), (200, &json!("mesh-system:anonymous")));
    assert_eq!(server.ask(None, "GET", "/").await.0, 200);
    let refused = server.router.clone().oneshot(from_afar("GET", "/meshes", None, "")).await;
    let refused = refused.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(refused.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
    let (status, body) = server.ask(None, "GET", "/meshes").await;
    assert_eq!(status, 401);
    assert!(body["detail"].as_str().unwrap().contains("higuma generate user-token"), "{body}");

    let admin = server.token("root", &["mesh-system:admin"]).await;
    let (_, body) = server.ask(Some(&admin), "GET", "/who-am-i").await;
    let groups = json!(["mesh-system:admin", "mesh-system:authenticated"]);
    assert_eq!(body, json!({"name": "root", "groups": groups}));
    assert_eq!(server.ask(Some(&admin), "GET", "/meshes").await.0, 200);
    let (status, _) = server.ask(Some(&admin), "PUT", "/meshes/x").await;
    assert_eq!(status, 400, "it is let in; its body is none");

    let (status, body) = server.ask(Some("nonsense"), "GET", "/meshes").await;
    assert_eq!(status, 401, "{body}");
    let mut local = Request::get("/meshes").body(Body::empty()).unwrap();
    local.headers_mut().insert("authorization", "Bearer nonsense".parse().unwrap());
    assert_eq!(server.send(local).await.status, 401, "a token counts on this host too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_by_revocation_or_with_its_key() {
    let server = Server::start().await;
    let (first, second) =
        (server.token("a", &["mesh-system:admin"]).await, server.token("b", &[]).await);
    let is_known = async |token: &str| server.ask(Some(token), "GET", "/who-am-i").await.0 == 200;
    assert!(is_known(&first).await && is_known(&second).await);

    let path = format!("/tokens/user/revocations/{}", id(&second));
    for (done, known) in [("PUT", false), ("PUT", false), ("DELETE", true), ("PUT", false)] {
        let (status, body) = server.ask(Some(&first), done, &path).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(is_known(&second).await, known, "{done}");
    }
    assert_eq!(server.get("/tokens/user/revocations").await.body["items"], json!([id(&second)]));
    assert!(is_known(&first).await);
    let wrong = server.call("PUT", "/tokens/user/revocations/a,b", &[], "").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST, "it would be two");

    let made = server.call("POST", "/tokens/user/signing-keys", &[], "").await;
    assert_eq!((made.status, &made.body), (StatusCode::CREATED, &json!({"kid": "2"})));
    let keys = server.get("/tokens/user/signing-keys").await.body["items"].clone();
    assert_eq!(keys, json!([{"kid": "1", "signs": false}, {"kid": "2", "signs": true}]));
    let third = server.token("c", &[]).await;
    assert!(is_known(&first).await && is_known(&third).await, "old ones are good until deleted");
    let gone = server.call("DELETE", "/tokens/user/signing-keys/1", &[], "").await;
    assert_eq!(gone.status, StatusCode::OK, "{}", gone.body);
    assert!(!is_known(&first).await && is_known(&third).await);
    for (kid, status) in [("2", 409), ("1", 404), ("x", 404)] {
        let path = format!("/tokens/user/signing-keys/{kid}");
        assert_eq!(server.call("DELETE", &path, &[], "").await.status, status, "{kid}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_made_by_administrators_and_keys_are_shown_to_nobody() {
    let server = Server::start().await;
    for (body, field) in [
        (json!({"groups": [], "validFor": "1h"}), "name"),
        (json!({"name": "a b", "validFor": "1h"}), "name"),
        (json!({"name": "a", "groups": [""], "validFor": "1h"}), "groups[0]"),
        (json!({"name": "a", "groups": vec!["g"; 65], "validFor": "1h"}), "groups"),
        (json!({"name": "a", "validFor": ""}), "validFor"),
        (json!({"name": "a", "validFor": "0s"}), "validFor"),
        (json!({"name": "a", "validFor": "-1h"}), "validFor"),
        (json!({"name": "a", "validFor": "87601h"}), "validFor"),
        (json!({"name": "a", "validFor": "99999999999999999999h"}), "validFor"),
        (json!({"name": "a", "validFor": "1d"}), "validFor"),
    ] {
        let answered = server.call("POST", "/tokens/user", &[], &body.to_string()).await;
        assert_eq!(answered.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(answered.body["invalid_parameters"][0]["field"], field, "{body}");
    }
    let user = server.token("ann", &["dev"]).await;
    for (method, path) in [
        ("POST", "/tokens/user"),
        ("GET", "/tokens/user/signing-keys"),
        ("POST", "/tokens/user/signing-keys"),
        ("DELETE", "/tokens/user/signing-keys/1"),
        ("PUT", "/tokens/user/revocations/x"),
        ("DELETE", "/tokens/user/revocations/x"),
    ] {
        assert_eq!(server.ask(Some(&user), method, path).await.0, 403, "{method} {path}");
        assert_eq!(server.ask(None, method, path).await.0, 401, "{method} {path}");
    }
    for path in [
        "/globalsecrets",
        "/globalsecrets/user-token-signing-key-1",
        "/globalsecrets/user-token-signing-key-1/_history",
        "/_diff?from=0&type=GlobalSecret",
    ] {
        let answered = server.get(path).await;
        assert!(!answered.status.is_success(), "{path}: {}", answered.body);
        assert!(!answered.body.to_string().contains("PRIVATE"), "{path}");
    }
    let put = json!({"type": "GlobalSecret", "name": "user-token-signing-key-9", "data": "eA=="});
    assert_eq!(
        server.put("/globalsecrets/user-token-signing-key-9", put.clone()).await.status,
        405
    );
    let body = json!({"operations": [{"put": put}]}).to_string();
    assert_eq!(server.call("POST", "/_transactions", &[], &body).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_writes_carries_the_users_name() {
    let server = Server::start().await;
    let admin = server.token("root", &["mesh-system:admin"]).await;
    let body = json!({"type": "Mesh", "name": "shop"}).to_string();
    let put = server.send(from_afar("PUT", "/meshes/shop", Some(&admin), &body)).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.body);
    let history = server.get("/meshes/shop/_history").await.body;
    assert_eq!(history["items"][0]["who"], "root", "{history}");
    assert_eq!(history["items"][0]["from"], "192.0.2.7:9");
}
