mod property;

use serde_json::json;

use super::*;
use crate::resource::{Owner, Timestamp};
use crate::{Audience, Document, Key, Labels, Resource, render};

fn read_as(kind: Kind, source: Source, spec: &Value) -> Result<Canonical, Vec<Violation>> {
    canonicalise(kind, spec.as_object().unwrap(), source)
}

fn bytes(kind: Kind, spec: &Value) -> String {
    read_as(kind, Source::Operator, spec).unwrap().spec.to_string()
}

fn findings(kind: Kind, spec: &Value) -> Vec<(String, String)> {
    let violations = read_as(kind, Source::Operator, spec).unwrap_err();
    violations.into_iter().map(|v| (v.field, v.reason)).collect()
}

#[test]
fn canonical_json() {
    struct Case {
        kind: Kind,
        spec: Value,
        canonical: &'static str,
    }
    let case = |kind, spec, canonical| Case { kind, spec, canonical };
    for Case { kind, spec, canonical } in [
        case(Kind::Mesh, json!({}), "{}"),
        case(Kind::Mesh, json!({"mtls": null, "skipCreatingInitialPolicies": []}), "{}"),
        // A message that is there is not a default, whatever it holds.
        case(
            Kind::Mesh,
            json!({"routing": {"localityAwareLoadBalancing": false}}),
            r#"{"routing":{}}"#,
        ),
        case(
            Kind::Mesh,
            json!({
                "routing": {"localityAwareLoadBalancing": true},
                "mtls": {"backends": [
                    {"mode": "STRICT", "type": "builtin", "name": "ca", "conf": {}, "rootChain": {}},
                ], "enabledBackend": "ca"},
                "meshServices": {"mode": 0},
            }),
            r#"{"mtls":{"enabledBackend":"ca","backends":[{"name":"ca","type":"builtin"}]},"routing":{"localityAwareLoadBalancing":true},"meshServices":{}}"#,
        ),
        case(Kind::Zone, json!({"enabled": false}), r#"{"enabled":false}"#),
        case(
            Kind::Dataplane,
            json!({"networking": {
                "address": "10.0.0.1",
                "transparent_proxying": {"redirect_port_inbound": 0},
                "inbound": [{"tags": {"b": "2", "a": "1"}, "port": "80", "servicePort": 80.0}],
                "gateway": {"type": "DELEGATED"},
            }}),
            r#"{"networking":{"inbound":[{"tags":{"a":"1","b":"2"},"port":80,"servicePort":80}],"gateway":{},"address":"10.0.0.1"}}"#,
        ),
        case(
            Kind::TrafficRoute,
            json!({"conf": {"split": [{"weight": 0, "destination": {}}, {}]}}),
            r#"{"conf":{"split":[{"weight":0},{}]}}"#,
        ),
        case(
            Kind::ZoneInsight,
            json!({"subscriptions": [{
                "connect_time": "2026-01-01T01:00:00.500+01:00",
                "status": {"total": {"responses_sent": 7, "responsesRejected": "0"}},
            }]}),
            r#"{"subscriptions":[{"connectTime":"2026-01-01T00:00:00.5Z","status":{"total":{"responsesSent":"7"}}}]}"#,
        ),
    ] {
        assert_eq!(bytes(kind, &spec), canonical, "{spec}");
    }
}

/// A spec with one finding: its field and reason.
struct Case(Kind, Value, &'static str, &'static str);

fn finds(cases: impl IntoIterator<Item = Case>) {
    for Case(kind, spec, field, reason) in cases {
        assert_eq!(findings(kind, &spec), [(field.to_owned(), reason.to_owned())], "{spec}");
    }
}

#[test]
fn wrong_types_in_a_mesh() {
    finds([
        Case(Kind::Mesh, json!({"mtls": []}), "mtls", "must be an object, not a list"),
        Case(
            Kind::Mesh,
            json!({"mtls": {"backends": {}}}),
            "mtls.backends",
            "must be a list, not an object",
        ),
        Case(
            Kind::Mesh,
            json!({"mtls": {"enabledBackend": true}}),
            "mtls.enabledBackend",
            "must be a string, not a bool; put true in quotes",
        ),
        Case(
            Kind::Mesh,
            json!({"routing": {"localityAwareLoadBalancing": "yes"}}),
            "routing.localityAwareLoadBalancing",
            "must be true or false, not a string",
        ),
        Case(
            Kind::Mesh,
            json!({"meshServices": {"mode": "Sometimes"}}),
            "meshServices.mode",
            "must be one of Disabled, Everywhere, ReachableBackends, Exclusive, not Sometimes",
        ),
        Case(
            Kind::Mesh,
            json!({"skipCreatingInitialPolicies": ["*", null]}),
            "skipCreatingInitialPolicies[1]",
            "must be a string, not null",
        ),
        Case(
            Kind::Mesh,
            json!({"mtls": {"backends": [{"name": "c", "type": "builtin",
                "dpCert": {"requestTimeout": "10"}}]}}),
            "mtls.backends[0].dpCert.requestTimeout",
            "must be a duration in seconds such as \"10s\" or \"0.250s\", not 10",
        ),
        Case(
            Kind::Mesh,
            json!({"mtls": {"backends": [{"name": "c", "type": "vault"}]}}),
            "mtls.backends[0].type",
            "could not find installed plugin for this type",
        ),
        Case(
            Kind::Mesh,
            json!({"mtls": {"backends": [{"name": "c"}]}}),
            "mtls.backends[0].type",
            "could not find installed plugin for this type",
        ),
    ]);
}

#[test]
fn wrong_types_elsewhere() {
    finds([
        Case(
            Kind::Dataplane,
            json!({"networking": {"inbound": [{}, {"port": 65536}]}}),
            "networking.inbound[1].port",
            "port must be in the range [1, 65535]",
        ),
        Case(
            Kind::Dataplane,
            json!({"networking": {"inbound": [{"tags": {"version": 1}}]}}),
            "networking.inbound[0].tags[\"version\"]",
            "must be a string, not a number; put 1 in quotes",
        ),
        Case(
            Kind::TrafficRoute,
            json!({"conf": {"split": [{"weight": -1}]}}),
            "conf.split[0].weight",
            "must be a whole number from 0 to 4294967295, not -1",
        ),
        Case(
            Kind::TrafficRoute,
            json!({"conf": {"split": [{"weight": 1.5}]}}),
            "conf.split[0].weight",
            "must be a whole number from 0 to 4294967295, not 1.5",
        ),
        Case(
            Kind::DataplaneInsight,
            json!({"mTLS": {"certificateExpirationTime": "soon"}}),
            "mTLS.certificateExpirationTime",
            "must be a time such as \"2026-01-31T12:00:00Z\", not soon",
        ),
        Case(
            Kind::DataplaneInsight,
            json!({"mTLS": {"issued_backend": "a"}, "m_tls": {}, "subscriptions": [
                {"control_plane_instance_id": "a", "controlPlaneInstanceId": "a"}]}),
            "subscriptions[0].controlPlaneInstanceId",
            "is given twice, also as control_plane_instance_id",
        ),
    ]);
}

const FIELD: &str = "this version of Higuma does not have this field yet";

/// As [`finds`], and that the same spec is kept from another control plane.
fn not_here_yet(cases: impl IntoIterator<Item = Case>) {
    for case in cases {
        let kept = read_as(case.0, Source::Peer, &case.1).unwrap().spec.to_string();
        assert_ne!(kept, "{}", "{}", case.1);
        finds([case]);
    }
}

#[test]
fn fields_of_a_mesh_that_are_not_here_yet() {
    not_here_yet([
        Case(Kind::Mesh, json!({"tracing": {"defaultBackend": "z"}}), "tracing", FIELD),
        Case(Kind::Mesh, json!({"logging": {"backends": [{}]}}), "logging", FIELD),
        Case(Kind::Mesh, json!({"metrics": {"enabledBackend": "p"}}), "metrics", FIELD),
        Case(
            Kind::Mesh,
            json!({"constraints": {"dataplaneProxy": {"requirements": [{}]}}}),
            "constraints",
            FIELD,
        ),
        Case(
            Kind::Mesh,
            json!({"networking": {"outbound": {"passthrough": true}}}),
            "networking.outbound.passthrough",
            FIELD,
        ),
        Case(
            Kind::Mesh,
            json!({"networking": {"outbound": {"passthrough": false}}}),
            "networking.outbound.passthrough",
            FIELD,
        ),
        Case(Kind::Mesh, json!({"routing": {"zoneEgress": true}}), "routing.zoneEgress", FIELD),
        Case(Kind::Mesh, json!({"mtls": {"skipValidation": true}}), "mtls.skipValidation", FIELD),
        Case(
            Kind::Mesh,
            json!({"meshServices": {"mode": "Exclusive"}}),
            "meshServices.mode",
            "this version of Higuma does not have Exclusive yet",
        ),
    ]);
}

#[test]
fn fields_of_a_ca_that_are_not_here_yet() {
    let backend = |extra: Value| {
        let mut backend = json!({"name": "c", "type": "builtin"});
        backend.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"mtls": {"backends": [backend]}})
    };
    not_here_yet([
        Case(
            Kind::Mesh,
            backend(json!({"mode": "PERMISSIVE"})),
            "mtls.backends[0].mode",
            "this version of Higuma does not have PERMISSIVE yet",
        ),
        Case(
            Kind::Mesh,
            backend(json!({"type": "provided"})),
            "mtls.backends[0].type",
            "this version of Higuma does not have provided yet",
        ),
        Case(
            Kind::Mesh,
            backend(json!({"conf": {"caCert": {"RSAbits": 4096}}})),
            "mtls.backends[0].conf",
            FIELD,
        ),
        Case(
            Kind::Mesh,
            backend(json!({"dpCert": {"requestTimeout": "10s"}})),
            "mtls.backends[0].dpCert.requestTimeout",
            FIELD,
        ),
    ]);
}

#[test]
fn other_fields_that_are_not_here_yet() {
    not_here_yet([
        Case(
            Kind::Dataplane,
            json!({"networking": {"transparentProxying": {"redirectPortInbound": 15006}}}),
            "networking.transparentProxying",
            FIELD,
        ),
        Case(
            Kind::Dataplane,
            json!({"networking": {"gateway": {"type": "BUILTIN"}}}),
            "networking.gateway.type",
            "this version of Higuma does not have BUILTIN yet",
        ),
        Case(
            Kind::Dataplane,
            json!({"networking": {"inbound": [{"health": {"ready": true}}]}}),
            "networking.inbound[0].health",
            FIELD,
        ),
        Case(
            Kind::Dataplane,
            json!({"networking": {"inbound": [{"state": "Ignored"}]}}),
            "networking.inbound[0].state",
            "this version of Higuma does not have Ignored yet",
        ),
        Case(
            Kind::Dataplane,
            json!({"networking": {"outbound": [{"backendRef": {"kind": "MeshService"}}]}}),
            "networking.outbound[0].backendRef",
            FIELD,
        ),
        Case(
            Kind::Dataplane,
            json!({"networking": {"advertisedAddress": "1.2.3.4"}}),
            "networking.advertisedAddress",
            FIELD,
        ),
        Case(Kind::Dataplane, json!({"probes": {"port": 1}}), "probes", FIELD),
        Case(Kind::Dataplane, json!({"metrics": {"name": "a"}}), "metrics", FIELD),
        Case(
            Kind::TrafficRoute,
            json!({"conf": {"loadBalancer": {"leastRequest": {"choiceCount": 2}}}}),
            "conf.loadBalancer",
            FIELD,
        ),
        Case(Kind::TrafficRoute, json!({"conf": {"http": [{}]}}), "conf.http", FIELD),
    ]);
}

#[test]
fn a_wrong_element_keeps_its_place() {
    let spec = json!({"networking": {"inbound": [5, {"port": 80}]}});
    let (canonical, violations) =
        read(Kind::Dataplane, spec.as_object().unwrap(), Source::Operator);
    assert_eq!(canonical.spec, json!({"networking": {"inbound": [{}, {"port": 80}]}}));
    assert_eq!(violations.into_vec().len(), 1);
}

#[test]
fn unknown_fields_are_set_apart() {
    let spec = json!({"mtls": {"Enabled\u{7}": 1, "backends": [
        {"name": "c", "type": "builtin", "x": 1}]}, "y": {}});
    let canonical = read_as(Kind::Mesh, Source::Operator, &spec).unwrap();
    assert_eq!(canonical.unknown, ["y", "mtls.Enabled?", "mtls.backends[0].x"]);
    assert!(!canonical.spec.to_string().contains('x'), "{}", canonical.spec);
}

#[test]
fn hostile_documents_are_bounded() {
    let many: Vec<Value> = (0..=MAX_ELEMENTS).map(Value::from).collect();
    let spec = json!({"skipCreatingInitialPolicies": many});
    let reason = "has 16385 elements; at most 16384 are taken".to_owned();
    assert_eq!(findings(Kind::Mesh, &spec), [("skipCreatingInitialPolicies".to_owned(), reason)]);

    let spec = json!({"skipCreatingInitialPolicies": vec![1; 200]});
    let found = findings(Kind::Mesh, &spec);
    assert_eq!(found.len(), 101);
    assert_eq!(found[100].1, "100 more problems are not listed");

    let long = "x".repeat(MAX_TEXT_BYTES + 1);
    let found = findings(Kind::Mesh, &json!({"mtls": {"enabledBackend": long}}));
    assert_eq!(found[0].1, "has 65537 bytes; at most 65536 are taken");

    let mut deep = json!(1);
    for _ in 0..MAX_DEPTH {
        deep = json!({"a": deep});
    }
    let spec = json!({"metadata": deep});
    let found = read_as(Kind::DataplaneInsight, Source::Peer, &spec).unwrap_err();
    assert_eq!(found[0].reason, "is nested deeper than 16 levels");
}

#[test]
fn durations_have_one_form() {
    for (text, canonical) in [
        ("10s", Some("10s")),
        ("0.25s", Some("0.250s")),
        ("1.000000001s", Some("1.000000001s")),
        ("1.0s", Some("1s")),
        ("-1.5s", Some("-1.500s")),
        ("-0s", Some("0s")),
        ("010s", Some("10s")),
        ("10", None),
        ("10m", None),
        ("s", None),
        ("1.s", Some("1s")),
        (".5s", None),
        ("1.0000000001s", None),
        ("315576000001s", None),
    ] {
        let read = scalar::duration(&json!(text)).ok();
        assert_eq!(read, canonical.map(Value::from), "{text}");
    }
}

#[test]
fn doubles_read_back_as_they_were() {
    let sampling = |number: Value| json!({"tracing": {"backends": [{"sampling": number}]}});
    for (number, canonical) in [
        (json!(1.0), "1"),
        (json!("0.5"), "0.5"),
        (json!(-1.0), "-1"),
        (json!(-0.0), "0"),
        (json!(1e300), "1e+300"),
        // Needs serde_json's exact reading of floats.
        (json!(-477_888_063.323_381_96), "-477888063.32338196"),
    ] {
        let once = read_as(Kind::Mesh, Source::Peer, &sampling(number)).unwrap().spec.to_string();
        assert_eq!(once, format!(r#"{{"tracing":{{"backends":[{{"sampling":{canonical}}}]}}}}"#));
        let again: Value = serde_json::from_str(&once).unwrap();
        assert_eq!(read_as(Kind::Mesh, Source::Peer, &again).unwrap().spec.to_string(), once);
    }
}

#[test]
fn the_tables_are_in_order_and_unambiguous() {
    fn fields(fields: &'static [Field]) {
        let numbers: Vec<_> = fields.iter().map(|field| field.number).collect();
        assert!(numbers.is_sorted() && numbers.windows(2).all(|w| w[0] != w[1]), "{numbers:?}");
        let mut names: Vec<_> = fields
            .iter()
            .flat_map(|field| {
                let json = field.json_name().into_owned();
                let both = [field.name.to_owned(), json];
                both.into_iter().take(if field.name.contains('_') { 2 } else { 1 })
            })
            .collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|w| w[0] != w[1]), "{names:?}");
        fields.iter().for_each(|field| shape(&field.shape));
    }
    fn shape(of: &'static Shape) {
        match of {
            Shape::Message(of) => fields(of),
            Shape::List(of) | Shape::Map(of) | Shape::Optional(of) => shape(of),
            Shape::Enum { names, not_yet } => {
                assert!(not_yet.iter().all(|name| names[1..].contains(name)), "{not_yet:?}");
            }
            _ => {}
        }
    }
    Kind::ALL.into_iter().for_each(|kind| fields(table(kind)));
}
