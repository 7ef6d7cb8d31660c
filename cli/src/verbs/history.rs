//! `higuma history` and `higuma diff`: what was changed, by whom and why.

use higuma_model::{Key, Scope};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Session, changes};
use crate::args::{DiffArgs, HistoryArgs};
use crate::client::Request;
use crate::failure::Failure;
use crate::output::{self, Format, note, print};

/// Changes of one page.
const PAGE: u32 = 500;

pub(crate) async fn history(args: &HistoryArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection)?;
    let mesh = args.mesh.as_deref().unwrap_or(&session.mesh);
    let request = match (args.kind, &args.name) {
        (Some(kind), Some(name)) => {
            let mesh = if kind.scope() == Scope::Mesh { mesh } else { "" };
            let request = Request::one(Method::GET, &Key::new(kind, mesh, name)).below("_history");
            request.query("type", kind.name())
        }
        (Some(kind), None) if kind.scope() == Scope::Global => {
            Request::get(&["_history"]).query("type", kind.name())
        }
        (Some(kind), None) => {
            Request::get(&["meshes", mesh, "_history"]).query("type", kind.name())
        }
        (None, _) => Request::get(&["meshes", mesh, "_history"]),
    };
    let (items, more, compacted) = newest(&session, &request, args.limit).await?;
    if args.output != Format::Table {
        let shown = json!({"items": items, "compacted": compacted});
        return print(output::value(&shown, args.output)?);
    }
    let rows: Vec<_> = items.iter().flat_map(changes::rows).collect();
    if rows.is_empty() {
        note("there are no changes");
    } else {
        print(output::table(&changes::HEADING, &rows))?;
    }
    if more {
        note("there are older changes: ask for more with --limit");
    } else if compacted > 0 {
        note(format!("changes up to version {compacted} are no longer kept"));
    }
    Ok(())
}

/// The newest changes, whether there are more, and up to which version they are not kept.
async fn newest(
    session: &Session,
    request: &Request,
    limit: u32,
) -> Result<(Vec<Value>, bool, u64), Failure> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut items: Vec<Value> = Vec::new();
    let mut before: Option<String> = None;
    loop {
        let left = limit - items.len();
        let size = left.min(PAGE as usize);
        let mut page = request.clone().query("size", size.to_string());
        if let Some(before) = &before {
            page = page.query("before", before.clone());
        }
        let mut answer = session.client.send(&page).await?.body;
        let Value::Array(found) = answer["items"].take() else {
            let what = request.shown();
            return Err(Failure::refused(format!("{what}: the answer is no history")));
        };
        items.extend(found);
        let compacted = answer["compacted"].as_u64().unwrap_or(0);
        let next = answer["next"].as_str().and_then(|next| reqwest::Url::parse(next).ok());
        let next = next.and_then(|next| {
            let found = next.query_pairs().find(|(key, _)| key == "before");
            found.map(|(_, value)| value.into_owned())
        });
        if next.is_none() || items.len() >= limit {
            return Ok((items, next.is_some(), compacted));
        }
        before = next;
    }
}

pub(crate) async fn diff(args: &DiffArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection)?;
    let mut request = Request::get(&["_diff"]);
    request = request.query("from", &*args.from).query("to", &*args.to);
    if let Some(kind) = args.kind {
        request = request.query("type", kind.name());
    }
    if let Some(name) = &args.name {
        request = request.query("name", &**name);
    }
    let named = args.name.is_some() && args.kind.is_some_and(|kind| kind.scope() == Scope::Mesh);
    match &args.mesh {
        Some(mesh) => request = request.query("mesh", &**mesh),
        None if named => request = request.query("mesh", &*session.mesh),
        None => {}
    }
    let body = session.client.send(&request).await?.body;
    if args.output != Format::Table {
        return print(output::value(&body, args.output)?);
    }
    match body["changes"].as_array() {
        Some(changes) if !changes.is_empty() => print(changes::difference(changes)?),
        _ => {
            note(format!("nothing differs between {} and {}", body["from"], body["to"]));
            Ok(())
        }
    }
}
