//! Where things lie in a drawing, and what all drawings over time share.

use super::data::Run;
use super::markup::{Markup, Text};
use crate::history::Micros;
use crate::run::FaultEvent;

/// All drawings over time have the same width and margins, so that they line up.
pub(super) const WIDTH: f64 = 1160.0;
pub(super) const LEFT: f64 = 128.0;
pub(super) const RIGHT: f64 = WIDTH - 12.0;

/// A run's time from left to right.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeScale {
    end: Micros,
}

impl TimeScale {
    pub(super) fn of(run: &Run) -> Self {
        Self { end: run.end }
    }

    #[expect(clippy::cast_precision_loss, reason = "a place in a drawing")]
    pub(super) fn x(self, at: Micros) -> f64 {
        LEFT + (RIGHT - LEFT) * (at.min(self.end) as f64 / self.end as f64)
    }

    /// The column of pixels, from 0.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "never less than 0 and no more than the width"
    )]
    pub(super) fn column(self, at: Micros) -> usize {
        (self.x(at) - LEFT).floor() as usize
    }

    /// How many columns there are.
    pub(super) fn columns(self) -> usize {
        self.column(self.end) + 1
    }

    /// How much time a column is.
    pub(super) fn column_micros(self) -> Micros {
        self.end / self.columns() as Micros
    }

    /// The distance of about `most` marks, in a number that people like.
    fn step(self, most: Micros) -> Micros {
        nice(self.end / most.max(1))
    }
}

/// The next of 1, 2, 5, 10, 20 … that is no less.
pub(super) fn nice(at_least: Micros) -> Micros {
    let mut power = 1;
    loop {
        for factor in [1, 2, 5] {
            if factor * power >= at_least {
                return factor * power;
            }
        }
        power *= 10;
    }
}

/// Begins a drawing.
pub(super) fn open(out: &mut Markup, height: f64, name: &str) {
    out.put(format_args!(
        "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{}\">",
        Text(name)
    ));
}

pub(super) fn close(out: &mut Markup) {
    out.put(format_args!("</svg>\n"));
}

/// The time axis, with lines from `top` to `bottom` and its labels below.
pub(super) fn time_axis(out: &mut Markup, scale: TimeScale, top: f64, bottom: f64) {
    let step = scale.step(12);
    let decimals = if step >= 1_000_000 { 0 } else { 2 };
    let mut at = 0;
    while at <= scale.end {
        let x = scale.x(at);
        #[expect(clippy::cast_precision_loss, reason = "a label")]
        let seconds = at as f64 / 1e6;
        out.put(format_args!(
            "<path class=\"grid\" d=\"M{x:.1} {top:.1}V{bottom:.1}\"/>\
             <text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">\
             {seconds:.decimals$} s</text>",
            bottom + 13.0
        ));
        at += step;
    }
}

/// Faults as faint bands behind a plot, and the line where everything was healed.
pub(super) fn backdrop(out: &mut Markup, run: &Run, top: f64, bottom: f64) {
    let scale = TimeScale::of(run);
    for event in run.faults.iter().filter(|event| event.installed.is_some()) {
        let (from, to) = (scale.x(event.installing), scale.x(until(event, run.end)));
        out.put(format_args!(
            "<rect class=\"shade\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{:.1}\" \
             height=\"{:.1}\"><title>{}</title></rect>",
            (to - from).max(1.0),
            bottom - top,
            Text(&event.fault.to_string()),
        ));
    }
    if let Some(healed) = run.record.healed {
        let x = scale.x(healed);
        out.put(format_args!("<path class=\"healed\" d=\"M{x:.1} {top:.1}V{bottom:.1}\"/>"));
    }
}

/// When a fault was over; the run's end for one that was never healed.
pub(super) fn until(event: &FaultEvent, end: Micros) -> Micros {
    event.healed.unwrap_or(end)
}

/// The name of a lane or panel, in the left margin.
pub(super) fn lane_name(out: &mut Markup, name: &str, y: f64) {
    out.put(format_args!(
        "<text class=\"lane\" x=\"{:.0}\" y=\"{y:.1}\" text-anchor=\"end\">{}<title>{}</title></text>",
        LEFT - 8.0,
        Text(&super::markup::cut(name, 20)),
        Text(name),
    ));
}
