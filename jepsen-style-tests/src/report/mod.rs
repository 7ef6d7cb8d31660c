//! One self-contained HTML page for each run, made from the run's folder alone.
//!
//! Drawings are SVG made here; the page's script only copies the command and searches the logs, so
//! a page without scripts, printed, or opened years later shows everything. Nothing is loaded from
//! elsewhere. What is too much to draw is drawn together, and the page says so.

mod availability;
mod data;
mod latency;
mod logs;
mod markup;
mod scale;
mod summary;
mod tables;
mod timeline;
mod verdicts;

use std::path::Path;

use anyhow::Context as _;

use data::Run;
use markup::{Markup, Text};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Writes `report.html` into a run's folder.
///
/// # Errors
/// When the folder holds no `run.json` that can be read, or the page cannot be written. What else is
/// missing is said in the page.
pub(crate) fn render(folder: &Path) -> anyhow::Result<()> {
    let page = page(&Run::load(folder)?);
    let (path, partial) = (folder.join("report.html"), folder.join("report.html.partial"));
    std::fs::write(&partial, page)
        .and_then(|()| std::fs::rename(&partial, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn page(run: &Run) -> String {
    let record = &run.record;
    let title = format!("{} under {}, seed {}", record.test, record.nemesis, record.seed);
    let mut out = Markup::default();
    out.put(format_args!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\
         <title>{}: {}</title><style>{STYLE}</style></head><body>{SYMBOLS}<main>\n",
        Text(summary::word(run.ended())),
        Text(&title),
    ));
    summary::write(&mut out, run);
    verdicts::write(&mut out, run);
    timeline::write(&mut out, run);
    latency::write(&mut out, run);
    availability::write(&mut out, run);
    tables::write(&mut out, run);
    logs::write(&mut out, run);
    out.put(format_args!("</main><script>{SCRIPT}</script></body></html>\n"));
    out.into_string()
}

/// The hatching of faults that are being healed, shared by all drawings.
const SYMBOLS: &str = "<svg width=\"0\" height=\"0\" class=\"symbols\" aria-hidden=\"true\"><defs>\
     <pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
     patternTransform=\"rotate(45)\"><rect width=\"2.5\" height=\"6\" class=\"hatch\"/></pattern>\
     </defs></svg>";

#[cfg(test)]
mod tests;
