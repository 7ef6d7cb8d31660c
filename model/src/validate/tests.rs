use serde_json::json;

use super::*;

fn parse(value: Value) -> Document {
    Document::parse(value).unwrap()
}

/// A document with a spec, and the findings expected of it, as (field, reason).
struct Case {
    spec: Value,
    findings: Vec<(&'static str, &'static str)>,
}

fn case(spec: Value, findings: &[(&'static str, &'static str)]) -> Case {
    Case { spec, findings: findings.to_vec() }
}

fn run(kind: Kind, cases: impl IntoIterator<Item = Case>) {
    for Case { spec, findings } in cases {
        let mut value = json!({"type": kind.name(), "name": "n"});
        value.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let found = check(&parse(value), true).err().unwrap_or_default();
        let found: Vec<_> = found.iter().map(|v| (v.field.as_str(), v.reason.as_str())).collect();
        assert_eq!(found, findings, "{spec}");
    }
}

#[test]
fn names() {
    let long = "a".repeat(254);
    let mesh64 = "m".repeat(64);
    let characters = "invalid characters. A lowercase RFC 1123 subdomain has lowercase letters, \
                      digits, '-' or '.', with a letter or digit at both ends of each part";
    for (kind, name, reason) in [
        (Kind::Mesh, "a", None),
        (Kind::Mesh, "a-b.c0", None),
        (Kind::TrafficPermission, &"a".repeat(253), None),
        (Kind::Mesh, "", Some("cannot be empty")),
        (Kind::Mesh, "A", Some(characters)),
        (Kind::Mesh, "a_b", Some(characters)),
        (Kind::Mesh, "-a", Some(characters)),
        (Kind::Mesh, "a..b", Some(characters)),
        (Kind::Mesh, "a.", Some(characters)),
        (Kind::Mesh, &long, Some("value length must less or equal 253")),
        (Kind::Mesh, &mesh64, Some("cannot be longer than 63 characters")),
    ] {
        let mut violations = Violations::default();
        meta::check(&parse(json!({"type": kind.name(), "name": name})), &mut violations);
        let expected: Vec<_> =
            reason.map(|reason| Violation::new("name", reason)).into_iter().collect();
        assert_eq!(violations.into_vec(), expected, "{kind} {name}");
    }
}

#[test]
fn meshes_and_labels() {
    let mesh_reason = "invalid characters. Valid characters are numbers, lowercase latin letters \
                       and '-', '_', '.' symbols.";
    for (mesh, labels, field) in [
        ("a_b.c-1", json!({"team": "A.b_c-1", "k8s.io/part-of": "", "x/y": "z"}), None),
        ("Default", json!({}), Some("mesh")),
        ("m", json!({"": "x"}), Some("labels[\"\"]")),
        ("m", json!({"-a": "x"}), Some("labels[\"-a\"]")),
        ("m", json!({"Prefix/a": "x"}), Some("labels[\"Prefix/a\"]")),
        ("m", json!({"a/b/c": "x"}), Some("labels[\"a/b/c\"]")),
        ("m", json!({"a": "x y"}), Some("labels[\"a\"]")),
        ("m", json!({"a": "v".repeat(64)}), Some("labels[\"a\"]")),
        ("m", json!({"kuma.io/display-name": ""}), Some("labels[\"kuma.io/display-name\"]")),
    ] {
        let value =
            json!({"type": "TrafficPermission", "name": "n", "mesh": mesh, "labels": labels});
        let mut violations = Violations::default();
        meta::check(&parse(value), &mut violations);
        let found = violations.into_vec();
        let fields: Vec<_> = found.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, Vec::from_iter(field), "{mesh} {labels}");
        if field == Some("mesh") {
            assert_eq!(found[0].reason, mesh_reason);
        }
    }
}

#[test]
fn mesh() {
    let expiring = |text: &str| {
        json!({"mtls": {"backends": [
            {"name": "ca", "type": "builtin", "dpCert": {"rotation": {"expiration": text}}}]}})
    };
    let field = "mtls.dpcert.rotation.expiration";
    let form = (field, "has to be a number and one of the units y, w, d, h, m, s, ms, such as 24h");
    let short =
        (field, "this version of Higuma does not have certificates yet that live less than 24h");
    let name = "must be a DNS label: up to 63 lowercase letters, digits or '-', with a letter or \
                digit at both ends";
    run(
        Kind::Mesh,
        [
            case(json!({}), &[]),
            case(json!({"mtls": {}}), &[]),
            case(
                json!({"mtls": {"enabledBackend": "ca", "backends": [{"name": "ca", "type": "builtin"}]}}),
                &[],
            ),
            case(
                json!({"mtls": {"enabledBackend": "other", "backends": [{"name": "ca", "type": "builtin"}]}}),
                &[("mtls.enabledBackend", "has to be set to one of the backends in the mesh")],
            ),
            case(
                json!({"mtls": {"backends": [
                {"name": "a", "type": "builtin"}, {"name": "a", "type": "builtin"}]}}),
                &[
                    ("mtls.backends", "cannot have more than 1 backends"),
                    ("mtls.backends[1].name", "\"a\" name is already used for another backend"),
                ],
            ),
            case(
                json!({"mtls": {"backends": [{"name": "A.b", "type": "builtin"}]}}),
                &[("mtls.backends[0].name", name)],
            ),
            case(
                json!({"mtls": {"backends": [{"type": "builtin"}]}}),
                &[("mtls.backends[0].name", "cannot be empty")],
            ),
            case(expiring("24h"), &[]),
            case(expiring("0"), &[]),
            case(expiring("2w"), &[]),
            case(expiring("10y"), &[]),
            case(expiring("23h"), &[short]),
            case(expiring("86399999ms"), &[short]),
            case(expiring("0s"), &[short]),
            case(expiring("1h30m"), &[form]),
            case(expiring("day"), &[form]),
            case(expiring("h"), &[form]),
            case(expiring("-1h"), &[form]),
            case(expiring("11y"), &[(field, "cannot be longer than 10y, the life of the CA")]),
            case(
                expiring("18446744073709551615y"),
                &[(field, "cannot be longer than 10y, the life of the CA")],
            ),
        ],
    );
}

#[test]
fn traffic_permission() {
    let all = || json!([{"match": {"kuma.io/service": "*"}}]);
    run(
        Kind::TrafficPermission,
        [
            case(json!({"sources": all(), "destinations": [{"match": {"a/b": "x/y"}}]}), &[]),
            case(
                json!({}),
                &[
                    ("sources", "must have at least one element"),
                    ("destinations", "must have at least one element"),
                ],
            ),
            case(
                json!({"sources": [{}], "destinations": [{"match": {}}]}),
                &[
                    ("sources[0].match", "must have at least one tag"),
                    ("destinations[0].match", "must have at least one tag"),
                ],
            ),
            case(
                json!({"sources": all(), "destinations": [{"match": {"a b": "*x", "c": ""}}]}),
                &[
                    (
                        "destinations[0].match[\"a b\"]",
                        "tag name may have letters, digits and . - _ : / only",
                    ),
                    (
                        "destinations[0].match[\"a b\"]",
                        "tag value may have letters, digits and . - _ : / only, or be just *",
                    ),
                    ("destinations[0].match[\"c\"]", "tag value cannot be empty"),
                ],
            ),
            case(
                json!({"sources": [{"matches": {}}], "destinations": all()}),
                &[
                    ("sources[0].matches", "is no field of TrafficPermission"),
                    ("sources[0].match", "must have at least one tag"),
                ],
            ),
        ],
    );
}

#[test]
fn traffic_route() {
    let route = |conf: Value| {
        let all = json!([{"match": {"kuma.io/service": "*"}}]);
        json!({"sources": all, "destinations": all, "conf": conf})
    };
    let web = || json!({"kuma.io/service": "web"});
    run(
        Kind::TrafficRoute,
        [
            case(route(json!({"destination": {"kuma.io/service": "*"}})), &[]),
            case(
                route(json!({"split": [
                {"weight": 0, "destination": web()}, {"weight": 1, "destination": web()}]})),
                &[],
            ),
            case(route(json!({})), &[("conf", "requires either \"destination\" or \"split\"")]),
            case(
                route(
                    json!({"destination": web(), "split": [{"weight": 1, "destination": web()}]}),
                ),
                &[("conf", "\"destination\" and \"split\" exclude each other")],
            ),
            case(
                route(json!({"destination": {"version": "1"}})),
                &[("conf.destination[\"kuma.io/service\"]", "tag has to exist")],
            ),
            case(
                route(json!({"split": [{"destination": web()}, {"weight": 0, "destination": {}}]})),
                &[
                    ("conf.split[0].weight", "has to be set"),
                    ("conf.split[1].destination[\"kuma.io/service\"]", "tag has to exist"),
                    ("conf.split", "the weights have to add up to more than 0"),
                ],
            ),
            case(
                route(json!({"split": [
                {"weight": 4294967295_u32, "destination": web()},
                {"weight": 1, "destination": web()}]})),
                &[(
                    "conf.split",
                    "the weights add up to 4294967296; Envoy takes at most 4294967295",
                )],
            ),
            case(
                json!({
                    "sources": [{"match": {"version": "1"}}],
                    "destinations": [{"match": {"kuma.io/service": "a", "version": "1"}}],
                }),
                &[
                    ("sources[0].match[\"kuma.io/service\"]", "tag has to exist"),
                    (
                        "destinations[0].match[\"version\"]",
                        "a route's destination is named by kuma.io/service alone",
                    ),
                    ("conf", "cannot be empty"),
                ],
            ),
        ],
    );
}

fn inbound() -> Value {
    json!({"port": 80, "serviceAddress": "127.0.0.1", "tags": {"kuma.io/service": "web"}})
}

fn with(mut value: Value, extra: Value) -> Value {
    value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    value
}

#[test]
fn dataplane_addresses() {
    let at = |address: &str| json!({"networking": {"address": address, "inbound": [inbound()]}});
    let form = ("networking.address", "address has to be valid IP address or domain name");
    let unspecified = ("networking.address", "must not be 0.0.0.0 or ::");
    run(
        Kind::Dataplane,
        [
            case(at("10.0.0.1"), &[]),
            case(at("fd00::1"), &[]),
            case(at("web_1.example.com"), &[]),
            case(at(""), &[("networking.address", "address can't be empty")]),
            case(at("0.0.0.0"), &[unspecified]),
            case(at("::"), &[unspecified]),
            case(at("256.0.0.1"), &[form]),
            case(at("a b"), &[form]),
            case(at("10.0.0.1:80"), &[form]),
            case(json!({}), &[("networking", "must be defined")]),
        ],
    );
}

#[test]
fn dataplane_inbounds() {
    let one = |inbound: Value| json!({"networking": {"address": "10.0.0.1", "inbound": [inbound]}});
    let itself = "the proxy would forward to itself: servicePort or serviceAddress has to differ \
                  from the listener's port and address";
    run(
        Kind::Dataplane,
        [
            case(one(inbound()), &[]),
            case(one(with(inbound(), json!({"serviceAddress": "", "servicePort": 8080}))), &[]),
            case(
                one(with(inbound(), json!({"serviceAddress": ""}))),
                &[("networking.inbound[0].serviceAddress", itself)],
            ),
            case(
                one(with(inbound(), json!({"serviceAddress": "10.0.0.1", "servicePort": 80}))),
                &[("networking.inbound[0].serviceAddress", itself)],
            ),
            case(
                one(with(inbound(), json!({"port": 0, "address": "host", "serviceAddress": "x"}))),
                &[
                    ("networking.inbound[0].port", "port must be in the range [1, 65535]"),
                    ("networking.inbound[0].address", "has to be a valid IP address"),
                    ("networking.inbound[0].serviceAddress", "has to be a valid IP address"),
                ],
            ),
            // Found once, though both the table and the rules look at it.
            case(
                one(with(inbound(), json!({"port": 70000}))),
                &[("networking.inbound[0].port", "port must be in the range [1, 65535]")],
            ),
            case(
                one(with(inbound(), json!({"tags": {"kuma.io/protocol": "smtp", "a": "x/y"}}))),
                &[
                    (
                        "networking.inbound[0].tags[\"a\"]",
                        "tag value may have letters, digits and . - _ : only",
                    ),
                    ("networking.inbound[0].tags[\"kuma.io/service\"]", "tag has to exist"),
                    (
                        "networking.inbound[0].tags[\"kuma.io/protocol\"]",
                        "must be one of grpc, http, http2, kafka, tcp",
                    ),
                ],
            ),
            case(
                json!({"networking": {"address": "10.0.0.1"}}),
                &[("networking", "has to contain at least one inbound interface or gateway")],
            ),
            case(
                json!({"networking": {"address": "10.0.0.1", "inbound": [inbound(), inbound(),
                with(inbound(), json!({"address": "10.0.0.2"}))]}}),
                &[(
                    "networking.inbound[1].port",
                    "must differ from networking.inbound[0], which listens on 10.0.0.1:80",
                )],
            ),
        ],
    );
}

#[test]
fn dataplane_outbounds_gateway_and_admin() {
    let networking = |extra: Value| json!({"networking": with(json!({"address": "10.0.0.1", "inbound": [inbound()]}), extra)});
    let backend = || json!({"kuma.io/service": "backend"});
    run(
        Kind::Dataplane,
        [
            case(
                networking(json!({"outbound": [
            {"port": 1, "tags": backend()}, {"port": 1, "address": "127.0.0.2", "tags": backend()}]})),
                &[],
            ),
            case(
                networking(json!({"outbound": [{"address": "x", "tags": {}},
                {"port": 1, "tags": backend()}, {"port": 1, "address": "127.0.0.1", "tags": backend()}]})),
                &[
                    ("networking.outbound[0].port", "port must be in the range [1, 65535]"),
                    ("networking.outbound[0].address", "has to be a valid IP address"),
                    ("networking.outbound[0].tags[\"kuma.io/service\"]", "tag has to exist"),
                    (
                        "networking.outbound[2].port",
                        "must differ from networking.outbound[1], which listens on 127.0.0.1:1",
                    ),
                ],
            ),
            case(
                networking(
                    json!({"outbound": [{"port": 9901, "tags": backend()}], "admin": {"port": 9901}}),
                ),
                &[(
                    "networking.admin.port",
                    "must differ from networking.outbound[0], which listens on 127.0.0.1:9901",
                )],
            ),
            case(
                json!({"networking": {"address": "10.0.0.1", "gateway": {"tags": backend()}}}),
                &[],
            ),
            case(
                networking(json!({"gateway": {"tags": {"kuma.io/protocol": "http"}}})),
                &[
                    ("networking.gateway.tags[\"kuma.io/service\"]", "tag has to exist"),
                    (
                        "networking.gateway.tags[\"kuma.io/protocol\"]",
                        "a delegated gateway's can only be tcp",
                    ),
                    ("networking.inbound", "a gateway has no inbounds"),
                ],
            ),
        ],
    );
}

#[test]
fn zone_ingress() {
    let networking = |networking: Value| json!({"networking": networking});
    run(
        Kind::ZoneIngress,
        [
            case(networking(json!({"port": 10001})), &[]),
            case(
                networking(json!({"address": "10.0.0.1", "port": 10001,
                "advertisedAddress": "in.example.com", "advertisedPort": 443})),
                &[],
            ),
            case(json!({}), &[("networking.port", "port must be in the range [1, 65535]")]),
            case(
                networking(json!({"port": 1, "advertisedAddress": "10.0.0.1"})),
                &[("networking.advertisedPort", "has to be defined with advertisedAddress")],
            ),
            case(
                networking(json!({"port": 1, "advertisedPort": 443})),
                &[("networking.advertisedAddress", "has to be defined with advertisedPort")],
            ),
            case(
                networking(json!({"port": 1, "address": "::", "advertisedAddress": "1.2.3",
                "advertisedPort": 443, "admin": {"port": 1}})),
                &[
                    ("networking.address", "must not be 0.0.0.0 or ::"),
                    (
                        "networking.advertisedAddress",
                        "address has to be valid IP address or domain name",
                    ),
                    ("networking.admin.port", "must differ from networking.port"),
                ],
            ),
        ],
    );
}

#[test]
fn secrets() {
    let secret = |spec: Value| parse(with(json!({"type": "Secret", "name": "s"}), spec));
    let checked = check(&secret(json!({"data": "dG9w"})), false).unwrap();
    assert_eq!(checked.spec, Spec::Secret(SecretBytes::plain(b"top")));
    run(
        Kind::Secret,
        [
            case(json!({}), &[("data", "cannot be empty")]),
            case(json!({"data": "?"}), &[("data", "must be base64")]),
            case(
                json!({"data": 1, "x": 2}),
                &[("data", "must be a string of base64"), ("x", "is no field of Secret")],
            ),
        ],
    );
}

#[test]
fn what_is_treated_in_its_own_way_is_told() {
    let tags = json!({"kuma.io/service": "web", "kuma.io/protocol": "grpc"});
    let document = with(inbound(), json!({"tags": tags}));
    let document = json!({"type": "Dataplane", "name": "n",
        "networking": {"address": "10.0.0.1", "inbound": [document]}});
    assert_eq!(
        check(&parse(document), true).unwrap().warnings,
        ["networking.inbound[0].tags[\"kuma.io/protocol\"]: this version of Higuma carries grpc \
          as plain TCP"],
    );
}
