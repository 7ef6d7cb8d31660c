//! Availability: what was answered in each second, by class, and where nothing succeeded.

use std::fmt::Write as _;

use super::data::{Is, Run};
use super::latency::{FEWEST, classes, left_out_note};
use super::markup::{Markup, Text, count, counted, moment, span};
use super::scale::{self, LEFT, RIGHT, TimeScale};
use crate::history::{Micros, Operation};

const SECOND: Micros = 1_000_000;
/// Bars in a panel; a longer run has bars of more than a second.
const MOST_BARS: Micros = 360;
/// A gap is this long at least, and this many times the usual distance of two successes: some
/// classes are seldom by design.
const LEAST_GAP: Micros = SECOND;
const USUAL_DISTANCES: Micros = 10;
const PANEL: f64 = 64.0;
const GAP: f64 = 16.0;

pub(super) fn write(out: &mut Markup, run: &Run) {
    let (mut classes, left_out) = classes(run);
    classes.retain(|(_, operations)| operations.len() >= FEWEST);
    if classes.is_empty() {
        return;
    }
    out.put(format_args!(
        "<section id=\"availability\"><h2>Availability</h2><p class=\"legend\">\
         <span><i class=\"done\"></i>done per second</span><span><i class=\"refused\"></i>refused\
         </span><span><i class=\"unknown\"></i>unknown</span>\
         <span><i class=\"gap\"></i>nothing succeeded</span>\
         <span><i class=\"shade\"></i>some fault</span></p>"
    ));
    #[expect(clippy::cast_precision_loss, reason = "few panels")]
    let top = |index: usize| 10.0 + index as f64 * (PANEL + GAP);
    let bottom = top(classes.len()) - GAP;
    scale::open(out, bottom + 20.0, "operations per second");
    scale::time_axis(out, TimeScale::of(run), 10.0, bottom);
    let mut found = Vec::new();
    for (index, (class, operations)) in classes.iter().enumerate() {
        scale::backdrop(out, run, top(index), top(index) + PANEL);
        let gaps = gaps(operations);
        panel(out, run, (class, operations), (top(index), &gaps));
        found.push((*class, gaps));
    }
    scale::close(out);
    out.put(format_args!(
        "<p class=\"note\">A bar is {}. A gap is at least {} and {USUAL_DISTANCES} times the usual \
         distance of two successes of its class.{}</p>",
        span(bar_micros(run.end)),
        span(LEAST_GAP).replace(".00", ""),
        left_out_note(left_out),
    ));
    gap_table(out, &found);
    out.put(format_args!("</section>\n"));
}

fn bar_micros(end: Micros) -> Micros {
    scale::nice(end / MOST_BARS).max(SECOND)
}

/// Spans without a success, from the first call to the last end.
fn gaps(operations: &[&Operation]) -> Vec<(Micros, Micros)> {
    let mut successes: Vec<Micros> = operations
        .iter()
        .filter(|operation| Is::of(&operation.outcome) == Is::Done)
        .map(|operation| operation.end)
        .collect();
    successes.sort_unstable();
    let mut distances: Vec<Micros> = successes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    distances.sort_unstable();
    let usual = distances.get(distances.len() / 2).copied().unwrap_or(0);
    let least = LEAST_GAP.max(usual * USUAL_DISTANCES);
    let begin = operations.iter().map(|operation| operation.start).min();
    let end = operations.iter().map(|operation| operation.end).max();
    let edges: Vec<Micros> = begin.into_iter().chain(successes).chain(end).collect();
    edges.windows(2).filter(|pair| pair[1] - pair[0] >= least).map(|p| (p[0], p[1])).collect()
}

fn panel(
    out: &mut Markup,
    run: &Run,
    (class, operations): (&str, &[&Operation]),
    (top, gaps): (f64, &[(Micros, Micros)]),
) {
    let time = TimeScale::of(run);
    let each = bar_micros(run.end);
    let bins = bins(operations, run.end, each);
    let most = bins.iter().map(|bin| bin.iter().sum::<usize>()).max().unwrap_or(1).max(1);
    scale::lane_name(out, class, top + 11.0);
    #[expect(clippy::cast_precision_loss, reason = "a label")]
    let rate = most as f64 / (each as f64 / 1e6);
    out.put(format_args!(
        "<rect class=\"frame\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{PANEL}\"/>\
         <text class=\"tick\" x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">max {} / s</text>",
        RIGHT - LEFT,
        LEFT - 6.0,
        top + 25.0,
        rate_text(rate),
    ));
    for (from, to) in gaps {
        let (x, width) = (time.x(*from), time.x(*to) - time.x(*from));
        out.put(format_args!(
            "<rect class=\"gap\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\">\
             <title>no {} succeeded for {}, from {}</title></rect>",
            top - 5.0,
            PANEL + 5.0,
            Text(class),
            span(to - from),
            moment(*from),
        ));
    }
    for is in Is::ALL {
        let mut path = String::new();
        for (bin, counts) in bins.iter().enumerate() {
            bar(&mut path, time, (bin as Micros * each, each), (counts, is, most, top));
        }
        if !path.is_empty() {
            out.put(format_args!("<path class=\"{}\" d=\"{path}\"/>", is.name()));
        }
    }
}

fn rate_text(rate: f64) -> String {
    if rate < 10.0 {
        return format!("{rate:.1}");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a label")]
    count(rate.round() as usize)
}

/// Operations that ended in each bar, by outcome.
fn bins(operations: &[&Operation], end: Micros, each: Micros) -> Vec<[usize; 3]> {
    let index = |at: Micros| usize::try_from(at.min(end) / each).unwrap_or(0);
    let mut bins = vec![[0; 3]; index(end) + 1];
    for operation in operations {
        bins[index(operation.end)][Is::of(&operation.outcome) as usize] += 1;
    }
    bins
}

/// A part of a stacked bar.
#[expect(clippy::cast_precision_loss, reason = "a place in a drawing")]
fn bar(
    path: &mut String,
    time: TimeScale,
    (from, each): (Micros, Micros),
    (counts, is, most, top): (&[usize; 3], Is, usize, f64),
) {
    let own = counts[is as usize];
    if own == 0 {
        return;
    }
    let below: usize = counts[..is as usize].iter().sum();
    let tall = |number: usize| PANEL * number as f64 / most as f64;
    let (x, to) = (time.x(from), time.x(from + each));
    // One in thousands must still be seen.
    let height = tall(own).max(1.5);
    let y = top + PANEL - tall(below);
    write!(path, "M{x:.1} {y:.1}V{:.1}H{:.1}V{y:.1}z", y - height, (to - 0.6).max(x + 0.6))
        .expect("invariant: a String takes all that is written to it");
}

fn gap_table(out: &mut Markup, found: &[(&str, Vec<(Micros, Micros)>)]) {
    out.put(format_args!(
        "<div class=\"wide\"><table><thead><tr><th>class</th><th>gaps</th><th>together</th>\
         <th>longest</th><th>from</th></tr></thead><tbody>"
    ));
    for (class, gaps) in found {
        let together: Micros = gaps.iter().map(|(from, to)| to - from).sum();
        let longest = gaps.iter().max_by_key(|(from, to)| to - from);
        out.put(format_args!(
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td></tr>",
            Text(class),
            if gaps.is_empty() { "none".to_owned() } else { counted(gaps.len(), "gap") },
            if gaps.is_empty() { "–".to_owned() } else { span(together) },
            longest.map_or_else(|| "–".to_owned(), |(from, to)| span(to - from)),
            longest.map_or_else(|| "–".to_owned(), |(from, _)| moment(*from)),
        ));
    }
    out.put(format_args!("</tbody></table></div>"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Outcome;
    use serde_json::Value;

    fn at(end: Micros, outcome: Outcome) -> Operation {
        let (client, node, class) = (String::new(), String::new(), String::new());
        let (id, start, call) = (0, end - 1, Value::Null);
        Operation { id, client, node, class, start, end, call, outcome }
    }

    #[test]
    fn a_gap_is_where_nothing_succeeded_for_long() {
        let done = |end| at(end, Outcome::Done { answer: Value::Null });
        let mut operations: Vec<Operation> = (1..=10).map(|n| done(n * 50_000)).collect();
        operations.push(at(1_000_000, Outcome::Unknown { why: String::new() }));
        operations.push(done(1_600_000));
        operations.push(at(3_000_000, Outcome::Refused { why: String::new() }));
        let operations: Vec<&Operation> = operations.iter().collect();
        let seldom: Vec<Operation> = (1..9).map(|n| done(n * 2_000_000)).collect();
        assert_eq!(gaps(&operations), [(500_000, 1_600_000), (1_600_000, 3_000_000)]);
        assert_eq!(gaps(&operations[..11]), []);
        assert_eq!(gaps(&seldom.iter().collect::<Vec<_>>()), [], "seldom by design");
    }
}
