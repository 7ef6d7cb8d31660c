//! One PUT for each document, in order.

use std::collections::BTreeSet;

use higuma_model::Kind;
use reqwest::Method;
use serde_json::{Value, json};

use super::{explain, line, progress, warn};
use crate::args::ApplyArgs;
use crate::client::{CallError, Request};
use crate::failure::{Exit, Failure};
use crate::manifest::Loaded;
use crate::output::{self, Format, print};
use crate::verbs::Session;

pub(super) async fn apply(
    session: &Session,
    args: &ApplyArgs,
    documents: &[Loaded],
) -> Result<(), Failure> {
    let bar = progress(documents.len());
    let mut results = Vec::new();
    let mut refused = Vec::new();
    let mut lost_meshes = BTreeSet::new();
    for (done, document) in documents.iter().enumerate() {
        bar.inc(1);
        if lost_meshes.contains(document.key.mesh()) {
            refused.push(format!("{}: not sent, since its mesh was refused", document.shown()));
            continue;
        }
        let request = put(document, args.lenient).reason(args.why.reason.clone()).once()?;
        match send(session, document, &request).await {
            Ok((result, version)) => match args.output {
                Format::Table => {
                    bar.suspend(|| print(line(result, &document.key, version)))?;
                }
                Format::Yaml | Format::Json => results.push(shown(document, result, version)),
            },
            Err(CallError::Refused(why)) => {
                if document.key.kind() == Kind::Mesh {
                    lost_meshes.insert(document.key.name());
                }
                refused.push(explain(document, &why));
            }
            Err(error) => {
                let left = documents.len() - done - 1;
                let mut failure = Failure::from(error);
                if left > 0 {
                    failure.message += &format!("\n{left} more documents were not sent.");
                }
                refused.push(failure.message);
                bar.finish_and_clear();
                return Err(Failure::new(failure.exit, refused.join("\n\n")));
            }
        }
    }
    bar.finish_and_clear();
    if args.output != Format::Table {
        print(output::value(&json!({ "operations": results }), args.output)?)?;
    }
    if refused.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Exit::Refused, refused.join("\n\n")))
}

fn put(document: &Loaded, lenient: bool) -> Request {
    let request = Request::one(Method::PUT, &document.key).body(document.body.clone());
    if lenient { request } else { request.query("strict", "true") }
}

/// Sends one document; says what became of it, and at which version.
async fn send(
    session: &Session,
    document: &Loaded,
    request: &Request,
) -> Result<(&'static str, Option<u64>), CallError> {
    let key = &document.key;
    // What one node has is enough to recognise a write that changed nothing: versions only grow.
    // An error here is the next call's to tell.
    let before = Request::one(Method::GET, key).query("consistency", "stale");
    let before = session.client.send(&before).await.ok().and_then(|answer| answer.modified_at);
    let answer = session.client.send(request).await?;
    warn(document, answer.body.get("warnings"));
    let result = if answer.created {
        "created"
    } else if answer.modified_at.is_some() && answer.modified_at == before {
        "unchanged"
    } else {
        "updated"
    };
    Ok((result, answer.version))
}

fn shown(document: &Loaded, result: &str, version: Option<u64>) -> Value {
    let key = &document.key;
    let mut shown = json!({"result": result, "type": key.kind().name()});
    if !key.mesh().is_empty() {
        shown["mesh"] = key.mesh().into();
    }
    shown["name"] = key.name().into();
    shown["version"] = json!(version);
    shown
}
