//! `higuma apply`: every document read and checked, then one PUT each, in order.

use std::collections::BTreeSet;
use std::path::Path;

use higuma_model::Kind;
use reqwest::Method;

use super::{Session, at_version, shown};
use crate::args::ApplyArgs;
use crate::client::{Answer, CallError, Refused, Request};
use crate::failure::{Exit, Failure};
use crate::manifest::{self, Loaded, Reading};
use crate::output::{note, print};

pub(crate) async fn apply(args: &ApplyArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection)?;
    let paths: Vec<&Path> = args.file.iter().map(AsRef::as_ref).collect();
    let reading = Reading {
        mesh_flag: args.mesh.as_deref(),
        default_mesh: &session.mesh,
        strict: !args.lenient,
    };
    let documents = manifest::load(&paths, reading).map_err(|wrong| {
        let found = wrong.join("\n\n");
        Failure::refused(format!("{found}\n\nNothing was sent."))
    })?;
    let mut refused = Vec::new();
    let mut lost_meshes = BTreeSet::new();
    for (done, document) in documents.iter().enumerate() {
        if lost_meshes.contains(document.key.mesh()) {
            refused.push(format!("{}: not sent, since its mesh was refused", document.shown()));
            continue;
        }
        match put(&session, document, args).await {
            Ok(line) => print(line)?,
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
                return Err(Failure::new(failure.exit, refused.join("\n\n")));
            }
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Exit::Refused, refused.join("\n\n")))
}

/// Sends one document; says what became of it.
async fn put(session: &Session, document: &Loaded, args: &ApplyArgs) -> Result<String, CallError> {
    let key = &document.key;
    // What one node has is enough to recognise a write that changed nothing: versions only grow.
    // An error here is the next call's to tell.
    let before = Request::one(Method::GET, key).query("consistency", "stale");
    let before = session.client.send(&before).await.ok().and_then(|answer| answer.modified_at);
    let mut request = Request::one(Method::PUT, key).body(document.body.clone());
    request = request.reason(args.why.reason.clone());
    if !args.lenient {
        request = request.query("strict", "true");
    }
    let answer = session.client.send(&request).await?;
    for warning in warnings(document, &answer) {
        note(format!("warning: {}: {warning}", shown(key)));
    }
    let what = if answer.created {
        "created"
    } else if answer.modified_at.is_some() && answer.modified_at == before {
        "unchanged"
    } else {
        "configured"
    };
    Ok(format!("{what} {}{}", shown(key), at_version(answer.version)))
}

/// What the server warns of, and what this program knows and the server does not say.
fn warnings(document: &Loaded, answer: &Answer) -> Vec<String> {
    let said = answer.body.get("warnings").and_then(|warnings| warnings.as_array());
    let said = said.into_iter().flatten().filter_map(|warning| warning.as_str());
    let mut warnings: Vec<String> = said.map(str::to_owned).collect();
    for own in &document.warnings {
        if !warnings.contains(own) {
            warnings.push(own.clone());
        }
    }
    warnings
}

/// A refusal with the lines that it is about.
fn explain(document: &Loaded, why: &Refused) -> String {
    if why.fields.is_empty() {
        let text = format!("{}: {}: {}", shown(&document.key), why.title, why.detail);
        return document.finding("", &text);
    }
    let each = |(field, reason): &(String, String)| document.finding(field, reason);
    why.fields.iter().map(each).collect::<Vec<_>>().join("\n\n")
}
