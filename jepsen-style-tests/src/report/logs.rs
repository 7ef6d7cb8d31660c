//! The logs of all processes, folded, with what was cut.

use serde_json::{Map, Value};

use super::data::{Log, Run};
use super::markup::{Markup, Text, brief, bytes};

pub(super) fn write(out: &mut Markup, run: &Run) {
    out.put(format_args!("<section id=\"logs\"><h2>Logs</h2>"));
    if run.logs.is_empty() {
        out.put(format_args!("<p class=\"none\">No log was kept.</p></section>\n"));
        return;
    }
    out.put(format_args!(
        "<p class=\"search\"><label>Lines that hold <input type=\"search\" id=\"search\" \
         placeholder=\"ERROR\"></label> <span id=\"found\"></span></p>"
    ));
    for log in &run.logs {
        one(out, log);
    }
    out.put(format_args!("</section>\n"));
}

fn one(out: &mut Markup, log: &Log) {
    let lines: Vec<String> = log.text.lines().map(readable).collect();
    let bad = lines.iter().filter(|line| level(line) == "error").count();
    out.put(format_args!(
        "<details class=\"log\"><summary>{} <small>{}{}{}</small></summary>",
        Text(&log.node),
        bytes(log.size),
        if log.cut > 0 {
            format!(", the first {} are left out", bytes(log.cut))
        } else {
            String::new()
        },
        match bad {
            0 => String::new(),
            1 => ", 1 error".to_owned(),
            _ => format!(", {bad} errors"),
        },
    ));
    if log.text.is_empty() {
        out.put(format_args!("<p class=\"none\">It is empty.</p></details>\n"));
        return;
    }
    out.put(format_args!("<pre>"));
    for line in &lines {
        match level(line) {
            "" => out.put(format_args!("<span>{}\n</span>", Text(line))),
            level => out.put(format_args!("<span class=\"{level}\">{}\n</span>", Text(line))),
        }
    }
    out.put(format_args!("</pre></details>\n"));
}

/// A line as a terminal would show it: our processes write JSON into files.
fn readable(line: &str) -> String {
    let fields = serde_json::from_str::<Map<String, Value>>(line).ok();
    let told = fields.and_then(|mut fields| {
        let mut take = |name: &str| fields.shift_remove(name).filter(Value::is_string);
        let (time, level, target) = (take("timestamp")?, take("level")?, take("target")?);
        let message = take("message").unwrap_or_default();
        let (time, level) = (brief(&time), brief(&level));
        let rest = if fields.is_empty() { String::new() } else { brief(&Value::Object(fields)) };
        Some(format!("{time} {level:>5} {}: {} {rest}", brief(&target), brief(&message)))
    });
    told.map_or_else(|| plain(line), |told| told.trim_end().to_owned())
}

/// The style of a line.
fn level(line: &str) -> &'static str {
    let start = &line[..line.floor_char_boundary(80)];
    let says = |word: &str| start.split(|c: char| !c.is_alphabetic()).any(|part| part == word);
    if says("ERROR") || line.contains("panicked at") || says("critical") {
        "error"
    } else if says("WARN") || says("warning") {
        "warn"
    } else {
        ""
    }
}

/// Without the colours that are meant for a terminal.
fn plain(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        let end = after.find(|c: char| c.is_ascii_alphabetic()).map_or(after.len(), |end| end + 1);
        rest = &after[end..];
    }
    plain.push_str(rest);
    plain
}
