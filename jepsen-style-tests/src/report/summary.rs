//! The head of the page: the verdict, what was run, and how to run it again.

use super::data::{Is, Run};
use super::markup::{Markup, Text, count, moment};
use crate::run::RunRecord;
use crate::verdict::{Ended, Finding};

/// The verdict in a word.
pub(super) fn word(ended: Ended) -> &'static str {
    match ended {
        Ended::Held => "Held",
        Ended::Violated => "Violated",
        Ended::HarnessFailed => "Harness failed",
        Ended::Undecided => "Undecided",
    }
}

fn style(ended: Ended) -> &'static str {
    match ended {
        Ended::Held => "held",
        Ended::Violated => "violated",
        Ended::HarnessFailed => "harness",
        Ended::Undecided => "undecided",
    }
}

fn meaning(ended: Ended) -> &'static str {
    match ended {
        Ended::Held => "Every checker held.",
        Ended::Violated => "Higuma broke a property that it promises.",
        Ended::HarnessFailed => {
            "The harness could not do its part: this run says nothing about Higuma."
        }
        Ended::Undecided => "No checker found a violation, and not all could decide.",
    }
}

pub(super) fn write(out: &mut Markup, run: &Run) {
    let (record, ended) = (&run.record, run.ended());
    out.put(format_args!(
        "<header class=\"{}\"><p class=\"verdict\">{}</p><div><h1>{} <span>under</span> {}</h1>\
         <p>{}</p></div></header>\n",
        style(ended),
        word(ended),
        Text(&record.test),
        Text(&record.nemesis),
        meaning(ended),
    ));
    three(out, run);
    what(out, run);
    out.put(format_args!(
        "<div class=\"replay\"><code id=\"replay\">{}</code>\
         <button type=\"button\" id=\"copy\">Copy</button></div>",
        Text(&record.replay)
    ));
    list(out, "harness", "What the harness could not do", &run.harness_failures);
    list(out, "lacks", "What this page lacks", &run.lacks);
    navigation(out, run);
}

/// The three things that are never mixed, beside each other.
fn three(out: &mut Markup, run: &Run) {
    let of = |wanted: Is| run.operations.iter().filter(|o| Is::of(&o.outcome) == wanted).count();
    let found = |wanted: fn(&Finding) -> bool| {
        run.verdicts.iter().filter(|verdict| wanted(&verdict.finding)).count()
    };
    let failures = run.harness_failures.len();
    out.put(format_args!("<div class=\"three\"><div><h2>Outcomes of operations</h2><p>"));
    for is in Is::ALL {
        figure(out, of(is), is.name(), is.name());
    }
    out.put(format_args!("</p></div><div><h2>Failures of the harness</h2><p>"));
    figure(out, failures, if failures == 0 { "none" } else { "failed" }, "could not be done");
    out.put(format_args!("</p></div><div><h2>Verdicts</h2><p>"));
    figure(out, found(|f| matches!(f, Finding::Held)), "held", "held");
    figure(out, found(|f| matches!(f, Finding::Violated { .. })), "violated", "violated");
    figure(out, found(|f| matches!(f, Finding::Undecided { .. })), "undecided", "undecided");
    out.put(format_args!("</p></div></div>\n"));
}

fn figure(out: &mut Markup, number: usize, style: &str, name: &str) {
    let style = if number == 0 { "none" } else { style };
    out.put(format_args!("<span class=\"figure {style}\"><b>{}</b> {name}</span>", count(number)));
}

fn what(out: &mut Markup, run: &Run) {
    let RunRecord { id, database, seed, seconds, mutant, version, started_at, .. } = &run.record;
    let ended = run.record.ended.map_or_else(|| "not told".to_owned(), moment);
    let healed = run.record.healed.map_or_else(|| "never".to_owned(), moment);
    let rows: [(&str, String); 9] = [
        ("database", database.clone()),
        ("seed", seed.to_string()),
        ("time asked for", format!("{seconds} s")),
        ("all healed at", healed),
        ("ended at", ended),
        ("version", version.clone()),
        ("mutant", mutant.clone().unwrap_or_else(|| "none".to_owned())),
        ("started", started_at.clone()),
        ("run", id.clone()),
    ];
    out.put(format_args!("<dl class=\"figures what\">"));
    for (name, value) in rows {
        let style = if name == "mutant" && mutant.is_some() { " class=\"mutant\"" } else { "" };
        out.put(format_args!("<div{style}><dt>{name}</dt><dd>{}</dd></div>", Text(&value)));
    }
    out.put(format_args!("</dl>\n"));
}

fn list(out: &mut Markup, style: &str, title: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    out.put(format_args!("<div class=\"list {style}\"><h2>{title}</h2><ul>"));
    for item in items {
        out.put(format_args!("<li>{}</li>", Text(item)));
    }
    out.put(format_args!("</ul></div>\n"));
}

fn navigation(out: &mut Markup, run: &Run) {
    out.put(format_args!("<nav>"));
    let operations = ["latency", "availability"];
    for part in ["checkers", "timeline", "latency", "availability", "faults", "counts", "logs"] {
        if !(run.operations.is_empty() && operations.contains(&part)) {
            out.put(format_args!("<a href=\"#{part}\">{part}</a> "));
        }
    }
    out.put(format_args!("</nav>\n"));
}
