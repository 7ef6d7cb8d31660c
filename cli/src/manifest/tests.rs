use super::*;

const READING: Reading<'static> =
    Reading { mesh_flag: None, default_mesh: "default", strict: true };

fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned() }
}

/// The documents of a text, for other tests.
pub(crate) fn loaded(text: &str, reading: Reading<'_>) -> Vec<Loaded> {
    load_sources(vec![source("m.yaml", text)], reading).expect("documents")
}

fn wrong(text: &str) -> Vec<String> {
    load_sources(vec![source("m.yaml", text)], READING).expect_err("findings")
}

#[test]
fn all_documents_are_read_in_order() {
    let text = "type: Mesh\nname: default\n---\n# nothing\n---\n\
                {type: TrafficPermission, name: no, sources: [{match: {kuma.io/service: web}}], \
                destinations: [{match: {kuma.io/service: '*'}}]}\n";
    let loaded = load_sources(vec![source("m.yaml", text)], READING).expect("documents");
    let keys: Vec<_> = loaded.iter().map(|d| (d.key.mesh(), d.key.name())).collect();
    // `no` is a name, not a boolean.
    assert_eq!(keys, [("", "default"), ("default", "no")]);
    assert_eq!(loaded[1].body["mesh"], "default");
    assert_eq!(loaded[1].shown(), "m.yaml:6:1");

    let json = "{\"type\":\"Mesh\",\"name\":\"a\"} {\"type\":\"Mesh\",\n\t\"name\":\"b\"}";
    let loaded = load_sources(vec![source("m.json", json)], READING).expect("documents");
    assert_eq!(loaded[1].shown(), "m.json:1:28");
    assert_eq!(loaded[1].body["name"], "b");
}

#[test]
fn every_document_is_checked_before_anything_is_said() {
    let text = "\
type: Mesh
name: Default
mtls:
  enabledBackend: ca-2
  backends:
  - name: ca-1
    type: builtin
---
type: Mesh
name: ok
colour: red
---
type: Mesh
name: [
---
type: Mesh
name: ok
---
type: Pod
";
    let wrong = wrong(text);
    let heads: Vec<_> = wrong.iter().map(|finding| finding.lines().next().unwrap()).collect();
    for (head, expected) in heads.iter().zip([
        "m.yaml:2:7: name: ",
        "m.yaml:4:19: mtls.enabledBackend: ",
        "m.yaml:11:1: colour: is no field of Mesh",
        "m.yaml:14:7: this is not YAML: unclosed",
        "m.yaml:19:7: type: unknown type \"Pod\"",
    ]) {
        assert!(head.starts_with(expected), "{expected:?} is not the start of {heads:#?}");
    }
    assert_eq!(wrong.len(), 5, "{heads:#?}");
    assert!(wrong[2].ends_with("\n 11 | colour: red\n    | ^^^^^^"), "{}", wrong[2]);
}

#[test]
fn what_nobody_means_is_refused() {
    for (text, expected) in [
        ("", "there is no document to apply"),
        ("- a\n", "m.yaml:1:1: a resource is a JSON object"),
        ("type: Mesh\ntype: Mesh\nname: a\n", "m.yaml:2:1: this is not YAML: duplicate"),
        (
            "type: Mesh\nname: a\n---\ntype: Mesh\nname: a\n",
            "m.yaml:5:7: name: Mesh a stands at m.yaml:1:1 too",
        ),
        ("apiVersion: v1\nkind: Pod\n", "m.yaml:1:1: type: is missing: this looks like"),
    ] {
        let wrong = wrong(text);
        assert!(wrong[0].starts_with(expected), "{expected:?} is not the start of {wrong:#?}");
    }
    let json = source("m.json", r#"{"type":"Mesh","name":"a","name":"b"}"#);
    let wrong = load_sources(vec![json], READING).unwrap_err();
    assert!(wrong[0].starts_with("m.json:1:27: key \"name\" stands twice"), "{wrong:?}");
}

#[test]
fn the_mesh_flag_fills_in_and_must_agree() {
    let text = "type: TrafficPermission\nname: a\nmesh: shop\nsources: [{match: {kuma.io/service: '*'}}]\n\
                destinations: [{match: {kuma.io/service: '*'}}]\n";
    let with = |flag, text: &str| {
        let reading = Reading { mesh_flag: flag, ..READING };
        load_sources(vec![source("m.yaml", text)], reading)
    };
    assert_eq!(with(Some("shop"), text).unwrap()[0].key.mesh(), "shop");
    assert_eq!(with(Some("x"), &text.replace("mesh: shop\n", "")).unwrap()[0].key.mesh(), "x");
    let wrong = with(Some("x"), text).unwrap_err();
    assert!(
        wrong[0].starts_with("m.yaml:3:7: mesh: is \"shop\", but --mesh says \"x\""),
        "{wrong:?}"
    );
}

#[test]
fn folders_are_read_by_name_and_unreadable_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("2.yaml", "type: Mesh\nname: two\n");
    write("1.json", "{\"type\": \"Mesh\", \"name\": \"one\"}");
    write("notes.txt", "x");
    let loaded = load(vec![Input::Path(folder.path().into())], READING).unwrap();
    assert_eq!(loaded.iter().map(|d| d.key.name()).collect::<Vec<_>>(), ["one", "two"]);

    std::fs::write(folder.path().join("3.yml"), b"type: \xff").unwrap();
    let missing = folder.path().join("gone.yaml");
    let wrong =
        load([folder.path(), &missing].map(|p| Input::Path(p.into())).into(), READING).unwrap_err();
    assert!(wrong[0].ends_with("3.yml is not UTF-8 text (byte 6)"), "{wrong:?}");
    assert!(wrong[1].contains("gone.yaml: No such file"), "{wrong:?}");
    let empty = tempfile::tempdir().unwrap();
    assert!(
        load(vec![Input::Path(empty.path().into())], READING).unwrap_err()[0]
            .ends_with("or .json file")
    );
}
