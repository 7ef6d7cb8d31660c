//! Latency over time, a panel for each class of operations, on one logarithmic scale.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::data::{Is, Run};
use super::markup::{Markup, counted, span};
use super::scale::{self, LEFT, RIGHT, TimeScale};
use crate::history::{Micros, Operation};

/// Panels drawn here and for availability, the classes with most operations first.
const MOST_CLASSES: usize = 16;
/// A class with fewer operations is no course of time.
pub(super) const FEWEST: usize = 5;
const PANEL: f64 = 104.0;
const GAP: f64 = 12.0;

/// Powers of ten between which latencies are drawn: 100 µs and 1000 s.
const LEAST: u32 = 2;
const MOST: u32 = 9;

pub(super) fn write(out: &mut Markup, run: &Run) {
    if run.operations.is_empty() {
        return;
    }
    let (classes, left_out) = classes(run);
    out.put(format_args!(
        "<section id=\"latency\"><h2>Latency</h2><p class=\"legend\">\
         <span><svg viewBox=\"0 0 10 10\"><path class=\"mark done\" d=\"M5 5h.01\"/></svg>done</span>\
         <span><svg viewBox=\"0 0 10 10\"><path class=\"mark refused\" d=\"M1 8h8l-4 -7z\"/></svg>\
         refused</span>\
         <span><svg viewBox=\"0 0 10 10\"><path class=\"mark unknown\" d=\"M2 2l6 6m0 -6l-6 6\"/></svg>\
         unknown</span>\
         <span><i class=\"shade\"></i>some fault</span></p>"
    ));
    let powers = powers(run);
    #[expect(clippy::cast_precision_loss, reason = "few panels")]
    let top = |index: usize| 6.0 + index as f64 * (PANEL + GAP);
    let bottom = top(classes.len()) - GAP;
    scale::open(out, bottom + 20.0, "latency over time");
    let mut drawn = 0;
    let time = TimeScale::of(run);
    scale::time_axis(out, time, 6.0, bottom);
    for (index, (class, operations)) in classes.iter().enumerate() {
        scale::backdrop(out, run, top(index), top(index) + PANEL);
        let panel = Panel { top: top(index), powers, time };
        panel.frame(out, class);
        drawn += panel.marks(out, operations);
    }
    scale::close(out);
    let all: usize = classes.iter().map(|(_, operations)| operations.len()).sum();
    out.put(format_args!(
        "<p class=\"note\">{} of {}; those that would lie on one another are drawn once. \
         By the time at which they ended.{}</p></section>\n",
        counted(drawn, "mark"),
        counted(all, "operation"),
        left_out_note(left_out),
    ));
}

/// The classes that get a panel, and how many do not.
pub(super) fn classes(run: &Run) -> (Vec<(&str, Vec<&Operation>)>, usize) {
    let mut classes = run.by(|operation| &operation.class);
    let all = classes.len();
    if classes.iter().any(|(_, operations)| operations.len() >= FEWEST) {
        classes.retain(|(_, operations)| operations.len() >= FEWEST);
    }
    if classes.len() > MOST_CLASSES {
        classes.sort_by_key(|(_, operations)| std::cmp::Reverse(operations.len()));
        classes.truncate(MOST_CLASSES);
    }
    let left_out = all - classes.len();
    (classes, left_out)
}

pub(super) fn left_out_note(left_out: usize) -> String {
    match left_out {
        0 => String::new(),
        _ => format!(
            " Not drawn: {} with few operations; the table has them.",
            if left_out == 1 { "1 class".to_owned() } else { format!("{left_out} classes") }
        ),
    }
}

fn took(operation: &Operation) -> Micros {
    operation.end.saturating_sub(operation.start)
}

/// The powers of ten that hold every latency of the run.
fn powers(run: &Run) -> (u32, u32) {
    let power = |micros: Micros| micros.max(1).ilog10();
    let least = run.operations.iter().map(took).min().unwrap_or(1);
    let most = run.operations.iter().map(took).max().unwrap_or(1);
    let low = power(least).clamp(LEAST, MOST - 2);
    (low, (power(most) + 1).clamp(low + 2, MOST))
}

struct Panel {
    top: f64,
    powers: (u32, u32),
    time: TimeScale,
}

impl Panel {
    #[expect(clippy::cast_precision_loss, reason = "a place in a drawing")]
    fn y(&self, micros: Micros) -> f64 {
        let (low, high) = (f64::from(self.powers.0), f64::from(self.powers.1));
        let share = (((micros.max(1)) as f64).log10() - low) / (high - low);
        self.top + PANEL * (1.0 - share.clamp(0.0, 1.0))
    }

    fn frame(&self, out: &mut Markup, class: &str) {
        scale::lane_name(out, class, self.top + 11.0);
        out.put(format_args!(
            "<rect class=\"frame\" x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{PANEL}\"/>",
            self.top,
            RIGHT - LEFT
        ));
        let step = if self.powers.1 - self.powers.0 > 5 { 2 } else { 1 };
        for power in (self.powers.0..=self.powers.1).step_by(step) {
            let micros = 10_u64.pow(power);
            let y = self.y(micros);
            let label = span(micros).replace(".00", "");
            // The class's name stands beside the highest mark.
            if power < self.powers.1 {
                out.put(format_args!(
                    "<text class=\"tick\" x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                    LEFT - 6.0,
                    y + 3.0
                ));
            }
            out.put(format_args!("<path class=\"grid\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/>"));
        }
    }

    /// Draws the marks of each outcome as one path, and answers with how many.
    fn marks(&self, out: &mut Markup, operations: &[&Operation]) -> usize {
        let mut drawn = 0;
        for is in Is::ALL {
            let mut seen = HashSet::new();
            let mut path = String::new();
            for operation in operations.iter().filter(|o| Is::of(&o.outcome) == is) {
                let (x, y) = (self.time.x(operation.end), self.y(took(operation)));
                #[expect(clippy::cast_possible_truncation, reason = "a place in a drawing")]
                let cell = ((x / 1.5) as i32, (y / 1.5) as i32);
                if seen.insert(cell) {
                    mark(&mut path, is, (x, y));
                    drawn += 1;
                }
            }
            if !path.is_empty() {
                out.put(format_args!("<path class=\"mark {}\" d=\"{path}\"/>", is.name()));
            }
        }
        drawn
    }
}

fn mark(path: &mut String, is: Is, (x, y): (f64, f64)) {
    let written = match is {
        Is::Done => write!(path, "M{x:.1} {y:.1}h.01"),
        Is::Refused => write!(path, "M{:.1} {:.1}h6l-3 -5.4z", x - 3.0, y + 2.0),
        Is::Unknown => write!(path, "M{:.1} {:.1}l5 5m0 -5l-5 5", x - 2.5, y - 2.5),
    };
    written.expect("invariant: a String takes all that is written to it");
}
