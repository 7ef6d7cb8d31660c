//! `higuma apply`: every document read and checked, then all of them as one transaction; or, where
//! it is asked for, as several, or one by one.

mod diff;
mod each;
mod transaction;

use std::io::{IsTerminal as _, stdin};

use higuma_model::{Key, Kind};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::{Session, at_version, shown};
use crate::args::ApplyArgs;
use crate::client::Refused;
use crate::failure::Failure;
use crate::manifest::{self, Loaded, Reading};
use crate::output::{self, Format, note, print};
use transaction::Batch;

/// From how many documents on a progress bar tells something.
const LARGE_SET: usize = 20;

pub(crate) async fn apply(args: &ApplyArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection)?;
    let reading = Reading {
        mesh_flag: args.mesh.as_deref(),
        default_mesh: &session.mesh,
        strict: !args.lenient,
    };
    let unread = |wrong: Vec<String>| {
        let found = wrong.join("\n\n");
        Failure::refused(format!("{found}\n\nNothing was sent."))
    };
    let inputs = manifest::inputs(&args.file).await.map_err(unread)?;
    let mut documents = manifest::load(inputs, reading).map_err(unread)?;
    // Stable: otherwise the order is that of the files.
    documents.sort_by_key(|document| document.key.kind() != Kind::Mesh);
    for (key, warning) in documents.iter().flat_map(|d| d.warnings.iter().map(|w| (&d.key, w))) {
        note(format!("warning: {}: {warning}", shown(key)));
    }
    if args.each {
        return each::apply(&session, args, &documents).await;
    }
    let batches = transaction::batches(&documents);
    match &batches[..] {
        [whole] => one(&session, args, whole).await,
        _ if args.batch => several(&session, args, &batches).await,
        _ => Err(Failure::refused(transaction::too_large(&documents))),
    }
}

/// All documents at one version, or none.
async fn one(session: &Session, args: &ApplyArgs, batch: &Batch<'_>) -> Result<(), Failure> {
    let preview = batch.preview(session, args.lenient).await?;
    let changes = preview.changes();
    if args.dry_run {
        return match args.output {
            Format::Table => print(preview.lines(" (dry run)")),
            format => print(output::value(preview.body(), format)?),
        };
    }
    let mut agreed = None;
    if changes > 0 && !args.yes && stdin().is_terminal() {
        note(preview.lines(""));
        if !confirmed(changes)? {
            return Err(Failure::refused("nothing was changed"));
        }
        agreed = Some(&preview);
    }
    let done = match changes {
        0 => preview.as_done(),
        _ => batch.send(session, args, agreed).await?,
    };
    match args.output {
        Format::Table if agreed.is_some() => print(transaction::lines(&done, None)),
        Format::Table => print(transaction::lines(&done, Some(&preview))),
        format => print(output::value(&done, format)?),
    }
}

/// As many transactions as it takes; the first that is refused ends it.
async fn several(
    session: &Session,
    args: &ApplyArgs,
    batches: &[Batch<'_>],
) -> Result<(), Failure> {
    let total: usize = batches.iter().map(Batch::len).sum();
    let bar = progress(total);
    let mut all = Vec::new();
    let mut done = 0;
    for batch in batches {
        let sent = batch.send(session, args, None).await.map_err(|mut failure| {
            let left = total - done - batch.len();
            failure.message += &format!(
                "\n{done} documents were applied before this transaction of {}; {left} after it \
                 were not sent.",
                batch.len()
            );
            bar.finish_and_clear();
            failure
        })?;
        done += batch.len();
        bar.inc(batch.len() as u64);
        match args.output {
            Format::Table => bar.suspend(|| print(transaction::lines(&sent, None)))?,
            Format::Yaml | Format::Json => all.push(sent),
        }
    }
    bar.finish_and_clear();
    match args.output {
        Format::Table => Ok(()),
        format => print(output::value(&json!({ "transactions": all }), format)?),
    }
}

fn confirmed(changes: usize) -> Result<bool, Failure> {
    let what = if changes == 1 { "this change".to_owned() } else { format!("{changes} changes") };
    note(format!("\nApply {what}? [y/N]"));
    let mut answer = String::new();
    stdin().read_line(&mut answer).map_err(|error| Failure::refused(error.to_string()))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// On stderr, and only on a terminal.
fn progress(documents: usize) -> ProgressBar {
    if documents < LARGE_SET {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(documents as u64), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} documents, {eta} left");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// `created Mesh default (version 12)`.
fn line(result: &str, key: &Key, version: Option<u64>) -> String {
    format!("{result} {}{}", shown(key), at_version(version))
}

/// A refusal of one document with the lines that it is about.
fn explain(document: &Loaded, why: &Refused) -> String {
    if why.fields.is_empty() {
        let text = format!("{}: {}: {}", shown(&document.key), why.title, why.detail);
        return document.finding("", &text);
    }
    let each = |(field, reason): &(String, String)| document.finding(field, reason);
    why.fields.iter().map(each).collect::<Vec<_>>().join("\n\n")
}

/// What the server warns of and this program has not said already.
fn warn(document: &Loaded, said: Option<&Value>) {
    let said = said.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    for warning in said.filter(|warning| !document.warnings.iter().any(|own| own == warning)) {
        note(format!("warning: {}: {warning}", shown(&document.key)));
    }
}
