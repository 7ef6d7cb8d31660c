//! Operations and faults on one timeline: a row for each fault that overlaps others, a lane for
//! each client, and the run's phases.

use super::data::{Is, Run};
use super::markup::{Markup, Text, brief, count, counted, cut, moment, span};
use super::scale::{self, LEFT, RIGHT, TimeScale};
use crate::history::{Micros, Operation};
use crate::run::FaultEvent;

/// Lanes drawn; more would be thinner than a line on a screen.
const MOST_LANES: usize = 64;
const PHASES: f64 = 22.0;
const FAULT_ROW: f64 = 17.0;
const LANE: f64 = 15.0;
/// Characters of a fault's label, and how wide one is.
const LABEL: usize = 46;
const LETTER: f64 = 5.6;

pub(super) fn write(out: &mut Markup, run: &Run) {
    out.put(format_args!("<section id=\"timeline\"><h2>Timeline</h2>"));
    if run.operations.is_empty() && run.faults.is_empty() {
        out.put(format_args!("<p class=\"none\">Nothing was done.</p></section>\n"));
        return;
    }
    let named = run.named();
    let (lanes, left_out) = lanes(run, &named);
    let rows = fault_rows(&run.faults, run.end);
    let row_count = rows.iter().max().map_or(0, |row| row + 1);
    let (faults_top, lanes_top) = (PHASES + 4.0, PHASES + 12.0 + height(row_count, FAULT_ROW));
    let bottom = lanes_top + height(lanes.len(), LANE) + 2.0;
    legend(out);
    scale::open(out, bottom + 20.0, "operations and faults over time");
    let time = TimeScale::of(run);
    phases(out, run, bottom);
    scale::time_axis(out, time, PHASES, bottom);
    scale::backdrop(out, run, lanes_top - 4.0, bottom);
    if row_count > 0 {
        scale::lane_name(out, "faults", faults_top + 12.0);
    }
    for (event, row) in run.faults.iter().zip(rows) {
        fault(out, run, event, faults_top + height(row, FAULT_ROW));
    }
    let mut drawn = 0;
    for (index, (client, operations)) in lanes.iter().enumerate() {
        drawn += lane(out, time, (client, operations), lanes_top + height(index, LANE));
        marks(out, time, operations, (&named, lanes_top + height(index, LANE)));
    }
    scale::close(out);
    let operations: usize = lanes.iter().map(|(_, operations)| operations.len()).sum();
    note(out, time, (operations, drawn), left_out);
    out.put(format_args!("</section>\n"));
}

#[expect(clippy::cast_precision_loss, reason = "few rows")]
fn height(rows: usize, each: f64) -> f64 {
    rows as f64 * each
}

type Lane<'a> = (&'a str, Vec<&'a Operation>);

/// The lanes that are drawn, and the clients that are not: those of operations that a checker names
/// come first.
fn lanes<'a>(run: &'a Run, named: &[u64]) -> (Vec<Lane<'a>>, usize) {
    let mut lanes = run.by(|operation| &operation.client);
    let all = lanes.len();
    if all > MOST_LANES {
        let is_named = |operation: &&Operation| named.binary_search(&operation.id).is_ok();
        lanes.sort_by_key(|(_, operations)| !operations.iter().any(is_named));
        lanes.truncate(MOST_LANES);
    }
    let left_out = all - lanes.len();
    (lanes, left_out)
}

/// The row of each fault: the first in which nothing else is drawn at that time.
pub(super) fn fault_rows(faults: &[FaultEvent], end: Micros) -> Vec<usize> {
    let mut order: Vec<usize> = (0..faults.len()).collect();
    order.sort_by_key(|index| faults[*index].installing);
    let mut rows = vec![0; faults.len()];
    let mut free_from: Vec<Micros> = Vec::new();
    for index in order {
        let event = &faults[index];
        let row = free_from.iter().position(|free| *free <= event.installing);
        let row = row.unwrap_or_else(|| {
            free_from.push(0);
            free_from.len() - 1
        });
        // A label needs room even where its fault is short.
        free_from[row] = scale::until(event, end).max(event.installing + label_micros(event, end));
        rows[index] = row;
    }
    rows
}

/// How much time a fault's label covers.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place in a drawing"
)]
fn label_micros(event: &FaultEvent, end: Micros) -> Micros {
    let letters = event.fault.to_string().chars().count().min(LABEL) + 2;
    (letters as f64 * LETTER / (RIGHT - LEFT) * end as f64) as Micros
}

fn phases(out: &mut Markup, run: &Run, bottom: f64) {
    let time = TimeScale::of(run);
    let parts = match run.record.healed {
        Some(healed) => vec![("run", 0, healed), ("healed: recovery and finish", healed, run.end)],
        None => vec![("run (faults were never all healed)", 0, run.end)],
    };
    for (index, (name, from, to)) in parts.into_iter().enumerate() {
        let (x, width) = (time.x(from), time.x(to) - time.x(from));
        let anchor_left = x + 5.0 < RIGHT - 170.0;
        let (at, anchor) = if anchor_left { (x + 6.0, "start") } else { (x - 5.0, "end") };
        out.put(format_args!(
            "<rect class=\"phase p{index}\" x=\"{x:.1}\" y=\"2\" width=\"{width:.1}\" \
             height=\"16\"><title>{name}: {} to {}</title></rect>\
             <text class=\"phase\" x=\"{at:.1}\" y=\"14\" text-anchor=\"{anchor}\">{name}</text>",
            moment(from),
            moment(to),
        ));
    }
    if let Some(healed) = run.record.healed {
        let x = time.x(healed);
        out.put(format_args!("<path class=\"healed\" d=\"M{x:.1} 2V{bottom:.1}\"/>"));
    }
}

/// A fault's band: rising while it is installed, full while in effect, hatched while it is healed.
fn fault(out: &mut Markup, run: &Run, event: &FaultEvent, y: f64) {
    let time = TimeScale::of(run);
    let name = cut(&event.fault.to_string(), LABEL);
    let start = time.x(event.installing);
    out.put(format_args!("<g class=\"fault\"><title>{}</title>", Text(&told(event))));
    let box_height = FAULT_ROW - 3.0;
    if let Some(installed) = event.installed {
        let (full, healing) = (time.x(installed), time.x(event.healing.unwrap_or(run.end)));
        let over = time.x(scale::until(event, run.end)).max(start + 2.0);
        let low = y + box_height;
        out.put(format_args!(
            "<path class=\"band\" d=\"M{start:.1} {low:.1}L{full:.1} {y:.1}H{:.1}V{low:.1}Z\"/>",
            healing.max(full + 1.0),
        ));
        if event.healing.is_some() && over > healing {
            out.put(format_args!(
                "<rect class=\"healing\" x=\"{healing:.1}\" y=\"{y:.1}\" width=\"{:.1}\" \
                 height=\"{box_height}\"/>",
                over - healing
            ));
        }
        out.put(format_args!(
            "<path class=\"edge\" d=\"M{full:.1} {y:.1}V{low:.1}M{over:.1} {y:.1}V{low:.1}\"/>"
        ));
    }
    let failed = if event.failure.is_some() { "✖ " } else { "" };
    let anchor_left = start < RIGHT - 200.0;
    let (at, anchor) = if anchor_left { (start + 4.0, "start") } else { (start - 4.0, "end") };
    out.put(format_args!(
        "<text class=\"{}\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{failed}{}</text></g>",
        if event.failure.is_some() { "label failed" } else { "label" },
        y + 11.0,
        Text(&name),
    ));
}

/// Everything about a fault, in a tooltip.
fn told(event: &FaultEvent) -> String {
    let at = |moment_of: Option<Micros>| moment_of.map_or_else(|| "never".to_owned(), moment);
    let mut text = format!(
        "{}\ninstalling {}, in effect {}, healing {}, healed {}",
        event.fault,
        moment(event.installing),
        at(event.installed),
        at(event.healing),
        at(event.healed)
    );
    if let Some(failure) = &event.failure {
        text.push_str("\nfailed: ");
        text.push_str(failure);
    }
    text
}

/// Operations of a lane that touch in the drawing and have the same outcome: one bar.
struct Bar<'a> {
    columns: (usize, usize),
    is: Is,
    /// Those that start in it. One whose start is hidden by a worse one counts there.
    operations: Vec<&'a Operation>,
}

/// Fills the columns of the drawing; where outcomes meet in one, the worst is seen.
fn bars<'a>(time: TimeScale, operations: &[&'a Operation]) -> Vec<Bar<'a>> {
    let mut columns: Vec<Option<Is>> = vec![None; time.columns()];
    let mut starts: Vec<Vec<&Operation>> = vec![Vec::new(); time.columns()];
    for operation in operations {
        let is = Is::of(&operation.outcome);
        let (from, to) = (time.column(operation.start), time.column(operation.end));
        starts[from].push(operation);
        for column in &mut columns[from..=to.max(from)] {
            *column = (*column).max(Some(is));
        }
    }
    let mut bars: Vec<Bar<'_>> = Vec::new();
    for (column, (is, starting)) in columns.into_iter().zip(starts).enumerate() {
        let Some(is) = is else { continue };
        match bars.last_mut() {
            Some(bar) if bar.is == is && bar.columns.1 + 1 == column => {
                bar.columns.1 = column;
                bar.operations.extend(starting);
            }
            _ => bars.push(Bar { columns: (column, column), is, operations: starting }),
        }
    }
    bars
}

/// Draws a lane and answers with how many bars.
fn lane(
    out: &mut Markup,
    time: TimeScale,
    (client, operations): (&str, &[&Operation]),
    y: f64,
) -> usize {
    scale::lane_name(out, client, y + LANE - 4.0);
    out.put(format_args!("<path class=\"grid\" d=\"M{LEFT} {:.1}H{RIGHT}\"/>", y + LANE - 0.5));
    let bars = bars(time, operations);
    for bar in &bars {
        let (mut x, mut to) =
            (LEFT + height(bar.columns.0, 1.0), LEFT + height(bar.columns.1 + 1, 1.0));
        if let [only] = bar.operations[..] {
            (x, to) = (time.x(only.start).max(x), time.x(only.end).min(to));
        }
        out.put(format_args!(
            "<rect class=\"{}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\">\
             <title>{}</title></rect>",
            bar.is.name(),
            y + 2.0,
            (to - x).max(1.2),
            LANE - 4.0,
            Text(&tip(bar)),
        ));
    }
    bars.len()
}

fn tip(bar: &Bar<'_>) -> String {
    match &bar.operations[..] {
        [] => bar.is.name().to_owned(),
        [only] => one(only),
        [first, .., last] => format!(
            "{} (#{} to #{}), {} to {}; the worst of them: {}",
            counted(bar.operations.len(), "operation"),
            first.id,
            last.id,
            moment(first.start),
            moment(last.end),
            bar.is.name(),
        ),
    }
}

/// An operation in a tooltip.
pub(super) fn one(operation: &Operation) -> String {
    format!(
        "#{} {} at {}: {} → {}\n{} to {} ({})",
        operation.id,
        operation.client,
        operation.node,
        cut(&brief(&operation.call), 200),
        cut(&super::verdicts::outcome(&operation.outcome), 200),
        moment(operation.start),
        moment(operation.end),
        span(operation.end.saturating_sub(operation.start)),
    )
}

/// Marks the operations that a checker names.
fn marks(out: &mut Markup, time: TimeScale, operations: &[&Operation], (named, y): (&[u64], f64)) {
    for operation in operations.iter().filter(|o| named.binary_search(&o.id).is_ok()) {
        let x = time.x(operation.start);
        out.put(format_args!(
            "<path class=\"named\" d=\"M{:.1} {:.1}h8l-4 6z\"><title>{}</title></path>",
            x - 4.0,
            y - 2.0,
            Text(&one(operation)),
        ));
    }
}

fn legend(out: &mut Markup) {
    out.put(format_args!(
        "<p class=\"legend\"><span><i class=\"done\"></i>done</span>\
         <span><i class=\"refused\"></i>refused: certainly no effect</span>\
         <span><i class=\"unknown\"></i>unknown: may have its effect</span>\
         <span><i class=\"band\"></i>fault in effect</span>\
         <span><i class=\"healing\"></i>being healed</span>\
         <span><i class=\"healed\"></i>all healed</span>\
         <span><b class=\"named\">▼</b>named by a checker</span></p>"
    ));
}

fn note(out: &mut Markup, time: TimeScale, (operations, bars): (usize, usize), left_out: usize) {
    out.put(format_args!(
        "<p class=\"note\">{} drawn as {}; a column is {}. What falls into one column is drawn \
         together, in the colour of the worst outcome in it; hover for details.",
        counted(operations, "operation"),
        counted(bars, "bar"),
        span(time.column_micros()),
    ));
    if left_out > 0 {
        out.put(format_args!(" {} more clients are not drawn.", count(left_out)));
    }
    out.put(format_args!("</p>"));
}
