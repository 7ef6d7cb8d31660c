//! What each checker found; of a violation its shortest failing history, drawn and listed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::data::{Is, Run};
use super::markup::{Markup, Text, brief, cut, moment, span};
use super::scale::{self, LEFT, RIGHT};
use super::timeline;
use crate::history::{Micros, Operation, Outcome};
use crate::verdict::{Finding, Verdict};

/// More operations than this are not drawn one by one, and more than that not listed.
const MOST_DRAWN: usize = 24;
const MOST_LISTED: usize = 200;
const LANE: f64 = 40.0;
const TOP: f64 = 22.0;

pub(super) fn write(out: &mut Markup, run: &Run) {
    out.put(format_args!("<section id=\"checkers\"><h2>Checkers</h2>"));
    if run.verdicts.is_empty() {
        out.put(format_args!(
            "<p class=\"none\">No checker has spoken: nothing is said about Higuma.</p>"
        ));
    }
    let by_id: BTreeMap<u64, &Operation> =
        run.operations.iter().map(|operation| (operation.id, operation)).collect();
    let mut verdicts: Vec<&Verdict> = run.verdicts.iter().collect();
    verdicts.sort_by_key(|verdict| match verdict.finding {
        Finding::Violated { .. } => 0,
        Finding::Undecided { .. } => 1,
        Finding::Held => 2,
    });
    for verdict in verdicts {
        card(out, run, &by_id, verdict);
    }
    out.put(format_args!("</section>\n"));
}

fn card(out: &mut Markup, run: &Run, by_id: &BTreeMap<u64, &Operation>, verdict: &Verdict) {
    let (style, word, why) = match &verdict.finding {
        Finding::Held => ("held", "held", None),
        Finding::Violated { why, .. } => ("violated", "violated", Some(why)),
        Finding::Undecided { why } => ("undecided", "undecided", Some(why)),
    };
    out.put(format_args!(
        "<article class=\"checker {style}\"><h3><b>{word}</b> {}</h3>",
        Text(&verdict.checker)
    ));
    if let Some(why) = why {
        out.put(format_args!("<p class=\"why\">{}</p>", Text(why)));
    }
    if !verdict.figures.is_empty() {
        out.put(format_args!("<dl class=\"figures\">"));
        for (name, value) in &verdict.figures {
            out.put(format_args!("<div><dt>{}</dt><dd>{}</dd></div>", Text(name), Text(value)));
        }
        out.put(format_args!("</dl>"));
    }
    if let Finding::Violated { operations, .. } = &verdict.finding {
        history(out, run, by_id, operations);
    }
    out.put(format_args!("</article>\n"));
}

/// The operations that show a violation.
fn history(out: &mut Markup, run: &Run, by_id: &BTreeMap<u64, &Operation>, ids: &[u64]) {
    let ids: BTreeSet<u64> = ids.iter().copied().collect();
    let absent: Vec<String> =
        ids.iter().filter(|id| !by_id.contains_key(id)).map(|id| format!("#{id}")).collect();
    let mut operations: Vec<&Operation> =
        ids.iter().filter_map(|id| by_id.get(id).copied()).collect();
    operations.sort_by_key(|operation| (operation.start, operation.id));
    if operations.is_empty() && absent.is_empty() {
        out.put(format_args!("<p class=\"note\">The checker names no operation.</p>"));
        return;
    }
    if !operations.is_empty() {
        draw(out, run, &operations[..operations.len().min(MOST_DRAWN)]);
        list(out, &operations[..operations.len().min(MOST_LISTED)]);
    }
    let mut notes = Vec::new();
    if operations.len() > MOST_DRAWN {
        notes.push(format!("The first {MOST_DRAWN} of {} are drawn.", operations.len()));
    }
    if operations.len() > MOST_LISTED {
        notes.push(format!("The first {MOST_LISTED} are listed; history.jsonl has all."));
    }
    if !absent.is_empty() {
        notes.push(format!("Named, but not in the history: {}.", absent.join(", ")));
    }
    if !notes.is_empty() {
        out.put(format_args!("<p class=\"note\">{}</p>", Text(&notes.join(" "))));
    }
}

/// Begins and ends in their order, the same distance from one to the next: what came before what
/// and what was concurrent is exact, how long it took is written.
struct Order {
    events: Vec<Micros>,
    step: f64,
}

impl Order {
    #[expect(clippy::cast_precision_loss, reason = "few events")]
    fn of(operations: &[&Operation]) -> Self {
        let moments = operations.iter().flat_map(|operation| [operation.start, operation.end]);
        let events: Vec<Micros> = moments.collect::<BTreeSet<_>>().into_iter().collect();
        let step = (RIGHT - LEFT) / (events.len() as f64 + 1.0);
        Self { events, step }
    }

    /// Where a moment lies, between events in proportion.
    #[expect(clippy::cast_precision_loss, reason = "few events")]
    fn x(&self, at: Micros) -> f64 {
        let after = self.events.partition_point(|event| *event < at);
        let place = match (
            after.checked_sub(1).map(|before| self.events[before]),
            self.events.get(after),
        ) {
            (_, Some(event)) if *event == at => after as f64 + 1.0,
            (Some(before), Some(next)) => {
                after as f64 + (at - before) as f64 / (next - before) as f64
            }
            (None, _) => 0.35,
            (Some(_), None) => after as f64 + 0.65,
        };
        LEFT + self.step * place
    }
}

fn draw(out: &mut Markup, run: &Run, operations: &[&Operation]) {
    let clients: BTreeSet<&str> = operations.iter().map(|o| o.client.as_str()).collect();
    let clients: Vec<&str> = clients.into_iter().collect();
    let order = Order::of(operations);
    #[expect(clippy::cast_precision_loss, reason = "few lanes")]
    let lane = |index: usize| TOP + index as f64 * LANE;
    let bottom = lane(clients.len());
    scale::open(out, bottom + 22.0, "the shortest failing history");
    faults(out, run, &order, bottom);
    moments(out, &order, bottom);
    for (index, client) in clients.iter().enumerate() {
        scale::lane_name(out, client, lane(index) + 28.0);
        out.put(format_args!(
            "<path class=\"grid\" d=\"M{LEFT} {:.1}H{RIGHT}\"/>",
            lane(index) + LANE - 0.5
        ));
        for operation in operations.iter().filter(|operation| operation.client == **client) {
            bar(out, &order, operation, lane(index));
        }
    }
    scale::close(out);
    out.put(format_args!(
        "<p class=\"note\">The shortest failing history. Begins and ends stand in their order, not \
         to scale: bars that overlap were concurrent.</p>"
    ));
}

/// Faults that touch the time of the history, as bands behind it.
fn faults(out: &mut Markup, run: &Run, order: &Order, bottom: f64) {
    let (Some(first), Some(last)) = (order.events.first(), order.events.last()) else { return };
    let touching = run.faults.iter().filter(|event| {
        event.installed.is_some()
            && event.installing <= *last
            && scale::until(event, run.end) >= *first
    });
    for (index, event) in touching.take(4).enumerate() {
        let (from, to) = (order.x(event.installing), order.x(scale::until(event, run.end)));
        #[expect(clippy::cast_precision_loss, reason = "few faults")]
        let y = 10.0 + index as f64 * 11.0;
        out.put(format_args!(
            "<rect class=\"shade strong\" x=\"{from:.1}\" y=\"0\" width=\"{:.1}\" height=\"{bottom:.1}\"/>\
             <text class=\"label\" x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
            (to - from).max(2.0),
            from + 3.0,
            Text(&cut(&event.fault.to_string(), 60)),
        ));
    }
}

/// Marks of time, no two closer than a label needs.
fn moments(out: &mut Markup, order: &Order, bottom: f64) {
    let mut free_from = f64::MIN;
    for event in &order.events {
        let x = order.x(*event);
        out.put(format_args!("<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom:.1}\"/>"));
        if x >= free_from {
            out.put(format_args!(
                "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 13.0,
                moment(*event)
            ));
            free_from = x + 62.0;
        }
    }
}

fn bar(out: &mut Markup, order: &Order, operation: &Operation, y: f64) {
    let (from, to) = (order.x(operation.start), order.x(operation.end));
    let text =
        format!("#{} {} → {}", operation.id, brief(&operation.call), outcome(&operation.outcome));
    // A client's next call begins at least one step after the end of this.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few characters")]
    let fits = ((to - from + order.step) / 6.6).max(8.0) as usize;
    out.put(format_args!(
        "<g><title>{}</title><text class=\"call\" x=\"{from:.1}\" y=\"{:.1}\">{}</text>\
         <rect class=\"{}\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\" rx=\"2\"/></g>",
        Text(&timeline::one(operation)),
        y + 15.0,
        Text(&cut(&text, fits)),
        Is::of(&operation.outcome).name(),
        y + 19.0,
        (to - from).max(3.0),
    ));
}

fn list(out: &mut Markup, operations: &[&Operation]) {
    out.put(format_args!(
        "<div class=\"wide\"><table><thead><tr><th>#</th><th>client</th><th>node</th><th>call</th>\
         <th>outcome</th><th>begin</th><th>end</th><th>took</th></tr></thead><tbody>"
    ));
    for operation in operations {
        let Operation { id, client, node, start, end, call, outcome: became, .. } = operation;
        out.put(format_args!(
            "<tr><td class=\"n\">{id}</td><td>{}</td><td>{}</td><td><code>{}</code></td>\
             <td><i class=\"dot {}\"></i><code>{}</code></td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            Text(client),
            Text(node),
            Text(&cut(&brief(call), 2000)),
            Is::of(became).name(),
            Text(&cut(&outcome(became), 2000)),
            moment(*start),
            moment(*end),
            span(end.saturating_sub(*start)),
        ));
    }
    out.put(format_args!("</tbody></table></div>"));
}

/// What became of an operation, in a line.
pub(super) fn outcome(outcome: &Outcome<Value>) -> String {
    match outcome {
        Outcome::Done { answer: Value::Null } => "done".to_owned(),
        Outcome::Done { answer } => brief(answer),
        Outcome::Refused { why } => format!("refused: {why}"),
        Outcome::Unknown { why } => format!("unknown: {why}"),
    }
}
