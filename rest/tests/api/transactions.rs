//! `POST /_transactions`.

use serde_json::{Value, json};

use super::{Answered, PERMISSION, QUOTA, Server, mesh, permission};

fn named(name: &str) -> Value {
    let mut document = permission("backend");
    document["name"] = name.into();
    document
}

fn path(name: &str) -> String {
    format!("/meshes/default/traffic-permissions/{name}")
}

impl Server {
    async fn transact(&self, query: &str, operations: Value) -> Answered {
        let body = json!({ "operations": operations }).to_string();
        self.call("POST", &format!("/_transactions{query}"), &[], &body).await
    }
}

fn results(answered: &Answered) -> Vec<&str> {
    let operations = answered.body["operations"].as_array();
    let operations = operations.unwrap_or_else(|| panic!("{}", answered.body));
    operations.iter().map(|operation| operation["result"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_and_what_is_in_it_are_one_version() {
    let server = Server::start().await;
    let operations =
        json!([{"put": mesh(), "ifAbsent": true}, {"put": named("a")}, {"put": named("b")}]);
    let answered = server.transact("", operations.clone()).await;
    assert_eq!(answered.status, 200, "{}", answered.body);
    assert_eq!(results(&answered), ["created"; 3]);
    let version = answered.version;
    assert_eq!(answered.body["version"], version);
    let snapshot = server.store.snapshot();
    assert_eq!(snapshot.len(), 5, "with the CA's certificate and key");
    assert!(snapshot.iter().all(|resource| resource.modified_at == version), "one entry");

    let again = server.transact("", json!([{"put": mesh()}, {"put": named("a")}])).await;
    assert_eq!((results(&again), again.version), (vec!["unchanged"; 2], version), "no entry");

    let mut other = named("b");
    other["sources"] = json!([{"match": {"kuma.io/service": "other"}}]);
    let name = json!({"type": "TrafficPermission", "mesh": "default", "name": "a"});
    let operations = json!([
        {"put": named("c")},
        {"put": other, "ifMatch": version},
        {"put": mesh()},
        {"delete": name, "ifMatch": format!("\"{version}\"")},
    ]);
    let changed = server.transact("", operations).await;
    assert_eq!(results(&changed), ["created", "updated", "unchanged", "deleted"]);
    let modified: Vec<&Value> =
        changed.body["operations"].as_array().unwrap().iter().map(|o| &o["modifiedAt"]).collect();
    let (new, old) = (json!(changed.version), json!(version));
    assert_eq!(modified, [&new, &new, &old, &Value::Null]);
    assert_eq!(server.get(&path("a")).await.status, 404);
}

/// What it is about, its operations, and the answer: status, field, part of the reason.
type Case = (&'static str, Value, u16, &'static str, &'static str);

/// A server with a mesh and the permission a in it; each case is refused, and changes nothing.
async fn all_are_refused(cases: impl Fn(u64) -> Vec<Case>) {
    let server = Server::start().await;
    let first = server.transact("", json!([{"put": mesh()}, {"put": named("a")}])).await;
    let before = server.store.snapshot();
    for (what, operations, status, field, text) in cases(first.version) {
        for query in ["?dry-run=true", ""] {
            let answered = server.transact(query, operations.clone()).await;
            let body = &answered.body;
            assert_eq!(answered.status.as_u16(), status, "{what}{query}: {body}");
            let named = &body["invalid_parameters"][0];
            assert_eq!(named["field"], field, "{what}{query}: {body}");
            assert!(named["reason"].as_str().unwrap().contains(text), "{what}{query}: {body}");
            assert_eq!(body["title"], "Could not apply a transaction", "{what}");
        }
    }
    assert_eq!(*server.store.snapshot(), *before);
}

fn name(name: &str) -> Value {
    json!({"type": "TrafficPermission", "mesh": "default", "name": name})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused_by_its_place() {
    let ok = || json!({"put": named("new")});
    let with = |condition: Value| {
        let mut operation = json!({"put": named("b")});
        operation.as_object_mut().unwrap().extend(condition.as_object().unwrap().clone());
        json!([ok(), operation])
    };
    let delete = |what: Value| json!([{ "delete": what }]);
    let many: Vec<Value> = (0..129).map(|n| json!({"put": named(&format!("p{n}"))})).collect();
    let bad = json!({"type": "TrafficPermission", "mesh": "default", "name": "x", "sources": 1});
    let secret = json!({"type": "Secret", "mesh": "default", "name": "s", "data": "eA=="});
    let count = "a transaction has 1 to 128";
    let place = "operations[1]";
    all_are_refused(|_| {
        vec![
            ("none", json!([]), 400, "operations", count),
            ("too many", json!(many), 400, "operations", "there are 129; a transaction has 1 to"),
            ("no object", json!([ok(), 1]), 400, place, "is a JSON object"),
            ("both", with(json!({"delete": name("a")})), 400, place, "either"),
            ("a field", with(json!({"if": 1})), 400, "operations[1].if", "no field"),
            (
                "two conditions",
                with(json!({"ifMatch": 1, "ifAbsent": true})),
                400,
                "operations[1].ifMatch",
                "together",
            ),
            ("a version", with(json!({"ifMatch": -1})), 400, "operations[1].ifMatch", "its ETag"),
            (
                "deletes what is absent",
                json!([{"delete": name("a"), "ifAbsent": true}]),
                400,
                "operations[0].ifAbsent",
                "absent",
            ),
            (
                "no mesh",
                delete(json!({"type": "TrafficPermission", "name": "a"})),
                400,
                "operations[0].delete.mesh",
                "must be the resource's mesh",
            ),
            (
                "a type",
                delete(json!({"type": "Pod", "name": "a"})),
                400,
                "operations[0].delete.type",
                "Pod",
            ),
            ("a secret", json!([{"put": secret}]), 400, "operations[0].put.type", "kept inside"),
            ("invalid", json!([ok(), {"put": bad}]), 400, "operations[1].put.sources", ""),
        ]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_operation_is_named_and_nothing_is_applied() {
    let ok = || json!({"put": named("new")});
    let elsewhere = || {
        let mut document = named("x");
        document["mesh"] = "none".into();
        json!({ "put": document })
    };
    let mesh_too = json!({"put": {"type": "Mesh", "name": "none"}});
    let no_mesh = json!({"delete": {"type": "Mesh", "name": "default"}});
    let inbound = json!({"port": 1, "servicePort": 2, "tags": {"kuma.io/service": "s"}});
    let dataplane = json!({"type": "Dataplane", "mesh": "default", "name": "d",
        "networking": {"address": "1.2.3.4", "inbound": [inbound]}});
    let (first, second) = ("operations[0].put", "operations[1].put");
    all_are_refused(|version| {
        let stale = json!({"put": named("a"), "ifMatch": version - 1});
        let absent = json!({"put": named("a"), "ifAbsent": true});
        let missing = json!({"delete": name("no")});
        vec![
            ("without its mesh", json!([ok(), elsewhere()]), 404, second, "not found"),
            ("before its mesh", json!([elsewhere(), mesh_too]), 404, first, "not found"),
            ("missing", json!([ok(), missing]), 404, "operations[1].delete", "Not found"),
            ("stale", json!([ok(), stale]), 412, second, "is at version"),
            ("exists", json!([ok(), absent]), 412, second, "is at version"),
            ("twice", json!([ok(), ok()]), 400, second, "changed twice"),
            ("after its mesh", json!([no_mesh, ok()]), 404, second, "not found"),
            ("a zone's", json!([{"put": dataplane}]), 405, first, "zone"),
        ]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_with_a_transaction_is_understood_or_refused() {
    let server = Server::start().await;
    server.put("/meshes/default", mesh()).await;
    let before = server.store.snapshot();
    let body = json!({"operations": [{"put": named("x")}]}).to_string();
    for (method, path, headers, status) in [
        ("GET", "/_transactions", &[][..], 405),
        ("POST", "/_transactions?colour=red", &[], 400),
        ("POST", "/_transactions?dry-run=maybe", &[], 400),
        ("POST", "/_transactions", &[("if-match", "1")], 400),
        ("POST", "/_transactions", &[("content-type", "text/yaml")], 415),
        ("POST", "/_transactions", &[("idempotency-key", "")], 400),
        ("POST", "/_transactions?dry-run=true", &[("idempotency-key", "k")], 400),
    ] {
        let answered = server.call(method, path, headers, &body).await;
        assert_eq!(answered.status.as_u16(), status, "{method} {path}: {}", answered.body);
    }
    assert_eq!(*server.store.snapshot(), *before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_each_resource_before_and_after_and_writes_nothing() {
    let server = Server::start().await;
    server.transact("", json!([{"put": mesh()}, {"put": named("a")}, {"put": named("b")}])).await;
    let before = server.store.snapshot();
    let mut other = named("a");
    other["sources"] = json!([{"match": {"kuma.io/service": "other"}}]);
    let operations = json!([{"put": other}, {"put": named("c")}, {"put": named("b")}]);
    let shown = server.transact("?dry-run=true", operations).await;
    assert_eq!(results(&shown), ["updated", "created", "unchanged"]);
    assert_eq!((&shown.body["dryRun"], &shown.body["alsoDeleted"]), (&json!(true), &json!(0)));
    let of = |at: usize, field: &str| &shown.body["operations"][at][field];
    let service = |shown: &Value| shown["sources"][0]["match"]["kuma.io/service"].clone();
    assert_eq!((service(of(0, "before")), service(of(0, "after"))), (json!("web"), json!("other")));
    assert_eq!((of(1, "before"), service(of(1, "after"))), (&Value::Null, json!("web")));
    assert_eq!((of(2, "before"), of(2, "after")), (&Value::Null, &Value::Null));
    assert_eq!(
        (of(0, "modifiedAt"), of(1, "modifiedAt")),
        (&json!(before.version()), &Value::Null)
    );
    let shown = server
        .transact("?dry-run=true", json!([{"delete": {"type": "Mesh", "name": "default"}}]))
        .await;
    assert_eq!((results(&shown), &shown.body["alsoDeleted"]), (vec!["deleted"], &json!(4)));
    assert_eq!(*server.store.snapshot(), *before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_with_the_limit() {
    let server = Server::start().await;
    server.put("/meshes/default", mesh()).await;
    // A text has 64 KiB at most, so a large resource has many.
    let large = |name: &str, bytes: usize| {
        let mut document = named(name);
        let selector = json!({"match": {"kuma.io/service": "x".repeat(1000)}});
        document["sources"] = vec![selector; bytes / 1030].into();
        document
    };
    let body = json!({"operations": [{"put": large("a", 800_000)}, {"put": large("b", 800_000)}]});
    let answered = server.call("POST", "/_transactions", &[], &body.to_string()).await;
    assert_eq!(answered.status, 413, "{}", answered.body);
    assert!(answered.body.to_string().contains("larger than 1572864 bytes"), "{}", answered.body);
    let answered = server.transact("", json!([{"put": large("a", 1_100_000)}])).await;
    assert_eq!(answered.status, 400);
    assert!(answered.body.to_string().contains("at most 1048576 are taken"), "{}", answered.body);
    // A resource of nearly the largest size is taken, by itself and with others.
    let answered = server.transact("", json!([{"put": large("a", 1_000_000)}])).await;
    assert_eq!(answered.status, 200, "{}", answered.body);
    let answered = server.put(&path("b"), large("b", 1_040_000)).await;
    assert_eq!(answered.status, 201, "{}", answered.body);
    let both = json!([{"put": large("c", 900_000)}, {"put": large("d", 500_000)}]);
    assert_eq!(server.transact("", both).await.status, 200);

    // The quota: what grows the state is refused, what shrinks it is not.
    let answered = server.put(&path("e"), large("e", 1_000_000)).await;
    assert_eq!(answered.status, 507, "{}", answered.body);
    let text = answered.body.to_string();
    assert!(text.contains(&format!("quota of {QUOTA}")) && text.contains("delete"), "{text}");
    let dry = server.transact("?dry-run=true", json!([{"put": large("e", 1_000_000)}])).await;
    assert_eq!(dry.status, 507);
    let name = json!({"type": "TrafficPermission", "mesh": "default", "name": "a"});
    let moved = json!([{"delete": name}, {"put": large("e", 1_000_000)}]);
    assert_eq!(server.transact("", moved).await.status, 200, "in sum it is no larger");
    assert_eq!(server.call("DELETE", &path("b"), &[], "").await.status, 200);
    assert_eq!(server.put(PERMISSION, permission("backend")).await.status, 201);
}
