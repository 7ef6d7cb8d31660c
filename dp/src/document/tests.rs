use super::*;

const WEB: &str = "\
type: Dataplane
name: web-1
networking:
  address: 127.0.0.1
  inbound:
    - port: 8080
      servicePort: 8081
      tags: { kuma.io/service: web, team: no }
";

fn read(text: &str, kind: Kind) -> Result<ProxyDocument, String> {
    let folder = tempfile::tempdir().expect("tempdir");
    let path = folder.path().join("web.yaml");
    std::fs::write(&path, text).expect("write");
    let read = ProxyDocument::read(&path, kind).map_err(|error| error.to_string());
    // The path of every message, as far as it varies.
    read.map_err(|error| error.replace(&format!("{}/", folder.path().display()), ""))
}

#[test]
fn yaml_and_json_are_the_same() {
    let yaml = read(WEB, Kind::Dataplane).expect("valid");
    assert_eq!((&*yaml.mesh, &*yaml.name), ("default", "web-1"));
    assert_eq!(yaml.value["mesh"], "default");
    assert_eq!(yaml.value["networking"]["inbound"][0]["tags"]["team"], "no");
    assert_eq!(yaml.admin_port(), None);
    let json = serde_json::to_string_pretty(&yaml.value).expect("JSON");
    assert_eq!(read(&json, Kind::Dataplane).expect("valid"), yaml);

    let with_admin = format!("{WEB}  admin: {{ port: 9910 }}\n");
    assert_eq!(read(&with_admin, Kind::Dataplane).expect("valid").admin_port(), Some(9910));
}

#[test]
fn an_ingress_is_in_no_mesh() {
    let text = "type: ZoneIngress\nname: in-1\nnetworking: {address: 127.0.0.1, port: 10001}\n";
    let ingress = read(text, Kind::ZoneIngress).expect("valid");
    assert_eq!((&*ingress.mesh, &*ingress.name), ("", "in-1"));
    assert_eq!(ingress.value.get("mesh"), None);
}

#[test]
fn mistakes_name_the_file_and_the_place() {
    struct Case {
        text: String,
        says: &'static str,
    }
    let case = |from: &str, to: &str, says| {
        assert!(WEB.contains(from), "{from}");
        Case { text: WEB.replacen(from, to, 1), says }
    };
    for case in [
        case(
            "web-1",
            "{{ name }}",
            "web.yaml, line 2: `{{ name }}` looks like a variable; variables are not supported",
        ),
        case("name: web-1", "name: Web 1", "web.yaml: name: "),
        case("  address: 127.0.0.1\n", "", "web.yaml: networking.address: address can't be empty"),
        case("port: 8080", "port: eighty", "web.yaml: networking.inbound[0].port: "),
        case("port: 8080", "prot: 8080", "networking.inbound[0].prot: is no field of Dataplane"),
        case(
            "kuma.io/service: web, ",
            "",
            "networking.inbound[0].tags[\"kuma.io/service\"]: tag has to exist",
        ),
        case(
            "type: Dataplane",
            "type: Mesh",
            "web.yaml: type: is Mesh, and Dataplane is what runs here",
        ),
        case("type: Dataplane", "type: Pod", "web.yaml: type: unknown type \"Pod\""),
        case("type: Dataplane\n", "", "web.yaml: type: is missing"),
        case("name: web-1", "name: web-1\nname: web-2", "web.yaml: not valid YAML or JSON: "),
        case("networking:", "networking: {", "web.yaml: not valid YAML or JSON: "),
        Case {
            text: format!("{WEB}---\n{WEB}"),
            says: "web.yaml: holds 2 documents; write one Dataplane",
        },
        Case { text: String::new(), says: "web.yaml: holds 0 documents; write one Dataplane" },
        Case { text: "- a\n".to_owned(), says: "web.yaml: a resource is a JSON object" },
        Case {
            text: " ".repeat(MAX_RESOURCE_BYTES + 1),
            says: "bytes are more than a resource may have",
        },
    ] {
        let error = read(&case.text, Kind::Dataplane).expect_err(case.says);
        assert!(error.starts_with("web.yaml") && error.contains(case.says), "{error}");
    }
    let commented = format!("# like {{{{ name }}}}\n{WEB}");
    assert!(read(&commented, Kind::Dataplane).is_ok());

    let missing = ProxyDocument::read(Path::new("/nowhere/web.yaml"), Kind::Dataplane);
    let missing = missing.expect_err("no file").to_string();
    assert!(missing.starts_with("cannot read /nowhere/web.yaml: "), "{missing}");
}
