//! `higuma rollback`: what was there at a version, written as a new one.

use std::io::{IsTerminal as _, stdin};

use higuma_model::{Key, Kind, Scope};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Session, at_version, changes};
use crate::args::RollbackArgs;
use crate::client::{Answer, Request};
use crate::failure::Failure;
use crate::output::{self, Format, note, print};

pub(crate) async fn rollback(args: &RollbackArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection)?;
    let mesh = args.mesh.as_deref().unwrap_or(&session.mesh);
    let mut request = Request::get(&["_diff"]).query("to", &*args.to);
    let what = match (args.kind, &args.name) {
        (Some(kind), Some(name)) => {
            request = request.query("type", kind.name()).query("name", &**name);
            let mesh = if kind.scope() == Scope::Mesh { mesh } else { "" };
            super::shown(&Key::new(kind, mesh, name))
        }
        _ => format!("mesh {mesh}"),
    };
    if args.kind.is_none_or(|kind| kind.scope() == Scope::Mesh) {
        request = request.query("mesh", mesh);
    }
    // From now to then: its values are what is to be written.
    let difference = session.client.send(&request).await?.body;
    let edits = difference["changes"].as_array().cloned().unwrap_or_default();
    let to = &difference["to"];
    if edits.is_empty() {
        return print(format!("{what} is as it was at version {to}: nothing to do"));
    }
    if args.output == Format::Table {
        print(changes::difference(&edits)?)?;
    }
    let mut result = difference.clone();
    if args.dry_run || !confirmed(args, &what, to)? {
        return match args.output {
            Format::Table => print("nothing was changed"),
            format => print(output::value(&result, format)?),
        };
    }
    let reason = match &args.why.reason {
        Some(reason) => reason.clone(),
        None => format!("rollback to version {to}"),
    };
    let answer = write(&session, &edits, reason).await?;
    result["version"] = json!(answer.version);
    match args.output {
        Format::Table => {
            let at = at_version(answer.version);
            print(format!("rolled back {what} to what it was at version {to}{at}"))
        }
        format => print(output::value(&result, format)?),
    }
}

/// Writes all of it at once, if it is still what was shown.
async fn write(session: &Session, edits: &[Value], reason: String) -> Result<Answer, Failure> {
    let request = match edits {
        [edit] => single(edit),
        edits => Request::post(&["_transactions"], json!({"operations": operations(edits)})),
    };
    Ok(session.client.send(&request.reason(Some(reason)).once()?).await?)
}

fn single(edit: &Value) -> Request {
    let key = key(edit);
    let (value, version) = (&edit["value"], &edit["previousVersion"]);
    let request = match value.is_null() {
        true => Request::one(Method::DELETE, &key),
        false => Request::one(Method::PUT, &key).body(changes::plain(value)),
    };
    match version.as_u64() {
        Some(version) => request.header("if-match", format!("\"{version}\"")),
        None => request.header("if-none-match", "*"),
    }
}

/// The operations of a transaction: what is in a Mesh that goes, goes with it.
fn operations(edits: &[Value]) -> Vec<Value> {
    let is_mesh = |edit: &&Value| edit["type"] == Kind::Mesh.name();
    let goes = |edit: &Value| edit["value"].is_null();
    let gone: Vec<&Value> = edits.iter().filter(is_mesh).filter(|edit| goes(edit)).collect();
    let with_mesh = |edit: &&Value| gone.iter().any(|mesh| mesh["name"] == edit["mesh"]);
    // By kind: a Mesh comes before what is in it.
    let left = edits.iter().filter(|edit| !with_mesh(edit));
    left.map(|edit| {
        let mut operation = match goes(edit) {
            false => json!({"put": changes::plain(&edit["value"])}),
            true => {
                let mut named = json!({"type": edit["type"], "name": edit["name"]});
                if edit.get("mesh").is_some() {
                    named["mesh"] = edit["mesh"].clone();
                }
                json!({"delete": named})
            }
        };
        match edit["previousVersion"].as_u64() {
            Some(version) => operation["ifMatch"] = version.into(),
            None => operation["ifAbsent"] = true.into(),
        }
        operation
    })
    .collect()
}

fn key(edit: &Value) -> Key {
    let text = |name: &str| edit[name].as_str().unwrap_or_default();
    let kind = text("type").parse().unwrap_or(Kind::Mesh);
    Key::new(kind, text("mesh"), text("name"))
}

/// Asks whoever sits at the terminal.
fn confirmed(args: &RollbackArgs, what: &str, to: &Value) -> Result<bool, Failure> {
    if args.yes {
        return Ok(true);
    }
    if !stdin().is_terminal() {
        return Err(Failure::refused(
            "nothing was changed: there is no terminal to ask. Look at the difference above or \
             with --dry-run; then give the same command with --yes",
        ));
    }
    note(format!("Roll {what} back to version {to}? [y/N]"));
    let mut answer = String::new();
    stdin().read_line(&mut answer).map_err(|error| Failure::refused(error.to_string()))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mesh_that_goes_takes_what_is_in_it() {
        let mesh = |name: &str, value: Value| json!({"type": "Mesh", "name": name, "value": value, "previousVersion": 4});
        let policy = |mesh: &str| {
            json!({"type": "TrafficRoute", "mesh": mesh, "name": "r", "value": null,
                "previousVersion": 5})
        };
        let edits = [mesh("a", Value::Null), policy("a"), policy("b")];
        let operations = operations(&edits);
        assert_eq!(operations.len(), 2);
        assert_eq!(operations[0], json!({"delete": {"type": "Mesh", "name": "a"}, "ifMatch": 4}));
        assert_eq!(operations[1]["delete"]["mesh"], "b");
        let comes = json!({"type": "Mesh", "name": "c", "previousVersion": null,
            "value": {"type": "Mesh", "name": "c", "creationTime": "2026-01-31T14:00:00.000Z"}});
        let put = super::operations(&[comes, policy("b")]);
        assert_eq!(put[0], json!({"put": {"type": "Mesh", "name": "c"}, "ifAbsent": true}));
    }
}
