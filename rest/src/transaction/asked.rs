//! A transaction's body: operations, each a document to put or a name to delete.

use higuma_model::{
    Document, Key, Kind, MAX_OPERATIONS, MAX_VIOLATIONS, Precondition, Scope, Violation, check,
};
use serde_json::{Map, Value};

use super::violation;
use crate::path::not_written_here;

/// One operation that can be read.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) key: Key,
    pub(super) change: Change,
    pub(super) precondition: Option<Precondition>,
}

#[derive(Debug)]
pub(super) enum Change {
    Put { document: Document, warnings: Vec<String> },
    Delete,
}

impl Asked {
    /// Where it stands in the body.
    pub(super) fn place(&self, at: usize) -> String {
        let change = match self.change {
            Change::Put { .. } => "put",
            Change::Delete => "delete",
        };
        format!("operations[{at}].{change}")
    }

    /// For messages.
    pub(super) fn what(&self) -> String {
        self.key.to_string()
    }
}

/// Reads all operations, or says everything that is wrong with any of them.
pub(super) fn parse(body: Value, strict: bool) -> Result<Vec<Asked>, Vec<Violation>> {
    let shape = "must be an array of operations, such as {\"operations\": [{\"put\": {…}}]}";
    let Value::Object(mut fields) = body else {
        return Err(vec![violation("operations", shape)]);
    };
    let Some(Value::Array(operations)) = fields.remove("operations") else {
        return Err(vec![violation("operations", shape)]);
    };
    let mut wrong: Vec<Violation> =
        fields.keys().map(|key| violation(key, "is no field of a transaction")).collect();
    let count = operations.len();
    if count == 0 || count > MAX_OPERATIONS {
        let reason = format!("there are {count}; a transaction has 1 to {MAX_OPERATIONS}");
        wrong.push(violation("operations", reason));
        return Err(wrong);
    }
    let mut all = Vec::with_capacity(count);
    for (at, operation) in operations.into_iter().enumerate() {
        match one(operation, strict) {
            Ok(asked) => all.push(asked),
            Err(found) => wrong.extend(found.into_iter().map(|finding| Violation {
                field: match &*finding.field {
                    "" => format!("operations[{at}]"),
                    field => format!("operations[{at}].{field}"),
                },
                ..finding
            })),
        }
    }
    if wrong.len() > MAX_VIOLATIONS {
        let more = wrong.len() - MAX_VIOLATIONS;
        wrong.truncate(MAX_VIOLATIONS);
        wrong.push(violation("", format!("{more} more problems are not listed")));
    }
    if wrong.is_empty() { Ok(all) } else { Err(wrong) }
}

fn one(operation: Value, strict: bool) -> Result<Asked, Vec<Violation>> {
    let Value::Object(mut fields) = operation else {
        return Err(vec![violation("", "an operation is a JSON object")]);
    };
    let (put, delete) = (fields.remove("put"), fields.remove("delete"));
    let mut wrong = Vec::new();
    let precondition = precondition(&mut fields, delete.is_some(), &mut wrong);
    wrong.extend(fields.keys().map(|key| violation(key, "is no field of an operation")));
    let change = match (put, delete) {
        (Some(document), None) => put_of(document, strict),
        (None, Some(name)) => named(name),
        _ => Err(vec![violation("", "must have either put or delete")]),
    };
    match (change, wrong.is_empty()) {
        (Ok((key, change)), true) => Ok(Asked { key, change, precondition }),
        (Ok(_), false) => Err(wrong),
        (Err(found), _) => Err(found.into_iter().chain(wrong).collect()),
    }
}

fn put_of(document: Value, strict: bool) -> Result<(Key, Change), Vec<Violation>> {
    let within = |found: Vec<Violation>| below("put", found);
    let document = Document::parse(document).map_err(within)?;
    if let Some(why) = not_written_here(document.kind) {
        return Err(within(vec![violation("type", why)]));
    }
    let warnings = check(&document, strict).map_err(within)?.warnings;
    Ok((document.key(), Change::Put { document, warnings }))
}

/// `{"type": …, "mesh": …, "name": …}`; the mesh is said, so that none is meant by mistake.
fn named(name: Value) -> Result<(Key, Change), Vec<Violation>> {
    let mut wrong = Vec::new();
    let Value::Object(mut fields) = name else {
        return Err(vec![violation("delete", "must be an object of type, mesh and name")]);
    };
    let mut text = |name: &str| match fields.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let (kind, mesh, name) = (text("type"), text("mesh"), text("name"));
    wrong.extend(fields.keys().map(|key| violation(key, "is no field of what is deleted")));
    let kind = match kind.map(|kind| kind.parse::<Kind>()) {
        Some(Ok(kind)) => kind,
        Some(Err(unknown)) => {
            return Err(below("delete", vec![violation("type", unknown.to_string())]));
        }
        None => return Err(below("delete", vec![violation("type", "must be the type's name")])),
    };
    if let Some(why) = not_written_here(kind) {
        wrong.push(violation("type", why));
    }
    let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| {
        wrong.push(violation("name", "must be the resource's name"));
        String::new()
    });
    let mesh = mesh.unwrap_or_default();
    match (kind.scope(), mesh.is_empty()) {
        (Scope::Mesh, true) => wrong.push(violation("mesh", "must be the resource's mesh")),
        (Scope::Global, false) => wrong.push(violation("mesh", format!("a {kind} is in no mesh"))),
        _ => {}
    }
    if wrong.is_empty() {
        return Ok((Key::new(kind, &mesh, &name), Change::Delete));
    }
    Err(below("delete", wrong))
}

/// `ifMatch`: the version of the resource's last change, as a number or as its ETag; `ifAbsent`.
fn precondition(
    fields: &mut Map<String, Value>,
    deletes: bool,
    wrong: &mut Vec<Violation>,
) -> Option<Precondition> {
    let (matches, absent) = (fields.remove("ifMatch"), fields.remove("ifAbsent"));
    if matches.is_some() && absent.is_some() {
        wrong.push(violation("ifMatch", "can't be given together with ifAbsent"));
    }
    let absent = match absent {
        None | Some(Value::Bool(false)) => None,
        Some(Value::Bool(true)) if deletes => {
            wrong.push(violation("ifAbsent", "what is absent can't be deleted"));
            None
        }
        Some(Value::Bool(true)) => Some(Precondition::Absent),
        Some(_) => {
            wrong.push(violation("ifAbsent", "must be true or false"));
            None
        }
    };
    let version = match matches {
        None => return absent,
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(tag)) => tag.trim_matches('"').parse().ok(),
        Some(_) => None,
    };
    if version.is_none() {
        let reason = "must be the version of the resource's last change: a number, or its ETag";
        wrong.push(violation("ifMatch", reason));
    }
    version.map(Precondition::Version)
}

fn below(field: &str, found: Vec<Violation>) -> Vec<Violation> {
    let under = |violation: Violation| Violation {
        field: match &*violation.field {
            "" => field.to_owned(),
            inner => format!("{field}.{inner}"),
        },
        ..violation
    };
    found.into_iter().map(under).collect()
}
