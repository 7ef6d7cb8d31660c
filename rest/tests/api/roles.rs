//! Who may do what, over every route.

use axum::http::StatusCode;
use higuma_rest::Roles;
use serde_json::{Value, json};

use crate::tokens::from_afar;
use crate::{Server, permission};

const ROLES: &str = "
bindings:
- groups: [shop-routes]
  meshes: [shop]
  types: [TrafficRoute]
  access: write
- users: [owner]
  meshes: [shop]
  types: ['*']
  access: write
- groups: [readers]
  meshes: ['*']
  types: ['*']
  access: read
";

fn route(mesh: &str) -> Value {
    json!({"type": "TrafficRoute", "mesh": mesh, "name": "r",
        "sources": [{"match": {"kuma.io/service": "*"}}],
        "destinations": [{"match": {"kuma.io/service": "*"}}],
        "conf": {"destination": {"kuma.io/service": "*"}}})
}

async fn server() -> Server {
    let server = Server::start_with(Roles::parse(ROLES).unwrap()).await;
    for mesh in ["shop", "bank"] {
        let document = json!({"type": "Mesh", "name": mesh});
        let made = server.put(&format!("/meshes/{mesh}"), document).await;
        assert_eq!(made.status, StatusCode::CREATED);
        let path = format!("/meshes/{mesh}/traffic-routes/r");
        let made = server.put(&path, route(mesh)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    }
    server
}

/// What is asked, and who may: in the order of [`CALLERS`].
struct Case {
    method: &'static str,
    path: &'static str,
    body: Value,
    may: [bool; 6],
}

/// Each with the groups of their token; nobody has none.
const CALLERS: [(&str, Option<&[&str]>); 6] = [
    ("nobody", None),
    ("unbound", Some(&["dev"])),
    ("routes", Some(&["shop-routes"])),
    ("owner", Some(&[])),
    ("reader", Some(&["readers"])),
    ("root", Some(&["mesh-system:admin"])),
];

#[expect(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<Case> {
    let case = |method, path, may: [u8; 6]| Case {
        method,
        path,
        body: Value::Null,
        may: may.map(|may| may == 1),
    };
    let (route, nobody) = ("/meshes/shop/traffic-routes/r", [0, 0, 0, 0, 0, 1]);
    let all = [1, 1, 1, 1, 1, 1];
    let readers = [0, 0, 0, 0, 1, 1];
    let owners = [0, 0, 0, 1, 0, 1];
    let in_shop = [0, 0, 0, 1, 1, 1];
    let routes = [0, 0, 1, 1, 1, 1];
    let mut cases = vec![
        case("GET", "/", all),
        case("GET", "/who-am-i", all),
        case("GET", "/_cluster", readers),
        case("GET", "/_progress", readers),
        case("GET", "/zones", readers),
        case("GET", "/zones/_overview", readers),
        case("GET", "/zoneingresses", readers),
        case("GET", "/zone-insights", readers),
        case("GET", "/zones/east/_history", readers),
        case("GET", "/_history", readers),
        case("GET", "/_diff?from=1", readers),
        case("GET", "/_watch", readers),
        case("GET", "/_watch?mesh=bank", readers),
        case("GET", "/_watch?type=TrafficRoute&mesh=shop", routes),
        case("GET", "/_watch?mesh=shop", in_shop),
        case("GET", "/_diff?from=1&type=TrafficRoute&mesh=shop", routes),
        case("GET", "/meshes/shop/_history", in_shop),
        case("GET", "/meshes/bank/_history", readers),
        case("GET", "/meshes/shop/traffic-routes/r/_history", routes),
        case("GET", "/meshes/shop/traffic-routes/r?at=3", routes),
        case("GET", route, routes),
        case("GET", "/meshes/bank/traffic-routes/r", readers),
        case("GET", "/meshes/shop/traffic-routes", routes),
        case("GET", "/meshes/bank/traffic-routes", readers),
        case("GET", "/traffic-routes", routes),
        case("GET", "/traffic-permissions", in_shop),
        case("GET", "/meshes", in_shop),
        case("GET", "/meshes/shop", in_shop),
        case("GET", "/dataplanes/_overview", in_shop),
        case("GET", "/meshes/shop/dataplanes/_overview", in_shop),
        case("GET", "/meshes/shop/dataplanes+insights", in_shop),
        case("GET", "/meshes/shop/dataplane-insights", in_shop),
        case("GET", "/meshes/bank/dataplanes", readers),
        case("GET", "/_backup", nobody),
        case("GET", "/secrets", nobody),
        case("GET", "/meshes/shop/secrets/shop.ca-builtin-key-x", nobody),
        case("GET", "/globalsecrets", nobody),
        case("GET", "/tokens/user/signing-keys", nobody),
        case("GET", "/tokens/user/revocations", nobody),
        case("POST", "/tokens/user", nobody),
        case("POST", "/tokens/user/signing-keys", nobody),
        case("DELETE", "/tokens/user/signing-keys/9", nobody),
        case("PUT", "/tokens/user/revocations/x", nobody),
        case("DELETE", "/tokens/user/revocations/x", nobody),
        case("GET", "/_kds", nobody),
        case("POST", "/_kds/adopt", nobody),
        case("GET", "/nothing", nobody),
        case("PATCH", route, nobody),
        case("POST", "/meshes", nobody),
        case("PUT", "/zones/east", nobody),
        case("PUT", "/meshes/new", nobody),
        case("PUT", "/meshes/bank/traffic-routes/r", nobody),
        case("PUT", route, [0, 0, 1, 1, 0, 1]),
        case("PUT", "/meshes/shop", owners),
        case("PUT", "/meshes/shop/traffic-permissions/p", owners),
        case("DELETE", "/meshes/shop/traffic-permissions/p", owners),
        case("DELETE", "/meshes/bank/traffic-permissions/p", nobody),
    ];
    let transaction = |operations: Value, may: [u8; 6]| Case {
        body: json!({"operations": operations}),
        ..case("POST", "/_transactions?dry-run=true", may)
    };
    let put = |mesh: &str| json!({"put": self::route(mesh)});
    let delete = |kind: &str, mesh: &str| match kind {
        "Mesh" => json!({"delete": {"type": kind, "name": mesh}}),
        kind => json!({"delete": {"type": kind, "mesh": mesh, "name": "r"}}),
    };
    cases.extend([
        transaction(json!([put("shop")]), [0, 0, 1, 1, 0, 1]),
        transaction(json!([delete("TrafficRoute", "shop")]), [0, 0, 1, 1, 0, 1]),
        transaction(json!([put("shop"), put("bank")]), nobody),
        transaction(json!([put("shop"), delete("TrafficRoute", "bank")]), nobody),
        transaction(json!([delete("Mesh", "shop")]), owners),
        transaction(json!([delete("Mesh", "bank")]), nobody),
    ]);
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_for_whom_it_is_for() {
    let server = server().await;
    let mut tokens = Vec::new();
    for (name, groups) in CALLERS {
        tokens.push(match groups {
            Some(groups) => Some(server.token(name, groups).await),
            None => None,
        });
    }
    for Case { method, path, body, may } in cases() {
        for (((name, groups), token), may) in CALLERS.iter().zip(&tokens).zip(may) {
            let text = if body.is_null() { String::new() } else { body.to_string() };
            let request = from_afar(method, path, token.as_deref(), &text);
            // A watch has no end: its head says enough.
            let (status, answer) = server.head(request).await;
            let refused = matches!(status.as_u16(), 401 | 403);
            assert_eq!(!refused, may, "{name}: {method} {path} {body}: {status}");
            if refused {
                let expected = if groups.is_none() { 401 } else { 403 };
                assert_eq!(status, expected, "{name}: {method} {path}");
                let wrong = format!("{name}: {method} {path}: {answer}");
                let detail = answer["detail"].as_str().unwrap_or_else(|| panic!("{wrong}"));
                let told = if expected == 401 { "user token" } else { " may not " };
                assert!(detail.contains(told), "{wrong}");
            }
        }
    }
    let kept = server.get("/meshes/bank/traffic-routes/r").await;
    assert_eq!(kept.status, StatusCode::OK, "nobody who may not has deleted it");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_hold_what_their_reader_sees_and_refusals_say_what_is_missing() {
    let server = server().await;
    let names = |body: &Value| -> Vec<String> {
        let items = body["items"].as_array().unwrap().iter();
        items
            .map(|item| item["mesh"].as_str().or_else(|| item["name"].as_str()).unwrap().to_owned())
            .collect()
    };
    let routes = server.token("r", &["shop-routes"]).await;
    let (_, body) = server.ask(Some(&routes), "GET", "/traffic-routes").await;
    assert_eq!((names(&body), &body["total"]), (vec!["shop".to_owned()], &json!(1)));
    let owner = server.token("owner", &[]).await;
    let (_, body) = server.ask(Some(&owner), "GET", "/meshes").await;
    assert_eq!(names(&body), ["shop"]);
    let reader = server.token("x", &["readers"]).await;
    let (_, body) = server.ask(Some(&reader), "GET", "/meshes").await;
    assert_eq!(names(&body), ["bank", "shop"]);

    let (_, body) = server.ask(Some(&routes), "PUT", "/meshes/bank/traffic-routes/r").await;
    assert_eq!(
        body["detail"],
        "user \"r\" of shop-routes, mesh-system:authenticated may not write TrafficRoute in mesh bank"
    );
    let operations = json!([{"put": route("shop")}, {"put": permission("backend")}]);
    let text = json!({"operations": operations}).to_string();
    let refused = server.send(from_afar("POST", "/_transactions", Some(&routes), &text)).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(refused.body["invalid_parameters"][0]["field"], "operations[1].put");
    assert!(
        refused.body["detail"].as_str().unwrap().contains("may not write TrafficPermission"),
        "{}",
        refused.body
    );
}
