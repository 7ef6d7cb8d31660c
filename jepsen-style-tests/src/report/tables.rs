//! Faults, and counts with latencies, as tables.

use super::data::{Is, Run};
use super::markup::{Markup, Text, count, counted, moment, span};
use crate::history::Micros;
use crate::run::FaultEvent;

pub(super) fn write(out: &mut Markup, run: &Run) {
    faults(out, run);
    counts(out, run);
}

fn faults(out: &mut Markup, run: &Run) {
    out.put(format_args!("<section id=\"faults\"><h2>Faults</h2>"));
    if run.faults.is_empty() {
        out.put(format_args!("<p class=\"none\">None was installed.</p></section>\n"));
        return;
    }
    let failed = run.faults.iter().filter(|event| event.failure.is_some()).count();
    out.put(format_args!(
        "<p>{}{}.</p><div class=\"wide\"><table><thead><tr><th>fault</th><th>begun</th>\
         <th>took to install</th><th>in effect for</th><th>healing begun</th><th>took to heal</th>\
         <th></th></tr></thead><tbody>",
        counted(run.faults.len(), "fault"),
        if failed == 0 { String::new() } else { format!(", of which {} failed", count(failed)) },
    ));
    for event in &run.faults {
        fault(out, run, event);
    }
    out.put(format_args!("</tbody></table></div></section>\n"));
}

fn fault(out: &mut Markup, run: &Run, event: &FaultEvent) {
    let between = |from: Option<Micros>, to: Option<Micros>| {
        let took = from.zip(to).map(|(from, to)| to.saturating_sub(from));
        took.map_or_else(|| "–".to_owned(), span)
    };
    let status = match (&event.failure, event.installed, event.healed) {
        (Some(failure), ..) => format!("failed: {failure}"),
        (None, None, _) => "not installed".to_owned(),
        (None, Some(_), None) => "not healed".to_owned(),
        (None, Some(_), Some(_)) => String::new(),
    };
    let in_effect = event.installed.map(|_| event.healing.unwrap_or(run.end));
    out.put(format_args!(
        "<tr class=\"{}\"><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
         <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
        if status.is_empty() { "" } else { "failed" },
        Text(&event.fault.to_string()),
        moment(event.installing),
        between(Some(event.installing), event.installed),
        between(event.installed, in_effect),
        event.healing.map_or_else(|| "–".to_owned(), moment),
        between(event.healing, event.healed),
        Text(&status),
    ));
}

fn counts(out: &mut Markup, run: &Run) {
    out.put(format_args!("<section id=\"counts\"><h2>Counts and latencies</h2>"));
    if run.operations.is_empty() {
        out.put(format_args!("<p class=\"none\">No operation was recorded.</p></section>\n"));
        return;
    }
    out.put(format_args!(
        "<div class=\"wide\"><table><thead><tr><th>class</th><th>outcome</th><th>operations</th>\
         <th>p50</th><th>p90</th><th>p99</th><th>longest</th></tr></thead><tbody>"
    ));
    let classes = run.by(|operation| &operation.class);
    for (class, operations) in &classes {
        for is in Is::ALL {
            let mut took: Vec<Micros> = operations
                .iter()
                .filter(|operation| Is::of(&operation.outcome) == is)
                .map(|operation| operation.end.saturating_sub(operation.start))
                .collect();
            if took.is_empty() {
                continue;
            }
            took.sort_unstable();
            out.put(format_args!(
                "<tr><td>{}</td><td><i class=\"dot {}\"></i>{}</td><td class=\"n\">{}</td>\
                 <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                 <td class=\"n\">{}</td></tr>",
                Text(class),
                is.name(),
                is.name(),
                count(took.len()),
                span(percentile(&took, 50)),
                span(percentile(&took, 90)),
                span(percentile(&took, 99)),
                span(percentile(&took, 100)),
            ));
        }
    }
    out.put(format_args!("</tbody></table></div></section>\n"));
}

/// The smallest value that so many in 100 do not exceed. `sorted` is not empty.
fn percentile(sorted: &[Micros], percent: usize) -> Micros {
    sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
}
