use serde_json::json;

use super::*;
use crate::{Owner, testing};

fn violation(field: &str, reason: &str) -> Violation {
    Violation::new(field, reason)
}

#[test]
fn an_envelope_is_sorted_from_the_spec() {
    let document = Document::parse(json!({
        "type": "TrafficPermission", "mesh": "m", "name": "n", "labels": {"team": "a"},
        "creationTime": "2020-01-01T00:00:00Z", "modificationTime": 7, "kri": "x",
        "sources": [],
    }));
    let document = document.unwrap();
    assert_eq!(document.key(), Key::new(Kind::TrafficPermission, "m", "n"));
    assert_eq!(document.labels, Labels::from([("team".to_owned(), "a".to_owned())]));
    assert_eq!(Value::Object(document.spec), json!({"sources": []}));
}

#[test]
fn the_mesh_of_a_document() {
    let parse = |value: Value| Document::parse(value).map(|document| document.mesh);
    assert_eq!(parse(json!({"type": "TrafficPermission", "name": "n"})).unwrap(), "default");
    assert_eq!(parse(json!({"type": "Mesh", "name": "n"})).unwrap(), "");
    assert_eq!(
        parse(json!({"type": "Mesh", "name": "n", "mesh": "m"})).unwrap_err(),
        [violation("mesh", "a Mesh is in no mesh")],
    );
    let expected = Expected { kind: Kind::TrafficPermission, mesh: "other", name: "n" };
    let document = json!({"type": "TrafficPermission", "name": "n"});
    assert_eq!(Document::parse_at(document, expected).unwrap().mesh, "other");
}

#[test]
fn wrong_envelopes() {
    struct Case {
        document: Value,
        violations: Vec<Violation>,
    }
    for Case { document, violations } in [
        Case {
            document: json!([]),
            violations: vec![violation("", "a resource is a JSON object")],
        },
        Case {
            document: json!({"name": "n"}),
            violations: vec![violation("type", "is missing; it names the kind of resource")],
        },
        Case {
            document: json!({"type": "MeshTimeout", "name": "n"}),
            violations: vec![violation(
                "type",
                "type MeshTimeout is one of Kuma's that this version of Higuma does not have yet",
            )],
        },
        Case {
            document: json!({"type": "Mesh", "name": 5, "labels": {"a": 1, "b": "x", "c": null}}),
            violations: vec![
                violation("name", "must be a string"),
                violation("labels[\"a\"]", "must be a string; put 1 in quotes"),
                violation("labels[\"c\"]", "must be a string; put null in quotes"),
            ],
        },
        Case {
            document: json!({"type": "Mesh", "name": "n", "labels": [], "spec": {}}),
            violations: vec![
                violation("labels", "must be an object"),
                violation("spec", "the fields of a Mesh stand at the top level, not under spec"),
            ],
        },
    ] {
        let shown = document.to_string();
        assert_eq!(Document::parse(document).unwrap_err(), violations, "{shown}");
    }
}

#[test]
fn a_document_agrees_with_its_url() {
    let expected = Expected { kind: Kind::TrafficPermission, mesh: "m", name: "n" };
    let document = json!({"type": "TrafficRoute", "mesh": "x", "name": "y"});
    assert_eq!(
        Document::parse_at(document, expected).unwrap_err(),
        [
            violation("type", "type from the URL has to be the same as in body"),
            violation("name", "name from the URL has to be the same as in body"),
        ],
    );
    let document = json!({"type": "TrafficPermission", "mesh": "x", "name": "n"});
    assert_eq!(
        Document::parse_at(document, expected).unwrap_err(),
        [violation("mesh", "mesh from the URL has to be the same as in body")],
    );
}

#[test]
fn a_resource_is_rendered_as_kumas_rest_api_does() {
    let mut resource = testing::traffic_permission("n")
        .source(&[("kuma.io/service", "*")])
        .destination(&[("kuma.io/service", "web")])
        .resource(Owner::Global, 3);
    resource.created = Timestamp(1_700_000_000_123);
    resource.modified = Timestamp(-62_135_596_800_001);
    let expected = r#"{"type":"TrafficPermission","mesh":"default","name":"n","creationTime":"2023-11-14T22:13:20.123Z","modificationTime":"0001-01-01T00:00:00Z","labels":{"kuma.io/mesh":"default"},"sources":[{"match":{"kuma.io/service":"*"}}],"destinations":[{"match":{"kuma.io/service":"web"}}]}"#;
    assert_eq!(render(&resource).to_string(), expected);

    let mesh = render(&testing::mesh("m").resource(Owner::Global, 1));
    assert_eq!(
        mesh.to_string(),
        r#"{"type":"Mesh","name":"m","creationTime":"1970-01-01T00:00:00.000Z","modificationTime":"1970-01-01T00:00:00.000Z"}"#
    );
}

#[test]
fn a_secret_shows_its_bytes_only_when_asked() {
    let secret = testing::secret("m", "s", b"top", Owner::Global, 1);
    assert!(!render(&secret).to_string().contains("data"));
    assert_eq!(render_secret(&secret)["data"], "dG9w");
}
